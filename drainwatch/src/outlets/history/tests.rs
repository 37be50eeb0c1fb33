use drainwatch_core::{report::Verdict, testing::report};

use super::*;
use crate::outlets::store::Retention;

fn ended(id: &str, second: u32) -> Report {
    let mut report = report(id, "/svc/a", Verdict::Clean);
    report.ended_at = Some(format!("2026-01-01T00:00:{second:02}.000Z"));
    report
}

fn going_on(id: &str) -> Box<Report> {
    Box::new(Report {
        ended_at: None,
        ..report(id, "/svc/a", Verdict::Clean)
    })
}

#[test]
fn given_open_and_ended_ones_when_listed_then_open_come_first_then_newest() {
    let mut history = History::new(10, None);
    history.finish(&ended("x", 5), 0);
    history.finish(&ended("y", 9), 0);
    history.update(going_on("o"), 0);
    let (matches, known) = history.list(&Filter::default());
    assert_eq!(matches.ids(), ["o", "y", "x"]);
    assert_eq!(known.len(), 3);
    assert!(!matches.more());
    let since = "2026-01-01T00:00:09Z"
        .parse::<jiff::Timestamp>()
        .unwrap()
        .as_millisecond();
    let filter = Filter {
        since_ms: Some(since),
        ..Filter::default()
    };
    assert_eq!(history.list(&filter).0.ids(), ["o", "y"]);
    let (two, _) = history.list(&Filter {
        limit: 2,
        ..Filter::default()
    });
    assert_eq!((two.ids().len(), two.more()), (2, true));
}

#[test]
fn given_a_filter_when_listed_then_workload_and_verdict_both_count() {
    let mut history = History::new(10, None);
    history.finish(&report("a", "/svc/a", Verdict::Severed), 0);
    history.finish(&report("b", "/svc/b", Verdict::Clean), 0);
    let ids = |workload: Option<&str>, verdict| {
        let filter = Filter {
            workload: workload.map(Into::into),
            verdict,
            ..Filter::default()
        };
        history.list(&filter).0.ids()
    };
    assert_eq!(ids(Some("/svc/a"), None), ["a"]);
    assert_eq!(ids(Some("b"), None), ["b"]);
    assert_eq!(ids(None, Some(Verdict::Severed)), ["a"]);
    assert!(ids(Some("b"), Some(Verdict::Severed)).is_empty());
}

#[test]
fn given_more_than_fit_in_memory_when_finished_then_the_oldest_goes_and_discarded_ones_too() {
    let mut history = History::new(2, None);
    for (id, second) in [("a", 1), ("b", 2), ("c", 3)] {
        history.finish(&ended(id, second), 0);
    }
    history.update(going_on("d"), 0);
    history.discard("d", 0);
    assert_eq!(history.list(&Filter::default()).0.ids(), ["c", "b"]);
    assert!(history.get("a").is_none() && history.get("d").is_none() && history.get("b").is_some());
    assert_eq!(history.ids("c", 5), ["c"]);
}

#[test]
fn given_huge_reports_when_finished_then_memory_is_bounded_in_bytes() {
    let mut history = History::new(1000, None);
    for second in 0..5 {
        let mut report = ended(&format!("r{second}"), second);
        report.workload.name = "x".repeat(1 << 20);
        history.finish(&report, 0);
    }
    assert_eq!(history.list(&Filter::default()).0.ids(), ["r4", "r3", "r2"]);
}

#[test]
fn given_a_store_when_closed_then_ended_and_open_reports_are_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let keep = Retention {
        reports: 10,
        age: Duration::from_hours(24),
    };
    let now_ms = "2026-01-01T00:00:09Z"
        .parse::<jiff::Timestamp>()
        .unwrap()
        .as_millisecond();
    let store = Arc::new(Store::open(dir.path(), keep, now_ms).unwrap().store);
    let mut history = History::new(10, Some(store));
    history.finish(&ended("a", 5), now_ms);
    history.update(going_on("b"), now_ms);
    history.update(going_on("c"), now_ms);
    history.discard("c", now_ms);
    assert!(history.close(now_ms, Duration::from_secs(10)));
    assert_eq!(history.store_errors(), 0);
    let opened = Store::open(dir.path(), keep, now_ms).unwrap();
    assert_eq!(opened.store.mark_unfinished(|_| false).unwrap(), 1);
    assert_eq!(opened.store.ids("", 9).unwrap(), ["a", "b"]);
}

#[test]
fn given_a_thousand_shutdowns_at_once_then_all_are_stored_and_what_was_none_leaves_no_ghost() {
    let dir = tempfile::tempdir().unwrap();
    let keep = Retention {
        reports: 10_000,
        age: Duration::from_hours(24),
    };
    let store = Arc::new(Store::open(dir.path(), keep, 0).unwrap().store);
    let mut history = History::new(10, Some(store.clone()));
    for n in 0..1000 {
        history.update(going_on(&format!("a{n}")), 0);
        history.update(going_on(&format!("ghost{n}")), 0);
    }
    for n in 0..1000 {
        history.finish(&ended(&format!("a{n}"), 5), 0);
        history.discard(&format!("ghost{n}"), 0);
    }
    assert!(history.close(0, Duration::from_secs(30)));
    assert_eq!((history.store_errors(), store.len().unwrap()), (0, 1000));
    drop((history, store));
    let store = Store::open(dir.path(), keep, 0).unwrap().store;
    assert_eq!(store.mark_unfinished(|_| false).unwrap(), 0);
}

#[test]
fn given_a_store_that_failed_when_it_works_again_then_what_came_meanwhile_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let keep = Retention {
        reports: 10,
        age: Duration::from_hours(24),
    };
    let now_ms = "2026-01-01T00:00:09Z"
        .parse::<jiff::Timestamp>()
        .unwrap()
        .as_millisecond();
    let store = Arc::new(Store::open(dir.path(), keep, now_ms).unwrap().store);
    store.fail();
    let mut history = History::new(10, Some(store.clone()));
    history.finish(&ended("a", 5), now_ms);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while history.store_errors() == 0 {
        assert!(std::time::Instant::now() < deadline, "the failure is counted");
        thread::sleep(Duration::from_millis(1));
    }
    history.finish(&ended("b", 6), now_ms);
    assert!(history.close(now_ms, Duration::from_secs(10)));
    assert_eq!(store.ids("", 9).unwrap(), ["a", "b"]);
}

#[test]
fn given_a_report_when_everything_is_stored_then_it_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let keep = Retention {
        reports: 10,
        age: Duration::MAX,
    };
    let store = Arc::new(Store::open(dir.path(), keep, 0).unwrap().store);
    let mut history = History::new(10, Some(store.clone()));
    assert!(history.is_stored(), "there is nothing to store");
    for number in 0..20 {
        let id = format!("r{number}");
        history.finish(&ended(&id, number), 0);
        let until = std::time::Instant::now() + Duration::from_secs(30);
        while !history.is_stored() {
            assert!(std::time::Instant::now() < until);
            thread::yield_now();
        }
        assert!(store.get(&id).unwrap().is_some(), "{id}");
    }
    store.fail();
    history.finish(&ended("late", 59), 0);
    assert_eq!(
        history.is_stored(),
        store.get("late").is_ok_and(|found| found.is_some()),
        "no sooner than it is there"
    );
}
