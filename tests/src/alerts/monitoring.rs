//! A real Prometheus with the shipped rules, and a real Alertmanager behind it.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use testkit::{Clock, Port, Process, command};

use super::SOON;

/// Between scrapes, and between evaluations.
const INTERVAL: &str = "500ms";
/// What panels get for `$__rate_interval`: four scrapes, as Grafana computes it.
pub const RATE_INTERVAL: &str = "2s";

/// A started program; killed when dropped: it keeps nothing that anybody wants.
#[derive(Debug)]
pub(super) struct Program {
    process: Process,
    base: String,
    /// Ours until it is gone.
    _port: Port,
}

impl Program {
    pub(super) fn start(
        name: &str,
        arguments: &[String],
        port: Port,
        out: &Path,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let mut program = command(name);
        program
            .args(arguments)
            .arg(format!("--web.listen-address={}", port.address()))
            .current_dir(out);
        Ok(Self {
            process: Process::start_logging(program, &out.join(format!("{name}.log")), clock)?,
            base: format!("http://{}", port.address()),
            _port: port,
        })
    }

    pub(super) fn wait_ready(&self, clock: Clock) -> anyhow::Result<()> {
        clock.until("it to be ready", SOON, || {
            let alive = self.process.check_alive();
            alive.context("`cargo xtask deps --install` gets it")?;
            Ok(get(&format!("{}/-/ready", self.base), &[]).is_ok())
        })
    }
}

/// Both.
#[derive(Debug)]
pub struct Monitoring {
    prometheus: Program,
    alertmanager: Program,
    /// Where the shipped files are.
    pub dashboards: PathBuf,
    out: PathBuf,
    clock: Clock,
}

/// An alert that fires.
#[derive(Debug)]
pub struct Alert(Value);

impl Alert {
    /// Its name.
    pub fn name(&self) -> &str {
        self.label("alertname")
    }

    /// A label; empty when it has no such label.
    pub fn label(&self, name: &str) -> &str {
        self.0["labels"][name].as_str().unwrap_or_default()
    }

    /// An annotation; empty when it has no such annotation.
    pub fn annotation(&self, name: &str) -> &str {
        self.0["annotations"][name].as_str().unwrap_or_default()
    }
}

impl Monitoring {
    /// Starts both; Prometheus scrapes `agent` (`127.0.0.1:9669`) twice a second.
    pub fn start(dashboards: &Path, agent: &str, out: &Path, clock: Clock) -> anyhow::Result<Self> {
        let (port, alertmanager_port) = (Port::find()?, Port::find()?);
        fs::write(
            out.join("alertmanager.yml"),
            "route: {receiver: none}\nreceivers: [{name: none}]\n",
        )?;
        let rules = fs::read_to_string(dashboards.join("alerts.yaml"))?;
        fs::write(out.join("alerts.yaml"), at_once(&rules)?)?;
        fs::copy(dashboards.join("recording.yaml"), out.join("recording.yaml"))?;
        fs::write(
            out.join("prometheus.yml"),
            format!(
                "global: {{scrape_interval: {INTERVAL}, evaluation_interval: {INTERVAL}, scrape_timeout: {INTERVAL}}}\n\
                 rule_files: [alerts.yaml, recording.yaml]\n\
                 alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{}']}}]}}]}}\n\
                 scrape_configs: [{{job_name: drainwatch, file_sd_configs: [{{files: [targets.json]}}]}}]\n",
                alertmanager_port.number
            ),
        )?;
        write_targets(out, &[agent])?;
        let directory = |name: &str| out.join(name).display().to_string();
        let alertmanager = Program::start(
            "prometheus-alertmanager",
            &[
                "--config.file=alertmanager.yml".into(),
                format!("--storage.path={}", directory("alertmanager")),
                "--cluster.listen-address=".into(),
            ],
            alertmanager_port,
            out,
            clock,
        )?;
        let prometheus = Program::start(
            "prometheus",
            &[
                "--config.file=prometheus.yml".into(),
                format!("--storage.tsdb.path={}", directory("prometheus")),
            ],
            port,
            out,
            clock,
        )?;
        alertmanager.wait_ready(clock).context("Alertmanager")?;
        prometheus.wait_ready(clock).context("Prometheus")?;
        Ok(Self {
            prometheus,
            alertmanager,
            dashboards: dashboards.into(),
            out: out.into(),
            clock,
        })
    }

    /// `data.result` of an instant query.
    pub fn query(&self, query: &str) -> anyhow::Result<Vec<Value>> {
        self.result("query", &[("query", query)])
    }

    /// `data.result` of a query over the last `seconds`.
    pub fn query_range(&self, query: &str, seconds: u64) -> anyhow::Result<Vec<Value>> {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)?
            .as_secs();
        let (start, end) = ((now - seconds).to_string(), now.to_string());
        self.result(
            "query_range",
            &[("query", query), ("start", &start), ("end", &end), ("step", "1")],
        )
    }

    fn result(&self, path: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Vec<Value>> {
        result(&self.prometheus, path, parameters)
    }

    /// Waits until one series of an instant query has a value that is enough.
    pub fn until(
        &self,
        what: &str,
        patience: Duration,
        query: &str,
        enough: impl Fn(f64) -> bool,
    ) -> anyhow::Result<()> {
        self.clock.until(what, patience, || {
            thread::sleep(Duration::from_millis(50)); // what is asked changes with scrapes
            let values = self.query(query)?;
            Ok(values
                .iter()
                .filter_map(|series| number(&series["value"]))
                .any(&enough))
        })
    }

    /// Waits until every group of rules was evaluated three times more: whatever was scraped by now has
    /// been seen by all of them.
    pub fn evaluated(&self) -> anyhow::Result<()> {
        let times = || -> anyhow::Result<Vec<String>> {
            let answer = get(&format!("{}/api/v1/rules", self.prometheus.base), &[])?;
            let groups = answer["data"]["groups"].as_array().context("no groups")?;
            // What is recorded of days is evaluated now and then.
            let often = groups
                .iter()
                .filter(|group| group["interval"].as_f64() < Some(60.0));
            Ok(often.map(|group| group["lastEvaluation"].to_string()).collect())
        };
        for _ in 0..3 {
            let before = times()?;
            ensure!(before.len() == 3, "{} groups of rules instead of 3", before.len());
            self.clock.until("an evaluation", SOON, || {
                thread::sleep(Duration::from_millis(50));
                Ok(times()?.iter().zip(&before).all(|(now, before)| now != before))
            })?;
        }
        Ok(())
    }

    /// What fires, or is about to, in Prometheus.
    pub fn firing(&self) -> anyhow::Result<Vec<Alert>> {
        let answer = get(&format!("{}/api/v1/alerts", self.prometheus.base), &[])?;
        let alerts = answer["data"]["alerts"].as_array().context("no alerts")?;
        Ok(alerts.iter().cloned().map(Alert).collect())
    }

    /// Changes what is scraped. Prometheus watches the file.
    pub fn scrape(&self, agents: &[&str]) -> anyhow::Result<()> {
        write_targets(&self.out, agents)
    }

    /// Waits until Alertmanager has such an alert of this name.
    pub fn until_alertmanager_has(
        &self,
        name: &str,
        is_meant: impl Fn(&Alert) -> bool,
    ) -> anyhow::Result<Alert> {
        let mut found = None;
        self.clock.until(&format!("{name} in Alertmanager"), SOON, || {
            found = self.arrived(name)?.into_iter().find(&is_meant);
            Ok(found.is_some())
        })?;
        found.with_context(|| format!("no {name}"))
    }

    /// Waits until Alertmanager has no alert of this name, or no more.
    pub fn until_alertmanager_lacks(&self, name: &str) -> anyhow::Result<()> {
        self.clock.until(&format!("the end of {name}"), SOON, || {
            Ok(self.arrived(name)?.is_empty())
        })
    }

    /// Alerts of this name that Alertmanager has, and that are not resolved.
    fn arrived(&self, name: &str) -> anyhow::Result<Vec<Alert>> {
        thread::sleep(Duration::from_millis(50)); // it is asked again and again
        let answer = get(&format!("{}/api/v2/alerts", self.alertmanager.base), &[])?;
        let alerts = answer.as_array().context("no alerts")?;
        let alerts = alerts.iter().cloned().map(Alert);
        Ok(alerts.filter(|alert| alert.name() == name).collect())
    }
}

/// `data.result` of what a Prometheus is asked.
pub(super) fn result(
    prometheus: &Program,
    path: &str,
    parameters: &[(&str, &str)],
) -> anyhow::Result<Vec<Value>> {
    let answer = get(&format!("{}/api/v1/{path}", prometheus.base), parameters)?;
    let result = answer["data"]["result"].as_array().context("no result")?;
    Ok(result.clone())
}

/// The agents that are scraped; replaced in one step, so that Prometheus never reads a half.
fn write_targets(out: &Path, agents: &[&str]) -> anyhow::Result<()> {
    let text = serde_json::json!([{ "targets": agents }]).to_string();
    fs::write(out.join("targets.new"), text)?;
    Ok(fs::rename(out.join("targets.new"), out.join("targets.json"))?)
}

/// The number of a sample `[time, "1"]`; `None` for NaN.
pub fn number(sample: &Value) -> Option<f64> {
    let value: f64 = sample[1].as_str()?.parse().ok()?;
    (!value.is_nan()).then_some(value)
}

/// The rules as shipped, but for the minutes that some of them wait, which promtool's unit tests prove.
fn at_once(rules: &str) -> anyhow::Result<String> {
    let waits = |line: &&str| line.trim_start().starts_with("for: ");
    ensure!(rules.lines().any(|line| waits(&line)), "no rule waits any more");
    let lines: Vec<&str> = rules
        .lines()
        .map(|line| if waits(&line) { "        for: 1s" } else { line })
        .collect();
    Ok(lines.join("\n") + "\n")
}

fn get(url: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Value> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(10)))
        .http_status_as_error(false)
        .build()
        .into();
    let mut response = agent
        .get(url)
        .query_pairs(parameters.iter().copied())
        .call()
        .with_context(|| format!("GET {url}"))?;
    let text = response.body_mut().read_to_string()?;
    ensure!(response.status().is_success(), "GET {url}: {text}");
    // `/-/ready` says it in words.
    Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
}
