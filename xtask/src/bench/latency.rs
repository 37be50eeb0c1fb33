//! From SIGKILL of a server with a request in flight to the metric that counts it.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::agent::Agent;
use super::load::Cgroup;
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
print(listener.getsockname()[1], flush=True)
connection = listener.accept()[0]
connection.recv(4096)
print('read', flush=True)
time.sleep(3600)
";

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Where the run went well it is dead already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Kills a server again and again, each in a cgroup of its own.
pub fn measure(setup: &Setup) -> Result<Table> {
    let agent = Agent::start(setup)?;
    let times = (0..RUNS)
        .map(|index| once(&agent, index))
        .collect::<Result<Vec<f64>>>()?;
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

fn once(agent: &Agent, index: usize) -> Result<f64> {
    let cgroup = Cgroup::new(&format!("latency-{index}"))?;
    let child = cgroup
        .command("python3")
        .args(["-c", SERVER])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut server = Server(child.context("cannot start python3")?);
    let mut lines = BufReader::new(server.0.stdout.take().context("the server's stdout is piped")?).lines();
    let mut line = || {
        lines
            .next()
            .context("the server ended")?
            .context("reading from the server")
    };
    let port: u16 = line()?.parse().context("the server did not say its port")?;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connecting to the server")?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
        .context("asking the server")?;
    ensure!(line()? == "read", "the server did not read the request");
    let before = agent.metric(METRIC)?;
    let start = Instant::now();
    server.0.kill().context("killing the server")?;
    while agent.metric(METRIC)? <= before {
        ensure!(
            start.elapsed() < DEADLINE,
            "{METRIC} did not count the request within {DEADLINE:?}"
        );
    }
    Ok(start.elapsed().as_secs_f64() * 1e3)
}
