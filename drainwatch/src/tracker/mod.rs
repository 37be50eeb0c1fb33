//! The shutdown tracker: events in, effects out. No clock, no I/O, no way to fail.

use crate::{
    event::{Event, Role},
    report::{Cause, Report, Workload},
};

/// What the tracker wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// A workload is known: create its series at 0.
    WorkloadSeen(Workload),
    /// A workload is gone; its series may be retired after a while.
    WorkloadGone(Workload),
    /// A request was severed, just now.
    Severed {
        /// Whose.
        workload: Workload,
        /// Why.
        cause: Cause,
        /// `request`, `stream`, …
        class: String,
        /// Which end we were.
        role: Role,
    },
    /// A request finished during a shutdown, just now.
    Drained {
        /// Whose.
        workload: Workload,
    },
    /// The report as it stands; the shutdown goes on (`ended_at` is `None`).
    Updated(Box<Report>),
    /// The final report.
    Finished(Box<Report>),
    /// It turned out not to be a shutdown (a stop signal that stopped nothing): forget the report.
    Discarded {
        /// Id of the report that an [`Effect::Updated`] may have carried.
        id: String,
    },
    /// Kernel side: this cgroup need not report any more.
    StopCgroup {
        /// cgroup v2 id.
        cgroup: u64,
    },
    /// Kernel side: this process need not report any more.
    StopProcess {
        /// Process id.
        pid: u32,
    },
}

/// Settings of the tracker.
#[derive(Debug, Clone)]
pub struct TrackerConfig {
    /// Name of this host, for reports.
    pub node: String,
    /// How long after the end late arrivals are still counted, in ns.
    pub linger_ns: u64,
}

/// The state machine.
#[derive(Debug)]
pub struct Tracker {
    config: TrackerConfig,
}

impl Tracker {
    /// A tracker that knows nothing yet.
    pub fn new(config: TrackerConfig) -> Self {
        Self { config }
    }

    /// Takes in one event.
    pub fn observe(&mut self, event: &Event) -> Vec<Effect> {
        let _ = (event, &self.config);
        Vec::new()
    }

    /// Monotonic time at which the tracker wants a [`crate::event::EventKind::Tick`], if anything is under way.
    pub fn next_deadline(&self) -> Option<u64> {
        None
    }

    /// cgroups that are shutting down: whose CPU use is to be sampled about once a second.
    pub fn draining_cgroups(&self) -> Vec<u64> {
        Vec::new()
    }
}
