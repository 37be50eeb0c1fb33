//! What the origins have told: descriptions by pod, container and unit, and which of them a cgroup is.
//!
//! Bounded: of too many living ones the oldest is forgotten; of those that have left the node, the last
//! `LEFT` stay known, for what is still to be told of their last shutdown.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::classify::{Identity, Kind};
use crate::description::{
    Container, Description, MOST_ADDRESSES, MOST_CONTAINERS, MOST_PROBES, Origin, Pod, PodContainer, PreStop,
    Probe, Reason, Subject, Unit,
};
use crate::report::PeerWorkload;

/// Most descriptions of what lives on the node; far above what a node runs.
const LIVING: usize = 16_384;
/// Descriptions of what has left the node that are kept.
const LEFT: usize = 1024;
/// Ids of a container's runs that are remembered, the latest ones.
const RUNS: usize = 16;

/// Everything that was told.
#[derive(Debug, Default)]
pub struct Directory {
    expected: BTreeSet<Origin>,
    entries: BTreeMap<Subject, Entry>,
    /// Container id to what describes it: itself, or its pod.
    by_container: BTreeMap<String, Subject>,
    /// Whose an address is, or was last.
    by_address: BTreeMap<IpAddr, Subject>,
    /// In the order in which they came, and left.
    living: BTreeMap<u64, Subject>,
    left: BTreeMap<u64, Subject>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    description: Description,
    /// Its place in `living` or `left`.
    place: u64,
    left: bool,
}

/// What describes a cgroup.
#[derive(Debug, Clone, Copy)]
pub enum Found<'a> {
    /// A pod; the container of it that is meant, where the pod lists its id.
    Pod(&'a Pod, Option<&'a PodContainer>),
    /// A container of Docker or Podman.
    Container(&'a Container),
    /// A unit.
    Unit(&'a Unit),
}

/// How a workload was told to be stopped, and how it is asked whether it is well.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StopSettings {
    /// Seconds from the beginning of the stop (of a pod: its deletion) to SIGKILL.
    pub grace_seconds: Option<f64>,
    /// What runs before the stop signal.
    pub prestop: Option<PreStop>,
    /// Stop signal.
    pub stop_signal: Option<u32>,
    /// systemd's `KillMode=`.
    pub kill_mode: Option<String>,
    /// It was started by compose, whose file has the settings.
    pub compose: bool,
    /// It is known whether anything runs before the stop signal.
    pub prestop_known: bool,
    /// Its pod's probes and scrapes.
    pub probes: Vec<Probe>,
    /// Addresses of its node, which the kubelet's probes come from.
    pub hosts: Vec<IpAddr>,
    /// What runs.
    pub revision: Option<String>,
    /// It is what is to run, too: not being deleted, nor the id of a single run.
    pub revisioned: bool,
    /// Why it is stopped.
    pub why: Option<Why>,
}

/// Why a workload is stopped, as its origin tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Why {
    /// The reason.
    pub reason: Reason,
    /// It is of what was stopped before that time, in ms since the Unix epoch.
    pub before_ms: Option<i64>,
}

impl From<Reason> for Why {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            before_ms: None,
        }
    }
}

impl Found<'_> {
    /// How it, as the container of this id, was told to be stopped, and why it is.
    pub fn settings(&self, id: Option<&str>) -> StopSettings {
        match self {
            Self::Pod(pod, container) => StopSettings {
                grace_seconds: pod.grace_seconds,
                prestop: container.and_then(|container| container.prestop.clone()),
                stop_signal: container.and_then(|container| container.stop_signal),
                prestop_known: container.is_some(),
                probes: pod.probes.clone(),
                hosts: pod.hosts.clone(),
                revision: pod.revision.clone(),
                revisioned: pod.deleted_ms.is_none(),
                why: of_pod(pod, *container, id).map(Why::from),
                ..StopSettings::default()
            },
            Self::Container(container) => StopSettings {
                grace_seconds: container.grace_seconds,
                stop_signal: container.stop_signal,
                compose: container.project.is_some() && container.service.is_some(),
                revision: container.revision.clone(),
                revisioned: true,
                why: container.restarted_ms.map(|at_ms| Why {
                    reason: Reason::Restart,
                    before_ms: Some(at_ms),
                }),
                ..StopSettings::default()
            },
            Self::Unit(unit) => StopSettings {
                grace_seconds: unit.grace_seconds,
                stop_signal: unit.stop_signal,
                kill_mode: unit.kill_mode.clone(),
                revision: unit.invocation.clone(),
                why: unit.restarting.then_some(Why::from(Reason::Restart)),
                ..StopSettings::default()
            },
        }
    }
}

impl Directory {
    /// Descriptions from here are to be expected.
    pub fn expect(&mut self, origin: Origin) {
        self.expected.insert(origin);
    }

    /// Takes in a description, in place of an earlier one of the same subject.
    pub fn describe(&mut self, mut description: Description) {
        let subject = description.subject();
        let earlier = self.remove(&subject);
        if let Description::Pod(pod) = &mut description {
            pod.containers.truncate(MOST_CONTAINERS);
            pod.probes.truncate(MOST_PROBES);
            let known = match &earlier {
                Some(Description::Pod(known)) => &known.containers[..],
                _ => &[],
            };
            for container in &mut pod.containers {
                keep_ids(container, known);
                container.unwell.truncate(RUNS);
            }
        }
        for id in container_ids(&description) {
            self.by_container.insert(id.to_owned(), subject.clone());
        }
        for address in addresses(&description) {
            self.by_address.insert(*address, subject.clone());
        }
        let place = self.place();
        self.living.insert(place, subject.clone());
        let entry = Entry {
            description,
            place,
            left: false,
        };
        self.entries.insert(subject, entry);
        self.bound();
    }

    /// It has left the node. What was said of it stays known for a while.
    pub fn leave(&mut self, subject: &Subject) {
        let place = self.place();
        let Some(entry) = self.entries.get_mut(subject) else {
            return;
        };
        if std::mem::replace(&mut entry.left, true) {
            return;
        }
        self.living.remove(&std::mem::replace(&mut entry.place, place));
        self.left.insert(place, subject.clone());
        self.bound();
    }

    fn place(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn bound(&mut self) {
        for (most, list) in [(LIVING, false), (LEFT, true)] {
            let list = if list { &self.left } else { &self.living };
            let excess = list.len().saturating_sub(most);
            let oldest: Vec<Subject> = list.values().take(excess).cloned().collect();
            for subject in oldest {
                self.remove(&subject);
            }
        }
    }

    fn remove(&mut self, subject: &Subject) -> Option<Description> {
        let entry = self.entries.remove(subject)?;
        self.living.remove(&entry.place);
        self.left.remove(&entry.place);
        for id in container_ids(&entry.description) {
            // Two may claim one id; only the last one has it.
            if self.by_container.get(id) == Some(subject) {
                self.by_container.remove(id);
            }
        }
        for address in addresses(&entry.description) {
            if self.by_address.get(address) == Some(subject) {
                self.by_address.remove(address);
            }
        }
        Some(entry.description)
    }

    /// What describes the cgroup of this identity and path.
    pub fn find(&self, identity: &Identity, path: &str) -> Option<Found<'_>> {
        // A unit of a user that looks like a container may be one.
        if identity.kind == Kind::Systemd && identity.container_id.is_none() {
            let unit = self.entries.get(&Subject::Unit(identity.own(path).to_owned()))?;
            return match &unit.description {
                Description::Unit(unit) => Some(Found::Unit(unit)),
                Description::Pod(_) | Description::Container(_) => None,
            };
        }
        let id = identity.container_id.as_deref();
        let pod = identity
            .pod
            .as_ref()
            .and_then(|pod| self.entries.get(&Subject::Pod(pod.uid.clone())));
        let entry = pod.or_else(|| self.entries.get(self.by_container.get(id?)?))?;
        match &entry.description {
            Description::Pod(pod) => {
                let listed =
                    |container: &&PodContainer| container.ids.iter().any(|known| Some(&**known) == id);
                Some(Found::Pod(pod, pod.containers.iter().find(listed)))
            }
            // Of a pod's container its runtime knows less than the API that is to come.
            Description::Container(_)
                if identity.kind == Kind::Kubernetes && self.expected.contains(&Origin::Kubernetes) =>
            {
                None
            }
            Description::Container(container) => Some(Found::Container(container)),
            Description::Unit(_) => None,
        }
    }

    /// The workload that has this address, or had it last.
    pub fn at(&self, address: IpAddr) -> Option<PeerWorkload> {
        let entry = self.entries.get(self.by_address.get(&address)?)?;
        match &entry.description {
            Description::Pod(pod) => Some(PeerWorkload {
                namespace: Some(pod.namespace.clone()),
                name: pod.workload.clone(),
                pod: Some(pod.name.clone()),
            }),
            Description::Container(container) => {
                let (namespace, name) = match (&container.project, &container.service) {
                    (Some(project), Some(service)) => (Some(project.clone()), service),
                    _ => (None, &container.name),
                };
                Some(PeerWorkload {
                    namespace,
                    name: name.clone(),
                    pod: None,
                })
            }
            Description::Unit(_) => None,
        }
    }

    /// Who is expected to tell what this is, and has not done so. Of a unit nobody: its name is right already.
    pub fn awaited(&self, identity: &Identity, path: &str) -> Option<Origin> {
        let origin = match identity.kind {
            Kind::Kubernetes => Origin::Kubernetes,
            Kind::Docker => Origin::Docker,
            Kind::Podman => Origin::Podman,
            Kind::Containerd | Kind::Crio | Kind::Systemd | Kind::Cgroup | Kind::Process => return None,
        };
        let wholly = matches!(
            self.find(identity, path),
            Some(Found::Pod(_, Some(_)) | Found::Container(_) | Found::Unit(_))
        );
        (self.expected.contains(&origin) && !wholly).then_some(origin)
    }
}

/// Why this run of a pod's container is ended: its own probe, or what becomes of the pod.
fn of_pod(pod: &Pod, container: Option<&PodContainer>, id: Option<&str>) -> Option<Reason> {
    let unwell = |container: &PodContainer| container.unwell.iter().any(|run| Some(&**run) == id);
    if container.is_some_and(unwell) {
        return Some(Reason::Liveness);
    }
    pod.reason
}

/// The ids of earlier runs stay the container's: the API tells of the last two only.
fn keep_ids(container: &mut PodContainer, known: &[PodContainer]) {
    let earlier = known.iter().find(|known| known.name == container.name);
    for id in earlier.into_iter().flat_map(|known| &known.ids) {
        if !container.ids.contains(id) {
            container.ids.push(id.clone());
        }
    }
    container.ids.truncate(RUNS);
}

fn addresses(description: &Description) -> &[IpAddr] {
    let all = match description {
        Description::Pod(pod) => &pod.addresses[..],
        Description::Container(container) => &container.addresses[..],
        Description::Unit(_) => &[],
    };
    &all[..all.len().min(MOST_ADDRESSES)]
}

fn container_ids(description: &Description) -> impl Iterator<Item = &str> {
    let (pod, own) = match description {
        Description::Pod(pod) => (Some(pod), None),
        Description::Container(container) => (None, Some(container.id.as_str())),
        Description::Unit(_) => (None, None),
    };
    let in_pod = pod.into_iter().flat_map(|pod| &pod.containers);
    in_pod
        .flat_map(|container| &container.ids)
        .map(String::as_str)
        .chain(own)
}

/// The one regular container of a pod that has no other: whatever else runs in it, its sandbox apart, is that.
pub fn only_container(pod: &Pod) -> Option<&PodContainer> {
    match &pod.containers[..] {
        [only] if !only.init => Some(only),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
