//! Requests served: what clients got answered is what `drainwatch_requests_total` says, whatever becomes of connections,
//! servers and the agent.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::{Signal, kill},
};
use tempfile::TempDir;
use testkit::{Agent, Cgroup, Process, command, metrics, runs_here, within};

const BINARY: &str = env!("CARGO_BIN_EXE_drainwatch");
/// What is counted is as old as this at most, where there are few connections.
const STANDS: Duration = Duration::from_millis(1200);

/// The server, in a cgroup of its own.
struct Server {
    cgroup: Cgroup,
    process: Process,
    ports: [u16; 2],
}

impl Server {
    fn start() -> Self {
        let cgroup = Cgroup::unique("served").unwrap();
        let mut node = cgroup.command("node");
        node.arg(script("server.js"));
        let process = Process::start(node).unwrap();
        let line = process.line("begun").unwrap();
        let mut ports = line.split(' ').skip(1).map(|port| port.trim().parse().unwrap());
        let ports = [ports.next().unwrap(), ports.next().unwrap()];
        Self {
            cgroup,
            process,
            ports,
        }
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.ports[0])).unwrap();
        stream.set_read_timeout(Some(testkit::PATIENCE)).unwrap();
        Client(BufReader::new(stream))
    }

    /// A client of HTTP/2 that was answered so often, and waits for so many answers.
    fn connect_http2(&self, answered: u64, waiting: u64) -> Process {
        let mut node = command("node");
        node.arg(script("client.js"));
        node.args([u64::from(self.ports[1]), answered, waiting].map(|number| number.to_string()));
        let client = Process::start(node).unwrap();
        client.line(&format!("answered {answered}")).unwrap();
        client
    }

    /// What the agent says now.
    fn served(&self, agent: &Agent) -> u64 {
        let exposed = agent.get("/metrics").unwrap();
        let ours = metrics::series(&exposed).into_iter().find(|series| {
            series.name == "drainwatch_requests_total"
                && series.labels["workload"].ends_with(self.cgroup.name())
        });
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small count"
        )]
        ours.map_or(0, |series| series.value as u64)
    }

    /// The agent comes to say so, and stays with it.
    fn expect(&self, agent: &Agent, served: u64) {
        let mut seen = Vec::new();
        within(&format!("{served} requests served"), || {
            seen.push(self.served(agent));
            (*seen.last()? >= served).then_some(())
        });
        assert!(seen.is_sorted(), "it counts up: {seen:?}");
        thread::sleep(STANDS);
        assert_eq!(self.served(agent), served, "it said {seen:?}");
    }
}

/// A connection of HTTP/1.
struct Client(BufReader<TcpStream>);

impl Client {
    fn send(&mut self, path: &str, headers: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
    }

    /// Takes one answer.
    fn receive(&mut self) {
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line();
            let (name, value) = line.split_once(": ").unwrap_or((&line, ""));
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap(),
                "transfer-encoding" => chunked = value == "chunked",
                "" => break,
                _ => {}
            }
        }
        while chunked {
            let size = usize::from_str_radix(&self.line(), 16).unwrap();
            self.skip(size + 2);
            chunked = size > 0;
        }
        self.skip(length);
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "it is answered");
        line.trim_end().to_owned()
    }

    fn skip(&mut self, length: usize) {
        self.0.read_exact(&mut vec![0; length]).unwrap();
    }

    fn ask(&mut self, path: &str) {
        self.send(path, "");
        self.receive();
    }

    fn ask_times(&mut self, times: u64) {
        (0..times).for_each(|_| self.ask("/ok"));
    }
}

/// Where agents come and go: pins and a state of their own.
struct Place {
    bpf: TempDir,
    state: TempDir,
}

impl Place {
    fn new() -> Self {
        let (bpf, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (kind, flags) = (Some("bpf"), MsFlags::empty());
        mount(kind, bpf.path(), kind, flags, None::<&str>).unwrap();
        let off = "socket = \"off\"";
        let config = format!(
            "kubernetes = \"off\"\n[shutdown]\nlinger = \"1s\"\n[docker]\n{off}\n[podman]\n{off}\n[systemd]\nbus = \"off\"\n"
        );
        fs::write(state.path().join("drainwatch.toml"), config).unwrap();
        Self { bpf, state }
    }

    fn start(&self) -> Agent {
        let mut command = testkit::agent::run(BINARY);
        command
            .arg("--config")
            .arg(self.state.path().join("drainwatch.toml"))
            .arg("--pin-dir")
            .arg(self.bpf.path().join("drainwatch"))
            .arg("--state-dir")
            .arg(self.state.path().join("state"));
        Agent::start(command).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Programs go with their pins.
        let _ = fs::remove_dir_all(self.bpf.path().join("drainwatch"));
        let _ = umount2(self.bpf.path(), MntFlags::MNT_DETACH);
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/served")
        .join(name)
}

fn runs() -> bool {
    let node = command("node").arg("--version").output().is_ok();
    node && runs_here(BINARY)
}

#[test]
fn given_connections_of_every_kind_when_they_are_over_then_what_was_answered_is_counted_and_nothing_else() {
    if !runs() {
        return;
    }
    let place = Place::new();
    let agent = place.start();
    let server = Server::start();
    let mut sent = 0;
    // Many on one connection, which the client closes.
    server.connect().ask_times(7);
    sent += 7;
    // One on each: the server closes them, or the client.
    for _ in 0..5 {
        let mut client = server.connect();
        client.send("/ok", "Connection: close\r\n");
        client.receive();
    }
    (0..3).for_each(|_| server.connect().ask("/ok"));
    sent += 8;
    // Several at once, twice.
    let mut pipelining = server.connect();
    for _ in 0..2 {
        let four = "GET /ok HTTP/1.1\r\nHost: x\r\n\r\n".repeat(4);
        pipelining.0.get_mut().write_all(four.as_bytes()).unwrap();
        (0..4).for_each(|_| pipelining.receive());
    }
    drop(pipelining);
    sent += 8;
    // In pieces.
    let mut client = server.connect();
    (0..2).for_each(|_| client.ask("/chunked"));
    drop(client);
    sent += 2;
    // Of what it asks itself nobody else is served.
    let mut client = server.connect();
    (0..2).for_each(|_| client.ask("/self"));
    drop(client);
    sent += 2;
    let client = server.connect_http2(40, 0);
    client.signal(Signal::SIGKILL).unwrap();
    sent += 40;
    // Nobody was answered here.
    let mut gave_up = server.connect();
    gave_up.send("/slow", "");
    server.process.line("got /slow").unwrap();
    drop(gave_up);
    drop(server.connect());
    server.expect(&agent, sent);
}

#[test]
fn given_connections_that_go_on_when_the_agent_is_scraped_and_replaced_then_they_are_counted_once() {
    if !runs() {
        return;
    }
    let place = Place::new();
    let mut agent = place.start();
    let server = Server::start();
    let mut client = server.connect();
    client.ask_times(10);
    let _many = server.connect_http2(20, 1);
    // The latest answer of HTTP/1 counts once another request follows, or none will.
    let mut count = 9 + 20;
    server.expect(&agent, count);
    client.ask_times(1);
    count += 1;
    server.expect(&agent, count);
    for how in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGKILL] {
        kill(agent.pid(), how).unwrap();
        within("the agent to end", || agent.check_alive().is_err().then_some(()));
        client.ask_times(5);
        server.connect().ask_times(2);
        count += 5 + 2;
        agent = place.start();
        server.expect(&agent, count);
    }
    drop(client);
    server.expect(&agent, count + 1);
}

#[test]
fn given_a_server_that_is_stopped_in_mid_request_then_served_and_severed_are_all_that_was_sent() {
    if !runs() {
        return;
    }
    let place = Place::new();
    let agent = place.start();
    let server = Server::start();
    let mut idle: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    for client in &mut idle {
        client.ask_times(2);
    }
    let mut waiting: Vec<Client> = (0..2).map(|_| server.connect()).collect();
    for client in &mut waiting {
        client.ask("/ok");
        client.send("/slow", "");
    }
    let mut half = server.connect();
    half.send("/half", "");
    half.line();
    let _many = server.connect_http2(10, 2);
    // Two of HTTP/1, and two of HTTP/2.
    server.process.line_after(3, "got /slow").unwrap();
    server.process.signal(Signal::SIGTERM).unwrap();
    let report = agent.ended_report(server.cgroup.name()).unwrap();
    assert_eq!(report["requests"]["severed"], 2 + 1 + 2, "{report}");
    server.expect(&agent, 3 * 2 + 2 + 10);
}
