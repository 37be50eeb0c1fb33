//! nginx in a cgroup of its own, and clients that drive it: wrk, or those that have no sockets here.

use std::fmt;
use std::fs;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tempfile::TempDir;
use testkit::{Cgroup, Clock, Port, Process, http};

use super::agent::cpu;
use super::far::Far;
use crate::shell;

/// The end of every response of nginx here.
pub const RESPONSE_END: &[u8] = b"ok\n";
/// How long it may take until clients have opened their connections.
const OPENING: Duration = Duration::from_mins(1);

/// Whose sockets are on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The server's and the client's: wrk on the loopback.
    Both,
    /// The server's alone.
    Server,
}

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Whose sockets are on this machine.
    pub ends: Ends,
    /// Whether a connection has all requests, or one.
    pub keep_alive: bool,
    /// Connections at a time.
    pub connections: usize,
}

impl Traffic {
    /// wrk on kept connections.
    pub const fn kept(connections: usize) -> Self {
        Self {
            ends: Ends::Both,
            keep_alive: true,
            connections,
        }
    }

    /// wrk with a connection for each request.
    pub const fn new_each(connections: usize) -> Self {
        Self {
            keep_alive: false,
            ..Self::kept(connections)
        }
    }

    /// As tables name it.
    pub fn kind(self) -> &'static str {
        if self.keep_alive {
            "keep-alive"
        } else {
            "connection per request"
        }
    }

    /// The same with nothing but the server's end on this machine.
    pub const fn at_server(self) -> Self {
        Self {
            ends: Ends::Server,
            ..self
        }
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kind, ends] = [self.kind(), self.ends.here()];
        write!(f, "{kind}, {} connections, ends here: {ends}", self.connections)
    }
}

impl Ends {
    /// As tables name it.
    pub fn here(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Server => "server's",
        }
    }
}

/// So many connections at a time, and some other files. What is started later inherits it.
pub fn raise_limit(connections: usize) -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("reading the limit of open files")?;
    let most = connections as u64 + 100;
    ensure!(
        hard >= most,
        "this needs a limit of {most} open files, and it is {hard}: raise it with ulimit -Hn"
    );
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raising the limit of open files")
}

const STATUS: &str = "/status";

/// nginx with one worker that serves a small constant.
pub struct Nginx {
    process: Process,
    worker: i32,
    /// Where it listens.
    pub port: Port,
    _directory: TempDir,
    _cgroup: Cgroup,
}

/// What one run of wrk showed.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Requests in all.
    pub requests: f64,
    /// Requests per second.
    pub rate: f64,
    /// CPU of nginx's worker per request, in microseconds.
    pub cpu_us: f64,
}

impl Nginx {
    /// Starts it and waits until it serves.
    pub fn start() -> Result<Self> {
        let directory = tempfile::tempdir().context("making a directory for nginx")?;
        let cgroup = Cgroup::unique("bench-nginx")?;
        let port = Port::find()?;
        let here = directory.path().display();
        let configuration = format!(
            "daemon off;\nworker_processes 1;\npid {here}/pid;\nerror_log {here}/error.log;\n\
             events {{ worker_connections 16384; }}\n\
             http {{\n  access_log off;\n  keepalive_requests 100000000;\n  keepalive_timeout 1h;\n  \
             client_body_temp_path {here}/1;\n  proxy_temp_path {here}/2;\n  fastcgi_temp_path {here}/3;\n  \
             uwsgi_temp_path {here}/4;\n  scgi_temp_path {here}/5;\n  \
             server {{ listen {} backlog=4096; location / {{ return 200 \"ok\\n\"; }} \
             location = {STATUS} {{ stub_status; }} }}\n}}\n",
            port.number
        );
        let file = directory.path().join("nginx.conf");
        fs::write(&file, configuration).context("writing nginx.conf")?;
        let mut command = cgroup.command("nginx");
        command
            .arg("-c")
            .arg(&file)
            .arg("-e")
            .arg(directory.path().join("error.log"));
        let mut nginx = Self {
            process: Process::start(command)?,
            worker: 0,
            port,
            _directory: directory,
            _cgroup: cgroup,
        };
        nginx.worker = Clock::default().find("nginx to serve", Duration::from_secs(10), || {
            nginx.process.check_alive().context("nginx")?;
            let serves = TcpStream::connect(nginx.port.address()).is_ok();
            Ok(nginx.find_worker().filter(|_| serves))
        })?;
        Ok(nginx)
    }

    /// The master's one child.
    fn find_worker(&self) -> Option<i32> {
        let master = self.process.pid().as_raw();
        let all = procfs::process::all_processes().ok()?;
        all.flatten()
            .filter_map(|process| process.stat().ok())
            .find(|stat| stat.ppid == master)
            .map(|stat| stat.pid)
    }

    fn cpu_seconds(&self) -> Result<f64> {
        let (user, system) = cpu(self.worker).context("nginx's worker")?;
        Ok((user + system).as_secs_f64())
    }

    /// Drives it with wrk for a while.
    pub fn drive(&self, load: Duration, traffic: Traffic) -> Result<Measured> {
        let before = self.cpu_seconds()?;
        let output = shell::output(&mut self.wrk(Command::new("wrk"), load, traffic))?;
        let cpu = self.cpu_seconds()? - before;
        let (requests, rate) =
            read_wrk(&output).with_context(|| format!("not what wrk prints:\n{output}"))?;
        if output.contains("Non-2xx") {
            bail!("nginx answered with errors:\n{output}");
        }
        Ok(Measured {
            requests,
            rate,
            cpu_us: cpu * 1e6 / requests,
        })
    }

    fn wrk(&self, mut command: Command, load: Duration, traffic: Traffic) -> Command {
        let connections = traffic.connections.to_string();
        command.args([
            "-t",
            "1",
            "-c",
            &connections,
            "-d",
            &format!("{}s", load.as_secs()),
        ]);
        if !traffic.keep_alive {
            command.args(["-H", "Connection: close"]);
        }
        command.arg(format!("http://{}/", self.port.address()));
        command
    }

    /// Has it driven until what is returned is dropped. Kept connections are all open by then, so that what is measured
    /// from now on is requests.
    pub fn driven(&self, traffic: Traffic) -> Result<Driven> {
        let before = self.rest()?;
        let mut driven = match traffic.ends {
            Ends::Both => {
                // Of its own, so that its end is nobody else's.
                let cgroup = Cgroup::unique("bench-wrk")?;
                let wrk = self.wrk(cgroup.command("wrk"), FOREVER, traffic);
                Driven::Wrk(Process::start(wrk)?, cgroup)
            }
            Ends::Server => {
                let close = if traffic.keep_alive {
                    ""
                } else {
                    "Connection: close\r\n"
                };
                let request = format!("GET / HTTP/1.1\r\nHost: bench\r\n{close}\r\n");
                let number = self.port.number;
                Driven::Far(Far::start(
                    number,
                    traffic.connections,
                    &request,
                    traffic.keep_alive,
                )?)
            }
        };
        let before = before.requests;
        Clock::default().until("clients to open their connections", OPENING, || {
            driven.check_alive()?;
            let now = self.status()?;
            // One of them asks for the status.
            let open = now.connections > traffic.connections || !traffic.keep_alive;
            Ok(open && now.requests > before + traffic.connections as u64)
        })?;
        Ok(driven)
    }

    /// Waits until nobody is connected but who asks.
    pub fn rest(&self) -> Result<Status> {
        Clock::default().find("connections to end", OPENING, || {
            Ok(Some(self.status()?).filter(|status| status.connections <= 1))
        })
    }

    /// What it has done so far.
    pub fn status(&self) -> Result<Status> {
        let (code, body) = http::get(self.port.address(), STATUS, OPENING)?;
        ensure!(code == 200, "nginx has no {STATUS}: {code}");
        read_status(&body).with_context(|| format!("not nginx's status:\n{body}"))
    }
}

/// Longer than anything that is measured, in whole seconds.
const FOREVER: Duration = Duration::from_hours(1);

/// Clients at work; they stop when this is dropped.
pub enum Driven {
    /// On the loopback.
    Wrk(
        Process,
        #[expect(dead_code, reason = "removed after the process")] Cgroup,
    ),
    /// Without sockets here.
    Far(Far),
}

impl Driven {
    /// Fails when they have ended.
    pub fn check_alive(&mut self) -> Result<()> {
        match self {
            Self::Wrk(wrk, _) => wrk.check_alive().context("wrk"),
            Self::Far(far) => far.check_alive(),
        }
    }
}

/// What nginx says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Open connections.
    pub connections: usize,
    /// Requests so far.
    pub requests: u64,
}

/// Of the text of nginx's `stub_status`.
fn read_status(text: &str) -> Option<Status> {
    let connections = text
        .lines()
        .find_map(|line| line.strip_prefix("Active connections:"))?;
    let mut lines = text
        .lines()
        .skip_while(|line| !line.starts_with("server accepts"));
    let counts = lines.nth(1)?;
    Some(Status {
        connections: connections.trim().parse().ok()?,
        requests: counts.split_whitespace().nth(2)?.parse().ok()?,
    })
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master takes its worker with it; it may have ended by itself.
        let _ = self.process.stop();
    }
}

/// Requests and requests per second.
fn read_wrk(output: &str) -> Option<(f64, f64)> {
    let requests = output
        .lines()
        .find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())?;
    let rate = output
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok())?;
    Some((requests, rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_what_wrk_prints_when_read_then_requests_and_rate_are_found() {
        let output = "Running 1s test @ http://127.0.0.1/\n  1 threads and 32 connections\n  Thread Stats   Avg\n  \
                      43210 requests in 1.01s, 7.0MB read\nRequests/sec:  42782.18\nTransfer/sec:      7.1MB\n";
        assert_eq!(read_wrk(output), Some((43210.0, 42782.18)));
        assert_eq!(read_wrk("unable to connect"), None);
    }

    #[test]
    fn given_nginxs_status_when_read_then_connections_and_requests_are_found() {
        let text = "Active connections: 17 \nserver accepts handled requests\n 20 20 6543 \nReading: 0 Writing: 1 Waiting: 16 \n";
        assert_eq!(
            read_status(text),
            Some(Status {
                connections: 17,
                requests: 6543
            })
        );
        assert_eq!(read_status("404 Not Found"), None);
    }
}
