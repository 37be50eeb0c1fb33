//! From a connection's evidence to what became of its requests.
//!
//! The rule: a request is severed when it is outstanding at the moment the server's side of its
//! connection ends, and the server's side ended it.

use std::sync::Arc;

use super::told::Told;
use crate::{
    class::{self, Classes, Traffic},
    event::{Connection, End, Role},
    exchange::{Doubt, Evidence, Exchange, ExchangeState, Http, Operation},
    report::Cause,
};

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judged<'a> {
    /// It finished during the shutdown.
    Drained(&'a Exchange),
    /// It was answered after the stop signal, but with 5xx.
    Failed(&'a Exchange),
    /// It was severed; without an exchange where no byte of it was read.
    Severed(Cause, Option<&'a Exchange>),
    /// The peer ended first.
    Aborted(&'a Exchange),
    /// Somebody else on the node had its connection destroyed.
    Destroyed(&'a Exchange),
    /// The evidence does not say.
    Unknown(&'a Exchange),
    /// Nobody reads what was spoken; nothing follows from it.
    Opaque(&'a Exchange),
}

impl<'a> Judged<'a> {
    /// The exchange that was judged, where any byte of it was read.
    pub fn exchange(&self) -> Option<&'a Exchange> {
        match *self {
            Self::Drained(exchange)
            | Self::Failed(exchange)
            | Self::Aborted(exchange)
            | Self::Destroyed(exchange)
            | Self::Unknown(exchange)
            | Self::Opaque(exchange) => Some(exchange),
            Self::Severed(_, exchange) => exchange,
        }
    }
}

/// Whether this event says what became of an exchange: where the connection goes on, an unfinished one
/// may still finish.
pub(super) fn settles(connection: &Connection, exchange: &Exchange) -> bool {
    use ExchangeState::{
        Complete, Opaque, RequestIncomplete, ResponseIncomplete, Stream, Transaction, Unanswered, Unknown,
    };
    match exchange.state {
        Complete | Unknown => true,
        _ if exchange.reset => true,
        Unanswered | ResponseIncomplete | RequestIncomplete | Stream | Transaction | Opaque => {
            connection.end != End::Open
        }
    }
}

/// Judges the exchanges of a connection, leaving out those that are settled already.
/// `since_ns` is when the shutdown began: what was complete before is none of its business; `stopped_ns` is its
/// first stop signal.
pub(super) fn judge<'a>(
    connection: &'a Connection,
    since_ns: u64,
    stopped_ns: Option<u64>,
    told: &Told,
) -> Vec<Judged<'a>> {
    if connection.end == End::Unaccepted {
        // One connection, one request that nobody took, whether its bytes had arrived or not.
        return vec![Judged::Severed(Cause::Unaccepted, connection.exchanges.first())];
    }
    let fresh: Vec<&Exchange> = connection
        .exchanges
        .iter()
        .filter(|exchange| !told.is_settled(exchange.id))
        .collect();
    // Written by the application, thrown away with the queue: the peer never got it.
    let unsent = connection.role == Role::Client
        && connection.end == End::Exit
        && connection.aborted
        && connection.unacked > 0;
    let last = fresh.len().saturating_sub(1);
    let last_answered = fresh
        .iter()
        .rposition(|exchange| exchange.state == ExchangeState::Complete);
    let mut judged: Vec<_> = fresh
        .iter()
        .enumerate()
        .filter_map(|(index, exchange)| match connection.role {
            Role::Server => {
                let place = Place {
                    last: index == last,
                    last_answered: Some(index) == last_answered,
                };
                server(connection, exchange, place, (since_ns, stopped_ns))
            }
            Role::Client => client(connection, exchange, unsent),
            Role::Unknown => match exchange.state {
                ExchangeState::Complete => None,
                ExchangeState::Opaque => opaque(connection.end, exchange),
                _ => Some(Judged::Unknown(exchange)),
            },
        })
        .collect();
    // A call that is told of as cut has what was thrown away in it, where the peer answered none of it.
    let of_a_call = judged.iter().any(|judged| {
        use ExchangeState::{RequestIncomplete, Unanswered};
        matches!(judged, Judged::Severed(_, Some(call)) if matches!(call.state, RequestIncomplete | Unanswered))
    });
    if unsent && !of_a_call {
        judged.push(Judged::Severed(Cause::Unsent, fresh.last().copied()));
    }
    judged
}

/// Whether anything on it was cut, as far as its exchanges say.
pub(super) fn cuts(connection: &Connection) -> bool {
    let judged = judge(connection, 0, None, &Told::default());
    judged
        .iter()
        .any(|judged| matches!(judged, Judged::Severed(cause, exchange) if is_told_of(*cause, *exchange)))
}

/// Whether our side ended a connection with a transaction open on it, in either role.
pub(super) fn leaves_transaction_open(connection: &Connection) -> bool {
    let ours = match connection.role {
        Role::Server => matches!(connection.end, End::Exit | End::Close),
        Role::Client => connection.end == End::Exit,
        Role::Unknown => false,
    };
    let open = |exchange: &Exchange| exchange.state == ExchangeState::Transaction;
    ours && connection.exchanges.iter().any(open)
}

/// Whether a request that a living process cut, asked by nobody to end, is worth telling. A head that never came
/// whole is no request yet: servers give up on such clients all the time.
pub(super) fn is_told_of(cause: Cause, exchange: Option<&Exchange>) -> bool {
    cause != Cause::Upload || exchange.is_some_and(|exchange| exchange.operation.path().is_some())
}

/// One on a connection of which nothing is known but that it stood: told of once, where we ended it.
fn opaque(end: End, exchange: &Exchange) -> Option<Judged<'_>> {
    match end {
        End::Open | End::Peer | End::Destroyed => None,
        End::Exit | End::Close | End::Unaccepted | End::Unknown => Some(Judged::Opaque(exchange)),
    }
}

/// Where an exchange stands among those of its connection.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// None began after it.
    last: bool,
    /// None that began after it was answered completely.
    last_answered: bool,
}

fn server<'a>(
    connection: &Connection,
    exchange: &'a Exchange,
    Place { last, last_answered }: Place,
    (since_ns, stopped_ns): (u64, Option<u64>),
) -> Option<Judged<'a>> {
    use ExchangeState::{
        Complete, Opaque, RequestIncomplete, ResponseIncomplete, Stream, Transaction, Unanswered, Unknown,
    };
    // What was given up is over, whatever becomes of its connection.
    let end = if exchange.reset {
        End::Close
    } else {
        connection.end
    };
    let cause = match (exchange.state, end) {
        (Opaque, end) => return opaque(end, exchange),
        // Nobody waited for an answer, and whether the client would have gone on with it only the client knows:
        // a finding, and no request.
        (Transaction, _) => return None,
        // Bytes that were sent and only wait for an acknowledgement have left; bytes still queued
        // when the kernel threw the queue away have not. They are the end of the last response.
        (Complete, End::Exit | End::Close)
            if last_answered && connection.aborted && connection.unsent > 0 =>
        {
            Cause::Truncated
        }
        // The last bytes of an answer that nobody reads came while its process was ending: whether they were its end is
        // not known.
        (Complete, End::Exit) if exchange.evidence == Evidence::Inferred && exchange.last_ns >= since_ns => {
            return Some(Judged::Opaque(exchange));
        }
        (Complete, _) if stopped_ns.is_some_and(|stop| exchange.last_ns >= stop) && is_error(exchange) => {
            return Some(Judged::Failed(exchange));
        }
        (Complete, _)
            if stopped_ns.is_some_and(|stop| exchange.last_ns >= stop)
                && exchange.doubt == Some(Doubt::Status) =>
        {
            return Some(Judged::Unknown(exchange));
        }
        (Complete, _) => return (exchange.last_ns >= since_ns).then_some(Judged::Drained(exchange)),
        // The peer reset the connection in the middle of our write, before its bytes could be looked at:
        // what it had not acknowledged it never got.
        (Unknown, End::Peer) if last && connection.unacked > 0 => return Some(Judged::Aborted(exchange)),
        // Whether it had been complete or not when the peer left, we did not sever it. And where the
        // connection goes on, nothing that is incomplete is settled.
        (Unknown, End::Peer | End::Destroyed)
        | (Unanswered | ResponseIncomplete | RequestIncomplete | Stream, End::Open) => {
            return None;
        }
        (Unknown, _) | (_, End::Unknown) => return Some(Judged::Unknown(exchange)),
        (_, End::Peer) => return Some(Judged::Aborted(exchange)),
        (_, End::Destroyed) => return Some(Judged::Destroyed(exchange)),
        (Unanswered, _) => Cause::Unanswered,
        (ResponseIncomplete, _) => Cause::Truncated,
        (RequestIncomplete, _) => Cause::Upload,
        (Stream, _) => Cause::Stream,
    };
    Some(Judged::Severed(cause, Some(exchange)))
}

/// The server says itself that it failed.
fn is_error(exchange: &Exchange) -> bool {
    exchange.operation.http().and_then(Http::server_error).is_some()
}

/// `unsent`: the end of what was written was thrown away.
fn client<'a>(connection: &Connection, exchange: &'a Exchange, unsent: bool) -> Option<Judged<'a>> {
    use ExchangeState::{
        Complete, Opaque, RequestIncomplete, ResponseIncomplete, Stream, Transaction, Unanswered, Unknown,
    };
    match (exchange.state, connection.end) {
        (Opaque, end) => opaque(end, exchange),
        // Whoever closes it alive has given it up; whoever dies with it has lost what was done in it.
        (Transaction, End::Exit) => Some(Judged::Severed(Cause::Outbound, Some(exchange))),
        (Complete | Stream | Transaction, _)
        | (_, End::Open | End::Unaccepted)
        | (Unknown, End::Peer | End::Destroyed) => None,
        (Unknown, _) | (_, End::Unknown) => Some(Judged::Unknown(exchange)),
        (_, End::Peer) => Some(Judged::Aborted(exchange)),
        (_, End::Destroyed) => Some(Judged::Destroyed(exchange)),
        (RequestIncomplete, End::Exit) if unsent => Some(Judged::Severed(Cause::Unsent, Some(exchange))),
        (RequestIncomplete | Unanswered | ResponseIncomplete, End::Exit | End::Close) => {
            Some(Judged::Severed(Cause::Outbound, Some(exchange)))
        }
    }
}

/// Which traffic a severed request was, which is no probe. `port` is that of the answering side.
pub(super) fn class(classes: &Classes, cause: Cause, exchange: Option<&Exchange>, port: u16) -> Arc<str> {
    classes.of(&Traffic {
        operation: exchange.map_or(&Operation::Opaque, |exchange| &exchange.operation),
        port,
        stream: cause == Cause::Stream
            || exchange.is_some_and(|exchange| exchange.state == ExchangeState::Stream),
        described: false,
    })
}

/// A webhook whose response had begun, and did not say that it failed.
pub(super) fn maybe_taken_for_delivered(
    class: &str,
    cause: Cause,
    role: Role,
    exchange: Option<&Exchange>,
) -> bool {
    let operation = exchange.map(|exchange| &exchange.operation);
    let webhook = class == class::WEBHOOK || operation.and_then(Operation::sender).is_some();
    let status = operation.and_then(Operation::http).and_then(|http| http.status);
    webhook
        && role == Role::Server
        && cause == Cause::Truncated
        && status.is_none_or(|status| (200..300).contains(&status))
}
