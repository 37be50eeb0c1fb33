//! HTTP/1.0 and 1.1 in clear (RFC 9112).
//!
//! The requests of the turn are walked, then the responses, then both are paired in order, which is
//! what HTTP/1 pipelining means. What lies behind the captured bytes is counted by their number alone:
//! a length reaches over it, a chunked coding has the tail, for anything else the state is unknown.
//!
//! One thing is taken on trust: each earlier response of a turn came in a system call of its own, as
//! [`Turn::answers`] counts them. A server that writes several pipelined responses in one call, and
//! then writes again in the same turn, would be undercounted.

mod answered;
mod asked;
mod chunked;
mod head;
#[cfg(test)]
mod tests;

use answered::{Answered, Message};
use asked::{Asked, Rest};

use super::{Context, Reading, websocket};
use crate::{
    event::Role,
    exchange::{Doubt, Evidence, Exchange, ExchangeState, Http, Operation, Protocol},
    record::Turn,
};

/// Reads the turn as HTTP/1, when it is.
pub(super) fn read(turn: &Turn, context: &Context<'_>) -> Option<Reading> {
    if turn.ask.is_empty() {
        return response_alone(turn, context);
    }
    let mut asked = Asked::walk(turn, context)?;
    let mut answered = Answered::walk(turn, &asked.requests, context.ending);
    give_rest_to_tunnel(turn, &mut asked, &mut answered);
    let mut exchanges = pair(turn, &asked, &answered);
    if context.role == Role::Client {
        leave_polls(&mut exchanges, &asked);
    }
    Some(Reading {
        exchanges,
        session: answered.session(),
    })
}

/// After a 101 or a CONNECT nothing in the request direction is a request. A `WebSocket` client's
/// goodbye may stand there, and then the stream was over before it was cut.
fn give_rest_to_tunnel(turn: &Turn, asked: &mut Asked, answered: &mut Answered) {
    let earlier = answered.earlier;
    let Some((index, tunnel)) = answered
        .latest
        .iter_mut()
        .enumerate()
        .find(|(_, response)| response.tunnel)
    else {
        return;
    };
    let index = earlier.saturating_add(index);
    let Some(request) = asked.requests.get(index) else {
        return;
    };
    let captured = turn.asked() == turn.ask.len() as u64;
    let frames = request
        .end
        .and_then(|end| turn.ask.get(usize::try_from(end).ok()?..));
    tunnel.goodbye |= tunnel.websocket && captured && frames.is_some_and(websocket::says_goodbye);
    asked.requests.truncate(index + 1);
    asked.rest = Rest::None;
    asked.unread = false;
}

/// A client that waits for a change asks for nothing that could be lost: its request is a stream of what changes.
fn leave_polls(exchanges: &mut [Exchange], asked: &Asked) {
    for (exchange, request) in exchanges.iter_mut().zip(&asked.requests) {
        let open = matches!(
            exchange.state,
            ExchangeState::Unanswered | ExchangeState::ResponseIncomplete
        );
        if open && request.head.waits {
            exchange.state = ExchangeState::Stream;
        }
    }
}

/// Gives each request its response, in order.
fn pair(turn: &Turn, asked: &Asked, answered: &Answered) -> Vec<Exchange> {
    let count = asked.requests.len();
    let evidence = match asked.requests.first() {
        Some(first) if first.head.certain => Evidence::Exact,
        _ => Evidence::Inferred,
    };
    let mut exchanges: Vec<Exchange> = asked
        .requests
        .iter()
        .enumerate()
        .map(|(index, request)| {
            let response = index
                .checked_sub(answered.earlier)
                .and_then(|index| answered.latest.get(index));
            let (state, doubt, status) = match (response, answered.unreadable) {
                _ if index < answered.earlier => (ExchangeState::Complete, None, None),
                (Some(response), _) => (response.state, response.doubt, response.status),
                (None, Some(doubt)) => (ExchangeState::Unknown, Some(doubt), None),
                (None, None) => (request.unanswered(), None, None),
            };
            Exchange {
                id: turn.id(index),
                protocol: match response {
                    Some(response) if response.websocket => Protocol::WebSocket,
                    _ => request.head.protocol.unwrap_or(Protocol::Http11),
                },
                operation: Operation::Http(Http {
                    status,
                    ..request.head.http.clone()
                }),
                evidence,
                state,
                doubt,
                uploading: state == ExchangeState::Complete && request.is_arriving(),
                reset: false,
                unread: false,
                started_ns: if index == 0 {
                    turn.ask_first_ns
                } else {
                    turn.ask_last_ns
                },
                last_ns: match state {
                    ExchangeState::Unanswered | ExchangeState::RequestIncomplete => turn.ask_last_ns,
                    // The next response had begun by the time that this one was seen to be complete.
                    ExchangeState::Complete if index + 1 < answered.begun() => turn.message_first_ns,
                    _ => turn.last_ns(),
                },
            }
        })
        .collect();
    let protocol = exchanges
        .last()
        .map_or(Protocol::Http11, |exchange| exchange.protocol);
    let further = |state, doubt: Option<Doubt>, started_ns| Exchange {
        id: turn.id(count),
        protocol,
        operation: Operation::Http(Http::default()),
        evidence,
        state,
        doubt,
        uploading: false,
        reset: false,
        unread: false,
        started_ns,
        last_ns: turn.last_ns(),
    };
    let more = match asked.rest {
        Rest::None if answered.begun() > count => {
            // More responses than requests: one of them was no response, so nothing is sure of the last.
            if let Some(last) = exchanges.last_mut() {
                last.state = ExchangeState::Unknown;
                last.doubt = Some(Doubt::Malformed);
            }
            None
        }
        Rest::None => None,
        Rest::Foreign => Some(further(ExchangeState::Unknown, Some(Doubt::Malformed), 0)),
        Rest::Requests => {
            // How many requests these are is not known, so of their responses only an unfinished one counts.
            let extra = answered.begun().checked_sub(count + 1);
            let (state, doubt) = match (extra, answered.latest.last(), answered.unreadable) {
                (None, _, Some(doubt)) => (ExchangeState::Unknown, Some(doubt)),
                (None, _, None) => (ExchangeState::Unanswered, None),
                (Some(_), Some(response), _) if response.is_unfinished() => (response.state, response.doubt),
                (Some(_), ..) => (ExchangeState::Unknown, Some(Doubt::Pipelined)),
            };
            Some(further(state, doubt, turn.ask_last_ns))
        }
    };
    let more = more.or_else(|| asked.unread.then(|| further(ExchangeState::Unanswered, None, 0)));
    exchanges.extend(more);
    exchanges
}

/// A turn whose requests could not be read, but whose response could.
///
/// One exchange, and inferred: the request may have been a HEAD, and there may have been others.
fn response_alone(turn: &Turn, context: &Context<'_>) -> Option<Reading> {
    if turn.asked() == 0 || !turn.answer.starts_with(b"HTTP/1.") {
        return None;
    }
    let answered = Answered::walk(turn, &[], context.ending);
    let session = answered.session();
    let response = answered.latest.last();
    // A head alone, with a length, is what answers a HEAD.
    let message = Message::new(turn);
    let bare = message.unseen() == 0 && message.seen.ends_with(b"\r\n\r\n");
    let (state, doubt) = match (response, answered.unreadable) {
        (_, Some(doubt)) => (ExchangeState::Unknown, Some(doubt)),
        (Some(response), None) if bare && response.state == ExchangeState::ResponseIncomplete => {
            (ExchangeState::Unknown, Some(Doubt::Gap))
        }
        (Some(response), None) => (response.state, response.doubt),
        (None, None) => (ExchangeState::Unanswered, None),
    };
    let exchange = |index, status, (state, doubt), started_ns| Exchange {
        id: turn.id(index),
        protocol: match response {
            Some(response) if response.websocket => Protocol::WebSocket,
            _ => Protocol::Http11,
        },
        operation: Operation::Http(Http {
            status,
            ..Http::default()
        }),
        evidence: Evidence::Inferred,
        state,
        doubt,
        uploading: false,
        reset: false,
        unread: false,
        started_ns,
        last_ns: turn.last_ns(),
    };
    let status = response.and_then(|response| response.status);
    let mut exchanges = vec![exchange(0, status, (state, doubt), turn.ask_first_ns)];
    if context.ask_unread > 0 && state == ExchangeState::Complete {
        exchanges.push(exchange(1, None, (ExchangeState::Unanswered, None), 0));
    }
    Some(Reading { exchanges, session })
}
