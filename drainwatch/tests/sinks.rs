//! Real agents beside the demo: what a collector and the log get of real shutdowns is what the agent's
//! own report says, and what the demo's clients saw.

use std::{collections::BTreeSet, fs, net::TcpListener, path::Path, time::Duration};

use drainwatch_core::report::Report;
use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, status::StatusCode},
};
use ring::digest::{SHA256, digest};
use serde_json::Value as Json;
use testkit::{Agent, agent, command, otlp::Receiver, runs_here, within};

const BINARY: &str = env!("CARGO_BIN_EXE_drainwatch");

fn start(config: &Path, args: &[&str]) -> Agent {
    let mut run = agent::run(BINARY);
    run.arg("--config")
        .arg(config)
        .args(args)
        .env("DRAINWATCH_OTLP_HEADERS", "x-token=s3cret");
    Agent::start(run).unwrap()
}

/// The ended report of this cgroup.
fn ended(agent: &Agent, cgroup: &str) -> Report {
    serde_json::from_value(agent.ended_report(cgroup).unwrap()).unwrap()
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(int)) => int.to_string(),
        other => panic!("{key}: {other:?}"),
    }
}

/// Cause, path and peer of each severed request.
type Cut = BTreeSet<(String, String, String)>;

fn cut_in_report(report: &Report) -> Cut {
    report
        .severed_requests
        .iter()
        .map(|request| {
            (
                request.cause.to_string(),
                request.path.clone().unwrap(),
                request.peer.clone(),
            )
        })
        .collect()
}

fn cut_in_trace(spans: &[Span]) -> Cut {
    let severed = spans.iter().filter(|span| span.name.starts_with("severed "));
    severed
        .map(|span| {
            assert_eq!(span.status.as_ref().unwrap().code(), StatusCode::Error);
            let of = |key: &str| text(&span.attributes, key);
            let peer = format!("{}:{}", of("network.peer.address"), of("network.peer.port"));
            (of("drainwatch.cause"), of("url.path"), peer)
        })
        .collect()
}

/// The line of this report, in the text form, as keys and values.
fn logfmt(line: &str, key: &str) -> String {
    let at = line.find(&format!(" {key}=")).expect("the key") + key.len() + 2;
    let value = line[at..].split(' ').next().unwrap();
    value.trim_matches('"').into()
}

#[test]
fn given_real_shutdowns_when_they_end_then_the_collector_and_the_log_say_what_the_clients_saw() {
    if !runs_here(BINARY) {
        // Without root no agent runs; that it then refuses is the command line's own test.
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("d.toml");
    fs::write(&config, "[shutdown]\nlinger = \"300ms\"\n").unwrap();
    let receiver = Receiver::start().unwrap();
    let collector = format!("http://{}", receiver.address);
    // It accepts, and never answers.
    let stuck = TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging = format!("http://{}", stuck.local_addr().unwrap());
    let json_agent = start(&config, &["--log.format", "json", "--otlp.endpoint", &collector]);
    let text_agent = start(&config, &["--log.format", "text", "--otlp.endpoint", &hanging]);

    let demo = command(BINARY)
        .args(["demo", "--format", "json"])
        .output()
        .unwrap();
    assert!(demo.status.success(), "{}", String::from_utf8_lossy(&demo.stderr));
    let demo: Json = serde_json::from_slice(&demo.stdout).unwrap();
    for (at, which) in ["bad", "good"].into_iter().enumerate() {
        let cgroup = demo["shutdowns"][at]["workload"]["cgroup"].as_str().unwrap();
        let cut = demo["clients"][which]["cut"].as_u64().unwrap();
        assert_eq!(cut > 0, which == "bad");
        let report = ended(&json_agent, cgroup);
        let hash = digest(&SHA256, report.id.as_bytes());
        let (spans, log) = within("the trace", || receiver.trace(&hash.as_ref()[..16]));
        assert_eq!(cut_in_trace(&spans), cut_in_report(&report));
        assert_eq!(
            cut_in_trace(&spans).len() as u64,
            cut,
            "as many as the clients missed"
        );
        let drained = spans.iter().filter(|span| span.name.starts_with("drained "));
        assert_eq!(drained.count() as u64, report.requests.drained);
        let root = spans.iter().find(|span| span.parent_span_id.is_empty()).unwrap();
        assert_eq!(root.span_id, hash.as_ref()[16..24]);
        assert_eq!(text(&root.attributes, "drainwatch.severed"), cut.to_string());
        assert_eq!(log.severity_text, if cut > 0 { "WARN" } else { "INFO" });
        assert_eq!(log.attributes, root.attributes);

        let line = json_agent.line(&report.id).unwrap();
        let line: Json = serde_json::from_str(&line).unwrap();
        assert_eq!(line["message"], "shutdown");
        assert_eq!(
            (&line["severed"], &line["workload"]),
            (&cut.into(), &cgroup.into())
        );
        assert_eq!(line["level"], if cut > 0 { "WARN" } else { "INFO" });
        let seen = ended(&text_agent, cgroup);
        let line = text_agent.line(&format!(" shutdown id=\"{}\"", seen.id)).unwrap();
        assert_eq!(logfmt(&line, "severed"), cut.to_string());
        assert_eq!(logfmt(&line, "verdict"), seen.verdict.to_string());
    }
    let metrics = json_agent.get("/metrics").unwrap();
    assert!(metrics.contains("drainwatch_sink_reports_total{result=\"failed\",sink=\"otlp\"} 0\n"));
    assert!(!metrics.contains("drainwatch_sink_reports_total{result=\"sent\",sink=\"otlp\"} 0\n"));
    for (agent, unsent) in [(json_agent, false), (text_agent, true)] {
        let (status, took) = agent.stop().unwrap();
        let log = agent.log();
        assert!(status.success(), "{log}");
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(log.contains("unsent reports"), unsent, "{log}");
        assert!(!log.contains("s3cret"), "a header was logged: {log}");
    }
}
