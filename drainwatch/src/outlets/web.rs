//! The web server.
//!
//! | route | answer |
//! |---|---|
//! | `/metrics` | the exposition, text format 0.0.4, with gzip for who takes it |
//! | `/healthz` | the loop answered within a second |
//! | `/readyz` | attached, and caught up with what the ring held when it was asked |
//! | `/api/v1/shutdowns?since=&until=&workload=&namespace=&verdict=&class=&finding=&cause=&limit=` | `{"shutdowns":[report…]}`, under way first, then newest first |
//! | `/api/v1/shutdowns/{id}` | report; a unique prefix of the id is enough |
//! | `/api/v1/rollouts?since=&until=&workload=&namespace=&verdict=&limit=` | `{"rollouts":[…]}`, newest first |
//! | `/api/v1/events` | a stream that says when to ask again |
//! | `/`, `/page/…` | the page; to who does not ask for HTML, where these are |
//!
//! Bounded: connections, requests at a time, size and time of a request's head, size of an answer.

mod compressed;
mod events;
mod page;
mod rollouts;

use std::{collections::HashMap, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Path, RawQuery, Request, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::{self, JoinSet},
};

use crate::outlets::{
    listing, metrics,
    questions::{Handle, Lookup, Stuck, Unanswered},
};

/// Connections at a time, idle ones included.
const CONNECTIONS: usize = 256;
/// Connections at a time of one peer: so that nobody alone keeps the probes out.
const CONNECTIONS_OF_ONE: usize = 64;
/// How long a request's head may take, and a connection be idle.
const HEAD_WITHIN: Duration = Duration::from_mins(1);
/// Largest head of a request.
const HEAD_BYTES: usize = 16 * 1024;
/// How long connections stay as they are once the agent stops: closing one with a request that was sent but not read
/// would answer it with a reset.
const LAST_REQUESTS_WITHIN: Duration = Duration::from_millis(50);
/// How long answers may still take once the agent stops.
const FINISH_WITHIN: Duration = Duration::from_millis(250);

/// What to serve with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Path of the metrics.
    pub telemetry_path: String,
    /// Most requests answered at the same time; further ones get 503.
    pub max_requests: usize,
}

/// Serves until `stop` turns true (or its sender is gone), then finishes what was asked, for a moment.
pub async fn serve(listener: TcpListener, handle: Handle, options: Options, mut stop: watch::Receiver<bool>) {
    let app = router(handle, &options, stop.clone());
    let mut connections = Connections::default();
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            () = connections.ended(), if !connections.tasks.is_empty() => {}
            accepted = accept(&listener), if connections.tasks.len() < CONNECTIONS => {
                connections.add(accepted, &app, &stop);
            }
        }
    }
    // Who connected before the stop is in the queue, which the kernel would reset.
    while connections.tasks.len() < CONNECTIONS {
        tokio::select! {
            biased;
            accepted = accept(&listener) => connections.add(accepted, &app, &stop),
            () = task::yield_now() => break,
        }
    }
    drop(listener);
    let finished = async { while connections.tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(FINISH_WITHIN, finished).await;
}

/// The connections that are open, and whose they are.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    peers: HashMap<task::Id, IpAddr>,
}

impl Connections {
    /// Answers on a new connection; one too many of its peer is closed at once.
    fn add(&mut self, accepted: Option<(TcpStream, IpAddr)>, app: &Router, stop: &watch::Receiver<bool>) {
        let Some((stream, peer)) = accepted else { return };
        if self.peers.values().filter(|other| **other == peer).count() >= CONNECTIONS_OF_ONE {
            tracing::debug!(%peer, "a connection was closed: its peer already has {CONNECTIONS_OF_ONE}");
            return;
        }
        let task = self.tasks.spawn(answer(stream, app.clone(), stop.clone()));
        self.peers.insert(task.id(), peer);
    }

    /// Ready when one has ended.
    async fn ended(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(panicked)) => panicked.id(),
            None => return,
        };
        self.peers.remove(&id);
    }
}

/// One connection, until it ends or the agent stops.
async fn answer(stream: TcpStream, app: Router, mut stop: watch::Receiver<bool>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = pin!(connection);
    let told = async {
        stopped(&mut stop).await;
        tokio::time::sleep(LAST_REQUESTS_WITHIN).await;
    };
    // A client that breaks the protocol or leaves is the client's affair.
    let ended = tokio::select! {
        _ = &mut connection => true,
        () = told => false,
    };
    if !ended {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn accept(listener: &TcpListener) -> Option<(TcpStream, IpAddr)> {
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer.ip())),
        Err(error) => {
            // Out of file descriptors: without a pause this would spin until one is free.
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

fn router(handle: Handle, options: &Options, stop: watch::Receiver<bool>) -> Router {
    let room = Arc::new(Semaphore::new(options.max_requests));
    let path = &options.telemetry_path;
    let events = events::router(handle.changes(), stop);
    let rollouts = rollouts::router(handle.clone());
    Router::new()
        .route(&options.telemetry_path, get(expose))
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .route("/api/v1/shutdowns", get(list))
        .route("/api/v1/shutdowns/{id}", get(one))
        .with_state(handle)
        .merge(page::router(path, index(path)))
        .merge(events)
        .merge(rollouts)
        .fallback(|| async {
            error(
                StatusCode::NOT_FOUND,
                "no such path; GET / lists the existing ones",
            )
        })
        .method_not_allowed_fallback(|| async {
            error(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are supported")
        })
        .layer(middleware::from_fn_with_state(room, limit))
}

fn index(telemetry_path: &str) -> String {
    format!(
        "drainwatch {}: the requests that shutdowns cut on this node\n\n\
         {telemetry_path}\n/healthz\n/readyz\n\
         /api/v1/shutdowns?since=15m&workload=NAME&verdict=severed&limit=100 (and until, namespace, class, finding, cause)\n\
         /api/v1/shutdowns/ID\n\
         /api/v1/rollouts?since=7d&workload=NAME&limit=50\n\
         /api/v1/events\n\n\
         A browser gets a page here.\n",
        env!("CARGO_PKG_VERSION")
    )
}

async fn limit(State(room): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let Ok(_permit) = room.try_acquire() else {
        return error(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many concurrent requests; try again, or raise --web.max-requests",
        );
    };
    next.run(request).await
}

async fn expose(State(handle): State<Handle>, asked: HeaderMap) -> Response {
    match handle.metrics().await {
        Ok(text) => compressed::answer(&asked, metrics::CONTENT_TYPE, text).await,
        Err(stuck) => error(StatusCode::SERVICE_UNAVAILABLE, &stuck.to_string()),
    }
}

async fn healthy(State(handle): State<Handle>) -> Response {
    plain(handle.beat().await)
}

async fn ready(State(handle): State<Handle>) -> Response {
    plain(handle.ready().await)
}

fn plain(answered: Result<(), Stuck>) -> Response {
    match answered {
        Ok(()) => "ok\n".into_response(),
        Err(stuck) => (StatusCode::SERVICE_UNAVAILABLE, format!("{stuck}\n")).into_response(),
    }
}

async fn list(State(handle): State<Handle>, RawQuery(query): RawQuery) -> Response {
    let filter = match listing::query(query.as_deref().unwrap_or_default(), jiff::Timestamp::now()) {
        Ok(filter) => filter,
        Err(what) => return error(StatusCode::BAD_REQUEST, &what),
    };
    match handle.list(filter).await {
        Ok(matches) => {
            let mut body = String::from("{\"shutdowns\":[");
            for (n, report) in matches.found().iter().enumerate() {
                body.push_str(if n == 0 { "" } else { "," });
                body.push_str(report);
            }
            body.push_str(if matches.more() {
                "],\"more\":true}"
            } else {
                "],\"more\":false}"
            });
            json(StatusCode::OK, body)
        }
        Err(unanswered) => failed(&unanswered),
    }
}

async fn one(State(handle): State<Handle>, id: Result<Path<String>, PathRejection>) -> Response {
    let Ok(Path(id)) = id else {
        return error(
            StatusCode::BAD_REQUEST,
            "an id is letters, digits and `-`; /api/v1/shutdowns lists them",
        );
    };
    if id.len() > 128 {
        return error(
            StatusCode::BAD_REQUEST,
            "an id has at most 128 characters; /api/v1/shutdowns lists them",
        );
    }
    match handle.get(&id).await {
        Ok(Lookup::Found(report)) => json(StatusCode::OK, report.to_string()),
        Ok(Lookup::Missing) => error(
            StatusCode::NOT_FOUND,
            &format!("no shutdown has the id `{id}`; /api/v1/shutdowns lists them"),
        ),
        Ok(Lookup::Ambiguous(ids)) => {
            let ids = ids.join(", ");
            error(
                StatusCode::BAD_REQUEST,
                &format!("`{id}` is a prefix of several ids; send one of: {ids}"),
            )
        }
        Err(unanswered) => failed(&unanswered),
    }
}

fn failed(unanswered: &Unanswered) -> Response {
    let status = match unanswered {
        Unanswered::Stuck(_) => StatusCode::SERVICE_UNAVAILABLE,
        Unanswered::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    error(status, &unanswered.to_string())
}

fn error(status: StatusCode, what: &str) -> Response {
    json(status, serde_json::json!({ "error": what }).to_string())
}

fn json(status: StatusCode, body: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ];
    (status, headers, body).into_response()
}
