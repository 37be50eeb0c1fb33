//! Nobody who is asked for names answers, each for a reason of its own: the recording goes on, the log says why,
//! and so does the doctor.

use std::{fs, os::unix::net::UnixListener, process::Command};

use tempfile::TempDir;
use testkit::{
    Agent, Cgroup, agent, command,
    demo::{Manners, Server},
    within,
};

use crate::{BINARY, runs_here};

/// What the log says when an origin begins to fail.
const FAILS: &str = "workload names are unavailable";

/// A server that dies of SIGTERM is started and stopped: its report.
fn shutdown(agent: &Agent) -> serde_json::Value {
    let cgroup = Cgroup::unique("deployment").unwrap();
    let server = Server::start(BINARY, Manners::Bad, cgroup.directory()).unwrap();
    server.stop().unwrap();
    agent.ended_report(cgroup.name()).unwrap()
}

/// The lines of the log that say that an origin fails, once there are so many.
fn failures(agent: &Agent, count: usize) -> Vec<String> {
    within("the log", || {
        let said = agent.lines(FAILS);
        (said.len() >= count).then_some(said)
    })
}

fn settings(command: &mut Command, docker: &str, podman: &str, bus: &str, kubeconfig: &str) {
    command.args(["--docker.socket", docker, "--podman.socket", podman]);
    command.args(["--systemd.bus", bus, "--kubernetes.kubeconfig", kubeconfig]);
    command.args(["--kubernetes.node-name", "node1"]);
}

#[test]
fn given_sockets_that_nobody_answers_and_a_kubeconfig_that_does_not_parse_then_shutdowns_are_recorded_and_each_is_said_once()
 {
    if !runs_here() {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let path = |name: &str| scratch.path().join(name).display().to_string();
    let (docker, podman) = (path("docker.sock"), path("podman.sock"));
    let (bus, kubeconfig) = (path("bus"), path("kubeconfig"));
    // Docker's was there once, Podman's is a directory, the bus was never there.
    drop(UnixListener::bind(&docker).unwrap());
    fs::create_dir(&podman).unwrap();
    fs::write(&kubeconfig, "{ clusters: [").unwrap();
    let mut run = agent::run(BINARY);
    settings(&mut run, &docker, &podman, &bus, &kubeconfig);
    let agent = Agent::start(run).unwrap();
    failures(&agent, 4);
    assert_eq!(shutdown(&agent)["trigger"], "stop");
    let said = agent.lines(FAILS);
    let because = [
        ("docker", &docker, "nothing listens"),
        ("podman", &podman, "is not a socket"),
        ("systemd", &bus, "there is no"),
        ("kubernetes", &kubeconfig, "failed to parse kubeconfig"),
    ];
    for (origin, path, why) in because {
        let of = |line: &&String| line.contains(&format!("origin=\"{origin}\""));
        let lines: Vec<_> = said.iter().filter(of).collect();
        assert_eq!(lines.len(), 1, "{origin}: {said:#?}");
        assert!(
            lines[0].contains(path.as_str()) && lines[0].contains(why),
            "{lines:#?}"
        );
    }
    let up = |line: &&str| line.starts_with("drainwatch_names_up{") && line.ends_with(" 0");
    assert_eq!(agent.get("/metrics").unwrap().lines().filter(up).count(), 4);
    let mut doctor = command(BINARY);
    doctor.arg("doctor");
    settings(&mut doctor, &docker, &podman, &bus, &kubeconfig);
    let doctor = doctor.output().unwrap();
    let shown = String::from_utf8(doctor.stdout).unwrap();
    // Without its line breaks.
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    for (origin, path, why) in because {
        assert!(
            shown.contains(path.as_str()) && shown.contains(why),
            "{origin}: {shown}"
        );
    }
}

#[test]
fn given_a_daemon_that_dies_under_a_running_agent_then_shutdowns_are_recorded_and_the_log_says_so() {
    if !runs_here() {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let socket = scratch.path().join("docker.sock").display().to_string();
    let daemon = UnixListener::bind(&socket).unwrap();
    let mut run = agent::run(BINARY);
    run.args(["--podman.socket", "off", "--systemd.bus", "off"]);
    run.args(["--docker.socket", &socket]);
    let agent = Agent::start(run).unwrap();
    // It was asked, and dies before it answers.
    let asked = daemon.accept().unwrap();
    drop((asked, daemon));
    let said = failures(&agent, 1);
    assert!(said[0].contains(&socket), "{said:?}");
    assert_eq!(shutdown(&agent)["trigger"], "stop");
    agent.get("/healthz").unwrap();
    agent.get("/readyz").unwrap();
}
