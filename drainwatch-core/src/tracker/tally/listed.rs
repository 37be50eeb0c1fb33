//! Requests of one shutdown that are listed, and counted on the way: severed ones, and those that finished.

use std::{net::SocketAddr, sync::Arc};

use super::{Context, Tally};
use crate::{
    event::{Connection, End, Role},
    exchange::{Evidence, Exchange, ExchangeId, ExchangeState, Operation, Protocol},
    report::{Cause, DRAINED_LISTED, SEVERED_LISTED},
    tracker::judge,
};

/// A severed request, times absolute.
#[derive(Debug, Clone)]
pub(in crate::tracker) struct Severed {
    pub at_ns: u64,
    pub cause: Cause,
    pub role: Role,
    pub protocol: Protocol,
    pub operation: Operation,
    pub evidence: Evidence,
    pub class: Arc<str>,
    pub maybe_taken_for_delivered: bool,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    /// How long it had been outstanding.
    pub age_ns: Option<u64>,
    pub pid: u32,
}

/// A request as it is severed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut<'a> {
    pub at_ns: u64,
    pub cause: Cause,
    pub role: Role,
    /// Nothing where no byte of it was read.
    pub exchange: Option<&'a Exchange>,
    /// What was spoken on its connection before, where no byte of it was read.
    pub protocol: Protocol,
    pub pid: u32,
    pub local: SocketAddr,
    pub peer: SocketAddr,
}

/// A drained request, times absolute.
#[derive(Debug, Clone)]
pub(in crate::tracker) struct Drained {
    pub at_ns: u64,
    pub age_ns: Option<u64>,
    pub protocol: Protocol,
    pub operation: Operation,
    /// It was answered with an error.
    pub failed: bool,
    pub peer: SocketAddr,
}

/// A request that came while its keep-alive connection was being closed: there were some before it, all were answered, and
/// nobody read a byte of it.
fn is_raced(connection: &Connection, cause: Cause, exchange: Option<&Exchange>) -> bool {
    let next = |exchange: &Exchange| {
        let unread = exchange.unread || exchange.operation.method().is_none();
        let mut others = connection
            .exchanges
            .iter()
            .filter(|other| other.id != exchange.id)
            .peekable();
        matches!(exchange.id, ExchangeId::Turn { index: 1.., .. })
            && unread
            && others.peek().is_some()
            && others.all(|other| other.state == ExchangeState::Complete)
    };
    cause == Cause::Unanswered
        && connection.end == End::Close
        && connection.unread > 0
        && exchange.is_some_and(next)
}

impl Tally {
    pub(super) fn drained(&mut self, connection: &Connection, exchange: &Exchange) {
        let age_ns = (exchange.started_ns > 0).then(|| exchange.last_ns.saturating_sub(exchange.started_ns));
        self.outcomes.drained += 1;
        self.pending.drained += 1;
        self.last_drained_ns = self.last_drained_ns.max(Some(exchange.last_ns));
        self.longest_drained_ns = self.longest_drained_ns.max(age_ns.unwrap_or(0));
        self.list_finished(connection, exchange, age_ns, false);
    }

    /// Answered, but with 5xx: it is as little a drained request as it is a severed one.
    pub(super) fn failed(&mut self, connection: &Connection, exchange: &Exchange) {
        let age_ns = (exchange.started_ns > 0).then(|| exchange.last_ns.saturating_sub(exchange.started_ns));
        self.outcomes.failed += 1;
        self.pending.failed += 1;
        self.list_finished(connection, exchange, age_ns, true);
    }

    /// As a bar of the timeline.
    fn list_finished(
        &mut self,
        connection: &Connection,
        exchange: &Exchange,
        age_ns: Option<u64>,
        failed: bool,
    ) {
        if self.drained_requests.len() < DRAINED_LISTED {
            self.drained_requests.push(Drained {
                at_ns: exchange.last_ns,
                age_ns,
                protocol: exchange.protocol,
                operation: exchange.operation.clone(),
                failed,
                peer: connection.peer,
            });
        }
    }

    pub(super) fn severed(
        &mut self,
        connection: &Connection,
        cause: Cause,
        exchange: Option<&Exchange>,
        context: Context<'_>,
    ) {
        if is_raced(connection, cause, exchange) {
            self.raced += 1;
        } else if context.killed {
            self.cut_by_kill += 1;
        } else if !matches!(cause, Cause::Outbound | Cause::Unsent) {
            self.cut_by_exit += 1;
        }
        // One that nobody took: only what stood in its queue says what it would have been.
        let (role, exchange) = match cause {
            Cause::Unaccepted => (Role::Server, exchange.filter(|exchange| exchange.unread)),
            _ => (connection.role, exchange),
        };
        self.record(&Cut {
            at_ns: context.at_ns,
            cause,
            role,
            exchange,
            protocol: Protocol::Tcp,
            pid: connection.pid,
            local: connection.local,
            peer: connection.peer,
        });
    }

    pub(super) fn record(&mut self, cut: &Cut<'_>) {
        let Cut {
            at_ns,
            cause,
            role,
            exchange,
            protocol,
            pid,
            local,
            peer,
        } = *cut;
        let answering = if role == Role::Client { peer } else { local };
        let class = judge::class(&self.classes, cause, exchange, answering.port());
        self.outcomes.severed += 1;
        *self.severed.entry(cause).or_default() += 1;
        *self.severed_classes.entry(Arc::clone(&class)).or_default() += 1;
        let pending = (cause, Arc::clone(&class), role);
        *self.pending.severed.entry(pending).or_default() += 1;
        if self.severed_requests.len() >= SEVERED_LISTED {
            return;
        }
        let (protocol, operation, evidence) = match exchange {
            Some(exchange) => (exchange.protocol, exchange.operation.clone(), exchange.evidence),
            // Known by their number of bytes alone, and by what was spoken before.
            None if matches!(cause, Cause::Unsent | Cause::Late) => {
                (protocol, Operation::Opaque, Evidence::Inferred)
            }
            // A connection that met no process.
            None => (protocol, Operation::Opaque, Evidence::Exact),
        };
        let started = exchange.map(|exchange| exchange.started_ns);
        self.severed_requests.push(Severed {
            at_ns,
            cause,
            role,
            protocol,
            operation,
            evidence,
            maybe_taken_for_delivered: judge::maybe_taken_for_delivered(&class, cause, role, exchange),
            class,
            peer,
            local,
            age_ns: started
                .filter(|&started| started > 0)
                .map(|started| at_ns.saturating_sub(started)),
            pid,
        });
    }
}
