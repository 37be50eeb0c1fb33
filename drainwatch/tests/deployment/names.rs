//! Nobody who is asked for names answers, each for a reason of its own: the recording goes on, the log says why,
//! and so does the doctor.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::net::UnixListener,
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use tempfile::TempDir;

use super::support::{self, Agent, Cgroup, within};

/// What the log says when an origin begins to fail.
const FAILS: &str = "workload names are unavailable";

/// A server that dies of SIGTERM is started and stopped: its report.
fn shutdown(agent: &Agent) -> serde_json::Value {
    let cgroup = Cgroup::create();
    let mut server = support::command(support::BINARY)
        .args(["demo-server", "--bad", "--cgroup"])
        .arg(&cgroup.0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("listening "));
    kill(Pid::from_raw(server.id().cast_signed()), Signal::SIGTERM).unwrap();
    server.wait().unwrap();
    within("the report", || {
        let mut reports = agent.reports(cgroup.name()).into_iter();
        reports.find(|report| !report["ended_at"].is_null())
    })
}

/// The lines of the log so far that say that an origin fails; waits until there are so many.
fn failures(agent: &Agent, said: &mut Vec<String>, count: usize) {
    within("the log", || {
        said.extend(agent.log().into_iter().filter(|line| line.contains(FAILS)));
        (said.len() >= count).then_some(())
    });
}

fn settings(command: &mut Command, docker: &str, podman: &str, bus: &str, kubeconfig: &str) {
    command.args(["--docker.socket", docker, "--podman.socket", podman]);
    command.args(["--systemd.bus", bus, "--kubernetes.kubeconfig", kubeconfig]);
    command.args(["--kubernetes.node-name", "node1"]);
}

#[test]
fn given_sockets_that_nobody_answers_and_a_kubeconfig_that_does_not_parse_then_shutdowns_are_recorded_and_each_is_said_once()
 {
    if !support::runs_here() {
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
    let mut command = support::command(support::BINARY);
    command.args(["run", "--web.listen-address", "127.0.0.1:0"]);
    settings(&mut command, &docker, &podman, &bus, &kubeconfig);
    let agent = Agent::start(command).unwrap();
    let mut said = vec![];
    failures(&agent, &mut said, 4);
    assert_eq!(shutdown(&agent)["trigger"], "stop");
    said.extend(agent.log().into_iter().filter(|line| line.contains(FAILS)));
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
    assert_eq!(agent.get("/metrics").lines().filter(up).count(), 4);
    let mut command = support::command(support::BINARY);
    command.arg("doctor");
    settings(&mut command, &docker, &podman, &bus, &kubeconfig);
    let doctor = command.output().unwrap();
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
    if !support::runs_here() {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let socket = scratch.path().join("docker.sock").display().to_string();
    let daemon = UnixListener::bind(&socket).unwrap();
    let mut command = support::command(support::BINARY);
    command.args(["run", "--web.listen-address", "127.0.0.1:0"]);
    command.args(["--podman.socket", "off", "--systemd.bus", "off"]);
    command.args(["--docker.socket", &socket]);
    let agent = Agent::start(command).unwrap();
    // It was asked, and dies before it answers.
    let asked = daemon.accept().unwrap();
    drop((asked, daemon));
    let mut said = vec![];
    failures(&agent, &mut said, 1);
    assert!(said[0].contains(&socket), "{said:?}");
    assert_eq!(shutdown(&agent)["trigger"], "stop");
    agent.get("/healthz");
    agent.get("/readyz");
}
