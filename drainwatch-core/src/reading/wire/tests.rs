use super::super::recorder::given;
use super::*;
use crate::{event::Role, exchange::ExchangeState::*};

/// A question that is longer than a goodbye.
const ASK: &[u8] = b"\x03\x00\x00\x00select sleep(10) from somewhere";

#[test]
fn given_a_protocol_that_nobody_reads_when_it_took_turns_before_then_turn_taking_decides() {
    let table = [
        ("asked, not answered", given().turn(3).read(ASK), vec![Unanswered]),
        (
            "asked, rest unread, not answered",
            given().turn(3).read(ASK).unread(70),
            vec![Unanswered],
        ),
        (
            "asked, answered",
            given().turn(3).read(ASK).write("ok"),
            vec![Complete],
        ),
        (
            "asked, answered, asked again unread",
            given().turn(3).read(ASK).write("ok").unread(40),
            vec![Complete, Unanswered],
        ),
        (
            "asked, answered, a goodbye unread",
            given().turn(3).read(ASK).write("ok").unread(5),
            vec![Complete],
        ),
        (
            "payload not captured, not answered",
            given().turn(3).read_lost(80),
            vec![Unanswered],
        ),
        (
            "payload not captured, answered",
            given().turn(3).read_lost(80).write_lost(7),
            vec![Complete],
        ),
        (
            "a protocol that was known by its opening",
            given().turn(9).opening(*b"SSH-2.0-").read(ASK),
            vec![Opaque],
        ),
        ("a goodbye", given().turn(9).read("X\0\0\0\x04"), vec![Opaque]),
        (
            "an acknowledgement that is none of it",
            given().turn(9).read([0x2a; 32]),
            vec![Opaque],
        ),
        (
            "a publish without an answer",
            given()
                .turn(9)
                .read("PUB orders 40\r\nfourty bytes of an order, more or less\r\n"),
            vec![Opaque],
        ),
    ];
    for (name, recorder, states) in table {
        assert_eq!(recorder.states(), states, "{name}");
        for exchange in recorder.judged() {
            assert_eq!(
                (exchange.protocol, exchange.operation, exchange.evidence),
                (Protocol::Tcp, Operation::Opaque, Evidence::Inferred),
                "{name}"
            );
        }
    }
}

#[test]
fn given_a_protocol_that_nobody_reads_when_it_took_no_turns_yet_then_nothing_is_claimed() {
    for number in [1, 2] {
        let table = [
            ("one way", given().turn(number).read(ASK), vec![Opaque]),
            (
                "answered",
                given().turn(number).read(ASK).write("ok"),
                vec![Opaque],
            ),
            (
                "answered, asked again unread",
                given().turn(number).read(ASK).write("ok").unread(90),
                vec![Opaque],
            ),
            (
                "an HTTP/0.9 request",
                given().turn(number).read("GET /old\r\n").write("<html>"),
                vec![Opaque],
            ),
        ];
        for (name, recorder, states) in table {
            assert_eq!(recorder.states(), states, "{name}");
        }
    }
    let table = [
        ("nothing moved", given(), vec![]),
        (
            "a greeting nobody asked for",
            given().write("220 mail.example ESMTP\r\n"),
            vec![],
        ),
        (
            "a greeting, and something unread",
            given().write("220 mail.example ESMTP\r\n").unread(40),
            vec![Opaque],
        ),
        (
            "arrived, and nobody took it",
            given().unread(80),
            vec![Unanswered],
        ),
        (
            "seeded, answer only",
            given().seeded().write("rest of something"),
            vec![Unknown],
        ),
        ("seeded, silent since", given().seeded(), vec![Unknown]),
        ("seeded, unread", given().seeded().unread(80), vec![Unknown]),
    ];
    for (name, recorder, states) in table {
        assert_eq!(recorder.states(), states, "{name}");
    }
}

#[test]
fn given_a_role_that_is_not_known_when_judged_then_no_state_is_believed() {
    for recorder in [
        given().read("x"),
        given().read("x").write("y"),
        given().read("GET / HTTP/1.1\r\n\r\n"),
    ] {
        let judged_as = |role| {
            recorder.judged_in(Context {
                role,
                ..recorder.context()
            })
        };
        let states: Vec<_> = judged_as(Role::Unknown).iter().map(|e| e.state).collect();
        assert_eq!(states, [Unknown]);
        assert_eq!(judged_as(Role::Client), recorder.judged());
    }
}

#[test]
fn given_an_answered_turn_when_judged_then_its_times_are_first_asked_and_last_answered() {
    let exchanges = given()
        .turn(3)
        .read("a")
        .read("b")
        .write("c")
        .write("d")
        .unread(90)
        .judged();
    let times: Vec<_> = exchanges
        .iter()
        .map(|exchange| (exchange.started_ns, exchange.last_ns))
        .collect();
    assert_eq!(times, [(10, 40), (0, 40)]);
}

#[test]
fn given_a_connection_of_mptcp_when_judged_then_it_is_unknown_though_nothing_was_recorded() {
    let turn = Turn {
        mptcp: true,
        ..Turn::default()
    };
    let exchanges = super::super::read(&turn, &given().context()).exchanges;
    let doubts: Vec<_> = exchanges
        .iter()
        .map(|exchange| (exchange.state, exchange.doubt))
        .collect();
    assert_eq!(doubts, [(Unknown, Some(Doubt::Mptcp))]);
}
