//! AMQP 0-9-1: methods that wait for their answer, and deliveries that wait for the consumer's acknowledgement.
//!
//! A delivery is acknowledged in a later turn: those of the current turn are not yet. Whether a consumer acknowledges at
//! all shows in what it asked in this turn; where that does not show, nothing is claimed. Nor is anything of messages
//! that were published: whether they are confirmed was agreed on long before.
//!
//! <https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf>

use super::{Context, Reading, Session, calls::MOST, text};
use crate::{
    event::Role,
    exchange::{Evidence, Exchange, ExchangeState, Message, Operation, Protocol},
    record::Turn,
};

/// What a client of version 0-9-1 says first.
const HEADER: [u8; 8] = *b"AMQP\0\0\x09\x01";
const METHOD: u8 = 1;
const HEARTBEAT: u8 = 8;
const END: u8 = 0xce;

/// Classes and methods.
mod method {
    pub const CONNECTION: u16 = 10;
    pub const CONNECTION_CLOSE: (u16, u16) = (CONNECTION, 50);
    pub const CONNECTION_CLOSE_OK: (u16, u16) = (CONNECTION, 51);
    pub const CHANNEL_CLOSE: (u16, u16) = (20, 40);
    pub const BASIC_CONSUME: (u16, u16) = (60, 20);
    pub const BASIC_DELIVER: (u16, u16) = (60, 60);
    pub const BASIC_GET: (u16, u16) = (60, 70);
    pub const BASIC_GET_OK: (u16, u16) = (60, 71);
    pub const BASIC_ACK: (u16, u16) = (60, 80);
    pub const BASIC_REJECT: (u16, u16) = (60, 90);
    pub const BASIC_NACK: (u16, u16) = (60, 120);
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
    if turn.ask.starts_with(&HEADER) && turn.number <= 1 {
        return Some(Reading::default());
    }
    if turn.number <= 1 || turn.opening != HEADER {
        return None;
    }
    let asked = Asked::of(turn);
    let answered = Answered::of(turn);
    if asked.goodbye {
        return Some(Reading {
            session: Session { goodbye: true },
            ..Reading::default()
        });
    }
    if asked.enters {
        return Some(Reading::default());
    }
    let exchange =
        |index: usize, state, operation: Option<&str>, destination: Option<String>, started_ns| Exchange {
            id: turn.id(index),
            protocol: Protocol::Amqp,
            operation: Operation::Message(Message {
                operation: operation.map(str::to_owned),
                destination,
            }),
            evidence: if state == ExchangeState::Opaque {
                Evidence::Inferred
            } else {
                Evidence::Exact
            },
            state,
            doubt: None,
            uploading: false,
            reset: false,
            unread: false,
            started_ns,
            last_ns: turn.last_ns(),
        };
    let mut exchanges = vec![];
    if context.role == Role::Client && asked.acknowledges {
        for destination in answered.delivered.into_iter().take(MOST) {
            let destination = Some(destination).filter(|name| !name.is_empty());
            let state = ExchangeState::Unanswered;
            let started = turn.message_first_ns;
            exchanges.push(exchange(
                exchanges.len(),
                state,
                Some("process"),
                destination,
                started,
            ));
        }
    }
    if exchanges.is_empty() && asked.calls && turn.answer_bytes == 0 {
        exchanges.push(exchange(
            0,
            ExchangeState::Unanswered,
            None,
            None,
            turn.ask_first_ns,
        ));
    }
    if exchanges.is_empty() {
        exchanges.push(exchange(0, ExchangeState::Opaque, None, None, turn.ask_first_ns));
    }
    Some(Reading::of(exchanges))
}

/// A method, as far as it was kept.
struct Method<'a> {
    number: (u16, u16),
    arguments: &'a [u8],
}

/// The methods among the frames, as far as they were kept.
fn methods(bytes: &[u8]) -> impl Iterator<Item = Method<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        loop {
            let (&[kind, _, _, a, b, c, d], behind) = rest.split_first_chunk()?;
            if !matches!(kind, 1..=3 | HEARTBEAT) {
                rest = &[];
                return None;
            }
            let size = u32::from_be_bytes([a, b, c, d]) as usize;
            let payload = &behind[..behind.len().min(size)];
            rest = match behind.get(size) {
                Some(&END) => &behind[size + 1..],
                _ => &[],
            };
            if kind != METHOD {
                continue;
            }
            let (&[c0, c1, m0, m1], arguments) = payload.split_first_chunk()?;
            return Some(Method {
                number: (u16::from_be_bytes([c0, c1]), u16::from_be_bytes([m0, m1])),
                arguments,
            });
        }
    })
}

/// The short string at `at`, and where the next argument stands.
fn short(arguments: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let begin = at + 1;
    let end = begin + usize::from(*arguments.get(at)?);
    Some((arguments.get(begin..end)?, end))
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
                method::CONNECTION_CLOSE | method::CONNECTION_CLOSE_OK | method::CHANNEL_CLOSE => {
                    asked.goodbye = true;
                }
                _ => asked.enters |= number.0 == method::CONNECTION,
            }
        }
        asked
    }
}

/// What was delivered in a turn.
#[derive(Debug, Default)]
struct Answered {
    /// Where to: routing key, behind its exchange where that has a name.
    delivered: Vec<String>,
}

impl Answered {
    fn of(turn: &Turn) -> Self {
        let destination = |Method { number, arguments }: Method<'_>| {
            // A consumer's tag; the delivery's, eight bytes; whether it was delivered before.
            let at = match number {
                method::BASIC_DELIVER => short(arguments, 0)?.1 + 9,
                method::BASIC_GET_OK => 9,
                _ => return None,
            };
            let name = || {
                let (exchange, key) = short(arguments, at)?;
                let (key, _) = short(arguments, key)?;
                Some(if exchange.is_empty() {
                    text::name(key)
                } else {
                    text::name(&[exchange, b":", key].concat())
                })
            };
            Some(name().unwrap_or_default())
        };
        Self {
            delivered: methods(&turn.answer).filter_map(destination).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
