//! Which workloads are known, under which names: announcing, waiting for a name, renaming, retiring.
//!
//! A workload whose name is to be told by an origin is announced once it was, and what there is to tell of
//! it waits until then, but for at most [`NAME_WITHIN_NS`]: then its cgroup's name has to do, and it counts as
//! unresolved. A name that comes later is taken over from then on.
//!
//! A workload counts an instance for each of its cgroups, and for each container of a described pod.

use std::collections::BTreeMap;

use super::{Effect, Episode, SECOND, Scope, Tracker, deletions::Learned};
use crate::{
    description::{Description, Subject},
    report::{Configured, Workload},
    tracker::episode::signal_name,
    workload::{directory::StopSettings, of_pod},
};

/// How long what there is to tell waits for the workload's name.
pub(super) const NAME_WITHIN_NS: u64 = 10 * SECOND;
/// Most workloads that something waits for; beyond, their cgroup's name has to do at once.
const WAITING: usize = 4096;
/// Most pods whose containers are announced; beyond, their cgroups announce them.
pub(super) const PODS: usize = 4096;

/// Stop signals of one's own that the kernel side is asked to tell of: those that processes use for what their
/// authors like. Not those that the kernel itself sends as a matter of course (SIGCHLD, SIGPIPE, faults):
/// an image may name any.
fn is_own_stop_signal(signal: u32) -> bool {
    matches!(signal, 1 | 6 | 10 | 12 | 28 | 30 | 34..=63)
}

/// As reports have it.
pub(super) fn configured(settings: &StopSettings) -> Configured {
    Configured {
        grace_seconds: settings.grace_seconds,
        prestop: settings.prestop.as_ref().map(|prestop| prestop.what.clone()),
        prestop_seconds: match &settings.prestop {
            Some(prestop) => prestop.seconds,
            None => settings.prestop_known.then_some(0.0),
        },
        stop_signal: settings.stop_signal.map(signal_name),
        kill_mode: settings.kill_mode.clone(),
    }
}

impl Tracker {
    /// A workload is known.
    pub(super) fn announce(&mut self, cgroup: u64, workload: Workload) {
        if self.names.is_shared(cgroup) {
            let key = (cgroup, workload.name.clone());
            if self.seen_processes.contains(&key) {
                return;
            }
            let forgotten = self.seen_processes.make_room();
            self.gone(forgotten.map(|(_, workload)| workload));
            self.seen_processes.insert(&key, workload.clone());
            self.effects.push(Effect::WorkloadSeen(workload));
            return;
        }
        if self.seen.contains(&cgroup) {
            return;
        }
        self.waiting.remove(&cgroup);
        let forgotten = self.seen.make_room();
        self.gone(forgotten.map(|(_, (workload, _))| workload));
        let removed = self.names.is_removed(cgroup);
        self.seen.insert(&cgroup, (workload.clone(), removed));
        self.seen_as(cgroup, workload);
    }

    fn seen_as(&mut self, cgroup: u64, workload: Workload) {
        let settings = self.names.settings(cgroup);
        self.effects.push(Effect::WorkloadSeen(workload.clone()));
        if let Some(settings) = settings {
            self.effects.push(Effect::WorkloadConfigured {
                workload,
                configured: configured(&settings),
            });
        }
    }

    fn gone(&mut self, workloads: impl IntoIterator<Item = Workload>) {
        self.effects
            .extend(workloads.into_iter().map(Effect::WorkloadGone));
    }

    /// Announces a workload, unless its name is on its way.
    pub(super) fn announce_named(&mut self, cgroup: u64, workload: Workload) {
        if !self.held(cgroup) {
            self.announce(cgroup, workload);
        }
    }

    /// Announces the workload of a shutdown before anything else is said of it.
    pub(super) fn known(&mut self, key: u64) {
        if let Some(episode) = self.episodes.get(&key) {
            let (cgroup, workload) = (episode.cgroup, episode.workload.clone());
            self.announce_named(cgroup, workload);
        }
    }

    /// Says that a removed cgroup's workload is gone, once its shutdown is told.
    pub(super) fn retire(&mut self, cgroup: u64) {
        if self.episodes.values().any(|e| e.cgroup == cgroup) {
            return;
        }
        if self.names.is_removed(cgroup) {
            self.waiting.remove(&cgroup);
            self.release(cgroup);
        }
        if self.seen.get(&cgroup).is_some_and(|(_, removed)| *removed)
            && let Some((workload, _)) = self.seen.remove(&cgroup)
        {
            self.effects.push(Effect::WorkloadGone(workload));
        }
    }

    /// Whether what there is to tell of a workload has to wait for its name. It has until
    /// [`NAME_WITHIN_NS`] from now, when this is the first to tell.
    pub(super) fn held(&mut self, cgroup: u64) -> bool {
        if self.waiting.contains_key(&cgroup) {
            return true;
        }
        if self.seen.contains(&cgroup) || self.names.awaited(cgroup).is_none() {
            return false;
        }
        self.waiting
            .insert(cgroup, self.now_ns.saturating_add(NAME_WITHIN_NS));
        if self.waiting.len() > WAITING {
            self.stop_waiting(cgroup);
            return false;
        }
        true
    }

    /// Ends the waiting for a name. Without one, the cgroup's has to do.
    pub(super) fn stop_waiting(&mut self, cgroup: u64) {
        self.waiting.remove(&cgroup);
        if self.seen.contains(&cgroup) {
            return;
        }
        let workload = self.names.named(cgroup);
        let Some(origin) = self.names.awaited(cgroup) else {
            return;
        };
        // Of a pod that has only one it is certain which container this is.
        if workload.container.is_none() {
            self.effects.push(Effect::Unresolved { origin });
        }
        self.announce(cgroup, workload);
        self.retire(cgroup);
    }

    /// Stops waiting where the time is over.
    pub(super) fn stop_waiting_when_due(&mut self) {
        let due = |(_, at): &(&u64, &u64)| **at <= self.now_ns;
        let over: Vec<u64> = self
            .waiting
            .iter()
            .filter(due)
            .map(|(&cgroup, _)| cgroup)
            .collect();
        for cgroup in over {
            self.stop_waiting(cgroup);
        }
    }

    /// A cgroup is known: so is its workload, if nothing more is needed for that.
    pub(super) fn discover(&mut self, cgroup: u64) {
        if self.names.is_discoverable(cgroup) {
            let workload = self.names.named(cgroup);
            self.announce(cgroup, workload);
        }
        self.ask_for_stop_signal(cgroup);
    }

    /// The workload's own stop signal is to be told of, wherever in it a process gets it.
    fn ask_for_stop_signal(&mut self, cgroup: u64) {
        let settings = self.names.settings(self.names.workload_cgroup(cgroup));
        if let Some(signal) = settings.and_then(|settings| settings.stop_signal)
            && is_own_stop_signal(signal)
            && !self.names.is_removed(cgroup)
        {
            self.effects.push(Effect::WatchStopSignal { cgroup, signal });
        }
    }

    /// A pod, container or unit is known, or changed.
    pub(super) fn described(&mut self, at_ns: u64, description: &Description) {
        let cgroups = self.names.describe(description.clone());
        if let Description::Pod(pod) = description {
            self.announce_pod(&pod.uid, &of_pod(pod).collect::<Vec<_>>());
            if let Some(deleted_ms) = pod.deleted_ms {
                self.deleted(&Learned {
                    at_ns,
                    uid: &pod.uid,
                    deleted_ms,
                });
            }
        }
        for cgroup in cgroups {
            self.renamed(cgroup);
            for member in self.names.members(cgroup).collect::<Vec<_>>() {
                self.ask_for_stop_signal(member);
            }
        }
    }

    /// The workloads of a pod are these, from now on.
    fn announce_pod(&mut self, uid: &str, now: &[(Workload, StopSettings)]) {
        if !self.seen_pods.contains_key(uid) && self.seen_pods.len() >= PODS {
            return;
        }
        let workloads: Vec<Workload> = now.iter().map(|(workload, _)| workload.clone()).collect();
        let before = self
            .seen_pods
            .insert(uid.to_owned(), workloads.clone())
            .unwrap_or_default();
        if before != workloads {
            // The new ones first: what is the same workload under another image never leaves.
            self.effects
                .extend(workloads.into_iter().map(Effect::WorkloadSeen));
            self.gone(before);
        }
        let configured = now.iter().map(|(workload, settings)| Effect::WorkloadConfigured {
            workload: workload.clone(),
            configured: configured(settings),
        });
        self.effects.extend(configured);
    }

    /// A pod, container or unit has left the node.
    pub(super) fn undescribed(&mut self, subject: &Subject) {
        self.names.undescribe(subject);
        if let Subject::Pod(uid) = subject {
            let before = self.seen_pods.remove(uid).unwrap_or_default();
            self.gone(before);
        }
    }

    /// Something was said of the workload of this cgroup.
    pub(super) fn renamed(&mut self, cgroup: u64) {
        let workload = self.names.named(cgroup);
        let settings = self.names.settings(cgroup);
        let unlisted = self.names.is_unlisted(cgroup);
        let whole = |e: &&mut Episode| e.cgroup == cgroup && e.scope != Scope::Process;
        for episode in self.episodes.values_mut().filter(whole) {
            episode.describe(workload.clone(), settings.clone(), unlisted);
        }
        let waited = self.names.awaited(cgroup).is_none() && self.waiting.remove(&cgroup).is_some();
        if let Some((known, _)) = self.seen.entry_if_known(&cgroup) {
            let before = std::mem::replace(known, workload.clone());
            if before != workload {
                self.seen_as(cgroup, workload);
                self.effects.push(Effect::WorkloadGone(before));
            } else if let Some(settings) = settings {
                self.effects.push(Effect::WorkloadConfigured {
                    workload,
                    configured: configured(&settings),
                });
            }
        } else if waited || self.names.is_discoverable(cgroup) {
            self.announce(cgroup, workload);
            self.retire(cgroup);
        }
    }

    /// When the first of the waiting is over.
    pub(super) fn naming_due(&self) -> Option<u64> {
        self.waiting.values().min().copied()
    }
}

/// Workloads' own cgroups that something waits for, each with the time until which it does.
pub(super) type Waiting = BTreeMap<u64, u64>;
