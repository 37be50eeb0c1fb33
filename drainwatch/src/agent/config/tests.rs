use std::path::Path;

use clap::{Args as _, FromArgMatches as _};
use drainwatch_core::{
    class::Rule,
    exchange::Protocol,
    reading::{Pin, Pins},
};

use super::{file::parse, *};

fn read_as<T: Text>(text: &str) -> T {
    text.parse().unwrap_or_else(|why| panic!("{why}"))
}

fn parsed(text: &str) -> Result<Layer, String> {
    parse(text, Path::new("d.toml")).map_err(|error| error.to_string())
}

#[test]
fn given_every_key_when_read_then_each_value_arrives() {
    let layer = parsed(
        "state-dir = \"/s\"\npin-dir = \"/sys/fs/bpf/x\"\ncapture = \"none\"\nrecord = \"/r\"\nprocesses = true\n[web]\nlisten-address = \":1\"\n\
         telemetry-path = \"/m\"\nmax-requests = 7\nallowed-hosts = \"a.example, *.b.example\"\nconfig.file = \"/w\"\n[log]\nlevel = \"debug\"\nformat = \"json\"\n\
         [otlp]\nendpoint = \"http://c:4318\"\nheaders = \"a=b\"\n\
         [history]\nmax-reports = 5\nmax-age = \"2d\"\nmemory-reports = 9\n\
         [shutdown]\nlinger = \"250ms\"\nstop-signals = [\"USR1\", \"SIGRTMIN+3\", 12]\n\
         [kubernetes]\nkubeconfig = \"/k\"\nnode-name = \"n1\"\nevents = true\n\
         [docker]\nsocket = \"/d.sock\"\n[podman]\nsocket = \"off\"\n[systemd]\nbus = \"auto\"\n\
         [[class]]\nname = \"pay\"\npath = \"/pay\"\nport = [1, 2]\n\
         [[protocol]]\nname = \"redis\"\nport = 6380\n",
    )
    .unwrap();
    let settings = Settings::resolve(Layer::default(), layer);
    let expected = Settings {
        listen: read_as("[::]:1"),
        telemetry_path: read_as("/m"),
        max_requests: read_as("7"),
        allowed_hosts: read_as("a.example,*.b.example"),
        web_config: Some(File("/w".into())),
        log_level: LogLevel::Debug,
        log_format: LogFormat::Json,
        state_dir: Some(Directory("/s".into())),
        pin_dir: read_as("/sys/fs/bpf/x"),
        capture: CaptureMode::None,
        record: Some(NewFile("/r".into())),
        processes: true,
        otlp_endpoint: Some(read_as("http://c:4318")),
        otlp_headers: read_as("a=b"),
        max_reports: 5.try_into().unwrap(),
        max_age: read_as("48h"),
        memory_reports: 9.try_into().unwrap(),
        linger: read_as("250ms"),
        stop_signals: StopSignals(vec![10, 37, 12]),
        kubernetes: Use::Auto,
        kubeconfig: Some(File("/k".into())),
        node_name: Some(read_as("n1")),
        kubernetes_events: true,
        docker_socket: Socket::At("/d.sock".into()),
        podman_socket: Socket::Off,
        systemd_bus: Socket::Auto,
        classes: Arc::new(Classes::new(vec![Rule {
            name: "pay".into(),
            path: vec!["/pay".into()],
            port: vec![1, 2],
            ..Rule::default()
        }])),
        protocols: Arc::new(
            Pins::new(&[Pin {
                name: Protocol::Redis,
                port: vec![6380],
            }])
            .unwrap(),
        ),
    };
    assert_eq!(settings, expected);
}

#[test]
fn given_a_flag_and_a_file_when_resolved_then_the_flag_wins() {
    let flag = Layer {
        max_requests: Some(read_as("3")),
        ..Layer::default()
    };
    let file = Layer {
        max_requests: Some(read_as("4")),
        memory_reports: Some(NonZeroU16::MAX),
        ..Layer::default()
    };
    let settings = Settings::resolve(flag, file);
    assert_eq!(*settings.max_requests, 3);
    assert_eq!(settings.memory_reports, NonZeroU16::MAX);
    assert_eq!(settings.listen, read_as("127.0.0.1:9669"));
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
        ("web = 3", 1, "expected a table"),
        ("[shutdown]\nlinger = 5", 2, "not a duration"),
        (
            "[shutdown]\nstop-signals = [\"SIGRTMAX\"]",
            2,
            "cannot be watched for",
        ),
        ("[shutdown]\nstop-signals = [12, 64]", 2, "cannot be watched for"),
        (
            "[otlp]\nendpoint = \"c:4317\"",
            2,
            "not an http:// or https:// URL",
        ),
        ("[history]\nmax-reports = 0", 2, "nonzero"),
        ("\nkubernetes = \"on\"", 2, "unknown variant `on`"),
        ("kubernetes = 3", 1, "expected \"auto\", \"off\" or a table"),
        ("[docker]\nsocket = \"docker.sock\"", 2, "not a socket"),
        ("[systemd]\nbus = true", 2, "expected a string"),
        ("[kubernetes]\nevents = 3", 2, "expected a boolean"),
        ("[kubernetes]\nnode-name = \"A b\"", 2, "not the name of a node"),
        ("what is this", 1, "key"),
        ("[class]\nname = \"x\"", 1, "expected a sequence"),
        ("\n[[class]]\nname = \"X\"\nport = 1", 2, "not a class name"),
        (
            "[[protocol]]\nname = \"postgres\"\nport = 1",
            1,
            "no protocol that can be pinned; use one of: http/1.1, http/2, postgresql",
        ),
        (
            "[[protocol]]\nname = \"redis\"\nport = []",
            1,
            "at least one port",
        ),
        (
            "[[protocol]]\nname = \"redis\"\nport = \"6379\"",
            3,
            "expected one port",
        ),
        (
            "[[protocol]]\nname = \"redis\"\nport = 1\n[[protocol]]\nname = \"kafka\"\nport = 1",
            1,
            "port 1 is pinned twice, to redis and to kafka",
        ),
        (
            &"[[class]]\nname = \"x\"\nport = 1\n".repeat(17),
            1,
            "limit of 16",
        ),
    ] {
        let error = parsed(text).unwrap_err();
        assert!(error.contains(&format!("line {line}:")), "{text:?}: {error}");
        assert!(error.contains(says), "{text:?}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn given_every_flag_at_its_default_when_read_then_the_settings_are_the_defaults() {
    for command in ["run", "doctor"] {
        let flags = SETTINGS.iter().filter_map(|setting| {
            let default = setting.default?.trim_matches('"');
            setting.arg(command)?;
            Some(format!("--{}={default}", setting.key))
        });
        let flags: Vec<_> = flags.collect();
        assert!(flags.len() > 4, "{flags:?}");
        let layer = given(command, &flags).unwrap();
        assert_eq!(Settings::resolve(layer, Layer::default()), defaults());
    }
}

#[test]
fn given_every_flag_that_has_no_default_when_read_then_its_value_arrives() {
    let flags = [
        "--state-dir=/s",
        "--record=/r",
        "--otlp.endpoint=http://c:4318",
        "--otlp.headers=a=b",
        "--kubernetes.kubeconfig=/k",
        "--kubernetes.node-name=n1",
        "--kubernetes.events",
    ];
    let settings = Settings::resolve(given("run", &flags).unwrap(), Layer::default());
    assert_eq!(settings.state_dir.as_deref(), Some(Path::new("/s")));
    assert_eq!(settings.record.as_deref(), Some(Path::new("/r")));
    assert_eq!(settings.otlp_endpoint, Some(read_as("http://c:4318")));
    assert_eq!(settings.otlp_headers, read_as("a=b"));
    assert_eq!(settings.kubeconfig.as_deref(), Some(Path::new("/k")));
    assert_eq!(settings.node_name, Some(read_as("n1")));
    assert!(settings.kubernetes_events);
}

#[test]
fn given_a_value_that_makes_no_sense_then_it_is_refused_and_says_why() {
    let refusal = |file: &str| parse(file, Path::new("f.toml")).unwrap_err().to_string();
    for (file, says) in [
        ("[history]\nmax-age = \"0s\"\n", "would keep nothing"),
        ("[shutdown]\nstop-signals = [9]\n", "asks nobody to stop"),
        (
            "[shutdown]\nstop-signals = [\"SIGCHLD\"]\n",
            "asks nobody to stop",
        ),
        (
            "[web]\nallowed-hosts = \"a.example:80\"\n",
            "not the name of a host",
        ),
    ] {
        assert!(refusal(file).contains(says), "{file}: {}", refusal(file));
    }
    let endless = text(Path::new("/dev/zero")).unwrap_err().to_string();
    assert!(endless.contains("longer than 1 MiB"), "{endless}");
}

#[test]
fn given_a_value_that_may_be_a_password_when_refused_then_the_message_does_not_repeat_it() {
    for (flag, says) in [
        (
            "--otlp.headers=secret",
            "invalid value for '--otlp.headers': header 1 has no `=`",
        ),
        (
            "--otlp.endpoint=sec:ret",
            "invalid value for '--otlp.endpoint': this is no",
        ),
    ] {
        let why = given("run", &[flag]).unwrap_err();
        assert!(why.contains(says) && !why.contains("sec"), "{why}");
    }
}

fn defaults() -> Settings {
    Settings::resolve(Layer::default(), Layer::default())
}

/// What these flags of this command say.
fn given(command: &'static str, flags: &[impl AsRef<str>]) -> Result<Layer, String> {
    let line = [command].into_iter().chain(flags.iter().map(AsRef::as_ref));
    let mut matches = Flags::augment_args(clap::Command::new(command))
        .try_get_matches_from(line)
        .map_err(|why| why.to_string())?;
    Flags::from_arg_matches_mut(&mut matches).unwrap().layer()
}
