//! `drainwatch check` on real servers, good and bad: what it says is what they are.

use std::{path::Path, process::Output, time::Duration};

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;
use testkit::{command, runs_here};

const BINARY: &str = env!("CARGO_BIN_EXE_drainwatch");

/// Answers after 200 ms. What it does at SIGTERM: nothing (`bad`); serves for 2 s more and finishes what it has (`good`);
/// closes its listener as soon as nobody waits there and finishes what it has (`early`); answers with 503 for 2 s more (`errors`).
const PYTHON: &str = r#"
import select, signal, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

kind, stopping = sys.argv[1], threading.Event()

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        time.sleep(0.2)
        self.send_response(503 if kind == "errors" and stopping.is_set() else 200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")
    def log_message(self, *_): pass

class Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

server = Server(("127.0.0.1", 0), Handler)

def stop():
    stopping.wait()
    if kind != "early":
        time.sleep(2)
    server.shutdown()
    # Who waits in the queue would be cut, and not turned away; and while somebody polls the listener it is not closed.
    while select.select([server.socket], [], [], 0)[0]:
        server._handle_request_noblock()
    server.socket.close()

stopper = threading.Thread(target=stop)
if kind != "bad":
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    stopper.start()
server.serve_forever(poll_interval=0.05)
stopper.join()
server.server_close()
"#;

const NODE: &str = r#"
const http = require("http");
const server = http.createServer((_, response) => setTimeout(() => response.end("ok\n"), 200));
server.listen(0, "127.0.0.1");
if (process.argv[2] === "good") {
  process.on("SIGTERM", () => setTimeout(() => server.close(), 2000));
}
"#;

fn check(arguments: &[&str], server: &[&str]) -> Output {
    let mut check = Command::from_std(command(BINARY));
    check.args(["check", "--format", "json", "--warmup", "1s"]);
    check.args(arguments).arg("--").args(server);
    check.timeout(Duration::from_mins(1)).output().unwrap()
}

/// Exit code, verdict, and what the clients saw.
fn outcome(arguments: &[&str], server: &[&str]) -> (i32, String, Value) {
    let output = check(arguments, server);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|why| panic!("{why}: {log}"));
    let code = output.status.code().unwrap();
    assert_eq!(said["fit"], code == 0, "{said}");
    assert!(said["clients"]["sent"].as_u64() > Some(0), "{said}");
    println!(
        "{server:?} {arguments:?}: {code} {} {}",
        said["report"]["verdict"], said["clients"]
    );
    (code, said["report"]["verdict"].as_str().unwrap().into(), said)
}

fn write(dir: &TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().into()
}

fn is_there(program: &str) -> bool {
    let found = command("sh")
        .args(["-c", &format!("command -v {program}")])
        .output();
    found.is_ok_and(|output| output.status.success())
}

#[test]
fn given_servers_in_python_when_checked_then_only_the_one_that_drains_is_fit() {
    if !runs_here(BINARY) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let script = write(&dir, "server.py", PYTHON);
    let run = |kind: &str, arguments: &[&str]| outcome(arguments, &["python3", &script, kind]);
    let (code, verdict, said) = run("good", &[]);
    assert_eq!((code, verdict.as_str()), (0, "clean"), "{said}");
    let (code, verdict, said) = run("bad", &[]);
    assert_eq!((code, verdict.as_str()), (1, "severed"), "{said}");
    assert_eq!(
        said["clients"]["cut"], said["report"]["requests"]["severed"],
        "{said}"
    );
    let (code, verdict, said) = run("early", &[]);
    assert_eq!((code, verdict.as_str()), (1, "refused"), "{said}");
    assert_eq!(said["clients"]["cut"], 0, "{said}");
    // A preStop hook that outlasts the traffic is all that it needs.
    let (code, verdict, said) = run("early", &["--prestop", "1500ms"]);
    assert_eq!((code, verdict.as_str()), (0, "clean"), "{said}");
    let (code, verdict, said) = run("errors", &[]);
    assert_eq!((code, verdict.as_str()), (1, "refused"), "{said}");
    assert_eq!(
        said["clients"]["failed"], said["report"]["requests"]["failed"],
        "{said}"
    );
    // Two seconds of draining do not fit into one.
    let (code, verdict, said) = run("good", &["--grace", "1s", "--lag", "5s"]);
    assert_eq!((code, verdict.as_str()), (1, "severed"), "{said}");
}

#[test]
fn given_servers_in_node_when_checked_as_docker_stops_them_then_only_the_one_that_drains_is_fit() {
    if !runs_here(BINARY) || !is_there("node") {
        return;
    }
    let dir = TempDir::new().unwrap();
    let script = write(&dir, "server.js", NODE);
    let (code, verdict, said) = outcome(&["--like", "docker"], &["node", &script, "good"]);
    assert_eq!((code, verdict.as_str()), (0, "clean"), "{said}");
    let (code, verdict, said) = outcome(&["--like", "docker"], &["node", &script, "bad"]);
    assert_eq!((code, verdict.as_str()), (1, "severed"), "{said}");
}

#[test]
fn given_nginx_when_checked_then_it_needs_a_prestop_and_its_own_stop_signal() {
    if !runs_here(BINARY) || !is_there("nginx") {
        return;
    }
    let dir = TempDir::new().unwrap();
    let port = testkit::Port::find().unwrap();
    std::fs::write(dir.path().join("index.html"), "ok\n").unwrap();
    let config = format!(
        "user root; daemon off; error_log stderr; pid {0}/pid; events {{}} http {{ access_log off; client_body_temp_path {0}/a; \
         proxy_temp_path {0}/b; fastcgi_temp_path {0}/c; uwsgi_temp_path {0}/d; scgi_temp_path {0}/e; \
         server {{ listen 127.0.0.1:{1}; root {0}; }} }}",
        dir.path().display(),
        port.number
    );
    let config = write(&dir, "nginx.conf", &config);
    let server = ["nginx", "-c", &config];
    let nginx = |arguments: &[&str]| outcome(arguments, &server);
    let (code, verdict, said) = nginx(&["--stop-signal", "SIGQUIT", "--prestop", "1500ms"]);
    assert_eq!((code, verdict.as_str()), (0, "clean"), "{said}");
    let (code, _, said) = nginx(&["--stop-signal", "SIGQUIT"]);
    assert_eq!(code, 1, "its listener closes at once: {said}");
}

#[test]
fn given_what_cannot_be_checked_then_2_and_one_line_that_says_why() {
    if !runs_here(BINARY) {
        return;
    }
    for (arguments, server, says) in [
        (&[][..], &["/nowhere/to/be/found"][..], "ended by itself"),
        (&["--start-within", "300ms"], &["sleep", "60"], "did not listen"),
        (&[], &["false"], "ended by itself"),
    ] {
        let output = check(arguments, server);
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{log}");
        let last = log.lines().last().unwrap();
        assert!(last.starts_with("drainwatch: ") && last.contains(says), "{log}");
        assert!(output.stdout.is_empty());
    }
    for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        let left = std::fs::read_dir(Path::new(root)).into_iter().flatten().flatten();
        let left = left.filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with("drainwatch-check-")
        });
        // Those of the other tests, which run beside this one.
        assert!(left.count() <= 3, "cgroups are left behind");
    }
}
