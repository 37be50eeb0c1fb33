//! What the tracker wants done: the closed list.

use std::sync::Arc;

use crate::{
    description::Origin,
    event::Role,
    report::{Cause, Configured, Report, Revision, Workload},
};

/// What the tracker wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// A workload is known: create its series at 0.
    WorkloadSeen(Workload),
    /// A workload is gone; its series may be retired after a while.
    WorkloadGone(Workload),
    /// How a workload is to be stopped, as its orchestrator was told.
    WorkloadConfigured {
        /// Whose.
        workload: Workload,
        /// What is known of it.
        configured: Configured,
        /// What runs; nothing while it is being stopped, nor of units, each run of which is another.
        running: Option<Revision>,
    },
    /// Something had to be told of a workload before this origin had named it: its cgroup's name had to do.
    Unresolved {
        /// Who was expected to name it.
        origin: Origin,
    },
    /// A request was severed, just now.
    Severed {
        /// Whose.
        workload: Workload,
        /// Why.
        cause: Cause,
        /// `request`, `stream`, …
        class: Arc<str>,
        /// Which end we were.
        role: Role,
    },
    /// A request finished during a shutdown, just now.
    Drained {
        /// Whose.
        workload: Workload,
    },
    /// Requests were answered with 5xx after the stop signal, just now.
    Failed {
        /// Whose.
        workload: Workload,
        /// How many.
        count: u64,
    },
    /// Connection attempts met a closed port, just now.
    Refused {
        /// Whose.
        workload: Workload,
        /// How many.
        count: u64,
    },
    /// Health checks and scrapes were seen during a shutdown, just now.
    Probed {
        /// Whose.
        workload: Workload,
        /// How many.
        count: u64,
    },
    /// The report as it stands; the shutdown goes on (`ended_at` is `None`).
    Updated(Box<Report>),
    /// The final report.
    Finished(Box<Report>),
    /// It turned out not to be a shutdown (a stop signal that stopped nothing), or to be part of
    /// another one: forget the report.
    Discarded {
        /// Id of the report that an [`Effect::Updated`] may have carried.
        id: String,
    },
    /// Kernel side: this cgroup must report too, until [`Effect::UnmarkCgroup`]. It belongs to a workload that
    /// is stopped, and the signal went to a process elsewhere in it.
    MarkCgroup {
        /// cgroup v2 id.
        cgroup: u64,
    },
    /// Kernel side: in this cgroup, this signal is a stop signal too, as long as the cgroup lives.
    WatchStopSignal {
        /// cgroup v2 id.
        cgroup: u64,
        /// Number; never SIGKILL, nor one that the kernel sends as a matter of course.
        signal: u32,
    },
    /// Kernel side: this cgroup need not report any more.
    UnmarkCgroup {
        /// cgroup v2 id.
        cgroup: u64,
    },
    /// Kernel side: this process need not report any more, nor the ports that it closed.
    UnmarkProcess {
        /// Process id.
        pid: u32,
    },
}
