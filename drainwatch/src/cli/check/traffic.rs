//! Clients of the service: half of them keep their connections, the others open one for each request.

use std::{
    net::SocketAddr,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Method, Request,
    body::{Body as _, Bytes},
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::{
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior},
};

use crate::cli::args::CheckArgs;

/// Between an attempt that was refused and the next.
const AGAIN: Duration = Duration::from_millis(20);

/// Where the service is in its life, as far as its clients know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It serves.
    Serving,
    /// It is being stopped, and not yet out of rotation.
    Stopping,
    /// It is out of rotation: no new requests.
    Quiet,
}

/// What the clients saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Requests sent.
    pub sent: u64,
    /// Complete answers, those with 5xx included.
    pub answered: u64,
    /// Complete answers with 5xx after the stop began.
    pub failed: u64,
    /// Connections that ended before their answer was complete.
    pub cut: u64,
    /// Connection attempts that were refused.
    pub refused: u64,
}

/// What is sent.
#[derive(Debug, Clone)]
pub struct Plan {
    requests: Vec<(Method, String)>,
    clients: u16,
    /// From one request of a client to its next; nothing where it asks as fast as it is answered.
    every: Option<Duration>,
    /// A command of the user's own instead.
    command: Option<String>,
}

impl Plan {
    /// What the arguments ask for; the error says what to write instead.
    pub fn new(args: &CheckArgs) -> Result<Self, String> {
        let requests: Result<Vec<_>, _> = args.request.iter().map(|text| request(text)).collect();
        let clients = args.concurrency;
        Ok(Self {
            requests: requests?,
            clients,
            every: args
                .rate
                .map(|rate| Duration::from_secs_f64(f64::from(clients) / f64::from(rate.max(1)))),
            command: args.traffic.clone(),
        })
    }

    /// In a few words.
    pub fn description(&self) -> String {
        match &self.command {
            Some(_) => "the traffic of your command".into(),
            None => format!("requests of {} clients", self.clients),
        }
    }
}

/// When this one of so many clients asks: evenly spread over the time from one of its requests to the next. Who waits for
/// an answer when its turn comes takes it afterwards.
fn turns(every: Duration, client: u16, clients: u16) -> Interval {
    let every = every.max(Duration::from_micros(1));
    let first = Instant::now() + every * client.into() / clients.max(1).into();
    let mut turns = tokio::time::interval_at(first, every);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    turns
}

/// `GET /slow`, or `/slow` alone.
fn request(text: &str) -> Result<(Method, String), String> {
    let bad = || format!("--request `{text}` is not a request; write for example 'GET /slow'");
    let (method, path) = text.trim().split_once(' ').unwrap_or(("GET", text.trim()));
    let path = path.trim();
    let is_path = path.starts_with('/') && path.parse::<hyper::Uri>().is_ok();
    let method = method.parse().map_err(|_| bad())?;
    if is_path {
        Ok((method, path.into()))
    } else {
        Err(bad())
    }
}

/// Clients that go on until it is quiet.
pub struct Clients {
    under_way: JoinSet<()>,
    seen: Option<Arc<Mutex<Account>>>,
}

impl Clients {
    /// Starts them.
    pub fn start(address: SocketAddr, plan: Plan, phase: &watch::Receiver<Phase>) -> Self {
        let mut under_way = JoinSet::new();
        if let Some(command) = plan.command {
            under_way.spawn(own(command, address, phase.clone()));
            return Self {
                under_way,
                seen: None,
            };
        }
        let seen = Arc::new(Mutex::new(Account::default()));
        for n in 0..plan.clients {
            let client = Client {
                address,
                requests: plan.requests.clone(),
                first: n.into(),
                keeps: n % 2 == 0,
                turns: plan.every.map(|every| turns(every, n, plan.clients)),
                phase: phase.clone(),
                seen: Arc::clone(&seen),
            };
            under_way.spawn(client.run());
        }
        Self {
            under_way,
            seen: Some(seen),
        }
    }

    /// Waits for what is under way, and says what was seen; nothing of a command's own traffic.
    pub async fn finish(mut self, within: Duration) -> Option<Account> {
        let all = async { while self.under_way.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(within, all).await;
        let seen = self.seen?;
        let seen = *seen.lock().unwrap_or_else(PoisonError::into_inner);
        Some(seen)
    }
}

/// The user's own traffic; ended when it is quiet.
async fn own(command: String, address: SocketAddr, mut phase: watch::Receiver<Phase>) {
    let child = tokio::task::spawn_blocking(move || {
        std::process::Command::new("sh")
            .args(["-c", &command])
            .env("DRAINWATCH_ADDRESS", address.to_string())
            .env("DRAINWATCH_PORT", address.port().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
    });
    let Ok(Ok(mut child)) = child.await else { return };
    let _ = phase.wait_for(|phase| *phase == Phase::Quiet).await;
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

struct Client {
    address: SocketAddr,
    requests: Vec<(Method, String)>,
    first: usize,
    keeps: bool,
    turns: Option<Interval>,
    phase: watch::Receiver<Phase>,
    seen: Arc<Mutex<Account>>,
}

type Sender = SendRequest<Empty<Bytes>>;

/// What became of a request.
enum Answer {
    /// Complete, with this status.
    Complete(u16),
    /// The connection had been closed before it was sent.
    NotSent,
    /// The connection ended before it was complete.
    Cut,
}

impl Client {
    async fn run(mut self) {
        let mut connection: Option<Sender> = None;
        for n in self.first.. {
            if let Some(turns) = &mut self.turns {
                tokio::select! {
                    _ = turns.tick() => {}
                    _ = self.phase.wait_for(|phase| *phase == Phase::Quiet) => return,
                }
            }
            if *self.phase.borrow() == Phase::Quiet {
                return;
            }
            let sender = match connection.take().filter(|sender| !sender.is_closed()) {
                Some(sender) => Some(sender),
                None => self.connect().await,
            };
            let Some(mut sender) = sender else {
                tokio::time::sleep(AGAIN).await;
                continue;
            };
            let (method, path) = &self.requests[n % self.requests.len()];
            self.count(|seen| seen.sent += 1);
            match self.ask(&mut sender, method, path).await {
                Answer::Complete(status) => {
                    let stopping = *self.phase.borrow() != Phase::Serving;
                    self.count(|seen| {
                        seen.answered += 1;
                        seen.failed += u64::from(stopping && status >= 500);
                    });
                    connection = self.keeps.then_some(sender);
                }
                Answer::NotSent => self.count(|seen| seen.sent -= 1),
                Answer::Cut => self.count(|seen| seen.cut += 1),
            }
        }
    }

    fn count(&self, change: impl FnOnce(&mut Account)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }

    async fn connect(&self) -> Option<Sender> {
        let stream = match TcpStream::connect(self.address).await {
            Ok(stream) => stream,
            Err(why) => {
                if why.kind() == std::io::ErrorKind::ConnectionRefused {
                    self.count(|seen| seen.refused += 1);
                }
                return None;
            }
        };
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        Some(sender)
    }

    async fn ask(&self, sender: &mut Sender, method: &Method, path: &str) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(
                header::USER_AGENT,
                concat!("drainwatch-check/", env!("CARGO_PKG_VERSION")),
            )
            .header(
                header::CONNECTION,
                if self.keeps { "keep-alive" } else { "close" },
            )
            .body(Empty::new());
        let Ok(request) = request else {
            return Answer::NotSent;
        };
        let response = match sender.send_request(request).await {
            Ok(response) => response,
            Err(why) if why.is_canceled() => return Answer::NotSent,
            Err(_) => return Answer::Cut,
        };
        let status = response.status().as_u16();
        let mut body = response.into_body();
        while !body.is_end_stream() {
            match body.frame().await {
                Some(Ok(_)) => {}
                Some(Err(_)) => return Answer::Cut,
                None => break,
            }
        }
        Answer::Complete(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn given_a_rate_when_clients_take_turns_then_their_requests_are_evenly_spread() {
        let (begun, every) = (Instant::now(), Duration::from_secs(2));
        let mut clients: Vec<_> = (0..4).map(|client| turns(every, client, 4)).collect();
        let mut at = Vec::new();
        for _ in 0..2 {
            for client in &mut clients {
                client.tick().await;
                at.push(begun.elapsed().as_millis());
            }
        }
        assert_eq!(at, [0, 500, 1000, 1500, 2000, 2500, 3000, 3500]);
    }

    #[test]
    fn given_a_request_when_read_then_get_is_meant_where_no_method_is_said() {
        assert_eq!(request("/slow"), Ok((Method::GET, "/slow".into())));
        assert_eq!(request("POST /pay?x=1"), Ok((Method::POST, "/pay?x=1".into())));
        for bad in ["", "slow", "GET slow", "GE T /"] {
            assert!(request(bad).unwrap_err().contains("'GET /slow'"), "{bad}");
        }
    }
}
