//! An agent of one's own, seen from outside: its process, its log, `/metrics`, `/api/v1`.

use std::{ffi::OsStr, net::SocketAddr, path::Path, process::Command, process::ExitStatus, time::Duration};

use anyhow::{Context as _, ensure};
use nix::unistd::Pid;
use serde_json::Value;

use crate::{
    clock::{Clock, PATIENCE},
    http, metrics,
    process::{Process, command},
};

/// Whether the agent can run on this machine with all privileges there are, as its doctor says.
pub fn runs_here(binary: impl AsRef<OsStr>) -> bool {
    command(binary)
        .arg("doctor")
        .output()
        .is_ok_and(|doctor| doctor.status.success())
}

/// `BINARY run` at a port that the kernel chooses. It leaves nothing in the kernel, unless it gets a `--pin-dir`.
pub fn run(binary: impl AsRef<OsStr>) -> Command {
    let mut command = command(binary);
    command.env("DRAINWATCH_PIN_DIR", "off");
    command.args(["run", "--web.listen-address", "127.0.0.1:0"]);
    command
}

/// A running agent. Killed when dropped.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    address: SocketAddr,
    clock: Clock,
}

impl Agent {
    /// Starts a command, which is the agent or becomes it, and waits until it watches. Fails with what it said when it
    /// ends instead.
    pub fn start(command: Command) -> anyhow::Result<Self> {
        Self::watching(Process::start(command)?, Clock::default())
    }

    /// The same; its log is left in the file `log`, and deadlines are those of `clock`.
    pub fn start_logging(command: Command, log: &Path, clock: Clock) -> anyhow::Result<Self> {
        Self::watching(Process::start_logging(command, log, clock)?, clock)
    }

    fn watching(process: Process, clock: Clock) -> anyhow::Result<Self> {
        let line = process.line("watching every workload").context("the agent")?;
        let address = address_in(&line).with_context(|| format!("no address: {line}"))?;
        Ok(Self {
            process,
            address,
            clock,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The first line of its log with this in it, as soon as there is one.
    pub fn line(&self, part: &str) -> anyhow::Result<String> {
        self.process.line(part)
    }

    /// The lines of its log so far with this in them.
    pub fn lines(&self, part: &str) -> Vec<String> {
        self.process.lines(part)
    }

    /// Fails when it has ended.
    pub fn check_alive(&self) -> anyhow::Result<()> {
        self.process.check_alive().context("the agent")
    }

    /// Status and body of an answer.
    pub fn ask(&self, path: &str) -> anyhow::Result<(u16, String)> {
        http::get(self.address, path, self.clock.stretch(PATIENCE))
    }

    /// The body of a 200.
    pub fn get(&self, path: &str) -> anyhow::Result<String> {
        let (status, body) = self.ask(path)?;
        ensure!(status == 200, "GET {path}: {status} {body}");
        Ok(body)
    }

    /// Probes that do not work.
    pub fn degraded(&self) -> anyhow::Result<Vec<String>> {
        Ok(metrics::degraded(&self.get("/metrics")?))
    }

    /// All its reports, newest first.
    pub fn shutdowns(&self) -> anyhow::Result<Vec<Value>> {
        shutdowns(&self.get("/api/v1/shutdowns?limit=1000")?)
    }

    /// Its reports of a workload, newest first; the path of its cgroup ends so.
    pub fn reports(&self, cgroup: &str) -> anyhow::Result<Vec<Value>> {
        let mut all = self.shutdowns()?;
        all.retain(|report| is_of(report, cgroup));
        Ok(all)
    }

    /// Its reports of the workload of this name, newest first, however many there are of others.
    pub fn reports_named(&self, workload: &str) -> anyhow::Result<Vec<Value>> {
        shutdowns(&self.get(&format!("/api/v1/shutdowns?limit=1000&workload={workload}"))?)
    }

    /// The newest report of a workload, once it has ended.
    pub fn ended_report(&self, cgroup: &str) -> anyhow::Result<Value> {
        self.clock.find("a report that has ended", PATIENCE, || {
            let mut reports = self.reports(cgroup)?.into_iter();
            Ok(reports.find(|report| !report["ended_at"].is_null()))
        })
    }

    /// SIGTERM; how it ended, and how long that took.
    pub fn stop(&self) -> anyhow::Result<(ExitStatus, Duration)> {
        self.process.stop().context("the agent")
    }
}

/// The reports of an answer of `/api/v1/shutdowns`.
pub fn shutdowns(answer: &str) -> anyhow::Result<Vec<Value>> {
    let mut answer: Value = serde_json::from_str(answer)?;
    match answer["shutdowns"].take() {
        Value::Array(reports) => Ok(reports),
        _ => anyhow::bail!("no `shutdowns` in the answer: {answer}"),
    }
}

/// Whether a report is of the workload whose cgroup's path ends so.
pub fn is_of(report: &Value, cgroup: &str) -> bool {
    let path = report["workload"]["cgroup"].as_str();
    path.is_some_and(|path| path.ends_with(cgroup))
}

/// The address in a line of the log, as text or as JSON.
pub fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("address")?;
    let address = rest.trim_start_matches(['"', '=', ':']);
    address.split('"').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_line_of_the_log_when_read_then_its_address_is_found_in_both_formats() {
        let text = "INFO watching every workload of this node version=\"0.1.0\" address=\"[::]:9669\"";
        assert_eq!(address_in(text), Some("[::]:9669".parse().unwrap()));
        let json = r#"{"level":"INFO","version":"0.1.0","address":"127.0.0.1:9669","message":"watching"}"#;
        assert_eq!(address_in(json), Some("127.0.0.1:9669".parse().unwrap()));
        assert_eq!(address_in("INFO address=\"somewhere\""), None);
        assert_eq!(address_in("INFO nothing"), None);
    }
}
