//! From what was recorded of a connection to its exchanges. Pure, one file per protocol; payload ends here.
//!
//! A reader gets a [`Turn`] and its [`Context`], and says what stands there and what it learned of the
//! session, or that it does not know this protocol. To add one: one file with a `Reader`, and its line
//! in `READERS`.
//!
//! Nothing here fails or panics, whatever the bytes: they come from the network.

mod amqp;
mod calls;
mod fastcgi;
mod headers;
mod http1;
mod http2;
mod kafka;
mod late;
mod memcached;
mod mongodb;
mod mqtt;
mod mysql;
mod nats;
mod pins;
mod polls;
mod postgresql;
mod preface;
mod probes;
mod redis;
mod senders;
mod smtp;
mod text;
mod tls;
mod waiting;
mod websocket;
mod wire;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod recorder;

use std::sync::Arc;

use crate::{
    event::{Connection, End, Event, EventKind, Role},
    exchange::{Doubt, Exchange, ExchangeId, ExchangeState, Protocol},
    record::{Fact, Recorded, Turn},
};
pub use headers::{HeaderRules, Pattern};
pub use pins::{MOST_PINS, Pin, Pins, protocols};
pub use senders::NAMES as SENDERS;

/// What a reader is told besides the turn.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Which end of the connection we are.
    pub role: Role,
    /// Our port.
    pub local_port: u16,
    /// The peer's.
    pub peer_port: u16,
    /// Received and not read by the process, in the request direction.
    pub ask_unread: u64,
    /// The connection is older than the agent, and no turn was seen from its beginning.
    pub seeded: bool,
    /// How the connection stands.
    pub ending: Ending,
    /// The user's rules on headers of requests.
    pub rules: &'a HeaderRules,
    /// What the user says is spoken there.
    pub pinned: Option<Protocol>,
}

/// How the connection stands, as far as it changes the meaning of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Open, or cut: its end says nothing about the last response.
    Cut,
    /// The answering program, alive, closed it: the end of the connection is the framing of a response
    /// without a length (RFC 9112 section 6.3, rule 8).
    Orderly,
}

/// What stands on a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Oldest first. Empty when nothing was asked.
    pub exchanges: Vec<Exchange>,
    /// Of the connection as a whole.
    pub session: Session,
}

/// What was learned of a connection beyond its exchanges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Session {
    /// The protocol's goodbye was said: what ends after it was not cut.
    pub goodbye: bool,
}

/// The path of a request for this target, as reports show paths: for what is to be compared with them.
pub fn shown_path(target: &str) -> Option<String> {
    text::target(target.as_bytes(), false, true).0
}

/// What the user says of what is spoken.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    /// Rules on headers of requests.
    pub headers: HeaderRules,
    /// Protocols by port.
    pub protocols: Arc<Pins>,
}

/// Reads one protocol; `None` for "not mine".
type Reader = fn(&Turn, &Context<'_>) -> Option<Reading>;

/// The protocols that can be read in clear, the most particular first. What none of them knows is
/// judged by turn-taking ([`wire`]).
const READERS: &[(Protocol, Reader)] = &[
    (Protocol::Http2, http2::read),
    (Protocol::PostgreSql, postgresql::read),
    (Protocol::MySql, mysql::read),
    (Protocol::Amqp, amqp::read),
    (Protocol::Redis, redis::read),
    (Protocol::Memcached, memcached::read),
    (Protocol::MongoDb, mongodb::read),
    (Protocol::FastCgi, fastcgi::read),
    (Protocol::Nats, nats::read),
    (Protocol::Smtp, smtp::read),
    (Protocol::Mqtt, mqtt::read),
    (Protocol::Kafka, kafka::read),
    (Protocol::Http11, http1::read),
    (Protocol::Tls, tls::read),
];

/// The event that a fact is, with the exchanges of its connection.
///
/// Bounded: an [`ASK_HEAD`](crate::record::ASK_HEAD) of requests makes at most some sixty exchanges.
/// Where the evidence does not say, the state is [`ExchangeState::Unknown`]; it is never guessed.
pub fn event(fact: Fact, rules: &Rules) -> Event {
    let Recorded {
        at_ns,
        connection,
        turn,
    } = match fact {
        Fact::Event(event) => return event,
        Fact::Late { event, bytes } => return late::read(event, bytes, rules),
        Fact::Connection(recorded) => *recorded,
    };
    let turn = preface::without(turn.joined());
    let context = Context::of(&connection, &turn, rules);
    let Reading { exchanges, session } = read(&turn, &context);
    let moved = turn.asked() > 0 || turn.answer_bytes > 0 || connection.unread > 0 || turn.mptcp;
    let connection = Connection {
        silent: !moved && !connection.seeded,
        goodbye: session.goodbye && exchanges.is_empty(),
        exchanges,
        ..connection
    };
    let kind = match connection.end {
        End::Open => EventKind::TurnEnded(connection),
        _ => EventKind::ConnectionEnded(connection),
    };
    Event { at_ns, kind }
}

/// What stands on a connection in this turn.
///
/// For [`Role::Unknown`] no state is believed, since it is not known which direction asked. For a
/// connection older than the agent only what was seen to finish, or to have become a stream, is: what is
/// under way may belong to a request from before.
pub fn read(turn: &Turn, context: &Context<'_>) -> Reading {
    if turn.mptcp {
        return Reading::of(vec![wire::unrecorded(turn, Doubt::Mptcp)]);
    }
    // On an older connection nothing may have moved since because a request was under way then.
    let nothing = turn.ask_bytes == 0 && turn.answer_bytes == 0 && context.ask_unread == 0;
    if nothing && !context.seeded {
        return Reading::default();
    }
    let read = READERS
        .iter()
        .filter(|(protocol, _)| context.pinned.is_none_or(|pinned| pinned == *protocol))
        .find_map(|(_, read)| read(turn, context));
    // Bytes on an HTTP connection that begin no request: the rest of an upload that was answered early.
    let strays = turn.http && read.is_none() && context.pinned.is_none();
    let mut reading = read.unwrap_or_else(|| wire::read(turn, context));
    for exchange in &mut reading.exchanges {
        if exchange.state == ExchangeState::Stream && reading.session.goodbye {
            exchange.state = ExchangeState::Complete;
        }
        let believed = match context.role {
            _ if strays => false,
            Role::Unknown => false,
            Role::Server | Role::Client if context.seeded => {
                matches!(exchange.state, ExchangeState::Complete | ExchangeState::Stream)
            }
            Role::Server | Role::Client => true,
        };
        let opaque = exchange.state == ExchangeState::Opaque && context.role != Role::Unknown;
        if !believed && (strays || !opaque) {
            exchange.state = ExchangeState::Unknown;
            exchange.doubt = Some(match () {
                () if !strays => Doubt::OlderThanAgent,
                () if turn.ask.is_empty() => Doubt::Gap,
                () => Doubt::EarlyAnswer,
            });
        }
        if strays {
            exchange.started_ns = 0; // nothing new was asked
        }
    }
    waiting::name(&mut reading.exchanges, turn, context);
    reading
}

impl Reading {
    /// These exchanges, and nothing of the session.
    fn of(exchanges: Vec<Exchange>) -> Self {
        Self {
            exchanges,
            session: Session::default(),
        }
    }
}

impl<'a> Context<'a> {
    fn of(connection: &Connection, turn: &Turn, rules: &'a Rules) -> Self {
        let answering = match connection.role {
            Role::Server => Some(connection.local.port()),
            Role::Client => Some(connection.peer.port()),
            Role::Unknown => None,
        };
        Self {
            role: connection.role,
            local_port: connection.local.port(),
            peer_port: connection.peer.port(),
            // What a client has not read is of an answer.
            ask_unread: match connection.role {
                Role::Client => 0,
                Role::Server | Role::Unknown => connection.unread.into(),
            },
            seeded: connection.seeded && turn.number == 0,
            ending: match connection.end {
                End::Close => Ending::Orderly,
                _ => Ending::Cut,
            },
            rules: &rules.headers,
            pinned: answering.and_then(|port| rules.protocols.of(port)),
        }
    }
}

impl Turn {
    /// Bytes that the process read, never fewer than were captured.
    fn asked(&self) -> u64 {
        self.ask_bytes.max(self.ask.len() as u64)
    }

    /// Time of the last byte in either direction.
    fn last_ns(&self) -> u64 {
        self.ask_last_ns.max(self.answer_last_ns)
    }

    /// Identity of the exchange with this number in the turn.
    fn id(&self, index: usize) -> ExchangeId {
        ExchangeId::Turn {
            turn: self.number.into(),
            index: u32::try_from(index).unwrap_or(u32::MAX),
        }
    }

    /// With head and tail put together, where they meet: then they are the whole message.
    fn joined(mut self) -> Self {
        if let Some(tail) = &self.tail
            && self.message_bytes == (self.answer.len() + tail.len()) as u64
        {
            self.answer.extend_from_slice(tail);
        }
        self
    }
}
