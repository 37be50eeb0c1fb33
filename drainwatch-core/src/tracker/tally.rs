//! What happened to the requests of one shutdown: exact counts, bounded lists.

mod arrivals;
mod late;
mod listed;
mod opaque;
mod refused;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use self::listed::Cut;
pub(super) use self::{
    arrivals::{Arrivals, Since, arrival},
    late::Late,
    listed::{Drained, Severed},
    opaque::OpaqueKinds,
    refused::{Pair, Refused},
};
use super::{
    bounded::Recent,
    judge::{self, Judged},
    probes::{Sieve, came_and_went},
    told::Told,
};
use crate::{
    class::Classes,
    event::{Connection, End, Role},
    exchange::{Doubt, Exchange, Protocol},
    report::{Cause, DRAINED_LISTED, Outcomes, SEVERED_LISTED},
};

/// Most connections remembered per shutdown, so that nothing is counted twice.
const CONNECTIONS: usize = 16_384;

/// Addresses are shared: one probe says nothing of who comes next from there.
const PROBES: u64 = 2;

/// What is remembered of a connection.
#[derive(Debug, Clone, Default)]
struct Remembered {
    /// Its exchanges so far.
    told: Told,
    /// Its end was seen.
    ended: bool,
    /// A request that reaches it now would be a new one, and late: we ended it, and nothing of it was
    /// severed or in doubt (a retransmission of that would look the same).
    may_be_late: bool,
    /// What comes then and is longer than this is a request: this protocol, which is read, was the last that was spoken
    /// on it, or nothing was. Elsewhere it may be a goodbye, whatever its length.
    goodbye: Option<(Protocol, u32)>,
    /// It counts as opaque already.
    counted_opaque: bool,
    /// All that was asked on it were probes; `None`: nothing was seen to be asked.
    only_probes: Option<bool>,
}

impl Remembered {
    /// Notes what may follow on this connection, of which these were told.
    fn note(&mut self, connection: &Connection, judged: &[Judged<'_>], sieve: &Sieve<'_>) {
        for exchange in &connection.exchanges {
            let before = self.only_probes.unwrap_or(true);
            self.only_probes = Some(before && sieve.holds(connection, Some(exchange)));
        }
        if let Some(last) = connection.exchanges.last() {
            self.goodbye = last.longest_goodbye().map(|longest| (last.protocol, longest));
        } else if connection.silent {
            // Nobody says goodbye who has not said anything, nor acknowledges it.
            self.goodbye = Some((Protocol::Tcp, 0));
        }
        let doubt = |judged: &Judged<'_>| matches!(judged, Judged::Severed(..) | Judged::Unknown(_));
        self.may_be_late = matches!(connection.end, End::Exit | End::Close) && !judged.iter().any(doubt);
    }
}

/// Effects not yet given out: how many requests of which kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pending {
    pub severed: BTreeMap<(Cause, Arc<str>, Role), u64>,
    pub drained: u64,
    pub failed: u64,
    pub refused: u64,
    pub probes: u64,
}

/// Circumstances of a connection's event that the connection itself does not tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub at_ns: u64,
    /// Start of the shutdown.
    pub since_ns: u64,
    /// First stop signal.
    pub stopped_ns: Option<u64>,
    /// From when arrivals mean something.
    pub since: Since,
    /// Its process, or the workload, had been sent SIGKILL.
    pub killed: bool,
    /// What tells probes.
    pub sieve: Sieve<'a>,
}

/// The requests of one shutdown.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    classes: Arc<Classes>,
    outcomes: Outcomes,
    doubts: BTreeMap<Doubt, u64>,
    opaque: OpaqueKinds,
    severed: BTreeMap<Cause, u64>,
    severed_classes: BTreeMap<Arc<str>, u64>,
    severed_requests: Vec<Severed>,
    drained_requests: Vec<Drained>,
    last_drained_ns: Option<u64>,
    longest_drained_ns: u64,
    arrivals: Arrivals,
    cut_by_exit: u64,
    raced: u64,
    cut_by_kill: u64,
    idle_when_killed: u64,
    transactions_open: u64,
    probes: u64,
    touched: bool,
    pending: Pending,
    connections: Recent<u64, Remembered>,
    by_pair: Recent<Pair, u64>,
    refused: Refused,
    /// Connections of which the handshake was cut, with a request behind it.
    handshakes: Recent<Pair, ()>,
    /// By local port.
    silent_probes: BTreeMap<u16, u64>,
    /// Who has connected to a local port for how many probes; nothing where it asked for more.
    probers: Recent<(u16, IpAddr), Option<u64>>,
}

impl Tally {
    /// Nothing yet; requests are to be told apart by these rules.
    pub fn new(classes: Arc<Classes>) -> Self {
        Self {
            classes,
            outcomes: Outcomes::default(),
            doubts: BTreeMap::new(),
            opaque: OpaqueKinds::default(),
            severed: BTreeMap::new(),
            severed_classes: BTreeMap::new(),
            severed_requests: Vec::new(),
            drained_requests: Vec::new(),
            last_drained_ns: None,
            longest_drained_ns: 0,
            arrivals: Arrivals::default(),
            cut_by_exit: 0,
            raced: 0,
            cut_by_kill: 0,
            idle_when_killed: 0,
            transactions_open: 0,
            probes: 0,
            touched: false,
            pending: Pending::default(),
            connections: Recent::new(CONNECTIONS),
            by_pair: Recent::new(CONNECTIONS),
            refused: Refused::default(),
            handshakes: Recent::new(CONNECTIONS),
            silent_probes: BTreeMap::new(),
            probers: Recent::new(CONNECTIONS),
        }
    }

    /// Counts of one cause.
    pub fn count(&self, cause: Cause) -> u64 {
        self.severed.get(&cause).copied().unwrap_or(0)
    }

    /// How many there were of each outcome.
    pub fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    /// Why the unknown ones are that.
    pub fn doubts(&self) -> &BTreeMap<Doubt, u64> {
        &self.doubts
    }

    /// What the opaque ones are.
    pub fn opaque(&self) -> &OpaqueKinds {
        &self.opaque
    }

    /// Counts of each cause that occurred.
    pub fn severed_by_cause(&self) -> &BTreeMap<Cause, u64> {
        &self.severed
    }

    /// How many were severed of each class.
    pub fn severed_by_class(&self) -> BTreeMap<String, u64> {
        let classes = self.severed_classes.iter();
        classes
            .map(|(class, count)| (class.to_string(), *count))
            .collect()
    }

    /// The first ones that were severed.
    pub fn severed_requests(&self) -> &[Severed] {
        &self.severed_requests
    }

    /// The first ones that finished.
    pub fn drained_requests(&self) -> &[Drained] {
        &self.drained_requests
    }

    /// End of the last request that finished.
    pub fn last_drained_ns(&self) -> Option<u64> {
        self.last_drained_ns
    }

    /// Attempts at ports that it had closed.
    pub fn refused(&self) -> &Refused {
        &self.refused
    }

    /// Longest time that a drained request took.
    pub fn longest_drained_ns(&self) -> u64 {
        self.longest_drained_ns
    }

    /// What came when no more should.
    pub fn arrivals(&self) -> Arrivals {
        self.arrivals
    }

    /// Severed by the process's own exit or close, in the server role.
    pub fn cut_by_exit(&self) -> u64 {
        self.cut_by_exit
    }

    /// Severed because they came while their keep-alive connection was being closed.
    pub fn raced(&self) -> u64 {
        self.raced
    }

    /// Severed when SIGKILL came.
    pub fn cut_by_kill(&self) -> u64 {
        self.cut_by_kill
    }

    /// Connections with nothing outstanding that SIGKILL ended.
    pub fn idle_when_killed(&self) -> u64 {
        self.idle_when_killed
    }

    /// Connections that were ended with a transaction open on them.
    pub fn transactions_open(&self) -> u64 {
        self.transactions_open
    }

    /// Health checks and scrapes, whatever became of them; they are in nothing else here.
    pub fn probes(&self) -> u64 {
        self.probes
    }

    /// The rules by which requests are told apart.
    pub fn classes(&self) -> Arc<Classes> {
        Arc::clone(&self.classes)
    }

    /// A connection was attributed at all.
    pub fn is_touched(&self) -> bool {
        self.touched
    }

    /// Whether something was counted that is not told outside yet.
    pub fn has_pending(&self) -> bool {
        self.pending != Pending::default()
    }

    /// What is to be told outside, once.
    pub fn take_pending(&mut self) -> Pending {
        std::mem::take(&mut self.pending)
    }

    /// Before this shutdown, but after the deletion of its pod, this was the last arrival.
    pub fn arrived_before(&mut self, last_ns: Option<u64>) {
        self.arrivals = Arrivals::before(last_ns);
    }

    /// Any request, whatever became of it, or attempt at one.
    pub fn any(&self) -> bool {
        self.outcomes.total() + self.refused.attempts() > 0
    }

    /// Takes in a connection's event. Says whether anything changed.
    pub fn connection(&mut self, connection: &Connection, context: Context<'_>) -> bool {
        let ends = connection.end != End::Open;
        let pair = (connection.local, connection.peer, connection.netns);
        // Nobody had accepted it: of MPTCP the kernel closes the connection, and then what carries it as if it were one.
        if connection.end == End::Unaccepted && self.by_pair.get(&pair).is_some_and(|id| *id != connection.id)
        {
            return false;
        }
        let seen = self.connections.entry(&connection.id, Remembered::default);
        if seen.ended {
            return false; // a connection ends once; this event is a duplicate
        }
        self.touched = true;
        let told = seen.told.clone();
        let judged = judge::judge(connection, context.since_ns, context.stopped_ns, &told);
        let probe = |exchange| context.sieve.holds(connection, exchange);
        for exchange in &connection.exchanges {
            seen.told.note(exchange.id, judge::settles(connection, exchange));
        }
        seen.ended = ends;
        seen.counted_opaque |= judged.iter().any(|judged| matches!(judged, Judged::Opaque(_)));
        seen.note(connection, &judged, &context.sieve);
        // What a server goes on saying to a client that has gone is no request.
        if ends && connection.role != Role::Client {
            self.by_pair.insert(&pair, connection.id);
        }
        self.arrivals.connection(connection, &told, context);

        let transaction = judge::leaves_transaction_open(connection);
        self.transactions_open += u64::from(transaction);
        let idle = connection.role == Role::Server
            && connection.end == End::Exit
            && judged.is_empty()
            && !transaction;
        if idle && context.killed {
            self.idle_when_killed += 1;
        }
        let silent = came_and_went(connection);
        if silent {
            self.probed();
        }
        if ends && connection.role == Role::Server {
            let asks = || connection.exchanges.iter().all(|exchange| probe(Some(exchange)));
            let only = silent || (!connection.exchanges.is_empty() && asks());
            let port_and_peer = (connection.local.port(), connection.peer.ip());
            let probes = self.probers.entry(&port_and_peer, || Some(0));
            *probes = probes.filter(|_| only).map(|probes| probes + 1);
        }
        for verdict in &judged {
            if probe(verdict.exchange()) {
                self.probed();
                continue;
            }
            match *verdict {
                Judged::Drained(exchange) => self.drained(connection, exchange),
                Judged::Failed(exchange) => self.failed(connection, exchange),
                Judged::Severed(cause, exchange) => self.severed(connection, cause, exchange, context),
                Judged::Aborted(_) => self.outcomes.aborted += 1,
                Judged::Destroyed(_) => self.outcomes.destroyed += 1,
                Judged::Unknown(exchange) => self.unknown(exchange),
                Judged::Opaque(exchange) => {
                    self.outcomes.opaque += 1;
                    self.opaque.add(connection.role, Some(exchange));
                }
            }
        }
        silent || transaction || !judged.is_empty()
    }

    fn unknown(&mut self, exchange: &Exchange) {
        self.outcomes.unknown += 1;
        let doubt = exchange.doubt.unwrap_or(Doubt::End);
        *self.doubts.entry(doubt).or_default() += 1;
    }

    /// Takes in a connection that its process had closed before anybody asked it to end: what was cut on it. Says
    /// whether anything was.
    pub fn remembered(&mut self, closed_ns: u64, connection: &Connection, sieve: &Sieve<'_>) -> bool {
        let seen = self.connections.entry(&connection.id, Remembered::default);
        if std::mem::replace(&mut seen.ended, true) {
            return false;
        }
        let judged = judge::judge(connection, 0, None, &Told::default());
        seen.note(connection, &judged, sieve);
        // What nobody reads is in no report for this alone.
        seen.counted_opaque = true;
        if connection.role == Role::Server {
            self.by_pair.insert(
                &(connection.local, connection.peer, connection.netns),
                connection.id,
            );
        }
        let mut any = false;
        for judged in judged {
            let Judged::Severed(cause, exchange) = judged else {
                continue;
            };
            if !judge::is_told_of(cause, exchange) || sieve.holds(connection, exchange) {
                continue;
            }
            any = true;
            self.touched = true;
            self.cut_by_exit += 1;
            self.record(&Cut {
                at_ns: closed_ns,
                cause,
                role: connection.role,
                exchange,
                protocol: Protocol::Tcp,
                pid: connection.pid,
                local: connection.local,
                peer: connection.peer,
            });
        }
        any
    }

    /// A connection attempt met a closed port. Says whether it was a new one.
    pub fn turned_away(&mut self, at_ns: u64, since: Since, pair: Pair, sieve: &Sieve<'_>) -> bool {
        if !self.refused.is_new(at_ns, &pair) {
            return false;
        }
        // Who has asked for nothing but its health, again and again, does not ask for more now.
        let probes = self.probers.get(&(pair.0.port(), pair.1.ip())).copied().flatten();
        if probes.is_some_and(|probes| probes >= PROBES) {
            self.probed();
            return true;
        }
        if self.silent_probe(at_ns, since, &pair, sieve) {
            return true;
        }
        self.arrivals.segment(at_ns, since);
        self.refused.count(at_ns, pair.1.ip());
        self.pending.refused += 1;
        true
    }

    /// Whether a connection ended here.
    pub fn knows(&self, pair: &Pair) -> bool {
        self.by_pair.contains(pair)
    }

    /// Takes over what another shutdown, which turned out to be part of this one, had counted.
    pub fn absorb(&mut self, other: Self) {
        self.outcomes.add(&other.outcomes);
        self.opaque.absorb(other.opaque);
        for (doubt, count) in other.doubts {
            *self.doubts.entry(doubt).or_default() += count;
        }
        for (cause, count) in other.severed {
            *self.severed.entry(cause).or_default() += count;
        }
        for (class, count) in other.severed_classes {
            *self.severed_classes.entry(class).or_default() += count;
        }
        self.severed_requests.extend(other.severed_requests);
        self.severed_requests.sort_by_key(|request| request.at_ns);
        self.severed_requests.truncate(SEVERED_LISTED);
        self.drained_requests.extend(other.drained_requests);
        self.drained_requests.sort_by_key(|request| request.at_ns);
        self.drained_requests.truncate(DRAINED_LISTED);
        self.last_drained_ns = self.last_drained_ns.max(other.last_drained_ns);
        self.longest_drained_ns = self.longest_drained_ns.max(other.longest_drained_ns);
        self.arrivals.absorb(other.arrivals);
        self.cut_by_exit += other.cut_by_exit;
        self.raced += other.raced;
        self.cut_by_kill += other.cut_by_kill;
        self.idle_when_killed += other.idle_when_killed;
        self.transactions_open += other.transactions_open;
        self.probes += other.probes;
        self.touched |= other.touched;
        for (key, count) in other.pending.severed {
            *self.pending.severed.entry(key).or_default() += count;
        }
        self.pending.drained += other.pending.drained;
        self.pending.failed += other.pending.failed;
        self.pending.refused += other.pending.refused;
        self.pending.probes += other.pending.probes;
        for (id, seen) in other.connections.iter() {
            self.connections.insert(id, seen.clone());
        }
        for (pair, id) in other.by_pair.iter() {
            self.by_pair.insert(pair, *id);
        }
        self.refused.absorb(&other.refused);
        for (pair, ()) in other.handshakes.iter() {
            self.handshakes.insert(pair, ());
        }
        for (port_and_peer, only) in other.probers.iter() {
            let probes = self.probers.entry(port_and_peer, || Some(0));
            *probes = probes.zip(*only).map(|(ours, theirs)| ours + theirs);
        }
        for (port, count) in other.silent_probes {
            *self.silent_probes.entry(port).or_default() += count;
        }
    }

    /// Counts what never got to say a byte as a probe, if it was one.
    fn silent_probe(&mut self, at_ns: u64, since: Since, pair: &Pair, sieve: &Sieve<'_>) -> bool {
        let &(local, peer, _) = pair;
        let before = self.silent_probes.get(&local.port()).copied().unwrap_or_default();
        let during_ns = since.stop_ns.map(|stop_ns| at_ns.saturating_sub(stop_ns));
        let probe = sieve.silent(local, peer, before, during_ns);
        if probe {
            // A pod has few ports with probes; a rule of the user's has one.
            *self.silent_probes.entry(local.port()).or_default() += 1;
            self.probed();
        }
        probe
    }

    fn probed(&mut self) {
        self.probes += 1;
        self.pending.probes += 1;
    }
}
