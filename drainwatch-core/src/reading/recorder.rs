//! For tests: records a conversation as the kernel side does.

use super::{Context, Ending, HeaderRules, read};
use crate::{
    event::Role,
    exchange::{Exchange, ExchangeState, Protocol},
    record::{ANSWER_HEAD, ASK_HEAD, Hellos, TAIL, Turn},
};

/// A turn of a connection, the first unless said otherwise.
#[derive(Debug, Clone)]
pub(super) struct Recorder {
    pub turn: Turn,
    tail: Vec<u8>,
    tail_lost: bool,
    ask_unread: u64,
    seeded: bool,
    clock: u64,
}

impl Recorder {
    /// It is this turn of its connection.
    pub(super) fn turn(mut self, number: u32) -> Self {
        self.turn.number = number;
        self
    }

    /// The first turn of its connection, or any other, began with this.
    pub(super) fn opening(mut self, bytes: [u8; 8]) -> Self {
        self.turn.opening = bytes;
        self
    }

    /// What was answered last before this turn began with this.
    pub(super) fn before(mut self, bytes: &[u8]) -> Self {
        let length = bytes.len().min(self.turn.before.len());
        self.turn.before[..length].copy_from_slice(&bytes[..length]);
        self
    }

    /// Its handshake, as far as it was kept.
    pub(super) fn hellos(mut self, client: &[u8], server: &[u8]) -> Self {
        self.turn.hellos = Some(Box::new(Hellos {
            client: client.into(),
            server: server.into(),
        }));
        self
    }

    /// An earlier answer on the connection was HTTP/1.
    pub(super) fn http(mut self) -> Self {
        self.turn.http = true;
        self
    }

    /// The process reads.
    pub(super) fn read(mut self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        if bytes.is_empty() {
            return self;
        }
        let turn = &mut self.turn;
        let room = ASK_HEAD.saturating_sub(turn.ask.len()).min(bytes.len());
        if turn.ask_bytes == turn.ask.len() as u64 {
            turn.ask.extend(&bytes[..room]);
        }
        self.read_lost(bytes.len() as u64)
    }

    /// The process reads in a way that shows no payload.
    pub(super) fn read_lost(mut self, bytes: u64) -> Self {
        self.clock += 10;
        self.turn.ask_bytes += bytes;
        self.turn.ask_last_ns = self.clock;
        if self.turn.ask_first_ns == 0 {
            self.turn.ask_first_ns = self.clock;
        }
        self
    }

    /// Bytes arrive that the process does not read.
    pub(super) fn unread(mut self, bytes: u64) -> Self {
        self.ask_unread += bytes;
        self
    }

    /// The process writes, in one system call.
    pub(super) fn write(mut self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        if bytes.is_empty() {
            return self;
        }
        if self.turn.message_bytes > self.turn.answer.len() as u64 {
            let last = self.tail.last_chunk().copied();
            self.turn.before_last = last.unwrap_or_default();
        }
        self.turn.before = [0; 16];
        self.tail.extend(bytes);
        self.tail.drain(..self.tail.len().saturating_sub(TAIL));
        self.tail_lost = false;
        self = self.wrote(bytes.len() as u64);
        let turn = &mut self.turn;
        let interim = |head: &[u8]| head.starts_with(b"HTTP/1.1 10") && !head.starts_with(b"HTTP/1.1 101");
        turn.interim = interim(bytes) && bytes.len() <= 64 && bytes.ends_with(b"\r\n\r\n");
        if turn.interim {
            return self;
        }
        if turn.message_bytes == 0 || bytes.starts_with(b"HTTP/1.") {
            turn.interims += u32::from(interim(&turn.answer));
            turn.answers += 1;
            turn.message_first_ns = self.clock;
            turn.message_bytes = 0;
            turn.answer.clear();
        }
        if turn.message_bytes == turn.answer.len() as u64 {
            let room = ANSWER_HEAD.saturating_sub(turn.answer.len()).min(bytes.len());
            turn.answer.extend(&bytes[..room]);
        }
        turn.message_bytes += bytes.len() as u64;
        self
    }

    /// The process writes in a way that shows no payload (`sendfile`).
    pub(super) fn write_lost(mut self, bytes: u64) -> Self {
        self.tail_lost = true;
        self = self.wrote(bytes);
        self.turn.message_bytes += bytes;
        self.turn.answers = self.turn.answers.max(1);
        self
    }

    fn wrote(mut self, bytes: u64) -> Self {
        self.clock += 10;
        self.turn.answer_last_ns = self.clock;
        self.turn.answer_bytes += bytes;
        self.turn.tail = (!self.tail_lost).then(|| self.tail.clone());
        self
    }

    /// The connection is older than the agent.
    pub(super) fn seeded(mut self) -> Self {
        self.seeded = true;
        self
    }

    /// An open connection of a server.
    pub(super) fn context(&self) -> Context<'static> {
        Context {
            role: Role::Server,
            local_port: 80,
            peer_port: 40_000,
            ask_unread: self.ask_unread,
            seeded: self.seeded,
            ending: Ending::Cut,
            rules: HeaderRules::NONE,
            pinned: None,
        }
    }

    pub(super) fn judged(&self) -> Vec<Exchange> {
        self.judged_in(self.context())
    }

    pub(super) fn judged_in(&self, context: Context<'_>) -> Vec<Exchange> {
        read(&self.turn, &context).exchanges
    }

    pub(super) fn judged_as(&self, role: Role) -> Vec<Exchange> {
        let context = Context {
            role,
            ..self.context()
        };
        self.judged_in(context)
    }

    /// From either end it is this protocol, and as far as this.
    #[track_caller]
    pub(super) fn assert_both_ends(&self, protocol: Protocol, expected: &[ExchangeState]) {
        for role in [Role::Server, Role::Client] {
            let exchanges = self.judged_as(role);
            let states: Vec<_> = exchanges.iter().map(|exchange| exchange.state).collect();
            assert_eq!(states, expected, "{role:?}");
            assert!(exchanges.iter().all(|exchange| exchange.protocol == protocol));
        }
    }

    pub(super) fn states(&self) -> Vec<ExchangeState> {
        states(&self.judged())
    }

    pub(super) fn states_when_closed(&self) -> Vec<ExchangeState> {
        states(&self.judged_in(Context {
            ending: Ending::Orderly,
            ..self.context()
        }))
    }
}

fn states(exchanges: &[Exchange]) -> Vec<ExchangeState> {
    exchanges.iter().map(|exchange| exchange.state).collect()
}

/// A conversation that has not begun.
pub(super) fn given() -> Recorder {
    Recorder {
        turn: Turn {
            number: 1,
            ..Turn::default()
        },
        tail: vec![],
        tail_lost: false,
        ask_unread: 0,
        seeded: false,
        clock: 0,
    }
}
