//! Connections that end otherwise than a server that answers or dies ends them.

use std::{
    io::{ErrorKind, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::ensure;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};
use testkit::{Agent, Port};

use super::{PATIENCE, Scene, Way, answered, codes, is, lost};

/// All of them.
pub const WAYS: &[(&str, Way)] = &[
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
        "a connection that somebody else destroys was cut by neither side",
        a_connection_that_somebody_else_destroys_was_cut_by_neither_side,
    ),
    (
        "a connection that was held back is lost with its request",
        a_connection_that_was_held_back_is_lost_with_its_request,
    ),
    (
        "requests over MPTCP are judged like any",
        requests_over_mptcp_are_judged_like_any,
    ),
    (
        "a client that is turned away twice at one port has tried twice",
        a_client_that_is_turned_away_twice_at_one_port_has_tried_twice,
    ),
];

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

fn a_connection_that_was_held_back_is_lost_with_its_request(agent: &Agent) -> anyhow::Result<()> {
    let server = Scene::server(agent, "deferred")?;
    answered(&mut server.send("/1")?)?;
    // For their clients they are connected; the kernel waits for their first bytes.
    let [mut asks, says_nothing] = [server.connect("asks")?, server.connect("says nothing")?];
    server.signal(Signal::SIGTERM)?;
    server.process.wait()?;
    asks.write_all(b"GET /2 HTTP/1.1\r\nHost: x\r\n\r\n")?;
    lost(asks)?;
    drop(says_nothing);
    let report = server.report()?;
    is("severed", &report["severed"], &json!({"unaccepted": 1}), &report)?;
    is("findings", codes(&report), vec!["backlog_dropped"], &report)
}

/// A client at the server's port that speaks MPTCP.
fn multipath(server: &Scene<'_>, path: &str) -> anyhow::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP))?;
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], server.port.number)).into())?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut client = TcpStream::from(socket);
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())?;
    Ok(client)
}

fn requests_over_mptcp_are_judged_like_any(agent: &Agent) -> anyhow::Result<()> {
    let server = Scene::server(agent, "mptcp")?;
    answered(&mut multipath(&server, "/idle")?)?;
    let mut idle = multipath(&server, "/idle")?;
    answered(&mut idle)?;
    let cut = multipath(&server, "/hang/cut")?;
    server.process.line("got /hang/cut")?;
    let mut behind = multipath(&server, "/hang/first")?;
    server.process.line("got /hang/first")?;
    behind.write_all(b"GET /behind HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let leaves = multipath(&server, "/hang/leaves")?;
    server.process.line("got /hang/leaves")?;
    // Who gives up does so after a while.
    thread::sleep(Duration::from_millis(200));
    drop(leaves);
    let plain = server.ask("/hang/plain")?;
    thread::sleep(Duration::from_millis(200));
    server.freeze()?;
    let waits = multipath(&server, "/waits")?;
    let peers = [&cut, &waits].map(TcpStream::local_addr);
    server.signal(Signal::SIGKILL)?;
    for client in [idle, cut, behind, plain, waits] {
        lost(client)?;
    }
    let report = server.report()?;
    let severed = json!({"unanswered": 4, "unaccepted": 1});
    is("severed", &report["severed"], &severed, &report)?;
    let requests = report["severed_requests"].as_array().into_iter().flatten();
    let told: Vec<_> = requests.filter_map(|request| request["peer"].as_str()).collect();
    for peer in peers {
        let peer = peer?.to_string();
        ensure!(told.contains(&&*peer), "{peer} is not in {told:?}");
    }
    let others = ["aborted", "unknown", "opaque"].map(|outcome| &report["requests"][outcome]);
    is("others", others, [&json!(1), &json!(0), &json!(0)], &report)
}

fn a_client_that_is_turned_away_twice_at_one_port_has_tried_twice(agent: &Agent) -> anyhow::Result<()> {
    let server = Scene::server(agent, "closes")?;
    answered(&mut server.ask("/first")?)?;
    let ports = [Port::find()?, Port::find()?];
    server.signal(Signal::SIGTERM)?;
    server.process.line("closed")?;
    for _ in 0..3 {
        for port in &ports {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            client.bind(&port.address().into())?;
            let refused = client.connect(&SocketAddr::from(([127, 0, 0, 1], server.port.number)).into());
            let refused = refused.err().map(|error| error.kind());
            ensure!(refused == Some(ErrorKind::ConnectionRefused), "{refused:?}");
        }
        // Within a second it might be the same attempt, sent again.
        thread::sleep(Duration::from_millis(1500));
    }
    let report = server.report()?;
    is("verdict", &report["verdict"], &json!("refused"), &report)?;
    let refused = ["attempts", "clients"].map(|what| &report["refused"][what]);
    is("refused", refused, [&json!(6), &json!(1)], &report)
}
