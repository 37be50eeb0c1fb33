//! Starting a case's server: command, environment, wrapping, readiness.

use std::{
    collections::HashMap,
    env, fs,
    fs::File,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use nix::{
    sched::{CloneFlags, setns},
    unistd::Pid,
};
use procfs::{net::TcpNetEntry, net::TcpState, process::Process};
use testkit::{
    Clock,
    process::{command, spawn, tail},
};

use crate::{
    engine::{self, Contained, Order},
    home::Home,
    prepare::Artefacts,
    table::{Around, HTTP2, Net, Python, Server},
};

/// The shell scripts that people put in front of their servers.
const WAIT: &str = r#""$@" & wait"#;
/// `exit` in the trap leaves the server behind, as such scripts do.
const TRAP: &str = r#"trap "exit 0" TERM; "$@" & wait"#;

fn shell(script: &str) -> Vec<String> {
    vec!["sh".to_owned(), "-c".into(), script.into(), "sh".into()]
}

/// A started server process (or its wrapper).
#[derive(Debug)]
pub struct Started {
    /// Our child: the server itself, the shell, or `unshare`.
    pub child: Child,
    /// Where clients find it.
    pub address: SocketAddr,
    /// Any process of its network namespace; the main process.
    pub main: Pid,
}

/// Where and how to start.
#[derive(Debug)]
pub struct Setting<'a> {
    /// Binaries and scripts.
    pub artefacts: &'a Artefacts,
    /// The case's directory, for this server.
    pub directory: &'a Path,
    /// The server's cgroup.
    pub cgroup: &'a Home,
    /// Deadlines.
    pub clock: Clock,
    /// Addresses.
    pub net: Net,
    /// Wrapping.
    pub around: Around,
    /// Where to listen.
    pub port: u16,
    /// nginx's upstream.
    pub upstream: Option<SocketAddr>,
    /// The server is a runtime's: it is found at an address that only the runtime knows.
    pub hosted: bool,
}

impl Setting<'_> {
    fn host(&self) -> &'static str {
        match self.net {
            Net::V4 if self.hosted => "0.0.0.0",
            Net::V4 => "127.0.0.1",
            Net::V6 => "::1",
            Net::Mapped => "::",
        }
    }

    fn dialled(&self) -> SocketAddr {
        let host: IpAddr = match self.net {
            Net::V4 | Net::Mapped => Ipv4Addr::LOCALHOST.into(),
            Net::V6 => Ipv6Addr::LOCALHOST.into(),
        };
        SocketAddr::new(host, self.port)
    }

    /// Starts `server` inside the cgroup. It need not listen yet.
    pub fn start(&self, server: Server) -> anyhow::Result<Started> {
        fs::create_dir_all(self.directory)?;
        let (words, variables) = self.command(server)?;
        let harness = env::current_exe()?.display().to_string();
        let enter = |directory: &Path| {
            let mut words = vec![harness.clone(), "__enter".into(), "--cgroup".into()];
            words.push(directory.display().to_string());
            if self.around == Around::NetNamespace {
                words.push("--netns".into());
            }
            words.push("--".into());
            words
        };
        let (outer, enter) = (enter(self.cgroup.directory()), enter(self.cgroup.inside()));
        let unshare = || {
            ["unshare", "--fork", "--pid", "--kill-child"]
                .map(str::to_owned)
                .to_vec()
        };
        let line = match self.around {
            Around::Nothing | Around::NetNamespace => [enter, words].concat(),
            Around::Shell => [enter, shell(WAIT), words].concat(),
            Around::TrapShell => [enter, shell(TRAP), words].concat(),
            // unshare stays outside the cgroup, as a container runtime does.
            Around::PidNamespace | Around::Container => [unshare(), enter, words].concat(),
            Around::ContainerShells => [unshare(), outer, shell(WAIT), enter, shell(WAIT), words].concat(),
            Around::PidNamespaceShell => [unshare(), enter, shell(WAIT), words].concat(),
            Around::PidNamespaceTrapShell => [unshare(), enter, shell(TRAP), words].concat(),
        };
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.directory.join("server.log"))?;
        let mut server = command(&line[0]);
        server
            .args(&line[1..])
            .envs(self.variables(variables))
            .current_dir(self.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let mut started = Started {
            main: Pid::from_raw(0),
            child: spawn(&mut server)?,
            address: self.dialled(),
        };
        self.clock
            .until("the server's first process", Duration::from_secs(20), || {
                if let Some(status) = started.child.try_wait()? {
                    bail!("the server ended at once ({status}): {}", self.log());
                }
                let first = self.cgroup.processes()?.first().copied();
                started.main = first.unwrap_or(started.main);
                Ok(first.is_some())
            })?;
        Ok(started)
    }

    /// Has a runtime start `server`.
    pub fn start_hosted(
        &self,
        engine: &engine::Running,
        server: Server,
        name: &str,
        options: &[&str],
    ) -> anyhow::Result<Contained> {
        fs::create_dir_all(self.directory)?;
        let (words, variables) = self.command(server)?;
        let line = match self.around {
            Around::Nothing => words,
            Around::Shell => [shell(WAIT), words].concat(),
            Around::TrapShell => [shell(TRAP), words].concat(),
            other => bail!("{other:?} is what the harness makes, not a runtime"),
        };
        engine.run(&Order {
            name,
            options: options.iter().map(|option| option.replace("{}", name)).collect(),
            line: &line,
            lives: !matches!(server, Server::Brief),
            variables: self.variables(variables),
            directory: self.directory,
            artefacts: self.artefacts,
        })
    }

    /// What every server is told, and what this one is.
    fn variables(&self, own: HashMap<&'static str, String>) -> Vec<(String, String)> {
        let path = |path: &Path| path.display().to_string();
        let every = [
            ("LEDGER_DIR", path(self.directory)),
            ("LEDGER_HOST", self.host().to_owned()),
            ("LEDGER_PORT", self.port.to_string()),
            ("PYTHONPATH", path(&self.artefacts.servers)),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ];
        let all = own.into_iter().chain(every);
        all.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Waits until something listens on the port of a process that is not our child.
    pub fn wait_hosted(&self, main: Pid) -> anyhow::Result<()> {
        self.clock.until("the listener", Duration::from_secs(30), || {
            if Process::new(main.as_raw()).is_err() {
                bail!("the server ended before it listened: {}", self.log());
            }
            Ok(is_listening(main, self.port))
        })
    }

    /// Waits until something listens on the port.
    pub fn wait_listening(&self, started: &mut Started) -> anyhow::Result<()> {
        self.clock.until("the listener", Duration::from_secs(30), || {
            if let Some(status) = started.child.try_wait()? {
                bail!("the server ended before it listened ({status}): {}", self.log());
            }
            Ok(is_listening(started.main, self.port))
        })
    }

    /// The end of what the server wrote.
    pub fn log(&self) -> String {
        tail(&self.directory.join("server.log"))
    }

    fn command(&self, server: Server) -> anyhow::Result<(Vec<String>, HashMap<&'static str, String>)> {
        let Artefacts {
            servers, go, venv, ..
        } = self.artefacts;
        let path = |path: PathBuf| path.display().to_string();
        let harness = || env::current_exe().map(path);
        let mut variables = HashMap::new();
        let mut told = |on_term: &str| {
            variables.insert("LEDGER_ON_TERM", on_term.to_owned());
        };
        let module = |name: &str, fixed: &[&str], extra: &[&str], app: &str| {
            let program = [path(venv.join("bin/python")), "-m".to_owned(), name.to_owned()];
            let words = fixed.iter().chain(extra).chain([&app]).map(ToString::to_string);
            program.into_iter().chain(words).collect()
        };
        let bind = match self.net {
            Net::V4 => format!("{}:{}", self.host(), self.port),
            Net::V6 | Net::Mapped => format!("[{}]:{}", self.host(), self.port),
        };
        let words = match server {
            Server::Hyper(on_term) => {
                told(on_term);
                vec![harness()?, "__hyper".into()]
            }
            Server::Raw(on_term) => {
                told(on_term);
                vec![harness()?, "__raw".into()]
            }
            Server::Node(on_term) => {
                told(on_term);
                vec!["node".into(), path(servers.join("server.js"))]
            }
            Server::NodeHttp2(on_term) => {
                told(on_term);
                vec!["node".into(), path(servers.join("server.js")), "http2".into()]
            }
            Server::NodeHeads(on_term, heads) => {
                told(on_term);
                variables.insert("LEDGER_HEADS", heads.to_owned());
                vec!["node".into(), path(servers.join("server.js"))]
            }
            Server::Go(on_term) => {
                told(on_term);
                vec![path(go.clone())]
            }
            Server::Python(Python {
                http,
                threads,
                on_term,
                slow_start,
            }) => {
                told(on_term);
                variables.insert("LEDGER_HTTP", http.into());
                variables.insert("LEDGER_THREADS", threads.into());
                variables.insert("LEDGER_SLOW_START", slow_start.into());
                vec![
                    path(venv.join("bin/python")),
                    path(servers.join("http_server.py")),
                ]
            }
            Server::Gunicorn(extra) => {
                let config = path(servers.join("gunicorn.conf.py"));
                // Heartbeat files in memory: the default directory may be a slow disk.
                let fixed = [
                    "-b",
                    &bind,
                    "-c",
                    &config,
                    "--keep-alive",
                    "600",
                    "--worker-tmp-dir",
                    "/dev/shm",
                ];
                module("gunicorn", &fixed, extra, "wsgi_app:app")
            }
            Server::Uvicorn(extra) => {
                let port = self.port.to_string();
                let fixed = [
                    "--host",
                    self.host(),
                    "--port",
                    &port,
                    "--timeout-keep-alive",
                    "600",
                ];
                module("uvicorn", &fixed, extra, "asgi_app:app")
            }
            Server::Hypercorn(extra) => {
                let fixed = ["--bind", &bind, "--keep-alive", "600"];
                module("hypercorn", &fixed, extra, "asgi_app:app")
            }
            Server::Brief => ["sh", "-c", "sleep 0.05; exit 3"].map(str::to_owned).to_vec(),
            Server::Nginx { extra, .. } => {
                let file = self.nginx_files(&bind, extra)?;
                vec!["nginx".into(), "-c".into(), path(file)]
            }
        };
        Ok((words, variables))
    }

    /// Writes nginx's configuration and static files.
    fn nginx_files(&self, bind: &str, extra: &str) -> anyhow::Result<PathBuf> {
        let template = fs::read_to_string(self.artefacts.servers.join("nginx/nginx.conf"))?;
        let upstream = self.upstream.context("nginx needs an upstream address")?;
        let config = template
            .replace("@DIR@", &self.directory.display().to_string())
            .replace(
                "@LISTEN@",
                &if extra == HTTP2 {
                    format!("{bind} http2")
                } else {
                    bind.into()
                },
            )
            .replace("@UPSTREAM@", &upstream.to_string())
            .replace("@EXTRA@", extra);
        let file = self.directory.join("nginx.conf");
        fs::write(&file, config)?;
        let files = self.directory.join("static");
        fs::create_dir_all(&files)?;
        fs::write(files.join("ok"), "ok")?;
        File::create(files.join("big"))?.set_len(300_000)?;
        File::create(files.join("huge"))?.set_len(50_000_000)?;
        Ok(file)
    }
}

/// Whether `program` can be run: an absolute path, or a name on `PATH`.
pub fn runnable(program: &str) -> bool {
    let executable = |file: &Path| {
        fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return executable(Path::new(program));
    }
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|dir| executable(&dir.join(program))))
}

/// The TCP sockets of a process's network namespace, addresses in canonical form.
fn sockets(pid: Pid) -> Vec<TcpNetEntry> {
    let Ok(process) = Process::new(pid.as_raw()) else {
        return vec![];
    };
    let mut all = process.tcp().unwrap_or_default();
    all.extend(process.tcp6().unwrap_or_default());
    for socket in &mut all {
        socket.local_address = canonical(socket.local_address);
        socket.remote_address = canonical(socket.remote_address);
    }
    all
}

/// `[::ffff:127.0.0.1]:80` → `127.0.0.1:80`.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Something listens on `port` in the network namespace of `pid`.
pub fn is_listening(pid: Pid, port: u16) -> bool {
    sockets(pid)
        .iter()
        .any(|s| s.state == TcpState::Listen && s.local_address.port() == port)
}

/// Every thread of a process is stopped.
pub fn is_stopped(pid: Pid) -> anyhow::Result<bool> {
    for thread in Process::new(pid.as_raw())?.tasks()? {
        if thread?.stat()?.state != 'T' {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Bytes that nobody has read at the server's end of the connection from `client`; `None` when the
/// server's kernel has no such connection (any more). `pid` is any process of the network namespace.
pub fn unread(pid: Pid, port: u16, client: SocketAddr) -> Option<u32> {
    let open = [TcpState::Established, TcpState::CloseWait];
    let all = sockets(pid);
    let ours = all.iter().find(|s| {
        open.contains(&s.state) && s.local_address.port() == port && s.remote_address == canonical(client)
    });
    // A FIN counts one until it is read.
    ours.map(|socket| {
        socket
            .rx_queue
            .saturating_sub(u32::from(socket.state == TcpState::CloseWait))
    })
}

/// The peer's kernel has acknowledged everything that was written to the connection at `client`. On a busy machine
/// even loopback takes its time.
pub fn is_taken(client: SocketAddr) -> bool {
    sockets(Pid::this())
        .iter()
        .filter(|socket| socket.local_address == canonical(client))
        .all(|socket| socket.tx_queue == 0)
}

/// The server's end of the connection from `client` has seen its FIN, or is gone.
pub fn has_left(pid: Pid, port: u16, client: SocketAddr) -> bool {
    !sockets(pid).iter().any(|s| {
        s.state == TcpState::Established
            && s.local_address.port() == port
            && s.remote_address == canonical(client)
    })
}

/// Runs `inside` in another network namespace, on this thread, and comes back.
pub fn in_netns<T>(netns: &File, inside: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let home = File::open("/proc/thread-self/ns/net")?;
    setns(netns, CloneFlags::CLONE_NEWNET).context("cannot enter the server's network namespace")?;
    let result = inside();
    setns(&home, CloneFlags::CLONE_NEWNET).context("cannot leave the server's network namespace")?;
    result
}
