//! Plays a row of the table on the cluster.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use testkit::{agent, http};

use super::account::Client;
use super::compare::{Comparison, compare};
use super::node::{Node, wait_for};
use super::service::{self, Controller};
use super::table::{Deed, Row, Traffic};

/// The agent's namespace, as deploy/ has it.
const AGENT: &str = "drainwatch";
/// How long a report stays open after its workload is gone, and a little more.
const LINGER: Duration = Duration::from_secs(7);
/// The longest wait for anything; the machine may be busy.
const PATIENCE: Duration = Duration::from_mins(4);
/// Time in which clients open their connections, before and after what is done.
const TRAFFIC: Duration = Duration::from_secs(2);

/// A cluster with an agent, and where evidence is left.
pub struct Stage {
    /// The node.
    pub node: Node,
    /// Reports and accounts.
    pub evidence: PathBuf,
}

/// What came of a row.
pub struct Played {
    /// Both sides.
    pub comparison: Comparison,
    /// Pods that ended.
    pub ended: usize,
    /// Of those without any report.
    pub unreported: Vec<String>,
    /// Connections that pods refused and no report has.
    pub unseen_refused: u64,
    /// Findings that were expected and not there.
    pub lacking: Vec<&'static str>,
    /// Reports with another reason than the one for which it was stopped, or without what ran.
    pub misjudged: Vec<String>,
}

impl Played {
    /// Whether there is nothing to object to.
    pub fn holds(&self, row: &Row) -> bool {
        let quiet = |verdict: &str| !self.comparison.verdicts.contains_key(verdict);
        let right = !row.correct
            || quiet("severed") && quiet("refused")
            || self.comparison.cut + self.comparison.refused > 0;
        self.comparison.agrees()
            && self.unreported.is_empty()
            && self.unseen_refused == 0
            && self.lacking.is_empty()
            && self.misjudged.is_empty()
            && right
    }
}

impl Stage {
    /// Installs the agent as deploy/ ships it, and waits until it watches.
    pub fn install_agent(&self, kustomization: &str) -> Result<()> {
        self.node.ask(&["apply", "--kustomize", kustomization])?;
        self.await_agent()
    }

    fn await_agent(&self) -> Result<()> {
        self.node.ask(&[
            "--namespace",
            AGENT,
            "rollout",
            "status",
            "daemonset/drainwatch",
            "--timeout=180s",
        ])?;
        Ok(())
    }

    fn agent(&self) -> Result<SocketAddr> {
        let pods = self.node.get(&["pods", "--namespace", AGENT])?;
        let running = |pod: &&Value| {
            pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null()
        };
        let address = items(&pods)
            .find(running)
            .and_then(|pod| pod["status"]["podIP"].as_str())
            .context("no agent runs")?;
        format!("{address}:9669").parse().context("the agent's address")
    }

    /// All of the agent's reports, newest first.
    fn all_reports(&self) -> Result<Vec<Value>> {
        let (_, body) = http::get(self.agent()?, "/api/v1/shutdowns?limit=1000", PATIENCE)?;
        agent::shutdowns(&body)
    }

    /// Reports of pods' cgroups that do not say whose pods; all reports and the agent's log are left in files.
    pub fn nameless(&self) -> Result<Vec<String>> {
        let log = self
            .node
            .ask(&["logs", "--namespace", AGENT, "daemonset/drainwatch"])?;
        let file = self.evidence.join("agent.log");
        fs::write(&file, log).with_context(|| format!("writing {}", file.display()))?;
        let reports = self.all_reports()?;
        let file = self.evidence.join("all.json");
        fs::write(&file, serde_json::to_string_pretty(&reports)?)
            .with_context(|| format!("writing {}", file.display()))?;
        let nameless = reports.iter().filter_map(|report| {
            let workload = &report["workload"];
            let cgroup = workload["cgroup"].as_str()?;
            let named = workload["pod"].is_string() && workload["namespace"].is_string();
            (cgroup.contains("kubepods") && !named).then(|| format!("{} {cgroup}", report["id"]))
        });
        Ok(nameless.collect())
    }

    /// The agent's reports of a namespace, newest first.
    fn reports(&self, namespace: &str) -> Result<Vec<Value>> {
        let mut reports = self.all_reports()?;
        reports.retain(|report| report["workload"]["namespace"] == namespace);
        Ok(reports)
    }

    /// Pods of a namespace, with those that are being deleted.
    fn pods(&self, namespace: &str) -> Result<BTreeSet<String>> {
        let pods = self.node.get(&["pods", "--namespace", namespace])?;
        Ok(items(&pods)
            .filter_map(|pod| pod["metadata"]["name"].as_str())
            .map(str::to_owned)
            .collect())
    }

    /// Plays it; leaves the evidence in files.
    pub fn play(&self, row: &Row) -> Result<Played> {
        let namespace = row.name;
        if let Some(service) = &row.service {
            self.node.apply(&service.objects(namespace))?;
            if !matches!(row.deed, Deed::Watch(_)) {
                self.rolled_out(row)?;
            }
        } else {
            self.node.apply(&[service::namespace(namespace)])?;
        }
        let client = self.client(row)?;
        thread::sleep(TRAFFIC);
        let mut ended = BTreeSet::new();
        self.act(row, &mut ended)?;
        self.settled(row, &mut ended)?;
        thread::sleep(TRAFFIC);
        let entries = match client {
            Some(client) => client.finish(&self.evidence.join(format!("{namespace}.account")))?,
            None => Vec::new(),
        };
        thread::sleep(LINGER);
        let reports = wait_for("reports that have ended", PATIENCE, || {
            let reports = self.reports(namespace)?;
            let open = reports.iter().any(|report| report["ended_at"].is_null());
            Ok((!open).then_some(reports))
        })?;
        let file = self.evidence.join(format!("{namespace}.json"));
        fs::write(&file, serde_json::to_string_pretty(&reports)?)
            .with_context(|| format!("writing {}", file.display()))?;
        let comparison = compare(&entries, &reports, is_disguised(row));
        let reported: BTreeSet<&str> = reports
            .iter()
            .filter_map(|report| report["workload"]["pod"].as_str())
            .collect();
        let played = Played {
            unreported: ended
                .iter()
                .filter(|pod| !reported.contains(pod.as_str()))
                .cloned()
                .collect(),
            lacking: row
                .expects
                .iter()
                .filter(|&&code| !comparison.findings.contains_key(code))
                .copied()
                .collect(),
            misjudged: misjudged(row, &reports),
            ended: ended.len(),
            unseen_refused: unseen(row, &comparison),
            comparison,
        };
        // What it runs would only take from the next rows' time.
        self.node
            .ask(&["delete", "namespace", namespace, "--wait=false"])?;
        Ok(played)
    }

    fn client(&self, row: &Row) -> Result<Option<Client>> {
        let command = match row.traffic {
            Traffic::None => return Ok(None),
            Traffic::Clients => self.node.among_clients("app"),
            Traffic::Outside => self.node.outside("app"),
        };
        let service = self.node.get(&["service", "app", "--namespace", row.name])?;
        let address = service["spec"]["clusterIP"].as_str().context("no address")?;
        Client::start(command, &format!("{address}:80"), row.name, row.slowest_ms).map(Some)
    }

    fn act(&self, row: &Row, ended: &mut BTreeSet<String>) -> Result<()> {
        let namespace = row.name;
        match row.deed {
            Deed::Deploys(times) => {
                for _ in 0..times {
                    ended.extend(self.pods(namespace)?);
                    self.deploy(row)?;
                    self.rolled_out(row)?;
                    self.settled(row, ended)?;
                }
            }
            Deed::ScaleToZero => {
                ended.extend(self.pods(namespace)?);
                self.node.ask(&[
                    "scale",
                    "--namespace",
                    namespace,
                    "deployment/app",
                    "--replicas=0",
                ])?;
            }
            Deed::Delete | Deed::ForceDelete => {
                ended.extend(self.pods(namespace)?);
                let mut command = vec!["delete", "pods", "--namespace", namespace, "--all"];
                if row.deed == Deed::ForceDelete {
                    command.extend(["--grace-period=0", "--force"]);
                }
                self.node.ask(&command)?;
                self.rolled_out(row)?;
            }
            Deed::Evict => {
                for pod in self.pods(namespace)? {
                    let eviction = json!({"apiVersion": "policy/v1beta1", "kind": "Eviction",
                                          "metadata": {"name": pod, "namespace": namespace}});
                    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
                    self.node
                        .feed(&["create", "--raw", &path, "--filename=-"], &eviction)?;
                    ended.insert(pod);
                    self.rolled_out(row)?;
                    self.settled(row, ended)?;
                }
            }
            Deed::Preempt => {
                ended.extend(self.pods(namespace)?);
                self.node.apply(&service::preemptor(namespace, 1800))?;
                // The place is taken: what was pushed off stays pending.
                self.node.ask(&[
                    "wait",
                    "--namespace",
                    namespace,
                    "pod/preemptor",
                    "--for=condition=Ready",
                    "--timeout=120s",
                ])?;
            }
            Deed::Watch(seconds) => thread::sleep(Duration::from_secs(seconds)),
            Deed::Exec => self.exec(namespace)?,
            Deed::RestartApiServer => {
                ended.extend(self.pods(namespace)?);
                self.deploy(row)?;
                thread::sleep(Duration::from_secs(3));
                self.node.restart("kube-apiserver")?;
                wait_for("the API server", PATIENCE, || {
                    self.node.ask(&["get", "--raw", "/readyz"]).map(Some)
                })?;
                self.rolled_out(row)?;
            }
            Deed::RestartAgent => {
                ended.extend(self.pods(namespace)?);
                self.deploy(row)?;
                self.node
                    .ask(&["rollout", "restart", "--namespace", AGENT, "daemonset/drainwatch"])?;
                self.await_agent()?;
                self.rolled_out(row)?;
            }
            Deed::JobFinishes => {
                self.node.apply(&[service::calling_job(namespace)])?;
                thread::sleep(Duration::from_secs(10));
            }
            Deed::JobDeleted | Deed::JobKilled => {
                let stop = if row.deed == Deed::JobKilled { "ignore" } else { "" };
                self.node.apply(&[service::job(namespace, 600, stop)])?;
                thread::sleep(Duration::from_secs(6));
                ended.extend(self.pods(namespace)?);
                self.node
                    .ask(&["delete", "job", "job", "--namespace", namespace])?;
            }
            Deed::CronJob(seconds) => {
                self.node.apply(&[service::cron_job(namespace)])?;
                thread::sleep(Duration::from_secs(seconds));
            }
        }
        Ok(())
    }

    /// Commands in a container that serves: one ends well, one badly, one is killed, one is left behind and stopped.
    fn exec(&self, namespace: &str) -> Result<()> {
        for pod in self.pods(namespace)? {
            for script in [
                "true",
                "exit 3",
                "kill -9 $$",
                "sleep 1 & kill $!; wait",
                "kill -TERM $$",
            ] {
                // Its status is the command's.
                let _ = self.node.ask(&[
                    "exec",
                    "--namespace",
                    namespace,
                    &pod,
                    "--container=app",
                    "--",
                    "sh",
                    "-c",
                    script,
                ]);
            }
        }
        Ok(())
    }

    /// A new revision.
    fn deploy(&self, row: &Row) -> Result<()> {
        let resource = format!("{}/app", controller(row).resource());
        self.node
            .ask(&["rollout", "restart", "--namespace", row.name, &resource])?;
        Ok(())
    }

    fn rolled_out(&self, row: &Row) -> Result<()> {
        let resource = format!("{}/app", controller(row).resource());
        self.node.ask(&[
            "rollout",
            "status",
            "--namespace",
            row.name,
            &resource,
            "--timeout=120s",
        ])?;
        Ok(())
    }

    /// Waits until every pod that was to end is gone.
    fn settled(&self, row: &Row, ended: &mut BTreeSet<String>) -> Result<()> {
        wait_for("pods to be gone", PATIENCE, || {
            let pods = self.node.get(&["pods", "--namespace", row.name])?;
            let ending: Vec<String> = items(&pods)
                .filter(|pod| !pod["metadata"]["deletionTimestamp"].is_null())
                .filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
                .collect();
            let over = ending.is_empty();
            ended.extend(ending);
            Ok(over.then_some(()))
        })?;
        // The same name again in a StatefulSet is another pod; all that is left of others is what was not stopped.
        if controller(row) != Controller::StatefulSet {
            let alive = self.pods(row.name)?;
            ended.retain(|pod| !alive.contains(pod));
        }
        Ok(())
    }
}

/// Reports that give another reason than what was done, or do not say what ran.
fn misjudged(row: &Row, reports: &[Value]) -> Vec<String> {
    let wrong = |report: &&Value| {
        let trigger = report["trigger"].as_str().unwrap_or_default();
        // Only of Jobs it is known why what ends by itself does.
        let expected = match trigger {
            "stop" | "kill" => row.reason().filter(|&reason| reason != "finished"),
            "exit" => row.reason().filter(|&reason| reason == "finished"),
            _ => None,
        };
        let reason = report["reason"].as_str();
        let right = reason == expected || (reason.is_none() && row.may_lack_reason());
        let unrevised = row.service.is_some() && report["revision"]["id"].is_null() && !row.may_lack_reason();
        !right || unrevised || report["revision"]["image"].is_null()
    };
    let short = |report: &Value| {
        format!(
            "{} {} {} {}",
            report["workload"]["pod"], report["trigger"], report["reason"], report["revision"]["id"]
        )
    };
    let mut misjudged: Vec<String> = reports.iter().filter(wrong).map(short).collect();
    if let Some(reason) = row.reason()
        && !row.alone()
        && !reports.is_empty()
        && reports.iter().all(|report| report["reason"] != reason)
    {
        misjudged.push(format!("no report says {reason}"));
    }
    misjudged
}

/// Its clients bear the node's address.
fn is_disguised(row: &Row) -> bool {
    row.traffic == Traffic::Outside
}

/// Connections that pods refused, as far as that is known, and no report has.
fn unseen(row: &Row, comparison: &Comparison) -> u64 {
    if !row.always_served() {
        return 0;
    }
    let unseen = (comparison.refused as u64).saturating_sub(comparison.turned_away);
    // Who bears the node's address is a probe, as often as the kubelet can have asked.
    unseen.saturating_sub(if is_disguised(row) { comparison.probes } else { 0 })
}

fn controller(row: &Row) -> Controller {
    row.service
        .as_ref()
        .map_or(Controller::Deployment, |service| service.controller)
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}
