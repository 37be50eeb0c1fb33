use super::*;

#[test]
fn given_a_response_when_cut_at_some_place_then_its_framing_decides() {
    let closed = "HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<html>";
    check(vec![
        ("length reached", given().read(GET).write(OK5), vec![Complete]),
        (
            "length missed",
            given().read(GET).write(&OK5[..OK5.len() - 1]),
            vec![ResponseIncomplete],
        ),
        (
            "head cut",
            given().read(GET).write(&OK5[..20]),
            vec![ResponseIncomplete],
        ),
        (
            "version cut",
            given().read(GET).write("HTT"),
            vec![ResponseIncomplete],
        ),
        (
            "head in two writes",
            given().read(GET).write(&OK5[..20]).write(&OK5[20..]),
            vec![Complete],
        ),
        (
            "equal lengths",
            given()
                .read(GET)
                .write("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi"),
            vec![Complete],
        ),
        (
            "chunked outweighs length",
            given().read(GET).write(
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: gzip, Chunked\r\n\r\nhello",
            ),
            vec![Unknown],
        ),
        ("no length", given().read(GET).write(closed), vec![Unknown]),
        (
            "unknown coding ends with the connection",
            given()
                .read(GET)
                .write("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx"),
            vec![Unknown],
        ),
        (
            "HEAD",
            given()
                .read(HEAD)
                .write("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"),
            vec![Complete],
        ),
        ("HEAD, chunked", given().read(HEAD).write(CHUNKED), vec![Complete]),
        (
            "204",
            given().read(GET).write("HTTP/1.1 204 No Content\r\n\r\n"),
            vec![Complete],
        ),
        (
            "304",
            given()
                .read(GET)
                .write("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
            vec![Complete],
        ),
        ("not HTTP", given().read(GET).write("<html>"), vec![Unknown]),
        ("unreadable", given().read(GET).write_lost(500), vec![Unknown]),
        (
            "head beyond the capture",
            given()
                .read(GET)
                .write(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(900))),
            vec![Unknown],
        ),
        (
            "file by sendfile, whole",
            given()
                .read(GET)
                .write("HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n")
                .write_lost(50_000),
            vec![Complete],
        ),
        (
            "file by sendfile, cut",
            given()
                .read(GET)
                .write("HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n")
                .write_lost(49_999),
            vec![ResponseIncomplete],
        ),
        (
            "early response to half an upload",
            given().read(POST).write(OK5),
            vec![Complete],
        ),
        (
            "early response, rest of the upload unread",
            given().read(POST).write(OK5).unread(10),
            vec![Complete],
        ),
        (
            "early response, cut",
            given().read(POST).write(&OK5[..20]),
            vec![ResponseIncomplete],
        ),
        (
            "bytes behind a complete response",
            given().read(GET).write(format!("{OK5}junk")),
            vec![Complete],
        ),
    ]);
    assert_eq!(given().read(GET).write(closed).states_when_closed(), [Complete]);
    assert_eq!(
        given().read(GET).write(&OK5[..40]).states_when_closed(),
        [ResponseIncomplete]
    );
    assert_eq!(
        given().read(GET).write(closed).judged()[0]
            .operation
            .http()
            .unwrap()
            .status,
        Some(200)
    );
}

#[test]
fn given_a_chunked_response_when_cut_at_some_place_then_the_last_chunk_decides() {
    let long = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let chunked = || given().read(GET).write(CHUNKED);
    check(vec![
        (
            "whole",
            chunked().write("5\r\nhello\r\n").write("0\r\n\r\n"),
            vec![Complete],
        ),
        ("empty", chunked().write("0\r\n\r\n"), vec![Complete]),
        ("trailers", chunked().write("0\r\nSum: 1\r\n\r\n"), vec![Complete]),
        (
            "cut between chunks",
            chunked().write("5\r\nhello\r\n"),
            vec![ResponseIncomplete],
        ),
        (
            "cut in the last chunk",
            chunked().write("0\r\n\r"),
            vec![ResponseIncomplete],
        ),
        (
            "data that looks like an end",
            chunked().write("9\r\nx\r\n0\r\n\r\nx\r\n"),
            vec![ResponseIncomplete],
        ),
        ("nothing of the body", chunked(), vec![ResponseIncomplete]),
        ("no chunks at all", chunked().write("hello"), vec![Unknown]),
        (
            "long, whole",
            chunked().write(&long).write("0\r\n\r\n"),
            vec![Complete],
        ),
        ("long, cut", chunked().write(&long), vec![ResponseIncomplete]),
        (
            "long, cut within the last chunk",
            chunked().write(&long).write("0\r\n"),
            vec![ResponseIncomplete],
        ),
        (
            "long, trailers",
            chunked().write(&long).write("0\r\nChecksum: 01234\r\n\r\n"),
            vec![Complete],
        ),
        (
            "long, perhaps trailers that are longer than what is kept",
            chunked().write(&long).write(format!(
                "0\r\nContent-Digest: sha-256=:{}:\r\nA: b\r\n\r\n",
                "0".repeat(64)
            )),
            vec![Unknown],
        ),
        (
            "long, tail not known",
            chunked().write(&long).write_lost(5),
            vec![Unknown],
        ),
        (
            "long, cut in a chunk whose data looks like an end",
            { chunked().write(format!("1000\r\n{}\r\n0\r\n\r\n", "x".repeat(0x800))) },
            vec![ResponseIncomplete],
        ),
        (
            "long, data ends in empty lines",
            {
                chunked()
                    .write(&long)
                    .write(format!("804\r\n{}\r\n\r\n\r\n", "x".repeat(0x800)))
            },
            vec![ResponseIncomplete],
        ),
    ]);
    for padding in 0..40 {
        let head = format!(
            "HTTP/1.1 200 OK\r\nX: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
            "x".repeat(450 + padding)
        );
        let whole = head + "0\r\n\r\n";
        assert!((506..=550).contains(&whole.len()), "around the capture's size");
        // Head and tail together may hold it all.
        let known = crate::record::ANSWER_HEAD + crate::record::TAIL;
        let expected = if whole.len() <= known { Complete } else { Unknown };
        assert_eq!(
            given().read(GET).write(&whole).states(),
            [expected],
            "{}",
            whole.len()
        );
    }
}

#[test]
fn given_an_interim_response_when_judged_then_the_request_goes_on() {
    let expect = POST.replace("Host: h", "Expect: 100-continue");
    let interim = "HTTP/1.1 100 Continue\r\n\r\n";
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\n\r\n";
    check(vec![
        (
            "invited to go on",
            given().read(&expect).write(interim),
            vec![RequestIncomplete],
        ),
        (
            "body arrived after it",
            given().read(&expect).write(interim).read("0123456789"),
            vec![Unanswered],
        ),
        (
            "answered after it",
            given().read(&expect).write(interim).read("0123456789").write(OK5),
            vec![Complete],
        ),
        ("early hints", given().read(GET).write(hints), vec![Unanswered]),
        (
            "early hints, half an answer",
            given().read(GET).write(hints).write(&OK5[..30]),
            vec![ResponseIncomplete],
        ),
        (
            "answered, then early hints for the next",
            { given().read([GET; 2].concat()).write(OK5).write(hints) },
            vec![Complete, Unanswered],
        ),
        (
            "something was written right behind it, in the same call",
            given().read(GET).write(format!("{hints}{OK5}")),
            vec![Complete],
        ),
    ]);
    let long = format!(
        "HTTP/1.1 103 Early Hints\r\nLink: </{}.css>; rel=preload\r\n\r\n",
        "s".repeat(60)
    );
    check(vec![
        (
            "hints longer than is looked at",
            given().read(GET).write(&long),
            vec![Unanswered],
        ),
        (
            "hints, then the final response in a call of its own",
            given().read(GET).write(&long).write(OK5),
            vec![Complete],
        ),
        (
            "hints twice, and the final response begun",
            given()
                .read(GET)
                .write(&long)
                .write(&long)
                .write(&OK5[..OK5.len() - 1]),
            vec![ResponseIncomplete],
        ),
        (
            "hints line by line",
            given()
                .read(GET)
                .write("HTTP/1.1 103 Early Hints\r\n")
                .write("Link: </s.css>; rel=preload\r\n")
                .write("\r\n")
                .write("HTTP/1.1 200 OK\r\n")
                .write("Content-Length: 5\r\n\r\nhello"),
            vec![Complete],
        ),
        (
            "hints to one of two requests: whether the final one stands behind them is not known",
            given().read([GET, GET].concat()).write(&long).write(OK5),
            vec![Unknown, Unknown],
        ),
        (
            "hints to both of two requests, both answered",
            given()
                .read([GET, GET].concat())
                .write(&long)
                .write(OK5)
                .write(&long)
                .write(OK5),
            vec![Complete, Complete],
        ),
    ]);
    // The same, where the capture begins with the interim response after all.
    let seen = |answer: &str| {
        let mut recorder = given().read(GET).write("x");
        recorder.turn = Turn {
            answer: answer.into(),
            message_bytes: answer.len() as u64,
            answer_bytes: answer.len() as u64,
            tail: None,
            ..recorder.turn
        };
        recorder.judged()[0].state
    };
    assert_eq!(seen(hints), Unanswered);
    assert_eq!(seen(&hints[..12]), Unanswered, "no byte of a final response");
    assert_eq!(seen(&format!("{interim}{hints}{OK5}")), Complete);
    assert_eq!(seen("HTTP/1.1 10"), ResponseIncomplete, "may be a 101");
}

#[test]
fn given_what_real_servers_write_when_judged_then_each_is_read_aright() {
    let nginx = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 05:00:00 GMT\r\nContent-Type: text/html\r\nContent-Length: 100000\r\nLast-Modified: Sat, 21 Nov 2026 04:00:00 GMT\r\nConnection: keep-alive\r\nETag: \"655c0d00-186a0\"\r\nAccept-Ranges: bytes\r\n\r\n";
    let node = "HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 05:00:00 GMT\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\n\r\n";
    let python = "HTTP/1.0 200 OK\r\nServer: SimpleHTTP/0.6 Python/3.11.2\r\nDate: Sat, 21 Nov 2026 05:00:00 GMT\r\nContent-type: text/html; charset=utf-8\r\n";
    let gunicorn = "HTTP/1.1 200 OK\r\nServer: gunicorn\r\nDate: Sat, 21 Nov 2026 05:00:00 GMT\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\n";
    let uvicorn = "HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 05:00:00 GMT\r\nserver: uvicorn\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n";
    let go = "HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 05:00:00 GMT\r\nContent-Type: text/plain; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";
    check(vec![
        (
            "nginx, sendfile",
            given().read(GET).write(nginx).write_lost(100_000),
            vec![Complete],
        ),
        (
            "nginx, sendfile cut",
            given().read(GET).write(nginx).write_lost(65_536),
            vec![ResponseIncomplete],
        ),
        (
            "node",
            {
                given()
                    .read(GET)
                    .write([node, "6\r\npart 1\r\n"].concat())
                    .write("6\r\npart 2\r\n")
                    .write("0\r\n\r\n")
            },
            vec![Complete],
        ),
        (
            "node, cut",
            given().read(GET).write([node, "6\r\npart 1\r\n"].concat()),
            vec![ResponseIncomplete],
        ),
        (
            "python, with a length",
            {
                given()
                    .read(GET)
                    .write(format!("{python}Content-Length: 4\r\n\r\n"))
                    .write("done")
            },
            vec![Complete],
        ),
        (
            "python, without",
            given().read(GET).write(format!("{python}\r\n")).write("done"),
            vec![Unknown],
        ),
        (
            "gunicorn",
            given().read(GET).write(gunicorn).write("Hello, World!"),
            vec![Complete],
        ),
        (
            "gunicorn, cut",
            given().read(GET).write(gunicorn),
            vec![ResponseIncomplete],
        ),
        (
            "uvicorn",
            given()
                .read(GET)
                .write(uvicorn)
                .write("4\r\ntick\r\n")
                .write("0\r\n\r\n"),
            vec![Complete],
        ),
        (
            "uvicorn, cut",
            given().read(GET).write(uvicorn).write("4\r\ntick\r\n"),
            vec![ResponseIncomplete],
        ),
        (
            "go, next byte read in the background",
            {
                given()
                    .read(GET)
                    .read("G")
                    .unread(60)
                    .write(format!("{go}4\r\ntick\r\n"))
            },
            vec![ResponseIncomplete, Unanswered],
        ),
        (
            "go, whole",
            given()
                .read(GET)
                .write(format!("{go}4\r\ntick\r\n"))
                .write("0\r\n\r\n"),
            vec![Complete],
        ),
    ]);
}

#[test]
fn given_an_interim_response_at_the_head_when_the_request_was_not_captured_then_it_is_still_unanswered() {
    for (answer, state) in [
        ("HTTP/1.1 100 Continue\r\n\r\n", Unanswered),
        ("HTTP/1.1 103 Early Hints\r\nLi", Unanswered),
        (
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            Complete,
        ),
    ] {
        let mut recorder = given().read_lost(80);
        recorder.turn = Turn {
            answer: answer.into(),
            answer_bytes: answer.len() as u64,
            message_bytes: answer.len() as u64,
            answers: 1,
            ..recorder.turn
        };
        assert_eq!(recorder.states(), [state], "{answer}");
    }
}
