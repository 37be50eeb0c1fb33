use super::*;

#[test]
fn given_a_request_when_no_response_began_then_it_is_unanswered_or_incomplete() {
    check(vec![
        ("read", given().read(GET), vec![Unanswered]),
        (
            "read byte by byte",
            GET.bytes().fold(given(), |so_far, byte| so_far.read([byte])),
            vec![Unanswered],
        ),
        (
            "after an empty line",
            given().read("\r\n").read(GET),
            vec![Unanswered],
        ),
        (
            "before an empty line",
            given().read(GET).read("\r\n"),
            vec![Unanswered],
        ),
        ("head cut", given().read(&GET[..30]), vec![RequestIncomplete]),
        (
            "request line cut",
            given().read("GET /a"),
            vec![RequestIncomplete],
        ),
        ("method cut", given().read("GE"), vec![RequestIncomplete]),
        (
            "head cut, more unread: it may be whole",
            given().read(&GET[..30]).unread(20),
            vec![Unanswered],
        ),
        (
            "one byte read, as Go does, the rest unread",
            given().read("G").unread(40),
            vec![Unanswered],
        ),
        ("no body byte yet", given().read(POST), vec![RequestIncomplete]),
        (
            "body cut",
            given().read(POST).read("012345678"),
            vec![RequestIncomplete],
        ),
        (
            "body whole",
            given().read(POST).read("0123456789"),
            vec![Unanswered],
        ),
        (
            "body whole with what is unread",
            given().read(POST).read("0123").unread(6),
            vec![Unanswered],
        ),
        (
            "body cut with what is unread",
            given().read(POST).read("0123").unread(5),
            vec![RequestIncomplete],
        ),
        (
            "body whole, more unread",
            given().read(POST).read("0123").unread(7),
            vec![Unanswered, Unanswered],
        ),
        (
            "body read without payload",
            given().read(POST).read_lost(10),
            vec![Unanswered],
        ),
        (
            "body half read without payload",
            given().read(POST).read_lost(9),
            vec![RequestIncomplete],
        ),
        (
            "chunks cut",
            given().read(CHUNKED_POST).read("5\r\nhello\r\n"),
            vec![RequestIncomplete],
        ),
        (
            "chunks whole",
            given().read(CHUNKED_POST).read("5\r\nhello\r\n0\r\n\r\n"),
            vec![Unanswered],
        ),
        (
            "chunks cut whatever is unread",
            given().read(CHUNKED_POST).read("5\r\nhello\r\n").unread(4),
            vec![RequestIncomplete],
        ),
        (
            "chunks perhaps whole",
            given().read(CHUNKED_POST).read("5\r\nhello\r\n").unread(5),
            vec![Unanswered],
        ),
        (
            "chunks beyond the capture",
            given()
                .read(CHUNKED_POST)
                .read(format!("5\r\nhello\r\n700\r\n{}", "x".repeat(0x700))),
            vec![RequestIncomplete],
        ),
        (
            "chunks beyond the capture, perhaps whole",
            given()
                .read(CHUNKED_POST)
                .read(format!("700\r\n{}\r\n0\r\n\r\n", "x".repeat(0x700))),
            vec![Unanswered],
        ),
        (
            "head beyond the capture",
            given().read(format!("GET / HTTP/1.1\r\nCookie: {}\r\n\r\n", "x".repeat(2000))),
            vec![Unanswered],
        ),
        (
            "contradicting lengths",
            given().read("POST / HTTP/1.1\r\nContent-Length: 1, 2\r\n\r\n"),
            vec![Unanswered],
        ),
        (
            "large upload cut",
            given().read(POST.replace("10", "99999")).read_lost(50_000),
            vec![RequestIncomplete],
        ),
    ]);
}

#[test]
fn given_a_request_when_judged_then_it_is_named_as_far_as_it_was_seen() {
    type Name = (
        &'static str,
        Option<&'static str>,
        Option<&'static str>,
        Option<&'static str>,
    );
    let long_cookie = format!(
        "GET /a HTTP/1.1\r\nHost: h\r\nCookie: {}\r\n\r\n",
        "x".repeat(2000)
    );
    let table: Vec<(&str, Name)> = vec![
        (GET, ("http/1.1", Some("GET"), Some("/a"), Some("shop.example"))),
        (
            "GET / HTTP/1.0\r\n\r\n",
            ("http/1.0", Some("GET"), Some("/"), None),
        ),
        (
            "GET http://u:p@a.example/x?y HTTP/1.1\r\nHost: b\r\n\r\n",
            ("http/1.1", Some("GET"), Some("/x"), Some("a.example")),
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
            ("http/1.1", Some("OPTIONS"), Some("*"), Some("h")),
        ),
        (
            "PROPFIND /dav HTTP/1.1\r\nHost: h\r\n\r\n",
            ("http/1.1", Some("PROPFIND"), Some("/dav"), Some("h")),
        ),
        (
            "BASELINE-CONTROL-LONG /dav HTTP/1.1\r\n",
            ("http/1.1", Some("BASELINE-CONTRO…"), Some("/dav"), None),
        ),
        (
            "GET /a HTTP/1.1\r\nHost: h\r\nX: ",
            ("http/1.1", Some("GET"), Some("/a"), Some("h")),
        ),
        (
            "GET /a HTTP/1.1\r\nHost: h",
            ("http/1.1", Some("GET"), Some("/a"), None),
        ),
        ("GET /a/b", ("http/1.1", Some("GET"), Some("/a/b…"), None)),
        ("GET /a HT", ("http/1.1", Some("GET"), Some("/a"), None)),
        ("GET ", ("http/1.1", Some("GET"), None, None)),
        ("POS", ("http/1.1", None, None, None)),
        (&long_cookie, ("http/1.1", Some("GET"), Some("/a"), Some("h"))),
    ];
    for (ask, name) in table {
        let exchange = &given().read(ask).judged()[0];
        let Exchange {
            protocol,
            method,
            path,
            host,
            ..
        } = exchange;
        assert_eq!(
            (&**protocol, method.as_deref(), path.as_deref(), host.as_deref()),
            name,
            "{ask}"
        );
        let certain = method.is_some() && path.is_some();
        assert_eq!(
            exchange.evidence,
            if certain {
                Evidence::Exact
            } else {
                Evidence::Inferred
            },
            "{ask}"
        );
    }
}

#[test]
fn given_bytes_of_another_protocol_when_read_then_they_are_not_http() {
    for ask in [
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET /old\r\n",
        "GET key\r\n",
        "GET key",
        "OPTIONS rtsp://cam/1 RTSP/1.0\r\n",
        "INVITE sip:a@b SIP/2.0\r\n",
        "*1\r\n$4\r\nPING\r\n",
        "EHLO mail\r\n",
        "EHLO mail",
        "GET / HTTP/2",
        "\r\n\r\n",
        "\u{3}\u{0}\u{0}\u{0}",
        "get key\r\n",
        "(x) / HTTP/1.1\r\n",
    ] {
        assert!(read(&given().read(ask).capture(), Ending::Cut).is_none(), "{ask}");
    }
}
