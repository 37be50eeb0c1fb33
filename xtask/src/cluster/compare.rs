//! The clients' account against the agent's reports, request by request.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::account::{Entry, Outcome};

/// What the two say of one row.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Requests that clients made.
    pub requests: usize,
    /// Requests that clients saw cut.
    pub cut: usize,
    /// Connections that clients saw refused.
    pub refused: usize,
    /// Requests that clients saw answered with 5xx.
    pub failed: usize,
    /// Reports.
    pub reports: usize,
    /// Of those: by verdict.
    pub verdicts: BTreeMap<String, usize>,
    /// Severed requests in reports.
    pub severed: u64,
    /// Refused attempts in reports.
    pub turned_away: u64,
    /// 5xx answers in reports.
    pub errors: u64,
    /// Ids that clients saw cut and no report has.
    pub missed: Vec<String>,
    /// What reports call severed and no client saw cut.
    pub invented: Vec<String>,
    /// Reports whose verdict is worse than what clients saw of that workload.
    pub alarms: Vec<String>,
    /// Findings, by code.
    pub findings: BTreeMap<String, usize>,
    /// Probes that were counted apart.
    pub probes: u64,
    /// Reasons, as reports give them.
    pub reasons: BTreeMap<String, usize>,
}

/// Compares. `disguised`: the clients' addresses are not those that pods see; then a request without a path, which
/// nobody had read on a kernel that does not let its queue be looked into, may be any that no report names.
pub fn compare(entries: &[Entry], reports: &[Value], disguised: bool) -> Comparison {
    let of = |outcome| entries.iter().filter(move |entry| entry.outcome == outcome);
    let mut result = Comparison {
        requests: entries.len(),
        cut: of(Outcome::Cut).count(),
        refused: of(Outcome::Refused).count(),
        failed: of(Outcome::Failed).count(),
        reports: reports.len(),
        ..Comparison::default()
    };
    let mut unmatched: BTreeMap<&str, &Entry> =
        of(Outcome::Cut).map(|entry| (entry.id.as_str(), entry)).collect();
    // A connection that ended before its request was written may look to the server as one with a request, for what is
    // underway is neither here nor there.
    let ambiguous: BTreeSet<String> = of(Outcome::Unsent)
        .filter_map(|entry| entry.local.map(|local| local.to_string()))
        .collect();
    let named: BTreeSet<&str> = reports
        .iter()
        .flat_map(|report| report["severed_requests"].as_array().into_iter().flatten())
        .filter_map(id)
        .collect();
    for report in reports {
        let verdict = report["verdict"].as_str().unwrap_or("none").to_owned();
        for finding in report["findings"].as_array().into_iter().flatten() {
            let code = finding["code"].as_str().unwrap_or_default().to_owned();
            *result.findings.entry(code).or_default() += 1;
        }
        let reason = report["reason"].as_str().unwrap_or("none");
        *result.reasons.entry(reason.to_owned()).or_default() += 1;
        result.probes += report["probes"].as_u64().unwrap_or_default();
        let mut refused = report["refused"]["attempts"].as_u64().unwrap_or_default();
        let errors = report["requests"]["failed"].as_u64().unwrap_or_default();
        let mut matched = 0;
        let mut ambiguous_here = 0;
        let before = result.invented.len();
        for request in report["severed_requests"].as_array().into_iter().flatten() {
            if request["cause"] == "refused" {
                refused += 1;
                continue;
            }
            result.severed += 1;
            let peer = request["peer"].as_str().unwrap_or_default();
            let found = match id(request) {
                Some(id) => unmatched.remove(id).is_some(),
                None if disguised => take(&mut unmatched, |entry| !named.contains(entry.id.as_str())),
                // It is known by its connection, on which only one was cut.
                None => take(&mut unmatched, |entry| {
                    entry.local.is_some_and(|local| local.to_string() == peer)
                }),
            };
            if found {
                matched += 1;
            } else if ambiguous.contains(peer) {
                ambiguous_here += 1;
            } else {
                result.invented.push(format!(
                    "{}: {} {} {} from {peer}",
                    name(report),
                    request["cause"].as_str().unwrap_or_default(),
                    request["role"].as_str().unwrap_or_default(),
                    request["path"].as_str().unwrap_or("?"),
                ));
            }
        }
        let omitted = report["severed_requests_omitted"].as_u64().unwrap_or_default();
        if omitted > 0 {
            result
                .invented
                .push(format!("{}: {omitted} not listed", name(report)));
        }
        result.turned_away += refused;
        result.errors += errors;
        let justified = match verdict.as_str() {
            "clean" => true,
            "severed" => matched + ambiguous_here > 0 || refused > 0,
            "refused" => refused > 0 || errors > 0,
            // A job that was killed: whether it was done is nowhere to be seen.
            "unknown" => only_job(report),
            _ => false,
        };
        if !justified || result.invented.len() > before {
            result.alarms.push(format!("{}: {verdict}", name(report)));
        }
        *result.verdicts.entry(verdict).or_default() += 1;
    }
    result.missed = unmatched.into_keys().map(str::to_owned).collect();
    // With the last endpoint gone kube-proxy refuses in the pods' place, so there may be fewer in reports, never more.
    if result.turned_away > result.refused as u64 {
        let more = result.turned_away - result.refused as u64;
        result.invented.push(format!("{more} refused connections"));
    }
    if result.errors > result.failed as u64 {
        let more = result.errors - result.failed as u64;
        result.invented.push(format!("{more} answers with 5xx"));
    }
    result
}

/// Whether all that is unknown is what became of a job.
fn only_job(report: &Value) -> bool {
    let reasons = report["unknown_reasons"].as_object();
    reasons.is_some_and(|reasons| reasons.len() == 1 && reasons.contains_key("job"))
}

/// The request's id, which its path has; `None` where nobody read it.
fn id(request: &Value) -> Option<&str> {
    request["path"].as_str()?.strip_prefix("/r/")
}

/// Takes out one that may be meant.
fn take(unmatched: &mut BTreeMap<&str, &Entry>, is_meant: impl Fn(&Entry) -> bool) -> bool {
    let found = unmatched
        .iter()
        .find(|(_, entry)| is_meant(entry))
        .map(|(&id, _)| id);
    found.is_some_and(|id| unmatched.remove(id).is_some())
}

/// What a report is of.
fn name(report: &Value) -> String {
    let workload = &report["workload"];
    let part = |key: &str| workload[key].as_str().unwrap_or("-").to_owned();
    format!("{}/{}", part("pod"), part("container"))
}

impl Comparison {
    /// Whether both say the same.
    pub fn agrees(&self) -> bool {
        self.missed.is_empty() && self.invented.is_empty() && self.alarms.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(id: &str, outcome: Outcome, port: u16) -> Entry {
        Entry {
            id: id.to_owned(),
            outcome,
            local: Some(([10, 0, 0, 1], port).into()),
        }
    }

    fn severed(requests: &Value) -> Value {
        json!({"workload": {"pod": "p", "container": "c"}, "verdict": "severed", "severed_requests": requests})
    }

    #[test]
    fn given_the_same_requests_on_both_sides_when_compared_then_they_agree() {
        let entries = [
            entry("1", Outcome::Cut, 1),
            entry("2", Outcome::Answered, 2),
            entry("3", Outcome::Cut, 3),
        ];
        let report = severed(&json!([
            {"path": "/r/1", "peer": "10.0.0.1:1", "cause": "unanswered"},
            {"path": null, "peer": "10.0.0.1:3", "cause": "unaccepted"}
        ]));
        let result = compare(&entries, &[report], false);
        assert!(result.agrees(), "{result:?}");
        assert_eq!((result.cut, result.severed), (2, 2));
    }

    #[test]
    fn given_clients_in_disguise_when_one_request_has_no_path_then_it_is_one_that_no_report_names() {
        let entries = [entry("1", Outcome::Cut, 1), entry("2", Outcome::Cut, 2)];
        let nameless = json!({"path": null, "peer": "10.0.0.9:7", "cause": "unanswered"});
        let named = json!({"path": "/r/1", "peer": "10.0.0.9:8", "cause": "unanswered"});
        let report = severed(&json!([nameless, named]));
        assert!(compare(&entries, std::slice::from_ref(&report), true).agrees());
        assert!(!compare(&entries, &[report], false).agrees());
        let report = severed(&json!([nameless, named, nameless]));
        assert_eq!(compare(&entries, &[report], true).invented.len(), 1);
    }

    #[test]
    fn given_a_request_on_one_side_only_when_compared_then_it_is_missed_or_invented() {
        let entries = [entry("1", Outcome::Cut, 1), entry("2", Outcome::Answered, 2)];
        let report = severed(&json!([{"path": "/r/2", "peer": "10.0.0.1:2", "cause": "late"}]));
        let result = compare(&entries, &[report], false);
        assert_eq!(result.missed, ["1"]);
        assert_eq!(result.invented.len(), 1);
        assert_eq!(result.alarms.len(), 1);
    }

    #[test]
    fn given_an_unknown_verdict_when_compared_then_it_is_an_alarm() {
        let result = compare(&[], &[json!({"verdict": "unknown"})], false);
        assert!(!result.agrees());
    }

    #[test]
    fn given_more_refused_in_reports_than_clients_saw_when_compared_then_the_rest_is_invented() {
        let entries = [entry("1", Outcome::Refused, 1)];
        let report = json!({"verdict": "refused", "refused": {"attempts": 2}});
        assert_eq!(compare(&entries, &[report], false).invented.len(), 1);
    }
}
