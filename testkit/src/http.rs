//! One question over HTTP, without a client's help and without its dependencies.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, ensure};

/// Status and body of `GET PATH`.
pub fn get(address: SocketAddr, path: &str, patience: Duration) -> anyhow::Result<(u16, String)> {
    let asked = || format!("GET http://{address}{path}");
    let mut stream = TcpStream::connect_timeout(&address, patience).with_context(asked)?;
    stream.set_read_timeout(Some(patience))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).with_context(asked)?;
    let mut response = String::new();
    stream.read_to_string(&mut response).with_context(asked)?;
    parse(&response).with_context(asked)
}

fn parse(response: &str) -> anyhow::Result<(u16, String)> {
    let (head, body) = response
        .split_once("\r\n\r\n")
        .with_context(|| format!("no HTTP response: {response}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    ensure!(
        !head.to_ascii_lowercase().contains("transfer-encoding"),
        "the body comes in pieces: {head}"
    );
    Ok((status.context("no status")?, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_response_when_parsed_then_it_is_a_status_and_a_body_or_an_error() {
        let parsed = parse("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno").unwrap();
        assert_eq!(parsed, (404, "no".into()));
        assert!(parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").is_err());
        assert!(parse("hello\r\n\r\n").is_err());
        assert!(parse("").is_err());
    }
}
