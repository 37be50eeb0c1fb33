//! An exposition to look at: every family, label and word of the closed lists.

use drainwatch_core::{
    class::Classes,
    description::Origin,
    event::{Event, EventKind},
    recommend::Measured,
    report::{Configured, Revision, Workload},
    tracker::Effect,
};

use super::{Labels, Metrics, Scrape};
use crate::{
    kernel::{Losses, ProbeStatus},
    names::States,
    outlets::sinks::Count,
};

/// What an agent exposes that has seen everything happen to one workload, and knows how to stop it: every metric with
/// every label and every value of the closed lists, from the registry itself. Documentation and dashboards are
/// checked against it.
pub fn sample() -> Result<String, prometheus::Error> {
    let mut metrics = Metrics::new(&Classes::default())?;
    let workload = Workload {
        kind: "kubernetes".into(),
        namespace: Some("shop".into()),
        name: "web".into(),
        pod: None,
        container: Some("app".into()),
        container_id: None,
        cgroup: "/web".into(),
        controller: None,
        image: None,
    };
    let labels = Labels::from(&workload);
    metrics.apply(&Effect::WorkloadSeen(workload.clone()), 0);
    let configured = Configured {
        grace_seconds: Some(30.0),
        prestop_seconds: Some(0.0),
        ..Configured::default()
    };
    let running = Revision {
        id: Some("5d4f8c7b9".into()),
        image: Some("shop/web:1".into()),
    };
    let configured = Effect::WorkloadConfigured {
        workload,
        configured,
        running: Some(running),
    };
    metrics.apply(&configured, 0);
    metrics.measure(
        &labels,
        Measured {
            lag: Some(0.0),
            ..Measured::default()
        },
    );
    if let Some(known) = metrics.workloads.get_mut(&labels) {
        known.series_mut().all_happened();
    }
    for origin in Origin::ALL {
        metrics.observe(&Event {
            at_ns: 0,
            kind: EventKind::NamesExpected { origin },
        });
    }
    let probe = ProbeStatus {
        probe: "reset_sent",
        ok: true,
        gives: "",
        error: None,
        required: false,
    };
    let scrape = Scrape {
        now_ns: 0,
        losses: Losses {
            skipped_runs: [(probe.probe, 0)].into(),
            ..Losses::default()
        },
        resets: &[],
        served: None,
        probes: &[probe],
        store_errors: 0,
        under_way: 0,
        origins: &States::default(),
        sinks: &[("kubernetes", Count::default()), ("otlp", Count::default())],
    };
    metrics.snapshot(&scrape).text()
}
