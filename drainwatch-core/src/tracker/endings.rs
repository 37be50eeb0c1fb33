//! What is told of a shutdown while it goes on, and how it ends.

use std::{net::SocketAddr, sync::Arc};

use super::{
    Effect, Tracker,
    episode::{Episode, Scope},
    tally::Pending,
};
use crate::{report::Report, workload::Names};

/// Says whose the other ends are, where that is known.
fn name_peers(names: &Names, report: &mut Report) {
    for request in &mut report.severed_requests {
        let peer = request.peer.parse::<SocketAddr>();
        request.peer_workload = peer.ok().and_then(|peer| names.at(peer.ip().to_canonical()));
    }
}

impl Tracker {
    /// Gives out what has not been told yet, whether an update is due or not: nothing comes after it.
    pub fn tell_all(&mut self) -> Vec<Effect> {
        for cgroup in self.announcements.waiting_until(u64::MAX) {
            self.stop_waiting(cgroup);
        }
        // What was over, and waited for its name alone, ends.
        self.expire();
        self.episodes.iter_mut(|_| true).for_each(Episode::hurry);
        self.publish();
        std::mem::take(&mut self.effects)
    }

    /// Gives out what every shutdown has to tell.
    pub(super) fn publish(&mut self) {
        for key in self.episodes.take_news(self.now_ns) {
            let has_news = |e: &Episode| e.telling().has_news();
            if !self.episodes.get(key).is_some_and(has_news) {
                self.episodes.tell_later(key, false, None);
                continue;
            }
            let held = self.flush(key);
            let Some(episode) = self.episodes.get(key) else {
                continue;
            };
            let (cgroup, due_ns) = (episode.cgroup(), episode.telling().due_ns(self.now_ns));
            if !episode.is_reportable() {
                self.episodes.tell_later(key, held, None);
                continue;
            }
            if due_ns > self.now_ns {
                self.episodes.tell_later(key, held, Some(due_ns));
                continue;
            }
            let held = self.held(cgroup);
            self.episodes.tell_later(key, held, None);
            if held {
                continue;
            }
            self.known(key);
            if let Some(episode) = self.episodes.get_mut(key) {
                episode.told(self.now_ns);
                let mut report = episode.report(&self.config.node, None);
                name_peers(&self.names, &mut report);
                self.effects.push(Effect::Updated(Box::new(report)));
            }
        }
        // Another shutdown, or a pod that is being deleted, may still need the mark.
        self.released.take_back(
            |cgroup| self.episodes.need_cgroup(cgroup) || self.deletions.need_cgroup(cgroup),
            |pid| self.episodes.need_process(pid),
            &mut self.effects,
        );
    }

    /// Counts requests by what became of them, refused attempts and probes, outside, once it is certain that this is a
    /// shutdown. Says whether they wait for a name.
    pub(super) fn flush(&mut self, key: u64) -> bool {
        let flushes = |e: &&Episode| e.is_confirmed() && e.has_pending() && !e.is_hidden();
        let Some(cgroup) = self.episodes.get(key).filter(flushes).map(Episode::cgroup) else {
            return false;
        };
        if self.held(cgroup) {
            return true;
        }
        let Some(episode) = self.episodes.get_mut(key) else {
            return false;
        };
        let pending = episode.take_pending();
        let workload = episode.workload().clone();
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
        let Pending {
            failed,
            refused,
            probes,
            ..
        } = pending;
        for (count, effect) in [
            (
                failed,
                Effect::Failed {
                    workload: workload.clone(),
                    count: failed,
                },
            ),
            (
                refused,
                Effect::Refused {
                    workload: workload.clone(),
                    count: refused,
                },
            ),
            (
                probes,
                Effect::Probed {
                    workload,
                    count: probes,
                },
            ),
        ] {
            if count > 0 {
                self.effects.push(effect);
            }
        }
        false
    }

    /// Ends what has come to its end by now: waiting, deletions, marks, shutdowns.
    pub(super) fn expire(&mut self) {
        self.stop_waiting_when_due();
        self.forget_deletions();
        self.forget_exec_marks();
        let now_ns = self.now_ns;
        for key in self.episodes.due(now_ns) {
            // Not touched where it is something else that is due.
            let due = |e: &Episode| e.unmark_ns().is_some_and(|at_ns| at_ns <= now_ns);
            if self.episodes.get(key).is_some_and(due)
                && let Some(episode) = self.episodes.get_mut(key)
                && episode.is_rest_unmarked(now_ns)
            {
                self.released.cgroups_of(episode.marks());
            }
        }
        self.hand_over();
        for key in self.episodes.due(now_ns) {
            let is_over = |e: &&Episode| e.end_due_ns() <= now_ns;
            let Some(episode) = self.episodes.get(key).filter(is_over) else {
                continue;
            };
            if !episode.is_confirmed() {
                self.give_up(key);
                continue;
            }
            let (cgroup, reportable) = (episode.cgroup(), episode.is_reportable());
            if !reportable || !self.held(cgroup) {
                self.finish(key, now_ns);
            }
        }
    }

    /// The end: the final report, and no more marks.
    pub(super) fn finish(&mut self, key: u64, at_ns: u64) {
        if let Some(episode) = self.episodes.get_mut(key) {
            episode.confirm();
            let cgroup = episode.cgroup();
            if episode.is_reportable() || episode.has_pending() {
                // Its time to wait is over, or there is no room for it.
                self.stop_waiting(cgroup);
            }
        }
        self.flush(key);
        if self.episodes.get(key).is_some_and(Episode::is_reportable) {
            self.known(key);
        }
        let Some(episode) = self.episodes.remove(key) else {
            return;
        };
        // The tick that ends the linger may come late; the end does not.
        let due = episode.gone_ns().map_or(at_ns, |_| episode.end_due_ns());
        if episode.is_reportable() {
            let ended_ns = due.min(at_ns).max(episode.started_ns());
            let mut report = episode.report(&self.config.node, Some(ended_ns));
            name_peers(&self.names, &mut report);
            self.effects.push(Effect::Finished(Box::new(report)));
        } else {
            self.discard(&episode);
        }
        self.let_go(&episode);
    }

    /// A stop signal stopped nothing.
    pub(super) fn give_up(&mut self, key: u64) {
        let Some(episode) = self.episodes.remove(key) else {
            return;
        };
        if let (Some(stop), Some(first)) = (episode.first_stop(), episode.signals().iter().next()) {
            let pid = (episode.scope() == Scope::Process).then_some(first.signal.target.pid);
            self.given_up
                .insert(&(episode.cgroup(), pid), (stop, first.signal.clone()));
        }
        self.discard(&episode);
        self.let_go(&episode);
    }

    /// Takes its report back, where anybody may have heard of it.
    fn discard(&mut self, episode: &Episode) {
        let telling = episode.telling();
        if telling.is_known() {
            let id = telling.id().to_owned();
            self.effects.push(Effect::Discarded { id });
        }
    }

    /// It is over: nothing is marked, or kept, because of it any more.
    fn let_go(&mut self, episode: &Episode) {
        self.released.all_of(episode.marks());
        let (cgroup, workload) = (episode.cgroup(), episode.workload());
        if episode.scope() == Scope::Workload && episode.gone_ns().is_some() {
            self.release(cgroup);
        }
        self.retire(cgroup);
        if episode.scope() != Scope::Process || !self.announcements.has_process(cgroup, &workload.name) {
            return;
        }
        let listening = self
            .listeners
            .iter()
            .any(|open| open.cgroup == cgroup && open.process.comm == workload.name);
        if !listening && !self.episodes.any(|e| e.workload() == workload) {
            self.announcements
                .retire_process(cgroup, &workload.name, &mut self.effects);
        }
    }
}
