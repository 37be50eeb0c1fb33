//! The server of the demo, in two kinds that differ in one thing: what SIGTERM does.

use std::{
    fs,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::sys::{prctl::set_pdeathsig, signal::Signal};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::{TcpListener, TcpStream, unix::pipe},
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

use super::cgroup::Cgroup;
use crate::cli::{args::DemoServerArgs, failure::Failure, run::runtime};

/// Largest head that it reads.
const HEAD_BYTES: usize = 4096;
/// Longest that a request may ask it to take.
const LONGEST_MS: u64 = 3_600_000;
const BODY: &str = "a response that takes its time\n";

/// One of the two servers, running. Killed, reaped and its cgroup removed when dropped.
pub struct Specimen {
    // Before the cgroup: fields are dropped in this order.
    process: Reaped,
    lines: Lines<BufReader<pipe::Receiver>>,
    cgroup: Cgroup,
}

struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // It may have ended long ago, which is what it was stopped for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Specimen {
    /// Starts this same program as the server of this kind.
    pub fn start(cgroup_root: &Path, kind: &str) -> Result<Self, Failure> {
        let failed = |what: &'static str| move |why: io::Error| Failure::internal(what, why);
        let cgroup = Cgroup::create(
            cgroup_root,
            &format!("drainwatch-demo-{}-{kind}", std::process::id()),
        )?;
        let program = std::env::current_exe().map_err(failed("this program cannot be found"))?;
        let child = Command::new(program)
            .args(["demo-server", &format!("--{kind}"), "--cgroup"])
            .arg(cgroup.dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let mut process = Reaped(child.map_err(failed("the demo's server did not start"))?);
        let stdout = process.0.stdout.take().map(OwnedFd::from);
        let stdout = stdout.ok_or_else(|| Failure::internal("the demo's server", "has no output"))?;
        let stdout =
            pipe::Receiver::from_owned_fd(stdout).map_err(failed("the demo's server is not readable"))?;
        Ok(Self {
            process,
            lines: BufReader::new(stdout).lines(),
            cgroup,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// Last part of its cgroup's path.
    pub fn cgroup_name(&self) -> String {
        self.cgroup
            .dir()
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    /// Waits until it listens.
    pub async fn listening(&mut self) -> Result<SocketAddr, Failure> {
        let line = self.line().await?;
        line.strip_prefix("listening ")
            .and_then(|address| address.parse().ok())
            .ok_or_else(|| {
                Failure::internal(
                    "the demo's server",
                    format!("said `{line}` instead of its address"),
                )
            })
    }

    /// Waits until it has read so many requests.
    pub async fn requests(&mut self, count: u64) -> Result<(), Failure> {
        for _ in 0..count {
            self.line().await?;
        }
        Ok(())
    }

    async fn line(&mut self) -> Result<String, Failure> {
        let line = self
            .lines
            .next_line()
            .await
            .map_err(|why| Failure::internal("the demo's server", why))?;
        line.ok_or_else(|| Failure::internal("the demo's server", "ended by itself; its message is above"))
    }
}

/// `drainwatch demo-server`: says where it listens, then `request` for each request that it has read.
pub fn serve(args: &DemoServerArgs) -> Result<(), Failure> {
    // It must not outlive the demo, however that ends.
    set_pdeathsig(Signal::SIGKILL)
        .map_err(|why| Failure::internal("the demo's server cannot be tied to it", why))?;
    // Into its cgroup before it opens a socket: `0` is the writer itself.
    fs::write(args.cgroup.join("cgroup.procs"), "0").map_err(|why| {
        Failure::unavailable(format!(
            "cannot enter the cgroup {}: {why}",
            args.cgroup.display()
        ))
    })?;
    runtime()?
        .block_on(listen(args.kind.good))
        .map_err(|why| Failure::internal("the demo's server failed", why))
}

async fn listen(drains: bool) -> io::Result<()> {
    // The whole difference: without a handler, SIGTERM's default action ends the process at once.
    let mut term = if drains {
        Some(signal(SignalKind::terminate())?)
    } else {
        None
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    say(&format!("listening {}", listener.local_addr()?))?;
    let mut requests = JoinSet::new();
    loop {
        let stopped = async {
            match &mut term {
                Some(term) => term.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = listener.accept() => drop(requests.spawn(answer(accepted?.0))),
            Some(_) = requests.join_next() => {}
            _ = stopped => break,
        }
    }
    drop(listener);
    while requests.join_next().await.is_some() {}
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// One request: takes as long as its query says, with the first half of the response early if that says so.
async fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > HEAD_BYTES || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    say("request")?;
    let head = String::from_utf8_lossy(&head);
    let number = |name: &str| {
        let (_, value) = head.split_once(name)?;
        value
            .split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse::<u64>()
            .ok()
    };
    let wait = Duration::from_millis(number("wait=").unwrap_or_default().min(LONGEST_MS));
    let response = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    let early = if number("early=") == Some(1) {
        response.len() - BODY.len() / 2
    } else {
        0
    };
    stream.write_all(&response.as_bytes()[..early]).await?;
    tokio::time::sleep(wait).await;
    stream.write_all(&response.as_bytes()[early..]).await?;
    stream.shutdown().await
}
