//! Shutdowns as a table. The ladder of what goes first: kind, all of the id but its unique beginning, all findings but the
//! worst, year and seconds, drained requests, why it was stopped, a column of its own for severed requests, findings.

use drainwatch_core::{
    report::{Report, Verdict},
    workload::text::clean,
};

use super::columns::{Column, Cut, Room, SHORT_FINDING, SHORT_NAME, draw};
use crate::outlets::{
    brief::{duration, when, why, workload},
    doubts,
};

/// Shortest beginning of an id that is shown.
const SHORT_ID: usize = 4;

/// What goes where it is narrow, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Kind,
    WholeIds,
    EveryFinding,
    WholeTimes,
    Drained,
    Reason,
    Trigger,
    Severed,
    Findings,
}

impl Part {
    const ALL: [Self; 9] = [
        Self::Kind,
        Self::WholeIds,
        Self::EveryFinding,
        Self::WholeTimes,
        Self::Drained,
        Self::Reason,
        Self::Trigger,
        Self::Severed,
        Self::Findings,
    ];
}

/// Shutdowns as a table, one row each: under way first, then by the time that is shown. Without a width nothing gives way.
pub fn table(reports: &[Report], width: Option<usize>) -> String {
    let reports = sorted(reports);
    draw(Room::ladder(Part::ALL).map(|room| columns(&reports, room)), width)
}

/// Everything that fits into a row, however wide it becomes.
pub fn wide(reports: &[Report]) -> String {
    let reports = sorted(reports);
    let mut table = columns(&reports, Room::FULL);
    let text = |of: fn(&Report) -> Option<&str>| {
        let text = reports
            .iter()
            .map(|report| of(report).map_or_else(|| "–".into(), clean));
        text.collect()
    };
    let more = [
        Column::new("node", text(|report| Some(&report.node))),
        Column::new("pod", text(|report| report.workload.pod.as_deref())),
        Column::new("revision", text(|report| report.revision.id.as_deref())),
        Column::numbers("failed", reports.iter().map(|report| report.requests.failed)),
        Column::numbers("refused", reports.iter().map(|report| report.refused.attempts)),
        Column::numbers("unknown", reports.iter().map(|report| report.requests.unknown)),
        Column::numbers("opaque", reports.iter().map(|report| report.requests.opaque)),
        Column::numbers("probes", reports.iter().map(|report| report.probes)),
    ];
    let findings = table.pop();
    table.extend(more);
    table.extend(findings);
    draw([table], None)
}

fn sorted(reports: &[Report]) -> Vec<&Report> {
    let mut sorted: Vec<_> = reports.iter().collect();
    sorted.sort_by(|a, b| {
        let key = |report: &Report| {
            (
                report.is_under_way(),
                report.started_at.clone(),
                report.id.clone(),
            )
        };
        key(b).cmp(&key(a))
    });
    sorted
}

fn columns(reports: &[&Report], room: Room<Part>) -> Vec<Column> {
    let of = |cell: &dyn Fn(&Report) -> String| reports.iter().map(|report| cell(report)).collect();
    let ids = ids(reports, room.has(Part::WholeIds));
    let numbers =
        |head, number: fn(&Report) -> u64| Column::numbers(head, reports.iter().map(|report| number(report)));
    let verdict = |report: &Report| match report.verdict {
        Verdict::Severed if !room.has(Part::Severed) => format!("{} severed", report.requests.severed),
        verdict => verdict.to_string(),
    };
    let why = |report: &Report| {
        if room.has(Part::Reason) {
            why(report)
        } else {
            report.trigger.to_string()
        }
    };
    let mut table = vec![
        Column::new("time", of(&|report| time(report, room.has(Part::WholeTimes)))),
        Column::new("id", ids),
        Column::new("workload", of(&|report| workload(&report.workload))).or_cut(SHORT_NAME, Cut::Middle),
    ];
    if room.has(Part::Kind) {
        table.push(Column::new("kind", of(&|report| clean(&report.workload.kind))));
    }
    if room.has(Part::Trigger) {
        table.push(Column::new("why", of(&why)));
    }
    table.push(Column::new("verdict", of(&verdict)));
    if room.has(Part::Severed) {
        table.push(numbers("severed", |report| report.requests.severed));
    }
    if room.has(Part::Drained) {
        table.push(numbers("drained", |report| report.requests.drained));
    }
    table.push(Column::new("took", of(&duration)));
    if room.has(Part::Findings) {
        let findings = of(&|report| findings(report, room.has(Part::EveryFinding)));
        let column = Column::new("findings", findings);
        table.push(if room.has(Part::Severed) {
            column
        } else {
            column.or_cut(SHORT_FINDING, Cut::End)
        });
    }
    table
}

/// When it began: to the second, or without year and seconds.
fn time(report: &Report, whole: bool) -> String {
    let text = when(&report.started_at);
    if whole || text.len() != "2026-01-01 00:00:00Z".len() {
        return text;
    }
    text.get(5..16).map_or(text.clone(), Into::into)
}

/// Ids, or as much of each as tells it from the others.
fn ids(reports: &[&Report], whole: bool) -> Vec<String> {
    let ids: Vec<_> = reports.iter().map(|report| clean(&report.id)).collect();
    let mut sorted: Vec<_> = ids.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let common = |a: &str, b: &str| a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let unique = sorted
        .windows(2)
        .map(|pair| common(pair[0], pair[1]) + 1)
        .max()
        .unwrap_or(0)
        .max(SHORT_ID);
    if whole {
        return ids;
    }
    ids.iter().map(|id| id.chars().take(unique).collect()).collect()
}

/// Codes of the findings, all or the worst and how many more; why it is unknown, where it is.
fn findings(report: &Report, every: bool) -> String {
    let codes = report.findings_by_rank();
    let found = match codes.as_slice() {
        [worst, rest @ ..] if !every && !rest.is_empty() => format!("{worst} +{}", rest.len()),
        codes => codes
            .iter()
            .map(|code| code.as_str())
            .collect::<Vec<_>>()
            .join(", "),
    };
    if report.verdict == Verdict::Unknown {
        let why = format!("unknown: {}", doubts::words(report));
        return if found.is_empty() {
            why
        } else {
            format!("{why}; {found}")
        };
    }
    found
}

#[cfg(test)]
mod tests;
