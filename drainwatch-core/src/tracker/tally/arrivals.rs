//! What came when no more should: after the stop signal, or the deletion of the pod.

use super::{
    super::{
        probes::{Sieve, came_and_went},
        told::Told,
    },
    Context,
};
use crate::{
    event::{Connection, End, Role},
    exchange::{Exchange, ExchangeState},
};

/// From when what arrives is worth a note.
#[derive(Debug, Clone, Copy)]
pub(in crate::tracker) struct Since {
    /// First stop signal, where arrivals after it mean something.
    pub stop_ns: Option<u64>,
    /// From when arrivals are lag.
    pub lag_ns: Option<u64>,
}

/// When the connection of this event arrived, if that was after `from`, and the event is the first to tell of it. What is
/// asked on connections that stood before says nothing of how long traffic is sent here: they are pinned until they
/// end. Probes do not count, nor what nobody reads.
pub(in crate::tracker) fn arrival(
    connection: &Connection,
    told: &Told,
    from: u64,
    sieve: &Sieve<'_>,
) -> Option<u64> {
    if connection.role != Role::Server && connection.end != End::Unaccepted {
        return None;
    }
    let counts = |exchange: &&Exchange| {
        !matches!(exchange.state, ExchangeState::Opaque | ExchangeState::Transaction)
            && !sieve.holds(connection, Some(exchange))
    };
    let nobodys = || match &connection.exchanges[..] {
        // On the way in, or a request to cancel something: its end tells which.
        [] => {
            connection.end == End::Open
                || connection.goodbye
                || came_and_went(connection)
                || sieve.holds(connection, None)
        }
        asked => !asked.iter().any(|one| counts(&one)),
    };
    let new = told.is_empty() && connection.born_ns > from && !connection.seeded && !nobodys();
    new.then_some(connection.born_ns)
}

/// New connections that came when no more should.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::tracker) struct Arrivals {
    /// How many came after the stop signal.
    pub count: u64,
    /// When the last of those came.
    pub last_after_stop_ns: Option<u64>,
    /// The last one since the deletion of its pod, or the stop signal.
    pub last_ns: Option<u64>,
}

impl Arrivals {
    /// Nothing came after the stop signal yet; this was the last one before it.
    pub fn before(last_ns: Option<u64>) -> Self {
        Self {
            last_ns,
            ..Self::default()
        }
    }

    /// A connection reported; `told` are the exchanges on it that were counted before.
    pub fn connection(&mut self, connection: &Connection, told: &Told, context: Context<'_>) {
        let Context { since, sieve, .. } = context;
        if let Some(stop_ns) = since.stop_ns
            && let Some(at_ns) = arrival(connection, told, stop_ns, &sieve)
        {
            self.after_stop(at_ns);
        }
        if let Some(lag_ns) = since.lag_ns {
            self.last_ns = self.last_ns.max(arrival(connection, told, lag_ns, &sieve));
        }
    }

    /// A segment came that met no connection.
    pub fn segment(&mut self, at_ns: u64, since: Since) {
        if since.stop_ns.is_some() {
            self.after_stop(at_ns);
        }
        if since.lag_ns.is_some() {
            self.last_ns = self.last_ns.max(Some(at_ns));
        }
    }

    fn after_stop(&mut self, at_ns: u64) {
        self.count += 1;
        self.last_after_stop_ns = self.last_after_stop_ns.max(Some(at_ns));
    }

    /// Takes over those of another shutdown that turned out to be part of this one.
    pub fn absorb(&mut self, other: Self) {
        self.count += other.count;
        self.last_after_stop_ns = self.last_after_stop_ns.max(other.last_after_stop_ns);
        self.last_ns = self.last_ns.max(other.last_ns);
    }
}
