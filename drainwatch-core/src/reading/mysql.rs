//! The protocol of `MySQL` and `MariaDB`: a command is answered by one packet, or by result sets up to the last.
//!
//! <https://mariadb.com/kb/en/clientserver-protocol/>

use super::{
    Context, Reading,
    calls::{self, Call, Calls},
};
use crate::{
    exchange::{ExchangeState, Protocol},
    record::Turn,
};

/// Length of `COM_QUIT`: what the server has not read may be one.
const QUIT: u64 = 5;
/// Shortest and longest first packet of a client that is believed.
const LOGIN: std::ops::RangeInclusive<u64> = 32..=4096;
/// Capabilities: the protocol since 4.1; result sets end with an OK packet.
const PROTOCOL_41: u32 = 1 << 9;
const DEPRECATE_EOF: u32 = 1 << 24;
/// Status of the server: in a transaction; another result set follows; the rows wait for a fetch.
const IN_TRANSACTION: u16 = 1;
const MORE_RESULTS: u16 = 1 << 3;
const CURSOR: u16 = 1 << 6;
/// Errors that are last words: shutdown, and connections that were killed.
const LAST_WORDS: [u16; 6] = [1053, 1077, 1078, 1079, 1080, 1927];

/// Reads a turn of a connection that began with a client's login, behind the server's greeting.
pub(super) fn read(turn: &Turn, context: &Context<'_>) -> Option<Reading> {
    let first = turn.number <= 1;
    let login = if first { &turn.ask[..] } else { &turn.opening };
    let capabilities = capabilities(login)?;
    if first && !login.get(13..32)?.iter().all(|byte| *byte == 0) {
        return None;
    }
    let calls = if first {
        Calls::default() // the login
    } else if turn.ask.is_empty() {
        calls::one(ExchangeState::Unknown)
    } else {
        let asked = Asked::of(&turn.ask, turn.asked())?;
        judge(&asked, turn, capabilities & DEPRECATE_EOF != 0)
    };
    Some(calls.reading(turn, context, Protocol::MySql, QUIT))
}

/// What the client of this login can, where it is one.
fn capabilities(login: &[u8]) -> Option<u32> {
    let Packet { length, number, .. } = Packet::at(login, 0)?;
    let four = login.get(4..8)?.first_chunk()?;
    let capabilities = u32::from_le_bytes(*four);
    (LOGIN.contains(&length) && number == 1 && capabilities & PROTOCOL_41 != 0).then_some(capabilities)
}

/// A packet, as far as it was kept.
#[derive(Debug, Clone, Copy)]
struct Packet<'a> {
    length: u64,
    number: u8,
    body: &'a [u8],
}

impl<'a> Packet<'a> {
    fn at(bytes: &'a [u8], at: usize) -> Option<Self> {
        let (&[low, middle, high, number], rest) = bytes.get(at..)?.split_first_chunk()?;
        let length = u32::from_le_bytes([low, middle, high, 0]);
        Some(Self {
            length: length.into(),
            number,
            body: &rest[..rest.len().min(length as usize)],
        })
    }

    fn kind(self) -> Option<u8> {
        self.body.first().copied()
    }

    fn is_error(self) -> bool {
        self.kind() == Some(0xff)
    }

    fn is_last_word(self) -> bool {
        let code = self
            .body
            .get(1..3)
            .map(|two| u16::from_le_bytes([two[0], two[1]]));
        self.is_error() && code.is_some_and(|code| LAST_WORDS.contains(&code))
    }

    /// Whether it ends columns or rows: EOF, or OK in its place.
    fn is_end(self, deprecated: bool) -> bool {
        self.kind() == Some(0xfe) && (self.length < 9 || deprecated && self.length < 0xff_ffff)
    }

    /// Status of the server in an OK or EOF packet.
    fn status(self) -> Option<u16> {
        let at = if self.kind() == Some(0xfe) && self.length == 5 {
            3
        } else {
            let rows = 1 + integer(self.body, 1)?.1;
            rows + integer(self.body, rows)?.1
        };
        let two = self.body.get(at..at + 2)?;
        Some(u16::from_le_bytes([two[0], two[1]]))
    }
}

/// A length-encoded integer, and how many bytes it takes.
fn integer(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let more = match *bytes.get(at)? {
        small @ ..=0xfa => return Some((small.into(), 1)),
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        0xfb | 0xff => return None,
    };
    let value = bytes.get(at + 1..at + 1 + more)?;
    let value = value
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    Some((value, 1 + more))
}

/// How a command is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// OK, an error, or result sets.
    Results,
    /// What was prepared.
    Prepared,
    /// Rows.
    Rows,
    /// One packet.
    Packet,
    /// Nobody here reads it, or it never ends.
    Unread,
}

/// What was asked in a turn.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that are independent of each other, named one by one"
)]
#[derive(Debug, Default)]
struct Asked {
    commands: Vec<(Option<&'static str>, Answer)>,
    /// The last had not come whole.
    incomplete: bool,
    /// More was asked than was kept.
    more: bool,
    /// It belongs to what was said before: a login that takes several turns, or a file that was asked for.
    goes_on: bool,
    goodbye: bool,
}

impl Asked {
    /// `None` where it is no such conversation.
    fn of(bytes: &[u8], total: u64) -> Option<Self> {
        let mut asked = Self::default();
        let mut at = 0_u64;
        while at < total {
            let Some(here) = usize::try_from(at).ok().filter(|at| *at < bytes.len()) else {
                asked.more = true;
                break;
            };
            let Some(packet) = Packet::at(bytes, here).filter(|packet| !packet.body.is_empty()) else {
                asked.incomplete = total == bytes.len() as u64;
                asked.more = !asked.incomplete;
                asked.commands.push((None, Answer::Unread));
                break;
            };
            if packet.number != 0 {
                asked.goes_on = true;
                return Some(asked);
            }
            asked.take(packet)?;
            at += 4 + packet.length;
            asked.incomplete = at > total;
        }
        Some(asked)
    }

    fn take(&mut self, packet: Packet<'_>) -> Option<()> {
        let word = || calls::first_word(&packet.body[1..]);
        let command = match packet.kind()? {
            0x01 => {
                self.goodbye = true;
                return Some(());
            }
            0x18 | 0x19 => return Some(()), // COM_STMT_SEND_LONG_DATA, COM_STMT_CLOSE
            0x03 => (word(), Answer::Results),
            0x16 => (word().or(Some("PREPARE")), Answer::Prepared),
            0x17 => (Some("EXECUTE"), Answer::Results),
            0x1c => (Some("FETCH"), Answer::Rows),
            0x04 => (None, Answer::Rows),
            0x0e => (Some("PING"), Answer::Packet),
            0x02 | 0x05..=0x0a | 0x0c | 0x0d | 0x1a | 0x1b | 0x1f => (None, Answer::Packet),
            0x0b | 0x0f..=0x15 | 0x1d | 0x1e | 0x20 | 0xfa => (None, Answer::Unread),
            _ => return None,
        };
        self.commands.push(command);
        Some(())
    }
}

/// How far the answer to one command came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// It ended at this byte, and said this of the server.
    Ended(u64, Option<u16>),
    /// It has begun.
    Begun,
    /// It goes on beyond what was kept.
    Beyond,
    /// The server wants a file, or says what is not known here.
    Other,
}

/// The packets of an answer, one after the other.
struct Packets<'a> {
    bytes: &'a [u8],
    total: u64,
    at: u64,
}

impl<'a> Packets<'a> {
    fn next(&mut self) -> Result<Packet<'a>, Progress> {
        if self.at >= self.total {
            return Err(Progress::Begun);
        }
        let here = usize::try_from(self.at).ok();
        let packet = here.and_then(|here| Packet::at(self.bytes, here));
        let all = self.total == self.bytes.len() as u64;
        let Some(packet) = packet.filter(|packet| !packet.body.is_empty()) else {
            return Err(if all { Progress::Begun } else { Progress::Beyond });
        };
        self.at += 4 + packet.length;
        if self.at > self.total {
            return Err(Progress::Begun);
        }
        Ok(packet)
    }

    fn skip(&mut self, packets: u64) -> Result<(), Progress> {
        for _ in 0..packets {
            self.next()?;
        }
        Ok(())
    }

    /// Walks over the answer to one command.
    fn answer(&mut self, answer: Answer, deprecated: bool) -> Progress {
        let walked = match answer {
            Answer::Results => self.results(deprecated),
            Answer::Prepared => self.prepared(deprecated),
            Answer::Rows => self.rows(deprecated),
            Answer::Packet => self.next().map(Packet::status),
            Answer::Unread => Err(Progress::Other),
        };
        match walked {
            Ok(status) => Progress::Ended(self.at, status),
            Err(progress) => progress,
        }
    }

    fn results(&mut self, deprecated: bool) -> Result<Option<u16>, Progress> {
        loop {
            let first = self.next()?;
            let status = match first.kind() {
                Some(0xff) => return Ok(None),
                Some(0x00) => first.status(),
                Some(0xfb) | None => return Err(Progress::Other),
                Some(_) => {
                    let (columns, width) = integer(first.body, 0).ok_or(Progress::Other)?;
                    // MariaDB may say that it leaves out what the client knows already.
                    let known = first.body.get(width) == Some(&0);
                    self.skip(if known { 0 } else { columns })?;
                    if deprecated {
                        self.rows(deprecated)?
                    } else {
                        let end = self.next()?.status();
                        if end.is_some_and(|status| status & CURSOR != 0) {
                            end
                        } else {
                            self.rows(deprecated)?
                        }
                    }
                }
            };
            if status.is_none_or(|status| status & MORE_RESULTS == 0) {
                return Ok(status);
            }
        }
    }

    fn rows(&mut self, deprecated: bool) -> Result<Option<u16>, Progress> {
        loop {
            let packet = self.next()?;
            if packet.is_last_word() {
                return Err(Progress::Begun);
            }
            if packet.is_error() {
                return Ok(None);
            }
            if packet.is_end(deprecated) {
                return Ok(packet.status());
            }
        }
    }

    fn prepared(&mut self, deprecated: bool) -> Result<Option<u16>, Progress> {
        let first = self.next()?;
        let &[0, _, _, _, _, c0, c1, p0, p1, ..] = first.body else {
            return if first.is_error() {
                Ok(None)
            } else {
                Err(Progress::Other)
            };
        };
        for count in [u16::from_le_bytes([p0, p1]), u16::from_le_bytes([c0, c1])] {
            let end = u64::from(count > 0 && !deprecated);
            self.skip(u64::from(count) + end)?;
        }
        Ok(None)
    }
}

/// Status of the packet that ends rows, or of an error, where the answer ends with one; `true` where last words stand
/// behind it.
fn at_end(tail: &[u8]) -> Option<(Option<u16>, bool)> {
    let ends = |at: usize| {
        let packet = Packet::at(tail, at)?;
        let whole = packet.number > 0 && at as u64 + 4 + packet.length == tail.len() as u64;
        let end = packet.is_end(true) && packet.length >= 5 || packet.is_error() && packet.length >= 3;
        (whole && end).then_some(packet)
    };
    let status = |packet: Packet<'_>| if packet.is_error() { None } else { packet.status() };
    let words = (0..tail.len()).find(|&at| {
        Packet::at(tail, at)
            .is_some_and(|packet| packet.is_last_word() && at as u64 + 4 + packet.length == tail.len() as u64)
    });
    match words {
        None => (0..tail.len())
            .rev()
            .find_map(ends)
            .map(|packet| (status(packet), false)),
        Some(at) => at_end(&tail[..at]).map(|(status, _)| (status, true)),
    }
}

/// Status of the packet that ended rows, where the call before the last ended with one.
fn before_last(eight: [u8; 8]) -> Option<u16> {
    match eight {
        [0, 0, 1..=255, 0xfe, _, _, low, high] | [1..=255, 0xfe, 0, 0, low, high, _, _] => {
            Some(u16::from_le_bytes([low, high]))
        }
        _ => None,
    }
}

fn judge(asked: &Asked, turn: &Turn, deprecated: bool) -> Calls {
    use ExchangeState::{Complete, Opaque, RequestIncomplete, ResponseIncomplete, Unanswered};
    if asked.goes_on {
        return calls::one(Opaque);
    }
    let mut packets = Packets {
        bytes: &turn.answer,
        total: turn.answer_bytes,
        at: 0,
    };
    let first = Packet::at(&turn.answer, 0);
    if first.is_some_and(|packet| packet.number != 1 && !packet.is_last_word()) {
        // The rest of an answer to what was asked in an earlier turn, or no answer of this protocol at all.
        return calls::one(Opaque);
    }
    let (mut calls, mut status, mut asides) = (vec![], None, false);
    let mut over = false;
    for (index, &(operation, answer)) in asked.commands.iter().enumerate() {
        let last = index + 1 == asked.commands.len();
        let begin = packets.at;
        let here = usize::try_from(begin).ok();
        let nothing = begin >= turn.answer_bytes;
        let last_word = here
            .and_then(|here| Packet::at(&turn.answer, here))
            .is_some_and(Packet::is_last_word);
        let state = if answer == Answer::Unread && !(asked.incomplete && last) {
            Opaque
        } else if over || nothing || last_word {
            over = true;
            if asked.incomplete && last {
                RequestIncomplete
            } else {
                Unanswered
            }
        } else {
            match packets.answer(answer, deprecated) {
                Progress::Ended(_, said) => {
                    status = said;
                    Complete
                }
                Progress::Begun => {
                    over = true;
                    ResponseIncomplete
                }
                // Where it ends is not known for more than one.
                Progress::Beyond if !last => {
                    calls.clear();
                    calls.push(Call {
                        operation,
                        state: Opaque,
                    });
                    break;
                }
                Progress::Beyond => {
                    over = true;
                    match turn.tail.as_deref().map(at_end) {
                        Some(Some((said, words))) => {
                            (status, asides) = (said, words);
                            complete_unless_more(said)
                        }
                        Some(None) if let Some(said) = before_last(turn.before_last) => {
                            (status, asides) = (Some(said), true);
                            complete_unless_more(Some(said))
                        }
                        // What was prepared comes in one go.
                        Some(None) if answer == Answer::Prepared => Opaque,
                        Some(None) => ResponseIncomplete,
                        None => Opaque,
                    }
                }
                Progress::Other => Opaque,
            }
        };
        calls.push(Call { operation, state });
    }
    if asked.more && calls.iter().any(|call| call.state != Complete) && turn.answer_bytes > 0 {
        calls = vec![Call {
            operation: None,
            state: Opaque,
        }];
    }
    asides |= !over && packets.at < turn.answer_bytes;
    Calls {
        asked: calls,
        transaction: status.is_some_and(|status| status & IN_TRANSACTION != 0),
        goodbye: asked.goodbye,
        asides,
    }
}

fn complete_unless_more(status: Option<u16>) -> ExchangeState {
    if status.is_some_and(|status| status & MORE_RESULTS != 0) {
        ExchangeState::ResponseIncomplete
    } else {
        ExchangeState::Complete
    }
}

#[cfg(test)]
mod tests;
