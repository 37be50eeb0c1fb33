//! NATS: nothing that is said is answered, unless a client asks for that in a way of its own.
//!
//! So an idle connection is known to be idle, and what was published last may not have arrived: nobody says so.
//!
//! <https://docs.nats.io/reference/reference-protocols/nats-protocol>

use super::{Context, Reading, calls};
use crate::{
    exchange::{ExchangeState, Protocol},
    record::Turn,
};

/// What a client says first, behind the server's greeting.
const OPENING: &[u8; 8] = b"CONNECT ";

/// Reads a turn of a connection that began with CONNECT and its object.
pub(super) fn read(turn: &Turn, _: &Context<'_>) -> Option<Reading> {
    let first = turn.number <= 1;
    let opens = if first {
        turn.ask.starts_with(b"CONNECT {")
    } else {
        turn.opening == *OPENING
    };
    if !opens {
        return None;
    }
    let mut published = turn.ask.is_empty() && turn.asked() > 0;
    let mut at = 0;
    while let Some(line) = turn.ask.get(at..).filter(|rest| !rest.is_empty()) {
        let end = line.iter().position(|byte| *byte == b'\n').unwrap_or(line.len());
        let line = &line[..end];
        let word = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        at += end + 1;
        let says_nothing: [&[u8]; 6] = [b"CONNECT", b"PING", b"PONG", b"SUB", b"UNSUB", b""];
        if says_nothing.iter().any(|known| word.eq_ignore_ascii_case(known)) {
            continue;
        }
        if !word.eq_ignore_ascii_case(b"PUB") && !word.eq_ignore_ascii_case(b"HPUB") {
            // In its first turn it would be another protocol; later the rest of a message.
            if first && !published {
                return None;
            }
            published = true;
            break;
        }
        published = true;
        // The last word is the number of bytes that follow.
        let length = line.split(u8::is_ascii_whitespace).rfind(|word| !word.is_empty());
        let length = length.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u32>().ok());
        at += length.map_or(0, |length| length as usize + 2);
    }
    let unsure = published.then_some((Some("publish"), None, ExchangeState::Opaque));
    Some(calls::messages(turn, Protocol::Nats, unsure))
}

#[cfg(test)]
mod tests {
    use super::{super::recorder::given, *};
    use crate::exchange::ExchangeState::Opaque;

    #[test]
    fn given_a_client_of_nats_when_cut_then_only_what_it_published_is_in_doubt() {
        let on = || given().turn(4).opening(*OPENING);
        let connect = "CONNECT {\"verbose\":false}\r\nPING\r\n";
        let table = [
            ("entering", given().read(connect).write("PONG\r\n"), vec![]),
            (
                "subscribed",
                on().read("SUB jobs 1\r\nPING\r\n").write("PONG\r\n"),
                vec![],
            ),
            (
                "a message came",
                on().read("PONG\r\n").write("MSG jobs 1 5\r\nhello\r\n"),
                vec![],
            ),
            ("published", on().read("PUB jobs 5\r\nhello\r\n"), vec![Opaque]),
            (
                "published, and a ping",
                on().read("PUB jobs 5\r\nPING\n\r\nPING\r\n").write("PONG\r\n"),
                vec![Opaque],
            ),
            (
                "the rest of a message",
                on().read("llo\r\nPING\r\n"),
                vec![Opaque],
            ),
        ];
        for (name, recorder, states) in table {
            recorder.assert_both_ends(Protocol::Nats, &states);
            assert_eq!(recorder.states(), states, "{name}");
        }
        assert!(
            read(
                &given().read("CONNECT {}\r\nFOO bar\r\n").turn,
                &given().context()
            )
            .is_none()
        );
    }
}
