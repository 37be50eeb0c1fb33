//! What a workload's configuration should say, from its last shutdowns. Pure.
//!
//! The rule, over the last [`SHUTDOWNS`] that a stop signal began:
//!
//! - **preStop**: the longest time for which new requests still came (from the deletion of the pod, or the
//!   stop signal), rounded up to a whole second, and one second more. 0 where there was traffic and none of it
//!   came late; nothing where there was no traffic to measure, or where there is no such hook, or nobody who takes over
//!   (anything but pods, and pods by themselves). A hook with which nothing was lost is long enough.
//! - **grace**: the preStop time (the configured one where that is longer), and for what comes after it, rounded
//!   up, the longest of: 1.5 times the longest drain; 5 s more than the longest time in which it ended by itself;
//!   where SIGKILL cut the drain, twice the time that it had had: it needs more, and how much is not known.

use std::collections::VecDeque;

use crate::report::{FindingCode, MomentKind, Report, Trigger};

/// Shutdowns of a workload that count: the last ones.
pub const SHUTDOWNS: usize = 20;
/// How much longer than the longest drain seen.
const DRAINS: f64 = 1.5;
/// How many seconds more than the longest time in which it ended by itself.
const MARGIN: f64 = 5.0;
/// How many seconds more than the longest lag.
const LAG_MARGIN: f64 = 1.0;
/// How many times the time that was too short.
const CUT: f64 = 2.0;

/// What one shutdown says. In seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measured {
    /// How long new requests came, where there was traffic at all.
    pub lag: Option<f64>,
    /// Stop signal to the end of the last request that finished.
    pub drain: f64,
    /// Stop signal to its end, where it ended by itself.
    pub ended: Option<f64>,
    /// Stop signal to the SIGKILL that cut its requests.
    pub cut: Option<f64>,
    /// How long its preStop hook is configured to take.
    pub prestop: Option<f64>,
}

/// What to configure. In seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Recommended {
    /// Time before the stop signal; nothing where there was no traffic to measure.
    pub prestop: Option<f64>,
    /// From the beginning of the stop to SIGKILL.
    pub grace: f64,
}

/// What the last shutdowns of one workload say.
#[derive(Debug, Clone, Default)]
pub struct History(VecDeque<Measured>);

impl Measured {
    /// What a report says; nothing where no stop signal began the shutdown, or only a part ended.
    pub fn of(report: &Report) -> Option<Self> {
        if report.trigger != Trigger::Stop {
            return None;
        }
        let stop_ms = report
            .first(MomentKind::StopSignal)
            .map_or(0.0, |moment| moment.at_ms);
        let since_stop = |at_ms: f64| seconds(at_ms - stop_ms);
        let kill = report
            .first(MomentKind::Kill)
            .map(|moment| since_stop(moment.at_ms));
        let end_ms = report.gone_ms();
        let cut = report
            .findings
            .iter()
            .any(|finding| finding.code == FindingCode::KilledMidDrain);
        let prestop = report
            .configured
            .as_ref()
            .and_then(|configured| configured.prestop_seconds);
        // Where the deletion was not heard of, the lag counts from the stop signal, and the hook ran before that.
        let unseen = match report.deleted_at {
            None if report.workload.kind == "kubernetes" => prestop.unwrap_or(0.0),
            _ => 0.0,
        };
        let lag = report.endpoint_lag_ms.map(|ms| seconds(ms) + unseen);
        let traffic = report.requests.total() > 0;
        let lag = lag.or((traffic && unseen <= 0.0 && !report.still_arriving).then_some(0.0));
        let lost = report.requests.severed + report.requests.failed + report.refused.attempts;
        let lag = match prestop {
            Some(enough) if lost == 0 && enough > LAG_MARGIN => lag.map(|lag| lag.min(enough - LAG_MARGIN)),
            _ => lag,
        };
        let workload = &report.workload;
        let has_hook = workload.kind == "kubernetes" && workload.controller.as_deref() != Some("Pod");
        Some(Self {
            lag: lag.filter(|_| has_hook),
            drain: report.drain_ms.map_or(0.0, seconds),
            ended: end_ms.filter(|_| kill.is_none()).map(since_stop),
            cut: kill.filter(|_| cut),
            prestop,
        })
    }
}

/// Reports are read from a store that somebody may have written to.
fn seconds(ms: f64) -> f64 {
    if ms.is_finite() {
        (ms / 1000.0).max(0.0)
    } else {
        0.0
    }
}

impl History {
    /// One more shutdown.
    pub fn add(&mut self, measured: Measured) {
        if self.0.len() >= SHUTDOWNS {
            self.0.pop_front();
        }
        self.0.push_back(measured);
    }

    /// What follows from them; nothing without any.
    pub fn recommended(&self) -> Option<Recommended> {
        let prestop_now = self.0.back()?.prestop.unwrap_or(0.0);
        let longest = |of: &dyn Fn(&Measured) -> Option<f64>| self.0.iter().filter_map(of).reduce(f64::max);
        let prestop = longest(&|m| m.lag).map(prestop_for);
        let own = [
            longest(&|m| Some(m.drain * DRAINS)),
            longest(&|m| Some(m.ended.unwrap_or(m.drain).max(m.drain) + MARGIN)),
            longest(&|m| m.cut.map(|had| had * CUT)),
        ];
        let own = own.into_iter().flatten().fold(0.0, f64::max);
        Some(Recommended {
            prestop,
            grace: (prestop.unwrap_or(0.0).max(prestop_now) + own.ceil()).ceil(),
        })
    }
}

/// The preStop time for a lag.
fn prestop_for(lag: f64) -> f64 {
    if lag > 0.0 { lag.ceil() + LAG_MARGIN } else { 0.0 }
}

/// What one shutdown alone says.
pub fn after(measured: Measured) -> Recommended {
    let mut history = History::default();
    history.add(measured);
    history.recommended().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        report::{Configured, Finding, Moment, Verdict},
        testing::report,
    };

    fn recommended(shutdowns: &[Measured]) -> Option<(Option<f64>, f64)> {
        let mut history = History::default();
        for &measured in shutdowns {
            history.add(measured);
        }
        let Recommended { prestop, grace } = history.recommended()?;
        Some((prestop, grace))
    }

    fn drained(drain: f64) -> Measured {
        Measured {
            lag: Some(0.0),
            drain,
            ended: Some(drain),
            ..Measured::default()
        }
    }

    #[test]
    fn values_follow_the_rule() {
        let lag = |lag| Measured {
            lag: Some(lag),
            ..drained(2.0)
        };
        let cut = |had| Measured {
            cut: Some(had),
            ended: None,
            ..drained(had)
        };
        let now = |prestop, measured| Measured {
            prestop: Some(prestop),
            ..measured
        };
        for (shutdowns, expected, why) in [
            (vec![], None, "nothing was measured"),
            (
                vec![Measured::default()],
                Some((None, 5.0)),
                "an idle one needs the margin",
            ),
            (vec![drained(2.0)], Some((Some(0.0), 7.0)), "drain and margin"),
            (
                vec![drained(20.1), drained(1.0)],
                Some((Some(0.0), 31.0)),
                "the longest drain, 1.5 times",
            ),
            (
                vec![lag(2.1)],
                Some((Some(4.0), 11.0)),
                "lag rounded up, a second more",
            ),
            (vec![lag(3.0)], Some((Some(4.0), 11.0)), "a whole second stays"),
            (
                vec![now(10.0, lag(2.1))],
                Some((Some(4.0), 17.0)),
                "a longer hook eats more of the grace",
            ),
            (
                vec![cut(30.0)],
                Some((Some(0.0), 60.0)),
                "twice what was too short",
            ),
            (
                vec![Measured {
                    ended: Some(25.0),
                    ..drained(0.1)
                }],
                Some((Some(0.0), 30.0)),
                "it waits before it ends",
            ),
        ] {
            assert_eq!(recommended(&shutdowns), expected, "{why}");
        }
    }

    #[test]
    fn what_is_longer_ago_than_twenty_shutdowns_is_forgotten() {
        let mut shutdowns = vec![drained(100.0)];
        shutdowns.extend([drained(1.0); SHUTDOWNS]);
        assert_eq!(recommended(&shutdowns), Some((Some(0.0), 6.0)));
    }

    #[test]
    fn a_report_is_measured_from_its_stop_signal() {
        let mut killed = report("r", "/web", Verdict::Severed);
        killed.workload.kind = "kubernetes".into();
        killed.deleted_at = Some(killed.started_at.clone());
        killed.trigger = Trigger::Stop;
        killed.requests.severed = 1;
        killed.endpoint_lag_ms = Some(1500.0);
        killed.drain_ms = Some(9000.0);
        killed.configured = Some(Configured {
            prestop_seconds: Some(5.0),
            ..Configured::default()
        });
        killed.findings = vec![Finding {
            code: FindingCode::KilledMidDrain,
            summary: String::new(),
            advice: String::new(),
        }];
        let at = |at_ms, what| Moment {
            at_ms,
            what,
            detail: None,
            pid: None,
        };
        killed.timeline = vec![
            at(0.0, MomentKind::ListenerClosed),
            at(500.0, MomentKind::StopSignal),
            at(10_500.0, MomentKind::Kill),
            at(10_600.0, MomentKind::Emptied),
        ];
        let expected = Measured {
            lag: Some(1.5),
            drain: 9.0,
            ended: None,
            cut: Some(10.0),
            prestop: Some(5.0),
        };
        assert_eq!(Measured::of(&killed), Some(expected));
        killed.timeline.remove(2);
        killed.findings.clear();
        let expected = Measured {
            ended: Some(10.1),
            cut: None,
            ..expected
        };
        assert_eq!(Measured::of(&killed), Some(expected));
        killed.endpoint_lag_ms = None;
        assert_eq!(Measured::of(&killed).and_then(|m| m.lag), Some(0.0));
        killed.requests.severed = 0;
        assert_eq!(Measured::of(&killed).and_then(|m| m.lag), None);
        // With a hook of 5 s, what came after 5.8 s was answered.
        killed.endpoint_lag_ms = Some(5800.0);
        assert_eq!(Measured::of(&killed).map(|m| after(m).prestop), Some(Some(5.0)));
        killed.refused.attempts = 1;
        assert_eq!(Measured::of(&killed).map(|m| after(m).prestop), Some(Some(7.0)));
        // Where nobody takes over, or there is no such hook.
        killed.workload.controller = Some("Pod".into());
        assert_eq!(Measured::of(&killed).and_then(|m| after(m).prestop), None);
        killed.workload.controller = None;
        killed.workload.kind = "systemd".into();
        assert_eq!(Measured::of(&killed).and_then(|m| after(m).prestop), None);
        killed.drain_ms = Some(f64::NAN);
        assert_eq!(Measured::of(&killed).map(|m| m.drain), Some(0.0));
        killed.trigger = Trigger::Worker;
        assert_eq!(Measured::of(&killed), None);
    }
}
