//! What shutdowns came to, counted over all that are kept: the numbers of the page.

use std::collections::BTreeMap;

use drainwatch_core::report::{Outcomes, Verdict};
use serde::{Deserialize, Serialize};

use crate::outlets::{
    listing::{self, Filter},
    questions::{Handle, Unanswered},
};

const HOUR_MS: i64 = 3_600_000;
/// Most hours that are told one by one: a week.
const HOURS: i64 = 168;

/// The numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// What was asked for: ended since then, or under way.
    since: Option<String>,
    /// What was asked for: ended by then.
    until: Option<String>,
    /// How many shutdowns there are, those under way among them.
    shutdowns: u64,
    /// Of them under way.
    under_way: u64,
    /// Shutdowns by verdict.
    verdicts: BTreeMap<&'static str, u64>,
    /// Their requests, by outcome.
    requests: Outcomes,
    /// Connection attempts that met a closed port.
    refused: u64,
    /// Severed requests by cause.
    severed: BTreeMap<String, u64>,
    /// Severed requests by class.
    severed_classes: BTreeMap<String, u64>,
    /// Of the severed requests that reports list: webhooks whose senders may consider them delivered.
    maybe_taken_for_delivered: u64,
    /// Shutdowns by finding.
    findings: BTreeMap<String, u64>,
    /// Shutdowns by namespace, where they have one.
    namespaces: BTreeMap<String, u64>,
    /// Shutdowns by kind of workload.
    kinds: BTreeMap<String, u64>,
    /// Shutdowns by verdict of each hour of the time that was asked for, if it has a beginning and is no longer than a week.
    hours: Vec<Hour>,
    /// Not all could be read.
    partial: bool,
    #[serde(skip)]
    since_ms: Option<i64>,
    #[serde(skip)]
    until_ms: i64,
}

/// Shutdowns that ended in one hour; those under way are in the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Hour {
    from: String,
    #[serde(flatten)]
    verdicts: BTreeMap<&'static str, u64>,
}

/// What is counted of a report. Words are texts here: one of a newer agent counts too.
#[derive(Deserialize)]
struct Counted {
    verdict: Verdict,
    ended_at: Option<String>,
    workload: Whose,
    #[serde(default)]
    requests: Outcomes,
    #[serde(default)]
    refused: Refused,
    #[serde(default)]
    severed: BTreeMap<String, u64>,
    #[serde(default)]
    severed_classes: BTreeMap<String, u64>,
    #[serde(default)]
    severed_requests: Vec<Listed>,
    #[serde(default)]
    findings: Vec<Coded>,
    #[serde(default)]
    timeline: Vec<Moment>,
}

#[derive(Deserialize)]
struct Whose {
    namespace: Option<String>,
    #[serde(default)]
    kind: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refused {
    attempts: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Listed {
    maybe_taken_for_delivered: bool,
}

#[derive(Deserialize)]
struct Coded {
    code: String,
}

#[derive(Deserialize)]
struct Moment {
    what: String,
}

fn none_of_each() -> BTreeMap<&'static str, u64> {
    Verdict::ALL.iter().map(|verdict| (verdict.as_str(), 0)).collect()
}

fn spelled(ms: i64) -> Option<String> {
    jiff::Timestamp::from_millisecond(ms)
        .ok()
        .map(|at| at.to_string())
}

impl Summary {
    /// Of nothing yet.
    fn new(filter: &Filter, now_ms: i64) -> Self {
        let until_ms = filter.until_ms.unwrap_or(now_ms);
        let hours = filter.since_ms.map_or(0, |since_ms| {
            let ms = until_ms.saturating_sub(since_ms).max(0);
            ms / HOUR_MS + i64::from(ms % HOUR_MS > 0)
        });
        let hours = if hours <= HOURS { hours } else { 0 };
        let hour = |n: i64| {
            Some(Hour {
                from: spelled(filter.since_ms?.saturating_add(n * HOUR_MS))?,
                verdicts: none_of_each(),
            })
        };
        Self {
            since: filter.since_ms.and_then(spelled),
            until: filter.until_ms.and_then(spelled),
            shutdowns: 0,
            under_way: 0,
            verdicts: none_of_each(),
            requests: Outcomes::default(),
            refused: 0,
            severed: BTreeMap::new(),
            severed_classes: BTreeMap::new(),
            maybe_taken_for_delivered: 0,
            findings: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            kinds: BTreeMap::new(),
            hours: (0..hours).filter_map(hour).collect(),
            partial: false,
            since_ms: filter.since_ms,
            until_ms,
        }
    }

    /// Counts a report; what is none counts for nothing.
    fn add(&mut self, json: &str) {
        let Ok(report) = serde_json::from_str::<Counted>(json) else {
            return;
        };
        let verdict = report.verdict.as_str();
        let seen = |what: &str| report.timeline.iter().any(|moment| moment.what == what);
        self.shutdowns += 1;
        self.under_way += u64::from(report.ended_at.is_none() && !seen("agent_stopped"));
        *self.verdicts.entry(verdict).or_default() += 1;
        self.requests.add(&report.requests);
        self.refused += report.refused.attempts;
        let listed = report.severed_requests.iter();
        let taken = listed.filter(|listed| listed.maybe_taken_for_delivered).count();
        self.maybe_taken_for_delivered += u64::try_from(taken).unwrap_or(u64::MAX);
        for (all, of_it) in [
            (&mut self.severed, report.severed),
            (&mut self.severed_classes, report.severed_classes),
        ] {
            for (word, count) in of_it {
                *all.entry(word).or_default() += count;
            }
        }
        for finding in report.findings {
            *self.findings.entry(finding.code).or_default() += 1;
        }
        if let Some(namespace) = report.workload.namespace {
            *self.namespaces.entry(namespace).or_default() += 1;
        }
        *self.kinds.entry(report.workload.kind).or_default() += 1;
        let ended = report.ended_at.and_then(|at| at.parse::<jiff::Timestamp>().ok());
        let ended_ms = ended.map_or(self.until_ms, jiff::Timestamp::as_millisecond);
        if let (Some(since_ms), Some(last)) = (self.since_ms, self.hours.len().checked_sub(1)) {
            let hour = ended_ms.saturating_sub(since_ms) / HOUR_MS;
            let hour = usize::try_from(hour).unwrap_or(0).min(last);
            *self.hours[hour].verdicts.entry(verdict).or_default() += 1;
        }
    }
}

/// The query of a summary; the error says what to send instead.
pub fn query(query: &str, now: jiff::Timestamp) -> Result<Filter, String> {
    if query.split('&').any(|pair| pair.starts_with("limit=")) {
        return Err("a summary counts all that there are: leave limit out".into());
    }
    listing::query(query, now)
}

/// Counts what the filter asks for.
pub async fn count(handle: &Handle, filter: Filter, now: jiff::Timestamp) -> Result<Summary, Unanswered> {
    let summary = Summary::new(&filter, now.as_millisecond());
    let add = |summary: &mut Summary, json: &str| {
        summary.add(json);
        true
    };
    let (mut summary, whole) = handle.survey(filter, summary, add).await?;
    summary.partial = !whole;
    Ok(summary)
}

#[cfg(test)]
mod tests;
