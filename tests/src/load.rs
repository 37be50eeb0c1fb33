//! `--load`: an nginx at full speed beside the cases, so that they meet a busy kernel.
//!
//! A kernel that preempts programs, or interrupts them, skips runs of theirs. What that costs shows only when they run
//! all the time: in cases that fail, and in the agent's own count of skipped runs.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, bail, ensure};
use testkit::{Clock, PATIENCE, Port, Process, process};

use crate::agent::Agent;

/// Connections of each of the two clients.
const CONNECTIONS: &str = "8";
/// Runs of the programs that every request costs at the least: a read and a write at either end.
const RUNS_PER_REQUEST: u64 = 4;
/// Of so many runs one may be skipped.
const RUNS_PER_SKIP: u64 = 1_000_000;

/// Who tells no more than the name of what waits unread. The kernel skips it where it is preempted; nothing is missed.
const NAMES: &str = "socket_close";

/// The server and its clients, until it is dropped.
pub struct Load {
    /// Held for its port and its end.
    _nginx: Process,
    _port: Port,
    clients: Vec<JoinHandle<anyhow::Result<u64>>>,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// Starts all of it: keep-alive, and a connection per request.
    pub fn start(out: &Path, clock: Clock) -> anyhow::Result<Self> {
        let port = Port::find()?;
        let directory = out.join("load");
        fs::create_dir_all(&directory)?;
        let mut command = process::command("nginx");
        command.arg("-c").arg(configuration(&directory, &port)?);
        let nginx = Process::start_logging(command, &directory.join("nginx.log"), clock)?;
        clock.until("the load's nginx to listen", PATIENCE, || {
            nginx.check_alive()?;
            Ok(TcpStream::connect(port.address()).is_ok())
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let url = format!("http://{}/", port.address());
        let clients = [None, Some("Connection: close")].map(|header| {
            let (url, stop) = (url.clone(), Arc::clone(&stop));
            thread::spawn(move || {
                let mut requests = 0;
                while !stop.load(Ordering::Relaxed) {
                    requests += wrk(&url, header)?;
                }
                Ok(requests)
            })
        });
        Ok(Self {
            _nginx: nginx,
            _port: port,
            clients: clients.into(),
            stop,
        })
    }

    /// Ends it, and compares the runs that the agent counts as skipped with those there were at the least.
    pub fn stop(mut self, agent: &Agent) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let mut requests = 0;
        for client in self.clients.drain(..) {
            let Ok(served) = client.join() else {
                bail!("a client of the load panicked");
            };
            requests += served?;
        }
        ensure!(requests > 0, "the load served nothing");
        let metrics = agent.metrics()?;
        let mut by_probe = metrics
            .iter()
            .filter(|series| series.name == "drainwatch_probe_skipped_runs_total")
            .peekable();
        ensure!(by_probe.peek().is_some(), "the agent counts no skipped runs");
        let skipped: Vec<_> = by_probe
            .filter(|series| {
                series.value > 0.0 && series.labels.get("probe").is_none_or(|probe| probe != NAMES)
            })
            .map(|series| format!("{} of {:?}", series.value, series.labels.get("probe")))
            .collect();
        let runs = requests * RUNS_PER_REQUEST;
        println!("load: {requests} requests, more than {runs} runs, skipped: {skipped:?}");
        ensure!(
            skipped.len() as u64 <= runs / RUNS_PER_SKIP,
            "runs were skipped: {}",
            skipped.join(", ")
        );
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn configuration(directory: &Path, port: &Port) -> anyhow::Result<PathBuf> {
    let file = directory.join("nginx.conf");
    let text = format!(
        "daemon off; worker_processes 2; pid {directory}/pid; error_log {directory}/error.log;\n\
         events {{ worker_connections 256; }}\n\
         http {{ access_log off; keepalive_requests 1000000000;\n\
         server {{ listen {address} reuseport; location / {{ return 200 ok; }} }} }}\n",
        directory = directory.display(),
        address = port.address(),
    );
    fs::write(&file, text)?;
    Ok(file)
}

/// Two seconds of requests; how many were answered.
fn wrk(url: &str, header: Option<&str>) -> anyhow::Result<u64> {
    let mut command = process::command("wrk");
    command.args(["--threads", "1", "--connections", CONNECTIONS, "--duration", "2s"]);
    if let Some(header) = header {
        command.args(["--header", header]);
    }
    let output = command.arg(url).output().context("cannot start wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let requests = text
        .lines()
        .find_map(|line| line.split_once(" requests in ")?.0.trim().parse().ok());
    requests.with_context(|| {
        format!(
            "wrk told of no requests: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        )
    })
}
