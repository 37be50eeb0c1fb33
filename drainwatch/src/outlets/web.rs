//! The web server.
//!
//! | route | answer |
//! |---|---|
//! | `/metrics` | the exposition, text format 0.0.4, with gzip for who takes it |
//! | `/healthz` | the loop answered within a second |
//! | `/readyz` | attached, and caught up with what the ring held when it was asked |
//! | `/api/v1/shutdowns?since=&until=&workload=&namespace=&kind=&verdict=&class=&finding=&cause=&q=&limit=` | `{"shutdowns":[report…]}`, under way first, then newest first |
//! | `/api/v1/shutdowns/{id}` | report; a unique prefix of the id is enough |
//! | `/api/v1/summary?since=&…` | what those shutdowns came to, counted over all that are kept |
//! | `/api/v1/rollouts?since=&until=&workload=&namespace=&verdict=&limit=` | `{"rollouts":[…]}`, newest first |
//! | `/api/v1/events` | a stream that says when to ask again |
//! | `/`, `/page/…` | the page; to who does not ask for HTML, where these are |
//!
//! Bounded: connections, requests at a time until their answers are sent, size and time of a request's head, size of an
//! answer, how long it takes to be read, and what all listings hold together.

mod access;
mod answer;
mod compressed;
mod events;
mod hosts;
mod lanes;
mod page;
mod patience;
mod rollouts;
mod summary;

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{FromRef, Path, RawQuery, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::{self, AbortHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

pub use self::access::Access;
use self::{hosts::Hosts, lanes::Lanes, patience::Patient};
use crate::outlets::{
    listing, metrics,
    questions::{Handle, Lookup, Stuck, Unanswered},
};

/// Connections at a time, idle ones included.
const CONNECTIONS: usize = 256;
/// Connections at a time of one peer: so that nobody alone keeps the others out.
const CONNECTIONS_OF_ONE: usize = 64;
/// What all listings hold together until they are sent, in KiB.
const LISTINGS_KIB: usize = 32 * 1024;
/// Listings that are put together at the same time.
const LISTINGS_MADE: usize = 2;
/// How long a request's head may take, and a connection be idle.
const HEAD_WITHIN: Duration = Duration::from_mins(1);
/// How long client and server may take to agree on TLS.
const AGREED_WITHIN: Duration = Duration::from_secs(10);
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
    /// Names that it answers to, besides addresses.
    pub allowed_hosts: Vec<String>,
    /// Name of this host.
    pub node: String,
    /// Who may ask, and how.
    pub access: Access,
}

/// Serves until `stop` turns true (or its sender is gone), then finishes what was asked, for a moment.
pub async fn serve(listener: TcpListener, handle: Handle, options: Options, mut stop: watch::Receiver<bool>) {
    let app = router(handle, &options, stop.clone());
    let tls = options.access.tls.as_ref();
    let mut connections = Connections::default();
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            () = connections.ended(), if !connections.tasks.is_empty() => {}
            accepted = accept(&listener) => connections.add(accepted, &app, &stop, tls),
        }
    }
    // Who connected before the stop is in the queue, which the kernel would reset.
    while connections.tasks.len() < CONNECTIONS {
        tokio::select! {
            biased;
            accepted = accept(&listener) => connections.add(accepted, &app, &stop, tls),
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
    peers: HashMap<task::Id, Peer>,
    next: u64,
}

/// Whose a connection is.
struct Peer {
    address: IpAddr,
    /// The lower, the older it is.
    number: u64,
    task: AbortHandle,
}

impl Connections {
    /// Answers on a new connection. Where there are too many, the oldest of whoever has the most makes room: one that
    /// asks and reads what it gets is done in a moment, and one that does not must not keep others out.
    fn add(
        &mut self,
        accepted: Option<(TcpStream, IpAddr)>,
        app: &Router,
        stop: &watch::Receiver<bool>,
        tls: Option<&TlsAcceptor>,
    ) {
        let Some((stream, address)) = accepted else { return };
        let of = |address: IpAddr| self.peers.values().filter(move |peer| peer.address == address);
        let crowded = if of(address).count() >= CONNECTIONS_OF_ONE {
            Some(address)
        } else if self.peers.len() >= CONNECTIONS {
            let addresses = self.peers.values().map(|peer| peer.address);
            addresses.max_by_key(|address| of(*address).count())
        } else {
            None
        };
        let oldest = crowded.and_then(|crowded| of(crowded).min_by_key(|peer| peer.number));
        if let Some(oldest) = oldest {
            tracing::debug!(peer = %oldest.address, "a connection was closed: there are too many");
            oldest.task.abort();
            let id = oldest.task.id();
            self.peers.remove(&id);
        }
        let task = self
            .tasks
            .spawn(answer(stream, tls.cloned(), app.clone(), stop.clone()));
        let peer = Peer {
            address,
            number: self.next,
            task,
        };
        self.next += 1;
        self.peers.insert(peer.task.id(), peer);
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
async fn answer(stream: TcpStream, tls: Option<TlsAcceptor>, app: Router, stop: watch::Receiver<bool>) {
    let stream = Patient::new(stream);
    let Some(tls) = tls else {
        return answer_on(stream, app, stop).await;
    };
    // Who cannot agree with us, or does not answer, is the client's affair.
    if let Ok(Ok(stream)) = tokio::time::timeout(AGREED_WITHIN, tls.accept(stream)).await {
        answer_on(stream, app, stop).await;
    }
}

async fn answer_on(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    app: Router,
    mut stop: watch::Receiver<bool>,
) {
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

/// What handlers need.
#[derive(Clone)]
struct App {
    handle: Handle,
    /// KiB that listings may still hold.
    listings: Arc<Semaphore>,
    /// Listings that may still be put together.
    made: Arc<Semaphore>,
}

impl App {
    /// An answer that holds room until it is sent.
    fn listing(&self, pieces: VecDeque<Bytes>) -> Response {
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        let room = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        match Arc::clone(&self.listings).try_acquire_many_owned(room) {
            Ok(room) => json(StatusCode::OK, answer::pieces(pieces, room)),
            Err(_) => no_room(),
        }
    }
}

impl FromRef<App> for Handle {
    fn from_ref(app: &App) -> Self {
        app.handle.clone()
    }
}

fn router(handle: Handle, options: &Options, stop: watch::Receiver<bool>) -> Router {
    let path = &options.telemetry_path;
    let lanes = Lanes::new(path, options.max_requests);
    let hosts = Hosts::new(&options.allowed_hosts, &options.node);
    let events = events::router(handle.changes(), stop);
    let app = App {
        handle,
        listings: Arc::new(Semaphore::new(LISTINGS_KIB)),
        made: Arc::new(Semaphore::new(LISTINGS_MADE)),
    };
    let rollouts = rollouts::router(app.clone());
    let summary = summary::router(app.clone());
    Router::new()
        .route(&options.telemetry_path, get(expose))
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .route("/api/v1/shutdowns", get(list))
        .route("/api/v1/shutdowns/{id}", get(one))
        .with_state(app)
        .merge(page::router(path, index(path)))
        .merge(events)
        .merge(rollouts)
        .merge(summary)
        .fallback(|| async {
            error(
                StatusCode::NOT_FOUND,
                "no such path; GET / lists the existing ones",
            )
        })
        .method_not_allowed_fallback(|| async {
            error(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are supported")
        })
        .layer(middleware::from_fn_with_state(lanes, lanes::limit))
        .layer(middleware::from_fn_with_state(
            options.access.users.clone(),
            access::check,
        ))
        .layer(middleware::from_fn_with_state(hosts, hosts::check))
}

fn index(telemetry_path: &str) -> String {
    format!(
        "drainwatch {}: the requests that shutdowns cut on this node\n\n\
         {telemetry_path}\n/healthz\n/readyz\n\
         /api/v1/shutdowns?since=15m&workload=NAME&verdict=severed&limit=100 (and until, namespace, kind, class, finding, cause, q)\n\
         /api/v1/shutdowns/ID\n\
         /api/v1/summary?since=24h (and the others, without limit)\n\
         /api/v1/rollouts?since=7d&workload=NAME&limit=50\n\
         /api/v1/events\n\n\
         A browser gets a page here.\n",
        env!("CARGO_PKG_VERSION")
    )
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

async fn list(State(app): State<App>, RawQuery(query): RawQuery) -> Response {
    let filter = match listing::query(query.as_deref().unwrap_or_default(), jiff::Timestamp::now()) {
        Ok(filter) => filter,
        Err(what) => return error(StatusCode::BAD_REQUEST, &what),
    };
    // Never closed.
    let Ok(_made) = app.made.acquire().await else {
        return no_room();
    };
    match app.handle.list(filter).await {
        Ok(matches) => {
            let mut pieces = VecDeque::from([Bytes::from_static(b"{\"shutdowns\":[")]);
            for (n, report) in matches.found().iter().enumerate() {
                if n > 0 {
                    pieces.push_back(Bytes::from_static(b","));
                }
                pieces.push_back(Bytes::from_owner(Arc::<[u8]>::from(Arc::clone(report))));
            }
            pieces.push_back(Bytes::from_static(if matches.more() {
                b"],\"more\":true}"
            } else {
                b"],\"more\":false}"
            }));
            app.listing(pieces)
        }
        Err(unanswered) => failed(&unanswered),
    }
}

fn no_room() -> Response {
    error(
        StatusCode::SERVICE_UNAVAILABLE,
        "too many listings are being read; try again, or ask for less with limit=",
    )
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
        Ok(Lookup::Found(report)) => json(
            StatusCode::OK,
            Body::from(Bytes::from_owner(Arc::<[u8]>::from(report))),
        ),
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
    json(
        status,
        Body::from(serde_json::json!({ "error": what }).to_string()),
    )
}

fn json(status: StatusCode, body: Body) -> Response {
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
