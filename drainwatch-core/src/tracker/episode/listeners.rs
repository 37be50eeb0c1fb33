//! The listeners that one shutdown closed, and those that it left open.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use crate::event::Listener;

/// Most closed listeners remembered per shutdown.
const CLOSED: usize = 1024;

/// What became of the listeners of one shutdown.
#[derive(Debug, Clone, Default)]
pub(in crate::tracker) struct OwnListeners {
    /// When the last one was closed.
    closed_ns: Option<u64>,
    /// Network namespace and address of each one that was closed.
    closed: BTreeSet<(u32, SocketAddr)>,
    open_at_kill: usize,
    /// Network namespace and port of those that were closed on handshakes under way, and on how many.
    handshakes: BTreeMap<(u32, u16), u32>,
}

impl OwnListeners {
    pub fn closed(&mut self, at_ns: u64, listener: &Listener) {
        let (local, netns) = (listener.local, listener.netns);
        if self.closed.len() < CLOSED {
            self.closed.insert((netns, local));
            self.add_handshakes((netns, local.port()), listener.handshakes);
        }
        self.closed_ns = Some(at_ns);
    }

    fn add_handshakes(&mut self, port: (u32, u16), count: u32) {
        if count > 0 {
            let handshakes = self.handshakes.entry(port).or_default();
            *handshakes = handshakes.saturating_add(count);
        }
    }

    /// Data came on a connection that no program has accepted, as far as is known. Whether it can be one whose handshake
    /// was under way when its listener was closed; each of these was at most one.
    pub fn cut_handshake(&mut self, at: SocketAddr, netns: u32) -> bool {
        let handshakes = self.handshakes.get_mut(&(netns, at.port()));
        handshakes.is_some_and(|handshakes| {
            let any = *handshakes > 0;
            *handshakes = handshakes.saturating_sub(1);
            any
        })
    }

    /// So many were open when SIGKILL came.
    pub fn killed(&mut self, open: usize) {
        self.open_at_kill = open;
    }

    /// When the last one was closed.
    pub fn closed_ns(&self) -> Option<u64> {
        self.closed_ns
    }

    /// How many were open when SIGKILL came.
    pub fn open_at_kill(&self) -> usize {
        self.open_at_kill
    }

    /// Whether one of the closed ones had taken connections to this address. The kernel side goes by
    /// the port alone; where the listeners of that port are not known, that is all there is. `open`: one of them still
    /// is, so it was another address that was tried.
    pub fn listened(&self, at: SocketAddr, netns: u32, open: bool) -> bool {
        let mut known = self
            .closed
            .iter()
            .filter(|(ns, local)| *ns == netns && local.port() == at.port())
            .map(|(_, local)| local.ip())
            .peekable();
        (known.peek().is_none() && !open)
            || known.any(|ip| ip == at.ip() || ip.is_unspecified() && (ip.is_ipv6() || at.is_ipv4()))
    }

    /// Takes over those of another shutdown that turned out to be part of this one.
    pub fn absorb(&mut self, other: Self) {
        self.closed_ns = self.closed_ns.max(other.closed_ns);
        self.closed.extend(other.closed);
        self.open_at_kill = self.open_at_kill.max(other.open_at_kill);
        for (port, count) in other.handshakes {
            self.add_handshakes(port, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::tests::scene::process;

    fn listener(local: &str, handshakes: u32) -> Listener {
        Listener {
            process: process(100),
            local: local.parse().unwrap(),
            netns: 1,
            backlog: 0,
            handshakes,
            still_open: 0,
            found: false,
        }
    }

    #[test]
    fn given_closed_listeners_then_an_address_was_theirs_or_its_port_is_unknown() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let mut listeners = OwnListeners::default();
        listeners.closed(1, &listener("10.0.0.1:80", 0));
        listeners.closed(2, &listener("[::]:443", 0));
        for (at, netns, listened, why) in [
            ("10.0.0.1:80", 1, true, "the very address"),
            ("10.0.0.2:80", 1, false, "another address of a known port"),
            ("10.0.0.2:80", 2, true, "nothing is known of that namespace"),
            ("10.0.0.2:81", 1, true, "nothing is known of that port"),
            ("10.0.0.2:443", 1, true, "the unspecified one of IPv6 takes both"),
        ] {
            assert_eq!(listeners.listened(address(at), netns, false), listened, "{why}");
        }
        assert_eq!(listeners.closed_ns(), Some(2));
    }

    #[test]
    fn given_a_listener_that_was_closed_on_handshakes_then_each_is_cut_once_and_no_other_ones() {
        let mut listeners = OwnListeners::default();
        listeners.closed(1, &listener("10.0.0.1:80", 1));
        let mut others = OwnListeners::default();
        others.closed(2, &listener("10.0.0.1:80", 1));
        others.closed(2, &listener("10.0.0.1:81", 0));
        listeners.absorb(others);
        let mut cut =
            |port: u16, netns| listeners.cut_handshake(SocketAddr::from(([10, 0, 0, 1], port)), netns);
        assert_eq!(
            [cut(80, 1), cut(81, 1), cut(80, 2), cut(80, 1), cut(80, 1)],
            [true, false, false, true, false]
        );
    }
}
