//! Redis's protocol, versions 2 and 3: each command has its reply, in their order, but for those that wait for others to
//! say something, and what is said unasked.
//!
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>

mod jobs;

use self::jobs::Job;
use super::{
    Context, Reading,
    calls::{self, Call, Calls},
};
use crate::{
    event::Role,
    exchange::{Exchange, ExchangeState, Message, Operation, Protocol},
    record::Turn,
};

/// Length of QUIT: what the server has not read may be one.
const QUIT: u64 = 14;
/// Most elements and longest string that are believed: Redis's own limits are lower.
const MOST: u64 = 1 << 30;

/// Reads a turn of a connection that began with an array of strings, and goes on with one.
pub(super) fn read(turn: &Turn, context: &Context<'_>) -> Option<Reading> {
    let first = turn.number <= 1;
    if !is_command(&turn.ask, true) || !first && !is_command(&turn.opening, false) {
        return None;
    }
    let asked = Asked::of(&turn.ask, turn.asked())?;
    let answered = Answered::of(turn);
    let calls = match &answered {
        Some(answered) => judge(&asked, answered),
        None => calls::one(ExchangeState::Unknown),
    };
    let taken =
        answered.is_some_and(|answered| answered.all_taken()) && !calls.goodbye && !calls.outstanding();
    let mut reading = calls.reading(turn, context, Protocol::Redis, QUIT);
    if let Some(Job::Begun(queue)) = asked.job
        && context.role == Role::Client
        && taken
    {
        // That there was more than is kept of it is no matter any more.
        reading
            .exchanges
            .retain(|exchange| exchange.state != ExchangeState::Opaque);
        reading.exchanges.push(job(turn, reading.exchanges.len(), queue));
    }
    Some(reading)
}

/// A job that its worker has begun.
fn job(turn: &Turn, index: usize, queue: Option<String>) -> Exchange {
    let operation = Operation::Message(Message {
        operation: Some("process".to_owned()),
        destination: queue,
    });
    Exchange {
        started_ns: turn.message_first_ns,
        ..calls::exchange(turn, index, Protocol::Redis, operation, ExchangeState::Unanswered)
    }
}

/// Whether the bytes begin like a command; of eight bytes only so many lines are seen.
fn is_command(bytes: &[u8], whole: bool) -> bool {
    let Some((b'*', Some(1..=MOST), at)) = header(bytes, 0) else {
        return false;
    };
    match bytes.get(at..) {
        None | Some([]) => true,
        Some([b'$', rest @ ..]) if !whole => rest.iter().all(|byte| b"0123456789\r\n".contains(byte)),
        Some(_) => matches!(header(bytes, at), Some((b'$', Some(_), _)) | None) && bytes[at] == b'$',
    }
}

/// Type and number of the line at `at`, and where the next begins; no number where there is none.
fn header(bytes: &[u8], at: usize) -> Option<(u8, Option<u64>, usize)> {
    let (&kind, rest) = bytes.get(at..)?.split_first()?;
    let end = rest.iter().position(|byte| *byte == b'\r')?;
    (rest.get(end + 1) == Some(&b'\n')).then_some(())?;
    let digits = &rest[..end];
    let plain = (1..=10).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let number = plain.then(|| digits.iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0')));
    Some((kind, number.filter(|number| *number <= MOST), at + end + 3))
}

/// What has a name in the reports. Any other is shown as no more than its protocol.
const COMMANDS: &[&str] = &[
    "APPEND",
    "AUTH",
    "BLMOVE",
    "BLMPOP",
    "BLPOP",
    "BRPOP",
    "BRPOPLPUSH",
    "BZMPOP",
    "BZPOPMAX",
    "BZPOPMIN",
    "CLIENT",
    "CONFIG",
    "COPY",
    "DBSIZE",
    "DECR",
    "DECRBY",
    "DEL",
    "DISCARD",
    "DUMP",
    "ECHO",
    "EVAL",
    "EVALSHA",
    "EXEC",
    "EXISTS",
    "EXPIRE",
    "EXPIREAT",
    "FCALL",
    "FLUSHALL",
    "FLUSHDB",
    "GEOADD",
    "GEOSEARCH",
    "GET",
    "GETDEL",
    "GETEX",
    "GETRANGE",
    "GETSET",
    "HDEL",
    "HELLO",
    "HEXISTS",
    "HGET",
    "HGETALL",
    "HINCRBY",
    "HKEYS",
    "HLEN",
    "HMGET",
    "HMSET",
    "HSCAN",
    "HSET",
    "HSETNX",
    "HVALS",
    "INCR",
    "INCRBY",
    "INCRBYFLOAT",
    "INFO",
    "KEYS",
    "LINDEX",
    "LLEN",
    "LMOVE",
    "LPOP",
    "LPUSH",
    "LRANGE",
    "LREM",
    "LSET",
    "LTRIM",
    "MGET",
    "MONITOR",
    "MSET",
    "MULTI",
    "PERSIST",
    "PEXPIRE",
    "PING",
    "PSETEX",
    "PSUBSCRIBE",
    "PSYNC",
    "PTTL",
    "PUBLISH",
    "PUNSUBSCRIBE",
    "QUIT",
    "RENAME",
    "REPLCONF",
    "RESET",
    "RESTORE",
    "RPOP",
    "RPOPLPUSH",
    "RPUSH",
    "SADD",
    "SCAN",
    "SCARD",
    "SCRIPT",
    "SELECT",
    "SET",
    "SETEX",
    "SETNX",
    "SHUTDOWN",
    "SINTER",
    "SISMEMBER",
    "SMEMBERS",
    "SMOVE",
    "SORT",
    "SPOP",
    "SPUBLISH",
    "SRANDMEMBER",
    "SREM",
    "SSCAN",
    "SSUBSCRIBE",
    "STRLEN",
    "SUBSCRIBE",
    "SUNION",
    "SUNSUBSCRIBE",
    "SYNC",
    "TOUCH",
    "TTL",
    "TYPE",
    "UNLINK",
    "UNSUBSCRIBE",
    "UNWATCH",
    "WAIT",
    "WAITAOF",
    "WATCH",
    "XACK",
    "XADD",
    "XAUTOCLAIM",
    "XCLAIM",
    "XDEL",
    "XGROUP",
    "XLEN",
    "XPENDING",
    "XRANGE",
    "XREAD",
    "XREADGROUP",
    "XREVRANGE",
    "XTRIM",
    "ZADD",
    "ZCARD",
    "ZCOUNT",
    "ZINCRBY",
    "ZPOPMAX",
    "ZPOPMIN",
    "ZRANGE",
    "ZRANGEBYSCORE",
    "ZRANK",
    "ZREM",
    "ZREVRANGE",
    "ZSCAN",
    "ZSCORE",
];

/// A command waits for what others do, or has no reply of its own.
const WAITING: &[&str] = &[
    "BLMOVE",
    "BLMPOP",
    "BLPOP",
    "BRPOP",
    "BRPOPLPUSH",
    "BZMPOP",
    "BZPOPMAX",
    "BZPOPMIN",
    "WAIT",
    "WAITAOF",
];
/// From here on the server says what it likes, and a reply is told from that by its kind only in version 3.
const PUSHING: &[&str] = &[
    "MONITOR",
    "PSUBSCRIBE",
    "PSYNC",
    "PUNSUBSCRIBE",
    "REPLCONF",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SUNSUBSCRIBE",
    "SYNC",
    "UNSUBSCRIBE",
];

/// What was asked in a turn.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that are independent of each other, named one by one"
)]
#[derive(Debug, Default)]
struct Asked {
    /// Its commands, and whether each waits.
    commands: Vec<(Option<&'static str>, bool)>,
    /// The last had not come whole.
    incomplete: bool,
    /// More was asked than was kept.
    more: bool,
    /// What comes back are not only replies.
    pushing: bool,
    /// Replies were switched off.
    silent: bool,
    /// The latest that was said of a worker's job.
    job: Option<Job>,
    goodbye: bool,
}

impl Asked {
    /// `None` where it is no such conversation.
    fn of(bytes: &[u8], total: u64) -> Option<Self> {
        let mut asked = Self::default();
        let mut at = 0_u64;
        while at < total {
            let Found::Whole(command) = Command::at(bytes, at)? else {
                // Its beginning was kept, or not even that.
                let all = total == bytes.len() as u64;
                asked.incomplete = all;
                asked.more = !all;
                if all {
                    asked.take(&Command::default());
                }
                return Some(asked);
            };
            asked.take(&command);
            if command.end > total {
                asked.incomplete = true;
                return Some(asked);
            }
            at = command.end;
        }
        Some(asked)
    }

    fn take(&mut self, command: &Command<'_>) {
        let name = command.name;
        let is = |list: &[&str]| name.is_some_and(|name| list.contains(&name));
        let reads = matches!(name, Some("XREAD" | "XREADGROUP"));
        self.pushing |= is(PUSHING);
        self.silent |= name == Some("CLIENT") && command.switches_replies;
        self.goodbye |= name == Some("QUIT");
        self.job = Job::of(name, command.key, command.word).or(self.job.take());
        self.commands.push((name, is(WAITING) || reads && command.blocks));
    }
}

/// One command.
#[derive(Debug, Default)]
struct Command<'a> {
    name: Option<&'static str>,
    /// The words behind its name.
    key: &'a [u8],
    word: &'a [u8],
    /// One of its words is BLOCK.
    blocks: bool,
    /// One of its words is REPLY.
    switches_replies: bool,
    /// Where it ends.
    end: u64,
}

impl<'a> Command<'a> {
    /// The command at `at`; `None` where there is no such thing.
    fn at(bytes: &'a [u8], at: u64) -> Option<Found<'a>> {
        let Some(here) = usize::try_from(at).ok().filter(|at| *at < bytes.len()) else {
            return Some(Found::Part);
        };
        (bytes[here] == b'*').then_some(())?;
        let Some((_, count, mut next)) = header(bytes, here) else {
            return (bytes.len() - here < 16).then_some(Found::Part);
        };
        let mut command = Self::default();
        for index in 0..count? {
            let Some(&kind) = bytes.get(next) else {
                return Some(Found::Part);
            };
            (kind == b'$').then_some(())?;
            let Some((_, length, begin)) = header(bytes, next) else {
                return (bytes.len() - next < 16).then_some(Found::Part);
            };
            let length = usize::try_from(length?).ok()?;
            let word = bytes
                .get(begin..(begin + length).min(bytes.len()))
                .unwrap_or_default();
            let is = |known: &&&str| known.as_bytes().eq_ignore_ascii_case(word);
            match index {
                0 => command.name = COMMANDS.iter().find(is).copied(),
                1 => command.key = word,
                2 => command.word = word,
                _ => {}
            }
            command.blocks |= word.eq_ignore_ascii_case(b"BLOCK");
            command.switches_replies |= word.eq_ignore_ascii_case(b"REPLY");
            next = begin + length + 2;
        }
        command.end = next as u64;
        Some(Found::Whole(command))
    }
}

/// What stands where a command may begin.
enum Found<'a> {
    /// A command, of which the end is known.
    Whole(Command<'a>),
    /// One of which it is not.
    Part,
}

/// What was answered in a turn.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that are independent of each other, named one by one"
)]
#[derive(Debug, Default)]
struct Answered {
    /// Replies that came whole.
    replies: usize,
    /// The last of them is of a command that waits for EXEC.
    queued: bool,
    /// A part of another one came.
    begun: bool,
    /// That one is as long as nobody can tell, and ends a line with the last byte that came.
    open_end: bool,
    /// Nothing is known of what came after those.
    lost: bool,
}

impl Answered {
    /// Whatever was asked has its reply, as far as replies that came show it.
    fn all_taken(&self) -> bool {
        self.replies > 0 && !(self.queued || self.begun || self.open_end || self.lost)
    }

    /// `None` where it is no such conversation.
    fn of(turn: &Turn) -> Option<Self> {
        let (bytes, total) = (&turn.answer[..], turn.answer_bytes);
        let mut answered = Self::default();
        let mut at = 0_u64;
        while at < total {
            let Some(here) = usize::try_from(at).ok().filter(|at| *at < bytes.len()) else {
                answered.lost = true;
                break;
            };
            match value(bytes, here)? {
                Value::Ends(end) if end <= total => {
                    at = end;
                    if bytes[here] != b'>' && bytes[here] != b'|' {
                        answered.replies += 1;
                        answered.queued = bytes[here..].starts_with(b"+QUEUED\r");
                    }
                }
                Value::Ends(_) => {
                    answered.begun = true;
                    break;
                }
                Value::Goes if total == bytes.len() as u64 => {
                    answered.begun = true;
                    break;
                }
                Value::Goes => {
                    let tail = turn.tail.as_deref().unwrap_or(b"\r\n");
                    answered.open_end = tail.ends_with(b"\r\n");
                    answered.begun = !answered.open_end;
                    break;
                }
            }
        }
        Some(answered)
    }
}

/// Where a value ends.
enum Value {
    Ends(u64),
    /// Beyond the bytes, it is not known where.
    Goes,
}

/// The value at `at`, with all its elements; `None` where there is no such thing.
fn value(bytes: &[u8], at: usize) -> Option<Value> {
    let mut next = at as u64;
    let mut values = 1_u64;
    while values > 0 {
        let Some(here) = usize::try_from(next).ok().filter(|here| *here < bytes.len()) else {
            return Some(Value::Goes);
        };
        let kind = bytes[here];
        b"+-:$*_#,(!=%~>|".contains(&kind).then_some(())?;
        let Some((_, number, behind)) = header(bytes, here) else {
            // A line that is longer than what was kept.
            let ends = bytes[here..].contains(&b'\r') && !bytes.ends_with(b"\r");
            return (!ends).then_some(Value::Goes);
        };
        values -= 1;
        next = behind as u64;
        match kind {
            b'$' | b'!' | b'=' => {
                let null = &bytes[here + 1..behind] == b"-1\r\n";
                next += if null { 0 } else { number? + 2 };
            }
            b'*' | b'~' | b'>' => {
                let null = &bytes[here + 1..behind] == b"-1\r\n";
                values += if null { 0 } else { number? };
            }
            // An attribute stands before the value that it is of.
            b'%' | b'|' => values += 2 * number? + u64::from(kind == b'|' && here != at),
            _ => {}
        }
    }
    Some(Value::Ends(next))
}

fn judge(asked: &Asked, answered: &Answered) -> Calls {
    use ExchangeState::{Complete, Opaque, RequestIncomplete, ResponseIncomplete, Unanswered};
    if asked.silent {
        return calls::one(Opaque);
    }
    if asked.pushing {
        return Calls {
            goodbye: asked.goodbye,
            ..Calls::default()
        };
    }
    let commands = &asked.commands;
    let unclear = answered.lost || answered.open_end || asked.more && answered.replies > 0;
    if unclear || answered.replies > commands.len() {
        return calls::one(Opaque);
    }
    let last = commands.len().saturating_sub(1);
    let state = |index: usize| {
        if index < answered.replies {
            Complete
        } else if index == answered.replies && answered.begun {
            ResponseIncomplete
        } else if asked.incomplete && index == last {
            RequestIncomplete
        } else {
            Unanswered
        }
    };
    let calls: Vec<Call> = commands
        .iter()
        .enumerate()
        .map(|(index, &(operation, waits))| {
            (
                Call {
                    operation,
                    state: state(index),
                },
                waits,
            )
        })
        // Who waits for what may never come is idle, and so is who asks whether it is still there; a shutdown that succeeds is
        // answered by the end of the connection.
        .filter(|(call, waits)| {
            call.state != Unanswered
                || !waits && !matches!(call.operation, Some("PING" | "QUIT" | "SHUTDOWN"))
        })
        .map(|(call, _)| call)
        .collect();
    let all = answered.replies == commands.len();
    let multi = commands.last().is_some_and(|(name, _)| *name == Some("MULTI"));
    Calls {
        asked: calls,
        transaction: all && (answered.queued || multi),
        goodbye: asked.goodbye,
        asides: false,
    }
}

#[cfg(test)]
mod tests;
