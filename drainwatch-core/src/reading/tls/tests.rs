use super::{
    super::recorder::{Recorder, given},
    records::HANDSHAKE as SHAKE,
    *,
};
use crate::exchange::{Evidence, ExchangeState::*};

const CCS: u8 = 0x14;

/// One record.
fn record(kind: u8, length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    [vec![kind, 3, 3, high, low], vec![0x5a; usize::from(length)]].concat()
}

fn vector(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length[..], bytes].concat()
}

fn extension(number: u16, value: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes()[..], &vector(value)].concat()
}

fn alpn(names: &[&str]) -> Vec<u8> {
    let list: Vec<u8> = names
        .iter()
        .flat_map(|name| [&[u8::try_from(name.len()).unwrap()], name.as_bytes()].concat())
        .collect();
    extension(16, &vector(&list))
}

fn hello(kind: u8, before: &[u8], extensions: &[Vec<u8>]) -> Vec<u8> {
    let body = [&[3, 3][..], &[7; 32], &[0], before, &vector(&extensions.concat())].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[kind], &length[1..], &body].concat();
    [&[SHAKE, 3, 1][..], &vector(&message)].concat()
}

fn client(extensions: &[Vec<u8>]) -> Vec<u8> {
    hello(1, &[0, 2, 0x13, 1, 1, 0], extensions)
}

fn server(extensions: &[Vec<u8>]) -> Vec<u8> {
    hello(2, &[0x13, 1, 0], extensions)
}

fn new() -> Vec<u8> {
    server(&[extension(43, &[3, 4]), extension(51, &[0; 36])])
}

fn old(extensions: &[Vec<u8>]) -> Vec<u8> {
    server(extensions)
}

fn named(host: &str) -> Vec<u8> {
    let name = [&[0][..], &vector(host.as_bytes())].concat();
    extension(0, &vector(&name))
}

/// A turn of a connection on which the client offers these.
fn with(names: &[&str], server: &[u8]) -> Recorder {
    let client = client(&[named("hooks.example.com"), alpn(names)]);
    given()
        .opening([SHAKE, 3, 1, 2, 0, 1, 0, 1])
        .hellos(&client, server)
}

fn finished() -> Vec<u8> {
    [record(CCS, 1), record(APPLICATION_DATA, 53)].concat()
}

fn request() -> Vec<u8> {
    record(APPLICATION_DATA, 300)
}

fn tickets() -> Vec<u8> {
    [record(APPLICATION_DATA, 282), record(APPLICATION_DATA, 282)].concat()
}

fn close_notify() -> Vec<u8> {
    record(APPLICATION_DATA, 19)
}

#[track_caller]
fn assert_each(table: &[(&str, Recorder, &[ExchangeState])]) {
    for (name, recorder, states) in table {
        assert_eq!(recorder.states(), *states, "{name}");
        for exchange in recorder.judged() {
            assert_eq!(
                (exchange.protocol, exchange.evidence),
                (Protocol::Tls, Evidence::Inferred),
                "{name}"
            );
        }
    }
}

#[test]
fn given_a_handshake_when_read_then_it_says_for_whom_and_what_is_spoken() {
    let exchanges = with(&["h2", "http/1.1"], &new()).turn(3).read(request()).judged();
    assert_eq!(exchanges[0].operation.host(), Some("hooks.example.com"));
    assert_eq!(exchanges[0].operation.alpn(), ["h2", "http/1.1"]);
    let chosen = old(&[alpn(&["http/1.1"])]);
    let exchanges = with(&["h2", "http/1.1"], &chosen)
        .turn(3)
        .read(request())
        .judged();
    assert_eq!(exchanges[0].operation.alpn(), ["http/1.1"]);
    let first = client(&[named("a\"b<c")]);
    let exchanges = given().read(&first).judged();
    assert_eq!(exchanges[0].operation.host(), Some("a%22b%3Cc"));
    for cut in 0..first.len() {
        given().read(&first[..cut]).judged();
        given()
            .turn(2)
            .hellos(&first[..cut], &new()[..cut.min(80)])
            .read(request())
            .judged();
    }
}

#[test]
fn given_http_1_by_agreement_when_cut_then_already_the_first_request_is_outstanding() {
    let second = || with(&["http/1.1"], &new()).turn(2);
    let fin_and = |more: &[u8]| [&finished()[..], more].concat();
    assert_each(&[
        ("handshake", second().read(finished()), &[]),
        (
            "handshake, tickets",
            second().read(finished()).write(tickets()),
            &[],
        ),
        (
            "handshake, tickets, unread",
            second().read(finished()).write(tickets()).unread(400),
            &[Unanswered],
        ),
        (
            "handshake, close_notify",
            second().read(fin_and(&close_notify())),
            &[],
        ),
        (
            "a request with the handshake",
            second().read(finished()).read(request()),
            &[Unanswered],
        ),
        (
            "the same, tickets",
            second().read(fin_and(&request())).write(tickets()),
            &[Unanswered],
        ),
        (
            "the same, tickets and goodbye",
            second()
                .read(fin_and(&request()))
                .write(tickets())
                .write(close_notify()),
            &[Unanswered],
        ),
        (
            "the same, tickets, response",
            second()
                .read(fin_and(&request()))
                .write(tickets())
                .write(request()),
            &[Complete],
        ),
        (
            "the same, a ticket or a response",
            second()
                .read(fin_and(&request()))
                .write(record(APPLICATION_DATA, 140)),
            &[Opaque],
        ),
        (
            "the same, a ticket and a response",
            second()
                .read(fin_and(&request()))
                .write(record(APPLICATION_DATA, 140))
                .write(request()),
            &[Complete],
        ),
    ]);
}

#[test]
fn given_http_1_by_agreement_when_a_request_came_alone_then_its_records_say_how_far_it_is() {
    let third = || with(&["http/1.1"], &new()).turn(3);
    let small = || record(APPLICATION_DATA, 42);
    let not_finished = [record(CCS, 1), request()].concat();
    assert_each(&[
        ("a request", third().read(request()), &[Unanswered]),
        (
            "part of one",
            third().read(&request()[..200]),
            &[RequestIncomplete],
        ),
        (
            "a request, close_notify read",
            third().read(request()).read(close_notify()),
            &[Unanswered],
        ),
        (
            "a request, close_notify said",
            third().read(request()).write(close_notify()),
            &[Unanswered],
        ),
        (
            "a request, 100 Continue",
            third().read(request()).write(small()),
            &[Opaque],
        ),
        (
            "part of a response",
            third().read(request()).write(&request()[..100]),
            &[ResponseIncomplete],
        ),
        (
            "a response",
            third().read(request()).write(request()),
            &[Complete],
        ),
        (
            "a response, close_notify unread",
            third().read(request()).write(request()).unread(24),
            &[Complete],
        ),
        (
            "a response, another unread",
            third().read(request()).write(request()).unread(90),
            &[Complete, Unanswered],
        ),
        ("a key update", third().read(record(APPLICATION_DATA, 22)), &[]),
        ("unseen", third().read_lost(80), &[Opaque]),
        (
            "not to be told from the handshake",
            with(&["http/1.1"], &new()).turn(2).read(not_finished),
            &[Opaque],
        ),
    ]);
}

#[test]
fn given_tls_1_2_when_judged_then_its_records_say_what_they_are() {
    let http = || with(&["h2", "http/1.1"], &old(&[alpn(&["http/1.1"])]));
    let keys = [record(SHAKE, 37), record(CCS, 1), record(SHAKE, 40)].concat();
    let resumed = [record(CCS, 1), record(SHAKE, 40), request()].concat();
    let done = [record(SHAKE, 200), record(CCS, 1), record(SHAKE, 40)].concat();
    assert_each(&[
        ("handshake", http().turn(2).read(&keys).write(&done), &[]),
        (
            "resumed, and a request",
            http().turn(2).read(&resumed),
            &[Unanswered],
        ),
        (
            "the same, answered",
            http().turn(2).read(&resumed).write(request()),
            &[Complete],
        ),
        ("request", http().turn(3).read(request()), &[Unanswered]),
        (
            "request, close_notify",
            http().turn(3).read(request()).read(record(ALERT, 26)),
            &[Unanswered],
        ),
        (
            "request, close_notify said",
            http().turn(3).read(request()).write(record(ALERT, 26)),
            &[Unanswered],
        ),
        ("goodbye", http().turn(3).read(record(ALERT, 26)), &[]),
    ]);
}

#[test]
fn given_what_may_be_multiplexed_when_judged_then_nothing_is_claimed_but_the_handshake() {
    let hello = client(&[alpn(&["h2"])]);
    // Its end was not kept: what it would speak is not known.
    let cut = &hello[..hello.len() - 9];
    for start in [
        with(&["h2", "http/1.1"], &new()),
        with(&["h2"], &new()),
        with(&["mqtt"], &new()),
        with(&["http/1.1"], &old(&[alpn(&["h2"])])),
        given().hellos(cut, &new()),
    ] {
        assert_each(&[
            (
                "handshake",
                start.clone().turn(2).read(finished()).write(tickets()),
                &[],
            ),
            ("asked", start.clone().turn(4).read(request()), &[Opaque]),
            (
                "answered",
                start.clone().turn(4).read(request()).write(request()),
                &[Opaque],
            ),
            ("goodbye", start.clone().turn(4).read(close_notify()), &[]),
        ]);
    }
}

#[test]
fn given_nothing_said_of_protocols_when_judged_then_only_what_looks_like_http_1_is_believed_to_take_turns() {
    let flight = [record(SHAKE, 122), record(CCS, 1), record(APPLICATION_DATA, 900)].concat();
    // SETTINGS acknowledged and a window update, six window updates, a PING's acknowledgement.
    let control = [22 + 17, 6 * 13 + 17, 17 + 24].map(|length| record(APPLICATION_DATA, length));
    for start in [
        given().hellos(&client(&[named("h")]), &new()),
        // A connection of which the beginning was not kept.
        given().opening([SHAKE, 3, 1, 2, 0, 1, 0, 1]),
    ] {
        let earned = || start.clone().turn(EARNED);
        assert_each(&[
            (
                "ClientHello not answered",
                given().read(record(SHAKE, 512)),
                &[Opaque],
            ),
            (
                "ClientHello answered",
                given().read(record(SHAKE, 512)).write(&flight),
                &[Opaque],
            ),
            ("Finished", start.clone().turn(2).read(finished()), &[]),
            (
                "Finished, tickets",
                start.clone().turn(2).read(finished()).write(tickets()),
                &[],
            ),
            (
                "a first request",
                start.clone().turn(3).read(request()),
                &[Opaque],
            ),
            ("request not answered", earned().read(request()), &[Unanswered]),
            (
                "request answered",
                earned().read(request()).write(request()),
                &[Complete],
            ),
            (
                "only a close_notify said (1.3)",
                earned().read(request()).write(close_notify()),
                &[Unanswered],
            ),
            (
                "only a close_notify said (1.2)",
                earned().read(request()).write(record(ALERT, 26)),
                &[Unanswered],
            ),
            (
                "answered, close_notify unread",
                earned().read(request()).write(request()).unread(31),
                &[Complete],
            ),
            (
                "answered, next unread",
                earned().read(request()).write(request()).unread(90),
                &[Complete, Unanswered],
            ),
            (
                "request, close_notify",
                earned().read(request()).read(record(ALERT, 26)),
                &[Unanswered],
            ),
            (
                "less than a head of HTTP/1",
                earned().read(request()).write(record(APPLICATION_DATA, 60)),
                &[Opaque],
            ),
            (
                "close_notify read (1.2)",
                start.clone().read(record(ALERT, 26)),
                &[],
            ),
            ("close_notify read (1.3)", start.clone().read(close_notify()), &[]),
            ("window updates", earned().read(&control[1]), &[Opaque]),
            ("settings", earned().read(&control[0]), &[Opaque]),
            ("a ping", earned().read(&control[2]), &[Opaque]),
        ]);
    }
}
