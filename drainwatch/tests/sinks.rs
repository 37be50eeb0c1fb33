//! Real agents beside the demo: what a collector and the log get of real shutdowns is what the agent's
//! own report says, and what the demo's clients saw.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, routing::post};
use drainwatch_core::report::Report;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse},
        trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    },
    common::v1::{KeyValue, any_value::Value},
    logs::v1::LogRecord,
    trace::v1::{Span, status::StatusCode},
};
use prost::Message as _;
use ring::digest::{SHA256, digest};
use serde_json::Value as Json;

const BINARY: &str = env!("CARGO_BIN_EXE_drainwatch");
const SOON: Duration = Duration::from_secs(20);

/// A receiver of OTLP, on the official messages.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Received>>);

#[derive(Default)]
struct Received {
    spans: Vec<Span>,
    logs: Vec<LogRecord>,
}

impl Receiver {
    fn start() -> (Self, SocketAddr) {
        let receiver = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/v1/traces", post(take_trace))
            .route("/v1/logs", post(take_log))
            .with_state(receiver.clone());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, router).await.unwrap();
            });
        });
        (receiver, address)
    }

    /// Spans and log records of a trace; the log record comes last.
    fn trace(&self, id: &[u8]) -> Option<(Vec<Span>, LogRecord)> {
        let received = self.0.lock().unwrap();
        let log = received.logs.iter().find(|log| log.trace_id == id)?.clone();
        let spans = received.spans.iter().filter(|span| span.trace_id == id);
        Some((spans.cloned().collect(), log))
    }
}

async fn take_trace(State(receiver): State<Receiver>, body: Bytes) -> Vec<u8> {
    let request = ExportTraceServiceRequest::decode(body).expect("a trace");
    let spans = request
        .resource_spans
        .into_iter()
        .flat_map(|resource| resource.scope_spans)
        .flat_map(|scope| scope.spans);
    receiver.0.lock().unwrap().spans.extend(spans);
    ExportTraceServiceResponse::default().encode_to_vec()
}

async fn take_log(State(receiver): State<Receiver>, body: Bytes) -> Vec<u8> {
    let request = ExportLogsServiceRequest::decode(body).expect("log records");
    let logs = request
        .resource_logs
        .into_iter()
        .flat_map(|resource| resource.scope_logs)
        .flat_map(|scope| scope.log_records);
    receiver.0.lock().unwrap().logs.extend(logs);
    ExportLogsServiceResponse::default().encode_to_vec()
}

/// An agent and what it logs.
struct Agent {
    child: Child,
    lines: mpsc::Receiver<String>,
    address: String,
}

impl Agent {
    fn start(config: &std::path::Path, args: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DRAINWATCH_")) {
            command.env_remove(name);
        }
        let mut child = command
            .args(["run", "--web.listen-address", "127.0.0.1:0", "--config"])
            .arg(config)
            .args(args)
            .env("DRAINWATCH_OTLP_HEADERS", "x-token=s3cret")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let pipe = child.stderr.take().unwrap();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut agent = Self {
            child,
            lines,
            address: String::new(),
        };
        let line = agent.line("watching every workload");
        let at = line.find("127.0.0.1:").expect("its address");
        let port = line[at + 10..].chars().take_while(char::is_ascii_digit);
        agent.address = format!("127.0.0.1:{}", port.collect::<String>());
        agent
    }

    /// Waits for a line with this in it.
    fn line(&self, part: &str) -> String {
        let begun = Instant::now();
        loop {
            let left = SOON.checked_sub(begun.elapsed()).expect("the line in time");
            let line = self.lines.recv_timeout(left).expect("a line in time");
            assert!(!line.contains("s3cret"), "a header was logged: {line}");
            if line.contains(part) {
                return line;
            }
        }
    }

    fn get(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.address);
        ureq::get(&url)
            .call()
            .unwrap()
            .body_mut()
            .read_to_string()
            .unwrap()
    }

    /// The ended report of this cgroup.
    fn report(&self, cgroup: &str) -> Report {
        until(|| {
            let list: Json = serde_json::from_str(&self.get("/api/v1/shutdowns?limit=1000")).unwrap();
            let reports: Vec<Report> = serde_json::from_value(list["shutdowns"].clone()).unwrap();
            reports
                .into_iter()
                .find(|report| report.workload.cgroup == cgroup && report.ended_at.is_some())
        })
    }

    /// Stops it; what else it logged.
    fn stop(mut self) -> (Option<i32>, Duration, String) {
        let begun = Instant::now();
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).unwrap();
        let code = self.child.wait().unwrap().code();
        let took = begun.elapsed();
        (code, took, self.lines.iter().collect::<Vec<_>>().join("\n"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until<T>(mut ready: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(begun.elapsed() < SOON, "waited in vain");
        thread::sleep(Duration::from_millis(10));
    }
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
    let doctor = Command::new(BINARY).arg("doctor").output().unwrap();
    if !doctor.status.success() {
        // Without root no agent runs; that it then refuses is the command line's own test.
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("d.toml");
    fs::write(&config, "[shutdown]\nlinger = \"300ms\"\n").unwrap();
    let (receiver, address) = Receiver::start();
    let collector = format!("http://{address}");
    // It accepts, and never answers.
    let stuck = TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging = format!("http://{}", stuck.local_addr().unwrap());
    let json_agent = Agent::start(&config, &["--log.format", "json", "--otlp.endpoint", &collector]);
    let text_agent = Agent::start(&config, &["--log.format", "text", "--otlp.endpoint", &hanging]);

    let demo = Command::new(BINARY)
        .args(["demo", "--format", "json"])
        .output()
        .unwrap();
    assert!(demo.status.success(), "{}", String::from_utf8_lossy(&demo.stderr));
    let demo: Json = serde_json::from_slice(&demo.stdout).unwrap();
    for (at, which) in ["bad", "good"].into_iter().enumerate() {
        let cgroup = demo["shutdowns"][at]["workload"]["cgroup"].as_str().unwrap();
        let cut = demo["clients"][which]["cut"].as_u64().unwrap();
        assert_eq!(cut > 0, which == "bad");
        let report = json_agent.report(cgroup);
        let hash = digest(&SHA256, report.id.as_bytes());
        let (spans, log) = until(|| receiver.trace(&hash.as_ref()[..16]));
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

        let line = json_agent.line(&report.id);
        let line: Json = serde_json::from_str(&line).unwrap();
        assert_eq!(line["message"], "shutdown");
        assert_eq!(
            (&line["severed"], &line["workload"]),
            (&cut.into(), &cgroup.into())
        );
        assert_eq!(line["level"], if cut > 0 { "WARN" } else { "INFO" });
        let seen = text_agent.report(cgroup);
        let line = text_agent.line(&format!(" shutdown id=\"{}\"", seen.id));
        assert_eq!(logfmt(&line, "severed"), cut.to_string());
        assert_eq!(logfmt(&line, "verdict"), seen.verdict.to_string());
    }
    let metrics = json_agent.get("/metrics");
    assert!(metrics.contains("drainwatch_sink_reports_total{result=\"failed\",sink=\"otlp\"} 0\n"));
    assert!(!metrics.contains("drainwatch_sink_reports_total{result=\"sent\",sink=\"otlp\"} 0\n"));
    for (agent, unsent) in [(json_agent, false), (text_agent, true)] {
        let (code, took, log) = agent.stop();
        assert_eq!(code, Some(0), "{log}");
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(log.contains("unsent reports"), unsent, "{log}");
    }
}
