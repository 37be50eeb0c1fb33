//! The shutdowns under way, and to which of them something belongs.
//!
//! They are kept by number, in the order of their beginning; the latest one is asked first.

mod index;

use std::collections::{BTreeMap, BTreeSet};

use super::{
    SECOND,
    agenda::Agenda,
    episode::{Episode, Scope},
    processes::Processes,
};
use crate::{
    event::{Process, Sender},
    workload::Names,
};
use index::Index;

/// Most shutdowns under way at once; beyond, one of whom most are is finished early.
pub(super) const EPISODES: usize = 1024;
/// A worker's shutdown that is over for longer than this when the whole workload is told to stop was a
/// shutdown of its own.
pub(super) const SAME_STOP_NS: u64 = SECOND;

/// The shutdowns under way.
///
/// There may be a thousand of them, and an event changes one or two: what is looked for at each event is found by an index.
#[derive(Debug, Default)]
pub(super) struct Episodes {
    by_number: BTreeMap<u64, Episode>,
    next: u64,
    index: Index,
    /// Those that may have something to tell.
    changed: BTreeSet<u64>,
    /// When what is new of each may be told.
    telling: Agenda,
    /// Those that have something to tell, and wait for a name.
    held: BTreeSet<u64>,
}

impl Episodes {
    /// The number that the next one gets: no other had it, or will have it.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// The next one gets this number.
    pub fn count_from(&mut self, number: u64) {
        self.next = self.next.max(number);
    }

    /// One more. Gives its number.
    pub fn begin(&mut self, episode: Episode) -> u64 {
        let number = self.next;
        self.next += 1;
        self.by_number.insert(number, episode);
        self.touch(number);
        number
    }

    pub fn get(&self, number: u64) -> Option<&Episode> {
        self.by_number.get(&number)
    }

    pub fn get_mut(&mut self, number: u64) -> Option<&mut Episode> {
        if self.by_number.contains_key(&number) {
            self.touch(number);
        }
        self.by_number.get_mut(&number)
    }

    /// It is over.
    pub fn remove(&mut self, number: u64) -> Option<Episode> {
        self.touch(number);
        self.by_number.remove(&number)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Episode> {
        self.by_number.values()
    }

    /// Those for which this holds, to be changed.
    pub fn iter_mut(&mut self, which: impl Fn(&Episode) -> bool) -> impl Iterator<Item = &mut Episode> {
        for number in self.numbers(&which) {
            self.touch(number);
        }
        self.by_number.values_mut().filter(move |episode| which(episode))
    }

    fn touch(&mut self, number: u64) {
        self.index.touch(number);
        self.changed.insert(number);
    }

    /// Those of which something becomes by itself by now, in the order of their numbers.
    pub fn due(&mut self, now_ns: u64) -> BTreeSet<u64> {
        self.index.settle(&mut self.by_number);
        self.index.due(now_ns)
    }

    /// Those that may have something to tell now, in the order of their numbers.
    pub fn take_news(&mut self, now_ns: u64) -> BTreeSet<u64> {
        let mut numbers = std::mem::take(&mut self.changed);
        numbers.extend(self.telling.due(now_ns));
        numbers.extend(&self.held);
        numbers
    }

    /// What there is to tell of this one waits: for a name, for its time (`due_ns`), or until it changes again.
    pub fn tell_later(&mut self, number: u64, held: bool, due_ns: Option<u64>) {
        self.telling.set(number, due_ns);
        if held {
            self.held.insert(number);
        } else {
            self.held.remove(&number);
        }
    }

    /// Those of which something may become now.
    pub fn at_hand(&self, now_ns: u64) -> impl Iterator<Item = &Episode> {
        let mut numbers = self.index.due(now_ns);
        numbers.extend(self.telling.due(now_ns));
        self.of(numbers).map(|(_, episode)| episode)
    }

    /// When something may become of any of the others.
    pub fn next_ns(&self, now_ns: u64) -> Option<u64> {
        let next = [self.index.next_ns(now_ns), self.telling.after(now_ns)];
        next.into_iter().flatten().min()
    }

    fn of(&self, numbers: BTreeSet<u64>) -> impl DoubleEndedIterator<Item = (u64, &Episode)> {
        let numbers = numbers.into_iter();
        numbers.filter_map(|number| Some((number, self.by_number.get(&number)?)))
    }

    /// Those of whole workloads, in the order of their numbers.
    pub fn whole(&self) -> impl DoubleEndedIterator<Item = (u64, &Episode)> {
        self.of(self.index.whole())
            .filter(|(_, episode)| episode.scope() == Scope::Workload)
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

    /// The one to finish when there is no room for one more: of the tenant with the most one that is over, else the one
    /// that was quiet for longest.
    pub fn surplus(&mut self) -> Option<u64> {
        if self.by_number.len() < EPISODES {
            return None;
        }
        self.index.settle(&mut self.by_number);
        self.index.spare()
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
        let own = || {
            let mut met = self.of(self.index.met(pid)).rev();
            met.find(|(_, e)| narrow(e) && e.members().holds(pid, started_ns))
        };
        let whole = || {
            let mut whole = self.whole().rev();
            whole.find(|(_, e)| names.belongs(cgroup, e.cgroup()))
        };
        let child = || {
            let parent = parent?;
            let adopts = |e: &Episode| {
                narrow(e)
                    && !e.is_handed_over()
                    && e.members().adopts(parent)
                    && names.same_workload(e.cgroup(), cgroup)
            };
            let mut met = self.of(self.index.met(parent)).rev();
            met.find(|(_, e)| adopts(e))
        };
        // A connection stays with the cgroup in which it was opened, a process may move to another one.
        let moved = || {
            let mut met = self.of(self.index.met(pid)).rev();
            met.find(|(_, e)| e.members().holds(pid, started_ns))
        };
        let found = own().or_else(whole).or_else(child).or_else(moved);
        found.map(|(number, _)| number)
    }

    /// The latest shutdown that has met this process.
    pub fn of_pid(&self, pid: u32) -> Option<u64> {
        let mut met = self.of(self.index.met(pid)).rev();
        met.find(|(_, e)| e.members().holds(pid, None))
            .map(|(number, _)| number)
    }

    /// The whole-workload shutdown of exactly this cgroup.
    pub fn whole_workload(&mut self, cgroup: u64) -> Option<&mut Episode> {
        let found = self.whole().rev().find(|(_, e)| e.cgroup() == cgroup);
        let number = found.map(|(number, _)| number)?;
        self.get_mut(number)
    }

    /// Shutdowns of a cgroup's last life, when this is a process of its next life.
    pub fn of_last_life(&self, process: &Process, names: &Names) -> Vec<u64> {
        let ended = |e: &Episode| e.gone_ns().is_some_and(|gone| process.started_ns > gone);
        self.whole()
            .filter(|(_, e)| ended(e) && names.belongs(process.cgroup, e.cgroup()))
            .map(|(number, _)| number)
            .collect()
    }

    /// Whole workloads that this cgroup belongs to, and that still end.
    pub fn ending_around(&self, cgroup: u64, names: &Names) -> Vec<u64> {
        self.whole()
            .filter(|(_, e)| e.gone_ns().is_none() && names.belongs(cgroup, e.cgroup()))
            .map(|(number, _)| number)
            .collect()
    }

    /// Shutdowns of single processes of a workload.
    pub fn workers(&self, cgroup: u64, names: &Names, which: impl Fn(&Episode) -> bool) -> Vec<u64> {
        self.numbers(|e| e.scope() == Scope::Worker && names.belongs(e.cgroup(), cgroup) && which(e))
    }

    /// Those of its workers that go on, or were over just before.
    pub fn recent_workers(&self, at_ns: u64, cgroup: u64, names: &Names) -> Vec<u64> {
        let own = |sender: &Process| names.same_workload(sender.cgroup, cgroup);
        self.workers(cgroup, names, |e| {
            is_recent(e, at_ns) && !is_dismissed_helper(e, own)
        })
    }

    /// In a shared cgroup, those of children of this process that go on, or were over just before.
    pub fn recent_children(&self, at_ns: u64, parent: &Process) -> Vec<u64> {
        let is_child = |e: &Episode| {
            let root = e.members().first();
            e.scope() == Scope::Process
                && e.cgroup() == parent.cgroup
                && is_recent(e, at_ns)
                && !is_dismissed_helper(e, |sender| sender.pid == parent.pid)
                && root.is_some_and(|root| root.process().parent == parent.pid)
        };
        self.of(self.index.children(parent.pid))
            .filter(|(_, e)| is_child(e))
            .map(|(number, _)| number)
            .collect()
    }

    /// These turned out to be parts of that one. Gives the ids of reports that are to be taken back.
    pub fn merge(&mut self, whole: u64, parts: &[u64]) -> Vec<String> {
        let mut superseded = Vec::new();
        for part in parts.iter().filter(|&&part| part != whole) {
            let Some(part) = self.remove(*part) else {
                continue;
            };
            if let Some(whole) = self.get_mut(whole) {
                superseded.extend(whole.absorb(part));
            }
        }
        superseded
    }

    /// Whether any of them still needs this cgroup's mark. Only whole workloads do: of a worker, the
    /// process's own mark is enough.
    pub fn need_cgroup(&self, cgroup: u64) -> bool {
        self.whole().any(|(_, e)| e.marks().has_cgroup(cgroup))
    }

    /// Whether any of them still needs this process's mark.
    pub fn need_process(&self, pid: u32) -> bool {
        self.of(self.index.marked(pid))
            .any(|(_, e)| e.marks().has_process(pid))
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

/// Nobody was served by what ended here, and only its own workload (`own`) had told it to: a helper that has done its work,
/// whatever comes afterwards.
fn is_dismissed_helper(episode: &Episode, own: impl Fn(&Process) -> bool) -> bool {
    let mut signals = episode.signals().iter();
    let by_own = signals.all(|at| matches!(&at.signal.sender, Sender::Process(sender) if own(sender)));
    let served = episode.members().any(|member| member.process().served);
    episode.gone_ns().is_some() && by_own && !served && !episode.signals().is_empty()
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
