//! The agent under test, seen from outside: its process, `/readyz`, `/metrics`, `/api/v1`.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    clock::Clock,
    engine::Running,
    server::{self, Port},
    table::Engine,
};

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
    pub workload: Workload,
    #[serde(default)]
    pub configured: Option<Configured>,
    pub trigger: String,
    pub verdict: String,
    pub ended_at: Option<String>,
    pub exit: Option<Exit>,
    pub signals: Vec<SignalSeen>,
    pub requests: BTreeMap<String, u64>,
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

/// A severed request.
#[derive(Debug, Clone, Deserialize)]
pub struct Severed {
    pub cause: String,
    pub role: String,
    pub protocol: String,
    pub path: Option<String>,
    pub class: String,
    pub evidence: String,
    pub peer: String,
    pub local: String,
    pub age_ms: Option<f64>,
}

/// A drained request.
#[derive(Debug, Clone, Deserialize)]
pub struct Drained {
    pub path: Option<String>,
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

/// One series of `/metrics`.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Metric name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Value.
    pub value: f64,
}

/// The running agent.
#[derive(Debug)]
pub struct Agent {
    child: Mutex<Child>,
    base: String,
    /// Ours until the agent is gone.
    _port: Port,
    log: PathBuf,
    clock: Clock,
    cache: Mutex<Option<(Instant, Vec<Report>)>>,
    /// `reset_sent` works on this kernel: refused and late requests can be seen.
    pub sees_resets: bool,
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
        let port = Port::find()?;
        let log = out.join("agent.log");
        let file = File::create(&log)?;
        let asked = |engine: Engine| {
            let found = engines.iter().find(|running| running.engine == engine);
            found.map_or_else(
                || "off".to_owned(),
                |running| running.socket.display().to_string(),
            )
        };
        let config = out.join("agent.toml");
        fs::write(&config, CLASSES)?;
        let child = Command::new(binary)
            .arg("run")
            .arg("--config")
            .arg(&config)
            .args(["--docker.socket", &asked(Engine::Docker)])
            .args(["--podman.socket", &asked(Engine::Podman)])
            .args(["--systemd.bus", &asked(Engine::Systemd)])
            .args(["--web.listen-address", &format!("127.0.0.1:{}", port.number)])
            .arg("--state-dir")
            .arg(out.join("state"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let mut agent = Self {
            child: Mutex::new(child),
            base: format!("http://127.0.0.1:{}", port.number),
            _port: port,
            log,
            clock,
            cache: Mutex::new(None),
            sees_resets: true,
        };
        clock.until("the agent's /readyz", Duration::from_secs(30), || {
            agent.check_alive()?;
            Ok(agent.get("/readyz").is_ok())
        })?;
        let probes = agent.metrics()?;
        let reset_sent = probes.iter().find(|series| {
            series.name == "drainwatch_probe_status"
                && series
                    .labels
                    .get("probe")
                    .is_some_and(|probe| probe == "reset_sent")
        });
        agent.sees_resets = reset_sent
            .context("no drainwatch_probe_status{probe=\"reset_sent\"}")?
            .value
            > 0.0;
        Ok(agent)
    }

    /// Fails when the agent has ended.
    pub fn check_alive(&self) -> anyhow::Result<()> {
        let mut child = self
            .child
            .lock()
            .expect("no thread panics while it holds the agent");
        if let Some(status) = child.try_wait()? {
            bail!("the agent ended ({status}), see {}", self.log.display());
        }
        Ok(())
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        let child = self
            .child
            .lock()
            .expect("no thread panics while it holds the agent");
        Pid::from_raw(child.id().cast_signed())
    }

    fn get(&self, path: &str) -> anyhow::Result<String> {
        let url = format!("{}{path}", self.base);
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(self.clock.stretch(Duration::from_secs(10))))
            .build()
            .into();
        let mut response = agent.get(&url).call().with_context(|| format!("GET {url}"))?;
        Ok(response
            .body_mut()
            .with_config()
            .limit(64 << 20)
            .read_to_string()?)
    }

    /// Every series of `/metrics`.
    pub fn metrics(&self) -> anyhow::Result<Vec<Series>> {
        Ok(self.get("/metrics")?.lines().filter_map(series).collect())
    }

    /// Probes that do not work.
    pub fn degraded(&self) -> anyhow::Result<Vec<String>> {
        let metrics = self.metrics()?;
        let degraded = metrics
            .iter()
            .filter(|series| series.name == "drainwatch_probe_status" && series.value < 1.0)
            .filter_map(|series| series.labels.get("probe").cloned());
        Ok(degraded.collect())
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
            let answer: Value = serde_json::from_str(&self.get("/api/v1/shutdowns?limit=1000")?)?;
            let list = answer["shutdowns"]
                .as_array()
                .context("no `shutdowns` in the answer")?;
            let mut reports = vec![];
            for json in list.iter().rev() {
                let mut report = Report::deserialize(json)
                    .with_context(|| format!("a report does not keep to the contract: {json}"))?;
                report.json = json.clone();
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
        let mut child = self
            .child
            .lock()
            .expect("no thread panics while it holds the agent");
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM)?;
        let mut status = None;
        self.clock
            .until("the agent to stop", Duration::from_secs(15), || {
                status = child.try_wait()?;
                Ok(status.is_some())
            })?;
        ensure!(
            status.is_some_and(|status| status.success()),
            "the agent stopped with {status:?}: {}",
            server::tail(&self.log)
        );
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Ended already when all went well; else it must not outlive us.
        if let Ok(child) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// `name{a="b"} 1` → a series. Comments and empty lines give none.
fn series(line: &str) -> Option<Series> {
    if line.starts_with('#') {
        return None;
    }
    let (identity, value) = line.rsplit_once(' ')?;
    let (name, labels) = identity.split_once('{').unwrap_or((identity, "}"));
    let labels = labels
        .trim_end_matches('}')
        .split("\",")
        .filter_map(|pair| pair.split_once("=\""))
        .map(|(key, value)| (key.to_owned(), value.trim_end_matches('"').to_owned()))
        .collect();
    Some(Series {
        name: name.to_owned(),
        labels,
        value: value.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_line_of_the_text_format_then_its_labels_are_taken_apart() {
        let seen = series(r#"drainwatch_shutdowns_total{trigger="stop",workload="/a,b"} 2"#).unwrap();
        assert_eq!(seen.name, "drainwatch_shutdowns_total");
        assert_eq!(seen.labels["workload"], "/a,b");
        assert_eq!(seen.labels["trigger"], "stop");
        assert!((seen.value - 2.0).abs() < f64::EPSILON);
    }

    #[test]
    fn given_a_comment_then_there_is_no_series() {
        assert_eq!(series("# HELP drainwatch_shutdowns_total Shutdowns 1"), None);
    }
}
