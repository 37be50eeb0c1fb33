//! AMQP 0-9-1: methods that wait for their answer, deliveries that wait for the consumer's acknowledgement, and messages
//! that wait for the broker's confirm.
//!
//! A delivery is acknowledged in a later turn: those of the current turn are not yet. Whether a consumer acknowledges at
//! all shows in what it asked in this turn; where that does not show, nothing is claimed. Nor is anything of messages
//! that were published where it does not show that their channel confirms.
//!
//! <https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf>

mod frames;
mod publishes;

use self::frames::{Method, methods, short};
use super::{
    Context, Reading,
    calls::{self, MOST},
    text,
};
use crate::{
    event::Role,
    exchange::{Exchange, ExchangeState, Message, Operation, Protocol},
    record::Turn,
};

/// What a client of version 0-9-1 says first.
const HEADER: [u8; 8] = *b"AMQP\0\0\x09\x01";

/// Classes and methods.
mod method {
    pub const CONNECTION: u16 = 10;
    pub const CONNECTION_CLOSE: (u16, u16) = (CONNECTION, 50);
    pub const CONNECTION_CLOSE_OK: (u16, u16) = (CONNECTION, 51);
    pub const CHANNEL_CLOSE: (u16, u16) = (20, 40);
    pub const BASIC_CONSUME: (u16, u16) = (60, 20);
    pub const BASIC_PUBLISH: (u16, u16) = (60, 40);
    pub const BASIC_DELIVER: (u16, u16) = (60, 60);
    pub const BASIC_GET: (u16, u16) = (60, 70);
    pub const BASIC_GET_OK: (u16, u16) = (60, 71);
    pub const BASIC_ACK: (u16, u16) = (60, 80);
    pub const BASIC_REJECT: (u16, u16) = (60, 90);
    pub const BASIC_NACK: (u16, u16) = (60, 120);
    pub const CONFIRM_SELECT: (u16, u16) = (85, 10);
    pub const CONFIRM_SELECT_OK: (u16, u16) = (85, 11);
    /// What the other side answers: of channels, exchanges, queues, consumers, transactions.
    pub const CALLS: &[(u16, u16)] = &[
        (20, 10),
        (40, 10),
        (40, 20),
        (50, 10),
        (50, 20),
        (50, 30),
        (50, 40),
        (50, 50),
        (60, 10),
        (60, 30),
        (90, 10),
        (90, 20),
        (90, 30),
    ];
}

/// Reads a turn of a connection that began with the header of this version.
pub(super) fn read(turn: &Turn, context: &Context<'_>) -> Option<Reading> {
    use ExchangeState::{Opaque, Unanswered};
    if turn.ask.starts_with(&HEADER) && turn.number <= 1 {
        return Some(Reading::default());
    }
    if turn.number <= 1 || turn.opening != HEADER {
        return None;
    }
    let asked = Asked::of(turn);
    if asked.goodbye {
        return Some(calls::goodbye());
    }
    if asked.enters {
        return Some(Reading::default());
    }
    let mut told = vec![];
    if context.role == Role::Client && asked.acknowledges {
        told.extend(delivered(turn).map(|to| (Some("process"), to, Unanswered, turn.message_first_ns)));
    }
    let published = publishes::of(turn, context.ask_unread).into_iter();
    told.extend(published.map(|one| (Some("publish"), one.destination, one.state, turn.ask_first_ns)));
    if told.is_empty() {
        let state = if asked.calls && !is_answered(turn) {
            Unanswered
        } else {
            Opaque
        };
        told.push((None, None, state, turn.ask_first_ns));
    }
    let exchange = |(index, (operation, destination, state, started_ns))| Exchange {
        started_ns,
        last_ns: turn.last_ns(),
        ..calls::exchange(
            turn,
            index,
            Protocol::Amqp,
            Operation::Message(Message {
                operation: Option::map(operation, str::to_owned),
                destination,
            }),
            state,
        )
    };
    Some(Reading::of(
        told.into_iter().take(MOST).enumerate().map(exchange).collect(),
    ))
}

/// Whether anything was answered but that the broker leaves.
fn is_answered(turn: &Turn) -> bool {
    let leaves = methods(&turn.answer)
        .next()
        .is_some_and(|method| method.number == method::CONNECTION_CLOSE);
    turn.answer_bytes > 0 && !leaves
}

/// Where a message goes, by the names of an exchange and a routing key that stand there: the key, behind its exchange where
/// that has a name.
fn destination(arguments: &[u8], at: usize) -> Option<String> {
    let (exchange, key) = short(arguments, at)?;
    let (key, _) = short(arguments, key)?;
    let name = if exchange.is_empty() {
        text::name(key)
    } else {
        text::name(&[exchange, b":", key].concat())
    };
    Some(name).filter(|name| !name.is_empty())
}

/// What was asked in a turn.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that are independent of each other, named one by one"
)]
#[derive(Debug, Default)]
struct Asked {
    /// It acknowledged, or consumes in a way that asks for it.
    acknowledges: bool,
    /// The last thing that it said is answered.
    calls: bool,
    /// It is on its way in.
    enters: bool,
    goodbye: bool,
}

impl Asked {
    fn of(turn: &Turn) -> Self {
        let mut asked = Self::default();
        for Method { number, arguments } in methods(&turn.ask) {
            asked.calls = method::CALLS.contains(&number);
            match number {
                method::BASIC_ACK | method::BASIC_REJECT | method::BASIC_NACK => asked.acknowledges = true,
                // A reserved number, the queue, for a consumer its tag, then bits.
                method::BASIC_GET => {
                    let bits = short(arguments, 2).and_then(|(_, bits)| arguments.get(bits));
                    asked.acknowledges |= bits.is_some_and(|bits| bits & 1 == 0);
                }
                method::BASIC_CONSUME => {
                    let tag = short(arguments, 2).and_then(|(_, tag)| short(arguments, tag));
                    let bits = tag.and_then(|(_, bits)| arguments.get(bits));
                    asked.acknowledges |= bits.is_some_and(|bits| bits & 2 == 0);
                }
                method::CONNECTION_CLOSE | method::CHANNEL_CLOSE => asked.goodbye = true,
                // The broker's goodbye: what was cut by it is not known here.
                method::CONNECTION_CLOSE_OK => {}
                _ => asked.enters |= number.0 == method::CONNECTION,
            }
        }
        asked
    }
}

/// Where what was delivered in a turn had been sent to.
fn delivered(turn: &Turn) -> impl Iterator<Item = Option<String>> {
    methods(&turn.answer).filter_map(|Method { number, arguments }| {
        // A consumer's tag; the delivery's, eight bytes; whether it was delivered before.
        match number {
            method::BASIC_DELIVER => Some(destination(arguments, short(arguments, 0)?.1 + 9)),
            method::BASIC_GET_OK => Some(destination(arguments, 9)),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests;
