//! SMTP in clear (RFC 5321): commands are lines, and so are replies, the last of each with a blank behind its code.
//!
//! What is lost is a message that was sent and not taken: from DATA on it is the client's until the server says 250.

use super::{Context, Reading, calls};
use crate::{
    exchange::{ExchangeState, Protocol},
    record::Turn,
};

/// What a client says first.
const OPENINGS: [&[u8]; 3] = [b"EHLO ", b"HELO ", b"LHLO "];
/// End of a message.
const END: &[u8] = b"\r\n.\r\n";
/// The server is about to leave: no answer to anything.
const LEAVES: &[u8] = b"421";

/// Reads a turn of a connection that began with a greeting of the client's.
pub(super) fn read(turn: &Turn, _: &Context<'_>) -> Option<Reading> {
    let first = turn.number <= 1;
    let opening = if first { &turn.ask[..] } else { &turn.opening };
    // Behind STARTTLS it is another protocol.
    let encrypted = matches!(turn.ask[..], [0x14..=0x17, 3, ..]);
    if encrypted || !OPENINGS.iter().any(|word| is(word, opening)) {
        return None;
    }
    if first && turn.answer_bytes > 0 && !turn.answer.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let message = |state| {
        Some(calls::messages(
            turn,
            Protocol::Smtp,
            [(Some("send"), None, state)],
        ))
    };
    if turn.ask.is_empty() {
        return message(ExchangeState::Opaque);
    }
    let Some(commands) = commands(turn) else {
        // Behind DATA, and its 354: a message.
        let whole = turn.ask.len() as u64 == turn.asked();
        return message(match replies(turn) {
            Some((0, _)) if whole && !turn.ask.ends_with(END) => ExchangeState::RequestIncomplete,
            Some((0, _) | (1, true)) => ExchangeState::Unanswered,
            Some(_) => ExchangeState::Complete,
            None => ExchangeState::Opaque,
        });
    };
    if commands.quits {
        return Some(calls::goodbye());
    }
    // A message may follow: whoever was told to send it goes on, or starts anew elsewhere.
    Some(Reading::default())
}

fn is(word: &[u8], line: &[u8]) -> bool {
    line.get(..word.len())
        .is_some_and(|begin| begin.eq_ignore_ascii_case(word))
}

/// Commands of a turn.
struct Commands {
    quits: bool,
}

/// `None` where it is a message.
fn commands(turn: &Turn) -> Option<Commands> {
    const VERBS: [&[u8]; 16] = [
        b"EHLO",
        b"HELO",
        b"LHLO",
        b"MAIL",
        b"RCPT",
        b"DATA",
        b"RSET",
        b"NOOP",
        b"QUIT",
        b"VRFY",
        b"EXPN",
        b"HELP",
        b"AUTH",
        b"STARTTLS",
        b"BDAT",
        b"XCLIENT",
    ];
    let mut commands = Commands { quits: false };
    let mut lines = turn.ask.split_inclusive(|byte| *byte == b'\n');
    let known = |line: &[u8]| {
        let word = line.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let word = &line[..word];
        VERBS.iter().any(|verb| verb.eq_ignore_ascii_case(word))
    };
    let one = lines.next()?;
    // An answer to a question of AUTH's is one line, and nobody's message.
    let credentials = |line: &[u8]| line.trim_ascii_end().iter().all(|byte| is_base64(*byte));
    let alone = turn.asked() == one.len() as u64;
    if !(known(one) || alone && credentials(one)) {
        return None;
    }
    for line in std::iter::once(one).chain(lines) {
        commands.quits |= is(b"QUIT", line);
        // BDAT has its message in it.
        if is(b"BDAT", line) {
            return None;
        }
    }
    Some(commands)
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'*')
}

/// How many replies there are, and whether the last says that the server leaves; `None` where that was not kept.
fn replies(turn: &Turn) -> Option<(usize, bool)> {
    if turn.answer_bytes == 0 {
        return Some((0, false));
    }
    if turn.answer.len() as u64 != turn.answer_bytes {
        return None;
    }
    let lines = turn.answer.split_inclusive(|byte| *byte == b'\n');
    let last = |line: &&[u8]| line.ends_with(b"\n") && line.get(3) != Some(&b'-');
    let finals: Vec<_> = lines.filter(last).collect();
    Some((
        finals.len(),
        finals.last().is_some_and(|line| line.starts_with(LEAVES)),
    ))
}

#[cfg(test)]
mod tests {
    use super::{super::recorder::given, *};
    use crate::exchange::ExchangeState::{Complete, RequestIncomplete, Unanswered};

    #[test]
    fn given_a_mail_when_cut_then_it_is_lost_until_it_was_taken() {
        let on = || given().turn(5).opening(*b"EHLO me\r");
        let mail = "From: a\r\n\r\nhello\r\n.\r\n";
        let table = [
            (
                "entering",
                given().read("EHLO me\r\n").write("250-x\r\n250 y\r\n"),
                vec![],
            ),
            ("entering, no answer", given().read("HELO me\r\n"), vec![]),
            ("told to send", on().read("DATA\r\n").write("354 go\r\n"), vec![]),
            (
                "credentials",
                on().read("AGxlZGdlcgBsZWRnZXI=\r\n").write("235 ok\r\n"),
                vec![],
            ),
            (
                "half sent",
                on().read("From: a\r\n\r\nhel"),
                vec![RequestIncomplete],
            ),
            ("sent", on().read(mail), vec![Unanswered]),
            ("taken", on().read(mail).write("250 queued\r\n"), vec![Complete]),
            (
                "not taken: it leaves",
                on().read(mail).write("421 bye\r\n"),
                vec![Unanswered],
            ),
            (
                "taken, then it leaves",
                on().read(mail).write("250 ok\r\n421 bye\r\n"),
                vec![Complete],
            ),
            ("goodbye", on().read("QUIT\r\n"), vec![]),
        ];
        for (name, recorder, states) in table {
            recorder.assert_both_ends(Protocol::Smtp, &states);
            assert_eq!(recorder.states(), states, "{name}");
        }
        assert!(
            read(
                &given().read("EHLO me\r\n").write("hello").turn,
                &given().context()
            )
            .is_none()
        );
    }
}
