//! The connection to the socket: bounded in what it reads, with errors that say what to do.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker, errors::Error};
use hyper::{
    Uri,
    client::conn::http1,
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};

/// How long an answer may take to begin, and one that ends to end.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Most bytes of one answer: far above what a listing of running containers has.
const ANSWER: usize = 32 << 20;
/// Most bytes between two events. Labels are part of one.
const EVENT: usize = 1 << 20;

/// What may still be read.
#[derive(Debug, Clone)]
pub(super) struct Allowance {
    left: Arc<AtomicUsize>,
    /// More came than was allowed.
    spent: Arc<AtomicBool>,
    whole: usize,
}

impl Allowance {
    fn new(whole: usize) -> Self {
        Self {
            left: Arc::new(AtomicUsize::new(whole)),
            spent: Arc::default(),
            whole,
        }
    }

    /// Why nothing more was read. bollard passes on the words of an error, not its cause.
    fn refusal(&self) -> io::Error {
        let why = format!("the answer is longer than {} MiB", self.whole >> 20);
        io::Error::new(io::ErrorKind::InvalidData, why)
    }

    /// The error of a stream of events, or what is behind it.
    pub(super) fn explain(&self, error: Error) -> Error {
        match error {
            _ if self.spent.load(Ordering::Relaxed) => self.refusal().into(),
            Error::IOError { err } if err.kind() == io::ErrorKind::Other => closed(),
            error => error,
        }
    }

    /// What was read made sense: the next one may be as long.
    pub(super) fn renew(&self) {
        self.left.store(self.whole, Ordering::Relaxed);
    }
}

/// The stream of events ended: the daemon stopped, or started anew.
pub(super) fn closed() -> Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "it closed the stream of events (was it stopped?)",
    )
    .into()
}

/// A client of which every answer is bounded.
pub(super) fn asking(socket: &Path) -> Result<Docker, Error> {
    client(socket, PATIENCE, || Allowance::new(ANSWER))
}

/// A client for the stream of events, and the allowance that each event renews.
pub(super) fn listening(socket: &Path) -> Result<(Docker, Allowance), Error> {
    let allowance = Allowance::new(EVENT);
    let shared = allowance.clone();
    // Podman's answer begins with the first event, whenever that is.
    Ok((client(socket, Duration::MAX, move || shared.clone())?, allowance))
}

fn client(
    socket: &Path,
    patience: Duration,
    allowance: impl Fn() -> Allowance + Send + Sync + 'static,
) -> Result<Docker, Error> {
    let socket = socket.to_owned();
    let transport = move |request: BollardRequest| exchange(socket.clone(), allowance(), request);
    Docker::connect_with_custom_transport(
        transport,
        Some("http://runtime"),
        patience.as_secs(),
        API_DEFAULT_VERSION,
    )
}

/// One request on a connection of its own.
async fn exchange(
    socket: PathBuf,
    allowance: Allowance,
    mut request: BollardRequest,
) -> Result<hyper::Response<hyper::body::Incoming>, Error> {
    let stream = UnixStream::connect(&socket).await?;
    let bounded = Bounded { stream, allowance };
    let (mut sender, connection) = http1::handshake(TokioIo::new(bounded)).await?;
    // Ends with the answer, or when whoever reads it lets go of it.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, socket = %socket.display(), "a connection to a container runtime broke");
        }
    });
    let path = request.uri().path_and_query().map(ToString::to_string);
    *request.uri_mut() = path.as_deref().unwrap_or("/").parse::<Uri>()?;
    request
        .headers_mut()
        .insert(HOST, HeaderValue::from_static("runtime"));
    Ok(sender.send_request(request).await?)
}

/// A stream that reads no more than it is allowed to.
#[derive(Debug)]
struct Bounded {
    stream: UnixStream,
    allowance: Allowance,
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let got = buf.filled().len() - before;
        let left = self.allowance.left.load(Ordering::Relaxed);
        if got > left {
            self.allowance.spent.store(true, Ordering::Relaxed);
            return Poll::Ready(Err(self.allowance.refusal()));
        }
        self.allowance.left.store(left - got, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
