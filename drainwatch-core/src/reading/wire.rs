//! Anything that cannot be read: protocols that nobody here knows.
//!
//! Turn-taking on the wire is all there is, and it says something only of a connection that was seen to
//! take turns: what was asked there and not answered is outstanding, what was answered is taken for
//! complete. Hence [`Evidence::Inferred`]. Of any other connection nothing is said:
//! [`ExchangeState::Opaque`]. Most of what goes over a wire asks for nothing: acknowledgements, window
//! updates, heartbeats, lines of a log, goodbyes.

mod unpaired;

use super::{Context, Reading};
use crate::{
    event::Role,
    exchange::{Doubt, Evidence, Exchange, ExchangeState, Operation, Protocol},
    record::Turn,
};

/// The first turn of a connection that two others came before.
const EARNED: u32 = 3;
/// What is no longer than this may be a goodbye, an acknowledgement or a heartbeat: `COM_QUIT` has 5 bytes,
/// AMQP's `basic.ack` 21, HTTP/2's acknowledgement of settings with a window update 22.
const GOODBYE: u64 = 32;

/// Reads any turn.
pub(super) fn read(turn: &Turn, context: &Context<'_>) -> Reading {
    let exchange = |index, state, started_ns, last_ns| Exchange {
        started_ns,
        last_ns,
        ..inferred(turn, index, Protocol::Tcp, Operation::Opaque, state)
    };
    let unread = || exchange(1, ExchangeState::Unanswered, 0, turn.last_ns());
    if turn.asked() == 0 {
        return Reading::of(if context.seeded {
            // Something asked before we looked, perhaps, and its answer.
            vec![exchange(0, ExchangeState::Unknown, 0, turn.answer_last_ns)]
        } else if context.ask_unread == 0 {
            // A greeting that nobody asked for.
            Vec::new()
        } else if turn.answer_bytes == 0 {
            // Whatever it speaks: it came, and nobody took it.
            vec![unread()]
        } else {
            vec![exchange(0, ExchangeState::Opaque, 0, turn.last_ns())]
        });
    }
    let told = taken_in_turns(turn);
    let state = if context.role == Role::Unknown {
        // Which direction asks is not known, so neither is whose turn it was.
        ExchangeState::Unknown
    } else {
        told
    };
    let last_ns = match state {
        ExchangeState::Unanswered => turn.ask_last_ns,
        ExchangeState::Complete => turn.answer_last_ns,
        _ => turn.last_ns(),
    };
    let mut exchanges = vec![exchange(0, state, turn.ask_first_ns, last_ns)];
    // What is unread behind a question that was not answered belongs to it.
    if state == ExchangeState::Complete && context.ask_unread > GOODBYE {
        exchanges.push(unread());
    }
    Reading::of(exchanges)
}

/// An exchange that was not read, without its times.
pub(super) fn inferred(
    turn: &Turn,
    index: usize,
    protocol: Protocol,
    operation: Operation,
    state: ExchangeState,
) -> Exchange {
    Exchange {
        id: turn.id(index),
        protocol,
        operation,
        evidence: Evidence::Inferred,
        state,
        // Only of what is older than the agent nothing is known here.
        doubt: (state == ExchangeState::Unknown).then_some(Doubt::OlderThanAgent),
        uploading: false,
        reset: false,
        unread: false,
        started_ns: 0,
        last_ns: 0,
    }
}

/// What stands on a connection of which nothing was recorded, and why.
pub(super) fn unrecorded(turn: &Turn, doubt: Doubt) -> Exchange {
    Exchange {
        doubt: Some(doubt),
        ..inferred(turn, 0, Protocol::Tcp, Operation::Opaque, ExchangeState::Unknown)
    }
}

/// Whether the turn's answer came after all of its question.
fn is_answered(turn: &Turn) -> bool {
    turn.answer_bytes > 0 && !turn.interim && turn.answer_last_ns >= turn.ask_last_ns
}

fn taken_in_turns(turn: &Turn) -> ExchangeState {
    if turn.number < EARNED
        || unpaired::begins(&turn.opening, turn.opening.len() as u64)
        || unpaired::begins(&turn.ask, turn.asked())
    {
        ExchangeState::Opaque
    } else if is_answered(turn) {
        ExchangeState::Complete
    } else if turn.asked() > GOODBYE {
        ExchangeState::Unanswered
    } else {
        ExchangeState::Opaque
    }
}

#[cfg(test)]
mod tests;
