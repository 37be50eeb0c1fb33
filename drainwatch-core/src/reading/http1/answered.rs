//! The response direction of a turn: which responses were written, and how the latest one stands.

use std::borrow::Cow;

use super::{
    asked::Request,
    chunked::{self, Chunks, TailSays},
    head::{self, Framing, Seen, Upgraded},
};
use crate::{
    exchange::{Doubt, ExchangeState},
    reading::{Ending, Session, websocket},
    record::Turn,
};

/// A response of which at least a byte was written.
pub(super) struct Response {
    /// Its status, where that was seen.
    pub status: Option<u16>,
    /// How far it came.
    pub state: ExchangeState,
    /// Why that is not known, where it is not.
    pub doubt: Option<Doubt>,
    /// It switched to `WebSocket`.
    pub websocket: bool,
    /// What follows it is no longer HTTP.
    pub tunnel: bool,
    /// The goodbye of what it switched to was said.
    pub goodbye: bool,
}

/// The response direction of a turn.
pub(super) struct Answered {
    /// Responses before those in the capture: complete, as the next one began.
    pub earlier: usize,
    /// Those in the capture.
    pub latest: Vec<Response>,
    /// Bytes were written that could not be read, and why: any request without a response may have got one.
    pub unreadable: Option<Doubt>,
}

impl Answered {
    pub fn walk(turn: &Turn, requests: &[Request], ending: Ending) -> Self {
        let answers = usize::try_from(turn.answers).unwrap_or(usize::MAX);
        let mut answered = Self {
            earlier: 0,
            latest: Vec::new(),
            unreadable: None,
        };
        if turn.answer.is_empty() {
            if turn.interim {
                answered.earlier = answers.min(requests.len().saturating_sub(1));
                // An interim response is all head; anything else at the end was written behind it.
                answered.unreadable = turn
                    .tail
                    .as_ref()
                    .filter(|tail| !b"\r\n\r\n".ends_with(end_of(tail, 4)))
                    .map(|_| Doubt::Gap);
            } else {
                answered.unreadable = (turn.answer_bytes > 0).then_some(Doubt::Gap);
            }
            return answered;
        }
        // An interim response that was written by itself is counted as a response by the kernel side, which cannot
        // see whether the final one stands behind it. Where there are more responses than requests, it was no
        // final one; where requests were pipelined, either may be.
        let interims = usize::try_from(turn.interims).unwrap_or(usize::MAX);
        let most = requests.len().max(1);
        let surplus = answers.saturating_sub(most).min(interims);
        answered.earlier = answers.saturating_sub(1 + surplus);
        if interims > surplus && most > 1 {
            answered.earlier = answers.saturating_sub(1 + interims);
            answered.unreadable = Some(Doubt::Pipelined);
            return answered;
        }
        let message = Message::new(turn);
        let mut at: u64 = 0;
        while at < message.total {
            let request = requests.get(answered.earlier.saturating_add(answered.latest.len()));
            match message.response(at, request.map(|request| &request.head), ending) {
                Step::Interim(end) => at = end,
                Step::Response(response, end) => {
                    answered.latest.push(response);
                    match end {
                        Some(end) => at = end,
                        None => break,
                    }
                }
                // Only the beginning of an interim response: nothing final was written.
                Step::InterimPart => break,
                // Bytes behind a complete response that begin no other: it was complete all the same.
                Step::Foreign => {
                    answered.unreadable = answered.latest.is_empty().then_some(Doubt::Malformed);
                    break;
                }
                Step::Unseen => {
                    answered.unreadable = Some(Doubt::HeadTooLong);
                    break;
                }
            }
        }
        answered
    }

    /// What is known of the connection beyond its exchanges.
    pub fn session(&self) -> Session {
        Session {
            goodbye: self.latest.iter().any(|response| response.goodbye),
        }
    }

    /// Responses begun.
    pub fn begun(&self) -> usize {
        self.earlier.saturating_add(self.latest.len())
    }
}

/// What stands at a place in the response bytes.
enum Step {
    /// An interim response up to there.
    Interim(u64),
    /// The beginning of an interim response.
    InterimPart,
    /// A response, up to there when it is complete.
    Response(Response, Option<u64>),
    /// No HTTP.
    Foreign,
    /// Beyond the capture.
    Unseen,
}

/// The bytes since the latest response began, as far as they are known.
pub(super) struct Message<'a> {
    /// The beginning.
    pub seen: Cow<'a, [u8]>,
    /// All.
    total: u64,
    /// The last ones; `None` when not known, or when `seen` holds them.
    tail: Option<&'a [u8]>,
}

impl<'a> Message<'a> {
    pub fn new(turn: &'a Turn) -> Self {
        let head = turn.answer.as_slice();
        let total = turn.message_bytes.max(head.len() as u64);
        let tail = turn.tail.as_deref().filter(|tail| !tail.is_empty());
        let gap = total - head.len() as u64;
        match (tail, usize::try_from(gap)) {
            (Some(tail), Ok(gap)) if gap > 0 && gap <= tail.len() => Self {
                seen: Cow::Owned([head, end_of(tail, gap)].concat()),
                total,
                tail: None,
            },
            _ => Self {
                seen: Cow::Borrowed(head),
                total,
                tail: tail.filter(|_| gap > 0),
            },
        }
    }

    pub fn unseen(&self) -> u64 {
        self.total - self.seen.len() as u64
    }

    fn response(&self, at: u64, request: Option<&head::Request>, ending: Ending) -> Step {
        let Some(bytes) = usize::try_from(at).ok().and_then(|at| self.seen.get(at..)) else {
            return Step::Unseen;
        };
        if bytes.is_empty() {
            return Step::Unseen;
        }
        let is_head = request.is_some_and(|request| request.is_head);
        let is_connect = request.is_some_and(|request| request.is_connect);
        match head::response(bytes, is_head, is_connect) {
            Seen::Whole(head, length) if head.interim => Step::Interim(at + length as u64),
            Seen::Part(head) if head.interim && self.unseen() == 0 => Step::InterimPart,
            Seen::Whole(head, length) => {
                let websocket = head.upgraded == Some(Upgraded::WebSocket);
                let body = &bytes[length..];
                let (state, end) = self.body(head, body, ending);
                let (state, doubt) = match state {
                    Ok(state) => (state, None),
                    Err(doubt) => (ExchangeState::Unknown, Some(doubt)),
                };
                let response = Response {
                    status: head.status,
                    state,
                    doubt,
                    websocket,
                    tunnel: head.framing == Framing::Tunnel,
                    goodbye: websocket && self.says_goodbye(body),
                };
                Step::Response(
                    response,
                    end.map(|end| at.saturating_add(length as u64).saturating_add(end)),
                )
            }
            Seen::Part(head) | Seen::Broken(head) if head.interim => Step::Unseen,
            Seen::Part(head) if self.unseen() == 0 => {
                Step::Response(Response::of(head, ExchangeState::ResponseIncomplete, None), None)
            }
            Seen::Part(head) => {
                let doubt = Some(Doubt::HeadTooLong);
                Step::Response(Response::of(head, ExchangeState::Unknown, doubt), None)
            }
            Seen::Broken(head) => {
                let doubt = Some(Doubt::Malformed);
                Step::Response(Response::of(head, ExchangeState::Unknown, doubt), None)
            }
            Seen::Foreign => Step::Foreign,
        }
    }

    /// State of a response whose head is known and whose body begins with `seen`, or why it is not known; its
    /// length if complete.
    fn body(
        &self,
        head: head::Response,
        seen: &[u8],
        ending: Ending,
    ) -> (Result<ExchangeState, Doubt>, Option<u64>) {
        let unseen = self.unseen();
        let written = (seen.len() as u64).saturating_add(unseen);
        let open = if head.event_stream {
            ExchangeState::Stream
        } else {
            ExchangeState::ResponseIncomplete
        };
        match head.framing {
            Framing::Empty => (Ok(ExchangeState::Complete), Some(0)),
            Framing::Length(length) if length <= written => (Ok(ExchangeState::Complete), Some(length)),
            Framing::Length(_) => (Ok(open), None),
            Framing::Chunked => match chunked::walk(seen) {
                Chunks::Complete(length) => (Ok(ExchangeState::Complete), Some(length as u64)),
                Chunks::Needs(least) if least > unseen => (Ok(open), None),
                Chunks::Malformed => (Err(Doubt::Malformed), None),
                Chunks::Needs(_) => match self.tail.map(chunked::tail) {
                    Some(TailSays::Complete) => (Ok(ExchangeState::Complete), None),
                    Some(TailSays::Incomplete) => (Ok(open), None),
                    Some(TailSays::Unknown) => (Err(Doubt::ChunkedEnd), None),
                    None => (Err(Doubt::Gap), None),
                },
            },
            Framing::Close if head.event_stream => (Ok(ExchangeState::Stream), None),
            Framing::Close if ending == Ending::Orderly => (Ok(ExchangeState::Complete), None),
            Framing::Close => (Err(Doubt::CloseDelimited), None),
            Framing::Malformed => (Err(Doubt::Malformed), None),
            // HTTP/2 from here on, which is another reader's.
            Framing::Tunnel if head.upgraded == Some(Upgraded::H2c) => (Ok(ExchangeState::Opaque), None),
            Framing::Tunnel => (Ok(ExchangeState::Stream), None),
        }
    }

    /// Whether the frames that begin with `seen` say goodbye.
    fn says_goodbye(&self, seen: &[u8]) -> bool {
        match self.tail {
            _ if self.unseen() == 0 => websocket::says_goodbye(seen),
            Some(tail) => websocket::ends_in_goodbye(tail),
            None => false,
        }
    }
}

impl Response {
    /// It began, and neither ended nor said goodbye.
    pub fn is_unfinished(&self) -> bool {
        self.state != ExchangeState::Complete && !self.goodbye
    }

    /// One whose head could not be read to its end.
    fn of(head: head::Response, state: ExchangeState, doubt: Option<Doubt>) -> Self {
        Self {
            status: head.status,
            state,
            doubt,
            websocket: false,
            tunnel: false,
            goodbye: false,
        }
    }
}

/// At most the last `length` bytes.
fn end_of(bytes: &[u8], length: usize) -> &[u8] {
    &bytes[bytes.len().saturating_sub(length)..]
}
