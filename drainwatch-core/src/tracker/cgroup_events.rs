//! What happens to cgroups: made, emptied, removed.

use super::{Effect, Tracker, episode::Scope};
use crate::event::Process;

impl Tracker {
    /// A cgroup made inside a workload that is being stopped stops with it.
    pub(super) fn cgroup_created(&mut self, cgroup: u64, path: &str) {
        self.names.created(cgroup, path);
        // Something was told of it before its path: under the name that it has from now on.
        if !self.names.is_shared(cgroup) && self.episodes.any(|e| e.cgroup() == cgroup) {
            self.renamed(cgroup);
        }
        self.discover(cgroup);
        self.created_in_deleted(cgroup);
        for key in self.episodes.ending_around(cgroup, &self.names) {
            self.mark(key, cgroup);
        }
    }

    /// Marks every cgroup of a workload that is stopped as a whole.
    pub(super) fn mark_all_of(&mut self, key: u64) {
        let Some(episode) = self.episodes.get(key).filter(|e| e.scope() == Scope::Workload) else {
            return;
        };
        let members: Vec<u64> = self.names.members(episode.cgroup()).collect();
        for cgroup in members {
            self.mark(key, cgroup);
        }
    }

    fn mark(&mut self, key: u64, cgroup: u64) {
        if let Some(episode) = self.episodes.get_mut(key)
            && episode.mark_cgroup(cgroup)
        {
            self.effects.push(Effect::MarkCgroup { cgroup });
        }
    }

    pub(super) fn cgroup_emptied(&mut self, at_ns: u64, cgroup: u64) {
        self.processes.cgroup_emptied(cgroup, &self.names);
        if self.names.workload_cgroup(cgroup) != cgroup {
            return; // the workload lives on in its other cgroups, until its own says that they are empty
        }
        let quiet = self.quiet_exits.remove(&cgroup);
        let quiet = quiet.filter(|quiet| at_ns.saturating_sub(quiet.ended.at_ns) <= self.config.linger_ns);
        if self.episodes.whole_workload(cgroup).is_none() && !self.names.is_shared(cgroup) {
            // Nobody was left: what looked like workers were the workload.
            let workers = self.episodes.workers(cgroup, &self.names, |_| true);
            let first = workers.first().and_then(|&key| self.episodes.get(key));
            let process = match (first, &quiet) {
                (Some(episode), _) => episode.members().first().map(|first| first.process().clone()),
                (None, Some(quiet)) => Some(quiet.process.clone()),
                (None, None) => None,
            };
            let Some(process) = process else { return };
            let at_ns = quiet.as_ref().map_or(at_ns, |quiet| quiet.ended.at_ns);
            let whole = self.begin(Scope::Workload, at_ns, &Process { cgroup, ..process });
            self.merge(whole, &workers);
        }
        if let Some(episode) = self.episodes.whole_workload(cgroup) {
            if let Some(quiet) = quiet {
                episode.exited(&quiet.process, quiet.ended, quiet.main, quiet.child.as_deref());
            }
            episode.emptied(at_ns);
        }
    }

    pub(super) fn cgroup_removed(&mut self, at_ns: u64, cgroup: u64) {
        self.cgroup_emptied(at_ns, cgroup);
        self.names.removed(cgroup);
        self.listeners.cgroup_removed(cgroup);
        self.announcements.removed(cgroup);
        self.retire(cgroup);
    }
}
