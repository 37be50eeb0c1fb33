//! Processes that serve a single connection and end with it, as `PostgreSQL`'s backends, sshd's and inetd's do.
//!
//! Their ends are how such a service serves, and no shutdowns, whatever code they exit with (a failed login's is 1).
//! What one of them cuts is counted for its workload.
//!
//! A process that was there before its only connection has taken it from the queue itself, as those of Apache's prefork
//! do, and might have served more: where its end has cost anything, it is one like any other.

use super::{Effect, Tracker, episode::Ended, judge, judge::Judged, probes::Sieve, tally::Pair, told::Told};
use crate::event::{Connection, Process};

/// A process that ended with its only connection.
#[derive(Debug, Clone)]
pub(super) struct OneConnection {
    process: Process,
    ended: Ended,
    /// It, told at a time, where the process was there before it and it cut nothing.
    taken: Option<(u64, Connection)>,
}

impl OneConnection {
    pub fn new(process: &Process, ended: Ended) -> Self {
        Self {
            process: process.clone(),
            ended,
            taken: None,
        }
    }
}

impl Tracker {
    /// A connection is told of. Where a process had taken it from the queue and was thought to have ended with it, and it
    /// was cut, that was an end like any other.
    pub(super) fn was_taken(&mut self, at_ns: u64, connection: &Connection) {
        let pid = connection.pid;
        let Some(one) = self.one_connection.entry_if_known(&pid) else {
            return;
        };
        if connection.born_ns <= one.process.started_ns {
            return;
        }
        if judge::cuts(connection) {
            self.ended_like_any_other(pid);
        } else {
            one.taken = Some((at_ns, connection.clone()));
        }
    }

    /// A request came late on what may be the connection of such a process: its shutdown.
    pub(super) fn late_at_what_was_taken(&mut self, pid: u32, pair: Pair) -> Option<u64> {
        let (at_ns, connection) = self.one_connection.get(&pid)?.taken.clone()?;
        if pair != (connection.local, connection.peer, connection.netns) {
            return None;
        }
        let key = self.ended_like_any_other(pid)?;
        let episode = self.episodes.get_mut(key)?;
        if connection.remembered {
            episode.remembered(at_ns, &connection, &self.kubelets);
        } else {
            episode.connection(at_ns, &connection, &self.kubelets);
        }
        Some(key)
    }

    fn ended_like_any_other(&mut self, pid: u32) -> Option<u64> {
        let OneConnection { process, ended, .. } = self.one_connection.remove(&pid)?;
        let shared = self.names.is_shared(process.cgroup);
        let key = self.begin_exited(shared, ended.at_ns, &process);
        self.episodes.get_mut(key)?.exited(&process, ended, false, None);
        Some(key)
    }

    /// Whether this process, which was told nothing, ended with its only connection and leaves its parent serving.
    pub(super) fn ended_with_its_connection(&self, process: &Process, ended: Ended, main: bool) -> bool {
        let parent_serves = || {
            let parent = self.processes.get(process.parent);
            // One of which nothing was heard yet may be such a process itself: then whoever listens serves on.
            parent.map_or_else(|| self.others_listen(process), |parent| parent.served)
        };
        let one = process.served && !process.served_more;
        one && !main && !process.signalled && ended.signal.is_none() && parent_serves()
    }

    /// Another process of its workload, which its parent belongs to, has a listener open.
    fn others_listen(&self, process: &Process) -> bool {
        let ours = |other: u64| self.names.same_workload(other, process.cgroup);
        let listens = |pid: u32| pid != process.pid;
        process.parent_in_cgroup
            && self
                .listeners
                .iter()
                .any(|open| ours(open.cgroup) && listens(open.process.pid))
    }

    /// What a process cut that ended with its only connection.
    pub(super) fn cut_by_its_end(&mut self, workload: u64, connection: &Connection) {
        let one = self.one_connection.get(&connection.pid);
        if one.is_none_or(|one| one.taken.is_some()) {
            return;
        }
        let Some(OneConnection { process, .. }) = self.one_connection.remove(&connection.pid) else {
            return;
        };
        let settings = self.names.settings(workload);
        let sieve = Sieve {
            classes: &self.config.classes,
            settings: settings.as_ref(),
            kubelets: &self.kubelets,
        };
        let of = match self.announcements.of(workload) {
            Some(known) => known.clone(),
            None => self.names.name(workload, &process),
        };
        for judged in judge::judge(connection, 0, None, &Told::default()) {
            let Judged::Severed(cause, exchange) = judged else {
                continue;
            };
            if sieve.holds(connection, exchange) {
                continue;
            }
            let class = judge::class(&self.config.classes, cause, exchange, connection.local.port());
            self.effects.push(Effect::Severed {
                workload: of.clone(),
                cause,
                class,
                role: connection.role,
            });
        }
    }
}
