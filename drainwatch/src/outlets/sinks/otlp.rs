//! Shutdowns to a collector, over OTLP/HTTP with protobuf: each is a trace and a log record.
//!
//! What `client` could not deliver is tried again for at most a minute, as the protocol has it;
//! meanwhile reports wait in the sink's queue. The log says when the collector goes and comes, not
//! more.

mod attributes;
mod client;
mod collector;
mod convert;
mod ids;

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use drainwatch_core::report::Report;
use tokio::time::Instant;

use super::{Inbox, Sink};
pub use client::StartError;
use client::{Client, Refusal};
pub use collector::{Endpoint, Headers};
pub use convert::{log, trace};

/// Name of the sink.
pub const NAME: &str = "otlp";
/// Reports that may wait.
pub const ROOM: usize = 256;
/// How long a report is tried for.
const TRY_FOR: Duration = Duration::from_mins(1);
/// How often it is tried again.
const MOST_RETRIES: usize = 6;

/// Starts the sink.
pub fn start(endpoint: &Endpoint, headers: Headers) -> Result<Sink, StartError> {
    let client = Client::new(endpoint, headers)?;
    let endpoint = endpoint.to_string();
    Ok(Sink::start(NAME, ROOM, |inbox| {
        work(client, Collector::new(endpoint), inbox)
    }))
}

async fn work(client: Client, mut collector: Collector, mut inbox: Inbox) {
    while let Some(report) = inbox.next().await {
        match deliver(&client, &mut collector, &report).await {
            Ok(()) => inbox.sent(),
            Err(refusal) => {
                tracing::debug!(id = report.id, %refusal, "a report was given up");
                inbox.failed();
            }
        }
    }
}

/// Trace and log record; what arrived is not sent again.
async fn deliver(client: &Client, collector: &mut Collector, report: &Report) -> Result<(), Refusal> {
    let until = Instant::now() + TRY_FOR;
    let trace = client.trace(&trace(report));
    let log = client.log(&log(report));
    for message in [trace, log] {
        let sent = (|| client.send(&message))
            .retry(backoff())
            .when(Refusal::is_passing)
            .adjust(|refusal, delay| next_delay(refusal, delay, until))
            .notify(|refusal, _| collector.is_down(refusal))
            .await;
        if let Err(refusal) = sent {
            collector.is_down(&refusal);
            return Err(refusal);
        }
    }
    collector.is_up();
    Ok(())
}

fn backoff() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(15))
        .with_max_times(MOST_RETRIES)
}

/// What the collector asks for goes before our own; none when that is too late.
fn next_delay(refusal: &Refusal, delay: Option<Duration>, until: Instant) -> Option<Duration> {
    let delay = delay?;
    let delay = refusal.retry_after().unwrap_or(delay);
    (Instant::now() + delay < until).then_some(delay)
}

/// How the collector is, as the log has said it.
struct Collector {
    endpoint: String,
    down: bool,
}

impl Collector {
    fn new(endpoint: String) -> Self {
        Self {
            endpoint,
            down: false,
        }
    }

    fn is_down(&mut self, refusal: &Refusal) {
        if !self.down {
            tracing::warn!(endpoint = self.endpoint, why = %refusal, "the collector does not accept reports");
        }
        self.down = true;
    }

    fn is_up(&mut self) {
        if self.down {
            tracing::info!(endpoint = self.endpoint, "the collector accepts reports again");
        }
        self.down = false;
    }
}

#[cfg(test)]
mod tests;
