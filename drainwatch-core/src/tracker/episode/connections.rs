//! What its connections, and segments at its closed doors, mean for a shutdown.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use super::{Episode, KillBy, Urgency};
use crate::{
    event::{Connection, End},
    report::Cause,
    tracker::{
        probes::Sieve,
        tally::{Context, Since},
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
        if member.is_none()
            && self
                .progress
                .gone_ns
                .is_some_and(|gone| connection.born_ns > gone)
        {
            return;
        }
        let killed = match member {
            Some(member) => member.kill().is_some_and(|kill| kill.by != KillBy::NamespaceEnd),
            None => self.members.first_kill().is_some(),
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
            since: self.since(),
            killed: killed && matches!(connection.end, End::Exit | End::Unaccepted),
        };
        let (severed, arrived) = (self.tally.outcomes().severed, self.tally.arrivals());
        let settled = self.tally.connection(connection, context);
        if settled || self.tally.arrivals() != arrived {
            let severed = self.tally.outcomes().severed > severed;
            self.touch(at_ns, if severed { Urgency::Soon } else { Urgency::Later });
        }
    }

    /// A segment met a port or connection that it had closed.
    pub fn reset(
        &mut self,
        at_ns: u64,
        cause: Cause,
        pid: u32,
        pair: (SocketAddr, SocketAddr, u32),
        kubelets: &BTreeSet<IpAddr>,
    ) {
        let since = self.since();
        let classes = self.tally.classes();
        let sieve = &Sieve {
            classes: &classes,
            settings: self.settings.as_ref(),
            kubelets,
        };
        let new = match cause {
            Cause::Refused if !self.listeners.listened(pair.0, pair.2) => false,
            Cause::Refused => self.tally.refused(at_ns, since, pid, pair, sieve),
            _ => self.tally.late(at_ns, since, pid, pair, sieve),
        };
        if new {
            self.touch(at_ns, Urgency::Soon);
        }
    }
}
