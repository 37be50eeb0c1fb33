//! What clients saw: one line for every request.

use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::shell;

/// What became of a request, as its client saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A complete answer.
    Answered,
    /// A complete answer with 5xx.
    Failed,
    /// Sent, and the connection ended before a complete answer.
    Cut,
    /// No connection: refused.
    Refused,
    /// The connection ended before the request could be written.
    Unsent,
    /// No connection, and no end of one either.
    Lost,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id, which is in its path.
    pub id: String,
    /// What became of it.
    pub outcome: Outcome,
    /// The client's end of its connection.
    pub local: Option<SocketAddr>,
}

/// A running client.
pub struct Client {
    child: Child,
}

impl Client {
    /// Starts asking.
    pub fn start(mut command: Command, target: &str, prefix: &str, slowest_ms: u32) -> Result<Self> {
        command
            .args(["client", "-target", target, "-prefix", prefix, "-ms"])
            .arg(slowest_ms.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", shell::line(&command)))?;
        Ok(Self { child })
    }

    /// Stops asking, waits for answers that are due, and gives the account; its text is left in a file.
    pub fn finish(mut self, file: &Path) -> Result<Vec<Entry>> {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.child
            .stdout
            .take()
            .context("the client's stdout is piped")?
            .read_to_string(&mut text)
            .context("reading the client's account")?;
        std::fs::write(file, &text).with_context(|| format!("writing {}", file.display()))?;
        parse(&text)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It has ended by itself, unless something failed before its account was asked for.
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parse(text: &str) -> Result<Vec<Entry>> {
    text.lines()
        .map(|line| {
            let mut fields = line.split('\t');
            let mut field = || fields.next().unwrap_or_default();
            let id = field().to_owned();
            let outcome = match field() {
                "ok" => Outcome::Answered,
                "failed" => Outcome::Failed,
                "cut" => Outcome::Cut,
                "refused" => Outcome::Refused,
                "unsent" => Outcome::Unsent,
                "lost" => Outcome::Lost,
                other => bail!("the client's account has the outcome {other:?}"),
            };
            let local = field().parse().ok();
            Ok(Entry { id, outcome, local })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_an_account_when_read_then_each_line_is_a_request() {
        let text = "a-1\tok\t10.0.0.1:4000\t10.96.0.9:80\t2026-01-01T00:00:00.000Z\t\n\
                    a-2\trefused\t\t\t2026-01-01T00:00:00.000Z\tconnection refused\n";
        let entries = parse(text).unwrap();
        assert_eq!(entries[0].local, Some("10.0.0.1:4000".parse().unwrap()));
        assert_eq!(entries[1].outcome, Outcome::Refused);
        assert_eq!(entries[1].local, None);
        assert!(parse("a-1\tperhaps\n").is_err());
    }
}
