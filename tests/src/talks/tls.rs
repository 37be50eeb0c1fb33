//! HTTP inside TLS: who serves it, and what must be told of it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::Command,
    thread,
};

use nix::sys::signal::Signal;
use testkit::Cgroup;

use super::{
    Backend, By, Ended, Line, Talk,
    backends::run,
    table::{idle, talk, unclear},
};
use crate::prepare::Artefacts;

/// Who serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// nginx.
    Nginx,
    /// Node.
    Node,
    /// Python's own `ssl`.
    Python,
    /// Go's `crypto/tls`.
    Go,
    /// stunnel, in front of something in clear.
    Stunnel,
}

/// Whom its clients ask for.
pub const HOST: &str = "hooks.example.com";

impl Server {
    /// What must be there.
    pub fn program(self) -> String {
        match self {
            Self::Nginx => "nginx".into(),
            Self::Node => "node".into(),
            Self::Python => "python3".into(),
            Self::Go => Artefacts::locate().go_tls.display().to_string(),
            Self::Stunnel => "stunnel4".into(),
        }
    }

    /// The command that starts it in this cgroup.
    pub fn command(self, cgroup: &Cgroup, port: &str, data: &Path) -> anyhow::Result<Command> {
        let file = |name: &str| data.join(name).display().to_string();
        let (certificate, key) = (file("certificate.pem"), file("key.pem"));
        run(testkit::process::command("openssl").args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            "/CN=ledger",
            "-keyout",
            &key,
            "-out",
            &certificate,
        ]))?;
        let mut command = cgroup.command(&self.program());
        let scripts = Artefacts::locate().servers.join("tls");
        let configuration = file("configuration");
        match self {
            Self::Nginx => {
                let text = fs::read_to_string(scripts.join("nginx.conf"))?;
                let text = text
                    .replace("@DIR@", &data.display().to_string())
                    .replace("@PORT@", port)
                    .replace("@UPSTREAM@", &upstream()?);
                fs::write(&configuration, text)?;
                command.args(["-c", &configuration]);
            }
            Self::Stunnel => {
                let upstream = upstream()?;
                let text = format!(
                    "foreground = yes\npid =\nsyslog = no\n[https]\naccept = 127.0.0.1:{port}\nconnect = {upstream}\n\
                     cert = {certificate}\nkey = {key}\n"
                );
                fs::write(&configuration, text)?;
                command.arg(&configuration);
            }
            Self::Node | Self::Python => {
                let script = if self == Self::Node {
                    "server.js"
                } else {
                    "server.py"
                };
                command.arg(scripts.join(script)).args([port, &certificate, &key]);
            }
            Self::Go => {
                command.args([port, &certificate, &key]);
            }
        }
        Ok(command)
    }
}

/// Something in clear behind what speaks TLS, in nobody's workload: `/quick` is answered, `/hang` is not.
fn upstream() -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(1..) = stream.read(&mut buffer) {
                    if buffer.starts_with(b"GET /quick")
                        && stream
                            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ndone\n")
                            .is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    Ok(address)
}

/// Asked, and not answered.
const fn lost(mode: &'static str) -> Line {
    Line {
        cut: Some(("unanswered", None)),
        ..idle(mode)
    }
}

/// A call of the clients' own.
const fn call(mode: &'static str) -> Line {
    Line {
        cut: Some(("outbound", None)),
        ..idle(mode)
    }
}

/// All of them.
pub fn all() -> Vec<Talk> {
    use Server::{Go, Nginx, Node, Python, Stunnel};
    // HTTP/1 by agreement, in both versions; nothing else shows what is inside. What Go answers to the first request may be
    // a ticket, by its size: so of those that stay idle there are two.
    const LOST: &[Line] = &[
        lost("post"),
        lost("post12"),
        lost("again"),
        lost("again12"),
        lost("curl-1"),
        lost("silent-again"),
        idle("fresh"),
        idle("fresh12"),
        idle("idle12"),
        idle("twice"),
        unclear("h2-h2hang"),
        unclear("h2-h2idle"),
        unclear("curl"),
    ];
    const IDLE: &[Line] = &[
        idle("fresh"),
        idle("fresh12"),
        idle("idle12"),
        idle("twice"),
        unclear("h2-h2idle"),
    ];
    const ONE: &[Line] = &[
        lost("post"),
        lost("post12"),
        lost("again"),
        lost("again12"),
        lost("curl-1"),
        lost("both-post12"),
        idle("fresh"),
        idle("fresh12"),
        idle("idle"),
        idle("idle12"),
        idle("both-idle12"),
        unclear("both-post"),
        unclear("both-idle"),
    ];
    const ONE_IDLE: &[Line] = &[
        idle("fresh"),
        idle("fresh12"),
        idle("idle"),
        idle("idle12"),
        idle("both-idle12"),
        unclear("both-idle"),
    ];
    const BEHIND: &[Line] = &[
        lost("post"),
        lost("post12"),
        lost("again"),
        idle("fresh"),
        idle("idle"),
        idle("idle12"),
    ];
    const BEHIND_IDLE: &[Line] = &[idle("fresh"), idle("idle"), idle("idle12")];
    const CALLS: &[Line] = &[
        call("post"),
        call("post12"),
        call("again"),
        call("again12"),
        idle("fresh"),
        idle("fresh12"),
        idle("idle"),
        idle("idle12"),
        unclear("h2-h2hang"),
        unclear("h2-h2idle"),
    ];
    let row = |name, server, ended, by, lines| talk(name, Backend::Tls(server), ended, by, lines);
    let kill = By::Signal(Signal::SIGKILL);
    let stop = By::Signal(Signal::SIGTERM);
    vec![
        row("tls/nginx/kill", Nginx, Ended::Server, By::CgroupKill, LOST),
        row("tls/nginx/stop-idle", Nginx, Ended::Server, stop, IDLE),
        row("tls/node/kill", Node, Ended::Server, kill, LOST),
        row("tls/node/stop-idle", Node, Ended::Server, stop, IDLE),
        row("tls/go/kill", Go, Ended::Server, kill, LOST),
        row("tls/go/stop-idle", Go, Ended::Server, stop, IDLE),
        row("tls/python/kill", Python, Ended::Server, kill, ONE),
        Talk {
            may: &["no_handler"],
            ..row("tls/python/stop-idle", Python, Ended::Server, stop, ONE_IDLE)
        },
        row("tls/stunnel/kill", Stunnel, Ended::Server, kill, BEHIND),
        row("tls/stunnel/stop-idle", Stunnel, Ended::Server, stop, BEHIND_IDLE),
        row("tls/clients/kill", Nginx, Ended::Clients, kill, CALLS),
        row("tls/clients/stop", Node, Ended::Clients, stop, IDLE),
    ]
}
