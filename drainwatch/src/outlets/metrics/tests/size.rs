//! What a workload costs: series, bytes, time.

use nix::time::{ClockId, clock_gettime};

use super::*;

/// Most series of a workload that never shut down badly.
const SERIES: usize = 25;
/// Most bytes of them, with names of an ordinary length.
const BYTES: usize = 5000;

fn pod(name: &str) -> Workload {
    Workload {
        kind: "kubernetes".into(),
        namespace: Some("production".into()),
        container: Some("application".into()),
        cgroup: format!("/kubepods/{name}"),
        ..workload(name)
    }
}

fn runs(revision: &str) -> Revision {
    Revision {
        id: Some(revision.into()),
        image: Some("registry.example.com/shop/checkout:1.24.3".into()),
    }
}

/// All that there can be of a pod before anything went wrong: the third revision runs, peers reset connections.
fn serve(metrics: &mut Metrics, pod: &Workload) {
    metrics.apply(&Effect::WorkloadSeen(pod.clone()), 0);
    for revision in ["5d4f8c7b9", "6f7c9d8b5", "7b8d9c6f4"] {
        let configured = Configured {
            grace_seconds: Some(30.0),
            prestop_seconds: Some(5.0),
            ..Configured::default()
        };
        let configured = Effect::WorkloadConfigured {
            workload: pod.clone(),
            configured,
            running: Some(runs(revision)),
        };
        metrics.apply(&configured, 0);
    }
    metrics.measure(
        &Labels::from(pod),
        Measured {
            lag: Some(0.2),
            ..Measured::default()
        },
    );
    let known = metrics.workloads.get_mut(&Labels::from(pod)).unwrap();
    let series = known.series_mut();
    (series.resets[0], series.resets[2]) = (3, 3);
    series.served = 1_000_000;
}

#[test]
fn given_a_workload_that_never_shut_down_badly_then_it_costs_no_more_than_25_series_and_5000_bytes() {
    let mut metrics = Metrics::new(&Classes::default()).unwrap();
    serve(&mut metrics, &pod("checkout"));
    let text = expose(&mut metrics, 1, &[]);
    let lines = of(&text, "checkout");
    assert!(lines.len() <= SERIES, "{} series:\n{text}", lines.len());
    let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();
    assert!(bytes <= BYTES, "{bytes} bytes");

    let mut plain = Metrics::new(&Classes::default()).unwrap();
    plain.apply(&Effect::WorkloadSeen(workload("/system.slice/nginx.service")), 0);
    let text = expose(&mut plain, 1, &[]);
    assert_eq!(of(&text, "/system.slice/nginx.service").len(), 11, "{text}");
}

#[test]
fn given_a_clean_shutdown_then_only_its_times_are_added_eleven_series_for_each_that_was_measured() {
    let mut metrics = Metrics::new(&Classes::default()).unwrap();
    let pod = pod("checkout");
    serve(&mut metrics, &pod);
    let before = of(&expose(&mut metrics, 1, &[]), "checkout").len();
    let mut clean = report("r", "checkout", Verdict::Clean);
    clean.workload = pod;
    clean.drain_ms = Some(700.0);
    metrics.apply(&Effect::Finished(Box::new(clean.clone())), 0);
    let drained = of(&expose(&mut metrics, 1, &[]), "checkout").len();
    assert_eq!(drained, before + 11);
    clean.endpoint_lag_ms = Some(300.0);
    metrics.apply(&Effect::Finished(Box::new(clean)), 0);
    let lagged = of(&expose(&mut metrics, 1, &[]), "checkout").len();
    assert_eq!(lagged, before + 22, "and no more, however often");
}

/// CPU time of this thread: other work on the machine does not count.
fn cpu_ms(work: impl FnOnce()) -> i64 {
    let now = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    let begun = now();
    work();
    let spent = now() - begun;
    spent.tv_sec() * 1000 + spent.tv_nsec() / 1_000_000
}

#[test]
fn given_a_thousand_workloads_when_scraped_then_the_loop_spends_milliseconds_and_the_rest_is_cheap() {
    let mut metrics = Metrics::new(&Classes::default()).unwrap();
    for n in 0..MOST_WORKLOADS {
        let namespace = Some(format!("team-{}", n % 25));
        let pod = Workload {
            namespace,
            ..pod(&format!("checkout-{n}"))
        };
        serve(&mut metrics, &pod);
    }
    let (mut taken, mut text) = (None, String::new());
    let on_the_loop = cpu_ms(|| taken = Some(snapshot(&mut metrics, 1, Losses::default(), &[])));
    let elsewhere = cpu_ms(|| text = taken.take().unwrap().text().unwrap());
    println!(
        "1000 workloads, {} bytes: {on_the_loop} ms on the loop, {elsewhere} ms elsewhere",
        text.len()
    );
    let slower = if cfg!(debug_assertions) { 20 } else { 1 };
    assert!(on_the_loop <= 5 * slower, "{on_the_loop} ms on the loop");
    assert!(elsewhere <= 50 * slower, "{elsewhere} ms");
    assert!(text.len() <= MOST_WORKLOADS * BYTES, "{} bytes", text.len());
}
