//! Findings name the setting to change, where it is, and its new value.

use super::{
    naming::{WEB_CGROUP, pod, pod_scene, web},
    scene::{Scene, WALL_MS, answered, process, unanswered},
};
use crate::{
    description::{Container, Description, Origin, Pod, Unit},
    event::{Disposition, End, EventKind, Process},
    report::{Finding, FindingCode, Report},
    tracker::episode::signals::{SIGKILL, SIGTERM},
};

fn finding(report: &Report, code: FindingCode) -> (&str, &str) {
    let Finding { summary, advice, .. } = report
        .findings
        .iter()
        .find(|finding| finding.code == code)
        .unwrap_or_else(|| panic!("{code} is not among {:?}", report.findings));
    for sentence in [summary, advice] {
        assert!(sentence.ends_with('.') && !sentence.contains(".."), "{sentence}");
        assert!(!sentence.trim_end_matches('.').contains(". "), "{sentence}");
    }
    (summary, advice)
}

fn gone(scene: &mut Scene, at: u64, process: &Process) -> Report {
    scene.push(
        at,
        EventKind::CgroupEmptied {
            cgroup: process.cgroup,
        },
    );
    scene.push(
        at,
        EventKind::CgroupRemoved {
            cgroup: process.cgroup,
        },
    );
    scene.report()
}

/// Told to stop at 1 s, killed after `grace` ms with a request outstanding.
fn killed(scene: &mut Scene, process: &Process, grace: u64) -> Report {
    scene.term(1000, process);
    scene.kill(1000 + grace, process);
    scene.died(1001 + grace, process, SIGKILL);
    scene.ended(1002 + grace, process, End::Exit, vec![unanswered(900)]);
    gone(scene, 1003 + grace, process)
}

fn container(origin: Origin, service: Option<&str>) -> Scene {
    let mut scene = Scene::new();
    scene.create(
        1,
        40,
        &format!("/system.slice/docker-{}.scope", super::naming::id(40)),
    );
    scene.describe(
        2,
        Description::Container(Container {
            origin,
            id: super::naming::id(40),
            name: "shop-web-1".into(),
            image: None,
            project: service.map(|_| "shop".into()),
            service: service.map(Into::into),
            stop_signal: None,
            grace_seconds: Some(10.0),
            revision: None,
            restarted_ms: None,
            addresses: vec![],
        }),
    );
    scene
}

fn unit(kill_mode: &str) -> Scene {
    let mut scene = Scene::new();
    scene.create(1, 50, "/system.slice/web.service");
    scene.describe(
        2,
        Description::Unit(Unit {
            cgroup: "/system.slice/web.service".into(),
            name: "web.service".into(),
            stop_signal: Some(15),
            grace_seconds: Some(30.0),
            kill_mode: Some(kill_mode.into()),
            invocation: None,
            restarting: false,
        }),
    );
    scene
}

#[test]
fn a_longer_grace_period_is_named_where_it_is_set() {
    let docker = process(200).within(40).pid1().serving();
    let service = process(300).within(50).serving();
    for (mut scene, process, grace, expected) in [
        (
            container(Origin::Docker, None),
            &docker,
            10_000,
            "Set `docker run --stop-timeout 20` (now 10), or limit its requests to less than 10.0 s.",
        ),
        (
            container(Origin::Podman, None),
            &docker,
            10_000,
            "Set `podman run --stop-timeout 20` (now 10), or limit its requests to less than 10.0 s.",
        ),
        (
            container(Origin::Docker, Some("web")),
            &docker,
            10_000,
            "Set stop_grace_period: 20s (now 10) of service web, or limit its requests to less than 10.0 s.",
        ),
        (
            unit("control-group"),
            &service,
            30_000,
            "Set TimeoutStopSec=60s (now 30) in web.service, or limit its requests to less than 30.0 s.",
        ),
        (
            unit("control-group"),
            &service,
            2_000,
            "It was given 2.0 s, although 30 s are configured: make whoever stops it wait that long, or limit its requests to less.",
        ),
    ] {
        let report = killed(&mut scene, process, grace);
        assert_eq!(finding(&report, FindingCode::KilledMidDrain).1, expected);
    }
}

#[test]
fn of_a_pod_the_grace_period_counts_from_its_deletion_and_has_the_prestop_hook_in_it() {
    let mut scene = pod_scene();
    scene.describe(5, Description::Pod(pod()));
    let deleted = Pod {
        deleted_ms: Some(WALL_MS + 1000),
        ..pod()
    };
    scene.describe(1200, Description::Pod(deleted));
    scene.term(6200, &web());
    scene.kill(31_200, &web());
    scene.died(31_201, &web(), SIGKILL);
    scene.ended(31_202, &web(), End::Exit, vec![unanswered(900)]);
    let report = gone(&mut scene, 31_203, &web());
    let (summary, advice) = finding(&report, FindingCode::KilledMidDrain);
    assert_eq!(
        summary,
        "SIGKILL came 25.0 s after the stop signal (30.0 s after the pod's deletion) and severed 1 request; \
         none had finished by then; its grace period is 30 s."
    );
    assert_eq!(
        advice,
        "Set terminationGracePeriodSeconds: 55 (now 30) in Deployment shop/web, or limit its requests to less than 25.0 s."
    );
}

#[test]
fn traffic_after_the_stop_signal_names_the_prestop_hook_and_what_it_is_now() {
    for (prestop, now) in [(true, "`sleep 5`"), (false, "none")] {
        let mut scene = pod_scene();
        let mut before = pod();
        if !prestop {
            before.containers[0].prestop = None;
        }
        scene.describe(5, Description::Pod(before.clone()));
        before.deleted_ms = Some(WALL_MS + 1000);
        scene.describe(1200, Description::Pod(before));
        scene.term(6200, &web());
        scene.arrived(8300, 8400, &web(), answered(8300, 8400));
        scene.ended(8999, &web(), End::Exit, vec![unanswered(900)]);
        scene.exit(9000, &web(), 0);
        let report = gone(&mut scene, 9001, &web());
        let (summary, advice) = finding(&report, FindingCode::TrafficAfterStop);
        assert_eq!(
            summary,
            "1 new connection came after the stop signal, the last 2.1 s after it (7.1 s after the pod's deletion); \
             it was still ready when the stop signal came."
        );
        assert_eq!(
            advice,
            format!(
                "Give container server of Deployment shop/web a preStop hook that sleeps 9 s (now: {now}): lifecycle.preStop.sleep from Kubernetes 1.30 on, exec of `sleep 9` before."
            )
        );
    }
}

#[test]
fn a_prestop_hook_with_which_nothing_was_lost_is_kept_and_a_single_instance_gets_none() {
    let late = |mut scene: Scene, process: &Process| {
        scene.term(6200, process);
        scene.arrived(6400, 6500, process, answered(6400, 6500));
        scene.exit(9000, process, 0);
        gone(&mut scene, 9001, process)
    };
    let of_pod = |controller: &str, prestop: bool| {
        let mut scene = pod_scene();
        let mut before = pod();
        before.controller = controller.into();
        if !prestop {
            before.containers[0].prestop = None;
        }
        scene.describe(5, Description::Pod(before.clone()));
        before.deleted_ms = Some(WALL_MS + 1000);
        scene.describe(1200, Description::Pod(before));
        late(scene, &web())
    };
    for (report, expected) in [
        (
            of_pod("Deployment", true),
            "Keep its preStop hook (`sleep 5`): with the drain after it, it covers the 5.2 s in which new connections came, and nothing was lost.",
        ),
        (
            of_pod("Deployment", false),
            "Give container server of Deployment shop/web a preStop hook that sleeps 7 s (now: none): lifecycle.preStop.sleep from Kubernetes 1.30 on, exec of `sleep 7` before.",
        ),
        (
            of_pod("Pod", false),
            "A single pod has nobody who takes its traffic, so that no preStop hook helps: let a Deployment have more than one, or let its callers retry.",
        ),
        (
            late(unit("control-group"), &process(300).within(50).serving()),
            "Give web.service a socket unit, which holds its port between two runs, or start the next run with SO_REUSEPORT before this one stops, or put a proxy that retries in front; where something balances, take it out of rotation 2 s before the stop signal comes.",
        ),
    ] {
        assert_eq!(finding(&report, FindingCode::TrafficAfterStop).1, expected);
    }
}

#[test]
fn a_lag_whose_deletion_was_not_heard_of_has_the_hook_before_it() {
    let mut scene = pod_scene();
    scene.describe(5, Description::Pod(pod()));
    scene.term(6200, &web());
    scene.arrived(8300, 8400, &web(), answered(8300, 8400));
    scene.ended(8999, &web(), End::Exit, vec![unanswered(900)]);
    scene.exit(9000, &web(), 0);
    let report = gone(&mut scene, 9001, &web());
    let (_, advice) = finding(&report, FindingCode::TrafficAfterStop);
    assert!(
        advice.contains("sleeps 9 s "),
        "5 s of sleep, 2.1 s of lag, rounded up, and one: {advice}"
    );
    assert_eq!(
        report.workload.cgroup.len(),
        super::naming::container_path(WEB_CGROUP).len()
    );
}

#[test]
fn a_kill_mode_that_tells_the_main_process_alone_explains_why_the_others_were_not() {
    for (mode, explained) in [("mixed", true), ("process", true), ("control-group", false)] {
        let mut scene = unit(mode);
        let main = process(300).within(50);
        let worker = process(301).within(50).child_of(&main).serving();
        scene.listen(5, &worker, 80);
        scene.term(1000, &main);
        scene.kill(2000, &worker);
        scene.died(2001, &worker, SIGKILL);
        scene.exit(2002, &main, 0);
        let report = gone(&mut scene, 2003, &main);
        let (summary, advice) = finding(&report, FindingCode::NotForwarded);
        assert_eq!(
            summary.contains(&format!("KillMode={mode}")),
            explained,
            "{summary}"
        );
        assert_eq!(
            advice.contains("set KillMode=control-group in web.service"),
            explained,
            "{advice}"
        );
    }
}

#[test]
fn a_signal_that_is_not_the_configured_one_is_said_to_be() {
    let mut scene = pod_scene();
    let mut quits = pod();
    quits.containers[0].stop_signal = Some(3);
    scene.describe(5, Description::Pod(quits));
    let nginx = process(100).within(WEB_CGROUP).serving();
    scene.send(1000, SIGTERM, &nginx, Disposition::Default);
    scene.died(1001, &nginx, SIGTERM);
    let report = gone(&mut scene, 1002, &nginx);
    let (_, advice) = finding(&report, FindingCode::NoHandler);
    assert!(
        advice.ends_with(", or send it SIGQUIT, its configured stop signal."),
        "{advice}"
    );
}
