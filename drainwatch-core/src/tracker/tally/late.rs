//! Requests that reached a connection which had been closed, or whose handshake its server had never completed.

use super::{Cut, Pair, Tally};
use crate::{
    event::{Asked, Role},
    exchange::{Exchange, Protocol},
    report::Cause,
    tracker::probes::Sieve,
};

/// What comes late on a connection that nobody reads, and is no longer, may be an acknowledgement, the answer to a PING, or
/// a goodbye.
const ACKNOWLEDGEMENT: u32 = 32;

/// Data that came too late.
#[derive(Debug, Clone, Copy)]
pub(in crate::tracker) struct Late<'a> {
    pub at_ns: u64,
    /// Process that had the connection.
    pub pid: u32,
    pub pair: Pair,
    /// How many bytes came at once.
    pub payload: u32,
    /// What the first of them say.
    pub asked: &'a Asked,
}

impl Tally {
    /// Data reached a connection that we had closed. Says whether that was a new request; nothing of a connection that is
    /// not known.
    pub fn late(&mut self, late: Late<'_>, sieve: &Sieve<'_>) -> Option<bool> {
        let id = self.by_pair.get(&late.pair).copied()?;
        let seen = self.connections.entry_if_known(&id)?;
        // Where HTTP/1 was spoken, or nothing yet, its head says what it is; elsewhere its length.
        let asked = match seen.goodbye {
            Some((Protocol::Http10 | Protocol::Http11 | Protocol::Tcp, _)) => late.asked,
            _ => &Asked::Unseen,
        };
        // What asks for nothing may be followed by a request. Else once per connection: what follows are retransmissions.
        if *asked == Asked::Nothing || !std::mem::take(&mut seen.may_be_late) {
            return Some(false);
        }
        // What was asked before tells; the kubelet opens a connection for each probe.
        let only_probes = seen.only_probes;
        let probe = || only_probes.unwrap_or_else(|| sieve.silent(late.pair.0, late.pair.1, 0, None));
        match (asked, seen.goodbye) {
            (Asked::Requests(requests), _) => self.late_requests(Cause::Late, requests, &late, sieve),
            (Asked::Unreadable, _) | (_, None) if !probe() => {
                if late.payload <= ACKNOWLEDGEMENT || seen.counted_opaque {
                    return Some(false);
                }
                self.outcomes.opaque += 1;
                self.opaque.add(Role::Server, None);
            }
            (_, Some((protocol, longest))) if !probe() => {
                if late.payload <= longest {
                    return Some(false);
                }
                self.lost(Cause::Late, None, protocol, &late);
            }
            _ => self.probed(),
        }
        Some(true)
    }

    /// Data came on a connection whose handshake had not come to its end, as far as the server's side knew, when its
    /// listener was closed.
    pub fn cut_handshake(&mut self, late: Late<'_>, sieve: &Sieve<'_>) {
        self.handshakes.insert(&late.pair, ());
        match late.asked {
            Asked::Requests(requests) => self.late_requests(Cause::Unaccepted, requests, &late, sieve),
            _ if sieve.silent(late.pair.0, late.pair.1, 0, None) => self.probed(),
            _ => self.lost(Cause::Unaccepted, None, Protocol::Tcp, &late),
        }
    }

    /// Whether data on this connection counts as a handshake that was cut, already.
    pub fn has_cut_handshake(&self, pair: &Pair) -> bool {
        self.handshakes.contains(pair)
    }

    /// Requests whose heads were seen.
    fn late_requests(&mut self, cause: Cause, requests: &[Exchange], late: &Late<'_>, sieve: &Sieve<'_>) {
        for request in requests {
            if sieve.read(late.pair.0, late.pair.1, request) {
                self.probed();
            } else if request.operation.method().is_none() {
                self.unknown(request);
            } else {
                self.lost(cause, Some(request), request.protocol, late);
            }
        }
    }

    /// A request that the kernel has thrown away, or a process that could not answer it.
    fn lost(&mut self, cause: Cause, exchange: Option<&Exchange>, protocol: Protocol, late: &Late<'_>) {
        let Late { at_ns, pid, pair, .. } = *late;
        self.record(&Cut {
            at_ns,
            cause,
            role: Role::Server,
            exchange,
            protocol,
            pid,
            local: pair.0,
            peer: pair.1,
        });
    }
}
