//! The action for GitHub's workflows and the template for GitLab's, run as those run them: what they find out about a
//! server is what it is.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::Value;
use tempfile::TempDir;
use testkit::command;

use crate::{BINARY, runs_here};

/// Answers after 200 ms. At SIGTERM one ends at once, the other serves for 2 s more and finishes what it has.
const SERVER: &str = r#"
import signal, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        time.sleep(0.2)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): pass

class Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

server = Server(("127.0.0.1", 0), Handler)
if sys.argv[1] == "good":
    end = lambda: (time.sleep(2), server.shutdown())
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=end).start())
server.serve_forever(poll_interval=0.05)
server.server_close()
"#;

fn read(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/ci")
        .join(name);
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Runs a script with the template's variables, and those that a user sets.
fn run(script: &str, variables: &[(String, String)], kind: &str, directory: &Path) -> Output {
    let mut shell = command("bash");
    shell.args(["-e", "-c", script]).current_dir(directory);
    shell.envs(variables.iter().map(|(name, value)| (name, value)));
    shell
        .env("CHECK_PROGRAM", BINARY)
        .env("CHECK_RUN", format!("exec python3 server.py {kind}"))
        .env("CHECK_REQUESTS", "GET /\nGET /other\n")
        .env("CHECK_ARGUMENTS", "--warmup=1s");
    shell.output().unwrap()
}

fn directory() -> TempDir {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("server.py"), SERVER).unwrap();
    directory
}

fn can_run() -> bool {
    nix::unistd::geteuid().is_root() && runs_here()
}

#[test]
fn given_the_action_when_run_on_a_good_and_a_bad_server_then_only_the_bad_one_fails_with_an_annotation() {
    if !can_run() {
        return;
    }
    let action = read("action.yml");
    let step = &action["runs"]["steps"][0];
    let variables: Vec<(String, String)> = step["env"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| {
            // `${{ inputs.like }}` is the default of the input `like`.
            let value = value.as_str().unwrap();
            let input = value.trim_start_matches("${{ inputs.").trim_end_matches(" }}");
            assert!(action["inputs"].get(input).is_some(), "{value}");
            let default = action["inputs"][input]["default"].as_str().unwrap_or_default();
            (name.clone(), default.to_owned())
        })
        .collect();
    let directory = directory();
    for (kind, code) in [("good", 0), ("bad", 1)] {
        let output = run(step["run"].as_str().unwrap(), &variables, kind, directory.path());
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{kind}: {output:?}");
        assert_eq!(said.contains("::error"), code != 0, "{kind}: {said}");
    }
}

#[test]
fn given_the_template_when_run_on_a_good_and_a_bad_server_then_only_the_bad_one_fails_and_both_have_a_report()
{
    if !can_run() {
        return;
    }
    let job = &read("gitlab.yml")[".drainwatch-check"];
    let variables: Vec<(String, String)> = job["variables"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect();
    let directory = directory();
    for (kind, code) in [("good", 0), ("bad", 1)] {
        let output = run(
            job["script"][0].as_str().unwrap(),
            &variables,
            kind,
            directory.path(),
        );
        assert_eq!(output.status.code(), Some(code), "{kind}: {output:?}");
        let report = job["artifacts"]["reports"]["junit"].as_str().unwrap();
        let report = fs::read_to_string(directory.path().join(report)).unwrap();
        assert!(report.contains("<testsuite"), "{report}");
        assert_eq!(report.contains("<failure"), code != 0, "{kind}: {report}");
    }
}
