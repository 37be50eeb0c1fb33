//! The shutdowns under way, and to which of them something belongs.
//!
//! They are kept by number, in the order of their beginning; the latest one is asked first.

use std::collections::BTreeMap;

use super::{
    SECOND,
    episode::{Episode, Scope},
    processes::Processes,
};
use crate::{event::Process, workload::Names};

/// Most shutdowns under way at once; beyond, the one that was quiet for longest is finished early.
pub(super) const EPISODES: usize = 512;
/// A worker's shutdown that is over for longer than this when the whole workload is told to stop was a
/// shutdown of its own.
pub(super) const SAME_STOP_NS: u64 = SECOND;

/// The shutdowns under way.
#[derive(Debug, Default)]
pub(super) struct Episodes {
    by_number: BTreeMap<u64, Episode>,
    next: u64,
}

impl Episodes {
    /// The number that the next one gets: no other had it, or will have it.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// One more. Gives its number.
    pub fn begin(&mut self, episode: Episode) -> u64 {
        let number = self.next;
        self.next += 1;
        self.by_number.insert(number, episode);
        number
    }

    pub fn get(&self, number: u64) -> Option<&Episode> {
        self.by_number.get(&number)
    }

    pub fn get_mut(&mut self, number: u64) -> Option<&mut Episode> {
        self.by_number.get_mut(&number)
    }

    /// It is over.
    pub fn remove(&mut self, number: u64) -> Option<Episode> {
        self.by_number.remove(&number)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Episode> {
        self.by_number.values()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Episode> {
        self.by_number.values_mut()
    }

    /// Whether this holds for any of them.
    pub fn any(&self, which: impl Fn(&Episode) -> bool) -> bool {
        self.by_number.values().any(which)
    }

    /// Numbers of those for which this holds.
    pub fn numbers(&self, which: impl Fn(&Episode) -> bool) -> Vec<u64> {
        self.by_number
            .iter()
            .filter(|(_, episode)| which(episode))
            .map(|(&number, _)| number)
            .collect()
    }

    fn latest(&self, which: impl Fn(&Episode) -> bool) -> Option<u64> {
        self.by_number
            .iter()
            .rev()
            .find(|(_, episode)| which(episode))
            .map(|(&number, _)| number)
    }

    /// The one to finish when there is no room for one more: one that is over, else the one that was quiet
    /// for longest.
    pub fn surplus(&self) -> Option<u64> {
        if self.by_number.len() < EPISODES {
            return None;
        }
        self.by_number
            .iter()
            .min_by_key(|(_, episode)| (episode.gone_ns().is_none(), episode.last_activity_ns()))
            .map(|(&number, _)| number)
    }

    /// The shutdown that a process of this cgroup belongs to.
    pub fn find(&self, who: Who, names: &Names, processes: &Processes) -> Option<u64> {
        let Who {
            cgroup,
            pid,
            started_ns,
            parent,
        } = who;
        let parent = parent.or_else(|| {
            processes
                .get(pid)
                .filter(|known| started_ns.is_none_or(|started| started == known.started_ns))
                .map(|known| known.parent)
        });
        let narrow = |e: &Episode| e.scope() != Scope::Workload;
        // A worker that was stopped on its own keeps its connections, even when the workload stops after it.
        let own = self.latest(|e| narrow(e) && e.members().holds(pid, started_ns));
        let whole = || self.latest(|e| e.scope() == Scope::Workload && names.belongs(cgroup, e.cgroup()));
        let child = || {
            let parent = parent?;
            self.latest(|e| {
                narrow(e)
                    && !e.is_handed_over()
                    && names.same_workload(e.cgroup(), cgroup)
                    && e.members().adopts(parent)
            })
        };
        own.or_else(whole).or_else(child)
    }

    /// The latest shutdown that has met this process.
    pub fn of_pid(&self, pid: u32) -> Option<u64> {
        self.latest(|e| e.members().holds(pid, None))
    }

    /// The whole-workload shutdown of exactly this cgroup.
    pub fn whole_workload(&mut self, cgroup: u64) -> Option<&mut Episode> {
        self.by_number
            .values_mut()
            .rev()
            .find(|e| e.scope() == Scope::Workload && e.cgroup() == cgroup)
    }

    /// Shutdowns of a cgroup's last life, when this is a process of its next life.
    pub fn of_last_life(&self, process: &Process, names: &Names) -> Vec<u64> {
        self.numbers(|e| {
            e.scope() == Scope::Workload
                && names.belongs(process.cgroup, e.cgroup())
                && e.gone_ns().is_some_and(|gone| process.started_ns > gone)
        })
    }

    /// Whole workloads that this cgroup belongs to, and that still end.
    pub fn ending_around(&self, cgroup: u64, names: &Names) -> Vec<u64> {
        self.numbers(|e| {
            e.scope() == Scope::Workload && e.gone_ns().is_none() && names.belongs(cgroup, e.cgroup())
        })
    }

    /// Shutdowns of single processes of a workload.
    pub fn workers(&self, cgroup: u64, names: &Names, which: impl Fn(&Episode) -> bool) -> Vec<u64> {
        self.numbers(|e| e.scope() == Scope::Worker && names.belongs(e.cgroup(), cgroup) && which(e))
    }

    /// Those of its workers that go on, or were over just before.
    pub fn recent_workers(&self, at_ns: u64, cgroup: u64, names: &Names) -> Vec<u64> {
        self.workers(cgroup, names, |e| is_recent(e, at_ns))
    }

    /// In a shared cgroup, those of children of this process that go on, or were over just before.
    pub fn recent_children(&self, at_ns: u64, parent: &Process) -> Vec<u64> {
        self.numbers(|e| {
            e.scope() == Scope::Process
                && e.cgroup() == parent.cgroup
                && is_recent(e, at_ns)
                && e.members()
                    .first()
                    .is_some_and(|root| root.process().parent == parent.pid)
        })
    }

    /// These turned out to be parts of that one. Gives the ids of reports that are to be taken back.
    pub fn merge(&mut self, whole: u64, parts: &[u64]) -> Vec<String> {
        let mut superseded = Vec::new();
        for part in parts.iter().filter(|&&part| part != whole) {
            let Some(part) = self.by_number.remove(part) else {
                continue;
            };
            if let Some(whole) = self.by_number.get_mut(&whole) {
                superseded.extend(whole.absorb(part));
            }
        }
        superseded
    }

    /// Whether any of them still needs this cgroup's mark. Only whole workloads do: of a worker, the
    /// process's own mark is enough.
    pub fn need_cgroup(&self, cgroup: u64) -> bool {
        self.any(|e| e.scope() == Scope::Workload && e.marks().has_cgroup(cgroup))
    }

    /// Whether any of them still needs this process's mark.
    pub fn need_process(&self, pid: u32) -> bool {
        self.any(|e| e.marks().has_process(pid))
    }
}

/// It goes on, or was over just before. One that was begun by a signal which need not be a stop (a master's SIGINT
/// to a helper), and in which nothing ended, was none.
fn is_recent(episode: &Episode, at_ns: u64) -> bool {
    let just = |before: u64| at_ns.saturating_sub(before) <= SAME_STOP_NS;
    match episode.gone_ns() {
        Some(gone_ns) => just(gone_ns),
        None if episode.is_confirmed() || !episode.signals().are_mild() => true,
        None => episode.signals().last_stop_ns().is_none_or(just),
    }
}

/// As much as an event says of a process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who {
    pub cgroup: u64,
    pub pid: u32,
    pub started_ns: Option<u64>,
    pub parent: Option<u32>,
}

impl Who {
    /// A process of which only this is known.
    pub fn pid(cgroup: u64, pid: u32) -> Self {
        Self {
            cgroup,
            pid,
            started_ns: None,
            parent: None,
        }
    }
}

impl From<&Process> for Who {
    fn from(process: &Process) -> Self {
        Self {
            cgroup: process.cgroup,
            pid: process.pid,
            started_ns: Some(process.started_ns),
            parent: Some(process.parent),
        }
    }
}
