//! The agent's own shutdown is what it preaches: nothing lost, nobody cut, within a second.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::process::ExitStatusExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;
use tempfile::TempDir;
use testkit::{
    Agent, Cgroup, PATIENCE, Process, agent, command,
    demo::{Manners, Server},
    within,
};

use crate::{BINARY, runs_here};

const MOST: Duration = Duration::from_secs(1);

/// The good server of the demo, which drains on SIGTERM, in a cgroup of its own.
fn serve() -> (Server, Cgroup) {
    let cgroup = Cgroup::unique("deployment").unwrap();
    let server = Server::start(BINARY, Manners::Good, cgroup.directory()).unwrap();
    (server, cgroup)
}

/// The report of a shutdown that goes on.
fn under_way(agent: &Agent, cgroup: &Cgroup) -> serde_json::Value {
    within("a shutdown under way", || {
        agent.reports(cgroup.name()).unwrap().pop()
    })
}

/// Requests against an address from several threads until it is dropped; how many were answered.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    fn on(address: SocketAddr) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let threads = (0..4)
            .map(|_| {
                let (stop, answered) = (stop.clone(), answered.clone());
                thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let Ok(mut stream) = TcpStream::connect(address) else {
                            continue;
                        };
                        let mut answer = String::new();
                        let asked = write!(stream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
                        if asked.is_ok() && stream.read_to_string(&mut answer).is_ok() {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        Self {
            stop,
            answered,
            threads,
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn ask_for_metrics(stream: &mut TcpStream) {
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        .unwrap();
}

/// One whole response on a connection that stays.
fn answer(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_lowercase();
            let length = length.split("content-length: ").nth(1).expect("a length");
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if body.len() == length {
                return text;
            }
        }
        let read = stream.read(&mut buffer).expect("no reset");
        assert!(read > 0, "cut after {} bytes", bytes.len());
        bytes.extend_from_slice(&buffer[..read]);
    }
}

/// An agent that keeps its reports there.
fn run_in(state: &Path) -> std::process::Command {
    let mut run = agent::run(BINARY);
    run.arg("--state-dir").arg(state);
    run
}

#[test]
fn given_load_and_a_shutdown_under_way_when_stopped_then_nothing_is_lost_and_no_scrape_is_cut_within_a_second()
 {
    if !runs_here() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let record = dir.path().join("r.jsonl");
    let state = dir.path().join("state");
    let (server, cgroup) = serve();
    let mut run = run_in(&state);
    run.arg("--record").arg(&record);
    let agent = Agent::start(run).expect("it starts");
    let (busy, _cgroup) = serve();
    let load = Load::on(busy.address);
    within("load", || {
        (load.answered.load(Ordering::Relaxed) > 50).then_some(())
    });
    let clients: Vec<_> = (0..3).map(|_| server.ask("/?wait=10000").unwrap()).collect();
    server.signal(Signal::SIGTERM).unwrap();
    let report = under_way(&agent, &cgroup);
    let id = report["id"].as_str().unwrap();

    let mut idle = TcpStream::connect(agent.address()).unwrap();
    ask_for_metrics(&mut idle);
    answer(&mut idle);
    let mut kept = idle.try_clone().unwrap();
    let mut scraper = TcpStream::connect(agent.address()).unwrap();
    ask_for_metrics(&mut scraper);
    answer(&mut scraper);
    // What is cut now is in the ring when the agent is told to stop.
    server.signal(Signal::SIGKILL).unwrap();
    server.wait().unwrap();
    // A scraper that keeps its connection, and one that has just come: asked, and not yet read.
    ask_for_metrics(&mut scraper);
    let mut newcomer = TcpStream::connect(agent.address()).unwrap();
    ask_for_metrics(&mut newcomer);
    let (status, took) = agent.stop().unwrap();

    assert!(status.success(), "{status}; {}", agent.log());
    assert!(took < MOST, "{took:?}");
    for mut stream in [scraper, newcomer] {
        let answer = answer(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.contains("drainwatch_shutdowns_total"));
    }
    assert_eq!(kept.read(&mut [0; 1]).expect("an end, no reset"), 0);
    drop(clients);
    let replayed = command(BINARY)
        .args(["replay", "--format", "json"])
        .arg(&record)
        .output()
        .unwrap();
    let replayed: serde_json::Value = serde_json::from_slice(&replayed.stdout).unwrap();
    let stored = {
        let again = Agent::start(run_in(&state)).expect("the store opens again");
        let answer = again.get(&format!("/api/v1/shutdowns/{id}")).unwrap();
        again.stop().unwrap();
        serde_json::from_str::<serde_json::Value>(&answer).unwrap()
    };
    assert_eq!(stored["requests"]["severed"], 3, "{stored}");
    let of_it = |report: &&serde_json::Value| report["workload"]["cgroup"] == stored["workload"]["cgroup"];
    let replayed = replayed["shutdowns"]
        .as_array()
        .unwrap()
        .iter()
        .find(of_it)
        .unwrap();
    assert_eq!(replayed["requests"]["severed"], 3, "{replayed}");
}

#[test]
fn given_a_store_that_takes_seconds_when_stopped_then_it_says_so_and_is_gone_within_a_second() {
    if !runs_here() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let (library, slow) = (dir.path().join("slow.so"), dir.path().join("slow"));
    build_slow_disk(&library);
    let (server, cgroup) = serve();
    let mut run = run_in(dir.path());
    run.env("LD_PRELOAD", &library).env("SLOW_DISK", &slow);
    let agent = Agent::start(run).expect("it starts");
    fs::write(&slow, "").unwrap();
    let _client = server.ask("/?wait=10000").unwrap();
    server.signal(Signal::SIGTERM).unwrap();
    under_way(&agent, &cgroup);
    within("a flush", || {
        fs::read_to_string(&slow).unwrap().contains("flush").then_some(())
    });
    let (status, took) = agent.stop().unwrap();
    assert!(status.success(), "{status}");
    let log = agent.log();
    assert!(took < MOST, "{took:?}: {log}");
    assert!(log.contains("the store was too slow"), "{log}");
}

/// A library that, once there is a file at `$SLOW_DISK`, writes `flush` into it at each flush and takes a minute.
fn build_slow_disk(library: &Path) {
    const SOURCE: &str = r#"
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <fcntl.h>
        #include <stdlib.h>
        #include <unistd.h>
        static int flush(int fd, const char *name) {
            int slow = open(getenv("SLOW_DISK"), O_WRONLY | O_APPEND);
            if (slow >= 0) {
                (void)!write(slow, "flush", 5);
                sleep(60);
            }
            return ((int (*)(int))dlsym(RTLD_NEXT, name))(fd);
        }
        int fsync(int fd) { return flush(fd, "fsync"); }
        int fdatasync(int fd) { return flush(fd, "fdatasync"); }
    "#;
    let source = library.with_extension("c");
    fs::write(&source, SOURCE).unwrap();
    let built = command("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(library)
        .arg(source)
        .arg("-ldl")
        .status()
        .unwrap();
    assert!(built.success());
}

#[test]
fn given_two_agents_when_one_is_stopped_while_it_is_scraped_then_the_other_finds_a_clean_shutdown() {
    if !runs_here() {
        return;
    }
    let observer = Agent::start(agent::run(BINARY)).expect("it starts");
    let cgroup = Cgroup::unique("deployment").unwrap();
    let mut watched = cgroup.command(BINARY);
    watched.args(["run", "--web.listen-address", "127.0.0.1:0"]);
    let watched = Agent::start(watched).expect("it starts");
    let mut scraper = TcpStream::connect(watched.address()).unwrap();
    for _ in 0..20 {
        ask_for_metrics(&mut scraper);
        answer(&mut scraper);
        watched.get("/metrics").unwrap();
    }
    ask_for_metrics(&mut scraper);
    let mut newcomer = TcpStream::connect(watched.address()).unwrap();
    ask_for_metrics(&mut newcomer);
    let (status, took) = watched.stop().unwrap();
    assert!(status.success(), "{status}");
    assert!(took < MOST, "{took:?}");
    for mut stream in [scraper, newcomer] {
        answer(&mut stream);
    }
    let report = observer.ended_report(cgroup.name()).unwrap();
    assert_eq!(report["verdict"], "clean", "{report:#}");
    assert_eq!(report["trigger"], "stop", "{report:#}");
    assert_eq!(report["requests"]["severed"], 0, "{report:#}");
    // The two that had asked just before, as in every deploy without a preStop; and nothing worse.
    let findings = report["findings"].as_array().unwrap();
    assert!(
        findings
            .iter()
            .all(|finding| finding["code"] == "traffic_after_stop"),
        "{report:#}"
    );
}

#[test]
fn given_a_stop_during_the_start_then_it_ends_and_the_store_is_whole() {
    if !runs_here() {
        return;
    }
    let dir = TempDir::new().unwrap();
    for after_ms in [5, 20, 50, 100, 200, 400, 800] {
        let process = Process::start(run_in(dir.path())).unwrap();
        // The moment is what is tried, not something waited for.
        thread::sleep(Duration::from_millis(after_ms));
        let (status, took) = process.stop().unwrap();
        let log = process.log();
        // Before it has a handler, the default action ends it.
        let by_signal = status.signal() == Some(15);
        assert!(
            status.success() || by_signal,
            "after {after_ms} ms: {status}; {log}"
        );
        assert!(took < PATIENCE / 4, "after {after_ms} ms: {took:?}");
        assert!(!log.contains("damaged") && !log.contains("panic"), "{log}");
    }
    let agent = Agent::start(run_in(dir.path())).expect("it starts");
    assert!(!agent.log().contains("damaged"));
    assert!(agent.stop().unwrap().0.success());
    assert_eq!(
        TcpStream::connect(agent.address())
            .map_err(|why| why.kind())
            .err(),
        Some(ErrorKind::ConnectionRefused)
    );
}

#[test]
fn given_a_store_in_use_when_its_agent_stops_then_the_next_one_which_waited_starts_with_it() {
    if !runs_here() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let old = Agent::start(run_in(dir.path())).expect("it starts");
    let next = Process::start(run_in(dir.path())).unwrap();
    next.line("waiting a moment").unwrap();
    assert!(old.stop().unwrap().0.success());
    next.line("watching every workload").unwrap();
    assert!(next.stop().unwrap().0.success());
}
