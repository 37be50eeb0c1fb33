use drainwatch_core::{
    description::Origin,
    event::Role,
    exchange::{Evidence, Protocol},
    report::{
        Cause, DrainedRequest, Finding, FindingCode, Moment, MomentKind, Outcomes, ProcessSeen,
        SeveredRequest, Verdict,
    },
    testing::report as empty,
};

use super::*;
use crate::{kernel::ProbeStatus, outlets::brief::line};

fn severed(at_ms: f64, cause: Cause, path: &str, age_ms: Option<f64>) -> SeveredRequest {
    SeveredRequest {
        at_ms,
        cause,
        role: Role::Server,
        protocol: Protocol::Http11,
        method: Some("GET".into()),
        path: Some(path.into()),
        host: Some("shop".into()),
        alpn: vec![],
        rpc: None,
        class: "request".into(),
        maybe_taken_for_delivered: false,
        evidence: Evidence::Exact,
        peer: "10.0.0.7:50412".into(),
        peer_workload: None,
        local: "10.0.0.2:8080".into(),
        age_ms,
        pid: 4021,
    }
}

fn moment(at_ms: f64, what: MomentKind, detail: Option<&str>) -> Moment {
    Moment {
        at_ms,
        what,
        detail: detail.map(Into::into),
        pid: Some(4021),
    }
}

fn process(pid: u32, comm: &str) -> ProcessSeen {
    ProcessSeen {
        pid,
        comm: comm.into(),
        pid1: pid != 1,
    }
}

fn killed() -> Report {
    let mut report = empty("01abc", "/system.slice/shop.service", Verdict::Severed);
    report.requests = Outcomes {
        drained: 1,
        severed: 2,
        aborted: 1,
        ..Outcomes::default()
    };
    report.severed = [(Cause::Unanswered, 1), (Cause::Truncated, 1)].into();
    report.severed_requests = vec![
        severed(10_000.0, Cause::Unanswered, "/orders/17", Some(12_400.0)),
        severed(
            10_000.5,
            Cause::Truncated,
            "/export/a-rather-long-name-of-a-file.csv",
            Some(9000.0),
        ),
    ];
    report.drained_requests = vec![DrainedRequest {
        protocol: Some(Protocol::Http11),
        status: Some(200),
        failed: false,
        at_ms: 1800.0,
        age_ms: Some(2300.0),
        method: Some("POST".into()),
        path: Some("/pay".into()),
        rpc: None,
        peer: "10.0.0.7:50414".into(),
    }];
    report.timeline = vec![
        moment(0.0, MomentKind::StopSignal, Some("SIGTERM")),
        moment(12.0, MomentKind::SignalDelivered, Some("SIGTERM")),
        moment(15.0, MomentKind::ListenerClosed, Some("0.0.0.0:8080")),
        moment(10_000.0, MomentKind::Kill, Some("SIGKILL")),
        moment(10_002.0, MomentKind::Exit, Some("signal 9")),
        moment(10_010.0, MomentKind::Emptied, None),
    ];
    report.signals = vec![SignalSeen {
        at_ms: 0.0,
        signal: "SIGTERM".into(),
        disposition: Disposition::Handled,
        dropped: false,
        sender: process(1, "systemd"),
        target: process(4021, "shop"),
    }];
    report.exit = Some(Exit {
        pid: 4021,
        code: None,
        signal: Some(9),
    });
    report.drain_ms = Some(1800.0);
    report.findings = vec![Finding {
        code: FindingCode::KilledMidDrain,
        summary: "2 requests were still outstanding when SIGKILL came after 10 s".into(),
        advice: "Raise TimeoutStopSec above 13 s, or let requests end within 10 s.".into(),
    }];
    report
}

#[test]
fn given_a_severed_shutdown_when_drawn_at_three_widths_then_it_fits_and_reads_the_same() {
    for width in [60, 80, 120] {
        let drawn = report(&killed(), width, Colour::Never);
        for line in drawn.lines() {
            assert!(crate::outlets::text::columns(line) <= width, "{width}: {line}");
        }
        insta::assert_snapshot!(format!("severed_{width}"), drawn);
    }
}

#[test]
fn given_a_clean_shutdown_when_drawn_then_drained_requests_are_bars() {
    let mut clean = killed();
    clean.verdict = Verdict::Clean;
    clean.requests = Outcomes {
        drained: 1,
        ..Outcomes::default()
    };
    clean.severed.clear();
    clean.severed_requests.clear();
    clean.findings.clear();
    clean.timeline = vec![
        moment(0.0, MomentKind::StopSignal, Some("SIGTERM")),
        moment(1802.0, MomentKind::Exit, Some("exit code 0")),
    ];
    clean.exit = Some(Exit {
        pid: 4021,
        code: Some(0),
        signal: None,
    });
    insta::assert_snapshot!("clean_80", report(&clean, 80, Colour::Never));
}

#[test]
fn given_colour_when_drawn_then_only_escape_sequences_are_added() {
    let plain = report(&killed(), 80, Colour::Never);
    let coloured = report(&killed(), 80, Colour::Always);
    assert!(coloured.contains("\u{1b}[31m"));
    let mut stripped = String::new();
    let mut rest = coloured.as_str();
    while let Some(at) = rest.find('\u{1b}') {
        stripped.push_str(&rest[..at]);
        rest = &rest[at + rest[at..].find('m').unwrap() + 1..];
    }
    stripped.push_str(rest);
    let trim = |text: &str| {
        text.lines()
            .map(|line| line.trim_end().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(trim(&stripped), trim(&plain));
}

#[test]
fn given_hostile_strings_everywhere_when_drawn_then_none_reaches_the_terminal() {
    let evil = "\u{1b}]0;x\u{7}\u{202e}\r\nname";
    let mut hostile = killed();
    hostile.id = evil.into();
    hostile.node = evil.into();
    hostile.started_at = evil.into();
    hostile.workload.name = evil.into();
    hostile.workload.namespace = Some(evil.into());
    hostile.workload.container = Some(evil.into());
    hostile.signals[0].signal = evil.into();
    hostile.signals[0].sender.comm = evil.into();
    hostile.timeline.push(moment(5.0, MomentKind::Exit, Some(evil)));
    hostile.severed_requests[0].path = Some(evil.into());
    hostile.severed_requests[0].method = None;
    hostile.severed_requests[0].peer = evil.into();
    hostile.severed_requests[1].path = None;
    hostile.severed_requests[1].method = None;
    hostile.findings[0].summary = evil.into();
    hostile.findings[0].advice = evil.into();
    let drawn = [
        report(&hostile, 80, Colour::Never),
        table(std::slice::from_ref(&hostile), Some(80)),
        wide(std::slice::from_ref(&hostile)),
        line(&hostile, Colour::Never),
    ];
    for text in drawn {
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(!text.contains('\u{202e}'));
    }
}

#[test]
fn given_strange_numbers_when_drawn_then_nothing_breaks() {
    let mut strange = killed();
    strange.severed_requests[0].at_ms = f64::NAN;
    strange.severed_requests[1].age_ms = Some(f64::INFINITY);
    strange.timeline[3].at_ms = -1e300;
    strange.drained_requests[0].at_ms = 1e300;
    for width in [0, 1, 40, 500] {
        assert!(report(&strange, width, Colour::Never).contains("severed"));
    }
    let mut endless = killed();
    endless.timeline = vec![moment(1.0, MomentKind::SignalDelivered, None); 200];
    endless.severed_requests = vec![severed(1.0, Cause::Late, "/x", None); 200];
    let drawn = report(&endless, 80, Colour::Never);
    assert!(drawn.lines().count() < 90 && drawn.contains("… and "), "{drawn}");
}

#[test]
fn given_a_shutdown_when_told_in_one_line_then_it_says_what_was_cut_and_why_it_is_unknown() {
    insta::assert_snapshot!("line", line(&killed(), Colour::Never));
    let mut unfinished = empty("03", "/svc/c", Verdict::Unknown);
    unfinished
        .timeline
        .push(moment(5.0, MomentKind::AgentStopped, None));
    let told = line(&unfinished, Colour::Never);
    assert!(told.contains("unknown (agent_stopped)"), "{told}");
}

#[test]
fn given_a_diagnosis_when_printed_then_it_says_what_is_lost_and_why() {
    let probe = |probe, ok, error: Option<&str>, required| ProbeStatus {
        probe,
        ok,
        gives: "who stopped whom",
        error: error.map(Into::into),
        required,
    };
    let diagnosis = Diagnosis {
        kernel: "6.18.0".into(),
        cgroup_root: Some("/sys/fs/cgroup".into()),
        missing_capabilities: vec![("CAP_BPF".into(), "loads the programs".into())],
        kept_capabilities: vec![],
        probes: vec![
            probe("signal_generate", true, None, true),
            probe("tcp_send_reset", false, Some("not in this kernel's BTF"), false),
        ],
        pins: "programs are not pinned".into(),
        not_recorded: &["Unix sockets"],
        refusal: Some("CAP_BPF is missing; run it with sudo".into()),
    };
    insta::assert_snapshot!("doctor_100", doctor(&diagnosis, 100, Colour::Never));
}

#[test]
fn given_origins_of_names_when_printed_then_each_has_one_line_that_cannot_break_the_terminal() {
    let probed = |origin, asked, ok, says: &str| Probed {
        origin,
        asked,
        ok,
        says: says.into(),
    };
    let origins = [
        probed(Origin::Kubernetes, true, true, "3 pods of node n1"),
        probed(Origin::Docker, true, false, "denied\x1b[31m"),
        probed(Origin::Systemd, false, false, "not found"),
    ];
    let text = names(&origins, 100);
    let lines: Vec<_> = text.lines().map(str::trim_start).collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[1].starts_with("✓  kubernetes  3 pods of node n1"), "{text}");
    assert!(
        lines[2].starts_with("✗  docker") && !text.contains('\x1b'),
        "{text}"
    );
    assert!(lines[3].starts_with("–  systemd"), "{text}");
}

#[test]
fn given_a_webhook_cut_in_its_response_when_shown_then_it_says_that_its_sender_may_not_know() {
    let mut one = killed();
    one.severed_requests[1].class = "webhook".into();
    one.severed_requests[1].path = Some("/webhooks/stripe".into());
    one.severed_requests[1].maybe_taken_for_delivered = true;
    let text = report(&one, 200, Colour::Never);
    assert!(text.contains("GET /webhooks/stripe (webhook)"), "{text}");
    let says = "The response to the webhook GET /webhooks/stripe had begun when it was cut: its sender may consider it \
                delivered and not send it again.";
    assert!(text.contains(says), "{text}");
    let mut two = one.clone();
    two.severed_requests.push(one.severed_requests[1].clone());
    let text = report(&two, 200, Colour::Never);
    assert!(
        text.contains("2 webhooks (GET /webhooks/stripe and 1 more)"),
        "{text}"
    );
    assert!(!report(&killed(), 200, Colour::Never).contains("webhook"));
}

#[test]
fn what_an_orchestrator_said_stands_below_the_name() {
    let mut report = killed();
    report.workload = Workload {
        kind: "kubernetes".into(),
        namespace: Some("shop".into()),
        name: "web".into(),
        pod: Some("web-5d4f\u{1b}[2J".into()),
        container: Some("server".into()),
        container_id: None,
        cgroup: "/kubepods".into(),
        controller: Some("Deployment".into()),
        image: Some("registry.example/web:1".into()),
    };
    report.deleted_at = Some("2026-01-01T00:00:00.000Z".into());
    report.ready_at_stop = Some(true);
    report.configured = Some(Configured {
        grace_seconds: Some(30.0),
        prestop: Some("sleep 5".into()),
        prestop_seconds: Some(5.0),
        stop_signal: Some("SIGQUIT".into()),
        kill_mode: None,
    });
    let text = super::report(&report, 200, Colour::Never);
    assert!(text.starts_with("shop/web [server] · severed"), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let belongs = |line: &&str| {
        line.starts_with("Deployment, pod web-5d4f") && line.ends_with(", image registry.example/web:1")
    };
    assert!(lines.iter().any(belongs) && !text.contains('\u{1b}'), "{text}");
    assert!(
        lines.contains(
            &"grace period 30 s, preStop sleep 5, stop signal SIGQUIT, pod deleted at 2026-01-01T00:00:00.000Z, ready at the stop signal"
        ),
        "{text}"
    );
}
