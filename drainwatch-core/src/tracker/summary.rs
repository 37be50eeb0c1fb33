//! From what was seen of a shutdown to its report.

use super::{
    clock::ms,
    episode::{
        Ended, Episode, Kill, KillBy, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, Scope, SignalAt, signal_name,
    },
    findings, naming,
    tally::{Drained, Severed},
};
use crate::{
    event::{Process, Sender},
    recommend::Measured,
    report::{
        DrainedRequest, Exit, Moment, ProcessSeen, Report, SeveredRequest, SignalSeen, Trigger, Verdict,
    },
};

/// What made a shutdown begin.
#[derive(Debug, Clone, Copy)]
enum Beginning {
    Stop,
    Kill,
    Exit(Trigger),
}

impl Episode {
    /// The report as it stands; `ended_ns` makes it the final one.
    pub fn report(&self, node: &str, ended_ns: Option<u64>) -> Report {
        let trigger = self.trigger(ended_ns.is_some());
        let since = |at_ns: u64| ms(at_ns.saturating_sub(self.started_ns));
        let stop_ns = self.first_stop.map(|stop| stop.at_ns);
        let after_stop = |at_ns: Option<u64>| Some(ms(at_ns?.saturating_sub(stop_ns?)));
        let deleted_ns = self.deleted_ns.filter(|_| self.scope != Scope::Worker);
        let listed = self.tally.severed_requests.len() as u64;
        let mut timeline: Vec<Moment> = self
            .timeline
            .iter()
            .map(|moment| Moment {
                at_ms: since(moment.at_ns),
                what: moment.what,
                detail: moment.detail.clone(),
                pid: moment.pid,
            })
            .collect();
        timeline.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
        let mut report = Report {
            id: self.id.clone(),
            node: node.to_owned(),
            workload: self.workload.clone(),
            trigger,
            verdict: self.verdict(),
            started_at: self.clock.rfc3339(self.started_ns),
            ended_at: ended_ns.map(|at_ns| self.clock.rfc3339(at_ns)),
            exit: self.exit(ended_ns.is_some()),
            signals: self
                .signals
                .iter()
                .map(|signal| signal_seen(signal, since(signal.at_ns)))
                .collect(),
            requests: self.tally.outcomes.clone(),
            severed: self.tally.severed.clone(),
            severed_requests: self
                .tally
                .severed_requests
                .iter()
                .map(|request| severed_request(request, since(request.at_ns)))
                .collect(),
            severed_requests_omitted: self.tally.outcomes.severed.saturating_sub(listed),
            timeline,
            drained_requests: self
                .tally
                .drained_requests
                .iter()
                .map(|request| drained_request(request, since(request.at_ns)))
                .collect(),
            drain_ms: after_stop(self.tally.last_drained_ns),
            endpoint_lag_ms: self
                .tally
                .last_arrival_ns
                .zip(self.lag_from())
                .map(|(last, from)| ms(last.saturating_sub(from))),
            findings: Vec::new(),
            events_lost: self.events_lost,
            configured: self.settings.as_ref().map(naming::configured),
            deleted_at: deleted_ns.map(|at_ns| self.clock.rfc3339(at_ns)),
            ready_at_stop: self.ready_at_stop,
        };
        report.findings = findings::find(self, trigger, Measured::of(&report));
        report
    }

    fn verdict(&self) -> Verdict {
        if self.tally.outcomes.severed > 0 {
            Verdict::Severed
        } else if self.tally.outcomes.unknown > 0 || self.events_lost > 0 {
            Verdict::Unknown
        } else {
            Verdict::Clean
        }
    }

    fn trigger(&self, finished: bool) -> Trigger {
        if self.scope == Scope::Worker || (self.presumed && finished && !self.emptied) {
            return Trigger::Worker;
        }
        let stop = self.first_stop.map(|stop| (stop.at_ns, Beginning::Stop));
        let main = self.main.and_then(|pid| self.members.get(&pid));
        let kill = match main.and_then(|main| main.kill) {
            Some(kill) if kill.by != KillBy::NamespaceEnd => Some(kill),
            // A kill of another process counts only when nobody asked the workload to stop.
            _ if stop.is_none() => self.outside_kill(),
            _ => None,
        };
        let kill = kill.map(|kill| (kill.at_ns, Beginning::Kill));
        let unasked = match (main, stop, kill) {
            (Some(main), ..) => main.exit,
            // No process was known as the main one: the last one's end is the workload's.
            (None, None, None) => self.last_exit(),
            _ => None,
        };
        let unasked = unasked.map(|ended| (ended.at_ns, Beginning::Exit(unasked_trigger(ended))));
        // Of simultaneous ones the first of the list counts.
        match [stop, kill, unasked]
            .into_iter()
            .flatten()
            .min_by_key(|(at_ns, _)| *at_ns)
        {
            Some((_, Beginning::Stop)) => Trigger::Stop,
            _ if self.oom => Trigger::Oom,
            Some((_, Beginning::Kill)) => Trigger::Kill,
            Some((_, Beginning::Exit(trigger))) => trigger,
            // Its own kill of a worker is all that was seen before the cgroup emptied.
            None if self.first_kill().is_some() => Trigger::Kill,
            None => Trigger::Exit,
        }
    }

    /// The first SIGKILL from outside, or by the OOM killer.
    fn outside_kill(&self) -> Option<Kill> {
        let kills = self.members.values().filter_map(|member| member.kill);
        kills
            .filter(|kill| matches!(kill.by, KillBy::Outside | KillBy::Oom))
            .min_by_key(|kill| kill.at_ns)
    }

    fn last_exit(&self) -> Option<Ended> {
        self.members
            .values()
            .filter_map(|member| member.exit)
            .max_by_key(|ended| ended.at_ns)
    }

    /// How the main process ended; where none is known as such, the first that was signalled, at last
    /// the last one.
    fn exit(&self, finished: bool) -> Option<Exit> {
        let signalled = || {
            let told = |pid: &&u32| {
                self.members
                    .get(pid)
                    .is_some_and(|m| !m.stops.is_empty() || m.kill.is_some())
            };
            self.order.iter().find(told).copied()
        };
        let last = || {
            let ended = self
                .members
                .iter()
                .filter_map(|(&pid, member)| Some((member.exit?.at_ns, pid)));
            ended
                .max()
                .filter(|_| finished || self.gone_ns.is_some())
                .map(|(_, pid)| pid)
        };
        let pid = self.main.or_else(signalled).or_else(last)?;
        let ended = self.members.get(&pid)?.exit?;
        Some(Exit {
            pid,
            code: ended.code,
            signal: ended.signal,
        })
    }
}

/// What an end that nobody asked for (as far as was seen) says. A fatal stop signal or SIGKILL whose
/// generation was not seen was sent all the same: the process did not do that to itself.
pub(super) fn unasked_trigger(ended: Ended) -> Trigger {
    match (ended.signal, ended.code) {
        (Some(SIGKILL), _) => Trigger::Kill,
        (Some(SIGHUP | SIGINT | SIGQUIT | SIGTERM), _) => Trigger::Stop,
        (None, Some(0) | None) => Trigger::Exit,
        (Some(_), _) | (None, Some(_)) => Trigger::Crash,
    }
}

fn signal_seen(seen: &SignalAt, at_ms: f64) -> SignalSeen {
    let signal = &seen.signal;
    SignalSeen {
        at_ms,
        signal: signal_name(signal.signal),
        disposition: signal.disposition,
        dropped: signal.dropped,
        sender: match &signal.sender {
            Sender::Process(process) | Sender::CgroupKill(process) => process_seen(process),
            Sender::Kernel(_) => ProcessSeen {
                pid: 0,
                comm: "kernel".to_owned(),
                pid1: false,
            },
        },
        target: process_seen(&signal.target),
    }
}

fn process_seen(process: &Process) -> ProcessSeen {
    ProcessSeen {
        pid: process.pid,
        comm: process.comm.clone(),
        pid1: process.pid1,
    }
}

fn severed_request(request: &Severed, at_ms: f64) -> SeveredRequest {
    SeveredRequest {
        at_ms,
        cause: request.cause,
        role: request.role,
        protocol: request.protocol,
        method: request.operation.method().map(str::to_owned),
        path: request.operation.path().map(str::to_owned),
        host: request.operation.host().map(str::to_owned),
        class: request.class.to_string(),
        maybe_taken_for_delivered: request.maybe_taken_for_delivered,
        evidence: request.evidence,
        peer: request.peer.to_string(),
        local: request.local.to_string(),
        age_ms: request.age_ns.map(ms),
        pid: request.pid,
    }
}

fn drained_request(request: &Drained, at_ms: f64) -> DrainedRequest {
    DrainedRequest {
        at_ms,
        age_ms: request.age_ns.map(ms),
        method: request.operation.method().map(str::to_owned),
        path: request.operation.path().map(str::to_owned),
        peer: request.peer.to_string(),
    }
}
