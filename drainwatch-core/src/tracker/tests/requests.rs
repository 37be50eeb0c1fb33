//! What becomes of requests: outcomes and causes.

use std::net::SocketAddr;

use super::scene::{SESSION, Scene, answered, causes, codes, get, ns, process, unanswered};
use crate::{
    event::{Connection, Disposition, End, EventKind, Listener, OtherEnd, Role},
    exchange::{
        Doubt, Evidence, Exchange, ExchangeId,
        ExchangeState::{
            self, Complete, Opaque, RequestIncomplete, ResponseIncomplete, Stream, Unanswered, Unknown,
        },
        Http, Operation, Protocol,
    },
    report::{Cause, FindingCode, Outcomes, Verdict},
    tracker::{Effect, episode::signals::SIGKILL},
};

/// `/web` is stopped at 100 ms; this connection's event comes at 200 ms; then all is over.
fn outcome_of(connection: impl FnOnce(Connection) -> Connection) -> (Outcomes, Vec<(Cause, u64)>, Verdict) {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.term(100, &web);
    scene.exit(199, &web, 0);
    let connection = connection(scene.connection(&web, End::Exit, vec![]));
    scene.push(200, EventKind::ConnectionEnded(connection));
    scene.emptied(201);
    let report = scene.report();
    (report.requests.clone(), causes(&report), report.verdict)
}

fn with(end: End, exchange: Exchange) -> impl FnOnce(Connection) -> Connection {
    move |connection| Connection {
        end,
        exchanges: vec![exchange],
        ..connection
    }
}

#[test]
fn a_request_that_the_server_leaves_is_severed_for_the_reason_that_its_state_gives() {
    for (state, cause) in [
        (Unanswered, Cause::Unanswered),
        (ResponseIncomplete, Cause::Truncated),
        (RequestIncomplete, Cause::Upload),
        (Stream, Cause::Stream),
    ] {
        for end in [End::Exit, End::Close] {
            let (outcomes, severed, verdict) = outcome_of(with(end, get(state, 50, 60)));
            assert_eq!(
                (outcomes.severed, severed),
                (1, vec![(cause, 1)]),
                "{state:?} {end:?}"
            );
            assert_eq!(verdict, Verdict::Severed);
        }
    }
}

#[test]
fn a_request_that_the_peer_left_is_aborted_and_one_in_doubt_is_unknown() {
    for state in [Unanswered, ResponseIncomplete, RequestIncomplete, Stream] {
        let (outcomes, severed, verdict) = outcome_of(with(End::Peer, get(state, 50, 60)));
        assert_eq!(
            (outcomes.aborted, severed, verdict),
            (1, vec![], Verdict::Clean),
            "{state:?}"
        );
        let (outcomes, _, verdict) = outcome_of(with(End::Unknown, get(state, 50, 60)));
        assert_eq!((outcomes.unknown, verdict), (1, Verdict::Unknown), "{state:?}");
    }
    let (outcomes, _, verdict) = outcome_of(with(End::Exit, get(Unknown, 50, 60)));
    assert_eq!((outcomes.unknown, verdict), (1, Verdict::Unknown));
    let (outcomes, _, verdict) = outcome_of(with(End::Peer, get(Unknown, 50, 60)));
    assert_eq!(
        (outcomes, verdict),
        (Outcomes::default(), Verdict::Clean),
        "not severed in any case"
    );
    let reset = |connection: Connection| Connection {
        unacked: 126,
        ..with(End::Peer, get(Unknown, 50, 60))(connection)
    };
    let (outcomes, _, verdict) = outcome_of(reset);
    assert_eq!(
        (outcomes.aborted, verdict),
        (1, Verdict::Clean),
        "reset in the middle of our write"
    );
}

#[test]
fn an_answer_that_ended_before_the_stop_is_an_idle_connection_and_one_after_it_is_drained() {
    let (outcomes, ..) = outcome_of(with(End::Exit, answered(50, 99)));
    assert_eq!(outcomes, Outcomes::default());
    let (outcomes, ..) = outcome_of(with(End::Exit, answered(50, 150)));
    assert_eq!(
        outcomes,
        Outcomes {
            drained: 1,
            ..Outcomes::default()
        }
    );
}

#[test]
fn a_connection_of_a_workload_with_itself_is_nobodys_request() {
    for (other_end, severed) in [
        (OtherEnd::Elsewhere, 1),
        (OtherEnd::SameCgroup, 0),
        (OtherEnd::SameProcess, 0),
    ] {
        let (outcomes, ..) = outcome_of(|connection| Connection {
            other_end,
            ..with(End::Exit, get(Unanswered, 50, 60))(connection)
        });
        assert_eq!(
            outcomes,
            Outcomes {
                severed,
                ..Outcomes::default()
            }
        );
    }
}

#[test]
fn two_processes_of_a_login_session_that_talk_are_two_workloads() {
    for (other_end, severed) in [(OtherEnd::SameCgroup, 1), (OtherEnd::SameProcess, 0)] {
        let mut scene = Scene::new();
        let tool = process(100).within(SESSION).serving();
        scene.term(100, &tool);
        scene.exit(199, &tool, 0);
        let connection = Connection {
            other_end,
            ..scene.connection(&tool, End::Exit, vec![get(Unanswered, 50, 60)])
        };
        scene.push(200, EventKind::ConnectionEnded(connection));
        assert_eq!(scene.report().requests.severed, severed, "{other_end:?}");
    }
}

#[test]
fn a_request_that_comes_while_its_connection_is_being_closed_lost_the_keep_alive_race() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.term(100, &web);
    let next = Exchange {
        id: ExchangeId::Turn { turn: 1, index: 1 },
        operation: Operation::Http(Http::default()),
        ..get(Unanswered, 105, 105)
    };
    let connection = Connection {
        unread: 80,
        aborted: true,
        ..scene.connection(&web, End::Close, vec![answered(50, 60), next])
    };
    scene.push(110, EventKind::ConnectionEnded(connection));
    scene.exit(199, &web, 0);
    scene.emptied(201);
    let report = scene.report();
    assert_eq!(
        (causes(&report), codes(&report)),
        (vec![(Cause::Unanswered, 1)], vec![FindingCode::KeepaliveRace])
    );
}

#[test]
fn attempts_that_go_on_are_watched_on_and_recommend_nothing_where_they_do_not_stop() {
    for (last_attempt, lag, ended) in [
        (20_000, Some(19_900.0), "2026-01-01T00:00:25.000Z"),
        (90_000, None, "2026-01-01T00:01:05.200Z"),
    ] {
        let mut scene = Scene::new();
        let web = process(100).serving();
        scene.listen(1, &web, 80);
        scene.term(100, &web);
        scene.unlisten(150, &web, 80);
        scene.exit(199, &web, 0);
        scene.emptied(200);
        for at in (1000..=last_attempt).step_by(1000) {
            scene.reset(
                at,
                &web,
                true,
                0,
                SocketAddr::from(([10, 0, 0, 7], 40_000 + u16::try_from(at / 1000).unwrap())),
            );
        }
        let report = scene.report();
        assert_eq!(report.endpoint_lag_ms, lag);
        assert_eq!(report.still_arriving, lag.is_none());
        assert_eq!(report.ended_at.as_deref(), Some(ended));
        assert_eq!(
            codes(&report),
            [FindingCode::TrafficAfterStop, FindingCode::RefusedAfterClose]
        );
        let kept_coming = report.findings[0].summary.contains("did not stop within");
        assert_eq!(kept_coming, lag.is_none(), "{}", report.findings[0].summary);
    }
}

#[test]
fn a_connection_nobody_accepted_is_severed_with_or_without_a_request() {
    for exchanges in [vec![], vec![get(Unanswered, 150, 150), get(Unanswered, 150, 150)]] {
        let (_, severed, _) = outcome_of(|c| Connection {
            end: End::Unaccepted,
            exchanges,
            ..c
        });
        assert_eq!(severed, [(Cause::Unaccepted, 1)]);
    }
}

#[test]
fn a_queued_answer_counts_as_answered_unless_the_kernel_threw_the_queue_away() {
    let queued = |aborted, unsent, unacked| {
        outcome_of(move |c| Connection {
            unsent,
            unacked,
            aborted,
            ..with(End::Exit, answered(50, 150))(c)
        })
        .1
    };
    assert_eq!(queued(false, 5000, 6000), []);
    assert_eq!(queued(true, 0, 6000), []);
    assert_eq!(queued(true, 5000, 6000), [(Cause::Truncated, 1)]);
}

#[test]
fn of_pipelined_requests_each_counts() {
    let (outcomes, severed, _) = outcome_of(|c| Connection {
        exchanges: vec![
            answered(120, 130),
            get(ResponseIncomplete, 120, 140),
            unanswered(120),
        ],
        ..c
    });
    assert_eq!((outcomes.drained, outcomes.severed), (1, 2));
    assert_eq!(severed, [(Cause::Unanswered, 1), (Cause::Truncated, 1)]);
}

#[test]
fn a_call_in_flight_is_outbound_and_bytes_thrown_away_are_unsent() {
    let client = |connection: Connection| Connection {
        role: Role::Client,
        ..connection
    };
    for state in [Unanswered, ResponseIncomplete, RequestIncomplete] {
        let (_, severed, _) = outcome_of(|c| client(with(End::Exit, get(state, 50, 60))(c)));
        assert_eq!(severed, [(Cause::Outbound, 1)], "{state:?}");
    }
    let (outcomes, severed, _) = outcome_of(|c| client(with(End::Exit, get(Complete, 50, 150))(c)));
    assert_eq!((outcomes, severed), (Outcomes::default(), vec![]));
    let (_, severed, _) = outcome_of(|c| Connection {
        aborted: true,
        unacked: 9,
        ..client(c)
    });
    assert_eq!(severed, [(Cause::Unsent, 1)]);
}

#[test]
fn a_connection_whose_role_is_not_known_leaves_its_requests_unknown() {
    let (outcomes, severed, verdict) = outcome_of(|c| Connection {
        role: Role::Unknown,
        seeded: true,
        exchanges: vec![get(Unknown, 50, 60)],
        ..c
    });
    assert_eq!(
        (outcomes.unknown, severed, verdict),
        (1, vec![], Verdict::Unknown)
    );
}

#[test]
fn the_same_connection_and_the_same_exchange_are_counted_once() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.term(100, &web);
    // Given a turn that ended, told twice, and then again by the end of its connection.
    let turn = scene.exchange(150, &web, answered(90, 140));
    scene.push(150, EventKind::TurnEnded(turn.clone()));
    scene.exit(199, &web, 0);
    let end = Connection {
        end: End::Exit,
        exchanges: vec![answered(90, 140), unanswered(160)],
        ..turn
    };
    scene.push(200, EventKind::ConnectionEnded(end.clone()));
    scene.push(200, EventKind::ConnectionEnded(end));
    scene.emptied(201);
    // Then each request counts once.
    let report = scene.report();
    assert_eq!(
        report.requests,
        Outcomes {
            drained: 1,
            severed: 1,
            ..Outcomes::default()
        }
    );
    assert_eq!(scene.count(|e| matches!(e, Effect::Drained { .. })), 1);
    assert_eq!(scene.count(|e| matches!(e, Effect::Severed { .. })), 1);
}

#[test]
fn a_severed_request_says_all_that_is_known_of_it() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.term(100, &web);
    scene.exit(300, &web, 0);
    let connection = scene.ended(301, &web, End::Exit, vec![unanswered(51)]);
    scene.emptied(302);
    let report = scene.report();
    let request = &report.severed_requests[0];
    assert_eq!((request.at_ms, request.age_ms), (201.0, Some(250.0)));
    assert_eq!(
        (request.protocol.as_str(), request.class.as_str()),
        ("http/1.1", "request")
    );
    assert_eq!(
        (request.method.as_deref(), request.path.as_deref()),
        (Some("GET"), Some("/r/1"))
    );
    assert_eq!(
        (request.peer.clone(), request.local.as_str()),
        (connection.peer.to_string(), "127.0.0.1:80")
    );
    assert_eq!(request.pid, 100);
}

#[test]
fn an_attempt_at_a_closed_port_is_refused_once_however_often_its_syn_is_sent() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.listen(1, &web, 80);
    scene.term(100, &web);
    scene.unlisten(110, &web, 80);
    for (at, port) in [(150, 1), (1150, 1), (1200, 2)] {
        scene.reset(at, &web, true, 0, super::scene::local(port));
    }
    scene.exit(1300, &web, 0);
    scene.emptied(1301);
    // Within the linger it still counts; after it, it does not.
    scene.reset(3000, &web, true, 0, super::scene::local(3));
    scene.reset(9000, &web, true, 0, super::scene::local(4));
    let report = scene.report();
    assert_eq!(
        (report.verdict, report.requests.severed),
        (Verdict::Refused, 0),
        "turned away is not cut"
    );
    assert_eq!((report.refused.attempts, report.refused.clients), (3, 1));
    assert_eq!(
        (report.refused.first_ms, report.refused.last_ms),
        (Some(50.0), Some(2900.0))
    );
    let told = |effect: &Effect| match effect {
        Effect::Refused { count, .. } => *count,
        _ => 0,
    };
    assert_eq!(scene.effects.iter().map(told).sum::<u64>(), 3);
    assert_eq!(report.endpoint_lag_ms, Some(2900.0));
}

#[test]
fn a_request_on_a_connection_that_we_closed_is_late_once_and_a_retransmission_is_not() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.term(100, &web);
    let idle = scene.ended(150, &web, End::Close, vec![answered(20, 30)]);
    let cut = scene.ended(151, &web, End::Close, vec![unanswered(20)]);
    let left = scene.ended(152, &web, End::Peer, vec![answered(20, 30)]);
    for at in [160, 170] {
        scene.reset(at, &web, false, 40, idle.peer); // the new request, and its retransmission
        scene.reset(at, &web, false, 40, cut.peer); // a retransmission of what was severed
        scene.reset(at, &web, false, 40, left.peer); // the peer had left before
        scene.reset(at, &web, false, 40, super::scene::local(5)); // nothing is known of that connection
    }
    // A goodbye, perhaps, to a server that had closed: of an unread protocol, or where nothing was asked.
    let tls = Exchange {
        protocol: Protocol::Tls,
        evidence: Evidence::Inferred,
        operation: Operation::Opaque,
        ..answered(20, 30)
    };
    for exchanges in [vec![tls], vec![get(Opaque, 20, 30)], vec![]] {
        let unread = scene.ended(175, &web, End::Close, exchanges);
        scene.reset(176, &web, false, 400, unread.peer);
    }
    let bare = scene.ended(180, &web, End::Close, vec![answered(20, 30)]);
    scene.reset(181, &web, false, 0, bare.peer);
    scene.exit(200, &web, 0);
    scene.emptied(201);
    let report = scene.report();
    assert_eq!(causes(&report), [(Cause::Unanswered, 1), (Cause::Late, 1)]);
    assert_eq!(report.requests.opaque, 3);
}

#[test]
fn a_request_that_comes_late_at_a_worker_whom_its_master_tells_by_a_pipe_is_lost() {
    let mut scene = Scene::new();
    let master = process(100).serving();
    let worker = process(101).child_of(&master).serving();
    scene.listen(1, &master, 80);
    scene.term(100, &master);
    let idle = scene.ended(150, &worker, End::Close, vec![answered(20, 30)]);
    scene.reset(160, &master, false, 40, idle.peer);
    scene.exit(800, &worker, 0);
    scene.exit(810, &master, 0);
    scene.emptied(811);
    assert_eq!(causes(&scene.report()), [(Cause::Late, 1)]);
}

#[test]
fn a_request_on_a_connection_whose_handshake_the_close_of_the_listener_cut_is_unaccepted_once() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.listen(1, &web, 80);
    scene.term(100, &web);
    let known = scene.ended(105, &web, End::Close, vec![answered(20, 30)]);
    scene.unlisten_on(110, &web, 80, 2);
    scene.reset(115, &web, false, 40, known.peer); // late, and no handshake
    for (at, port) in [(120, 1), (125, 1), (130, 2), (140, 3)] {
        // One retransmission, and one more than there were handshakes.
        scene.reset(at, &web, false, 40, super::scene::local(port));
    }
    scene.exit(150, &web, 0);
    scene.emptied(151);
    let report = scene.report();
    assert_eq!(causes(&report), [(Cause::Unaccepted, 2), (Cause::Late, 1)]);
    assert!(codes(&report).contains(&FindingCode::BacklogDropped));
}

#[test]
fn what_nobody_reads_is_counted_once_and_nothing_follows_from_it() {
    for role in [Role::Server, Role::Client] {
        let mut scene = Scene::new();
        let web = process(100).serving().calling();
        scene.term(100, &web);
        let turn = Connection {
            role,
            end: End::Open,
            exchanges: vec![get(Opaque, 110, 120)],
            born_ns: ns(105),
            ..scene.connection(&web, End::Open, vec![])
        };
        scene.push(150, EventKind::TurnEnded(turn.clone()));
        scene.exit(199, &web, 0);
        scene.push(
            200,
            EventKind::ConnectionEnded(Connection {
                end: End::Exit,
                exchanges: vec![get(Opaque, 150, 160)],
                ..turn
            }),
        );
        scene.emptied(201);
        let report = scene.report();
        assert_eq!(
            (&report.requests, report.verdict, report.endpoint_lag_ms),
            (
                &Outcomes {
                    opaque: 1,
                    ..Outcomes::default()
                },
                Verdict::Clean,
                None
            ),
            "{role:?}"
        );
        assert!(report.findings.is_empty(), "{role:?}: {:?}", report.findings);
    }
    let (outcomes, ..) = outcome_of(with(End::Peer, get(Opaque, 50, 60)));
    assert_eq!(outcomes, Outcomes::default(), "the peer left");
}

#[test]
fn bytes_that_the_peer_never_acknowledged_are_told_beside_what_nobody_reads() {
    let (outcomes, severed, verdict) = outcome_of(|connection| Connection {
        role: Role::Client,
        aborted: true,
        unacked: 700,
        exchanges: vec![get(Opaque, 50, 60)],
        ..connection
    });
    assert_eq!(severed, [(Cause::Unsent, 1)]);
    assert_eq!((outcomes.opaque, verdict), (1, Verdict::Severed));
    let (_, severed, _) = outcome_of(|connection| Connection {
        role: Role::Client,
        aborted: true,
        unacked: 700,
        exchanges: vec![unanswered(50)],
        ..connection
    });
    assert_eq!(severed, [(Cause::Outbound, 1)], "one loss is one");
    let (_, severed, _) = outcome_of(|connection| Connection {
        role: Role::Client,
        aborted: true,
        unacked: 700,
        exchanges: vec![unanswered(50), get(RequestIncomplete, 50, 60)],
        ..connection
    });
    assert_eq!(
        severed,
        [(Cause::Outbound, 1), (Cause::Unsent, 1)],
        "of a pipeline what was half written is unsent"
    );
}

#[test]
fn counts_are_exact_where_the_lists_are_cut() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.term(100, &web);
    for _ in 0..150 {
        scene.exchange(150, &web, answered(90, 150));
    }
    scene.exit(200, &web, 0);
    for _ in 0..250 {
        scene.ended(201, &web, End::Exit, vec![unanswered(50)]);
    }
    scene.emptied(202);
    let report = scene.report();
    assert_eq!(
        (report.requests.severed, report.severed_requests.len()),
        (250, 200)
    );
    assert_eq!(report.severed_requests_omitted, 50);
    assert_eq!(
        (report.requests.drained, report.drained_requests.len()),
        (150, 100)
    );
    assert_eq!(scene.count(|e| matches!(e, Effect::Severed { .. })), 250);
    assert_eq!(scene.count(|e| matches!(e, Effect::Drained { .. })), 150);
}

#[test]
fn drain_time_and_endpoint_lag_are_measured_from_the_stop_signal() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.term(100, &web);
    let first = scene.exchange(700, &web, answered(50, 650));
    scene.exchange(700, &web, answered(400, 500));
    scene.push(
        800,
        EventKind::ConnectionEnded(Connection {
            born_ns: ns(450),
            end: End::Close,
            exchanges: vec![],
            id: 99,
            ..first
        }),
    );
    scene.exit(900, &web, 0);
    scene.emptied(901);
    let report = scene.report();
    assert_eq!(
        (report.drain_ms, report.endpoint_lag_ms),
        (Some(550.0), Some(350.0))
    );
}

#[test]
fn nothing_is_measured_from_a_stop_signal_that_never_came() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.kill(100, &web);
    scene.died(101, &web, 9);
    scene.ended(102, &web, End::Exit, vec![unanswered(50)]);
    scene.emptied(103);
    let report = scene.report();
    assert_eq!((report.drain_ms, report.endpoint_lag_ms), (None, None));
}

#[test]
fn lost_events_leave_a_verdict_unknown_but_not_a_severed_one() {
    for severed in [false, true] {
        let mut scene = Scene::new();
        let web = process(100).serving();
        scene.push(
            50,
            EventKind::EventsLost {
                count: 100,
                until_ns: 0,
            },
        );
        scene.send(100, 15, &web, Disposition::Handled);
        scene.push(
            150,
            EventKind::EventsLost {
                count: 3,
                until_ns: 0,
            },
        );
        scene.exit(200, &web, 0);
        if severed {
            scene.ended(201, &web, End::Exit, vec![unanswered(50)]);
        }
        scene.emptied(202);
        let report = scene.report();
        assert_eq!(report.events_lost, 3);
        assert_eq!(
            report.verdict,
            if severed {
                Verdict::Severed
            } else {
                Verdict::Unknown
            }
        );
    }
}

#[test]
fn severed_requests_are_told_at_once_and_before_the_report() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.kill(100, &web);
    scene.died(101, &web, 9);
    let connection = scene.connection(&web, End::Exit, vec![unanswered(50)]);
    let effects = scene.push(160, EventKind::ConnectionEnded(connection));
    assert!(
        matches!(&effects[..], [Effect::Severed { cause: Cause::Unanswered, .. }, Effect::Updated(report)]
            if report.requests.severed == 1 && report.ended_at.is_none()),
        "{effects:#?}"
    );
}

#[test]
fn a_connection_ends_once_even_where_nothing_tells_its_exchanges_apart() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.term(100, &web);
    let queued = scene.ended(150, &web, End::Unaccepted, vec![]);
    scene.push(151, EventKind::ConnectionEnded(queued));
    scene.exit(200, &web, 0);
    scene.emptied(201);
    assert_eq!(causes(&scene.report()), [(Cause::Unaccepted, 1)]);
}

#[test]
fn an_attempt_at_an_address_on_which_it_never_listened_is_not_refused_by_it() {
    for (listened, refused) in [
        ("127.0.0.1:80", 1),
        ("0.0.0.0:80", 1),
        ("[::]:80", 1),
        ("127.0.0.2:80", 0),
    ] {
        let mut scene = Scene::new();
        let web = process(100).serving();
        scene.term(100, &web);
        let listener = Listener {
            process: web.clone(),
            local: listened.parse().unwrap(),
            netns: 1,
            backlog: 0,
            handshakes: 0,
            still_open: 0,
            found: false,
        };
        scene.push(110, EventKind::ListenerClosed(listener));
        // At 127.0.0.1:80.
        scene.reset(120, &web, true, 0, "10.0.0.1:4000".parse().unwrap());
        scene.exit(199, &web, 0);
        scene.emptied(201);
        assert_eq!(scene.report().refused.attempts, refused, "{listened}");
    }
}

/// `POST /webhooks/stripe` of a shutdown that severs it.
fn webhook(state: ExchangeState, status: Option<u16>) -> Exchange {
    Exchange {
        operation: Operation::Http(Http {
            method: Some("POST".to_owned()),
            path: Some("/webhooks/stripe".to_owned()),
            status,
            ..Http::default()
        }),
        ..get(state, 51, 60)
    }
}

#[test]
fn a_webhook_whose_response_had_begun_may_be_taken_for_delivered_unless_it_had_said_that_it_failed() {
    for (state, status, expected) in [
        (ResponseIncomplete, Some(200), true),
        (ResponseIncomplete, None, true),
        (ResponseIncomplete, Some(503), false),
        (Unanswered, None, false),
    ] {
        let mut scene = Scene::new();
        let web = process(100).serving();
        scene.term(100, &web);
        scene.exit(300, &web, 0);
        scene.ended(301, &web, End::Exit, vec![webhook(state, status)]);
        scene.emptied(302);
        let report = scene.report();
        let request = &report.severed_requests[0];
        assert_eq!(request.class, "webhook");
        assert_eq!(
            request.maybe_taken_for_delivered, expected,
            "{state:?} {status:?}"
        );
        let class = |e: &Effect| matches!(e, Effect::Severed { class, .. } if &**class == "webhook");
        assert_eq!(scene.count(class), 1);
    }
}

#[test]
fn a_request_of_a_known_sender_is_a_webhook_whatever_its_path() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.term(100, &web);
    scene.exit(300, &web, 0);
    let signed = Exchange {
        operation: Operation::Http(Http {
            sender: Some("stripe".to_owned()),
            ..Http::default()
        }),
        ..unanswered(51)
    };
    scene.ended(301, &web, End::Exit, vec![signed]);
    scene.emptied(302);
    assert_eq!(scene.report().severed_requests[0].class, "webhook");
}

#[test]
fn given_one_that_goes_on_when_a_later_one_finished_first_then_the_older_one_still_counts() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.term(100, &web);
    let (older, later) = (get(ResponseIncomplete, 110, 150), answered(120, 140));
    let connection = scene.connection(&web, End::Open, vec![older, later.clone()]);
    scene.push(150, EventKind::TurnEnded(connection.clone()));
    let ended = Connection {
        end: End::Close,
        exchanges: vec![answered(110, 200), later],
        ..connection
    };
    scene.push(200, EventKind::ConnectionEnded(ended));
    scene.exit(300, &web, 0);
    scene.emptied(301);
    let report = scene.report();
    assert_eq!((report.requests.drained, report.requests.severed), (2, 0));
    assert_eq!(
        report.endpoint_lag_ms, None,
        "the connection stood before the stop"
    );
}

/// `GET /r/1`, answered with this status.
fn answered_with(status: u16, started: u64, last: u64) -> Exchange {
    let mut exchange = answered(started, last);
    if let Operation::Http(http) = &mut exchange.operation {
        http.status = Some(status);
    }
    exchange
}

#[test]
fn a_request_that_is_answered_with_5xx_after_the_stop_signal_failed() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.exchange(90, &web, answered_with(500, 80, 90));
    scene.term(100, &web);
    scene.exchange(250, &web, answered_with(503, 200, 250));
    scene.exchange(260, &web, answered_with(502, 50, 260));
    scene.exchange(270, &web, answered_with(404, 210, 270));
    scene.exit(300, &web, 0);
    scene.emptied(301);
    let report = scene.report();
    assert_eq!(report.verdict, Verdict::Refused);
    assert_eq!((report.requests.failed, report.requests.drained), (2, 1));
    let finding = |code| report.findings.iter().find(|finding| finding.code == code);
    assert_eq!(
        finding(FindingCode::ErrorsWhileDraining).map(|finding| &*finding.summary),
        Some("2 requests were answered with 502, 503 after the stop signal.")
    );
    assert_eq!(
        report.drain_ms,
        Some(170.0),
        "an error is no request that finished"
    );
}

#[test]
fn a_call_of_grpc_that_is_answered_with_an_error_of_the_servers_after_the_stop_signal_failed() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.term(100, &web);
    for (status, started) in [(14, 200), (1, 210), (0, 220), (5, 230)] {
        let mut exchange = answered_with(200, started, 250);
        if let Operation::Http(http) = &mut exchange.operation {
            http.grpc_status = Some(status);
        }
        scene.exchange(250, &web, exchange);
    }
    scene.exit(300, &web, 0);
    scene.emptied(301);
    let report = scene.report();
    assert_eq!(report.verdict, Verdict::Refused);
    assert_eq!((report.requests.failed, report.requests.drained), (2, 2));
    assert_eq!(
        report.findings[0].summary,
        "2 requests were answered with CANCELLED, UNAVAILABLE after the stop signal."
    );
}

#[test]
fn an_answer_whose_status_nobody_can_read_is_unknown_after_the_stop_signal_only() {
    let unsure = |started, last| Exchange {
        doubt: Some(Doubt::Status),
        ..answered(started, last)
    };
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.exchange(90, &web, unsure(80, 90));
    scene.term(100, &web);
    scene.exchange(250, &web, unsure(200, 250));
    scene.exit(300, &web, 0);
    scene.emptied(301);
    let report = scene.report();
    assert_eq!((report.verdict, report.requests.unknown), (Verdict::Unknown, 1));
}

#[test]
fn a_stream_that_its_server_gave_up_while_draining_was_cut_whoever_ends_its_connection() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.term(100, &web);
    let reset = Exchange {
        reset: true,
        ..unanswered(90)
    };
    scene.ended(200, &web, End::Peer, vec![reset, unanswered(95)]);
    scene.exit(300, &web, 0);
    scene.emptied(301);
    let report = scene.report();
    assert_eq!(causes(&report), [(Cause::Unanswered, 1)]);
    assert_eq!(report.requests.aborted, 1);
}

#[test]
fn an_answer_with_5xx_where_nobody_was_told_to_stop_is_an_answer() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.exit(100, &web, 0);
    scene.ended(101, &web, End::Exit, vec![answered_with(500, 50, 100)]);
    scene.emptied(102);
    let report = scene.report();
    assert_eq!((report.verdict, report.requests.failed), (Verdict::Clean, 0));
}

#[test]
fn a_response_that_is_thrown_away_with_the_queue_is_lost_beside_the_request_that_nobody_read() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.send(100, 15, &web, Disposition::Default);
    scene.died(101, &web, 15);
    let connection = Connection {
        aborted: true,
        unread: 40,
        unsent: 300_000,
        ..scene.connection(&web, End::Exit, vec![answered(20, 90), unanswered(95)])
    };
    scene.push(102, EventKind::ConnectionEnded(connection));
    scene.emptied(103);
    assert_eq!(
        causes(&scene.report()),
        [(Cause::Unanswered, 1), (Cause::Truncated, 1)]
    );
}

#[test]
fn an_attempt_at_an_address_where_nobody_listened_is_not_turned_away() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.listen(1, &web, 80);
    scene.term(100, &web);
    // Its listener is open still: `localhost` was tried as ::1 first, where it never listened.
    scene.reset(200, &web, true, 0, super::scene::local(5));
    scene.unlisten(300, &web, 80);
    scene.reset(400, &web, true, 0, super::scene::local(6));
    scene.exit(500, &web, 0);
    scene.emptied(501);
    let report = scene.report();
    assert_eq!(report.refused.attempts, 1);
}

#[test]
fn what_is_shorter_than_a_head_comes_late_for_nothing() {
    let mut scene = Scene::new();
    let web = process(100).serving();
    scene.term(100, &web);
    let idle = scene.connection(&web, End::Close, vec![answered(50, 60)]);
    scene.push(150, EventKind::ConnectionEnded(idle.clone()));
    scene.reset(160, &web, false, 2, idle.peer);
    scene.exit(200, &web, 0);
    scene.emptied(201);
    assert_eq!(scene.report().verdict, Verdict::Clean);
}

#[test]
fn a_connection_of_a_process_that_moved_to_another_cgroup_is_of_its_shutdown() {
    let mut scene = Scene::new();
    let before = process(100).serving().within(SESSION);
    let moved = process(100).serving();
    scene.listen(1, &moved, 80);
    scene.kill(100, &moved);
    scene.died(101, &moved, SIGKILL);
    // It was opened where the process was then.
    scene.ended(102, &before, End::Exit, vec![unanswered(50)]);
    scene.emptied(103);
    let report = scene.report();
    assert_eq!(causes(&report), [(Cause::Unanswered, 1)]);
}
