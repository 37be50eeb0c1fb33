use super::*;
use crate::reading::HeaderRules;

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
        let operation = &exchange.operation;
        let (method, path) = (operation.method(), operation.path());
        assert_eq!(
            (exchange.protocol.as_str(), method, path, operation.host()),
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
        let recorder = given().read(ask);
        assert!(read(&recorder.turn, &recorder.context()).is_none(), "{ask}");
    }
}

#[test]
fn given_an_empty_line_behind_a_body_when_it_is_all_then_nothing_was_asked() {
    check(vec![
        ("an empty line", given().http().read("\r\n"), vec![]),
        (
            "an empty line, and a request unread",
            given().http().read("\r\n").unread(80),
            vec![Unanswered],
        ),
        (
            "an empty line, and a request",
            given().http().read("\r\n").read(GET),
            vec![Unanswered],
        ),
        (
            "behind the body",
            given().read(POST).read("0123456789\r\n").write(OK5),
            vec![Complete],
        ),
    ]);
}

#[test]
fn given_an_upload_that_was_answered_early_when_more_of_it_comes_then_it_is_no_request() {
    let early = given().read(POST).read("01234").write(OK5);
    let exchange = &early.judged()[0];
    assert!(exchange.uploading && exchange.longest_goodbye().is_none());
    let whole = &early.read("56789").judged()[0];
    assert!(!whole.uploading && whole.longest_goodbye() == Some(17));
    // In a turn of its own, where it looks like a request to the kernel side.
    let rest = given().turn(2).http().read("ABCDEFGH").judged();
    assert_eq!(
        (rest[0].state, rest[0].doubt, rest[0].started_ns),
        (Unknown, Some(Doubt::EarlyAnswer), 0)
    );
}

#[test]
fn given_the_preface_of_a_balancer_when_read_then_what_is_behind_it_counts() {
    let preface = "PROXY TCP4 192.0.2.7 127.0.0.1 56324 443\r\n";
    let judged = |ask: &str| {
        let recorder = given().read(ask);
        let turn = crate::reading::preface::without(recorder.turn.clone());
        crate::reading::read(&turn, &recorder.context()).exchanges
    };
    assert!(judged(preface).is_empty(), "a balancer's idle connection");
    let behind = judged(&format!("{preface}{GET}"));
    assert_eq!(behind[0].operation.path(), Some("/a"));
    assert_eq!(behind[0].evidence, Evidence::Exact);
}

/// The prober that this head shows, the only one in its turn.
fn prober(head: &str) -> Option<String> {
    let exchanges = given().read(head).judged();
    let http = exchanges.first()?.operation.http()?;
    http.prober.clone()
}

#[test]
fn given_a_head_of_a_known_prober_when_read_then_it_is_named() {
    for (agent, name) in [
        ("kube-probe/1.30", "kubelet"),
        ("KUBE-PROBE/1.34+", "kubelet"),
        ("GoogleHC/1.0", "google"),
        (
            "GoogleStackdriverMonitoring-UptimeChecks(https://cloud.google.com/monitoring)",
            "google-uptime",
        ),
        ("ELB-HealthChecker/2.0", "elb"),
        (
            "Amazon-Route53-Health-Check-Service (ref 1; report http://amzn.to/1vsZADi)",
            "route53",
        ),
        ("Edge Health Probe", "azure-front-door"),
        ("Azure Traffic Manager Endpoint Monitor", "azure-traffic-manager"),
        ("AlwaysOn", "azure-app-service"),
        ("ReadyForRequest/1.0 (HealthCheck)", "azure-app-service"),
        ("HealthCheck/1.0", "azure-app-service"),
        (
            "Mozilla/5.0 (compatible;Cloudflare-Healthchecks/1.0;+https://www.cloudflare.com/; healthcheck-id: 1)",
            "cloudflare",
        ),
        ("Consul Health Check", "consul"),
        ("Envoy/HC", "envoy"),
        ("Prometheus/2.53.0", "prometheus"),
        ("vm_promscrape", "victoriametrics"),
        ("Blackbox Exporter/0.25.0", "blackbox"),
        ("Datadog Agent/7.55.0", "datadog"),
        ("Datadog/Synthetics", "datadog"),
        ("Telegraf/1.31.0 Go/1.22.4", "telegraf"),
        (
            "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
            "uptimerobot",
        ),
        ("Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)", "pingdom"),
        ("Site24x7", "site24x7"),
        ("Mozilla/5.0 (compatible; StatusCake)", "statuscake"),
        ("Better Uptime Bot Mozilla/5.0 (Windows NT 10.0)", "better-uptime"),
        ("Better Stack Better Uptime Bot Mozilla/5.0", "better-uptime"),
        ("Uptime-Kuma/1.23.13", "uptime-kuma"),
        (
            "Mozilla/5.0 (compatible; HetrixTools Uptime Monitoring Bot. https://hetrix.tools/uptime)",
            "hetrixtools",
        ),
        ("check_http/v2.3.3 (nagios-plugins 2.3.3)", "nagios"),
        ("Zabbix", "zabbix"),
    ] {
        for method in ["GET", "HEAD"] {
            let head = format!("{method} /up HTTP/1.1\r\nHost: a\r\nUser-Agent: {agent}\r\n\r\n");
            assert_eq!(prober(&head).as_deref(), Some(name), "{agent}");
        }
    }
    let scrape = "GET /metrics HTTP/1.1\r\nUser-Agent: otelcol/0.103\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n";
    assert_eq!(
        prober(scrape).as_deref(),
        Some("prometheus"),
        "of what is built on Prometheus, the header shows it"
    );
    for head in [
        "OPTIONS / HTTP/1.0\r\n\r\n",
        "OPTIONS / HTTP/1.0\r\nConnection: close\r\n\r\n",
    ] {
        assert_eq!(prober(head).as_deref(), Some("haproxy"), "{head:?}");
    }
}

#[test]
fn given_a_head_that_only_resembles_a_probers_when_read_then_it_is_a_users() {
    let asked = |line: &str, headers: &str| format!("{line}\r\n{headers}\r\n");
    let long = "k".repeat(900);
    for head in [
        asked(
            "GET / HTTP/1.1",
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n",
        ),
        asked("GET / HTTP/1.1", "User-Agent: my kube-probe/1.30\r\n"),
        asked("GET / HTTP/1.1", "User-Agent: kube-prob\r\n"),
        asked("GET / HTTP/1.1", "User-Agent:\r\n"),
        asked("GET / HTTP/1.1", "X-User-Agent: kube-probe/1.30\r\n"),
        asked("GET / HTTP/1.1", &format!("User-Agent: {long}\r\n")),
        asked("GET / HTTP/1.1", "User-Agent: Go-http-client/1.1\r\n"),
        // The same program delivers, or discovers targets.
        asked("POST /api/v1/write HTTP/1.1", "User-Agent: Prometheus/2.53.0\r\n"),
        asked("POST /write HTTP/1.1", "User-Agent: Telegraf/1.31.0\r\n"),
        asked(
            "GET /targets HTTP/1.1",
            "User-Agent: Prometheus/2.53.0\r\nX-Prometheus-Refresh-Interval-Seconds: 60\r\n",
        ),
        asked("DELETE /all HTTP/1.1", "User-Agent: kube-probe/1.30\r\n"),
        // A browser's preflight, a proxy's, another path, and one of which more may come.
        asked("OPTIONS / HTTP/1.1", ""),
        asked("OPTIONS / HTTP/1.0", "Host: a\r\n"),
        asked("OPTIONS /pay HTTP/1.0", ""),
        "OPTIONS / HTTP/1.0\r\n".to_owned(),
        // Invented, folded, in the body, or in the path.
        asked("GET /?User-Agent:kube-probe/1.30 HTTP/1.1", "Host: a\r\n"),
        asked("GET / HTTP/1.1", "Host: a\r\n\r\nUser-Agent: kube-probe/1.30\r\n"),
    ] {
        assert_eq!(prober(&head), None, "{head:?}");
    }
}

#[test]
fn given_a_head_that_is_cut_behind_the_agent_when_read_then_the_prober_is_known() {
    let cut = "GET /up HTTP/1.1\r\nUser-Agent: kube-probe/1.30\r\nAcc";
    assert_eq!(prober(cut).as_deref(), Some("kubelet"));
    assert_eq!(prober("GET /up HTTP/1.1\r\nUser-Agent: kube-pr"), None);
}

/// The sender of each request.
fn senders(recorder: &Recorder) -> Vec<Option<String>> {
    let sender = |exchange: Exchange| exchange.operation.http().and_then(|http| http.sender.clone());
    recorder.judged().into_iter().map(sender).collect()
}

/// The sender that the head of `POST /x` with these lines shows.
fn sender(lines: &str) -> Option<String> {
    let ask = format!("POST /x HTTP/1.1\r\nHost: h\r\n{lines}Content-Length: 0\r\n\r\n");
    senders(&given().read(ask)).remove(0)
}

#[test]
fn given_a_head_of_a_known_sender_when_read_then_it_is_named() {
    for (lines, name) in [
        (
            "User-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\n",
            "stripe",
        ),
        ("user-agent: stripe/1.0\r\n", "stripe"),
        ("Stripe-Signature: t=1,v1=0\r\n", "stripe"),
        ("User-Agent: GitHub-Hookshot/044aadd\r\n", "github"),
        (
            "X-GitHub-Event: push\r\nX-Hub-Signature-256: sha256=0\r\n",
            "github",
        ),
        ("X-Hub-Signature-256: sha256=0\r\n", "hub"),
        ("X-Shopify-Hmac-Sha256: 0\r\n", "shopify"),
        ("X-Slack-Signature: v0=0\r\n", "slack"),
        ("User-Agent: TwilioProxy/1.1\r\n", "twilio"),
        ("X-Twilio-Signature: 0\r\n", "twilio"),
        ("webhook-signature: v1,0\r\n", "standard-webhooks"),
        ("STRIPE-SIGNATURE:\r\n", "stripe"),
    ] {
        assert_eq!(sender(lines).as_deref(), Some(name), "{lines:?}");
    }
    let cut = "POST /x HTTP/1.1\r\nStripe-Signature: t=1\r\nContent-Le";
    assert_eq!(
        senders(&given().read(cut)),
        [Some("stripe".to_owned())],
        "its head was cut later"
    );
}

#[test]
fn given_a_hostile_head_when_read_then_no_word_of_it_becomes_the_sender() {
    for lines in [
        "User-Agent: Mozilla/5.0 Stripe/1.0\r\n",
        "User-Agent: Stripe\r\n",
        "User-Agent: Slackbot-LinkExpanding 1.0\r\n",
        "User-Agent: \u{1b}[31mStripe/1.0\r\n",
        "X-Stripe-Signature-: 1\r\n",
        "Stripe-Signature : 1\r\n",
        "X: Stripe-Signature: 1\r\n",
        "Cookie: User-Agent: Stripe/1.0\r\n",
        "\u{ff}\u{fe}: 1\r\n",
        "",
    ] {
        assert_eq!(sender(lines), None, "{lines:?}");
    }
    // Only the request's own head counts: neither its body nor the next request's.
    let body = "POST /x HTTP/1.1\r\nContent-Length: 22\r\n\r\nStripe-Signature: 1\r\n\r\n";
    assert_eq!(senders(&given().read(body)), [None]);
    let next = "GET /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\nStripe-Signature: 1\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(senders(&given().read(next)), [None, Some("stripe".to_owned())]);
}

/// The rules that hold of the only request in what was read.
fn rules_held(head: &[u8]) -> Vec<u8> {
    let rules = [
        vec!["x-partner: acme*".to_owned()],
        vec!["authorization".to_owned(), "cookie: *session=*".to_owned()],
    ];
    let rules = HeaderRules::new(rules.iter().map(Vec::as_slice));
    let recorder = given().read(head);
    let context = Context {
        rules: &rules,
        ..recorder.context()
    };
    let exchange = recorder.judged_in(context).remove(0);
    let event = serde_json::to_string(&exchange).unwrap();
    for secret in ["acme", "hunter2", "session", "x-partner"] {
        assert!(
            !event.to_lowercase().contains(secret),
            "a header is in the event: {event}"
        );
    }
    exchange.operation.http().unwrap().header_rules.clone()
}

#[test]
fn given_rules_on_headers_when_a_head_is_read_then_only_which_of_them_held_goes_any_further() {
    let none: &[u8] = &[];
    for (lines, held) in [
        (
            "X-Partner: ACME Corp\r\nAuthorization: Basic hunter2\r\n\r\n",
            &[0, 1][..],
        ),
        ("x-partner: acme\r\n\r\n", &[0]),
        ("Cookie: a=1; session=hunter2\r\n\r\n", &[1]),
        ("X-Partner: other\r\n\r\n", none),
        // The rest of the head did not fit into the capture, or has not arrived.
        ("X-Partner: acme\r\nCoo", &[0]),
        ("X-Partner: acm", none),
        // In the body, folded into another header, or no header at all.
        ("Content-Length: 15\r\n\r\nX-Partner: acme", none),
        ("A: b\r\n X-Partner: acme\r\n\r\n", none),
        ("\0X-Partner: acme\r\n\r\n", none),
    ] {
        let head = format!("POST /x HTTP/1.1\r\n{lines}");
        assert_eq!(rules_held(head.as_bytes()), held, "{lines:?}");
    }
}
