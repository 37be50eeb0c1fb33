//! A successor in the same cgroup: its predecessor's shutdown ends with the predecessor.

use super::{SECOND, Tracker, episode::Episode};

/// How long whoever was told to stop must be gone before those that serve on count as successors: a manager that
/// kills what is left does so at once.
pub(super) const SETTLED_NS: u64 = SECOND;

impl Tracker {
    /// Ends shutdowns whose processes are gone, and whose workload is served on by others.
    pub(super) fn hand_over(&mut self) {
        let now_ns = self.now_ns;
        for key in self.episodes.due(now_ns) {
            let Some(episode) = self.episodes.get(key) else {
                continue;
            };
            let Some(due_ns) = episode.hand_over_due_ns().filter(|due_ns| *due_ns <= now_ns) else {
                continue;
            };
            let cgroup = episode.cgroup();
            let lives_on = |pid: u32| {
                episode
                    .members()
                    .get(pid)
                    .is_none_or(|member| member.exit().is_none())
            };
            let listens = self.listeners.iter().any(|open| {
                self.names.belongs(open.cgroup, cgroup)
                    && lives_on(open.process.pid)
                    && self.processes.get(open.process.pid).is_some()
            });
            // A process that only finishes what it has takes no new connection.
            let accepts = episode.others().newest_ns() > due_ns;
            let Some(episode) = self.episodes.get_mut(key).filter(|_| listens || accepts) else {
                continue;
            };
            episode.hand_over();
            let marks = Episode::marks(episode);
            self.released.cgroups_of(marks);
        }
    }
}
