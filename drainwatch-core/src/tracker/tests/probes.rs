//! Health checks and scrapes: in nothing but their own number.

use std::{net::SocketAddr, sync::Arc};

use super::{
    naming::{WEB_CGROUP, pod, pod_scene, web},
    scene::{Scene, answered, causes, codes, get, local, ns, process, unanswered},
};
use crate::{
    class::Classes,
    description::{Description, Pod, Probe},
    event::{Connection, End, EventKind},
    exchange::{Evidence, Exchange, ExchangeState, Operation, Protocol},
    report::{Cause, FindingCode, Outcomes, Report, Verdict},
    tracker::{Effect, Tracker, TrackerConfig},
};

/// The same request, asked by a known prober.
fn by(prober: &str, mut exchange: Exchange) -> Exchange {
    if let Operation::Http(http) = &mut exchange.operation {
        http.prober = Some(prober.to_owned());
    }
    exchange
}

fn by_kubelet(exchange: Exchange) -> Exchange {
    by("kubelet", exchange)
}

fn at(path: &str, mut exchange: Exchange) -> Exchange {
    if let Operation::Http(http) = &mut exchange.operation {
        http.path = Some(path.to_owned());
    }
    exchange
}

fn from(host: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::from((host, port))
}

const NODE: [u8; 4] = [192, 168, 1, 5];
const GATEWAY: [u8; 4] = [10, 88, 0, 1];
const USER: [u8; 4] = [10, 88, 3, 3];

/// A pod with a readiness probe over HTTP and a liveness probe that only connects, both at port 80.
fn probed_pod() -> Description {
    Description::Pod(Pod {
        probes: vec![
            Probe {
                port: 80,
                path: None,
                period_seconds: Some(1),
            },
            Probe {
                port: 80,
                path: Some("/healthz".into()),
                period_seconds: Some(10),
            },
        ],
        hosts: vec![NODE.into()],
        ..pod()
    })
}

fn serving() -> Scene {
    let mut scene = pod_scene();
    scene.describe(5, probed_pod());
    scene.listen(6, &web(), 80);
    scene
}

/// A SYN of this peer to port 80, which is closed.
fn knock(scene: &mut Scene, at: u64, peer: SocketAddr) {
    scene.reset(at, &web(), true, 0, peer);
}

/// A connection of this peer that nobody accepted.
fn queued(scene: &mut Scene, at: u64, peer: SocketAddr, unread: u32) {
    let connection = Connection {
        peer,
        unread,
        ..scene.connection(&web(), End::Unaccepted, vec![])
    };
    scene.push(at, EventKind::ConnectionEnded(connection));
}

fn gone(scene: &mut Scene, at: u64) -> Report {
    scene.exit(at, &web(), 0);
    scene.push(at + 1, EventKind::CgroupEmptied { cgroup: WEB_CGROUP });
    scene.report()
}

#[track_caller]
fn clean(report: &Report, probes: u64) {
    assert_eq!(
        (report.verdict, &report.requests, report.probes),
        (Verdict::Clean, &Outcomes::default(), probes),
        "{report:#?}"
    );
    assert_eq!((report.endpoint_lag_ms, report.drain_ms), (None, None));
    assert!(report.severed_requests.is_empty() && report.drained_requests.is_empty());
    assert_eq!(codes(report), []);
}

/// A rollout whose probes come late, are refused, and wait in the accept queue.
fn rollout(also: impl FnOnce(&mut Scene)) -> Report {
    let mut scene = serving();
    scene.term(1000, &web());
    scene.exchange(1500, &web(), by_kubelet(at("/healthz", answered(1400, 1450))));
    scene.exchange(
        2500,
        &web(),
        by("prometheus", at("/metrics", answered(2400, 2450))),
    );
    scene.unlisten(2600, &web(), 80);
    queued(&mut scene, 2601, from(NODE, 40_100), 120);
    knock(&mut scene, 2700, from(NODE, 40_101));
    also(&mut scene);
    gone(&mut scene, 3000)
}

#[test]
fn a_clean_rollout_with_late_refused_and_unaccepted_probes_is_clean_without_lag_and_advice() {
    clean(&rollout(|_| {}), 4);
}

#[test]
fn one_users_request_that_is_cut_in_it_is_the_only_one() {
    let report = rollout(|scene| {
        scene.ended(2900, &web(), End::Exit, vec![unanswered(900)]);
    });
    assert_eq!((report.verdict, report.probes), (Verdict::Severed, 4));
    assert_eq!(causes(&report), [(Cause::Unanswered, 1)]);
    assert_eq!(report.requests.severed, 1);
    assert_eq!(codes(&report), [FindingCode::ExitWithoutDrain]);
}

#[test]
fn users_that_are_refused_or_wait_in_the_accept_queue_are_not_taken_for_probes() {
    let report = rollout(|scene| {
        queued(scene, 2610, from(USER, 40_200), 0);
        knock(scene, 2710, from(USER, 40_201));
    });
    assert_eq!(causes(&report), [(Cause::Unaccepted, 1)]);
    assert_eq!(report.refused.attempts, 1);
    assert_eq!(report.probes, 4);
}

#[test]
fn a_probe_is_no_severed_aborted_unknown_or_drained_request_whatever_becomes_of_it() {
    for state in [
        ExchangeState::Unanswered,
        ExchangeState::ResponseIncomplete,
        ExchangeState::Complete,
        ExchangeState::Unknown,
    ] {
        for end in [End::Exit, End::Close, End::Peer, End::Unknown] {
            let mut scene = Scene::new();
            let web = process(100).serving();
            scene.term(100, &web);
            scene.exit(199, &web, 0);
            scene.ended(200, &web, end, vec![by_kubelet(get(state, 150, 160))]);
            scene.emptied(201);
            let report = scene.report();
            let told = u64::from((state, end) != (ExchangeState::Unknown, End::Peer));
            clean(&report, told);
            let counted = |effect: &Effect| matches!(effect, Effect::Probed { count: 1, .. });
            assert_eq!(scene.count(counted) as u64, told, "{state:?} {end:?}");
        }
    }
}

#[test]
fn a_connection_that_opens_and_closes_without_a_byte_is_no_arrival() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.term(100, &web);
    let check = Connection {
        born_ns: ns(5000),
        silent: true,
        ..scene.connection(&web, End::Peer, vec![])
    };
    scene.push(5001, EventKind::ConnectionEnded(check));
    scene.exit(6000, &web, 0);
    scene.emptied(6001);
    clean(&scene.report(), 1);
}

#[test]
fn a_recording_of_an_older_version_that_did_not_say_so_replays_as_it_did() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.term(100, &web);
    let came = Connection {
        born_ns: ns(5000),
        ..scene.connection(&web, End::Peer, vec![])
    };
    let event = EventKind::ConnectionEnded(came);
    assert!(!serde_json::to_string(&event).unwrap().contains("silent"));
    scene.push(5001, event);
    scene.exit(6000, &web, 0);
    scene.emptied(6001);
    let report = scene.report();
    assert_eq!((report.endpoint_lag_ms, report.probes), (Some(4900.0), 0));
}

#[test]
fn what_the_pod_describes_is_a_probe_whoever_asks_but_for_its_front_page() {
    for (path, port, probes) in [
        ("/healthz", 80, 1),
        ("/healthz", 81, 0),
        ("/pay", 80, 0),
        ("/", 80, 0),
    ] {
        let mut scene = pod_scene();
        let Description::Pod(mut described) = probed_pod() else {
            unreachable!()
        };
        described.probes.push(Probe {
            port: 80,
            path: Some("/".into()),
            period_seconds: Some(10),
        });
        scene.describe(5, Description::Pod(described));
        scene.listen(6, &web(), port);
        scene.term(1000, &web());
        let connection = Connection {
            local: local(port),
            ..scene.connection(&web(), End::Exit, vec![at(path, unanswered(900))])
        };
        scene.push(1100, EventKind::ConnectionEnded(connection));
        let report = gone(&mut scene, 1200);
        assert_eq!(
            (report.probes, report.requests.severed),
            (probes, 1 - probes),
            "{path} at {port}"
        );
    }
}

#[test]
fn a_probe_that_still_waited_to_be_read_when_its_process_died_is_one_all_the_same() {
    for (peer, probes) in [(NODE, 1), (USER, 0)] {
        let mut scene = serving();
        scene.term(1000, &web());
        let waiting = Exchange {
            started_ns: 0,
            operation: Operation::Opaque,
            evidence: Evidence::Inferred,
            protocol: Protocol::Tcp,
            ..unanswered(900)
        };
        let connection = Connection {
            peer: from(peer, 40_000),
            unread: 120,
            ..scene.connection(&web(), End::Exit, vec![waiting])
        };
        scene.push(1100, EventKind::ConnectionEnded(connection));
        let report = gone(&mut scene, 1200);
        assert_eq!(
            (report.probes, report.requests.severed),
            (probes, 1 - probes),
            "{peer:?}"
        );
    }
}

#[test]
fn where_the_kubelet_asks_from_is_learned_from_a_probe_that_the_pod_describes() {
    let knocked = |learned: Option<Exchange>| {
        let mut scene = serving();
        scene.term(1000, &web());
        if let Some(exchange) = learned {
            let connection = Connection {
                peer: from(GATEWAY, 40_000),
                ..scene.connection(&web(), End::Peer, vec![exchange])
            };
            scene.push(1500, EventKind::ConnectionEnded(connection));
        }
        scene.unlisten(2000, &web(), 80);
        knock(&mut scene, 2100, from(GATEWAY, 40_001));
        let report = gone(&mut scene, 3000);
        (report.probes, report.refused.attempts)
    };
    let asked = || answered(1400, 1450);
    assert_eq!(knocked(Some(by_kubelet(at("/healthz", asked())))), (2, 0));
    assert_eq!(knocked(None), (0, 1), "a gateway's users look the same");
    assert_eq!(
        knocked(Some(by_kubelet(at("/other", asked())))),
        (1, 1),
        "anybody can bear its name"
    );
    assert_eq!(
        knocked(Some(by("elb", at("/healthz", asked())))),
        (1, 1),
        "a balancer sends users, too"
    );
}

#[test]
fn users_whom_the_node_forwards_are_told_from_probes_by_asking_more_often_than_the_kubelet_can() {
    let knocked = |attempts: u16, until: u64| {
        let mut scene = serving();
        scene.term(1000, &web());
        scene.unlisten(1001, &web(), 80);
        for attempt in 0..attempts {
            let at = 1002 + (until - 1002) * u64::from(attempt) / u64::from(attempts);
            knock(&mut scene, at, from(NODE, 40_000 + attempt));
        }
        let report = gone(&mut scene, 30_000);
        (report.probes, report.refused.attempts)
    };
    // Two probes, of 1 s and of 10 s.
    assert_eq!(knocked(4, 1500), (4, 0));
    assert_eq!(knocked(40, 1900), (4, 36));
    assert_eq!(knocked(11, 11_000), (11, 0), "as often as the kubelet asks");
    assert_eq!(knocked(200, 11_000).1, 200 - 13, "the last one came after 9.9 s");
}

#[test]
fn a_scrape_that_meets_a_connection_which_was_closed_is_no_late_request() {
    let late_after = |exchange: Exchange| {
        let mut scene = serving();
        scene.term(1000, &web());
        let connection = Connection {
            peer: from(USER, 40_000),
            ..scene.connection(&web(), End::Close, vec![exchange])
        };
        scene.push(1100, EventKind::ConnectionEnded(connection));
        scene.reset(1200, &web(), false, 90, from(USER, 40_000));
        let report = gone(&mut scene, 3000);
        (report.probes, causes(&report))
    };
    assert_eq!(late_after(by("prometheus", answered(500, 600))), (1, vec![]));
    assert_eq!(late_after(answered(500, 600)), (0, vec![(Cause::Late, 1)]));
}

#[test]
fn probes_between_the_deletion_and_the_stop_signal_are_no_lag() {
    let mut scene = serving();
    let Description::Pod(described) = probed_pod() else {
        unreachable!()
    };
    let deleted = Pod {
        deleted_ms: Some(super::scene::WALL_MS + 10_000),
        ..described
    };
    scene.describe(10_100, Description::Pod(deleted));
    scene.exchange(
        12_000,
        &web(),
        by_kubelet(at("/healthz", answered(11_900, 11_950))),
    );
    scene.term(15_000, &web());
    let report = gone(&mut scene, 15_500);
    assert!(report.deleted_at.is_some());
    clean(&report, 0);
}

#[test]
fn a_rule_of_the_users_that_is_named_probe_makes_probes_of_what_never_said_a_byte_too() {
    let rule = serde_json::from_value(serde_json::json!({"name": "probe", "port": 80})).unwrap();
    let mut scene = Scene::new();
    scene.tracker = Tracker::new(TrackerConfig {
        node: Scene::NODE.to_owned(),
        linger_ns: 5_000_000_000,
        classes: Arc::new(Classes::new(vec![rule])),
        processes: true,
    });
    scene.tick(0);
    scene.create(0, super::scene::WEB, "/web");
    let web = process(100).serving();
    scene.listen(50, &web, 80);
    scene.term(100, &web);
    scene.unlisten(110, &web, 80);
    scene.reset(150, &web, true, 0, from(USER, 40_000));
    scene.ended(160, &web, End::Exit, vec![unanswered(90)]);
    scene.exit(199, &web, 0);
    scene.emptied(201);
    clean(&scene.report(), 2);
}
