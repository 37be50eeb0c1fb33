//! What the kernel side recorded, as plain facts: no protocol is known here.

use crate::event::{Connection, Event};

/// Most bytes of the request direction that a record holds.
pub const ASK_HEAD: usize = 1024;
/// Most bytes of the latest response's beginning that a record holds.
pub const ANSWER_HEAD: usize = 512;
/// Most bytes of a response's header block that a stream holds.
pub const ANSWER_BLOCK: usize = 8;
/// Most bytes of the response direction's end that a record holds.
pub const TAIL: usize = 64;

/// What the kernel side tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// An event as it stands.
    Event(Event),
    /// A connection with payload, which is still to be read.
    Connection(Box<Recorded>),
    /// A [`crate::event::EventKind::ResetSent`] with the first bytes of what came too late, which are still to be read.
    Late {
        /// All but what was asked.
        event: Event,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

impl Fact {
    /// Monotonic time of the event that it is.
    pub fn at_ns(&self) -> u64 {
        match self {
            Self::Event(event) | Self::Late { event, .. } => event.at_ns,
            Self::Connection(recorded) => recorded.at_ns,
        }
    }
}

/// A connection whose turn ended, or that ended itself, and what was recorded of its current turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Monotonic time of the event.
    pub at_ns: u64,
    /// All but its exchanges, which nobody has read yet.
    pub connection: Connection,
    /// The turn.
    pub turn: Turn,
}

/// What the kernel recorded of the current turn of one connection.
///
/// A turn begins with the first byte in the request direction after one in the response direction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turn {
    /// The connection's first bytes in the request direction, where this is not its first turn.
    pub opening: [u8; 8],
    /// Its number on the connection, from 1; 0 where none was seen from its beginning.
    pub number: u32,
    /// First bytes of the turn's request(s), contiguous from the first one on; empty when that one is lost.
    pub ask: Vec<u8>,
    /// Bytes of the turn in the request direction that moved through the process.
    pub ask_bytes: u64,
    /// First bytes of the *latest* response of the turn, contiguous from its first byte on, to the end of its head where
    /// that is longer than [`ANSWER_HEAD`]; empty when
    /// that one is lost. Several responses written in one system call stand here one after the other.
    pub answer: Vec<u8>,
    /// Bytes of the turn in the response direction, of all its responses.
    pub answer_bytes: u64,
    /// Bytes since the latest response's head began.
    pub message_bytes: u64,
    /// Responses begun in the turn, as far as system calls show them (0: none, or none recognised).
    /// An interim (1xx) response is not one.
    pub answers: u32,
    /// Of those, interim ones (1xx) that were longer than the kernel side looks at: the final one may have been
    /// written with them, or in a call of its own that counts by itself.
    pub interims: u32,
    /// Last bytes of the response direction, when known.
    pub tail: Option<Vec<u8>>,
    /// Last bytes of the call before the last one in the response direction, where there is a tail; else zero.
    pub before_last: [u8; 8],
    /// First bytes of what was answered last before this turn, where nothing has been answered in it and they came with it;
    /// else zero.
    pub before: [u8; 16],
    /// The last thing written was an interim (1xx) response; `answer` is empty then.
    pub interim: bool,
    /// An earlier answer on this connection began with `HTTP/1.`: bytes that do not begin a request
    /// are then not a request of another protocol, but the rest of an upload answered early.
    pub http: bool,
    /// Monotonic time of the turn's first request byte.
    pub ask_first_ns: u64,
    /// Monotonic time of the last request byte.
    pub ask_last_ns: u64,
    /// Monotonic time of the last response byte.
    pub answer_last_ns: u64,
    /// Monotonic time at which the latest response began: the ones before it had ended by then.
    pub message_first_ns: u64,
    /// How it began, where that was a handshake of TLS and this is not its first turn.
    pub hellos: Option<Box<Hellos>>,
    /// A connection of MPTCP, of which nothing is recorded but that it ended.
    pub mptcp: bool,
    /// Its streams, where the connection began with the preface of HTTP/2: then it is one turn, and there are
    /// no heads.
    pub http2: Option<Box<Http2>>,
    /// First bytes of what waits unread in the request direction, where the kernel side could read them.
    pub waiting: Vec<u8>,
}

/// The beginning of a connection of TLS, as far as it was kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hellos {
    /// First bytes of the client.
    pub client: Vec<u8>,
    /// First bytes of the server.
    pub server: Vec<u8>,
}

/// Why the kernel kept nothing of a connection that speaks HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// It does not know any more where frames begin, or who is open.
    Walk,
    /// It had no memory for it.
    Storage,
}

/// What the kernel kept of a connection that speaks HTTP/2.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Http2 {
    /// Why nothing else of it means anything.
    pub lost: Option<Lost>,
    /// What had finished by then was told before.
    pub told_ns: u64,
    /// Direction of requests.
    pub ask: Http2Flow,
    /// Direction of responses.
    pub answer: Http2Flow,
    /// Streams by their number: all that are open, and the latest that finished.
    pub streams: Vec<Stream>,
    /// The latest header blocks of requests, oldest first, trailers among them.
    pub blocks: Vec<Block>,
    /// Header blocks of responses, oldest first: those that later ones can refer to, and, since the workload drains, the
    /// last ones of streams.
    pub answers: Vec<Block>,
}

/// How far one direction of HTTP/2 has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Http2Flow {
    /// Bytes of its latest frame that are still to come.
    pub pending: u64,
    /// More than that has moved and was not looked at: a call that the end of its connection interrupted.
    pub unseen: bool,
    /// A stream that ended in this direction with bytes that were counted, but not looked at.
    pub ends: Option<u32>,
    /// A stream whose header block goes on in the next frame.
    pub continues: Option<u32>,
    /// Last stream that this side promised to serve when it said goodbye.
    pub goaway: Option<u32>,
}

/// How far one direction of a stream has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StreamState {
    /// Not begun, or under way.
    #[default]
    Open,
    /// Its last frame moved.
    Ended,
    /// This side reset the stream.
    Reset,
}

/// A stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stream {
    /// Its number.
    pub id: u32,
    /// Monotonic time of its first frame.
    pub began_ns: u64,
    /// Monotonic time at which its response ended, or at which it began.
    pub last_ns: u64,
    /// Direction of requests.
    pub asked: StreamState,
    /// Direction of responses.
    pub answered: StreamState,
    /// The answering side reset it while its workload was draining, or with the connection that it closed as it left; and
    /// not because it had not looked at it.
    pub cut: bool,
    /// Its request's header block, when it is short and adds nothing to what later ones can refer to.
    pub block: Vec<u8>,
    /// Where that block stands, or would stand, among [`Http2::blocks`].
    pub block_at: u32,
    /// First bytes of its response's latest header block, which may be its trailers; empty before the response has
    /// begun.
    pub answer: Vec<u8>,
    /// Where that block stands, or would stand, among [`Http2::answers`].
    pub answer_at: u32,
    /// First byte of the header block before that one, where that one ends the response.
    pub before: Option<u8>,
    /// The status of a call of gRPC, where that block says it in a text of its own.
    pub grpc_status: Option<u8>,
}

/// A header block, as far as it was kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    /// Its place in the order of all.
    pub at: u32,
    /// Its stream.
    pub stream: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// There were more.
    pub cut: bool,
}
