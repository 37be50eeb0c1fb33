//! From reports to what each workload should be set to. Pure.

use std::collections::BTreeMap;

use drainwatch_core::{
    recommend::{History, Measured, SHUTDOWNS},
    report::{Configured, Report, Workload},
};
use serde::Serialize;

/// What one container's last stops, or one unit's, say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    /// Whose.
    pub workload: Workload,
    /// Over how many stops.
    pub stops: usize,
    /// How many of those cut requests.
    pub severing: usize,
    /// How many of those cut requests, or turned somebody away, in all.
    pub lost: u64,
    /// The longest of what was measured, in seconds.
    pub measured: Longest,
    /// What is configured now, as far as it is known.
    pub configured: Configured,
    /// What to set: nothing where what is there is enough, or where nothing was measured.
    pub set: Set,
}

/// The longest of what was measured, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Longest {
    /// How long new requests came.
    pub lag: Option<f64>,
    /// Until the last request had finished.
    pub drain: f64,
    /// Until it ended by itself.
    pub ended: Option<f64>,
    /// After which SIGKILL cut requests.
    pub cut: Option<f64>,
}

/// What to set, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Set {
    /// Time before the stop signal.
    pub prestop_seconds: Option<f64>,
    /// From the beginning of the stop to SIGKILL.
    pub grace_seconds: Option<f64>,
}

impl Set {
    /// Nothing to change.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// One for each workload of which a stop was measured, in the order of their names.
pub fn of(reports: &[Report]) -> Vec<Advice> {
    let mut workloads: BTreeMap<_, Vec<(&Report, Measured)>> = BTreeMap::new();
    for report in reports {
        let Some(measured) = Measured::of(report).filter(|_| report.ended_at.is_some()) else {
            continue;
        };
        let Workload {
            namespace,
            name,
            kind,
            container,
            ..
        } = &report.workload;
        let key = (namespace, name, kind, container);
        workloads.entry(key).or_default().push((report, measured));
    }
    let of_one = |mut stops: Vec<(&Report, Measured)>| {
        stops.sort_by(|(a, _), (b, _)| a.started_at.cmp(&b.started_at));
        let last = stops.split_off(stops.len().saturating_sub(SHUTDOWNS));
        advice(&last)
    };
    workloads.into_values().filter_map(of_one).collect()
}

fn advice(stops: &[(&Report, Measured)]) -> Option<Advice> {
    let (newest, _) = stops.last()?;
    let mut history = History::default();
    for (_, measured) in stops {
        history.add(*measured);
    }
    let recommended = history.recommended()?;
    let longest = |of: fn(&Measured) -> Option<f64>| {
        let all = stops.iter().filter_map(|(_, measured)| of(measured));
        all.reduce(f64::max)
    };
    let configured = newest.configured.clone().unwrap_or_default();
    let more =
        |wanted: f64, now: Option<f64>| Some(wanted).filter(|wanted| now.is_none_or(|now| now < *wanted));
    // What ends at once, with nothing to finish, says nothing of how long it may need.
    let took_time = |measured: &Measured| {
        let long = configured.grace_seconds.map(|grace| grace / 2.0);
        measured.drain > 0.0
            || measured.cut.is_some()
            || measured.ended.zip(long).is_some_and(|(ended, long)| ended > long)
    };
    let took_time = stops.iter().any(|(_, measured)| took_time(measured));
    let lost = |report: &Report| report.requests.severed + report.requests.failed + report.refused.attempts;
    Some(Advice {
        workload: newest.workload.clone(),
        stops: stops.len(),
        severing: stops
            .iter()
            .filter(|(report, _)| report.requests.severed > 0)
            .count(),
        lost: stops.iter().map(|(report, _)| lost(report)).sum(),
        measured: Longest {
            lag: longest(|measured| measured.lag),
            drain: longest(|measured| Some(measured.drain)).unwrap_or(0.0),
            ended: longest(|measured| measured.ended),
            cut: longest(|measured| measured.cut),
        },
        set: Set {
            // No hook and nothing that came late is the same.
            prestop_seconds: recommended
                .prestop
                .filter(|seconds| *seconds > 0.0)
                .and_then(|seconds| more(seconds, configured.prestop_seconds)),
            grace_seconds: more(recommended.grace, configured.grace_seconds).filter(|_| took_time),
        },
        configured,
    })
}
