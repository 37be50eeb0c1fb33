//! The agent's own shutdown is what it preaches: nothing lost, nobody cut, within a second.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::support::{Agent, BINARY, Cgroup, PATIENCE, command, lines, runs_here, within};

const MOST: Duration = Duration::from_secs(1);

/// The good server of the demo, in a cgroup of its own: drains on SIGTERM. Killed when dropped.
struct Server {
    child: Child,
    lines: mpsc::Receiver<String>,
    address: String,
    cgroup: Cgroup,
}

impl Server {
    fn start() -> Self {
        let cgroup = Cgroup::create();
        let mut child = command(BINARY)
            .args(["demo-server", "--good", "--cgroup"])
            .arg(&cgroup.0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines(child.stdout.take().unwrap());
        let line = lines.recv_timeout(PATIENCE).expect("it listens");
        let address = line.strip_prefix("listening ").unwrap().to_owned();
        Self {
            child,
            lines,
            address,
            cgroup,
        }
    }

    /// A request that it has read and answers only in `wait` ms.
    fn ask(&self, wait: u64) -> TcpStream {
        while self.lines.try_recv().is_ok() {}
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET /?wait={wait} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        self.lines.recv_timeout(PATIENCE).expect("it reads the request");
        stream
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Requests against an address from several threads until it is dropped; how many were answered.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    fn on(address: &str) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let threads = (0..4)
            .map(|_| {
                let (address, stop, answered) = (address.to_owned(), stop.clone(), answered.clone());
                thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let Ok(mut stream) = TcpStream::connect(&address) else {
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
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
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

fn run(agent: &mut std::process::Command) -> &mut std::process::Command {
    agent.args(["run", "--web.listen-address", "127.0.0.1:0"])
}

#[test]
fn given_load_and_a_shutdown_under_way_when_stopped_then_nothing_is_lost_and_no_scrape_is_cut_within_a_second()
 {
    if !runs_here() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let record = dir.path().join("r.jsonl");
    let mut server = Server::start();
    let mut agent = command(BINARY);
    run(&mut agent)
        .arg("--state-dir")
        .arg(dir.path().join("state"))
        .arg("--record")
        .arg(&record);
    let mut agent = Agent::start(agent).expect("it starts");
    let busy = Server::start();
    let load = Load::on(&busy.address);
    within("load", || {
        (load.answered.load(Ordering::Relaxed) > 50).then_some(())
    });
    let clients: Vec<_> = (0..3).map(|_| server.ask(10_000)).collect();
    server.signal(Signal::SIGTERM);
    let id = within("a shutdown under way", || {
        let report = agent.reports(server.cgroup.name()).pop()?;
        report["id"].as_str().map(str::to_owned)
    });

    let mut idle = TcpStream::connect(&agent.address).unwrap();
    ask_for_metrics(&mut idle);
    answer(&mut idle);
    let mut kept = idle.try_clone().unwrap();
    let mut scraper = TcpStream::connect(&agent.address).unwrap();
    ask_for_metrics(&mut scraper);
    answer(&mut scraper);
    // What is cut now is in the ring when the agent is told to stop.
    server.signal(Signal::SIGKILL);
    server.child.wait().unwrap();
    // A scraper that keeps its connection, and one that has just come: asked, and not yet read.
    ask_for_metrics(&mut scraper);
    let mut newcomer = TcpStream::connect(&agent.address).unwrap();
    ask_for_metrics(&mut newcomer);
    let (status, took) = agent.stop();

    assert!(status.success(), "{status}; {:?}", agent.log());
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
        let mut again = command(BINARY);
        run(&mut again).arg("--state-dir").arg(dir.path().join("state"));
        let mut again = Agent::start(again).expect("the store opens again");
        let report: serde_json::Value =
            serde_json::from_str(&again.get(&format!("/api/v1/shutdowns/{id}"))).unwrap();
        again.stop();
        report
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
    let server = Server::start();
    let mut agent = command(BINARY);
    run(&mut agent)
        .arg("--state-dir")
        .arg(dir.path())
        .env("LD_PRELOAD", &library)
        .env("SLOW_DISK", &slow);
    let mut agent = Agent::start(agent).expect("it starts");
    fs::write(&slow, "").unwrap();
    let _client = server.ask(10_000);
    server.signal(Signal::SIGTERM);
    within("a shutdown under way", || {
        agent.reports(server.cgroup.name()).pop()
    });
    within("a flush", || {
        fs::read_to_string(&slow).unwrap().contains("flush").then_some(())
    });
    let (status, took) = agent.stop();
    assert!(status.success(), "{status}");
    let log = agent.rest();
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
    let mut observer = command(BINARY);
    run(&mut observer);
    let observer = Agent::start(observer).expect("it starts");
    let cgroup = Cgroup::create();
    let mut watched = cgroup.command(BINARY);
    run(&mut watched);
    let mut watched = Agent::start(watched).expect("it starts");
    let mut scraper = TcpStream::connect(&watched.address).unwrap();
    for _ in 0..20 {
        ask_for_metrics(&mut scraper);
        answer(&mut scraper);
        watched.get("/metrics");
    }
    ask_for_metrics(&mut scraper);
    let mut newcomer = TcpStream::connect(&watched.address).unwrap();
    ask_for_metrics(&mut newcomer);
    let (status, took) = watched.stop();
    assert!(status.success(), "{status}");
    assert!(took < MOST, "{took:?}");
    for mut stream in [scraper, newcomer] {
        answer(&mut stream);
    }
    let report = within("a report that has ended", || {
        let report = observer.reports(cgroup.name()).pop()?;
        (!report["ended_at"].is_null()).then_some(report)
    });
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
        let mut agent = command(BINARY);
        let mut child = run(&mut agent)
            .arg("--state-dir")
            .arg(dir.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The moment is what is tried, not something waited for.
        thread::sleep(Duration::from_millis(after_ms));
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
        let began = Instant::now();
        let status = child.wait().unwrap();
        let mut log = String::new();
        child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        // Before it has a handler, the default action ends it.
        let by_signal = std::os::unix::process::ExitStatusExt::signal(&status) == Some(15);
        assert!(
            status.success() || by_signal,
            "after {after_ms} ms: {status}; {log}"
        );
        assert!(
            began.elapsed() < PATIENCE / 4,
            "after {after_ms} ms: {:?}",
            began.elapsed()
        );
        assert!(!log.contains("damaged") && !log.contains("panic"), "{log}");
    }
    let mut agent = command(BINARY);
    run(&mut agent).arg("--state-dir").arg(dir.path());
    let mut agent = Agent::start(agent).expect("it starts");
    assert!(agent.log().iter().all(|line| !line.contains("damaged")));
    assert!(agent.stop().0.success());
    assert_eq!(
        TcpStream::connect(&agent.address).map_err(|why| why.kind()).err(),
        Some(ErrorKind::ConnectionRefused)
    );
}

#[test]
fn given_a_store_in_use_when_its_agent_stops_then_the_next_one_which_waited_starts_with_it() {
    if !runs_here() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let agent = || {
        let mut agent = command(BINARY);
        run(&mut agent).arg("--state-dir").arg(dir.path());
        agent
    };
    let mut old = Agent::start(agent()).expect("it starts");
    let mut next = agent().stderr(Stdio::piped()).spawn().unwrap();
    let log = lines(next.stderr.take().unwrap());
    let until = |said: &str| {
        let found = log.iter().find(|line| line.contains(said));
        found.unwrap_or_else(|| panic!("it ended and never said: {said}"))
    };
    until("waiting a moment");
    assert!(old.stop().0.success());
    until("watching every workload");
    kill(Pid::from_raw(next.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert!(next.wait().unwrap().success());
}
