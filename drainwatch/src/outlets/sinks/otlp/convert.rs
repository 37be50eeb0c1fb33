//! From a report to OTLP's messages: one trace and one log record. Pure.

use drainwatch_core::{
    event::Role,
    exchange::Evidence,
    report::{Cause, DrainedRequest, MomentKind, Report, SeveredRequest, Verdict},
};
use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, InstrumentationScope, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span, Status,
        span::{Event, SpanKind},
        status::StatusCode,
    },
};

use super::{
    attributes::{Attributes, method_name, summary, workload},
    ids::Ids,
};
use crate::outlets::{brief, sinks::summary::is_warning, text::Colour};

/// Name of the scope, and of the service.
const NAME: &str = "drainwatch";
/// W3C's "sampled": backends that look at it keep the trace.
const SAMPLED: u32 = 1;
const NS_PER_MS: f64 = 1_000_000.0;

/// The trace of a shutdown: the shutdown itself, its phases, its listed requests.
pub fn trace(report: &Report) -> ExportTraceServiceRequest {
    let times = Times::of(report);
    let ids = Ids::of(&report.id);
    let mut spans = vec![root(report, &times, &ids)];
    spans.extend(phases(report, &times, &ids));
    spans.extend(
        report
            .severed_requests
            .iter()
            .enumerate()
            .map(|(at, request)| severed(request, at, &times, &ids)),
    );
    spans.extend(
        report
            .drained_requests
            .iter()
            .enumerate()
            .map(|(at, request)| drained(request, at, &times, &ids)),
    );
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource(report)),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope()),
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

/// The log record of a shutdown.
pub fn log(report: &Report) -> ExportLogsServiceRequest {
    let times = Times::of(report);
    let ids = Ids::of(&report.id);
    let (number, text) = if is_warning(report) {
        (SeverityNumber::Warn, "WARN")
    } else {
        (SeverityNumber::Info, "INFO")
    };
    let line = brief::line(report, Colour::Never);
    let record = LogRecord {
        time_unix_nano: times.ended,
        observed_time_unix_nano: times.ended,
        severity_number: number.into(),
        severity_text: text.into(),
        body: Some(AnyValue {
            value: Some(Value::StringValue(line)),
        }),
        attributes: summary(report).and(workload(report)).list(),
        flags: SAMPLED,
        trace_id: ids.trace(),
        span_id: ids.root(),
        event_name: "drainwatch.shutdown".into(),
        ..LogRecord::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource(report)),
            scope_logs: vec![ScopeLogs {
                scope: Some(scope()),
                log_records: vec![record],
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    }
}

/// The report's times, as OTLP counts them.
struct Times {
    started: u64,
    gone: u64,
    ended: u64,
}

impl Times {
    fn of(report: &Report) -> Self {
        let started = unix_nanos(&report.started_at).unwrap_or_default();
        let at = |ms: f64| offset(started, ms);
        let ended = report.ended_at.as_deref().and_then(unix_nanos).unwrap_or(started);
        Self {
            started,
            gone: report.gone_ms().map_or(ended, at),
            ended,
        }
    }

    fn at(&self, ms: f64) -> u64 {
        offset(self.started, ms)
    }

    /// Begin and end of a request that ended then, after it had been outstanding so long.
    fn request(&self, at_ms: f64, age_ms: Option<f64>) -> (u64, u64) {
        (self.at(at_ms - age_ms.unwrap_or(0.0)), self.at(at_ms))
    }
}

fn unix_nanos(rfc3339: &str) -> Option<u64> {
    let time: jiff::Timestamp = rfc3339.parse().ok()?;
    u64::try_from(time.as_nanosecond()).ok()
}

/// A time so many milliseconds after another, or before it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "casts of floats saturate, and no shutdown takes 292 years"
)]
fn offset(from: u64, ms: f64) -> u64 {
    from.saturating_add_signed((ms * NS_PER_MS).round() as i64)
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: NAME.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    }
}

/// Who tells it: the agent, not the workload.
fn resource(report: &Report) -> Resource {
    Resource {
        attributes: Attributes::default()
            .text("service.name", NAME)
            .text("service.version", env!("CARGO_PKG_VERSION"))
            .text("host.name", &report.node)
            .list(),
        ..Resource::default()
    }
}

fn root(report: &Report, times: &Times, ids: &Ids<'_>) -> Span {
    let severed = report.requests.severed;
    let status = match report.verdict {
        Verdict::Severed => Some(Status {
            code: StatusCode::Error.into(),
            message: match severed {
                1 => "1 request was severed".into(),
                _ => format!("{severed} requests were severed"),
            },
        }),
        Verdict::Refused => Some(Status {
            code: StatusCode::Error.into(),
            message: brief::turned_away(report).unwrap_or_default(),
        }),
        Verdict::Clean => Some(ok()),
        Verdict::Unknown => None,
    };
    Span {
        trace_id: ids.trace(),
        span_id: ids.root(),
        flags: SAMPLED,
        name: format!("shutdown {}", report.workload.name),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: times.started,
        end_time_unix_nano: times.gone.max(times.started),
        attributes: summary(report).and(workload(report)).list(),
        events: events(report, times),
        status,
        ..Span::default()
    }
}

/// Moments and findings.
fn events(report: &Report, times: &Times) -> Vec<Event> {
    let moments = report.timeline.iter().map(|moment| Event {
        time_unix_nano: times.at(moment.at_ms),
        name: moment.what.to_string(),
        attributes: {
            let out = Attributes::default().maybe("drainwatch.detail", moment.detail.as_deref());
            match moment.pid {
                Some(pid) => out.int("process.pid", pid),
                None => out,
            }
            .list()
        },
        ..Event::default()
    });
    let findings = report.findings.iter().map(|finding| Event {
        time_unix_nano: times.gone,
        name: "finding".into(),
        attributes: Attributes::default()
            .text("drainwatch.finding", finding.code.as_str())
            .text("drainwatch.summary", &finding.summary)
            .text("drainwatch.advice", &finding.advice)
            .list(),
        ..Event::default()
    });
    moments.chain(findings).collect()
}

fn phases(report: &Report, times: &Times, ids: &Ids<'_>) -> Vec<Span> {
    let stop = report
        .first(MomentKind::StopSignal)
        .map(|stop| times.at(stop.at_ms));
    let mut phases = vec![];
    if let Some(deleted) = report.deleted_at.as_deref().and_then(unix_nanos)
        && deleted <= times.started
    {
        phases.push(("deletion to stop signal", deleted, times.started));
    }
    if let (Some(stop), Some(delivered)) = (stop, report.first(MomentKind::SignalDelivered)) {
        phases.push(("stop signal to handler", stop, times.at(delivered.at_ms)));
    }
    if let (Some(stop), Some(drain_ms)) = (stop, report.drain_ms) {
        phases.push(("drain", stop, offset(stop, drain_ms)));
    }
    if let (Some(stop), Some(closed)) = (stop, report.last(MomentKind::ListenerClosed)) {
        phases.push(("listener open", stop, times.at(closed.at_ms)));
    }
    phases
        .into_iter()
        .map(|(name, start, end)| Span {
            trace_id: ids.trace(),
            span_id: ids.span(name),
            parent_span_id: ids.root(),
            flags: SAMPLED,
            name: name.into(),
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: start,
            end_time_unix_nano: end.max(start),
            ..Span::default()
        })
        .collect()
}

fn severed(request: &SeveredRequest, at: usize, times: &Times, ids: &Ids<'_>) -> Span {
    let SeveredRequest {
        at_ms,
        cause,
        role,
        protocol,
        method,
        path,
        host,
        alpn,
        rpc,
        class,
        maybe_taken_for_delivered,
        evidence,
        peer,
        peer_workload,
        local,
        age_ms,
        pid,
    } = request;
    let (start, end) = times.request(*at_ms, *age_ms);
    let peer_name = peer_workload.as_ref().map(|peer| peer.name.as_str());
    let peer_namespace = peer_workload.as_ref().and_then(|peer| peer.namespace.as_deref());
    let (role, kind) = match role {
        Role::Server => ("server", SpanKind::Server),
        Role::Client => ("client", SpanKind::Client),
        Role::Unknown => ("unknown", SpanKind::Internal),
    };
    let (protocol_name, protocol_version) = match protocol.as_str().split_once('/') {
        Some((name, version)) => (name, Some(version)),
        None => (protocol.as_str(), None),
    };
    let server = host.as_deref().map(without_port);
    let attributes = Attributes::default()
        .text("drainwatch.outcome", "severed")
        .text("drainwatch.cause", cause.as_str())
        .text("drainwatch.class", class)
        .text("drainwatch.role", role)
        .text("drainwatch.evidence", evidence_word(*evidence))
        .flag("drainwatch.maybe_taken_for_delivered", *maybe_taken_for_delivered)
        .text("error.type", cause.as_str())
        .operation(Some(*protocol), method.as_deref(), path.as_deref())
        .rpc(rpc.as_ref())
        .maybe("server.address", server)
        .texts("drainwatch.tls.alpn", alpn)
        .text("network.protocol.name", protocol_name)
        .maybe("network.protocol.version", protocol_version)
        .socket("network.peer.address", "network.peer.port", peer)
        .socket("network.local.address", "network.local.port", local)
        .maybe("drainwatch.peer.workload", peer_name)
        .maybe("drainwatch.peer.namespace", peer_namespace)
        .int("process.pid", *pid)
        .list();
    Span {
        trace_id: ids.trace(),
        span_id: ids.span(&format!("severed/{at}")),
        parent_span_id: ids.root(),
        flags: SAMPLED,
        name: format!(
            "severed {}",
            method_name(Some(*protocol), method.as_deref()).unwrap_or(protocol_name)
        ),
        kind: kind.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        attributes,
        status: Some(Status {
            code: StatusCode::Error.into(),
            message: what_happened(*cause).into(),
        }),
        ..Span::default()
    }
}

fn drained(request: &DrainedRequest, at: usize, times: &Times, ids: &Ids<'_>) -> Span {
    let DrainedRequest {
        at_ms,
        age_ms,
        protocol,
        method,
        path,
        rpc,
        status,
        failed,
        peer,
    } = request;
    let (start, end) = times.request(*at_ms, *age_ms);
    let outcome = if *failed { "failed" } else { "drained" };
    let attributes = Attributes::default()
        .text("drainwatch.outcome", outcome)
        .operation(*protocol, method.as_deref(), path.as_deref())
        .rpc(rpc.as_ref())
        .socket("network.peer.address", "network.peer.port", peer);
    Span {
        trace_id: ids.trace(),
        span_id: ids.span(&format!("drained/{at}")),
        parent_span_id: ids.root(),
        flags: SAMPLED,
        name: format!(
            "{outcome} {}",
            method_name(*protocol, method.as_deref()).unwrap_or("request")
        ),
        // The report does not say which side of it the workload was.
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        attributes: match status {
            Some(status) => attributes.int("http.response.status_code", u32::from(*status)),
            None => attributes,
        }
        .list(),
        status: Some(if *failed {
            Status {
                code: StatusCode::Error.into(),
                message: "answered with an error after the stop signal".into(),
            }
        } else {
            ok()
        }),
        ..Span::default()
    }
}

fn ok() -> Status {
    Status {
        code: StatusCode::Ok.into(),
        message: String::new(),
    }
}

fn evidence_word(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Exact => "exact",
        Evidence::Inferred => "inferred",
    }
}

/// `[::1]:80` and `shop.example:80` without their port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn what_happened(cause: Cause) -> &'static str {
    match cause {
        Cause::Unanswered => "cut before a byte of the response had left",
        Cause::Truncated => "cut in the response",
        Cause::Upload => "cut in the request's body",
        Cause::Stream => "a stream was cut without its protocol's goodbye",
        Cause::Unaccepted => "the application never accepted the connection",
        Cause::Late => "the connection had been closed already",
        Cause::Outbound => "a call of the workload's own was cut",
        Cause::Unsent => "bytes were written that the peer never acknowledged",
    }
}

#[cfg(test)]
mod tests;
