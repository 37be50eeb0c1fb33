//! What a client published, and what the broker confirmed of it.
//!
//! Whether a channel's messages are confirmed was agreed on in an earlier turn (`confirm.select`). It shows where the
//! broker confirms one in this turn, or did so in what it said last before it: brokers acknowledge nothing else.
//!
//! <https://www.rabbitmq.com/docs/confirms#publisher-confirms>

use super::{
    destination,
    frames::{self, Frame, frames},
    method,
};
use crate::{exchange::ExchangeState, record::Turn};

/// A message, and how far it came.
#[derive(Debug)]
pub(super) struct Published {
    /// Where to, where that is known.
    pub destination: Option<String>,
    pub state: ExchangeState,
}

/// The messages of a turn of which it is known how far they came; so many bytes wait unread behind what was asked.
pub(super) fn of(turn: &Turn, unread: u64) -> Vec<Published> {
    let asked = turn.asked();
    let mut confirming = Confirming::of(turn);
    let messages = Messages::of(&turn.ask, &mut confirming);
    let whole = asked == turn.ask.len() as u64;
    let last = messages.seen.len().saturating_sub(1);
    let no_more = whole || messages.least == Some(asked);
    let mut published = vec![];
    for (index, message) in messages.seen.iter().enumerate() {
        let (on, confirmed) = confirming.take(message);
        let state =
            if index == last && messages.breaks_off(asked.saturating_add(unread), whole && unread == 0) {
                // It was none yet, whether it would have been confirmed or not.
                ExchangeState::RequestIncomplete
            } else if !on {
                continue;
            } else if !confirmed {
                ExchangeState::Unanswered
            } else if no_more {
                ExchangeState::Complete
            } else {
                // Of those behind it is not known how many there are.
                continue;
            };
        published.push(Published {
            destination: message.destination.clone(),
            state,
        });
    }
    published
}

/// A message that was published.
#[derive(Debug)]
struct Message {
    channel: u16,
    destination: Option<String>,
    /// Its channel had been told to confirm by then.
    selected: bool,
}

/// The messages among what was asked, as far as it was kept.
#[derive(Debug, Default)]
struct Messages {
    seen: Vec<Message>,
    /// Least bytes of the turn with which the last one is whole; none where that is not known.
    least: Option<u64>,
}

impl Messages {
    fn of(bytes: &[u8], confirming: &mut Confirming) -> Self {
        let mut messages = Self::default();
        // What is still to come of the last one's body.
        let mut body = None;
        for frame in frames(bytes) {
            if let Some(called) = frame.method() {
                match called.number {
                    method::BASIC_PUBLISH => {
                        messages.seen.push(Message {
                            channel: frame.channel,
                            // A reserved number first.
                            destination: destination(called.arguments, 2),
                            selected: confirming.selected.contains(&frame.channel),
                        });
                        body = None;
                        messages.least = None;
                    }
                    method::CONFIRM_SELECT => confirming.selected.push(frame.channel),
                    _ => {}
                }
            } else if messages
                .seen
                .last()
                .is_some_and(|last| last.channel == frame.channel)
            {
                body = match frame.kind {
                    frames::HEADER => body_size(&frame),
                    frames::BODY => body.map(|left: u64| left.saturating_sub(frame.size)),
                    _ => continue,
                };
                // The rest of the body is in one frame more, or in several.
                messages.least = body.map(|left| match left {
                    0 => frame.end(),
                    _ => frame
                        .end()
                        .saturating_add(left)
                        .saturating_add(frames::BEFORE + 1),
                });
            }
        }
        messages
    }

    /// Whether the last one had not come to its end with so many bytes; `whole` when all of them were kept.
    fn breaks_off(&self, came: u64, whole: bool) -> bool {
        !self.seen.is_empty() && self.least.map_or(whole, |least| came < least)
    }
}

/// Length of a body, from its header: class and a reserved number come first.
fn body_size(header: &Frame<'_>) -> Option<u64> {
    Some(u64::from_be_bytes(*header.payload.get(4..)?.first_chunk()?))
}

/// Which channels confirm, and what they confirmed in a turn.
#[derive(Debug, Default)]
struct Confirming {
    /// Told in this turn to do so.
    selected: Vec<u16>,
    /// By what their broker said.
    known: Vec<u16>,
    /// Channel by channel, for each message that was confirmed.
    confirmed: Vec<u16>,
    /// Several were confirmed at once, or not all that was said is known.
    unclear: bool,
}

impl Confirming {
    fn of(turn: &Turn) -> Self {
        let mut confirming = Self::default();
        if let Some(frame) = frames(&turn.before).next()
            && let Some(said) = frame.method()
            && [method::CONFIRM_SELECT_OK, method::BASIC_ACK, method::BASIC_NACK].contains(&said.number)
        {
            confirming.known.push(frame.channel);
        }
        let mut walked = 0;
        for frame in frames(&turn.answer) {
            walked = frame.end();
            if walked > turn.answer_bytes {
                break; // it has not been said yet
            }
            let Some(said) = frame.method() else {
                confirming.unclear |= frame.may_be_method();
                continue;
            };
            if matches!(said.number, method::BASIC_ACK | method::BASIC_NACK) {
                confirming.known.push(frame.channel);
                confirming.confirmed.push(frame.channel);
                // The number of the latest message that is meant, then bits: all up to that one.
                confirming.unclear |= said.arguments.get(8).is_none_or(|bits| bits & 1 != 0);
            }
        }
        confirming.unclear |= turn.answer_bytes > walked;
        confirming
    }

    /// Whether this message's channel confirms, and whether one was confirmed that can be this one.
    fn take(&mut self, message: &Message) -> (bool, bool) {
        let on = !self.unclear && (message.selected || self.known.contains(&message.channel));
        let found = self.confirmed.iter().position(|one| *one == message.channel);
        if let Some(found) = found {
            self.confirmed.swap_remove(found);
        }
        (on, found.is_some())
    }
}
