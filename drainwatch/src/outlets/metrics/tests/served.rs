//! Requests served: by whom, and each once.

use serde_json::{Value, json};

use super::*;

/// A registry that knows the cgroup 7, and the workload in it.
fn of_one() -> Metrics {
    let mut metrics = Metrics::new(&Classes::default()).unwrap();
    comes(&mut metrics, 7, "/svc");
    metrics.apply(&Effect::WorkloadSeen(workload("/svc")), 0);
    metrics
}

fn comes(metrics: &mut Metrics, cgroup: u64, path: &str) {
    let kind = EventKind::CgroupCreated {
        cgroup,
        path: path.into(),
        seeded: false,
    };
    metrics.observe(&Event { at_ns: 0, kind });
}

/// What is exposed, when the kernel side has counted this.
fn served(metrics: &mut Metrics, counted: &[(u64, u64)]) -> Option<f64> {
    let scrape = Scrape {
        now_ns: 1,
        losses: Losses::default(),
        resets: &[],
        served: Some(counted),
        probes: &[],
        store_errors: 0,
        under_way: 0,
        origins: &States::default(),
        sinks: &[],
    };
    let text = metrics.snapshot(&scrape).text().unwrap();
    value(&text, "drainwatch_requests_total{", "/svc")
}

/// The end of a connection with exchanges in these states, and what else is said of it.
fn ended(states: &[&str], protocol: &str, more: &Value) -> Event {
    let exchanges: Vec<Value> = states
        .iter()
        .map(|state| {
            json!({
                "id": {"turn": 1, "index": 0}, "protocol": protocol, "evidence": "exact", "state": state,
                "started_ns": 1, "last_ns": 2, "operation": "opaque"
            })
        })
        .collect();
    let mut event = json!({
        "at_ns": 5, "event": "connection_ended", "id": 1, "role": "server", "pid": 70, "cgroup": 7,
        "local": "10.0.0.1:80", "peer": "10.0.0.2:4000", "netns": 1, "born_ns": 1, "seeded": false, "end": "exit",
        "unread": 0, "unsent": 0, "unacked": 0, "aborted": false, "exchanges": exchanges
    });
    for (key, value) in more.as_object().unwrap() {
        event[key] = value.clone();
    }
    serde_json::from_value(event).unwrap()
}

#[test]
fn given_what_the_kernel_side_counted_when_scraped_then_only_what_is_new_is_added() {
    let mut metrics = of_one();
    assert_eq!(
        served(&mut metrics, &[]),
        None,
        "who serves nothing has no series"
    );
    for (counted, total) in [(10, 10.0), (10, 10.0), (14, 14.0)] {
        assert_eq!(served(&mut metrics, &[(7, counted)]), Some(total));
    }
    // A connection was on its way from what is open to what has ended.
    for counted in [&[(7, 4)][..], &[], &[(7, 14)]] {
        assert_eq!(served(&mut metrics, counted), Some(14.0), "{counted:?}");
    }
    assert_eq!(served(&mut metrics, &[(7, 15)]), Some(15.0));
}

#[test]
fn given_a_connection_whose_end_is_told_then_its_latest_answer_counts_if_it_was_complete() {
    let nothing = json!({});
    for (states, protocol, more, counts) in [
        (&["complete"][..], "http/1.1", nothing.clone(), true),
        (&["complete", "unanswered"], "http/1.1", nothing.clone(), true),
        (
            &["complete", "request_incomplete"],
            "http/1.0",
            nothing.clone(),
            true,
        ),
        (&["complete"], "websocket", nothing.clone(), true),
        (
            &["complete", "response_incomplete"],
            "http/1.1",
            nothing.clone(),
            false,
        ),
        (&["unknown"], "http/1.1", nothing.clone(), false),
        (&["unanswered"], "http/1.1", nothing.clone(), false),
        (&[], "http/1.1", nothing.clone(), false),
        // The kernel side counts streams, and reads nothing else.
        (&["complete"], "http/2", nothing.clone(), false),
        (&["complete"], "postgresql", nothing, false),
        (&["complete"], "http/1.1", json!({"role": "client"}), false),
        (
            &["complete"],
            "http/1.1",
            json!({"other_end": "same_cgroup"}),
            false,
        ),
        (&["complete"], "http/1.1", json!({"remembered": true}), false),
        (&["complete"], "http/1.1", json!({"end": "open"}), false),
    ] {
        let mut metrics = of_one();
        metrics.observe(&ended(states, protocol, &more));
        let seen = served(&mut metrics, &[(7, 3)]);
        let expected = if counts { 4.0 } else { 3.0 };
        assert_eq!(seen, Some(expected), "{states:?} {protocol} {more}");
    }
}

#[test]
fn given_a_cgroup_whose_workload_is_not_known_yet_then_what_it_serves_waits_for_it() {
    let mut metrics = Metrics::new(&Classes::default()).unwrap();
    comes(&mut metrics, 7, "/svc/inner");
    metrics.observe(&ended(&["complete"], "http/1.1", &json!({})));
    assert_eq!(served(&mut metrics, &[(7, 9), (8, 5)]), None);
    metrics.apply(&Effect::WorkloadSeen(workload("/svc")), 0);
    assert_eq!(served(&mut metrics, &[(7, 9), (8, 5)]), Some(10.0));
}

#[test]
fn given_an_agent_that_goes_on_then_requests_are_counted_on_where_the_programs_did_too() {
    for (programs_went_on, counted, total) in [
        (true, 9, 10.0),
        (true, 12, 13.0),
        (false, 0, 10.0),
        (false, 2, 12.0),
    ] {
        let mut metrics = of_one();
        metrics.observe(&ended(&["complete"], "http/1.1", &json!({})));
        served(&mut metrics, &[(7, 9)]);
        let mut next = of_one();
        next.restore(metrics.save(1), programs_went_on, 1);
        let seen = served(&mut next, &[(7, counted)]);
        assert_eq!(seen, Some(total), "{programs_went_on} {counted}");
    }
}

#[test]
fn given_cgroups_that_nobody_knows_when_scraped_twice_then_the_kernel_side_may_forget_them() {
    let mut metrics = of_one();
    let counted = [(7, 3), (8, 5)];
    served(&mut metrics, &counted);
    assert!(metrics.forget_served().is_empty(), "its event may be on its way");
    served(&mut metrics, &counted);
    assert_eq!(metrics.forget_served(), [8]);
    assert!(metrics.forget_served().is_empty());
}
