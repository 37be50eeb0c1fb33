//! The web server of the real agent, against somebody who wants it for himself.

use std::net::TcpStream;

use crate::support::{Agent, BINARY, command, get, runs_here};

#[test]
fn given_a_peer_that_opens_hundreds_of_connections_when_another_asks_then_it_is_answered() {
    if !runs_here() {
        return;
    }
    let mut agent = command(BINARY);
    agent.args(["run", "--web.listen-address", "[::]:0"]);
    let agent = Agent::start(agent).expect("it starts");
    let port = agent.address.rsplit_once(':').unwrap().1;
    // More than the server takes from everybody together.
    let greedy: Vec<TcpStream> = (0..400)
        .map(|_| TcpStream::connect(format!("127.0.0.1:{port}")).unwrap())
        .collect();
    assert_eq!(get(&format!("[::1]:{port}"), "/healthz").trim(), "ok");
    drop(greedy);
}
