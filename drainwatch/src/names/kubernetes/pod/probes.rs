//! How a pod is asked whether it is well, and for its metrics: its containers' probes and the annotations
//! of scrapes. What runs inside it (`exec`) asks nothing over TCP.

use std::{collections::BTreeSet, net::IpAddr};

use drainwatch_core::{
    description::{MOST_PROBES, Probe},
    reading::shown_path,
};
use k8s_openapi::{
    api::core::v1::{Container, Pod as ApiPod, Probe as ApiProbe},
    apimachinery::pkg::util::intstr::IntOrString,
};

/// Most addresses of a node that are believed: it has one for each family.
const HOSTS: usize = 8;
/// What the path of a scrape is unless its annotation says otherwise.
const METRICS: &str = "/metrics";
/// Seconds between two probes unless the pod says otherwise.
const PERIOD: u32 = 10;
/// Longest path that is compared; reports show less of one.
const PATH: usize = 4096;

/// The probes and scrapes of a pod that come over TCP.
pub fn described(pod: &ApiPod) -> Vec<Probe> {
    let Some(spec) = &pod.spec else { return vec![] };
    let init = spec.init_containers.iter().flatten();
    let containers: Vec<&Container> = spec.containers.iter().chain(init).collect();
    let probes = containers.iter().flat_map(|container| {
        let kinds = [
            &container.readiness_probe,
            &container.liveness_probe,
            &container.startup_probe,
        ];
        kinds
            .into_iter()
            .flatten()
            .filter_map(|probe| of_container(probe, container))
    });
    // Two that are alike remain two: each is asked by itself.
    probes
        .chain(scrapes(pod, &containers))
        .take(MOST_PROBES)
        .collect()
}

fn of_container(probe: &ApiProbe, container: &Container) -> Option<Probe> {
    let period = probe
        .period_seconds
        .and_then(|seconds| u32::try_from(seconds).ok());
    let period_seconds = Some(period.filter(|&seconds| seconds > 0).unwrap_or(PERIOD));
    if let Some(get) = &probe.http_get {
        let target = get.path.as_deref().filter(|path| !path.is_empty());
        // The kubelet puts the slash there that a path lacks.
        let target = match target {
            Some(target) if target.starts_with('/') => target.to_owned(),
            target => format!("/{}", target.unwrap_or_default()),
        };
        return Some(Probe {
            port: port(&get.port, container)?,
            path: path(&target),
            period_seconds,
        });
    }
    let port = match (&probe.tcp_socket, &probe.grpc) {
        (Some(tcp), _) => port(&tcp.port, container)?,
        (None, Some(grpc)) => number(grpc.port)?,
        (None, None) => return None,
    };
    Some(Probe {
        port,
        path: None,
        period_seconds,
    })
}

/// A port by its number, or by the name that the container gives it.
fn port(port: &IntOrString, container: &Container) -> Option<u16> {
    match port {
        IntOrString::Int(port) => number(*port),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports.find(|port| port.name.as_ref() == Some(name));
            named.map_or_else(|| name.parse().ok(), |port| number(port.container_port))
        }
    }
}

fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|&port| port != 0)
}

fn path(target: &str) -> Option<String> {
    (target.len() <= PATH).then(|| shown_path(target)).flatten()
}

/// `prometheus.io/scrape` and its companions: no interface of Kubernetes's, but the custom of
/// Prometheus's own example and of its charts.
fn scrapes(pod: &ApiPod, containers: &[&Container]) -> Vec<Probe> {
    let annotations = pod.metadata.annotations.as_ref();
    let says = |name: &str| {
        annotations?
            .get(&format!("prometheus.io/{name}"))
            .map(String::as_str)
    };
    if says("scrape") != Some("true") {
        return vec![];
    }
    let ports: Vec<u16> = match says("port") {
        Some(port) => port.parse().into_iter().filter(|&port| port != 0).collect(),
        // Without one, every port that the pod declares is scraped.
        None => containers
            .iter()
            .flat_map(|container| container.ports.iter().flatten())
            .filter_map(|port| number(port.container_port))
            .collect(),
    };
    let path = path(says("path").unwrap_or(METRICS));
    ports
        .into_iter()
        .map(|port| Probe {
            port,
            path: path.clone(),
            period_seconds: None,
        })
        .collect()
}

/// Addresses of the node that the pod runs on.
pub fn hosts(pod: &ApiPod) -> Vec<IpAddr> {
    let Some(status) = &pod.status else { return vec![] };
    let several = status.host_ips.iter().flatten().map(|host| host.ip.as_str());
    let known: BTreeSet<IpAddr> = status
        .host_ip
        .as_deref()
        .into_iter()
        .chain(several)
        .filter_map(|ip| ip.parse().ok())
        .collect();
    known.into_iter().take(HOSTS).collect()
}

#[cfg(test)]
mod tests;
