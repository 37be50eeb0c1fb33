//! Properties that hold for any bytes, and for any conversation cut at any place.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};

use super::{Context, Ending, HeaderRules, read, recorder::given, text};
use crate::{
    event::Role,
    exchange::{
        Exchange,
        ExchangeState::{self, *},
        Http,
    },
    record::{ANSWER_HEAD, ASK_HEAD, Hellos, Turn},
};

/// Bytes that are often nearly HTTP, `WebSocket` or TLS.
fn material() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: &[&[u8]] = &[
        b"GET ",
        b"HEAD / HTTP/1.1\r\n",
        b"POST /a?b=c HTTP/1.0\r\n",
        b"CONNECT h:1 HTTP/1.1\r\n",
        b"\r\n",
        b"\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\n",
        b"HTTP/1.1 100 C\r\n\r\n",
        b"HTTP/1.",
        b"Content-Length: 5\r\n",
        b"Content-Length: 18446744073709551615\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Type: text/event-stream\r\n",
        b"Host: u:p@h\r\n",
        b"0\r\n\r\n",
        b"5\r\nhello\r\n",
        b"ffffffffffffffff\r\n",
        b"\x88\x02\x03\xe9",
        b"\x82\x7f\xff\xff\xff\xff",
        b"\x16\x03\x01\x00\x02ab",
        b"\x17\x03\x03",
        b"\x14\x03\x03\x00\x01\x01",
        b"\x15\x03\x03\xff\xff",
        b"\0\0\0\x54\0\x03\0\0",
        b"Q\0\0\0\x0dselect 1\0",
        b"P\0\0\0\x10\0select 1\0\0\0",
        b"S\0\0\0\x04",
        b"d\0\0\x10\0",
        b"Q\x3f\xff\xff\xff",
        b"Z\0\0\0\x05T",
        b"E\0\0\0\x14VFATAL\0",
        b"D\0\0\xff\xff",
        b"\x54\0\0\x01\x85\xa2\xff\0\0\0\0\x01\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x09\0\0\0\x03select 1",
        b"\x05\0\0\0\x19\x01\0\0\0",
        b"\x01\0\0\x01\xfc",
        b"\x07\0\0\x01\0\0\0\x03\0\0\0",
        b"\x05\0\0\x02\xfe\0\0\x02\0",
        b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
        b"*4\r\n$4\r\nZADD\r\n$8\r\nrq:wip:a\r\n$1\r\n1\r\n$1\r\na\r\n",
        b"*9999999999\r\n",
        b"$1073741824\r\n",
        b"%1073741824\r\n",
        b"+QUEUED\r\n",
        b"*1\r\n",
        b"set a 0 0 5\r\nhello\r\n",
        b"VALUE a 0 5\r\n",
        b"get a\r\n",
        b"STORED\r\n",
        b"\x25\0\0\0\x07\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\x10\0\0\0\x10find\0",
        b"\x25\0\0\0\x07\0\0\0\x07\0\0\0\xdd\x07\0\0\0\0\0\0\0",
        b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0",
        b"\x01\x04\0\x01\xff\xff\xff\0\x0e\x84",
        b"\x01\x03\0\x01\0\x08\0\0\0\0\0\0\0\0\0\0",
        b"PUB a 5\r\nhello\r\n",
        b"PUB a 4294967295\r\n",
        b"EHLO me\r\n",
        b"250-a\r\n250 b\r\n",
        b"421 bye\r\n",
        b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04me_1",
        b"\x32\x0d\0\x04jobs\0\x07hello",
        b"\x32\xff\xff\xff\x7f\xff\xff",
        b"\x40\x02\0\x07",
        b"\0\0\0\x2c\0\0\0\x07\0\0\0\x05\0\x02me\xff\xff\xff\xff",
        b"\0\0\0\x0a\0\0\0\x05\0\0\0\0\0\0",
        b"\x01\0\x01\0\0\0\x0b\0\x3c\0\x28\0\0\0\x04jobs\0\xce",
        b"\x02\0\x01\0\0\0\x0e\0\x3c\0\0\0\0\0\0\0\0\0\x05\0\0\xce",
        b"\x02\0\x01\0\0\0\x0e\0\x3c\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\xce",
        b"\x03\0\x01\0\0\0\x05hello\xce",
        b"\x03\0\x01\xff\xff\xff\xff",
        b"\x01\0\x01\0\0\0\x05\0\x55\0\x0a\0\xce",
        b"\x01\0\x01\0\0\0\x0d\0\x3c\0\x50\0\0\0\0\0\0\0\x01\0\xce",
        b"\x01\0\x01\0\0\0\x0d\0\x3c\0\x50\0\0\0\0\0\0\0\x09\x01\xce",
        b"\x16\x03\x03\0\x7a\x02\0\0\x76\x03\x03",
        b"\x17\x03\x03\0\x35",
    ];
    let piece = prop_oneof![
        4 => prop::sample::select(PIECES).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 0..40),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// First bytes of a connection: of none, and of each protocol that is known by them.
const OPENINGS: [[u8; 8]; 13] = [
    [0; 8],
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

/// Any number, often a small or an extreme one.
fn count() -> impl Strategy<Value = u64> {
    prop_oneof![0..2000_u64, any::<u64>(), Just(u64::MAX)]
}

fn assert_bounded(exchanges: &[Exchange]) -> Result<(), TestCaseError> {
    prop_assert!(exchanges.len() <= 66, "{}", exchanges.len());
    let ids: BTreeSet<_> = exchanges.iter().map(|exchange| exchange.id).collect();
    prop_assert_eq!(ids.len(), exchanges.len(), "each has an identity of its own");
    for http in exchanges.iter().filter_map(|exchange| exchange.operation.http()) {
        let Http {
            method,
            path,
            host,
            sender,
            prober: _,
            header_rules,
            status: _,
            grpc: _,
            grpc_status: _,
        } = http;
        prop_assert!(
            header_rules.is_empty() || header_rules == &[0],
            "{header_rules:?}"
        );
        prop_assert!(
            sender
                .as_deref()
                .is_none_or(|name| super::SENDERS.contains(&name)),
            "{sender:?}"
        );
        for (shown, most) in [(method, text::METHOD), (path, text::PATH), (host, text::HOST)] {
            let shown = shown.as_deref().unwrap_or_default();
            prop_assert!(shown.chars().count() <= most, "{shown}");
            let plain = |c: char| (c.is_ascii_graphic() && !"\"'<>\\`".contains(c)) || c == '…';
            prop_assert!(shown.chars().all(plain), "{shown:?}");
        }
        prop_assert!(
            path.as_deref().is_none_or(|path| !path.contains(['?', '#'])),
            "{path:?}"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn given_any_bytes_and_any_numbers_when_judged_then_it_neither_panics_nor_exceeds_its_bounds(
        ask in material(),
        answer in material(),
        tail in prop::option::of(vec(any::<u8>(), 0..20)),
        numbers in (count(), count(), count(), count(), any::<u32>()),
        flags in any::<[bool; 3]>(),
        times in any::<[u64; 3]>(),
        hellos in prop::option::of((vec(any::<u8>(), 0..300), vec(any::<u8>(), 0..128))),
    ) {
        let (ask_bytes, ask_unread, answer_bytes, message_bytes, answers) = numbers;
        let any = ["*: *".to_owned()];
        let rules = HeaderRules::new([&any[..]]);
        let hellos = hellos.map(|(client, server)| Box::new(Hellos { client, server }));
        let turn = Turn {
            opening: OPENINGS[usize::from(numbers.4.to_le_bytes()[1]) % OPENINGS.len()],
            number: numbers.4 % 6,
            before_last: [0, 0, b'Z', 0, 0, 0, 5, b'T'],
            before: *b"\x01\0\x01\0\0\0\x0d\0\x3c\0\x50\0\0\0\0\0",
            interims: numbers.4 % 3,
            ask: ask[..ask.len().min(ASK_HEAD)].into(),
            ask_bytes,
            answer: answer[..answer.len().min(ANSWER_HEAD)].into(),
            answer_bytes,
            message_bytes,
            answers,
            tail,
            interim: flags[0],
            http: flags[1],
            ask_first_ns: times[0],
            ask_last_ns: times[1],
            answer_last_ns: times[2],
            message_first_ns: times[1],
            mptcp: false,
            hellos: hellos.clone(),
            http2: None,
            waiting: Vec::new(),
        };
        for role in [Role::Server, Role::Client, Role::Unknown] {
            for ending in [Ending::Cut, Ending::Orderly] {
                let context = Context {
                    role,
                    ask_unread,
                    seeded: flags[2],
                    ending,
                    rules: &rules,
                    ..given().context()
                };
                assert_bounded(&read(&turn, &context).exchanges)?;
            }
        }
    }
}

/// A request of a known shape.
#[derive(Debug, Clone)]
enum Ask {
    Get,
    Head,
    Sized(usize),
    Chunked(Vec<usize>),
}

/// A response of a known shape.
#[derive(Debug, Clone)]
enum Answer {
    NoContent,
    NotModified,
    Sized(usize),
    Chunked(Vec<usize>),
}

fn chunks(sizes: &[usize]) -> String {
    let chunk = |size: &usize| format!("{size:x}\r\n{}\r\n", "d".repeat(*size));
    sizes.iter().map(chunk).collect::<String>() + "0\r\n\r\n"
}

impl Ask {
    fn bytes(&self) -> String {
        match self {
            Self::Get => "GET /g HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
            Self::Head => "HEAD /h HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
            Self::Sized(size) => {
                format!(
                    "PUT /s HTTP/1.1\r\nContent-Length: {size}\r\n\r\n{}",
                    "b".repeat(*size)
                )
            }
            Self::Chunked(sizes) => {
                format!(
                    "POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{}",
                    chunks(sizes)
                )
            }
        }
    }
}

impl Answer {
    fn bytes(&self, to: &Ask) -> String {
        let (head, body) = match self {
            Self::NoContent => ("204 No Content\r\n".to_owned(), String::new()),
            Self::NotModified => (
                "304 Not Modified\r\nContent-Length: 99\r\n".to_owned(),
                String::new(),
            ),
            Self::Sized(size) => (format!("200 OK\r\nContent-Length: {size}\r\n"), "b".repeat(*size)),
            Self::Chunked(sizes) => (
                "200 OK\r\nTransfer-Encoding: chunked\r\n".to_owned(),
                chunks(sizes),
            ),
        };
        let body = if matches!(to, Ask::Head) {
            String::new()
        } else {
            body
        };
        format!("HTTP/1.1 {head}\r\n{body}")
    }
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        Just(Ask::Get),
        Just(Ask::Head),
        (0..60_usize).prop_map(Ask::Sized),
        vec(1..20_usize, 0..3).prop_map(Ask::Chunked),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        Just(Answer::NoContent),
        Just(Answer::NotModified),
        (0..1500_usize).prop_map(Answer::Sized),
        vec(1..700_usize, 0..4).prop_map(Answer::Chunked),
    ]
}

/// Ends of consecutive messages.
fn ends(messages: &[String]) -> Vec<usize> {
    messages
        .iter()
        .scan(0, |end, message| {
            *end += message.len();
            Some(*end)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// The oracle knows where each message begins and ends; the judgement has only the record.
    #[test]
    fn given_a_pipelined_conversation_when_cut_anywhere_then_the_state_is_what_the_framing_says(
        pairs in vec((ask(), answer()), 1..5),
        read_cut in any::<prop::sample::Index>(),
        answer_cut in any::<prop::sample::Index>(),
        read_pieces in vec(1..200_usize, 1..6),
        write_size in 20..2000_usize,
    ) {
        let asks: Vec<String> = pairs.iter().map(|(ask, _)| ask.bytes()).collect();
        let answers: Vec<String> = pairs.iter().map(|(ask, answer)| answer.bytes(ask)).collect();
        let (ask_ends, answer_ends) = (ends(&asks), ends(&answers));
        let asked = asks.concat();
        prop_assume!(asked.len() <= ASK_HEAD);
        let read = read_cut.index(asked.len()) + 1;
        // A server answers what it has read.
        let answerable = ask_ends.iter().filter(|&&end| end <= read).count();
        let most = answerable.checked_sub(1).map_or(0, |last| answer_ends[last]);
        let written = answer_cut.index(most + 1);

        let mut recorder = given();
        let mut rest = &asked[..read];
        for piece in read_pieces.iter().cycle() {
            let (now, later) = rest.split_at((*piece).min(rest.len()));
            recorder = recorder.read(now);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        for (index, message) in answers.iter().enumerate() {
            let begin = answer_ends[index] - message.len();
            let upto = written.saturating_sub(begin).min(message.len());
            // The kernel knows a response by the beginning of a write.
            for piece in message.as_bytes()[..upto].chunks(write_size) {
                recorder = recorder.write(piece);
            }
        }

        let mut expected: Vec<ExchangeState> = Vec::new();
        for index in 0..pairs.len() {
            let ask_begin = ask_ends[index] - asks[index].len();
            let answer_begin = answer_ends[index] - answers[index].len();
            if ask_begin >= read {
                break;
            }
            expected.push(if written >= answer_ends[index] {
                Complete
            } else if written > answer_begin {
                ResponseIncomplete
            } else if read >= ask_ends[index] {
                Unanswered
            } else {
                RequestIncomplete
            });
        }
        // With fewer bytes than "HTTP/1." the kernel does not see that another response began.
        if let Some(index) = expected.iter().position(|state| *state == ResponseIncomplete)
            && index > 0
            && written - (answer_ends[index] - answers[index].len()) < 7
        {
            prop_assume!(false);
        }
        prop_assert_eq!(recorder.states(), expected.clone(), "{:?}", recorder);

        // What is received and not read belongs to the last request's body, or is one request more.
        for unread in [1, 10, 100] {
            let mut expected = expected.clone();
            let now = recorder.clone().unread(unread).states();
            let last = expected.len() - 1;
            let missing = ask_ends[last].saturating_sub(read) as u64;
            if missing == 0 {
                expected.push(Unanswered);
                prop_assert_eq!(now, expected);
            } else if let Ask::Sized(size) = pairs[last].0 && missing <= size as u64 {
                expected[last] = if missing <= unread { Unanswered } else { RequestIncomplete };
                if unread > missing {
                    expected.push(Unanswered);
                }
                prop_assert_eq!(now, expected);
            } else {
                prop_assert_eq!(now.len(), expected.len());
            }
        }
    }

    #[test]
    fn given_several_responses_in_one_write_when_cut_anywhere_then_they_are_told_apart(
        pairs in vec((ask(), prop_oneof![Just(Answer::NoContent), (0..40_usize).prop_map(Answer::Sized)]), 1..5),
        answer_cut in any::<prop::sample::Index>(),
    ) {
        let asked: String = pairs.iter().map(|(ask, _)| ask.bytes()).collect();
        prop_assume!(asked.len() <= ASK_HEAD);
        let answers: Vec<String> = pairs.iter().map(|(ask, answer)| answer.bytes(ask)).collect();
        let answer_ends = ends(&answers);
        let all = answers.concat();
        let written = answer_cut.index(all.len()) + 1;
        prop_assume!((7..=ANSWER_HEAD).contains(&written));
        let expected: Vec<ExchangeState> = answers.iter().zip(&answer_ends).map(|(answer, &end)| {
            if written >= end {
                Complete
            } else if written > end - answer.len() {
                ResponseIncomplete
            } else {
                Unanswered
            }
        }).collect();
        prop_assert_eq!(given().read(asked).write(&all[..written]).states(), expected);
    }
}
