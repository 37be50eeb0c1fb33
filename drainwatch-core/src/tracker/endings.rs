//! What is told of a shutdown while it goes on, and how it ends.

use std::sync::Arc;

use super::{
    Effect, HOUR, SECOND, Tracker,
    episode::{Episode, Scope, Urgency},
    tally::Pending,
};

/// A stop signal that stopped nothing is given up after this: SIGINT and SIGQUIT, which some programs use
/// for other things (a JVM's thread dump) …
const MILD_SIGNAL_NS: u64 = 120 * SECOND;
/// … and all others.
const STOP_SIGNAL_NS: u64 = HOUR;
/// A shutdown that began but never ends (a child lives on in its cgroup) is reported as it stands after
/// this long without anything new.
const OVERDUE_NS: u64 = 24 * HOUR;
/// Least time between two updates of a report, for urgent and for other news.
const UPDATE_SOON_NS: u64 = SECOND / 20;
const UPDATE_NS: u64 = SECOND / 10;

impl Tracker {
    /// Gives out what has not been told yet, whether an update is due or not: nothing comes after it.
    pub fn tell_all(&mut self) -> Vec<Effect> {
        for cgroup in self.waiting.keys().copied().collect::<Vec<_>>() {
            self.stop_waiting(cgroup);
        }
        // What was over, and waited for its name alone, ends.
        self.expire();
        for episode in self.episodes.values_mut().filter(|e| e.news > Urgency::Told) {
            episode.news = Urgency::Now;
        }
        self.publish();
        std::mem::take(&mut self.effects)
    }

    /// Gives out what every shutdown has to tell.
    pub(super) fn publish(&mut self) {
        let due: Vec<u64> = self
            .episodes
            .iter()
            .filter(|(_, e)| e.news > Urgency::Told)
            .map(|(&k, _)| k)
            .collect();
        for key in due {
            self.flush(key);
            let Some(episode) = self.episodes.get(&key) else {
                continue;
            };
            let cgroup = episode.cgroup;
            if !episode.reportable() || self.update_due(episode) > self.now_ns || self.held(cgroup) {
                continue;
            }
            self.known(key);
            if let Some(episode) = self.episodes.get_mut(&key) {
                episode.news = Urgency::Told;
                episode.updated_ns = Some(self.now_ns);
                self.effects
                    .push(Effect::Updated(Box::new(episode.report(&self.config.node, None))));
            }
        }
        for cgroup in std::mem::take(&mut self.unmark_cgroups) {
            // Another shutdown, or a pod that is being deleted, still needs the mark.
            let needed = |e: &Episode| e.scope == Scope::Workload && e.marked_cgroups.contains(&cgroup);
            if !self.episodes.values().any(needed) && !self.deletions.mark(cgroup) {
                self.effects.push(Effect::UnmarkCgroup { cgroup });
            }
        }
        for pid in std::mem::take(&mut self.unmark_pids) {
            if !self.episodes.values().any(|e| e.marked_pids.contains(&pid)) {
                self.effects.push(Effect::UnmarkProcess { pid });
            }
        }
    }

    /// When the next update of a report is due.
    pub(super) fn update_due(&self, episode: &Episode) -> u64 {
        let wait = match episode.news {
            Urgency::Now => 0,
            Urgency::Soon => UPDATE_SOON_NS,
            Urgency::Later | Urgency::Told => UPDATE_NS,
        };
        episode
            .updated_ns
            .map_or(self.now_ns, |updated| updated.saturating_add(wait))
    }

    /// Counts severed and drained requests outside, once it is certain that this is a shutdown.
    pub(super) fn flush(&mut self, key: u64) {
        let Some(episode) = self.episodes.get(&key).filter(|e| e.confirmed) else {
            return;
        };
        let pending = &episode.tally.pending;
        if (pending.drained == 0 && pending.severed.is_empty()) || self.held(episode.cgroup) {
            return;
        }
        let Some(episode) = self.episodes.get_mut(&key) else {
            return;
        };
        let pending = std::mem::take(&mut episode.tally.pending);
        let workload = episode.workload.clone();
        self.known(key);
        for ((cause, class, role), count) in pending.severed {
            for _ in 0..count {
                self.effects.push(Effect::Severed {
                    workload: workload.clone(),
                    cause,
                    class: Arc::clone(&class),
                    role,
                });
            }
        }
        for _ in 0..pending.drained {
            self.effects.push(Effect::Drained {
                workload: workload.clone(),
            });
        }
    }

    /// When a shutdown ends if nothing more happens.
    pub(super) fn end_due(&self, episode: &Episode) -> u64 {
        let (from, wait) = match (episode.gone_ns, episode.confirmed) {
            (Some(gone), _) => (gone, self.config.linger_ns),
            (None, true) => (episode.last_activity_ns, OVERDUE_NS),
            (None, false) => {
                let wait = if episode.mild {
                    MILD_SIGNAL_NS
                } else {
                    STOP_SIGNAL_NS
                };
                (episode.last_stop_ns.unwrap_or(episode.started_ns), wait)
            }
        };
        from.saturating_add(wait)
    }

    pub(super) fn expire(&mut self) {
        self.stop_waiting_when_due();
        self.forget_deletions();
        for (_, episode) in self
            .episodes
            .iter_mut()
            .filter(|(_, e)| e.unmark_ns.is_some_and(|at| at <= self.now_ns))
        {
            episode.unmark_ns = None;
            if episode.scope != Scope::Workload {
                self.unmark_cgroups.extend(episode.marked_cgroups.iter().copied());
            }
        }
        let due: Vec<u64> = self
            .episodes
            .iter()
            .filter(|(_, e)| self.end_due(e) <= self.now_ns)
            .map(|(&key, _)| key)
            .collect();
        for key in due {
            let Some(episode) = self.episodes.get(&key) else {
                continue;
            };
            let (cgroup, confirmed) = (episode.cgroup, episode.confirmed);
            if confirmed && episode.reportable() && self.held(cgroup) {
                continue;
            }
            if confirmed {
                self.finish(key, self.now_ns);
            } else {
                self.give_up(key);
            }
        }
    }

    /// The end: the final report, and no more marks.
    pub(super) fn finish(&mut self, key: u64, at_ns: u64) {
        if let Some(episode) = self.episodes.get_mut(&key) {
            episode.confirmed = true;
            let cgroup = episode.cgroup;
            if episode.reportable() || episode.tally.pending != Pending::default() {
                // Its time to wait is over, or there is no room for it.
                self.stop_waiting(cgroup);
            }
        }
        self.flush(key);
        if self.episodes.get(&key).is_some_and(Episode::reportable) {
            self.known(key);
        }
        let Some(episode) = self.episodes.remove(&key) else {
            return;
        };
        // The tick that ends the linger may come late; the end does not.
        let due = episode
            .gone_ns
            .map_or(at_ns, |gone| gone.saturating_add(self.config.linger_ns));
        if episode.reportable() {
            let report = episode.report(&self.config.node, Some(due.min(at_ns).max(episode.started_ns)));
            self.effects.push(Effect::Finished(Box::new(report)));
        } else if episode.updated_ns.is_some() {
            self.effects.push(Effect::Discarded {
                id: episode.id.clone(),
            });
        }
        self.let_go(&episode);
    }

    /// A stop signal stopped nothing.
    pub(super) fn give_up(&mut self, key: u64) {
        let Some(episode) = self.episodes.remove(&key) else {
            return;
        };
        if let (Some(stop), Some(first)) = (episode.first_stop, episode.signals.first()) {
            let pid = (episode.scope == Scope::Process).then_some(first.signal.target.pid);
            self.given_up
                .insert(&(episode.cgroup, pid), (stop, first.signal.clone()));
        }
        if episode.updated_ns.is_some() {
            self.effects.push(Effect::Discarded {
                id: episode.id.clone(),
            });
        }
        self.let_go(&episode);
    }

    pub(super) fn let_go(&mut self, episode: &Episode) {
        self.unmark_cgroups.extend(episode.marked_cgroups.iter().copied());
        self.unmark_pids.extend(episode.marked_pids.iter().copied());
        if episode.scope == Scope::Workload && episode.gone_ns.is_some() {
            self.release(episode.cgroup);
        }
        self.retire(episode.cgroup);
        let key = (episode.cgroup, episode.workload.name.clone());
        if episode.scope == Scope::Process && self.seen_processes.contains(&key) {
            let listening = self
                .listeners
                .iter()
                .any(|o| o.cgroup == key.0 && o.process.comm == key.1);
            let under_way = self.episodes.values().any(|e| e.workload == episode.workload);
            if !listening
                && !under_way
                && let Some(workload) = self.seen_processes.remove(&key)
            {
                self.effects.push(Effect::WorkloadGone(workload));
            }
        }
    }
}
