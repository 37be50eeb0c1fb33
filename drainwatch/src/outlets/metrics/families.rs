//! From numbers to metric families: names, help texts, labels.

use std::{collections::BTreeMap, fmt::Display};

use drainwatch_core::{
    description::Origin,
    exchange::Doubt,
    report::{Cause, FindingCode, Revision, Trigger, Verdict},
};
use prometheus::{
    Gauge, GaugeVec, IntGauge, Opts, Registry,
    proto::{Counter, LabelPair, Metric, MetricFamily, MetricType},
};

use super::{
    Labels, OfWorkload, Scrape,
    process::OfProcess,
    series::{BUCKETS, Histogram, RESETS, Series, cut_starts_at_zero, starts_at_zero},
    text::Family,
};
use crate::outlets::sinks::Count;

/// Bounds that are exposed of how long a stop took: about the grace periods that there are.
const OF_STOPS: [f64; 8] = [0.25, 1.0, 5.0, 10.0, 20.0, 30.0, 60.0, 300.0];
/// Those of how long traffic went on: about the preStop times that there are.
const OF_LAG: [f64; 8] = [0.25, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0];

/// A family that workloads have series of.
pub struct WorkloadFamily {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    add: fn(&mut Adder<'_, '_>, &Series),
}

/// Every one of them.
pub const WORKLOAD_FAMILIES: &[WorkloadFamily] = &[
    WorkloadFamily {
        name: "drainwatch_shutdowns_total",
        help: "Ended shutdowns, by trigger and verdict.",
        kind: "counter",
        add: |out, series| {
            for (trigger, verdicts) in Trigger::ALL.iter().zip(&series.shutdowns) {
                for (verdict, count) in Verdict::ALL.iter().zip(verdicts) {
                    if *count > 0 || starts_at_zero(*trigger) {
                        out.counter(
                            &[("trigger", trigger.as_str()), ("verdict", verdict.as_str())],
                            *count,
                        );
                    }
                }
            }
        },
    },
    WorkloadFamily {
        name: "drainwatch_severed_requests_total",
        help: "Requests that a shutdown cut, by cause and class of traffic.",
        kind: "counter",
        add: |out, series| {
            for (class, causes) in &series.severed {
                for (cause, count) in Cause::ALL.iter().zip(causes) {
                    if *count > 0 || cut_starts_at_zero(class, *cause) {
                        out.counter(&[("cause", cause.as_str()), ("class", class)], *count);
                    }
                }
            }
        },
    },
    WorkloadFamily {
        name: "drainwatch_requests_total",
        help: "Requests served: answered to their end, at any time, in HTTP/1 or HTTP/2 in clear, as the server, health checks among them. The latest answer of a connection counts once the next request follows or the connection ends. Absent of who serves nothing else.",
        kind: "counter",
        add: |out, series| out.born(&[], series.served),
    },
    WorkloadFamily {
        name: "drainwatch_drained_requests_total",
        help: "Requests that were outstanding or arrived during a shutdown and finished.",
        kind: "counter",
        add: |out, series| out.counter(&[], series.drained),
    },
    WorkloadFamily {
        name: "drainwatch_failed_requests_total",
        help: "Requests that were answered with 5xx after the stop signal.",
        kind: "counter",
        add: |out, series| out.counter(&[], series.failed),
    },
    WorkloadFamily {
        name: "drainwatch_refused_connections_total",
        help: "Connection attempts that met a port which a shutdown had closed.",
        kind: "counter",
        add: |out, series| out.counter(&[], series.refused),
    },
    WorkloadFamily {
        name: "drainwatch_probe_requests_total",
        help: "Health checks and scrapes during a shutdown, whatever became of them: in no other number.",
        kind: "counter",
        add: |out, series| out.born(&[], series.probes),
    },
    WorkloadFamily {
        name: "drainwatch_shutdown_findings_total",
        help: "Shutdowns with this finding.",
        kind: "counter",
        add: |out, series| {
            for (code, count) in FindingCode::ALL.iter().zip(&series.findings) {
                out.born(&[("finding", code.as_str())], *count);
            }
        },
    },
    WorkloadFamily {
        name: "drainwatch_shutdown_seconds",
        help: "From the first stop signal until the workload was gone.",
        kind: "histogram",
        add: |out, series| out.histogram(&series.shutdown_seconds, OF_STOPS),
    },
    WorkloadFamily {
        name: "drainwatch_drain_seconds",
        help: "From the first stop signal until the last outstanding request ended.",
        kind: "histogram",
        add: |out, series| out.histogram(&series.drain_seconds, OF_STOPS),
    },
    WorkloadFamily {
        name: "drainwatch_endpoint_lag_seconds",
        help: "From the first stop signal until the last new connection or request arrived.",
        kind: "histogram",
        add: |out, series| out.histogram(&series.lag_seconds, OF_LAG),
    },
    WorkloadFamily {
        name: "drainwatch_tcp_resets_total",
        help: "TCP resets, by direction and whether the workload was serving or shutting down.",
        kind: "counter",
        add: |out, series| {
            for ((direction, phase), count) in RESETS.iter().zip(series.resets) {
                out.born(&[("direction", direction), ("phase", phase)], count);
            }
        },
    },
    WorkloadFamily {
        name: "drainwatch_workload_info",
        help: "1, with the revision that runs (pod-template-hash, controller-revision-hash, Compose's config hash) and its image, as told last. Absent where neither is known, and of units.",
        kind: "gauge",
        add: |out, series| {
            if let Some(Revision { id, image }) = &series.running {
                let (revision, image) = (id.as_deref(), image.as_deref());
                out.info(&[
                    ("image", image.unwrap_or_default()),
                    ("revision", revision.unwrap_or_default()),
                ]);
            }
        },
    },
    WorkloadFamily {
        name: "drainwatch_recommended_prestop_seconds",
        help: "preStop time that the last 20 stops call for: the longest lag of new requests, rounded up, plus 1 s; 0 if none came late; no more than the configured one where nothing was lost with it. Absent if no traffic was measured, and of anything but pods of a controller.",
        kind: "gauge",
        add: |out, series| out.gauge(series.recommended.and_then(|recommended| recommended.prestop)),
    },
    WorkloadFamily {
        name: "drainwatch_recommended_grace_seconds",
        help: "Grace period that the last 20 stops call for: preStop (recommended, or configured if longer) plus the longest of 1.5 times the longest drain, the longest time to an exit of its own plus 5 s, and twice the time after which SIGKILL cut requests. Absent before the first stop.",
        kind: "gauge",
        add: |out, series| out.gauge(series.recommended.map(|recommended| recommended.grace)),
    },
    WorkloadFamily {
        name: "drainwatch_configured_prestop_seconds",
        help: "Time that the configured preStop hook takes, 0 without one. Absent if it is not known, or cannot be told in advance.",
        kind: "gauge",
        add: |out, series| out.gauge(series.configured_prestop),
    },
    WorkloadFamily {
        name: "drainwatch_configured_grace_seconds",
        help: "Configured time from the start of the stop (for a pod: its deletion) to SIGKILL. Absent if it is not known, or unlimited.",
        kind: "gauge",
        add: |out, series| out.gauge(series.configured_grace),
    },
];

impl WorkloadFamily {
    /// Writes the series of every workload.
    pub fn write(&self, workloads: &[OfWorkload], out: &mut String) {
        let mut family = Family::new(out, self.name, self.help, self.kind);
        for (labels, series) in workloads {
            let mut adder = Adder {
                family: &mut family,
                labels,
            };
            (self.add)(&mut adder, series);
        }
    }
}

/// Numbers of one origin of names.
#[derive(Debug, Clone, Copy, Default)]
pub struct OriginSeries {
    /// It answers.
    pub up: bool,
    /// How often it did not.
    pub failures: u64,
    /// Workloads that it did not name in time.
    pub unresolved: u64,
}

/// Adds series of one workload.
pub struct Adder<'a, 'b> {
    family: &'a mut Family<'b>,
    labels: &'a Labels,
}

impl Adder<'_, '_> {
    /// `more` are in the order of their names.
    fn line(&mut self, suffix: &str, more: &[(&str, &str)], value: impl Display) {
        let Labels {
            namespace,
            workload,
            kind,
            container,
        } = self.labels;
        let own = [
            ("container", container.as_str()),
            ("namespace", namespace),
            ("workload", workload),
            ("workload_kind", kind),
        ];
        let mut own = own.into_iter().peekable();
        let mut more = more.iter().copied().peekable();
        let sorted = std::iter::from_fn(|| match (own.peek(), more.peek()) {
            (Some((one, _)), Some((other, _))) if other < one => more.next(),
            (Some(_), _) => own.next(),
            (None, _) => more.next(),
        });
        self.family.line(suffix, sorted, value);
    }

    /// There from the start.
    fn counter(&mut self, more: &[(&str, &str)], count: u64) {
        self.line("", more, count);
    }

    /// There once something is counted.
    fn born(&mut self, more: &[(&str, &str)], count: u64) {
        if count > 0 {
            self.line("", more, count);
        }
    }

    fn info(&mut self, labels: &[(&str, &str)]) {
        self.line("", labels, 1);
    }

    fn gauge(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.line("", &[], value);
        }
    }

    /// There once something was measured, with these of the [`BUCKETS`].
    fn histogram<const N: usize>(&mut self, histogram: &Histogram, exposed: [f64; N]) {
        if histogram.is_empty() {
            return;
        }
        let (cumulative, count, sum) = histogram.snapshot();
        for (bound, below) in BUCKETS.iter().zip(cumulative) {
            if exposed.contains(bound) {
                self.line("_bucket", &[("le", &bound.to_string())], below);
            }
        }
        self.line("_bucket", &[("le", "+Inf")], count);
        self.line("_sum", &[], sum);
        self.line("_count", &[], count);
    }
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.into());
    pair.set_value(value.into());
    pair
}

/// The agent's own metrics, on the crate's registry.
#[derive(Debug)]
pub struct Agent {
    registry: Registry,
    probes: GaugeVec,
    under_way: IntGauge,
    workloads: IntGauge,
}

impl Agent {
    /// Registers them.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let info = Opts::new("drainwatch_build_info", "1, with the version as a label.")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        let info = Gauge::with_opts(info)?;
        info.set(1.0);
        let probes = Opts::new(
            "drainwatch_probe_status",
            "1 if the probe is attached and works, else 0.",
        );
        let probes = GaugeVec::new(probes, &["probe"])?;
        let under_way = IntGauge::new("drainwatch_shutdowns_under_way", "Shutdowns in progress.")?;
        let workloads = IntGauge::new("drainwatch_workloads", "Workloads that have their own series.")?;
        registry.register(Box::new(info))?;
        registry.register(Box::new(probes.clone()))?;
        registry.register(Box::new(under_way.clone()))?;
        registry.register(Box::new(workloads.clone()))?;
        registry.register(Box::new(OfProcess::new()?))?;
        Ok(Self {
            registry,
            probes,
            under_way,
            workloads,
        })
    }

    /// What gathers those that are kept here, and what is read of the process.
    pub fn registry(&self) -> Registry {
        self.registry.clone()
    }

    /// The families that something else keeps.
    pub fn collect(&self, scrape: &Scrape<'_>, workloads: usize, overflowed: u64) -> Vec<MetricFamily> {
        for probe in scrape.probes {
            self.probes
                .with_label_values(&[probe.probe])
                .set(f64::from(u8::from(probe.ok)));
        }
        self.under_way
            .set(i64::try_from(scrape.under_way).unwrap_or(i64::MAX));
        self.workloads.set(i64::try_from(workloads).unwrap_or(i64::MAX));
        let losses = &scrape.losses;
        let lost = [
            ("ring_full", losses.ring_full),
            ("no_storage", losses.no_storage),
            ("map_full", losses.map_full),
            ("payload", losses.payload),
            ("skipped_run", losses.skipped()),
            ("undecodable", losses.undecodable),
        ];
        let mut families = vec![counters(
            "drainwatch_kernel_events_total",
            "Events that the kernel side put into the ring.",
            &[(&[], losses.events)],
        )];
        let lost = lost.map(|(reason, count)| ([("reason", reason)], count));
        let lost: Vec<(&[(&str, &str)], u64)> =
            lost.iter().map(|(labels, count)| (&labels[..], *count)).collect();
        families.push(counters(
            "drainwatch_kernel_events_lost_total",
            "Evidence that was lost on its way from the kernel, by reason.",
            &lost,
        ));
        let skipped: Vec<_> = losses
            .skipped_runs
            .iter()
            .map(|(probe, count)| ([("probe", *probe)], *count))
            .collect();
        let skipped: Vec<(&[(&str, &str)], u64)> = skipped
            .iter()
            .map(|(labels, count)| (&labels[..], *count))
            .collect();
        // No probe, no family: one without series is an error of the text format's encoder.
        if !skipped.is_empty() {
            families.push(counters(
                "drainwatch_probe_skipped_runs_total",
                "Runs of a probe's programs that the kernel skipped and that no other program stood in for. Those of socket_read \
             and socket_write make the evidence of one connection each incomplete, others that of the whole node.",
                &skipped,
            ));
        }
        families.push(counters(
            "drainwatch_signals_left_out_total",
            "Stop signals that were not told one by one: `no_effect` changed nothing (to oneself, or the same again and \
             again), `flood` were more than one process may send, or one cgroup get, in a second; the shutdowns of their \
             targets are `unknown`.",
            &[
                (&[("reason", "no_effect")], losses.signals_left_out),
                (&[("reason", "flood")], losses.signals_untold),
            ],
        ));
        families.push(counters(
            "drainwatch_requests_uncounted_total",
            "Requests that were served and are in no `drainwatch_requests_total`: more cgroups served than there is room for.",
            &[(&[], losses.served_uncounted)],
        ));
        families.push(counters(
            "drainwatch_store_errors_total",
            "Reports that could not be stored.",
            &[(&[], scrape.store_errors)],
        ));
        families.push(counters(
            "drainwatch_workloads_overflowed_total",
            "Workloads beyond the limit, without series of their own; they are counted as `_overflow`.",
            &[(&[], overflowed)],
        ));
        if !scrape.sinks.is_empty() {
            families.push(sinks(scrape.sinks));
        }
        families
    }

    /// Why the evidence did not say what became of requests: every reason from the start.
    pub fn doubts(doubts: &BTreeMap<Doubt, u64>) -> MetricFamily {
        let series: Vec<_> = Doubt::ALL
            .iter()
            .map(|doubt| {
                let count = doubts.get(doubt).copied().unwrap_or(0);
                ([("reason", doubt.as_str())], count)
            })
            .collect();
        let series: Vec<(&[(&str, &str)], u64)> = series
            .iter()
            .map(|(labels, count)| (&labels[..], *count))
            .collect();
        counters(
            "drainwatch_unknown_requests_total",
            "Requests of which the evidence does not say what a shutdown did to them, by reason; of `events_lost`: the lost events.",
            &series,
        )
    }

    /// Families of the origins of names: whether each answers, its failures, what it did not name in time.
    pub fn origins(origins: &BTreeMap<Origin, OriginSeries>) -> Vec<MetricFamily> {
        if origins.is_empty() {
            return Vec::new();
        }
        let labels: Vec<_> = origins
            .keys()
            .map(|origin| [("origin", origin.as_str())])
            .collect();
        let series = |value: fn(&OriginSeries) -> u64| -> Vec<(&[(&str, &str)], u64)> {
            let values = origins.values().map(value);
            labels.iter().map(|labels| &labels[..]).zip(values).collect()
        };
        let mut up = counters(
            "drainwatch_names_up",
            "1 if this source of names answers, else 0.",
            &series(|origin| u64::from(origin.up)),
        );
        up.set_field_type(MetricType::GAUGE);
        for metric in up.mut_metric() {
            let mut gauge = prometheus::proto::Gauge::default();
            gauge.set_value(metric.get_counter().get_value());
            metric.set_gauge(gauge);
        }
        vec![
            up,
            counters(
                "drainwatch_names_failures_total",
                "How often this source of names did not answer.",
                &series(|origin| origin.failures),
            ),
            counters(
                "drainwatch_names_unresolved_total",
                "Workloads that had something to report before this source had named them.",
                &series(|origin| origin.unresolved),
            ),
        ]
    }
}

/// Reports by sink and result; of every configured sink from the start.
fn sinks(sinks: &[(&'static str, Count)]) -> MetricFamily {
    let series: Vec<_> = sinks
        .iter()
        .flat_map(
            |&(
                sink,
                Count {
                    sent,
                    failed,
                    dropped,
                },
            )| {
                [("sent", sent), ("failed", failed), ("dropped", dropped)]
                    .map(|(result, count)| ([("result", result), ("sink", sink)], count))
            },
        )
        .collect();
    let series: Vec<(&[(&str, &str)], u64)> = series
        .iter()
        .map(|(labels, count)| (&labels[..], *count))
        .collect();
    counters(
        "drainwatch_sink_reports_total",
        "Reports of ended shutdowns by destination and result: `failed` were not accepted by the other side, \
         `dropped` found no room in the queue.",
        &series,
    )
}

/// A family of counters that something else keeps.
#[expect(clippy::cast_precision_loss, reason = "the exposition format has only f64")]
pub fn counters(name: &str, help: &str, series: &[(&[(&str, &str)], u64)]) -> MetricFamily {
    let metrics = series.iter().map(|(labels, count)| {
        let mut counter = Counter::default();
        counter.set_value(*count as f64);
        let mut metric = Metric::from_label(labels.iter().map(|(name, value)| pair(name, value)).collect());
        metric.set_counter(counter);
        metric
    });
    let mut family = MetricFamily::default();
    family.set_name(name.into());
    family.set_help(help.into());
    family.set_field_type(MetricType::COUNTER);
    family.set_metric(metrics.collect());
    family
}
