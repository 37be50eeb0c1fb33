//! `/metrics`: what the design names, in the text format 0.0.4.
//!
//! Every series of a workload exists at 0 from [`Effect::WorkloadSeen`] on, because a counter born
//! at 3 loses those 3 in `increase()`. A workload's series are retired some minutes after its last
//! instance left, at a scrape: nothing here has a timer.

mod families;
mod sample;
mod series;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use prometheus::{Encoder, TextEncoder};

use crate::{
    class::Classes,
    event::{Event, EventKind},
    kernel::{Losses, ProbeStatus, Resets},
    names::States,
    recommend::{self, Measured},
    report::{Configured, Report, Trigger, Workload},
    sinks,
    tracker::Effect,
    workload::description::Origin,
};
use families::OriginSeries;
pub use sample::sample;
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
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    agent: families::Agent,
    most: usize,
    /// What the last shutdowns measured; longer than series, for a workload that comes back.
    measured: BTreeMap<Labels, Shutdowns>,
    measured_last: u64,
    /// Origins of names that are expected to tell, with what they did not.
    unresolved: BTreeMap<Origin, u64>,
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
            agent: families::Agent::new()?,
            most: MOST_WORKLOADS,
            measured: BTreeMap::new(),
            measured_last: 0,
            unresolved: BTreeMap::new(),
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
            Effect::Finished(report) => self.finished(report, now_ns),
            Effect::WorkloadConfigured { workload, configured } => self.configured(workload, configured),
            Effect::Unresolved { origin } => *self.unresolved.entry(*origin).or_default() += 1,
            Effect::StopSignal { .. }
            | Effect::Updated(_)
            | Effect::Discarded { .. }
            | Effect::DrainCgroup { .. }
            | Effect::StopCgroup { .. }
            | Effect::StopProcess { .. } => {}
        }
    }

    fn configured(&mut self, workload: &Workload, configured: &Configured) {
        if let Some(known) = self.workloads.get_mut(&Labels::from(workload)) {
            known.series.configured_grace = configured.grace_seconds;
            known.series.configured_prestop = configured.prestop_seconds;
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

    fn finished(&mut self, report: &Report, now_ns: u64) {
        self.remember(report);
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
        self.cgroups.removed.retain(|_, at| stays(Some(*at)));
        let Cgroups {
            paths,
            removed,
            seen: _,
            labels,
        } = &mut self.cgroups;
        paths.retain(|cgroup, at| at.live || removed.contains_key(cgroup));
        labels.retain(|_, of| self.workloads.contains_key(of));
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
        let mut own = self.agent.collect(scrape, workloads, self.overflowed);
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
        let reported: HashSet<_> = resets
            .iter()
            .map(|reset| (reset.cgroup, reset.sent, reset.shutdown))
            .collect();
        self.cgroups.seen.retain(|key, _| reported.contains(key));
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

#[derive(Debug)]
struct Path {
    path: String,
    live: bool,
}

/// Which workload a cgroup id belongs to.
#[derive(Debug, Default)]
struct Cgroups {
    paths: HashMap<u64, Path>,
    /// Monotonic time of removal; kept as long as series are.
    removed: HashMap<u64, u64>,
    /// Kernel counters at the last scrape, by cgroup, sent, shutdown.
    seen: HashMap<(u64, bool, bool), u64>,
    /// Labels of the workload whose cgroup has this path.
    labels: BTreeMap<String, Labels>,
}

impl Cgroups {
    fn created(&mut self, cgroup: u64, path: &str) {
        self.paths.insert(
            cgroup,
            Path {
                path: path.into(),
                live: true,
            },
        );
    }

    fn removed(&mut self, cgroup: u64, at_ns: u64) {
        if let Some(path) = self.paths.get_mut(&cgroup) {
            path.live = false;
            self.removed.insert(cgroup, at_ns);
        }
    }

    fn belongs(&mut self, workload: &Workload) {
        // A process workload shares its cgroup with strangers: their resets are not its own.
        // A pod that is described may have no cgroup yet.
        if workload.kind != "process" && !workload.cgroup.is_empty() {
            self.labels.insert(workload.cgroup.clone(), workload.into());
        }
    }

    fn grown(&mut self, reset: &Resets) -> u64 {
        let seen = self
            .seen
            .entry((reset.cgroup, reset.sent, reset.shutdown))
            .or_default();
        let grown = reset.count.saturating_sub(*seen);
        *seen = reset.count;
        grown
    }

    /// The workload of the cgroup itself or of the nearest one above it.
    fn owner(&self, cgroup: u64) -> Option<Labels> {
        let mut path = self.paths.get(&cgroup)?.path.as_str();
        loop {
            if let Some(labels) = self.labels.get(path) {
                return Some(labels.clone());
            }
            path = path
                .rsplit_once('/')
                .map(|(above, _)| above)
                .filter(|above| !above.is_empty())?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Role,
        history::tests::report,
        report::{Cause, Finding, FindingCode, Moment, Verdict},
    };

    const NO_LOSSES: Losses = Losses {
        events: 0,
        ring_full: 0,
        no_storage: 0,
        map_full: 0,
        payload: 0,
        skipped_runs: 0,
        undecodable: 0,
    };

    fn workload(name: &str) -> Workload {
        report("x", name, Verdict::Clean).workload
    }

    fn expose(metrics: &mut Metrics, now_ns: u64, resets: &[Resets]) -> String {
        let losses = Losses {
            events: 9,
            ring_full: 2,
            ..NO_LOSSES
        };
        let scrape = Scrape {
            now_ns,
            losses,
            resets,
            probes: &[],
            store_errors: 0,
            under_way: 0,
            origins: &States::default(),
            sinks: &[],
        };
        metrics.expose(&scrape).unwrap()
    }

    fn value(text: &str, start: &str, label: &str) -> Option<f64> {
        let line = text
            .lines()
            .find(|line| line.starts_with(start) && line.contains(label))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    #[test]
    fn given_a_workload_just_seen_when_scraped_then_every_series_of_it_is_there_at_zero() {
        let mut metrics = Metrics::new(&Classes::default()).unwrap();
        metrics.apply(&Effect::WorkloadSeen(workload("/a")), 0);
        let text = expose(&mut metrics, 1, &[]);
        let count = |name: &str| {
            text.lines()
                .filter(|line| line.starts_with(&format!("{name}{{")))
                .count()
        };
        assert_eq!(
            count("drainwatch_shutdowns_total"),
            Trigger::ALL.len() * Verdict::ALL.len()
        );
        assert_eq!(count("drainwatch_severed_requests_total"), Cause::ALL.len() * 3);
        assert_eq!(
            count("drainwatch_shutdown_findings_total"),
            FindingCode::ALL.len()
        );
        assert_eq!(count("drainwatch_drained_requests_total"), 1);
        assert_eq!(count("drainwatch_tcp_resets_total"), 4);
        for histogram in ["shutdown", "drain", "endpoint_lag"] {
            assert_eq!(count(&format!("drainwatch_{histogram}_seconds_bucket")), 17);
        }
        let of_it = text.lines().filter(|line| line.contains(r#"workload="/a""#));
        assert!(of_it.clone().count() > 100);
        assert!(of_it.clone().all(|line| line.ends_with(" 0")), "{text}");
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
            what: "exit".into(),
            detail: None,
            pid: None,
        };
        done.timeline = vec![
            exit.clone(),
            Moment {
                at_ms: 950.0,
                what: "emptied".into(),
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
        let labels = |workload: &str| {
            format!(r#"direction="sent",namespace="",phase="shutdown",workload="{workload}""#)
        };
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
        metrics.apply(&Effect::WorkloadSeen(workload("/a")), 0);
        let configured = Configured {
            grace_seconds: Some(30.0),
            prestop_seconds: Some(0.0),
            ..Configured::default()
        };
        metrics.apply(
            &Effect::WorkloadConfigured {
                workload: workload("/a"),
                configured,
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
            losses: NO_LOSSES,
            resets: &[],
            probes: &[],
            store_errors: 0,
            under_way: 0,
            origins: &states,
            sinks: &[],
        };
        let text = metrics.expose(&scrape).unwrap();
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
}
