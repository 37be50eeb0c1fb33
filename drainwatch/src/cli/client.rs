//! What `shutdowns`, `show` and `watch` ask an agent over HTTP.

use std::time::Duration;

use drainwatch_core::report::Report;
use serde::Deserialize;

use crate::cli::failure::Failure;

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
    /// For the agent at `url`, such as `http://127.0.0.1:9669`.
    pub fn new(url: &str) -> Result<Self, Failure> {
        let trimmed = url.trim_end_matches('/');
        let authority = trimmed.strip_prefix("http://").unwrap_or_default();
        if authority.is_empty() || trimmed.parse::<axum::http::Uri>().is_err() {
            return Err(Failure::usage(format!(
                "--url `{url}` is not an agent's address; write for example {URL}"
            )));
        }
        let http = ureq::Agent::config_builder()
            .timeout_global(Some(WITHIN))
            .http_status_as_error(false)
            .max_redirects(0)
            // The agent is on this host or named by the user; a proxy of the environment knows neither.
            .proxy(None)
            .build()
            .new_agent();
        Ok(Self {
            http,
            url: trimmed.into(),
        })
    }

    /// `GET /api/v1/shutdowns` with these parameters.
    pub fn list(&self, parameters: &[(&str, String)]) -> Result<Listing, Failure> {
        let body = self.get("/api/v1/shutdowns", parameters)?;
        self.parse(&body)
    }

    /// `GET /api/v1/shutdowns/{id}`; the beginning of an id does.
    pub fn show(&self, id: &str) -> Result<Report, Failure> {
        let safe = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
        if id.is_empty() || !id.bytes().all(safe) {
            return Err(Failure::usage(format!(
                "`{id}` is not an id; `drainwatch shutdowns` lists them"
            )));
        }
        let body = self.get(&format!("/api/v1/shutdowns/{id}"), &[])?;
        self.parse(&body)
    }

    fn get(&self, path: &str, parameters: &[(&str, String)]) -> Result<String, Failure> {
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
        if status == 200 {
            return Ok(body);
        }
        match serde_json::from_str::<Refusal>(&body) {
            Ok(Refusal { error }) if status == 400 || status == 404 => Err(Failure::usage(error)),
            Ok(Refusal { error }) => Err(Failure::unavailable(format!(
                "the agent at {url} cannot answer: {error}"
            ))),
            Err(_) => Err(Failure::data(format!(
                "{url} answered with status {status} and is not a drainwatch agent; give the agent's address to --url"
            ))),
        }
    }

    fn parse<'a, T: Deserialize<'a>>(&self, body: &'a str) -> Result<T, Failure> {
        serde_json::from_str(body).map_err(|why| {
            Failure::data(format!(
                "the response from {} is not a report ({why}); is it a drainwatch agent, and as new as this command?",
                self.url
            ))
        })
    }
}
