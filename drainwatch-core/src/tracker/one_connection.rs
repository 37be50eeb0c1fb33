//! Processes that serve a single connection and end with it, as `PostgreSQL`'s backends, sshd's and inetd's do.
//!
//! Their ends are how such a service serves, and no shutdowns, whatever code they exit with (a failed login's is 1).
//! What one of them cuts is counted for its workload.

use super::{Effect, Tracker, episode::Ended, judge, judge::Judged, probes::Sieve, told::Told};
use crate::event::{Connection, Process};

impl Tracker {
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
        let Some(process) = self.one_connection.remove(&connection.pid) else {
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
