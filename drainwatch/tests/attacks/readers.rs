//! Whoever asks and does not read, asks by another's name, or does not read the log, must not keep others out.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::{Signal, kill};
use testkit::{PATIENCE, http, process::spawn, runs_here};

use crate::{BINARY, agent};

fn ask_as(agent: SocketAddr, host: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(agent).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn given_hundreds_that_ask_and_never_read_then_probes_and_metrics_are_answered_all_the_same() {
    let Some(agent) = agent(&[]) else { return };
    let mut stuck = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(agent.address()).unwrap();
        stream
            .set_write_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        // Many answers on one connection, of which none is read.
        let asked = "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".repeat(5);
        let _ = stream.write_all(asked.as_bytes());
        stuck.push(stream);
    }
    for path in ["/healthz", "/readyz"] {
        agent.get(path).unwrap();
    }
}

#[test]
fn given_a_page_of_somebody_elses_whose_name_leads_here_then_it_gets_no_answer() {
    let Some(agent) = agent(&["--web.allowed-hosts", "drainwatch.example.com"]) else {
        return;
    };
    for (host, status) in [
        ("evil.example", "HTTP/1.1 421 Misdirected Request"),
        ("localhost", "HTTP/1.1 200 OK"),
        ("drainwatch.example.com:80", "HTTP/1.1 200 OK"),
        ("10.1.2.3:9669", "HTTP/1.1 200 OK"),
    ] {
        for path in ["/healthz", "/metrics", "/api/v1/shutdowns", "/"] {
            assert_eq!(ask_as(agent.address(), host, path), status, "{host}{path}");
        }
    }
}

/// An agent whose standard error is this; it listens at `port`.
fn with_log(stderr: OwnedFd, port: u16) -> std::process::Child {
    let mut run: Command = testkit::command(BINARY);
    run.args(["run", "--log.level", "trace", "--web.listen-address"])
        .arg(format!("127.0.0.1:{port}"))
        .stderr(Stdio::from(stderr));
    spawn(&mut run).unwrap()
}

#[test]
fn given_a_log_that_nobody_reads_or_that_is_closed_then_the_agent_goes_on_and_stops_when_it_is_told_to() {
    if !runs_here(BINARY) {
        return;
    }
    for closed in [false, true] {
        let port = testkit::Port::find().unwrap();
        let (number, address) = (port.number, SocketAddr::from(([127, 0, 0, 1], port.number)));
        drop(port);
        let (unread, stderr) = std::io::pipe().unwrap();
        let mut child = with_log(stderr.into(), number);
        let begun = Instant::now();
        while http::get(address, "/readyz", PATIENCE).is_err() {
            assert!(begun.elapsed() < PATIENCE, "it does not start");
            thread::sleep(Duration::from_millis(20));
        }
        let kept = if closed {
            drop(unread);
            None
        } else {
            Some(unread)
        };
        // Each is a line or more at this level; a pipe takes 64 KiB.
        for _ in 0..1500 {
            let (status, _) = http::get(address, "/healthz", PATIENCE).unwrap();
            assert_eq!(status, 200, "closed: {closed}");
        }
        let told = Instant::now();
        kill(
            nix::unistd::Pid::from_raw(child.id().cast_signed()),
            Signal::SIGTERM,
        )
        .unwrap();
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}");
        assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
        drop(kept);
    }
}
