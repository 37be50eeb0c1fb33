//! Connections to databases: transactions left open, goodbyes, ways in.

use super::scene::{Scene, causes, codes, get, ns, process};
use crate::{
    event::{Connection, End, EventKind, Role},
    exchange::{Database, Exchange, ExchangeState, Operation, Protocol, TRANSACTION},
    report::{Cause, FindingCode, Report, Verdict},
};

fn postgresql(state: ExchangeState, started: u64, last: u64) -> Exchange {
    Exchange {
        protocol: Protocol::PostgreSql,
        operation: Operation::Database(Database {
            operation: Some(TRANSACTION.to_owned()),
        }),
        ..get(state, started, last)
    }
}

fn left_open(role: Role, end: End) -> Report {
    let mut scene = Scene::new();
    let app = process(100).serving().calling();
    scene.term(100, &app);
    scene.exit(199, &app, 0);
    let connection = Connection {
        role,
        ..scene.connection(&app, end, vec![postgresql(ExchangeState::Transaction, 50, 60)])
    };
    scene.push(200, EventKind::ConnectionEnded(connection));
    scene.emptied(201);
    scene.report().clone()
}

#[test]
fn a_transaction_that_its_client_dies_with_is_an_outbound_call_and_a_finding() {
    let report = left_open(Role::Client, End::Exit);
    assert_eq!(causes(&report), [(Cause::Outbound, 1)]);
    assert_eq!(report.verdict, Verdict::Severed);
    assert!(codes(&report).contains(&FindingCode::TransactionOpen));
    let severed = &report.severed_requests[0];
    assert_eq!(
        (severed.method.as_deref(), severed.protocol),
        (Some(TRANSACTION), Protocol::PostgreSql)
    );
}

#[test]
fn a_transaction_that_a_client_gives_up_or_loses_to_its_server_is_none_of_its_own() {
    for end in [End::Close, End::Peer] {
        let report = left_open(Role::Client, end);
        assert_eq!(report.verdict, Verdict::Clean, "{end:?}");
        assert!(!codes(&report).contains(&FindingCode::TransactionOpen));
    }
}

#[test]
fn a_transaction_that_a_database_ends_is_a_finding_and_no_request() {
    for end in [End::Exit, End::Close] {
        let report = left_open(Role::Server, end);
        assert_eq!(report.verdict, Verdict::Clean, "{end:?}");
        assert_eq!(report.requests.total(), 0);
        assert!(codes(&report).contains(&FindingCode::TransactionOpen));
    }
    let report = left_open(Role::Server, End::Peer);
    assert!(!codes(&report).contains(&FindingCode::TransactionOpen));
}

#[test]
fn what_a_client_says_to_a_database_that_has_gone_is_a_request_unless_it_is_no_longer_than_a_goodbye() {
    let mut scene = Scene::new();
    let database = process(100).serving();
    scene.term(100, &database);
    let idle = || vec![postgresql(ExchangeState::Complete, 20, 30)];
    let [leaves, asks] = [150, 151].map(|at| scene.ended(at, &database, End::Close, idle()));
    scene.reset(160, &database, false, 5, leaves.peer);
    scene.reset(161, &database, false, 30, asks.peer);
    // What the server goes on saying to a client that has gone is none.
    let client = Connection {
        role: Role::Client,
        ..scene.connection(&database, End::Exit, idle())
    };
    let peer = client.peer;
    scene.push(170, EventKind::ConnectionEnded(client));
    scene.reset(171, &database, false, 30, peer);
    scene.exit(200, &database, 0);
    scene.emptied(201);
    let report = scene.report();
    assert_eq!(causes(&report), [(Cause::Late, 1)]);
    assert_eq!(report.requests.opaque, 0);
}

#[test]
fn a_request_to_cancel_is_no_traffic_after_the_stop_signal_and_a_login_is() {
    for (goodbye, lag) in [(true, None), (false, Some(20.0))] {
        let mut scene = Scene::new();
        let database = process(100).serving();
        scene.term(100, &database);
        let connection = Connection {
            born_ns: ns(120),
            ..scene.connection(&database, End::Open, vec![])
        };
        scene.push(121, EventKind::TurnEnded(connection.clone()));
        let ended = Connection {
            end: End::Close,
            goodbye,
            ..connection
        };
        scene.push(122, EventKind::ConnectionEnded(ended));
        scene.exit(200, &database, 0);
        scene.emptied(201);
        assert_eq!(scene.report().endpoint_lag_ms, lag);
    }
}
