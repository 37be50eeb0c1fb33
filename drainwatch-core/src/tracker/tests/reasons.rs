//! Why a workload was stopped, and what was running: said where the platform said it of this very stop.

use super::{
    naming::{DOCKER_CGROUP, UID, WEB_CGROUP, container, docker_scene, id, pod, pod_scene, web},
    scene::{Scene, WALL_MS, answered, process},
};
use crate::{
    description::{Container, Description, Pod, Subject, Unit},
    event::{EventKind, Process},
    report::{Reason, Report, Trigger},
};

fn gone(scene: &mut Scene, at: u64, process: &Process) {
    scene.push(
        at,
        EventKind::CgroupEmptied {
            cgroup: process.cgroup,
        },
    );
}

fn stop(scene: &mut Scene, at: u64, process: &Process) {
    scene.term(at, process);
    scene.exit(at + 100, process, 0);
    gone(scene, at + 101, process);
}

fn deleted(wall_ms: i64, reason: Option<Reason>) -> Description {
    Description::Pod(Pod {
        deleted_ms: Some(WALL_MS + wall_ms),
        reason,
        ..pod()
    })
}

fn said(report: &Report) -> (Trigger, Option<Reason>) {
    (report.trigger, report.reason)
}

#[test]
fn given_a_reason_for_a_pods_deletion_when_it_is_told_before_during_or_after_the_stop_then_the_report_has_it()
{
    for at in [1100, 2050, 4000] {
        let mut scene = pod_scene();
        scene.describe(5, Description::Pod(pod()));
        scene.describe(1050, deleted(1000, None));
        let mut told = false;
        let mut tell = |scene: &mut Scene, now: u64| {
            if !told && at <= now {
                told = true;
                scene.describe(at, deleted(1000, Some(Reason::Rollout)));
            }
        };
        tell(&mut scene, 1999);
        scene.term(2000, &web());
        tell(&mut scene, 2099);
        scene.exit(2100, &web(), 0);
        gone(&mut scene, 2101, &web());
        tell(&mut scene, 5000);
        scene.undescribe(5001, Subject::Pod(UID.into()));
        let report = scene.report();
        assert_eq!(said(&report), (Trigger::Stop, Some(Reason::Rollout)), "{at}");
        assert_eq!(report.revision.id.as_deref(), Some("5d4f"));
        assert_eq!(report.revision.image.as_deref(), Some("registry.example/web:1"));
    }
}

#[test]
fn given_a_deletion_of_which_nobody_says_why_then_nothing_is_claimed() {
    let mut scene = pod_scene();
    scene.describe(5, Description::Pod(pod()));
    scene.describe(1050, deleted(1000, None));
    stop(&mut scene, 2000, &web());
    assert_eq!(said(&scene.report()), (Trigger::Stop, None));
}

#[test]
fn given_a_container_that_ended_otherwise_before_its_pods_deletion_then_that_is_not_why() {
    // It was stopped before.
    let mut scene = pod_scene();
    scene.describe(5, Description::Pod(pod()));
    scene.term(1000, &web());
    scene.describe(4050, deleted(4000, Some(Reason::ScaleDown)));
    scene.exit(5000, &web(), 0);
    gone(&mut scene, 5001, &web());
    assert_eq!(said(&scene.report()), (Trigger::Stop, None));
    // It crashed.
    let mut scene = pod_scene();
    scene.describe(5, Description::Pod(pod()));
    scene.exit(1000, &web(), 1);
    gone(&mut scene, 1001, &web());
    scene.describe(2050, deleted(2000, Some(Reason::ScaleDown)));
    assert_eq!(said(&scene.report()), (Trigger::Crash, None));
}

#[test]
fn given_a_run_that_the_kubelet_ended_for_a_failed_probe_then_it_is_liveness_and_of_the_next_run_it_is_not() {
    let unwell = |of: u64| {
        let mut pod = pod();
        pod.containers[0].unwell = vec![id(of)];
        Description::Pod(pod)
    };
    for (of, reason) in [(WEB_CGROUP, Some(Reason::Liveness)), (7, None)] {
        let mut scene = pod_scene();
        scene.describe(5, Description::Pod(pod()));
        stop(&mut scene, 1000, &web());
        scene.describe(2500, unwell(of));
        assert_eq!(said(&scene.report()), (Trigger::Stop, reason));
    }
}

#[test]
fn given_an_eviction_by_the_kubelet_which_deletes_nothing_then_it_is_the_reason() {
    let mut scene = pod_scene();
    scene.describe(5, Description::Pod(pod()));
    scene.term(1000, &web());
    let evicted = Pod {
        reason: Some(Reason::Eviction),
        ..pod()
    };
    scene.describe(1500, Description::Pod(evicted));
    scene.exit(2000, &web(), 0);
    gone(&mut scene, 2001, &web());
    assert_eq!(said(&scene.report()), (Trigger::Stop, Some(Reason::Eviction)));
}

#[test]
fn given_a_pod_of_a_job_that_ends_by_itself_then_it_is_finished_and_where_it_fails_it_is_not() {
    for (controller, code, expected) in [
        ("Job", 0, (Trigger::Exit, Some(Reason::Finished))),
        ("CronJob", 0, (Trigger::Exit, Some(Reason::Finished))),
        ("Job", 1, (Trigger::Crash, None)),
        ("Deployment", 0, (Trigger::Exit, None)),
    ] {
        let mut scene = pod_scene();
        let job = Pod {
            controller: controller.into(),
            ..pod()
        };
        scene.describe(5, Description::Pod(job));
        scene.exchange(500, &web(), answered(400, 450));
        scene.exit(1000, &web(), code);
        gone(&mut scene, 1001, &web());
        assert_eq!(said(&scene.report()), expected, "{controller} {code}");
    }
}

#[test]
fn given_a_restart_that_the_runtime_tells_of_when_it_is_done_then_it_is_of_the_run_before_it() {
    let (mut scene, main) = docker_scene();
    let plain = Container {
        revision: Some("c0ff".into()),
        ..container(DOCKER_CGROUP, "shop")
    };
    scene.describe(2, Description::Container(plain.clone()));
    stop(&mut scene, 1000, &main);
    let restarted = Container {
        restarted_ms: Some(WALL_MS + 2000),
        addresses: vec![],
        ..plain
    };
    scene.describe(2010, Description::Container(restarted));
    // The next run, which is merely stopped.
    let next = process(201).within(DOCKER_CGROUP).pid1().serving();
    scene.listen(2500, &next, 80);
    stop(&mut scene, 9000, &next);
    let reports = scene.finish();
    let reasons: Vec<_> = reports.iter().map(said).collect();
    assert_eq!(
        reasons,
        [(Trigger::Stop, Some(Reason::Restart)), (Trigger::Stop, None)]
    );
    assert!(
        reports
            .iter()
            .all(|report| report.revision.id.as_deref() == Some("c0ff"))
    );
}

#[test]
fn given_a_unit_that_is_restarted_then_the_run_that_ends_is_the_revision_and_only_it_was_restarted() {
    let mut scene = Scene::new();
    scene.create(1, 50, "/system.slice/web.service");
    let unit = |invocation: &str, restarting| {
        Description::Unit(Unit {
            cgroup: "/system.slice/web.service".into(),
            name: "web.service".into(),
            stop_signal: Some(15),
            grace_seconds: Some(90.0),
            kill_mode: Some("control-group".into()),
            invocation: Some(invocation.into()),
            restarting,
        })
    };
    scene.describe(2, unit("first", false));
    let main = process(300).within(50).serving();
    scene.term(1000, &main);
    // The bus is slower than the signal.
    scene.describe(1010, unit("first", true));
    scene.exit(1100, &main, 0);
    gone(&mut scene, 1101, &main);
    scene.describe(1200, unit("second", false));
    scene.describe(1300, unit("second", true));
    let report = scene.report();
    assert_eq!(said(&report), (Trigger::Stop, Some(Reason::Restart)));
    assert_eq!(report.revision.id.as_deref(), Some("first"));
    // Of a run that was over before, the next one's restart says nothing.
    let mut scene = Scene::new();
    scene.create(1, 50, "/system.slice/web.service");
    scene.describe(2, unit("first", false));
    stop(&mut scene, 1000, &main);
    scene.describe(2000, unit("second", true));
    assert_eq!(said(&scene.report()), (Trigger::Stop, None));
}
