//! Telling probes from users' requests: by the head that was read, by the user's rules, and by what the
//! workload's description says. What a description does not say beforehand is learned: the addresses that
//! the kubelet's probes come from need not be the node's own (a bridge of the pod network has another).

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use super::{SECOND, Tracker};
use crate::{
    class::{Classes, PROBE, Traffic},
    description::Probe,
    event::{Connection, End, Role},
    exchange::{Exchange, KUBELET, Operation},
    workload::directory::StopSettings,
};

/// Most addresses of the kubelet that are remembered; a node has one for each family and network.
const KUBELETS: usize = 16;

/// What tells probes of one workload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sieve<'a> {
    pub classes: &'a Classes,
    pub settings: Option<&'a StopSettings>,
    /// Addresses that the kubelet was seen to ask from.
    pub kubelets: &'a BTreeSet<IpAddr>,
}

/// Both ends of a connection, and which of them we are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub role: Role,
    pub local: SocketAddr,
    pub peer: SocketAddr,
}

impl Ends {
    /// We were asked.
    fn of_server(local: SocketAddr, peer: SocketAddr) -> Self {
        Self {
            role: Role::Server,
            local,
            peer,
        }
    }
}

impl Sieve<'_> {
    /// Whether an exchange of this connection is a probe; of one that nobody accepted no byte was read, nor of a first
    /// request that still waited when its process died, unless its head was seen in the queue. Without an exchange:
    /// whether the connection itself is.
    pub fn holds(&self, connection: &Connection, exchange: Option<&Exchange>) -> bool {
        let waited = |exchange: &Exchange| {
            exchange.started_ns == 0 && exchange.operation == Operation::Opaque && connection.unread > 0
        };
        let ends = Ends {
            role: connection.role,
            local: connection.local,
            peer: connection.peer,
        };
        self.asked(
            ends,
            exchange
                .filter(|exchange| exchange.unread || connection.end != End::Unaccepted && !waited(exchange)),
            u64::MAX,
        )
    }

    /// Whether what never got to say a byte was a probe. So far `before` at this port were taken for one, in
    /// the time `during_ns` since the stop: users whom the node forwards bear its address too (a `NodePort`,
    /// a load balancer), but the kubelet does not ask more often than it was told to.
    pub fn silent(&self, local: SocketAddr, peer: SocketAddr, before: u64, during_ns: Option<u64>) -> bool {
        let room = self.most(local.port(), during_ns).saturating_sub(before);
        self.asked(Ends::of_server(local, peer), None, room)
    }

    /// Whether this request, which a server was sent, is a probe.
    pub fn read(&self, local: SocketAddr, peer: SocketAddr, request: &Exchange) -> bool {
        self.asked(Ends::of_server(local, peer), Some(request), u64::MAX)
    }

    /// How often the kubelet can have asked at this port in that time: once at either end of each period, and
    /// once more that was late.
    fn most(&self, port: u16, during_ns: Option<u64>) -> u64 {
        let probes = self.settings.map_or(&[][..], |settings| &settings.probes);
        let of = |probe: &Probe| {
            let period_ns = u64::from(probe.period_seconds?) * SECOND;
            Some(during_ns?.checked_div(period_ns)?.saturating_add(2))
        };
        probes
            .iter()
            .filter(|probe| probe.port == port)
            .map(|probe| of(probe).unwrap_or(u64::MAX))
            .fold(0, u64::saturating_add)
    }

    /// `room`: how many more the kubelet can have asked without a word.
    fn asked(&self, ends: Ends, exchange: Option<&Exchange>, room: u64) -> bool {
        let operation = exchange.map_or(&Operation::Opaque, |exchange| &exchange.operation);
        let answering = if ends.role == Role::Client {
            ends.peer
        } else {
            ends.local
        };
        let described = ends.role != Role::Client
            && match exchange {
                Some(_) => self.describes(ends.local.port(), operation),
                None => room > 0 && self.may_be_kubelet(ends.local.port(), ends.peer.ip()),
            };
        let traffic = Traffic {
            operation,
            port: answering.port(),
            stream: false,
            described,
        };
        *self.classes.of(&traffic) == *PROBE
    }

    /// Whether the workload's description says that this is asked to see whether it is well.
    fn describes(&self, port: u16, operation: &Operation) -> bool {
        let fetches = matches!(operation.method(), Some("GET" | "HEAD"));
        // The front page is also what people ask for.
        let path = operation.path().filter(|&path| fetches && path != "/");
        let probes = self.settings.map_or(&[][..], |settings| &settings.probes);
        path.is_some_and(|path| {
            probes
                .iter()
                .any(|probe| probe.port == port && probe.path.as_deref() == Some(path))
        })
    }

    /// Whether the description has a probe at this port, and the node is where it comes from.
    fn may_be_kubelet(&self, port: u16, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.settings.is_some_and(|settings| {
            settings.probes.iter().any(|probe| probe.port == port)
                && (settings.hosts.contains(&peer) || self.kubelets.contains(&peer))
        })
    }
}

/// A client that came and went without a word: a check whether the port is open.
pub(super) fn came_and_went(connection: &Connection) -> bool {
    connection.silent && connection.role == Role::Server && connection.end == End::Peer
}

impl Tracker {
    /// Learns where the kubelet's probes come from: from one that the pod describes, and that bears its name.
    pub(super) fn learn_kubelet(&mut self, workload: u64, connection: &Connection) {
        let port = connection.local.port();
        let named = |exchange: &&Exchange| exchange.operation.prober() == Some(KUBELET);
        let mut named = connection.exchanges.iter().filter(named).peekable();
        let peer = connection.peer.ip().to_canonical();
        if connection.role != Role::Server
            || named.peek().is_none()
            || self.kubelets.contains(&peer)
            || self.kubelets.len() >= KUBELETS
        {
            return;
        }
        let settings = self.names.settings(workload);
        let described = |exchange: &Exchange| {
            settings
                .iter()
                .flat_map(|settings| &settings.probes)
                .any(|probe| {
                    probe.port == port
                        && probe.path.is_some()
                        && probe.path.as_deref() == exchange.operation.path()
                })
        };
        if named.any(described) {
            self.kubelets.insert(peer);
        }
    }
}
