//! Pods that are being deleted, and what still arrives at them before their stop signal.
//!
//! The kubelet runs the preStop hook first, and endpoints are taken out meanwhile: the lag of that counts from
//! the deletion. So from then on the pod's cgroups report, and the last arrival is kept for the shutdown
//! that follows.

use std::collections::{BTreeMap, BTreeSet};

use super::{Effect, Episode, HOUR, SECOND, Scope, Tracker, probes::Sieve, tally, told::Told};
use crate::event::Connection;

/// Most pods under deletion that are followed; far above what a node runs.
const DELETIONS: usize = 1024;
/// How long a deletion is remembered that no shutdown follows.
const REMEMBERED_NS: u64 = HOUR;
/// The API tells of a deletion in whole seconds: news of it that come this soon after are the better clock.
const FRESH_NS: u64 = 2 * SECOND;

/// Pods that are being deleted.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    by_pod: BTreeMap<String, Deletion>,
    /// Workloads' own cgroups to their pod.
    pods: BTreeMap<u64, String>,
}

#[derive(Debug)]
struct Deletion {
    at_ns: u64,
    forget_ns: u64,
    cgroups: BTreeMap<u64, Ending>,
}

/// A container that its stop signal has yet to reach, or has reached.
#[derive(Debug, Default)]
struct Ending {
    last_arrival_ns: Option<u64>,
    marked: BTreeSet<u64>,
}

impl Deletions {
    /// Whether this cgroup is to report because of one.
    pub fn need_cgroup(&self, cgroup: u64) -> bool {
        let mut endings = self
            .by_pod
            .values()
            .flat_map(|deletion| deletion.cgroups.values());
        endings.any(|ending| ending.marked.contains(&cgroup))
    }

    /// When the first of them is forgotten.
    pub fn due_ns(&self) -> Option<u64> {
        self.by_pod.values().map(|deletion| deletion.forget_ns).min()
    }

    /// Time of the deletion of this workload's pod, and its last arrival since.
    pub fn of(&self, workload: u64) -> Option<(u64, Option<u64>)> {
        let deletion = self.by_pod.get(self.pods.get(&workload)?)?;
        Some((deletion.at_ns, deletion.cgroups.get(&workload)?.last_arrival_ns))
    }

    /// Whether the deletion of this pod is known.
    pub fn is_known(&self, uid: &str) -> bool {
        self.by_pod.contains_key(uid)
    }

    /// A pod with these workloads is being deleted since `at_ns`, as is known since `heard_ns`. Says whether there
    /// is room for it.
    fn begin(&mut self, uid: &str, at_ns: u64, heard_ns: u64, workloads: &[u64]) -> bool {
        if workloads.is_empty() || self.by_pod.len() >= DELETIONS {
            return false;
        }
        let deletion = Deletion {
            at_ns,
            forget_ns: heard_ns.saturating_add(REMEMBERED_NS),
            cgroups: workloads
                .iter()
                .map(|&workload| (workload, Ending::default()))
                .collect(),
        };
        self.by_pod.insert(uid.to_owned(), deletion);
        self.pods
            .extend(workloads.iter().map(|&workload| (workload, uid.to_owned())));
        true
    }

    /// This cgroup of a workload whose pod is being deleted, if it is, is to report. Says whether that is new.
    fn mark(&mut self, workload: u64, cgroup: u64) -> bool {
        self.ending(workload)
            .is_some_and(|(_, ending)| ending.marked.insert(cgroup))
    }

    /// Something arrived, perhaps between the deletion and the stop signal.
    pub fn arrived(&mut self, workload: u64, connection: &Connection, sieve: &Sieve<'_>) {
        if let Some((deleted_ns, ending)) = self.ending(workload) {
            let arrival = tally::arrival(connection, &Told::default(), deleted_ns, sieve);
            ending.last_arrival_ns = ending.last_arrival_ns.max(arrival);
        }
    }

    fn ending(&mut self, workload: u64) -> Option<(u64, &mut Ending)> {
        let deletion = self.by_pod.get_mut(self.pods.get(&workload)?)?;
        Some((deletion.at_ns, deletion.cgroups.get_mut(&workload)?))
    }

    /// This workload is gone: nothing more to see there. Gives the cgroups that reported because of it.
    fn release(&mut self, workload: u64) -> BTreeSet<u64> {
        let Some(uid) = self.pods.remove(&workload) else {
            return BTreeSet::new();
        };
        let Some(deletion) = self.by_pod.get_mut(&uid) else {
            return BTreeSet::new();
        };
        let ending = deletion.cgroups.remove(&workload);
        if deletion.cgroups.is_empty() {
            self.by_pod.remove(&uid);
        }
        ending.map(|ending| ending.marked).unwrap_or_default()
    }

    /// Workloads whose deletion is to be forgotten: nothing came of it.
    fn over(&self, now_ns: u64) -> Vec<u64> {
        let over = |deletion: &&Deletion| deletion.forget_ns <= now_ns;
        self.by_pod
            .values()
            .filter(over)
            .flat_map(|deletion| deletion.cgroups.keys().copied())
            .collect()
    }
}

impl Tracker {
    /// The deletion of a pod was asked for at `wall_ms`, as is heard at `at_ns`. Only the first news of it count:
    /// later ones may change its time, not when it began.
    pub(super) fn deleted(&mut self, at_ns: u64, uid: &str, wall_ms: i64) {
        if self.deletions.is_known(uid) {
            return;
        }
        let told_ns = self.clock.monotonic(wall_ms);
        let deleted_ns = if at_ns.saturating_sub(told_ns) <= FRESH_NS {
            at_ns
        } else {
            told_ns
        };
        let of: Vec<u64> = self.names.cgroups_of_pod(uid).collect();
        for episode in self.episodes.iter_mut(|e| of.contains(&e.cgroup())) {
            episode.deletion_learned(told_ns, deleted_ns);
        }
        let stopping = |cgroup| {
            let whole = |e: &Episode| e.scope() == Scope::Workload && e.cgroup() == cgroup;
            self.episodes.any(whole)
        };
        let living: Vec<u64> = of
            .into_iter()
            .filter(|&cgroup| !self.names.is_removed(cgroup) && !stopping(cgroup))
            .collect();
        if !self.deletions.begin(uid, deleted_ns, at_ns, &living) {
            return;
        }
        for workload in living {
            for cgroup in self.names.members(workload).collect::<Vec<_>>() {
                self.mark_deleted(workload, cgroup);
            }
        }
    }

    fn mark_deleted(&mut self, workload: u64, cgroup: u64) {
        if self.deletions.mark(workload, cgroup) {
            self.effects.push(Effect::MarkCgroup { cgroup });
        }
    }

    /// A cgroup made inside a container of a pod that is being deleted reports too.
    pub(super) fn created_in_deleted(&mut self, cgroup: u64) {
        self.mark_deleted(self.names.workload_cgroup(cgroup), cgroup);
    }

    /// This container is gone: nothing more to see there.
    pub(super) fn release(&mut self, workload: u64) {
        self.released.cgroups(self.deletions.release(workload));
    }

    /// Forgets deletions that nothing came of.
    pub(super) fn forget_deletions(&mut self) {
        for workload in self.deletions.over(self.now_ns) {
            self.release(workload);
        }
    }
}
