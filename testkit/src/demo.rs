//! The server of `drainwatch demo`, in a cgroup of the test's choice.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::ExitStatus,
};

use anyhow::Context as _;
use nix::sys::signal::Signal;

use crate::{Process, command};

/// How it takes SIGTERM.
#[derive(Debug, Clone, Copy)]
pub enum Manners {
    /// It drains.
    Good,
    /// It dies.
    Bad,
}

/// A server that runs. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts it and waits until it listens; `binary` is the agent's, `cgroup` a directory.
    pub fn start(binary: &str, manners: Manners, cgroup: &Path) -> anyhow::Result<Self> {
        let mut command = command(binary);
        let flag = match manners {
            Manners::Good => "--good",
            Manners::Bad => "--bad",
        };
        command.args(["demo-server", flag, "--cgroup"]).arg(cgroup);
        let process = Process::start(command)?;
        let line = process.line("listening ")?;
        let address = line.strip_prefix("listening ").and_then(|at| at.parse().ok());
        Ok(Self {
            process,
            address: address.with_context(|| format!("no address: {line}"))?,
        })
    }

    /// A request for `path` that it has read; `?wait=MS` says when it answers. Not for several threads at a time.
    pub fn ask(&self, path: &str) -> anyhow::Result<TcpStream> {
        let before = self.process.lines("request").len();
        let mut stream = TcpStream::connect(self.address)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n")?;
        self.process.line_after(before, "request")?;
        Ok(stream)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process.signal(signal)
    }

    /// How it ended, once it has.
    pub fn wait(&self) -> anyhow::Result<ExitStatus> {
        self.process.wait()
    }

    /// SIGTERM, and its end.
    pub fn stop(&self) -> anyhow::Result<ExitStatus> {
        self.process.stop().map(|(status, _)| status)
    }
}
