//! What an orchestrator says of a workload: its name, and how it was told to stop it.
//!
//! A description is for one pod, one container or one unit, and comes as an event of its own, before,
//! during or after the workload's life. Everything in it was chosen by other people: whoever makes one
//! bounds it with [`crate::workload::text::shown_name`], and the number of containers with [`MOST_CONTAINERS`].

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::words::words;

/// Most containers of a pod that are described; far above what a pod has.
pub const MOST_CONTAINERS: usize = 64;
/// Most probes of a pod that are described; a container has three, and few pods have several containers.
pub const MOST_PROBES: usize = 64;
/// Most addresses of a pod or container.
pub const MOST_ADDRESSES: usize = 8;

/// Where descriptions come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The Kubernetes API: pods of this node.
    Kubernetes,
    /// Docker's socket.
    Docker,
    /// Podman's socket.
    Podman,
    /// systemd, over D-Bus.
    Systemd,
}

impl Origin {
    /// Every origin.
    pub const ALL: [Self; 4] = [Self::Kubernetes, Self::Docker, Self::Podman, Self::Systemd];

    /// As reports and metrics spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Systemd => "systemd",
        }
    }
}

words! {
    /// Why a workload was stopped, as the platform tells it.
    Reason {
        /// Another revision takes its place.
        Rollout = "rollout",
        /// Fewer instances are wanted.
        ScaleDown = "scale_down",
        /// It was evicted: by the eviction API (a drained node), by the kubelet, whose node runs out of something, or because
        /// of a taint.
        Eviction = "eviction",
        /// A more important pod takes its place.
        Preemption = "preemption",
        /// Its node shuts down.
        NodeShutdown = "node_shutdown",
        /// Somebody other than its controller deleted it, or deleted what controls it. Before Kubernetes 1.26 evictions and
        /// preemptions leave no other trace on a pod.
        Deleted = "deleted",
        /// Its liveness or startup probe failed: it is restarted in place.
        Liveness = "liveness",
        /// It was restarted: `systemctl restart`, `docker restart`.
        Restart = "restart",
        /// A Job's work was done.
        Finished = "finished",
    }
}

/// Of what a description is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Uid of a pod, as the pod's cgroup spells it (of a static pod, its `kubernetes.io/config.hash`).
    Pod(String),
    /// Whole id of a container.
    Container(String),
    /// Path of a unit's cgroup, below the unified root.
    Unit(String),
}

/// One pod, container or unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Description {
    /// A pod of Kubernetes with its containers.
    Pod(Pod),
    /// A container of Docker or Podman.
    Container(Container),
    /// A unit of systemd.
    Unit(Unit),
}

impl Description {
    /// Of what it is.
    pub fn subject(&self) -> Subject {
        match self {
            Self::Pod(pod) => Subject::Pod(pod.uid.clone()),
            Self::Container(container) => Subject::Container(container.id.clone()),
            Self::Unit(unit) => Subject::Unit(unit.cgroup.clone()),
        }
    }

    /// Where it comes from.
    pub fn origin(&self) -> Origin {
        match self {
            Self::Pod(_) => Origin::Kubernetes,
            Self::Container(container) => container.origin,
            Self::Unit(_) => Origin::Systemd,
        }
    }
}

/// A pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pod {
    /// As the pod's cgroup spells it: `metadata.uid`, of a static pod its `kubernetes.io/config.hash`.
    pub uid: String,
    /// Namespace.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// Name of what controls it: the Deployment, `StatefulSet`, `DaemonSet`, Job, `CronJob`, or the pod itself.
    pub workload: String,
    /// Kind of what controls it (`Deployment`, …); `Pod` for a bare or static pod.
    pub controller: String,
    /// `spec.terminationGracePeriodSeconds`; while it is being deleted, `metadata.deletionGracePeriodSeconds`.
    pub grace_seconds: Option<f64>,
    /// When its deletion was asked for, in ms since the Unix epoch: `metadata.deletionTimestamp` less the
    /// deletion's grace period. The API has whole seconds: it may be up to a second later.
    pub deleted_ms: Option<i64>,
    /// Its condition `Ready`.
    pub ready: Option<bool>,
    /// Which template it was made from: `pod-template-hash` or `controller-revision-hash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Why it is being stopped, where Kubernetes says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Init, regular and ephemeral containers.
    pub containers: Vec<PodContainer>,
    /// How it is asked whether it is well, and for its metrics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<Probe>,
    /// `status.podIPs`, where they are its own and not its node's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// `status.hostIPs`: addresses of its node, from which the kubelet asks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<IpAddr>,
}

/// A probe or scrape that a pod describes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Probe {
    /// Port.
    pub port: u16,
    /// Path without query, as reports show paths, of one over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How often the kubelet asks, in seconds; of a scrape it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_seconds: Option<u32>,
}

/// A container of a pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PodContainer {
    /// Name in the pod.
    pub name: String,
    /// Ids of its runs that the API tells of, without `<runtime>://`: now, last, terminated.
    pub ids: Vec<String>,
    /// Image as the pod names it.
    pub image: Option<String>,
    /// What runs before its stop signal.
    pub prestop: Option<PreStop>,
    /// Its stop signal, where the pod or its status names one.
    pub stop_signal: Option<u32>,
    /// It runs before the regular ones and ends by itself.
    pub init: bool,
    /// Ids of its runs that the kubelet ended because a probe failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unwell: Vec<String>,
}

/// What runs before a container's stop signal: `lifecycle.preStop`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreStop {
    /// As people would write it: `sleep 5`, `exec nginx -s quit`, `GET /drain`.
    pub what: String,
    /// How long it takes, where that can be read from it (`sleep`).
    pub seconds: Option<f64>,
}

/// A container of Docker or Podman.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// Docker or Podman.
    pub origin: Origin,
    /// Whole id.
    pub id: String,
    /// Name, without the leading `/`.
    pub name: String,
    /// Image as it was named at its start.
    pub image: Option<String>,
    /// `com.docker.compose.project` (or Podman's own label).
    pub project: Option<String>,
    /// `com.docker.compose.service`.
    pub service: Option<String>,
    /// Stop signal.
    pub stop_signal: Option<u32>,
    /// Time from the stop signal to SIGKILL, unless the one who stops it says otherwise.
    pub grace_seconds: Option<f64>,
    /// `com.docker.compose.config-hash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// When the runtime was last asked to restart it, in ms since the Unix epoch; it tells so once that is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted_ms: Option<i64>,
    /// Its addresses in the runtime's networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
}

/// A unit of systemd.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// Path of its cgroup, below the unified root.
    pub cgroup: String,
    /// Name, with its suffix.
    pub name: String,
    /// `KillSignal=`.
    pub stop_signal: Option<u32>,
    /// `TimeoutStopSec=`; `None` for infinity.
    pub grace_seconds: Option<f64>,
    /// `KillMode=`.
    pub kill_mode: Option<String>,
    /// `InvocationID`: another one for each of its runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation: Option<String>,
    /// This run is being ended by a restart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restarting: bool,
}
