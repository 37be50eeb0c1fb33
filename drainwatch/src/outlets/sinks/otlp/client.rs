//! One message to the collector, and what its answer means.

use std::{error::Error, time::Duration};

use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::Bytes;
use drainwatch_core::workload::text::clean;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use opentelemetry_proto::tonic::collector::{
    logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse},
    trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
};
use prost::Message as _;

use super::{Endpoint, Headers};

/// How long one attempt may take, all in all: what the OpenTelemetry specification has as default.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may stay unused.
const IDLE_FOR: Duration = Duration::from_secs(30);
/// Most bytes of an answer that are read.
const MOST_ANSWER: usize = 64 * 1024;
/// Most characters of the collector's own words that are logged.
const MOST_WORDS: usize = 200;

/// The sink cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nobody's signature would be believed.
    #[error(
        "no certificate authorities were found for https ({0}); install ca-certificates, set SSL_CERT_FILE, or give an \
         http:// URL to --otlp.endpoint"
    )]
    NoAuthorities(std::io::Error),
}

/// Why a message was not taken, and what to do. One line each.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No connection, or it ended before the answer.
    #[error(
        "no answer: {0}; check that it runs and that --otlp.endpoint is where it accepts OTLP over HTTP (usually port 4318; \
         4317 is gRPC)"
    )]
    Unreachable(String),
    /// Its certificate is not believed.
    #[error("its certificate is not trusted: {0}; name the authority that signed it with SSL_CERT_FILE")]
    Untrusted(String),
    /// It hangs.
    #[error("no answer within {} s; check whether it is overloaded", ANSWER_WITHIN.as_secs())]
    Silent,
    /// It answers with an error.
    #[error("{path} answers {status}{says}; {}", advice(*status))]
    Status {
        /// Of the message.
        path: &'static str,
        /// Of the answer.
        status: StatusCode,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
        /// Its own words.
        says: String,
    },
    /// It took the message, and then threw part of it away.
    #[error("{path} rejected {count} of what was sent{says}; see the collector's log")]
    Rejected {
        /// Of the message.
        path: &'static str,
        /// How many spans or log records.
        count: i64,
        /// Its own words.
        says: String,
    },
    /// What answers is no collector.
    #[error("{path} answers {status}, but not with OTLP; check that --otlp.endpoint is that of a collector")]
    Garbage {
        /// Of the message.
        path: &'static str,
        /// Of the answer.
        status: StatusCode,
    },
}

fn advice(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 | 403 => "check whether --otlp.headers has what it requires",
        404 | 405 => {
            "check that --otlp.endpoint is the URL to which /v1/traces and /v1/logs are appended, and that it accepts both"
        }
        429 | 502..=504 => "it will be asked again; check whether it is overloaded",
        300..=399 => "set --otlp.endpoint to the URL that it redirects to",
        _ => "see the collector's log",
    }
}

impl Refusal {
    /// Worth another attempt, as the protocol has it.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Untrusted(_) | Self::Silent => true,
            Self::Status { status, .. } => matches!(status.as_u16(), 429 | 502..=504),
            Self::Rejected { .. } | Self::Garbage { .. } => false,
        }
    }

    /// When the collector wants to be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// A message, ready to be sent.
#[derive(Debug)]
pub struct Message {
    path: &'static str,
    url: String,
    body: Bytes,
    read: fn(&[u8]) -> Option<Partial>,
}

/// What an answer says of things thrown away: how many, and why.
type Partial = (i64, String);

/// Talks to the collector.
#[derive(Debug)]
pub struct Client {
    http: HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: Endpoint,
    headers: Headers,
}

impl Client {
    /// For this collector. Opens no connection yet.
    pub fn new(endpoint: &Endpoint, headers: Headers) -> Result<Self, StartError> {
        let provider = rustls::crypto::ring::default_provider();
        let builder = HttpsConnectorBuilder::new();
        let connector = if endpoint.is_https() {
            builder
                .with_provider_and_native_roots(provider)
                .map_err(StartError::NoAuthorities)?
        } else {
            builder.with_tls_config(no_authorities(provider)?)
        };
        let http = HttpClient::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_FOR)
            .pool_max_idle_per_host(1)
            .build(connector.https_or_http().enable_http1().build());
        Ok(Self {
            http,
            endpoint: endpoint.clone(),
            headers,
        })
    }

    /// A trace, to be sent.
    pub fn trace(&self, trace: &ExportTraceServiceRequest) -> Message {
        self.message("/v1/traces", trace.encode_to_vec(), |body| {
            let partial = ExportTraceServiceResponse::decode(body).ok()?.partial_success;
            Some(partial.map_or_else(Partial::default, |partial| {
                (partial.rejected_spans, partial.error_message)
            }))
        })
    }

    /// A log record, to be sent.
    pub fn log(&self, log: &ExportLogsServiceRequest) -> Message {
        self.message("/v1/logs", log.encode_to_vec(), |body| {
            let partial = ExportLogsServiceResponse::decode(body).ok()?.partial_success;
            Some(partial.map_or_else(Partial::default, |partial| {
                (partial.rejected_log_records, partial.error_message)
            }))
        })
    }

    fn message(&self, path: &'static str, body: Vec<u8>, read: fn(&[u8]) -> Option<Partial>) -> Message {
        Message {
            path,
            url: self.endpoint.join(path),
            body: body.into(),
            read,
        }
    }

    /// Sends it once.
    pub async fn send(&self, message: &Message) -> Result<(), Refusal> {
        let answered = tokio::time::timeout(ANSWER_WITHIN, self.exchange(message)).await;
        let (status, headers, body) = answered.map_err(|_| Refusal::Silent)??;
        let path = message.path;
        if !status.is_success() {
            return Err(Refusal::Status {
                path,
                status,
                retry_after: retry_after(&headers),
                says: says(&error_text(&body)),
            });
        }
        match (message.read)(&body) {
            Some((0, _)) => Ok(()),
            Some((count, why)) => Err(Refusal::Rejected {
                path,
                count,
                says: says(&why),
            }),
            None => Err(Refusal::Garbage { path, status }),
        }
    }

    async fn exchange(&self, message: &Message) -> Result<(StatusCode, HeaderMap, Bytes), Refusal> {
        let mut request = Request::post(&message.url)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(
                header::USER_AGENT,
                concat!("drainwatch/", env!("CARGO_PKG_VERSION")),
            );
        for (name, value) in self.headers.iter() {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(message.body.clone()))
            .map_err(|why| unreachable_because(&why))?;
        let answer = self
            .http
            .request(request)
            .await
            .map_err(|why| unreachable_because(&why))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MOST_ANSWER)
            .collect()
            .await
            .map_err(|why| unreachable_because(&*why))?;
        Ok((head.status, head.headers, body.to_bytes()))
    }
}

/// For http, where nothing is verified.
fn no_authorities(provider: rustls::crypto::CryptoProvider) -> Result<rustls::ClientConfig, StartError> {
    let config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|why| StartError::NoAuthorities(std::io::Error::other(why)))?;
    Ok(config
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth())
}

/// The innermost causes say what happened: "connection refused".
fn unreachable_because(why: &(dyn Error + 'static)) -> Refusal {
    let mut text = why.to_string();
    let mut source = why.source();
    while let Some(inner) = source {
        if let Some(certificate) = certificate_error(inner) {
            return Refusal::Untrusted(bounded(&certificate.to_string()));
        }
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    Refusal::Unreachable(bounded(&text))
}

/// rustls hands its errors on inside those of I/O, and hyper-rustls those inside others.
fn certificate_error<'a>(why: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let inner = why.downcast_ref::<std::io::Error>()?.get_ref()?;
    match inner.downcast_ref::<rustls::Error>() {
        Some(error) => matches!(error, rustls::Error::InvalidCertificate(_)).then_some(error),
        None => certificate_error(inner),
    }
}

/// `Retry-After`: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    // In the past: at once.
    Some(
        at.duration_since(jiff::Timestamp::now())
            .try_into()
            .unwrap_or_default(),
    )
}

/// The body of an error is to be a `google.rpc.Status`.
#[derive(prost::Message)]
struct RpcStatus {
    #[prost(string, tag = "2")]
    message: String,
}

fn error_text(body: &[u8]) -> String {
    match RpcStatus::decode(body) {
        Ok(status) => status.message,
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

/// The collector's own words behind a colon, if it has any.
fn says(words: &str) -> String {
    let words = bounded(words);
    if words.is_empty() {
        words
    } else {
        format!(": {words}")
    }
}

/// In one line, printable, and not too long.
fn bounded(words: &str) -> String {
    let line = words
        .split_whitespace()
        .take(MOST_WORDS)
        .collect::<Vec<_>>()
        .join(" ");
    clean(&line.chars().take(MOST_WORDS).collect::<String>())
}
