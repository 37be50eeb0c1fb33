//! An exposition to look at: every family, label and word of the closed lists.

use super::{Metrics, Scrape};
use crate::{
    class::Classes,
    kernel::{Losses, ProbeStatus},
    report::Workload,
    sinks::Count,
    tracker::Effect,
};

/// What an agent exposes that has just seen its first workload: every metric with every label and
/// every value of the closed lists, from the registry itself. Documentation and dashboards are
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
    metrics.apply(&Effect::WorkloadSeen(workload), 0);
    let probe = ProbeStatus {
        probe: "reset_sent",
        ok: true,
        gives: "",
        error: None,
        required: false,
    };
    let scrape = Scrape {
        now_ns: 0,
        losses: Losses::default(),
        resets: &[],
        probes: &[probe],
        store_errors: 0,
        under_way: 0,
        sinks: &[("otlp", Count::default())],
    };
    metrics.expose(&scrape)
}
