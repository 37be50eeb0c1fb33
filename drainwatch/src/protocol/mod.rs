//! From a socket's record to the state of its exchanges. Pure, one file per protocol.
//!
//! A protocol gets a [`Capture`] (what the kernel recorded of one connection's current turn) and
//! says what stands there as a list of [`Exchange`]s, or that it does not know this protocol.

use serde::{Deserialize, Serialize};

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
pub struct Capture<'a> {
    /// First bytes of the turn's request(s), contiguous from the first one on.
    pub ask: &'a [u8],
    /// Bytes of the turn in the request direction that moved through the process.
    pub ask_bytes: u64,
    /// Received, not read by the process, in the request direction (server role only).
    pub ask_unread: u64,
    /// First bytes of the *latest* response of the turn, contiguous from its first byte on.
    pub answer: &'a [u8],
    /// Bytes of the turn in the response direction, of all its responses.
    pub answer_bytes: u64,
    /// Bytes since the latest response's head began.
    pub message_bytes: u64,
    /// Responses begun in the turn, as far as system calls show them (0: none, or none recognised).
    pub answers: u32,
    /// Last bytes of the response direction, when known.
    pub tail: Option<&'a [u8]>,
    /// The request bytes are incomplete from the start on (payload could not be read).
    pub ask_lost: bool,
    /// The response bytes are incomplete from the start on.
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
}
/// stub
pub fn judge(_c: &Capture<'_>, _r: crate::event::Role) -> Vec<Exchange> {
    vec![]
}
