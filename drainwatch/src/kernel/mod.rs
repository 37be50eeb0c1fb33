//! The kernel side: offsets, programs, ring, seeds. The only module with `unsafe`.
//!
//! [`Kernel::start`] loads and attaches; [`Kernel::next_events`] waits for the ring and decodes.

use std::time::Duration;

use serde::Serialize;

use crate::event::Event;

/// How much of the payload is captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CaptureMode {
    /// The first bytes of requests and responses.
    #[default]
    Heads,
    /// No payload at all: every protocol is judged by turn-taking.
    None,
}

/// State of one probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProbeStatus {
    /// Name of the probe (`drainwatch_probe_status{probe=…}`).
    pub probe: &'static str,
    /// It is attached and works.
    pub ok: bool,
    /// What it is for, or, when not ok, what is lost without it.
    pub gives: &'static str,
    /// Why it is not ok.
    pub error: Option<String>,
    /// The agent cannot run without it.
    pub required: bool,
}

/// What the doctor and the log say of this machine.
#[derive(Debug, Clone, Serialize)]
pub struct Diagnosis {
    /// `uname -r`.
    pub kernel: String,
    /// Where the unified cgroup hierarchy is mounted.
    pub cgroup_root: Option<String>,
    /// Capabilities that are needed and missing, with what needs them.
    pub missing_capabilities: Vec<(String, String)>,
    /// Every probe.
    pub probes: Vec<ProbeStatus>,
    /// One sentence when the agent cannot run here at all.
    pub refusal: Option<String>,
}

/// A counter kept by the kernel side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Losses {
    /// Events put into the ring since load.
    pub events: u64,
    /// Lost: ring full.
    pub ring_full: u64,
    /// Lost: socket storage could not be allocated.
    pub no_storage: u64,
    /// Lost: a map was full.
    pub map_full: u64,
    /// Payload that could not be read.
    pub payload: u64,
    /// Program runs that the kernel skipped (`recursion_misses`).
    pub skipped_runs: u64,
    /// Ring entries that userspace could not decode.
    pub undecodable: u64,
}

/// TCP resets of one cgroup since load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resets {
    /// cgroup v2 id.
    pub cgroup: u64,
    /// Sent by us (else received).
    pub sent: bool,
    /// While the workload was shutting down.
    pub shutdown: bool,
    /// How many.
    pub count: u64,
}

/// Why the kernel side could not start.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// This kernel, or these privileges, cannot run drainwatch; the sentence says what is missing and what to do.
    #[error("{0}")]
    Refused(String),
    /// Something failed that should not.
    #[error("{what}: {why}")]
    Failed {
        /// What was being done.
        what: String,
        /// The cause.
        why: String,
    },
}

/// Options of the kernel side.
#[derive(Debug, Clone, Default)]
pub struct KernelOptions {
    /// How much payload is captured.
    pub capture: CaptureMode,
    /// Signals that count as stop signals besides SIGTERM, SIGINT and SIGQUIT.
    pub stop_signals: Vec<u32>,
}

/// The loaded and attached programs.
#[derive(Debug)]
pub struct Kernel {}

impl Kernel {
    /// Loads, attaches, seeds. The events of the seed (cgroups, listeners) are the first that
    /// [`Kernel::next_events`] gives.
    pub fn start(_options: &KernelOptions) -> Result<Self, KernelError> {
        Err(KernelError::Refused("not built yet".into()))
    }

    /// What can run here, without keeping anything attached.
    pub fn diagnose() -> Diagnosis {
        Diagnosis {
            kernel: String::new(),
            cgroup_root: None,
            missing_capabilities: vec![],
            probes: vec![],
            refusal: None,
        }
    }

    /// Waits until the ring has something, or `timeout`; returns the decoded events, oldest first.
    pub async fn next_events(&mut self, _timeout: Option<Duration>) -> Vec<Event> {
        Vec::new()
    }

    /// Everything that is in the ring now, without waiting (used at shutdown).
    pub fn drain(&mut self) -> Vec<Event> {
        Vec::new()
    }

    /// State of each probe.
    pub fn probes(&self) -> &[ProbeStatus] {
        &[]
    }

    /// The kernel side's counters.
    pub fn losses(&mut self) -> Losses {
        Losses {
            events: 0,
            ring_full: 0,
            no_storage: 0,
            map_full: 0,
            payload: 0,
            skipped_runs: 0,
            undecodable: 0,
        }
    }

    /// TCP resets by cgroup.
    pub fn resets(&mut self) -> Vec<Resets> {
        Vec::new()
    }

    /// This cgroup need not report any more; its closed ports are forgotten.
    pub fn stop_cgroup(&mut self, _cgroup: u64) {}

    /// This process need not report any more.
    pub fn stop_process(&mut self, _pid: u32) {}

    /// `usage_usec` of a cgroup.
    pub fn cpu_used_us(&self, _cgroup: u64) -> Option<u64> {
        None
    }

    /// Monotonic and wall clock, read together.
    pub fn clocks() -> (u64, i64) {
        (0, 0)
    }
}
