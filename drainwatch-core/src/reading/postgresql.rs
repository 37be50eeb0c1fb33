//! `PostgreSQL`'s protocol, version 3: what was asked has been answered when the server is ready for the next query.
//!
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

use super::{
    Context, Reading,
    calls::{self, Call, Calls},
};
use crate::{
    event::Role,
    exchange::{ExchangeState, Protocol},
    record::Turn,
};

/// Length of Terminate: what the server has not read may be one.
pub(super) const TERMINATE: u64 = 5;
/// Longest startup packet, `MAX_STARTUP_PACKET_LENGTH`.
const STARTUP: u32 = 10_000;
/// Requests for a cancellation, TLS, and GSS encryption.
const SPECIAL: [u32; 3] = [CANCEL, 80_877_103, 80_877_104];
const CANCEL: u32 = 80_877_102;
/// Longest message that is believed of a connection whose beginning was not seen: some 1 GB.
const LONGEST: u32 = 1 << 30;
/// `ReadyForQuery` without its status.
const READY: [u8; 5] = [b'Z', 0, 0, 0, 5];

/// Reads a turn of a connection that began with a startup packet, or on which both sides say what only `PostgreSQL` does.
pub(super) fn read(turn: &Turn, context: &Context<'_>) -> Option<Reading> {
    if turn.asked() == 0 {
        return None;
    }
    let first = turn.number <= 1;
    let begins = is_startup(if first { &turn.ask } else { &turn.opening });
    if is_startup(&turn.ask) {
        // Nobody waits for an answer to a question of theirs yet; who cancels a query asks for nothing at all.
        let calls = Calls {
            goodbye: be32(&turn.ask, 4) == Some(CANCEL),
            ..Calls::default()
        };
        return Some(calls.reading(turn, context, Protocol::PostgreSql, u64::MAX));
    }
    if turn.ask.is_empty() {
        let state = ExchangeState::Unknown;
        return begins.then(|| calls::one(state).reading(turn, context, Protocol::PostgreSql, TERMINATE));
    }
    let asked = Asked::of(turn)?;
    let answered = Answered::of(turn);
    let convincing = is_opening(turn.opening, first) && asked.is_convincing(turn) && answered.is_some();
    if !begins && !convincing {
        return None;
    }
    let answered = answered.unwrap_or(Answered {
        lost: true,
        ..Answered::default()
    });
    let judged = judge(&asked, &answered, turn, context.role);
    Some(judged.reading(turn, context, Protocol::PostgreSql, TERMINATE))
}

fn is_startup(bytes: &[u8]) -> bool {
    let (Some(length), Some(code)) = (be32(bytes, 0), be32(bytes, 4)) else {
        return false;
    };
    (8..=STARTUP).contains(&length) && (code >> 16 == 3 && code & 0xffff < 256 || SPECIAL.contains(&code))
}

/// Whether a connection that was met in its middle may have gone on like this.
fn is_opening(opening: [u8; 8], first: bool) -> bool {
    first || message(&opening, 0, ASKS).is_some()
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?.first_chunk()?;
    Some(u32::from_be_bytes(*four))
}

/// What a client says.
const ASKS: &[u8] = b"BCDEFHPQSXcdfp";
/// What a server says.
const ANSWERS: &[u8] = b"123ACDEGHIKNRSTVWZcdnstv";
/// Of those, what may come long before anything else does.
const DESCRIBES: &[u8] = b"123Tnt";
/// What a server says whenever it likes.
const ASIDES: &[u8] = b"ANS";

/// Kind and whole length of the message at `at`, if one of these may stand there.
fn message(bytes: &[u8], at: usize, kinds: &[u8]) -> Option<(u8, u64)> {
    let kind = *bytes.get(at)?;
    let length = be32(bytes, at + 1)?;
    (kinds.contains(&kind) && (4..=LONGEST).contains(&length)).then_some((kind, 1 + u64::from(length)))
}

/// What was asked in a turn.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that are independent of each other, named one by one"
)]
#[derive(Debug, Default)]
struct Asked {
    /// Queries and Syncs, each of which the server answers with `ReadyForQuery`.
    units: Vec<Option<&'static str>>,
    /// What came after the last of them, and how many answers it has without a Sync.
    parts: u64,
    /// Of those, a Flush was the last.
    flushed: bool,
    /// A part that says what is done.
    part: Option<&'static str>,
    /// The last message had not come whole.
    incomplete: bool,
    /// All of it was looked at.
    whole: bool,
    /// It was said on the way in: a password.
    entering: bool,
    /// It goes on with a COPY, which the last unit is.
    copies: bool,
    /// A standby, which tells how far it is.
    standby: bool,
    goodbye: bool,
}

impl Asked {
    /// `None` where it is no such conversation.
    fn of(turn: &Turn) -> Option<Self> {
        let (bytes, total) = (&turn.ask[..], turn.asked());
        let mut asked = Self::default();
        let mut at = 0;
        while at < bytes.len() {
            if bytes.len() - at < 5 {
                // The head of a message in two: all of it was captured, or the rest was not.
                ASKS.contains(&bytes[at]).then_some(())?;
                asked.incomplete = total == bytes.len() as u64;
                return Some(asked.with_copy());
            }
            let (kind, length) = message(bytes, at, ASKS)?;
            let body = at + 5;
            let end = at as u64 + length;
            let text = bytes.get(body..).unwrap_or_default();
            asked.take(
                kind,
                length,
                &text[..text.len().min(usize::try_from(length).ok()?.saturating_sub(5))],
            );
            if end > total {
                asked.incomplete = true;
                return Some(asked.with_copy());
            }
            asked.whole = end == total;
            at = usize::try_from(end).ok()?;
        }
        Some(asked.with_copy())
    }

    fn take(&mut self, kind: u8, length: u64, body: &[u8]) {
        match kind {
            b'Q' | b'F' => self.unit(calls::first_word(body)),
            b'S' => {
                let part = self.part.take();
                self.unit(part);
            }
            b'P' => {
                // Its name comes before the statement.
                let statement = body
                    .iter()
                    .position(|byte| *byte == 0)
                    .map(|end| &body[end + 1..]);
                self.part = self.part.or(statement.and_then(calls::first_word));
                self.more();
            }
            b'B' | b'C' | b'D' | b'E' => self.more(),
            b'H' => self.flushed = true,
            b'c' | b'f' => self.copies |= self.units.is_empty(),
            b'd' => {
                self.copies |= self.units.is_empty();
                self.standby |= matches!(body.first(), Some(b'r' | b'h')) && (22..=64).contains(&length);
            }
            b'p' => self.entering = true,
            _ => self.goodbye = true,
        }
    }

    fn unit(&mut self, word: Option<&'static str>) {
        self.units.push(word);
        (self.parts, self.flushed) = (0, false);
    }

    fn more(&mut self) {
        self.parts += 1;
        self.flushed = false;
    }

    /// What goes on with a COPY ends with the same `ReadyForQuery` as the Sync behind it.
    fn with_copy(mut self) -> Self {
        if self.copies && self.units.is_empty() {
            self.units.push(Some("COPY"));
        }
        self
    }

    /// Whether nothing else says this, on a connection whose beginning was not seen: it ends with a Sync, or is a query
    /// with the zero at its end, or Terminate.
    fn is_convincing(&self, turn: &Turn) -> bool {
        let ask = &turn.ask[..];
        let all = turn.asked() == ask.len() as u64;
        let query = ask.first() == Some(&b'Q')
            && message(ask, 0, ASKS).is_some_and(|(_, length)| length == ask.len() as u64)
            && ask.last() == Some(&0);
        let answered = |answer: &[u8]| message(answer, 0, ANSWERS).is_some();
        let sync = self.whole && ask.ends_with(&[b'S', 0, 0, 0, 4]);
        all && (query || sync || ask == [b'X', 0, 0, 0, 4]) || answered(&turn.answer)
    }
}

/// What was answered in a turn.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that are independent of each other, named one by one"
)]
#[derive(Debug, Default)]
struct Answered {
    /// How many `ReadyForQuery` were seen, and the status of each, as long as every message was looked at.
    ready: Vec<u8>,
    /// All of it was looked at.
    whole: bool,
    /// Something of an answer came after the last of them: beside asides and last words, and what only describes it.
    begun: bool,
    /// An aside came after the last of them.
    asides: bool,
    /// Answers to parts of an extended query after the last of them.
    parts: u64,
    /// One of those was an error: the rest is not answered before a Sync.
    failed: bool,
    /// The last message asks for the data of a COPY.
    copies: bool,
    /// It feeds a standby.
    feeds: bool,
    /// Status of a `ReadyForQuery` with which the bytes end, whatever stands before them.
    last: Option<u8>,
    /// The same of one with which the call before the last ended: the last were asides, where one was asked for.
    before: Option<u8>,
    /// Bytes moved that nobody looked at, and the end is not known.
    lost: bool,
}

impl Answered {
    /// `None` where it is no such conversation.
    fn of(turn: &Turn) -> Option<Self> {
        let (bytes, total) = (&turn.answer[..], turn.answer_bytes);
        let mut answered = Self {
            whole: total == 0,
            ..Self::default()
        };
        let mut at = 0;
        // Servers answer a request for encryption with a letter.
        while at < bytes.len() {
            if bytes.len() - at < 5 {
                ANSWERS.contains(&bytes[at]).then_some(())?;
                answered.begun |= total == bytes.len() as u64;
                break;
            }
            let (kind, length) = message(bytes, at, ANSWERS)?;
            let end = at as u64 + length;
            let body = bytes.get(at + 5..).unwrap_or_default();
            if kind == b'Z' && body.is_empty() && end <= total {
                break; // its status was not kept
            }
            if end > total {
                answered.begun |= !is_aside(kind, body) && !DESCRIBES.contains(&kind);
                answered.whole = true;
                break;
            }
            answered.take(kind, body);
            answered.whole = end == total;
            at = usize::try_from(end).ok()?;
        }
        if !answered.whole {
            let tail = turn.tail.as_deref().unwrap_or_default();
            answered.last = at_end(tail);
            answered.before = ready(&turn.before_last[2..]);
            let end = tail.len().checked_sub(6).and_then(|at| ready(&tail[at..]));
            answered.asides = answered.last.is_none() || end.is_none();
            answered.lost = turn.tail.is_none();
        }
        Some(answered)
    }

    fn take(&mut self, kind: u8, body: &[u8]) {
        self.copies = kind == b'G';
        match kind {
            b'Z' => {
                self.ready.push(body.first().copied().unwrap_or(b'I'));
                (self.begun, self.asides, self.parts, self.failed) = (false, false, 0, false);
            }
            b'W' => self.feeds = true,
            _ if is_aside(kind, body) => self.asides = true,
            b'E' => (self.begun, self.failed) = (true, true),
            b'1' | b'2' | b'3' | b'T' | b'n' => self.parts += 1,
            b'C' | b'I' | b's' => {
                self.parts += 1;
                self.begun = true;
            }
            b't' => {}
            _ => self.begun = true,
        }
    }
}

/// Whether the message is none of an answer: a notice, a notification, or the last words of a server that leaves.
fn is_aside(kind: u8, body: &[u8]) -> bool {
    ASIDES.contains(&kind) || kind == b'E' && is_fatal(body)
}

/// Fields of an error, each ended by a zero: the severity that no language translates is `V`, since 9.6.
fn is_fatal(body: &[u8]) -> bool {
    let mut fields = body
        .split(|byte| *byte == 0)
        .take_while(|field| !field.is_empty());
    fields.any(|field| matches!(field, b"VFATAL" | b"VPANIC" | b"SFATAL" | b"SPANIC"))
}

/// Status of `ReadyForQuery`, where that is what the bytes are.
fn ready(six: &[u8]) -> Option<u8> {
    let status = *six.get(5)?;
    (six[..5] == READY && b"ITE".contains(&status)).then_some(status)
}

/// Status of the `ReadyForQuery` that the answer ends with, or that only asides come after.
fn at_end(tail: &[u8]) -> Option<u8> {
    let found = tail.windows(6).rposition(|six| ready(six).is_some())?;
    let mut at = found + 6;
    while at < tail.len() {
        let (_, length) = message(tail, at, b"ANSE")?;
        at += usize::try_from(length).ok()?;
    }
    (at == tail.len()).then(|| tail[found + 5])
}

fn judge(asked: &Asked, answered: &Answered, turn: &Turn, role: Role) -> Calls {
    use ExchangeState::{Complete, Opaque, RequestIncomplete, ResponseIncomplete, Unanswered, Unknown};
    if asked.standby || answered.feeds {
        return calls::one(Opaque);
    }
    if asked.entering && asked.units.is_empty() {
        return Calls::default(); // a password: on the way in
    }
    let mut units = asked.units.clone();
    // What came behind the last Sync, and what was not kept of it.
    let rest = !asked.whole && !asked.incomplete;
    let open = asked.parts > 0 && !rest;
    if asked.parts > 0 || units.is_empty() && !asked.goodbye {
        units.push(asked.part);
    }
    // More answers than questions: what was asked in an earlier turn goes on.
    let seen = answered.ready.len();
    if answered.whole && !rest && seen > units.len() {
        return calls::one(Opaque);
    }
    let last = answered.last.or(answered.before.filter(|_| units.len() == 1));
    let ends = last.is_some() || rest && answered.whole && !answered.begun && seen > 0;
    let done = if ends { units.len() } else { seen.min(units.len()) };
    let status = last.or(answered.ready.last().copied());
    let state = |index: usize| {
        if index < done {
            Complete
        } else if index > done {
            Unanswered
        } else if !answered.whole && answered.lost {
            Unknown
        } else if answered.begun && !answered.copies || !answered.whole {
            ResponseIncomplete
        } else if answered.copies || asked.incomplete && index + 1 == units.len() {
            RequestIncomplete
        } else {
            Unanswered
        }
    };
    let mut calls: Vec<Call> = units
        .iter()
        .enumerate()
        .map(|(index, &operation)| Call {
            operation,
            state: state(index),
        })
        .collect();
    if let Some(call) = calls.last_mut().filter(|call| open && call.state != Complete) {
        call.state = if !answered.whole || done + 1 != units.len() {
            Opaque
        } else if !asked.flushed {
            RequestIncomplete
        } else if answered.failed || answered.parts >= asked.parts {
            Complete
        } else if turn.answer_bytes > 0 {
            ResponseIncomplete
        } else {
            Unanswered
        };
    }
    if asked.goodbye && role != Role::Client {
        // It left by itself: it does not wait for what it had asked.
        calls.retain(|call| call.state == Complete);
    }
    Calls {
        asked: calls,
        transaction: matches!(status, Some(b'T' | b'E')) && done == units.len(),
        goodbye: asked.goodbye,
        asides: answered.asides,
    }
}

#[cfg(test)]
mod tests;
