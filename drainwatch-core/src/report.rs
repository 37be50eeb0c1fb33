//! The report of one shutdown: the JSON contract with everything outside.
//!
//! Keys are only added to, never renamed.

mod moments;
mod worst;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::description::Reason;
use crate::{
    event::{Disposition, Role},
    exchange::{Doubt, Evidence, Protocol},
    words::words,
};

/// Everything about one shutdown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Unique; sorts by time of start within a node.
    pub id: String,
    /// Host name.
    pub node: String,
    /// What was stopped.
    pub workload: Workload,
    /// How it ended.
    pub trigger: Trigger,
    /// Why it was stopped, where the platform says so.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// What was running.
    #[serde(default)]
    pub revision: Revision,
    /// How it went. `unknown` also where evidence was lost.
    pub verdict: Verdict,
    /// First stop signal, or the unannounced end. RFC 3339 with milliseconds.
    pub started_at: String,
    /// When the workload was gone (plus linger); `null` while it goes on.
    pub ended_at: Option<String>,
    /// How its main process ended; `null` while it lives.
    pub exit: Option<Exit>,
    /// Stop signals and SIGKILLs, in order.
    pub signals: Vec<SignalSeen>,
    /// Requests by outcome.
    pub requests: Outcomes,
    /// Connection attempts that met a closed port, apart from requests.
    #[serde(default)]
    pub refused: RefusedAttempts,
    /// Why the evidence does not say what became of the unknown ones, and how many events were lost; only
    /// reasons that occurred.
    #[serde(default)]
    pub unknown_reasons: BTreeMap<Doubt, u64>,
    /// What the opaque ones are, as far as it is known; the first [`OPAQUE_LISTED`] kinds.
    #[serde(default)]
    pub opaque_connections: Vec<OpaqueConnections>,
    /// Health checks and scrapes, whatever became of them: in no other number of this report.
    #[serde(default)]
    pub probes: u64,
    /// Severed requests by cause; only causes that occurred.
    pub severed: BTreeMap<Cause, u64>,
    /// Severed requests by class; only classes that occurred.
    #[serde(default)]
    pub severed_classes: BTreeMap<String, u64>,
    /// The severed requests themselves, the first [`SEVERED_LISTED`] of them.
    pub severed_requests: Vec<SeveredRequest>,
    /// Severed requests that are counted but not listed.
    pub severed_requests_omitted: u64,
    /// Moments, in order.
    pub timeline: Vec<Moment>,
    /// Requests that finished during the shutdown, answered with 5xx or not, as bars of the timeline; the first
    /// [`DRAINED_LISTED`].
    #[serde(default)]
    pub drained_requests: Vec<DrainedRequest>,
    /// First stop signal to the end of the last request that finished.
    pub drain_ms: Option<f64>,
    /// First stop signal to the last new arrival.
    pub endpoint_lag_ms: Option<f64>,
    /// What it turned away kept coming for as long as it was watched: how long it takes until no more comes is not
    /// known, and `endpoint_lag_ms` says nothing.
    #[serde(default)]
    pub still_arriving: bool,
    /// A process of it listened on a Unix socket: what was asked there is not recorded, and in no number of this report.
    #[serde(default)]
    pub unix_sockets: bool,
    /// What was wrong, with advice.
    pub findings: Vec<Finding>,
    /// Events that the kernel could not deliver while this went on.
    pub events_lost: u64,
    /// How its orchestrator was told to stop it; `null` where no orchestrator is known.
    #[serde(default)]
    pub configured: Option<Configured>,
    /// When the deletion of its pod was asked for; RFC 3339. `endpoint_lag_ms` counts from here.
    #[serde(default)]
    pub deleted_at: Option<String>,
    /// Whether its pod still counted as ready when the stop signal came.
    #[serde(default)]
    pub ready_at_stop: Option<bool>,
}

/// Most severed requests listed in a report.
pub const SEVERED_LISTED: usize = 200;
/// Most drained requests listed in a report.
pub const DRAINED_LISTED: usize = 100;
/// Most kinds of opaque connections listed in a report.
pub const OPAQUE_LISTED: usize = 50;
/// Most moments listed in a report.
pub const TIMELINE_LISTED: usize = 200;

/// What is being stopped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Workload {
    /// `kubernetes`, `docker`, `podman`, `containerd`, `crio`, `systemd`, `cgroup` or `process`.
    pub kind: String,
    /// Kubernetes namespace.
    pub namespace: Option<String>,
    /// The name people use; of a bare cgroup its path, of a process its `comm`.
    pub name: String,
    /// Pod.
    pub pod: Option<String>,
    /// Container.
    pub container: Option<String>,
    /// Container id.
    pub container_id: Option<String>,
    /// Path in the unified hierarchy.
    pub cgroup: String,
    /// Kind of the Kubernetes object that controls it: `Deployment`, `StatefulSet`, … `Pod` for a bare or
    /// static pod.
    #[serde(default)]
    pub controller: Option<String>,
    /// Image as it was named at the start.
    #[serde(default)]
    pub image: Option<String>,
}

/// What was running.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Revision {
    /// Of a pod its `pod-template-hash` or `controller-revision-hash`; of a Compose service its configuration's hash; of
    /// a unit the id of this run (`InvocationID`).
    pub id: Option<String>,
    /// Image as it was named at the start.
    pub image: Option<String>,
}

/// How its orchestrator was told to stop it: what is known of it, each `null` where it is not.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Configured {
    /// Seconds from the beginning of the stop (of a pod: its deletion) to SIGKILL.
    pub grace_seconds: Option<f64>,
    /// What runs before the stop signal: `sleep 5`, `exec nginx -s quit`, `GET /drain`.
    pub prestop: Option<String>,
    /// How many seconds that takes, where it can be told beforehand; 0 where it is known that nothing runs.
    pub prestop_seconds: Option<f64>,
    /// Stop signal, by name.
    pub stop_signal: Option<String>,
    /// systemd's `KillMode=`.
    pub kill_mode: Option<String>,
}

words! {
    /// Why a workload ended.
    Trigger {
        /// A stop signal from outside.
        Stop = "stop",
        /// SIGKILL with no stop signal before.
        Kill = "kill",
        /// The OOM killer.
        Oom = "oom",
        /// A fatal signal of its own making, or a non-zero exit unasked.
        Crash = "crash",
        /// Unasked exit 0.
        Exit = "exit",
        /// One process of many ended; the workload goes on.
        Worker = "worker",
    }
}
words! {
    /// How a shutdown went.
    Verdict {
        /// Nothing was severed, nobody was turned away, nothing is in doubt.
        Clean = "clean",
        /// At least one request was severed.
        Severed = "severed",
        /// None was severed, but somebody was turned away: connections were refused, or requests answered with
        /// 5xx after the stop signal, or an error of the server's own in gRPC.
        Refused = "refused",
        /// Neither was seen, but evidence is missing.
        Unknown = "unknown",
    }
}
words! {
    /// Why a request counts as severed.
    Cause {
        /// The request arrived, no byte of a final response left.
        Unanswered = "unanswered",
        /// The response began and did not finish.
        Truncated = "truncated",
        /// The request body was still arriving.
        Upload = "upload",
        /// A long-lived stream was cut without its protocol's goodbye.
        Stream = "stream",
        /// The application never accepted the connection.
        Unaccepted = "unaccepted",
        /// The request reached a connection that the server had already closed.
        Late = "late",
        /// A call of the workload's own was in flight, or a transaction open.
        Outbound = "outbound",
        /// Bytes written that the peer never acknowledged.
        Unsent = "unsent",
    }
}
words! {
    /// What was wrong with a shutdown.
    FindingCode {
        /// Stop signal with the default action.
        NoHandler = "no_handler",
        /// Stop signal dropped because the target is PID 1 without a handler.
        IgnoredByPid1 = "ignored_by_pid1",
        /// PID 1 took the signal; the process that serves never got one.
        NotForwarded = "not_forwarded",
        /// Handled, and the process exited while requests were outstanding.
        ExitWithoutDrain = "exit_without_drain",
        /// Requests still finishing when SIGKILL came.
        KilledMidDrain = "killed_mid_drain",
        /// Only idle keep-alive connections when SIGKILL came.
        HungOnIdleConnections = "hung_on_idle_connections",
        /// The listener stayed open through the whole grace period.
        KeptAccepting = "kept_accepting",
        /// Signal generated, acted on much later.
        HandlerLate = "handler_late",
        /// New traffic kept arriving after the stop signal.
        TrafficAfterStop = "traffic_after_stop",
        /// The listener closed before that traffic stopped.
        RefusedAfterClose = "refused_after_close",
        /// Requests were answered with 5xx after the stop signal.
        ErrorsWhileDraining = "errors_while_draining",
        /// A successor in the same workload took over; not a fault.
        HandedOver = "handed_over",
        /// The preStop hook is longer than the grace period.
        PrestopCut = "prestop_cut",
        /// `late` requests were seen.
        KeepaliveRace = "keepalive_race",
        /// `unaccepted` connections were seen.
        BacklogDropped = "backlog_dropped",
        /// A database transaction was open when the process died.
        TransactionOpen = "transaction_open",
        /// Still burning CPU with no request outstanding.
        BusyWhenKilled = "busy_when_killed",
        /// Memory limit.
        Oom = "oom",
        /// A fault.
        Crash = "crash",
        /// SIGKILL with no stop signal before it.
        NoGrace = "no_grace",
    }
}

words! {
    /// What happened at a moment of the timeline.
    MomentKind {
        /// A stop signal was sent.
        StopSignal = "stop_signal",
        /// It reached its handler.
        SignalDelivered = "signal_delivered",
        /// The kernel dropped it: its handler had been taken away by then.
        SignalDropped = "signal_dropped",
        /// A listener was opened.
        ListenerOpened = "listener_opened",
        /// A listener was closed.
        ListenerClosed = "listener_closed",
        /// SIGKILL was sent.
        Kill = "kill",
        /// The OOM killer chose a process.
        Oom = "oom",
        /// A process ended.
        Exit = "exit",
        /// A process replaced its program.
        Exec = "exec",
        /// No process was left.
        Emptied = "emptied",
        /// The agent stopped: what came after was not seen.
        AgentStopped = "agent_stopped",
    }
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Process id.
    pub pid: u32,
    /// Exit code, when it called `exit`.
    pub code: Option<i32>,
    /// Fatal signal, when one killed it.
    pub signal: Option<u32>,
}

/// A stop signal or SIGKILL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalSeen {
    /// Since `started_at`.
    pub at_ms: f64,
    /// `SIGTERM` and so on.
    pub signal: String,
    /// `default`, `handled`, `ignored` or `blocked`.
    pub disposition: Disposition,
    /// The kernel dropped it.
    #[serde(default)]
    pub dropped: bool,
    /// Who sent it.
    pub sender: ProcessSeen,
    /// Who got it.
    pub target: ProcessSeen,
}

/// A process in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSeen {
    /// Process id; 0 for the kernel.
    pub pid: u32,
    /// `comm`; `kernel` for the kernel.
    pub comm: String,
    /// PID 1 of its pid namespace.
    #[serde(default)]
    pub pid1: bool,
}

/// Requests by outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Finished during the shutdown.
    pub drained: u64,
    /// Answered with 5xx after the stop signal.
    #[serde(default)]
    pub failed: u64,
    /// Severed.
    pub severed: u64,
    /// The peer ended first.
    pub aborted: u64,
    /// Neither side ended: somebody else on the node had the connection destroyed (`ss -K`).
    #[serde(default)]
    pub destroyed: u64,
    /// The evidence does not say.
    pub unknown: u64,
    /// Connections whose protocol nobody reads, and that were not seen to take turns: in no verdict.
    #[serde(default)]
    pub opaque: u64,
}

impl Outcomes {
    /// Adds those of another shutdown.
    pub fn add(&mut self, other: &Self) {
        let Self {
            drained,
            failed,
            severed,
            aborted,
            destroyed,
            unknown,
            opaque,
        } = other;
        self.drained += drained;
        self.failed += failed;
        self.severed += severed;
        self.aborted += aborted;
        self.destroyed += destroyed;
        self.unknown += unknown;
        self.opaque += opaque;
    }

    /// All of them, whatever became of them; what nobody reads is none.
    pub fn total(&self) -> u64 {
        let Self {
            drained,
            failed,
            severed,
            aborted,
            destroyed,
            unknown,
            opaque: _,
        } = self;
        drained + failed + severed + aborted + destroyed + unknown
    }
}

/// Connection attempts that met a closed port of the workload's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RefusedAttempts {
    /// How many; a SYN that is sent again is the same attempt.
    pub attempts: u64,
    /// From how many addresses.
    pub clients: u64,
    /// The first one, since `started_at`.
    pub first_ms: Option<f64>,
    /// The last one, since `started_at`.
    pub last_ms: Option<f64>,
}

/// A remote procedure call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rpc {
    /// `grpc`.
    pub system: String,
    /// `package.Service`.
    pub service: String,
    /// Method of the service.
    pub method: String,
    /// Status with which it was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u8>,
}

/// Connections of one kind that nobody reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpaqueConnections {
    /// Which end we were.
    pub role: Role,
    /// What was spoken, as far as it shows.
    pub protocol: Protocol,
    /// Of TLS, the name that the client said at the beginning (SNI).
    pub host: Option<String>,
    /// Of TLS, the protocols that its client offered (ALPN), or the one that the server chose where that is said in clear.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<String>,
    /// How many.
    pub count: u64,
}

/// One severed request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeveredRequest {
    /// When it was severed, since `started_at`.
    pub at_ms: f64,
    /// Why.
    pub cause: Cause,
    /// Which end we were.
    pub role: Role,
    /// What was spoken.
    pub protocol: Protocol,
    /// Method; of a database the first word of the statement, or `TRANSACTION` for one that was open.
    pub method: Option<String>,
    /// Path without query; of a queue its name.
    pub path: Option<String>,
    /// Host header; of TLS the name that its client said at the beginning (SNI).
    pub host: Option<String>,
    /// Of TLS, the protocols that its client offered (ALPN), or the one that the server chose where that is said in clear.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<String>,
    /// What it called, where it was gRPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpc: Option<Rpc>,
    /// Which traffic it was.
    pub class: String,
    /// A webhook whose response had begun, and did not say that it failed: its sender may take it for
    /// delivered, and then never sends it again.
    #[serde(default)]
    pub maybe_taken_for_delivered: bool,
    /// How sure we are.
    pub evidence: Evidence,
    /// `address:port` of the peer.
    pub peer: String,
    /// Whose the other end is, where that is a pod or container of this node with an address of its own: of a request to
    /// us the caller's.
    #[serde(default)]
    pub peer_workload: Option<PeerWorkload>,
    /// `address:port` of our end.
    pub local: String,
    /// How long it had been outstanding; `null` when it never reached the process.
    pub age_ms: Option<f64>,
    /// Process that held it.
    pub pid: u32,
}

/// A workload at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerWorkload {
    /// Kubernetes namespace.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Pod.
    pub pod: Option<String>,
}

/// One request that finished during the shutdown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrainedRequest {
    /// When it finished, since `started_at`.
    pub at_ms: f64,
    /// How long it took.
    pub age_ms: Option<f64>,
    /// What was spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Method; of a database the first word of the statement, or `TRANSACTION` for one that was open.
    pub method: Option<String>,
    /// Path without query; of a queue its name.
    pub path: Option<String>,
    /// What it called, where it was gRPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpc: Option<Rpc>,
    /// Status of the response, of a protocol that has one.
    #[serde(default)]
    pub status: Option<u16>,
    /// It was answered with 5xx after the stop signal: it counts as failed, not as drained.
    #[serde(default)]
    pub failed: bool,
    /// Peer.
    pub peer: String,
}

/// A moment of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Since `started_at`.
    pub at_ms: f64,
    /// What happened.
    pub what: MomentKind,
    /// Signal name, address, exit status: whatever the moment has to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
}

/// What was wrong, with advice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which.
    pub code: FindingCode,
    /// What was seen, with the measured numbers.
    pub summary: String,
    /// What to change.
    pub advice: String,
}
