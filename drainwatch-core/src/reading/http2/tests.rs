use super::*;
use crate::{
    event::Role,
    reading::{Ending, read},
    record::{Block, Http2Flow, Lost},
};

/// A stream whose request is complete, on which nothing was answered.
fn asked(id: u32) -> Stream {
    Stream {
        id,
        began_ns: 10,
        last_ns: 10,
        asked: StreamState::Ended,
        ..Stream::default()
    }
}

/// One whose response has begun with 200.
fn answering(id: u32) -> Stream {
    Stream {
        answer: b"\x88".to_vec(),
        ..asked(id)
    }
}

fn answered(id: u32, last_ns: u64) -> Stream {
    Stream {
        answered: StreamState::Ended,
        last_ns,
        ..answering(id)
    }
}

fn exchanges_in(http2: Http2, ask_unread: u64) -> Vec<Exchange> {
    exchanges_of(http2, ask_unread, Role::Server)
}

fn exchanges_of(http2: Http2, ask_unread: u64, role: Role) -> Vec<Exchange> {
    let turn = Turn {
        number: 1,
        ask_bytes: 100,
        answer_bytes: 100,
        answer_last_ns: 50,
        http2: Some(http2.into()),
        ..Turn::default()
    };
    let context = Context {
        role,
        local_port: 80,
        peer_port: 40_000,
        ask_unread,
        seeded: false,
        ending: Ending::Cut,
        rules: HeaderRules::NONE,
        pinned: None,
    };
    read(&turn, &context).exchanges
}

fn exchanges(http2: Http2) -> Vec<Exchange> {
    exchanges_in(http2, 0)
}

fn states(http2: Http2) -> Vec<(u32, ExchangeState)> {
    exchanges(http2)
        .iter()
        .map(|exchange| match exchange.id {
            ExchangeId::Stream { id } => (id, exchange.state),
            ExchangeId::Turn { .. } => panic!("{exchange:?}"),
        })
        .collect()
}

fn of(streams: impl Into<Vec<Stream>>) -> Http2 {
    Http2 {
        streams: streams.into(),
        ..Http2::default()
    }
}

#[test]
fn given_streams_at_each_point_of_their_lives_when_read_then_each_has_its_state() {
    use ExchangeState::{Complete, RequestIncomplete, ResponseIncomplete, Stream as Streaming, Unanswered};
    let open = |stream: Stream| Stream {
        asked: StreamState::Open,
        ..stream
    };
    assert_eq!(
        states(of([
            asked(1),
            answering(3),
            open(asked(5)),
            open(answering(7)),
            answered(9, 20)
        ])),
        [
            (1, Unanswered),
            (3, ResponseIncomplete),
            (5, RequestIncomplete),
            (7, Streaming),
            (9, Complete)
        ]
    );
}

#[test]
fn given_no_stream_when_read_then_nothing_was_asked() {
    assert_eq!(exchanges(of([])), []);
}

#[test]
fn given_an_interim_response_alone_when_read_then_nothing_was_answered() {
    for interim in [&b"\x08\x03103"[..], b"\x48\x03100"] {
        let stream = Stream {
            answer: interim.to_vec(),
            ..asked(1)
        };
        assert_eq!(states(of([stream])), [(1, ExchangeState::Unanswered)]);
    }
}

#[test]
fn given_a_goodbye_when_read_then_streams_above_its_last_were_refused_and_those_below_were_not() {
    let mut http2 = of([asked(1), asked(3), answering(5)]);
    http2.answer.goaway = Some(1);
    assert_eq!(
        states(http2),
        [
            (1, ExchangeState::Unanswered),
            (5, ExchangeState::ResponseIncomplete)
        ],
        "and one that is answered all the same was not refused"
    );
}

#[test]
fn given_bytes_that_nobody_read_when_the_server_has_said_goodbye_then_they_are_no_request() {
    let unread = |goaway: Option<u32>, bytes| {
        let mut http2 = of([]);
        http2.answer.goaway = goaway;
        exchanges_in(http2, bytes).len()
    };
    assert_eq!(
        (unread(None, 9), unread(None, 17)),
        (0, 1),
        "a frame of some bytes may be a request"
    );
    assert_eq!(
        (unread(Some(u32::MAX >> 1), 17), unread(Some(u32::MAX >> 1), 40)),
        (0, 1),
        "all are welcome still, but a PING is answered"
    );
    assert_eq!(unread(Some(5), 400), 0, "what comes now is refused");
}

#[test]
fn given_the_clients_goodbye_when_read_then_its_requests_still_wait() {
    let mut http2 = of([asked(1)]);
    http2.ask.goaway = Some(0);
    assert_eq!(states(http2), [(1, ExchangeState::Unanswered)]);
}

#[test]
fn given_streams_that_were_reset_when_read_then_only_what_was_cut_counts() {
    let reset = |id| Stream {
        answered: StreamState::Reset,
        ..asked(id)
    };
    let given_up = Stream {
        asked: StreamState::Reset,
        ..asked(1)
    };
    let cut = Stream {
        cut: true,
        ..reset(5)
    };
    assert_eq!(
        states(of([given_up, reset(3), cut])),
        [(5, ExchangeState::Unanswered)]
    );
}

#[test]
fn given_streams_that_were_told_before_when_read_then_they_are_not_told_again() {
    let mut http2 = of([answered(1, 20), answered(3, 30)]);
    http2.told_ns = 20;
    assert_eq!(states(http2), [(3, ExchangeState::Complete)]);
}

#[test]
fn given_a_last_frame_that_has_not_moved_to_its_end_when_read_then_the_stream_goes_on() {
    let mut trailers = of([answered(1, 20)]);
    trailers.answer.continues = Some(1);
    assert_eq!(states(trailers), [(1, ExchangeState::ResponseIncomplete)]);
    let mut counted = of([answering(1)]);
    counted.answer.ends = Some(1);
    assert_eq!(
        states(counted),
        [(1, ExchangeState::Complete)],
        "sendfile moved the rest of it"
    );
}

#[test]
fn given_a_lost_walk_when_read_then_nothing_exact_is_claimed() {
    let lost = Http2 {
        lost: Some(Lost::Walk),
        ..of([asked(1)])
    };
    let exchanges = exchanges(lost);
    assert_eq!(exchanges.len(), 1);
    assert_eq!(exchanges[0].state, ExchangeState::Opaque);
    assert_eq!(exchanges[0].evidence, Evidence::Inferred);
}

#[test]
fn given_no_memory_for_the_streams_when_read_then_the_connection_is_unknown_and_says_why() {
    let lost = Http2 {
        lost: Some(Lost::Storage),
        ..Http2::default()
    };
    let exchanges = exchanges(lost);
    assert_eq!(exchanges.len(), 1);
    assert_eq!(exchanges[0].state, ExchangeState::Unknown);
    assert_eq!(exchanges[0].doubt, Some(Doubt::NoStorage));
}

#[test]
fn given_bytes_that_nobody_looked_at_when_read_then_only_what_they_may_have_ended_is_unknown() {
    let mut written = of([answered(1, 20), asked(3)]);
    written.answer.unseen = true;
    assert_eq!(
        states(written),
        [(1, ExchangeState::Complete), (3, ExchangeState::Unknown)]
    );
    let mut read = of([asked(1)]);
    read.ask.unseen = true;
    assert_eq!(
        states(read),
        [(1, ExchangeState::Unanswered), (0, ExchangeState::Unknown)]
    );
}

#[test]
fn given_unread_bytes_when_read_then_only_what_may_be_a_request_is_unknown() {
    let unread = |pending, unread| {
        let mut http2 = of([]);
        http2.ask = Http2Flow {
            pending,
            ..Http2Flow::default()
        };
        exchanges_in(http2, unread).len()
    };
    assert_eq!(unread(0, 9), 0, "an acknowledgement of SETTINGS");
    assert_eq!(unread(0, 17), 1, "a PING, or a request");
    assert_eq!(unread(1000, 1000), 0, "the rest of a frame");
}

/// `:authority` into the table, and a path that is not.
const FIRST: &[u8] = b"\x82\x86\x41\x04shop\x04\x06/first";
/// The same host, a path into the table.
const SECOND: &[u8] = b"\x83\x86\xbe\x44\x07/second";

fn block(at: u32, stream: u32, bytes: &[u8]) -> Block {
    Block {
        at,
        stream,
        bytes: bytes.into(),
        cut: false,
    }
}

fn shown(http2: Http2) -> Vec<(Option<String>, Option<String>, Option<String>)> {
    exchanges(http2)
        .into_iter()
        .map(|exchange| match exchange.operation {
            Operation::Http(http) => (http.method, http.host, http.path),
            _ => (None, None, None),
        })
        .collect()
}

fn text(
    method: &str,
    host: Option<&str>,
    path: Option<&str>,
) -> (Option<String>, Option<String>, Option<String>) {
    (
        Some(method.to_owned()),
        host.map(str::to_owned),
        path.map(str::to_owned),
    )
}

#[test]
fn given_header_blocks_when_read_then_streams_have_their_names_also_from_the_table() {
    let at = |stream: Stream, block_at| Stream { block_at, ..stream };
    let third = Stream {
        block: b"\x83\x86\xbf\xbe".to_vec(),
        block_at: 64,
        ..asked(5)
    };
    let http2 = Http2 {
        blocks: vec![block(0, 1, FIRST), block(32, 3, SECOND)],
        ..of([asked(1), at(asked(3), 32), third])
    };
    assert_eq!(
        shown(http2),
        [
            text("GET", Some("shop"), Some("/first")),
            text("POST", Some("shop"), Some("/second")),
            text("POST", Some("shop"), Some("/second")),
        ]
    );
}

#[test]
fn given_a_short_block_from_between_two_others_when_read_then_it_refers_to_what_stood_before_it() {
    let between = Stream {
        block: b"\x82\x86\xbe".to_vec(),
        block_at: 32,
        ..asked(3)
    };
    let at = |stream: Stream, block_at| Stream { block_at, ..stream };
    let http2 = Http2 {
        blocks: vec![block(0, 1, FIRST), block(32, 5, SECOND)],
        ..of([between, at(asked(5), 32)])
    };
    assert_eq!(
        shown(http2),
        [
            text("GET", Some("shop"), None),
            text("POST", Some("shop"), Some("/second"))
        ]
    );
}

#[test]
fn given_a_beginning_that_is_not_there_when_read_then_the_stream_counts_without_a_path() {
    let stream = Stream {
        block: b"\x83\x86\xbf\xbe".to_vec(),
        block_at: 9000,
        ..asked(2001)
    };
    assert_eq!(shown(of([stream])), [text("POST", None, None)]);
}

#[test]
fn given_a_call_of_grpc_whose_response_has_begun_when_read_then_it_is_a_stream() {
    let call = b"\x83\x86\x44\x0c/pkg.Svc/Get\x5f\x10application/grpc";
    let http2 = Http2 {
        blocks: vec![block(0, 1, call)],
        ..of([answering(1)])
    };
    let exchanges = exchanges(http2);
    assert_eq!(exchanges[0].state, ExchangeState::Stream);
    assert_eq!(exchanges[0].operation.path(), Some("/pkg.Svc/Get"));
    assert_eq!(exchanges[0].operation.http().unwrap().status, Some(200));
}

/// A stream of gRPC's whose trailers these are, at this place.
fn trailers(id: u32, answer: &[u8], answer_at: u32) -> Stream {
    Stream {
        answer: answer.to_vec(),
        answer_at,
        before: Some(0x88),
        ..answered(id, 20)
    }
}

/// Status, status of gRPC, doubt.
type Said = (Option<u16>, Option<u8>, Option<Doubt>);

fn said(http2: Http2) -> Vec<Said> {
    exchanges(http2)
        .iter()
        .map(|exchange| {
            let http = exchange.operation.http().unwrap();
            (http.status, http.grpc_status, exchange.doubt)
        })
        .collect()
}

/// `grpc-status: 14` into the table.
const UNAVAILABLE: &[u8] = b"\x40\x0bgrpc-status\x0214";

#[test]
fn given_trailers_when_read_then_the_status_is_that_of_the_head_and_the_call_has_its_own() {
    let http2 = Http2 {
        answers: vec![block(0, 1, UNAVAILABLE)],
        ..of([
            trailers(1, &UNAVAILABLE[..8], 0),
            trailers(3, b"\xbe", 24),
            // What it refers to is older than what is kept.
            trailers(5, b"\xbf", 24),
        ])
    };
    let known = (Some(200), Some(14), None);
    assert_eq!(
        said(http2),
        [known, known, (Some(200), None, Some(Doubt::Status))]
    );
}

#[test]
fn given_a_response_that_is_nothing_but_trailers_when_read_then_both_are_known() {
    let whole = b"\x00\x07:status\x03200\x00\x0bgrpc-status\x011";
    let stream = Stream {
        answer: whole[..8].to_vec(),
        ..answered(1, 20)
    };
    let http2 = Http2 {
        answers: vec![block(0, 1, whole)],
        ..of([stream])
    };
    assert_eq!(said(http2), [(Some(200), Some(1), None)]);
}

#[test]
fn given_trailers_that_the_kernel_side_has_read_when_read_then_they_need_not_be_kept() {
    let stream = Stream {
        grpc_status: Some(14),
        ..trailers(1, b"\x00\x0bgrpc-s", 0)
    };
    assert_eq!(said(of([stream])), [(Some(200), Some(14), None)]);
}

#[test]
fn given_a_status_from_the_table_when_read_then_it_is_known_as_long_as_its_first_use_is_kept() {
    let refers = |id, answer_at| Stream {
        answer: b"\xbe\x0f\x0d\x014".to_vec(),
        answer_at,
        ..answered(id, 20)
    };
    let http2 = Http2 {
        answers: vec![block(16, 3, b"\x48\x03503"), block(32, 9, b"\x40\x01a\x01b")],
        ..of([refers(1, 16), refers(5, 32), refers(7, 48)])
    };
    assert_eq!(
        said(http2),
        [
            (None, None, Some(Doubt::Status)),
            (Some(503), None, None),
            // Another entry is the newest by then, and no status.
            (None, None, Some(Doubt::Status)),
        ]
    );
}

#[test]
fn given_an_interim_response_when_the_final_one_ends_the_stream_then_that_is_the_status() {
    let stream = Stream {
        answer: b"\x8b".to_vec(),
        before: Some(0x08),
        ..answered(1, 20)
    };
    assert_eq!(said(of([stream])), [(Some(304), None, None)]);
}

#[test]
fn given_a_stream_that_was_reset_while_draining_when_read_then_it_is_over_and_only_a_server_cut_it() {
    let cut = Stream {
        answered: StreamState::Reset,
        cut: true,
        ..asked(1)
    };
    let read = |role| exchanges_of(of([cut.clone()]), 0, role);
    assert!(read(Role::Server)[0].reset);
    assert_eq!(read(Role::Client), [], "its server did");
}

mod properties {
    use std::collections::BTreeSet;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn state() -> impl Strategy<Value = StreamState> {
        prop::sample::select(vec![StreamState::Open, StreamState::Ended, StreamState::Reset])
    }

    fn stream() -> impl Strategy<Value = Stream> {
        let bytes = || vec(any::<u8>(), 0..16);
        (
            1..40_u32,
            any::<[u64; 2]>(),
            [state(), state()],
            any::<bool>(),
            bytes(),
            0..64_u32,
            (vec(any::<u8>(), 0..=8), 0..64_u32, any::<[Option<u8>; 2]>()),
        )
            .prop_map(
                |(
                    id,
                    [began_ns, last_ns],
                    [asked, answered],
                    cut,
                    block,
                    block_at,
                    (answer, answer_at, [before, grpc_status]),
                )| {
                    Stream {
                        id,
                        began_ns,
                        last_ns,
                        asked,
                        answered,
                        cut,
                        block,
                        block_at,
                        answer,
                        answer_at,
                        before,
                        grpc_status,
                    }
                },
            )
    }

    fn flow() -> impl Strategy<Value = Http2Flow> {
        let number = || prop::option::of(0..40_u32);
        (any::<u64>(), any::<bool>(), number(), number(), number()).prop_map(
            |(pending, unseen, ends, continues, goaway)| Http2Flow {
                pending,
                unseen,
                ends,
                continues,
                goaway,
            },
        )
    }

    /// Bytes that are often nearly HPACK.
    fn header_block() -> impl Strategy<Value = Vec<u8>> {
        const PIECES: &[&[u8]] = &[
            FIRST,
            SECOND,
            b"\x40\x8a\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f",
            b"\x7f\xff\xff\xff\xff\x0f",
            b"\x3f\xe1\x1f",
            b"\xff\x80\x80\x80\x01",
            b"\x04\x7f",
            b"\x80",
        ];
        let piece = prop_oneof![
            prop::sample::select(PIECES).prop_map(<[u8]>::to_vec),
            vec(any::<u8>(), 0..12),
        ];
        vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    fn blocks() -> impl Strategy<Value = Vec<Block>> {
        let block = (header_block(), 0..64_u32, 0..40_u32, any::<bool>());
        let block = block.prop_map(|(bytes, at, stream, cut)| Block {
            at,
            stream,
            bytes,
            cut,
        });
        vec(block, 0..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn given_any_record_when_read_then_nothing_panics_and_each_stream_is_told_once(
            streams in vec(stream(), 0..40),
            flows in [flow(), flow()],
            blocks in [blocks(), blocks()],
            lost in prop::sample::select(&[None, Some(Lost::Walk), Some(Lost::Storage)][..]),
            told_ns in any::<u64>(),
            ask_unread in any::<u64>(),
        ) {
            let mut streams = streams;
            streams.sort_by_key(|stream| stream.id);
            streams.dedup_by_key(|stream| stream.id);
            let count = streams.len();
            let [ask, answer] = flows;
            let [blocks, answers] = blocks;
            let http2 = Http2 { lost, told_ns, ask, answer, streams, blocks, answers };
            let exchanges = exchanges_in(http2, ask_unread);
            prop_assert!(exchanges.len() <= count + 1);
            let ids: BTreeSet<_> = exchanges.iter().map(|exchange| exchange.id).collect();
            prop_assert_eq!(ids.len(), exchanges.len());
            for exchange in &exchanges {
                prop_assert!(lost != Some(Lost::Walk) || exchange.state == ExchangeState::Opaque);
                prop_assert!(lost != Some(Lost::Storage) || exchange.state == ExchangeState::Unknown);
                if let Some(path) = exchange.operation.path() {
                    prop_assert!(path.chars().count() <= text::PATH && !path.contains(['?', '#']));
                }
            }
        }
    }
}
