//! Ways to be stopped, and things that are stopped, which the ledger's servers do not take: jobs, processes without a
//! main thread, successors, shells, a workload's connections with itself or that are read and written at once. What
//! clients saw is the oracle here too.

mod connections;
mod duplex;
mod jobs;
mod late;
mod processes;

use std::{
    fmt::Debug,
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use testkit::{Agent, Cgroup, Port, Process, agent, cgroup, runs_here};

const BINARY: &str = env!("CARGO_BIN_EXE_drainwatch");

/// For what takes two seconds of CPU time on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(90);

/// A way to be stopped, and what the report must say then.
type Way = fn(&Agent) -> anyhow::Result<()>;

/// A program in a cgroup of its own, watched by an agent.
struct Scene<'a> {
    agent: &'a Agent,
    cgroup: Cgroup,
    port: Port,
    process: Process,
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/ways")
        .join(name)
}

impl<'a> Scene<'a> {
    /// A job, at work.
    fn job(agent: &'a Agent, way: &str) -> anyhow::Result<Self> {
        Self::start(agent, "exec python3 \"$0\" \"$2\"", "job.py", way)
    }

    /// A server that listens.
    fn server(agent: &'a Agent, way: &str) -> anyhow::Result<Self> {
        Self::start(agent, "exec python3 \"$0\" \"$1\" \"$2\"", "server.py", way)
    }

    /// A shell does this with the script, the port and the way.
    fn start(agent: &'a Agent, shell: &str, name: &str, way: &str) -> anyhow::Result<Self> {
        let (cgroup, port) = (Cgroup::unique("ways")?, Port::find()?);
        let mut command = cgroup.command("sh");
        command
            .args(["-c", shell])
            .arg(script(name))
            .arg(port.number.to_string())
            .arg(way);
        let process = Process::start(command)?;
        process.line("begun")?;
        Ok(Self {
            agent,
            cgroup,
            port,
            process,
        })
    }

    /// Asks, and waits until the server has the request.
    fn ask(&self, path: &str) -> anyhow::Result<TcpStream> {
        let client = self.send(path)?;
        self.process.line(&format!("got {path}"))?;
        Ok(client)
    }

    fn send(&self, path: &str) -> anyhow::Result<TcpStream> {
        let mut client = self.connect(path)?;
        client.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())?;
        Ok(client)
    }

    /// `what` it is for is said where it fails.
    fn connect(&self, what: &str) -> anyhow::Result<TcpStream> {
        let client = TcpStream::connect(("127.0.0.1", self.port.number)).with_context(|| {
            let port = self.port.number;
            let sockets = Command::new("ss")
                .args(["-tanp", "sport", "=", &port.to_string()])
                .output();
            let sockets = sockets.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            format!("{what} to port {port}, where there are: {sockets:?}")
        })?;
        client.set_read_timeout(Some(PATIENCE))?;
        Ok(client)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process.signal(signal)
    }

    /// Stops its threads; one that is stopped accepts nothing.
    fn freeze(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGSTOP)?;
        let tasks = format!("/proc/{}/task", self.process.pid());
        let is_stopped = |task: fs::DirEntry| {
            // The state stands behind the name, proc_pid_stat(5).
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ")
                .is_some_and(|(_, rest)| rest.starts_with('T'))
        };
        testkit::within("every thread to stop", || {
            fs::read_dir(&tasks).ok()?.flatten().all(is_stopped).then_some(())
        });
        Ok(())
    }

    /// SIGKILL to all that is left.
    fn kill(&self) -> anyhow::Result<()> {
        Ok(cgroup::kill(self.cgroup.directory())?)
    }

    fn report(&self) -> anyhow::Result<Value> {
        self.agent.ended_report(self.cgroup.name())
    }
}

/// How many bytes came until the server's end of the connection was gone.
fn lost(mut client: TcpStream) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    if let Err(error) = client.read_to_end(&mut bytes) {
        ensure!(
            error.kind() == ErrorKind::ConnectionReset,
            "the client waited: {error}"
        );
    }
    ensure!(bytes.is_empty(), "the client got an answer: {bytes:?}");
    Ok(())
}

fn answered(client: &mut TcpStream) -> anyhow::Result<()> {
    let mut bytes = [0; 1024];
    let count = client.read(&mut bytes)?;
    ensure!(count > 0, "the client got no answer");
    Ok(())
}

fn codes(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().into_iter().flatten();
    findings.filter_map(|finding| finding["code"].as_str()).collect()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is called with what was just made"
)]
fn is<T: PartialEq + Debug>(what: &str, seen: T, wanted: T, report: &Value) -> anyhow::Result<()> {
    ensure!(
        seen == wanted,
        "{what}: {seen:?} instead of {wanted:?} in {report:#}"
    );
    Ok(())
}

/// What the timeline says of the exit of the main process.
fn exit_of(report: &Value) -> &str {
    let mut moments = report["timeline"].as_array().into_iter().flatten();
    let exit = moments.find(|moment| moment["what"] == "exit" && moment["pid"] == report["exit"]["pid"]);
    exit.and_then(|exit| exit["detail"].as_str()).unwrap_or_default()
}

#[test]
fn given_a_way_to_be_stopped_when_it_is_taken_then_the_report_says_what_clients_saw() {
    if !runs_here(BINARY) {
        // Without root no agent runs; that it then refuses is the command line's own test.
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("drainwatch.toml");
    fs::write(&config, "[shutdown]\nlinger = \"1s\"\n").unwrap();
    let mut run = agent::run(BINARY);
    run.arg("--config").arg(&config);
    let agent = Agent::start(run).context("no agent").unwrap();
    let failed: Vec<String> = thread::scope(|scope| {
        let agent = &agent;
        let ways: Vec<_> = [
            jobs::WAYS,
            processes::WAYS,
            connections::WAYS,
            duplex::WAYS,
            late::WAYS,
        ]
        .concat()
        .into_iter()
        .map(|(name, way)| (name, scope.spawn(move || way(agent))))
        .collect();
        let ended = ways.into_iter().map(|(name, way)| (name, way.join()));
        ended
            .filter_map(|(name, ended)| match ended {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{name}: {error:#}")),
                Err(_) => Some(format!("{name}: panicked")),
            })
            .collect()
    });
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
