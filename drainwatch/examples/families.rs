//! Prints the exposition of an agent that has just seen one workload: every metric with every label
//! and every value of the closed lists, from the registry itself. `cargo xtask dashboards` compares
//! rules and panels with it.
#![forbid(unsafe_code)]

use drainwatch::{
    class::Classes,
    kernel::{Losses, ProbeStatus},
    metrics::{Metrics, Scrape},
    names::States,
    report::Workload,
    tracker::Effect,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
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
        losses: Losses {
            events: 0,
            ring_full: 0,
            no_storage: 0,
            map_full: 0,
            payload: 0,
            skipped_runs: 0,
            undecodable: 0,
        },
        resets: &[],
        probes: &[probe],
        store_errors: 0,
        under_way: 0,
        origins: &States::default(),
    };
    print!("{}", metrics.expose(&scrape)?);
    Ok(())
}
