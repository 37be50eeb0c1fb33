//! What its connections, and segments at its closed doors, mean for a shutdown.

use std::{collections::BTreeSet, net::IpAddr};

use super::{Episode, Member, Scope, Urgency};
use crate::{
    event::{Connection, End},
    tracker::{
        probes::Sieve,
        tally::{Context, Late, Pair, Since},
    },
};

impl Episode {
    fn since(&self) -> Since {
        Since {
            stop_ns: self.arrivals_after(),
            lag_ns: self.lag_from(),
        }
    }

    /// One of its connections reported. `kubelets`: where the kubelet is known to ask from.
    pub fn connection(&mut self, at_ns: u64, connection: &Connection, kubelets: &BTreeSet<IpAddr>) {
        let member = self.members.get(connection.pid);
        // A connection of the next life of this cgroup.
        if (member.is_none() || self.progress.replaced)
            && self
                .progress
                .gone_ns
                .is_some_and(|gone| connection.born_ns > gone)
        {
            return;
        }
        let killed = match member {
            Some(member) => member.kill().is_some_and(|kill| self.is_limit(kill)),
            None => self.members.first_kill().is_some_and(|kill| self.is_limit(kill)),
        };
        let classes = self.tally.classes();
        let context = Context {
            at_ns,
            sieve: Sieve {
                classes: &classes,
                settings: self.settings.as_ref(),
                kubelets,
            },
            since_ns: self.started_ns,
            stopped_ns: self.first_stop().map(|stop| stop.at_ns),
            since: self.since(),
            killed: killed && matches!(connection.end, End::Exit | End::Unaccepted),
        };
        // Whether those that nobody has told to end will end too, only their end shows.
        let untold = self.scope == Scope::Workload
            && !self.presumed
            && self.first_stop().is_some()
            && self.progress.gone_ns.is_none()
            && connection.pid != 0
            && member.is_none_or(|m| !m.is_main() && !m.is_told() && m.exit().is_none());
        let tally = if untold {
            self.others.of(connection, &classes).unwrap_or(&mut self.tally)
        } else {
            &mut self.tally
        };
        let (severed, arrived) = (tally.outcomes().severed, tally.arrivals());
        let settled = tally.connection(connection, context);
        if settled || tally.arrivals() != arrived {
            let severed = tally.outcomes().severed > severed;
            self.touch(at_ns, if severed { Urgency::Soon } else { Urgency::Later });
        }
    }

    /// One of its connections had been closed before it began, by a process that nobody had asked to end.
    pub fn remembered(&mut self, closed_ns: u64, connection: &Connection, kubelets: &BTreeSet<IpAddr>) {
        let told =
            |member: &Member| member.is_told() || member.exit().is_some_and(|end| end.signal.is_some());
        let own = self.members.get(connection.pid).is_some_and(told);
        // Whoever was asked to end after it had closed the connection did not close it because of that.
        if own || self.first_stop().is_some() || self.members.first_kill().is_some() {
            return;
        }
        let classes = self.tally.classes();
        let sieve = Sieve {
            classes: &classes,
            settings: self.settings.as_ref(),
            kubelets,
        };
        if self.tally.remembered(closed_ns, connection, &sieve) {
            self.started_ns = self.started_ns.min(closed_ns);
            self.touch(closed_ns, Urgency::Soon);
        }
    }

    /// A connection attempt met a port that it had closed. `open`: somebody listens on that port all the same.
    pub fn attempted(&mut self, at_ns: u64, pair: Pair, open: bool, kubelets: &BTreeSet<IpAddr>) {
        if !self.listeners.listened(pair.0, pair.2, open) {
            return;
        }
        let (since, classes) = (self.since(), self.tally.classes());
        let sieve = &Sieve {
            classes: &classes,
            settings: self.settings.as_ref(),
            kubelets,
        };
        if self.tally.turned_away(at_ns, since, pair, sieve) {
            self.touch(at_ns, Urgency::Soon);
        }
    }

    /// Data met a connection that it had closed.
    pub fn came_late(&mut self, late: Late<'_>, kubelets: &BTreeSet<IpAddr>) {
        let Late { at_ns, pair, .. } = late;
        let classes = self.tally.classes();
        let sieve = &Sieve {
            classes: &classes,
            settings: self.settings.as_ref(),
            kubelets,
        };
        // One that nobody has told to end may have closed it: what its main process tells it by a pipe nobody sees.
        let closed_by_other = (!self.tally.knows(&pair)).then(|| self.others.knowing(&pair));
        let tally = closed_by_other.flatten().unwrap_or(&mut self.tally);
        let known = tally.late(late, sieve);
        // What is sent again is not another one.
        let handshake = known.is_none()
            && !self.tally.has_cut_handshake(&pair)
            && self.listeners.cut_handshake(pair.0, pair.2);
        if handshake {
            self.tally.cut_handshake(late, sieve);
        }
        if handshake || known == Some(true) {
            // It may have come before an end that nobody had asked for.
            self.started_ns = self.started_ns.min(at_ns);
            self.touch(at_ns, Urgency::Soon);
        }
    }
}
