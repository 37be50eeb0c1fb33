use drainwatch_core::{
    exchange::Doubt,
    report::{Finding, FindingCode, Moment, MomentKind, Outcomes, Reason, Trigger},
    testing::report as empty,
};

use super::*;
use crate::outlets::text;

fn finding(code: FindingCode) -> Finding {
    Finding {
        code,
        summary: String::new(),
        advice: String::new(),
    }
}

fn shutdowns() -> Vec<Report> {
    let mut pod = empty("0mwq0xooq", "checkout-api", Verdict::Severed);
    pod.workload.kind = "kubernetes".into();
    pod.workload.namespace = Some("shop".into());
    pod.workload.container = Some("server".into());
    pod.workload.pod = Some("checkout-api-5d4f8-x2x7k".into());
    pod.revision.id = Some("5d4f8".into());
    pod.reason = Some(Reason::Rollout);
    pod.started_at = "2026-01-01T12:00:07.120Z".into();
    pod.ended_at = Some("2026-01-01T12:00:37.500Z".into());
    pod.requests = Outcomes {
        drained: 12,
        severed: 3,
        ..Outcomes::default()
    };
    pod.findings = [
        FindingCode::HandlerLate,
        FindingCode::TrafficAfterStop,
        FindingCode::KilledMidDrain,
    ]
    .map(finding)
    .into();
    let mut open = empty("0mwq0y1aa", "postgres", Verdict::Clean);
    open.workload.kind = "docker".into();
    open.started_at = "2026-01-01T11:00:00.000Z".into();
    open.ended_at = None;
    let mut unit = empty("0mwq0wbbc", "backup.service", Verdict::Unknown);
    unit.workload.kind = "systemd".into();
    unit.trigger = Trigger::Kill;
    unit.started_at = "2026-01-01T12:30:00.000Z".into();
    unit.ended_at = Some("2026-01-01T12:31:45.000Z".into());
    unit.unknown_reasons = [(Doubt::Job, 1)].into();
    let mut lost = empty("0mwpzzbbd", "mailer", Verdict::Unknown);
    lost.started_at = "2025-12-31T23:59:59.000Z".into();
    lost.ended_at = None;
    lost.timeline.push(Moment {
        at_ms: 5.0,
        what: MomentKind::AgentStopped,
        detail: None,
        pid: None,
    });
    vec![lost, pod, unit, open]
}

#[test]
fn given_a_terminal_of_any_width_when_listed_then_no_name_is_broken_and_no_line_is_wider() {
    for width in [60, 80, 100, 120, 160] {
        let drawn = table(&shutdowns(), Some(width));
        for line in drawn.lines() {
            assert!(text::columns(line) <= width, "{width}: {line}");
        }
        assert_eq!(drawn.lines().count(), 5, "one line each: {drawn}");
        let name = if width == 60 {
            "shop/"
        } else {
            "shop/checkout-api [server]"
        };
        assert!(drawn.contains(name), "{width}: {drawn}");
        assert!(
            drawn.contains("under way") && drawn.contains("end not seen"),
            "{drawn}"
        );
        insta::assert_snapshot!(format!("shutdowns_{width}"), drawn);
    }
}

#[test]
fn given_no_terminal_when_listed_then_everything_is_there_in_one_line_each() {
    let drawn = table(&shutdowns(), None);
    assert!(
        drawn.contains("killed_mid_drain, handler_late, traffic_after_stop"),
        "{drawn}"
    );
    insta::assert_snapshot!("shutdowns_piped", drawn);
    insta::assert_snapshot!("shutdowns_wide", wide(&shutdowns()));
}

#[test]
fn given_ids_that_begin_alike_when_shortened_then_each_is_still_told_from_the_others() {
    let reports = shutdowns();
    let reports: Vec<_> = reports.iter().collect();
    let short = ids(&reports, false);
    let mut unique = short.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), reports.len(), "{short:?}");
    assert_eq!(ids(&reports[..1], false), ["0mwp"]);
    assert!(ids(&[], false).is_empty());
}
