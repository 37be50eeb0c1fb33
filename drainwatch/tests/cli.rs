//! The command line as its users meet it: what they do wrong gets one line, a fitting exit code, and
//! costs nothing.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        net::UnixListener,
    },
    path::Path,
    process::Stdio,
    sync::mpsc,
    thread,
    time::Duration,
};

use assert_cmd::Command;
use nix::{sys::signal::Signal, unistd::geteuid};
use tempfile::TempDir;
use testkit::{Agent, Process, agent, command, runs_here};

const BINARY: &str = env!("CARGO_BIN_EXE_drainwatch");

fn drainwatch(args: &[&str]) -> Command {
    bounded(command(BINARY), args)
}

/// The same without any capability: as root with empty sets, so that files are as reachable as before.
fn without_capabilities(args: &[&str]) -> Command {
    if !geteuid().is_root() {
        return drainwatch(args);
    }
    let mut setpriv = command("setpriv");
    setpriv.args(["--bounding-set=-all", "--inh-caps=-all", BINARY]);
    bounded(setpriv, args)
}

/// With these arguments more, and not for ever.
fn bounded(command: std::process::Command, args: &[&str]) -> Command {
    let mut command = Command::from_std(command);
    command.args(args).timeout(Duration::from_mins(1));
    command
}

/// Runs it and expects this exit code and one line on standard error, which is returned.
fn refused(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{line}");
    assert_eq!(line.lines().count(), 1, "more than one line: {line}");
    assert!(line.starts_with("drainwatch: "), "{line}");
    assert!(output.stdout.is_empty());
    line
}

#[test]
fn given_bad_usage_then_64_and_what_to_write_instead() {
    for (args, says) in [
        (&["run", "--stat-dir", "x"][..], "'--state-dir'"),
        (&["run", "--web.listen-address", "here"], "127.0.0.1:9669"),
        (&["run", "--web.telemetry-path", "metrics"], "/metrics"),
        (&["run", "--web.max-requests", "0"], "from 1 to 10000"),
        (&["run", "--capture", "all"], "heads, none"),
        (&["run", "--otlp.endpoint", "c:4318"], "http://collector:4318"),
        (&["run", "--otlp.headers", "token"], "NAME=VALUE"),
        (&["shutdowns", "--since", "yesterday"], "15m"),
        (
            &["shutdowns", "--verdict", "fine"],
            "clean, severed, refused, unknown",
        ),
        (&["shutdowns", "--limit", "0"], "1..=1000"),
        (&["shutdowns", "--url", "ftp://x"], "http://127.0.0.1:9669"),
        (
            &["shutdowns", "--url", "http://x", "--url.ca-file", "y"],
            "for https",
        ),
        (
            &["shutdowns", "--url", "https://x", "--url.ca-file", "/nowhere"],
            "in PEM",
        ),
        (&["watch", "--finding", "bad"], "killed_mid_drain"),
        (&["help", "shutdown"], "unrecognized subcommand"),
        (&["demos"], "'demo'"),
        (&[], "--help"),
    ] {
        let line = refused(&mut drainwatch(args), 64);
        assert!(line.contains(says), "{args:?}: {line}");
    }
}

#[test]
fn given_a_bad_value_in_the_environment_then_it_is_refused_like_the_flag_but_a_flag_goes_before_it() {
    let line = refused(
        drainwatch(&["run"]).env("DRAINWATCH_WEB_LISTEN_ADDRESS", "here"),
        64,
    );
    assert!(line.contains("127.0.0.1:9669"), "{line}");
    let nobody = unused_address();
    let url = format!("http://{nobody}");
    let line = refused(
        drainwatch(&["shutdowns", "--url", &url]).env("DRAINWATCH_URL", "http://127.0.0.1:1"),
        69,
    );
    assert!(line.contains(&url), "{line}");
}

#[test]
fn given_a_configuration_that_cannot_be_used_then_78_and_where_and_why() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("d.toml");
    let path = file.to_str().unwrap();
    let line = refused(&mut drainwatch(&["run", "--config", path]), 78);
    assert!(line.contains(path) && line.contains("No such file"), "{line}");
    let line = refused(
        &mut drainwatch(&["run", "--config", dir.path().to_str().unwrap()]),
        78,
    );
    assert!(line.contains("cannot read"), "{line}");
    for (text, says) in [
        (
            "[web]\nlisten-adress = ':1'",
            "unknown key `web.listen-adress`; did you mean `web.listen-address`",
        ),
        ("[web]\nmax-requests = 'many'", "line 2: `many` is not a number"),
        ("capture = ", "line 1:"),
    ] {
        fs::write(&file, text).unwrap();
        for command in [&["run", "--config", path][..], &["check-config", path]] {
            let line = refused(&mut drainwatch(command), 78);
            assert!(line.contains(says), "{line}");
        }
    }
    fs::write(&file, "capture = \"none\"").unwrap();
    drainwatch(&["check-config", path])
        .assert()
        .success()
        .stdout(format!("{path} is valid\n"));
}

#[test]
fn given_an_occupied_port_then_69_before_anything_was_touched() {
    let dir = TempDir::new().unwrap();
    let occupied = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = occupied.local_addr().unwrap().to_string();
    let state = dir.path().join("state");
    let args = [
        "run",
        "--web.listen-address",
        &address,
        "--state-dir",
        state.to_str().unwrap(),
    ];
    let line = refused(&mut drainwatch(&args), 69);
    assert!(line.contains(&address) && line.contains("in use"), "{line}");
    assert!(!state.exists());
}

#[test]
fn given_a_missing_privilege_then_77_and_its_name() {
    for args in [&["run", "--web.listen-address", "127.0.0.1:0"][..], &["demo"]] {
        let line = refused(&mut without_capabilities(args), 77);
        assert!(
            line.contains("CAP_BPF") && line.contains("sudo"),
            "{args:?}: {line}"
        );
    }
    let output = without_capabilities(&["doctor", "--format", "json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(77));
    let diagnosis: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(diagnosis["missing_capabilities"][0][0], "CAP_BPF");
}

#[test]
fn given_sockets_that_cannot_be_asked_when_diagnosed_then_each_is_one_line_that_says_why_and_what_to_do() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (closed, absent, file) = (path("closed"), path("absent"), path("file"));
    let _listener = UnixListener::bind(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&file, "").unwrap();
    // Somebody else's: root without capabilities may not open it either.
    if geteuid().is_root() {
        chown(&closed, Some(65534), None).unwrap();
    }
    let sockets = [
        "--docker.socket",
        &closed,
        "--podman.socket",
        &absent,
        "--systemd.bus",
        &file,
    ];
    let args = [&["doctor", "--format", "json"][..], &sockets[..]].concat();
    let output = without_capabilities(&args).output().unwrap();
    let diagnosis: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let says = |origin: &str| {
        let all = diagnosis["names"].as_array().unwrap();
        let found = all.iter().find(|probed| probed["origin"] == origin).unwrap();
        assert_eq!(
            (&found["asked"], &found["ok"]),
            (&true.into(), &false.into()),
            "{found}"
        );
        let says = found["says"].as_str().unwrap().to_owned();
        assert!(!says.contains('\n'), "{says}");
        says
    };
    if geteuid().is_root() {
        let docker = says("docker");
        assert!(
            docker.contains("permission denied") && docker.contains("--docker.socket off"),
            "{docker}"
        );
    }
    let podman = says("podman");
    assert!(
        podman.contains("there is no") && podman.contains("podman.socket"),
        "{podman}"
    );
    let systemd = says("systemd");
    assert!(
        systemd.contains("is not a socket") && systemd.contains("--systemd.bus"),
        "{systemd}"
    );
}

#[test]
fn given_a_damaged_store_when_started_then_it_is_kept_aside_with_one_clear_line() {
    let dir = TempDir::new().unwrap();
    let store = dir.path().join("reports.redb");
    fs::write(&store, b"not a database").unwrap();
    // Without privileges it ends right after the store is open.
    let args = [
        "run",
        "--web.listen-address",
        "127.0.0.1:0",
        "--state-dir",
        dir.path().to_str().unwrap(),
    ];
    let output = without_capabilities(&args).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(77), "{log}");
    let aside: Vec<_> = log
        .lines()
        .filter(|line| line.contains("the store was damaged"))
        .collect();
    assert_eq!(aside.len(), 1, "{log}");
    assert_eq!(log.lines().count(), 2, "that line and the refusal: {log}");
    let kept = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let kept: Vec<_> = kept
        .filter(|path| path.display().to_string().contains(".corrupt-"))
        .collect();
    assert_eq!(fs::read(&kept[0]).unwrap(), b"not a database");
    assert!(aside[0].contains(kept[0].to_str().unwrap()));
}

#[test]
fn given_a_store_that_cannot_be_used_then_one_line_says_why() {
    let dir = TempDir::new().unwrap();
    let keep = drainwatch::outlets::store::Retention {
        reports: 1,
        age: Duration::from_secs(1),
    };
    let _held = drainwatch::outlets::store::Store::open(dir.path(), keep, 0).unwrap();
    let run = |state: &Path| {
        let args = [
            "run",
            "--web.listen-address",
            "127.0.0.1:0",
            "--state-dir",
            state.to_str().unwrap(),
            // That it waits for an agent that may be stopping is information.
            "--log.level",
            "warn",
        ];
        refused(&mut drainwatch(&args), 69)
    };
    assert!(run(dir.path()).contains("in use by another agent"));
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(run(&file).contains("--state-dir"));
}

#[test]
fn given_a_bad_recording_then_65_and_it_is_untouched() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("r.jsonl");
    let path = file.to_str().unwrap();
    assert!(refused(&mut drainwatch(&["replay", path]), 65).contains("No such file"));
    let header = r#"{"drainwatch_recording":1,"node":"n","version":"0"}"#;
    let tick = r#"{"at_ns":1,"event":"tick","wall_ns":0}"#;
    for (text, says) in [
        ("", "not a drainwatch recording"),
        ("hello\n", "not a drainwatch recording"),
        (
            &format!("{header}\n{}", &tick[..20]),
            "line 2: the recording ends in the middle",
        ),
        (&format!("{header}\n{tick}\n{{}}\n{tick}\n"), "line 3"),
    ] {
        fs::write(&file, text).unwrap();
        let line = refused(&mut drainwatch(&["replay", path]), 65);
        assert!(line.contains(path) && line.contains(says), "{line}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
    fs::write(&file, format!("{header}\n{tick}\n")).unwrap();
    drainwatch(&["replay", path])
        .assert()
        .success()
        .stdout("no shutdowns\n");
    drainwatch(&["replay", path, "--format", "json"])
        .assert()
        .success();
}

#[test]
fn given_an_existing_file_when_recorded_to_then_it_is_not_overwritten() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("r.jsonl");
    fs::write(&file, "evidence").unwrap();
    let args = [
        "run",
        "--web.listen-address",
        "127.0.0.1:0",
        "--record",
        file.to_str().unwrap(),
    ];
    let output = drainwatch(&args).output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    assert_eq!(fs::read_to_string(&file).unwrap(), "evidence");
}

#[test]
fn given_no_agent_then_69_and_how_to_start_one() {
    let url = format!("http://{}", unused_address());
    for args in [&["shutdowns"][..], &["show", "x"], &["watch"]] {
        let line = refused(drainwatch(args).env("DRAINWATCH_URL", &url), 69);
        assert!(line.contains(&url) && line.contains("drainwatch run"), "{line}");
    }
}

#[test]
fn given_something_else_at_the_url_then_65() {
    let other = Canned::serve("127.0.0.1:0", |_| (200, "<html>hello</html>".into()));
    let line = refused(drainwatch(&["shutdowns"]).env("DRAINWATCH_URL", other.url()), 65);
    assert!(line.contains("is it a drainwatch agent"), "{line}");
    let other = Canned::serve("127.0.0.1:0", |_| (404, "gone".into()));
    let line = refused(drainwatch(&["show", "x"]).env("DRAINWATCH_URL", other.url()), 65);
    assert!(line.contains("status 404"), "{line}");
}

#[test]
fn given_an_agent_when_asked_then_tables_and_json_say_the_same() {
    let agent = Canned::serve("127.0.0.1:0", |path| match path {
        _ if path.contains("workload=..%2Fb") || path.contains("shpo") => (200, listing(&[])),
        _ if path.starts_with("/api/v1/shutdowns?") => (200, listing(&["a1"])),
        "/api/v1/shutdowns/a1" => (200, report("a1")),
        _ => (404, r#"{"error":"no shutdown has that id"}"#.into()),
    });
    let run = |args: &[&str]| {
        drainwatch(args)
            .env("DRAINWATCH_URL", agent.url())
            .output()
            .unwrap()
    };
    let table =
        String::from_utf8(run(&["shutdowns", "--verdict", "severed", "--since", "1h"]).stdout).unwrap();
    assert!(
        table.contains("/svc/shop") && table.contains("severed"),
        "{table}"
    );
    let json = run(&["shutdowns", "--format", "json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["shutdowns"][0]["id"], "a1");
    let lines = run(&[
        "shutdowns",
        "-o",
        "jsonl",
        "--namespace",
        "shop",
        "--cause",
        "late",
    ])
    .stdout;
    let line: serde_json::Value = serde_json::from_slice(&lines).unwrap();
    assert_eq!(line["id"], "a1");
    for which in [&["show", "a1"][..], &["show"], &["show", "svc/shop"]] {
        let shown = String::from_utf8(run(which).stdout).unwrap();
        assert!(shown.contains("/svc/shop · severed · stop"), "{which:?}: {shown}");
    }
    let shown = String::from_utf8(run(&["show", "a1"]).stdout).unwrap();
    assert!(!shown.contains('\u{1b}'), "no colour where there is no terminal");
    let line = refused(
        drainwatch(&["show", "../b"]).env("DRAINWATCH_URL", agent.url()),
        64,
    );
    assert!(line.contains("neither the id nor the workload"), "{line}");
    assert!(!line.contains("did you mean"), "{line}");
    let line = refused(
        drainwatch(&["show", "/svc/shpo"]).env("DRAINWATCH_URL", agent.url()),
        64,
    );
    assert!(line.contains("did you mean `/svc/shop`?"), "{line}");
}

#[test]
fn given_a_shell_that_asks_then_it_is_offered_closed_words_and_what_the_agent_knows() {
    let agent = Canned::serve("127.0.0.1:0", |_| (200, listing(&["a1", "b2"])));
    let offered = |words: &[&str]| {
        let mut ask = drainwatch(&["--", "drainwatch"]);
        ask.args(words).env("_DRAINWATCH_COMPLETE", "bash");
        ask.env("_CLAP_COMPLETE_INDEX", words.len().to_string());
        ask.env("_CLAP_IFS", "\n").env("DRAINWATCH_URL", agent.url());
        let output = ask.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let verdicts = offered(&["shutdowns", "--verdict", ""]);
    assert!(
        verdicts.contains("severed") && verdicts.contains("refused"),
        "{verdicts}"
    );
    let shown = offered(&["show", ""]);
    for known in ["a1", "b2", "/svc/shop"] {
        assert!(shown.lines().any(|line| line == known), "{known}: {shown}");
    }
    assert!(offered(&["watch", "--workload", ""]).contains("/svc/shop"));
    let script = drainwatch(&["completions", "zsh"]).output().unwrap().stdout;
    assert!(
        String::from_utf8(script)
            .unwrap()
            .contains("_DRAINWATCH_COMPLETE")
    );
}

#[test]
fn given_https_then_the_agent_is_known_by_the_file_of_its_certificates_alone() {
    let dir = TempDir::new().unwrap();
    let (certificate, key) = (dir.path().join("ca.pem"), dir.path().join("key.pem"));
    let made = command("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-days",
            "1",
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output();
    let Ok(made) = made else { return };
    assert!(made.status.success(), "{made:?}");
    let agent = Canned::serve("127.0.0.1:0", |_| (200, listing(&["a1"])));
    let port = unused_address().port();
    // A proxy in front of the agent, as an ingress is.
    let mut proxy = command("socat");
    proxy.arg(format!(
        "openssl-listen:{port},bind=127.0.0.1,reuseaddr,fork,verify=0,cert={},key={}",
        certificate.display(),
        key.display()
    ));
    proxy.arg(format!("tcp:{}", agent.address));
    let Ok(proxy) = Process::start(proxy) else { return };
    let url = format!("https://localhost:{port}");
    let ca_file = certificate.to_str().unwrap();
    let mut found = false;
    for _ in 0..100 {
        let output = drainwatch(&["shutdowns", "--url", &url, "--url.ca-file", ca_file])
            .output()
            .unwrap();
        found = String::from_utf8_lossy(&output.stdout).contains("/svc/shop");
        if found {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert!(found, "no answer through https");
    let line = refused(&mut drainwatch(&["shutdowns", "--url", &url]), 69);
    assert!(line.contains("ertificate"), "{line}");
    proxy.signal(Signal::SIGKILL).unwrap();
    proxy.wait().unwrap();
}

#[test]
fn given_a_configuration_when_printed_then_it_says_where_each_value_is_from_and_is_valid_again() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("d.toml");
    fs::write(&file, "[web]\nmax-requests = 7\n").unwrap();
    let printed = drainwatch(&[
        "print-config",
        "--config",
        file.to_str().unwrap(),
        "--log.level",
        "debug",
    ])
    .env("DRAINWATCH_CAPTURE", "none")
    .output()
    .unwrap();
    let text = String::from_utf8(printed.stdout).unwrap();
    for line in [
        &format!("max-requests = 7  # {}", file.display()),
        "level = \"debug\"  # --log.level",
        "capture = \"none\"  # DRAINWATCH_CAPTURE",
        "listen-address = \"127.0.0.1:9669\"  # default",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    drainwatch(&["check-config", "-"])
        .write_stdin(text)
        .assert()
        .success()
        .stdout("<stdin> is valid\n");
    let line = refused(drainwatch(&["check-config", "-"]).write_stdin("captur = 1"), 78);
    assert!(line.contains("`capture`"), "{line}");
}

#[test]
fn given_a_reader_that_leaves_then_the_writer_ends_quietly() {
    let mut child = command(BINARY)
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(errors, "");
}

#[test]
fn given_a_watcher_when_the_agent_restarts_then_it_goes_on_with_what_ends_after() {
    let before = Canned::serve("127.0.0.1:0", |_| (200, listing(&["old"])));
    let address = before.address.to_string();
    // Shutdowns go to standard output, everything else to standard error.
    let mut watch = command("sh");
    watch
        .args(["-c", "exec \"$0\" watch --url \"$1\" 2>/dev/null", BINARY])
        .arg(before.url());
    let watcher = Process::start(watch).unwrap();
    before.asked();
    drop(before);
    // The fake agent is back at the same address, with a shutdown that ended meanwhile.
    let _after = Canned::serve(&address, |_| (200, listing(&["new", "old"])));
    let line = watcher.line("/svc/shop").unwrap();
    assert!(line.contains("severed"), "{line}");
    watcher.signal(Signal::SIGKILL).unwrap();
    watcher.wait().unwrap();
    assert_eq!(
        watcher.log(),
        format!("{line}\n"),
        "one line per shutdown, and none for what ended before"
    );
}

#[test]
fn given_help_then_every_command_has_examples_and_the_exit_codes_are_there() {
    let help = String::from_utf8(
        drainwatch(&["--help"])
            .assert()
            .success()
            .get_output()
            .stdout
            .clone(),
    )
    .unwrap();
    for word in [
        "run",
        "demo",
        "shutdowns",
        "show",
        "watch",
        "replay",
        "doctor",
        "completions",
        "64",
        "77",
        "78",
    ] {
        assert!(help.contains(word), "{word}");
    }
    assert!(!help.contains("demo-server"));
    let help = |args: &[&str]| drainwatch(args).assert().success().get_output().stdout.clone();
    assert_eq!(help(&["help", "show"]), help(&["show", "--help"]));
    drainwatch(&["--version"]).assert().success();
}

#[test]
fn given_the_demo_then_report_and_clients_agree_and_nothing_is_left_behind() {
    let output = drainwatch(&["demo", "--format", "json"]).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    if !runs_here(BINARY) {
        let doctor = drainwatch(&["doctor"]).output().unwrap();
        assert_eq!(output.status.code(), doctor.status.code(), "{log}");
        return;
    }
    assert!(output.status.success(), "{log}");
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let [bad, good] = [&result["shutdowns"][0], &result["shutdowns"][1]];
    assert_eq!(
        (bad["verdict"].as_str(), good["verdict"].as_str()),
        (Some("severed"), Some("clean"))
    );
    assert_eq!(bad["requests"]["severed"], result["clients"]["bad"]["cut"]);
    assert_eq!(result["clients"]["good"]["cut"], 0);
    let workload = bad["workload"]["cgroup"].as_str().unwrap();
    for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        assert!(!Path::new(&format!("{root}{workload}")).exists());
    }
}

#[test]
fn given_a_running_agent_when_stopped_then_it_exits_0_within_a_second_and_nothing_is_lost() {
    if !runs_here(BINARY) {
        // What it does instead is the test of missing privileges.
        refused(
            &mut without_capabilities(&["run", "--web.listen-address", "127.0.0.1:0"]),
            77,
        );
        return;
    }
    let dir = TempDir::new().unwrap();
    let record = dir.path().join("r.jsonl");
    for n in 0..2 {
        let mut run = agent::run(BINARY);
        run.arg("--state-dir").arg(dir.path().join("state"));
        run.arg("--record").arg(&record);
        let agent = Agent::start(run).unwrap();
        let get = |path| agent.ask(path).unwrap();
        assert_eq!(get("/readyz"), (200, "ok\n".into()));
        let (status, text) = get("/metrics");
        assert_eq!(status, 200);
        assert!(
            text.contains("drainwatch_probe_status{probe=") && text.contains("drainwatch_shutdowns_total{")
        );
        assert_eq!(get("/api/v1/shutdowns?limit=x").0, 400);
        let (status, text) = get("/api/v1/summary?since=24h");
        let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(
            status == 200 && summary["hours"].as_array().is_some_and(|hours| hours.len() == 24),
            "{text}"
        );
        let (status, text) = get("/api/v1/summary?since=never");
        assert!(status == 400 && text.starts_with("{\"error\":\"since"), "{text}");
        let (status, text) = get("/api/v1/shutdowns/%ff");
        assert!(
            status == 400 && text.starts_with("{\"error\":"),
            "{status} {text}"
        );
        assert_eq!(get("/nowhere").0, 404);
        let (status, took) = agent.stop().unwrap();
        assert!(status.success(), "run {n}: {status}");
        assert!(took < Duration::from_secs(1), "{took:?}");
        // A whole recording, and a store that opens again.
        drainwatch(&["replay", record.to_str().unwrap()])
            .assert()
            .success();
        let mode = fs::metadata(&record).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    // The first run's was renamed, not lost.
    let first = dir.path().join("r.jsonl.1");
    drainwatch(&["replay", first.to_str().unwrap()])
        .assert()
        .success();
}

/// An address at which nobody listens.
fn unused_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn report(id: &str) -> String {
    serde_json::json!({
        "id": id, "node": "n",
        "workload": {"kind": "cgroup", "namespace": null, "name": "/svc/shop", "pod": null, "container": null,
            "container_id": null, "cgroup": "/svc/shop"},
        "trigger": "stop", "verdict": "severed",
        "started_at": "2026-01-01T00:00:00.000Z", "ended_at": "2026-01-01T00:00:01.000Z",
        "exit": null, "signals": [],
        "requests": {"drained": 0, "severed": 1, "aborted": 0, "unknown": 0},
        "severed": {"unanswered": 1}, "severed_requests": [], "severed_requests_omitted": 1, "timeline": [],
        "drain_ms": null, "endpoint_lag_ms": null, "findings": [], "events_lost": 0
    })
    .to_string()
}

fn listing(ids: &[&str]) -> String {
    let reports: Vec<_> = ids.iter().map(|id| report(id)).collect();
    format!("{{\"shutdowns\":[{}],\"more\":false}}", reports.join(","))
}

/// An HTTP server with canned answers. Its port is free again when it is dropped.
struct Canned {
    address: SocketAddr,
    asked: mpsc::Receiver<()>,
    stop: mpsc::Sender<()>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Canned {
    fn serve(address: &str, answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (asks, asked) = mpsc::channel();
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.try_recv().is_ok() {
                    return;
                }
                let mut stream = stream.unwrap();
                let mut request = String::new();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                reader.read_line(&mut request).unwrap();
                let mut line = String::new();
                while reader.read_line(&mut line).unwrap() > 2 {
                    line.clear();
                }
                let (status, body) = answer(request.split(' ').nth(1).unwrap_or_default());
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                let _ = asks.send(());
            }
        });
        Self {
            address,
            asked,
            stop,
            thread: Some(thread),
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn asked(&self) {
        self.asked.recv_timeout(Duration::from_secs(10)).unwrap();
    }
}

impl Drop for Canned {
    fn drop(&mut self) {
        let _ = self.stop.send(());
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
