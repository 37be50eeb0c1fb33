//! The web server of the real agent, against somebody who wants it for himself.

use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};

use testkit::{Agent, PATIENCE, command, http};

use crate::{BINARY, runs_here};

#[test]
fn given_a_peer_that_opens_hundreds_of_connections_when_another_asks_then_it_is_answered() {
    if !runs_here() {
        return;
    }
    let mut agent = command(BINARY);
    agent.args(["run", "--web.listen-address", "[::]:0"]);
    let agent = Agent::start(agent).expect("it starts");
    let port = agent.address().port();
    // More than the server takes from everybody together.
    let greedy: Vec<TcpStream> = (0..400)
        .map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap())
        .collect();
    let other = (Ipv6Addr::LOCALHOST, port).into();
    let answer = http::get(other, "/healthz", PATIENCE).unwrap();
    assert_eq!(answer, (200, "ok\n".into()));
    drop(greedy);
}
