//! What happened: the closed list of things that the tracker is told.
//!
//! An [`Event`] is evidence already parsed: payload bytes stop in [`crate::reading`], so an event
//! can be recorded and sent with a bug report. Time comes in with events.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{
    description::{Description, Origin, Subject},
    exchange::Exchange,
};

/// Something that happened, when, on the kernel's monotonic clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Monotonic nanoseconds (`CLOCK_MONOTONIC`, as `bpf_ktime_get_ns` reads it).
    pub at_ns: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The closed list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// Time passed. First event of every recording; then sent at least once a second while
    /// [`crate::tracker::Tracker::next_deadline`] says that something is under way.
    Tick {
        /// Wall clock at `at_ns`: nanoseconds since the Unix epoch.
        wall_ns: i64,
    },
    /// A cgroup is known, with its path below the unified root (`/` for the root itself).
    CgroupCreated {
        /// cgroup v2 id.
        cgroup: u64,
        /// Path, beginning with `/`.
        path: String,
        /// It existed before the agent did.
        seeded: bool,
    },
    /// A cgroup was removed.
    CgroupRemoved {
        /// cgroup v2 id.
        cgroup: u64,
    },
    /// The last process left a cgroup and everything below it.
    CgroupEmptied {
        /// cgroup v2 id.
        cgroup: u64,
    },
    /// CPU time used by a cgroup so far; sampled only while the cgroup is draining.
    CpuUsed {
        /// cgroup v2 id.
        cgroup: u64,
        /// Microseconds since the cgroup began (`cpu.stat`'s `usage_usec`).
        usage_us: u64,
    },
    /// A TCP listener was opened (or existed when the agent started).
    ListenerOpened(Listener),
    /// A TCP listener was closed by the last process that held it.
    ListenerClosed(Listener),
    /// A stop signal (SIGTERM, SIGINT, SIGQUIT, configured ones) or SIGKILL was generated.
    Signal(Signal),
    /// A stop signal reached its handler.
    SignalDelivered {
        /// Who handles it.
        target: Process,
        /// Number.
        signal: u32,
        /// `handled`, or `default` when the handler had been taken away by then.
        disposition: Disposition,
    },
    /// The last thread of a process is exiting; its sockets close after this event.
    ProcessExited {
        /// Who.
        process: Process,
        /// Exit code, when it called `exit`.
        code: Option<i32>,
        /// Fatal signal, when one killed it.
        signal: Option<u32>,
        /// What one of its children was called, where it still had any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        child: Option<String>,
        /// It listened on a Unix socket.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unix_listener: bool,
    },
    /// A process that had closed connections just before has replaced its program (`execve`); they are told after
    /// this event.
    ProcessReplaced {
        /// Who, with the `comm` of the new program.
        process: Process,
    },
    /// The OOM killer chose a process.
    OomVictim {
        /// Process id (initial pid namespace).
        pid: u32,
    },
    /// Exchanges of a connection that goes on, on a draining workload: complete ones that finished
    /// since the last such event (the next request has begun).
    TurnEnded(Connection),
    /// Our side or the peer ended a connection.
    ConnectionEnded(Connection),
    /// A segment met no listener, or a connection that we had closed, and the kernel sent RST; or a process read what
    /// begins a request behind its own FIN.
    ResetSent {
        /// cgroup that the local port's listener belongs, or belonged, to.
        cgroup: u64,
        /// Process that closed the listener or owned the connection.
        pid: u32,
        /// A SYN: a connection attempt (cause `refused`); else data (cause `late`).
        syn: bool,
        /// Payload bytes of the segment.
        payload: u32,
        /// Local end.
        local: SocketAddr,
        /// Peer.
        peer: SocketAddr,
        /// Network namespace: the low half of its cookie, which no later namespace gets.
        netns: u32,
        /// Whoever sent it, from the address that it went to, is in that cgroup too.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        same_cgroup: bool,
        /// What the payload asks for.
        #[serde(default, skip_serializing_if = "Asked::is_unseen")]
        asked: Asked,
    },
    /// Descriptions of the workloads that this origin knows are to be expected: what it has not told of
    /// waits for it, for a moment.
    NamesExpected {
        /// From where.
        origin: Origin,
    },
    /// A pod, container or unit is known, or something about it changed.
    Described(Box<Description>),
    /// A pod, container or unit has left the node. What was said of it stays true of its last shutdown.
    Undescribed(Subject),
    /// Events that the kernel could not deliver since the last such event.
    EventsLost {
        /// How many.
        count: u64,
        /// When that was known. What happened before it and is told only after this event has lost them, too.
        #[serde(default)]
        until_ns: u64,
    },
}

/// What data that came too late asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// None of it was seen, or not enough.
    #[default]
    Unseen,
    /// It begins no request.
    Nothing,
    /// No reader knows it.
    Unreadable,
    /// These requests begin in it, oldest first.
    Requests(Vec<Exchange>),
}

impl Asked {
    fn is_unseen(&self) -> bool {
        *self == Self::Unseen
    }
}

/// A process at the moment of an event.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that are independent of each other, named one by one"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Parent's process id in the initial pid namespace.
    pub parent: u32,
    /// Process id inside its own pid namespace.
    pub ns_pid: u32,
    /// Monotonic start time in ns: with `pid`, an identity.
    pub started_ns: u64,
    /// cgroup v2 id.
    pub cgroup: u64,
    /// `comm`, lossily decoded, control characters replaced.
    pub comm: String,
    /// PID 1 of a pid namespace other than the initial one.
    pub pid1: bool,
    /// Held the server end of a connection, or opened a listener.
    pub served: bool,
    /// Held the server end of more than one connection, or of one besides opening a listener.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub served_more: bool,
    /// Held the client end of a connection.
    pub called: bool,
    /// Its thread group was already exiting.
    pub exiting: bool,
    /// It or its parent was sent a stop signal or SIGKILL before.
    pub signalled: bool,
    /// Its parent lives in the same cgroup: so it is not the cgroup's first process.
    pub parent_in_cgroup: bool,
    /// It had a connection, or a listener, of which nothing was recorded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unrecorded: bool,
    /// A signal to it was not told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untold: bool,
}

/// What a signal met at its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// `SIG_DFL`.
    Default,
    /// A handler.
    Handled,
    /// `SIG_IGN`.
    Ignored,
    /// Blocked: pending for `sigwait` or `signalfd`, or merely late.
    Blocked,
}

/// Where a signal came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sender {
    /// A process, by `kill(2)` and its like.
    Process(Process),
    /// `cgroup.kill`, written by this process.
    CgroupKill(Process),
    /// The kernel itself, in the context of this process: the OOM killer, or the end of a pid namespace.
    Kernel(Process),
}

/// A stop or kill signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Number on this architecture.
    pub signal: u32,
    /// Who gets it.
    pub target: Process,
    /// Who sent it.
    pub sender: Sender,
    /// What it meets there.
    pub disposition: Disposition,
    /// The kernel dropped it: ignored, or a default action at PID 1 of a pid namespace.
    pub dropped: bool,
    /// Sent to the process (true) or to one thread.
    pub group: bool,
    /// How much of the time the target was running or ready to run when this ended it, in percent; nothing where it does
    /// not end it, or the kernel does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy: Option<u32>,
}

impl Signal {
    /// The process raised it itself.
    pub fn is_own(&self) -> bool {
        matches!(&self.sender, Sender::Process(sender) if sender.pid == self.target.pid)
    }
}

/// A TCP listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Who opened or closed it.
    pub process: Process,
    /// Bound address.
    pub local: SocketAddr,
    /// Network namespace: the low half of its cookie, which no later namespace gets.
    pub netns: u32,
    /// Connections in its accept queue.
    pub backlog: u32,
    /// Connections whose handshake had not come to its end: for the client it may have, for it cannot tell whether its
    /// last segment was dropped, as it is where that queue is full, or where the server asked for connections with a
    /// request alone (`TCP_DEFER_ACCEPT`).
    #[serde(default, skip_serializing_if = "none")]
    pub handshakes: u32,
    /// Listeners on the same port and namespace that are still open.
    pub still_open: u32,
    /// It was found open by an agent as it started, whether or not an earlier one had told of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub found: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn none(count: &u32) -> bool {
    *count == 0
}

/// Which end of a connection the workload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// We were asked.
    Server,
    /// We asked.
    Client,
    /// The connection is older than the agent and tells nothing.
    Unknown,
}

/// Where the other end of a connection is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtherEnd {
    /// Elsewhere, or not known.
    #[default]
    Elsewhere,
    /// In the same cgroup.
    SameCgroup,
    /// In the same process.
    SameProcess,
}

impl OtherEnd {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
    fn is_elsewhere(&self) -> bool {
        *self == Self::Elsewhere
    }
}

/// Who ended a connection, and how, as far as the kernel's numbers show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Not ended: a turn was completed and the next one began.
    Open,
    /// The exit of the process that held it closed it.
    Exit,
    /// The process, alive, closed or shut down its sending side.
    Close,
    /// Never accepted: its listener was closed (by an exit or alive).
    Unaccepted,
    /// The peer left first: FIN without reading further, or RST, or a timeout.
    Peer,
    /// Neither side: somebody else on the node had the kernel destroy it (`ss -K`, a network manager, a BPF program).
    Destroyed,
    /// Which side ended it cannot be told.
    Unknown,
}

/// A connection and the exchanges on it that this event settles.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that are independent of each other, named one by one"
)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// Identity: a hash of the moment of birth and both ends.
    pub id: u64,
    /// Which end we are.
    pub role: Role,
    /// Process that last read or wrote; for an unaccepted connection, that closed the listener. 0 unknown.
    pub pid: u32,
    /// Its cgroup.
    pub cgroup: u64,
    /// Local end.
    pub local: SocketAddr,
    /// Peer.
    pub peer: SocketAddr,
    /// Network namespace: the low half of its cookie, which no later namespace gets.
    pub netns: u32,
    /// Monotonic time of its establishment.
    pub born_ns: u64,
    /// It is older than the agent.
    pub seeded: bool,
    /// How it ended.
    pub end: End,
    /// Received bytes that the process had not read (FIN not counted).
    pub unread: u32,
    /// Written bytes that were not sent yet.
    pub unsent: u32,
    /// Written bytes that the peer had not acknowledged yet.
    pub unacked: u32,
    /// The kernel threw away what was queued (it reset the connection instead of closing it).
    pub aborted: bool,
    /// Its process, alive and asked by nobody to end, closed it then; it is told because that process ended, or
    /// replaced its program, a moment later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remembered: bool,
    /// No byte moved on it, in neither direction, for as long as it stood.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
    /// Where its other end is.
    #[serde(default, skip_serializing_if = "OtherEnd::is_elsewhere")]
    pub other_end: OtherEnd,
    /// All that was said on it in its last turn was a goodbye, or a request to cancel something: nothing was asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub goodbye: bool,
    /// Exchanges that this event settles, oldest first; none on a connection where no byte moved.
    pub exchanges: Vec<Exchange>,
}
