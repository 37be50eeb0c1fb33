//! The room of the kernel side: offsets, programs, ring, seeds; the ring's bytes become facts. The only room with `unsafe`.
//!
//! May not enter: protocols, names, reports. A fact says what the kernel saw, and what it means is found out above.
//!
//! [`Kernel::start`] loads and attaches; [`Kernel::next_facts`] waits for the ring and decodes.
#![allow(
    unsafe_code,
    reason = "bytes from the kernel become structures here, and nowhere else"
)]

mod arch;
mod btf;
mod cgroups;
mod counters;
mod decode;
mod direct_map;
mod kfuncs;
mod load;
mod marks;
pub mod memory;
mod pins;
mod privileges;
mod probes;
mod ring;
mod served;
mod sets;
mod taking_over;

pub use decode::fact;
use decode::{ends, waiting};
pub use pins::PinError;
pub use served::{Counts, Served};

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use aya::Ebpf;
use drainwatch_core::{
    event::{End, Event, EventKind},
    record::Fact,
};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;
use tracing::debug;

use pins::Pins;
use probes::Attached;
use ring::Ring;

/// How much of the payload is captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CaptureMode {
    /// The first bytes of requests and responses.
    #[default]
    Heads,
    /// Nothing: every request is judged by turn-taking on the wire.
    None,
}

/// What waits unread on a connection is told just before its end, by the same call of the kernel's: how many entries of
/// others may come between the two, and how long it may take at most.
const AHEAD: usize = 4096;
const HELD_NS: u64 = 200_000_000;
/// How soon the ring is looked at again meanwhile: nobody wakes a reader who has not come as far as what is new.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

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
    /// Capabilities that a running agent keeps, with the reason; it gives up all others once it is attached.
    pub kept_capabilities: Vec<(String, String)>,
    /// Every probe.
    pub probes: Vec<ProbeStatus>,
    /// What becomes of the time when no agent runs.
    pub pins: String,
    /// What is not recorded, here or on other kernels.
    pub not_recorded: &'static [&'static str],
    /// One sentence when the agent cannot run here at all.
    pub refusal: Option<String>,
}

/// What no stable hook shows: [`Diagnosis::not_recorded`].
pub const NOT_RECORDED: &[&str] = &[
    "Unix sockets, on any kernel: what is asked by a socket file (nginx and gunicorn, say) is in no report",
    "MPTCP at both ends before Linux 6.5, and HTTP/2 on it anywhere: what the workload ends is `unknown`, with the reason \
     `mptcp`",
];

/// Counters kept by the kernel side, since load.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses {
    /// Events put into the ring.
    pub events: u64,
    /// Lost: ring full.
    pub ring_full: u64,
    /// Lost: socket storage could not be allocated.
    pub no_storage: u64,
    /// Lost: a map was full.
    pub map_full: u64,
    /// Payload that could not be read.
    pub payload: u64,
    /// Runs that the kernel skipped and no other program stood in for, by probe.
    pub skipped_runs: BTreeMap<&'static str, u64>,
    /// Ring entries that userspace could not decode.
    pub undecodable: u64,
    /// Signals that changed nothing, and were not told.
    pub signals_left_out: u64,
    /// Signals beyond what one process may send; their targets are known.
    pub signals_untold: u64,
    /// Requests that were served, and for whose cgroup there was no room. (No evidence of a shutdown.)
    pub served_uncounted: u64,
}

/// Most entries of the ring that are read at once: while they are worked on, the ring fills.
const AT_ONCE: usize = 512;

/// Probes whose skipped runs concern one connection each: the kernel's own positions show the gap there, and what is
/// claimed of that connection is less. Without a run of the last one a request has no name, and is counted all the same.
const CONFINED: [&str; 3] = ["socket_read", "socket_write", "socket_close"];

impl Losses {
    /// Skipped runs, of all probes.
    pub fn skipped(&self) -> u64 {
        self.skipped_runs.values().sum()
    }

    /// Skipped runs that leave no trace where they are missing, so that anything may be.
    pub fn skipped_without_trace(&self) -> u64 {
        let confined: u64 = CONFINED
            .iter()
            .filter_map(|probe| self.skipped_runs.get(probe))
            .sum();
        self.skipped() - confined
    }
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
    /// Where programs and maps are pinned, so that they outlive the agent.
    pub pin_dir: Option<PathBuf>,
    /// Programs in place of those that are built in: an earlier version's, which tests take over from.
    pub object: Option<Vec<u8>>,
}

/// A place in a ring, up to which it was read. A position of another ring means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Number of the ring's map, which no other has until the next boot.
    pub ring: u32,
    /// Bytes since its beginning.
    pub at: u64,
}

/// The loaded and attached programs. Detached when dropped, unless they are pinned.
pub struct Kernel {
    ebpf: Ebpf,
    programs: Vec<Attached>,
    pins: Option<Pins>,
    /// The programs were running before this agent.
    resumed: bool,
    ring: AsyncFd<Ring>,
    ring_id: u32,
    probes: Vec<ProbeStatus>,
    cgroup_root: PathBuf,
    /// Paths of living cgroups, for [`Kernel::cpu_used_us`].
    paths: HashMap<u64, String>,
    /// An entry stays in the ring until the one that belongs to it has come.
    holds: bool,
    /// What the seed told and nobody has asked for yet.
    seeded: Vec<Fact>,
    /// Who counts what was served, until somebody takes it.
    served: Option<Served>,
    undecodable: u64,
    /// The ring held more than was taken out last.
    behind: bool,
    /// cgroups that could not be marked as draining.
    unmarked: u64,
    /// Stop signals of their own that living cgroups have: bit n is signal n.
    stop_signals: HashMap<u64, u64>,
    /// Where anything was unmarked since [`Kernel::settle`]: the processes, each until when.
    unmarked_processes: Option<HashMap<u32, u64>>,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel")
            .field("probes", &self.probes)
            .finish_non_exhaustive()
    }
}

impl Kernel {
    /// Loads, attaches, seeds. The events of the seed (cgroups, then listeners) are the first that
    /// [`Kernel::next_facts`] gives. Needs a tokio runtime.
    pub fn start(options: &KernelOptions) -> Result<Self, KernelError> {
        load::start(options)
    }

    /// What can run here, without keeping anything attached.
    pub fn diagnose(pin_dir: Option<&Path>) -> Diagnosis {
        load::diagnose(pin_dir)
    }

    /// Removes what is pinned below this directory: says whether there was anything. Programs without an agent end by
    /// that; those of an agent that runs cannot be removed.
    pub fn uninstall(dir: &Path) -> Result<bool, PinError> {
        match dir.try_exists() {
            Ok(true) => Pins::open(dir)?.remove_all(),
            Ok(false) => Ok(false),
            Err(why) => Err(PinError::Io {
                path: dir.into(),
                why,
            }),
        }
    }

    /// Gives up every capability that is not needed from now on, for good, and returns those that stay with the
    /// reason. Threads that exist already keep theirs: call it before any is started.
    pub fn drop_privileges(&mut self) -> Result<Vec<(String, String)>, KernelError> {
        privileges::let_go(|| load::uses_map(&mut self.ebpf)).map_err(|error| KernelError::Failed {
            what: "giving up capabilities".into(),
            why: error.to_string(),
        })
    }

    /// Gives up every capability of the calling thread, which is to use no `Kernel`: for a thread that is older than
    /// [`Kernel::drop_privileges`].
    pub fn drop_privileges_of_thread() -> Result<(), KernelError> {
        privileges::let_go_of_all().map_err(|error| KernelError::Failed {
            what: "giving up capabilities".into(),
            why: error.to_string(),
        })
    }

    /// Waits until the ring has something, or `timeout`; returns what it tells, oldest first.
    pub async fn next_facts(&mut self, timeout: Option<Duration>) -> Vec<Fact> {
        let there = self.drain();
        if !there.is_empty() {
            return there;
        }
        // What was read tells nothing. It is given back: nobody wakes a reader who has not come as far as what is new.
        self.commit();
        let timeout = if self.holds {
            Some(timeout.map_or(LOOK_AGAIN, |timeout| timeout.min(LOOK_AGAIN)))
        } else {
            timeout
        };
        let readable = self.ring.readable_mut();
        let ready = match timeout {
            Some(timeout) => tokio::time::timeout(timeout, readable).await.ok(),
            None => Some(readable.await),
        };
        match ready {
            Some(Ok(mut guard)) => guard.clear_ready(),
            Some(Err(error)) => debug!(%error, "waiting for the ring"),
            None => {}
        }
        self.drain()
    }

    /// There was more in the ring than the last call gave.
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// What is in the ring now, without waiting: no more than a part of it, or who fills it could keep the caller from
    /// everything else. Room is made for it by [`Kernel::commit`].
    pub fn drain(&mut self) -> Vec<Fact> {
        let mut facts = std::mem::take(&mut self.seeded);
        let ring = self.ring.get_mut();
        let most = facts.len() + AT_ONCE;
        let mut unread: HashMap<u64, Vec<u8>> = HashMap::new();
        (self.behind, self.holds) = (true, false);
        // What waits unread is payload, which nobody writes down: so it is taken out only together with the end that it
        // belongs to.
        while facts.len() < most || !unread.is_empty() {
            let before = ring.position();
            let Some(entry) = ring.next() else {
                self.behind = false;
                break;
            };
            if let Some(waiting) = waiting(entry) {
                let connection = waiting.connection;
                match ring.follows(AHEAD, |entry| ends(entry) == Some(connection)) {
                    Some(true) => {
                        unread.insert(connection, waiting.bytes);
                    }
                    Some(false) if Self::clocks().0.saturating_sub(waiting.at_ns) < HELD_NS => {
                        ring.back_to(before);
                        (self.behind, self.holds) = (false, true);
                        break;
                    }
                    // Its end is lost, and counted.
                    Some(false) | None => {}
                }
                continue;
            }
            match fact(entry) {
                Some(Fact::Connection(mut recorded)) => {
                    if recorded.connection.end != End::Open
                        && let Some(waiting) = unread.remove(&recorded.connection.id)
                    {
                        recorded.turn.waiting = waiting;
                    }
                    facts.push(Fact::Connection(recorded));
                }
                Some(fact) => facts.push(fact),
                None => self.undecodable += 1,
            }
        }
        Self::seeds_are_older(&mut facts);
        for fact in &facts {
            let Fact::Event(Event { kind, .. }) = fact else {
                continue;
            };
            match kind {
                EventKind::CgroupCreated { cgroup, path, .. } => {
                    self.paths.insert(*cgroup, path.clone());
                }
                EventKind::CgroupRemoved { cgroup } => {
                    self.paths.remove(cgroup);
                    self.forget_stop_signals(*cgroup);
                }
                _ => {}
            }
        }
        facts
    }

    /// What was found at the start was there before what the ring has kept since: it comes first, in time too.
    fn seeds_are_older(facts: &mut [Fact]) {
        let is_seed = |fact: &Fact| {
            matches!(
                fact,
                Fact::Event(Event {
                    kind: EventKind::CgroupCreated { seeded: true, .. },
                    ..
                })
            )
        };
        let Some(first_ns) = facts.iter().filter(|fact| !is_seed(fact)).map(Fact::at_ns).min() else {
            return;
        };
        for fact in facts.iter_mut().take_while(|fact| is_seed(fact)) {
            if let Fact::Event(event) = fact {
                event.at_ns = event.at_ns.min(first_ns);
            }
        }
    }

    /// Up to where the ring was read.
    pub fn position(&self) -> Position {
        Position {
            ring: self.ring_id,
            at: self.ring.get_ref().position(),
        }
    }

    /// What was read need not be kept by the ring any longer.
    pub fn commit(&mut self) {
        self.ring.get_mut().commit();
    }

    /// State of each probe.
    pub fn probes(&self) -> &[ProbeStatus] {
        &self.probes
    }

    /// The kernel side's counters.
    pub fn losses(&mut self) -> Losses {
        let mut losses = counters::losses(&self.ebpf, &self.programs, self.undecodable);
        losses.map_full += self.unmarked;
        losses
    }

    /// TCP resets by cgroup.
    pub fn resets(&mut self) -> Vec<Resets> {
        counters::resets(&self.ebpf)
    }

    /// `usage_usec` of a cgroup.
    pub fn cpu_used_us(&self, cgroup: u64) -> Option<u64> {
        cgroups::cpu_used_us(&self.cgroup_root, self.paths.get(&cgroup)?)
    }

    /// The number of this boot: monotonic times of another one mean nothing.
    pub fn boot() -> io::Result<String> {
        Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
            .trim()
            .to_owned())
    }

    /// Monotonic and wall clock in ns, read together.
    pub fn clocks() -> (u64, i64) {
        let read =
            |clock| clock_gettime(clock).map_or(0, |time| time.tv_sec() * 1_000_000_000 + time.tv_nsec());
        let monotonic = read(ClockId::CLOCK_MONOTONIC);
        (
            u64::try_from(monotonic).unwrap_or(0),
            read(ClockId::CLOCK_REALTIME),
        )
    }
}
