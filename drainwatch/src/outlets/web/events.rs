//! `/api/v1/events`: tells a page that is open that something changed, so that it asks again.
//!
//! A stream of server-sent events, each with nothing but a number. Without a reader nothing runs and nothing is
//! kept; with one, a change wakes it once, changes that follow closely are one event, and a comment now and then
//! shows that the connection lives.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::get,
};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Most readers at a time; a page that is refused asks every few seconds instead.
const READERS: usize = 32;
/// A shutdown with much traffic changes all the time; a reader hears of it this often.
const GAP: Duration = Duration::from_millis(250);
/// How often a comment is sent when there is nothing to tell.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Proxies such as nginx would hold events back.
const UNBUFFERED: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-accel-buffering"),
    HeaderValue::from_static("no"),
);

#[derive(Debug, Clone)]
struct Feed {
    changes: watch::Receiver<u64>,
    stop: watch::Receiver<bool>,
    room: Arc<Semaphore>,
}

/// `changes` counts up when a report is new, changed or gone; with `stop` every stream ends.
pub fn router(changes: watch::Receiver<u64>, stop: watch::Receiver<bool>) -> Router {
    let room = Arc::new(Semaphore::new(READERS));
    Router::new()
        .route("/api/v1/events", get(events))
        .with_state(Feed { changes, stop, room })
}

async fn events(State(feed): State<Feed>) -> Response {
    let Ok(permit) = feed.room.clone().try_acquire_owned() else {
        return super::error(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many concurrent readers of events; use /api/v1/shutdowns instead",
        );
    };
    let reader = Reader {
        changes: feed.changes,
        stop: feed.stop,
        begun: false,
        _permit: permit,
    };
    let events = stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok::<_, Infallible>(event), reader))
    });
    let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let sse = Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT));
    ([no_store, UNBUFFERED], sse).into_response()
}

struct Reader {
    changes: watch::Receiver<u64>,
    stop: watch::Receiver<bool>,
    begun: bool,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    /// The first one at once, so that a reader that comes back knows that it is heard; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        if self.begun {
            tokio::select! {
                () = super::stopped(&mut self.stop) => return None,
                changed = changed(&mut self.changes) => changed?,
            }
        }
        self.begun = true;
        let count = *self.changes.borrow_and_update();
        Some(Event::default().event("changed").data(count.to_string()))
    }
}

/// Waits out the gap after the event before, then for a change; `None` when there will be none any more.
async fn changed(changes: &mut watch::Receiver<u64>) -> Option<()> {
    tokio::time::sleep(GAP).await;
    changes.changed().await.ok()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn reader(changes: &watch::Sender<u64>, stop: &watch::Sender<bool>) -> Reader {
        let room = Arc::new(Semaphore::new(1));
        Reader {
            changes: changes.subscribe(),
            stop: stop.subscribe(),
            begun: false,
            _permit: room.try_acquire_owned().unwrap(),
        }
    }

    #[tokio::test]
    async fn given_changes_in_quick_succession_then_a_reader_wakes_at_once_and_then_once_for_all() {
        let (changes, stop) = (watch::Sender::new(0), watch::Sender::new(false));
        let mut reader = reader(&changes, &stop);
        assert!(reader.next().await.is_some(), "the first one comes at once");
        for _ in 0..50 {
            changes.send_modify(|count| *count += 1);
        }
        let begun = Instant::now();
        assert!(reader.next().await.is_some());
        assert!(begun.elapsed() >= GAP, "they are one event");
        let quiet = tokio::time::timeout(GAP * 3, reader.next()).await;
        assert!(quiet.is_err(), "no change, no event");
    }

    #[tokio::test]
    async fn given_a_stop_then_the_stream_ends_at_once() {
        let (changes, stop) = (watch::Sender::new(0), watch::Sender::new(false));
        let mut reader = reader(&changes, &stop);
        reader.next().await;
        stop.send_replace(true);
        assert!(reader.next().await.is_none());
    }

    #[tokio::test]
    async fn given_an_agent_that_is_gone_then_the_stream_ends() {
        let (changes, stop) = (watch::Sender::new(0), watch::Sender::new(false));
        let mut reader = reader(&changes, &stop);
        reader.next().await;
        drop(changes);
        assert!(reader.next().await.is_none());
    }
}
