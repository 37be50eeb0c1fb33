//! How far the API server is believed: it answers in time, in lines of a bounded length that are whole
//! values of JSON, and does not make us ask again and again.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::HttpBody,
    http::{HeaderMap, Request, Response, header::RETRY_AFTER},
};
use bytes::Bytes;
use kube::client::{Body, DynBody};
use tokio::{
    sync::Notify,
    time::{Instant, Sleep},
};
use tower::{BoxError, Service};

/// How long the server may take for the head of an answer.
const HEAD_WITHIN: Duration = Duration::from_secs(15);
/// How long it may take for an answer that is not a watch.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);
/// Longest answer: every pod of a large node, several times over.
const LONGEST_ANSWER: usize = 32 << 20;
/// Longest line of a watch; an object in etcd has at most 1.5 MiB.
const LONGEST_LINE: usize = 4 << 20;
/// Longest wait that `Retry-After` is believed.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// A watch that ends earlier was none: the next begins later and later.
const SHORT_WATCH: Duration = Duration::from_secs(5);
/// The first of these waits.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest of them.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What the server did that cannot be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unbelievable {
    /// Nothing came.
    #[error("no answer within {} s", HEAD_WITHIN.as_secs())]
    Silent,
    /// It did not end.
    #[error("the answer did not end within {} s", ANSWER_WITHIN.as_secs())]
    Slow,
    /// It is too long.
    #[error("the answer is longer than {} MiB", LONGEST_ANSWER >> 20)]
    Long,
    /// A line of a watch is too long.
    #[error("a line of the watch is longer than {} MiB", LONGEST_LINE >> 20)]
    LongLine,
    /// A line of a watch is not a whole value.
    #[error("a line of the watch is incomplete or malformed")]
    Broken,
}

/// What was heard of the server, apart from its answers.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<State>);

#[derive(Debug, Default)]
struct State {
    watching: Notify,
    retry_after_ms: AtomicU64,
    /// When the last watch began, and how many before it were short.
    watches: Mutex<(Option<Instant>, u32)>,
}

impl Heard {
    /// Ready when the server has taken a watch.
    pub async fn watching(&self) {
        self.0.watching.notified().await;
    }

    /// How long the server asked to be left alone in its last answer; asked for once.
    pub fn retry_after(&self) -> Duration {
        Duration::from_millis(self.0.retry_after_ms.swap(0, Relaxed))
    }

    fn note(&self, headers: &HeaderMap) {
        let seconds = headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .unwrap_or(0);
        let wait = Duration::from_secs(seconds).min(LONGEST_WAIT);
        let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.0.retry_after_ms.store(ms, Relaxed);
    }

    /// How long to wait before the next watch, which counts as begun then.
    fn pause(&self) -> Duration {
        let now = Instant::now();
        let mut watches = self.0.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, short) = *watches;
        let short = match last {
            Some(last) if now < last + SHORT_WATCH => short.saturating_add(1),
            _ => 0,
        };
        // The first short one is taken for bad luck.
        let pause = match short {
            0 | 1 => Duration::ZERO,
            _ => FIRST_PAUSE
                .saturating_mul(1 << (short - 2).min(10))
                .min(LONGEST_PAUSE),
        };
        *watches = (Some(now + pause), short);
        pause
    }
}

/// The layer around the client's transport.
pub struct Guard<S> {
    inner: S,
    heard: Heard,
}

impl<S> Guard<S> {
    /// Around `inner`, telling `heard`.
    pub fn new(inner: S, heard: Heard) -> Self {
        Self { inner, heard }
    }
}

impl<S> Service<Request<Body>> for Guard<S>
where
    S: Service<Request<Body>, Response = Response<Box<DynBody>>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<Bounded>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let watch = request
            .uri()
            .query()
            .is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
        let heard = self.heard.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            if watch {
                // Nothing is sent before the answer is polled.
                tokio::time::sleep(heard.pause()).await;
            }
            let response = tokio::time::timeout(HEAD_WITHIN, answer)
                .await
                .map_err(|_| Unbelievable::Silent)??;
            heard.note(response.headers());
            let watch = watch && response.status().is_success();
            if watch {
                heard.0.watching.notify_one();
            }
            Ok(response.map(|body| Bounded::new(body, watch)))
        })
    }
}

/// A body that is not believed beyond its bounds.
pub struct Bounded {
    body: Box<DynBody>,
    /// Of all that is not a watch.
    deadline: Option<Pin<Box<Sleep>>>,
    lines: Lines,
    length: usize,
}

impl Bounded {
    fn new(body: Box<DynBody>, watch: bool) -> Self {
        Self {
            body,
            deadline: (!watch).then(|| Box::pin(tokio::time::sleep(ANSWER_WITHIN))),
            lines: Lines::default(),
            length: 0,
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Unbelievable> {
        if self.deadline.is_none() {
            return self.lines.take(bytes);
        }
        self.length += bytes.len();
        if self.length > LONGEST_ANSWER {
            return Err(Unbelievable::Long);
        }
        Ok(())
    }
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Some(Err(Unbelievable::Slow.into())));
        }
        let frame = std::task::ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(why) = this.take(data)
        {
            return Poll::Ready(Some(Err(why.into())));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

/// Lines of JSON, each a whole object. kube takes a line that is cut off for the end of the connection and
/// goes on with the next: what the line said would be missing without a trace.
#[derive(Debug, Default)]
struct Lines {
    length: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Unbelievable> {
        for &byte in bytes {
            if byte == b'\n' {
                if self.depth > 0 || self.in_string {
                    return Err(Unbelievable::Broken);
                }
                *self = Self::default();
                continue;
            }
            self.length += 1;
            if self.length > LONGEST_LINE {
                return Err(Unbelievable::LongLine);
            }
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' => self.depth += 1,
                b'}' => self.depth = self.depth.checked_sub(1).ok_or(Unbelievable::Broken)?,
                b' ' | b'\r' | b'\t' => {}
                // Nothing but an object is outside of one.
                _ if self.depth == 0 => return Err(Unbelievable::Broken),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pieces: &[&str]) -> Result<(), Unbelievable> {
        let mut lines = Lines::default();
        pieces.iter().try_for_each(|piece| lines.take(piece.as_bytes()))
    }

    #[test]
    fn given_lines_of_whole_objects_in_any_pieces_then_they_are_taken() {
        let recorded = include_str!("../../../tests/fixtures/kubernetes/pods-watch.jsonl");
        assert_eq!(taken(&[recorded]), Ok(()));
        let bytes: Vec<_> = recorded.split_inclusive(',').collect();
        assert_eq!(taken(&bytes), Ok(()));
        assert_eq!(taken(&["{\"a\":\"}\\", "\"{\"}\r\n\n{}", "\n{"]), Ok(()));
    }

    #[test]
    fn given_a_line_that_is_cut_off_or_garbage_then_it_is_broken() {
        for line in [
            "{\"a\":{}\n",
            "{\"a\":\"b\n",
            "}\n",
            "garbage\n",
            "\u{0}",
            "{}x",
            "[{}]\n",
        ] {
            assert_eq!(taken(&[line]), Err(Unbelievable::Broken), "{line:?}");
        }
    }

    #[test]
    fn given_a_line_without_end_then_it_is_given_up() {
        let piece = "a".repeat(1 << 20);
        let mut lines = Lines::default();
        assert_eq!(lines.take(b"{\""), Ok(()));
        let taken = (0..100)
            .take_while(|_| lines.take(piece.as_bytes()).is_ok())
            .count();
        assert_eq!(taken, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn given_watches_that_end_at_once_then_the_next_waits_longer_and_longer() {
        let heard = Heard::default();
        let mut pauses = vec![];
        for _ in 0..12 {
            let pause = heard.pause();
            tokio::time::sleep(pause).await;
            pauses.push(pause.as_millis());
        }
        assert_eq!(pauses[..5], [0, 0, 200, 400, 800]);
        assert_eq!(pauses[11], 30_000);
        // One that lasted.
        tokio::time::sleep(SHORT_WATCH).await;
        assert_eq!(heard.pause(), Duration::ZERO);
    }

    #[test]
    fn given_retry_after_then_it_is_believed_up_to_a_minute_and_once() {
        let heard = Heard::default();
        for (text, seconds) in [("2", 2), ("99999999999", 60), ("soon", 0), ("-1", 0)] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            heard.note(&headers);
            assert_eq!(heard.retry_after(), Duration::from_secs(seconds));
            assert_eq!(heard.retry_after(), Duration::ZERO);
        }
    }
}
