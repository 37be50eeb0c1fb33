//! Which shutdowns a listing asks for, and what it found of them.

mod search;

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

use drainwatch_core::report::{Cause, FindingCode, Report, Verdict};
use serde::Deserialize;

use crate::outlets::text::duration;

/// Most bytes of one listing; the rest is left to a narrower question.
const LISTING_BYTES: usize = 8 << 20;

/// What a listing asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Ended at this time (ms since the epoch) or later, or still under way.
    pub since_ms: Option<i64>,
    /// Ended at this time (ms since the epoch) or earlier.
    pub until_ms: Option<i64>,
    /// Name, `namespace/name`, cgroup path, or the last part of the name.
    pub workload: Option<String>,
    /// Kubernetes namespace.
    pub namespace: Option<String>,
    /// Kind of workload.
    pub kind: Option<String>,
    /// Words in small letters, each of which is somewhere in the report.
    pub search: Vec<String>,
    /// Verdict.
    pub verdict: Option<Verdict>,
    /// Class of a severed request.
    pub class: Option<String>,
    /// A finding.
    pub finding: Option<FindingCode>,
    /// Cause of a severed request.
    pub cause: Option<Cause>,
    /// Most reports.
    pub limit: usize,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            since_ms: None,
            until_ms: None,
            workload: None,
            namespace: None,
            kind: None,
            search: Vec::new(),
            verdict: None,
            class: None,
            finding: None,
            cause: None,
            limit: 100,
        }
    }
}

impl Filter {
    /// The report with this head is asked for, as far as anything but its time and its words goes.
    pub fn takes(&self, head: &Head) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        self.verdict.is_none_or(|verdict| verdict == head.verdict)
            && is(&self.namespace, head.workload.namespace.as_deref())
            && is(&self.kind, Some(&head.workload.kind))
            && self
                .workload
                .as_ref()
                .is_none_or(|wanted| head.workload.is(wanted))
            && self
                .finding
                .is_none_or(|code| head.findings.iter().any(|found| found == code.as_str()))
            && self
                .cause
                .is_none_or(|cause| head.causes.iter().any(|found| found == cause.as_str()))
            && self
                .class
                .as_ref()
                .is_none_or(|class| head.classes.contains(class))
    }

    /// The words that it asks for are in this report.
    pub fn finds(&self, json: &str) -> bool {
        search::finds(&self.search, json)
    }

    /// The times of end that it asks for, in ms since the epoch, both included.
    pub fn ended_ms(&self) -> RangeInclusive<i64> {
        self.since_ms.unwrap_or(i64::MIN)..=self.until_ms.unwrap_or(i64::MAX)
    }

    /// Those under way are among what it asks for: they have not ended by any time.
    pub fn takes_under_way(&self) -> bool {
        self.until_ms.is_none()
    }
}

/// The fields of a report that a [`Filter`] looks at. Words are texts here: a report of a newer agent can be listed.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "Fields")]
pub struct Head {
    verdict: Verdict,
    workload: HeadWorkload,
    findings: Vec<String>,
    causes: Vec<String>,
    classes: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct HeadWorkload {
    namespace: Option<String>,
    name: String,
    #[serde(default)]
    kind: String,
    cgroup: String,
}

#[derive(Deserialize)]
struct Fields {
    verdict: Verdict,
    workload: HeadWorkload,
    #[serde(default)]
    findings: Vec<Coded>,
    #[serde(default)]
    severed: BTreeMap<String, u64>,
    #[serde(default)]
    severed_classes: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Coded {
    code: String,
}

impl From<Fields> for Head {
    fn from(fields: Fields) -> Self {
        Self {
            verdict: fields.verdict,
            workload: fields.workload,
            findings: fields.findings.into_iter().map(|finding| finding.code).collect(),
            causes: fields.severed.into_keys().collect(),
            classes: fields.severed_classes.into_keys().collect(),
        }
    }
}

impl Head {
    /// A number that is the same for the same workload, in every version of drainwatch (FNV-1a).
    pub fn workload_hash(&self) -> u64 {
        let namespace = self.workload.namespace.as_deref().unwrap_or_default().bytes();
        let text = namespace.chain([0]).chain(self.workload.name.bytes());
        text.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
    }
}

impl HeadWorkload {
    fn is(&self, wanted: &str) -> bool {
        let qualified = || {
            let (namespace, name) = wanted.split_once('/')?;
            Some(self.namespace.as_deref() == Some(namespace) && self.name == name)
        };
        self.name == wanted
            || self.cgroup == wanted
            || self.name.rsplit('/').next() == Some(wanted)
            || qualified() == Some(true)
    }
}

impl From<&Report> for Head {
    fn from(report: &Report) -> Self {
        let workload = &report.workload;
        Self {
            verdict: report.verdict,
            workload: HeadWorkload {
                namespace: workload.namespace.clone(),
                name: workload.name.clone(),
                kind: workload.kind.clone(),
                cgroup: workload.cgroup.clone(),
            },
            findings: report
                .findings
                .iter()
                .map(|finding| finding.code.as_str().to_owned())
                .collect(),
            causes: report
                .severed
                .keys()
                .map(|cause| cause.as_str().to_owned())
                .collect(),
            classes: report.severed_classes.keys().cloned().collect(),
        }
    }
}

/// Reports found, bounded in number and bytes.
#[derive(Debug)]
pub struct Matches {
    found: Vec<Arc<str>>,
    bytes: usize,
    limit: usize,
    more: bool,
}

impl Matches {
    /// None yet, at most `limit`.
    pub fn new(limit: usize) -> Self {
        Self {
            found: Vec::new(),
            bytes: 0,
            limit,
            more: false,
        }
    }

    /// Takes one in; `false` when there is no room, and the search may stop.
    pub fn push(&mut self, json: Arc<str>) -> bool {
        if self.found.len() >= self.limit || self.bytes.saturating_add(json.len()) > LISTING_BYTES {
            self.more = true;
            return false;
        }
        self.bytes += json.len();
        self.found.push(json);
        true
    }

    /// Not all could be looked at.
    pub fn cut(&mut self) {
        self.more = true;
    }

    /// There was no room for all, or not all could be looked at.
    pub fn more(&self) -> bool {
        self.more
    }

    /// The reports, as JSON.
    pub fn found(&self) -> &[Arc<str>] {
        &self.found
    }

    #[cfg(test)]
    pub(crate) fn ids(&self) -> Vec<String> {
        self.found
            .iter()
            .map(|json| serde_json::from_str::<Report>(json).unwrap().id)
            .collect()
    }
}

/// Most reports of one listing.
pub const MOST_LISTED: usize = 1000;
/// Most bytes of a search.
const SEARCH_BYTES: usize = 400;

/// The query of a listing; the error says what to send instead.
pub fn query(query: &str, now: jiff::Timestamp) -> Result<Filter, String> {
    const PARAMETERS: &str =
        "since, until, workload, namespace, kind, verdict, class, finding, cause, q or limit";
    let pairs: Vec<(String, String)> = axum::extract::Query::try_from_uri(
        &format!("/?{query}")
            .parse()
            .map_err(|_| "the query is not URL-encoded".to_string())?,
    )
    .map_err(|error| format!("the query cannot be read ({error}); send {PARAMETERS}"))?
    .0;
    let mut filter = Filter::default();
    for (name, value) in pairs {
        if value.is_empty() {
            continue;
        }
        match name.as_str() {
            "since" => filter.since_ms = Some(time("since", &value, now)?),
            "until" => filter.until_ms = Some(time("until", &value, now)?),
            "workload" => filter.workload = Some(value),
            "namespace" => filter.namespace = Some(value),
            "kind" => filter.kind = Some(value),
            "class" => filter.class = Some(value),
            "q" if value.len() > SEARCH_BYTES => {
                return Err(format!(
                    "q: a search has at most {SEARCH_BYTES} bytes; send fewer words"
                ));
            }
            "q" => filter.search = search::terms(&value),
            "verdict" => filter.verdict = Some(value.parse().map_err(|why| format!("verdict: {why}"))?),
            "finding" => filter.finding = Some(value.parse().map_err(|why| format!("finding: {why}"))?),
            "cause" => filter.cause = Some(value.parse().map_err(|why| format!("cause: {why}"))?),
            "limit" => {
                let limit = value.parse().ok().filter(|n| (1..=MOST_LISTED).contains(n));
                filter.limit = limit
                    .ok_or_else(|| format!("limit: `{value}` is not a number from 1 to {MOST_LISTED}"))?;
            }
            _ => return Err(format!("unknown parameter `{name}`; send {PARAMETERS}")),
        }
    }
    if filter.ended_ms().is_empty() {
        return Err("since is later than until, and nothing lies between; exchange the two".to_owned());
    }
    Ok(filter)
}

/// A time (RFC 3339), or how long ago (`15m`), as ms since the epoch; `what` is whose it is.
pub fn time(what: &str, text: &str, now: jiff::Timestamp) -> Result<i64, String> {
    // A `+` of a time zone that was not encoded arrives as a space.
    if let Ok(at) = text.replace(' ', "+").parse::<jiff::Timestamp>() {
        return Ok(at.as_millisecond());
    }
    let ago = duration(text).map_err(|_| {
        format!("{what}: `{text}` is neither a time such as 2026-01-01T00:00:00Z nor a duration such as 15m")
    })?;
    Ok(now
        .as_millisecond()
        .saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests;
