//! The shipped alerts and dashboards with a real Prometheus and Alertmanager: real shutdowns of real
//! services make the alerts fire that must, and none that must not, and every panel show data.

mod boards;
mod cluster;
mod delivery;
mod monitoring;
mod secured;
pub mod service;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testkit::{Cgroup, Clock, Port};

use crate::{
    agent::{Agent, Report},
    home::Home,
    prepare::Artefacts,
    stage::{self, Step},
    table::Server,
    talks::{self, Backend},
};
use cluster::Cluster;
use monitoring::Monitoring;
use service::Service;

/// How long a scrape, an evaluation and Alertmanager may take together.
const SOON: Duration = Duration::from_secs(20);

/// What the steps share.
struct Stage {
    agent: Option<Agent>,
    monitoring: Monitoring,
    /// What makes an agent name the pod.
    cluster: Cluster,
    /// A workload with shutdowns of several kinds: a pod, so that there is something to compare its times with.
    shop: Home,
    /// A workload whose first shutdown severs a webhook.
    pay: Home,
    root: PathBuf,
    out: PathBuf,
    binary: PathBuf,
    artefacts: Artefacts,
    clock: Clock,
}

/// In this order: each relies on what the ones before it left behind.
const STEPS: &[Step<Stage>] = &[
    ("a clean shutdown fires nothing", Stage::clean_shutdown),
    (
        "the first severed webhook fires and reaches Alertmanager",
        Stage::severed_webhook,
    ),
    (
        "traffic after the stop signal, and a severed request",
        Stage::severed_request,
    ),
    (
        "what a rollout cost is one number over two agents, for Argo Rollouts and Flagger too",
        Stage::rollout,
    ),
    ("a transaction that is left open fires", Stage::open_transaction),
    ("every panel, annotation and variable has data", Stage::panels),
    (
        "who has a certificate and the password scrapes, and nobody else",
        Stage::secured,
    ),
    ("a degraded probe fires", Stage::degraded_probe),
    ("lost evidence fires", Stage::lost_evidence),
    ("an agent that is down fires", Stage::agent_down),
];

/// Plays all of it. `dashboards` is the directory with the shipped files.
pub fn run(dashboards: &Path, binary: &Path, out: &Path, clock: Clock) -> anyhow::Result<ExitCode> {
    let id = format!("{:064x}", std::process::id());
    let cluster = Cluster::serve(&id, out)?;
    let agent = Agent::start_with(binary, out, &[], &cluster.arguments(), clock)?;
    let monitoring = Monitoring::start(dashboards, agent.address(), out, clock)?;
    let root = testkit::cgroup::unified_root()?;
    let name = |which: &str| format!("drainwatch-alerts-{}-{which}", std::process::id());
    let shop = Home::create_pod(&root, &cluster.uid, &id, cluster::WORKLOAD)?;
    let mut stage = Stage {
        agent: Some(agent),
        monitoring,
        cluster,
        shop,
        pay: Home::create(&root, &name("pay"))?,
        root,
        out: out.into(),
        binary: fs::canonicalize(binary)?,
        artefacts: Artefacts::locate(),
        clock,
    };
    Ok(stage::play(&mut stage, STEPS, |_, _| None))
}

impl Stage {
    fn agent(&self) -> anyhow::Result<&Agent> {
        self.agent.as_ref().context("the agent has been stopped")
    }

    /// The last report of a cgroup, once it has ended and there are `count` of them.
    fn report(&self, cgroup: &Home, count: usize) -> anyhow::Result<Report> {
        let mut last = None;
        self.clock.until("the report", SOON, || {
            let reports = self.agent()?.reports(cgroup.path())?;
            let ended = reports.iter().filter(|report| report.ended_at.is_some()).count();
            last = reports.last().cloned();
            Ok(ended == count)
        })?;
        last.context("no report")
    }

    fn start(&self, name: &str, cgroup: &Home, server: Server) -> anyhow::Result<Service> {
        let service = Service::start(&self.artefacts, &self.out.join(name), cgroup, self.clock, server)?;
        // As in life: the series were scraped at 0 long before the first shutdown.
        let query = format!(
            "count(drainwatch_severed_requests_total{{workload=\"{}\",class=\"webhook\"}})",
            cgroup.workload()
        );
        self.monitoring
            .until("the workload's series", SOON, &query, |count| count > 0.0)?;
        Ok(service)
    }

    fn clean_shutdown(&mut self) -> anyhow::Result<()> {
        let mut service = self.start("clean", &self.shop, Server::Hyper("drain"))?;
        let mut webhook = service.deliver("hang")?;
        service.until_said("got /webhooks/stripe")?;
        service.signal(Signal::SIGTERM)?;
        service.until_said("stopping")?;
        service.release()?;
        webhook.read_begun()?;
        service.wait()?;
        let report = self.report(&self.shop, 1)?;
        ensure!(
            report.verdict == "clean",
            "it was no clean shutdown: {}",
            report.json
        );
        let query = format!(
            "drainwatch_shutdowns_total{{workload=\"{}\",verdict=\"clean\",trigger=\"stop\"}}",
            self.shop.workload()
        );
        self.monitoring
            .until("the shutdown's count", SOON, &query, |count| count > 0.0)?;
        self.monitoring.evaluated()?;
        let kernel_degrades = self.agent()?.degraded()?;
        let mut firing = self.monitoring.firing()?;
        // The agent sees the whole machine: what others of its workloads do is none of ours. And probes
        // that this kernel does not have are told of rightly.
        firing.retain(|alert| ["", self.shop.workload()].contains(&alert.label("workload")));
        firing.retain(|alert| !kernel_degrades.iter().any(|probe| probe == alert.label("probe")));
        ensure!(firing.is_empty(), "alerts fire: {firing:?}");
        Ok(())
    }

    fn severed_webhook(&mut self) -> anyhow::Result<()> {
        let mut service = self.start("severed", &self.pay, Server::Hyper("default"))?;
        let mut webhook = service.deliver("part")?;
        webhook.read_begun()?;
        let begun = Instant::now();
        service.signal(Signal::SIGTERM)?;
        let alert = self
            .monitoring
            .until_alertmanager_has("DrainwatchWebhookSevered", |alert| {
                alert.label("workload") == self.pay.workload()
            })?;
        println!(
            "     Alertmanager had it {:.1?} after the stop signal",
            begun.elapsed()
        );
        ensure!(alert.label("severity") == "critical", "{alert:?}");
        ensure!(alert.label("cause") == "truncated", "{alert:?}");
        ensure!(
            alert
                .annotation("description")
                .contains("the sender may consider the event delivered"),
            "{alert:?}"
        );
        service.wait()?;
        let report = self.report(&self.pay, 1)?;
        let request = &report.json["severed_requests"][0];
        ensure!(
            report.requests["severed"] == 1,
            "one webhook was severed: {}",
            report.json
        );
        ensure!(request["class"] == "webhook", "{request}");
        ensure!(request["maybe_taken_for_delivered"] == true, "{request}");
        Ok(())
    }

    fn severed_request(&mut self) -> anyhow::Result<()> {
        let mut service = self.start("lagging", &self.shop, Server::Raw("serve-on"))?;
        service.signal(Signal::SIGTERM)?;
        service.until_said("stopping")?;
        service.get("/late?do=ok")?.read_begun()?;
        service.release()?;
        service.wait()?;
        let report = self.report(&self.shop, 2)?;
        let found = |code: &str| report.findings.iter().any(|finding| finding.code == code);
        ensure!(found("traffic_after_stop"), "{}", report.json);

        let mut service = self.start("cut", &self.shop, Server::Hyper("default"))?;
        let hanging = service.get("/orders?do=hang")?;
        service.until_said("got /orders")?;
        service.signal(Signal::SIGTERM)?;
        service.wait()?;
        drop(hanging);
        self.report(&self.shop, 3)?;
        for alert in ["DrainwatchRequestsSevered", "DrainwatchStopSignalIgnored"] {
            self.monitoring
                .until_alertmanager_has(alert, |alert| alert.label("workload") == self.shop.workload())?;
        }
        Ok(())
    }

    /// A second agent counts too: both see this kernel, so that one cut request is two.
    fn rollout(&mut self) -> anyhow::Result<()> {
        let out = self.out.join("second");
        fs::create_dir_all(&out)?;
        let second = Agent::start_with(&self.binary, &out, &[], &self.cluster.arguments(), self.clock)?;
        let addresses = [self.agent()?.address().to_owned(), second.address().to_owned()];
        self.monitoring.scrape(&[&addresses[0], &addresses[1]])?;
        let known = format!(
            "count(drainwatch_rollout_severed_requests_total{{revision=\"{}\",class=\"request\"}})",
            cluster::REVISION
        );
        self.monitoring
            .until("both agents to know the revision", SOON, &known, |count| {
                count > 1.5
            })?;
        let asked = delivery::queries(&self.monitoring.dashboards)?;
        let mut before = Vec::new();
        for (who, query) in &asked {
            let cost = self.monitoring.query(query)?;
            let cost = cost
                .first()
                .and_then(|series| monitoring::number(&series["value"]));
            before.push(cost.with_context(|| format!("{who} gets no number: {query}"))?);
        }
        let mut service = self.start("rolled", &self.shop, Server::Hyper("default"))?;
        let hanging = service.get("/orders?do=hang")?;
        service.until_said("got /orders")?;
        service.signal(Signal::SIGTERM)?;
        service.wait()?;
        drop(hanging);
        self.report(&self.shop, 4)?;
        for ((who, query), before) in asked.iter().zip(before) {
            let enough = |cost| cost > before + 1.5;
            self.monitoring
                .until(&format!("{who} to see what both agents saw"), SOON, query, enough)?;
        }
        let recorded = format!(
            "rollout:drainwatch_severed_requests:increase1h{{revision=\"{}\",class=\"request\"}}",
            cluster::REVISION
        );
        self.monitoring
            .until("the recording rule", SOON, &recorded, |cost| cost > 1.5)?;
        let revision = format!("; revision {}", cluster::REVISION);
        // Alertmanager has it since the step before, and is told of another description once a minute.
        self.clock
            .until("the alert to name both nodes and the revision", SOON, || {
                std::thread::sleep(Duration::from_millis(50)); // rules are evaluated now and then
                let firing = self.monitoring.firing()?;
                Ok(firing.iter().any(|alert| {
                    let says = alert.annotation("description");
                    alert.name() == "DrainwatchRequestsSevered"
                        && says.contains(&revision)
                        && addresses.iter().all(|address| says.contains(address))
                }))
            })?;
        second.stop()?;
        self.monitoring.scrape(&[&addresses[0]])
    }

    /// A database is stopped while a client is in the middle of a transaction.
    fn open_transaction(&mut self) -> anyhow::Result<()> {
        let out = self.out.join("transaction");
        fs::create_dir_all(&out)?;
        let (port, backend) = (Port::find()?, Backend::Postgres);
        let [served, asking] = [Cgroup::unique("alerts-served")?, Cgroup::unique("alerts-asking")?];
        let database = backend.start(&served, &port, &out, self.clock)?;
        let workload = format!("/{}", served.name());
        let query = format!("count(drainwatch_shutdowns_total{{workload=\"{workload}\"}})");
        self.monitoring
            .until("the database's series", SOON, &query, |count| count > 0.0)?;
        let _clients = talks::clients(
            &self.artefacts,
            backend,
            &port,
            &asking,
            &["transaction", "idle"],
            &out,
            self.clock,
        )?;
        kill(database.main, Signal::SIGINT)?;
        let alert = self
            .monitoring
            .until_alertmanager_has("DrainwatchTransactionOpen", |alert| {
                alert.label("workload") == workload
            })?;
        ensure!(alert.label("severity") == "warning", "{alert:?}");
        Ok(())
    }

    fn panels(&mut self) -> anyhow::Result<()> {
        let empty = boards::empty(&self.monitoring, self.shop.workload())?;
        ensure!(empty.is_empty(), "no data in:\n  {}", empty.join("\n  "));
        Ok(())
    }

    /// A second agent, on a kernel that does not say that it has one of the tracepoints.
    fn degraded_probe(&mut self) -> anyhow::Result<()> {
        let out = self.out.join("degraded");
        fs::create_dir_all(&out)?;
        let agent = Agent::start(&without_oom(&self.binary, &out)?, &out, &[], self.clock)?;
        ensure!(
            agent.degraded()?.contains(&"oom".to_owned()),
            "the probe works all the same"
        );
        self.monitoring
            .scrape(&[self.agent()?.address(), agent.address()])?;
        let alert = self
            .monitoring
            .until_alertmanager_has("DrainwatchProbeDegraded", |alert| alert.label("probe") == "oom")?;
        ensure!(alert.label("instance") == agent.address(), "{alert:?}");
        agent.stop()?;
        self.monitoring.scrape(&[self.agent()?.address()])
    }

    /// Fills the ring while the agent stands still: a cgroup that is made and removed is two events.
    fn lost_evidence(&mut self) -> anyhow::Result<()> {
        let pid = self.agent()?.pid();
        kill(pid, Signal::SIGSTOP)?;
        let filled = fill_ring(&self.root);
        kill(pid, Signal::SIGCONT)?;
        filled?;
        self.monitoring
            .until_alertmanager_has("DrainwatchEventsLost", |alert| {
                alert.label("reason") == "ring_full"
            })?;
        Ok(())
    }

    fn agent_down(&mut self) -> anyhow::Result<()> {
        // It may have seemed down while it stood still.
        self.monitoring.until_alertmanager_lacks("DrainwatchDown")?;
        let address = self.agent()?.address().to_owned();
        self.agent.take().context("the agent has been stopped")?.stop()?;
        self.monitoring
            .until_alertmanager_has("DrainwatchDown", |alert| alert.label("instance") == address)?;
        Ok(())
    }
}

/// A program that runs the agent where the kernel's BTF lacks the tracepoint of the probe `oom`.
fn without_oom(binary: &Path, out: &Path) -> anyhow::Result<PathBuf> {
    const BTF: &str = "/sys/kernel/btf/vmlinux";
    const NAME: &[u8] = b"btf_trace_mark_victim";
    let mut types = fs::read(BTF)?;
    let at = types.windows(NAME.len()).position(|window| window == NAME);
    let at = at.context("this kernel has no tracepoint mark_victim")?;
    types[at] = b'_';
    let changed = out.join("btf");
    fs::write(&changed, types)?;
    let script = out.join("agent");
    let mount = format!(
        "mount --bind {} {BTF} && exec {} \"$@\"",
        changed.display(),
        binary.display()
    );
    fs::write(
        &script,
        format!("#!/bin/sh\nexec unshare --mount sh -c '{mount}' sh \"$@\"\n"),
    )?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(script)
}

/// Events of made and removed cgroups that overflow the ring whatever its size up to some MB.
const CGROUPS: u32 = 40_000;

fn fill_ring(root: &Path) -> anyhow::Result<()> {
    let directory = root.join(format!("drainwatch-alerts-{}-ring", Pid::this()));
    for _ in 0..CGROUPS {
        fs::create_dir(&directory)?;
        fs::remove_dir(&directory)?;
    }
    Ok(())
}
