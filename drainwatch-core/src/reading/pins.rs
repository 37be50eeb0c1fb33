//! Protocols that the user pins to ports: what is spoken there is read as that and as nothing else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::exchange::Protocol;

/// Most ports that are pinned.
pub const MOST_PINS: usize = 64;

/// Connections to these ports speak this protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawPin")]
pub struct Pin {
    /// What is spoken there, a word of the list below; `tcp` is what nobody reads.
    pub name: Protocol,
    /// Ports of the answering side: our own for what we are asked, the peer's for what we ask.
    pub port: Vec<u16>,
}

/// What can be pinned: every protocol but those that others turn into.
pub fn protocols() -> impl Iterator<Item = Protocol> {
    let part = |protocol: &Protocol| matches!(protocol, Protocol::Http10 | Protocol::WebSocket);
    Protocol::ALL
        .iter()
        .copied()
        .filter(move |protocol| !part(protocol))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPin {
    name: String,
    port: Ports,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected one port or a list of ports")]
enum Ports {
    One(u16),
    Many(Vec<u16>),
}

impl TryFrom<RawPin> for Pin {
    type Error = String;

    fn try_from(RawPin { name, port }: RawPin) -> Result<Self, String> {
        let Some(protocol) = protocols().find(|protocol| protocol.as_str() == name) else {
            let words: Vec<_> = protocols().map(Protocol::as_str).collect();
            return Err(format!(
                "`{}` is no protocol that can be pinned; use one of: {}",
                name.escape_debug(),
                words.join(", ")
            ));
        };
        let port = match port {
            Ports::One(port) => vec![port],
            Ports::Many(ports) => ports,
        };
        if port.is_empty() || port.contains(&0) {
            return Err("give at least one port, from 1 to 65535".to_owned());
        }
        Ok(Self { name: protocol, port })
    }
}

/// The protocols by port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins(BTreeMap<u16, Protocol>);

impl Pins {
    /// Says which port stands there twice, or that there are too many.
    ///
    /// # Errors
    ///
    /// A sentence for whoever wrote the pins.
    pub fn new(pins: &[Pin]) -> Result<Self, String> {
        let mut ports = BTreeMap::new();
        for pin in pins {
            for port in &pin.port {
                let before = ports.insert(*port, pin.name).filter(|before| *before != pin.name);
                if let Some(before) = before {
                    return Err(format!(
                        "port {port} is pinned twice, to {before} and to {}",
                        pin.name
                    ));
                }
            }
        }
        if ports.len() > MOST_PINS {
            return Err(format!(
                "{} pinned ports are more than the limit of {MOST_PINS}",
                ports.len()
            ));
        }
        Ok(Self(ports))
    }

    /// What is spoken with this port.
    pub(super) fn of(&self, port: u16) -> Option<Protocol> {
        self.0.get(&port).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        exchange::ExchangeState,
        reading::{Context, read, recorder::given},
        record::Turn,
    };

    fn pin(name: Protocol, port: &[u16]) -> Pin {
        Pin {
            name,
            port: port.to_vec(),
        }
    }

    #[test]
    fn given_a_pinned_protocol_when_read_then_no_other_is_looked_for() {
        let ask = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
        let turn = Turn {
            number: 1,
            ask_bytes: ask.len() as u64,
            ask,
            ..Turn::default()
        };
        let read_as = |pinned| {
            let context = Context {
                pinned,
                ..given().context()
            };
            let exchange = read(&turn, &context).exchanges.remove(0);
            (exchange.protocol, exchange.state)
        };
        let read = (Protocol::Http11, ExchangeState::Unanswered);
        assert_eq!(read_as(None), read);
        assert_eq!(read_as(Some(Protocol::Http11)), read);
        assert_eq!(
            read_as(Some(Protocol::Kafka)),
            (Protocol::Tcp, ExchangeState::Opaque)
        );
        assert_eq!(
            read_as(Some(Protocol::Tcp)),
            (Protocol::Tcp, ExchangeState::Opaque)
        );
    }

    #[test]
    fn given_ports_when_pinned_then_each_has_its_protocol_and_none_has_two() {
        let pins = Pins::new(&[pin(Protocol::Redis, &[6380, 6381]), pin(Protocol::Tcp, &[9])]).unwrap();
        assert_eq!(pins.of(6381), Some(Protocol::Redis));
        assert_eq!(pins.of(6379), None);
        let twice = Pins::new(&[pin(Protocol::Redis, &[1]), pin(Protocol::Kafka, &[1])]);
        assert_eq!(
            twice.unwrap_err(),
            "port 1 is pinned twice, to redis and to kafka"
        );
        let many: Vec<_> = (1..=65).collect();
        assert!(
            Pins::new(&[pin(Protocol::Redis, &many)])
                .unwrap_err()
                .contains("limit of 64")
        );
    }
}
