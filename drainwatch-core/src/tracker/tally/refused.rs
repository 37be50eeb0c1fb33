//! Connection attempts at closed ports: turned away, and not cut.

use std::net::{IpAddr, SocketAddr};

use crate::tracker::{SECOND, bounded::Recent};

/// Most attempts, and most clients, remembered per shutdown, so that none is counted twice.
const REMEMBERED: usize = 16_384;

/// A client that is turned away asks again from the same port: Windows twice, after half a second each. Whoever does so
/// later is another attempt, which got the same port.
const SAME_ATTEMPT_NS: u64 = SECOND + SECOND / 5;

/// Local end, peer, and network namespace.
pub(in crate::tracker) type Pair = (SocketAddr, SocketAddr, u32);

/// The attempts of one shutdown.
#[derive(Debug, Clone)]
pub(in crate::tracker) struct Refused {
    attempts: u64,
    clients: u64,
    first_ns: Option<u64>,
    last_ns: Option<u64>,
    /// When the last attempt from there began.
    pairs: Recent<Pair, u64>,
    addresses: Recent<IpAddr, ()>,
}

impl Default for Refused {
    fn default() -> Self {
        Self {
            attempts: 0,
            clients: 0,
            first_ns: None,
            last_ns: None,
            pairs: Recent::new(REMEMBERED),
            addresses: Recent::new(REMEMBERED),
        }
    }
}

impl Refused {
    /// How many there were.
    pub fn attempts(&self) -> u64 {
        self.attempts
    }

    /// From how many addresses.
    pub fn clients(&self) -> u64 {
        self.clients
    }

    /// The first one.
    pub fn first_ns(&self) -> Option<u64> {
        self.first_ns
    }

    /// The last one.
    pub fn last_ns(&self) -> Option<u64> {
        self.last_ns
    }

    /// Whether this is the first segment of its attempt: a SYN that is sent again is not.
    pub fn is_new(&mut self, at_ns: u64, pair: &Pair) -> bool {
        let began_ns = self.pairs.get(pair);
        let new = began_ns.is_none_or(|began_ns| at_ns.saturating_sub(*began_ns) > SAME_ATTEMPT_NS);
        if new {
            self.pairs.insert(pair, at_ns);
        }
        new
    }

    /// Counts an attempt.
    pub fn count(&mut self, at_ns: u64, peer: IpAddr) {
        self.attempts += 1;
        self.first_ns.get_or_insert(at_ns);
        self.last_ns = self.last_ns.max(Some(at_ns));
        if !self.addresses.contains(&peer) {
            self.addresses.insert(&peer, ());
            self.clients += 1;
        }
    }

    /// Takes over those of another shutdown that turned out to be part of this one.
    pub fn absorb(&mut self, other: &Self) {
        self.attempts += other.attempts;
        self.first_ns = [self.first_ns, other.first_ns].into_iter().flatten().min();
        self.last_ns = self.last_ns.max(other.last_ns);
        for (pair, began_ns) in other.pairs.iter() {
            self.pairs.insert(pair, *began_ns);
        }
        // What it has forgotten of its clients is counted as ours once more at the worst.
        let mut known = 0;
        for (address, ()) in other.addresses.iter() {
            known += u64::from(self.addresses.contains(address));
            self.addresses.insert(address, ());
        }
        self.clients += other.clients.saturating_sub(known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(client: u8, port: u16) -> Pair {
        let local = SocketAddr::from(([10, 0, 0, 9], 80));
        (local, SocketAddr::from(([10, 0, 0, client], port)), 1)
    }

    fn refused(attempts: &[(u64, Pair)]) -> Refused {
        let mut refused = Refused::default();
        for (at_ns, pair) in attempts {
            if refused.is_new(*at_ns, pair) {
                refused.count(*at_ns, pair.1.ip());
            }
        }
        refused
    }

    #[test]
    fn given_retries_of_two_clients_when_counted_then_attempts_and_clients_are_told_apart() {
        let seen = refused(&[
            (5, pair(1, 1000)),
            (6, pair(1, 1000)),
            (7, pair(1, 1001)),
            (9, pair(2, 1000)),
        ]);
        assert_eq!((seen.attempts(), seen.clients()), (3, 2));
        assert_eq!((seen.first_ns(), seen.last_ns()), (Some(5), Some(9)));
    }

    #[test]
    fn given_a_port_that_is_used_again_when_counted_then_what_comes_within_a_second_is_the_same_attempt() {
        let half = SECOND / 2;
        let seen = refused(&[
            (0, pair(1, 1000)),
            (half, pair(1, 1000)),
            (2 * half, pair(1, 1000)),
            (3 * half, pair(1, 1000)),
        ]);
        assert_eq!((seen.attempts(), seen.clients()), (2, 1));
        assert_eq!(seen.last_ns(), Some(3 * half));
    }

    #[test]
    fn given_two_shutdowns_that_are_one_when_absorbed_then_a_client_of_both_is_one() {
        let mut one = refused(&[(5, pair(1, 1)), (6, pair(2, 1))]);
        one.absorb(&refused(&[(3, pair(2, 2)), (4, pair(3, 1))]));
        assert_eq!((one.attempts(), one.clients()), (4, 3));
        assert_eq!((one.first_ns(), one.last_ns()), (Some(3), Some(6)));
    }
}
