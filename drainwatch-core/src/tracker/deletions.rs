//! Pods that are being deleted, and what still arrives at them before their stop signal.
//!
//! The kubelet runs the preStop hook first, and endpoints are taken out meanwhile: the lag of that counts from
//! the deletion. So from then on the pod's cgroups report, and the last arrival is kept for the shutdown
//! that follows.

use std::collections::{BTreeMap, BTreeSet};

use super::{Effect, Episode, HOUR, SECOND, Scope, Tracker, tally, told::Told};
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

/// What was said of a deletion, when.
#[derive(Debug)]
pub(super) struct Learned<'a> {
    pub at_ns: u64,
    pub uid: &'a str,
    pub deleted_ms: i64,
}

impl Deletions {
    /// Whether this cgroup is to report because of one.
    pub fn mark(&self, cgroup: u64) -> bool {
        let mut endings = self
            .by_pod
            .values()
            .flat_map(|deletion| deletion.cgroups.values());
        endings.any(|ending| ending.marked.contains(&cgroup))
    }

    /// When the first of them is forgotten.
    pub fn due(&self) -> Option<u64> {
        self.by_pod.values().map(|deletion| deletion.forget_ns).min()
    }

    /// Time of the deletion of this workload's pod, and its last arrival since.
    pub fn of(&self, cgroup: u64) -> Option<(u64, Option<u64>)> {
        let deletion = self.by_pod.get(self.pods.get(&cgroup)?)?;
        Some((deletion.at_ns, deletion.cgroups.get(&cgroup)?.last_arrival_ns))
    }
}

impl Tracker {
    /// The deletion of a pod was asked for. Only the first news of it count: later ones may change its time,
    /// not when it began.
    pub(super) fn deleted(&mut self, learned: &Learned<'_>) {
        let Learned {
            at_ns,
            uid,
            deleted_ms,
        } = *learned;
        if self.deletions.by_pod.contains_key(uid) {
            return;
        }
        let told_ns = self.clock.monotonic(deleted_ms);
        let deleted_ns = if at_ns.saturating_sub(told_ns) <= FRESH_NS {
            at_ns
        } else {
            told_ns
        };
        let of: Vec<u64> = self.names.cgroups_of_pod(uid).collect();
        let ending = |e: &&mut Episode| of.contains(&e.cgroup) && e.deleted_ns.is_none();
        for episode in self.episodes.values_mut().filter(ending) {
            // The stop signal may be quicker than the news of the deletion that it is of, but not than the deletion.
            let began_ns = episode.first_stop.map_or(episode.started_ns, |stop| stop.at_ns);
            if told_ns <= began_ns {
                episode.deleted_ns = Some(deleted_ns.min(began_ns));
            }
        }
        let living: Vec<u64> = of
            .into_iter()
            .filter(|&cgroup| !self.names.is_removed(cgroup) && !self.is_stopping(cgroup))
            .collect();
        if living.is_empty() || self.deletions.by_pod.len() >= DELETIONS {
            return;
        }
        self.deletions.by_pod.insert(
            uid.to_owned(),
            Deletion {
                at_ns: deleted_ns,
                forget_ns: at_ns.saturating_add(REMEMBERED_NS),
                cgroups: BTreeMap::new(),
            },
        );
        for cgroup in living {
            self.deletions.pods.insert(cgroup, uid.to_owned());
            for member in self.names.members(cgroup).collect::<Vec<_>>() {
                self.report_deleted(uid, cgroup, member);
            }
        }
    }

    fn is_stopping(&self, cgroup: u64) -> bool {
        self.episodes
            .values()
            .any(|e| e.scope == Scope::Workload && e.cgroup == cgroup)
    }

    fn report_deleted(&mut self, uid: &str, workload: u64, cgroup: u64) {
        if let Some(deletion) = self.deletions.by_pod.get_mut(uid)
            && deletion
                .cgroups
                .entry(workload)
                .or_default()
                .marked
                .insert(cgroup)
        {
            self.effects.push(Effect::MarkCgroup { cgroup });
        }
    }

    /// A cgroup made inside a container of a pod that is being deleted reports too.
    pub(super) fn created_in_deleted(&mut self, cgroup: u64) {
        let workload = self.names.workload_cgroup(cgroup);
        if let Some(uid) = self.deletions.pods.get(&workload).cloned() {
            self.report_deleted(&uid, workload, cgroup);
        }
    }

    /// Something arrived, perhaps between the deletion and the stop signal.
    pub(super) fn arrived(&mut self, cgroup: u64, connection: &Connection) {
        let workload = self.names.workload_cgroup(cgroup);
        let Some(deletion) = self
            .deletions
            .pods
            .get(&workload)
            .and_then(|uid| self.deletions.by_pod.get_mut(uid))
        else {
            return;
        };
        let last = tally::arrivals(connection, &Told::default(), deletion.at_ns)
            .into_iter()
            .max();
        if let Some(ending) = deletion.cgroups.get_mut(&workload) {
            ending.last_arrival_ns = ending.last_arrival_ns.max(last);
        }
    }

    /// This container is gone: nothing more to see there.
    pub(super) fn release(&mut self, cgroup: u64) {
        let Some(uid) = self.deletions.pods.remove(&cgroup) else {
            return;
        };
        let Some(deletion) = self.deletions.by_pod.get_mut(&uid) else {
            return;
        };
        if let Some(ending) = deletion.cgroups.remove(&cgroup) {
            self.unmark_cgroups.extend(ending.marked);
        }
        if deletion.cgroups.is_empty() {
            self.deletions.by_pod.remove(&uid);
        }
    }

    /// Forgets deletions that nothing came of.
    pub(super) fn forget_deletions(&mut self) {
        let over = |deletion: &Deletion| deletion.forget_ns <= self.now_ns;
        let cgroups: Vec<u64> = self
            .deletions
            .by_pod
            .values()
            .filter(|deletion| over(deletion))
            .flat_map(|deletion| deletion.cgroups.keys().copied())
            .collect();
        for cgroup in cgroups {
            self.release(cgroup);
        }
    }
}
