//! Containers and units with cgroups below their own: the workload is stopped, not the leaf.

use super::scene::{Scene, answered, codes, moments, process, unanswered};
use crate::{
    event::{Disposition, End, Event, EventKind, Process, Sender},
    report::{Cause, FindingCode, Report, Trigger, Verdict, Workload},
    tracker::{
        Effect,
        episode::signals::{SIGKILL, SIGTERM},
    },
};

/// A container's own cgroup, the one its first process moved into, one of a worker, and a unit of the
/// container's own systemd.
pub const CONTAINER: u64 = 20;
pub const INIT: u64 = 21;
pub const WORKER: u64 = 22;
pub const UNIT: u64 = 23;

pub fn container_path() -> String {
    format!("/system.slice/docker-{}.scope", "5f".repeat(32))
}

fn create(scene: &mut Scene, at: u64, cgroup: u64, path: String) -> Vec<Effect> {
    let seeded = at == 0;
    scene.push(at, EventKind::CgroupCreated { cgroup, path, seeded })
}

/// A node with that container.
pub fn container() -> Scene {
    let mut scene = Scene::new();
    for (cgroup, below) in [
        (CONTAINER, ""),
        (INIT, "/init"),
        (WORKER, "/init/worker"),
        (UNIT, "/system.slice/db.service"),
    ] {
        create(&mut scene, 0, cgroup, container_path() + below);
    }
    scene
}

fn emptied(scene: &mut Scene, at: u64, cgroup: u64) -> Vec<Effect> {
    scene.push(at, EventKind::CgroupEmptied { cgroup })
}

fn drained(effects: &[Effect]) -> Vec<u64> {
    let drained = effects.iter().filter_map(|effect| match effect {
        Effect::MarkCgroup { cgroup } => Some(*cgroup),
        _ => None,
    });
    drained.collect()
}

fn stopped(effects: &[Effect]) -> Vec<u64> {
    let stopped = effects.iter().filter_map(|effect| match effect {
        Effect::UnmarkCgroup { cgroup } => Some(*cgroup),
        _ => None,
    });
    stopped.collect()
}

fn is_the_container(report: &Report) {
    let workload = &report.workload;
    assert_eq!(
        (workload.kind.as_str(), workload.name.as_str(), &workload.cgroup),
        ("docker", "5f5f5f5f5f5f", &container_path())
    );
    assert_eq!(workload.container_id, Some("5f".repeat(32)));
}

#[test]
fn a_stop_of_the_main_process_in_a_sub_cgroup_stops_the_container_until_its_own_cgroup_is_empty() {
    let mut scene = container();
    let main = process(100).within(INIT).pid1().serving();
    let worker = process(101).within(WORKER).child_of(&main).serving();
    scene.listen(1, &main, 80);
    let effects = scene.send(100, SIGTERM, &main, Disposition::Handled);
    assert_eq!(
        drained(&effects),
        [CONTAINER, WORKER],
        "the kernel has marked the leaf itself"
    );
    assert_eq!(
        scene.tracker.draining_cgroups(),
        [CONTAINER],
        "whose CPU use is all of it"
    );
    scene.unlisten(101, &main, 80);
    scene.ended(150, &worker, End::Close, vec![answered(50, 149)]);
    scene.exit(160, &worker, 0);
    emptied(&mut scene, 161, WORKER);
    scene.push(162, EventKind::CgroupRemoved { cgroup: WORKER });
    scene.exit(200, &main, 0);
    emptied(&mut scene, 201, INIT);
    scene.tick(20_000);
    assert_eq!(scene.reports(), [], "the container is not empty yet");
    emptied(&mut scene, 30_000, CONTAINER);
    let report = scene.report();
    is_the_container(&report);
    assert_eq!((report.trigger, report.verdict), (Trigger::Stop, Verdict::Clean));
    assert_eq!(report.requests.drained, 1);
    assert_eq!(
        report.ended_at.as_deref(),
        Some("2026-01-01T00:00:35.000Z"),
        "the container's own emptiness plus linger"
    );
    assert_eq!(
        moments(&report),
        ["stop_signal", "listener_closed", "exit", "exit", "emptied"]
    );
    let mut unmarked = stopped(&scene.effects);
    unmarked.sort_unstable();
    assert_eq!(unmarked, [CONTAINER, INIT, WORKER]);
}

#[test]
fn a_server_in_a_sub_cgroup_of_the_shell_that_got_the_signal_loses_its_requests_to_the_container() {
    let mut scene = container();
    let shell = process(100).within(CONTAINER).pid1().named("sh");
    let server = process(101).within(INIT).child_of(&shell).serving();
    scene.listen(1, &server, 80);
    let effects = scene.send(100, SIGTERM, &shell, Disposition::Handled);
    assert_eq!(drained(&effects), [INIT, WORKER]);
    scene.exit(101, &shell, 0);
    let sender = Sender::Kernel(shell.clone().exiting());
    scene.send_from(102, SIGKILL, &server, Disposition::Default, sender);
    scene.died(103, &server, SIGKILL);
    scene.ended(104, &server, End::Exit, vec![unanswered(50)]);
    emptied(&mut scene, 105, INIT);
    emptied(&mut scene, 105, CONTAINER);
    let report = scene.report();
    is_the_container(&report);
    assert_eq!(report.severed.get(&Cause::Unanswered), Some(&1));
    assert!(codes(&report).contains(&FindingCode::NotForwarded));
}

/// A supervisor in the container's own cgroup, and two workers, each in a cgroup of its own.
fn supervised(scene: &mut Scene) -> (Process, Process, Process) {
    let supervisor = process(100).within(CONTAINER).pid1().named("supervisor");
    let one = process(101).within(INIT).child_of(&supervisor).serving();
    let two = process(102).within(WORKER).child_of(&supervisor).serving();
    scene.listen(1, &one, 80);
    scene.listen(1, &two, 81);
    scene.listen(1, &supervisor, 9000);
    (supervisor, one, two)
}

#[test]
fn a_worker_in_a_sub_cgroup_that_its_supervisor_stops_is_a_worker_of_the_container() {
    let mut scene = container();
    let (supervisor, one, _) = supervised(&mut scene);
    let sender = Sender::Process(supervisor);
    scene.send_from(100, SIGTERM, &one, Disposition::Handled, sender);
    scene.ended(110, &one, End::Exit, vec![unanswered(50)]);
    scene.exit(120, &one, 0);
    emptied(&mut scene, 121, INIT);
    scene.tick(500);
    assert_eq!(drained(&scene.effects), [] as [u64; 0]);
    assert_eq!(
        stopped(&scene.effects),
        [INIT],
        "the rest of the leaf need not report"
    );
    let report = scene.report();
    is_the_container(&report);
    assert_eq!(report.trigger, Trigger::Worker);
}

#[test]
fn a_worker_in_a_sub_cgroup_that_its_supervisor_killed_is_not_why_the_container_ended() {
    let mut scene = container();
    let (supervisor, one, _) = supervised(&mut scene);
    let sender = Sender::Process(supervisor.clone());
    scene.send_from(100, SIGKILL, &one, Disposition::Default, sender);
    scene.died(101, &one, SIGKILL);
    scene.exit(200, &supervisor, 1);
    for cgroup in [INIT, WORKER, CONTAINER] {
        emptied(&mut scene, 201, cgroup);
    }
    let report = scene.report();
    is_the_container(&report);
    assert_eq!(report.trigger, Trigger::Crash);
}

#[test]
fn when_the_supervisor_is_stopped_after_a_worker_it_is_one_shutdown_of_the_container() {
    let mut scene = container();
    let (supervisor, one, two) = supervised(&mut scene);
    scene.term(100, &one);
    scene.term(101, &supervisor);
    scene.term(102, &two);
    for process in [&one, &two, &supervisor] {
        scene.exit(200, process, 0);
    }
    for cgroup in [INIT, WORKER, CONTAINER] {
        emptied(&mut scene, 201, cgroup);
    }
    let report = scene.report();
    is_the_container(&report);
    assert_eq!((report.trigger, report.signals.len()), (Trigger::Stop, 3));
}

#[test]
fn when_every_worker_is_stopped_wherever_it_lives_it_is_the_container_that_stops() {
    let mut scene = container();
    let supervisor = process(100).within(CONTAINER).pid1();
    let one = process(101).within(INIT).child_of(&supervisor).serving();
    let two = process(102).within(WORKER).child_of(&supervisor).serving();
    scene.listen(1, &one, 80);
    scene.listen(1, &two, 80);
    // As a container's own init does.
    let sender = || Sender::Process(supervisor.clone());
    scene.send_from(100, SIGTERM, &one, Disposition::Handled, sender());
    assert_eq!(scene.tracker.draining_cgroups(), [] as [u64; 0]);
    scene.send_from(101, SIGTERM, &two, Disposition::Handled, sender());
    assert_eq!(scene.tracker.draining_cgroups(), [CONTAINER]);
    assert_eq!(drained(&scene.effects), [CONTAINER]);
}

#[test]
fn a_cgroup_made_inside_a_container_that_drains_drains_too() {
    let mut scene = container();
    scene.term(100, &process(100).within(INIT).pid1().serving());
    let inside = create(&mut scene, 110, 30, container_path() + "/late");
    assert_eq!(drained(&inside), [30]);
    let elsewhere = create(&mut scene, 110, 31, "/elsewhere".to_owned());
    assert_eq!(drained(&elsewhere), [] as [u64; 0]);
    let nested = create(
        &mut scene,
        110,
        32,
        format!("{}/docker/{}", container_path(), "6e".repeat(32)),
    );
    assert_eq!(
        drained(&nested),
        [] as [u64; 0],
        "a container inside is a workload itself"
    );
}

#[test]
fn a_unit_inside_a_container_has_shutdowns_of_its_container_path() {
    let mut scene = container();
    let systemd = process(100).within(INIT).pid1().named("systemd");
    let db = process(101).within(UNIT).named("db").serving();
    scene.listen(1, &db, 5432);
    scene.send(100, SIGTERM, &systemd, Disposition::Handled);
    let sender = Sender::Process(systemd.clone());
    scene.send_from(110, SIGTERM, &db, Disposition::Handled, sender);
    scene.exit(120, &db, 0);
    emptied(&mut scene, 121, UNIT);
    scene.exit(130, &systemd, 0);
    emptied(&mut scene, 131, INIT);
    emptied(&mut scene, 131, CONTAINER);
    let mut names: Vec<_> = scene
        .finish()
        .into_iter()
        .map(|report| (report.workload.kind, report.workload.name))
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            ("docker".to_owned(), "5f5f5f5f5f5f".to_owned()),
            ("systemd".to_owned(), "db.service".to_owned())
        ]
    );
}

#[test]
fn the_last_exit_in_a_sub_cgroup_is_the_containers_end_when_that_is_empty() {
    let mut scene = container();
    let main = process(100).within(INIT);
    scene.exit(100, &main, 1);
    emptied(&mut scene, 101, INIT);
    emptied(&mut scene, 101, CONTAINER);
    let report = scene.report();
    is_the_container(&report);
    assert_eq!(report.trigger, Trigger::Crash);
    assert_eq!(report.exit.map(|exit| exit.pid), Some(100));
}

#[test]
fn a_container_is_announced_once_whatever_listens_in_it_and_its_removal_retires_it() {
    let mut scene = container();
    scene.listen(1, &process(100).within(INIT).pid1().serving(), 80);
    scene.listen(2, &process(101).within(WORKER).serving(), 81);
    for cgroup in [WORKER, INIT, CONTAINER] {
        assert_eq!(scene.count(|effect| matches!(effect, Effect::WorkloadGone(_))), 0);
        scene.push(10, EventKind::CgroupRemoved { cgroup });
    }
    let docker = |workload: &Workload| workload.kind == "docker";
    assert_eq!(
        scene.count(|effect| matches!(effect, Effect::WorkloadSeen(seen) if docker(seen))),
        1
    );
    assert_eq!(
        scene.count(|effect| matches!(effect, Effect::WorkloadGone(gone) if docker(gone))),
        1
    );
}

#[test]
fn a_signal_to_a_process_of_an_unknown_cgroup_still_begins_a_shutdcontainer_path() {
    let mut scene = Scene::new();
    let web = process(100).within(4711).serving();
    let effects = scene.send(100, SIGTERM, &web, Disposition::Handled);
    assert_eq!(drained(&effects), [] as [u64; 0]);
    assert_eq!(scene.tracker.draining_cgroups(), [4711]);
}

#[test]
fn given_a_cgroup_that_was_never_announced_when_it_is_removed_before_its_end_is_told_then_it_leaves() {
    let mut scene = Scene::new();
    let at_ns = scene.tracker.now_ns;
    let killed = EventKind::ProcessExited {
        process: process(100).within(4711),
        code: None,
        signal: Some(SIGKILL),
        child: None,
        unix_listener: false,
    };
    let mut effects = scene.tracker.observe(&Event { at_ns, kind: killed });
    let removed = EventKind::CgroupRemoved { cgroup: 4711 };
    effects.extend(scene.tracker.observe(&Event { at_ns, kind: removed }));
    while let Some(at_ns) = scene.tracker.next_deadline() {
        let kind = EventKind::Tick { wall_ns: 0 };
        effects.extend(scene.tracker.observe(&Event { at_ns, kind }));
    }
    let seen = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::WorkloadSeen(_)));
    let gone = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::WorkloadGone(_)));
    assert_eq!((seen.count(), gone.count()), (1, 1));
}
