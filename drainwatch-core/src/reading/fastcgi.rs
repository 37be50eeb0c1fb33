//! `FastCGI`: what a web server asks an application for, PHP's most often; an end is said of each request.
//!
//! <https://fastcgi-archives.github.io/FastCGI_Specification.html>

use super::{Context, Reading, calls, text};
use crate::{
    exchange::{ExchangeState, Http, Operation, Protocol},
    record::Turn,
};

const HEADER: usize = 8;
/// Types of records.
mod kind {
    pub const BEGIN: u8 = 1;
    pub const ABORT: u8 = 2;
    pub const END: u8 = 3;
    pub const PARAMS: u8 = 4;
    pub const STDIN: u8 = 5;
    pub const STDOUT: u8 = 6;
    pub const LAST: u8 = 11;
}

/// What is unread and no longer than this is the end of a request's body: servers need not read it.
const ENDS: u64 = 3 * HEADER as u64;

/// Reads a turn of a connection that began with a request.
pub(super) fn read(turn: &Turn, context: &Context<'_>) -> Option<Reading> {
    let opening = if turn.number <= 1 {
        &turn.ask[..]
    } else {
        &turn.opening
    };
    if !matches!(opening, [1, kind::BEGIN, _, _, 0, 8, _, 0, ..]) {
        return None;
    }
    if turn.ask.is_empty() {
        let state = ExchangeState::Unknown;
        return Some(Reading::of(vec![calls::exchange(
            turn,
            0,
            Protocol::FastCgi,
            Operation::Opaque,
            state,
        )]));
    }
    let asked = Asked::of(turn)?;
    if !asked.begun {
        // The end of a body that its server had not read before it answered; or the rest of one.
        let rest = || {
            calls::exchange(
                turn,
                0,
                Protocol::FastCgi,
                Operation::Opaque,
                ExchangeState::Opaque,
            )
        };
        let ends = asked.whole && asked.ended && turn.asked() <= ENDS;
        return Some(Reading::of(if ends { vec![] } else { vec![rest()] }));
    }
    let status = status(&turn.answer);
    let state = if asked.aborted {
        return Some(Reading::default());
    } else if ends(turn) {
        ExchangeState::Complete
    } else if turn.answer_bytes > 0 {
        ExchangeState::ResponseIncomplete
    } else if asked.whole && !asked.ended && context.ask_unread == 0 {
        ExchangeState::RequestIncomplete
    } else {
        ExchangeState::Unanswered
    };
    let operation = Operation::Http(Http {
        status: status.filter(|_| turn.answer_bytes > 0),
        ..asked.http
    });
    let mut exchanges = vec![calls::exchange(turn, 0, Protocol::FastCgi, operation, state)];
    if state == ExchangeState::Complete && asked.ended && context.ask_unread > ENDS {
        let unread = ExchangeState::Unanswered;
        exchanges.push(calls::exchange(
            turn,
            1,
            Protocol::FastCgi,
            Operation::Opaque,
            unread,
        ));
    }
    Some(Reading::of(exchanges))
}

/// Whether the response has come to its end: the last record says so, of eight bytes and perhaps padding.
fn ends(turn: &Turn) -> bool {
    let whole = turn.answer.len() as u64 == turn.answer_bytes;
    let last = if whole {
        &turn.answer[..]
    } else {
        turn.tail.as_deref().unwrap_or_default()
    };
    let is = |padding: usize| {
        let at = last.len().checked_sub(HEADER + 8 + padding);
        let record = at.and_then(|at| last.get(at..));
        matches!(record, Some(&[1, kind::END, _, _, 0, 8, length, 0, ..]) if usize::from(length) == padding)
    };
    (0..8).any(is)
}

/// What CGI says of a response's status, in the head of what was written.
fn status(answer: &[u8]) -> Option<u16> {
    let &[1, kind::STDOUT, _, _, high, low, ..] = answer else {
        return None;
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let head = answer.get(HEADER..)?;
    let head = &head[..head.len().min(length)];
    let end = head.windows(4).position(|four| four == b"\r\n\r\n")?;
    let mut lines = head[..end].split(|byte| *byte == b'\n');
    let said = lines.find_map(|line| {
        let begins = line.get(..8)?.eq_ignore_ascii_case(b"status: ");
        begins.then(|| line.get(8..11))?
    });
    match said {
        Some(digits) => std::str::from_utf8(digits).ok()?.parse().ok(),
        None => Some(200),
    }
}

/// What was asked in a turn.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that are independent of each other, named one by one"
)]
#[derive(Debug, Default)]
struct Asked {
    http: Http,
    /// A request begins in it.
    begun: bool,
    /// All of it was looked at.
    whole: bool,
    /// Its body has ended.
    ended: bool,
    aborted: bool,
}

impl Asked {
    /// `None` where it is no such conversation.
    fn of(turn: &Turn) -> Option<Self> {
        let total = turn.asked();
        let mut asked = Self::default();
        let mut rest = &turn.ask[..];
        let mut at = 0_u64;
        loop {
            if at >= total {
                asked.whole = true;
                return Some(asked);
            }
            let Some((&[version, kind, _, _, high, low, padding, _], behind)) =
                rest.split_first_chunk::<HEADER>()
            else {
                asked.whole = at + rest.len() as u64 == total;
                return Some(asked);
            };
            (version == 1 && (kind::BEGIN..=kind::LAST).contains(&kind)).then_some(())?;
            let length = usize::from(u16::from_be_bytes([high, low]));
            let body = &behind[..behind.len().min(length)];
            match kind {
                kind::BEGIN => {
                    asked.begun = true;
                    asked.ended = false;
                }
                kind::PARAMS => asked.params(body),
                kind::STDIN => asked.ended |= length == 0,
                kind::ABORT => asked.aborted = true,
                _ => {}
            }
            let all = length + usize::from(padding);
            at += (HEADER + all) as u64;
            rest = behind.get(all..).unwrap_or_default();
            if rest.is_empty() && at != total {
                asked.whole = at > total && turn.ask.len() as u64 == total;
                return Some(asked);
            }
        }
    }

    /// Names and values, each with its length before it.
    fn params(&mut self, mut body: &[u8]) {
        while let Some((name, value, rest)) = param(body) {
            body = rest;
            match name {
                b"REQUEST_METHOD" => self.http.method = Some(text::method(value)),
                b"REQUEST_URI" => self.http.path = text::target(value, false, true).0,
                // Where nobody says what was asked for, what runs has to do.
                b"SCRIPT_NAME" if self.http.path.is_none() => {
                    self.http.path = text::target(value, false, true).0;
                }
                b"HTTP_HOST" => self.http.host = Some(text::host(value)),
                b"SERVER_NAME" if self.http.host.is_none() && !value.is_empty() => {
                    self.http.host = Some(text::host(value));
                }
                _ => {}
            }
        }
    }
}

/// The first name and value, and what stands behind.
fn param(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name, bytes) = length(bytes)?;
    let (value, bytes) = length(bytes)?;
    let (name, bytes) = bytes.split_at_checked(name)?;
    let (value, rest) = bytes.split_at_checked(value)?;
    Some((name, value, rest))
}

fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        return Some((first.into(), rest));
    }
    let (four, rest) = bytes.split_first_chunk()?;
    Some(((u32::from_be_bytes(*four) & 0x7fff_ffff) as usize, rest))
}

#[cfg(test)]
mod tests {
    use super::{super::recorder::given, *};
    use crate::exchange::ExchangeState::{Complete, RequestIncomplete, ResponseIncomplete, Unanswered};

    fn record(kind: u8, body: &[u8], padding: u8) -> Vec<u8> {
        let [high, low] = u16::try_from(body.len()).unwrap().to_be_bytes();
        let head = [1, kind, 0, 1, high, low, padding, 0];
        [&head[..], body, &vec![0; padding.into()]].concat()
    }

    const OPENING: [u8; 8] = [1, 1, 0, 1, 0, 8, 0, 0];

    fn head() -> Vec<u8> {
        let params = [
            &b"\x0e\x03REQUEST_METHODGET\x0b\x0bREQUEST_URI/slow?a=bcd"[..],
            b"\x09\x04HTTP_HOSTshop",
        ]
        .concat();
        [
            record(kind::BEGIN, b"\0\x01\x01\0\0\0\0\0", 0),
            record(kind::PARAMS, &params, 3),
            record(kind::PARAMS, b"", 0),
        ]
        .concat()
    }

    #[test]
    fn given_a_request_of_fastcgi_when_cut_then_only_its_end_is_its_end() {
        let ask = || given().read(head()).read(record(kind::STDIN, b"", 0));
        let out = |body: &[u8]| record(kind::STDOUT, body, 0);
        let begun = || ask().write(out(b"Status: 503 Busy\r\n\r\nhel"));
        let end = record(kind::END, &[0; 8], 0);
        let table = [
            ("asked", ask(), vec![Unanswered]),
            (
                "its body is to come",
                given().read(head()),
                vec![RequestIncomplete],
            ),
            (
                "its body is unread",
                given().read(head()).unread(8),
                vec![Unanswered],
            ),
            ("begun", begun(), vec![ResponseIncomplete]),
            ("ended", begun().write(&end), vec![Complete]),
            (
                "ended, long",
                ask().write(out(&[b'x'; 900])).write(&end),
                vec![Complete],
            ),
            (
                "ended, an end unread",
                begun().write(&end).unread(8),
                vec![Complete],
            ),
            (
                "ended, another unread",
                begun().write(&end).unread(200),
                vec![Complete, Unanswered],
            ),
            (
                "an end, late",
                given().turn(2).opening(OPENING).read(record(kind::STDIN, b"", 0)),
                vec![],
            ),
            (
                "an end, late, and another",
                given()
                    .turn(2)
                    .opening(OPENING)
                    .read(record(kind::STDIN, b"", 0))
                    .read(head())
                    .unread(8),
                vec![Unanswered],
            ),
            ("aborted", ask().read(record(kind::ABORT, b"", 0)), vec![]),
        ];
        for (name, recorder, states) in table {
            assert_eq!(recorder.states(), states, "{name}");
        }
        let shown = begun().judged().remove(0);
        let http = shown.operation.http().unwrap();
        assert_eq!(
            (
                http.method.as_deref(),
                http.path.as_deref(),
                http.host.as_deref(),
                http.status
            ),
            (Some("GET"), Some("/slow"), Some("shop"), Some(503))
        );
    }
}
