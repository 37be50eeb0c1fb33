//! What the runbook says of servers, run as it stands there: with it a server answers every request that is under way when
//! it is stopped.
//!
//! Requests come evenly spread, and take a second each. The server is stopped a moment after the last of them has come, so
//! one that does not drain cuts those of the last second.

use std::{fs, path::Path, process::Output, thread, time::Duration};

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;
use testkit::{Port, Process, command, runs_here};

const BINARY: &str = env!("CARGO_BIN_EXE_drainwatch");
const RUNBOOK: &str = include_str!("../../docs/runbook.md");

/// What stands behind the proxies: answers after a second, and is not stopped.
const BACKEND: &str = r#"
import sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(1)
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")
    def log_message(self, *_): pass

class Server(ThreadingHTTPServer):
    request_queue_size = 128

server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
print("begun", flush=True)
server.serve_forever()
"#;

/// What of the runbook's programs is not shown there: a server that answers after a second.
const NODE: [&str; 2] = [
    r#"
const server = require("http").createServer((_, response) => setTimeout(() => response.end("ok\n"), 1000));
const pool = { end: async () => {} }, wss = { clients: [] };
server.listen(Number(process.argv[2]), "127.0.0.1");
"#,
    "",
];
const GO: [&str; 2] = [
    r#"
package main

import ("context"; "net/http"; "os"; "os/signal"; "syscall"; "time")

func main() {
srv := &http.Server{Addr: "127.0.0.1:" + os.Args[1], Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	time.Sleep(time.Second)
	w.Write([]byte("ok\n"))
})}
errs := make(chan error, 1)
"#,
    r"
if err != nil { panic(err) }
}
",
];
const GUNICORN: &str = r#"
import time
def app(environ, start_response):
    time.sleep(1)
    start_response("200 OK", [("Content-Length", "3")])
    return [b"ok\n"]
"#;
const PUMA: &str = r#"
run ->(env) { sleep 1; [200, { "Content-Length" => "3" }, ["ok\n"]] }
"#;

/// The block behind this name in bold.
fn block(name: &str) -> &'static str {
    let found = RUNBOOK
        .split_once(&format!("\n**{name}"))
        .and_then(|(_, behind)| {
            let (_, block) = behind.split_once("```")?;
            let (block, _) = block.split_once("```")?;
            block.split_once('\n')
        });
    found
        .unwrap_or_else(|| panic!("the runbook has no block for {name}"))
        .1
}

/// A server with what the runbook says of it.
struct Advised {
    name: &'static str,
    stop_signal: &'static str,
    /// The signal that cuts what is under way, where it has one.
    cuts: Option<&'static str>,
    /// Its command; makes its files in a directory, and asks a backend at the second port.
    command: fn(&Path, u16, u16) -> Vec<String>,
}

const ADVISED: &[Advised] = &[
    Advised {
        name: "Node",
        stop_signal: "SIGTERM",
        cuts: None,
        command: |dir, port, _| {
            let [before, after] = NODE;
            let script = written(dir, "server.js", &[before, block("Node"), after].concat());
            words(&["node", &script, &port.to_string()])
        },
    },
    Advised {
        name: "Go",
        stop_signal: "SIGTERM",
        cuts: None,
        command: |dir, port, _| {
            let [before, after] = GO;
            let source = written(dir, "server.go", &[before, block("Go"), after].concat());
            let program = dir.join("server").display().to_string();
            let built = command("go")
                .args(["build", "-o", &program, &source])
                .output()
                .unwrap();
            assert!(built.status.success(), "{}", said(&built));
            words(&[&program, &port.to_string()])
        },
    },
    Advised {
        name: "Python",
        stop_signal: "SIGTERM",
        cuts: None,
        command: |dir, port, _| {
            written(dir, "app.py", GUNICORN);
            let config = written(dir, "gunicorn.conf.py", block("Python"));
            let bind = format!("127.0.0.1:{port}");
            let at = dir.display().to_string();
            words(&[
                "gunicorn", "--chdir", &at, "--config", &config, "--bind", &bind, "app:app",
            ])
        },
    },
    Advised {
        name: "Ruby",
        stop_signal: "SIGTERM",
        cuts: None,
        command: |dir, port, _| {
            let rackup = written(dir, "config.ru", PUMA);
            let config = written(dir, "puma.rb", block("Ruby"));
            let bind = format!("tcp://127.0.0.1:{port}");
            words(&["puma", "--config", &config, "--bind", &bind, &rackup])
        },
    },
    Advised {
        name: "Apache",
        stop_signal: "SIGWINCH",
        cuts: Some("SIGTERM"),
        command: |dir, port, backend| {
            let modules = ["mpm_event", "authz_core", "proxy", "proxy_http"]
                .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"));
            let at = dir.display();
            let config = format!(
                "{}ServerName localhost\nServerRoot {at}\nDefaultRuntimeDir {at}\nPidFile {at}/pid\nErrorLog {at}/log\n\
                 Listen 127.0.0.1:{port}\nProxyPass / http://127.0.0.1:{backend}/\n{}",
                modules.concat(),
                block("Apache")
            );
            let config = written(dir, "apache.conf", &config);
            words(&["apache2", "-D", "FOREGROUND", "-f", &config])
        },
    },
    Advised {
        name: "lighttpd",
        stop_signal: "SIGINT",
        cuts: Some("SIGTERM"),
        command: |dir, port, backend| {
            let at = dir.display();
            let config = format!(
                "server.modules = (\"mod_proxy\")\nserver.document-root = \"{at}\"\nserver.bind = \"127.0.0.1\"\n\
                 server.port = {port}\nproxy.server = (\"\" => ((\"host\" => \"127.0.0.1\", \"port\" => {backend})))\n{}",
                block("lighttpd")
            );
            let config = written(dir, "lighttpd.conf", &config);
            words(&["lighttpd", "-D", "-f", &config])
        },
    },
    Advised {
        name: "HAProxy",
        stop_signal: "SIGUSR1",
        cuts: Some("SIGTERM"),
        command: |dir, port, backend| {
            let config = format!(
                "{}\ndefaults\n    mode http\n    timeout connect 5s\n    timeout client 30s\n    timeout server 30s\n\
                 listen front\n    bind 127.0.0.1:{port}\n    server back 127.0.0.1:{backend}\n",
                block("HAProxy")
            );
            let config = written(dir, "haproxy.cfg", &config);
            words(&["haproxy", "-W", "-f", &config])
        },
    },
];

fn written(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// What `check` says of this server, stopped by this signal.
fn checked(advised: &Advised, signal: &str, backend: u16) -> Value {
    let dir = TempDir::new().unwrap();
    let port = Port::find().unwrap();
    let server = (advised.command)(dir.path(), port.number, backend);
    let mut check = Command::from_std(command(BINARY));
    check
        .args(["check", "--format", "json", "--stop-signal", signal])
        .args([
            "--warmup",
            "1s",
            "--rate",
            "14",
            "--lag",
            "1s",
            "--prestop",
            "1200ms",
        ])
        .args(["--port", &port.number.to_string(), "--"])
        .args(server);
    let output = check.timeout(Duration::from_secs(90)).output().unwrap();
    let name = advised.name;
    serde_json::from_slice(&output.stdout).unwrap_or_else(|why| panic!("{name}: {why}: {}", said(&output)))
}

/// Of what it says, what tells why.
fn short(said: &Value) -> String {
    let report = &said["report"];
    format!(
        "clients {}, requests {}, severed {}, refused {}, exit {}, {}",
        said["clients"],
        report["requests"],
        report["severed_requests"],
        report["refused"],
        report["exit"],
        report["timeline"]
    )
}

fn follows(advised: &Advised, backend: u16) -> Result<(), String> {
    let name = advised.name;
    let good = checked(advised, advised.stop_signal, backend);
    let drained = &good["report"]["requests"]["drained"];
    if good["fit"] != true || drained.as_u64() == Some(0) {
        return Err(format!("{name} by {}: {}", advised.stop_signal, short(&good)));
    }
    let Some(signal) = advised.cuts else { return Ok(()) };
    let bad = checked(advised, signal, backend);
    // What a proxy asks for is another's request.
    let severed = bad["report"]["severed"].as_object().into_iter().flatten();
    let severed: u64 = severed
        .filter(|(cause, _)| *cause != "outbound")
        .filter_map(|(_, count)| count.as_u64())
        .sum();
    if bad["clients"]["cut"].as_u64() != Some(severed) || severed == 0 {
        return Err(format!("{name} by {signal}: {}", short(&bad)));
    }
    Ok(())
}

#[test]
fn given_a_server_with_what_the_runbook_says_of_it_when_it_is_stopped_then_every_request_is_answered() {
    if !runs_here(BINARY) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let port = Port::find().unwrap();
    let mut command = command("python3");
    command
        .arg(written(dir.path(), "backend.py", BACKEND))
        .arg(port.number.to_string());
    let backend = Process::start(command).unwrap();
    backend.line("begun").unwrap();
    let port = port.number;
    // A few at a time: each has sixteen clients, and an agent of its own.
    let wrong: Vec<String> = ADVISED
        .chunks(3)
        .flat_map(|some| {
            thread::scope(|scope| {
                let checks: Vec<_> = some
                    .iter()
                    .map(|advised| scope.spawn(move || follows(advised, port)))
                    .collect();
                let ended = checks.into_iter().zip(some).map(|(check, advised)| {
                    check
                        .join()
                        .unwrap_or_else(|_| Err(format!("{}: panicked", advised.name)))
                });
                ended.filter_map(Result::err).collect::<Vec<_>>()
            })
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
