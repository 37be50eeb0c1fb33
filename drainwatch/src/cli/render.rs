//! Reports for people. Pure: a report, a width and whether to colour give a string.

pub mod columns;
mod list;
mod rollouts;
mod timeline;

use std::fmt::Write;

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use drainwatch_core::{
    class,
    event::Disposition,
    exchange::{Doubt, Evidence},
    report::{Configured, Exit, PeerWorkload, Report, SeveredRequest, SignalSeen, Workload},
    workload::text::clean,
};

use crate::{
    kernel::Diagnosis,
    names::Probed,
    outlets::{
        brief::{duration, severed_counts, turned_away, verdict_ink, why, workload},
        doubts,
        text::{Colour, Ink, span, wrap},
    },
};

pub use list::{table, wide};
pub use rollouts::table as rollouts;

/// Most severed requests in the table below a timeline.
const SEVERED_ROWS: usize = 20;
/// Narrowest drawing; below it lines are simply wider than the terminal.
const NARROWEST: usize = 40;

/// One report: header, timeline, findings, severed requests.
pub fn report(report: &Report, width: usize, colour: Colour) -> String {
    let width = width.max(NARROWEST);
    let mut lines = header(report, width, colour);
    lines.push(String::new());
    lines.extend(timeline::draw(report, width, colour));
    for finding in &report.findings {
        lines.push(String::new());
        let code = finding.code.as_str();
        let head = format!("{}: {}", code, clean(&finding.summary));
        for (n, line) in wrap(&head, width).into_iter().enumerate() {
            let rest = line.strip_prefix(code).filter(|_| n == 0);
            lines.push(rest.map_or(line.clone(), |rest| {
                format!("{}{rest}", colour.paint(Ink::Doubt, code))
            }));
        }
        for (n, line) in wrap(&clean(&finding.advice), width - 4).into_iter().enumerate() {
            lines.push(format!("{} {line}", if n == 0 { "  →" } else { "   " }));
        }
    }
    if !report.severed_requests.is_empty() {
        lines.push(String::new());
        lines.push(severed_table(report, width));
        let left = report
            .requests
            .severed
            .saturating_sub(report.severed_requests.len().min(SEVERED_ROWS) as u64);
        if left > 0 {
            lines.push(colour.paint(Ink::Faint, &format!("… and {left} more")));
        }
        lines.extend(maybe_delivered(report, width, colour));
    }
    let mut out = lines.join("\n");
    out.push('\n');
    out
}

fn header(report: &Report, width: usize, colour: Colour) -> Vec<String> {
    let mut lines = Vec::new();
    let name = workload(&report.workload);
    let verdict = colour.paint(verdict_ink(report.verdict), report.verdict.as_str());
    lines.push(format!(
        "{} · {verdict} · {}",
        colour.paint(Ink::Strong, &name),
        why(report)
    ));
    let mut facts = vec![format!(
        "{} on {}",
        clean(&report.started_at),
        clean(&report.node)
    )];
    facts.push(duration(report));
    facts.push(format!("id {}", clean(&report.id)));
    lines.extend(wrap(&facts.join(", "), width));
    for more in [belongs_to(report), told(report)] {
        if !more.is_empty() {
            lines.extend(wrap(&more.join(", "), width));
        }
    }

    let requests = &report.requests;
    let mut counts = vec![severed_counts(report), format!("{} drained", requests.drained)];
    counts.extend(turned_away(report));
    if requests.aborted > 0 {
        counts.push(format!("{} aborted by the client", requests.aborted));
    }
    if requests.destroyed > 0 {
        counts.push(format!("{} destroyed by somebody else", requests.destroyed));
    }
    if requests.unknown > 0 {
        let doubts: Vec<_> = report
            .unknown_reasons
            .iter()
            .filter(|(doubt, _)| **doubt != Doubt::EventsLost)
            .map(|(doubt, count)| format!("{count} {doubt}"))
            .collect();
        let doubts = if doubts.is_empty() {
            String::new()
        } else {
            format!(" ({})", doubts.join(", "))
        };
        counts.push(format!("{} unknown{doubts}", requests.unknown));
    }
    if requests.opaque > 0 {
        counts.push(format!("{} opaque", requests.opaque));
    }
    match report.probes {
        0 => {}
        1 => counts.push("1 probe besides".into()),
        many => counts.push(format!("{many} probes besides")),
    }
    lines.extend(wrap(&counts.join(", "), width));

    for seen in report.signals.iter().take(4) {
        lines.extend(wrap(&signal(seen), width));
    }
    if let Some(exit) = &report.exit {
        lines.push(format!("process {} ended by {}", exit.pid, ended_by(exit)));
    }
    let times: Vec<_> = [
        ("drained in", report.drain_ms),
        ("new traffic for", report.endpoint_lag_ms),
    ]
    .into_iter()
    .filter_map(|(what, ms)| ms.map(|ms| format!("{what} {}", span(ms))))
    .chain(
        report
            .still_arriving
            .then(|| "clients still tried when nobody watched any more".to_owned()),
    )
    .chain(
        report
            .unix_sockets
            .then(|| "what was asked on its Unix sockets is not recorded".to_owned()),
    )
    .collect();
    if !times.is_empty() {
        lines.push(times.join(", "));
    }
    for doubt in doubts::sentences(report) {
        lines.extend(
            wrap(&doubt, width)
                .iter()
                .map(|line| colour.paint(Ink::Doubt, line)),
        );
    }
    if report.events_lost > 0 && !report.unknown_reasons.contains_key(&Doubt::EventsLost) {
        let lost = format!("{} events were lost: counts may be too low", report.events_lost);
        lines.extend(
            wrap(&lost, width)
                .iter()
                .map(|line| colour.paint(Ink::Doubt, line)),
        );
    }
    lines
}

/// What the name alone does not say.
fn belongs_to(report: &Report) -> Vec<String> {
    let Workload {
        pod,
        controller,
        image,
        ..
    } = &report.workload;
    let revision = &report.revision.id;
    [
        ("", controller),
        ("pod ", pod),
        ("revision ", revision),
        ("image ", image),
    ]
    .into_iter()
    .filter_map(|(what, name)| Some(format!("{what}{}", clean(name.as_deref()?))))
    .collect()
}

/// How its orchestrator was told to stop it, and what that looked like.
fn told(report: &Report) -> Vec<String> {
    let configured = report.configured.clone().unwrap_or_default();
    let Configured {
        grace_seconds,
        prestop,
        prestop_seconds,
        stop_signal,
        kill_mode,
    } = configured;
    let prestop = match (prestop, prestop_seconds) {
        (Some(what), _) => Some(format!("preStop {}", clean(&what))),
        (None, Some(_)) => Some("no preStop".to_owned()),
        (None, None) => None,
    };
    let ready = report
        .ready_at_stop
        .map(|ready| if ready { "ready" } else { "not ready" });
    [
        grace_seconds.map(|seconds| format!("grace period {}", span(seconds * 1000.0))),
        prestop,
        stop_signal.map(|signal| format!("stop signal {}", clean(&signal))),
        kill_mode.map(|mode| format!("KillMode={}", clean(&mode))),
        report
            .deleted_at
            .as_deref()
            .map(|at| format!("pod deleted at {}", clean(at))),
        ready.map(|ready| format!("{ready} at the stop signal")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn signal(seen: &SignalSeen) -> String {
    let disposition = match seen.disposition {
        _ if seen.dropped => "dropped by the kernel",
        Disposition::Default => "no handler: default action",
        Disposition::Handled => "handled",
        Disposition::Ignored => "ignored",
        Disposition::Blocked => "blocked",
    };
    format!(
        "{} at {} from {} ({}) to {} ({}{}): {disposition}",
        clean(&seen.signal),
        span(seen.at_ms),
        clean(&seen.sender.comm),
        seen.sender.pid,
        clean(&seen.target.comm),
        seen.target.pid,
        if seen.target.pid1 { ", PID 1" } else { "" },
    )
}

fn ended_by(exit: &Exit) -> String {
    match (exit.signal, exit.code) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "unknown means".into(),
    }
}

fn severed_table(report: &Report, width: usize) -> String {
    let mut table = plain_table(width);
    table.set_header(["at", "cause", "request", "waited", "peer", "evidence"]);
    keep_whole(&mut table, &[0, 1, 3, 4, 5]);
    for request in report.severed_requests.iter().take(SEVERED_ROWS) {
        table.add_row([
            span(request.at_ms),
            request.cause.to_string(),
            request_name(request),
            request.age_ms.map_or_else(|| "–".into(), span),
            peer(request),
            match request.evidence {
                Evidence::Exact => "exact".into(),
                Evidence::Inferred => "inferred".into(),
            },
        ]);
    }
    trimmed(&table)
}

/// Whose the other end was, where that is known, and its address.
fn peer(request: &SeveredRequest) -> String {
    let address = clean(&request.peer);
    match &request.peer_workload {
        Some(PeerWorkload {
            namespace: Some(namespace),
            name,
            ..
        }) => format!("{}/{} {address}", clean(namespace), clean(name)),
        Some(PeerWorkload { name, .. }) => format!("{} {address}", clean(name)),
        None => address,
    }
}

/// Method and path, and the class where it says more than that.
fn request_name(request: &SeveredRequest) -> String {
    let mut name = timeline::name(
        request.method.as_deref(),
        request.path.as_deref(),
        request.protocol.as_str(),
    );
    if request.class != class::REQUEST {
        let _ = write!(name, " ({})", clean(&request.class));
    }
    name
}

/// The worst of the severed requests: nobody will send them again.
fn maybe_delivered(report: &Report, width: usize, colour: Colour) -> Vec<String> {
    let worst = report
        .severed_requests
        .iter()
        .filter(|request| request.maybe_taken_for_delivered);
    let count = worst.clone().count();
    let Some(first) = worst.into_iter().next() else {
        return vec![];
    };
    let name = timeline::name(
        first.method.as_deref(),
        first.path.as_deref(),
        first.protocol.as_str(),
    );
    let what = match count - 1 {
        0 => format!(
            "The response to the webhook {name} had begun when it was cut: its sender may consider it"
        ),
        n => format!(
            "The responses to {count} webhooks ({name} and {n} more) had begun when they were cut: their senders may \
             consider them"
        ),
    };
    let text = format!("{what} delivered and not send it again.");
    std::iter::once(String::new())
        .chain(wrap(&text, width).iter().map(|line| colour.paint(Ink::Bad, line)))
        .collect()
}

/// What the kernel and the privileges allow.
pub fn doctor(diagnosis: &Diagnosis, width: usize, colour: Colour) -> String {
    let mut lines = vec![format!("kernel {}", clean(&diagnosis.kernel))];
    lines.push(match &diagnosis.cgroup_root {
        Some(root) => format!("unified cgroup hierarchy at {}", clean(root)),
        None => "no unified cgroup hierarchy is mounted: workloads cannot be told apart".into(),
    });
    for (capability, needed_for) in &diagnosis.missing_capabilities {
        let line = format!("✗ missing {}: {}", clean(capability), clean(needed_for));
        lines.extend(wrap(&line, width).iter().map(|line| colour.paint(Ink::Bad, line)));
    }
    if diagnosis.refusal.is_none() {
        let kept: Vec<_> = diagnosis
            .kept_capabilities
            .iter()
            .map(|(capability, why)| format!("{} ({})", clean(capability), clean(why)))
            .collect();
        let line = match kept.as_slice() {
            [] => "once attached, a running agent gives up every capability".into(),
            kept => format!(
                "once attached, a running agent keeps {} and gives up every other capability",
                kept.join(", ")
            ),
        };
        lines.extend(wrap(&line, width));
        lines.extend(wrap(&clean(&diagnosis.pins), width));
    }
    if !diagnosis.probes.is_empty() {
        let mut table = plain_table(width);
        table.set_header([
            "",
            "probe",
            "needed",
            "provides, or what is lost without it",
            "why not",
        ]);
        for probe in &diagnosis.probes {
            table.add_row([
                if probe.ok { "✓" } else { "✗" }.to_string(),
                clean(probe.probe),
                if probe.required { "required" } else { "optional" }.to_string(),
                clean(probe.gives),
                clean(probe.error.as_deref().unwrap_or_default()),
            ]);
        }
        lines.push(trimmed(&table));
    }
    match &diagnosis.refusal {
        Some(refusal) => {
            lines.extend(
                wrap(&clean(refusal), width)
                    .iter()
                    .map(|line| colour.paint(Ink::Bad, line)),
            );
        }
        None => lines.push(colour.paint(Ink::Good, "drainwatch can run here")),
    }
    for what in diagnosis.not_recorded {
        lines.extend(wrap(&format!("not recorded: {what}"), width));
    }
    lines.join("\n") + "\n"
}

/// The doctor's table of who is asked for names.
pub fn names(origins: &[Probed], width: usize) -> String {
    let mut table = plain_table(width);
    table.set_header([
        "",
        "names from",
        "what it knows, or why it does not answer and what that costs",
    ]);
    for probed in origins {
        let mark = match (probed.asked, probed.ok) {
            (true, true) => "✓",
            (true, false) => "✗",
            (false, _) => "–",
        };
        table.add_row([mark, probed.origin.as_str(), &clean(&probed.says)]);
    }
    trimmed(&table) + "\n"
}

fn plain_table(width: usize) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::try_from(width).unwrap_or(u16::MAX));
    table
}

/// These columns are never broken over lines.
fn keep_whole(table: &mut Table, columns: &[usize]) {
    for index in columns {
        if let Some(column) = table.column_mut(*index) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
}

fn trimmed(table: &Table) -> String {
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests;
