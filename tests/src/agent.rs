//! The agent under test, seen from outside: its process, `/readyz`, `/metrics`, `/api/v1`.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::Value;
use testkit::{
    Clock, agent,
    metrics::{self, Series},
};

use crate::{engine::Running, table::Engine};

/// How long the agent may take to stop, beside everything that the ledger keeps running.
const STOPPED_WITHIN: Duration = Duration::from_secs(15);

/// Rules of a user's own. No request of the other cases has these headers.
const CLASSES: &str = r#"
[[class]]
name = "gold"
header = "X-Tier: gold*"

[[class]]
name = "partner"
header = ["x-partner-signature*", "user-agent: *acme*"]
"#;

/// A report, as the contract writes it. Only what the ledger compares.
#[derive(Debug, Clone, Deserialize)]
pub struct Report {
    pub id: String,
    pub workload: Workload,
    #[serde(default)]
    pub configured: Option<Configured>,
    pub trigger: String,
    pub verdict: String,
    pub ended_at: Option<String>,
    pub exit: Option<Exit>,
    pub signals: Vec<SignalSeen>,
    pub requests: BTreeMap<String, u64>,
    #[serde(default)]
    pub refused: RefusedAttempts,
    pub probes: u64,
    pub severed: BTreeMap<String, u64>,
    pub severed_requests: Vec<Severed>,
    pub severed_requests_omitted: u64,
    #[serde(default)]
    pub drained_requests: Vec<Drained>,
    pub findings: Vec<Finding>,
    pub timeline: Vec<Moment>,
    pub events_lost: u64,
    /// The whole of it, for people.
    #[serde(skip)]
    pub json: Value,
}

/// What was stopped.
#[derive(Debug, Clone, Deserialize)]
pub struct Workload {
    pub kind: String,
    pub namespace: Option<String>,
    pub name: String,
    pub container: Option<String>,
    pub container_id: Option<String>,
    #[serde(default)]
    pub image: Option<String>,
    pub cgroup: String,
}

/// How the workload was configured to be stopped.
#[derive(Debug, Clone, Deserialize)]
pub struct Configured {
    pub grace_seconds: Option<f64>,
    pub stop_signal: Option<String>,
    pub kill_mode: Option<String>,
}

/// How the main process ended.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct Exit {
    pub pid: u32,
    pub code: Option<i32>,
    pub signal: Option<u32>,
}

/// A stop signal or SIGKILL.
#[derive(Debug, Clone, Deserialize)]
pub struct SignalSeen {
    pub signal: String,
    pub disposition: String,
}

/// Connection attempts at closed ports.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct RefusedAttempts {
    pub attempts: u64,
    pub clients: u64,
}

/// A severed request.
#[derive(Debug, Clone, Deserialize)]
pub struct Severed {
    pub cause: String,
    pub role: String,
    pub protocol: String,
    pub method: Option<String>,
    pub path: Option<String>,
    pub host: Option<String>,
    pub rpc: Option<Rpc>,
    pub class: String,
    pub evidence: String,
    pub peer: String,
    pub local: String,
    pub age_ms: Option<f64>,
}

/// A remote procedure call.
#[derive(Debug, Clone, Deserialize)]
pub struct Rpc {
    pub service: String,
    pub method: String,
}

/// A drained request.
#[derive(Debug, Clone, Deserialize)]
pub struct Drained {
    pub path: Option<String>,
    #[serde(default)]
    pub failed: bool,
    pub peer: String,
}

/// A finding.
#[derive(Debug, Clone, Deserialize)]
pub struct Finding {
    pub code: String,
    pub summary: String,
    pub advice: String,
}

/// A moment of the timeline.
#[derive(Debug, Clone, Deserialize)]
pub struct Moment {
    pub at_ms: f64,
    pub what: String,
}

/// The running agent.
#[derive(Debug)]
pub struct Agent {
    running: testkit::Agent,
    address: String,
    clock: Clock,
    cache: Mutex<Option<(Instant, Vec<Report>)>>,
    /// What can be seen on this kernel.
    pub sees: Sees,
}

/// What can be seen on this kernel, of that which cannot be seen on all.
#[derive(Debug, Clone, Copy)]
pub struct Sees {
    /// Resets without a socket: refused and late requests.
    pub resets: bool,
    /// What waits in an accept queue, and what meets a closed connection.
    pub accept_queues: bool,
    /// What waits on an accepted connection.
    pub receive_queues: bool,
}

impl Agent {
    /// Starts it and waits until it is ready.
    pub fn start(binary: &Path, out: &Path, engines: &[Running], clock: Clock) -> anyhow::Result<Self> {
        Self::start_with(binary, out, engines, &[], clock)
    }

    /// The same, with more arguments.
    pub fn start_with(
        binary: &Path,
        out: &Path,
        engines: &[Running],
        arguments: &[String],
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let asked = |engine: Engine| {
            let found = engines.iter().find(|running| running.engine == engine);
            found.map_or_else(
                || "off".to_owned(),
                |running| running.socket.display().to_string(),
            )
        };
        let config = out.join("agent.toml");
        fs::write(&config, CLASSES)?;
        let mut command = agent::run(binary);
        command
            .arg("--config")
            .arg(&config)
            .args(["--docker.socket", &asked(Engine::Docker)])
            .args(["--podman.socket", &asked(Engine::Podman)])
            .args(["--systemd.bus", &asked(Engine::Systemd)])
            .arg("--state-dir")
            .arg(out.join("state"))
            .args(arguments);
        let running = testkit::Agent::start_logging(command, &out.join("agent.log"), clock)?;
        let metrics = metrics::series(&running.get("/metrics")?);
        let works = |probe: &str| -> anyhow::Result<bool> {
            let status = metrics.iter().find(|series| {
                series.name == "drainwatch_probe_status"
                    && series.labels.get("probe").is_some_and(|name| name == probe)
            });
            let status = status.with_context(|| format!("no drainwatch_probe_status{{probe={probe:?}}}"))?;
            Ok(status.value > 0.0)
        };
        let accept_queues = works("waiting_head")?;
        let sees = Sees {
            resets: works("reset_sent")?,
            accept_queues,
            receive_queues: accept_queues && works("socket_close")?,
        };
        Ok(Self {
            address: running.address().to_string(),
            running,
            clock,
            cache: Mutex::new(None),
            sees,
        })
    }

    /// Fails when the agent has ended.
    pub fn check_alive(&self) -> anyhow::Result<()> {
        self.running.check_alive()
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.running.pid()
    }

    /// Every series of `/metrics`.
    pub fn metrics(&self) -> anyhow::Result<Vec<Series>> {
        Ok(metrics::series(&self.running.get("/metrics")?))
    }

    /// Whether it knows how long this workload has to stop, as the runtime says.
    pub fn knows(&self, workload: &str, grace_seconds: f64) -> anyhow::Result<bool> {
        Ok(self.metrics()?.iter().any(|series| {
            series.name == "drainwatch_configured_grace_seconds"
                && series.labels.get("workload").is_some_and(|name| name == workload)
                && (series.value - grace_seconds).abs() < 1e-9
        }))
    }

    /// Probes that do not work.
    pub fn degraded(&self) -> anyhow::Result<Vec<String>> {
        self.running.degraded()
    }

    /// Reports of one cgroup, oldest first. All cases share one poll of the agent.
    pub fn reports(&self, cgroup: &str) -> anyhow::Result<Vec<Report>> {
        let mut cache = self
            .cache
            .lock()
            .expect("no thread panics while it holds the cache");
        let fresh = self.clock.stretch(Duration::from_millis(200));
        if cache.as_ref().is_none_or(|(at, _)| at.elapsed() > fresh) {
            self.check_alive()?;
            let mut reports = vec![];
            for json in self.running.shutdowns()?.into_iter().rev() {
                let mut report = Report::deserialize(&json)
                    .with_context(|| format!("a report does not keep to the contract: {json}"))?;
                report.json = json;
                reports.push(report);
            }
            *cache = Some((Instant::now(), reports));
        }
        let all = cache
            .as_ref()
            .map(|(_, reports)| reports.as_slice())
            .unwrap_or_default();
        Ok(all
            .iter()
            .filter(|report| report.workload.cgroup == cgroup)
            .cloned()
            .collect())
    }

    /// Stops the agent; it must exit 0.
    pub fn stop(self) -> anyhow::Result<()> {
        self.check_alive()?;
        let (status, took) = self.running.stop()?;
        ensure!(
            status.success() && took < self.clock.stretch(STOPPED_WITHIN),
            "the agent stopped after {took:.1?} with {status}: {}",
            self.running.log()
        );
        Ok(())
    }
}
