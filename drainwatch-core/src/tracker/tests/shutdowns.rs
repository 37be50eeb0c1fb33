//! When a shutdown begins, what it is of, why, and when it ends.

use std::collections::BTreeSet;

use super::scene::{SESSION, Scene, WEB, answered, causes, codes, moments, ns, process, unanswered};
use crate::{
    event::{Disposition, End, EventKind, Process, Sender},
    report::{Cause, Exit, FindingCode, Outcomes, Trigger, Verdict},
    tracker::{
        Effect,
        episode::signals::{SIGINT, SIGKILL, SIGQUIT, SIGTERM},
    },
};

/// A master and two workers of `/web`, prefork.
fn prefork(scene: &mut Scene) -> (Process, Process, Process) {
    let master = process(100).named("master");
    scene.listen(1, &master, 80);
    let worker = |pid| process(pid).child_of(&master).named("worker").serving();
    (master.clone(), worker(101), worker(102))
}

#[test]
fn a_handled_stop_with_a_drain_is_clean() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.listen(1, &web, 80);
    scene.term(100, &web);
    scene.delivered(101, &web, SIGTERM);
    scene.unlisten(102, &web, 80);
    scene.ended(300, &web, End::Close, vec![answered(50, 299)]);
    scene.exit(310, &web, 0);
    scene.emptied(311);
    let report = scene.report();
    assert_eq!((report.trigger, report.verdict), (Trigger::Stop, Verdict::Clean));
    assert_eq!(
        report.exit,
        Some(Exit {
            pid: 100,
            code: Some(0),
            signal: None
        })
    );
    assert_eq!(report.findings, []);
    assert_eq!(
        moments(&report),
        [
            "stop_signal",
            "signal_delivered",
            "listener_closed",
            "exit",
            "emptied"
        ]
    );
    assert_eq!(report.started_at, "2026-01-01T00:00:00.100Z");
    assert_eq!(
        report.ended_at.as_deref(),
        Some("2026-01-01T00:00:05.311Z"),
        "gone plus linger"
    );
    assert_eq!(
        (report.workload.kind.as_str(), report.workload.name.as_str()),
        ("cgroup", "/web")
    );
    assert_eq!(report.node, Scene::NODE);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_way_to_end_has_its_trigger() {
    type Given = Box<dyn Fn(&mut Scene)>;
    let kernel = |context: &Process| Sender::Kernel(context.clone());
    let w = || process(100).serving();
    let cases: Vec<(&str, Given, Trigger)> = vec![
        (
            "SIGTERM, default action",
            Box::new(move |s| {
                s.send(100, SIGTERM, &w(), Disposition::Default);
                s.died(101, &w(), SIGTERM);
            }),
            Trigger::Stop,
        ),
        (
            "SIGINT",
            Box::new(move |s| {
                s.send(100, SIGINT, &w(), Disposition::Handled);
                s.exit(101, &w(), 130);
            }),
            Trigger::Stop,
        ),
        (
            "an image's own stop signal",
            Box::new(move |s| {
                s.send(100, 37, &w(), Disposition::Handled);
                s.exit(101, &w(), 0);
            }),
            Trigger::Stop,
        ),
        (
            "SIGTERM, then SIGKILL",
            Box::new(move |s| {
                s.term(100, &w());
                s.kill(30_100, &w());
                s.died(30_101, &w(), SIGKILL);
            }),
            Trigger::Stop,
        ),
        (
            "SIGTERM, exit code 143",
            Box::new(move |s| {
                s.term(100, &w());
                s.exit(101, &w(), 143);
            }),
            Trigger::Stop,
        ),
        (
            "SIGKILL first",
            Box::new(move |s| {
                s.kill(100, &w());
                s.died(101, &w(), SIGKILL);
            }),
            Trigger::Kill,
        ),
        (
            "SIGKILL whose signal was not seen",
            Box::new(move |s| s.died(101, &w(), SIGKILL)),
            Trigger::Kill,
        ),
        (
            "SIGTERM whose signal was not seen",
            Box::new(move |s| s.died(101, &w(), SIGTERM)),
            Trigger::Stop,
        ),
        (
            "SIGKILL by the kernel",
            Box::new(move |s| {
                s.send_from(100, SIGKILL, &w(), Disposition::Default, kernel(&w()));
                s.push(100, EventKind::OomVictim { pid: 100 });
                s.died(101, &w(), SIGKILL);
            }),
            Trigger::Oom,
        ),
        (
            "an OOM victim whose SIGKILL was not seen",
            Box::new(move |s| {
                s.listen(1, &w(), 80);
                s.push(100, EventKind::OomVictim { pid: 100 });
                s.died(101, &w(), SIGKILL);
            }),
            Trigger::Oom,
        ),
        (
            "a fatal signal of its own",
            Box::new(move |s| s.died(101, &w(), 11)),
            Trigger::Crash,
        ),
        (
            "exit 1 unasked",
            Box::new(move |s| s.exit(101, &w(), 1)),
            Trigger::Crash,
        ),
        (
            "exit 143 unasked",
            Box::new(move |s| s.exit(101, &w(), 143)),
            Trigger::Crash,
        ),
        (
            "exit 137 unasked",
            Box::new(move |s| s.exit(101, &w(), 137)),
            Trigger::Crash,
        ),
        (
            "exit 0 unasked",
            Box::new(move |s| s.exit(101, &w(), 0)),
            Trigger::Exit,
        ),
        (
            "a job that crashed and never served",
            Box::new(|s| s.exit(101, &process(100), 2)),
            Trigger::Crash,
        ),
    ];
    for (name, given, trigger) in cases {
        let mut scene = Scene::new();
        given(&mut scene);
        let last = scene
            .events
            .last()
            .map_or(0, |event| (event.at_ns - ns(0)) / 1_000_000);
        scene.emptied(last + 1);
        let report = scene.report();
        assert_eq!(report.trigger, trigger, "{name}: {report:#?}");
        assert!(report.exit.is_some(), "{name}");
    }
}

#[test]
fn a_job_that_ends_well_and_never_served_makes_no_report() {
    let mut scene = Scene::new();
    scene.exit(100, &process(100), 0);
    scene.emptied(101);
    assert_eq!(scene.finish(), []);
    assert!(
        !scene
            .effects
            .iter()
            .any(|e| matches!(e, Effect::Updated(_) | Effect::WorkloadSeen(_)))
    );
}

#[test]
fn one_recycled_worker_is_a_worker_and_the_rest_of_the_cgroup_stops_reporting() {
    let mut scene = Scene::new();
    let (_, worker, other) = prefork(&mut scene);
    scene.term(100, &worker);
    scene.ended(150, &other, End::Close, vec![unanswered(140)]); // not its business
    scene.ended(160, &worker, End::Close, vec![answered(90, 155)]);
    scene.exit(200, &worker, 0);
    scene.tick(350);
    assert_eq!(
        scene.count(|e| *e == Effect::UnmarkCgroup { cgroup: WEB }),
        1,
        "before it is over"
    );
    let report = scene.report();
    assert_eq!(
        (report.trigger, report.verdict),
        (Trigger::Worker, Verdict::Clean)
    );
    assert_eq!(
        report.requests,
        Outcomes {
            drained: 1,
            ..Outcomes::default()
        }
    );
    assert_eq!(report.exit.as_ref().map(|exit| exit.pid), Some(101));
    assert_eq!(report.workload.name, "/web");
    assert_eq!(scene.count(|e| *e == Effect::UnmarkProcess { pid: 101 }), 1);
}

#[test]
fn a_worker_that_crashes_while_the_service_goes_on_is_a_worker() {
    let mut scene = Scene::new();
    let (_, worker, _) = prefork(&mut scene);
    scene.died(100, &worker, 11);
    scene.ended(101, &worker, End::Exit, vec![unanswered(50)]);
    let report = scene.report();
    assert_eq!(
        (report.trigger, causes(&report)),
        (Trigger::Worker, vec![(Cause::Unanswered, 1)])
    );
    assert_eq!(codes(&report), [FindingCode::Crash]);
}

#[test]
fn a_process_that_neither_served_nor_called_ends_in_silence() {
    let mut scene = Scene::new();
    let (master, ..) = prefork(&mut scene);
    scene.exit(100, &process(200).child_of(&master), 1);
    scene.exit(150, &process(201).child_of(&master).calling(), 0); // a curl
    scene.term(200, &process(202).child_of(&master)); // a `timeout 5 sleep`
    scene.died(201, &process(202).child_of(&master), SIGTERM);
    assert_eq!(scene.finish(), []);
}

#[test]
fn a_master_that_forwards_its_signal_makes_one_report() {
    let mut scene = Scene::new();
    let (master, a, b) = prefork(&mut scene);
    scene.term(100, &master);
    for worker in [&a, &b] {
        scene.send_from(
            101,
            SIGQUIT,
            worker,
            Disposition::Handled,
            Sender::Process(master.clone()),
        );
    }
    scene.exit(150, &a, 0);
    scene.exit(160, &b, 0);
    scene.exit(170, &master, 0);
    scene.emptied(171);
    let report = scene.report();
    assert_eq!((report.trigger, report.signals.len()), (Trigger::Stop, 3));
    assert_eq!(
        report.exit,
        Some(Exit {
            pid: 100,
            code: Some(0),
            signal: None
        })
    );
    assert_eq!(moments(&report).iter().filter(|what| **what == "exit").count(), 3);
    assert_eq!(codes(&report), []);
}

#[test]
fn signals_to_workers_first_and_to_the_master_then_are_one_shutdown_from_the_first_on() {
    // Given a kill of every process of a cgroup, which reaches them in any order.
    let mut scene = Scene::new();
    let (master, a, b) = prefork(&mut scene);
    scene.kill(100, &a);
    scene.died(101, &a, SIGKILL);
    scene.ended(102, &a, End::Exit, vec![unanswered(50)]);
    scene.kill(103, &master);
    scene.kill(103, &b);
    scene.died(104, &b, SIGKILL);
    scene.died(104, &master, SIGKILL);
    scene.emptied(105);
    let report = scene.report();
    assert_eq!((report.trigger, report.signals.len()), (Trigger::Kill, 3));
    assert_eq!(report.started_at, "2026-01-01T00:00:00.100Z");
    assert_eq!(causes(&report), [(Cause::Unanswered, 1)]);
    assert_eq!(
        report.timeline.last().map(|moment| moment.what.as_str()),
        Some("emptied")
    );
    // What was told of the part under another id is taken back; the total outside is the report's.
    assert_eq!(scene.count(|e| matches!(e, Effect::Severed { .. })), 1);
    let open: Vec<_> = scene
        .effects
        .iter()
        .filter_map(|e| match e {
            Effect::Updated(report) => Some(report.id.clone()),
            _ => None,
        })
        .collect();
    assert!(open.iter().all(|id| *id == report.id), "{open:?}");
    // And the mark of the cgroup stays while the whole stops.
    scene.tick(400);
    let early = scene
        .effects
        .iter()
        .take_while(|e| !matches!(e, Effect::Finished(_)));
    assert_eq!(
        early.filter(|e| matches!(e, Effect::UnmarkCgroup { .. })).count(),
        0
    );
}

#[test]
fn a_helper_that_its_own_workload_ends_just_before_the_stop_begins_no_shutdown() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.listen(1, &web, 80);
    let helper = process(101).child_of(&web).named("sleep");
    let sender = Sender::Process(web.clone());
    scene.send_from(100, SIGTERM, &helper, Disposition::Default, sender);
    scene.died(101, &helper, SIGTERM);
    scene.term(600, &web);
    scene.exit(700, &web, 0);
    scene.emptied(701);
    let report = scene.report();
    assert_eq!((report.trigger, report.verdict), (Trigger::Stop, Verdict::Clean));
    assert_eq!(report.started_at, "2026-01-01T00:00:00.600Z");
}

#[test]
fn a_worker_that_was_recycled_before_the_deploy_is_a_shutdown_of_its_own() {
    let mut scene = Scene::new();
    let (master, a, b) = prefork(&mut scene);
    scene.term(100, &a);
    scene.exit(200, &a, 0);
    scene.term(3000, &master);
    scene.exit(3100, &b, 0);
    scene.exit(3101, &master, 0);
    scene.emptied(3102);
    let triggers: Vec<_> = scene.finish().iter().map(|report| report.trigger).collect();
    assert_eq!(triggers, [Trigger::Worker, Trigger::Stop]);
}

#[test]
fn when_every_serving_process_is_told_it_is_the_workload_that_stops() {
    // Given a supervisor that does not serve, and its server that is signalled directly.
    let mut scene = Scene::new();
    let shell = process(100).named("sh");
    let server = process(101).child_of(&shell).serving();
    scene.listen(1, &server, 80);
    scene.term(100, &server);
    assert_eq!(scene.tracker.draining_cgroups(), [WEB]);
    scene.exit(200, &server, 0);
    scene.exit(201, &shell, 0);
    scene.emptied(202);
    assert_eq!(scene.report().trigger, Trigger::Stop);
}

#[test]
fn a_server_that_its_supervisor_restarts_was_a_worker_after_all() {
    let mut scene = Scene::new();
    let supervisor = process(100).named("supervisord");
    let server = process(101).child_of(&supervisor).serving();
    scene.listen(1, &server, 80);
    scene.term(100, &server);
    scene.exit(200, &server, 0);
    scene.listen(
        300,
        &process(102).child_of(&supervisor).serving().started(250),
        80,
    );
    let report = scene.report();
    assert_eq!(
        (report.trigger, report.exit.map(|exit| exit.pid)),
        (Trigger::Worker, Some(101))
    );
}

#[test]
fn a_child_that_outlives_the_main_process_keeps_the_shutdown_open() {
    let mut scene = Scene::new();
    let (master, worker, _) = prefork(&mut scene);
    scene.term(100, &master);
    scene.exit(200, &master, 0);
    scene.tick(60_000);
    assert_eq!(scene.reports(), []);
    scene.ended(70_000, &worker, End::Close, vec![answered(90, 69_000)]);
    scene.exit(70_001, &worker, 0);
    scene.emptied(70_002);
    let report = scene.report();
    assert_eq!((report.requests.drained, report.trigger), (1, Trigger::Stop));
    assert_eq!(
        report.exit,
        Some(Exit {
            pid: 100,
            code: Some(0),
            signal: None
        })
    );
}

#[test]
fn a_child_that_lives_for_ever_does_not_keep_it_open_for_ever() {
    let mut scene = Scene::new();
    let (master, ..) = prefork(&mut scene);
    scene.term(100, &master);
    scene.exit(200, &master, 0);
    let report = scene.report();
    assert_eq!(report.ended_at.as_deref(), Some("2026-01-02T00:00:00.200Z"));
}

#[test]
fn the_end_of_a_pid_namespace_is_not_a_forced_kill() {
    let mut scene = Scene::new();
    let init = process(100).named("sh").pid1();
    let server = process(101).child_of(&init).serving();
    scene.listen(1, &server, 80);
    scene.term(100, &init);
    scene.exit(200, &init, 0);
    scene.send_from(
        201,
        SIGKILL,
        &server,
        Disposition::Default,
        Sender::Kernel(init.clone().exiting()),
    );
    scene.died(202, &server, SIGKILL);
    scene.ended(203, &server, End::Exit, vec![unanswered(50)]);
    scene.emptied(204);
    let report = scene.report();
    assert_eq!(
        (report.trigger, causes(&report)),
        (Trigger::Stop, vec![(Cause::Unanswered, 1)])
    );
    assert_eq!(
        codes(&report),
        [FindingCode::NotForwarded, FindingCode::ExitWithoutDrain]
    );
    assert_eq!(report.signals.len(), 1, "nobody sent that one");
}

#[test]
fn the_unasked_end_of_pid_1_is_its_own_doing_whatever_the_kernel_kills_after_it() {
    let mut scene = Scene::new();
    let init = process(100).pid1().calling();
    let server = process(101).child_of(&init).serving();
    scene.exit(200, &init, 1);
    scene.send_from(
        201,
        SIGKILL,
        &server,
        Disposition::Default,
        Sender::Kernel(init.clone().exiting()),
    );
    scene.died(202, &server, SIGKILL);
    scene.emptied(204);
    let report = scene.report();
    assert_eq!(
        (report.trigger, codes(&report)),
        (Trigger::Crash, vec![FindingCode::Crash])
    );
}

#[test]
fn several_stop_signals_are_one_shutdown() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.send(100, SIGINT, &web, Disposition::Handled);
    scene.term(200, &web);
    scene.send(250, SIGTERM, &web.clone().exiting(), Disposition::Handled);
    scene.exit(300, &web, 0);
    scene.send(301, SIGKILL, &web.clone().exiting(), Disposition::Default);
    scene.emptied(302);
    let report = scene.report();
    let signals: Vec<_> = report
        .signals
        .iter()
        .map(|s| (s.at_ms, s.signal.as_str()))
        .collect();
    assert_eq!(
        signals,
        [
            (0.0, "SIGINT"),
            (100.0, "SIGTERM"),
            (150.0, "SIGTERM"),
            (201.0, "SIGKILL")
        ]
    );
    assert_eq!((report.trigger, codes(&report)), (Trigger::Stop, vec![]));
}

#[test]
fn a_signal_to_a_process_that_is_ending_already_begins_nothing() {
    let mut scene = Scene::new();
    scene.term(100, &process(100).serving().exiting());
    scene.kill(101, &process(100).serving().exiting());
    assert_eq!((scene.tracker.next_deadline(), scene.finish()), (None, vec![]));
}

#[test]
fn a_stop_during_the_start_is_a_shutdown_whose_listener_opens_late() {
    let mut scene = Scene::new();
    let web = process(100);
    scene.term(100, &web);
    scene.listen(150, &web, 80);
    scene.unlisten(160, &web, 80);
    scene.exit(170, &web, 0);
    scene.emptied(171);
    let report = scene.report();
    assert_eq!(
        moments(&report),
        [
            "stop_signal",
            "listener_opened",
            "listener_closed",
            "exit",
            "emptied"
        ]
    );
}

#[test]
fn a_thread_dump_is_forgotten_with_all_that_was_said_of_it() {
    let mut scene = Scene::new();
    let jvm = process(100).serving().named("java");
    scene.listen(1, &jvm, 80);
    scene.send(100, SIGQUIT, &jvm, Disposition::Handled);
    scene.exchange(150, &jvm, answered(120, 150));
    scene.tick(130_000);
    assert_eq!(scene.finish(), []);
    assert_eq!(scene.count(|e| matches!(e, Effect::Discarded { .. })), 1);
    assert_eq!(scene.count(|e| *e == Effect::UnmarkCgroup { cgroup: WEB }), 1);
    assert_eq!(scene.count(|e| *e == Effect::UnmarkProcess { pid: 100 }), 1);
    assert_eq!(
        scene.count(|e| matches!(e, Effect::Drained { .. })),
        0,
        "it merely served"
    );
}

#[test]
fn a_kill_long_after_an_ignored_stop_signal_is_not_without_grace() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.send(100, SIGTERM, &web, Disposition::Ignored);
    scene.tick(3_601_000);
    assert_eq!(scene.count(|e| matches!(e, Effect::Discarded { .. })), 1);
    scene.kill(3_700_000, &web);
    scene.died(3_700_001, &web, SIGKILL);
    scene.emptied(3_700_002);
    let report = scene.report();
    assert_eq!((report.trigger, report.signals.len()), (Trigger::Stop, 2));
    assert!(!codes(&report).contains(&FindingCode::NoGrace));
    assert_eq!(report.started_at, "2026-01-01T00:00:00.100Z");
}

#[test]
fn a_restart_in_the_same_cgroup_ends_the_last_life_and_is_no_part_of_it() {
    let mut scene = Scene::new();
    let first = process(100).serving();
    scene.listen(1, &first, 80);
    scene.term(100, &first);
    scene.exit(200, &first, 0);
    scene.emptied(201);
    let second = process(100).serving().started(300);
    scene.listen(400, &second, 80);
    assert_eq!(scene.reports().len(), 1);
    assert_eq!(
        scene.reports()[0].ended_at.as_deref(),
        Some("2026-01-01T00:00:00.400Z")
    );
    // And is stopped in its turn, without losing its mark to the first one's end.
    scene.term(500, &second);
    scene.exit(600, &second, 0);
    scene.emptied(601);
    let third = process(101).serving().started(650);
    let effects = scene.send(700, SIGTERM, &third, Disposition::Handled);
    assert!(
        effects.iter().any(|e| matches!(e, Effect::Finished(_))),
        "{effects:#?}"
    );
    assert!(
        !effects.contains(&Effect::UnmarkCgroup { cgroup: WEB }),
        "{effects:#?}"
    );
    scene.exit(800, &third, 0);
    scene.emptied(801);
    let ids: BTreeSet<_> = scene.finish().into_iter().map(|report| report.id).collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn an_exec_probe_that_is_killed_does_not_stop_the_container() {
    let mut scene = Scene::new();
    let (_, worker, _) = prefork(&mut scene);
    let probe = process(300).named("probe"); // its parent is outside, like the main process's
    scene.kill(100, &probe);
    scene.died(101, &probe, SIGKILL);
    scene.ended(102, &worker, End::Close, vec![unanswered(50)]);
    assert_eq!(scene.finish(), []);
}

#[test]
fn processes_and_connections_of_sub_cgroups_belong_to_the_workload() {
    let mut scene = Scene::new();
    let main = process(100);
    let sub = process(101).serving().within(8);
    scene.term(100, &main);
    scene.term(101, &sub);
    scene.exit(150, &sub, 0);
    scene.ended(151, &sub, End::Exit, vec![unanswered(50)]);
    scene.push(152, EventKind::CgroupEmptied { cgroup: 8 });
    scene.exit(160, &main, 0);
    scene.emptied(161);
    let report = scene.report();
    assert_eq!((report.signals.len(), report.requests.severed), (2, 1));
}

#[test]
fn in_a_login_session_the_process_and_its_children_are_the_workload() {
    let mut scene = Scene::new();
    let server = process(100).within(SESSION).named("server").serving();
    let child = process(101).within(SESSION).child_of(&server).serving();
    let other = process(102).within(SESSION).named("other").serving();
    // Ctrl-C reaches the child first.
    scene.send(100, SIGINT, &child, Disposition::Handled);
    scene.send(100, SIGINT, &server, Disposition::Handled);
    scene.ended(110, &other, End::Close, vec![unanswered(50)]);
    scene.exit(120, &child, 0);
    scene.ended(121, &child, End::Exit, vec![unanswered(50)]);
    scene.exit(130, &server, 0);
    let report = scene.report();
    assert_eq!(
        (
            report.workload.kind.as_str(),
            report.workload.cgroup.rsplit('/').next()
        ),
        ("process", Some("session-1.scope"))
    );
    assert_eq!(
        (report.workload.name.as_str(), report.trigger),
        ("server", Trigger::Stop)
    );
    assert_eq!((report.signals.len(), report.requests.severed), (2, 1));
    assert_eq!(
        report.timeline.last().map(|moment| moment.what.as_str()),
        Some("emptied")
    );
    assert!(scene.tracker.draining_cgroups().is_empty());
}

#[test]
fn in_a_login_session_what_has_nothing_to_do_with_requests_makes_no_report() {
    let mut scene = Scene::new();
    let shell = process(100).within(SESSION).named("bash");
    let sleep = process(101).within(SESSION).child_of(&shell).named("sleep");
    scene.send(100, SIGINT, &sleep, Disposition::Default);
    scene.died(101, &sleep, SIGINT);
    scene.exit(200, &process(102).within(SESSION).named("curl").calling(), 0);
    assert_eq!(scene.finish(), []);
    assert_eq!(
        scene.count(|e| matches!(e, Effect::Updated(_) | Effect::WorkloadSeen(_))),
        0
    );
    assert_eq!(
        scene.count(|e| *e == Effect::UnmarkCgroup { cgroup: SESSION }),
        2,
        "at once, and at its end"
    );
}

#[test]
fn a_shell_that_ignores_its_stop_signal_does_not_take_its_children_with_it() {
    let mut scene = Scene::new();
    let shell = process(100).within(SESSION).named("bash");
    let server = process(101)
        .within(SESSION)
        .child_of(&shell)
        .named("server")
        .serving();
    scene.send(100, SIGTERM, &shell, Disposition::Ignored);
    scene.term(10_000, &server);
    scene.exit(10_100, &server, 0);
    let report = scene.report();
    assert_eq!(
        (report.workload.name.as_str(), report.signals.len()),
        ("server", 1)
    );
}

#[test]
fn a_workload_is_announced_before_anything_is_said_of_it_and_once() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.listen(1, &web, 80);
    scene.listen(2, &web, 81);
    let seen = |e: &Effect| matches!(e, Effect::WorkloadSeen(workload) if workload.name == "/web");
    assert_eq!(scene.count(seen), 1, "long before its first shutdown");
    scene.kill(100, &web);
    scene.died(101, &web, SIGKILL);
    scene.emptied(102);
    scene.push(103, EventKind::CgroupRemoved { cgroup: WEB });
    let gone = |e: &Effect| matches!(e, Effect::WorkloadGone(workload) if workload.name == "/web");
    assert_eq!(scene.count(gone), 0, "its shutdown is not told yet");
    let report = scene.report();
    assert_eq!(report.workload.name, "/web", "a removed cgroup keeps its name");
    assert_eq!((scene.count(seen), scene.count(gone)), (1, 1));
}

#[test]
fn a_workload_whose_emptying_was_not_seen_ends_with_its_cgroup() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.term(100, &web);
    scene.exit(200, &web, 0);
    scene.push(300, EventKind::CgroupRemoved { cgroup: WEB });
    assert_eq!(moments(&scene.report()), ["stop_signal", "exit", "emptied"]);
}

#[test]
fn a_cgroup_that_was_never_announced_is_named_by_its_id() {
    let mut scene = Scene::new();
    let web = process(100).serving().within(4711);
    scene.term(100, &web);
    scene.exit(200, &web, 0);
    scene.push(201, EventKind::CgroupEmptied { cgroup: 4711 });
    assert_eq!(scene.report().workload.name, "cgroup:4711");
}

#[test]
fn updates_are_few_however_many_requests_drain() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.term(100, &web);
    for at in 101..1051 {
        scene.exchange(at, &web, answered(90, at));
    }
    let updates = scene.count(|e| matches!(e, Effect::Updated(_)));
    assert!((5..=11).contains(&updates), "{updates} updates in a second");
    assert!(
        scene
            .tracker
            .next_deadline()
            .is_some_and(|deadline| deadline <= ns(1151)),
        "the last ones are due soon"
    );
}

#[test]
fn more_shutdowns_than_are_kept_lose_no_report() {
    let mut scene = Scene::new();
    let count = u32::try_from(super::super::episodes::EPISODES).unwrap() + 10;
    for pid in 0..count {
        let cgroup = 1000 + u64::from(pid);
        scene.push(
            1,
            EventKind::CgroupCreated {
                cgroup,
                path: format!("/w{pid}"),
                seeded: true,
            },
        );
        scene.term(100, &process(1000 + pid).serving().within(cgroup));
    }
    assert_eq!(scene.reports().len(), 10);
}

#[test]
fn in_a_login_session_the_end_of_the_process_that_was_stopped_is_the_end_that_counts() {
    let mut scene = Scene::new();
    let server = process(100).within(SESSION).named("server").serving();
    let child = process(101).within(SESSION).child_of(&server).serving();
    // When the child is told first, and ends last.
    scene.send(100, SIGINT, &child, Disposition::Handled);
    scene.send(100, SIGINT, &server, Disposition::Handled);
    scene.exit(120, &server, 3);
    scene.exit(130, &child, 0);
    assert_eq!(
        scene.report().exit,
        Some(Exit {
            pid: 100,
            code: Some(3),
            signal: None
        })
    );
}

#[test]
fn a_process_of_the_last_life_whose_end_was_not_seen_is_not_taken_for_the_main_one() {
    let mut scene = Scene::new();
    scene.listen(1, &process(100).serving(), 80); // its exit is lost
    scene.emptied(50);
    let second = process(200).serving().started(60);
    scene.term(100, &second);
    assert_eq!(scene.tracker.draining_cgroups(), [WEB]);
    scene.exit(200, &second, 0);
    scene.emptied(201);
    assert_eq!(scene.report().trigger, Trigger::Stop);
}

#[test]
fn once_the_main_process_is_told_too_the_shutdown_lasts_until_the_cgroup_is_empty() {
    let mut scene = Scene::new();
    let supervisor = process(100).named("supervisord");
    let server = process(101).child_of(&supervisor).serving();
    scene.listen(1, &server, 80);
    scene.term(100, &server);
    scene.term(200, &supervisor);
    let logger = process(102).child_of(&supervisor);
    scene.exit(300, &server, 0);
    scene.exit(301, &supervisor, 0);
    scene.tick(20_000);
    assert_eq!(scene.reports(), []);
    scene.exit(30_000, &logger, 0);
    scene.emptied(30_001);
    let report = scene.report();
    assert_eq!(
        (report.trigger, report.ended_at.as_deref()),
        (Trigger::Stop, Some("2026-01-01T00:00:35.001Z"))
    );
}

#[test]
fn the_process_that_closed_a_listener_is_let_go_even_if_nobody_signalled_it() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.listen(10, &web, 80);
    scene.died(100, &web, 11);
    scene.unlisten(101, &web, 80);
    scene.emptied(102);
    let stopped = |e: &Effect| *e == Effect::UnmarkProcess { pid: 100 };
    assert_eq!(scene.count(stopped), 0, "its port matters until the linger ends");
    scene.report();
    assert_eq!(scene.count(stopped), 1);
}

#[test]
fn the_process_that_closed_a_listener_outside_of_any_shutdown_is_let_go_at_once() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.listen(10, &web, 80);
    scene.unlisten(101, &web, 80);
    assert_eq!(scene.count(|e| *e == Effect::UnmarkProcess { pid: 100 }), 1);
}

#[test]
fn every_process_that_was_marked_is_let_go_however_many_they_were() {
    let mut scene = Scene::new();
    let main = process(100).serving();
    scene.kill(100, &main);
    for pid in 101..3100 {
        scene.kill(100, &process(pid).child_of(&main));
    }
    scene.emptied(200);
    scene.report();
    assert_eq!(scene.count(|e| matches!(e, Effect::UnmarkProcess { .. })), 3000);
}

#[test]
fn a_signal_to_a_process_that_has_ended_begins_nothing_and_leaves_no_mark() {
    let mut scene = Scene::new();
    let zombie = process(100).exiting();
    scene.send(100, 15, &zombie, Disposition::Default);
    assert_eq!(scene.finish(), []);
    assert_eq!(scene.count(|e| *e == Effect::UnmarkProcess { pid: 100 }), 1);
    assert_eq!(scene.count(|e| *e == Effect::UnmarkCgroup { cgroup: WEB }), 1);
}

#[test]
fn what_was_seen_just_before_the_agent_stops_is_told_although_no_update_is_due() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.kill(100, &web);
    scene.ended(101, &web, End::Exit, vec![unanswered(50)]);
    scene.ended(102, &web, End::Exit, vec![unanswered(51)]);
    let told = scene.tracker.tell_all();
    let severed = told.iter().find_map(|effect| match effect {
        Effect::Updated(report) => Some(report.requests.severed),
        _ => None,
    });
    assert_eq!(severed, Some(2));
    assert_eq!(scene.tracker.tell_all(), [], "once");
}

#[test]
fn marks_whose_signal_was_lost_go_when_the_process_has_ended() {
    for serving in [true, false] {
        let mut scene = Scene::new();
        let mut web = process(100);
        (web.served, web.signalled) = (serving, true);
        scene.push(
            50,
            EventKind::EventsLost {
                count: 1,
                until_ns: 0,
            },
        );
        scene.died(100, &web, 15);
        scene.finish();
        assert_eq!(scene.count(|e| *e == Effect::UnmarkProcess { pid: 100 }), 1);
        assert_eq!(scene.count(|e| *e == Effect::UnmarkCgroup { cgroup: WEB }), 1);
    }
}

#[test]
fn an_id_that_nobody_heard_of_is_not_taken_back_when_parts_turn_out_to_be_one_shutdown() {
    let mut scene = Scene::new();
    let first = process(100);
    // Events of other CPUs come late: the second part is older than the first, the whole in between.
    scene.died(200, &first.clone().serving(), SIGTERM);
    let second = process(101).child_of(&process(50));
    scene.send(100, SIGINT, &second, Disposition::Ignored);
    scene.send(101, SIGINT, &first.started(0), Disposition::Ignored);
    scene.finish();
    let mut told = BTreeSet::new();
    for effect in &scene.effects {
        match effect {
            Effect::Updated(report) => drop(told.insert(report.id.clone())),
            Effect::Discarded { id } => assert!(told.contains(id), "{id}"),
            _ => {}
        }
    }
    assert!(!told.is_empty());
}
