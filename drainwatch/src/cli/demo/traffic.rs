//! The clients of the demo: each sends one request on a connection of its own and says what it saw.

use std::{net::SocketAddr, time::Duration};

use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

/// Requests sent to each server.
pub const REQUESTS: u64 = 12;
/// Answers that are awaited before the server is stopped.
pub const BEFORE_STOP: u64 = 4;
/// The first request takes this long, each further one [`STEP`] more.
const FIRST: Duration = Duration::from_millis(400);
const STEP: Duration = Duration::from_millis(120);

/// What the clients of one server saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Requests sent.
    pub sent: u64,
    /// Complete answers.
    pub answered: u64,
    /// Connections that ended before their answer was complete.
    pub cut: u64,
    /// Complete answers after the stop signal.
    pub after_stop: u64,
}

/// The clients of one server.
pub struct Clients {
    under_way: JoinSet<bool>,
    seen: Account,
}

impl Clients {
    /// Sends every request at once.
    pub fn send(address: SocketAddr, kind: &str) -> Self {
        let mut under_way = JoinSet::new();
        for n in 0..REQUESTS {
            let wait = FIRST + STEP * u32::try_from(n).unwrap_or_default();
            // Every other response begins at once and ends late, so that both ways to be cut are seen.
            let early = u8::from(n % 2 == 1);
            let head = format!(
                "GET /{kind}/{n}?wait={}&early={early} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n",
                wait.as_millis()
            );
            under_way.spawn(async move { ask(address, &head).await.unwrap_or(false) });
        }
        Self {
            under_way,
            seen: Account {
                sent: REQUESTS,
                ..Account::default()
            },
        }
    }

    /// What they saw so far.
    pub fn seen(&self) -> Account {
        self.seen
    }

    /// Waits for so many answers.
    pub async fn answered(&mut self, count: u64) {
        while self.seen.answered + self.seen.cut < count && self.next().await {}
    }

    /// Waits for all; those that come from now on come after the stop signal.
    pub async fn finished(&mut self) -> Account {
        let before = self.seen.answered;
        while self.next().await {}
        self.seen.after_stop = self.seen.answered - before;
        self.seen
    }

    async fn next(&mut self) -> bool {
        match self.under_way.join_next().await {
            Some(answered) => {
                if answered.unwrap_or(false) {
                    self.seen.answered += 1;
                } else {
                    self.seen.cut += 1;
                }
                true
            }
            None => false,
        }
    }
}

/// Whether a complete response came.
async fn ask(address: SocketAddr, head: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(head.as_bytes()).await?;
    let mut response = Vec::new();
    // A reset is an end as well; what came before it counts.
    let _ = stream.read_to_end(&mut response).await;
    Ok(is_complete(&response))
}

fn is_complete(response: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; 8];
    let mut head = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(body_at)) = head.parse(response) else {
        return false;
    };
    let length = head
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
    length.is_some_and(|length| response.len() == body_at + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_response_when_cut_anywhere_then_it_is_not_complete() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert!(is_complete(whole));
        for end in 0..whole.len() {
            assert!(!is_complete(&whole[..end]), "{end}");
        }
    }
}
