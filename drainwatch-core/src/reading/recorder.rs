//! For tests: records a conversation as the kernel side does, and lends it as a [`Capture`].

use super::{
    ANSWER_HEAD, ASK_HEAD, Capture, Exchange, ExchangeState, HeaderRules, TAIL, judge, judge_closed,
};
use crate::event::Role;

/// One turn of a connection.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "mirrors Capture")]
pub(super) struct Recorder {
    ask: Vec<u8>,
    ask_bytes: u64,
    ask_unread: u64,
    answer: Vec<u8>,
    answer_bytes: u64,
    message_bytes: u64,
    answers: u32,
    tail: Vec<u8>,
    tail_lost: bool,
    ask_lost: bool,
    answer_lost: bool,
    interim: bool,
    seeded: bool,
    clock: u64,
    ask_first_ns: u64,
    ask_last_ns: u64,
    answer_last_ns: u64,
    message_first_ns: u64,
}

impl Recorder {
    /// The process reads.
    pub(super) fn read(mut self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        if bytes.is_empty() {
            return self;
        }
        let room = ASK_HEAD.saturating_sub(self.ask.len()).min(bytes.len());
        if self.ask_bytes == self.ask.len() as u64 {
            self.ask.extend(&bytes[..room]);
        }
        self.read_unseen(bytes.len() as u64, false)
    }

    /// The process reads in a way that shows no payload.
    pub(super) fn read_lost(self, bytes: u64) -> Self {
        self.read_unseen(bytes, true)
    }

    fn read_unseen(mut self, bytes: u64, lost: bool) -> Self {
        self.clock += 10;
        self.ask_lost |= lost;
        self.ask_bytes += bytes;
        self.ask_last_ns = self.clock;
        if self.ask_first_ns == 0 {
            self.ask_first_ns = self.clock;
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
        self.clock += 10;
        self.answer_last_ns = self.clock;
        self.answer_bytes += bytes.len() as u64;
        self.tail.extend(bytes);
        self.tail.drain(..self.tail.len().saturating_sub(TAIL));
        self.tail_lost = false;
        self.interim = bytes.starts_with(b"HTTP/1.1 10") && !bytes.starts_with(b"HTTP/1.1 101");
        if self.interim {
            return self;
        }
        if self.message_bytes == 0 || bytes.starts_with(b"HTTP/1.") {
            self.answers += 1;
            self.message_first_ns = self.clock;
            self.message_bytes = 0;
            self.answer.clear();
            self.answer_lost = false;
        }
        if self.message_bytes == self.answer.len() as u64 {
            let room = ANSWER_HEAD.saturating_sub(self.answer.len()).min(bytes.len());
            self.answer.extend(&bytes[..room]);
        }
        self.message_bytes += bytes.len() as u64;
        self
    }

    /// The process writes in a way that shows no payload (`sendfile`).
    pub(super) fn write_lost(mut self, bytes: u64) -> Self {
        self.clock += 10;
        self.answer_last_ns = self.clock;
        self.answer_bytes += bytes;
        self.message_bytes += bytes;
        self.answers = self.answers.max(1);
        self.answer_lost |= self.answer.is_empty();
        self.tail_lost = true;
        self
    }

    /// The connection is older than the agent.
    pub(super) fn seeded(mut self) -> Self {
        self.seeded = true;
        self
    }

    pub(super) fn capture(&self) -> Capture<'_> {
        Capture {
            ask: &self.ask,
            ask_bytes: self.ask_bytes,
            ask_unread: self.ask_unread,
            answer: &self.answer,
            answer_bytes: self.answer_bytes,
            message_bytes: self.message_bytes,
            answers: self.answers,
            tail: (!self.tail_lost && self.answer_bytes > 0).then_some(&*self.tail),
            ask_lost: self.ask_lost,
            answer_lost: self.answer_lost,
            interim: self.interim,
            http: false,
            seeded: self.seeded,
            ask_first_ns: self.ask_first_ns,
            ask_last_ns: self.ask_last_ns,
            answer_last_ns: self.answer_last_ns,
            message_first_ns: self.message_first_ns,
            rules: HeaderRules::NONE,
        }
    }

    pub(super) fn judged(&self) -> Vec<Exchange> {
        judge(&self.capture(), Role::Server)
    }

    pub(super) fn states(&self) -> Vec<ExchangeState> {
        self.judged().into_iter().map(|exchange| exchange.state).collect()
    }

    pub(super) fn states_when_closed(&self) -> Vec<ExchangeState> {
        judge_closed(&self.capture(), Role::Server)
            .into_iter()
            .map(|exchange| exchange.state)
            .collect()
    }
}

/// A conversation that has not begun.
pub(super) fn given() -> Recorder {
    Recorder::default()
}
