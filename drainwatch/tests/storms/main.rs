//! Thousands of connections whose server is killed at once, and rings that run full: what was told and what was lost is
//! what there was, and the agent is itself again afterwards.
//!
//! `CONNECTIONS` of the environment says how many; `cargo xtask torture` asks for more than the test command does.

mod crowd;
#[path = "../restart/place.rs"]
#[expect(dead_code, reason = "agents do not come and go here")]
mod place;

use std::{
    env, fs, thread,
    time::{Duration, Instant},
};

use nix::sys::signal::{Signal, kill};
use testkit::{Agent, Cgroup, cgroup, metrics, runs_here, within};

use crowd::Crowd;
use place::{BINARY, Place};

/// Less than a ring holds.
const CONNECTIONS: usize = 6_000;
/// Servers among which they are divided.
const SERVERS: usize = 4;

#[test]
fn given_thousands_of_requests_in_flight_when_their_servers_are_killed_at_once_then_each_is_told_and_none_lost()
 {
    let Some((_place, agent)) = watched() else {
        return;
    };
    let crowd = Crowd::gather(connections(), SERVERS);
    let before = Load::of(&agent);
    let began = Instant::now();
    crowd.kill();
    let most = Load::most_until(&agent, || agent.ended_report(crowd.name()).ok());
    let took = began.elapsed();
    let report = agent.ended_report(crowd.name()).unwrap();
    is_idle(&agent);
    let after = Load::of(&agent);
    println!(
        "{} connections: {} severed, {} lost, {took:?} until the report; memory {} KiB before, {} at most, {} after, and {} KiB of code",
        connections(),
        report["requests"]["severed"],
        report["events_lost"],
        before.memory_kib,
        most,
        after.memory_kib,
        after.code_kib,
    );
    assert_eq!(crowd.cut(), connections(), "what clients saw");
    assert_eq!(report["requests"]["severed"], connections(), "{}", brief(&report));
    assert_eq!(report["requests"]["unknown"], 0, "{}", brief(&report));
    assert_eq!(report["events_lost"], 0, "{}", brief(&report));
    assert!(most < 40 * 1024, "{most} KiB at most, code apart");
    let kept = after.memory_kib.saturating_sub(before.memory_kib);
    assert!(kept < 8 * 1024, "{kept} KiB more than before");
}

#[test]
fn given_an_agent_that_is_stopped_while_thousands_of_requests_are_cut_then_it_tells_each_of_them_later() {
    let Some((_place, agent)) = watched() else {
        return;
    };
    let crowd = Crowd::gather(connections(), SERVERS);
    kill(agent.pid(), Signal::SIGSTOP).unwrap();
    crowd.kill();
    assert_eq!(crowd.cut(), connections(), "what clients saw");
    kill(agent.pid(), Signal::SIGCONT).unwrap();
    let report = agent.ended_report(crowd.name()).unwrap();
    println!(
        "{} connections while the agent is stopped: {} severed, {} lost",
        connections(),
        report["requests"]["severed"],
        report["events_lost"],
    );
    assert_eq!(report["requests"]["severed"], connections(), "{}", brief(&report));
    assert_eq!(report["events_lost"], 0, "{}", brief(&report));
}

#[test]
fn given_a_ring_that_runs_full_while_the_agent_is_stopped_then_what_is_told_and_what_is_lost_is_all_there_was()
 {
    let Some((_place, agent)) = watched() else {
        return;
    };
    let crowd = Crowd::gather(connections(), SERVERS);
    kill(agent.pid(), Signal::SIGSTOP).unwrap();
    let filled = fill_the_ring();
    crowd.kill();
    assert_eq!(crowd.cut(), connections(), "what clients saw");
    kill(agent.pid(), Signal::SIGCONT).unwrap();
    let report = agent.ended_report(crowd.name()).unwrap();
    let exposed = agent.get("/metrics").unwrap();
    let lost = metrics::sum(&exposed, "drainwatch_kernel_events_lost_total");
    println!(
        "{} connections, {filled} cgroups: {} severed, {} lost, {lost} in all",
        connections(),
        report["requests"]["severed"],
        report["events_lost"],
    );
    let told = report["requests"]["severed"].as_u64().unwrap();
    let missing = report["events_lost"].as_u64().unwrap();
    assert!(told + missing >= connections() as u64, "{}", brief(&report));
    if told < connections() as u64 {
        assert!(missing > 0, "{}", brief(&report));
    }
    is_idle(&agent);
}

#[test]
fn given_cgroups_that_came_while_the_ring_was_full_then_they_have_their_names_and_those_that_went_are_gone() {
    let Some((_place, agent)) = watched() else {
        return;
    };
    let gone = Crowd::gather(2, 1);
    kill(agent.pid(), Signal::SIGSTOP).unwrap();
    fill_the_ring();
    let late = Crowd::gather(3, 1);
    gone.kill();
    kill(agent.pid(), Signal::SIGCONT).unwrap();
    agent.line("came or went unseen").unwrap();
    is_idle(&agent);
    late.kill();
    let report = agent.ended_report(late.name()).unwrap();
    assert_eq!(
        report["workload"]["name"]
            .as_str()
            .unwrap()
            .trim_start_matches('/'),
        late.name(),
        "its path is its name: {}",
        brief(&report)
    );
    assert_eq!(report["requests"]["severed"], 3, "{}", brief(&report));
    // No shutdown waits for what nobody will tell.
    within("every shutdown to end", || {
        let shutdowns = agent.shutdowns().unwrap();
        shutdowns
            .iter()
            .all(|report| !report["ended_at"].is_null())
            .then_some(())
    });
    for report in agent.reports(gone.name()).unwrap() {
        assert_ne!(
            report["verdict"],
            "clean",
            "its requests were cut: {}",
            brief(&report)
        );
    }
    is_idle(&agent);
}

/// An agent and what it needs; nothing where none runs.
fn watched() -> Option<(Place, Agent)> {
    runs_here(BINARY).then(|| {
        let place = Place::new("1s");
        let agent = place.start();
        (place, agent)
    })
}

fn connections() -> usize {
    env::var("CONNECTIONS")
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(CONNECTIONS)
}

/// Cgroups that come and go until the ring has no room for more of them. Says how many.
fn fill_the_ring() -> usize {
    // Each is two entries of 552 bytes.
    const ENOUGH: usize = 32 * 1024 * 1024 / (2 * 552) + 1000;
    let parent = Cgroup::unique("full").unwrap();
    let child = parent.directory().join("child");
    for _ in 0..ENOUGH {
        fs::create_dir(&child).unwrap();
        fs::remove_dir(&child).unwrap();
    }
    ENOUGH
}

/// The agent uses no time, once it has done what there was to do.
fn is_idle(agent: &Agent) {
    within("the agent to be idle", || {
        let before = Load::of(agent).ticks;
        thread::sleep(Duration::from_secs(1));
        // A hundredth of a second each; the last report's linger may end in between.
        (Load::of(agent).ticks - before <= 2).then_some(())
    });
}

/// What an agent takes.
struct Load {
    /// Memory that is its own, and the ring's.
    memory_kib: u64,
    /// Pages of its binary.
    code_kib: u64,
    /// Time used, in ticks of the kernel's clock.
    ticks: u64,
}

impl Load {
    fn of(agent: &Agent) -> Self {
        let of_process = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", agent.pid())).unwrap();
        let maps = of_process("smaps");
        let (mut memory_kib, mut code_kib, mut of_binary) = (0, 0, false);
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let first = words.next().unwrap_or_default();
            if first == "Rss:" {
                let kib: u64 = words.next().unwrap().parse().unwrap();
                *(if of_binary { &mut code_kib } else { &mut memory_kib }) += kib;
            } else if first.contains('-') {
                // A file of the file system: code, and shared libraries.
                of_binary = words.last().is_some_and(|name| name.starts_with('/'));
            }
        }
        let stat = of_process("stat");
        let (_, after_name) = stat.rsplit_once(')').unwrap();
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let number = |index: usize| fields[index].parse::<u64>().unwrap();
        Self {
            memory_kib,
            code_kib,
            ticks: number(11) + number(12),
        }
    }

    /// The most memory until `done`, in KiB.
    fn most_until<T: Send>(agent: &Agent, done: impl FnOnce() -> T + Send) -> u64 {
        thread::scope(|scope| {
            let waits = scope.spawn(done);
            let mut most = 0;
            while !waits.is_finished() {
                most = most.max(Self::of(agent).memory_kib);
                thread::sleep(Duration::from_millis(20));
            }
            most
        })
    }
}

fn brief(report: &serde_json::Value) -> String {
    let mut report = report.clone();
    report["severed_requests"] = serde_json::Value::Null;
    report["timeline"] = serde_json::Value::Null;
    report.to_string()
}

/// Kills everything in a cgroup.
fn kill_all(of: &Cgroup) {
    cgroup::kill(of.directory()).unwrap();
}
