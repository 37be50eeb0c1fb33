//! A request that no process had taken from its queue: what stood there says which one it was.
//!
//! Only what is said of it comes from here. Whether there is one, the readers have judged by its bytes' number.

use super::{Context, http1, preface};
use crate::{
    event::Role,
    exchange::{Exchange, ExchangeState},
    record::Turn,
};

/// Names the last exchange, where it is one that nobody read and its head is HTTP/1.
pub(super) fn name(exchanges: &mut [Exchange], turn: &Turn, context: &Context<'_>) {
    let Some(last) = exchanges.last_mut() else { return };
    let nameless = last.state == ExchangeState::Unanswered && last.operation.method().is_none();
    if turn.waiting.is_empty() || !nameless || context.role != Role::Server {
        return;
    }
    let waiting = preface::without(Turn {
        ask: turn.waiting.clone(),
        ask_bytes: turn.waiting.len() as u64,
        answer: Vec::new(),
        answer_bytes: 0,
        message_bytes: 0,
        answers: 0,
        interims: 0,
        tail: None,
        interim: false,
        waiting: Vec::new(),
        ..turn.clone()
    });
    let taken = Context {
        ask_unread: context.ask_unread.saturating_sub(waiting.ask_bytes),
        ..*context
    };
    let first = http1::read(&waiting, &taken).and_then(|reading| reading.exchanges.into_iter().next());
    if let Some(first) = first.filter(|first| first.operation.method().is_some()) {
        last.protocol = first.protocol;
        last.operation = first.operation;
        last.evidence = first.evidence;
        last.unread = true;
    }
}
