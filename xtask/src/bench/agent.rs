//! A running agent, and what `/proc` and its own `/metrics` tell of it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
use testkit::{agent, metrics};

use super::Setup;

/// The agent, with a state directory of its own; ended when dropped.
pub struct Agent {
    running: testkit::Agent,
    _state: TempDir,
}

impl Agent {
    /// Starts it and waits until it watches.
    pub fn start(setup: &Setup) -> Result<Self> {
        let state = tempfile::tempdir().context("making a state directory")?;
        Ok(Self {
            running: testkit::Agent::start(command(setup, state.path()))?,
            _state: state,
        })
    }

    /// Sum of all series of a metric; 0 for one that is not there.
    pub fn metric(&self, name: &str) -> Result<f64> {
        Ok(metrics::sum(&self.running.get("/metrics")?, name))
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.running.pid().as_raw()
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

/// What starts it.
pub fn command(setup: &Setup, state: &Path) -> Command {
    let mut command = agent::run(&setup.agent);
    command.arg("--state-dir").arg(state);
    command
}

/// CPU that a process took so far, of its own and in the kernel.
pub fn cpu(pid: i32) -> Result<(Duration, Duration)> {
    let stat = procfs::process::Process::new(pid).and_then(|process| process.stat());
    let stat = stat.context("reading the state of a process")?;
    let per_second = procfs::ticks_per_second();
    #[expect(clippy::cast_precision_loss, reason = "ticks of a few hours at most")]
    let time = |ticks: u64| Duration::from_secs_f64(ticks as f64 / per_second as f64);
    Ok((time(stat.utime), time(stat.stime)))
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Gently, so that its programs are detached before the next run; it may have ended by itself.
        let _ = self.running.stop();
    }
}
