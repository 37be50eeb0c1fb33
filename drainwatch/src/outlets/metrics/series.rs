//! The numbers of one workload, compactly, and which of them are exposed while they are 0.
//!
//! A node has hundreds of workloads. As children of the prometheus crate's vectors their numbers would take about 1 kB
//! each; as plain numbers, 8 bytes. Most are 0 for good, and no series: what is exposed of a workload that never shut
//! down badly is what a rule cannot do without ([`starts_at_zero`], [`cut_starts_at_zero`]).

use std::sync::Arc;

use drainwatch_core::{
    class::{REQUEST, WEBHOOK},
    recommend::Recommended,
    report::{Cause, FindingCode, Revision, Trigger, Verdict},
};
use serde::{Deserialize, Serialize};

/// Most classes of one workload; more are counted under [`OTHER_CLASS`].
pub const MOST_CLASSES: usize = 32;
/// Where the classes beyond [`MOST_CLASSES`] go.
pub const OTHER_CLASS: &str = "_other";

/// Upper bounds in seconds, dense around the usual grace periods: what is counted and saved. Fewer are exposed.
pub const BUCKETS: [f64; 16] = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 45.0, 60.0, 120.0, 300.0,
];

/// A histogram over [`BUCKETS`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    counts: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    /// Takes in one value, in seconds. Not a number, or negative: ignored.
    pub fn observe(&mut self, seconds: f64) {
        if !seconds.is_finite() || seconds < 0.0 {
            return;
        }
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            self.counts[bucket] += 1;
        }
        self.count += 1;
        self.sum += seconds;
    }

    /// Nothing was taken in yet.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Cumulative counts per bound, count, sum.
    pub fn snapshot(&self) -> ([u64; BUCKETS.len()], u64, f64) {
        let mut total = 0;
        let cumulative = self.counts.map(|count| {
            total += count;
            total
        });
        (cumulative, self.count, self.sum)
    }
}

/// Direction and phase of the reset counters, in the order of [`Series::resets`].
pub const RESETS: [(&str, &str); 4] = [
    ("sent", "serving"),
    ("sent", "shutdown"),
    ("received", "serving"),
    ("received", "shutdown"),
];

/// A stop is what every workload is meant to get. Whether one was clean is asked for over a whole day, of agents that may
/// be younger than that: a series that is born at 1 would be missed, and a clean shutdown with it.
pub fn starts_at_zero(trigger: Trigger) -> bool {
    trigger == Trigger::Stop
}

/// What is cut most: whoever asks with a plain `increase()` sees the first one. The rules do not need it.
pub fn cut_starts_at_zero(class: &str, cause: Cause) -> bool {
    [REQUEST, WEBHOOK].contains(&class) && [Cause::Unanswered, Cause::Truncated].contains(&cause)
}

/// Every number of one workload.
#[derive(Debug, Clone)]
pub struct Series {
    /// Shutdowns by trigger and verdict.
    pub shutdowns: [[u64; Verdict::ALL.len()]; Trigger::ALL.len()],
    /// Severed requests by class and cause.
    pub severed: Vec<(Arc<str>, [u64; Cause::ALL.len()])>,
    /// Requests that were answered, whenever.
    pub served: u64,
    /// Requests that finished during a shutdown.
    pub drained: u64,
    /// Requests that were answered with 5xx after the stop signal.
    pub failed: u64,
    /// Connection attempts that met a closed port.
    pub refused: u64,
    /// Health checks and scrapes during a shutdown.
    pub probes: u64,
    /// Shutdowns by finding.
    pub findings: [u64; FindingCode::ALL.len()],
    /// Stop signal to gone.
    pub shutdown_seconds: Histogram,
    /// Stop signal to the last outstanding request's end.
    pub drain_seconds: Histogram,
    /// Stop signal to the last new arrival.
    pub lag_seconds: Histogram,
    /// TCP resets, as [`RESETS`] orders them.
    pub resets: [u64; RESETS.len()],
    /// What is configured, in seconds.
    pub configured_prestop: Option<f64>,
    /// What is configured, in seconds.
    pub configured_grace: Option<f64>,
    /// What runs, as it was told last.
    pub running: Option<Revision>,
    /// What its last shutdowns call for.
    pub recommended: Option<Recommended>,
}

impl Series {
    /// All at 0, with series of each of these classes.
    pub fn new(classes: &[Arc<str>]) -> Self {
        Self {
            shutdowns: Default::default(),
            severed: classes
                .iter()
                .map(|class| (Arc::clone(class), Default::default()))
                .collect(),
            served: 0,
            drained: 0,
            failed: 0,
            refused: 0,
            probes: 0,
            findings: Default::default(),
            shutdown_seconds: Histogram::default(),
            drain_seconds: Histogram::default(),
            lag_seconds: Histogram::default(),
            resets: Default::default(),
            configured_prestop: None,
            configured_grace: None,
            running: None,
            recommended: None,
        }
    }

    /// Nothing was counted yet: whoever forgets it loses nothing.
    pub fn is_untouched(&self) -> bool {
        let shutdowns = self.shutdowns.iter().flatten();
        let severed = self.severed.iter().flat_map(|(_, causes)| causes);
        let counts = shutdowns.chain(severed).chain(&self.findings).chain(&self.resets);
        self.served + self.drained + self.failed + self.refused + self.probes == 0
            && counts.copied().all(|count| count == 0)
    }

    /// Counts one severed request.
    pub fn sever(&mut self, class: &str, cause: Cause) {
        let known = self.severed.iter().position(|(name, _)| **name == *class);
        let at = known.unwrap_or_else(|| {
            let name = if self.severed.len() < MOST_CLASSES {
                class
            } else {
                OTHER_CLASS
            };
            self.severed
                .iter()
                .position(|(known, _)| **known == *name)
                .unwrap_or_else(|| {
                    self.severed.push((name.into(), Default::default()));
                    self.severed.len() - 1
                })
        });
        self.severed[at].1[index(Cause::ALL, &cause)] += 1;
    }

    /// Counts one shutdown.
    pub fn shut_down(&mut self, trigger: Trigger, verdict: Verdict) {
        self.shutdowns[index(Trigger::ALL, &trigger)][index(Verdict::ALL, &verdict)] += 1;
    }

    /// Counts one finding.
    pub fn find(&mut self, code: FindingCode) {
        self.findings[index(FindingCode::ALL, &code)] += 1;
    }
}

impl Series {
    /// One of each, for who wants to see every series that there can be.
    pub fn all_happened(&mut self) {
        for trigger in Trigger::ALL {
            for verdict in Verdict::ALL {
                self.shut_down(*trigger, *verdict);
            }
        }
        for (_, causes) in &mut self.severed {
            causes.fill(1);
        }
        self.findings.fill(1);
        self.resets.fill(1);
        self.probes = 1;
        self.served = 1;
        for histogram in [
            &mut self.shutdown_seconds,
            &mut self.drain_seconds,
            &mut self.lag_seconds,
        ] {
            histogram.observe(1.0);
        }
    }
}

/// Position in a closed list that holds every value of its type.
fn index<T: PartialEq>(all: &[T], one: &T) -> usize {
    all.iter().position(|other| other == one).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_values_when_observed_then_buckets_are_cumulative_and_bounds_inclusive() {
        let mut histogram = Histogram::default();
        for seconds in [0.05, 0.06, 30.0, 301.0, f64::NAN, -1.0] {
            histogram.observe(seconds);
        }
        let (cumulative, count, sum) = histogram.snapshot();
        assert_eq!(
            (cumulative[0], cumulative[1], cumulative[15], count),
            (1, 2, 3, 4)
        );
        assert!((sum - 331.11).abs() < 1e-9);
    }

    #[test]
    fn given_endless_classes_when_severed_then_the_rest_is_counted_in_one() {
        let mut series = Series::new(&[]);
        for n in 0..100 {
            series.sever(&format!("class{n}"), Cause::Late);
        }
        assert_eq!(series.severed.len(), MOST_CLASSES + 1);
        let total: u64 = series
            .severed
            .iter()
            .map(|(_, causes)| causes.iter().sum::<u64>())
            .sum();
        assert_eq!(total, 100);
        assert_eq!(&*series.severed[MOST_CLASSES].0, OTHER_CLASS);
    }
}
