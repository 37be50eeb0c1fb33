use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use drainwatch_core::{
    report::{Configured, Finding, FindingCode, Moment, MomentKind, Verdict},
    testing::report,
};

use super::{advice, changes, *};

fn moment(at_ms: f64, what: MomentKind) -> Moment {
    Moment {
        at_ms,
        what,
        detail: None,
        pid: None,
    }
}

/// Killed after `grace` seconds in the middle of its drain, with requests that came for 2.4 s.
fn pod(container: &str, grace: f64, prestop: Option<&str>) -> Report {
    let mut one = report("a", "web", Verdict::Severed);
    one.workload.kind = "kubernetes".into();
    one.workload.namespace = Some("shop".into());
    one.workload.container = Some(container.into());
    one.workload.controller = Some("Deployment".into());
    one.deleted_at = Some("2026-01-01T00:00:00.000Z".into());
    one.requests.severed = 4;
    one.requests.drained = 9;
    one.drain_ms = Some(1800.0);
    one.endpoint_lag_ms = Some(2400.0);
    one.timeline = vec![
        moment(0.0, MomentKind::StopSignal),
        moment(grace * 1000.0, MomentKind::Kill),
        moment(grace * 1000.0 + 3.0, MomentKind::Exit),
    ];
    one.findings = vec![Finding {
        code: FindingCode::KilledMidDrain,
        summary: String::new(),
        advice: String::new(),
    }];
    one.configured = Some(Configured {
        grace_seconds: Some(grace),
        prestop: prestop.map(Into::into),
        prestop_seconds: prestop.map_or(Some(0.0), |hook| hook.starts_with("sleep").then_some(1.0)),
        ..Configured::default()
    });
    one
}

fn unit(grace: f64, ended_ms: f64) -> Report {
    let mut one = report("u", "backup.service", Verdict::Clean);
    one.workload.kind = "systemd".into();
    one.timeline = vec![
        moment(0.0, MomentKind::StopSignal),
        moment(ended_ms, MomentKind::Exit),
    ];
    one.configured = Some(Configured {
        grace_seconds: Some(grace),
        ..Configured::default()
    });
    one
}

#[test]
fn given_stops_that_lost_requests_when_asked_then_what_was_measured_and_the_change_are_told() {
    let found = advice::of(&[pod("app", 10.0, None)]);
    let text = changes::text(&found[0]);
    for line in [
        "shop/web [app]: 1 stop measured, 1 of them severed requests; 4 requests and connections lost",
        "  new requests came for up to 2.4 s",
        "  SIGKILL cut requests after 10 s",
        "  → preStop: 4 s (now 0 ms)",
        "  → grace period: 24 s (now 10 s)",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let table = changes::table(&found, Some(80));
    assert!(table.contains("10 s → 24 s"), "{table}");
}

#[test]
fn given_settings_that_are_enough_when_asked_then_nothing_to_change_is_the_answer() {
    let found = advice::of(&[unit(90.0, 800.0)]);
    assert!(changes::text(&found[0]).contains("→ nothing to change\n"));
    assert_eq!(
        changes::systemd(&found[0]).unwrap(),
        "# backup.service: nothing to change\n"
    );
    let short = advice::of(&[unit(2.0, 1900.0)]);
    assert_eq!(
        changes::systemd(&short[0]).unwrap(),
        "# systemctl edit backup.service\n[Service]\nTimeoutStopSec=7\n"
    );
    let mut by_hand = unit(0.0, 30.0);
    by_hand.configured = None;
    let idle = [unit(2.0, 30.0), by_hand].map(|stop| advice::of(&[stop]));
    assert!(
        idle.iter().all(|found| found[0].set.is_nothing()),
        "what ended at once, with nothing to finish, needs nothing: {idle:?}"
    );
    assert!(changes::compose(&short[0]).unwrap_err().contains("kind systemd"));
    assert!(changes::kubectl_patch(&short).unwrap_err().contains("systemd"));
}

#[test]
fn given_a_container_of_compose_when_asked_then_its_service_gets_the_grace_period() {
    let mut one = unit(1.0, 900.0);
    one.workload.kind = "docker".into();
    one.workload.name = "shop/web".into();
    let found = advice::of(&[one]);
    assert_eq!(
        changes::compose(&found[0]).unwrap(),
        "# shop/web\nservices:\n  \"web\":\n    stop_grace_period: 6s\n"
    );
}

#[test]
fn given_hooks_of_every_kind_when_patched_then_a_sleep_is_replaced_and_anything_else_is_left() {
    let patched = |hook| {
        let found = changes::pods(&advice::of(&[pod("app", 10.0, hook)]));
        changes::kubectl_patch(&found[0]).unwrap()
    };
    assert!(
        patched(None).contains(r#""preStop":{"sleep":{"seconds":4}}"#),
        "{}",
        patched(None)
    );
    assert!(patched(Some("sleep 1")).contains(r#""seconds":4"#));
    let left = patched(Some("exec nginx -s quit"));
    assert!(
        left.starts_with("# The preStop hook of app is `exec nginx -s quit`: let it wait 4 s"),
        "{left}"
    );
    assert!(!left.contains("preStop\""), "{left}");
}

#[test]
fn given_two_containers_of_a_pod_when_patched_then_kubectl_takes_it_and_the_pod_has_the_longer_grace() {
    let advices = advice::of(&[pod("app", 10.0, None), pod("proxy", 20.0, Some("sleep 1"))]);
    let pods = changes::pods(&advices);
    assert_eq!(pods.len(), 1, "one pod, one patch");
    let command = changes::kubectl_patch(&pods[0]).unwrap();
    let patch = command.split('\'').nth(1).unwrap();
    let manifest = r#"{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
        "spec": {"terminationGracePeriodSeconds": 10, "containers": [{"name": "app", "image": "web:1"},
        {"name": "proxy", "image": "proxy:1", "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}]}}}}"#;
    let kubectl = Command::new("kubectl")
        .args([
            "patch",
            "--local",
            "--filename",
            "-",
            "--type",
            "strategic",
            "--output",
            "json",
        ])
        .args(["--patch", patch])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    // The machine has no kubectl: the cluster's tests have.
    let Ok(mut kubectl) = kubectl else { return };
    kubectl
        .stdin
        .take()
        .unwrap()
        .write_all(manifest.as_bytes())
        .unwrap();
    let output = kubectl.wait_with_output().unwrap();
    let after: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let spec = &after["spec"]["template"]["spec"];
    assert_eq!(spec["terminationGracePeriodSeconds"], 44, "{after}");
    let sleeps = |n: usize| spec["containers"][n]["lifecycle"]["preStop"]["sleep"]["seconds"].clone();
    assert_eq!((sleeps(0), sleeps(1)), (4.into(), 4.into()));
    assert_eq!(spec["containers"][1]["image"], "proxy:1");
}

#[test]
fn given_hostile_names_when_changed_then_the_shell_gets_one_word() {
    let mut hostile = pod("app'; rm -rf /; '", 10.0, None);
    hostile.workload.name = "web'$(id)\u{1b}[2J".into();
    let command = changes::kubectl_patch(&advice::of(&[hostile])).unwrap();
    assert!(
        command.starts_with(r"kubectl patch deployment 'web'\''$(id)"),
        "{command}"
    );
    assert!(!command.contains('\u{1b}'));
    assert!(command.contains(r"app'\''; rm -rf /; '\''"), "{command}");
}
