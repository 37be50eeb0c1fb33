//! Ways to be stopped, and things that are stopped, which the ledger's servers do not take: jobs, processes without a
//! main thread, successors, shells, a workload's connections with itself. What clients saw is the oracle here too.

use std::{
    fmt::Debug,
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use testkit::{Agent, Cgroup, Port, Process, agent, cgroup, runs_here};

const BINARY: &str = env!("CARGO_BIN_EXE_drainwatch");

/// A program in a cgroup of its own, watched by an agent.
struct Scene<'a> {
    agent: &'a Agent,
    cgroup: Cgroup,
    port: Port,
    process: Process,
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/ways")
        .join(name)
}

impl<'a> Scene<'a> {
    /// A job, at work.
    fn job(agent: &'a Agent, way: &str) -> anyhow::Result<Self> {
        Self::start(agent, "exec python3 \"$0\" \"$2\"", "job.py", way)
    }

    /// A server that listens.
    fn server(agent: &'a Agent, way: &str) -> anyhow::Result<Self> {
        Self::start(agent, "exec python3 \"$0\" \"$1\" \"$2\"", "server.py", way)
    }

    /// A shell does this with the script, the port and the way.
    fn start(agent: &'a Agent, shell: &str, name: &str, way: &str) -> anyhow::Result<Self> {
        let (cgroup, port) = (Cgroup::unique("ways")?, Port::find()?);
        let mut command = cgroup.command("sh");
        command
            .args(["-c", shell])
            .arg(script(name))
            .arg(port.number.to_string())
            .arg(way);
        let process = Process::start(command)?;
        process.line("begun")?;
        Ok(Self {
            agent,
            cgroup,
            port,
            process,
        })
    }

    /// Asks, and waits until the server has the request.
    fn ask(&self, path: &str) -> anyhow::Result<TcpStream> {
        let client = self.send(path)?;
        self.process.line(&format!("got {path}"))?;
        Ok(client)
    }

    fn send(&self, path: &str) -> anyhow::Result<TcpStream> {
        let mut client = TcpStream::connect(("127.0.0.1", self.port.number)).with_context(|| {
            let port = self.port.number;
            let sockets = Command::new("ss")
                .args(["-tanp", "sport", "=", &port.to_string()])
                .output();
            let sockets = sockets.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            format!("{path} to port {port}, where there are: {sockets:?}")
        })?;
        client.set_read_timeout(Some(Duration::from_secs(20)))?;
        client.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())?;
        Ok(client)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process.signal(signal)
    }

    /// SIGKILL to all that is left.
    fn kill(&self) -> anyhow::Result<()> {
        Ok(cgroup::kill(self.cgroup.directory())?)
    }

    fn report(&self) -> anyhow::Result<Value> {
        self.agent.ended_report(self.cgroup.name())
    }
}

/// How many bytes came until the server's end of the connection was gone.
fn lost(mut client: TcpStream) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    // A reset is an end too.
    let _ = client.read_to_end(&mut bytes);
    ensure!(bytes.is_empty(), "the client got an answer: {bytes:?}");
    Ok(())
}

fn answered(client: &mut TcpStream) -> anyhow::Result<()> {
    let mut bytes = [0; 1024];
    let count = client.read(&mut bytes)?;
    ensure!(count > 0, "the client got no answer");
    Ok(())
}

fn codes(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().into_iter().flatten();
    findings.filter_map(|finding| finding["code"].as_str()).collect()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is called with what was just made"
)]
fn is<T: PartialEq + Debug>(what: &str, seen: T, wanted: T, report: &Value) -> anyhow::Result<()> {
    ensure!(
        seen == wanted,
        "{what}: {seen:?} instead of {wanted:?} in {report:#}"
    );
    Ok(())
}

/// What the timeline says of the exit of the main process.
fn exit_of(report: &Value) -> &str {
    let mut moments = report["timeline"].as_array().into_iter().flatten();
    let exit = moments.find(|moment| moment["what"] == "exit" && moment["pid"] == report["exit"]["pid"]);
    exit.and_then(|exit| exit["detail"].as_str()).unwrap_or_default()
}

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

fn what_was_sent_before_the_stop_signal_and_read_after_it_is_no_lag(agent: &Agent) -> anyhow::Result<()> {
    let server = Scene::server(agent, "slow")?;
    let mut clients = Vec::new();
    for number in 1..=4 {
        clients.push(server.send(&format!("/{number}"))?);
    }
    server.signal(Signal::SIGTERM)?;
    clients.iter_mut().try_for_each(answered)?;
    let report = server.report()?;
    is("verdict", &report["verdict"], &json!("clean"), &report)?;
    is("drained", &report["requests"]["drained"], &json!(4), &report)?;
    is("lag", &report["endpoint_lag_ms"], &Value::Null, &report)?;
    is("findings", codes(&report), vec![], &report)
}

fn a_workloads_connections_with_itself_are_nobodys_requests(agent: &Agent) -> anyhow::Result<()> {
    let server = Scene::server(agent, "front")?;
    let client = server.ask("/hang")?;
    // The worker has it too.
    server.process.line("got /hang")?;
    testkit::within("the worker's word", || {
        (server.process.lines("got /hang").len() == 2).then_some(())
    });
    server.kill()?;
    lost(client)?;
    let report = server.report()?;
    is("severed", &report["severed"], &json!({"unanswered": 1}), &report)?;
    is(
        "role",
        &report["severed_requests"][0]["role"],
        &json!("server"),
        &report,
    )?;
    let others = ["aborted", "unknown", "opaque"].map(|outcome| &report["requests"][outcome]);
    is("others", others, [&json!(0); 3], &report)
}

fn a_client_that_closes_its_sending_side_still_waits(agent: &Agent) -> anyhow::Result<()> {
    let server = Scene::server(agent, "plain")?;
    let waits = server.send("/hang/waits")?;
    waits.shutdown(Shutdown::Write)?;
    server.process.line("got /hang/waits")?;
    let leaves = server.ask("/hang/leaves")?;
    // Who gives up does so after a while.
    thread::sleep(Duration::from_millis(200));
    drop(leaves);
    thread::sleep(Duration::from_millis(200));
    server.signal(Signal::SIGKILL)?;
    lost(waits)?;
    let report = server.report()?;
    is("severed", &report["severed"], &json!({"unanswered": 1}), &report)?;
    is(
        "path",
        &report["severed_requests"][0]["path"],
        &json!("/hang/waits"),
        &report,
    )?;
    is("aborted", &report["requests"]["aborted"], &json!(1), &report)
}

fn a_request_that_comes_too_late_is_lost_though_nobody_asked_for_the_end(
    agent: &Agent,
) -> anyhow::Result<()> {
    let server = Scene::server(agent, "leaves")?;
    let mut early = server.send("/1")?;
    let mut late = server.send("/1")?;
    answered(&mut early)?;
    answered(&mut late)?;
    server.signal(Signal::SIGUSR1)?;
    server.process.line("closed")?;
    let again = b"GET /2 HTTP/1.1\r\nHost: x\r\n\r\n";
    early.write_all(again)?;
    server.process.wait()?;
    late.write_all(again)?;
    lost(early)?;
    lost(late)?;
    let report = server.report()?;
    is("trigger", &report["trigger"], &json!("exit"), &report)?;
    is("severed", &report["severed"], &json!({"late": 2}), &report)?;
    is("Unix sockets", &report["unix_sockets"], &json!(false), &report)?;
    is("findings", codes(&report), vec!["keepalive_race"], &report)
}

fn a_connection_that_somebody_else_destroys_was_cut_by_neither_side(agent: &Agent) -> anyhow::Result<()> {
    let server = Scene::server(agent, "goes_on")?;
    let [destroyed, cut] = [server.ask("/hang/destroyed")?, server.ask("/hang/cut")?];
    server.signal(Signal::SIGTERM)?;
    server.process.line("told")?;
    let client = destroyed.local_addr()?.port();
    let ss = Command::new("ss")
        .args([
            "-K",
            "state",
            "established",
            "sport",
            "=",
            &server.port.number.to_string(),
        ])
        .args(["dport", "=", &client.to_string()])
        .output()?;
    ensure!(ss.status.success(), "ss: {ss:?}");
    lost(destroyed)?;
    server.kill()?;
    lost(cut)?;
    let report = server.report()?;
    is("Unix sockets", &report["unix_sockets"], &json!(true), &report)?;
    is("destroyed", &report["requests"]["destroyed"], &json!(1), &report)?;
    is("severed", &report["severed"], &json!({"unanswered": 1}), &report)?;
    is(
        "path",
        &report["severed_requests"][0]["path"],
        &json!("/hang/cut"),
        &report,
    )
}

type Way = fn(&Agent) -> anyhow::Result<()>;

const WAYS: &[(&str, Way)] = &[
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
        "what was sent before the stop signal and read after it is no lag",
        what_was_sent_before_the_stop_signal_and_read_after_it_is_no_lag,
    ),
    (
        "a workload's connections with itself are nobody's requests",
        a_workloads_connections_with_itself_are_nobodys_requests,
    ),
    (
        "a client that closes its sending side still waits",
        a_client_that_closes_its_sending_side_still_waits,
    ),
    (
        "a request that comes too late is lost though nobody asked for the end",
        a_request_that_comes_too_late_is_lost_though_nobody_asked_for_the_end,
    ),
    (
        "a connection that somebody else destroys was cut by neither side",
        a_connection_that_somebody_else_destroys_was_cut_by_neither_side,
    ),
];

#[test]
fn given_a_way_to_be_stopped_when_it_is_taken_then_the_report_says_what_clients_saw() {
    if !runs_here(BINARY) {
        // Without root no agent runs; that it then refuses is the command line's own test.
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("drainwatch.toml");
    fs::write(&config, "[shutdown]\nlinger = \"1s\"\n").unwrap();
    let mut run = agent::run(BINARY);
    run.arg("--config").arg(&config);
    let agent = Agent::start(run).context("no agent").unwrap();
    let failed: Vec<String> = thread::scope(|scope| {
        let agent = &agent;
        let ways: Vec<_> = WAYS
            .iter()
            .map(|(name, way)| (name, scope.spawn(move || way(agent))))
            .collect();
        let ended = ways.into_iter().map(|(name, way)| (name, way.join()));
        ended
            .filter_map(|(name, ended)| match ended {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{name}: {error:#}")),
                Err(_) => Some(format!("{name}: panicked")),
            })
            .collect()
    });
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
