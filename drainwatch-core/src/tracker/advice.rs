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

    /// That the time before the stop signal suffices, where there is one and `nothing_lost`: what came after it was answered.
    pub fn prestop_suffices(&self, lag: &str, nothing_lost: bool) -> Option<String> {
        let prestop = self.settings?.prestop.as_ref()?;
        let sleeps = prestop.seconds.is_some_and(|seconds| seconds > 0.0);
        (sleeps && nothing_lost).then(|| {
            format!(
                "Keep its preStop hook (`{}`): with the drain after it, it covers the {lag} in which new connections came, and nothing was lost.",
                prestop.what
            )
        })
    }

    /// What a single instance needs, of which another cannot take the traffic; `seconds` is how long that went on.
    pub fn single(&self, seconds: Option<u64>) -> String {
        let ahead = match seconds {
            Some(seconds) => format!("{seconds} s before the stop signal comes"),
            None => "until traffic has moved away".to_owned(),
        };
        let Workload { name, kind, .. } = self.workload;
        match kind.as_str() {
            "systemd" => format!(
                "Give {name} a socket unit, which holds its port between two runs, or start the next run with SO_REUSEPORT before this one stops, or put a proxy that retries in front; where something balances, take it out of rotation {ahead}."
            ),
            "kubernetes" if self.is_bare_pod() => {
                "A single pod has nobody who takes its traffic, so that no preStop hook helps: let a Deployment have more than one, or let its callers retry."
                    .to_owned()
            }
            _ if seconds.is_some() => format!(
                "Take it out of rotation {ahead}; a single instance that nothing balances needs something that holds its port meanwhile (socket activation, SO_REUSEPORT, a proxy that retries)."
            ),
            _ => "Close the listener only when traffic has moved away; a single instance that nothing balances needs something that holds its port meanwhile (socket activation, SO_REUSEPORT, a proxy that retries)."
                .to_owned(),
        }
    }

    fn is_bare_pod(&self) -> bool {
        self.workload.controller.as_deref() == Some("Pod")
    }

    /// A longer time before the stop signal; nothing where there is no such thing, or nobody who takes over.
    pub fn prestop(&self) -> Option<String> {
        let settings = self
            .settings
            .filter(|_| self.workload.kind == "kubernetes" && !self.is_bare_pod())?;
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
