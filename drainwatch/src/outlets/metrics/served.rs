//! Requests served: what the kernel side counted by cgroup, put to the workloads that the cgroups belong to.
//!
//! The kernel side counts all but the latest answer of a connection whose end it tells, for it does not look whether that
//! had come to its own end. Here it is known, so that one is counted here.

use std::collections::{HashMap, HashSet};

use drainwatch_core::{
    event::{Connection, End, OtherEnd, Role},
    exchange::{Exchange, ExchangeState, Protocol},
};

use super::{Known, Metrics, cgroups::Cgroups};

/// What is known of it, by cgroup.
#[derive(Debug, Default)]
pub(super) struct Served {
    /// What the kernel side had counted, as far as workloads have it.
    taken: HashMap<u64, u64>,
    /// Latest answers of connections whose end was told, which no workload has yet.
    told: HashMap<u64, u64>,
    /// Cgroups that nobody knew at the last scrape.
    strangers: HashSet<u64>,
    /// Those of them that nobody had known at the scrape before either: they are gone.
    gone: Vec<u64>,
}

impl Served {
    /// What the kernel side had counted.
    pub fn taken(&self) -> Vec<(u64, u64)> {
        self.taken
            .iter()
            .map(|(&cgroup, &count)| (cgroup, count))
            .collect()
    }

    /// An earlier agent took this much into account.
    pub fn taken_before(&mut self, taken: Vec<(u64, u64)>) {
        self.taken.extend(taken);
    }

    /// Whatever neither the kernel side counts nor anybody knows.
    fn forget(&mut self, counted: &[(u64, u64)], cgroups: &Cgroups) {
        let counted: HashSet<u64> = counted.iter().map(|&(cgroup, _)| cgroup).collect();
        self.taken
            .retain(|&cgroup, _| cgroups.knows(cgroup) || counted.contains(&cgroup));
        self.told.retain(|&cgroup, _| cgroups.knows(cgroup));
        // One that has just come may be served there before its event is read.
        let strangers: HashSet<u64> = counted
            .into_iter()
            .filter(|&cgroup| !cgroups.knows(cgroup))
            .collect();
        self.gone = strangers.intersection(&self.strangers).copied().collect();
        self.strangers = strangers;
    }
}

impl Metrics {
    /// A connection has ended, and this is what stood on it.
    pub(super) fn connection_ended(&mut self, connection: &Connection) {
        let ours = connection.role == Role::Server
            && connection.other_end == OtherEnd::Elsewhere
            && connection.end != End::Open
            // Nobody was told when it ended.
            && !connection.remembered;
        if ours && is_latest_complete(&connection.exchanges) {
            *self.served.told.entry(connection.cgroup).or_default() += 1;
        }
    }

    /// Adds to workloads what was served since the last scrape. What belongs to none waits for the one that it may belong to.
    pub(super) fn count_served(&mut self, served: &[(u64, u64)], now_ns: u64) {
        for &(cgroup, count) in served {
            let taken = self.served.taken.get(&cgroup).copied().unwrap_or(0);
            // Less than before: it is on its way from what is open to what has ended.
            if count > taken && self.has_served(cgroup, count - taken, now_ns) {
                self.served.taken.insert(cgroup, count);
            }
        }
        self.count_told(now_ns);
        self.served.forget(served, &self.cgroups);
    }

    /// The same of the answers that were told.
    pub(super) fn count_told(&mut self, now_ns: u64) {
        let told = std::mem::take(&mut self.served.told);
        for (cgroup, count) in told {
            if !self.has_served(cgroup, count, now_ns) {
                self.served.told.insert(cgroup, count);
            }
        }
    }

    /// Says whether it is known who has.
    fn has_served(&mut self, cgroup: u64, count: u64, now_ns: u64) -> bool {
        let Some(labels) = self.cgroups.owner(cgroup) else {
            return false;
        };
        let known = self.workloads.entry(labels.into()).or_insert_with(|| Known {
            gone_ns: Some(now_ns),
            ..Known::new(&self.classes)
        });
        known.series_mut().served += count;
        true
    }

    /// Cgroups that are gone, and need not be counted any longer.
    pub fn forget_served(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.served.gone)
    }
}

/// Of those that were answered at all, the last one; and in HTTP/1, for the kernel side counts streams to their end.
fn is_latest_complete(exchanges: &[Exchange]) -> bool {
    let unanswered = [ExchangeState::RequestIncomplete, ExchangeState::Unanswered];
    let latest = exchanges
        .iter()
        .rev()
        .find(|exchange| !unanswered.contains(&exchange.state));
    latest.is_some_and(|exchange| {
        exchange.state == ExchangeState::Complete
            && [Protocol::Http10, Protocol::Http11, Protocol::WebSocket].contains(&exchange.protocol)
    })
}
