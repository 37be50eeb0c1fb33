//! One Event for each rollout of an owner on this node: what it is of, what it says, how often it was updated. Pure.

use std::{collections::BTreeMap, fmt::Write as _};

use drainwatch_core::report::{Finding, FindingCode, Report, Verdict};

use crate::outlets::brief;

/// Longest note that the API takes.
const LONGEST_NOTE: usize = 1024;

/// Whether a report is worth an Event: something went wrong, in a pod.
pub fn is_wanted(report: &Report) -> bool {
    let wronged = matches!(report.verdict, Verdict::Severed | Verdict::Refused);
    let workload = &report.workload;
    let in_pod = workload.namespace.is_some() && workload.pod.is_some();
    in_pod && (wronged || !report.findings.is_empty())
}

/// What makes shutdowns one rollout: what controls the pods, and what was running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Uid of the owner.
    pub owner: String,
    /// Revision and image.
    pub revision: (Option<String>, Option<String>),
}

/// What the shutdowns of one rollout came to.
#[derive(Debug, Default)]
pub struct Series {
    revision: Option<String>,
    reason: Option<String>,
    node: String,
    /// Shutdowns.
    pub count: i32,
    severed: u64,
    drained: u64,
    failed: u64,
    refused: u64,
    /// Severed requests by cause.
    causes: BTreeMap<String, u64>,
    /// Findings with their number; of each as it was found last.
    findings: BTreeMap<FindingCode, (u64, Finding)>,
    last: String,
}

impl Series {
    /// One more shutdown.
    pub fn add(&mut self, report: &Report) {
        self.revision.clone_from(&report.revision.id);
        self.reason = report
            .reason
            .map(|reason| reason.as_str().replace('_', " "))
            .or(self.reason.take());
        self.node.clone_from(&report.node);
        self.count = self.count.saturating_add(1);
        self.severed += report.requests.severed;
        self.drained += report.requests.drained;
        self.failed += report.requests.failed;
        self.refused += report.refused.attempts;
        for (cause, count) in &report.severed {
            *self.causes.entry(cause.to_string()).or_default() += count;
        }
        for finding in &report.findings {
            let known = self
                .findings
                .entry(finding.code)
                .or_insert_with(|| (0, finding.clone()));
            known.0 += 1;
            known.1.clone_from(finding);
        }
        let workload = &report.workload;
        self.last = match (&workload.pod, &workload.container) {
            (Some(pod), Some(container)) => format!("{pod} [{container}]"),
            (Some(pod), None) => pod.clone(),
            _ => String::new(),
        };
        let _ = write!(self.last, ", shutdown {}", report.id);
    }

    /// Reason and type of the Event: of the worst of them.
    pub fn reason(&self) -> (&'static str, &'static str) {
        if self.severed > 0 {
            ("RequestsSevered", "Warning")
        } else if self.failed + self.refused > 0 {
            ("RequestsRefused", "Warning")
        } else {
            ("ShutdownFlawed", "Normal")
        }
    }

    /// What happened and what to do, as long as there is room.
    pub fn note(&self) -> String {
        let mut text = match self.count {
            1 => "1 shutdown".to_owned(),
            many => format!("{many} shutdowns"),
        };
        if let Some(revision) = &self.revision {
            let _ = write!(text, " of revision {revision}");
        }
        if let Some(reason) = &self.reason {
            let _ = write!(text, " ({reason})");
        }
        let _ = write!(
            text,
            " on {}: {} {} severed",
            self.node,
            self.severed,
            if self.severed == 1 { "request" } else { "requests" }
        );
        let causes: Vec<_> = self
            .causes
            .iter()
            .map(|(cause, count)| format!("{count} {cause}"))
            .collect();
        if !causes.is_empty() {
            let _ = write!(text, " ({})", causes.join(", "));
        }
        if let Some(turned_away) = brief::turned_away_counts(self.failed, self.refused, "") {
            let _ = write!(text, ", {turned_away}");
        }
        let _ = write!(text, ", {} drained; last {}.", self.drained, self.last);
        for (code, (count, finding)) in &self.findings {
            let times = if self.count == 1 {
                String::new()
            } else {
                format!(" ({count} of {})", self.count)
            };
            let _ = write!(
                text,
                " {}{times}: {} {}",
                code.as_str(),
                finding.summary,
                finding.advice
            );
        }
        bounded(&text, LONGEST_NOTE)
    }
}

/// As much of a text as the API takes.
pub fn bounded(text: &str, most: usize) -> String {
    const CUT: &str = "…";
    if text.len() <= most {
        return text.into();
    }
    format!("{}{CUT}", &text[..text.floor_char_boundary(most - CUT.len())])
}

#[cfg(test)]
mod tests {
    use drainwatch_core::{
        report::{Cause, Reason},
        testing::report,
    };

    use super::*;

    fn severed(pod: &str, count: u64) -> Report {
        let mut severed = report("r1", "/svc", Verdict::Severed);
        severed.requests.severed = count;
        severed.severed = [(Cause::Unanswered, count)].into();
        severed.workload.namespace = Some("shop".into());
        severed.workload.pod = Some(pod.into());
        severed.workload.container = Some("app".into());
        severed.reason = Some(Reason::Rollout);
        severed.revision.id = Some("5d4f".into());
        severed
    }

    fn finding(length: usize) -> Finding {
        Finding {
            code: FindingCode::NoHandler,
            summary: format!("Died{}.", "é".repeat(length)),
            advice: "Handle it.".into(),
        }
    }

    #[test]
    fn given_shutdowns_of_a_rollout_when_noted_then_they_are_added_up_and_the_worst_counts() {
        let mut series = Series::default();
        let mut flawed = severed("web-0", 0);
        flawed.severed.clear();
        flawed.findings = vec![finding(0)];
        series.add(&flawed);
        assert_eq!(series.reason(), ("ShutdownFlawed", "Normal"));
        let mut first = severed("web-1", 3);
        first.findings = vec![finding(0)];
        series.add(&first);
        series.add(&severed("web-2", 2));
        assert_eq!(series.reason(), ("RequestsSevered", "Warning"));
        assert_eq!(
            series.note(),
            "3 shutdowns of revision 5d4f (rollout) on n1: 5 requests severed (5 unanswered), 0 drained; \
             last web-2 [app], shutdown r1. no_handler (2 of 3): Died. Handle it."
        );
    }

    #[test]
    fn given_a_report_with_a_long_finding_when_noted_then_it_fits_and_says_what_counts_first() {
        let mut series = Series::default();
        let mut long = severed("web-1", 1);
        long.findings = vec![finding(1000)];
        series.add(&long);
        let note = series.note();
        assert!(
            note.starts_with("1 shutdown of revision 5d4f (rollout) on n1: 1 request severed"),
            "{note}"
        );
        assert!(
            note.len() <= LONGEST_NOTE && note.ends_with('…'),
            "{}",
            note.len()
        );
    }

    #[test]
    fn given_reports_then_only_what_went_wrong_in_a_pod_is_worth_an_event() {
        assert!(is_wanted(&severed("web-1", 1)));
        let mut clean = severed("web-1", 0);
        clean.verdict = Verdict::Clean;
        assert!(!is_wanted(&clean));
        clean.findings = vec![finding(0)];
        assert!(is_wanted(&clean));
        clean.workload.pod = None;
        assert!(!is_wanted(&clean));
    }
}
