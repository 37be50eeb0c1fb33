//! A collector of OTLP on the official messages, which can misbehave.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse},
        trace::v1::{ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse},
    },
    logs::v1::LogRecord,
    trace::v1::Span,
};
use prost::Message;

/// What the collector does with a message instead of taking it.
#[derive(Debug, Clone)]
pub enum Mood {
    /// Answers with this status, and a body that does not belong on one line.
    Status(u16),
    /// Answers with this status and says when to come again.
    RetryAfter(u16, String),
    /// Answers with a page.
    Garbage,
    /// Takes the message and rejects a span of it.
    Rejects,
    /// Never answers.
    Hangs,
}

/// What came, in its order.
#[derive(Debug, Default)]
pub struct Received {
    /// Headers of every request.
    pub asked: Vec<HeaderMap>,
    /// Traces that were taken.
    pub traces: Vec<ExportTraceServiceRequest>,
    /// Log records that were taken.
    pub logs: Vec<ExportLogsServiceRequest>,
    moods: VecDeque<Mood>,
}

/// A collector that listens until the program ends.
#[derive(Debug, Clone)]
pub struct Receiver {
    received: Arc<Mutex<Received>>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Receiver {
    /// Listens on the loopback.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_at(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?)
    }

    /// Takes over a socket that listens.
    pub fn start_at(listener: TcpListener) -> anyhow::Result<Self> {
        listener.set_nonblocking(true)?;
        let receiver = Self {
            address: listener.local_addr()?,
            received: Arc::default(),
        };
        let router = Router::new()
            .route("/v1/traces", post(take_trace))
            .route("/v1/logs", post(take_log))
            .with_state(receiver.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        thread::spawn(move || {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                axum::serve(listener, router).await
            })
        });
        Ok(receiver)
    }

    /// What has come so far.
    pub fn received(&self) -> MutexGuard<'_, Received> {
        // A test that failed while it looked has changed nothing.
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it does with the next messages, one mood each; the others it takes.
    pub fn moods(&self, moods: impl IntoIterator<Item = Mood>) {
        self.received().moods.extend(moods);
    }

    /// Spans and the log record of a trace, once the log record has come, which is the last of it.
    pub fn trace(&self, id: &[u8]) -> Option<(Vec<Span>, LogRecord)> {
        let received = self.received();
        let log = received
            .logs
            .iter()
            .flat_map(|request| &request.resource_logs)
            .flat_map(|resource| &resource.scope_logs)
            .flat_map(|scope| &scope.log_records)
            .find(|log| log.trace_id == id)?;
        let spans = received
            .traces
            .iter()
            .flat_map(|request| &request.resource_spans)
            .flat_map(|resource| &resource.scope_spans)
            .flat_map(|scope| &scope.spans)
            .filter(|span| span.trace_id == id);
        Some((spans.cloned().collect(), log.clone()))
    }

    /// Takes a message, unless its mood is another.
    async fn take<Request: Message + Default, Answer: Message + Default>(
        &self,
        headers: HeaderMap,
        body: Bytes,
        keep: fn(&mut Received) -> &mut Vec<Request>,
    ) -> Response {
        if headers
            .get(header::CONTENT_TYPE)
            .is_none_or(|kind| kind != "application/x-protobuf")
        {
            return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
        }
        let mood = {
            let mut received = self.received();
            received.asked.push(headers);
            received.moods.pop_front()
        };
        if let Some(mood) = mood {
            return mood.answer().await;
        }
        match Request::decode(body) {
            Ok(request) => keep(&mut self.received()).push(request),
            Err(_) => return StatusCode::BAD_REQUEST.into_response(),
        }
        Answer::default().encode_to_vec().into_response()
    }
}

impl Mood {
    async fn answer(self) -> Response {
        let status = |status| StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        match self {
            Self::Status(code) => (status(code), "it is\nnot \x1b[31m well").into_response(),
            Self::RetryAfter(code, after) => (status(code), [(header::RETRY_AFTER, after)]).into_response(),
            Self::Garbage => "<html>welcome</html>".into_response(),
            Self::Rejects => ExportTraceServiceResponse {
                partial_success: Some(ExportTracePartialSuccess {
                    rejected_spans: 1,
                    error_message: "too old".into(),
                }),
            }
            .encode_to_vec()
            .into_response(),
            Self::Hangs => std::future::pending().await,
        }
    }
}

async fn take_trace(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    receiver
        .take::<_, ExportTraceServiceResponse>(headers, body, |received| &mut received.traces)
        .await
}

async fn take_log(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    receiver
        .take::<_, ExportLogsServiceResponse>(headers, body, |received| &mut received.logs)
        .await
}
