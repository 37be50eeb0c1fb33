//! Kafka: a response has the number of its request.
//!
//! Consumers wait in a fetch and in their group for as long as nothing comes, and ask again elsewhere: of those nothing is
//! lost. What is produced or committed is lost without its response, where one was asked for.
//!
//! <https://kafka.apache.org/protocol.html>

use super::{Context, Reading, calls, text};
use crate::{
    exchange::{ExchangeState, Protocol},
    record::Turn,
};

/// Keys of the API.
mod api {
    pub const PRODUCE: u16 = 0;
    pub const OFFSET_COMMIT: u16 = 8;
    pub const VERSIONS: u16 = 18;
    pub const END_TRANSACTION: u16 = 26;
    pub const TRANSACTION_OFFSET_COMMIT: u16 = 28;
    pub const LAST: u16 = 92;
}

/// Longest request that is believed.
const LONGEST: u32 = 1 << 30;

/// Reads a turn of a connection that began with the question what versions there are, as clients since 2016 do.
pub(super) fn read(turn: &Turn, _: &Context<'_>) -> Option<Reading> {
    let first = turn.number <= 1;
    let opening = if first { &turn.ask[..] } else { &turn.opening };
    let (length, key) = (be32(opening, 0)?, be16(opening, 4)?);
    if key != api::VERSIONS || !(10..1024).contains(&length) || be16(opening, 6)? > 8 {
        return None;
    }
    let Some(requests) = Requests::of(turn) else {
        // The middle of something that was not kept from its beginning.
        let unsure = (None, None, ExchangeState::Opaque);
        return (!first).then(|| calls::messages(turn, Protocol::Kafka, [unsure]));
    };
    let responses = Responses::of(turn);
    let states = requests.seen.iter().filter_map(|request| {
        let state = match responses.to(request.number) {
            Some(true) => ExchangeState::Complete,
            Some(false) => ExchangeState::ResponseIncomplete,
            None if !request.complete => ExchangeState::RequestIncomplete,
            None if responses.whole => ExchangeState::Unanswered,
            None => ExchangeState::Opaque,
        };
        Some((Some(request.operation?), request.topic.map(text::name), state))
    });
    let more = (!requests.whole).then_some((None, None, ExchangeState::Opaque));
    let all: Vec<_> = states.chain(more).collect();
    Some(calls::messages(turn, Protocol::Kafka, all))
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at.checked_add(2)?)?.first_chunk()?;
    Some(u16::from_be_bytes(*two))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?.first_chunk()?;
    Some(u32::from_be_bytes(*four))
}

/// A request, as far as it was kept.
#[derive(Debug, Clone, Copy)]
struct Request<'a> {
    number: u32,
    /// What is lost without a response; `None` where nothing is.
    operation: Option<&'static str>,
    topic: Option<&'a [u8]>,
    /// All of it has moved.
    complete: bool,
}

/// Those of a turn.
#[derive(Debug, Default)]
struct Requests<'a> {
    seen: Vec<Request<'a>>,
    /// There are no others.
    whole: bool,
}

impl<'a> Requests<'a> {
    /// `None` where they do not begin with one.
    fn of(turn: &'a Turn) -> Option<Self> {
        let total = turn.asked();
        let mut requests = Self::default();
        let mut at = 0_usize;
        loop {
            if at as u64 >= total {
                requests.whole = true;
                return Some(requests);
            }
            let rest = turn.ask.get(at..).unwrap_or_default();
            let (Some(length), Some(key), Some(version), Some(number)) =
                (be32(rest, 0), be16(rest, 4), be16(rest, 6), be32(rest, 8))
            else {
                return (!requests.seen.is_empty()).then_some(requests);
            };
            if key > api::LAST || version > 20 || !(8..LONGEST).contains(&length) {
                return (!requests.seen.is_empty()).then_some(requests);
            }
            let end = at + 4 + length as usize;
            let body = &rest[12..rest.len().min(4 + length as usize).max(12)];
            let produce = (key == api::PRODUCE)
                .then(|| Produce::of(version, body))
                .flatten();
            let operation = match key {
                // Where it is not known whether a response was asked for, nothing is claimed.
                api::PRODUCE => produce.and_then(|produce| (produce.acks != 0).then_some("send")),
                api::OFFSET_COMMIT | api::TRANSACTION_OFFSET_COMMIT => Some("commit"),
                api::END_TRANSACTION => Some("end_transaction"),
                _ => None,
            };
            requests.seen.push(Request {
                number,
                operation,
                topic: produce.and_then(|produce| produce.topic),
                complete: end as u64 <= total,
            });
            at = end;
        }
    }
}

/// What a produce says before its records.
#[derive(Debug, Clone, Copy)]
struct Produce<'a> {
    acks: u16,
    topic: Option<&'a [u8]>,
}

impl<'a> Produce<'a> {
    /// Behind the request's number.
    fn of(version: u16, body: &'a [u8]) -> Option<Self> {
        // From version 9 on lengths are compact, and there are tagged fields.
        let compact = version >= 9;
        let mut rest = nullable(body, false)?;
        if compact {
            (*rest.first()? == 0).then_some(())?;
            rest = &rest[1..];
        }
        if version >= 3 {
            rest = nullable(rest, compact)?;
        }
        let acks = be16(rest, 0)?;
        // Behind the timeout the topics: how many, and the name of the first; from version 13 on they have numbers.
        let topics = rest.get(2 + 4..)?;
        let topic = if version >= 13 {
            None
        } else if compact {
            topics.get(1..).and_then(|name| {
                let length = usize::from(*name.first()?).checked_sub(1)?;
                name.get(1..1 + length)
            })
        } else {
            topics.get(4..).and_then(|name| {
                let length = usize::from(be16(name, 0)?);
                name.get(2..2 + length)
            })
        };
        Some(Self { acks, topic })
    }
}

/// What stands behind a text that may be missing.
fn nullable(bytes: &[u8], compact: bool) -> Option<&[u8]> {
    if compact {
        let length = usize::from(*bytes.first()?);
        return (length < 0x80).then(|| bytes.get(length.max(1)..)).flatten();
    }
    match be16(bytes, 0)? {
        0xffff => bytes.get(2..),
        length => bytes.get(2 + usize::from(length)..),
    }
}

/// Numbers of the responses of a turn, and whether they are complete.
#[derive(Debug, Default)]
struct Responses {
    seen: Vec<(u32, bool)>,
    /// There are no others.
    whole: bool,
}

impl Responses {
    fn of(turn: &Turn) -> Self {
        let mut responses = Self::default();
        let mut at = 0_usize;
        loop {
            if at as u64 >= turn.answer_bytes {
                responses.whole = true;
                return responses;
            }
            let rest = turn.answer.get(at..).unwrap_or_default();
            let (Some(length @ 4..LONGEST), Some(number)) = (be32(rest, 0), be32(rest, 4)) else {
                return responses;
            };
            at += 4 + length as usize;
            responses.seen.push((number, at as u64 <= turn.answer_bytes));
        }
    }

    fn to(&self, number: u32) -> Option<bool> {
        let found = self.seen.iter().find(|(is, _)| *is == number);
        found.map(|(_, complete)| *complete)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::recorder::given, *};
    use crate::exchange::ExchangeState::{Complete, Opaque, RequestIncomplete, Unanswered};

    fn request(key: u16, version: u16, number: u32, body: &[u8]) -> Vec<u8> {
        let message = [
            &key.to_be_bytes()[..],
            &version.to_be_bytes(),
            &number.to_be_bytes(),
            b"\0\x02me",
            body,
        ]
        .concat();
        [&u32::try_from(message.len()).unwrap().to_be_bytes(), &message[..]].concat()
    }

    fn response(number: u32) -> Vec<u8> {
        [&[0, 0, 0, 10][..], &number.to_be_bytes(), &[0; 6]].concat()
    }

    /// No transaction, these acks, a timeout, one topic, and its records.
    fn produce(acks: [u8; 2]) -> Vec<u8> {
        [
            b"\xff\xff",
            &acks[..],
            b"\0\0\0\x64\0\0\0\x01\0\x06orders",
            &[0; 40],
        ]
        .concat()
    }

    #[test]
    fn given_a_client_of_kafka_when_cut_then_what_it_produced_is_lost_without_its_response() {
        let on = || given().turn(4).opening([0, 0, 0, 30, 0, 18, 0, 3]);
        let all = || request(0, 7, 5, &produce([0xff, 0xff]));
        let flexible = request(0, 9, 5, b"\0\0\xff\xff\0\0\0\x64\x02\x07orders\x02");
        let table = [
            ("entering", given().read(request(18, 3, 1, &[0; 20])), vec![]),
            (
                "a fetch that waits",
                on().read(request(1, 11, 4, &[0; 40])),
                vec![],
            ),
            ("produced", on().read(all()), vec![Unanswered]),
            ("produced, flexible", on().read(flexible), vec![Unanswered]),
            ("half", on().read(&all()[..50]), vec![RequestIncomplete]),
            ("stored", on().read(all()).write(response(5)), vec![Complete]),
            (
                "another's response",
                on().read(all()).write(response(4)),
                vec![Unanswered],
            ),
            (
                "no response wanted",
                on().read(request(0, 7, 5, &produce([0, 0]))),
                vec![],
            ),
            (
                "committed",
                on().read(request(8, 2, 6, &[0; 9])).write(response(6)),
                vec![Complete],
            ),
            ("unseen", on().read_lost(90), vec![Opaque]),
        ];
        for (name, recorder, states) in table {
            recorder.assert_both_ends(Protocol::Kafka, &states);
            assert_eq!(recorder.states(), states, "{name}");
        }
        let shown = on().read(all()).judged();
        assert_eq!(shown[0].operation.path(), Some("orders"));
    }
}
