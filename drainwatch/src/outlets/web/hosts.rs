//! Whose name the agent answers to. A page of somebody else's, whose name has been made to lead here (DNS rebinding), asks
//! with that name; an address is nobody's name.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::Response,
};

use super::error;

/// The names that are answered to, besides addresses and `localhost`.
#[derive(Debug, Clone)]
pub(super) struct Hosts(Arc<[String]>);

impl Hosts {
    /// `*` stands for every name, `*.` before one for those below it.
    pub fn new(allowed: &[String], node: &str) -> Self {
        let names = allowed.iter().map(String::as_str).chain([node]);
        Self(names.map(str::to_ascii_lowercase).collect())
    }

    fn answers_to(&self, host: &str) -> bool {
        let name = name_of(host).trim_end_matches('.').to_ascii_lowercase();
        let is = |allowed: &String| match allowed.strip_prefix('*') {
            Some("") => true,
            Some(below) => name.ends_with(below) && name.len() > below.len(),
            None => name == *allowed,
        };
        is_address(&name) || name == "localhost" || name.ends_with(".localhost") || self.0.iter().any(is)
    }
}

/// Without its port.
fn name_of(host: &str) -> &str {
    if host.starts_with('[') {
        return host.split_inclusive(']').next().unwrap_or(host);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

fn is_address(name: &str) -> bool {
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    inner.unwrap_or(name).parse::<IpAddr>().is_ok()
}

/// Refuses what was asked of another name. Who names nobody is no browser.
pub(super) async fn check(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let named = request.headers().get_all(header::HOST).iter();
    let mut named = named.map(|host| host.to_str().unwrap_or("?"));
    let in_uri = request.uri().authority().map(axum::http::uri::Authority::as_str);
    if named.all(|host| hosts.answers_to(host)) && in_uri.is_none_or(|host| hosts.answers_to(host)) {
        return next.run(request).await;
    }
    error(
        StatusCode::MISDIRECTED_REQUEST,
        "the agent does not answer to this host name; ask by its address, or add the name to --web.allowed-hosts",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_host_then_addresses_this_host_and_what_is_allowed_are_answered_to_and_no_other_name() {
        let hosts = Hosts::new(
            &["drainwatch.example.com".into(), "*.shop.example".into()],
            "node-7",
        );
        for host in [
            "127.0.0.1:9669",
            "10.0.0.7",
            "[::1]:9669",
            "[fe80::1]",
            "localhost:9669",
            "LOCALHOST",
            "node-7:9669",
            "drainwatch.example.com.",
            "a.b.shop.example:80",
        ] {
            assert!(hosts.answers_to(host), "{host}");
        }
        for host in [
            "evil.example:9669",
            "127.0.0.1.evil.example",
            "shop.example",
            ".shop.example",
            "notdrainwatch.example.com",
            "",
            "?",
        ] {
            assert!(!hosts.answers_to(host), "{host}");
        }
        assert!(Hosts::new(&["*".into()], "n").answers_to("anything"));
    }
}
