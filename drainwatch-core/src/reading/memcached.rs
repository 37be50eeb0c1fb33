//! memcached's text protocol and its meta commands: each command is a line, with data behind some; answers come in order.
//!
//! <https://github.com/memcached/memcached/blob/master/doc/protocol.txt>

use super::{
    Context, Reading,
    calls::{Call, Calls, one},
};
use crate::{
    exchange::{ExchangeState, Protocol},
    record::Turn,
};

/// Longest goodbye.
const QUIT: u64 = 6;
/// Longest line of a command: a key has 250 bytes at most, and `get` may have several.
const LINE: usize = 2048;

/// What its answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Values, then `END`.
    Values,
    /// A line.
    Line,
    /// Nothing, unless something is wrong.
    None,
}

/// A command, as far as its line says.
#[derive(Debug, Clone, Copy)]
struct Command {
    name: &'static str,
    answer: Answer,
    /// Bytes of data behind its line, with their own end.
    data: u64,
}

/// Commands that say by themselves that this is memcached; beanstalkd has some of the others.
const OPENINGS: &[&[u8]] = &[
    b"get ",
    b"gets ",
    b"gat ",
    b"gats ",
    b"set ",
    b"add ",
    b"replace ",
    b"append ",
    b"prepend ",
    b"cas ",
    b"incr ",
    b"decr ",
    b"mg ",
    b"ms ",
    b"md ",
    b"ma ",
    b"version\r",
    b"flush_al",
];

/// Reads a turn of a connection that began with a command.
pub(super) fn read(turn: &Turn, context: &Context<'_>) -> Option<Reading> {
    let opening = if turn.number <= 1 {
        &turn.ask[..]
    } else {
        &turn.opening
    };
    if !OPENINGS.iter().any(|command| opening.starts_with(command)) {
        return None;
    }
    let reading = |calls: Calls| Some(calls.reading(turn, context, Protocol::Memcached, QUIT));
    if turn.ask.is_empty() {
        return (turn.number > 1)
            .then(|| one(ExchangeState::Unknown).reading(turn, context, Protocol::Memcached, QUIT));
    }
    let asked = Asked::of(turn)?;
    // Whoever has been answered in its first turn has been answered as memcached does.
    if turn.number <= 1 && turn.answer_bytes > 0 && !is_answer(&turn.answer) {
        return None;
    }
    if asked.goodbye && asked.commands.is_empty() {
        return reading(Calls {
            goodbye: true,
            ..Calls::default()
        });
    }
    let states = states(&asked, turn);
    let calls = asked.commands.iter().zip(states).map(|(command, state)| Call {
        operation: Some(command.name),
        state,
    });
    reading(Calls {
        asked: calls.collect(),
        goodbye: asked.goodbye,
        ..Calls::default()
    })
}

/// What was asked in a turn.
#[derive(Debug, Default)]
struct Asked {
    /// Those that are answered.
    commands: Vec<Command>,
    /// The last of them has not come whole.
    incomplete: bool,
    /// There are others, which were not kept.
    more: bool,
    goodbye: bool,
}

impl Asked {
    /// `None` where it is no such conversation.
    fn of(turn: &Turn) -> Option<Self> {
        let (bytes, total) = (&turn.ask[..], turn.asked());
        let mut asked = Self::default();
        let mut at = 0;
        while at < bytes.len() {
            let Some(end) = bytes[at..].iter().position(|byte| *byte == b'\n') else {
                let fits = bytes.len() - at <= LINE && bytes[at..].iter().all(u8::is_ascii_graphic_or_space);
                fits.then_some(())?;
                asked.incomplete = total == bytes.len() as u64 && !asked.commands.is_empty();
                asked.more = !asked.incomplete;
                break;
            };
            let line = &bytes[at..at + end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            at += end + 1;
            if line == b"quit" {
                asked.goodbye = true;
                continue;
            }
            let command = command(line)?;
            if command.answer != Answer::None {
                asked.commands.push(command);
            }
            let behind = at as u64 + command.data;
            if behind > total {
                asked.incomplete = true;
                break;
            }
            at = usize::try_from(behind).ok()?;
            asked.more = at > bytes.len() && behind < total;
        }
        asked.more |= at == bytes.len() && total > bytes.len() as u64;
        Some(asked)
    }
}

/// What text is made of.
trait Text {
    fn is_ascii_graphic_or_space(&self) -> bool;
}

impl Text for u8 {
    fn is_ascii_graphic_or_space(&self) -> bool {
        self.is_ascii_graphic() || matches!(self, b' ' | b'\r')
    }
}

/// `None` for a line that is no command.
fn command(line: &[u8]) -> Option<Command> {
    use Answer::{Line, None, Values};
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let name = words.next()?;
    let rest: Vec<_> = words.collect();
    let quiet = rest.last() == Some(&&b"noreply"[..]);
    let number = |at: usize| {
        let digits = std::str::from_utf8(rest.get(at)?).ok()?;
        digits.parse::<u32>().ok().map(|length| u64::from(length) + 2)
    };
    // A meta command without an answer where nothing is wrong has the flag q.
    let quiet_meta = rest.iter().skip(1).any(|flag| flag == b"q");
    let (name, answer, data) = match name {
        b"get" | b"gets" => ("GET", Values, 0),
        b"gat" | b"gats" => ("GAT", Values, 0),
        b"set" => ("SET", Line, number(3)?),
        b"add" => ("ADD", Line, number(3)?),
        b"replace" => ("REPLACE", Line, number(3)?),
        b"append" => ("APPEND", Line, number(3)?),
        b"prepend" => ("PREPEND", Line, number(3)?),
        b"cas" => ("CAS", Line, number(3)?),
        b"delete" => ("DELETE", Line, 0),
        b"incr" => ("INCR", Line, 0),
        b"decr" => ("DECR", Line, 0),
        b"touch" => ("TOUCH", Line, 0),
        b"stats" => ("STATS", Values, 0),
        b"flush_all" => ("FLUSH_ALL", Line, 0),
        b"version" => ("VERSION", Line, 0),
        b"verbosity" => ("VERBOSITY", Line, 0),
        b"mg" => ("MG", Line, 0),
        b"ms" => ("MS", Line, number(1)?),
        b"md" => ("MD", Line, 0),
        b"ma" => ("MA", Line, 0),
        b"mn" => ("MN", Line, 0),
        _ => return Option::None,
    };
    Some(Command {
        name,
        answer: if quiet || name.starts_with('M') && quiet_meta {
            None
        } else {
            answer
        },
        data,
    })
}

/// Beginnings of answers.
fn is_answer(bytes: &[u8]) -> bool {
    const WORDS: &[&[u8]] = &[
        b"VALUE ",
        b"END\r\n",
        b"STORED\r\n",
        b"NOT_STORED",
        b"EXISTS\r\n",
        b"NOT_FOUND",
        b"DELETED\r\n",
        b"TOUCHED",
        b"OK\r\n",
        b"ERROR\r\n",
        b"CLIENT_ERROR",
        b"SERVER_ERROR",
        b"VERSION ",
        b"STAT ",
        b"HD",
        b"EN\r\n",
        b"VA ",
        b"NS",
        b"EX",
        b"NF",
        b"MN\r\n",
    ];
    WORDS
        .iter()
        .any(|word| bytes.starts_with(word) || word.starts_with(bytes))
        || bytes.first().is_some_and(u8::is_ascii_digit)
}

/// How far each command came.
fn states(asked: &Asked, turn: &Turn) -> Vec<ExchangeState> {
    use ExchangeState::{Complete, Opaque, RequestIncomplete, ResponseIncomplete, Unanswered};
    let count = asked.commands.len();
    let whole = turn.answer.len() as u64 == turn.answer_bytes;
    let last = || {
        if asked.incomplete {
            RequestIncomplete
        } else {
            Unanswered
        }
    };
    if !whole {
        // Of a long answer the last bytes decide, and they do so of the last command.
        let tail = turn.tail.as_deref().unwrap_or_default();
        let ended = match asked.commands.last().map(|command| command.answer) {
            Some(Answer::Values) => tail.ends_with(b"\r\nEND\r\n"),
            _ => false,
        };
        return match (ended && !asked.incomplete && !asked.more, count) {
            (true, _) => vec![Complete; count],
            (false, 1) if asked.commands[0].answer == Answer::Values && turn.tail.is_some() => {
                vec![ResponseIncomplete]
            }
            (false, _) => vec![Opaque; count],
        };
    }
    let mut rest = &turn.answer[..];
    let mut states = vec![];
    for command in &asked.commands {
        states.push(if rest.is_empty() {
            Unanswered
        } else if let Some(behind) = answered(command.answer, rest) {
            rest = behind;
            Complete
        } else {
            let begun = ResponseIncomplete;
            rest = &[];
            begun
        });
    }
    if let Some(end) = states.last_mut()
        && *end == Unanswered
    {
        *end = last();
    }
    states
}

/// What stands behind one answer; `None` where it has not ended.
fn answered(kind: Answer, bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes;
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = &rest[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        rest = &rest[end + 1..];
        let mut words = line.split(|byte| *byte == b' ');
        // `VALUE key flags length`, `VA length`: data behind them, with its own end.
        let length = match words.next()? {
            b"VALUE" => words.nth(2),
            b"VA" => words.next(),
            b"STAT" => continue,
            _ => return Some(rest),
        };
        let length = std::str::from_utf8(length?).ok()?.parse::<u32>().ok()?;
        rest = rest.get(length as usize + 2..)?;
        if kind == Answer::Line {
            return Some(rest);
        }
    }
}

#[cfg(test)]
mod tests;
