//! Where something is, or listens: addresses, paths of the web server, names of nodes, sockets.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::Deref,
    str::FromStr,
};

use super::Text;
use crate::names::Socket;
use drainwatch_core::workload::text::shown_name;

/// Where the web server listens: `ADDRESS:PORT`; also `:PORT` (every address) and `localhost:PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenAddress(SocketAddr);

impl Text for ListenAddress {
    const VALUES: &str = "`ADDRESS:PORT`, `:PORT` (every address), `localhost:PORT`";
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |port: &str| port.parse::<u16>().ok();
        if let Some(port) = text.strip_prefix(':').and_then(port) {
            return Ok(Self((Ipv6Addr::UNSPECIFIED, port).into()));
        }
        if let Some(port) = text.strip_prefix("localhost:").and_then(port) {
            return Ok(Self((Ipv4Addr::LOCALHOST, port).into()));
        }
        text.parse().map(Self).map_err(|_| {
            format!("`{text}` is not ADDRESS:PORT; write for example 127.0.0.1:9669, [::1]:9669 or :9669")
        })
    }
}

impl Deref for ListenAddress {
    type Target = SocketAddr;

    fn deref(&self) -> &SocketAddr {
        &self.0
    }
}

/// A path of the web server: `/` and URL-safe characters, and not one of the server's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetryPath(String);

impl Text for TelemetryPath {
    const VALUES: &str = "a path";
}

impl FromStr for TelemetryPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let safe = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
        if !text.starts_with('/') || text.len() < 2 || !text.chars().all(safe) {
            return Err(format!(
                "`{text}` is not a path; write for example /metrics (letters, digits and /-_.~ only)"
            ));
        }
        if text == "/healthz" || text == "/readyz" || text.starts_with("/api/") || text.starts_with("/page/")
        {
            return Err(format!(
                "`{text}` is used by the agent itself; write for example /metrics"
            ));
        }
        Ok(Self(text.into()))
    }
}

impl Deref for TelemetryPath {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Names of hosts, with `*` or `*.` before what is below a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts(Vec<String>);

impl Text for AllowedHosts {
    const VALUES: &str =
        "names with commas between them; `*.example.com` is every name below that one, `*` every name";
}

impl FromStr for AllowedHosts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let safe = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let is_name = |name: &&str| {
            let below = name.strip_prefix("*.").unwrap_or(name);
            *name == "*" || !below.is_empty() && below.len() <= 253 && below.chars().all(safe)
        };
        let names: Vec<&str> = text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .collect();
        if let Some(bad) = names.iter().find(|name| !is_name(name)) {
            return Err(format!(
                "`{}` is not the name of a host; write for example drainwatch.example.com, without a port",
                shown_name(bad)
            ));
        }
        Ok(Self(names.into_iter().map(str::to_owned).collect()))
    }
}

impl Deref for AllowedHosts {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

/// Name of a node: what Kubernetes takes as the name of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeName(String);

impl Text for NodeName {
    const VALUES: &str = "name of a node";
}

impl FromStr for NodeName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let safe = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if text.is_empty() || text.len() > 253 || !text.chars().all(safe) {
            return Err(format!(
                "`{}` is not the name of a node; `kubectl get nodes` lists them",
                shown_name(text)
            ));
        }
        Ok(Self(text.into()))
    }
}

impl Deref for NodeName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Text for Socket {
    const VALUES: &str = "`auto`, `off`, or the path of a socket";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_an_address_when_parsed_then_only_what_is_meant_is_taken() {
        let listen = |text: &str| text.parse::<ListenAddress>().map(|address| address.to_string());
        assert_eq!(listen("localhost:80").unwrap(), "127.0.0.1:80");
        assert_eq!(listen(":80").unwrap(), "[::]:80");
        for bad in ["", "80", "host:80", "127.0.0.1", ":99999"] {
            assert!(listen(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn given_a_path_of_the_web_server_when_parsed_then_none_of_its_own_is_taken() {
        assert_eq!(&**"/m".parse::<TelemetryPath>().as_ref().unwrap(), "/m");
        for bad in [
            "metrics",
            "/",
            "/healthz",
            "/api/v1",
            "/page/main.js",
            "/a b",
            "/{x}",
        ] {
            assert!(bad.parse::<TelemetryPath>().is_err(), "{bad}");
        }
    }
}
