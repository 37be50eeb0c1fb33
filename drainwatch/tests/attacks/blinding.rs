//! What one unprivileged process does must not hide what happens elsewhere.

use std::{
    io::Write as _,
    net::TcpStream,
    os::unix::process::CommandExt as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::ensure;
use nix::sys::signal::Signal;
use testkit::{Agent, Cgroup, Port, Process, metrics};

use crate::{agent, attacking, script};

/// Who floods: nobody in particular.
const NOBODY: u32 = 65534;
/// Services that are stopped meanwhile, and requests that each of them loses.
const SERVICES: usize = 4;
const REQUESTS: usize = 5;

struct Service {
    cgroup: Cgroup,
    process: Process,
    _clients: Vec<TcpStream>,
}

impl Service {
    fn start() -> anyhow::Result<Self> {
        let (cgroup, port) = (Cgroup::unique("attacked")?, Port::find()?);
        let mut command = cgroup.command("python3");
        command.arg(script("server.py")).arg(port.number.to_string());
        let process = Process::start(command)?;
        process.line("ready")?;
        let mut clients = Vec::new();
        for n in 0..REQUESTS {
            let mut client = TcpStream::connect(("127.0.0.1", port.number))?;
            client.write_all(format!("GET /{n} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())?;
            process.line(&format!("got /{n}"))?;
            clients.push(client);
        }
        Ok(Self {
            cgroup,
            process,
            _clients: clients,
        })
    }
}

fn flood(script: &str, way: &str) -> anyhow::Result<Process> {
    // Nobody may not read the checkout.
    let mut command = testkit::command("python3");
    command.args(["-c", script, way]).uid(NOBODY).gid(NOBODY);
    let process = Process::start(command)?;
    process.line("flooding")?;
    Ok(process)
}

fn services() -> anyhow::Result<Vec<Service>> {
    (0..SERVICES).map(|_| Service::start()).collect()
}

/// Everything that is cut meanwhile is told, and the agent answers its probes at once.
fn hides_nothing(agent: &Agent, way: &str) -> anyhow::Result<()> {
    let services = services()?;
    let flood = flood(include_str!("flood.py"), way)?;
    let mut fastest = Duration::MAX;
    for service in &services {
        service.process.signal(Signal::SIGTERM)?;
        let asked = Instant::now();
        agent.get("/healthz")?;
        fastest = fastest.min(asked.elapsed());
        thread::sleep(Duration::from_millis(50));
    }
    // Each was answered; how fast one may be says what the flood costs, others what else the machine does.
    ensure!(
        fastest < Duration::from_secs(1),
        "{way}: /healthz took {fastest:?}"
    );
    for service in &services {
        let report = agent.ended_report(service.cgroup.name())?;
        let seen = (
            &report["trigger"],
            &report["verdict"],
            &report["requests"]["severed"],
        );
        ensure!(
            seen == (&"stop".into(), &"severed".into(), &REQUESTS.into()),
            "{way}: {report:#}"
        );
        ensure!(report["events_lost"] == 0, "{way}: {report:#}");
    }
    drop(flood);
    let exposed = agent.get("/metrics")?;
    let lost = metrics::series(&exposed).into_iter().find(|series| {
        series.name == "drainwatch_kernel_events_lost_total" && series.labels["reason"] == "ring_full"
    });
    ensure!(
        lost.is_some_and(|lost| lost.value < 0.5),
        "{way}: the ring was full"
    );
    let left_out = metrics::sum(&exposed, "drainwatch_signals_left_out_total");
    ensure!(left_out > 1000.0, "{way}: {left_out} signals were left out");
    Ok(())
}

#[test]
fn given_a_flood_of_signals_that_change_nothing_then_what_is_cut_elsewhere_is_told_all_the_same() {
    let _attack = attacking();
    let Some(agent) = agent(&[]) else { return };
    for way in ["ignored", "handled", "child"] {
        hides_nothing(&agent, way).unwrap();
    }
}

#[test]
fn given_a_crowd_that_closes_connections_all_the_time_when_others_close_theirs_and_end_then_all_they_cut_is_told()
 {
    let _attack = attacking();
    let Some(agent) = agent(&[]) else { return };
    let services = services().unwrap();
    // More than there were places for when each process pushed out what was oldest.
    let _closers = flood(include_str!("closers.py"), "40").unwrap();
    for service in &services {
        service.process.signal(Signal::SIGUSR1).unwrap();
    }
    for service in &services {
        let report = agent.ended_report(service.cgroup.name()).unwrap();
        assert_eq!(report["trigger"], "exit", "{report:#}");
        assert_eq!(report["requests"]["severed"], REQUESTS, "{report:#}");
    }
}

#[test]
fn given_connections_that_the_kernel_had_no_room_to_record_then_their_owners_end_in_doubt_and_nobody_else() {
    let _attack = attacking();
    let Some(agent) = agent(&[]) else { return };
    let other = Service::start().unwrap();
    let cgroup = Cgroup::unique("unrecorded").unwrap();
    let mut command = cgroup.command("unshare");
    command.args([
        "--net",
        "sh",
        "-c",
        "ip link set lo up; exec python3 \"$@\"",
        "sh",
    ]);
    command.arg(script("server.py")).args(["9000", "1000"]);
    let server = Process::start(command).unwrap();
    server.line("got /unseen").unwrap();
    // Long after its connections were made: what was counted then is no news by now.
    thread::sleep(Duration::from_secs(3));
    other.process.signal(Signal::SIGTERM).unwrap();
    let report = agent.ended_report(other.cgroup.name()).unwrap();
    assert_eq!(report["verdict"], "severed", "{report:#}");
    assert_eq!(report["unknown_reasons"], serde_json::json!({}), "{report:#}");
    server.signal(Signal::SIGTERM).unwrap();
    let report = agent.ended_report(cgroup.name()).unwrap();
    assert_eq!(report["verdict"], "unknown", "{report:#}");
    assert!(
        report["unknown_reasons"]["no_storage"].as_u64().is_some(),
        "{report:#}"
    );
}
