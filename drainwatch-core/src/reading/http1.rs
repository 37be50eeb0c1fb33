//! HTTP/1.0 and 1.1 in clear (RFC 9112).
//!
//! The requests of the turn are walked, then the responses, then both are paired in order, which is
//! what HTTP/1 pipelining means. What lies behind the captured bytes is counted by their number alone:
//! a length reaches over it, a chunked coding has the tail, for anything else the state is unknown.
//!
//! One thing is taken on trust: each earlier response of a turn came in a system call of its own, as
//! [`Turn::answers`] counts them. A server that writes several pipelined responses in one call, and
//! then writes again in the same turn, would be undercounted.

mod chunked;
mod head;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use chunked::{Chunks, TailSays};
use head::{Framing, Seen};

use super::{Context, Ending, Reading, Session, websocket};
use crate::{
    exchange::{Evidence, Exchange, ExchangeState, Http, Operation, Protocol},
    record::Turn,
};

/// Reads the turn as HTTP/1, when it is.
pub(super) fn read(turn: &Turn, context: &Context<'_>) -> Option<Reading> {
    if turn.ask.is_empty() {
        return response_alone(turn, context);
    }
    let mut asked = Asked::walk(turn, context)?;
    let mut answered = Answered::walk(turn, &asked.requests, context.ending);
    asked.give_rest_to_tunnel(turn, &mut answered);
    Some(Reading {
        exchanges: pair(turn, &asked, &answered),
        session: answered.session(),
    })
}

/// How much of a request has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrival {
    /// All of it.
    Complete,
    /// At least so many bytes are missing.
    Missing {
        /// Bytes.
        least: u64,
        /// Exactly so many.
        exact: bool,
    },
    /// Its end lies beyond what was captured.
    Unknown,
}

struct Request {
    head: head::Request,
    arrival: Arrival,
    /// Where in the request bytes it ends, when that was seen.
    end: Option<u64>,
}

/// What was read after the last request that could be made out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Nothing.
    None,
    /// One or more further requests, beyond the capture.
    Requests,
    /// Something that is no request.
    Foreign,
}

/// The request direction of a turn.
struct Asked {
    requests: Vec<Request>,
    rest: Rest,
    /// A further request was received, and not read.
    unread: bool,
}

impl Asked {
    /// `None` when the turn does not begin with an HTTP/1 request.
    fn walk(turn: &Turn, context: &Context<'_>) -> Option<Self> {
        let seen = &turn.ask;
        let total = turn.asked();
        let mut requests: Vec<Request> = Vec::new();
        let mut rest = Rest::None;
        let mut at: u64 = 0;
        while at < total {
            let Some(bytes) = usize::try_from(at).ok().and_then(|at| seen.get(at..)) else {
                rest = Rest::Requests;
                break;
            };
            // An empty line before a request is to be ignored (RFC 9112 section 2.2).
            let blank = bytes.iter().take_while(|byte| b"\r\n".contains(byte)).count();
            let bytes = &bytes[blank..];
            at += blank as u64;
            if bytes.is_empty() {
                if at < total {
                    rest = Rest::Requests;
                }
                break;
            }
            let unseen = total - at - bytes.len() as u64;
            let (head, arrival, end) = match head::request(bytes, context.rules) {
                Seen::Whole(head, length) => {
                    let (arrival, end) = body_arrival(head.framing, &bytes[length..], unseen);
                    (
                        head,
                        arrival,
                        end.map(|end| at.saturating_add(length as u64).saturating_add(end)),
                    )
                }
                // At the very least the empty line is missing, or the end of it.
                Seen::Part(head) if unseen == 0 => (
                    head,
                    Arrival::Missing {
                        least: 1,
                        exact: false,
                    },
                    None,
                ),
                Seen::Part(head) | Seen::Broken(head) => (head, Arrival::Unknown, None),
                Seen::Foreign if requests.is_empty() => return None,
                Seen::Foreign => {
                    rest = Rest::Foreign;
                    break;
                }
            };
            let connect = head.is_connect;
            requests.push(Request { head, arrival, end });
            match end {
                Some(end) if !connect => at = end,
                _ => break,
            }
        }
        let last = requests.last_mut()?;
        let unread = rest == Rest::None && last.take_unread(context.ask_unread);
        Some(Self {
            requests,
            rest,
            unread,
        })
    }

    /// After a 101 or a CONNECT nothing in the request direction is a request. A `WebSocket` client's
    /// goodbye may stand there, and then the stream was over before it was cut.
    fn give_rest_to_tunnel(&mut self, turn: &Turn, answered: &mut Answered) {
        let earlier = answered.earlier;
        let Some((index, tunnel)) = answered
            .latest
            .iter_mut()
            .enumerate()
            .find(|(_, response)| response.tunnel)
        else {
            return;
        };
        let index = earlier.saturating_add(index);
        let Some(request) = self.requests.get(index) else {
            return;
        };
        let captured = turn.asked() == turn.ask.len() as u64;
        let frames = request
            .end
            .and_then(|end| turn.ask.get(usize::try_from(end).ok()?..));
        tunnel.goodbye |= tunnel.websocket && captured && frames.is_some_and(websocket::says_goodbye);
        self.requests.truncate(index + 1);
        self.rest = Rest::None;
        self.unread = false;
    }
}

impl Request {
    /// Counts the unread bytes to this request as far as it lacks some. Whether any are left over.
    fn take_unread(&mut self, unread: u64) -> bool {
        match self.arrival {
            Arrival::Complete => unread > 0 && !self.head.is_connect,
            Arrival::Missing { least, .. } if unread < least => false,
            Arrival::Missing { least, exact: true } => {
                self.arrival = Arrival::Complete;
                unread > least
            }
            Arrival::Missing { exact: false, .. } => {
                self.arrival = Arrival::Unknown;
                false
            }
            Arrival::Unknown => false,
        }
    }

    /// The state when no byte of a final response was written.
    ///
    /// A request whose end is not known counts as arrived: it is outstanding either way, and more was
    /// seen of it than of one whose end certainly is missing.
    fn unanswered(&self) -> ExchangeState {
        match self.arrival {
            Arrival::Complete | Arrival::Unknown => ExchangeState::Unanswered,
            Arrival::Missing { .. } => ExchangeState::RequestIncomplete,
        }
    }
}

/// Whether a body arrived of which `seen`, then `unseen` more bytes were read, and its length if it did.
fn body_arrival(framing: Framing, seen: &[u8], unseen: u64) -> (Arrival, Option<u64>) {
    let read = (seen.len() as u64).saturating_add(unseen);
    match framing {
        Framing::Empty => (Arrival::Complete, Some(0)),
        Framing::Length(length) if length <= read => (Arrival::Complete, Some(length)),
        Framing::Length(length) => (
            Arrival::Missing {
                least: length - read,
                exact: true,
            },
            None,
        ),
        Framing::Chunked => match chunked::walk(seen) {
            Chunks::Complete(length) => (Arrival::Complete, Some(length as u64)),
            Chunks::Needs(least) if least > unseen => (
                Arrival::Missing {
                    least: least - unseen,
                    exact: false,
                },
                None,
            ),
            Chunks::Needs(_) | Chunks::Malformed => (Arrival::Unknown, None),
        },
        Framing::Close | Framing::Tunnel | Framing::Malformed => (Arrival::Unknown, None),
    }
}

/// A response of which at least a byte was written.
struct Response {
    status: Option<u16>,
    state: ExchangeState,
    websocket: bool,
    tunnel: bool,
    /// The goodbye of what it switched to was said.
    goodbye: bool,
}

/// The response direction of a turn.
struct Answered {
    /// Responses before those in the capture: complete, as the next one began.
    earlier: usize,
    /// Those in the capture.
    latest: Vec<Response>,
    /// Bytes were written that could not be read: any request without a response may have got one.
    unreadable: bool,
}

impl Answered {
    fn walk(turn: &Turn, requests: &[Request], ending: Ending) -> Self {
        let answers = usize::try_from(turn.answers).unwrap_or(usize::MAX);
        let mut answered = Self {
            earlier: 0,
            latest: Vec::new(),
            unreadable: false,
        };
        if turn.answer.is_empty() {
            if turn.interim {
                answered.earlier = answers.min(requests.len().saturating_sub(1));
                // An interim response is all head; anything else at the end was written behind it.
                answered.unreadable = turn
                    .tail
                    .as_ref()
                    .is_some_and(|tail| !b"\r\n\r\n".ends_with(end_of(tail, 4)));
            } else {
                answered.unreadable = turn.answer_bytes > 0;
            }
            return answered;
        }
        answered.earlier = answers.saturating_sub(1);
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
                    answered.unreadable = answered.latest.is_empty();
                    break;
                }
                Step::Unseen => {
                    answered.unreadable = true;
                    break;
                }
            }
        }
        answered
    }

    /// What is known of the connection beyond its exchanges.
    fn session(&self) -> Session {
        Session {
            goodbye: self.latest.iter().any(|response| response.goodbye),
        }
    }

    /// Responses begun.
    fn begun(&self) -> usize {
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
struct Message<'a> {
    /// The beginning.
    seen: Cow<'a, [u8]>,
    /// All.
    total: u64,
    /// The last ones; `None` when not known, or when `seen` holds them.
    tail: Option<&'a [u8]>,
}

impl<'a> Message<'a> {
    fn new(turn: &'a Turn) -> Self {
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

    fn unseen(&self) -> u64 {
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
                let body = &bytes[length..];
                let (state, end) = self.body(head, body, ending);
                let response = Response {
                    status: head.status,
                    state,
                    websocket: head.websocket,
                    tunnel: head.framing == Framing::Tunnel,
                    goodbye: head.websocket && self.says_goodbye(body),
                };
                Step::Response(
                    response,
                    end.map(|end| at.saturating_add(length as u64).saturating_add(end)),
                )
            }
            Seen::Part(head) | Seen::Broken(head) if head.interim => Step::Unseen,
            Seen::Part(head) if self.unseen() == 0 => {
                Step::Response(Response::of(head, ExchangeState::ResponseIncomplete), None)
            }
            Seen::Part(head) | Seen::Broken(head) => {
                Step::Response(Response::of(head, ExchangeState::Unknown), None)
            }
            Seen::Foreign => Step::Foreign,
        }
    }

    /// State of a response whose head is known and whose body begins with `seen`; its length if complete.
    fn body(&self, head: head::Response, seen: &[u8], ending: Ending) -> (ExchangeState, Option<u64>) {
        let unseen = self.unseen();
        let written = (seen.len() as u64).saturating_add(unseen);
        let open = if head.event_stream {
            ExchangeState::Stream
        } else {
            ExchangeState::ResponseIncomplete
        };
        match head.framing {
            Framing::Empty => (ExchangeState::Complete, Some(0)),
            Framing::Length(length) if length <= written => (ExchangeState::Complete, Some(length)),
            Framing::Length(_) => (open, None),
            Framing::Chunked => match chunked::walk(seen) {
                Chunks::Complete(length) => (ExchangeState::Complete, Some(length as u64)),
                Chunks::Needs(least) if least > unseen => (open, None),
                Chunks::Malformed => (ExchangeState::Unknown, None),
                Chunks::Needs(_) => match self.tail.map(chunked::tail) {
                    Some(TailSays::Complete) => (ExchangeState::Complete, None),
                    Some(TailSays::Incomplete) => (open, None),
                    Some(TailSays::Unknown) | None => (ExchangeState::Unknown, None),
                },
            },
            Framing::Close if head.event_stream => (ExchangeState::Stream, None),
            Framing::Close if ending == Ending::Orderly => (ExchangeState::Complete, None),
            Framing::Close | Framing::Malformed => (ExchangeState::Unknown, None),
            Framing::Tunnel => (ExchangeState::Stream, None),
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
    fn is_unfinished(&self) -> bool {
        self.state != ExchangeState::Complete && !self.goodbye
    }

    /// One whose head could not be read to its end.
    fn of(head: head::Response, state: ExchangeState) -> Self {
        Self {
            status: head.status,
            state,
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

/// Gives each request its response, in order.
fn pair(turn: &Turn, asked: &Asked, answered: &Answered) -> Vec<Exchange> {
    let count = asked.requests.len();
    let evidence = if asked.requests[0].head.certain {
        Evidence::Exact
    } else {
        Evidence::Inferred
    };
    let mut exchanges: Vec<Exchange> = asked
        .requests
        .iter()
        .enumerate()
        .map(|(index, request)| {
            let response = index
                .checked_sub(answered.earlier)
                .and_then(|index| answered.latest.get(index));
            let (state, status) = match response {
                _ if index < answered.earlier => (ExchangeState::Complete, None),
                Some(response) => (response.state, response.status),
                None if answered.unreadable => (ExchangeState::Unknown, None),
                None => (request.unanswered(), None),
            };
            Exchange {
                id: turn.id(index),
                protocol: match response {
                    Some(response) if response.websocket => Protocol::WebSocket,
                    _ => request.head.protocol.unwrap_or(Protocol::Http11),
                },
                operation: Operation::Http(Http {
                    status,
                    ..request.head.http.clone()
                }),
                evidence,
                state,
                started_ns: if index == 0 {
                    turn.ask_first_ns
                } else {
                    turn.ask_last_ns
                },
                last_ns: match state {
                    ExchangeState::Unanswered | ExchangeState::RequestIncomplete => turn.ask_last_ns,
                    // The next response had begun by the time that this one was seen to be complete.
                    ExchangeState::Complete if index + 1 < answered.begun() => turn.message_first_ns,
                    _ => turn.last_ns(),
                },
            }
        })
        .collect();
    let Some(last) = exchanges.last_mut() else {
        return exchanges;
    };
    let further = |state, started_ns| Exchange {
        id: turn.id(count),
        protocol: last.protocol,
        operation: Operation::Http(Http::default()),
        evidence,
        state,
        started_ns,
        last_ns: turn.last_ns(),
    };
    let more = match asked.rest {
        Rest::None if answered.begun() > count => {
            // More responses than requests: one of them was no response, so nothing is sure of the last.
            last.state = ExchangeState::Unknown;
            None
        }
        Rest::None => None,
        Rest::Foreign => Some(further(ExchangeState::Unknown, 0)),
        Rest::Requests => {
            // How many requests these are is not known, so of their responses only an unfinished one counts.
            let extra = answered.begun().checked_sub(count + 1);
            let state = match (extra, answered.latest.last()) {
                (None, _) if answered.unreadable => ExchangeState::Unknown,
                (None, _) => ExchangeState::Unanswered,
                (Some(_), Some(response)) if response.is_unfinished() => response.state,
                (Some(_), _) => ExchangeState::Unknown,
            };
            Some(further(state, turn.ask_last_ns))
        }
    };
    let more = more.or_else(|| asked.unread.then(|| further(ExchangeState::Unanswered, 0)));
    exchanges.extend(more);
    exchanges
}

/// A turn whose requests could not be read, but whose response could.
///
/// One exchange, and inferred: the request may have been a HEAD, and there may have been others.
fn response_alone(turn: &Turn, context: &Context<'_>) -> Option<Reading> {
    if turn.asked() == 0 || !turn.answer.starts_with(b"HTTP/1.") {
        return None;
    }
    let answered = Answered::walk(turn, &[], context.ending);
    let session = answered.session();
    let response = answered.latest.last();
    // A head alone, with a length, is what answers a HEAD.
    let message = Message::new(turn);
    let bare = message.unseen() == 0 && message.seen.ends_with(b"\r\n\r\n");
    let state = match response.map(|response| response.state) {
        _ if answered.unreadable => ExchangeState::Unknown,
        Some(ExchangeState::ResponseIncomplete) if bare => ExchangeState::Unknown,
        Some(state) => state,
        None => ExchangeState::Unanswered,
    };
    let exchange = |index, status, state, started_ns| Exchange {
        id: turn.id(index),
        protocol: match response {
            Some(response) if response.websocket => Protocol::WebSocket,
            _ => Protocol::Http11,
        },
        operation: Operation::Http(Http {
            status,
            ..Http::default()
        }),
        evidence: Evidence::Inferred,
        state,
        started_ns,
        last_ns: turn.last_ns(),
    };
    let status = response.and_then(|response| response.status);
    let mut exchanges = vec![exchange(0, status, state, turn.ask_first_ns)];
    if context.ask_unread > 0 && state == ExchangeState::Complete {
        exchanges.push(exchange(1, None, ExchangeState::Unanswered, 0));
    }
    Some(Reading { exchanges, session })
}
