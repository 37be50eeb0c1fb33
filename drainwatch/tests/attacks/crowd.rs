//! Many workloads that are stopped at once: no limit of the agent may make one of them look clean.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use testkit::{Agent, Cgroup, Process, metrics};

use crate::{agent, alone, attacking, script};

/// Servers, each with one request in flight: more than the agent follows at once. `CROWD` of the environment says another
/// number; `cargo xtask torture` does.
const CROWD: usize = 700;
/// What is listed at most.
const LISTED: usize = 1000;
/// How long they may take altogether, linger included.
const WITHIN: Duration = Duration::from_mins(3);

fn crowd() -> usize {
    let asked = std::env::var("CROWD").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(CROWD).min(LISTED)
}

/// Verdicts of the ended reports of servers below this cgroup, and the severed requests in them.
fn told(agent: &Agent, below: &str) -> anyhow::Result<(BTreeMap<String, usize>, u64)> {
    let listed: serde_json::Value =
        serde_json::from_str(&agent.get(&format!("/api/v1/shutdowns?limit={LISTED}"))?)?;
    let reports = listed["shutdowns"].as_array().into_iter().flatten();
    let (mut verdicts, mut severed) = (BTreeMap::new(), 0);
    for report in reports.filter(|report| !report["ended_at"].is_null()) {
        let cgroup = report["workload"]["cgroup"].as_str().unwrap_or_default();
        if cgroup.split('/').any(|part| part == below) {
            let verdict = report["verdict"].as_str().unwrap_or_default();
            *verdicts.entry(verdict.to_owned()).or_default() += 1;
            severed += report["requests"]["severed"].as_u64().unwrap_or(0);
        }
    }
    Ok((verdicts, severed))
}

#[test]
fn given_hundreds_of_workloads_stopped_at_once_then_none_of_them_is_called_clean() {
    let _attack = attacking();
    let Some(agent) = agent(&[]) else { return };
    let crowd = crowd();
    let cgroup = Cgroup::unique("crowd").unwrap();
    let mut command = testkit::command("python3");
    command
        .arg(script("crowd.py"))
        .arg(cgroup.directory())
        .arg(crowd.to_string());
    let servers = Process::start(command).unwrap();
    servers.line("ready").unwrap();
    servers.signal(Signal::SIGUSR1).unwrap();
    servers.line("stopped").unwrap();
    let began = Instant::now();
    let (verdicts, severed) = loop {
        // One that is busy with all of them may be late with an answer.
        if let Ok((verdicts, severed)) = told(&agent, cgroup.name())
            && verdicts.values().sum::<usize>() >= crowd
        {
            break (verdicts, severed);
        }
        assert!(began.elapsed() < WITHIN, "{:?}", told(&agent, cgroup.name()));
        thread::sleep(Duration::from_millis(250));
    };
    let of = |verdict: &str| verdicts.get(verdict).copied().unwrap_or(0);
    let counted = metrics::sum(
        &agent.get("/metrics").unwrap(),
        "drainwatch_severed_requests_total",
    );
    println!(
        "{crowd} stopped at once: {verdicts:?}, {severed} severed requests in reports, {counted} in metrics"
    );
    assert_eq!(of("severed") + of("unknown"), crowd, "{verdicts:?}");
    assert!(
        of("unknown") as u64 + severed >= crowd as u64,
        "{severed}: {verdicts:?}"
    );
}

#[test]
fn given_thousands_of_short_processes_then_the_agent_is_told_of_none_of_them() {
    let _alone = alone();
    let Some(agent) = agent(&[]) else { return };
    let told = || metrics::sum(&agent.get("/metrics").unwrap(), "drainwatch_kernel_events_total");
    let cgroup = Cgroup::unique("short").unwrap();
    let before = told();
    let mut shell = cgroup.command("sh");
    shell.args(["-c", "n=0; while [ $n -lt 2000 ]; do /bin/true; n=$((n+1)); done"]);
    let shell = Process::start(shell).unwrap();
    assert!(shell.wait().unwrap().success());
    // The cgroup, the shell itself, and what else happens on the machine meanwhile.
    let more = told() - before;
    assert!(more < 200.0, "{more} events of 2000 processes");
}
