//! A deploy as one thing: the shutdowns of one workload's old revision, as far as one node saw them. Pure.
//!
//! The rule: shutdowns of one workload (of a pod all its containers together) that somebody asked for, of one revision,
//! each no more than [`PAUSE_MS`] after the one before. What the platform says was something else (scaled down, evicted, a
//! probe that failed, …) is no deploy, nor is what ended by itself, nor one worker of several.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::report::{
    Cause, Finding, FindingCode, Outcomes, Reason, RefusedAttempts, Report, Revision, Trigger, Verdict,
};

/// Longest pause within a rollout: pods are replaced one after the other, each as long as its successor takes to get ready.
pub const PAUSE_MS: i64 = 30 * 60_000;
/// Most shutdowns that a rollout lists.
const LISTED: usize = 100;

/// Everything about one rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Id of its first shutdown.
    pub id: String,
    /// Whose it is.
    pub workload: RolledOut,
    /// What was stopped.
    pub from: Revision,
    /// What came in its place; `null` where it is not known, and where it is the same.
    pub to: Option<Revision>,
    /// Why, where the platform says so for any of them.
    pub reason: Option<Reason>,
    /// When its first shutdown began. RFC 3339.
    pub started_at: String,
    /// When its last shutdown ended; `null` while one goes on.
    pub ended_at: Option<String>,
    /// Where its shutdowns were seen.
    pub nodes: Vec<String>,
    /// How many shutdowns it has so far.
    pub shutdowns: u64,
    /// How many of them go on.
    pub under_way: u64,
    /// Of how many pods; of anything but pods 0.
    pub pods: u64,
    /// The worst of its shutdowns' verdicts.
    pub verdict: Verdict,
    /// Requests by outcome.
    pub requests: Outcomes,
    /// Severed requests by cause; only causes that occurred.
    pub severed: BTreeMap<Cause, u64>,
    /// Severed requests by class; only classes that occurred.
    pub severed_classes: BTreeMap<String, u64>,
    /// Webhooks that were cut in their response: their senders may take them for delivered.
    pub maybe_taken_for_delivered: u64,
    /// Connection attempts that met a closed port; clients of each shutdown are counted anew.
    pub refused: RefusedAttempts,
    /// The longest drain.
    pub drain_ms: Option<f64>,
    /// The longest that new requests still came.
    pub endpoint_lag_ms: Option<f64>,
    /// The longest that one took until it was gone.
    pub shutdown_ms: Option<f64>,
    /// What was wrong, the worst first, each with the numbers and the advice of the shutdown that had it last.
    pub findings: Vec<Found>,
    /// Ids of its shutdowns, the first ones.
    pub ids: Vec<String>,
}

/// Whose rollout it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RolledOut {
    /// Kubernetes namespace.
    pub namespace: Option<String>,
    /// Name of the workload.
    pub name: String,
    /// Its kind: `kubernetes`, `docker` and so on.
    pub kind: String,
}

/// A finding of several shutdowns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// In how many of them.
    pub shutdowns: u64,
    /// As it was found last.
    #[serde(flatten)]
    pub finding: Finding,
}

/// Whether a shutdown is part of a deploy, as far as is known.
pub fn is_part(report: &Report) -> bool {
    let asked = matches!(report.trigger, Trigger::Stop | Trigger::Kill);
    asked && matches!(report.reason, None | Some(Reason::Rollout | Reason::Restart))
}

/// What makes a revision one: its id, or without one its image.
pub fn name(revision: &Revision) -> &str {
    let name = revision.id.as_deref().or(revision.image.as_deref());
    name.unwrap_or_default()
}

/// The rollouts that these shutdowns make up, the newest first. `running` says what runs now of a workload.
pub fn rollouts(reports: &[Report], running: impl Fn(&RolledOut) -> Option<Revision>) -> Vec<Rollout> {
    let mut groups: BTreeMap<(RolledOut, String), Vec<Part<'_>>> = BTreeMap::new();
    for report in reports.iter().filter(|report| is_part(report)) {
        let Some(began_ms) = milliseconds(&report.started_at) else {
            continue;
        };
        let key = (of(report), name(&report.revision).to_owned());
        groups.entry(key).or_default().push(Part { began_ms, report });
    }
    let mut found: Vec<(i64, Rollout)> = Vec::new();
    for ((workload, _), mut parts) in groups {
        parts.sort_by(|a, b| (a.began_ms, &a.report.id).cmp(&(b.began_ms, &b.report.id)));
        let mut rest = parts.as_slice();
        while let Some(first) = rest.first() {
            let last = rest
                .windows(2)
                .position(|pair| pair[1].began_ms - pair[0].over_ms() > PAUSE_MS)
                .map_or(rest.len(), |last| last + 1);
            let (these, others) = rest.split_at(last);
            found.push((first.began_ms, rollout(&workload, these)));
            rest = others;
        }
    }
    found.sort_by(|a, b| (b.0, &b.1.id).cmp(&(a.0, &a.1.id)));
    let mut found: Vec<Rollout> = found.into_iter().map(|(_, rollout)| rollout).collect();
    followed(&mut found, running);
    found
}

/// Each was followed by what the next one of its workload stopped, the last by what runs.
fn followed(newest_first: &mut [Rollout], running: impl Fn(&RolledOut) -> Option<Revision>) {
    let mut next: BTreeMap<RolledOut, Revision> = BTreeMap::new();
    for rollout in newest_first {
        let after = match next.insert(rollout.workload.clone(), rollout.from.clone()) {
            Some(revision) => Some(revision),
            None => running(&rollout.workload),
        };
        rollout.to = after.filter(|revision| name(revision) != name(&rollout.from));
    }
}

struct Part<'a> {
    began_ms: i64,
    report: &'a Report,
}

impl Part<'_> {
    /// When it was over, or had begun where that is not known.
    fn over_ms(&self) -> i64 {
        let ended = self.report.ended_at.as_deref().and_then(milliseconds);
        ended.unwrap_or(self.began_ms).max(self.began_ms)
    }
}

fn of(report: &Report) -> RolledOut {
    let workload = &report.workload;
    RolledOut {
        namespace: workload.namespace.clone(),
        name: workload.name.clone(),
        kind: workload.kind.clone(),
    }
}

fn rollout(workload: &RolledOut, parts: &[Part<'_>]) -> Rollout {
    let reports: Vec<&Report> = parts.iter().map(|part| part.report).collect();
    let first = reports.first();
    let set = |of: &dyn Fn(&Report) -> Option<String>| -> BTreeSet<String> {
        reports.iter().filter_map(|report| of(report)).collect()
    };
    let longest = |of: &dyn Fn(&Report) -> Option<f64>| {
        let all = reports.iter().filter_map(|report| of(report));
        all.filter(|ms| ms.is_finite()).reduce(f64::max)
    };
    let under_way = reports.iter().filter(|report| report.is_under_way()).count() as u64;
    // Those of RFC 3339 in one form sort as the times do.
    let ended_at = set(&|report| report.ended_at.clone()).pop_last();
    let mut sum = Rollout {
        id: first.map(|report| report.id.clone()).unwrap_or_default(),
        workload: workload.clone(),
        from: first.map(|report| report.revision.clone()).unwrap_or_default(),
        to: None,
        reason: reports.iter().rev().find_map(|report| report.reason),
        started_at: first.map(|report| report.started_at.clone()).unwrap_or_default(),
        ended_at: ended_at.filter(|_| under_way == 0),
        nodes: set(&|report| Some(report.node.clone())).into_iter().collect(),
        shutdowns: reports.len() as u64,
        under_way,
        pods: set(&|report| report.workload.pod.clone()).len() as u64,
        verdict: worst(&reports),
        requests: Outcomes::default(),
        severed: BTreeMap::new(),
        severed_classes: BTreeMap::new(),
        maybe_taken_for_delivered: 0,
        refused: RefusedAttempts::default(),
        drain_ms: longest(&|report| report.drain_ms),
        endpoint_lag_ms: longest(&|report| report.endpoint_lag_ms),
        shutdown_ms: longest(&|report| report.gone_ms()),
        findings: findings(&reports),
        ids: reports
            .iter()
            .take(LISTED)
            .map(|report| report.id.clone())
            .collect(),
    };
    for report in reports {
        sum.requests.add(&report.requests);
        add(&mut sum.severed, &report.severed);
        add(&mut sum.severed_classes, &report.severed_classes);
        let taken = report
            .severed_requests
            .iter()
            .filter(|request| request.maybe_taken_for_delivered);
        sum.maybe_taken_for_delivered += taken.count() as u64;
        sum.refused.attempts += report.refused.attempts;
        sum.refused.clients += report.refused.clients;
    }
    sum
}

fn add<K: Ord + Clone>(sum: &mut BTreeMap<K, u64>, more: &BTreeMap<K, u64>) {
    for (key, count) in more {
        *sum.entry(key.clone()).or_default() += count;
    }
}

fn worst(reports: &[&Report]) -> Verdict {
    let has = |verdict| reports.iter().any(|report| report.verdict == verdict);
    let bad = [Verdict::Severed, Verdict::Refused, Verdict::Unknown];
    bad.into_iter()
        .find(|verdict| has(*verdict))
        .unwrap_or(Verdict::Clean)
}

fn findings(reports: &[&Report]) -> Vec<Found> {
    let mut found: BTreeMap<FindingCode, Found> = BTreeMap::new();
    for finding in reports.iter().flat_map(|report| &report.findings) {
        let known = found.entry(finding.code).or_insert_with(|| Found {
            shutdowns: 0,
            finding: finding.clone(),
        });
        known.shutdowns += 1;
        known.finding.clone_from(finding);
    }
    let mut found: Vec<_> = found.into_values().collect();
    found.sort_by_key(|found| found.finding.code.rank());
    found
}

/// Milliseconds since the epoch of a time as reports have it (`2026-01-01T00:00:00.000Z`); nothing of any other text.
fn milliseconds(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok().filter(|n| *n >= 0);
    let marks = [
        (4, "-"),
        (7, "-"),
        (10, "T"),
        (13, ":"),
        (16, ":"),
        (19, "."),
        (23, "Z"),
    ];
    let has = |&(at, mark): &(usize, &str)| text.get(at..at + 1) == Some(mark);
    if text.len() != 24 || !marks.iter().all(has) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    if !(1..=12).contains(&month) {
        return None;
    }
    // Days since the epoch of a date of the Gregorian calendar, whose years here begin in March.
    let (years, months) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = years * 365 + years.div_euclid(4) - years.div_euclid(100)
        + years.div_euclid(400)
        + (months * 153 + 2) / 5
        + day
        - 719_469;
    let seconds = number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
    Some((days * 86_400 + seconds) * 1000 + number(20..23)?)
}

#[cfg(test)]
mod tests;
