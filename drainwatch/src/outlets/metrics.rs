//! `/metrics`, in the text format 0.0.4.
//!
//! A workload has a few series from [`Effect::WorkloadSeen`] on, at 0; the others are born when there is something to
//! count, because nearly all would stay 0. A counter born at 3 loses those 3 in `increase()`: the shipped rules and
//! dashboards count a series whole that was not there before. A workload's series are retired some minutes after its
//! last instance left, at a scrape: nothing here has a timer.
//!
//! The loop only hands out a [`Snapshot`]; the text is written elsewhere.

mod cgroups;
mod families;
mod process;
mod rollouts;
mod sample;
mod saved;
mod series;
mod served;
mod text;

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
    workload::tenant::Tenant,
};
use prometheus::{Encoder, Registry, TextEncoder, proto::MetricFamily};
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
use served::Served;

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

/// What is exposed of one workload.
type OfWorkload = (Arc<Labels>, Arc<Series>);

#[derive(Debug)]
struct Known {
    /// A snapshot may still hold it.
    series: Arc<Series>,
    /// Instances on this node.
    instances: u64,
    /// Monotonic time at which the last instance left.
    gone_ns: Option<u64>,
    /// Whose share of the room it takes.
    tenant: Option<Tenant>,
}

impl Known {
    fn new(classes: &[Arc<str>]) -> Self {
        Self {
            series: Arc::new(Series::new(classes)),
            instances: 0,
            gone_ns: None,
            tenant: None,
        }
    }

    fn series_mut(&mut self) -> &mut Series {
        Arc::make_mut(&mut self.series)
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
    /// Requests served, by cgroup, where somebody counts them.
    pub served: Option<&'a [(u64, u64)]>,
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
    workloads: BTreeMap<Arc<Labels>, Known>,
    classes: Arc<[Arc<str>]>,
    overflowed: u64,
    cgroups: Cgroups,
    served: Served,
    rollouts: Rollouts,
    agent: families::Agent,
    most: usize,
    /// How many of the workloads are of each tenant.
    crowds: BTreeMap<Tenant, usize>,
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
            served: Served::default(),
            rollouts: Rollouts::default(),
            agent: families::Agent::new()?,
            most: MOST_WORKLOADS,
            crowds: BTreeMap::new(),
            measured: BTreeMap::new(),
            measured_last: 0,
            unresolved: BTreeMap::new(),
            doubts: BTreeMap::new(),
        })
    }

    /// Learns which path a cgroup id has, which resets and served requests are attributed by, what was answered last on
    /// connections that ended, and which origins of names there are.
    pub fn observe(&mut self, event: &Event) {
        match &event.kind {
            EventKind::CgroupCreated { cgroup, path, .. } => self.cgroups.created(*cgroup, path),
            EventKind::CgroupRemoved { cgroup } => self.cgroups.removed(*cgroup, event.at_ns),
            EventKind::ConnectionEnded(connection) => self.connection_ended(connection),
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
                self.known(workload, now_ns).series_mut().sever(class, *cause);
            }
            Effect::Drained { workload } => self.known(workload, now_ns).series_mut().drained += 1,
            Effect::Failed { workload, count } => self.known(workload, now_ns).series_mut().failed += count,
            Effect::Refused { workload, count } => self.known(workload, now_ns).series_mut().refused += count,
            Effect::Probed { workload, count } => self.known(workload, now_ns).series_mut().probes += count,
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
            let series = known.series_mut();
            series.configured_grace = configured.grace_seconds;
            series.configured_prestop = configured.prestop_seconds;
            if let Some(running) = running {
                series.running = Some(running.clone());
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
            known.series_mut().recommended = shutdowns.history.recommended();
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
        let series = self.known(&report.workload, now_ns).series_mut();
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
        let mut tenant = None;
        if !self.workloads.contains_key(&labels) {
            let own = Tenant::of(workload);
            if !self.has_room(&own) {
                self.retire(now_ns);
            }
            if !self.has_room(&own) {
                // A workload that left and counted nothing need not stay its time.
                self.keep(|known| known.gone_ns.is_none() || !known.series.is_untouched());
            }
            if self.has_room(&own) {
                *self.crowds.entry(own.clone()).or_default() += 1;
                tenant = Some(own);
            } else {
                labels = Labels::overflow();
            }
        }
        let measured = self.measured.get(&labels);
        self.workloads.entry(Arc::new(labels)).or_insert_with(|| {
            let mut known = Known::new(&self.classes);
            known.series_mut().recommended = measured.and_then(|shutdowns| shutdowns.history.recommended());
            known.tenant = tenant;
            known
        })
    }

    /// Whether there is room for one more workload of this tenant.
    fn has_room(&self, tenant: &Tenant) -> bool {
        let crowd = self.crowds.get(tenant).copied().unwrap_or(0);
        self.workloads.len() < self.most && crowd < tenant.share(self.most)
    }

    /// Forgets the series of all others.
    fn keep(&mut self, stays: impl Fn(&Known) -> bool) {
        let crowds = &mut self.crowds;
        self.workloads.retain(|_, known| {
            let stays = stays(known);
            if !stays
                && let Some(tenant) = &known.tenant
                && let Some(crowd) = crowds.get_mut(tenant)
            {
                *crowd = crowd.saturating_sub(1);
                if *crowd == 0 {
                    crowds.remove(tenant);
                }
            }
            stays
        });
    }

    fn retire(&mut self, now_ns: u64) {
        let stays = |gone_ns: Option<u64>| gone_ns.is_none_or(|at| now_ns.saturating_sub(at) < RETIRE_NS);
        self.keep(|known| stays(known.gone_ns));
        self.cgroups.forget(|gone_ns| !stays(Some(gone_ns)));
        self.cgroups.unlabel(|labels| self.workloads.contains_key(labels));
        let names: BTreeSet<_> = self
            .workloads
            .keys()
            .map(|labels| (labels.namespace.as_str(), labels.workload.as_str()))
            .collect();
        self.rollouts.keep(&names);
    }

    /// All numbers as they are now. Retires what is long gone.
    pub fn snapshot(&mut self, scrape: &Scrape<'_>) -> Snapshot {
        self.count_resets(scrape.resets, scrape.now_ns);
        if let Some(served) = scrape.served {
            self.count_served(served, scrape.now_ns);
        }
        self.retire(scrape.now_ns);
        let workloads: Vec<OfWorkload> = self
            .workloads
            .iter()
            .map(|(labels, known)| (Arc::clone(labels), Arc::clone(&known.series)))
            .collect();
        let mut own = self.agent.collect(scrape, workloads.len(), self.overflowed);
        own.push(families::Agent::doubts(&self.doubts));
        own.extend(families::Agent::origins(&self.origins(scrape.origins)));
        Snapshot {
            workloads,
            rollouts: self.rollouts.clone(),
            registry: self.agent.registry(),
            own,
        }
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
            let known = self.workloads.entry(Arc::new(labels)).or_insert_with(|| Known {
                gone_ns: Some(now_ns),
                ..Known::new(&self.classes)
            });
            known.series_mut().resets[slot] += grown;
        }
    }
}

/// The numbers of one moment. The loop goes on while they are written down.
#[derive(Debug)]
pub struct Snapshot {
    workloads: Vec<OfWorkload>,
    rollouts: Rollouts,
    registry: Registry,
    own: Vec<MetricFamily>,
}

impl Snapshot {
    /// The exposition.
    pub fn text(self) -> Result<String, prometheus::Error> {
        let mut text = String::new();
        for family in families::WORKLOAD_FAMILIES {
            family.write(&self.workloads, &mut text);
        }
        self.rollouts.write(&mut text);
        let mut own = self.registry.gather();
        own.extend(self.own);
        let mut own_text = Vec::new();
        TextEncoder::new().encode(&own, &mut own_text)?;
        text.push_str(&String::from_utf8_lossy(&own_text));
        Ok(text)
    }
}

#[cfg(test)]
mod tests;
