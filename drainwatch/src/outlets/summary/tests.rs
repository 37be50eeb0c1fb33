use drainwatch_core::{
    report::{Cause, Finding, FindingCode},
    testing::report,
};

use super::*;

fn now() -> jiff::Timestamp {
    "2026-01-02T00:30:00Z".parse().unwrap()
}

fn told(query_text: &str, reports: &[drainwatch_core::report::Report]) -> serde_json::Value {
    let filter = query(query_text, now()).unwrap();
    let mut summary = Summary::new(&filter, now().as_millisecond());
    for report in reports {
        summary.add(&serde_json::to_string(report).unwrap());
    }
    serde_json::to_value(summary).unwrap()
}

#[test]
fn given_reports_when_counted_then_each_number_is_over_all_of_them() {
    let mut cut = report("a", "web", Verdict::Severed);
    cut.workload.namespace = Some("shop".into());
    cut.ended_at = Some("2026-01-02T00:10:00Z".into());
    cut.requests.severed = 3;
    cut.requests.drained = 2;
    cut.severed = [(Cause::Late, 1), (Cause::Truncated, 2)].into();
    cut.severed_classes = [("webhook".to_owned(), 2), ("request".to_owned(), 1)].into();
    cut.findings.push(Finding {
        code: FindingCode::NoHandler,
        summary: String::new(),
        advice: String::new(),
    });
    let mut clean = report("b", "db", Verdict::Clean);
    clean.ended_at = Some("2026-01-01T00:40:00Z".into());
    clean.refused.attempts = 4;
    clean.requests.drained = 5;
    let mut open = report("c", "web", Verdict::Clean);
    open.ended_at = None;
    let told = told("since=24h", &[cut, clean, open]);
    assert_eq!(
        (&told["shutdowns"], &told["under_way"]),
        (&3.into(), &1.into()),
        "{told}"
    );
    assert_eq!(
        told["verdicts"],
        serde_json::json!({"severed": 1, "refused": 0, "unknown": 0, "clean": 2})
    );
    assert_eq!(told["requests"]["severed"], 3);
    assert_eq!(told["requests"]["drained"], 7);
    assert_eq!(told["refused"], 4);
    assert_eq!(told["severed"], serde_json::json!({"late": 1, "truncated": 2}));
    assert_eq!(
        told["severed_classes"],
        serde_json::json!({"webhook": 2, "request": 1})
    );
    assert_eq!(told["findings"], serde_json::json!({"no_handler": 1}));
    assert_eq!(told["namespaces"], serde_json::json!({"shop": 1}));
    assert_eq!(told["since"], "2026-01-01T00:30:00Z");
    let hours = told["hours"].as_array().unwrap();
    assert_eq!(hours.len(), 24);
    assert_eq!(
        (&hours[0]["clean"], &hours[23]["severed"], &hours[23]["clean"]),
        (&1.into(), &1.into(), &1.into()),
        "{told}"
    );
    assert_eq!(hours[0]["from"], "2026-01-01T00:30:00Z");
}

#[test]
fn given_no_beginning_or_more_than_a_week_when_counted_then_no_hours_are_told() {
    for query in ["", "since=8d", "until=2026-01-01T00:00:00Z"] {
        assert_eq!(told(query, &[])["hours"], serde_json::json!([]), "{query}");
    }
    assert_eq!(told("since=7d", &[])["hours"].as_array().unwrap().len(), 168);
    assert_eq!(
        told("since=2026-01-03T00:00:00Z", &[])["hours"],
        serde_json::json!([])
    );
}

#[test]
fn given_what_is_no_report_when_counted_then_it_is_nothing() {
    let mut summary = Summary::new(&Filter::default(), 0);
    summary.add("{}");
    summary.add("no JSON");
    assert_eq!(summary.shutdowns, 0);
}

#[test]
fn given_a_query_that_is_wrong_when_read_then_it_is_said_what_to_send_instead() {
    assert!(query("limit=5", now()).unwrap_err().contains("leave limit out"));
    assert!(query("since=never", now()).unwrap_err().contains("15m"));
    assert!(query("colour=red", now()).unwrap_err().contains("since"));
}
