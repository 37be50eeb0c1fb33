//! Ways to end that no outside stop signal begins, and those that begin nothing.

use super::scene::{SESSION, Scene, WEB, answered, causes, codes, get, ns, process, unanswered};
use crate::{
    event::{Connection, Disposition, End, EventKind, Process, Role, Sender, Signal},
    exchange::{Doubt, Evidence, ExchangeState, Protocol},
    report::{Cause, FindingCode, MomentKind, Report, Trigger, Verdict},
    tracker::{
        Effect,
        episode::signals::{SIGINT, SIGKILL, SIGQUIT, SIGTERM},
    },
};

const SIGUSR1: u32 = 10;

/// A connection that this process closed at `closed`, told at `at`.
fn remembered(scene: &mut Scene, closed: u64, process: &Process, state: ExchangeState) {
    let connection = Connection {
        remembered: true,
        ..scene.connection(process, End::Close, vec![get(state, closed - 50, closed - 20)])
    };
    scene.push(closed, EventKind::ConnectionEnded(connection));
}

#[test]
fn what_a_process_cut_before_it_ended_by_itself_is_severed_and_what_it_answered_is_nothing() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.exit(1500, &web, 0);
    remembered(&mut scene, 1000, &web, ExchangeState::Unanswered);
    remembered(&mut scene, 1000, &web, ExchangeState::ResponseIncomplete);
    remembered(&mut scene, 1010, &web, ExchangeState::Complete);
    scene.emptied(1501);
    let report = scene.report();
    assert_eq!(
        (report.trigger, report.verdict, report.requests.drained),
        (Trigger::Exit, Verdict::Severed, 0)
    );
    assert_eq!(causes(&report), [(Cause::Unanswered, 1), (Cause::Truncated, 1)]);
    assert_eq!(
        report.started_at, "2026-01-01T00:00:01.000Z",
        "it began with the cut"
    );
}

#[test]
fn a_request_that_came_too_late_for_a_process_that_ends_by_itself_is_severed() {
    for came in [1200, 1700] {
        let mut scene = Scene::new();
        let web = process(100).serving();
        scene.exit(1500, &web, 0);
        let closed = Connection {
            remembered: true,
            ..scene.connection(&web, End::Close, vec![get(ExchangeState::Complete, 950, 980)])
        };
        let peer = closed.peer;
        scene.push(1000, EventKind::ConnectionEnded(closed));
        // A retransmission is told, too.
        for _ in 0..2 {
            scene.reset(came, &web, false, 33, peer);
        }
        scene.emptied(1701);
        let report = scene.report();
        assert_eq!(
            (report.trigger, causes(&report)),
            (Trigger::Exit, vec![(Cause::Late, 1)])
        );
        assert_eq!(codes(&report), [FindingCode::KeepaliveRace]);
        let late = &report.severed_requests[0];
        assert_eq!(
            (late.protocol, late.evidence),
            (Protocol::Http11, Evidence::Inferred),
            "nobody read it"
        );
    }
}

#[test]
fn what_comes_for_a_connection_that_was_closed_before_anybody_asked_its_process_to_end_is_not_counted() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.term(1100, &web);
    scene.exit(1500, &web, 0);
    let closed = Connection {
        remembered: true,
        ..scene.connection(&web, End::Close, vec![get(ExchangeState::Complete, 950, 980)])
    };
    let peer = closed.peer;
    scene.push(1000, EventKind::ConnectionEnded(closed));
    scene.reset(1050, &web, false, 33, peer);
    scene.emptied(1501);
    assert_eq!(scene.report().verdict, Verdict::Clean);
}

#[test]
fn what_a_process_closed_before_it_was_asked_to_end_has_nothing_to_do_with_that() {
    for killed in [false, true] {
        let mut scene = Scene::new();
        let web = process(100).serving();
        if killed {
            scene.kill(1500, &web);
            scene.died(1501, &web, SIGKILL);
        } else {
            scene.term(1500, &web);
            scene.exit(1600, &web, 0);
        }
        remembered(&mut scene, 1000, &web, ExchangeState::Unanswered);
        scene.emptied(1700);
        assert_eq!(scene.report().requests.severed, 0, "killed: {killed}");
    }
}

#[test]
fn a_process_that_replaces_its_program_cuts_what_it_closes_by_that() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.push(1000, EventKind::ProcessReplaced { process: web.clone() });
    remembered(&mut scene, 999, &web, ExchangeState::Unanswered);
    let report = scene.report();
    assert_eq!(
        (report.trigger, causes(&report)),
        (Trigger::Worker, vec![(Cause::Unanswered, 1)])
    );
    let mut scene = Scene::new();
    scene.push(1000, EventKind::ProcessReplaced { process: web.clone() });
    remembered(&mut scene, 999, &web, ExchangeState::Complete);
    assert_eq!(scene.finish(), [], "it cut nothing");
}

#[test]
fn a_successor_in_the_same_cgroup_is_none_of_its_predecessors_business() {
    let mut scene = Scene::new();
    let (old, new) = (process(100).serving(), process(101).serving());
    scene.listen(1, &old, 80);
    scene.listen(50, &new, 81);
    scene.term(100, &old);
    scene.ended(150, &old, End::Close, vec![answered(90, 140)]);
    scene.exit(200, &old, 0);
    for second in 1..20 {
        let at = second * 1000;
        scene.arrived(at, at + 10, &new, answered(at, at + 5));
    }
    scene.kill(60_000, &new);
    scene.ended(60_001, &new, End::Exit, vec![unanswered(59_000)]);
    scene.died(60_001, &new, SIGKILL);
    scene.emptied(60_002);
    let reports = scene.finish();
    let [first, second] = &reports[..] else {
        panic!("{reports:#?}");
    };
    assert_eq!(
        (first.trigger, first.verdict, first.requests.drained),
        (Trigger::Stop, Verdict::Clean, 1)
    );
    assert_eq!(first.endpoint_lag_ms, None);
    assert_eq!(codes(first), [FindingCode::HandedOver]);
    assert_eq!(first.ended_at.as_deref(), Some("2026-01-01T00:00:05.200Z"));
    assert_eq!(
        (second.trigger, causes(second)),
        (Trigger::Kill, vec![(Cause::Unanswered, 1)])
    );
}

#[test]
fn a_child_that_serves_on_after_its_shell_was_never_told() {
    let mut scene = Scene::new();
    let shell = process(100).named("sh");
    let server = process(101).child_of(&shell).serving().named("app");
    scene.listen(1, &server, 80);
    scene.send(100, SIGTERM, &shell, Disposition::Default);
    scene.died(101, &shell, SIGTERM);
    scene.arrived(5000, 5010, &server, answered(5000, 5005));
    let updated = |effect: &Effect| match effect {
        Effect::Updated(report) => Some((**report).clone()),
        _ => None,
    };
    scene.tick(9000);
    let last = scene.effects.iter().filter_map(updated).next_back().unwrap();
    assert_eq!(
        (last.ended_at.as_deref(), codes(&last)),
        (None, vec![FindingCode::NotForwarded])
    );
    assert!(
        last.findings[0].summary.contains("serves on"),
        "{:?}",
        last.findings
    );
}

#[test]
fn a_signal_that_need_not_be_a_stop_is_none_when_the_stop_comes_later() {
    for (mild, gap, began) in [
        (SIGQUIT, 8000, "2026-01-01T00:00:08.100Z"),
        (SIGINT, 8000, "2026-01-01T00:00:08.100Z"),
        (SIGINT, 500, "2026-01-01T00:00:00.100Z"),
    ] {
        let mut scene = Scene::new();
        let web = process(100).serving();
        scene.send(100, mild, &web, Disposition::Handled);
        scene.arrived(
            200 + gap / 2,
            300 + gap / 2,
            &web,
            answered(200 + gap / 2, 250 + gap / 2),
        );
        scene.term(100 + gap, &web);
        scene.exit(200 + gap, &web, 0);
        scene.emptied(201 + gap);
        let report = scene.report();
        assert_eq!(report.started_at, began, "{mild} {gap}");
    }
}

#[test]
fn a_masters_signal_to_a_helper_that_ends_nothing_does_not_begin_the_later_kill() {
    let mut scene = Scene::new();
    let master = process(100).serving();
    let helper = process(101).child_of(&master).calling();
    scene.listen(1, &master, 80);
    scene.send_from(
        100,
        SIGINT,
        &helper,
        Disposition::Handled,
        Sender::Process(master.clone()),
    );
    scene.kill(3100, &master);
    scene.died(3101, &master, SIGKILL);
    scene.died(3101, &helper, SIGKILL);
    scene.emptied(3102);
    let reports = scene.finish();
    let whole = reports.iter().find(|report| report.trigger == Trigger::Kill);
    assert_eq!(
        whole.map(|report| &*report.started_at),
        Some("2026-01-01T00:00:03.100Z"),
        "{reports:#?}"
    );
}

#[test]
fn the_kernels_own_kill_is_the_oom_killers_only_where_that_chose_a_victim() {
    for (chosen, trigger, code) in [
        (true, Trigger::Oom, FindingCode::Oom),
        (false, Trigger::Kill, FindingCode::NoGrace),
    ] {
        let mut scene = Scene::new();
        let web = process(100).serving();
        scene.send_from(
            100,
            SIGKILL,
            &web,
            Disposition::Default,
            Sender::Kernel(web.clone()),
        );
        if chosen {
            scene.push(100, EventKind::OomVictim { pid: 100 });
        }
        scene.died(101, &web, SIGKILL);
        scene.emptied(102);
        let report = scene.report();
        assert_eq!((report.trigger, codes(&report)), (trigger, vec![code]));
    }
}

#[test]
fn a_signal_that_ends_a_program_without_a_handler_is_no_fault_of_the_program() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.send(100, SIGUSR1, &web, Disposition::Default);
    scene.died(101, &web, SIGUSR1);
    scene.ended(102, &web, End::Exit, vec![unanswered(50)]);
    scene.emptied(103);
    let report = scene.report();
    assert_eq!(
        (report.trigger, codes(&report)),
        (Trigger::Stop, vec![FindingCode::NoHandler])
    );
    assert_eq!(report.signals[0].sender.comm, "kubelet");
}

#[test]
fn a_process_that_served_one_connection_and_leaves_others_serving_is_no_shutdown() {
    let mut scene = Scene::new();
    let master = process(100).serving();
    scene.listen(1, &master, 80);
    for (pid, code) in [(101, 0), (102, 1)] {
        // Forked for its connection, which was there before.
        let child = Process {
            served_more: false,
            started_ns: ns(10),
            ..process(pid).child_of(&master).serving()
        };
        scene.exit(100, &child, code);
        scene.ended(101, &child, End::Exit, vec![unanswered(50)]);
    }
    assert_eq!(scene.finish(), []);
    let severed = |effect: &Effect| {
        matches!(
            effect,
            Effect::Severed {
                cause: Cause::Unanswered,
                ..
            }
        )
    };
    assert_eq!(scene.count(severed), 2, "what they cut is counted all the same");
}

#[test]
fn a_process_that_took_its_only_connection_from_the_queue_ends_like_any_other_where_that_cost_anything() {
    let master = process(100).serving();
    let child = |pid| Process {
        served_more: false,
        ..process(pid).child_of(&master).serving()
    };
    let listening = || {
        let mut scene = Scene::new();
        scene.listen(1, &master, 80);
        scene
    };
    let mut scene = listening();
    scene.exit(100, &child(101), 0);
    scene.ended(101, &child(101), End::Exit, vec![unanswered(50)]);
    let report = &scene.finish()[0];
    assert_eq!((report.trigger, report.requests.severed), (Trigger::Worker, 1));

    let mut scene = listening();
    scene.exit(100, &child(101), 0);
    let closed = scene.ended(101, &child(101), End::Close, vec![answered(50, 60)]);
    scene.reset(110, &child(101), false, 40, closed.peer);
    let report = &scene.finish()[0];
    assert_eq!(report.severed, [(Cause::Late, 1)].into());

    let mut scene = listening();
    scene.exit(100, &child(101), 0);
    scene.ended(101, &child(101), End::Close, vec![answered(50, 60)]);
    assert_eq!(scene.finish(), [], "nothing was lost");
}

#[test]
fn two_processes_that_serve_one_connection_in_turns_and_leave_others_serving_are_no_shutdown() {
    let mut scene = Scene::new();
    let listener = process(100).serving();
    scene.listen(1, &listener, 22);
    let once = |pid, parent: &Process| Process {
        served_more: false,
        ..process(pid).child_of(parent).serving()
    };
    let monitor = once(101, &listener);
    // Nothing has been heard of its parent by then.
    scene.exit(100, &once(102, &monitor), 0);
    scene.exit(110, &monitor, 255);
    assert_eq!(scene.finish(), []);
}

#[test]
fn a_shutdown_that_is_pushed_out_by_others_is_not_called_clean() {
    let mut scene = Scene::new();
    for pid in 0..1200 {
        let web = process(1000 + pid).serving().child_of(&process(1)).within(WEB);
        scene.term(100 + u64::from(pid), &web);
    }
    let reports = scene.reports();
    assert!(!reports.is_empty());
    assert!(reports.iter().all(|report| report.verdict == Verdict::Unknown));
}

#[test]
fn a_shutdown_that_is_over_and_pushed_out_while_late_arrivals_would_count_is_not_called_clean_either() {
    let mut scene = Scene::new();
    for pid in 0..1200 {
        let web = process(1000 + pid).serving().child_of(&process(1)).within(WEB);
        scene.term(100, &web);
        scene.exit(101, &web, 0);
    }
    let reports = scene.reports();
    assert!(!reports.is_empty());
    assert!(
        reports
            .iter()
            .all(|report| report.unknown_reasons.contains_key(&Doubt::CutShort))
    );
}

#[test]
fn many_shutdowns_of_one_user_push_out_that_users_own_and_nobody_elses() {
    let mut scene = Scene::new();
    let web = process(100).serving().within(WEB);
    scene.term(100, &web);
    scene.create(150, 9, "/user.slice/user-1000.slice/session-3.scope");
    for pid in 0..3000 {
        scene.term(200, &process(1000 + pid).serving().within(9));
    }
    let reports = scene.reports();
    assert!(
        reports.iter().all(|report| report.workload.kind == "process"),
        "{reports:#?}"
    );
    scene.exit(300, &web, 0);
    scene.emptied(301);
    let of_web = |report: &&Report| report.workload.kind != "process";
    assert_eq!(scene.finish().iter().filter(of_web).count(), 1);
}

#[test]
fn a_process_with_a_connection_that_was_not_recorded_ends_in_doubt_whenever_it_ends() {
    let mut scene = Scene::new();
    let web = Process {
        unrecorded: true,
        ..process(100).serving().within(WEB)
    };
    scene.term(100, &web);
    scene.exit(90_000, &web, 0);
    scene.emptied(90_001);
    let report = &scene.finish()[0];
    assert_eq!(report.verdict, Verdict::Unknown);
    assert_eq!(report.unknown_reasons, [(Doubt::NoStorage, 1)].into());
}

#[test]
fn a_process_to_which_a_signal_was_not_told_ends_in_doubt() {
    let mut scene = Scene::new();
    let web = Process {
        untold: true,
        ..process(100).serving().within(WEB)
    };
    scene.exit(100, &web, 0);
    scene.emptied(101);
    let report = &scene.finish()[0];
    assert_eq!((report.verdict, report.events_lost), (Verdict::Unknown, 1));
}

/// SIGTERM, which it does not handle, ends this process that is so busy.
fn interrupted(scene: &mut Scene, process: &Process, busy: u32) {
    let signal = Signal {
        signal: SIGTERM,
        target: process.clone(),
        sender: Sender::Process(super::scene::process(1)),
        disposition: Disposition::Default,
        dropped: false,
        group: true,
        busy: Some(busy),
    };
    scene.push(100, EventKind::Signal(signal));
    scene.push(
        101,
        EventKind::ProcessExited {
            process: process.clone(),
            code: None,
            signal: Some(SIGTERM),
            child: Some("sleep".to_owned()),
            unix_listener: false,
        },
    );
    scene.emptied(102);
}

#[test]
fn who_listens_on_a_unix_socket_is_no_job() {
    let mut scene = Scene::new();
    let server = process(100);
    scene.term(100, &server);
    scene.push(
        200,
        EventKind::ProcessExited {
            process: server.clone(),
            code: None,
            signal: Some(SIGTERM),
            child: None,
            unix_listener: true,
        },
    );
    scene.emptied(201);
    let report = scene.report();
    assert_eq!((report.verdict, report.unix_sockets), (Verdict::Clean, true));
}

#[test]
fn a_job_that_a_signal_ended_is_never_clean_and_one_that_was_at_work_was_cut() {
    for (busy, finding) in [(97, Some(FindingCode::BusyWhenKilled)), (3, None)] {
        let mut scene = Scene::new();
        let job = process(100);
        interrupted(&mut scene, &job, busy);
        let report = scene.report();
        assert_eq!(report.verdict, Verdict::Unknown);
        assert_eq!(
            report.unknown_reasons.iter().collect::<Vec<_>>(),
            [(&Doubt::Job, &1)]
        );
        let wanted: Vec<_> = [Some(FindingCode::NoHandler), finding]
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(codes(&report), wanted);
        let exit = report
            .timeline
            .iter()
            .find(|moment| moment.what == MomentKind::Exit)
            .unwrap();
        let doing = format!("SIGTERM, at work {busy} % of the time, its child sleep running");
        assert_eq!(exit.detail.as_deref(), Some(&doing[..]));
    }
}

#[test]
fn a_server_that_a_signal_ended_is_no_job() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    interrupted(&mut scene, &web, 97);
    let report = scene.report();
    assert_eq!(
        (report.verdict, codes(&report)),
        (Verdict::Clean, vec![FindingCode::NoHandler])
    );
}

#[test]
fn what_somebody_starts_and_stops_by_hand_is_told_of_only_where_that_is_wanted_unless_it_served() {
    for (processes, serves, reports, told) in [(false, false, 0, 0), (true, false, 1, 1), (false, true, 1, 1)]
    {
        let mut scene = Scene::hiding(!processes);
        let tool = Process {
            called: true,
            served: serves,
            ..process(100).within(SESSION)
        };
        scene.term(100, &tool);
        let call = Connection {
            role: Role::Client,
            ..scene.connection(&tool, End::Exit, vec![get(ExchangeState::Unanswered, 50, 60)])
        };
        scene.push(101, EventKind::ConnectionEnded(call));
        scene.died(102, &tool, SIGTERM);
        assert_eq!(scene.finish().len(), reports);
        assert_eq!(
            scene.count(|effect| matches!(effect, Effect::Severed { .. })),
            told
        );
    }
}
