//! `/metrics`, in the text format 0.0.4.
//!
//! Every series of a workload exists at 0 from [`Effect::WorkloadSeen`] on, because a counter born
//! at 3 loses those 3 in `increase()`. A workload's series are retired some minutes after its last
//! instance left, at a scrape: nothing here has a timer.

mod cgroups;
mod families;
mod rollouts;
mod sample;
mod saved;
mod series;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use drainwatch_core::{
    class::Classes,
    description::Origin,
    event::{Event, EventKind},
    exchange::Doubt,
    recommend::{self, Measured},
    report::{Configured, Report, Revision, Trigger, Workload},
    rollout::RolledOut,
    tracker::Effect,
};
use prometheus::{Encoder, TextEncoder};
use serde::{Deserialize, Serialize};

use crate::{
    kernel::{Losses, ProbeStatus, Resets},
    names::States,
    outlets::sinks,
};
use cgroups::Cgroups;
use families::OriginSeries;
use rollouts::Rollouts;
pub use sample::sample;
pub use saved::Saved;
use series::Series;

/// `Content-Type` of the exposition.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Most workloads with series of their own.
const MOST_WORKLOADS: usize = 1000;
/// Most workloads whose last shutdowns are remembered.
const MOST_MEASURED: usize = 2000;
/// Workload label of those beyond it, and of resets that belong to no known workload.
const OVERFLOW: &str = "_overflow";
/// How long the series of a workload that is gone are still exposed: two scrapes at any usual interval.
const RETIRE_NS: u64 = 600 * 1_000_000_000;

/// Labels that identify a workload's series.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
struct Labels {
    namespace: String,
    workload: String,
    kind: String,
    container: String,
}

impl Labels {
    fn overflow() -> Self {
        Self {
            namespace: String::new(),
            workload: OVERFLOW.into(),
            kind: String::new(),
            container: String::new(),
        }
    }
}

impl From<&Workload> for Labels {
    fn from(workload: &Workload) -> Self {
        Self {
            namespace: workload.namespace.clone().unwrap_or_default(),
            workload: workload.name.clone(),
            kind: workload.kind.clone(),
            container: workload.container.clone().unwrap_or_default(),
        }
    }
}

#[derive(Debug)]
struct Known {
    series: Series,
    /// Instances on this node.
    instances: u64,
    /// Monotonic time at which the last instance left.
    gone_ns: Option<u64>,
}

impl Known {
    fn new(classes: &[Arc<str>]) -> Self {
        Self {
            series: Series::new(classes),
            instances: 0,
            gone_ns: None,
        }
    }
}

/// What a scrape reads from elsewhere.
#[derive(Debug)]
pub struct Scrape<'a> {
    /// Monotonic time.
    pub now_ns: u64,
    /// Counters of the kernel side.
    pub losses: Losses,
    /// TCP resets by cgroup.
    pub resets: &'a [Resets],
    /// State of the probes.
    pub probes: &'a [ProbeStatus],
    /// Reports that could not be stored.
    pub store_errors: u64,
    /// Shutdowns under way.
    pub under_way: usize,
    /// How the origins of names are.
    pub origins: &'a States,
    /// What became of reports, by sink.
    pub sinks: &'a [(&'static str, sinks::Count)],
}

/// The registry.
#[derive(Debug)]
pub struct Metrics {
    workloads: BTreeMap<Labels, Known>,
    classes: Arc<[Arc<str>]>,
    overflowed: u64,
    cgroups: Cgroups,
    rollouts: Rollouts,
    agent: families::Agent,
    most: usize,
    /// What the last shutdowns measured; longer than series, for a workload that comes back.
    measured: BTreeMap<Labels, Shutdowns>,
    measured_last: u64,
    /// Origins of names that are expected to tell, with what they did not.
    unresolved: BTreeMap<Origin, u64>,
    /// Why the evidence did not say what became of requests, and how often.
    doubts: BTreeMap<Doubt, u64>,
}

#[derive(Debug, Default)]
struct Shutdowns {
    history: recommend::History,
    /// The larger, the later the last one was.
    last: u64,
}

impl Metrics {
    /// A registry without workloads; those to come have series of each of these classes.
    pub fn new(classes: &Classes) -> Result<Self, prometheus::Error> {
        Ok(Self {
            workloads: BTreeMap::new(),
            classes: classes.names().into(),
            overflowed: 0,
            cgroups: Cgroups::default(),
            rollouts: Rollouts::default(),
            agent: families::Agent::new()?,
            most: MOST_WORKLOADS,
            measured: BTreeMap::new(),
            measured_last: 0,
            unresolved: BTreeMap::new(),
            doubts: BTreeMap::new(),
        })
    }

    /// Learns which path a cgroup id has, which resets are attributed by, and which origins of names there are.
    pub fn observe(&mut self, event: &Event) {
        match &event.kind {
            EventKind::CgroupCreated { cgroup, path, .. } => self.cgroups.created(*cgroup, path),
            EventKind::CgroupRemoved { cgroup } => self.cgroups.removed(*cgroup, event.at_ns),
            EventKind::NamesExpected { origin } => {
                self.unresolved.entry(*origin).or_default();
            }
            _ => {}
        }
    }

    /// Counts an effect of the tracker.
    pub fn apply(&mut self, effect: &Effect, now_ns: u64) {
        match effect {
            Effect::WorkloadSeen(workload) => {
                self.cgroups.belongs(workload);
                let known = self.known(workload, now_ns);
                known.instances += 1;
                known.gone_ns = None;
                if !self.workloads.contains_key(&Labels::from(workload)) {
                    self.overflowed += 1;
                }
            }
            Effect::WorkloadGone(workload) => {
                let known = self.known(workload, now_ns);
                known.instances = known.instances.saturating_sub(1);
                if known.instances == 0 {
                    known.gone_ns = Some(now_ns);
                }
            }
            Effect::Severed {
                workload,
                cause,
                class,
                role: _,
            } => {
                self.known(workload, now_ns).series.sever(class, *cause);
            }
            Effect::Drained { workload } => self.known(workload, now_ns).series.drained += 1,
            Effect::Failed { workload, count } => self.known(workload, now_ns).series.failed += count,
            Effect::Refused { workload, count } => self.known(workload, now_ns).series.refused += count,
            Effect::Probed { workload, count } => self.known(workload, now_ns).series.probes += count,
            Effect::Finished(report) => self.finished(report, now_ns),
            Effect::WorkloadConfigured {
                workload,
                configured,
                running,
            } => self.configured(workload, configured, running.as_ref()),
            Effect::Unresolved { origin } => *self.unresolved.entry(*origin).or_default() += 1,
            Effect::WatchStopSignal { .. }
            | Effect::Discarded { .. }
            | Effect::MarkCgroup { .. }
            | Effect::UnmarkCgroup { .. }
            | Effect::UnmarkProcess { .. } => {}
            Effect::Updated(report) => self.rollouts.seen(&report.workload, &report.revision),
        }
    }

    fn configured(&mut self, workload: &Workload, configured: &Configured, running: Option<&Revision>) {
        if let Some(known) = self.workloads.get_mut(&Labels::from(workload)) {
            known.series.configured_grace = configured.grace_seconds;
            known.series.configured_prestop = configured.prestop_seconds;
            if let Some(running) = running {
                known.series.running = Some(running.clone());
                self.rollouts.seen(workload, running);
            }
        }
    }

    /// Takes in what a shutdown measured. A report of an earlier agent is remembered too: the recommended
    /// values are there again as soon as its workload is.
    pub fn remember(&mut self, report: &Report) {
        if let Some(measured) = Measured::of(report) {
            self.measure(&Labels::from(&report.workload), measured);
        }
    }

    fn measure(&mut self, labels: &Labels, measured: Measured) {
        if !self.measured.contains_key(labels) && self.measured.len() >= MOST_MEASURED {
            let oldest = self.measured.iter().min_by_key(|(_, shutdowns)| shutdowns.last);
            if let Some(oldest) = oldest.map(|(labels, _)| labels.clone()) {
                self.measured.remove(&oldest);
            }
        }
        self.measured_last += 1;
        let shutdowns = self.measured.entry(labels.clone()).or_default();
        shutdowns.last = self.measured_last;
        shutdowns.history.add(measured);
        if let Some(known) = self.workloads.get_mut(labels) {
            known.series.recommended = shutdowns.history.recommended();
        }
    }

    /// Which revision runs of each workload, as told last.
    pub fn running(&self) -> BTreeMap<RolledOut, Revision> {
        let running = self.workloads.iter().filter_map(|(labels, known)| {
            let workload = RolledOut {
                namespace: Some(labels.namespace.clone()).filter(|namespace| !namespace.is_empty()),
                name: labels.workload.clone(),
                kind: labels.kind.clone(),
            };
            Some((workload, known.series.running.clone()?))
        });
        running.collect()
    }

    fn finished(&mut self, report: &Report, now_ns: u64) {
        self.remember(report);
        self.rollouts.finished(report);
        for (doubt, count) in &report.unknown_reasons {
            *self.doubts.entry(*doubt).or_default() += count;
        }
        let series = &mut self.known(&report.workload, now_ns).series;
        series.shut_down(report.trigger, report.verdict);
        for finding in &report.findings {
            series.find(finding.code);
        }
        if report.trigger == Trigger::Stop
            && let Some(ms) = report.gone_ms()
        {
            series.shutdown_seconds.observe(ms / 1000.0);
        }
        if let Some(ms) = report.drain_ms {
            series.drain_seconds.observe(ms / 1000.0);
        }
        if let Some(ms) = report.endpoint_lag_ms {
            series.lag_seconds.observe(ms / 1000.0);
        }
    }

    /// The entry of a workload; of the overflow, when there are too many.
    fn known(&mut self, workload: &Workload, now_ns: u64) -> &mut Known {
        let mut labels = Labels::from(workload);
        if !self.workloads.contains_key(&labels) && self.workloads.len() >= self.most {
            self.retire(now_ns);
            if self.workloads.len() >= self.most {
                // A workload that left and counted nothing need not stay its time.
                self.workloads
                    .retain(|_, known| known.gone_ns.is_none() || !known.series.is_untouched());
            }
            if self.workloads.len() >= self.most {
                labels = Labels::overflow();
            }
        }
        let measured = self.measured.get(&labels);
        self.workloads.entry(labels).or_insert_with(|| {
            let mut known = Known::new(&self.classes);
            known.series.recommended = measured.and_then(|shutdowns| shutdowns.history.recommended());
            known
        })
    }

    fn retire(&mut self, now_ns: u64) {
        let stays = |gone_ns: Option<u64>| gone_ns.is_none_or(|at| now_ns.saturating_sub(at) < RETIRE_NS);
        self.workloads.retain(|_, known| stays(known.gone_ns));
        self.cgroups.forget(|gone_ns| !stays(Some(gone_ns)));
        self.cgroups.unlabel(|labels| self.workloads.contains_key(labels));
        let names: BTreeSet<_> = self
            .workloads
            .keys()
            .map(|labels| (labels.namespace.as_str(), labels.workload.as_str()))
            .collect();
        self.rollouts.keep(&names);
    }

    /// The exposition. Retires what is long gone.
    pub fn expose(&mut self, scrape: &Scrape<'_>) -> Result<String, prometheus::Error> {
        self.count_resets(scrape.resets, scrape.now_ns);
        self.retire(scrape.now_ns);
        let mut text = String::new();
        let encoder = TextEncoder::new();
        // One family at a time: the peak is the largest family, not all of them.
        for family in families::WORKLOAD_FAMILIES {
            let family = family.collect(&self.workloads);
            if !family.get_metric().is_empty() {
                encoder.encode_utf8(&[family], &mut text)?;
            }
        }
        let workloads = self.workloads.len();
        if let Some(family) = self.rollouts.collect() {
            encoder.encode_utf8(&[family], &mut text)?;
        }
        let mut own = self.agent.collect(scrape, workloads, self.overflowed);
        own.push(families::Agent::doubts(&self.doubts));
        own.extend(families::Agent::origins(&self.origins(scrape.origins)));
        let mut own_text = Vec::new();
        encoder.encode(&own, &mut own_text)?;
        text.push_str(&String::from_utf8_lossy(&own_text));
        Ok(text)
    }

    /// Those that are expected, at 0 before they have said anything.
    fn origins(&self, states: &States) -> BTreeMap<Origin, OriginSeries> {
        let mut origins: BTreeMap<Origin, OriginSeries> = BTreeMap::new();
        for (&origin, &unresolved) in &self.unresolved {
            origins.entry(origin).or_default().unresolved = unresolved;
        }
        for (origin, up, failures) in states.iter() {
            let series = origins.entry(origin).or_default();
            (series.up, series.failures) = (up, failures);
        }
        origins
    }

    /// Adds what the kernel's counters grew by since the last scrape to their workloads.
    fn count_resets(&mut self, resets: &[Resets], now_ns: u64) {
        self.cgroups.still_counted(resets);
        for reset in resets {
            let grown = self.cgroups.grown(reset);
            if grown == 0 {
                continue;
            }
            let labels = self.cgroups.owner(reset.cgroup).unwrap_or_else(Labels::overflow);
            let slot = usize::from(!reset.sent) * 2 + usize::from(reset.shutdown);
            let known = self.workloads.entry(labels).or_insert_with(|| Known {
                gone_ns: Some(now_ns),
                ..Known::new(&self.classes)
            });
            known.series.resets[slot] += grown;
        }
    }
}

#[cfg(test)]
mod tests;
