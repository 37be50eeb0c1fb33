//! Which setting to change, where it is, and to what: the words of findings where an orchestrator is known.

use super::episode::{
    Episode,
    signals::{SIGTERM, Stop, signal_name},
};
use crate::{
    recommend::{self, Measured, Recommended},
    report::Workload,
    workload::directory::StopSettings,
};

/// What is known of how a workload is stopped, and what its shutdown calls for.
pub(super) struct Advice<'a> {
    workload: &'a Workload,
    settings: Option<&'a StopSettings>,
    recommended: Option<Recommended>,
}

/// `30`, `1.5`.
pub(super) fn number(seconds: f64) -> String {
    let text = format!("{seconds:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

impl<'a> Advice<'a> {
    pub fn new(episode: &'a Episode, measured: Option<Measured>) -> Self {
        Self {
            workload: episode.workload(),
            settings: episode.settings(),
            recommended: measured.map(recommend::after),
        }
    }

    /// `Deployment shop/web`.
    fn controller(&self) -> Option<String> {
        let Workload {
            namespace,
            name,
            controller,
            ..
        } = self.workload;
        Some(format!(
            "{} {}/{name}",
            controller.as_deref()?,
            namespace.as_deref()?
        ))
    }

    pub fn grace_seconds(&self) -> Option<f64> {
        self.settings?.grace_seconds
    }

    /// `; its grace period is 30 s`, where that is known.
    pub fn grace_period(&self) -> String {
        match self.grace_seconds() {
            Some(seconds) => format!("; its grace period is {} s", number(seconds)),
            None => String::new(),
        }
    }

    /// A longer grace period; nothing where it is not known where to set it.
    pub fn grace(&self, had: &str) -> Option<String> {
        let settings = self.settings?;
        let needed = number(self.recommended?.grace);
        let now = match settings.grace_seconds {
            Some(now) if now >= self.recommended?.grace => {
                return Some(format!(
                    "It was given {had}, although {} s are configured: make whoever stops it wait that long, or limit its requests to less.",
                    number(now)
                ));
            }
            Some(now) => format!(" (now {})", number(now)),
            None => String::new(),
        };
        let name = &self.workload.name;
        let change = match self.workload.kind.as_str() {
            "kubernetes" => format!(
                "terminationGracePeriodSeconds: {needed}{now} in {}",
                self.controller()?
            ),
            "docker" | "podman" if settings.compose => {
                format!("stop_grace_period: {needed}s{now} of service {name}")
            }
            runtime @ ("docker" | "podman") => format!("`{runtime} run --stop-timeout {needed}`{now}"),
            "systemd" => format!("TimeoutStopSec={needed}s{now} in {name}"),
            _ => return None,
        };
        Some(format!("Set {change}, or limit its requests to less than {had}."))
    }

    /// A longer time before the stop signal; nothing where there is no such thing.
    pub fn prestop(&self) -> Option<String> {
        let settings = self.settings.filter(|_| self.workload.kind == "kubernetes")?;
        let needed = self.recommended?.prestop.filter(|&needed| needed > 0.0)?;
        let container = self.workload.container.as_deref()?;
        let now = match &settings.prestop {
            Some(prestop) => format!("`{}`", prestop.what),
            None => "none".to_owned(),
        };
        Some(format!(
            "Give container {container} of {} a preStop hook that sleeps {needed} s (now: {now}): lifecycle.preStop.sleep from Kubernetes 1.30 on, exec of `sleep {needed}` before.",
            self.controller()?,
            needed = number(needed),
        ))
    }

    /// Another stop signal, where the configured one explains what was seen; with a comma before it.
    pub fn stop_signal(&self, stop: Stop) -> String {
        let Some(configured) = self.settings.and_then(|settings| settings.stop_signal) else {
            return String::new();
        };
        if configured != stop.signal {
            return format!(
                ", or send it {}, its configured stop signal",
                signal_name(configured)
            );
        }
        if configured == SIGTERM {
            return String::new();
        }
        let field = match self.workload.kind.as_str() {
            "kubernetes" => "lifecycle.stopSignal",
            "systemd" => "KillSignal=",
            _ => "the image's STOPSIGNAL",
        };
        format!(
            ", or set {field} (now {}) to one that it handles",
            signal_name(configured)
        )
    }

    /// systemd's `KillMode=`, where it tells the main process alone.
    pub fn kill_mode(&self) -> Option<&'a str> {
        let mode = self.settings?.kill_mode.as_deref()?;
        ["process", "mixed", "none"].contains(&mode).then_some(mode)
    }

    pub fn unit(&self) -> &'a str {
        &self.workload.name
    }
}
