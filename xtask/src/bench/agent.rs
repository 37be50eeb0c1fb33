//! A running agent, and what `/proc` and its own `/metrics` tell of it.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::Setup;

/// Longest wait for the agent to be ready, and to go.
const DEADLINE: Duration = Duration::from_secs(30);

/// The agent, with a state directory of its own; ended when dropped.
pub struct Agent {
    child: Child,
    address: SocketAddr,
    state: TempDir,
}

/// A port that nobody listens on.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr().context("looking for a free port")?.port())
}

impl Agent {
    /// Starts it and waits until it says that it is ready.
    pub fn start(setup: &Setup) -> Result<Self> {
        let state = tempfile::tempdir().context("making a state directory")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let log = fs::File::create(state.path().join("agent.log")).context("making the agent's log")?;
        let child = Command::new(&setup.agent)
            .args(["run", "--web.listen-address", &address.to_string(), "--state-dir"])
            .arg(state.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("sharing the agent's log")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", setup.agent.display()))?;
        let mut agent = Self {
            child,
            address,
            state,
        };
        let start = Instant::now();
        loop {
            if let Some(status) = agent.child.try_wait().context("waiting for the agent")? {
                bail!("the agent ended with {status}: {}", agent.log());
            }
            if agent
                .get("/readyz")
                .is_ok_and(|response| response.starts_with("HTTP/1.1 200"))
            {
                return Ok(agent);
            }
            ensure!(
                start.elapsed() < DEADLINE,
                "the agent is not ready after {DEADLINE:?}: {}",
                agent.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.state.path().join("agent.log")).unwrap_or_default()
    }

    /// A whole HTTP response.
    fn get(&self, path: &str) -> Result<String> {
        let mut stream =
            TcpStream::connect_timeout(&self.address, DEADLINE).context("connecting to the agent")?;
        stream
            .set_read_timeout(Some(DEADLINE))
            .context("setting a timeout")?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).context("asking the agent")?;
        let mut response = Vec::new();
        stream
            .read_to_end(&mut response)
            .context("reading from the agent")?;
        Ok(String::from_utf8_lossy(&response).into_owned())
    }

    /// Sum of all series of a metric; 0 for one that is not there.
    pub fn metric(&self, name: &str) -> Result<f64> {
        Ok(sum_of(&self.get("/metrics")?, name))
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        Pid::from_raw(self.child.id().cast_signed()).as_raw()
    }

    /// Its anonymous memory, in KiB: what its own data takes, not its program text nor the mapped ring buffer.
    pub fn anonymous_kib(&self) -> Result<u64> {
        let status = procfs::process::Process::new(self.pid()).and_then(|process| process.status());
        status
            .context("reading the agent's status")?
            .rssanon
            .context("this kernel does not tell RssAnon")
    }

    /// How often its threads went to sleep or were put off the CPU so far.
    pub fn context_switches(&self) -> Result<u64> {
        let process = procfs::process::Process::new(self.pid()).context("reading the agent's process")?;
        let mut sum = 0;
        for task in process.tasks().context("listing the agent's threads")? {
            let status = task
                .and_then(|task| task.status())
                .context("reading a thread's status")?;
            sum += status.voluntary_ctxt_switches.unwrap_or_default();
            sum += status.nonvoluntary_ctxt_switches.unwrap_or_default();
        }
        Ok(sum)
    }

    /// Ids of the programs that it holds, by what the kernel says of its file descriptors and links.
    pub fn program_ids(&self) -> Result<Vec<u32>> {
        let directory = format!("/proc/{}/fdinfo", self.pid());
        let mut ids = Vec::new();
        for entry in fs::read_dir(&directory)
            .with_context(|| format!("reading {directory}"))?
            .flatten()
        {
            // A descriptor may be closed meanwhile.
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            ids.extend(
                text.lines()
                    .find_map(|line| line.strip_prefix("prog_id:")?.trim().parse::<u32>().ok()),
            );
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Gently, so that its programs are detached before the next run; it may have ended by itself.
        let _ = kill(Pid::from_raw(self.pid()), Signal::SIGTERM);
        let start = Instant::now();
        while start.elapsed() < DEADLINE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sum_of(exposition: &str, name: &str) -> f64 {
    exposition
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with(['{', ' ']))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_an_exposition_when_summed_then_all_series_of_the_metric_count_and_no_others() {
        let text = "# TYPE a_total counter\na_total{x=\"1\"} 2\na_total{x=\"b c\"} 3\na_total_more 9\nb 7\n";
        assert!((sum_of(text, "a_total") - 5.0).abs() < f64::EPSILON);
        assert!((sum_of(text, "b") - 7.0).abs() < f64::EPSILON);
        assert!(sum_of(text, "c").abs() < f64::EPSILON);
    }
}
