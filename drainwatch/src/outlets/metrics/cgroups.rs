//! Which workload a cgroup id belongs to: the kernel counts resets by cgroup.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use drainwatch_core::report::Workload;

use super::Labels;
use crate::kernel::Resets;

/// Removed cgroups that are remembered between two scrapes; nobody may ever scrape.
pub(super) const REMOVED: usize = 4096;

/// Paths of cgroups, whose they are, and what the kernel counted.
#[derive(Debug, Default)]
pub(super) struct Cgroups {
    paths: HashMap<u64, String>,
    /// Monotonic time of removal; kept as long as series are.
    removed: HashMap<u64, u64>,
    /// The same, oldest first.
    by_removal: BTreeSet<(u64, u64)>,
    /// Kernel counters at the last scrape, by cgroup, sent, shutdown.
    seen: HashMap<(u64, bool, bool), u64>,
    /// Labels of the workload whose cgroup has this path.
    labels: BTreeMap<String, Labels>,
}

impl Cgroups {
    pub fn created(&mut self, cgroup: u64, path: &str) {
        self.comes_back(cgroup);
        self.paths.insert(cgroup, path.into());
    }

    fn comes_back(&mut self, cgroup: u64) {
        if let Some(at_ns) = self.removed.remove(&cgroup) {
            self.by_removal.remove(&(at_ns, cgroup));
        }
    }

    pub fn removed(&mut self, cgroup: u64, at_ns: u64) {
        if !self.paths.contains_key(&cgroup) {
            return;
        }
        self.comes_back(cgroup);
        self.removed.insert(cgroup, at_ns);
        self.by_removal.insert((at_ns, cgroup));
        if self.removed.len() > REMOVED
            && let Some(&(middle_ns, _)) = self.by_removal.iter().nth(REMOVED / 2)
        {
            // Many at once: each time all the paths are looked through.
            self.forget(|at_ns| at_ns <= middle_ns);
        }
    }

    /// Forgets those that were removed so long ago. What another cgroup has the path of by now stays that one's.
    pub fn forget(&mut self, long_ago: impl Fn(u64) -> bool) {
        let mut gone = Vec::new();
        while let Some(&(at_ns, cgroup)) = self.by_removal.first()
            && long_ago(at_ns)
        {
            self.by_removal.pop_first();
            self.removed.remove(&cgroup);
            gone.extend(self.paths.remove(&cgroup));
        }
        if gone.is_empty() {
            return;
        }
        let known: HashSet<&String> = self.paths.values().collect();
        gone.retain(|path| !known.contains(path));
        for path in gone {
            self.labels.remove(&path);
        }
    }

    /// Forgets which cgroups are of workloads that have no series any more.
    pub fn unlabel(&mut self, has_series: impl Fn(&Labels) -> bool) {
        self.labels.retain(|_, of| has_series(of));
    }

    /// It is there, or was until a moment ago.
    pub fn knows(&self, cgroup: u64) -> bool {
        self.paths.contains_key(&cgroup)
    }

    pub fn belongs(&mut self, workload: &Workload) {
        // A process workload shares its cgroup with strangers: their resets are not its own.
        // A pod that is described may have no cgroup yet.
        if workload.kind != "process" && !workload.cgroup.is_empty() {
            self.labels.insert(workload.cgroup.clone(), workload.into());
        }
    }

    /// Forgets counters that the kernel has no longer.
    pub fn still_counted(&mut self, resets: &[Resets]) {
        let reported: HashSet<_> = resets
            .iter()
            .map(|reset| (reset.cgroup, reset.sent, reset.shutdown))
            .collect();
        self.seen.retain(|key, _| reported.contains(key));
    }

    pub fn grown(&mut self, reset: &Resets) -> u64 {
        let seen = self
            .seen
            .entry((reset.cgroup, reset.sent, reset.shutdown))
            .or_default();
        let grown = reset.count.saturating_sub(*seen);
        *seen = reset.count;
        grown
    }

    /// What the kernel had counted at the last scrape: cgroup, sent, shutdown, count.
    pub fn counted(&self) -> Vec<(u64, bool, bool, u64)> {
        let seen = self.seen.iter();
        seen.map(|(&(cgroup, sent, shutdown), &count)| (cgroup, sent, shutdown, count))
            .collect()
    }

    /// An earlier agent took this much into account.
    pub fn counted_before(&mut self, counted: Vec<(u64, bool, bool, u64)>) {
        let counted = counted.into_iter();
        self.seen
            .extend(counted.map(|(cgroup, sent, shutdown, count)| ((cgroup, sent, shutdown), count)));
    }

    /// The workload of the cgroup itself or of the nearest one above it.
    pub fn owner(&self, cgroup: u64) -> Option<Labels> {
        let mut path = self.paths.get(&cgroup)?.as_str();
        loop {
            if let Some(labels) = self.labels.get(path) {
                return Some(labels.clone());
            }
            path = path
                .rsplit_once('/')
                .map(|(above, _)| above)
                .filter(|above| !above.is_empty())?;
        }
    }

    /// How many paths and labels are kept.
    #[cfg(test)]
    pub fn len(&self) -> (usize, usize) {
        (self.paths.len(), self.labels.len())
    }
}
