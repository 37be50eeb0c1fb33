//! A shutdown in few words: the line of `watch` and of logs, and its parts.

use std::fmt::Write as _;

use drainwatch_core::{
    report::{MomentKind, Report, Verdict, Workload},
    workload::text::clean,
};

use crate::outlets::text::{Colour, Ink, span};

/// One shutdown in one line.
pub fn line(report: &Report, colour: Colour) -> String {
    let verdict = colour.paint(verdict_ink(report.verdict), report.verdict.as_str());
    let mut line = format!(
        "{}  {}  {}  {verdict}  {}, {} drained{}  {}",
        when(&report.started_at),
        workload(&report.workload),
        report.trigger,
        severed_counts(report),
        report.requests.drained,
        turned_away(report).map_or_else(String::new, |counts| format!(", {counts}")),
        duration(report),
    );
    if !report.findings.is_empty() {
        line.push_str("  ");
        line.push_str(&findings(report));
    }
    line
}

/// A workload's name with what it needs to be told apart.
pub fn workload(workload: &Workload) -> String {
    let mut name = match &workload.namespace {
        Some(namespace) => format!("{}/{}", clean(namespace), clean(&workload.name)),
        None => clean(&workload.name),
    };
    if let Some(container) = workload.container.as_ref().filter(|name| **name != workload.name) {
        let _ = write!(name, " [{}]", clean(container));
    }
    name
}

/// How many were severed, by cause.
pub fn severed_counts(report: &Report) -> String {
    let causes: Vec<_> = report
        .severed
        .iter()
        .map(|(cause, count)| format!("{count} {cause}"))
        .collect();
    if causes.is_empty() {
        format!("{} severed", report.requests.severed)
    } else {
        format!("{} severed ({})", report.requests.severed, causes.join(", "))
    }
}

/// Who was turned away: requests answered with 5xx after the stop signal, refused connections.
pub fn turned_away(report: &Report) -> Option<String> {
    let failed = match report.requests.failed {
        0 => None,
        failed => Some(format!("{failed} failed")),
    };
    let refused = match (report.refused.attempts, report.refused.clients) {
        (0, _) => None,
        (attempts, 1) => Some(format!("{attempts} refused (1 client)")),
        (attempts, clients) => Some(format!("{attempts} refused ({clients} clients)")),
    };
    let counts: Vec<_> = failed.into_iter().chain(refused).collect();
    (!counts.is_empty()).then(|| counts.join(", "))
}

/// From the first stop signal until it was gone, as far as it is known.
pub fn duration(report: &Report) -> String {
    if let Some(gone_ms) = report.gone_ms() {
        return span(gone_ms);
    }
    if report.first(MomentKind::AgentStopped).is_some() {
        return "end not seen".into();
    }
    let time = |text: &str| text.parse::<jiff::Timestamp>().ok();
    match (time(&report.started_at), report.ended_at.as_deref().map(time)) {
        (_, None) => "under way".into(),
        (Some(started), Some(Some(ended))) => span(ended.duration_since(started).as_secs_f64() * 1000.0),
        _ => "?".into(),
    }
}

/// Codes of the findings.
pub fn findings(report: &Report) -> String {
    let codes: Vec<_> = report
        .findings
        .iter()
        .map(|finding| finding.code.as_str())
        .collect();
    codes.join(", ")
}

/// The ink of a verdict.
pub fn verdict_ink(verdict: Verdict) -> Ink {
    match verdict {
        Verdict::Clean => Ink::Good,
        Verdict::Severed | Verdict::Refused => Ink::Bad,
        Verdict::Unknown => Ink::Doubt,
    }
}

/// A time to the second, as people read it.
pub fn when(at: &str) -> String {
    at.parse::<jiff::Timestamp>()
        .map_or_else(|_| clean(at), |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}
