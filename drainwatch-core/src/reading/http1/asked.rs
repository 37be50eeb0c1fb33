//! The request direction of a turn: which requests were read, and how much of the last one.

use super::{
    chunked::{self, Chunks},
    head::{self, Framing, Seen},
};
use crate::{exchange::ExchangeState, reading::Context, record::Turn};

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

/// A request of which at least a byte was read.
pub(super) struct Request {
    /// What its head says.
    pub head: head::Request,
    arrival: Arrival,
    /// Where in the request bytes it ends, when that was seen.
    pub end: Option<u64>,
}

/// What was read after the last request that could be made out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing.
    None,
    /// One or more further requests, beyond the capture.
    Requests,
    /// Something that is no request.
    Foreign,
}

/// The request direction of a turn.
pub(super) struct Asked {
    /// The requests that could be made out, oldest first.
    pub requests: Vec<Request>,
    /// What came after them.
    pub rest: Rest,
    /// A further request was received, and not read.
    pub unread: bool,
}

impl Asked {
    /// `None` when the turn does not begin with an HTTP/1 request.
    pub fn walk(turn: &Turn, context: &Context<'_>) -> Option<Self> {
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
            let last = head.is_connect || head.closes;
            requests.push(Request { head, arrival, end });
            match end {
                Some(end) if !last => at = end,
                _ => break,
            }
        }
        let Some(last) = requests.last_mut() else {
            // Empty lines alone, such as some clients send behind a body; what is unread is a request.
            let unread = context.ask_unread > 0;
            return (turn.http && rest == Rest::None).then_some(Self {
                requests,
                rest,
                unread,
            });
        };
        let unread = rest == Rest::None && last.take_unread(context.ask_unread);
        Some(Self {
            requests,
            rest,
            unread,
        })
    }
}

impl Request {
    /// Counts the unread bytes to this request as far as it lacks some. Whether any are left over.
    fn take_unread(&mut self, unread: u64) -> bool {
        match self.arrival {
            Arrival::Complete => unread > 0 && !self.head.is_connect && !self.head.closes,
            Arrival::Missing { least, .. } if unread < least => false,
            Arrival::Missing { least, exact: true } => {
                self.arrival = Arrival::Complete;
                unread > least && !self.head.closes
            }
            Arrival::Missing { exact: false, .. } => {
                self.arrival = Arrival::Unknown;
                false
            }
            Arrival::Unknown => false,
        }
    }

    /// Certainly more of it is to come.
    pub fn is_arriving(&self) -> bool {
        matches!(self.arrival, Arrival::Missing { .. })
    }

    /// The state when no byte of a final response was written.
    ///
    /// A request whose end is not known counts as arrived: it is outstanding either way, and more was
    /// seen of it than of one whose end certainly is missing.
    pub fn unanswered(&self) -> ExchangeState {
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
