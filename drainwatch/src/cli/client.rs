//! What the command line asks an agent over HTTP.

use std::{fs, path::Path, sync::Arc, time::Duration};

use axum::http::Uri;
use drainwatch_core::report::Report;
use serde::{Deserialize, de::DeserializeOwned};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

use crate::cli::{
    args::AgentArgs,
    failure::{Exit, Failure},
};

/// Where the agent is when nothing else is said.
pub const URL: &str = "http://127.0.0.1:9669";

/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(10);
/// Largest answer: a full listing is at most 8 MiB of reports.
const ANSWER_BYTES: u64 = 16 << 20;

/// Asks one agent.
#[derive(Debug)]
pub struct Client {
    http: ureq::Agent,
    url: String,
}

/// A listing.
#[derive(Debug, Deserialize)]
pub struct Listing {
    /// Under way first, then newest first.
    pub shutdowns: Vec<Report>,
    /// There are more than were asked for.
    #[serde(default)]
    pub more: bool,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl Client {
    /// For the agent that these arguments name.
    pub fn new(agent: &AgentArgs) -> Result<Self, Failure> {
        Self::within(&agent.url, agent.ca_file.as_deref(), WITHIN)
    }

    /// For the agent at `url`, such as `http://127.0.0.1:9669` or `node1:9669`, whose answers may take so long.
    pub fn within(url: &str, ca_file: Option<&Path>, within: Duration) -> Result<Self, Failure> {
        let url = address(url)?;
        let mut config = ureq::Agent::config_builder()
            .timeout_global(Some(within))
            .http_status_as_error(false)
            .max_redirects(0)
            // The agent is on this host or named by the user; a proxy of the environment knows neither.
            .proxy(None);
        if url.starts_with("https://") {
            config = config.tls_config(tls(ca_file)?);
        } else if let Some(file) = ca_file {
            return Err(Failure::usage(format!(
                "--url.ca-file {} is for https, and {url} is not; write https:// in --url, or omit it",
                file.display()
            )));
        }
        Ok(Self {
            http: config.build().new_agent(),
            url,
        })
    }

    /// `GET /api/v1/shutdowns` with these parameters.
    pub fn list(&self, parameters: &[(&str, String)]) -> Result<Listing, Failure> {
        self.ask("/api/v1/shutdowns", parameters)
    }

    /// `GET /api/v1/shutdowns/{id}`; the beginning of an id does. `None` where there is none.
    pub fn show(&self, id: &str) -> Result<Option<Report>, Failure> {
        let safe = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
        if id.is_empty() || !id.bytes().all(safe) {
            return Ok(None);
        }
        match self.get(&format!("/api/v1/shutdowns/{id}"), &[])? {
            Answer::Given(body) => self.parse(&body).map(Some),
            Answer::Nothing(_) => Ok(None),
        }
    }

    /// What the agent answers at this path with these parameters.
    pub fn ask<T: DeserializeOwned>(&self, path: &str, parameters: &[(&str, String)]) -> Result<T, Failure> {
        match self.get(path, parameters)? {
            Answer::Given(body) => self.parse(&body),
            Answer::Nothing(why) => Err(Failure::usage(why)),
        }
    }

    fn get(&self, path: &str, parameters: &[(&str, String)]) -> Result<Answer, Failure> {
        let url = &self.url;
        let mut request = self.http.get(format!("{url}{path}"));
        for (name, value) in parameters {
            request = request.query(*name, value);
        }
        let mut response = request.call().map_err(|why| {
            Failure::unavailable(format!(
                "no agent answers at {url}: {why}; start it with `sudo drainwatch run`, or give its address to --url"
            ))
        })?;
        let status = response.status().as_u16();
        let body = response
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES)
            .read_to_string();
        let body = body.map_err(|why| {
            Failure::unavailable(format!("the response from {url} broke off: {why}; try again"))
        })?;
        match (status, serde_json::from_str::<Refusal>(&body)) {
            (200, _) => Ok(Answer::Given(body)),
            (404, Ok(Refusal { error })) => Ok(Answer::Nothing(error)),
            (400, Ok(Refusal { error })) => Err(Failure::usage(error)),
            (_, Ok(Refusal { error })) => Err(Failure::unavailable(format!(
                "the agent at {url} cannot answer: {error}"
            ))),
            (_, Err(_)) => Err(Failure::data(format!(
                "{url} answered with status {status} and is not a drainwatch agent; give the agent's address to --url"
            ))),
        }
    }

    fn parse<T: DeserializeOwned>(&self, body: &str) -> Result<T, Failure> {
        serde_json::from_str(body).map_err(|why| {
            Failure::data(format!(
                "the response from {} is not what was asked for ({why}); is it a drainwatch agent, and as new as this \
                 command?",
                self.url
            ))
        })
    }
}

enum Answer {
    /// The body of the answer.
    Given(String),
    /// There is no such thing, the agent says.
    Nothing(String),
}

/// The agent's address as a URL without a slash at its end: `host:port` is one of http.
fn address(text: &str) -> Result<String, Failure> {
    let trimmed = text.trim_end_matches('/');
    let url = if text.contains("://") {
        trimmed.to_owned()
    } else {
        format!("http://{trimmed}")
    };
    let is_address = url.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.query().is_none()
    });
    if is_address {
        return Ok(url);
    }
    Err(Failure::usage(format!(
        "--url `{text}` is not an agent's address; write for example {URL}, node1:9669 or https://drainwatch.example"
    )))
}

/// Whose certificates are believed: those of the file, else those that this host believes.
fn tls(ca_file: Option<&Path>) -> Result<TlsConfig, Failure> {
    let roots = match ca_file {
        Some(file) => certificates(file)?,
        None => rustls_native_certs::load_native_certs()
            .certs
            .iter()
            .map(|certificate| Certificate::from_der(certificate).to_owned())
            .collect(),
    };
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(&roots))
        .build())
}

fn certificates(file: &Path) -> Result<Vec<Certificate<'static>>, Failure> {
    let refused = |exit, why: &dyn std::fmt::Display| {
        let file = file.display();
        Failure::new(
            exit,
            format!("--url.ca-file {file} cannot be used: {why}; give it a file of certificates in PEM"),
        )
    };
    let pem = fs::read(file).map_err(|why| refused(Exit::Usage, &why))?;
    let items: Result<Vec<_>, _> = parse_pem(&pem).collect();
    let certificates: Vec<_> = items
        .map_err(|why| refused(Exit::Data, &why))?
        .into_iter()
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(refused(Exit::Data, &"no certificate is in it"));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_an_address_when_read_then_a_host_with_a_port_is_enough() {
        for (text, url) in [
            ("http://127.0.0.1:9669/", "http://127.0.0.1:9669"),
            ("node1:9669", "http://node1:9669"),
            ("[::1]:9669", "http://[::1]:9669"),
            (
                "https://ingress.example/drainwatch/",
                "https://ingress.example/drainwatch",
            ),
        ] {
            assert_eq!(address(text).as_deref(), Ok(url));
        }
        for bad in ["", "/", "ftp://x", "http://", "http://a b", "http://x/?y=1"] {
            assert!(address(bad).unwrap_err().message.contains(URL), "{bad}");
        }
    }
}
