//! Where the kubelet's probes come from, as far as the agent's own network shows it.
//!
//! They bear the node's address on the pods' network. To a pod that is its default gateway; on the node itself it is
//! the address of the network that the pod is in. Neither is in the API.

use std::net::{IpAddr, Ipv4Addr};

use k8s_openapi::api::core::v1::Pod as ApiPod;
use nix::{ifaddrs::getifaddrs, sys::socket::SockaddrStorage};

/// Most addresses that are looked at; with IPVS a node has one for each service.
const ADDRESSES: usize = 8192;
/// Most gateways that are believed.
const GATEWAYS: usize = 4;

/// The agent's own network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whence {
    /// Addresses with their masks.
    addresses: Vec<(IpAddr, IpAddr)>,
    gateways: Vec<IpAddr>,
}

impl Whence {
    /// As it is now. What cannot be read is not known.
    pub fn here() -> Self {
        let interfaces = getifaddrs().into_iter().flatten();
        let addresses = interfaces.filter_map(|interface| {
            let ip = ip(&interface.address?)?;
            (!ip.is_loopback()).then_some((ip, self::ip(&interface.netmask?)?))
        });
        let routes = procfs::net::route().into_iter().flatten();
        let gateways = routes
            .filter(|route| route.destination.is_unspecified() && !route.gateway.is_unspecified())
            .map(|route| IpAddr::from(route.gateway));
        Self {
            addresses: addresses.take(ADDRESSES).collect(),
            gateways: gateways.take(GATEWAYS).collect(),
        }
    }

    /// Where the probes of this pod come from, besides its node's addresses.
    pub fn of(&self, pod: &ApiPod, hosts: &[IpAddr]) -> Vec<IpAddr> {
        let ours = |ip: &IpAddr| self.addresses.iter().any(|(address, _)| address == ip);
        if !hosts.iter().any(ours) {
            // The gateway of a node is a router, and who is behind that are not probes; of a pod it is the node.
            return self.gateways.clone();
        }
        let status = pod.status.as_ref();
        let one = status.and_then(|status| status.pod_ip.as_deref());
        let several = status.and_then(|status| status.pod_ips.as_ref());
        let ips: Vec<IpAddr> = several
            .into_iter()
            .flatten()
            .map(|pod_ip| pod_ip.ip.as_str())
            .chain(one)
            .filter_map(|ip| ip.parse().ok())
            .collect();
        let holds =
            |&&(address, mask): &&(IpAddr, IpAddr)| ips.iter().any(|&ip| same_network(ip, address, mask));
        self.addresses
            .iter()
            .filter(holds)
            .map(|&(address, _)| address)
            .take(GATEWAYS)
            .collect()
    }
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
    v4.or_else(|| Some(address.as_sockaddr_in6()?.ip().into()))
}

fn same_network(one: IpAddr, other: IpAddr, mask: IpAddr) -> bool {
    match (one, other, mask) {
        (IpAddr::V4(one), IpAddr::V4(other), IpAddr::V4(mask)) => {
            u32::from(one) & u32::from(mask) == u32::from(other) & u32::from(mask)
                && mask != Ipv4Addr::BROADCAST
        }
        (IpAddr::V6(one), IpAddr::V6(other), IpAddr::V6(mask)) => {
            u128::from(one) & u128::from(mask) == u128::from(other) & u128::from(mask)
                && u128::from(mask) != u128::MAX
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NODE: [u8; 4] = [192, 168, 1, 5];
    const BRIDGE: [u8; 4] = [10, 88, 0, 1];
    const ROUTER: [u8; 4] = [192, 168, 1, 1];

    fn pod(ip: &str) -> ApiPod {
        serde_json::from_value(json!({"status": {"podIP": ip, "podIPs": [{"ip": ip}]}})).unwrap()
    }

    fn ip4(ip: [u8; 4]) -> IpAddr {
        ip.into()
    }

    #[test]
    fn given_an_agent_in_a_pod_when_asked_whence_probes_come_then_from_its_gateway() {
        let here = Whence {
            addresses: vec![(ip4([10, 88, 0, 7]), ip4([255, 255, 252, 0]))],
            gateways: vec![ip4(BRIDGE)],
        };
        assert_eq!(here.of(&pod("10.88.0.9"), &[ip4(NODE)]), [ip4(BRIDGE)]);
    }

    #[test]
    fn given_an_agent_on_the_node_when_asked_then_from_the_address_of_the_pods_network_and_never_from_a_router()
     {
        let here = Whence {
            addresses: vec![
                (ip4(NODE), ip4([255, 255, 255, 0])),
                (ip4(BRIDGE), ip4([255, 255, 252, 0])),
                (ip4([10, 88, 0, 9]), ip4([255, 255, 255, 255])),
            ],
            gateways: vec![ip4(ROUTER)],
        };
        assert_eq!(here.of(&pod("10.88.0.9"), &[ip4(NODE)]), [ip4(BRIDGE)]);
        assert!(here.of(&pod("10.99.0.9"), &[ip4(NODE)]).is_empty());
        assert!(here.of(&ApiPod::default(), &[ip4(NODE)]).is_empty());
    }

    #[test]
    fn given_a_machine_when_its_network_is_read_then_each_address_has_a_mask() {
        let here = Whence::here();
        assert!(here.gateways.len() <= GATEWAYS);
        assert!(
            here.addresses
                .iter()
                .all(|(ip, mask)| ip.is_ipv4() == mask.is_ipv4())
        );
    }
}
