//! How a shutdown begins, and when several turn out to be one.

use std::sync::Arc;

use super::{
    HOUR, SECOND, Tracker,
    episode::{Episode, Scope},
    processes,
};
use crate::{event::Process, tracker::Effect};

/// Most shutdowns under way at once; beyond, the one that was quiet for longest is finished early.
pub(super) const EPISODES: usize = 512;
/// How long a stop signal is remembered after it was given up, counted from the signal, for a SIGKILL
/// that comes after all.
const REMEMBERED_NS: u64 = 2 * HOUR;
/// A worker's shutdown that is over for longer than this when the whole workload is told to stop was a
/// shutdown of its own.
const SAME_STOP_NS: u64 = SECOND;

impl Tracker {
    pub(super) fn begin(&mut self, scope: Scope, at_ns: u64, process: &Process) -> u64 {
        if self.episodes.len() >= EPISODES {
            let quietest = self
                .episodes
                .iter()
                .min_by_key(|(_, e)| (e.gone_ns.is_none(), e.last_activity_ns));
            if let Some((&key, _)) = quietest {
                self.finish(key, self.now_ns);
            }
        }
        let (cgroup, pid) = (self.names.workload_cgroup(process.cgroup), process.pid);
        let id = self.clock.id(
            at_ns,
            &[
                self.config.node.as_bytes(),
                &cgroup.to_be_bytes(),
                &pid.to_be_bytes(),
                &at_ns.to_be_bytes(),
                &self.next_episode.to_be_bytes(),
            ],
        );
        // As it was announced, whatever has been forgotten since.
        let workload = match self.seen.get(&cgroup) {
            Some((workload, _)) => workload.clone(),
            None => self.names.name(cgroup, process),
        };
        let key = self.next_episode;
        self.next_episode += 1;
        let mut episode = Episode::new(scope, at_ns, cgroup, workload, self.clock, id);
        episode.tally.classes = Arc::clone(&self.config.classes);
        if !self.names.is_shared(cgroup) {
            episode.settings = self.names.settings(cgroup);
            episode.unlisted = self.names.is_unlisted(cgroup);
        }
        if let Some((deleted_ns, last_arrival_ns)) = self.deletions.of(cgroup) {
            episode.deleted_ns = Some(deleted_ns.min(at_ns));
            episode.tally.last_arrival_ns = last_arrival_ns;
        }
        self.episodes.insert(key, episode);
        key
    }

    /// A whole workload is told to stop, or killed: workers that were just before belong to it.
    pub(super) fn begin_workload(&mut self, at_ns: u64, target: &Process) -> u64 {
        let whole = self.begin(Scope::Workload, at_ns, target);
        let recent = |e: &Episode| {
            e.gone_ns
                .is_none_or(|gone| at_ns.saturating_sub(gone) <= SAME_STOP_NS)
        };
        let workers = self.workers(self.names.workload_cgroup(target.cgroup), recent);
        self.merge(whole, &workers);
        whole
    }

    /// In a shared cgroup, a process is told to stop: children that were told just before belong to it.
    pub(super) fn begin_process(&mut self, at_ns: u64, target: &Process) -> u64 {
        let parent = self.begin(Scope::Process, at_ns, target);
        let child = |e: &Episode| {
            let root = e.order.first().and_then(|pid| e.members.get(pid));
            let recent = e
                .gone_ns
                .is_none_or(|gone| at_ns.saturating_sub(gone) <= SAME_STOP_NS);
            e.scope == Scope::Process
                && e.cgroup == target.cgroup
                && recent
                && root.is_some_and(|root| root.process.parent == target.pid)
        };
        let children: Vec<u64> = self
            .episodes
            .iter()
            .filter(|(_, e)| child(e))
            .map(|(&key, _)| key)
            .collect();
        self.merge(parent, &children);
        // Each was the main process of its own shutdown; of this one the parent is.
        if let Some(episode) = self.episodes.get_mut(&parent) {
            episode.main = None;
            episode
                .members
                .values_mut()
                .for_each(|member| member.main = false);
        }
        parent
    }

    /// A process ended, or was chosen by the OOM killer, unasked. Whether it was the whole workload shows
    /// when the cgroup empties.
    pub(super) fn begin_exited(&mut self, shared: bool, at_ns: u64, process: &Process) -> u64 {
        self.begin(
            if shared { Scope::Process } else { Scope::Worker },
            at_ns,
            process,
        )
    }

    /// Shutdowns of single processes of a workload.
    pub(super) fn workers(&self, cgroup: u64, which: impl Fn(&Episode) -> bool) -> Vec<u64> {
        let worker =
            |e: &Episode| e.scope == Scope::Worker && self.names.belongs(e.cgroup, cgroup) && which(e);
        self.episodes
            .iter()
            .filter(|(_, e)| worker(e))
            .map(|(&key, _)| key)
            .collect()
    }

    pub(super) fn merge(&mut self, into: u64, parts: &[u64]) {
        for part in parts.iter().filter(|&&part| part != into) {
            let Some(part) = self.episodes.remove(part) else {
                continue;
            };
            if let Some(whole) = self.episodes.get_mut(&into) {
                whole.absorb(part);
            }
        }
        let Some(whole) = self.episodes.get_mut(&into) else {
            return;
        };
        let superseded = std::mem::take(&mut whole.superseded);
        self.effects
            .extend(superseded.into_iter().map(|id| Effect::Discarded { id }));
    }

    /// When every process that is known to serve was told to stop, so probably was the workload.
    pub(super) fn presume(&mut self, key: u64) {
        let Some(cgroup) = self.episodes.get(&key).map(|e| e.cgroup) else {
            return;
        };
        let workers = self.workers(cgroup, |e| e.gone_ns.is_none());
        let told = |pid: u32| {
            let members = workers
                .iter()
                .filter_map(|key| self.episodes.get(key)?.members.get(&pid));
            members
                .into_iter()
                .any(|m| m.kill.is_some() || !m.stops.is_empty())
        };
        // Without a listener it cannot be told who else serves.
        let ours = |other: u64| self.names.same_workload(other, cgroup);
        let listens = self.listeners.iter().any(|open| ours(open.cgroup));
        if !listens || !self.processes.serving(ours).all(|process| told(process.pid)) {
            return;
        }
        let Some(episode) = self.episodes.get_mut(&key) else {
            return;
        };
        episode.scope = Scope::Workload;
        episode.presumed = true;
        episode.unmark_ns = None;
        self.merge(key, &workers);
    }

    /// Brings back the stop signal that was given up on, when SIGKILL comes after all.
    pub(super) fn recall(&mut self, key: u64, target: &Process) {
        let Some(episode) = self.episodes.get_mut(&key) else {
            return;
        };
        let pid = (episode.scope == Scope::Process).then_some(target.pid);
        let workload = self.names.workload_cgroup(target.cgroup);
        let Some((stop, signal)) = self.given_up.remove(&(workload, pid)) else {
            return;
        };
        if episode.first_stop.is_some() || self.now_ns.saturating_sub(stop.at_ns) > REMEMBERED_NS {
            return;
        }
        let main = episode.main == Some(signal.target.pid);
        episode.signal(stop.at_ns, &signal, None, main, 0);
        episode.started_ns = episode.started_ns.min(stop.at_ns);
        episode.signals.sort_by_key(|signal| signal.at_ns);
        episode.timeline.sort_by_key(|moment| moment.at_ns);
    }

    pub(super) fn open_listeners(&self, key: u64) -> usize {
        let Some(episode) = self.episodes.get(&key) else {
            return 0;
        };
        let ours = |open: &&processes::Open| match episode.scope {
            Scope::Workload => self.names.belongs(open.cgroup, episode.cgroup),
            Scope::Worker | Scope::Process => episode.holds(open.process.pid, Some(open.process.started_ns)),
        };
        self.listeners.iter().filter(ours).count()
    }
}
