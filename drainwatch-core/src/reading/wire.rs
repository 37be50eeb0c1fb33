//! Anything that cannot be read in clear: TLS, and protocols that nobody here knows.
//!
//! Turn-taking on the wire is all there is: what was asked and not answered is outstanding, what was
//! answered is taken for complete. Hence [`Evidence::Inferred`].

use super::{Context, Reading, Session};
use crate::{
    exchange::{Evidence, Exchange, ExchangeState, Operation, Protocol},
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
/// Lengths of a TLS 1.3 client's Finished as a record: header, SHA-256 or SHA-384, type, tag.
const FINISHED: [usize; 2] = [4 + 32 + 1 + 16, 4 + 48 + 1 + 16];

/// Reads any turn.
pub(super) fn read(turn: &Turn, context: &Context<'_>) -> Reading {
    let opening = if turn.ask.is_empty() && turn.ask_bytes > 0 {
        &turn.answer
    } else {
        &turn.ask
    };
    let tls = is_tls(opening);
    let exchange = |index, state, started_ns, last_ns| Exchange {
        id: turn.id(index),
        protocol: if tls { Protocol::Tls } else { Protocol::Tcp },
        operation: Operation::Opaque,
        evidence: Evidence::Inferred,
        state,
        started_ns,
        last_ns,
    };
    let unread = || exchange(1, ExchangeState::Unanswered, 0, turn.last_ns());
    if turn.asked() == 0 {
        return Reading::of(if context.ask_unread > 0 {
            vec![unread()]
        } else if context.seeded {
            // Something asked before we looked, perhaps, and its answer; elsewhere, a greeting that nobody asked for.
            vec![exchange(0, ExchangeState::Unknown, 0, turn.answer_last_ns)]
        } else {
            Vec::new()
        });
    }
    let asked = if tls { asked_in(turn) } else { TlsAsk::Something };
    let answered = turn.answer_bytes > 0 && !turn.interim && turn.answer_last_ns >= turn.ask_last_ns;
    let answer = |state| Some(exchange(0, state, turn.ask_first_ns, turn.answer_last_ns));
    let first = match asked {
        TlsAsk::Goodbye => {
            return Reading {
                session: Session { goodbye: true },
                ..Reading::default()
            };
        }
        TlsAsk::Nothing if !answered => None,
        TlsAsk::WithFinished if answered && perhaps_tickets(turn) => answer(ExchangeState::Unknown),
        _ if answered => answer(ExchangeState::Complete),
        // What is unread belongs to what was asked and not answered.
        _ => {
            return Reading::of(vec![exchange(
                0,
                ExchangeState::Unanswered,
                turn.ask_first_ns,
                turn.ask_last_ns,
            )]);
        }
    };
    // A few bytes of TLS after an answer are the peer's close_notify.
    let more = context.ask_unread > if tls { CLOSE_NOTIFY_WIRE } else { 0 };
    Reading::of(first.into_iter().chain(more.then(unread)).collect())
}

/// Whether the bytes begin like a TLS record.
fn is_tls(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [CHANGE_CIPHER_SPEC | ALERT | HANDSHAKE | APPLICATION_DATA, 3, ..]
    )
}

/// What a turn in TLS asked for.
enum TlsAsk {
    /// As far as one can see, something.
    Something,
    /// Nothing: the client's last step of a TLS 1.3 handshake, to which no answer is owed.
    Nothing,
    /// Something, right behind that step.
    WithFinished,
    /// Nothing, and nothing more: only alerts.
    Goodbye,
}

fn asked_in(turn: &Turn) -> TlsAsk {
    match records(&turn.ask, turn.asked()).as_deref() {
        Some([(APPLICATION_DATA, CLOSE_NOTIFY)]) => TlsAsk::Goodbye,
        Some(records) if records.iter().all(|&(kind, _)| kind == ALERT) => TlsAsk::Goodbye,
        Some([(CHANGE_CIPHER_SPEC, 1), (APPLICATION_DATA, length), more @ ..])
            if FINISHED.contains(length) =>
        {
            if more.is_empty() {
                TlsAsk::Nothing
            } else {
                TlsAsk::WithFinished
            }
        }
        _ => TlsAsk::Something,
    }
}

/// Whether the answer may be no more than the session tickets that a server sends after a handshake.
/// rustls reads the client's Finished and the first request at once, and writes its two tickets first.
fn perhaps_tickets(turn: &Turn) -> bool {
    records(&turn.answer, turn.answer_bytes).is_some_and(|records| records.len() <= 2)
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
