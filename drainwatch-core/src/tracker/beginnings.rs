//! How a shutdown begins, and when several turn out to be one.

use std::sync::Arc;

use super::{
    Effect, HOUR, Tracker,
    episode::{Beginning, Episode, Member, Scope},
    processes,
};
use crate::event::Process;

/// How long a stop signal is remembered after it was given up, counted from the signal, for a SIGKILL
/// that comes after all.
const REMEMBERED_NS: u64 = 2 * HOUR;

impl Tracker {
    pub(super) fn begin(&mut self, scope: Scope, at_ns: u64, process: &Process) -> u64 {
        if let Some(key) = self.episodes.surplus() {
            if let Some(episode) = self.episodes.get_mut(key) {
                episode.cut_short(self.now_ns);
            }
            self.finish(key, self.now_ns);
        }
        let (cgroup, pid) = (self.names.workload_cgroup(process.cgroup), process.pid);
        let id = self.clock.id(
            at_ns,
            &[
                self.config.node.as_bytes(),
                &cgroup.to_be_bytes(),
                &pid.to_be_bytes(),
                &at_ns.to_be_bytes(),
                &self.episodes.next_number().to_be_bytes(),
            ],
        );
        // As it was announced, whatever has been forgotten since.
        let workload = match self.announcements.of(cgroup) {
            Some(workload) => workload.clone(),
            None => self.names.name(cgroup, process),
        };
        let mut episode = Episode::new(Beginning {
            scope,
            at_ns,
            cgroup,
            workload: workload.clone(),
            clock: self.clock,
            id,
            classes: Arc::clone(&self.config.classes),
            processes: self.config.processes,
            linger_ns: self.config.linger_ns,
        });
        let lost = self.lost_ahead.of(at_ns);
        if lost > 0 {
            episode.events_lost(lost);
        }
        if !self.names.is_shared(cgroup) {
            let unlisted = self.names.is_unlisted(cgroup);
            episode.describe(workload, self.names.settings(cgroup), unlisted);
        }
        if let Some((deleted_ns, last_arrival_ns)) = self.deletions.of(cgroup) {
            episode.follows_deletion(deleted_ns, last_arrival_ns, deleted_ns >= self.began_ns);
        }
        self.episodes.begin(episode)
    }

    /// A whole workload is told to stop, or killed: workers that were just before belong to it.
    pub(super) fn begin_workload(&mut self, at_ns: u64, target: &Process) -> u64 {
        let whole = self.begin(Scope::Workload, at_ns, target);
        let cgroup = self.names.workload_cgroup(target.cgroup);
        let workers = self.episodes.recent_workers(at_ns, cgroup, &self.names);
        self.merge(whole, &workers);
        whole
    }

    /// In a shared cgroup, a process is told to stop: children that were told just before belong to it.
    pub(super) fn begin_process(&mut self, at_ns: u64, target: &Process) -> u64 {
        let parent = self.begin(Scope::Process, at_ns, target);
        let children = self.episodes.recent_children(at_ns, target);
        self.merge(parent, &children);
        // Each was the main process of its own shutdown; of this one the parent is.
        if let Some(episode) = self.episodes.get_mut(parent) {
            episode.without_main();
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

    pub(super) fn merge(&mut self, into: u64, parts: &[u64]) {
        let superseded = self.episodes.merge(into, parts);
        self.effects
            .extend(superseded.into_iter().map(|id| Effect::Discarded { id }));
    }

    /// Finishes the shutdown of a cgroup's last life when a process of its next life shows up.
    pub(super) fn finish_last_life(&mut self, at_ns: u64, process: &Process) {
        for key in self.episodes.of_last_life(process, &self.names) {
            self.finish(key, at_ns);
        }
    }

    /// When every process that is known to serve was told to stop, so probably was the workload.
    pub(super) fn presume(&mut self, key: u64) {
        let Some(cgroup) = self.episodes.get(key).map(Episode::cgroup) else {
            return;
        };
        let workers = self
            .episodes
            .workers(cgroup, &self.names, |e| e.gone_ns().is_none());
        let told = |pid: u32| {
            let mut members = workers
                .iter()
                .filter_map(|&key| self.episodes.get(key)?.members().get(pid));
            members.any(Member::is_told)
        };
        // Without a listener it cannot be told who else serves.
        let ours = |other: u64| self.names.same_workload(other, cgroup);
        let listens = self.listeners.iter().any(|open| ours(open.cgroup));
        if !listens || !self.processes.serving(ours).all(|process| told(process.pid)) {
            return;
        }
        if let Some(episode) = self.episodes.get_mut(key) {
            episode.presume_whole();
        }
        self.merge(key, &workers);
    }

    /// Brings back the stop signal that was given up on, when SIGKILL comes after all.
    pub(super) fn recall(&mut self, key: u64, target: &Process) {
        let Some(episode) = self.episodes.get_mut(key) else {
            return;
        };
        let pid = (episode.scope() == Scope::Process).then_some(target.pid);
        let workload = self.names.workload_cgroup(target.cgroup);
        let Some((stop, signal)) = self.given_up.remove(&(workload, pid)) else {
            return;
        };
        if episode.first_stop().is_none() && self.now_ns.saturating_sub(stop.at_ns) <= REMEMBERED_NS {
            episode.recall(stop, &signal);
        }
    }

    /// How many listeners this shutdown's workload, or process, has open.
    pub(super) fn open_listeners(&self, key: u64) -> usize {
        let Some(episode) = self.episodes.get(key) else {
            return 0;
        };
        let ours = |open: &&processes::Open| match episode.scope() {
            Scope::Workload => self.names.belongs(open.cgroup, episode.cgroup()),
            Scope::Worker | Scope::Process => episode
                .members()
                .holds(open.process.pid, Some(open.process.started_ns)),
        };
        self.listeners.iter().filter(ours).count()
    }
}
