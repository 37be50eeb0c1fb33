//! What is told to names and metrics of workloads: which ones are announced, as what, and which wait for their
//! name.
//!
//! A workload counts an instance for each of its cgroups, and for each container of a described pod. Each
//! that was announced leaves by itself. All of it is bounded; what is forgotten leaves.

use std::collections::BTreeMap;

use super::{Effect, bounded::Recent, episode::signals::signal_name};
use crate::{
    report::{Configured, Revision, Workload},
    workload::directory::StopSettings,
};

/// Most announced workloads that are remembered: those with a cgroup of their own …
const WORKLOADS: usize = 16_384;
/// … and those that are processes.
const PROCESS_WORKLOADS: usize = 1024;
/// Most workloads that something waits for; beyond, their cgroup's name has to do at once.
const WAITING: usize = 4096;
/// Most pods whose containers are announced; beyond, their cgroups announce them.
pub(super) const PODS: usize = 4096;

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

/// A workload with a cgroup of its own.
#[derive(Debug)]
struct Announced {
    workload: Workload,
    /// Its cgroup was removed: it leaves once its shutdown is told.
    removed: bool,
}

/// Which workloads are announced, and which wait.
#[derive(Debug)]
pub(super) struct Announcements {
    /// By the workload's own cgroup.
    by_cgroup: Recent<u64, Announced>,
    /// Workloads that are processes, by cgroup and name.
    processes: Recent<(u64, String), Workload>,
    /// Workloads of described pods, by uid.
    by_pod: BTreeMap<String, Vec<Workload>>,
    /// Workloads' own cgroups that something waits for, each with the time until which it does.
    waiting: BTreeMap<u64, u64>,
}

impl Announcements {
    pub fn new() -> Self {
        Self {
            by_cgroup: Recent::new(WORKLOADS),
            processes: Recent::new(PROCESS_WORKLOADS),
            by_pod: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// As what the workload of this cgroup was announced.
    pub fn of(&self, cgroup: u64) -> Option<&Workload> {
        self.by_cgroup.get(&cgroup).map(|announced| &announced.workload)
    }

    /// Announces the workload of this cgroup, unless it was. What waits for it need not any more.
    pub fn announce(
        &mut self,
        cgroup: u64,
        workload: Workload,
        removed: bool,
        settings: Option<&StopSettings>,
        effects: &mut Vec<Effect>,
    ) {
        if self.by_cgroup.contains(&cgroup) {
            return;
        }
        self.waiting.remove(&cgroup);
        let forgotten = self.by_cgroup.make_room();
        effects.extend(forgotten.map(|(_, forgotten)| Effect::WorkloadGone(forgotten.workload)));
        let announced = Announced {
            workload: workload.clone(),
            removed,
        };
        self.by_cgroup.insert(&cgroup, announced);
        seen(workload, settings, effects);
    }

    /// Announces a workload that is a process, unless it was.
    pub fn announce_process(&mut self, cgroup: u64, workload: Workload, effects: &mut Vec<Effect>) {
        let key = (cgroup, workload.name.clone());
        if self.processes.contains(&key) {
            return;
        }
        let forgotten = self.processes.make_room();
        effects.extend(forgotten.map(|(_, workload)| Effect::WorkloadGone(workload)));
        self.processes.insert(&key, workload.clone());
        effects.push(Effect::WorkloadSeen(workload));
    }

    /// The workload of this cgroup has this name from now on. Says whether it is announced at all.
    pub fn rename(
        &mut self,
        cgroup: u64,
        workload: &Workload,
        settings: Option<&StopSettings>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(known) = self.by_cgroup.entry_if_known(&cgroup) else {
            return false;
        };
        let before = std::mem::replace(&mut known.workload, workload.clone());
        if before != *workload {
            seen(workload.clone(), settings, effects);
            effects.push(Effect::WorkloadGone(before));
        } else if let Some(settings) = settings {
            effects.push(configure(workload.clone(), settings));
        }
        true
    }

    /// The workloads of a pod are these, from now on.
    pub fn pod(&mut self, uid: &str, now: &[(Workload, StopSettings)], effects: &mut Vec<Effect>) {
        if !self.by_pod.contains_key(uid) && self.by_pod.len() >= PODS {
            return;
        }
        let workloads: Vec<Workload> = now.iter().map(|(workload, _)| workload.clone()).collect();
        let before = self
            .by_pod
            .insert(uid.to_owned(), workloads.clone())
            .unwrap_or_default();
        if before != workloads {
            // The new ones first: what is the same workload under another image never leaves.
            effects.extend(workloads.into_iter().map(Effect::WorkloadSeen));
            effects.extend(before.into_iter().map(Effect::WorkloadGone));
        }
        let configured = now
            .iter()
            .map(|(workload, settings)| configure(workload.clone(), settings));
        effects.extend(configured);
    }

    /// A pod has left the node.
    pub fn pod_left(&mut self, uid: &str, effects: &mut Vec<Effect>) {
        let before = self.by_pod.remove(uid).unwrap_or_default();
        effects.extend(before.into_iter().map(Effect::WorkloadGone));
    }

    /// The cgroup was removed; [`Announcements::retire`] takes its workload back.
    pub fn removed(&mut self, cgroup: u64) {
        if let Some(announced) = self.by_cgroup.entry_if_known(&cgroup) {
            announced.removed = true;
        }
    }

    /// Takes back a workload whose cgroup was removed.
    pub fn retire(&mut self, cgroup: u64, effects: &mut Vec<Effect>) {
        let removed = |announced: &Announced| announced.removed;
        if self.by_cgroup.get(&cgroup).is_some_and(removed)
            && let Some(announced) = self.by_cgroup.remove(&cgroup)
        {
            effects.push(Effect::WorkloadGone(announced.workload));
        }
    }

    /// Whether a workload that is a process is announced.
    pub fn has_process(&self, cgroup: u64, name: &str) -> bool {
        self.processes.contains(&(cgroup, name.to_owned()))
    }

    /// Takes back a workload that is a process.
    pub fn retire_process(&mut self, cgroup: u64, name: &str, effects: &mut Vec<Effect>) {
        let workload = self.processes.remove(&(cgroup, name.to_owned()));
        effects.extend(workload.map(Effect::WorkloadGone));
    }

    /// Until when what there is to tell of a workload waits for its name, if it does.
    pub fn waits_until(&self, cgroup: u64) -> Option<u64> {
        self.waiting.get(&cgroup).copied()
    }

    /// What there is to tell of a workload waits for its name. Says whether there was room for that; if not,
    /// it waits all the same, until it is told to stop.
    pub fn wait(&mut self, cgroup: u64, until_ns: u64) -> bool {
        self.waiting.insert(cgroup, until_ns);
        self.waiting.len() <= WAITING
    }

    /// Nothing waits for this workload's name any more. Says whether anything did.
    pub fn stop_waiting(&mut self, cgroup: u64) -> bool {
        self.waiting.remove(&cgroup).is_some()
    }

    /// Workloads' own cgroups that something waits for, until `now_ns` at most.
    pub fn waiting_until(&self, now_ns: u64) -> Vec<u64> {
        let due = |(_, until_ns): &(&u64, &u64)| **until_ns <= now_ns;
        let over = self.waiting.iter().filter(due);
        over.map(|(&cgroup, _)| cgroup).collect()
    }

    /// When the first of the waiting is over.
    pub fn due_ns(&self) -> Option<u64> {
        self.waiting.values().min().copied()
    }
}

#[cfg(test)]
impl Announcements {
    /// How many workloads with a cgroup of their own are announced.
    pub fn with_cgroup(&self) -> usize {
        self.by_cgroup.values().count()
    }

    /// Of how many pods workloads are announced.
    pub fn pods(&self) -> usize {
        self.by_pod.len()
    }

    /// For how many workloads' names something waits.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

fn seen(workload: Workload, settings: Option<&StopSettings>, effects: &mut Vec<Effect>) {
    effects.push(Effect::WorkloadSeen(workload.clone()));
    effects.extend(settings.map(|settings| configure(workload, settings)));
}

fn configure(workload: Workload, settings: &StopSettings) -> Effect {
    let running = Revision {
        id: settings.revision.clone(),
        image: workload.image.clone(),
    };
    let runs = settings.revisioned && running != Revision::default();
    Effect::WorkloadConfigured {
        workload,
        configured: configured(settings),
        running: runs.then_some(running),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report::Verdict, testing::report};

    fn workload(name: &str) -> Workload {
        report("r", name, Verdict::Clean).workload
    }

    #[test]
    fn given_an_announced_workload_then_it_is_seen_once_and_leaves_once_its_cgroup_did() {
        let (mut announcements, mut effects) = (Announcements::new(), Vec::new());
        for _ in 0..2 {
            announcements.announce(7, workload("/web"), false, None, &mut effects);
        }
        announcements.retire(7, &mut effects);
        assert_eq!(effects, [Effect::WorkloadSeen(workload("/web"))]);
        effects.clear();
        assert!(announcements.rename(7, &workload("shop"), None, &mut effects));
        announcements.removed(7);
        for _ in 0..2 {
            announcements.retire(7, &mut effects);
        }
        assert_eq!(
            effects,
            [
                Effect::WorkloadSeen(workload("shop")),
                Effect::WorkloadGone(workload("/web")),
                Effect::WorkloadGone(workload("shop")),
            ]
        );
    }

    #[test]
    fn given_a_workload_that_waits_when_it_is_announced_then_nothing_waits_any_more() {
        let (mut announcements, mut effects) = (Announcements::new(), Vec::new());
        assert!(announcements.wait(7, 10) && announcements.wait(8, 20));
        assert_eq!(
            (announcements.due_ns(), announcements.waiting_until(10)),
            (Some(10), vec![7])
        );
        announcements.announce(7, workload("/web"), false, None, &mut effects);
        assert_eq!(
            (announcements.waits_until(7), announcements.due_ns()),
            (None, Some(20))
        );
    }
}
