//! TLS (RFC 8446, RFC 5246): its records show who speaks when and how much, its handshake for whom and in which
//! protocol.
//!
//! What stands inside is never read, so all is inferred, and only of HTTP/1: where the handshake says that it is spoken,
//! from the first request on; where it says nothing of protocols, on a connection that was seen to take turns. What is
//! multiplexed goes on whatever was answered last, and is opaque. So is what began before a record could be kept.
//! Handshakes, tickets, alerts and goodbyes ask for nothing and answer nothing.

mod hello;
mod records;

use self::{
    hello::Handshake,
    records::{ALERT, APPLICATION_DATA, HANDSHAKE, HEADER, Record, Records, begins, records},
};
use super::{Context, Reading, Session, wire};
use crate::{
    event::Role,
    exchange::{Exchange, ExchangeState, Operation, Protocol},
    record::Turn,
};

/// Longest record of TLS 1.3 that is no data of HTTP/1: a `close_notify` has 19 bytes, a `KeyUpdate` 22; the shortest
/// request 35.
const CONTROL: usize = 24;
/// Length of a `close_notify` as a TLS 1.3 record: two bytes, their type, and the tag.
const CLOSE_NOTIFY: usize = 2 + 1 + 16;
/// Length of a `close_notify` of TLS 1.2 with its record header and explicit nonce: the longest.
const CLOSE_NOTIFY_WIRE: u64 = 31;
/// Lengths of a Finished as a TLS 1.3 record, by the hash of its cipher suite: header, hash, type, and the tag.
const FINISHED: [usize; 2] = [4 + 32 + 1 + 16, 4 + 48 + 1 + 16];
/// What TLS adds to a record's plaintext: type and tag (1.3), or explicit nonce and tag (1.2).
const OVERHEADS: [usize; 2] = [1 + 16, 8 + 16];
/// A record shorter than this is taken for no head of HTTP/1 where nobody says that it is spoken.
const LEAST_RECORD: usize = 80;
/// Where it is spoken, a response in a record that is no longer than this may be an interim one: `100 Continue` and
/// what TLS adds.
const INTERIM: usize = 52;
/// Plaintext up to this may be control frames of HTTP/2 alone: longer bundles are not seen on idle connections.
const MOST_CONTROL: usize = 80;
/// Lengths that records with session tickets have.
const TICKETS: std::ops::RangeInclusive<usize> = 100..=1200;
/// Two turns of the handshake, and one beside, came before this one.
const EARNED: u32 = 4;

/// Reads a turn of a connection whose bytes are records of TLS.
pub(super) fn read(turn: &Turn, context: &Context<'_>) -> Option<Reading> {
    let first_seen = if turn.ask.is_empty() && turn.ask_bytes > 0 {
        &turn.answer
    } else {
        &turn.ask
    };
    if !begins(first_seen) && !begins(&turn.opening) && turn.hellos.is_none() {
        return None;
    }
    if turn.asked() == 0 {
        return None; // what nobody asked for, and what nobody took, are the same in any protocol
    }
    let handshake = Handshake::of(turn);
    if says_goodbye(turn) {
        return Some(Reading {
            session: Session { goodbye: true },
            ..Reading::default()
        });
    }
    let told = if handshake.is_http1() {
        http1(turn, &handshake)
    } else if handshake.may_be_multiplexed(turn) {
        other(turn)
    } else {
        unnamed(turn)
    };
    // Which direction asks is not known, so neither is whose turn it was.
    let told = told.map(|state| match context.role {
        Role::Unknown => ExchangeState::Unknown,
        Role::Server | Role::Client => state,
    });
    let exchange = |index, state, started_ns, last_ns| Exchange {
        started_ns,
        last_ns,
        ..wire::inferred(
            turn,
            index,
            Protocol::Tls,
            Operation::Tls(handshake.shown()),
            state,
        )
    };
    let mut exchanges = vec![];
    if let Some(state) = told {
        let last_ns = match state {
            ExchangeState::Unanswered => turn.ask_last_ns,
            ExchangeState::Complete => turn.answer_last_ns,
            _ => turn.last_ns(),
        };
        exchanges.push(exchange(0, state, turn.ask_first_ns, last_ns));
    }
    // What is unread behind a question that was not answered belongs to it.
    let idle = matches!(told, None | Some(ExchangeState::Complete));
    if idle && context.ask_unread > LEAST_RECORD as u64 && context.role != Role::Unknown {
        let claimed = handshake.is_http1() || told.is_some();
        let state = if claimed {
            ExchangeState::Unanswered
        } else {
            ExchangeState::Opaque
        };
        exchanges.push(exchange(1, state, 0, turn.last_ns()));
    }
    Some(Reading::of(exchanges))
}

/// HTTP/1, as both sides have agreed. `None` where nothing was asked.
fn http1(turn: &Turn, handshake: &Handshake) -> Option<ExchangeState> {
    use ExchangeState::{Complete, Opaque, RequestIncomplete, ResponseIncomplete, Unanswered};
    let asked = records(&turn.ask, turn.asked());
    let data = data(turn, handshake, &asked);
    match data {
        Some([]) if asked.whole => return None,
        None | Some([]) => return Some(Opaque),
        Some([.., last]) if turn.answer_bytes == 0 => {
            let part = asked.whole && !last.complete;
            return Some(if part { RequestIncomplete } else { Unanswered });
        }
        Some(_) => {}
    }
    if turn.answer_last_ns < turn.ask_last_ns {
        return Some(Opaque);
    }
    let answered = records(&turn.answer, turn.answer_bytes);
    let shakes = turn.ask.first() != Some(&APPLICATION_DATA);
    let answer = if shakes {
        match answered.behind_tickets(handshake) {
            Some(answer) => answer,
            None => return Some(Opaque),
        }
    } else {
        &answered.seen
    };
    let closes = |record: &Record| record.kind == ALERT || record.length <= CONTROL;
    Some(match answer {
        _ if answered.whole && answer.iter().all(closes) => Unanswered,
        [] if answered.unseen <= CLOSE_NOTIFY_WIRE => Unanswered,
        [] if answered.unseen <= (HEADER + INTERIM) as u64 => Opaque,
        [first, ..] if first.length <= INTERIM => Opaque,
        [.., last] if answered.whole && !last.complete => ResponseIncomplete,
        _ => Complete,
    })
}

/// The records of this turn that may hold requests; `None` where they cannot be told from the handshake's.
fn data<'a>(turn: &Turn, handshake: &Handshake, asked: &'a Records) -> Option<&'a [Record]> {
    if turn.number <= 1 || asked.seen.is_empty() {
        return None;
    }
    let clear = asked
        .seen
        .iter()
        .rposition(|record| !matches!(record.kind, APPLICATION_DATA | ALERT));
    let mut data = &asked.seen[clear.map_or(0, |last| last + 1)..];
    if !handshake.is_1_2() && clear.is_some() {
        let finished = data
            .iter()
            .position(|record| record.complete && FINISHED.contains(&record.length))?;
        data = &data[finished + 1..];
    }
    while let [first, rest @ ..] = data
        && (first.kind == ALERT || !handshake.is_1_2() && first.length <= CONTROL)
    {
        data = rest;
    }
    Some(data)
}

impl Records {
    /// What follows the session tickets, which come behind the client's Finished and answer nothing. Where tickets and a
    /// response cannot be told apart, there are none.
    fn behind_tickets(&self, handshake: &Handshake) -> Option<&[Record]> {
        let encrypted = self
            .seen
            .iter()
            .position(|record| record.kind == APPLICATION_DATA);
        let data = &self.seen[encrypted.unwrap_or(self.seen.len())..];
        if handshake.is_1_2() {
            return Some(data);
        }
        match data {
            [first, second, ..] if first.is_ticket_like(second) => {
                let tickets = data.iter().take_while(|next| first.is_ticket_like(next));
                Some(&data[tickets.count()..])
            }
            [_, _, ..] => Some(data),
            [one] if !self.whole && self.unseen != one.length as u64 + HEADER as u64 => Some(data),
            _ => None,
        }
    }
}

/// What speaks more than one thing at once, or something that nobody knows: the handshake alone asks for nothing.
fn other(turn: &Turn) -> Option<ExchangeState> {
    let asked = records(&turn.ask, turn.asked());
    let shakes = turn.number > 1 && turn.ask.first() != Some(&APPLICATION_DATA);
    let finished = |record: &Record| record.kind != APPLICATION_DATA || FINISHED.contains(&record.length);
    let idle = shakes && asked.whole && asked.seen.iter().all(finished);
    (!idle).then_some(ExchangeState::Opaque)
}

/// The handshake says nothing of protocols. Only what looks like HTTP/1 is believed to take turns then: a question in a
/// record of some length, then its answer.
fn unnamed(turn: &Turn) -> Option<ExchangeState> {
    if turn.number < EARNED || !like_http1(&turn.ask) {
        other(turn)
    } else if !is_answered(turn) || turn.answer_bytes <= CLOSE_NOTIFY_WIRE {
        // No answer, or no more than a close_notify.
        Some(ExchangeState::Unanswered)
    } else if like_http1(&turn.answer) {
        Some(ExchangeState::Complete)
    } else {
        Some(ExchangeState::Opaque)
    }
}

/// Whether the turn's answer came after all of its question.
fn is_answered(turn: &Turn) -> bool {
    turn.answer_bytes > 0 && turn.answer_last_ns >= turn.ask_last_ns
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
    let asked = records(&turn.ask, turn.asked());
    if !asked.whole || asked.seen.iter().any(|record| !record.complete) {
        return false;
    }
    match &asked.seen[..] {
        [only] if only.kind == APPLICATION_DATA => only.length == CLOSE_NOTIFY,
        seen => seen.iter().all(|record| record.kind == ALERT),
    }
}

impl Record {
    /// Both may be session tickets that a server sends at once.
    fn is_ticket_like(&self, other: &Self) -> bool {
        self.kind == APPLICATION_DATA
            && other.kind == APPLICATION_DATA
            && self.length == other.length
            && self.complete
            && other.complete
            && TICKETS.contains(&self.length)
    }
}

#[cfg(test)]
mod tests;
