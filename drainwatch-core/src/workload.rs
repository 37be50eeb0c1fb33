//! From a cgroup to the name of what runs in it: the one place that names workloads.
//!
//! A cgroup is known by id and path; [`mod@classify`] reads the path. A container's or unit's sub-cgroups
//! belong to it: [`Names::workload_cgroup`] says where the workload begins. Where a cgroup holds
//! unrelated processes (the root, a login session, a slice), the workload is the process that was
//! stopped, with its children. What the path does not say, the [`directory`] of descriptions does.

pub mod classify;
pub mod directory;
pub mod tenant;
pub mod text;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    ops::Bound,
    sync::Arc,
};

use self::{
    classify::{CgroupRole, Identity, Kind, classify},
    directory::{Directory, Found, StopSettings, only_container},
    tenant::Tenant,
    text::{shown_name, shown_path},
};
use crate::{
    description::{Description, Origin, Pod, PodContainer, Subject},
    event::Process,
    report::{PeerWorkload, Workload},
};

/// Removed cgroups whose paths are remembered, for events that come after the removal.
const TOMBSTONES: usize = 4096;

/// Most living cgroups that are remembered; far above what a node runs.
const LIVING: usize = 65_536;

/// Paths of cgroups, and the names that follow from them.
#[derive(Debug, Default)]
pub struct Names {
    cgroups: BTreeMap<u64, Known>,
    /// Living ones by path: a path may be given again to another cgroup.
    living: BTreeMap<Arc<str>, u64>,
    /// Removed ones, oldest first. An id that came back since is skipped when its turn comes.
    tombstones: VecDeque<u64>,
    /// Removed ones that were never announced, oldest first.
    never_announced: VecDeque<u64>,
    /// Workloads' own cgroups by what a description of them would be of.
    subjects: BTreeMap<Subject, BTreeSet<u64>>,
    directory: Directory,
    /// How many there are of each tenant, removed ones too.
    crowds: BTreeMap<Tenant, usize>,
}

#[derive(Debug)]
struct Known {
    path: Arc<str>,
    identity: Identity,
    /// The cgroup that is the workload: itself, or one above it.
    workload: u64,
    removed: bool,
}

impl Names {
    /// A cgroup is known (or known again). Parents come first: a cgroup whose workload's own cgroup is
    /// not known stands for itself, under the workload's name.
    pub fn created(&mut self, cgroup: u64, path: &str) {
        if self.cgroups.len() >= LIVING + TOMBSTONES
            && let Some((&oldest, _)) = self.cgroups.first_key_value()
        {
            self.forget(oldest); // ids grow
        }
        self.forget(cgroup);
        let path: Arc<str> = shown_path(path).into();
        let crowd = self.crowds.entry(Tenant::at(&path)).or_default();
        if *crowd >= LIVING / 2 {
            return; // or one tenant's many would push out everybody's
        }
        *crowd += 1;
        let identity = classify(&path);
        let workload = match identity.own(&path) {
            own if own.len() == path.len() => cgroup,
            own => self.living.get(own).copied().unwrap_or(cgroup),
        };
        self.living.insert(Arc::clone(&path), cgroup);
        if workload == cgroup {
            for subject in subjects(&identity, &path) {
                self.subjects.entry(subject).or_default().insert(cgroup);
            }
        }
        let known = Known {
            path,
            identity,
            workload,
            removed: false,
        };
        self.cgroups.insert(cgroup, known);
    }

    fn forget(&mut self, cgroup: u64) {
        let Some(known) = self.cgroups.remove(&cgroup) else {
            return;
        };
        self.unlist(cgroup, &known.path);
        let tenant = Tenant::at(&known.path);
        if let Some(crowd) = self.crowds.get_mut(&tenant) {
            *crowd = crowd.saturating_sub(1);
            if *crowd == 0 {
                self.crowds.remove(&tenant);
            }
        }
        for subject in subjects(&known.identity, &known.path) {
            if let Some(cgroups) = self.subjects.get_mut(&subject) {
                cgroups.remove(&cgroup);
                if cgroups.is_empty() {
                    self.subjects.remove(&subject);
                }
            }
        }
    }

    fn unlist(&mut self, cgroup: u64, path: &str) {
        if self.living.get(path) == Some(&cgroup) {
            self.living.remove(path);
        }
    }

    /// A cgroup was removed; its path stays known for a while.
    pub fn removed(&mut self, cgroup: u64) {
        let Some(known) = self.cgroups.get_mut(&cgroup) else {
            self.never_announced.push_back(cgroup);
            if self.never_announced.len() > TOMBSTONES {
                self.never_announced.pop_front();
            }
            return;
        };
        if std::mem::replace(&mut known.removed, true) {
            return;
        }
        let path = Arc::clone(&known.path);
        self.unlist(cgroup, &path);
        self.tombstones.push_back(cgroup);
        while self.tombstones.len() > TOMBSTONES {
            if let Some(oldest) = self.tombstones.pop_front()
                && self.cgroups.get(&oldest).is_some_and(|known| known.removed)
            {
                self.forget(oldest);
            }
        }
    }

    /// Path of a cgroup; `cgroup:<id>` when it was never announced, so that nobody mistakes it for a path.
    pub fn path(&self, cgroup: u64) -> String {
        self.cgroups
            .get(&cgroup)
            .map_or_else(|| format!("cgroup:{cgroup}"), |known| known.path.to_string())
    }

    /// What its path says of a cgroup: pod, container id and so on, for those who can ask for more.
    pub fn identity(&self, cgroup: u64) -> Option<&Identity> {
        self.cgroups.get(&cgroup).map(|known| &known.identity)
    }

    /// The cgroup that is the workload of this one: the container's, the unit's; itself, where it is that,
    /// or bare, or shared.
    pub fn workload_cgroup(&self, cgroup: u64) -> u64 {
        self.cgroups.get(&cgroup).map_or(cgroup, |known| known.workload)
    }

    /// Whether two cgroups are of the same workload.
    pub fn same_workload(&self, one: u64, other: u64) -> bool {
        self.workload_cgroup(one) == self.workload_cgroup(other)
    }

    /// Whether a cgroup belongs to the workload of the cgroup `workload`: as part of that container or
    /// unit, or by lying below it and being nothing of its own.
    pub fn belongs(&self, cgroup: u64, workload: u64) -> bool {
        let known = |identity: &Identity| identity.role == CgroupRole::Known;
        self.workload_cgroup(cgroup) == workload
            || (!self.identity(cgroup).is_some_and(known) && self.is_within(cgroup, workload))
    }

    /// Living cgroups of a workload, its own included.
    pub fn members(&self, workload: u64) -> impl Iterator<Item = u64> {
        let root = self.cgroups.get(&workload).map(|known| &known.path);
        let below = root.map(|path| format!("{}/", path.trim_end_matches('/')));
        let range = below.map(|below| {
            let from = (Bound::Included(below.as_str()), Bound::Unbounded);
            let range = self.living.range::<str, _>(from);
            range
                .take_while(move |(path, _)| path.starts_with(&below))
                .map(|(_, &cgroup)| cgroup)
        });
        std::iter::once(workload)
            .chain(range.into_iter().flatten())
            .filter(move |cgroup| {
                self.cgroups.get(cgroup).is_some_and(|known| !known.removed)
                    && self.belongs(*cgroup, workload)
            })
    }

    /// cgroups that are known and not removed.
    pub fn living(&self) -> impl Iterator<Item = u64> {
        self.living.values().copied()
    }

    /// Whether it is known to be removed.
    pub fn is_removed(&self, cgroup: u64) -> bool {
        match self.cgroups.get(&cgroup) {
            Some(known) => known.removed,
            None => self.never_announced.contains(&cgroup),
        }
    }

    /// Whether this cgroup holds unrelated processes. An unknown one does not: it was made for something.
    pub fn is_shared(&self, cgroup: u64) -> bool {
        self.identity(cgroup).is_some_and(Identity::is_shared)
    }

    /// Whether `inner` is `outer` or lies below it.
    pub fn is_within(&self, inner: u64, outer: u64) -> bool {
        if inner == outer {
            return true;
        }
        let (Some(inner), Some(outer)) = (self.cgroups.get(&inner), self.cgroups.get(&outer)) else {
            return false;
        };
        inner
            .path
            .strip_prefix(outer.path.trim_end_matches('/'))
            .is_some_and(|rest| rest.starts_with('/'))
    }

    /// Descriptions from here are to be expected.
    pub fn expect(&mut self, origin: Origin) {
        self.directory.expect(origin);
    }

    /// Whose address this is, or was last.
    pub fn at(&self, address: IpAddr) -> Option<PeerWorkload> {
        let PeerWorkload { namespace, name, pod } = self.directory.at(address)?;
        Some(PeerWorkload {
            namespace: namespace.as_deref().map(shown_name),
            name: shown_name(&name),
            pod: pod.as_deref().map(shown_name),
        })
    }

    /// Takes in a description. Gives the workloads' own cgroups, removed ones too, of which it says
    /// something.
    pub fn describe(&mut self, description: Description) -> BTreeSet<u64> {
        let mut of = vec![description.subject()];
        if let Description::Pod(pod) = &description {
            let ids = pod.containers.iter().flat_map(|container| &container.ids);
            of.extend(ids.map(|id| Subject::Container(id.clone())));
        }
        self.directory.describe(description);
        of.iter()
            .filter_map(|subject| self.subjects.get(subject))
            .flatten()
            .copied()
            .collect()
    }

    /// Workloads' own cgroups in a pod, removed ones too.
    pub fn cgroups_of_pod(&self, uid: &str) -> impl Iterator<Item = u64> {
        let of = self.subjects.get(&Subject::Pod(uid.to_owned()));
        of.into_iter().flatten().copied()
    }

    /// A pod, container or unit has left the node. What was said of it stays known for a while.
    pub fn undescribe(&mut self, subject: &Subject) {
        self.directory.leave(subject);
    }

    fn found(&self, cgroup: u64) -> Option<Found<'_>> {
        let known = self.cgroups.get(&cgroup)?;
        if self.is_look_alike(&known.identity) {
            return None;
        }
        self.directory.find(&known.identity, &known.path)
    }

    /// Whether a user gave a cgroup the name of a container whose runtime has it elsewhere.
    fn is_look_alike(&self, identity: &Identity) -> bool {
        let elsewhere = |id: &String| {
            let same = self.subjects.get(&Subject::Container(id.clone()));
            let of = same.into_iter().flatten();
            of.filter_map(|cgroup| self.identity(*cgroup))
                .any(|of| !of.by_user)
        };
        identity.by_user && identity.container_id.as_ref().is_some_and(elsewhere)
    }

    /// Who is expected to tell what a workload's cgroup is, and has not done so yet.
    pub fn awaited(&self, cgroup: u64) -> Option<Origin> {
        let known = self.cgroups.get(&cgroup)?;
        self.directory.awaited(&known.identity, &known.path)
    }

    /// How a workload was told to be stopped, where somebody says so.
    pub fn settings(&self, cgroup: u64) -> Option<StopSettings> {
        let id = self.identity(cgroup)?.container_id.as_deref();
        Some(self.found(cgroup)?.settings(id))
    }

    /// The pod that a cgroup is described to be in.
    pub fn pod(&self, cgroup: u64) -> Option<&Pod> {
        match self.found(cgroup)? {
            Found::Pod(pod, _) => Some(pod),
            Found::Container(_) | Found::Unit(_) => None,
        }
    }

    /// Whether its pod is described and does not list this container: the pod's sandbox, or one that the
    /// API does not tell of yet.
    pub fn is_unlisted(&self, cgroup: u64) -> bool {
        matches!(self.found(cgroup), Some(Found::Pod(_, None)))
    }

    /// Whether its mere existence makes a workload known: a container that is described, or that nobody is
    /// expected to describe, or a service. Other units come in endless numbers (scopes and transient or
    /// templated services of logins, timers and sockets), and so do sandboxes of pods.
    pub fn is_discoverable(&self, cgroup: u64) -> bool {
        let Some(known) = self.cgroups.get(&cgroup) else {
            return false;
        };
        let identity = &known.identity;
        if known.removed
            || identity.role != CgroupRole::Known
            || identity.own(&known.path).len() != known.path.len()
        {
            return false;
        }
        match identity.kind {
            Kind::Kubernetes => matches!(
                self.found(cgroup),
                Some(Found::Pod(_, Some(_)) | Found::Container(_))
            ),
            Kind::Docker | Kind::Podman | Kind::Containerd | Kind::Crio => {
                self.directory.awaited(identity, &known.path).is_none()
            }
            Kind::Systemd => {
                let name = &identity.name;
                name.ends_with(".service") && !name.contains('@') && !name.starts_with("run-")
            }
            Kind::Cgroup | Kind::Process => false,
        }
    }

    /// The workload of a cgroup, or, in a shared cgroup, of a process in it.
    pub fn name(&self, cgroup: u64, process: &Process) -> Workload {
        match self.cgroups.get(&cgroup) {
            Some(Known { path, identity, .. }) if identity.is_shared() => {
                workload(Kind::Process, process.comm.clone(), None, path.to_string())
            }
            _ => self.named(cgroup),
        }
    }

    /// The workload of a cgroup that is not shared.
    pub fn named(&self, cgroup: u64) -> Workload {
        let Some(Known { path, identity, .. }) = self.cgroups.get(&cgroup) else {
            let path = self.path(cgroup);
            return workload(Kind::Cgroup, path.clone(), None, path);
        };
        let mut named = workload(
            identity.kind,
            identity.name.clone(),
            identity.container_id.clone(),
            identity.own(path).to_owned(),
        );
        match self.found(cgroup) {
            Some(Found::Pod(pod, container)) => {
                in_pod(&mut named, pod, container.or_else(|| only_container(pod)));
            }
            Some(Found::Container(container)) => {
                container.origin.as_str().clone_into(&mut named.kind);
                named.container = Some(shown_name(&container.name));
                named.image = container.image.as_deref().map(shown_name);
                if let (Some(project), Some(service)) = (&container.project, &container.service) {
                    named.namespace = Some(shown_name(project));
                    named.name = shown_name(service);
                } else {
                    named.name = shown_name(&container.name);
                }
            }
            Some(Found::Unit(unit)) => named.name = shown_name(&unit.name),
            None => {}
        }
        named
    }
}

/// The workloads that a pod is known by before any cgroup of it is, and how they are to be stopped: one for
/// each container that serves.
pub fn of_pod(pod: &Pod) -> impl Iterator<Item = (Workload, StopSettings)> {
    let serving = pod.containers.iter().filter(|container| !container.init);
    serving.map(|container| {
        let mut named = workload(Kind::Kubernetes, String::new(), None, String::new());
        in_pod(&mut named, pod, Some(container));
        (named, Found::Pod(pod, Some(container)).settings(None))
    })
}

fn in_pod(named: &mut Workload, pod: &Pod, container: Option<&PodContainer>) {
    Kind::Kubernetes.as_str().clone_into(&mut named.kind);
    named.namespace = Some(shown_name(&pod.namespace));
    named.name = shown_name(&pod.workload);
    named.pod = Some(shown_name(&pod.name));
    named.container = container.map(|container| shown_name(&container.name));
    named.controller = Some(shown_name(&pod.controller));
    named.image = container.and_then(|container| Some(shown_name(container.image.as_deref()?)));
}

/// What descriptions of this cgroup would be of.
fn subjects(identity: &Identity, path: &str) -> impl Iterator<Item = Subject> {
    let pod = identity.pod.as_ref().map(|pod| Subject::Pod(pod.uid.clone()));
    let container = identity.container_id.clone().map(Subject::Container);
    let unit = (identity.kind == Kind::Systemd).then(|| Subject::Unit(identity.own(path).to_owned()));
    pod.into_iter().chain(container).chain(unit)
}

fn workload(kind: Kind, name: String, container_id: Option<String>, cgroup: String) -> Workload {
    Workload {
        kind: kind.as_str().to_owned(),
        namespace: None,
        name,
        pod: None,
        container: None,
        container_id,
        cgroup,
        controller: None,
        image: None,
    }
}

#[cfg(test)]
mod tests;
