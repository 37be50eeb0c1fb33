use super::super::recorder::given;
use super::*;
use crate::{event::Role, exchange::ExchangeState::*};

/// One TLS record.
fn record(kind: u8, length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    [vec![kind, 3, 3, high, low], vec![0x5a; usize::from(length)]].concat()
}

#[test]
fn given_an_unknown_protocol_when_judged_then_turn_taking_decides() {
    let ask = b"\x03\x00\x00\x00select 1";
    let table = [
        ("nothing moved", given(), vec![]),
        (
            "a greeting nobody asked for",
            given().write("220 mail.example ESMTP\r\n"),
            vec![],
        ),
        ("asked, not answered", given().read(ask), vec![Unanswered]),
        (
            "asked, rest unread, not answered",
            given().read(ask).unread(70),
            vec![Unanswered],
        ),
        ("asked, answered", given().read(ask).write("ok"), vec![Complete]),
        (
            "asked, answered, asked again unread",
            given().read(ask).write("ok").unread(9),
            vec![Complete, Unanswered],
        ),
        (
            "asked again after the answer",
            given().read(ask).write("ok").read(ask),
            vec![Unanswered],
        ),
        ("arrived, never read", given().unread(80), vec![Unanswered]),
        (
            "payload not captured, not answered",
            given().read_lost(80),
            vec![Unanswered],
        ),
        (
            "payload not captured, answered",
            given().read_lost(80).write_lost(7),
            vec![Complete],
        ),
        (
            "seeded, answer only",
            given().seeded().write("rest of something"),
            vec![Unknown],
        ),
        ("seeded, silent since", given().seeded(), vec![Unknown]),
        ("seeded, asked", given().seeded().read(ask), vec![Unknown]),
        ("seeded, unread", given().seeded().unread(80), vec![Unknown]),
        (
            "seeded, a whole turn",
            given().seeded().read(ask).write("ok"),
            vec![Complete],
        ),
        (
            "an HTTP/0.9 request",
            given().read("GET /old\r\n").write("<html>"),
            vec![Complete],
        ),
        (
            "a Redis inline command",
            given().read("GET key\r\n"),
            vec![Unanswered],
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
fn given_tls_when_judged_then_handshake_tickets_and_close_notify_are_no_requests() {
    let hello = record(HANDSHAKE, 512);
    let server_flight = [
        record(HANDSHAKE, 122),
        record(CHANGE_CIPHER_SPEC, 1),
        record(APPLICATION_DATA, 900),
    ]
    .concat();
    let finished = [record(CHANGE_CIPHER_SPEC, 1), record(APPLICATION_DATA, 53)].concat();
    let request = record(APPLICATION_DATA, 300);
    let tickets = [record(APPLICATION_DATA, 200), record(APPLICATION_DATA, 200)].concat();
    let table = [
        ("ClientHello not answered", given().read(&hello), vec![Unanswered]),
        (
            "ClientHello answered: idle",
            given().read(&hello).write(&server_flight),
            vec![Complete],
        ),
        (
            "Finished, to which no answer is owed",
            given().read(&finished),
            vec![],
        ),
        (
            "Finished, tickets",
            given().read(&finished).write(&tickets),
            vec![Complete],
        ),
        (
            "Finished, request unread",
            given().read(&finished).unread(305),
            vec![Unanswered],
        ),
        (
            "Finished and request read at once",
            given().read(&finished).read(&request),
            vec![Unanswered],
        ),
        (
            "Finished and request read at once, answer may be tickets",
            given().read(&finished).read(&request).write(&tickets),
            vec![Unknown],
        ),
        (
            "Finished and request read at once, more than tickets answered",
            given()
                .read(&finished)
                .read(&request)
                .write(&tickets)
                .write(record(APPLICATION_DATA, 90)),
            vec![Complete],
        ),
        ("request not answered", given().read(&request), vec![Unanswered]),
        (
            "request answered",
            given().read(&request).write(&request),
            vec![Complete],
        ),
        (
            "answered, close_notify unread (1.3)",
            given().read(&request).write(&request).unread(24),
            vec![Complete],
        ),
        (
            "answered, close_notify unread (1.2)",
            given().read(&request).write(&request).unread(31),
            vec![Complete],
        ),
        (
            "answered, next request unread",
            given().read(&request).write(&request).unread(32),
            vec![Complete, Unanswered],
        ),
        ("close_notify read (1.2)", given().read(record(ALERT, 26)), vec![]),
        (
            "close_notify read (1.3)",
            given().read(record(APPLICATION_DATA, 19)),
            vec![],
        ),
        (
            "request, close_notify, no answer",
            given().read(&request).read(record(ALERT, 26)),
            vec![Unanswered],
        ),
    ];
    for (name, recorder, states) in table {
        assert_eq!(recorder.states(), states, "{name}");
        assert!(
            recorder
                .judged()
                .iter()
                .all(|exchange| exchange.protocol == Protocol::Tls),
            "{name}"
        );
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
        .read("a")
        .read("b")
        .write("c")
        .write("d")
        .unread(1)
        .judged();
    let times: Vec<_> = exchanges
        .iter()
        .map(|exchange| (exchange.started_ns, exchange.last_ns))
        .collect();
    assert_eq!(times, [(10, 40), (0, 40)]);
}
