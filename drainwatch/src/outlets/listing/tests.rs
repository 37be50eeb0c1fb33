use drainwatch_core::testing::report;

use super::*;

fn now() -> jiff::Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

#[test]
fn given_a_query_when_read_then_every_parameter_counts() {
    let read = query(
        "since=15m&until=5m&workload=%2Fsvc%2Fa&namespace=shop&kind=docker&verdict=severed&class=webhook&finding=no_handler&cause=late&q=Late%20web&limit=7",
        now(),
    )
    .unwrap();
    let at = |text: &str| Some(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
    let expected = Filter {
        since_ms: at("2026-01-01T00:45:00Z"),
        until_ms: at("2026-01-01T00:55:00Z"),
        workload: Some("/svc/a".into()),
        namespace: Some("shop".into()),
        kind: Some("docker".into()),
        search: vec!["late".into(), "web".into()],
        verdict: Some(Verdict::Severed),
        class: Some("webhook".into()),
        finding: Some(FindingCode::NoHandler),
        cause: Some(Cause::Late),
        limit: 7,
    };
    assert_eq!(read, expected);
    assert_eq!(query("", now()).unwrap(), Filter::default());
    assert_eq!(query("since=&limit=", now()).unwrap(), Filter::default());
    let zoned = query("since=2026-01-01T02:00:00+01:00", now()).unwrap();
    assert_eq!(zoned.since_ms, Some(now().as_millisecond()));
}

#[test]
fn given_a_bad_query_when_read_then_the_error_says_what_to_send_instead() {
    for (text, says) in [
        ("since=yesterday", "such as 15m"),
        ("verdict=bad", "clean, severed, refused, unknown"),
        ("limit=0", "from 1 to 1000"),
        ("limit=1001", "from 1 to 1000"),
        ("limt=3", "finding, cause, q or limit"),
        ("cause=x", "unanswered, truncated"),
        ("finding=x", "no_handler"),
        ("until=later", "until: `later`"),
        ("since=1h&until=2h", "exchange the two"),
    ] {
        let error = query(text, now()).unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }
}
#[test]
fn given_a_report_when_filtered_then_its_json_is_judged_like_the_report_itself() {
    let mut one = report("a", "/svc/a", Verdict::Severed);
    one.workload.namespace = Some("shop".into());
    one.severed = [(Cause::Late, 1)].into();
    one.findings = vec![drainwatch_core::report::Finding {
        code: FindingCode::KeepaliveRace,
        summary: String::new(),
        advice: String::new(),
    }];
    let stored: Head = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
    for head in [Head::from(&one), stored] {
        for (text, taken) in [
            ("namespace=shop&cause=late&finding=keepalive_race", true),
            ("namespace=store", false),
            ("cause=upload", false),
            ("finding=crash", false),
            ("class=webhook", false),
            ("workload=shop%2F%2Fsvc%2Fa", true),
        ] {
            assert_eq!(query(text, now()).unwrap().takes(&head), taken, "{text}");
        }
    }
}
