//! Connections that nobody reads, by what is known of them all the same.

use std::collections::BTreeMap;

use crate::{
    event::Role,
    exchange::{Exchange, Protocol},
    report::{OPAQUE_LISTED, OpaqueConnections},
};

/// What tells them apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    role: Role,
    protocol: Protocol,
    host: Option<String>,
    alpn: Vec<String>,
}

/// How many there are of which kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::tracker) struct OpaqueKinds(BTreeMap<Kind, u64>);

impl OpaqueKinds {
    /// One more. Where there are as many kinds already as are listed, only its protocol counts.
    pub fn add(&mut self, role: Role, exchange: Option<&Exchange>) {
        let mut kind = Kind {
            role,
            protocol: exchange.map_or(Protocol::Tcp, |exchange| exchange.protocol),
            host: exchange.and_then(|exchange| exchange.operation.host().map(str::to_owned)),
            alpn: exchange.map_or(vec![], |exchange| exchange.operation.alpn().to_vec()),
        };
        if self.0.len() >= OPAQUE_LISTED && !self.0.contains_key(&kind) {
            (kind.host, kind.alpn) = (None, vec![]);
        }
        *self.0.entry(kind).or_default() += 1;
    }

    /// Takes over what another has counted.
    pub fn absorb(&mut self, other: Self) {
        for (kind, count) in other.0 {
            *self.0.entry(kind).or_default() += count;
        }
    }

    /// For the report.
    pub fn listed(&self) -> Vec<OpaqueConnections> {
        let listed = |(kind, count): (&Kind, &u64)| OpaqueConnections {
            role: kind.role,
            protocol: kind.protocol,
            host: kind.host.clone(),
            alpn: kind.alpn.clone(),
            count: *count,
        };
        self.0.iter().map(listed).collect()
    }
}
