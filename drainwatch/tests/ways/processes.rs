//! Processes beside and instead of the one that is told to stop: threads, successors, shells, helpers.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use testkit::{Agent, Cgroup, Process};

use super::{Scene, Way, answered, codes, is, lost, script};

/// All of them.
pub const WAYS: &[(&str, Way)] = &[
    (
        "a main thread that is gone hides no stop signal",
        a_main_thread_that_is_gone_hides_no_stop_signal,
    ),
    ("a successor is nobody's drain", a_successor_is_nobodys_drain),
    (
        "a shell that dies leaves its server serving",
        a_shell_that_dies_leaves_its_server_serving,
    ),
    (
        "a helper that its server ends begins no shutdown",
        a_helper_that_its_server_ends_begins_no_shutdown,
    ),
    (
        "a server that is moved to another cgroup keeps its requests",
        a_server_that_is_moved_to_another_cgroup_keeps_its_requests,
    ),
];

fn a_main_thread_that_is_gone_hides_no_stop_signal(agent: &Agent) -> anyhow::Result<()> {
    let server = Scene::server(agent, "headless")?;
    let stat = format!("/proc/{}/stat", server.process.pid());
    testkit::within("the end of the main thread", || {
        fs::read_to_string(&stat).ok()?.contains(" Z ").then_some(())
    });
    let clients = [server.ask("/hang/1")?, server.ask("/hang/2")?];
    server.signal(Signal::SIGTERM)?;
    clients.into_iter().try_for_each(lost)?;
    let report = server.report()?;
    is("trigger", &report["trigger"], &json!("stop"), &report)?;
    is("severed", &report["severed"], &json!({"unanswered": 2}), &report)?;
    is("findings", codes(&report), vec!["no_handler"], &report)
}

fn a_successor_is_nobodys_drain(agent: &Agent) -> anyhow::Result<()> {
    let old = Scene::server(agent, "reuse")?;
    answered(&mut old.ask("/first")?)?;
    let mut command = old.cgroup.command("python3");
    command
        .arg(script("server.py"))
        .arg(old.port.number.to_string())
        .arg("reuse");
    let successor = Process::start(command)?;
    successor.line("begun")?;
    old.signal(Signal::SIGTERM)?;
    old.process.wait()?;
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        successor.check_alive()?;
        answered(&mut old.send("/second")?)?;
        thread::sleep(Duration::from_millis(50));
    }
    let report = old.report()?;
    is("verdict", &report["verdict"], &json!("clean"), &report)?;
    is("drained", &report["requests"]["drained"], &json!(0), &report)?;
    is("findings", codes(&report), vec!["handed_over"], &report)
}

fn a_shell_that_dies_leaves_its_server_serving(agent: &Agent) -> anyhow::Result<()> {
    let server = Scene::start(agent, "python3 \"$0\" \"$1\" \"$2\"; :", "server.py", "plain")?;
    let client = server.ask("/hang")?;
    server.signal(Signal::SIGTERM)?;
    server.process.wait()?;
    answered(&mut server.send("/after")?)?;
    server.kill()?;
    lost(client)?;
    let report = server.report()?;
    is("severed", &report["severed"], &json!({"unanswered": 1}), &report)?;
    is("findings", codes(&report), vec!["not_forwarded"], &report)
}

fn a_helper_that_its_server_ends_begins_no_shutdown(agent: &Agent) -> anyhow::Result<()> {
    let server = Scene::server(agent, "helper")?;
    server.signal(Signal::SIGUSR1)?;
    server.process.line("helped")?;
    for _ in 0..8 {
        answered(&mut server.send("/meanwhile")?)?;
        thread::sleep(Duration::from_millis(100));
    }
    server.signal(Signal::SIGTERM)?;
    let report = server.report()?;
    is("trigger", &report["trigger"], &json!("stop"), &report)?;
    is("verdict", &report["verdict"], &json!("clean"), &report)?;
    is("lag", &report["endpoint_lag_ms"], &Value::Null, &report)?;
    is("drained", &report["requests"]["drained"], &json!(0), &report)?;
    is("findings", codes(&report), vec![], &report)
}

fn a_server_that_is_moved_to_another_cgroup_keeps_its_requests(agent: &Agent) -> anyhow::Result<()> {
    let server = Scene::server(agent, "plain")?;
    let before = server.ask("/hang/before")?;
    let home = Cgroup::unique("ways-moved")?;
    let pid = server.process.pid().to_string();
    fs::write(home.directory().join("cgroup.procs"), pid)?;
    let after = server.ask("/hang/after")?;
    server.signal(Signal::SIGKILL)?;
    [before, after].into_iter().try_for_each(lost)?;
    let report = agent.ended_report(home.name())?;
    is("severed", &report["severed"], &json!({"unanswered": 2}), &report)
}
