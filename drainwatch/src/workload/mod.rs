//! From a cgroup to the name of what runs in it: the one place that names workloads.
//!
//! A cgroup is known by id and path; [`mod@classify`] reads the path. A container's or unit's sub-cgroups
//! belong to it: [`Names::workload_cgroup`] says where the workload begins. Where a cgroup holds
//! unrelated processes (the root, a login session, a slice), the workload is the process that was
//! stopped, with its children. What the path does not say, the [`directory`] of descriptions does.

pub mod classify;
pub mod description;
pub mod directory;
pub mod text;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    sync::Arc,
};

use self::{
    classify::{Identity, Kind, Role, classify},
    description::{Description, Origin, Pod, PodContainer, Subject},
    directory::{Directory, Found, Settings, only_container},
    text::{shown_name, shown_path},
};
use crate::{event::Process, report::Workload};

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
    /// Workloads' own cgroups by what a description of them would be of.
    subjects: BTreeMap<Subject, BTreeSet<u64>>,
    directory: Directory,
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
        let known = |identity: &Identity| identity.role == Role::Known;
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

    /// Whether it is known to be removed.
    pub fn is_removed(&self, cgroup: u64) -> bool {
        self.cgroups.get(&cgroup).is_some_and(|known| known.removed)
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
        self.directory.find(&known.identity, &known.path)
    }

    /// Who is expected to tell what a workload's cgroup is, and has not done so yet.
    pub fn awaited(&self, cgroup: u64) -> Option<Origin> {
        let known = self.cgroups.get(&cgroup)?;
        self.directory.awaited(&known.identity, &known.path)
    }

    /// How a workload was told to be stopped, where somebody says so.
    pub fn settings(&self, cgroup: u64) -> Option<Settings> {
        Some(self.found(cgroup)?.settings())
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
            || identity.role != Role::Known
            || identity.own(&known.path).len() != known.path.len()
        {
            return false;
        }
        match identity.kind {
            Kind::Kubernetes => matches!(
                self.directory.find(identity, &known.path),
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
        match self.directory.find(identity, path) {
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
pub fn of_pod(pod: &Pod) -> impl Iterator<Item = (Workload, Settings)> {
    let serving = pod.containers.iter().filter(|container| !container.init);
    serving.map(|container| {
        let mut named = workload(Kind::Kubernetes, String::new(), None, String::new());
        in_pod(&mut named, pod, Some(container));
        (named, Found::Pod(pod, Some(container)).settings())
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
mod tests {
    use super::*;

    #[test]
    fn a_removed_cgroup_keeps_its_path_until_many_others_were_removed() {
        let mut names = Names::default();
        names.created(1, "/web");
        names.removed(1);
        assert_eq!(names.path(1), "/web");
        for id in 2..=TOMBSTONES as u64 + 1 {
            names.created(id, "/other");
            names.removed(id);
        }
        assert_eq!(names.path(1), "cgroup:1");
        assert_eq!(names.cgroups.len(), TOMBSTONES);
    }

    #[test]
    fn a_cgroup_that_came_back_is_not_forgotten_with_its_tombstone() {
        let mut names = Names::default();
        names.created(1, "/web");
        names.removed(1);
        names.created(1, "/web2");
        for id in 2..=TOMBSTONES as u64 + 2 {
            names.created(id, "/other");
            names.removed(id);
        }
        assert_eq!(names.path(1), "/web2");
    }

    #[test]
    fn a_cgroup_lies_within_itself_and_its_ancestors_only() {
        let mut names = Names::default();
        for (id, path) in [(1, "/"), (2, "/web"), (3, "/web/a"), (4, "/website")] {
            names.created(id, path);
        }
        assert!(names.is_within(3, 2) && names.is_within(3, 1) && names.is_within(2, 2));
        assert!(!names.is_within(4, 2) && !names.is_within(2, 3) && !names.is_within(9, 2));
    }

    /// A container with a sub-cgroup of a sub-cgroup, a unit and another container inside it.
    fn container() -> (Names, String) {
        let mut names = Names::default();
        let own = format!("/system.slice/docker-{}.scope", "0a".repeat(32));
        for (id, below) in [
            (1, String::new()),
            (2, "/sub".to_owned()),
            (3, "/sub/leaf".to_owned()),
            (4, "/init.scope".to_owned()),
            (5, "/system.slice/db.service".to_owned()),
            (6, format!("/docker/{}", "0b".repeat(32))),
            (7, format!("/docker/{}/sub", "0b".repeat(32))),
        ] {
            names.created(id, &format!("{own}{below}"));
        }
        (names, own)
    }

    fn process() -> Process {
        crate::tracker::tests::scene::process(100)
    }

    #[test]
    fn sub_cgroups_belong_to_their_container_and_what_has_an_identity_of_its_own_does_not() {
        let (names, _) = container();
        let workloads: Vec<u64> = (1..=7).map(|id| names.workload_cgroup(id)).collect();
        assert_eq!(workloads, [1, 1, 1, 1, 5, 6, 6]);
        assert_eq!(names.members(1).collect::<Vec<_>>(), [1, 4, 2, 3]);
        assert_eq!(names.members(6).collect::<Vec<_>>(), [6, 7]);
        assert!(!names.is_shared(4), "the container's own init.scope");
        assert!(names.belongs(3, 1) && !names.belongs(7, 1) && !names.belongs(5, 1));
        assert!(names.same_workload(3, 4) && !names.same_workload(3, 7));
    }

    #[test]
    fn a_process_in_a_sub_cgroup_has_its_containers_name() {
        let (names, own) = container();
        let workload = names.name(3, &process());
        assert_eq!(
            (workload.kind.as_str(), workload.name.as_str(), workload.cgroup),
            ("docker", "0a0a0a0a0a0a", own)
        );
        assert_eq!(workload.container_id, Some("0a".repeat(32)));
        assert_eq!(names.name(3, &process()), names.name(1, &process()));
        assert_eq!(names.name(5, &process()).name, "db.service");
        assert_eq!(names.name(4711, &process()).name, "cgroup:4711");
    }

    #[test]
    fn a_bare_cgroup_is_its_own_workload_and_what_lies_below_it_goes_with_it() {
        let mut names = Names::default();
        for (id, path) in [(1, "/"), (2, "/web"), (3, "/web/a"), (4, "/website")] {
            names.created(id, path);
        }
        assert_eq!(names.workload_cgroup(3), 3);
        assert!(names.belongs(3, 2) && !names.belongs(4, 2) && !names.belongs(2, 3));
        assert_eq!(names.members(2).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(names.members(9).count(), 0);
    }

    #[test]
    fn a_sub_cgroup_of_a_removed_unit_does_not_pass_to_the_next_one_of_that_path() {
        let mut names = Names::default();
        for (unit, sub) in [(1, 2), (3, 4)] {
            names.created(unit, "/system.slice/web.service");
            names.created(sub, "/system.slice/web.service/sub");
            names.removed(sub);
            names.removed(unit);
        }
        assert_eq!((names.workload_cgroup(2), names.workload_cgroup(4)), (1, 3));
        assert_eq!(names.members(1).count() + names.members(3).count(), 0);
        names.created(5, "/system.slice/web.service");
        assert_eq!(names.members(5).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn a_sub_cgroup_whose_container_was_never_announced_stands_for_itself_under_its_name() {
        let mut names = Names::default();
        names.created(2, &format!("/docker/{}/sub", "0a".repeat(32)));
        assert_eq!(names.workload_cgroup(2), 2);
        assert_eq!(names.name(2, &process()).name, "0a0a0a0a0a0a");
    }

    #[test]
    fn the_oldest_of_too_many_cgroups_is_forgotten_with_its_path() {
        let mut names = Names::default();
        let most = (LIVING + TOMBSTONES) as u64;
        for id in 1..=most + 1 {
            names.created(id, &format!("/c{id}"));
        }
        assert_eq!(names.path(1), "cgroup:1");
        assert_eq!(
            (names.cgroups.len(), names.living.len()),
            (LIVING + TOMBSTONES, LIVING + TOMBSTONES)
        );
    }
}
