//! From SIGKILL of a server with a request in flight to the metric that counts it.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use testkit::{Cgroup, Process};

use super::agent::Agent;
use super::numbers::{median, range};
use super::{Setup, Table};

const RUNS: usize = 20;
const METRIC: &str = "drainwatch_severed_requests_total";
/// When a run is given up.
const DEADLINE: Duration = Duration::from_secs(10);

/// Says its port, reads one request, says so, and never answers.
const SERVER: &str = "\
import socket, time
listener = socket.create_server(('127.0.0.1', 0))
print('listening', listener.getsockname()[1], flush=True)
connection = listener.accept()[0]
connection.recv(4096)
print('read', flush=True)
time.sleep(3600)
";

/// Kills a server again and again, each in a cgroup of its own.
pub fn measure(setup: &Setup) -> Result<Table> {
    let agent = Agent::start(setup)?;
    let times = (0..RUNS).map(|_| once(&agent)).collect::<Result<Vec<f64>>>()?;
    let (_, most) = range(&times);
    Ok(Table {
        title: "From SIGKILL to the metric".to_owned(),
        columns: vec!["runs", "median, ms", "longest, ms"],
        rows: vec![vec![
            RUNS.to_string(),
            format!("{:.1}", median(&times)),
            format!("{most:.1}"),
        ]],
        notes: vec![format!(
            "A server has read a request and never answers; the time runs from the call of kill(2) until `/metrics`, asked \
             again and again, counts it in `{METRIC}`. The asking is part of the time."
        )],
    })
}

fn once(agent: &Agent) -> Result<f64> {
    let cgroup = Cgroup::unique("bench-latency")?;
    let mut server = cgroup.command("python3");
    server.args(["-c", SERVER]);
    let server = Process::start(server)?;
    let line = server.line("listening ")?;
    let port = line.strip_prefix("listening ").and_then(|port| port.parse().ok());
    let port: u16 = port.context("the server did not say its port")?;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connecting to the server")?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
        .context("asking the server")?;
    server.line("read")?;
    let before = agent.metric(METRIC)?;
    let start = Instant::now();
    server.signal(Signal::SIGKILL)?;
    while agent.metric(METRIC)? <= before {
        ensure!(
            start.elapsed() < DEADLINE,
            "{METRIC} did not count the request within {DEADLINE:?}"
        );
    }
    Ok(start.elapsed().as_secs_f64() * 1e3)
}
