//! `MongoDB`'s wire protocol: a reply names the request that it answers.
//!
//! Monitors wait for news with `hello`, change streams with `getMore`, writes with `w: 0` for nothing: what a client loses
//! with those is not known, or is nothing.
//!
//! <https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>

use super::{
    Context, Reading,
    calls::{Call, Calls},
};
use crate::{
    exchange::{ExchangeState, Protocol},
    record::Turn,
};

const HEADER: usize = 16;
/// Shortest request: a document is no shorter than five bytes.
const SHORTEST: u32 = 16 + 5;
/// Longest message: 48 000 000 bytes.
const LONGEST: u32 = 48_000_000;
/// Operations.
const QUERY: u32 = 2004;
const COMPRESSED: u32 = 2012;
const MSG: u32 = 2013;
/// Bits of a message.
const CHECKSUM: u32 = 1 << 0;
const MORE_TO_COME: u32 = 1 << 1;
const EXHAUST_ALLOWED: u32 = 1 << 16;

/// Commands as reports name them. Of a server's handshake, its monitors and its sessions nobody waits for anything.
const NAMES: &[&str] = &[
    "abortTransaction",
    "aggregate",
    "bulkWrite",
    "collMod",
    "commitTransaction",
    "count",
    "create",
    "createIndexes",
    "delete",
    "distinct",
    "drop",
    "dropDatabase",
    "dropIndexes",
    "explain",
    "find",
    "findAndModify",
    "findandmodify",
    "getMore",
    "insert",
    "killCursors",
    "listCollections",
    "listDatabases",
    "listIndexes",
    "mapReduce",
    "ping",
    "update",
];
const ASIDES: &[&[u8]] = &[
    b"hello",
    b"isMaster",
    b"ismaster",
    b"saslStart",
    b"saslContinue",
    b"authenticate",
    b"endSessions",
    b"ping",
    b"buildInfo",
    b"killCursors",
];

/// Reads a turn in which both sides say what only `MongoDB` does.
pub(super) fn read(turn: &Turn, context: &Context<'_>) -> Option<Reading> {
    let request = Request::of(&turn.ask)?;
    let total = turn.asked();
    if turn.number > 1 && !begins(turn.opening) {
        return None;
    }
    let reply = Reply::of(turn)?;
    let last = u64::from(request.length) >= total;
    let state = match (request.wants(), reply) {
        (Wants::Nothing, _) => None,
        (_, Reply::To(id, whole)) if id == request.id && last => Some(if whole {
            ExchangeState::Complete
        } else {
            ExchangeState::ResponseIncomplete
        }),
        (_, Reply::None) if u64::from(request.length) > total => Some(ExchangeState::RequestIncomplete),
        (Wants::Reply, Reply::None) if last => Some(ExchangeState::Unanswered),
        // Another message followed, or an answer to one of an earlier turn came.
        _ => Some(ExchangeState::Opaque),
    };
    let calls = Calls {
        asked: state
            .map(|state| Call {
                operation: request.name,
                state,
            })
            .into_iter()
            .collect(),
        ..Calls::default()
    };
    Some(calls.reading(turn, context, Protocol::MongoDb, u64::from(SHORTEST)))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?.first_chunk()?;
    Some(u32::from_le_bytes(*four))
}

/// Whether a connection may begin like this: the length of its first message.
fn begins(opening: [u8; 8]) -> bool {
    le32(&opening, 0).is_some_and(|length| (SHORTEST..=LONGEST).contains(&length))
}

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    Reply,
    /// A reply may come, but not having it costs nothing.
    Nothing,
    /// That is not known.
    Perhaps,
}

/// The first request of a turn.
#[derive(Debug, Clone, Copy)]
struct Request {
    length: u32,
    id: u32,
    operation: u32,
    flags: u32,
    name: Option<&'static str>,
    aside: bool,
}

impl Request {
    /// `None` where it is none.
    fn of(bytes: &[u8]) -> Option<Self> {
        let (length, id, to, operation) = (
            le32(bytes, 0)?,
            le32(bytes, 4)?,
            le32(bytes, 8)?,
            le32(bytes, 12)?,
        );
        let flags = le32(bytes, HEADER).unwrap_or(0);
        let known = CHECKSUM | MORE_TO_COME | EXHAUST_ALLOWED;
        let valid = match operation {
            // Only bits 16 and above may be anything (the specification has them ignored).
            MSG => flags & 0xffff & !known == 0,
            COMPRESSED => true,
            // To a collection of commands, as clients do before they know what the server can.
            QUERY => bytes.get(HEADER + 4..)?.starts_with(b"admin.$cmd\0"),
            _ => false,
        };
        if to != 0 || !valid || !(SHORTEST..=LONGEST).contains(&length) {
            return None;
        }
        // Kind of the section 0, then a document: its length, and the type and name of its first element.
        let name = match operation {
            MSG if bytes.get(HEADER + 4) == Some(&0) => bytes.get(HEADER + 10..),
            _ => None,
        };
        let name = name.map(|name| {
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            &name[..end]
        });
        Some(Self {
            length,
            id,
            operation,
            flags: if operation == MSG { flags } else { 0 },
            name: name.and_then(|name| NAMES.iter().find(|known| known.as_bytes() == name).copied()),
            aside: operation == QUERY || name.is_some_and(|name| ASIDES.contains(&name)),
        })
    }

    fn wants(&self) -> Wants {
        if self.aside || self.flags & (MORE_TO_COME | EXHAUST_ALLOWED) != 0 {
            Wants::Nothing
        } else if self.operation == COMPRESSED || self.name == Some("getMore") {
            Wants::Perhaps
        } else {
            Wants::Reply
        }
    }
}

/// What was replied in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    None,
    /// To this request; all of it.
    To(u32, bool),
}

impl Reply {
    /// `None` where it is no reply of this protocol.
    fn of(turn: &Turn) -> Option<Self> {
        if turn.answer_bytes == 0 {
            return Some(Self::None);
        }
        let (length, to, operation) = (
            le32(&turn.answer, 0)?,
            le32(&turn.answer, 8)?,
            le32(&turn.answer, 12)?,
        );
        let known = matches!(operation, 1 | COMPRESSED | MSG) && (SHORTEST - 5..=LONGEST).contains(&length);
        known.then_some(Self::To(to, u64::from(length) <= turn.answer_bytes))
    }
}

#[cfg(test)]
mod tests;
