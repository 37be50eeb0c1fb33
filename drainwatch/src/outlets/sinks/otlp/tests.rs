//! The sink against a receiver on the official messages, which can misbehave.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use axum::http::header;
use drainwatch_core::{report::Verdict, testing::report};
use testkit::otlp::{Mood, Receiver};

use super::*;
use crate::outlets::sinks::Count;

/// A collector, and how it is reached.
fn collector() -> (Receiver, Endpoint) {
    let receiver = Receiver::start().unwrap();
    let endpoint = endpoint(receiver.address);
    (receiver, endpoint)
}

/// An address at which nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn endpoint(address: SocketAddr) -> Endpoint {
    format!("http://{address}").parse().unwrap()
}

fn sink(endpoint: &Endpoint) -> Sink {
    start(endpoint, "Authorization=Bearer%20s3cret".parse().unwrap()).unwrap()
}

fn severed(id: &str) -> Arc<Report> {
    Arc::new(report(id, "web", Verdict::Severed))
}

async fn until(sink: &Sink, is: impl Fn(Count) -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !is(sink.count()) {
        assert!(std::time::Instant::now() < deadline, "{:?}", sink.count());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn given_a_collector_when_a_shutdown_ends_then_it_has_the_trace_and_the_log_record_once() {
    let (receiver, endpoint) = collector();
    let sink = sink(&endpoint);
    sink.give(&severed("r1"));
    until(&sink, |count| count.sent == 1).await;
    let sent = severed("r1");
    let came = receiver.received();
    assert_eq!(came.traces, [trace(&sent)]);
    assert_eq!(came.logs, [log(&sent)]);
    assert!(
        came.asked
            .iter()
            .all(|headers| headers[header::AUTHORIZATION] == "Bearer s3cret")
    );
}

#[tokio::test]
async fn given_a_collector_that_is_busy_when_it_says_when_to_come_again_then_that_is_waited_for() {
    let (receiver, endpoint) = collector();
    receiver.moods([
        Mood::RetryAfter(429, "1".into()),
        Mood::RetryAfter(503, "Thu, 01 Jan 1970 00:00:00 GMT".into()),
    ]);
    let sink = sink(&endpoint);
    let begun = Instant::now();
    sink.give(&severed("r1"));
    until(&sink, |count| count.sent == 1).await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(
        receiver.received().asked.len(),
        4,
        "two that were busy, the trace, the log record"
    );
    assert_eq!(receiver.received().traces.len(), 1);
}

#[tokio::test]
async fn given_a_collector_that_refuses_for_good_when_asked_then_the_report_is_given_up_at_once() {
    let (receiver, endpoint) = collector();
    let moods = [
        Mood::Status(400),
        Mood::Status(401),
        Mood::Status(404),
        Mood::Status(500),
        Mood::Garbage,
        Mood::Rejects,
        Mood::RetryAfter(503, "86400".into()),
    ];
    let sink = sink(&endpoint);
    for (at, mood) in moods.into_iter().enumerate() {
        receiver.moods([mood]);
        sink.give(&severed("r1"));
        until(&sink, |count| count.failed == at as u64 + 1).await;
        assert_eq!(receiver.received().asked.len(), at + 1, "no second attempt");
    }
    sink.give(&severed("r2"));
    until(&sink, |count| count.sent == 1).await;
}

#[tokio::test]
async fn given_no_collector_when_one_comes_up_then_it_gets_what_waited() {
    let address = nobody();
    let sink = sink(&endpoint(address));
    sink.give(&severed("r1"));
    sink.give(&severed("r2"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(sink.count(), Count::default());
    let receiver = Receiver::start_at(TcpListener::bind(address).unwrap()).unwrap();
    until(&sink, |count| count.sent == 2).await;
    assert_eq!(receiver.received().traces.len(), 2);
}

#[tokio::test]
async fn given_a_collector_that_breaks_connections_when_asked_then_it_is_tried_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sink = sink(&endpoint(listener.local_addr().unwrap()));
    sink.give(&severed("r1"));
    // One that closes at once, one that speaks no HTTP.
    drop(listener.accept().await.unwrap());
    let (mut stream, _) = listener.accept().await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"\0\x01garbage\r\n\r\n")
        .await
        .unwrap();
    drop(stream);
    Receiver::start_at(listener.into_std().unwrap()).unwrap();
    until(&sink, |count| count.sent == 1).await;
}

#[tokio::test]
async fn given_a_collector_that_hangs_when_the_agent_stops_then_it_does_not_wait_for_it() {
    let (receiver, endpoint) = collector();
    receiver.moods([Mood::Hangs]);
    let sink = sink(&endpoint);
    for _ in 0..ROOM + 2 {
        sink.give(&severed("r"));
    }
    assert!(sink.count().dropped > 0, "what does not fit is counted");
    let begun = Instant::now();
    crate::outlets::sinks::close(vec![sink], Duration::from_millis(200)).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn given_no_collector_at_all_when_tried_then_a_report_is_given_up_within_a_minute() {
    let client = Client::new(&endpoint(nobody()), Headers::default()).unwrap();
    let mut collector = Collector::new("x".into());
    let begun = Instant::now();
    let given_up = deliver(&client, &mut collector, &severed("r")).await.unwrap_err();
    assert!(begun.elapsed() < TRY_FOR, "{:?}", begun.elapsed());
    assert!(begun.elapsed() > Duration::from_secs(10), "it was tried again");
    let why = given_up.to_string();
    assert!(why.contains("refused") && why.contains("4318"), "{why}");
    assert!(collector.down);
}

#[tokio::test]
async fn given_hostile_answers_when_told_of_then_they_are_one_harmless_line() {
    let (receiver, endpoint) = collector();
    receiver.moods([Mood::Status(400)]);
    let client = Client::new(&endpoint, Headers::default()).unwrap();
    let why = client
        .send(&client.trace(&trace(&severed("r"))))
        .await
        .unwrap_err();
    let line = why.to_string();
    assert!(!line.contains(['\n', '\x1b']), "{line}");
    assert!(
        line.contains("/v1/traces answers 400 Bad Request: it is not"),
        "{line}"
    );
}
