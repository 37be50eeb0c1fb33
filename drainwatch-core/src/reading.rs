//! From a socket's record to the state of its exchanges. Pure, one file per protocol.
//!
//! A protocol gets a [`Capture`] (what the kernel recorded of one connection's current turn) and
//! says what stands there as a list of [`Exchange`]s, or that it does not know this protocol.
//! To add one: one file with a `Reader`, and its line in `READERS`.
//!
//! Nothing here fails or panics, whatever the bytes: they come from the network.

mod headers;
mod http1;
mod senders;
mod text;
mod websocket;
mod wire;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod recorder;

use serde::{Deserialize, Serialize};

use crate::event::Role;
pub use headers::{HeaderRules, Pattern};
pub use senders::NAMES as SENDERS;

/// Most bytes of the request direction that a record holds.
pub const ASK_HEAD: usize = 1024;
/// Most bytes of the latest response's beginning that a record holds.
pub const ANSWER_HEAD: usize = 512;
/// Most bytes of the response direction's end that a record holds.
pub const TAIL: usize = 16;

/// How sure we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The protocol was read in clear.
    Exact,
    /// From turn-taking on the wire only.
    Inferred,
}

/// What stood on the connection at the moment of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExchangeState {
    /// The request's head or body had not arrived (been sent) completely.
    RequestIncomplete,
    /// The request was complete, no byte of a final response had been written.
    Unanswered,
    /// The response had begun and was not complete.
    ResponseIncomplete,
    /// Request and response complete.
    Complete,
    /// A long-lived stream (101, CONNECT, SSE) without its protocol's goodbye.
    Stream,
    /// The evidence does not say (head beyond the capture, close-delimited body, seeded socket).
    Unknown,
}

/// One request and its response, as far as they were seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// `http/1.0`, `http/1.1`, `websocket`, `tls`, `tcp`.
    pub protocol: String,
    /// Method, of a protocol that has them; bounded and printable.
    pub method: Option<String>,
    /// Path without query; bounded and printable.
    pub path: Option<String>,
    /// Host header; bounded and printable.
    pub host: Option<String>,
    /// Known sender of webhooks, by the request's head; one of [`SENDERS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// Numbers of the rules `[[class]]`, from 0, whose condition on headers holds; of the headers
    /// themselves nothing is kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub header_rules: Vec<u8>,
    /// Status of the response, where its head was seen.
    pub status: Option<u16>,
    /// How sure we are.
    pub evidence: Evidence,
    /// What stood there.
    pub state: ExchangeState,
    /// Monotonic time of the request's first byte at our process; 0 unknown.
    pub started_ns: u64,
    /// Monotonic time of the last byte of the exchange.
    pub last_ns: u64,
}

/// What the kernel recorded of the current turn of one connection.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent bits of the kernel's record"
)]
pub struct Capture<'a> {
    /// First bytes of the turn's request(s), contiguous from the first one on; empty when that one is lost.
    pub ask: &'a [u8],
    /// Bytes of the turn in the request direction that moved through the process.
    pub ask_bytes: u64,
    /// Received, not read by the process, in the request direction (server role only).
    pub ask_unread: u64,
    /// First bytes of the *latest* response of the turn, contiguous from its first byte on; empty when
    /// that one is lost. Several responses written in one system call stand here one after the other.
    pub answer: &'a [u8],
    /// Bytes of the turn in the response direction, of all its responses.
    pub answer_bytes: u64,
    /// Bytes since the latest response's head began.
    pub message_bytes: u64,
    /// Responses begun in the turn, as far as system calls show them (0: none, or none recognised).
    /// An interim (1xx) response is not one.
    pub answers: u32,
    /// Last bytes of the response direction, when known.
    pub tail: Option<&'a [u8]>,
    /// Payload in the request direction could not be read. What `ask` holds is still the turn's beginning.
    pub ask_lost: bool,
    /// Payload in the response direction could not be read. What `answer` holds is still its beginning.
    pub answer_lost: bool,
    /// The last thing written was an interim (1xx) response; `answer` is empty then.
    pub interim: bool,
    /// An earlier answer on this connection began with `HTTP/1.`: bytes that do not begin a request
    /// are then not a request of another protocol, but the rest of an upload answered early.
    pub http: bool,
    /// The connection is older than the agent, and no turn was seen from its beginning.
    pub seeded: bool,
    /// Monotonic time of the turn's first request byte.
    pub ask_first_ns: u64,
    /// Monotonic time of the last request byte.
    pub ask_last_ns: u64,
    /// Monotonic time of the last response byte.
    pub answer_last_ns: u64,
    /// Monotonic time at which the latest response began: the ones before it had ended by then.
    pub message_first_ns: u64,
    /// The user's rules on headers of requests.
    pub rules: &'a HeaderRules,
}

/// How the connection stands, as far as it changes the meaning of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Open, or cut: its end says nothing about the last response.
    Cut,
    /// The answering program, alive, closed it: a response without a length ended there.
    Orderly,
}

/// Reads one protocol: the exchanges that stand, or `None` for "not mine".
type Reader = fn(&Capture<'_>, Ending) -> Option<Vec<Exchange>>;

/// The protocols that can be read in clear, the most particular first. What none of them knows is
/// judged by turn-taking ([`wire`]).
const READERS: &[Reader] = &[http1::read];

/// What stands on a connection in this turn, oldest first. Empty when nothing was asked.
///
/// Bounded: an [`ASK_HEAD`] of requests makes at most some sixty exchanges.
/// Where the evidence does not say, the state is [`ExchangeState::Unknown`]; it is never guessed.
/// For [`Role::Unknown`] it always is, since it is not known which direction asked. For a connection
/// older than the agent only what was seen to finish, or to have become a stream, is believed: what
/// is under way may belong to a request from before.
pub fn judge(capture: &Capture<'_>, role: Role) -> Vec<Exchange> {
    judge_ending(capture, role, Ending::Cut)
}

/// As [`judge`], for a connection which the answering program, alive, has closed by itself: the end of
/// the connection is the framing of a response without a length (RFC 9112 section 6.3, rule 8), so
/// such a response is [`ExchangeState::Complete`] here where [`judge`] says `Unknown`.
pub fn judge_closed(capture: &Capture<'_>, role: Role) -> Vec<Exchange> {
    judge_ending(capture, role, Ending::Orderly)
}

fn judge_ending(capture: &Capture<'_>, role: Role, ending: Ending) -> Vec<Exchange> {
    // On an older connection nothing may have moved since because a request was under way then.
    let nothing = capture.ask_bytes == 0 && capture.answer_bytes == 0 && capture.ask_unread == 0;
    if nothing && !capture.seeded {
        return Vec::new();
    }
    let read = READERS.iter().find_map(|read| read(capture, ending));
    // Bytes on an HTTP connection that begin no request: the rest of an upload that was answered early.
    let strays = capture.http && read.is_none();
    let mut exchanges = read.unwrap_or_else(|| wire::read(capture));
    for exchange in &mut exchanges {
        let believed = match role {
            _ if strays => false,
            Role::Unknown => false,
            Role::Server | Role::Client if capture.seeded => {
                matches!(exchange.state, ExchangeState::Complete | ExchangeState::Stream)
            }
            Role::Server | Role::Client => true,
        };
        if !believed {
            exchange.state = ExchangeState::Unknown;
        }
    }
    exchanges
}

impl Capture<'_> {
    /// Bytes that the process read, never fewer than were captured.
    fn asked(&self) -> u64 {
        self.ask_bytes.max(self.ask.len() as u64)
    }

    /// Time of the last byte in either direction.
    fn last_ns(&self) -> u64 {
        self.ask_last_ns.max(self.answer_last_ns)
    }
}
