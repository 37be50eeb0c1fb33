//! Marks of the kernel side: whose sockets report. What one shutdown needs, and what is to be taken back.

use std::collections::BTreeSet;

use super::Effect;

/// Most processes remembered per shutdown: as many as the kernel side has room for.
const PROCESSES: usize = 16_384;

/// The marks that one shutdown needs.
#[derive(Debug, Clone, Default)]
pub(super) struct Marks {
    cgroups: BTreeSet<u64>,
    pids: BTreeSet<u32>,
    /// Of these nobody has heard yet ([`Marks::take_new`]).
    new: Vec<u32>,
}

impl Marks {
    /// This cgroup reports because of it. Says whether that is new.
    pub fn cgroup(&mut self, cgroup: u64) -> bool {
        self.cgroups.insert(cgroup)
    }

    /// The kernel side remembers something of this process until it is told not to.
    pub fn process(&mut self, pid: u32) {
        if self.pids.len() < PROCESSES && self.pids.insert(pid) {
            self.new.push(pid);
        }
    }

    /// Processes that are marked since the last time.
    pub fn take_new(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.new)
    }

    pub fn has_cgroup(&self, cgroup: u64) -> bool {
        self.cgroups.contains(&cgroup)
    }

    pub fn has_process(&self, pid: u32) -> bool {
        self.pids.contains(&pid)
    }

    /// Takes over those of another shutdown that turned out to be part of this one.
    pub fn absorb(&mut self, other: Self) {
        self.cgroups.extend(other.cgroups);
        self.new.extend(other.pids.iter().copied());
        self.pids.extend(other.pids);
    }
}

/// Marks to be taken back at the end of an event, unless something else still needs them.
#[derive(Debug, Default)]
pub(super) struct Released {
    cgroups: BTreeSet<u64>,
    pids: BTreeSet<u32>,
}

impl Released {
    pub fn cgroup(&mut self, cgroup: u64) {
        self.cgroups.insert(cgroup);
    }

    pub fn cgroups(&mut self, cgroups: impl IntoIterator<Item = u64>) {
        self.cgroups.extend(cgroups);
    }

    pub fn process(&mut self, pid: u32) {
        self.pids.insert(pid);
    }

    /// The cgroups of a shutdown.
    pub fn cgroups_of(&mut self, marks: &Marks) {
        self.cgroups(marks.cgroups.iter().copied());
    }

    /// All that a shutdown needed.
    pub fn all_of(&mut self, marks: &Marks) {
        self.cgroups_of(marks);
        self.pids.extend(marks.pids.iter().copied());
    }

    /// Takes back those that nothing needs any more.
    pub fn take_back(
        &mut self,
        cgroup_is_needed: impl Fn(u64) -> bool,
        process_is_needed: impl Fn(u32) -> bool,
        effects: &mut Vec<Effect>,
    ) {
        let cgroups = std::mem::take(&mut self.cgroups).into_iter();
        let pids = std::mem::take(&mut self.pids).into_iter();
        effects.extend(
            cgroups
                .filter(|&cgroup| !cgroup_is_needed(cgroup))
                .map(|cgroup| Effect::UnmarkCgroup { cgroup }),
        );
        effects.extend(
            pids.filter(|&pid| !process_is_needed(pid))
                .map(|pid| Effect::UnmarkProcess { pid }),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_released_marks_when_taken_back_then_those_still_needed_stay_and_none_is_taken_back_twice() {
        let mut marks = Marks::default();
        assert!(marks.cgroup(7) && marks.cgroup(8));
        assert!(!marks.cgroup(7), "marked already");
        marks.process(100);
        let mut released = Released::default();
        released.all_of(&marks);
        released.process(100);
        let mut effects = Vec::new();
        released.take_back(|cgroup| cgroup == 8, |_| false, &mut effects);
        released.take_back(|_| false, |_| false, &mut effects);
        assert_eq!(
            effects,
            [
                Effect::UnmarkCgroup { cgroup: 7 },
                Effect::UnmarkProcess { pid: 100 }
            ]
        );
    }

    #[test]
    fn given_more_processes_than_are_remembered_then_the_first_ones_are() {
        let mut marks = Marks::default();
        (1..=20_000).for_each(|pid| marks.process(pid));
        assert!(marks.has_process(16_384) && !marks.has_process(16_385));
    }
}
