//! What is said to have been wrong, and with which numbers.

use super::scene::{Scene, WEB, answered, codes, get, local, process, unanswered};
use crate::{
    event::{Connection, Disposition, End, EventKind, Process, Sender},
    exchange::{Exchange, ExchangeState, Protocol},
    report::{Finding, FindingCode, Report},
    tracker::episode::signals::{SIGKILL, SIGTERM},
};

fn summary(report: &Report, code: FindingCode) -> &str {
    let found = report.findings.iter().find(|finding| finding.code == code);
    found.map_or_else(
        || panic!("no {code} in {:#?}", report.findings),
        |finding| finding.summary.as_str(),
    )
}

#[test]
fn no_handler() {
    let mut scene = Scene::new();
    let web = process(100).serving().named("app");
    scene.send(100, SIGTERM, &web, Disposition::Default);
    scene.died(101, &web, SIGTERM);
    scene.ended(102, &web, End::Exit, vec![unanswered(50)]);
    scene.emptied(103);
    let report = scene.report();
    assert_eq!(codes(&report), [FindingCode::NoHandler]);
    assert_eq!(
        summary(&report, FindingCode::NoHandler),
        "app (pid 100) has no handler for SIGTERM: the default action ended it 1.0 ms later."
    );
}

#[test]
fn ignored_by_pid1() {
    let mut scene = Scene::new();
    let web = process(100).serving().pid1().named("app");
    scene.send(100, SIGTERM, &web, Disposition::Default);
    scene.kill(30_100, &web);
    scene.died(30_101, &web, SIGKILL);
    scene.ended(30_102, &web, End::Exit, vec![unanswered(50)]);
    scene.emptied(30_103);
    let report = scene.report();
    assert_eq!(
        codes(&report),
        [FindingCode::IgnoredByPid1],
        "its requests were not draining"
    );
    assert!(summary(&report, FindingCode::IgnoredByPid1).contains("SIGKILL came 30.0 s later"));
}

#[test]
fn a_handler_that_raises_the_signal_again_is_none_at_pid_1() {
    // As Node's runtime does, which the ledger met.
    let mut scene = Scene::new();
    let node = process(100).serving().pid1().named("node");
    scene.term(100, &node);
    scene.delivered(100, &node, SIGTERM);
    scene.raised_again(101, &node, SIGTERM);
    scene.kill(10_100, &node);
    scene.died(10_101, &node, SIGKILL);
    scene.ended(10_102, &node, End::Exit, vec![unanswered(50)]);
    scene.emptied(10_103);
    assert_eq!(codes(&scene.report()), [FindingCode::IgnoredByPid1]);
}

#[test]
fn a_process_that_ends_itself_by_the_signal_after_its_drain_has_a_handler() {
    // As uvicorn does.
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.term(100, &web);
    scene.delivered(100, &web, SIGTERM);
    scene.exchange(300, &web, answered(50, 300));
    scene.send_from(
        400,
        SIGTERM,
        &web,
        Disposition::Default,
        Sender::Process(web.clone()),
    );
    scene.died(401, &web, SIGTERM);
    scene.emptied(402);
    assert_eq!(codes(&scene.report()), []);
}

#[test]
fn not_forwarded_by_a_shell_whose_orphan_serves_on() {
    let mut scene = Scene::new();
    let shell = process(100).named("sh");
    let server = process(101).child_of(&shell).serving().named("app");
    scene.listen(1, &server, 80);
    scene.send(100, SIGTERM, &shell, Disposition::Default);
    scene.died(100, &shell, SIGTERM);
    let orphan = Process {
        parent: 1,
        parent_in_cgroup: false,
        unrecorded: false,
        untold: false,
        ..server
    };
    scene.kill(10_100, &orphan);
    scene.died(10_101, &orphan, SIGKILL);
    scene.ended(10_102, &orphan, End::Exit, vec![unanswered(50)]);
    scene.emptied(10_103);
    let report = scene.report();
    assert!(
        codes(&report).contains(&FindingCode::NotForwarded),
        "{:?}",
        codes(&report)
    );
    assert_eq!(report.exit.unwrap().pid, 100);
}

#[test]
fn not_forwarded_by_a_shell_that_is_pid_1() {
    let mut scene = Scene::new();
    let shell = process(100).pid1().named("sh");
    let server = process(101).child_of(&shell).serving().named("app");
    scene.listen(1, &server, 80);
    scene.send(100, SIGTERM, &shell, Disposition::Default);
    scene.kill(10_100, &server);
    scene.kill(10_100, &shell);
    scene.died(10_101, &server, SIGKILL);
    scene.ended(10_102, &server, End::Exit, vec![unanswered(50)]);
    scene.died(10_103, &shell, SIGKILL);
    scene.emptied(10_104);
    let report = scene.report();
    assert_eq!(
        codes(&report),
        [FindingCode::IgnoredByPid1, FindingCode::NotForwarded]
    );
    assert_eq!(
        summary(&report, FindingCode::NotForwarded),
        "sh (pid 100) received SIGTERM; app (pid 101), which serves, never got a stop signal, and was killed 10.0 s later."
    );
}

#[test]
fn workers_that_learn_of_the_stop_by_a_pipe_were_told() {
    let mut scene = Scene::new();
    let master = process(100);
    let worker = process(101).child_of(&master).serving();
    scene.term(100, &master);
    scene.exit(200, &worker, 0);
    scene.exit(201, &master, 0);
    scene.emptied(202);
    assert_eq!(codes(&scene.report()), []);
}

#[test]
fn exit_without_drain() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.listen(1, &web, 80);
    scene.term(100, &web);
    scene.unlisten(101, &web, 80);
    scene.exit(105, &web, 0);
    scene.ended(106, &web, End::Exit, vec![unanswered(50)]);
    scene.ended(106, &web, End::Exit, vec![unanswered(60)]);
    scene.emptied(107);
    let report = scene.report();
    assert_eq!(codes(&report), [FindingCode::ExitWithoutDrain]);
    assert_eq!(
        summary(&report, FindingCode::ExitWithoutDrain),
        "It handled the stop signal and exited 5.0 ms after the stop signal, with 2 requests outstanding."
    );
}

#[test]
fn killed_mid_drain() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.listen(1, &web, 80);
    scene.term(100, &web);
    scene.unlisten(101, &web, 80);
    scene.ended(8_000, &web, End::Close, vec![answered(50, 7_950)]);
    scene.kill(10_100, &web);
    scene.died(10_101, &web, SIGKILL);
    scene.ended(10_102, &web, End::Exit, vec![unanswered(60)]);
    scene.emptied(10_103);
    let report = scene.report();
    assert_eq!(codes(&report), [FindingCode::KilledMidDrain]);
    assert_eq!(
        summary(&report, FindingCode::KilledMidDrain),
        "SIGKILL came 10.0 s after the stop signal and severed 1 request; 1 had finished, the longest after 7.9 s."
    );
}

#[test]
fn hung_on_idle_connections() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.listen(1, &web, 80);
    scene.term(100, &web);
    scene.unlisten(101, &web, 80);
    scene.kill(10_100, &web);
    scene.died(10_101, &web, SIGKILL);
    for _ in 0..3 {
        scene.ended(10_102, &web, End::Exit, vec![answered(20, 30)]);
    }
    scene.emptied(10_103);
    let report = scene.report();
    assert_eq!(codes(&report), [FindingCode::HungOnIdleConnections]);
    assert!(summary(&report, FindingCode::HungOnIdleConnections).contains("3 idle keep-alive connections"));
}

#[test]
fn kept_accepting() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.listen(1, &web, 80);
    scene.term(100, &web);
    scene.kill(10_100, &web);
    scene.died(10_101, &web, SIGKILL);
    scene.unlisten(10_102, &web, 80);
    scene.emptied(10_103);
    assert_eq!(codes(&scene.report()), [FindingCode::KeptAccepting]);
}

#[test]
fn handler_late_by_its_delivery_or_by_its_first_effect() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.term(100, &web);
    scene.delivered(3_600, &web, SIGTERM);
    scene.exit(3_700, &web, 0);
    scene.emptied(3_701);
    let report = scene.report();
    assert_eq!(codes(&report), [FindingCode::HandlerLate]);
    assert!(summary(&report, FindingCode::HandlerLate).contains("reached its handler only 3.5 s"));

    for (exit, codes_expected) in [(4_000, vec![]), (9_000, vec![FindingCode::HandlerLate])] {
        let mut scene = Scene::new();
        scene.send(100, SIGTERM, &web, Disposition::Blocked);
        scene.exit(exit, &web, 0);
        scene.emptied(exit + 1);
        assert_eq!(codes(&scene.report()), codes_expected, "exit at {exit}");
    }
}

#[test]
fn traffic_after_stop_refused_after_close_keepalive_race_and_backlog_dropped() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.listen(1, &web, 80);
    scene.term(100, &web);
    scene.arrived(250, 300, &web, answered(250, 300));
    let queued = scene.connection(&web, End::Unaccepted, vec![]);
    scene.push(1_000, EventKind::ConnectionEnded(queued));
    scene.unlisten(1_000, &web, 80);
    scene.reset(1_500, &web, true, 0, local(1));
    let idle = scene.ended(1_600, &web, End::Close, vec![answered(20, 30)]);
    scene.reset(1_700, &web, false, 33, idle.peer);
    scene.exit(1_800, &web, 0);
    scene.emptied(1_801);
    let report = scene.report();
    assert_eq!(
        codes(&report),
        [
            FindingCode::ExitWithoutDrain,
            FindingCode::TrafficAfterStop,
            FindingCode::RefusedAfterClose,
            FindingCode::KeepaliveRace,
            FindingCode::BacklogDropped
        ]
    );
    assert_eq!(
        summary(&report, FindingCode::TrafficAfterStop),
        "2 new connections came after the stop signal, the last 1.4 s after it."
    );
    assert_eq!(
        summary(&report, FindingCode::RefusedAfterClose),
        "1 connection attempt of 1 client found the port closed, the first 500 ms after the listener had closed."
    );
}

#[test]
fn busy_when_killed_and_not_when_idle() {
    for (used_us, expected) in [(900_000, vec![FindingCode::BusyWhenKilled]), (100_000, vec![])] {
        let mut scene = Scene::new();
        let job = process(100).calling();
        scene.term(100, &job);
        for second in 1..=9 {
            let kind = EventKind::CpuUsed {
                cgroup: WEB,
                usage_us: second * used_us,
            };
            scene.push(second * 1000, kind);
        }
        scene.kill(9_500, &job);
        scene.died(9_501, &job, SIGKILL);
        scene.emptied(9_502);
        assert_eq!(codes(&scene.report()), expected);
    }
}

#[test]
fn oom_crash_and_no_grace() {
    let web = process(100).serving().named("app");
    let mut scene = Scene::new();
    scene.send_from(
        100,
        SIGKILL,
        &web,
        Disposition::Default,
        Sender::Kernel(process(5)),
    );
    scene.push(100, EventKind::OomVictim { pid: 100 });
    scene.died(101, &web, SIGKILL);
    scene.emptied(102);
    let report = scene.report();
    assert_eq!(codes(&report), [FindingCode::Oom]);
    assert!(summary(&report, FindingCode::Oom).contains("app (pid 100)"));

    let mut scene = Scene::new();
    scene.exit(101, &web, 143);
    scene.emptied(102);
    let report = scene.report();
    assert_eq!(codes(&report), [FindingCode::Crash]);
    assert!(summary(&report, FindingCode::Crash).contains("128 + SIGTERM"));

    let mut scene = Scene::new();
    scene.kill(100, &web);
    scene.died(101, &web, SIGKILL);
    scene.ended(102, &web, End::Exit, vec![unanswered(50)]);
    scene.emptied(103);
    let report = scene.report();
    assert_eq!(codes(&report), [FindingCode::NoGrace]);
    assert_eq!(
        summary(&report, FindingCode::NoGrace),
        "app (pid 100) got SIGKILL with no stop signal before it; 1 request severed."
    );
}

#[test]
fn every_finding_is_a_summary_and_an_advice_of_one_sentence_each() {
    let mut scene = Scene::new();
    let web = process(100).serving().pid1();
    scene.listen(1, &web, 80);
    scene.term(100, &web);
    scene.exchange(300, &web, answered(250, 300));
    scene.kill(10_000, &web);
    scene.died(10_001, &web, SIGKILL);
    scene.ended(10_002, &web, End::Exit, vec![unanswered(50)]);
    scene.emptied(10_003);
    for Finding {
        code,
        summary,
        advice,
    } in scene.report().findings
    {
        for sentence in [summary, advice] {
            assert!(
                sentence.ends_with('.') && !sentence.contains(".."),
                "{code}: {sentence}"
            );
            assert!(
                !sentence.trim_end_matches('.').contains(". "),
                "{code}: {sentence}"
            );
        }
    }
}

#[test]
fn a_whole_report() {
    let mut scene = Scene::new();
    let master = process(100).named("gunicorn");
    let worker = process(101).child_of(&master).serving().named("worker");
    scene.listen(1, &master, 80);
    scene.term(100, &master);
    scene.delivered(101, &master, SIGTERM);
    scene.send_from(
        102,
        SIGTERM,
        &worker,
        Disposition::Handled,
        Sender::Process(master.clone()),
    );
    scene.unlisten(103, &master, 80);
    scene.ended(400, &worker, End::Close, vec![answered(90, 399)]);
    scene.reset(500, &master, true, 0, local(4000));
    scene.kill(2_100, &worker);
    scene.died(2_101, &worker, SIGKILL);
    scene.ended(2_102, &worker, End::Exit, vec![unanswered(80)]);
    let stream = Exchange {
        protocol: Protocol::WebSocket,
        ..get(ExchangeState::Stream, 20, 90)
    };
    let socket = scene.connection(&worker, End::Exit, vec![stream]);
    scene.push(
        2_102,
        EventKind::ConnectionEnded(Connection { unread: 3, ..socket }),
    );
    scene.exit(2_103, &master, 0);
    scene.emptied(2_104);
    insta::assert_json_snapshot!(scene.report());
}

#[test]
fn a_master_that_kills_the_worker_it_told_by_a_pipe_did_forward() {
    let mut scene = Scene::new();
    let master = process(100);
    let worker = process(101).child_of(&master).serving();
    scene.term(100, &master);
    let sender = Sender::Process(master.clone());
    scene.send_from(1_100, SIGKILL, &worker, Disposition::Default, sender);
    scene.died(1_101, &worker, SIGKILL);
    scene.ended(1_102, &worker, End::Exit, vec![unanswered(50)]);
    scene.exit(1_200, &master, 0);
    scene.emptied(1_201);
    assert_eq!(codes(&scene.report()), [FindingCode::KilledMidDrain]);
}
