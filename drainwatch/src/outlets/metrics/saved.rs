//! Counters that outlive the agent: what they came to, by name, so that another version can read it.
//!
//! Gauges and what origins of names say are not among them: the next agent finds them out itself.

use std::collections::BTreeMap;

use drainwatch_core::{
    description::Origin,
    exchange::Doubt,
    report::{Cause, FindingCode, Trigger, Verdict},
};
use serde::{Deserialize, Serialize};

use super::{Known, Labels, Metrics, series::Histogram};

/// What was counted up to a moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    workloads: Vec<SavedSeries>,
    overflowed: u64,
    doubts: BTreeMap<Doubt, u64>,
    unresolved: BTreeMap<Origin, u64>,
    /// What the kernel had counted of resets by then: cgroup, sent, shutdown, count.
    resets: Vec<(u64, bool, bool, u64)>,
    /// And of requests served, as far as workloads have it: cgroup, count.
    #[serde(default)]
    served: Vec<(u64, u64)>,
}

/// Of one workload, what is not 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SavedSeries {
    labels: Labels,
    shutdowns: Vec<(Trigger, Verdict, u64)>,
    severed: Vec<(String, Cause, u64)>,
    findings: Vec<(FindingCode, u64)>,
    #[serde(default)]
    served: u64,
    drained: u64,
    failed: u64,
    refused: u64,
    probes: u64,
    shutdown_seconds: Histogram,
    drain_seconds: Histogram,
    lag_seconds: Histogram,
    resets: [u64; 4],
}

impl Metrics {
    /// What was counted so far, at this time.
    pub fn save(&mut self, now_ns: u64) -> Saved {
        self.count_told(now_ns);
        Saved {
            workloads: self
                .workloads
                .iter()
                .filter(|(_, known)| !known.series.is_untouched())
                .map(|(labels, known)| saved(labels, known))
                .collect(),
            overflowed: self.overflowed,
            doubts: self.doubts.clone(),
            unresolved: self.unresolved.clone(),
            resets: self.cgroups.counted(),
            served: self.served.taken(),
        }
    }

    /// Goes on from there. With `same_kernel_counters` the kernel side counts on, else it has begun anew.
    /// A workload that nobody sees any more leaves as usual, some minutes from now on.
    pub fn restore(&mut self, saved: Saved, same_kernel_counters: bool, now_ns: u64) {
        for of_workload in saved.workloads {
            let mut known = Known::new(&self.classes);
            let series = known.series_mut();
            for (trigger, verdict, count) in of_workload.shutdowns {
                (0..count).for_each(|_| series.shut_down(trigger, verdict));
            }
            for (class, cause, count) in of_workload.severed {
                (0..count).for_each(|_| series.sever(&class, cause));
            }
            for (code, count) in of_workload.findings {
                (0..count).for_each(|_| series.find(code));
            }
            series.served = of_workload.served;
            (series.drained, series.failed) = (of_workload.drained, of_workload.failed);
            (series.refused, series.probes) = (of_workload.refused, of_workload.probes);
            series.shutdown_seconds = of_workload.shutdown_seconds;
            series.drain_seconds = of_workload.drain_seconds;
            series.lag_seconds = of_workload.lag_seconds;
            series.resets = of_workload.resets;
            series.recommended = self
                .measured
                .get(&of_workload.labels)
                .and_then(|shutdowns| shutdowns.history.recommended());
            known.gone_ns = Some(now_ns);
            self.workloads.insert(of_workload.labels.into(), known);
        }
        self.overflowed = saved.overflowed;
        self.doubts = saved.doubts;
        self.unresolved = saved.unresolved;
        if same_kernel_counters {
            self.cgroups.counted_before(saved.resets);
            self.served.taken_before(saved.served);
        }
    }
}

fn saved(labels: &Labels, known: &Known) -> SavedSeries {
    let series = &known.series;
    let mut shutdowns = Vec::new();
    for (&trigger, counts) in Trigger::ALL.iter().zip(&series.shutdowns) {
        for (&verdict, &count) in Verdict::ALL.iter().zip(counts) {
            shutdowns.push((trigger, verdict, count));
        }
    }
    shutdowns.retain(|(_, _, count)| *count > 0);
    let mut severed = Vec::new();
    for (class, counts) in &series.severed {
        for (&cause, &count) in Cause::ALL.iter().zip(counts) {
            severed.push((class.to_string(), cause, count));
        }
    }
    severed.retain(|(_, _, count)| *count > 0);
    let findings = FindingCode::ALL.iter().copied().zip(series.findings);
    SavedSeries {
        labels: labels.clone(),
        shutdowns,
        severed,
        findings: findings.filter(|(_, count)| *count > 0).collect(),
        served: series.served,
        drained: series.drained,
        failed: series.failed,
        refused: series.refused,
        probes: series.probes,
        shutdown_seconds: series.shutdown_seconds.clone(),
        drain_seconds: series.drain_seconds.clone(),
        lag_seconds: series.lag_seconds.clone(),
        resets: series.resets,
    }
}
