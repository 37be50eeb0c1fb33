//! Requests that come when their connection is closed already.

use std::io::Write as _;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use testkit::Agent;

use super::{Scene, Way, answered, codes, is, lost};

/// All of them.
pub const WAYS: &[(&str, Way)] = &[
    (
        "a request that comes too late is lost though nobody asked for the end",
        a_request_that_comes_too_late_is_lost_though_nobody_asked_for_the_end,
    ),
    (
        "a first request that comes too late is lost, whoever asked for the end",
        a_first_request_that_comes_too_late_is_lost_whoever_asked_for_the_end,
    ),
    (
        "a request that a server reads behind its own FIN is lost, whoever asked for the end",
        a_request_that_a_server_reads_behind_its_own_fin_is_lost_whoever_asked_for_the_end,
    ),
    (
        "a request that a server reads behind its own FIN and throws away is lost, whatever its buffer holds",
        a_request_that_a_server_reads_behind_its_own_fin_and_throws_away_is_lost_whatever_its_buffer_holds,
    ),
    (
        "a request that comes late at a worker is lost, whoever opened its port",
        a_request_that_comes_late_at_a_worker_is_lost_whoever_opened_its_port,
    ),
    (
        "requests that a process cut before an end of its own are all told, or it is said that some are not",
        requests_that_a_process_cut_before_an_end_of_its_own_are_all_told_or_it_is_said_that_some_are_not,
    ),
];

/// What was asked by the requests that were cut.
fn asked(report: &Value) -> Vec<String> {
    let requests = report["severed_requests"].as_array().into_iter().flatten();
    requests
        .map(|request| {
            let word = |key: &str| request[key].as_str().unwrap_or("?");
            format!("{} {}", word("method"), word("path"))
        })
        .collect()
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
    is("paths", asked(&report), vec!["GET /2".to_owned(); 2], &report)?;
    is("Unix sockets", &report["unix_sockets"], &json!(false), &report)?;
    is("findings", codes(&report), vec!["keepalive_race"], &report)
}

fn a_first_request_that_comes_too_late_is_lost_whoever_asked_for_the_end(
    agent: &Agent,
) -> anyhow::Result<()> {
    for (signal, trigger) in [(Signal::SIGTERM, "stop"), (Signal::SIGUSR1, "exit")] {
        let server = Scene::server(agent, "leaves")?;
        let mut client = server.connect("says nothing yet")?;
        let says_nothing = server.connect("never says anything")?;
        let mut says_goodbye = server.connect("says goodbye late")?;
        testkit::within("the server to give up on all", || {
            (server.process.lines("silent").len() == 3).then_some(())
        });
        server.signal(signal)?;
        server.process.line("closed")?;
        client.write_all(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n")?;
        says_goodbye.write_all(b"QUIT\r\n")?;
        lost(client)?;
        drop(says_nothing);
        let report = server.report()?;
        is("trigger", &report["trigger"], &json!(trigger), &report)?;
        is("severed", &report["severed"], &json!({"late": 1}), &report)?;
        is("paths", asked(&report), vec!["GET /first".to_owned()], &report)?;
        is("findings", codes(&report), vec!["keepalive_race"], &report)?;
    }
    Ok(())
}

fn a_request_that_a_server_reads_behind_its_own_fin_is_lost_whoever_asked_for_the_end(
    agent: &Agent,
) -> anyhow::Result<()> {
    const LATE: &[u8] =
        b"POST /hooks/late?key=1 HTTP/1.1\r\nHost: x\r\nX-GitHub-Event: push\r\nContent-Length: 2\r\n\r\nhi";
    for (signal, trigger) in [(Signal::SIGTERM, "stop"), (Signal::SIGUSR1, "exit")] {
        let server = Scene::server(agent, "lingers")?;
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(server.send("/served")?);
        }
        clients.iter_mut().try_for_each(answered)?;
        server.signal(signal)?;
        server.process.line("closed")?;
        let [first, second, blank, idle] = clients.as_mut_slice() else {
            unreachable!()
        };
        first.write_all(LATE)?;
        second.write_all(b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n")?;
        // What some clients send behind a body asks for nothing.
        blank.write_all(b"\r\n")?;
        let _ = idle;
        server.process.wait()?;
        clients.into_iter().try_for_each(lost)?;
        let report = server.report()?;
        is("trigger", &report["trigger"], &json!(trigger), &report)?;
        is("severed", &report["severed"], &json!({"late": 2}), &report)?;
        let mut paths = asked(&report);
        paths.sort();
        is(
            "paths",
            paths,
            vec!["GET /late".to_owned(), "POST /hooks/late".to_owned()],
            &report,
        )?;
        is(
            "classes",
            &report["severed_classes"],
            &json!({"request": 1, "webhook": 1}),
            &report,
        )?;
        is("findings", codes(&report), vec!["keepalive_race"], &report)?;
    }
    Ok(())
}

fn a_request_that_a_server_reads_behind_its_own_fin_and_throws_away_is_lost_whatever_its_buffer_holds(
    agent: &Agent,
) -> anyhow::Result<()> {
    let server = Scene::server(agent, "discards")?;
    let mut client = server.send("/served")?;
    let mut idle = server.send("/served")?;
    answered(&mut client)?;
    answered(&mut idle)?;
    server.signal(Signal::SIGTERM)?;
    server.process.line("closed")?;
    client.write_all(b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n")?;
    server.process.wait()?;
    lost(client)?;
    lost(idle)?;
    let report = server.report()?;
    is("severed", &report["severed"], &json!({"late": 1}), &report)?;
    is("paths", asked(&report), vec!["? ?".to_owned()], &report)
}

fn a_request_that_comes_late_at_a_worker_is_lost_whoever_opened_its_port(
    agent: &Agent,
) -> anyhow::Result<()> {
    let server = Scene::server(agent, "worker")?;
    let told = server.process.line("worker")?;
    let worker = told.rsplit(' ').next().unwrap_or_default().parse()?;
    let mut client = server.send("/served")?;
    answered(&mut client)?;
    kill(Pid::from_raw(worker), Signal::SIGTERM)?;
    server.process.line("closed")?;
    client.write_all(b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n")?;
    lost(client)?;
    let report = server.report()?;
    is("severed", &report["severed"], &json!({"late": 1}), &report)?;
    is("paths", asked(&report), vec!["GET /late".to_owned()], &report)?;
    server.kill()
}

fn requests_that_a_process_cut_before_an_end_of_its_own_are_all_told_or_it_is_said_that_some_are_not(
    agent: &Agent,
) -> anyhow::Result<()> {
    let all = json!({});
    let some = json!({"no_storage": 1});
    for (signal, trigger, sent, told, unknown) in [
        (Signal::SIGUSR1, "exit", 40, 40, &all),
        (Signal::SIGUSR1, "exit", 80, 64, &some),
        (Signal::SIGUSR2, "worker", 40, 40, &all),
        (Signal::SIGUSR2, "worker", 80, 64, &some),
    ] {
        let server = Scene::server(agent, "drops")?;
        let mut clients = Vec::new();
        for number in 0..sent {
            clients.push(server.ask(&format!("/{number}"))?);
        }
        server.signal(signal)?;
        clients.into_iter().try_for_each(lost)?;
        let report = server.report()?;
        is("trigger", &report["trigger"], &json!(trigger), &report)?;
        is(
            "severed",
            &report["severed"],
            &json!({"unanswered": told}),
            &report,
        )?;
        is("unknown", &report["unknown_reasons"], unknown, &report)?;
    }
    Ok(())
}
