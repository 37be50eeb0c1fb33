use super::*;

#[test]
fn given_a_request_that_closes_its_connection_when_others_follow_then_nobody_owes_them_an_answer() {
    const LAST: &str = "GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    check(vec![
        (
            "answered",
            given().read(format!("{LAST}{GET}")).write(OK5),
            vec![Complete],
        ),
        (
            "unanswered",
            given().read(format!("{LAST}{GET}")),
            vec![Unanswered],
        ),
        ("unread", given().read(LAST).write(OK5).unread(40), vec![Complete]),
        (
            "before it",
            given().read(format!("{GET}{LAST}")).write(OK5),
            vec![Complete, Unanswered],
        ),
    ]);
}

#[test]
fn given_pipelined_requests_when_judged_then_responses_pair_with_them_in_order() {
    let three = format!("{GET}{HEAD}{GET}");
    let big = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{}",
        "x".repeat(5000)
    );
    check(vec![
        ("none answered", given().read(&three), vec![Unanswered; 3]),
        (
            "one answered",
            given().read(&three).write(OK5),
            vec![Complete, Unanswered, Unanswered],
        ),
        (
            "one half answered",
            given().read(&three).write(&OK5[..30]),
            vec![ResponseIncomplete, Unanswered, Unanswered],
        ),
        (
            "the HEAD answered",
            { given().read(&three).write(OK5).write(&OK5[..OK5.len() - 5]) },
            vec![Complete, Complete, Unanswered],
        ),
        (
            "all answered, each its write",
            {
                given()
                    .read(&three)
                    .write(OK5)
                    .write(&OK5[..OK5.len() - 5])
                    .write(OK5)
            },
            vec![Complete; 3],
        ),
        (
            "all answered in one write",
            {
                given()
                    .read(&three)
                    .write([OK5, &OK5[..OK5.len() - 5], OK5].concat())
            },
            vec![Complete; 3],
        ),
        (
            "two answered and a half in one write",
            {
                given()
                    .read(&three)
                    .write([OK5, &OK5[..OK5.len() - 5], &OK5[..9]].concat())
            },
            vec![Complete, Complete, ResponseIncomplete],
        ),
        (
            "large ones, each its write",
            given().read([GET; 3].concat()).write(&big).write(&big),
            { vec![Complete, Complete, Unanswered] },
        ),
        (
            "large ones in one write: which began is not seen",
            { given().read([GET; 3].concat()).write([&*big, OK5].concat()) },
            vec![Complete, Unknown, Unknown],
        ),
        (
            "the last request cut",
            given().read(GET).read(&GET[..9]),
            vec![Unanswered, RequestIncomplete],
        ),
        (
            "the last request cut, the first answered",
            { given().read(GET).read(&GET[..9]).write(OK5) },
            vec![Complete, RequestIncomplete],
        ),
        (
            "the next one unread",
            given().read(GET).write(OK5).unread(50),
            vec![Complete, Unanswered],
        ),
        (
            "one outstanding, the next unread",
            given().read(GET).unread(50),
            vec![Unanswered, Unanswered],
        ),
        (
            "what follows is no request",
            given().read(GET).read("\x16\x03\x01 what\r\n"),
            vec![Unanswered, Unknown],
        ),
        (
            "requests beyond the capture",
            given().read(POST.replace("10", "1200")).read_lost(1300),
            { vec![Unanswered, Unanswered] },
        ),
        (
            "requests beyond the capture, one answered",
            {
                given()
                    .read(POST.replace("10", "1200"))
                    .read_lost(1300)
                    .write(OK5)
            },
            vec![Complete, Unanswered],
        ),
        (
            "requests beyond the capture, one half answered",
            {
                given()
                    .read(POST.replace("10", "1200"))
                    .read_lost(1300)
                    .write(OK5)
                    .write(&OK5[..30])
            },
            vec![Complete, ResponseIncomplete],
        ),
        (
            "requests beyond the capture, as many answered as were seen and one more",
            {
                given()
                    .read(POST.replace("10", "1200"))
                    .read_lost(1300)
                    .write(OK5)
                    .write(OK5)
            },
            vec![Complete, Unknown],
        ),
        (
            "more responses than requests: a body that looks like a head",
            { given().read(GET).write(CHUNKED).write("HTTP/1.1 200 OK\r\n\r\n") },
            vec![Unknown],
        ),
    ]);
    let exchanges = given().read(&three).write(OK5).unread(7).judged();
    let methods: Vec<_> = exchanges
        .iter()
        .map(|exchange| exchange.operation.method())
        .collect();
    assert_eq!(methods, [Some("GET"), Some("HEAD"), Some("GET"), None]);
    let times: Vec<_> = exchanges
        .iter()
        .map(|exchange| (exchange.started_ns, exchange.last_ns))
        .collect();
    assert_eq!(times, [(10, 20), (10, 10), (10, 10), (0, 20)]);
}

#[test]
fn given_payload_that_was_not_captured_when_judged_then_only_what_is_certain_is_said() {
    check(vec![
        (
            "response alone, complete",
            given().read_lost(80).write(OK5),
            vec![Complete],
        ),
        (
            "response alone, cut",
            given().read_lost(80).write(&OK5[..OK5.len() - 1]),
            vec![ResponseIncomplete],
        ),
        (
            "response alone, perhaps to a HEAD",
            given().read_lost(80).write(&OK5[..OK5.len() - 5]),
            vec![Unknown],
        ),
        (
            "response alone, next one unread",
            given().read_lost(80).write(OK5).unread(80),
            vec![Complete, Unanswered],
        ),
        (
            "no response, on a connection that nothing is known of",
            given().read_lost(80),
            vec![Opaque],
        ),
        (
            "an interim response",
            given()
                .http()
                .read_lost(80)
                .write("HTTP/1.1 100 Continue\r\n\r\n"),
            vec![Unknown],
        ),
        ("seeded, outstanding", given().seeded().read(GET), vec![Unknown]),
        (
            "seeded, answered",
            given().seeded().read(GET).write(OK5),
            vec![Complete],
        ),
        (
            "seeded, half answered",
            given().seeded().read(GET).write(&OK5[..30]),
            vec![Unknown],
        ),
        (
            "seeded, upgraded",
            given().seeded().read(UPGRADE).write(SWITCHED),
            vec![Stream],
        ),
    ]);
    let exchange = &given().read_lost(80).write(OK5).judged()[0];
    assert_eq!(
        (exchange.evidence, &exchange.operation),
        (
            Evidence::Inferred,
            &Operation::Http(Http {
                status: Some(200),
                ..Http::default()
            })
        )
    );
}

#[test]
fn given_a_second_response_under_way_when_judged_then_the_first_ended_when_it_began() {
    let recorder = given()
        .read(format!("{GET}{GET}"))
        .write(OK5)
        .write("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        .write("x".repeat(100));
    let exchanges = recorder.judged();
    assert_eq!(exchanges[0].last_ns, recorder.turn.message_first_ns);
    assert_eq!(exchanges[1].last_ns, recorder.turn.answer_last_ns);
    assert!(exchanges[0].last_ns < exchanges[1].last_ns);
}
