//! What was recorded of a connection: whatever the bytes and the counts, few exchanges, each with its own identity.
//!
//! `DRAINWATCH_FUZZ_OPENING=N` makes every connection begin like the `N`th of the protocols that are known by that, so
//! that one reader gets all inputs.
#![no_main]

use std::{collections::BTreeSet, sync::LazyLock};

use drainwatch_core::{
    event::Role,
    reading::{Context, Ending, HeaderRules, read},
    record::{ANSWER_HEAD, ASK_HEAD, Hellos, TAIL, Turn},
};
use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};

/// Most exchanges that a head of requests can hold: each takes some sixteen bytes at least.
const MOST_EXCHANGES: usize = ASK_HEAD / 16 + 2;

/// First bytes of connections whose protocol is known by them: chance does not find those.
const OPENINGS: [[u8; 8]; 12] = [
    *b"\0\0\0\x54\0\x03\0\0",
    *b"\x54\0\0\x01\x85\xa2\xff\x01",
    *b"*2\r\n$3\r\n",
    *b"AMQP\0\0\x09\x01",
    *b"\x10\x10\0\x04MQTT",
    [0, 0, 0, 30, 0, 18, 0, 3],
    *b"CONNECT ",
    *b"EHLO me\r",
    *b"set a 0 ",
    [200, 0, 0, 0, 9, 0, 0, 0],
    [1, 1, 0, 1, 0, 8, 0, 0],
    [22, 3, 1, 2, 0, 1, 0, 1],
];

/// The one that all begin with.
static ONLY: LazyLock<Option<usize>> = LazyLock::new(|| {
    let number: usize = std::env::var("DRAINWATCH_FUZZ_OPENING").ok()?.parse().ok()?;
    (number < OPENINGS.len()).then_some(number)
});

#[derive(Arbitrary, Debug)]
struct Input {
    known: Option<u8>,
    server: Option<bool>,
    orderly: bool,
    seeded: bool,
    interim: bool,
    http: bool,
    mptcp: bool,
    hellos: Option<(Vec<u8>, Vec<u8>)>,
    number: u32,
    answers: u32,
    ports: [u16; 2],
    counts: [u64; 4],
    times: [u64; 4],
    opening: [u8; 8],
    before_last: [u8; 8],
    before: [u8; 16],
    interims: u32,
    tail: Option<Vec<u8>>,
    answer: Vec<u8>,
    ask: Vec<u8>,
    waiting: Vec<u8>,
}

fn head(mut bytes: Vec<u8>, most: usize) -> Vec<u8> {
    bytes.truncate(most);
    bytes
}

fuzz_target!(|input: Input| {
    let any = ["*: *".to_owned()];
    let rules = HeaderRules::new([&any[..]]);
    let [ask_bytes, answer_bytes, message_bytes, ask_unread] = input.counts;
    let [ask_first_ns, ask_last_ns, answer_last_ns, message_first_ns] = input.times;
    let turn = Turn {
        opening: match (*ONLY, input.known) {
            (Some(only), _) => OPENINGS[only],
            (None, Some(known)) => OPENINGS[usize::from(known) % OPENINGS.len()],
            (None, None) => input.opening,
        },
        before_last: input.before_last,
        before: input.before,
        number: input.number,
        ask: head(input.ask, ASK_HEAD),
        ask_bytes,
        answer: head(input.answer, ANSWER_HEAD),
        answer_bytes,
        message_bytes,
        answers: input.answers,
        interims: input.interims,
        tail: input.tail.map(|tail| head(tail, TAIL)),
        interim: input.interim,
        http: input.http,
        ask_first_ns,
        ask_last_ns,
        answer_last_ns,
        message_first_ns,
        http2: None,
        hellos: input
            .hellos
            .map(|(client, server)| Box::new(Hellos { client, server })),
        mptcp: input.mptcp,
        waiting: head(input.waiting, ASK_HEAD),
    };
    let context = Context {
        role: match input.server {
            Some(true) => Role::Server,
            Some(false) => Role::Client,
            None => Role::Unknown,
        },
        local_port: input.ports[0],
        peer_port: input.ports[1],
        ask_unread,
        seeded: input.seeded,
        ending: if input.orderly {
            Ending::Orderly
        } else {
            Ending::Cut
        },
        rules: &rules,
        pinned: None,
    };
    let exchanges = read(&turn, &context).exchanges;
    assert!(exchanges.len() <= MOST_EXCHANGES, "{} exchanges", exchanges.len());
    let ids: BTreeSet<_> = exchanges.iter().map(|exchange| exchange.id).collect();
    assert_eq!(ids.len(), exchanges.len(), "two exchanges share an identity");
});
