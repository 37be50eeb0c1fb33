use super::*;

#[test]
fn given_a_long_lived_stream_when_judged_then_it_is_a_stream_until_its_goodbye() {
    let connect = "CONNECT db.example:443 HTTP/1.1\r\nHost: db.example:443\r\n\r\n";
    let tunnelled = "HTTP/1.1 200 Connection established\r\n\r\n";
    let upgraded = || given().read(UPGRADE).write(SWITCHED);
    check(vec![
        ("upgrade not answered", given().read(UPGRADE), vec![Unanswered]),
        ("upgraded", upgraded(), vec![Stream]),
        (
            "upgraded, frames",
            upgraded().read("\u{1}\u{0}").write("\x01\x05hello"),
            vec![Stream],
        ),
        (
            "upgraded, frames that look like a request",
            upgraded().read(GET),
            vec![Stream],
        ),
        ("upgraded, frames unread", upgraded().unread(9), vec![Stream]),
        (
            "upgraded, goodbye",
            upgraded().write(b"\x88\x02\x03\xe9"),
            vec![Complete],
        ),
        (
            "upgraded, goodbye with a reason",
            upgraded().write(b"\x88\x0c\x03\xe9going away"),
            vec![Complete],
        ),
        (
            "upgraded, long reason while all is captured",
            { upgraded().write([b"\x88\x1f\x03\xe9".as_slice(), b"server is shutting down, bye."].concat()) },
            vec![Complete],
        ),
        (
            "upgraded, goodbye by the client",
            upgraded()
                .read(b"\x81\x81\0\0\0\0a")
                .read(b"\x88\x82\0\0\0\0\x03\xe9"),
            vec![Complete],
        ),
        (
            "upgraded, half a goodbye by the client",
            upgraded().read(b"\x88\x82\0\0\0\0\x03"),
            vec![Stream],
        ),
        (
            "upgraded, much data, goodbye",
            {
                upgraded()
                    .write([b"\x82\x7e\x03\xe8".as_slice(), &[7; 1000]].concat())
                    .write(b"\x88\x02\x03\xe9")
            },
            vec![Complete],
        ),
        (
            "upgraded, much data",
            upgraded().write([b"\x82\x7e\x03\xe8".as_slice(), &[7; 1000]].concat()),
            vec![Stream],
        ),
        (
            "upgraded, a message that ends like a goodbye",
            upgraded().write(b"\x82\x04\x88\x02\x03\xe9"),
            vec![Stream],
        ),
        (
            "upgraded to something else",
            {
                given()
                    .read(UPGRADE)
                    .write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\n\r\n")
            },
            vec![Stream],
        ),
        (
            "upgraded to HTTP/2, which may have nothing outstanding",
            {
                given()
                    .read(UPGRADE)
                    .write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n")
            },
            vec![Opaque],
        ),
        (
            "upgrade refused",
            given().read(UPGRADE).write(OK5),
            vec![Complete],
        ),
        (
            "tunnel",
            given().read(connect).write(tunnelled).read("\x16\x03\x01"),
            vec![Stream],
        ),
        (
            "tunnel not answered, eager client",
            given().read(connect).read(GET).unread(5),
            vec![Unanswered],
        ),
        (
            "tunnel refused",
            given()
                .read(connect)
                .write("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"),
            vec![Complete],
        ),
        (
            "events, just begun",
            given().read(GET).write(EVENTS),
            vec![Stream],
        ),
        (
            "events",
            given().read(GET).write(EVENTS).write("9\r\ndata: 1\n\n\r\n"),
            vec![Stream],
        ),
        (
            "events, ended",
            given()
                .read(GET)
                .write(EVENTS)
                .write("9\r\ndata: 1\n\n\r\n0\r\n\r\n"),
            vec![Complete],
        ),
        (
            "events, CRLF lines, far on",
            {
                given()
                    .read(GET)
                    .write(EVENTS)
                    .write("b\r\ndata: 1\r\n\r\n\r\n".repeat(60))
            },
            vec![Stream],
        ),
        (
            "events until the connection ends",
            {
                given()
                    .read(GET)
                    .write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
            },
            vec![Stream],
        ),
        (
            "events, head cut",
            given().read(GET).write(&EVENTS[..60]),
            vec![ResponseIncomplete],
        ),
    ]);
    assert_eq!(upgraded().judged()[0].protocol, Protocol::WebSocket);
    assert_eq!(given().read(UPGRADE).judged()[0].protocol, Protocol::Http11);
    assert_eq!(
        given().read(connect).judged()[0].operation.host(),
        Some("db.example:443")
    );
}

#[test]
fn given_a_question_that_waits_for_a_change_when_its_client_ends_then_nothing_was_lost_of_it() {
    let asks = |target: &str| given().read(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
    let polls = "/v1/health/service/db?index=7&wait=300s";
    let watch = "/api/v1/pods?watch=true";
    for (what, recorder, as_client, as_server) in [
        ("a poll", asks(polls), Stream, Unanswered),
        ("a watch", asks(watch).write(CHUNKED), Stream, ResponseIncomplete),
        ("an answered poll", asks(polls).write(OK5), Complete, Complete),
        ("another question", asks("/a?index=7"), Unanswered, Unanswered),
    ] {
        for (role, expected) in [(Role::Client, as_client), (Role::Server, as_server)] {
            let states: Vec<_> = recorder.judged_as(role).iter().map(|one| one.state).collect();
            assert_eq!(states, [expected], "{what} as {role:?}");
        }
    }
}
