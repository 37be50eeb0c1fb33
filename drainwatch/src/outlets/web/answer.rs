//! Bodies of answers that hold room until they are sent: so that who asks and never reads costs no more than that room.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

/// How long a whole answer may take, however it is read.
const SENT_WITHIN: Duration = Duration::from_mins(1);
/// Most bytes that are handed over at once: between two pieces it is looked at whether the answer takes too long.
const PIECE: usize = 64 * 1024;

/// An answer in pieces that are known already; they are handed over one by one, and not copied.
pub(super) struct Pieces {
    to_come: VecDeque<Bytes>,
    left: u64,
    _room: Option<OwnedSemaphorePermit>,
}

impl Pieces {
    /// `room` is held until the last of them is sent, or nobody waits for them any more.
    pub fn new(pieces: VecDeque<Bytes>, room: Option<OwnedSemaphorePermit>) -> Self {
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self {
            to_come: pieces,
            left,
            _room: room,
        }
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Some(mut piece) = self.to_come.pop_front() else {
            return Poll::Ready(None);
        };
        if piece.len() > PIECE {
            let rest = piece.split_off(PIECE);
            self.to_come.push_front(rest);
        }
        self.left -= piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.to_come.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// An answer that holds its place in a lane until it is sent.
struct Held {
    inner: Body,
    until: Instant,
    _place: OwnedSemaphorePermit,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if Instant::now() > self.until {
            let late = io::Error::new(io::ErrorKind::TimedOut, "the answer is read too slowly");
            return Poll::Ready(Some(Err(axum::Error::new(late))));
        }
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// This body, with its place in a lane.
pub(super) fn held(inner: Body, place: OwnedSemaphorePermit) -> Body {
    Body::new(Held {
        inner,
        until: Instant::now() + SENT_WITHIN,
        _place: place,
    })
}

/// Text in one piece.
pub(super) fn whole(text: Bytes) -> Body {
    Body::new(Pieces::new([text].into(), None).map_err(axum::Error::new))
}

/// These texts one after the other.
pub(super) fn pieces(texts: VecDeque<Bytes>, room: OwnedSemaphorePermit) -> Body {
    Body::new(Pieces::new(texts, Some(room)).map_err(axum::Error::new))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn given_an_answer_in_pieces_then_its_length_is_known_and_its_room_is_held_until_it_is_sent() {
        let room = Arc::new(Semaphore::new(8));
        let permit = room.clone().try_acquire_many_owned(5).unwrap();
        let long = "x".repeat(3 * PIECE);
        let mut body = pieces([Bytes::from("ab"), Bytes::from(long)].into(), permit);
        assert_eq!(body.size_hint().exact(), Some(2 + 3 * PIECE as u64));
        let mut frames = 0;
        while let Some(frame) = body.frame().await {
            assert!(frame.unwrap().into_data().unwrap().len() <= PIECE);
            frames += 1;
            assert_eq!(room.available_permits(), 3);
        }
        assert_eq!(frames, 4);
        drop(body);
        assert_eq!(room.available_permits(), 8);
    }
}
