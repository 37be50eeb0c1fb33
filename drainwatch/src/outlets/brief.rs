//! A shutdown in few words: the line of `watch` and of logs, and its parts.

use std::fmt::Write as _;

use drainwatch_core::{
    report::{MomentKind, Report, Verdict, Workload},
    workload::text::clean,
};

use crate::outlets::{
    doubts,
    text::{Colour, Ink, span},
};

/// One shutdown in one line.
pub fn line(report: &Report, colour: Colour) -> String {
    let mut verdict = colour.paint(verdict_ink(report.verdict), report.verdict.as_str());
    if report.verdict == Verdict::Unknown {
        let _ = write!(verdict, " ({})", doubts::words(report));
    }
    let mut line = format!(
        "{}  {}  {}  {verdict}  {}, {} drained{}  {}",
        when(&report.started_at),
        workload(&report.workload),
        why(report),
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

/// How it ended, and why where that is known: `stop (rollout)`.
pub fn why(report: &Report) -> String {
    match report.reason {
        Some(reason) => format!("{} ({})", report.trigger, reason.as_str().replace('_', " ")),
        None => report.trigger.to_string(),
    }
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
    let clients = match report.refused.clients {
        1 => "1 client".to_owned(),
        clients => format!("{clients} clients"),
    };
    turned_away_counts(
        report.requests.failed,
        report.refused.attempts,
        &format!(" ({clients})"),
    )
}

/// The same of several shutdowns; `of_whom` is said of the refused connections.
pub fn turned_away_counts(failed: u64, refused: u64, of_whom: &str) -> Option<String> {
    let failed = (failed > 0).then(|| format!("{failed} failed"));
    let refused = (refused > 0).then(|| format!("{refused} refused{of_whom}"));
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

/// Codes of the findings, the worst first.
pub fn findings(report: &Report) -> String {
    let codes = report.findings_by_rank();
    let codes: Vec<_> = codes.iter().map(|code| code.as_str()).collect();
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
