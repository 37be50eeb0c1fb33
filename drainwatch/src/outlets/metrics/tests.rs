use drainwatch_core::{
    event::Role,
    report::{Cause, Finding, FindingCode, Moment, MomentKind, Revision, Trigger, Verdict},
    testing::report,
};

use super::*;

mod served;
mod size;

fn workload(name: &str) -> Workload {
    report("x", name, Verdict::Clean).workload
}

fn expose(metrics: &mut Metrics, now_ns: u64, resets: &[Resets]) -> String {
    let losses = Losses {
        events: 9,
        ring_full: 2,
        ..Losses::default()
    };
    snapshot(metrics, now_ns, losses, resets).text().unwrap()
}

/// With nothing to tell but this.
fn snapshot(metrics: &mut Metrics, now_ns: u64, losses: Losses, resets: &[Resets]) -> Snapshot {
    metrics.snapshot(&Scrape {
        now_ns,
        losses,
        resets,
        served: None,
        probes: &[],
        store_errors: 0,
        under_way: 0,
        origins: &States::default(),
        sinks: &[],
    })
}

fn value(text: &str, start: &str, label: &str) -> Option<f64> {
    let line = text
        .lines()
        .find(|line| line.starts_with(start) && line.contains(label))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Lines of a workload's series.
fn of<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let label = format!(r#"workload="{name}""#);
    text.lines().filter(|line| line.contains(&label)).collect()
}

#[test]
fn given_a_workload_just_seen_when_scraped_then_what_rules_need_of_it_is_there_at_zero() {
    let mut metrics = Metrics::new(&Classes::default()).unwrap();
    metrics.apply(&Effect::WorkloadSeen(workload("/a")), 0);
    let text = expose(&mut metrics, 1, &[]);
    let names: BTreeSet<&str> = of(&text, "/a")
        .iter()
        .filter_map(|line| line.split_once('{'))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        Vec::from_iter(names),
        [
            "drainwatch_drained_requests_total",
            "drainwatch_failed_requests_total",
            "drainwatch_refused_connections_total",
            "drainwatch_severed_requests_total",
            "drainwatch_shutdowns_total",
        ]
    );
    for verdict in ["clean", "refused", "severed", "unknown"] {
        let label = format!(r#"trigger="stop",verdict="{verdict}""#);
        assert_eq!(value(&text, "drainwatch_shutdowns_total", &label), Some(0.0));
    }
    for class in ["request", "webhook"] {
        let label = format!(r#"cause="unanswered",class="{class}""#);
        assert_eq!(
            value(&text, "drainwatch_severed_requests_total", &label),
            Some(0.0)
        );
    }
    assert!(of(&text, "/a").iter().all(|line| line.ends_with(" 0")), "{text}");
    assert_eq!(value(&text, "drainwatch_kernel_events_total", ""), Some(9.0));
    assert_eq!(
        value(&text, "drainwatch_kernel_events_lost_total", "ring_full"),
        Some(2.0)
    );
    assert!(text.contains("drainwatch_build_info{"));
    assert!(text.contains("process_resident_memory_bytes"));
    assert!(!text.contains("recommended"), "nothing was measured yet");
}

#[test]
fn given_effects_when_applied_then_each_is_counted_at_once_where_it_belongs() {
    let mut metrics = Metrics::new(&Classes::default()).unwrap();
    metrics.apply(&Effect::WorkloadSeen(workload("/a")), 0);
    let severed = Effect::Severed {
        workload: workload("/a"),
        cause: Cause::Truncated,
        class: "request".into(),
        role: Role::Server,
    };
    metrics.apply(&severed, 0);
    metrics.apply(
        &Effect::Drained {
            workload: workload("/a"),
        },
        0,
    );
    let mut done = report("r", "/a", Verdict::Severed);
    done.findings.push(Finding {
        code: FindingCode::NoHandler,
        summary: String::new(),
        advice: String::new(),
    });
    done.drain_ms = Some(700.0);
    done.endpoint_lag_ms = Some(2400.0);
    let exit = Moment {
        at_ms: 900.0,
        what: MomentKind::Exit,
        detail: None,
        pid: None,
    };
    done.timeline = vec![
        exit.clone(),
        Moment {
            at_ms: 950.0,
            what: MomentKind::Emptied,
            ..exit
        },
    ];
    metrics.apply(&Effect::Finished(Box::new(done)), 0);
    let text = expose(&mut metrics, 1, &[]);
    assert_eq!(
        value(
            &text,
            "drainwatch_severed_requests_total",
            r#"cause="truncated",class="request""#
        ),
        Some(1.0)
    );
    assert_eq!(value(&text, "drainwatch_drained_requests_total", "/a"), Some(1.0));
    assert_eq!(
        value(
            &text,
            "drainwatch_shutdowns_total",
            r#"trigger="stop",verdict="severed""#
        ),
        Some(1.0)
    );
    assert_eq!(
        value(
            &text,
            "drainwatch_shutdown_findings_total",
            r#"finding="no_handler""#
        ),
        Some(1.0)
    );
    assert_eq!(value(&text, "drainwatch_shutdown_seconds_sum", ""), Some(0.95));
    assert_eq!(
        value(&text, "drainwatch_drain_seconds_bucket", r#"le="1""#),
        Some(1.0)
    );
    assert_eq!(
        value(&text, "drainwatch_endpoint_lag_seconds_bucket", r#"le="1""#),
        Some(0.0)
    );
    assert_eq!(
        value(&text, "drainwatch_endpoint_lag_seconds_count", ""),
        Some(1.0)
    );
}

#[test]
fn given_two_instances_when_both_are_gone_for_ten_minutes_then_the_series_retire() {
    let mut metrics = Metrics::new(&Classes::default()).unwrap();
    metrics.apply(&Effect::WorkloadSeen(workload("/a")), 0);
    metrics.apply(&Effect::WorkloadSeen(workload("/a")), 0);
    metrics.apply(&Effect::WorkloadGone(workload("/a")), 0);
    assert!(
        expose(&mut metrics, 2 * RETIRE_NS, &[]).contains("\"/a\""),
        "one instance lives"
    );
    metrics.apply(&Effect::WorkloadGone(workload("/a")), 2 * RETIRE_NS);
    assert!(expose(&mut metrics, 3 * RETIRE_NS - 1, &[]).contains("\"/a\""));
    assert!(!expose(&mut metrics, 3 * RETIRE_NS, &[]).contains("\"/a\""));
}

#[test]
fn given_more_workloads_than_the_cap_when_seen_then_the_rest_share_one_and_are_counted() {
    let mut metrics = Metrics::new(&Classes::default()).unwrap();
    metrics.most = 2;
    for name in ["/a", "/b", "/c", "/d"] {
        metrics.apply(&Effect::WorkloadSeen(workload(name)), 0);
    }
    metrics.apply(
        &Effect::Drained {
            workload: workload("/d"),
        },
        0,
    );
    let text = expose(&mut metrics, 1, &[]);
    assert!(!text.contains("\"/c\""));
    assert_eq!(
        value(&text, "drainwatch_drained_requests_total", OVERFLOW),
        Some(1.0)
    );
    assert_eq!(
        value(&text, "drainwatch_workloads_overflowed_total", ""),
        Some(2.0)
    );
}

#[test]
fn given_resets_by_cgroup_when_scraped_then_each_workload_gets_what_grew_since_the_last_time() {
    let mut metrics = Metrics::new(&Classes::default()).unwrap();
    metrics.apply(&Effect::WorkloadSeen(workload("/a")), 0);
    for (cgroup, path) in [(1, "/a/sub"), (2, "/elsewhere")] {
        let kind = EventKind::CgroupCreated {
            cgroup,
            path: path.into(),
            seeded: false,
        };
        metrics.observe(&Event { at_ns: 0, kind });
    }
    let sent = |cgroup, count| Resets {
        cgroup,
        sent: true,
        shutdown: true,
        count,
    };
    expose(&mut metrics, 1, &[sent(1, 3), sent(2, 5)]);
    let text = expose(&mut metrics, 2, &[sent(1, 4), sent(2, 5)]);
    let labels =
        |workload: &str| format!(r#"direction="sent",namespace="",phase="shutdown",workload="{workload}""#);
    assert_eq!(
        value(&text, "drainwatch_tcp_resets_total", &labels("/a")),
        Some(4.0)
    );
    assert_eq!(
        value(&text, "drainwatch_tcp_resets_total", &labels(OVERFLOW)),
        Some(5.0)
    );
}

#[test]
fn given_a_hostile_name_when_scraped_then_it_stays_inside_its_label() {
    let mut metrics = Metrics::new(&Classes::default()).unwrap();
    metrics.apply(&Effect::WorkloadSeen(workload("/a\"} 1\nevil 2\\")), 0);
    let text = expose(&mut metrics, 1, &[]);
    assert!(!text.lines().any(|line| line.starts_with("evil")), "{text}");
    assert!(text.contains(r#"workload="/a\"} 1\nevil 2\\""#));
}

#[test]
fn given_stops_when_scraped_then_what_they_call_for_stands_beside_what_is_configured() {
    let mut metrics = Metrics::new(&Classes::default()).unwrap();
    let mut before = report("r", "/a", Verdict::Clean);
    before.workload.kind = "kubernetes".into();
    before.deleted_at = Some(before.started_at.clone());
    before.trigger = Trigger::Stop;
    before.requests.drained = 1;
    before.drain_ms = Some(8000.0);
    before.endpoint_lag_ms = Some(1500.0);
    // An earlier agent's report makes no series, but is remembered.
    metrics.remember(&before);
    let absent = |text: &str| !text.contains("_prestop_seconds") && !text.contains("_grace_seconds");
    assert!(absent(&expose(&mut metrics, 1, &[])));
    metrics.apply(&Effect::WorkloadSeen(workload("/b")), 0);
    assert!(absent(&expose(&mut metrics, 1, &[])));
    let pods = before.workload.clone();
    metrics.apply(&Effect::WorkloadSeen(pods.clone()), 0);
    let configured = Configured {
        grace_seconds: Some(30.0),
        prestop_seconds: Some(0.0),
        ..Configured::default()
    };
    metrics.apply(
        &Effect::WorkloadConfigured {
            workload: pods,
            configured,
            running: Some(Revision {
                id: Some("5d4f".into()),
                image: Some("shop/web:1".into()),
            }),
        },
        0,
    );
    let text = expose(&mut metrics, 1, &[]);
    for (name, expected) in [
        ("recommended_prestop", 3.0),
        ("recommended_grace", 16.0),
        ("configured_prestop", 0.0),
        ("configured_grace", 30.0),
    ] {
        let name = format!("drainwatch_{name}_seconds{{");
        assert_eq!(value(&text, &name, "workload=\"/a\""), Some(expected), "{name}");
        assert_eq!(value(&text, &name, "workload=\"/b\""), None, "{name}");
    }
    assert_eq!(
        value(&text, "drainwatch_workload_info{", "revision=\"5d4f\""),
        Some(1.0)
    );
    assert!(
        text.contains("image=\"shop/web:1\",namespace=\"\",revision=\"5d4f\""),
        "{text}"
    );
}

#[test]
fn given_an_expected_origin_when_scraped_then_its_series_are_there_at_zero_and_count() {
    let mut metrics = Metrics::new(&Classes::default()).unwrap();
    assert!(!expose(&mut metrics, 1, &[]).contains("drainwatch_names_"));
    let origin = Origin::Docker;
    metrics.observe(&Event {
        at_ns: 0,
        kind: EventKind::NamesExpected { origin },
    });
    let of = |text: &str, name: &str| value(text, &format!("drainwatch_names_{name}{{"), "docker");
    let text = expose(&mut metrics, 1, &[]);
    for name in ["up", "failures_total", "unresolved_total"] {
        assert_eq!(of(&text, name), Some(0.0), "{name}");
    }
    metrics.apply(&Effect::Unresolved { origin }, 0);
    let mut states = States::default();
    states.observe(origin, crate::names::State::Down("no".into()));
    states.observe(origin, crate::names::State::Up);
    let scrape = Scrape {
        now_ns: 2,
        losses: Losses::default(),
        resets: &[],
        served: None,
        probes: &[],
        store_errors: 0,
        under_way: 0,
        origins: &states,
        sinks: &[],
    };
    let text = metrics.snapshot(&scrape).text().unwrap();
    for name in ["up", "failures_total", "unresolved_total"] {
        assert_eq!(of(&text, name), Some(1.0), "{name}");
    }
}

#[test]
fn given_workloads_that_left_untouched_when_there_is_no_room_then_they_make_it() {
    let mut metrics = Metrics::new(&Classes::default()).unwrap();
    for n in 0..10_000 {
        let of = workload(&format!("/run-{n}"));
        metrics.apply(&Effect::WorkloadSeen(of.clone()), n);
        metrics.apply(&Effect::WorkloadGone(of), n);
    }
    metrics.apply(&Effect::WorkloadSeen(workload("/stays")), 10_000);
    let text = expose(&mut metrics, 10_000, &[]);
    assert!(text.contains("workload=\"/stays\"") && !text.contains("workload=\"_overflow\""));
    assert!(metrics.workloads.len() <= MOST_WORKLOADS);
    assert_eq!(
        value(&text, "drainwatch_workloads_overflowed_total", ""),
        Some(0.0)
    );
}

#[test]
fn given_a_user_with_processes_without_end_then_they_take_a_tenth_of_the_room_and_others_keep_theirs() {
    let mut metrics = Metrics::new(&Classes::default()).unwrap();
    for n in 0..5000 {
        let of = Workload {
            kind: "process".into(),
            cgroup: "/user.slice/user-1000.slice/session-3.scope".into(),
            ..workload(&format!("evil{n}"))
        };
        metrics.apply(&Effect::WorkloadSeen(of), n);
    }
    metrics.apply(&Effect::WorkloadSeen(workload("/stays")), 5000);
    let text = expose(&mut metrics, 5000, &[]);
    assert!(text.contains("workload=\"/stays\""));
    assert_eq!(
        metrics.workloads.len(),
        MOST_WORKLOADS / 10 + 2,
        "with `_overflow`"
    );
    expose(&mut metrics, 5000 + 2 * RETIRE_NS, &[]);
    assert_eq!(
        metrics.crowds.values().sum::<usize>(),
        metrics.workloads.len() - 1
    );
}

#[test]
fn given_runs_of_one_workload_without_end_when_nobody_scrapes_then_their_cgroups_are_forgotten() {
    let mut metrics = Metrics::new(&Classes::default()).unwrap();
    let mut observe = |at_ns: u64, kind| metrics.observe(&Event { at_ns, kind });
    for n in 0..10_000 {
        let path = format!("/kubepods/pod/{n}");
        let kind = EventKind::CgroupCreated {
            cgroup: n,
            path,
            seeded: false,
        };
        observe(n, kind);
    }
    let run = |n: u64| Workload {
        cgroup: format!("/kubepods/pod/{n}"),
        ..workload("/web")
    };
    for n in 0..10_000 {
        metrics.apply(&Effect::WorkloadSeen(run(n)), n);
        metrics.apply(&Effect::WorkloadGone(run(n)), n);
        metrics.observe(&Event {
            at_ns: n,
            kind: EventKind::CgroupRemoved { cgroup: n },
        });
    }
    let (paths, labels) = metrics.cgroups.len();
    assert!(paths <= cgroups::REMOVED && labels == paths, "{paths} {labels}");
    metrics.apply(&Effect::WorkloadSeen(workload("/web")), 10_000);
    expose(&mut metrics, 10_000 + RETIRE_NS, &[]);
    assert_eq!(
        metrics.cgroups.len(),
        (0, 1),
        "the last one's path was never told of"
    );
}

#[test]
fn given_an_agent_that_goes_on_when_scraped_then_every_series_that_was_born_is_there_again_with_its_value() {
    let mut metrics = Metrics::new(&Classes::default()).unwrap();
    metrics.apply(&Effect::WorkloadSeen(workload("/a")), 0);
    metrics
        .workloads
        .get_mut(&Labels::from(&workload("/a")))
        .unwrap()
        .series_mut()
        .all_happened();
    let before = expose(&mut metrics, 1, &[]);
    let mut next = Metrics::new(&Classes::default()).unwrap();
    next.restore(metrics.save(0), true, 1);
    next.apply(&Effect::WorkloadSeen(workload("/a")), 1);
    let after = expose(&mut next, 2, &[]);
    assert_eq!(of(&before, "/a"), of(&after, "/a"));
    assert!(of(&after, "/a").len() > 100, "{after}");
}

#[test]
fn given_a_snapshot_when_something_is_counted_meanwhile_then_it_keeps_the_numbers_of_its_moment() {
    let mut metrics = Metrics::new(&Classes::default()).unwrap();
    metrics.apply(&Effect::WorkloadSeen(workload("/a")), 0);
    let drained = Effect::Drained {
        workload: workload("/a"),
    };
    let snapshot = snapshot(&mut metrics, 1, Losses::default(), &[]);
    metrics.apply(&drained, 0);
    let text = snapshot.text().unwrap();
    let count = |text: &str| value(text, "drainwatch_drained_requests_total", "/a");
    assert_eq!(count(&text), Some(0.0));
    assert_eq!(count(&expose(&mut metrics, 2, &[])), Some(1.0));
}
