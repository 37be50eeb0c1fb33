//! Connections that one thread reads from while another writes to them, and both see something at the same time.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use anyhow::ensure;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use testkit::Agent;

use super::{Scene, Way, is, lost};

/// All of them.
pub const WAYS: &[(&str, Way)] = &[
    (
        "a request that comes while the answer before is being written has no answer",
        a_request_that_comes_while_the_answer_before_is_being_written_has_no_answer,
    ),
    (
        "streams that begin while the server is greeting are known",
        streams_that_begin_while_the_server_is_greeting_are_known,
    ),
    (
        "an answer to a stream that was given up is none to another",
        an_answer_to_a_stream_that_was_given_up_is_none_to_another,
    ),
];

/// The client's preface and its first frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A request for `/`, whole, on this stream.
fn get(stream: u8) -> Vec<u8> {
    [&[0, 0, 3, 1, 5, 0, 0, 0, stream], &b"\x82\x86\x84"[..]].concat()
}

fn duplex<'a>(agent: &'a Agent, way: &str) -> anyhow::Result<Scene<'a>> {
    Scene::start(agent, "exec python3 \"$0\" \"$1\" \"$2\"", "duplex.py", way)
}

/// Waits until the server is in the middle of writing: some has come, and there is no room for all of it.
fn waits_for_the_first_byte(client: &TcpStream) -> anyhow::Result<()> {
    ensure!(client.peek(&mut [0])? == 1, "the server has left");
    Ok(())
}

/// Reads until the server has written all that it had to say.
fn reads_all(server: &Scene<'_>, client: &TcpStream) -> anyhow::Result<()> {
    let mut reader = client.try_clone()?;
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let mut bytes = vec![0; 1 << 20];
            while reader.read(&mut bytes).is_ok_and(|count| count > 0) {}
        });
        server.process.line("wrote")?;
        server.kill()?;
        ensure!(reading.join().is_ok(), "the reader panicked");
        Ok(())
    })
}

/// One request was severed, on which nothing had been answered.
fn one_unanswered(report: &Value, path: &str) -> anyhow::Result<()> {
    is("severed", &report["severed"], &json!({"unanswered": 1}), report)?;
    is(
        "path",
        &report["severed_requests"][0]["path"],
        &json!(path),
        report,
    )?;
    is("opaque", &report["requests"]["opaque"], &json!(0), report)?;
    is("unknown", &report["requests"]["unknown"], &json!(0), report)
}

fn a_request_that_comes_while_the_answer_before_is_being_written_has_no_answer(
    agent: &Agent,
) -> anyhow::Result<()> {
    let server = duplex(agent, "pipelined")?;
    let mut client = server.send("/much")?;
    waits_for_the_first_byte(&client)?;
    client.write_all(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")?;
    server.process.line("got")?;
    reads_all(&server, &client)?;
    one_unanswered(&server.report()?, "/hang")
}

fn streams_that_begin_while_the_server_is_greeting_are_known(agent: &Agent) -> anyhow::Result<()> {
    let server = duplex(agent, "greets")?;
    let mut client = server.connect("a stream")?;
    waits_for_the_first_byte(&client)?;
    client.write_all(&[PREFACE, &get(1)].concat())?;
    server.process.line("got")?;
    reads_all(&server, &client)?;
    one_unanswered(&server.report()?, "/")
}

fn an_answer_to_a_stream_that_was_given_up_is_none_to_another(agent: &Agent) -> anyhow::Result<()> {
    let server = duplex(agent, "answers_in_vain")?;
    let mut client = server.connect("two streams")?;
    client.write_all(&[PREFACE, &get(1), &get(3)].concat())?;
    server.process.line("got")?;
    // RST_STREAM with CANCEL.
    client.write_all(b"\0\0\x04\x03\0\0\0\0\x03\0\0\0\x08")?;
    server.process.line("wrote")?;
    let mut answer = [0; 9 + 9 + 1];
    client.read_exact(&mut answer)?;
    server.signal(Signal::SIGUSR1)?;
    lost(client)?;
    let report = server.report()?;
    is("trigger", &report["trigger"], &json!("exit"), &report)?;
    one_unanswered(&report, "/")
}
