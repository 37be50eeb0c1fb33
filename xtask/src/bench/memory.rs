//! The agent's anonymous memory with idle connections on the node.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::agent::Agent;
use super::load::Nginx;
use super::{Setup, Table};

const CONNECTIONS: [usize; 3] = [0, 1000, 10_000];

/// Connections that were used once and then stay open.
pub fn measure(setup: &Setup) -> Result<Table> {
    // A connection takes a descriptor here, and nginx inherits the limit.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("reading the limit of open files")?;
    let most = CONNECTIONS.iter().max().copied().unwrap_or_default() as u64 + 100;
    ensure!(
        hard >= most,
        "this needs a limit of {most} open files, and it is {hard}: raise it with ulimit -Hn"
    );
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raising the limit of open files")?;
    let nginx = Nginx::start()?;
    let agent = Agent::start(setup)?;
    let mut open: Vec<TcpStream> = Vec::new();
    let mut rows = Vec::new();
    for wanted in CONNECTIONS {
        while open.len() < wanted {
            open.push(
                used_connection(nginx.port.address())
                    .with_context(|| format!("connection {}", open.len() + 1))?,
            );
        }
        rows.push(vec![wanted.to_string(), agent.anonymous_kib()?.to_string()]);
    }
    Ok(Table {
        title: "Anonymous memory of the agent".to_owned(),
        columns: vec!["idle connections", "RssAnon, KiB"],
        rows,
        notes: vec![
            "Each connection has served one request and stays open; both of its ends are on this node."
                .to_owned(),
        ],
    })
}

fn used_connection(nginx: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(nginx).context("connecting to nginx")?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .context("setting a timeout")?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
        .context("asking nginx")?;
    let mut response = [0; 1024];
    let length = stream.read(&mut response).context("reading from nginx")?;
    ensure!(
        response[..length].starts_with(b"HTTP/1.1 200"),
        "nginx did not answer with 200"
    );
    Ok(stream)
}
