//! MQTT, versions 3.1, 3.1.1 and 5: packets, some of which are acknowledged by their number.
//!
//! A publication of quality 0 asks for nothing, one of 1 for its PUBACK, one of 2 for its PUBREC: from then on it is the
//! broker's. What a broker delivers is its consumer's until that acknowledges it, in its next turn.
//!
//! <https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html>, <https://docs.oasis-open.org/mqtt/mqtt/v5.0/mqtt-v5.0.html>

use super::{Context, Reading, calls, text};
use crate::{
    event::Role,
    exchange::{ExchangeState, Protocol},
    record::Turn,
};

/// Types of packets.
mod kind {
    pub const CONNECT: u8 = 1;
    pub const PUBLISH: u8 = 3;
    pub const PUBACK: u8 = 4;
    pub const PUBREC: u8 = 5;
    pub const SUBSCRIBE: u8 = 8;
    pub const SUBACK: u8 = 9;
    pub const UNSUBSCRIBE: u8 = 10;
    pub const UNSUBACK: u8 = 11;
    pub const DISCONNECT: u8 = 14;
    pub const AUTH: u8 = 15;
}

/// Reads a turn of a connection that began with CONNECT.
pub(super) fn read(turn: &Turn, context: &Context<'_>) -> Option<Reading> {
    let first = turn.number <= 1;
    if !begins(if first { &turn.ask } else { &turn.opening }) {
        return None;
    }
    let asked = Packets::of(&turn.ask, turn.asked())?;
    let answered = Packets::of(&turn.answer, turn.answer_bytes);
    if asked.seen.iter().any(|packet| packet.kind == kind::DISCONNECT) {
        return Some(calls::goodbye());
    }
    let none = Packets::default();
    let known = answered.as_ref().is_some_and(|answered| answered.whole);
    let answers = answered.as_ref().unwrap_or(&none);
    let state = |packet: &Packet| {
        let answer = match packet.kind {
            kind::PUBLISH if packet.quality == 1 => kind::PUBACK,
            kind::PUBLISH if packet.quality == 2 => kind::PUBREC,
            kind::SUBSCRIBE => kind::SUBACK,
            kind::UNSUBSCRIBE => kind::UNSUBACK,
            _ => return None,
        };
        let is =
            |other: &Packet| other.kind == answer && other.number == packet.number && packet.number.is_some();
        Some(if answers.seen.iter().any(is) {
            ExchangeState::Complete
        } else if !packet.complete {
            ExchangeState::RequestIncomplete
        } else if known {
            ExchangeState::Unanswered
        } else {
            ExchangeState::Opaque
        })
    };
    let publications = asked.seen.iter().filter_map(|packet| {
        let operation = if packet.kind == kind::PUBLISH {
            Some("publish")
        } else {
            None
        };
        Some((operation, packet.topic.map(text::name), state(packet)?))
    });
    // The rest of what a client said without a break.
    let more = (!asked.whole).then_some((None, None, ExchangeState::Opaque));
    let delivered = answers.seen.iter().filter(|packet| {
        context.role == Role::Client && packet.kind == kind::PUBLISH && packet.quality > 0 && packet.complete
    });
    let deliveries = delivered.map(|packet| {
        (
            Some("process"),
            packet.topic.map(text::name),
            ExchangeState::Unanswered,
        )
    });
    let all: Vec<_> = publications.chain(deliveries).chain(more).collect();
    Some(calls::messages(turn, Protocol::Mqtt, all))
}

/// CONNECT: its type, its length, and the protocol's name.
fn begins(bytes: &[u8]) -> bool {
    let Some((0x10, rest)) = bytes.split_first().map(|(first, rest)| (*first, rest)) else {
        return false;
    };
    let Some((_, rest)) = length(rest) else {
        return false;
    };
    let names: [&[u8]; 2] = [b"\0\x04MQTT", b"\0\x06MQIsdp"];
    names.iter().any(|name| {
        let shown = rest.len().min(name.len());
        // What is kept of a connection's first bytes ends within the name.
        shown >= 4 && rest[..shown] == name[..shown]
    })
}

/// A length, and what stands behind it.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut length = 0_usize;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((length, &bytes[index + 1..]));
        }
    }
    None
}

/// A packet, as far as it was kept.
#[derive(Debug, Clone, Copy)]
struct Packet<'a> {
    kind: u8,
    /// Quality of service.
    quality: u8,
    number: Option<u16>,
    topic: Option<&'a [u8]>,
    /// All of it has moved.
    complete: bool,
}

/// The packets of one direction of a turn.
#[derive(Debug, Default)]
struct Packets<'a> {
    seen: Vec<Packet<'a>>,
    /// There are no others.
    whole: bool,
}

impl<'a> Packets<'a> {
    /// `None` where it is no such conversation.
    fn of(bytes: &'a [u8], total: u64) -> Option<Self> {
        let mut packets = Self::default();
        let mut at = 0;
        loop {
            if at as u64 >= total {
                packets.whole = true;
                return Some(packets);
            }
            let Some((&first, behind)) = bytes.get(at..).and_then(<[u8]>::split_first) else {
                return Some(packets);
            };
            let kind = first >> 4;
            (kind::CONNECT..=kind::AUTH).contains(&kind).then_some(())?;
            let Some((length, body)) = length(behind) else {
                return Some(packets);
            };
            let end = bytes.len() - body.len() + length;
            packets.seen.push(packet(
                first,
                &body[..body.len().min(length)],
                end as u64 <= total,
            ));
            at = end;
        }
    }
}

fn packet(first: u8, body: &[u8], complete: bool) -> Packet<'_> {
    let kind = first >> 4;
    let quality = if kind == kind::PUBLISH { first >> 1 & 3 } else { 0 };
    let two = |at: usize| {
        let two = body.get(at..at + 2)?.first_chunk()?;
        Some(u16::from_be_bytes(*two))
    };
    let topic = two(0)
        .filter(|_| kind == kind::PUBLISH)
        .and_then(|length| body.get(2..2 + usize::from(length)));
    let number = match kind {
        kind::PUBLISH => topic
            .filter(|_| quality > 0)
            .and_then(|topic| two(2 + topic.len())),
        _ => two(0),
    };
    Packet {
        kind,
        quality,
        number,
        topic: topic.filter(|topic| !topic.is_empty()),
        complete,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::recorder::given, *};
    use crate::exchange::ExchangeState::{Complete, Opaque, RequestIncomplete, Unanswered};

    const OPENING: [u8; 8] = *b"\x10\x10\0\x04MQTT";

    fn publish(quality: u8, number: u16) -> Vec<u8> {
        let number = if quality > 0 {
            number.to_be_bytes().to_vec()
        } else {
            vec![]
        };
        let body = [b"\0\x04jobs", &number[..], b"hello"].concat();
        [
            &[0x30 | quality << 1, u8::try_from(body.len()).unwrap()],
            &body[..],
        ]
        .concat()
    }

    #[test]
    fn given_a_publication_when_cut_then_its_quality_says_whether_it_is_lost() {
        let on = || given().turn(3).opening(OPENING);
        let connect = b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04me_1";
        let two = [publish(1, 7), publish(1, 8)].concat();
        let table = [
            ("entering", given().read(connect).write(b"\x20\x02\0\0"), vec![]),
            ("quality 0", on().read(publish(0, 0)), vec![]),
            ("quality 1", on().read(publish(1, 7)), vec![Unanswered]),
            ("half", on().read(&publish(1, 7)[..9]), vec![RequestIncomplete]),
            (
                "acknowledged",
                on().read(publish(1, 7)).write(b"\x40\x02\0\x07"),
                vec![Complete],
            ),
            (
                "another",
                on().read(publish(1, 7)).write(b"\x40\x02\0\x06"),
                vec![Unanswered],
            ),
            (
                "one of two",
                on().read(&two).write(b"\x40\x02\0\x07"),
                vec![Complete, Unanswered],
            ),
            (
                "quality 2, received",
                on().read(publish(2, 7)).write(b"\x50\x02\0\x07"),
                vec![Complete],
            ),
            ("released", on().read(b"\x62\x02\0\x07"), vec![]),
            ("ping", on().read(b"\xc0\0").write(b"\xd0\0"), vec![]),
            ("ping, no answer", on().read(b"\xc0\0"), vec![]),
            (
                "subscribe",
                on().read(b"\x82\x09\0\x01\0\x04jobs\x01"),
                vec![Unanswered],
            ),
            ("goodbye", on().read(b"\xe0\0"), vec![]),
            ("unseen", on().read_lost(90), vec![Opaque]),
        ];
        for (name, recorder, states) in table {
            recorder.assert_both_ends(Protocol::Mqtt, &states);
            assert_eq!(recorder.states(), states, "{name}");
        }
    }

    #[test]
    fn given_a_delivery_that_was_not_acknowledged_when_its_consumer_dies_then_it_was_being_processed() {
        let delivered = given()
            .turn(3)
            .opening(OPENING)
            .read(b"\xc0\0")
            .write(publish(1, 9));
        assert_eq!(delivered.judged_as(Role::Server), []);
        let lost = delivered.judged_as(Role::Client);
        assert_eq!(lost[0].state, Unanswered);
        assert_eq!(lost[0].operation.path(), Some("jobs"));
    }
}
