//! Rollouts as a table. The ladder of what goes first: image, all findings but the worst, reason, year and seconds, to
//! which revision, drain and lag, failed and refused, from which revision, findings, webhooks.

use drainwatch_core::{class::WEBHOOK, report::Verdict, rollout::Rollout, workload::text::clean};

use super::columns::{Column, Cut, Room, SHORT_FINDING, SHORT_NAME, draw};
use crate::outlets::{
    brief::when,
    text::{elide, span},
};

/// Of a hash, or the id of a run, this much tells it from others.
const SHORT_REVISION: usize = 13;

/// What goes where it is narrow, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Image,
    EveryFinding,
    Reason,
    WholeTimes,
    To,
    Durations,
    TurnedAway,
    From,
    Findings,
    Webhooks,
}

impl Part {
    const ALL: [Self; 10] = [
        Self::Image,
        Self::EveryFinding,
        Self::Reason,
        Self::WholeTimes,
        Self::To,
        Self::Durations,
        Self::TurnedAway,
        Self::From,
        Self::Findings,
        Self::Webhooks,
    ];
}

/// Rollouts as a table, one row each, the newest first. Without a width nothing gives way.
pub fn table(rollouts: &[Rollout], width: Option<usize>) -> String {
    draw(
        Room::ladder(Part::ALL).map(|room| columns(rollouts, room, width.is_none())),
        width,
    )
}

fn columns(rollouts: &[Rollout], room: Room<Part>, whole: bool) -> Vec<Column> {
    let of = |cell: &dyn Fn(&Rollout) -> String| rollouts.iter().map(cell).collect();
    let numbers = |head, number: fn(&Rollout) -> u64| Column::numbers(head, rollouts.iter().map(number));
    let time = |one: &Rollout| {
        let text = when(&one.started_at);
        let short = text
            .get(5..16)
            .filter(|_| text.len() == 20 && !room.has(Part::WholeTimes));
        short.map_or_else(|| text.clone(), Into::into)
    };
    let revision = |id: Option<&str>| {
        let id = id.map_or_else(|| "–".into(), clean);
        if whole { id } else { elide(&id, SHORT_REVISION) }
    };
    let mut table = vec![
        Column::new("time", of(&time)),
        Column::new("workload", of(&name)).or_cut(SHORT_NAME, Cut::Middle),
    ];
    if room.has(Part::From) {
        table.push(Column::new("from", of(&|one| revision(one.from.id.as_deref()))));
    }
    if room.has(Part::To) {
        let to = |one: &Rollout| revision(one.to.as_ref().and_then(|to| to.id.as_deref()));
        table.push(Column::new("to", of(&to)));
    }
    if room.has(Part::Image) {
        let image = |one: &Rollout| one.from.image.as_deref().map_or_else(|| "–".into(), clean);
        table.push(Column::new("image", of(&image)));
    }
    if room.has(Part::Reason) {
        let reason = |one: &Rollout| one.reason.map_or_else(|| "–".into(), |reason| reason.to_string());
        table.push(Column::new("why", of(&reason)));
    }
    table.extend([
        Column::new("stops", of(&stops)),
        Column::new("verdict", of(&|one| one.verdict.to_string())),
        numbers("cut", |one| one.requests.severed),
    ]);
    if room.has(Part::Webhooks) {
        let webhooks = |one: &Rollout| one.severed_classes.get(WEBHOOK).copied().unwrap_or(0);
        table.push(numbers("webhooks", webhooks));
    }
    if room.has(Part::TurnedAway) {
        table.push(numbers("failed", |one| one.requests.failed));
        table.push(numbers("refused", |one| one.refused.attempts));
    }
    if room.has(Part::Durations) {
        let spell = |ms: Option<f64>| ms.map_or_else(|| "–".into(), span);
        table.push(Column::new("drain", of(&|one| spell(one.drain_ms))));
        table.push(Column::new("lag", of(&|one| spell(one.endpoint_lag_ms))));
        table.push(Column::new("longest", of(&|one| spell(one.shutdown_ms))));
    }
    if room.has(Part::Findings) {
        let findings = of(&|one| findings(one, room.has(Part::EveryFinding)));
        let column = Column::new("findings", findings);
        table.push(if room.has(Part::From) {
            column
        } else {
            column.or_cut(SHORT_FINDING, Cut::End)
        });
    }
    table
}

fn name(one: &Rollout) -> String {
    let workload = &one.workload;
    match &workload.namespace {
        Some(namespace) => format!("{}/{}", clean(namespace), clean(&workload.name)),
        None => clean(&workload.name),
    }
}

/// How many were stopped, and that it goes on.
fn stops(one: &Rollout) -> String {
    match one.under_way {
        0 => one.shutdowns.to_string(),
        open => format!("{}, {open} under way", one.shutdowns),
    }
}

fn findings(one: &Rollout, every: bool) -> String {
    let found: Vec<_> = one
        .findings
        .iter()
        .map(|found| match found.shutdowns {
            1 => found.finding.code.to_string(),
            many => format!("{} ×{many}", found.finding.code),
        })
        .collect();
    match found.as_slice() {
        [] if one.verdict == Verdict::Unknown => "evidence is missing: see its shutdowns".into(),
        [worst, rest @ ..] if !every && !rest.is_empty() => format!("{worst} +{}", rest.len()),
        found => found.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use drainwatch_core::{
        report::{Finding, FindingCode, Reason, Revision},
        rollout::rollouts,
        testing::report,
    };

    use super::*;
    use crate::outlets::text;

    fn deploys() -> Vec<Rollout> {
        let mut reports = Vec::new();
        for n in 0..3 {
            let mut one = report(&format!("r{n}"), "checkout-api", Verdict::Severed);
            one.workload.kind = "kubernetes".into();
            one.workload.namespace = Some("shop".into());
            one.workload.pod = Some(format!("checkout-api-{n}"));
            one.revision = Revision {
                id: Some("5d4f8c7b9".into()),
                image: Some("registry.example/checkout:41".into()),
            };
            one.reason = Some(Reason::Rollout);
            one.requests.severed = 2;
            one.severed_classes = [("webhook".to_owned(), 1), ("request".to_owned(), 1)].into();
            one.drain_ms = Some(1800.0);
            one.endpoint_lag_ms = Some(2400.0);
            one.findings = [FindingCode::KilledMidDrain, FindingCode::TrafficAfterStop]
                .map(|code| Finding {
                    code,
                    summary: String::new(),
                    advice: String::new(),
                })
                .into();
            reports.push(one);
        }
        let mut unit = report("u", "backup.service", Verdict::Clean);
        unit.revision.id = Some("f1d2d2f924e986ac86fdf7b36c94bcdf".into());
        unit.started_at = "2026-01-01T03:00:00.000Z".into();
        unit.ended_at = None;
        reports.push(unit);
        rollouts(&reports, |_| None)
    }

    #[test]
    fn given_rollouts_when_listed_then_they_fit_and_nothing_is_wrapped() {
        for width in [60, 80, 100, 120, 160] {
            let drawn = table(&deploys(), Some(width));
            for line in drawn.lines() {
                assert!(text::columns(line) <= width, "{width}: {line}");
            }
            assert_eq!(drawn.lines().count(), 3, "{drawn}");
            assert!(
                drawn.contains("shop/checkout-api") && drawn.contains("under way"),
                "{drawn}"
            );
            insta::assert_snapshot!(format!("rollouts_{width}"), drawn);
        }
        insta::assert_snapshot!("rollouts_piped", table(&deploys(), None));
    }
}
