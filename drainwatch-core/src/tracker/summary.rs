//! From what was seen of a shutdown to its report.

use std::collections::BTreeMap;

use super::{
    announcements::configured,
    clock::ms,
    episode::{
        Ended, Episode, KillBy, Member, Scope,
        signals::{SignalAt, signal_name},
    },
    findings,
    tally::{Drained, Severed},
};
use crate::{
    event::{Process, Sender},
    exchange::{Doubt, Operation},
    recommend::Measured,
    report::{
        DrainedRequest, Exit, Moment, ProcessSeen, Reason, RefusedAttempts, Report, Revision, Rpc,
        SeveredRequest, SignalSeen, Trigger, Verdict,
    },
};

/// What made a shutdown begin.
#[derive(Debug, Clone, Copy)]
enum Begun {
    Stop,
    Kill,
    Exit(Trigger),
}

impl Episode {
    /// The report as it stands; `ended_ns` makes it the final one.
    pub fn report(&self, node: &str, ended_ns: Option<u64>) -> Report {
        if !self.others().is_empty() {
            // As it is if they all end too.
            let mut whole = self.clone();
            whole.confirm();
            return whole.report(node, ended_ns);
        }
        let trigger = self.trigger(ended_ns.is_some());
        let (clock, tally) = (self.clock(), self.tally());
        let since = |at_ns: u64| ms(at_ns.saturating_sub(self.started_ns()));
        let stop_ns = self.first_stop().map(|stop| stop.at_ns);
        let after_stop = |at_ns: Option<u64>| Some(ms(at_ns?.saturating_sub(stop_ns?)));
        let listed = tally.severed_requests().len() as u64;
        let mut timeline: Vec<Moment> = self
            .timeline()
            .iter()
            .map(|moment| Moment {
                at_ms: since(moment.at_ns),
                what: moment.what,
                detail: moment.detail.clone(),
                pid: moment.pid,
            })
            .collect();
        timeline.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
        let still_arriving = ended_ns.is_some_and(|ended_ns| self.still_arrives(ended_ns));
        let mut report = Report {
            id: self.telling().id().to_owned(),
            node: node.to_owned(),
            workload: self.workload().clone(),
            trigger,
            reason: self.reason(trigger),
            revision: Revision {
                id: self.revision().map(str::to_owned),
                image: self.workload().image.clone(),
            },
            verdict: self.verdict(),
            started_at: clock.rfc3339(self.started_ns()),
            ended_at: ended_ns.map(|at_ns| clock.rfc3339(at_ns)),
            exit: self.exit(ended_ns.is_some()),
            signals: self
                .signals()
                .iter()
                .map(|signal| signal_seen(signal, since(signal.at_ns)))
                .collect(),
            requests: tally.outcomes().clone(),
            refused: RefusedAttempts {
                attempts: tally.refused().attempts(),
                clients: tally.refused().clients(),
                first_ms: tally.refused().first_ns().map(since),
                last_ms: tally.refused().last_ns().map(since),
            },
            unknown_reasons: self.unknown_reasons(),
            opaque_connections: self.tally().opaque().listed(),
            probes: tally.probes(),
            severed: tally.severed_by_cause().clone(),
            severed_classes: tally.severed_by_class(),
            severed_requests: tally
                .severed_requests()
                .iter()
                .map(|request| severed_request(request, since(request.at_ns)))
                .collect(),
            severed_requests_omitted: tally.outcomes().severed.saturating_sub(listed),
            timeline,
            drained_requests: tally
                .drained_requests()
                .iter()
                .map(|request| drained_request(request, since(request.at_ns)))
                .collect(),
            drain_ms: after_stop(tally.last_drained_ns()),
            endpoint_lag_ms: tally
                .arrivals()
                .last_ns
                .zip(self.lag_from())
                .filter(|_| !still_arriving)
                .map(|(last, from)| ms(last.saturating_sub(from))),
            still_arriving,
            unix_sockets: self.listened_on_unix_socket(),
            findings: Vec::new(),
            events_lost: self.lost(),
            configured: self.settings().map(configured),
            deleted_at: self.deleted_ns().map(|at_ns| clock.rfc3339(at_ns)),
            ready_at_stop: self.ready_at_stop(),
        };
        report.findings = findings::find(self, trigger, ended_ns, Measured::of(&report));
        report
    }

    /// Why it was stopped, where that is known and fits what was seen.
    fn reason(&self, trigger: Trigger) -> Option<Reason> {
        let by_job = || {
            let controller = self.workload().controller.as_deref();
            controller.is_some_and(|kind| ["Job", "CronJob"].contains(&kind))
        };
        match trigger {
            // What ended by itself was not ended by what became of its pod later.
            Trigger::Exit => by_job().then_some(Reason::Finished),
            Trigger::Stop | Trigger::Kill => self.told_reason(),
            Trigger::Oom | Trigger::Crash | Trigger::Worker => None,
        }
    }

    fn unknown_reasons(&self) -> BTreeMap<Doubt, u64> {
        let mut reasons = self.tally().doubts().clone();
        if self.lost() > 0 {
            reasons.insert(Doubt::EventsLost, self.lost());
        }
        if self.is_cut_short() {
            reasons.insert(Doubt::CutShort, 1);
        }
        if self.is_unrecorded() {
            *reasons.entry(Doubt::NoStorage).or_default() += 1;
        }
        if self.is_job() {
            reasons.insert(Doubt::Job, 1);
        }
        reasons
    }

    fn verdict(&self) -> Verdict {
        let outcomes = self.tally().outcomes();
        if outcomes.severed > 0 {
            Verdict::Severed
        } else if outcomes.failed > 0 || self.tally().refused().attempts() > 0 {
            Verdict::Refused
        } else if outcomes.unknown > 0
            || self.lost() > 0
            || self.is_cut_short()
            || self.is_unrecorded()
            || self.is_job()
        {
            Verdict::Unknown
        } else {
            Verdict::Clean
        }
    }

    fn trigger(&self, finished: bool) -> Trigger {
        if (self.scope() == Scope::Worker && !self.is_handed_over()) || (finished && self.is_only_presumed())
        {
            return Trigger::Worker;
        }
        let stop = self.first_stop().map(|stop| (stop.at_ns, Begun::Stop));
        let members = self.members();
        let main = members.main();
        let kill = match main.and_then(Member::kill) {
            Some(kill) if kill.by != KillBy::NamespaceEnd => Some(kill),
            // A kill of another process counts only when nobody asked the workload to stop.
            _ if stop.is_none() => members.first_outside_kill(),
            _ => None,
        };
        let kill = kill.map(|kill| (kill.at_ns, Begun::Kill));
        let unasked = match (main, stop, kill) {
            (Some(main), ..) => main.exit(),
            // No process was known as the main one: the last one's end is the workload's.
            (None, None, None) => members.last_ended().and_then(Member::exit),
            _ => None,
        };
        let unasked = unasked.map(|ended: Ended| (ended.at_ns, Begun::Exit(ended.unasked())));
        // Of simultaneous ones the first of the list counts.
        match [stop, kill, unasked]
            .into_iter()
            .flatten()
            .min_by_key(|(at_ns, _)| *at_ns)
        {
            Some((_, Begun::Stop)) => Trigger::Stop,
            _ if self.is_oom() => Trigger::Oom,
            Some((_, Begun::Kill)) => Trigger::Kill,
            Some((_, Begun::Exit(trigger))) => trigger,
            // Its own kill of a worker is all that was seen before the cgroup emptied.
            None if members.first_kill().is_some() => Trigger::Kill,
            None => Trigger::Exit,
        }
    }

    /// How the main process ended; where none is known as such, the first that was signalled, at last
    /// the last one.
    fn exit(&self, finished: bool) -> Option<Exit> {
        let members = self.members();
        let over = finished || self.gone_ns().is_some();
        let last = || members.last_ended().filter(|_| over);
        let signalled = || members.iter().find(|member| member.is_told());
        let member = members.main().or_else(signalled).or_else(last)?;
        let ended = member.exit()?;
        Some(Exit {
            pid: member.process().pid,
            code: ended.code,
            signal: ended.signal,
        })
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
        alpn: request.operation.alpn().to_vec(),
        rpc: rpc(&request.operation),
        class: request.class.to_string(),
        maybe_taken_for_delivered: request.maybe_taken_for_delivered,
        evidence: request.evidence,
        peer: request.peer.to_string(),
        // Filled in by who knows the addresses of this node.
        peer_workload: None,
        local: request.local.to_string(),
        age_ms: request.age_ns.map(ms),
        pid: request.pid,
    }
}

fn rpc(operation: &Operation) -> Option<Rpc> {
    let (service, method) = operation.rpc()?;
    Some(Rpc {
        system: "grpc".to_owned(),
        service: service.to_owned(),
        method: method.to_owned(),
        status_code: operation.http().and_then(|http| http.grpc_status),
    })
}

fn drained_request(request: &Drained, at_ms: f64) -> DrainedRequest {
    DrainedRequest {
        at_ms,
        age_ms: request.age_ns.map(ms),
        protocol: Some(request.protocol),
        method: request.operation.method().map(str::to_owned),
        path: request.operation.path().map(str::to_owned),
        rpc: rpc(&request.operation),
        status: request.operation.http().and_then(|http| http.status),
        failed: request.failed,
        peer: request.peer.to_string(),
    }
}
