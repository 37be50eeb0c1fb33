//! Anything that cannot be read in clear: TLS, and protocols that nobody here knows.
//!
//! Turn-taking on the wire is all there is, and it says something only of a connection that was seen to
//! take turns: what was asked there and not answered is outstanding, what was answered is taken for
//! complete. Hence [`Evidence::Inferred`]. Of any other connection nothing is said:
//! [`ExchangeState::Opaque`]. Most of what goes over a wire asks for nothing: acknowledgements, window
//! updates, heartbeats, lines of a log, goodbyes.

mod unpaired;

use super::{Context, Reading, Session};
use crate::{
    event::Role,
    exchange::{Doubt, Evidence, Exchange, ExchangeState, Operation, Protocol},
    record::Turn,
};

/// TLS record types (RFC 8446 section 5.1).
const CHANGE_CIPHER_SPEC: u8 = 0x14;
const ALERT: u8 = 0x15;
const HANDSHAKE: u8 = 0x16;
const APPLICATION_DATA: u8 = 0x17;

/// Length of a `close_notify` as a TLS 1.3 record: two bytes, their type, and the tag.
const CLOSE_NOTIFY: usize = 2 + 1 + 16;
/// Length of a `close_notify` of TLS 1.2 with its record header and explicit nonce: the longest.
const CLOSE_NOTIFY_WIRE: u64 = 31;
/// What TLS adds to a record's plaintext: type and tag (1.3), or explicit nonce and tag (1.2).
const OVERHEADS: [usize; 2] = [1 + 16, 8 + 16];
/// A record shorter than this is taken for no message of HTTP/1, whose heads are longer.
const LEAST_RECORD: usize = 80;
/// Plaintext up to this may be control frames of HTTP/2 alone: longer bundles are not seen on idle
/// connections.
const MOST_CONTROL: usize = 80;

/// The first turn of a connection that two others came before.
const EARNED: u32 = 3;
/// The same in TLS: two turns of the handshake, and one beside.
const EARNED_IN_TLS: u32 = 4;
/// What is no longer than this may be a goodbye, an acknowledgement or a heartbeat: `COM_QUIT` has 5 bytes,
/// AMQP's `basic.ack` 21, HTTP/2's acknowledgement of settings with a window update 22.
const GOODBYE: u64 = 32;

/// Reads any turn.
pub(super) fn read(turn: &Turn, context: &Context<'_>) -> Reading {
    let tls = is_tls(if turn.ask.is_empty() && turn.ask_bytes > 0 {
        &turn.answer
    } else {
        &turn.ask
    }) || is_tls(&turn.opening);
    let exchange = |index, state, started_ns, last_ns| Exchange {
        id: turn.id(index),
        protocol: if tls { Protocol::Tls } else { Protocol::Tcp },
        operation: Operation::Opaque,
        evidence: Evidence::Inferred,
        state,
        // Only of what is older than the agent nothing is known here.
        doubt: (state == ExchangeState::Unknown).then_some(Doubt::OlderThanAgent),
        uploading: false,
        unread: false,
        started_ns,
        last_ns,
    };
    let unread = || exchange(1, ExchangeState::Unanswered, 0, turn.last_ns());
    if turn.asked() == 0 {
        return Reading::of(if context.seeded {
            // Something asked before we looked, perhaps, and its answer.
            vec![exchange(0, ExchangeState::Unknown, 0, turn.answer_last_ns)]
        } else if context.ask_unread == 0 {
            // A greeting that nobody asked for.
            Vec::new()
        } else if turn.answer_bytes == 0 {
            // Whatever it speaks: it came, and nobody took it.
            vec![unread()]
        } else {
            vec![exchange(0, ExchangeState::Opaque, 0, turn.last_ns())]
        });
    }
    if tls && says_goodbye(turn) {
        return Reading {
            session: Session { goodbye: true },
            ..Reading::default()
        };
    }
    let told = if tls { in_tls(turn) } else { in_clear(turn) };
    let state = if context.role == Role::Unknown {
        // Which direction asks is not known, so neither is whose turn it was.
        ExchangeState::Unknown
    } else {
        told
    };
    let last_ns = match state {
        ExchangeState::Unanswered => turn.ask_last_ns,
        ExchangeState::Complete => turn.answer_last_ns,
        _ => turn.last_ns(),
    };
    let mut exchanges = vec![exchange(0, state, turn.ask_first_ns, last_ns)];
    // What is unread behind a question that was not answered belongs to it.
    let least = if tls { LEAST_RECORD as u64 } else { GOODBYE };
    if state == ExchangeState::Complete && context.ask_unread > least {
        exchanges.push(unread());
    }
    Reading::of(exchanges)
}

/// What stands on a connection of which nothing was recorded, and why.
pub(super) fn unrecorded(turn: &Turn, doubt: Doubt) -> Exchange {
    Exchange {
        id: turn.id(0),
        protocol: Protocol::Tcp,
        operation: Operation::Opaque,
        evidence: Evidence::Inferred,
        state: ExchangeState::Unknown,
        doubt: Some(doubt),
        uploading: false,
        unread: false,
        started_ns: 0,
        last_ns: 0,
    }
}

/// Whether the turn's answer came after all of its question.
fn is_answered(turn: &Turn) -> bool {
    turn.answer_bytes > 0 && !turn.interim && turn.answer_last_ns >= turn.ask_last_ns
}

fn in_clear(turn: &Turn) -> ExchangeState {
    if turn.number < EARNED
        || unpaired::begins(&turn.opening, turn.opening.len() as u64)
        || unpaired::begins(&turn.ask, turn.asked())
    {
        ExchangeState::Opaque
    } else if is_answered(turn) {
        ExchangeState::Complete
    } else if turn.asked() > GOODBYE {
        ExchangeState::Unanswered
    } else {
        ExchangeState::Opaque
    }
}

/// In TLS only what looks like HTTP/1 is believed to take turns: a question in a record of some length,
/// then its answer. What is multiplexed inside goes on whatever was answered last.
fn in_tls(turn: &Turn) -> ExchangeState {
    if turn.number < EARNED_IN_TLS || !like_http1(&turn.ask) {
        ExchangeState::Opaque
    } else if !is_answered(turn) || turn.answer_bytes <= CLOSE_NOTIFY_WIRE {
        // No answer, or no more than a close_notify.
        ExchangeState::Unanswered
    } else if like_http1(&turn.answer) {
        ExchangeState::Complete
    } else {
        ExchangeState::Opaque
    }
}

/// Whether the bytes begin like a TLS record.
fn is_tls(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [CHANGE_CIPHER_SPEC | ALERT | HANDSHAKE | APPLICATION_DATA, 3, ..]
    )
}

/// Whether the first record may hold a head of HTTP/1, and cannot be control frames of HTTP/2.
fn like_http1(bytes: &[u8]) -> bool {
    let &[APPLICATION_DATA, 3, _, high, low, ..] = bytes else {
        return false;
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    length >= LEAST_RECORD && !OVERHEADS.iter().any(|overhead| maybe_control(length - overhead))
}

/// Whether so many bytes can be window updates or resets (13 bytes each), with an acknowledgement of
/// settings (9), a PING (17), or both.
fn maybe_control(plain: usize) -> bool {
    plain <= MOST_CONTROL
        && [0, 9, 17, 26]
            .iter()
            .any(|rest| plain.checked_sub(*rest).is_some_and(|updates| updates % 13 == 0))
}

/// Whether all that was said in this turn are alerts: the client left, and asks for nothing.
fn says_goodbye(turn: &Turn) -> bool {
    match records(&turn.ask, turn.asked()).as_deref() {
        Some([(APPLICATION_DATA, CLOSE_NOTIFY)]) => true,
        Some(records) => records.iter().all(|&(kind, _)| kind == ALERT),
        None => false,
    }
}

/// Types and lengths of the records, when all `total` bytes of them were captured.
fn records(mut bytes: &[u8], total: u64) -> Option<Vec<(u8, usize)>> {
    if total != bytes.len() as u64 {
        return None;
    }
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let (&[kind, 3, _, high, low], rest) = bytes.split_first_chunk::<5>()? else {
            return None;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        bytes = rest.get(length..)?;
        records.push((kind, length));
    }
    Some(records)
}

#[cfg(test)]
mod tests;
