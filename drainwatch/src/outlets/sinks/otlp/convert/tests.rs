use std::collections::BTreeMap;

use drainwatch_core::{
    exchange::Protocol,
    report::{Exit, Finding, FindingCode, Moment, Outcomes},
    testing::report,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;

use super::*;
use crate::outlets::sinks::summary::Summary;

/// A shutdown of a pod that severed two requests and finished one.
fn rich() -> Report {
    let mut report = report("01hx", "web", Verdict::Severed);
    report.workload.kind = "kubernetes".into();
    report.workload.namespace = Some("shop".into());
    report.workload.pod = Some("web-1".into());
    report.workload.container = Some("app".into());
    report.workload.container_id = Some("c0ffee".into());
    report.workload.controller = Some("Deployment".into());
    report.workload.image = Some("reg:5000/web:1.2".into());
    report.started_at = "2026-01-01T00:00:10.000Z".into();
    report.ended_at = Some("2026-01-01T00:00:16.000Z".into());
    report.deleted_at = Some("2026-01-01T00:00:07.000Z".into());
    report.requests = Outcomes {
        drained: 1,
        severed: 2,
        ..Outcomes::default()
    };
    report.severed = BTreeMap::from([(Cause::Truncated, 1), (Cause::Outbound, 1)]);
    report.exit = Some(Exit {
        pid: 7,
        code: Some(143),
        signal: None,
    });
    let moment = |at_ms: f64, what| Moment {
        at_ms,
        what,
        detail: None,
        pid: Some(7),
    };
    report.timeline = vec![
        moment(0.0, MomentKind::StopSignal),
        moment(2.5, MomentKind::SignalDelivered),
        moment(30.0, MomentKind::ListenerClosed),
        moment(1000.0, MomentKind::Emptied),
    ];
    report.drain_ms = Some(700.0);
    report.severed_requests = vec![
        SeveredRequest {
            at_ms: 900.0,
            cause: Cause::Truncated,
            role: Role::Server,
            protocol: Protocol::Http11,
            method: Some("POST".into()),
            path: Some("/webhooks/stripe".into()),
            host: Some("shop.example:8080".into()),
            alpn: vec![],
            rpc: None,
            class: "webhook".into(),
            maybe_taken_for_delivered: true,
            evidence: Evidence::Exact,
            peer: "10.0.0.9:50412".into(),
            peer_workload: None,
            local: "10.0.0.1:8080".into(),
            age_ms: Some(1200.0),
            pid: 7,
        },
        SeveredRequest {
            at_ms: 900.0,
            cause: Cause::Outbound,
            role: Role::Client,
            protocol: Protocol::Tls,
            method: None,
            path: None,
            host: Some("hooks.example.com".into()),
            alpn: vec!["http/1.1".into()],
            rpc: None,
            class: "request".into(),
            maybe_taken_for_delivered: false,
            evidence: Evidence::Inferred,
            peer: "[fd00::1]:5432".into(),
            peer_workload: None,
            local: "10.0.0.1:40000".into(),
            age_ms: None,
            pid: 7,
        },
    ];
    report.drained_requests = vec![DrainedRequest {
        protocol: Some(Protocol::Http11),
        status: Some(200),
        failed: false,
        at_ms: 700.0,
        age_ms: Some(600.0),
        method: Some("GET".into()),
        path: Some("/slow".into()),
        rpc: None,
        peer: "10.0.0.9:1".into(),
    }];
    report.findings = vec![Finding {
        code: FindingCode::ExitWithoutDrain,
        summary: "s".into(),
        advice: "a".into(),
    }];
    report
}

fn spans(report: &Report) -> Vec<Span> {
    let mut request = trace(report);
    request.resource_spans.remove(0).scope_spans.remove(0).spans
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    match value(attributes, key)? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(int) => Some(int.to_string()),
        Value::DoubleValue(float) => Some(float.to_string()),
        Value::BoolValue(flag) => Some(flag.to_string()),
        other => Some(format!("{other:?}")),
    }
}

const SECOND: u64 = 1_000_000_000;
/// 2026-01-01T00:00:10Z.
const STARTED: u64 = 1_767_225_610 * SECOND;

#[test]
fn given_a_shutdown_when_converted_then_the_root_is_it_and_every_child_hangs_on_it() {
    let report = rich();
    let spans = spans(&report);
    let root = &spans[0];
    assert_eq!(root.name, "shutdown web");
    assert!(root.parent_span_id.is_empty());
    assert_eq!((root.trace_id.len(), root.span_id.len()), (16, 8));
    assert_eq!(
        (root.start_time_unix_nano, root.end_time_unix_nano),
        (STARTED, STARTED + SECOND),
        "until it was gone, without the linger"
    );
    let status = root.status.as_ref().unwrap();
    assert_eq!(status.code(), StatusCode::Error);
    assert_eq!(status.message, "2 requests were severed");
    for (key, is) in [
        ("k8s.namespace.name", "shop"),
        ("k8s.pod.name", "web-1"),
        ("k8s.deployment.name", "web"),
        ("k8s.container.name", "app"),
        ("container.id", "c0ffee"),
        ("container.image.name", "reg:5000/web"),
        ("process.exit.code", "143"),
        ("drainwatch.id", "01hx"),
        ("drainwatch.severed", "2"),
        ("drainwatch.drain_ms", "700"),
    ] {
        assert_eq!(text(&root.attributes, key).as_deref(), Some(is), "{key}");
    }
    assert!(root.events.iter().any(|event| event.name == "finding"
        && text(&event.attributes, "drainwatch.finding").as_deref() == Some("exit_without_drain")));
    let children = &spans[1..];
    assert!(
        children
            .iter()
            .all(|span| span.parent_span_id == root.span_id && span.trace_id == root.trace_id)
    );
    let names: Vec<_> = children.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "deletion to stop signal",
            "stop signal to handler",
            "drain",
            "listener open",
            "severed POST",
            "severed tls",
            "drained GET",
        ]
    );
    let ids: std::collections::BTreeSet<_> = spans.iter().map(|span| &span.span_id).collect();
    assert_eq!(ids.len(), spans.len(), "every span has an id of its own");
    assert_eq!(children[0].start_time_unix_nano, STARTED - 3 * SECOND);
    assert_eq!(children[1].end_time_unix_nano, STARTED + 2_500_000);
    assert!(
        spans
            .iter()
            .all(|span| span.start_time_unix_nano <= span.end_time_unix_nano)
    );
}

#[test]
fn given_severed_and_drained_requests_when_converted_then_each_says_what_the_report_says() {
    let spans = spans(&rich());
    let webhook = &spans[5];
    assert_eq!(webhook.kind(), SpanKind::Server);
    assert_eq!(webhook.status.as_ref().unwrap().code(), StatusCode::Error);
    assert_eq!(webhook.end_time_unix_nano, STARTED + 900_000_000);
    assert_eq!(
        webhook.start_time_unix_nano,
        STARTED - 300_000_000,
        "it is older than the stop signal"
    );
    for (key, is) in [
        ("http.request.method", "POST"),
        ("url.path", "/webhooks/stripe"),
        ("server.address", "shop.example"),
        ("network.peer.address", "10.0.0.9"),
        ("network.peer.port", "50412"),
        ("network.protocol.name", "http"),
        ("network.protocol.version", "1.1"),
        ("drainwatch.cause", "truncated"),
        ("drainwatch.class", "webhook"),
        ("drainwatch.evidence", "exact"),
        ("drainwatch.role", "server"),
        ("drainwatch.maybe_taken_for_delivered", "true"),
        ("error.type", "truncated"),
    ] {
        assert_eq!(text(&webhook.attributes, key).as_deref(), Some(is), "{key}");
    }
    let query = &spans[6];
    assert_eq!(query.kind(), SpanKind::Client);
    assert_eq!(
        query.start_time_unix_nano, query.end_time_unix_nano,
        "its age is not known"
    );
    assert_eq!(
        text(&query.attributes, "network.peer.address").unwrap(),
        "fd00::1"
    );
    assert_eq!(value(&query.attributes, "http.request.method"), None);
    let drained = &spans[7];
    assert_eq!(drained.status.as_ref().unwrap().code(), StatusCode::Ok);
    assert_eq!(
        text(&drained.attributes, "drainwatch.outcome").unwrap(),
        "drained"
    );
}

#[test]
fn given_a_shutdown_when_converted_then_the_log_record_has_the_summarys_fields_and_the_traces_ids() {
    let report = rich();
    let mut request = log(&report);
    let record = request
        .resource_logs
        .remove(0)
        .scope_logs
        .remove(0)
        .log_records
        .remove(0);
    assert_eq!(record.severity_number(), SeverityNumber::Warn);
    assert_eq!(record.time_unix_nano, STARTED + 6 * SECOND);
    let spans = spans(&report);
    assert_eq!(
        (&record.trace_id, &record.span_id),
        (&spans[0].trace_id, &spans[0].span_id)
    );
    let Some(Value::StringValue(body)) = record.body.as_ref().and_then(|body| body.value.as_ref()) else {
        panic!("no body");
    };
    assert!(
        body.contains("shop/web [app]") && body.contains("severed"),
        "{body}"
    );
    let serde_json::Value::Object(fields) = serde_json::to_value(Summary::from(&report)).unwrap() else {
        panic!("no object");
    };
    for (key, is) in fields {
        let said = text(&record.attributes, &format!("drainwatch.{key}"));
        let is = is
            .as_str()
            .map_or_else(|| is.as_f64().unwrap().to_string(), str::to_owned);
        assert_eq!(said, Some(is), "{key}");
    }
}

#[test]
fn given_a_clean_shutdown_when_converted_then_it_is_ok_and_no_warning() {
    let report = report("r", "web", Verdict::Clean);
    assert_eq!(spans(&report)[0].status.as_ref().unwrap().code(), StatusCode::Ok);
    let request = log(&report);
    let record = &request.resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!(record.severity_number(), SeverityNumber::Info);
}

#[test]
fn given_times_that_are_none_when_converted_then_nothing_panics() {
    let mut report = rich();
    report.started_at = "yesterday".into();
    report.ended_at = None;
    report.deleted_at = Some("9999".into());
    report.severed_requests[0].at_ms = f64::NAN;
    report.severed_requests[1].age_ms = Some(f64::INFINITY);
    assert_eq!(spans(&report).len(), 7);
}
