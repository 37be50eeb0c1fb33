//! The listeners that one shutdown closed, and those that it left open.

use std::{collections::BTreeSet, net::SocketAddr};

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
}

impl OwnListeners {
    pub fn closed(&mut self, at_ns: u64, local: SocketAddr, netns: u32) {
        if self.closed.len() < CLOSED {
            self.closed.insert((netns, local));
        }
        self.closed_ns = Some(at_ns);
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_closed_listeners_then_an_address_was_theirs_or_its_port_is_unknown() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let mut listeners = OwnListeners::default();
        listeners.closed(1, address("10.0.0.1:80"), 1);
        listeners.closed(2, address("[::]:443"), 1);
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
}
