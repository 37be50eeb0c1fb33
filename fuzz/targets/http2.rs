//! What was kept of HTTP/2: whatever the streams and the header blocks, each stream once, and nothing exact where the walk is lost.
#![no_main]

use std::collections::BTreeSet;

use drainwatch_core::{
    event::Role,
    exchange::ExchangeState,
    reading::{Context, Ending, HeaderRules, read},
    record::{Block, Http2, Http2Flow, Lost, Stream, StreamState, Turn},
};
use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};

#[derive(Arbitrary, Debug)]
struct Input {
    /// Of its walk, or of its storage.
    lost: Option<bool>,
    told_ns: u8,
    ask_unread: u64,
    flows: [(u64, bool, Option<u8>, Option<u8>, Option<u8>); 2],
    streams: Vec<(u8, u8, u8, bool, Vec<u8>, u8, (Vec<u8>, u8, [Option<u8>; 2]))>,
    blocks: [Vec<(u8, u8, Vec<u8>, bool)>; 2],
}

fn state(number: u8) -> StreamState {
    match number % 3 {
        0 => StreamState::Open,
        1 => StreamState::Ended,
        _ => StreamState::Reset,
    }
}

fuzz_target!(|input: Input| {
    let any = ["*: *".to_owned()];
    let rules = HeaderRules::new([&any[..]]);
    let [ask, answer] = input
        .flows
        .map(|(pending, unseen, ends, continues, goaway)| Http2Flow {
            pending,
            unseen,
            ends: ends.map(u32::from),
            continues: continues.map(u32::from),
            goaway: goaway.map(u32::from),
        });
    let mut streams: Vec<_> = input
        .streams
        .into_iter()
        .map(
            |(id, last, states, cut, block, at, (answer, answer_at, [before, grpc_status]))| Stream {
                id: u32::from(id) + 1,
                began_ns: 1,
                last_ns: last.into(),
                asked: state(states),
                answered: state(states / 3),
                cut,
                block,
                block_at: at.into(),
                answer,
                answer_at: answer_at.into(),
                before,
                grpc_status,
            },
        )
        .collect();
    streams.sort_by_key(|stream| stream.id);
    streams.dedup_by_key(|stream| stream.id);
    let most = streams.len() + 1;
    let [blocks, answers] = input.blocks.map(|blocks| {
        blocks
            .into_iter()
            .map(|(at, stream, bytes, cut)| Block {
                at: at.into(),
                stream: stream.into(),
                bytes,
                cut,
            })
            .collect()
    });
    let turn = Turn {
        number: 1,
        ask_bytes: 1,
        http2: Some(Box::new(Http2 {
            lost: input
                .lost
                .map(|walk| if walk { Lost::Walk } else { Lost::Storage }),
            told_ns: input.told_ns.into(),
            ask,
            answer,
            streams,
            blocks,
            answers,
        })),
        ..Turn::default()
    };
    let context = Context {
        role: Role::Server,
        local_port: 80,
        peer_port: 40_000,
        ask_unread: input.ask_unread,
        seeded: false,
        ending: Ending::Cut,
        rules: &rules,
        pinned: None,
    };
    let exchanges = read(&turn, &context).exchanges;
    assert!(exchanges.len() <= most, "{} exchanges", exchanges.len());
    let ids: BTreeSet<_> = exchanges.iter().map(|exchange| exchange.id).collect();
    assert_eq!(ids.len(), exchanges.len(), "two exchanges share an identity");
    // Neither says anything of a stream.
    let lost = input.lost.map(|walk| {
        if walk {
            ExchangeState::Opaque
        } else {
            ExchangeState::Unknown
        }
    });
    assert!(lost.is_none_or(|state| exchanges.iter().all(|exchange| exchange.state == state)));
});
