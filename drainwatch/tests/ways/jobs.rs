//! Jobs: nobody asks them for anything, and they are stopped in the middle of their work.

use std::{thread, time::Duration};

use anyhow::ensure;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use testkit::Agent;

use super::{Scene, Way, codes, exit_of, is, lost};

/// All of them.
pub const WAYS: &[(&str, Way)] = &[
    (
        "a job that burns is killed first",
        a_job_that_burns_is_killed_first,
    ),
    ("a job that burns has no handler", a_job_that_burns_has_no_handler),
    (
        "a job that sleeps has no handler",
        a_job_that_sleeps_has_no_handler,
    ),
    (
        "a job that waits for a child is killed",
        a_job_that_waits_for_a_child_is_killed,
    ),
    (
        "a job that handles its stop signal is clean",
        a_job_that_handles_its_stop_signal_is_clean,
    ),
    ("a limit of CPU time is no OOM", a_limit_of_cpu_time_is_no_oom),
];

fn unknown_job(report: &Value) -> anyhow::Result<()> {
    is("verdict", &report["verdict"], &json!("unknown"), report)?;
    is("reasons", &report["unknown_reasons"], &json!({"job": 1}), report)
}

fn a_job_that_burns_is_killed_first(agent: &Agent) -> anyhow::Result<()> {
    for way in ["burn", "threads"] {
        let job = Scene::job(agent, way)?;
        // The scheduler's average has to grow.
        thread::sleep(Duration::from_millis(500));
        job.signal(Signal::SIGKILL)?;
        let report = job.report()?;
        unknown_job(&report)?;
        is("trigger", &report["trigger"], &json!("kill"), &report)?;
        is(
            "findings",
            codes(&report),
            vec!["busy_when_killed", "no_grace"],
            &report,
        )?;
    }
    Ok(())
}

fn a_job_that_burns_has_no_handler(agent: &Agent) -> anyhow::Result<()> {
    let job = Scene::job(agent, "burn")?;
    thread::sleep(Duration::from_millis(500));
    job.signal(Signal::SIGTERM)?;
    let report = job.report()?;
    unknown_job(&report)?;
    is("trigger", &report["trigger"], &json!("stop"), &report)?;
    is(
        "findings",
        codes(&report),
        vec!["no_handler", "busy_when_killed"],
        &report,
    )
}

fn a_job_that_sleeps_has_no_handler(agent: &Agent) -> anyhow::Result<()> {
    let job = Scene::job(agent, "sleep")?;
    thread::sleep(Duration::from_millis(500));
    job.signal(Signal::SIGTERM)?;
    let report = job.report()?;
    unknown_job(&report)?;
    is("findings", codes(&report), vec!["no_handler"], &report)?;
    let exit = exit_of(&report);
    ensure!(
        exit.starts_with("SIGTERM, at work ") && !exit.contains("child"),
        "{exit}"
    );
    Ok(())
}

fn a_job_that_waits_for_a_child_is_killed(agent: &Agent) -> anyhow::Result<()> {
    let job = Scene::job(agent, "child")?;
    job.kill()?;
    let report = job.report()?;
    unknown_job(&report)?;
    let exit = exit_of(&report);
    // The child may be gone before its parent.
    ensure!(exit.starts_with("SIGKILL, at work "), "{exit}");
    let job = Scene::job(agent, "child")?;
    job.signal(Signal::SIGKILL)?;
    job.process.wait()?;
    job.kill()?;
    let report = job.report()?;
    ensure!(
        exit_of(&report).ends_with(", its child sleep running"),
        "{}",
        exit_of(&report)
    );
    Ok(())
}

fn a_job_that_handles_its_stop_signal_is_clean(agent: &Agent) -> anyhow::Result<()> {
    let job = Scene::job(agent, "drain")?;
    job.signal(Signal::SIGTERM)?;
    let report = job.report()?;
    is("verdict", &report["verdict"], &json!("clean"), &report)
}

fn a_limit_of_cpu_time_is_no_oom(agent: &Agent) -> anyhow::Result<()> {
    let server = Scene::server(agent, "cpu")?;
    lost(server.ask("/hang")?)?;
    let report = server.report()?;
    is("trigger", &report["trigger"], &json!("kill"), &report)?;
    is("severed", &report["severed"], &json!({"unanswered": 1}), &report)?;
    is("findings", codes(&report), vec!["no_grace"], &report)
}
