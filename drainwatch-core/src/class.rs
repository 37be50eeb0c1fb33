//! Classes: which traffic a request was, by rules of the user's and sound defaults.
//!
//! The first of these decides:
//! 1. `probe`, for what a known prober asked (see [`crate::reading`]), and for what the workload's own
//!    description says is a probe; so a rule for `/` does not make users of health checks;
//! 2. the first of the user's rules (`[[class]]`) of which every condition holds; one that is named `probe`
//!    makes probes;
//! 3. `stream`, for what is long-lived by design;
//! 4. `webhook`, for what a known sender of webhooks sent (see [`crate::reading::SENDERS`]), and for
//!    what was sent to a path with a segment `webhook`, `webhooks`, `hooks`, `callback` or `callbacks`;
//! 5. `request`.
//!
//! Classes are label values of metrics, so there is a bounded number of them, from the configuration
//! alone: nothing that comes from the network can make one. A probe is counted apart from all of them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    exchange::Operation,
    reading::{HeaderRules, Pattern, SENDERS},
};

/// A delivery that a sender makes once, or a few times, and that nobody waits for at a screen.
pub const WEBHOOK: &str = "webhook";
/// What nothing else is.
pub const REQUEST: &str = "request";
/// A health check or a scrape: nobody's request.
pub const PROBE: &str = "probe";
/// Long-lived by design.
pub const STREAM: &str = "stream";

/// Most rules in a configuration.
pub const MOST_RULES: usize = 16;
/// Most values of one condition of a rule.
const MOST_VALUES: usize = 64;
/// Longest name of a class.
const NAME: usize = 32;
/// Longest pattern.
const PATTERN: usize = 256;

/// Segments of paths that webhooks are sent to.
const WEBHOOK_SEGMENTS: [&str; 5] = ["webhook", "webhooks", "hooks", "callback", "callbacks"];
/// Methods that fetch, and deliver nothing: who lists webhooks, or comes back from a login
/// (`GET /oauth/callback`), waits for the answer and tries again.
const FETCHING: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// A rule of the user's: a request of which every condition holds is of this class. A condition
/// with several values holds when one of them does; one without values always holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawRule")]
pub struct Rule {
    /// Class.
    pub name: String,
    /// Paths with everything below them (`/pay` is `/pay` and `/pay/17`, not `/payments`), or patterns of
    /// the whole path: `*` is anything within a segment, `**` any segments, `?` one character.
    /// Upper and lower case are the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<String>,
    /// Hosts without port: `shop.example`, or `*.shop.example` for those below it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host: Vec<String>,
    /// Methods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub method: Vec<String>,
    /// Ports of the answering side: our own for what we are asked, the peer's for what we ask.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub port: Vec<u16>,
    /// Known senders of webhooks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sender: Vec<String>,
    /// Headers of the request: `x-hub-signature*`, or with a value `user-agent: *stripe*`. `*` is anything, `?`
    /// one character; upper and lower case are the same. Seen are those among the first 1024 bytes of HTTP/1 in
    /// clear, unless `capture` is `none`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub header: Vec<String>,
}

/// What is known of a request when it gets its class.
#[derive(Debug, Clone, Copy)]
pub struct Traffic<'a> {
    /// What was asked for.
    pub operation: &'a Operation,
    /// Port of the answering side.
    pub port: u16,
    /// Long-lived by design.
    pub stream: bool,
    /// The workload's description says that this is a probe.
    pub described: bool,
}

/// The rules in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes {
    rules: Vec<Rule>,
    names: Vec<Arc<str>>,
}

impl Default for Classes {
    fn default() -> Self {
        Self::new(vec![])
    }
}

impl Classes {
    /// The user's rules before the defaults; of more than [`MOST_RULES`] rules those beyond are ignored
    /// (a configuration with more is refused before it comes here).
    pub fn new(mut rules: Vec<Rule>) -> Self {
        rules.truncate(MOST_RULES);
        let mut names: Vec<Arc<str>> = [REQUEST, STREAM, WEBHOOK].map(Arc::from).into();
        for rule in &rules {
            if rule.name != PROBE && !names.iter().any(|name| **name == *rule.name) {
                names.push(rule.name.as_str().into());
            }
        }
        Self { rules, names }
    }

    /// The user's rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What the reader of heads needs of the rules.
    pub fn header_rules(&self) -> HeaderRules {
        HeaderRules::new(self.rules.iter().map(|rule| rule.header.as_slice()))
    }

    /// Every class that a request can have; a probe is no request.
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// The class of a request.
    pub fn of(&self, traffic: &Traffic<'_>) -> Arc<str> {
        if traffic.described || traffic.operation.prober().is_some() {
            return PROBE.into();
        }
        let numbered = || (0..=u8::MAX).zip(&self.rules);
        let name = match numbered().find(|(number, rule)| rule.holds(*number, traffic)) {
            Some((_, rule)) => &rule.name,
            None if traffic.stream => STREAM,
            None if is_webhook(traffic.operation) => WEBHOOK,
            None => REQUEST,
        };
        let known = self.names.iter().find(|known| ***known == *name);
        known.map_or_else(|| name.into(), Arc::clone)
    }
}

fn is_webhook(operation: &Operation) -> bool {
    if operation.sender().is_some() {
        return true;
    }
    let fetches = operation
        .method()
        .is_some_and(|method| FETCHING.contains(&method));
    let is_one = |segment: &str| {
        WEBHOOK_SEGMENTS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(segment))
    };
    let path = operation.http().and_then(|http| http.path.as_deref());
    !fetches && path.is_some_and(|path| path.split('/').any(is_one))
}

impl Rule {
    /// `number` is the rule's own.
    fn holds(&self, number: u8, traffic: &Traffic<'_>) -> bool {
        let any = |values: &[String], is: Option<&str>, same: fn(&str, &str) -> bool| {
            values.is_empty() || is.is_some_and(|is| values.iter().any(|value| same(value, is)))
        };
        let operation = traffic.operation;
        let held = operation.http().map_or(&[][..], |http| &http.header_rules);
        any(&self.path, operation.path(), is_path)
            && any(&self.host, operation.host(), is_host)
            && any(&self.method, operation.method(), |value, is| value == is)
            && any(&self.sender, operation.sender(), |value, is| value == is)
            && (self.port.is_empty() || self.port.contains(&traffic.port))
            && (self.header.is_empty() || held.contains(&number))
    }
}

fn is_path(pattern: &str, path: &str) -> bool {
    let (pattern, path) = (pattern.to_ascii_lowercase(), path.to_ascii_lowercase());
    if pattern.contains(['*', '?']) {
        return fast_glob::glob_match(&pattern, &path);
    }
    let stem = pattern.trim_end_matches('/');
    path.strip_prefix(stem)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_host(pattern: &str, host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    fast_glob::glob_match(pattern.to_ascii_lowercase(), name.to_ascii_lowercase())
}

/// A rule as the file writes it: one value or a list of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    name: String,
    #[serde(default)]
    path: Values<String>,
    #[serde(default)]
    host: Values<String>,
    #[serde(default)]
    method: Values<String>,
    #[serde(default)]
    port: Values<u16>,
    #[serde(default)]
    sender: Values<String>,
    #[serde(default)]
    header: Values<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected one value or a list of values")]
enum Values<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Default for Values<T> {
    fn default() -> Self {
        Self::Many(vec![])
    }
}

impl<T> Values<T> {
    fn checked(
        self,
        class: &str,
        key: &str,
        check: impl Fn(&T) -> Result<(), String>,
    ) -> Result<Vec<T>, String> {
        let values = match self {
            Self::One(value) => vec![value],
            Self::Many(values) => values,
        };
        if values.len() > MOST_VALUES {
            return Err(format!(
                "class `{class}`: {key} has more than {MOST_VALUES} values; a pattern can stand for several"
            ));
        }
        for value in &values {
            check(value).map_err(|why| format!("class `{class}`: {key} {why}"))?;
        }
        Ok(values)
    }
}

impl TryFrom<RawRule> for Rule {
    type Error = String;

    fn try_from(raw: RawRule) -> Result<Self, String> {
        let RawRule {
            name,
            path,
            host,
            method,
            port,
            sender,
            header,
        } = raw;
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        if name.len() > NAME || !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(fits)
        {
            return Err(format!(
                "`{}` is not a class name; write a letter and then letters, digits, `_` and `-`, all in lower case and at \
                 most {NAME}, for example payments",
                name.escape_debug()
            ));
        }
        let rule = Self {
            path: path.checked(&name, "path", |path| path_pattern(path))?,
            host: host.checked(&name, "host", |host| host_pattern(host))?,
            method: method.checked(&name, "method", |method| method_name(method))?,
            port: port.checked(&name, "port", |port| match port {
                0 => Err("0 is not a port; write a number from 1 to 65535".into()),
                _ => Ok(()),
            })?,
            sender: sender.checked(&name, "sender", |sender| sender_name(sender))?,
            header: header.checked(&name, "header", |header| header.parse::<Pattern>().map(drop))?,
            name,
        };
        let anything = rule.path.is_empty()
            && rule.host.is_empty()
            && rule.method.is_empty()
            && rule.port.is_empty()
            && rule.sender.is_empty()
            && rule.header.is_empty();
        if anything {
            return Err(format!(
                "class `{}` has no condition; give it a path, host, method, port, sender or header",
                rule.name
            ));
        }
        Ok(rule)
    }
}

/// Paths of reports are printable ASCII without quotes, so no other pattern could match.
fn path_pattern(path: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_graphic() && !"\"'<>\\`[]{}#".contains(c);
    let begins = path.starts_with('/') || path.starts_with('*');
    if begins && path.len() <= PATTERN && path.chars().all(fits) {
        return Ok(());
    }
    Err(format!(
        "`{}` is not a path or path pattern; write for example /pay or /api/*/hooks/** (no query, spaces as %20, at most \
         {PATTERN} characters)",
        path.escape_debug()
    ))
}

fn host_pattern(host: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._*".contains(c);
    if !host.is_empty() && host.len() <= PATTERN && host.chars().all(fits) {
        return Ok(());
    }
    Err(format!(
        "`{}` is not a host or host pattern; write for example shop.example or *.shop.example, without port",
        host.escape_debug()
    ))
}

fn method_name(method: &str) -> Result<(), String> {
    if (1..=16).contains(&method.len()) && method.chars().all(|c| c.is_ascii_uppercase() || c == '-') {
        return Ok(());
    }
    Err(format!(
        "`{}` is not a method; write it in capitals, for example POST",
        method.escape_debug()
    ))
}

fn sender_name(sender: &str) -> Result<(), String> {
    if SENDERS.contains(&sender) {
        return Ok(());
    }
    Err(format!(
        "`{}` is not a known sender; the known ones are {}",
        sender.escape_debug(),
        SENDERS.join(", ")
    ))
}

#[cfg(test)]
mod tests;
