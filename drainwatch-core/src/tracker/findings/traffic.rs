//! Traffic that came too late.

use std::collections::BTreeSet;

use super::{Examined, count, finding};
use crate::{
    report::{Cause, Finding, FindingCode},
    tracker::{SECOND, clock::human},
};

impl Examined<'_> {
    pub(super) fn traffic_after_stop(&self) -> Option<Finding> {
        // Of one process of many it means nothing: the others take it.
        let stop_ns = self.episode.arrivals_after()?;
        let last_ns = self.episode.tally().arrivals().last_after_stop_ns?;
        if let Some(until_ns) = self.still_until_ns {
            return self.kept_coming(stop_ns, until_ns);
        }
        let lag_ns = last_ns.saturating_sub(stop_ns);
        let lag = human(lag_ns);
        let ready = match self.episode.ready_at_stop() {
            Some(true) => "; it was still ready when the stop signal came",
            Some(false) | None => "",
        };
        finding(
            FindingCode::TrafficAfterStop,
            format!(
                "{} came after the stop signal, the last {lag} after it{}{ready}.",
                count(self.episode.tally().arrivals().count, "new connection"),
                self.after_deletion(Some(last_ns))
            ),
            self.advice
                .prestop_suffices(&self.whole_lag(last_ns), self.is_nothing_lost())
                .or_else(|| self.advice.prestop())
                .unwrap_or_else(|| self.advice.single(Some(lag_ns.div_ceil(SECOND) + 1))),
        )
    }

    /// How long it takes until no more comes is not known, and nothing follows from that.
    fn kept_coming(&self, stop_ns: u64, until_ns: u64) -> Option<Finding> {
        finding(
            FindingCode::TrafficAfterStop,
            format!(
                "{} came after the stop signal, and they did not stop within {}.",
                count(self.episode.tally().arrivals().count, "new connection"),
                human(until_ns.saturating_sub(stop_ns))
            ),
            "Find out who still calls it: a client that keeps the address, or all of them, where it is a single instance that nothing balances. That one needs something that holds its port meanwhile (socket activation, SO_REUSEPORT, a proxy that retries).",
        )
    }

    /// From the deletion, where that is known, to the last new arrival.
    fn whole_lag(&self, last_ns: u64) -> String {
        let from_ns = self.episode.lag_from().unwrap_or(last_ns);
        human(last_ns.saturating_sub(from_ns))
    }

    fn is_nothing_lost(&self) -> bool {
        let tally = self.episode.tally();
        let outcomes = tally.outcomes();
        outcomes.severed + outcomes.failed + tally.refused().attempts() == 0
    }

    pub(super) fn refused_after_close(&self) -> Option<Finding> {
        let refused = self.episode.tally().refused();
        let first_ns = refused.first_ns()?;
        let after = match self.episode.listeners().closed_ns() {
            Some(closed_ns) if first_ns >= closed_ns => {
                format!(
                    ", the first {} after the listener had closed",
                    human(first_ns - closed_ns)
                )
            }
            _ => String::new(),
        };
        finding(
            FindingCode::RefusedAfterClose,
            format!(
                "{} of {} found the port closed{after}.",
                count(refused.attempts(), "connection attempt"),
                count(refused.clients(), "client")
            ),
            if self.stop_ns.is_some() {
                self.advice.prestop().unwrap_or_else(|| self.advice.single(None))
            } else {
                "It ended without notice while traffic still came: have more than one instance, and retries at the caller."
                    .to_owned()
            },
        )
    }

    pub(super) fn errors_while_draining(&self) -> Option<Finding> {
        let failed = self.episode.tally().outcomes().failed;
        if failed == 0 {
            return None;
        }
        let statuses: BTreeSet<String> = self
            .episode
            .tally()
            .drained_requests()
            .iter()
            .filter(|request| request.failed)
            .filter_map(|request| request.operation.http()?.server_error())
            .collect();
        let statuses = Vec::from_iter(statuses);
        let with = if statuses.is_empty() {
            "5xx".to_owned()
        } else {
            statuses.join(", ")
        };
        finding(
            FindingCode::ErrorsWhileDraining,
            format!(
                "{} answered with {with} after the stop signal.",
                if failed == 1 {
                    "1 request was".to_owned()
                } else {
                    format!("{failed} requests were")
                }
            ),
            "Close databases, queues and caches only after the last request, and keep answering as usual until traffic has moved away: tell the balancer by the readiness probe, not the clients by errors.",
        )
    }

    pub(super) fn keepalive_race(&self) -> Option<Finding> {
        let late = self.episode.tally().count(Cause::Late) + self.episode.tally().raced();
        if late == 0 {
            return None;
        }
        finding(
            FindingCode::KeepaliveRace,
            format!(
                "{} reached keep-alive connections that were just being closed.",
                count(late, "request")
            ),
            "Announce the close with `Connection: close` on the last response, and keep idle connections open for a moment longer.",
        )
    }

    pub(super) fn backlog_dropped(&self) -> Option<Finding> {
        let dropped = self.episode.tally().count(Cause::Unaccepted);
        if dropped == 0 {
            return None;
        }
        finding(
            FindingCode::BacklogDropped,
            format!(
                "The listener closed with {} that no program had accepted.",
                count(dropped, "connection")
            ),
            "Accept what is queued before closing the listener: stop new traffic first, then drain the queue.",
        )
    }
}
