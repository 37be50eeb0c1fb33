//! A service of a workload, and what is asked of it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
};

use anyhow::ensure;
use nix::sys::signal::{Signal, kill};
use testkit::{Clock, Port};

use super::SOON;
use crate::{
    home::Home,
    prepare::Artefacts,
    server::{Setting, Started},
    table::{Around, Net, Server},
};

/// A server in its workload's cgroup.
#[derive(Debug)]
pub struct Service {
    started: Started,
    directory: PathBuf,
    clock: Clock,
    _port: Port,
}

impl Service {
    /// Starts it and waits until it listens.
    pub fn start(
        artefacts: &Artefacts,
        directory: &Path,
        cgroup: &Home,
        clock: Clock,
        server: Server,
    ) -> anyhow::Result<Self> {
        let port = Port::find()?;
        let setting = Setting {
            artefacts,
            directory,
            cgroup,
            clock,
            net: Net::V4,
            around: Around::Nothing,
            port: port.number,
            upstream: None,
            hosted: false,
        };
        let mut started = setting.start(server)?;
        setting.wait_listening(&mut started)?;
        Ok(Self {
            started,
            directory: directory.into(),
            clock,
            _port: port,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.started.address
    }

    /// Waits until it has told of a moment.
    pub fn until_said(&self, line: &str) -> anyhow::Result<()> {
        let events = self.directory.join("events");
        self.clock.until(line, SOON, || {
            let text = fs::read_to_string(&events).unwrap_or_default();
            Ok(text.lines().any(|said| said.trim_end() == line))
        })
    }

    /// Signals its main process.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill(self.started.main, signal)?)
    }

    /// Lets handlers that hang finish.
    pub fn release(&self) -> anyhow::Result<()> {
        Ok(fs::write(self.directory.join("release"), "")?)
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> anyhow::Result<()> {
        let child = &mut self.started.child;
        self.clock
            .until("the service's end", SOON, || Ok(child.try_wait()?.is_some()))
    }

    /// Sends `GET TARGET`.
    pub fn get(&self, target: &str) -> anyhow::Result<Request> {
        Request::send(
            self.address(),
            &format!("GET {target} HTTP/1.1\r\nHost: shop\r\n\r\n"),
        )
    }

    /// Sends `POST /webhooks/stripe`; `act` is what the server is told to do.
    pub fn deliver(&self, act: &str) -> anyhow::Result<Request> {
        let head = format!(
            "POST /webhooks/stripe?do={act} HTTP/1.1\r\nHost: shop\r\nUser-Agent: Stripe/1.0\r\n\
             Stripe-Signature: t=1\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        Request::send(self.address(), &head)
    }
}

/// A request that stands on a connection of its own.
#[derive(Debug)]
pub struct Request(TcpStream);

impl Request {
    fn send(server: SocketAddr, bytes: &str) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&server, SOON)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.write_all(bytes.as_bytes())?;
        Ok(Self(stream))
    }

    /// Takes what there is until the server closes.
    pub fn read_all(&mut self) -> anyhow::Result<()> {
        std::io::copy(&mut self.0, &mut std::io::sink())?;
        Ok(())
    }

    /// Waits for the beginning of the body of a 200.
    pub fn read_begun(&mut self) -> anyhow::Result<()> {
        let mut text = String::new();
        let mut buffer = [0; 4096];
        while text
            .split_once("\r\n\r\n")
            .is_none_or(|(_, body)| body.is_empty())
        {
            let count = self.0.read(&mut buffer)?;
            ensure!(count > 0, "the answer ended before its body: {text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        ensure!(text.starts_with("HTTP/1.1 200"), "{text}");
        Ok(())
    }
}
