//! Descriptions before, during and after a workload's life, and what is told under which name.

use std::collections::BTreeMap;

use super::scene::{Scene, process, unanswered};
use crate::{
    description::{Container, Description, Origin, Pod, PodContainer, PreStop, Subject, Unit},
    event::{End, EventKind, Process},
    report::{Report, Workload},
    tracker::{Effect, naming::NAME_WITHIN_NS},
};

pub const UID: &str = "6cf8b6d2-1f2c-4b52-9e0c-3d4a5b6c7d8e";
pub const POD_CGROUP: u64 = 30;
pub const SANDBOX: u64 = 31;
pub const WEB_CGROUP: u64 = 32;
pub const DOCKER_CGROUP: u64 = 40;
const NAME_WITHIN_MS: u64 = NAME_WITHIN_NS / 1_000_000;

pub fn id(n: u64) -> String {
    format!("{n:064x}")
}

fn pod_path() -> String {
    format!(
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice",
        UID.replace('-', "_")
    )
}

/// Of a container of that pod.
pub fn container_path(cgroup: u64) -> String {
    format!("{}/cri-containerd-{}.scope", pod_path(), id(cgroup))
}

/// A pod with its sandbox and one container `web`, of whom the API is expected to tell.
pub fn pod_scene() -> Scene {
    let mut scene = Scene::new();
    scene.expect(0, Origin::Kubernetes);
    scene.create(1, POD_CGROUP, &pod_path());
    for cgroup in [SANDBOX, WEB_CGROUP] {
        scene.create(1, cgroup, &container_path(cgroup));
    }
    scene
}

pub fn pod() -> Pod {
    Pod {
        uid: UID.into(),
        namespace: "shop".into(),
        name: "web-5d4f-x2x".into(),
        workload: "web".into(),
        controller: "Deployment".into(),
        grace_seconds: Some(30.0),
        deleted_ms: None,
        ready: Some(true),
        containers: vec![PodContainer {
            name: "server".into(),
            ids: vec![id(WEB_CGROUP)],
            image: Some("registry.example/web:1".into()),
            prestop: Some(PreStop {
                what: "sleep 5".into(),
                seconds: Some(5.0),
            }),
            stop_signal: None,
            init: false,
            unwell: vec![],
        }],
        revision: Some("5d4f".into()),
        ..Pod::default()
    }
}

pub fn web() -> Process {
    process(100).within(WEB_CGROUP).pid1().serving()
}

pub fn container(n: u64, name: &str) -> Container {
    Container {
        origin: Origin::Docker,
        id: id(n),
        name: name.into(),
        image: Some("shop:2".into()),
        project: None,
        service: None,
        stop_signal: None,
        grace_seconds: Some(10.0),
        revision: None,
        restarted_ms: None,
        addresses: vec![],
    }
}

fn docker_path() -> String {
    format!("/system.slice/docker-{}.scope", id(DOCKER_CGROUP))
}

pub fn docker_scene() -> (Scene, Process) {
    let mut scene = Scene::new();
    scene.expect(0, Origin::Docker);
    scene.create(1, DOCKER_CGROUP, &docker_path());
    (scene, process(200).within(DOCKER_CGROUP).pid1().serving())
}

/// Stopped at `at`, one request cut, gone at once.
fn stop(scene: &mut Scene, at: u64, process: &Process) {
    scene.term(at, process);
    scene.ended(at + 5, process, End::Exit, vec![unanswered(at - 10)]);
    scene.exit(at + 5, process, 0);
    scene.push(
        at + 6,
        EventKind::CgroupEmptied {
            cgroup: process.cgroup,
        },
    );
    scene.push(
        at + 7,
        EventKind::CgroupRemoved {
            cgroup: process.cgroup,
        },
    );
}

/// How many instances each name still has.
fn instances(effects: &[Effect]) -> BTreeMap<String, i64> {
    let mut instances = BTreeMap::new();
    for effect in effects {
        match effect {
            Effect::WorkloadSeen(workload) => *instances.entry(workload.name.clone()).or_default() += 1,
            Effect::WorkloadGone(workload) => *instances.entry(workload.name.clone()).or_default() -= 1,
            _ => {}
        }
    }
    instances
}

fn unresolved(scene: &Scene) -> usize {
    scene.count(|effect| matches!(effect, Effect::Unresolved { .. }))
}

/// Every workload that anything was said of.
fn names(effects: &[Effect]) -> Vec<&str> {
    let mut names: Vec<&str> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::WorkloadSeen(workload)
            | Effect::WorkloadGone(workload)
            | Effect::Severed { workload, .. }
            | Effect::Drained { workload } => Some(workload.name.as_str()),
            Effect::Updated(report) | Effect::Finished(report) => Some(report.workload.name.as_str()),
            _ => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn is_web(report: &Report) {
    let Workload {
        kind,
        namespace,
        name,
        pod,
        container,
        container_id,
        cgroup,
        controller,
        image,
    } = report.workload.clone();
    assert_eq!((kind.as_str(), name.as_str()), ("kubernetes", "web"));
    assert_eq!(namespace.as_deref(), Some("shop"));
    assert_eq!(pod.as_deref(), Some("web-5d4f-x2x"));
    assert_eq!(container.as_deref(), Some("server"));
    assert_eq!(container_id, Some(id(WEB_CGROUP)));
    assert_eq!(cgroup, container_path(WEB_CGROUP));
    assert_eq!(controller.as_deref(), Some("Deployment"));
    assert_eq!(image.as_deref(), Some("registry.example/web:1"));
    let configured = report.configured.clone().unwrap();
    assert_eq!(configured.grace_seconds, Some(30.0));
    assert_eq!(
        (configured.prestop.as_deref(), configured.prestop_seconds),
        (Some("sleep 5"), Some(5.0))
    );
}

#[test]
fn a_pod_that_is_described_before_its_containers_start_has_series_and_its_name_from_then_on() {
    let mut scene = Scene::new();
    scene.expect(0, Origin::Kubernetes);
    let mut unborn = pod();
    unborn.containers[0].ids.clear();
    let effects = scene.describe(1, Description::Pod(unborn));
    assert_eq!(instances(&effects), BTreeMap::from([("web".to_owned(), 1)]));
    scene.create(2, WEB_CGROUP, &container_path(WEB_CGROUP));
    scene.describe(3, Description::Pod(pod()));
    stop(&mut scene, 100, &web());
    let report = scene.report();
    is_web(&report);
    assert_eq!(report.ready_at_stop, Some(true));
    assert_eq!(report.deleted_at, None);
    scene.undescribe(20_000, Subject::Pod(UID.into()));
    assert_eq!(names(&scene.effects), ["web"]);
    assert_eq!(instances(&scene.effects), BTreeMap::from([("web".to_owned(), 0)]));
    assert_eq!(unresolved(&scene), 0);
}

#[test]
fn a_shutdown_under_way_waits_for_its_name_and_is_told_under_it() {
    let mut scene = pod_scene();
    scene.listen(10, &web(), 80);
    stop(&mut scene, 100, &web());
    scene.tick(2000);
    assert_eq!(names(&scene.effects), [] as [&str; 0], "nobody sees the short id");
    scene.describe(3000, Description::Pod(pod()));
    let severed = scene.count(|effect| matches!(effect, Effect::Severed { .. }));
    assert_eq!(severed, 1);
    is_web(&scene.report());
    assert_eq!(names(&scene.effects), ["web"]);
    assert_eq!(unresolved(&scene), 0);
}

#[test]
fn a_container_of_50_ms_whose_description_comes_after_its_end_is_told_under_its_name() {
    let (mut scene, shop) = docker_scene();
    stop(&mut scene, 20, &shop);
    scene.tick(5100); // the linger is over
    assert!(scene.reports().is_empty());
    scene.describe(6000, Description::Container(container(DOCKER_CGROUP, "shop")));
    scene.undescribe(6001, Subject::Container(id(DOCKER_CGROUP)));
    let report = scene.report();
    assert_eq!(report.workload.name, "shop");
    assert_eq!(report.configured.unwrap().grace_seconds, Some(10.0));
    assert_eq!(
        report.ended_at.as_deref(),
        Some("2026-01-01T00:00:05.026Z"),
        "waiting is not lingering"
    );
    assert_eq!(names(&scene.effects), ["shop"]);
    assert_eq!(
        instances(&scene.effects),
        BTreeMap::from([("shop".to_owned(), 0)])
    );
}

#[test]
fn a_name_that_never_comes_is_waited_for_no_longer_than_10_s_and_counted() {
    let (mut scene, shop) = docker_scene();
    stop(&mut scene, 100, &shop);
    let due = 100 + NAME_WITHIN_MS;
    scene.tick(due - 1);
    assert_eq!((names(&scene.effects).len(), unresolved(&scene)), (0, 0));
    scene.tick(due + 1);
    let report = scene.report();
    assert_eq!(report.workload.name, "000000000000");
    assert_eq!(report.ended_at.as_deref(), Some("2026-01-01T00:00:05.106Z"));
    assert_eq!(unresolved(&scene), 1);
    assert_eq!(scene.tracker.next_deadline(), None);
}

#[test]
fn a_listener_waits_for_its_workloads_name_too() {
    let (mut scene, shop) = docker_scene();
    scene.listen(10, &shop, 80);
    assert_eq!(names(&scene.effects), [] as [&str; 0]);
    assert!(scene.tracker.next_deadline().is_some());
    scene.tick(10 + NAME_WITHIN_MS);
    assert_eq!(
        (names(&scene.effects), unresolved(&scene)),
        (vec!["000000000000"], 1)
    );
    assert_eq!(scene.tracker.next_deadline(), None);
    // And is renamed when it comes after all, once.
    let effects = scene.describe(20_000, Description::Container(container(DOCKER_CGROUP, "shop")));
    let counts = BTreeMap::from([("000000000000".to_owned(), -1), ("shop".to_owned(), 1)]);
    assert_eq!(instances(&effects), counts);
    stop(&mut scene, 30_000, &shop);
    assert_eq!(scene.report().workload.name, "shop");
}

#[test]
fn what_nobody_is_expected_to_name_does_not_wait() {
    let mut scene = Scene::new();
    let effects = scene.create(1, DOCKER_CGROUP, &docker_path());
    assert_eq!(names(&effects), ["000000000000"]);
    let shop = process(200).within(DOCKER_CGROUP).pid1().serving();
    stop(&mut scene, 100, &shop);
    assert!(names(&scene.effects).contains(&"000000000000"));
    assert_eq!(scene.report().configured, None);
    assert_eq!(unresolved(&scene), 0);
}

#[test]
fn the_agent_that_ends_tells_what_waits_for_a_name_as_it_is() {
    let (mut scene, shop) = docker_scene();
    stop(&mut scene, 100, &shop);
    let told = scene.tracker.tell_all();
    assert!(
        told.iter().any(|effect| matches!(effect, Effect::Updated(_))),
        "{told:?}"
    );
}

#[test]
fn an_agent_that_ends_after_the_linger_of_what_waits_for_a_name_gives_its_final_report() {
    let (mut scene, shop) = docker_scene();
    stop(&mut scene, 100, &shop);
    scene.tick(6000);
    assert!(scene.reports().is_empty(), "it waits");
    let told = scene.tracker.tell_all();
    assert!(
        told.iter().any(|effect| matches!(effect, Effect::Finished(_))),
        "{told:?}"
    );
    assert_eq!(scene.tracker.next_deadline(), None);
}

#[test]
fn a_rename_during_a_shutdown_is_taken_over() {
    let (mut scene, shop) = docker_scene();
    scene.describe(2, Description::Container(container(DOCKER_CGROUP, "blue")));
    scene.term(100, &shop);
    scene.describe(150, Description::Container(container(DOCKER_CGROUP, "green")));
    stop(&mut scene, 200, &shop);
    assert_eq!(scene.report().workload.name, "green");
    let counts = BTreeMap::from([("blue".to_owned(), 0), ("green".to_owned(), 0)]);
    assert_eq!(instances(&scene.effects), counts);
}

#[test]
fn a_compose_service_is_known_by_its_project_and_service() {
    let (mut scene, shop) = docker_scene();
    let composed = Container {
        project: Some("shop".into()),
        service: Some("web".into()),
        origin: Origin::Podman,
        ..container(DOCKER_CGROUP, "shop-web-1")
    };
    scene.describe(2, Description::Container(composed));
    stop(&mut scene, 100, &shop);
    let workload = scene.report().workload;
    assert_eq!(
        (workload.kind.as_str(), workload.name.as_str()),
        ("podman", "web"),
        "whoever described it"
    );
    assert_eq!(workload.namespace.as_deref(), Some("shop"));
    assert_eq!(workload.container.as_deref(), Some("shop-web-1"));
    assert_eq!(workload.image.as_deref(), Some("shop:2"));
}

#[test]
fn a_units_settings_are_reported_and_nothing_waits_for_them() {
    let mut scene = Scene::new();
    scene.expect(0, Origin::Systemd);
    let effects = scene.create(1, 50, "/system.slice/web.service");
    assert_eq!(names(&effects), ["web.service"]);
    let unit = Unit {
        cgroup: "/system.slice/web.service".into(),
        name: "web.service".into(),
        stop_signal: Some(15),
        grace_seconds: Some(90.0),
        kill_mode: Some("mixed".into()),
        invocation: None,
        restarting: false,
    };
    scene.describe(2, Description::Unit(unit));
    stop(&mut scene, 100, &process(300).within(50).serving());
    let report = scene.report();
    let configured = report.configured.unwrap();
    assert_eq!(report.workload.name, "web.service");
    assert_eq!(
        (
            configured.grace_seconds,
            configured.stop_signal.as_deref(),
            configured.kill_mode.as_deref()
        ),
        (Some(90.0), Some("SIGTERM"), Some("mixed"))
    );
}

#[test]
fn units_that_come_in_endless_numbers_are_not_announced_by_their_mere_existence() {
    let mut scene = Scene::new();
    for (cgroup, unit) in [
        (50, "run-r5d1.scope"),
        (51, "sshd@3-10.0.0.1:22-10.0.0.2:40000.service"),
        (52, "run-u12.service"),
        (53, "app.scope"),
        (54, "web.socket"),
        (55, "data.mount"),
        (56, "session-4.scope"),
        (57, "machine.slice"),
    ] {
        assert_eq!(
            names(&scene.create(1, cgroup, &format!("/system.slice/{unit}"))),
            [] as [&str; 0]
        );
    }
    assert_eq!(names(&scene.create(1, 58, "/bare")), [] as [&str; 0]);
    scene.listen(2, &process(300).within(53).serving(), 80);
    assert_eq!(names(&scene.effects), ["app.scope"], "but by what they do");
}

#[test]
fn a_pods_sandbox_is_neither_announced_nor_reported_nor_unresolved() {
    for described in [true, false] {
        let mut scene = pod_scene();
        let pause = process(99).within(SANDBOX).pid1().named("pause");
        if described {
            scene.describe(5, Description::Pod(pod()));
        }
        scene.kill(100, &pause);
        scene.died(101, &pause, 9);
        scene.push(102, EventKind::CgroupEmptied { cgroup: SANDBOX });
        scene.push(103, EventKind::CgroupRemoved { cgroup: SANDBOX });
        assert!(scene.finish().is_empty());
        assert_eq!(unresolved(&scene), 0);
        assert!(names(&scene.effects).iter().all(|name| *name == "web"));
    }
}

#[test]
fn the_only_container_of_a_pod_whose_status_lags_is_that_one_and_of_several_none_is_guessed() {
    for (several, container, unnamed) in [(false, Some("server"), 0), (true, None, 1)] {
        let mut scene = pod_scene();
        let mut lagging = pod();
        lagging.containers[0].ids.clear();
        if several {
            let init = PodContainer {
                name: "migrate".into(),
                init: true,
                ..PodContainer::default()
            };
            lagging.containers.insert(0, init);
        }
        scene.describe(5, Description::Pod(lagging));
        stop(&mut scene, 100, &web());
        let workload = scene.report().workload;
        assert_eq!(
            (workload.name.as_str(), workload.container.as_deref()),
            ("web", container)
        );
        assert_eq!(
            (workload.namespace.as_deref(), workload.controller.as_deref()),
            (Some("shop"), Some("Deployment"))
        );
        assert_eq!(unresolved(&scene), unnamed);
    }
}

#[test]
fn a_stop_signal_of_ones_own_is_asked_for_in_every_cgroup_of_the_workload() {
    let (mut scene, _) = docker_scene();
    let own = |signal| Container {
        stop_signal: Some(signal),
        ..container(DOCKER_CGROUP, "shop")
    };
    let asked = |effects: &[Effect]| -> Vec<(u64, u32)> {
        let asked = effects.iter().filter_map(|effect| match effect {
            Effect::WatchStopSignal { cgroup, signal } => Some((*cgroup, *signal)),
            _ => None,
        });
        asked.collect()
    };
    scene.create(2, 41, &format!("{}/sub", docker_path()));
    let effects = scene.describe(3, Description::Container(own(10)));
    assert_eq!(asked(&effects), [(DOCKER_CGROUP, 10), (41, 10)]);
    let effects = scene.create(4, 42, &format!("{}/later", docker_path()));
    assert_eq!(asked(&effects), [(42, 10)]);
    for signal in [15, 9, 17, 13, 0, 64, 4000] {
        let effects = scene.describe(5, Description::Container(own(signal)));
        assert_eq!(
            asked(&effects),
            [],
            "{signal} is one already, or none to wait for"
        );
    }
}

#[test]
fn ten_thousand_pods_come_and_go_and_nothing_is_left_of_them() {
    let mut scene = Scene::new();
    scene.expect(0, Origin::Kubernetes);
    let mut living = BTreeMap::<String, i64>::new();
    let mut most = 0;
    let mut count = |effects: &[Effect]| {
        for (name, change) in instances(effects) {
            *living.entry(name).or_default() += change;
        }
        living.retain(|_, count| *count != 0);
        most = most.max(living.len());
        living.len()
    };
    for n in 0..10_000u64 {
        let (at, cgroup) = (10 + n * 1000, 1000 + n);
        let uid = format!("{n:08x}-0000-4000-8000-000000000000");
        let mut run = pod();
        run.uid.clone_from(&uid);
        run.workload = format!("job-{n}");
        run.containers[0].ids = vec![id(cgroup)];
        scene.create(
            at,
            cgroup,
            &format!("/kubepods/besteffort/pod{uid}/{}", id(cgroup)),
        );
        let process = process(100).within(cgroup).pid1().started(at);
        let described_late = n % 3 == 0;
        if !described_late {
            scene.describe(at + 1, Description::Pod(run.clone()));
        }
        if n % 2 == 0 {
            scene.listen(at + 2, &process, 80);
        }
        scene.exit(at + 20, &process, 0);
        scene.push(at + 30, EventKind::CgroupEmptied { cgroup });
        scene.push(at + 30, EventKind::CgroupRemoved { cgroup });
        if described_late {
            scene.describe(at + 40, Description::Pod(run));
        }
        scene.undescribe(at + 50, Subject::Pod(uid));
        count(&scene.effects);
        scene.effects.clear();
        scene.events.clear();
    }
    scene.finish();
    assert_eq!(count(&scene.effects), 0);
    assert!(most < 10, "no more than what is in its linger: {most}");
    assert_eq!(scene.tracker.next_deadline(), None);
    let announcements = &scene.tracker.announcements;
    assert_eq!(
        (
            announcements.pods(),
            announcements.waiting(),
            announcements.with_cgroup()
        ),
        (0, 0, 0)
    );
}

#[test]
fn given_a_caller_on_this_node_when_its_request_is_cut_then_the_report_says_whose_it_was() {
    let mut scene = pod_scene();
    scene.describe(2, Description::Pod(pod()));
    let caller = Pod {
        uid: "caller".into(),
        namespace: "shop".into(),
        name: "checkout-7c9-abc".into(),
        workload: "checkout".into(),
        addresses: vec![std::net::IpAddr::from([10, 0, 0, 1])],
        ..Pod::default()
    };
    scene.describe(3, Description::Pod(caller.clone()));
    // Who has left a moment ago is still meant, until somebody else has the address.
    scene.undescribe(90, Subject::Pod("caller".into()));
    stop(&mut scene, 100, &web());
    let report = scene.report();
    let peer = report.severed_requests[0].peer_workload.clone().unwrap();
    assert_eq!(
        (peer.namespace.as_deref(), peer.name.as_str(), peer.pod.as_deref()),
        (Some("shop"), "checkout", Some("checkout-7c9-abc"))
    );
    let (mut elsewhere, process) = docker_scene();
    let mut other = container(DOCKER_CGROUP, "shop");
    other.addresses = vec![std::net::IpAddr::from([10, 0, 0, 2])];
    elsewhere.describe(2, Description::Container(other));
    stop(&mut elsewhere, 100, &process);
    assert_eq!(elsewhere.report().severed_requests[0].peer_workload, None);
}
