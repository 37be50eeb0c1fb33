use super::*;

fn parsed(text: &str) -> Result<Layer, String> {
    parse(text, Path::new("d.toml")).map_err(|error| error.to_string())
}

#[test]
fn given_every_key_when_read_then_each_value_arrives() {
    let layer = parsed(
        "state-dir = \"/s\"\ncapture = \"none\"\nrecord = \"/r\"\n[web]\nlisten-address = \":1\"\n\
         telemetry-path = \"/m\"\nmax-requests = 7\n[log]\nlevel = \"debug\"\nformat = \"json\"\n\
         [otlp]\nendpoint = \"http://c:4318\"\nheaders = \"a=b\"\n\
         [history]\nmax-reports = 5\nmax-age = \"2d\"\nmemory-reports = 9\n\
         [shutdown]\nlinger = \"250ms\"\nstop-signals = [\"USR1\", \"SIGRTMIN+3\", 12]\n\
         [kubernetes]\nkubeconfig = \"/k\"\nnode-name = \"n1\"\nevents = true\n\
         [docker]\nsocket = \"/d.sock\"\n[podman]\nsocket = \"off\"\n[systemd]\nbus = \"auto\"\n\
         [[class]]\nname = \"pay\"\npath = \"/pay\"\nport = [1, 2]\n",
    )
    .unwrap();
    let settings = Settings::resolve(Layer::default(), layer);
    let expected = Settings {
        listen: "[::]:1".parse().unwrap(),
        telemetry_path: "/m".into(),
        max_requests: 7,
        log_level: LogLevel::Debug,
        log_format: LogFormat::Json,
        state_dir: Some("/s".into()),
        capture: Capture::None,
        record: Some("/r".into()),
        otlp_endpoint: Some("http://c:4318".parse().unwrap()),
        otlp_headers: "a=b".parse().unwrap(),
        max_reports: 5,
        max_age: Duration::from_hours(48),
        memory_reports: 9,
        linger: Duration::from_millis(250),
        stop_signals: vec![10, 37, 12],
        kubernetes: Use::Auto,
        kubeconfig: Some("/k".into()),
        node_name: Some("n1".into()),
        kubernetes_events: true,
        docker_socket: Where::At("/d.sock".into()),
        podman_socket: Where::Off,
        systemd_bus: Where::Auto,
        classes: Arc::new(Classes::new(vec![Rule {
            name: "pay".into(),
            path: vec!["/pay".into()],
            port: vec![1, 2],
            ..Rule::default()
        }])),
    };
    assert_eq!(settings, expected);
}

#[test]
fn given_a_flag_and_a_file_when_resolved_then_the_flag_wins() {
    let flag = Layer {
        max_requests: Some(3),
        ..Layer::default()
    };
    let file = Layer {
        max_requests: Some(4),
        memory_reports: Some(5),
        ..Layer::default()
    };
    let settings = Settings::resolve(flag, file);
    assert_eq!((settings.max_requests, settings.memory_reports), (3, 5));
    assert_eq!(settings.listen, LISTEN_ADDRESS);
}

#[test]
fn given_an_origin_as_a_word_when_read_then_it_is_whether_it_is_asked() {
    let settings = |text| Settings::resolve(Layer::default(), parsed(text).unwrap());
    assert_eq!(settings("kubernetes = \"off\"").kubernetes, Use::Off);
    assert_eq!(settings("kubernetes = \"auto\"").kubernetes, Use::Auto);
}

#[test]
fn given_an_unknown_key_when_read_then_it_is_named_with_the_nearest_ones() {
    let error = parsed("[web]\nlisten_adress = \"x\"").unwrap_err();
    assert!(error.contains("unknown key `web.listen_adress`"), "{error}");
    assert!(error.contains("did you mean `web.listen-address`"), "{error}");
    let error = parsed("zzz = 1").unwrap_err();
    assert!(
        error.contains("unknown key `zzz`; valid keys: web.listen-address"),
        "{error}"
    );
    let error = parsed("[[class]]\nname = \"a\"\npaths = \"/a\"").unwrap_err();
    assert!(
        error.contains("unknown key `class.paths`; did you mean `class.path`"),
        "{error}"
    );
    let error = parsed("[logs]\nlevel = \"info\"").unwrap_err();
    assert!(error.contains("unknown key `logs`"), "{error}");
}

#[test]
fn given_a_bad_value_when_read_then_one_line_says_where_and_what_to_write() {
    for (text, line, says) in [
        ("[web]\nlisten-address = \"nope\"", 2, "not ADDRESS:PORT"),
        ("\n\ncapture = \"all\"", 3, "unknown variant `all`"),
        ("web = 3", 1, "invalid type"),
        ("[shutdown]\nlinger = 5", 2, "not a duration"),
        (
            "[shutdown]\nstop-signals = [\"SIGRTMAX\"]",
            2,
            "cannot be watched for",
        ),
        ("[shutdown]\nstop-signals = [12, 64]", 2, "cannot be watched for"),
        ("[otlp]\nendpoint = \"c:4317\"", 2, "no http:// or https:// URL"),
        ("[history]\nmax-reports = 0", 2, "nonzero"),
        ("\nkubernetes = \"on\"", 2, "unknown variant `on`"),
        ("kubernetes = 3", 1, "expected \"auto\", \"off\" or a table"),
        ("[docker]\nsocket = \"docker.sock\"", 2, "not a socket"),
        ("[systemd]\nbus = true", 2, "expected a string"),
        ("[kubernetes]\nevents = 3", 2, "expected a boolean"),
        ("[kubernetes]\nnode-name = \"A b\"", 2, "not the name of a node"),
        ("what is this", 1, "key"),
        ("[class]\nname = \"x\"", 1, "expected a sequence"),
        ("\n[[class]]\nname = \"X\"\nport = 1", 2, "no name of a class"),
        (
            &"[[class]]\nname = \"x\"\nport = 1\n".repeat(17),
            1,
            "more than 16",
        ),
    ] {
        let error = parsed(text).unwrap_err();
        assert!(error.contains(&format!("line {line}:")), "{text:?}: {error}");
        assert!(error.contains(says), "{text:?}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn given_text_when_parsed_as_value_then_only_what_is_meant_is_taken() {
    assert_eq!(duration("15m"), Ok(Duration::from_mins(15)));
    for bad in [
        "",
        "15",
        "m",
        "-1s",
        "1w",
        "99999999999999999999s",
        "999999999999d",
    ] {
        assert!(duration(bad).is_err(), "{bad}");
    }
    for (text, number) in [
        ("sigterm", 15),
        ("SIGRTMIN", 34),
        ("RTMAX", 64),
        ("SIGRTMAX-14", 50),
    ] {
        assert_eq!(signal(text), Ok(number));
    }
    for bad in ["0", "65", "SIGFOO", "RTMIN+31", "RTMAX-31", ""] {
        assert!(signal(bad).is_err(), "{bad}");
    }
    assert_eq!(
        listen_address("localhost:80").unwrap().to_string(),
        "127.0.0.1:80"
    );
    for bad in ["", "80", "host:80", "127.0.0.1", ":99999"] {
        assert!(listen_address(bad).is_err(), "{bad}");
    }
    for bad in [
        "metrics",
        "/",
        "/healthz",
        "/api/v1",
        "/page/main.js",
        "/a b",
        "/{x}",
    ] {
        assert!(telemetry_path(bad).is_err(), "{bad}");
    }
}
