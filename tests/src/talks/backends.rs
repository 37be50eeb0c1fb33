//! The servers.

use std::{fs, net::TcpStream, path::Path, process::Command};

use anyhow::{Context as _, bail, ensure};
use testkit::{Cgroup, Clock, Port, Process};

use super::{PATIENCE, Started, data, others, rpc, tls};

/// What listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// `PostgreSQL`.
    Postgres,
    /// `MariaDB`.
    MariaDb,
    /// Redis.
    Redis,
    /// `RabbitMQ`.
    RabbitMq,
    /// HTTP inside TLS.
    Tls(tls::Server),
    /// gRPC, by its library for Python.
    Grpc,
    /// Another.
    Other(others::Server),
    /// `RabbitMQ`, whose clients are workers of Celery.
    Celery,
    /// Redis, whose clients are workers of RQ.
    Rq,
}

impl Backend {
    /// Its name to `talk.py`, and to `--may-miss`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Postgres => "postgresql",
            Self::MariaDb => "mysql",
            Self::Redis => "redis",
            Self::RabbitMq => "amqp",
            Self::Tls(_) => "tls",
            Self::Grpc => "grpc",
            Self::Other(server) => server.word(),
            Self::Celery => "celery",
            Self::Rq => "rq",
        }
    }

    /// Its protocol, as reports name it.
    pub fn protocol(self) -> &'static str {
        match self {
            Self::Postgres => "postgresql",
            Self::MariaDb => "mysql",
            Self::Redis | Self::Rq => "redis",
            Self::RabbitMq | Self::Celery => "amqp",
            Self::Tls(_) => "tls",
            Self::Grpc => "http/2",
            Self::Other(server) => server.word(),
        }
    }

    /// How sure the agent can be of what it says.
    pub fn evidence(self) -> &'static str {
        if matches!(self, Self::Tls(_)) {
            "inferred"
        } else {
            "exact"
        }
    }

    /// Whom its clients ask for, where their protocol says so.
    pub fn host(self) -> Option<&'static str> {
        matches!(self, Self::Tls(_)).then_some(tls::HOST)
    }

    /// What must be there.
    pub fn program(self) -> String {
        match self {
            Self::Postgres => postgres("postgres"),
            Self::MariaDb => "mariadbd".to_owned(),
            Self::Redis => "redis-server".to_owned(),
            Self::RabbitMq => "/usr/lib/rabbitmq/bin/rabbitmq-server".to_owned(),
            Self::Tls(server) => server.program(),
            Self::Grpc => "python3".to_owned(),
            Self::Other(server) => server.program(),
            Self::Celery => Self::RabbitMq.program(),
            Self::Rq => Self::Redis.program(),
        }
    }

    /// Starts it in this cgroup; returns when it answers.
    pub fn start(
        self,
        cgroup: &Cgroup,
        port: &Port,
        directory: &Path,
        clock: Clock,
    ) -> anyhow::Result<Started> {
        match self {
            Self::Celery => return Self::RabbitMq.start(cgroup, port, directory, clock),
            Self::Rq => return Self::Redis.start(cgroup, port, directory, clock),
            _ => {}
        }
        let number = port.number.to_string();
        let data = data(directory);
        let at = data.display().to_string();
        fs::create_dir(&data)?;
        // Ports beside the one it is asked at: nobody else's until it listens.
        let mut ports = vec![];
        let mut behind = None;
        let mut names = None;
        let command = match self {
            Self::Postgres => postgres_command(cgroup, &number, &data)?,
            Self::MariaDb => mariadb_command(cgroup, &number, &data)?,
            Self::Redis => {
                let mut command = cgroup.command(&self.program());
                command.args([
                    "--port",
                    &number,
                    "--bind",
                    "127.0.0.1",
                    "--dir",
                    &at,
                    "--save",
                    "",
                    // A script that runs on has it answer nobody, ever.
                    "--lua-time-limit",
                    "0",
                ]);
                command
            }
            Self::RabbitMq => {
                ports.extend([Port::find()?, Port::find()?]);
                let [names_at, nodes_at] =
                    [0, 1].map(|at| ports.get(at).map_or(0, |port| port.number).to_string());
                names = Some(node_names(&names_at, directory, clock)?);
                rabbitmq_command(cgroup, &number, &data, &names_at, &nodes_at)
            }
            Self::Tls(server) => server.command(cgroup, &number, &data)?,
            Self::Grpc => rpc::command(cgroup, &number),
            Self::Other(others::Server::PgBouncer) => {
                let (started, port) = others::behind(directory, clock)?;
                behind = Some(started);
                others::bouncer_command(cgroup, &number, &data, port)?
            }
            Self::Other(server) => server.command(cgroup, &number, &data)?,
            Self::Celery | Self::Rq => bail!("its server is another's"),
        };
        let process = Process::start_logging(command, &directory.join("server.log"), clock)?;
        match self {
            Self::Postgres => drop(process.line("ready to accept connections")?),
            Self::MariaDb => drop(process.line("ready for connections")?),
            Self::Redis => drop(process.line("Ready to accept connections")?),
            Self::RabbitMq => drop(process.line("completed with")?),
            Self::Tls(_) | Self::Grpc | Self::Other(_) | Self::Celery | Self::Rq => {}
        }
        clock.until("the server to listen", PATIENCE, || {
            process.check_alive()?;
            Ok(TcpStream::connect(port.address()).is_ok())
        })?;
        Ok(Started {
            _behind: behind,
            _names: names,
            ..Started::new(process, cgroup)?
        })
    }
}

fn postgres_command(cgroup: &Cgroup, number: &str, data: &Path) -> anyhow::Result<Command> {
    let at = data.display().to_string();
    // It refuses to run as root.
    owned_by("postgres", data)?;
    run(as_user("postgres", &postgres("initdb")).args(["-D", &at, "-A", "trust", "-N"]))?;
    let mut command = cgroup.command("setpriv");
    command.args(USER).args(["postgres", "--regid", "postgres"]);
    command
        .arg(Backend::Postgres.program())
        .args(["-D", &at, "-p", number]);
    for setting in ["fsync=off", "autovacuum=off", "logging_collector=off"] {
        command.args(["-c", setting]);
    }
    command.args(["-c", &format!("unix_socket_directories={at}")]);
    Ok(command)
}

/// The daemon by which nodes of Erlang find each other: each `RabbitMQ` has one to itself, which is no part of it, as it
/// outlives the broker.
fn node_names(port: &str, directory: &Path, clock: Clock) -> anyhow::Result<Process> {
    let mut command = testkit::process::command("epmd");
    command.args(["-port", port, "-address", "127.0.0.1"]);
    Process::start_logging(command, &directory.join("epmd.log"), clock)
}

fn rabbitmq_command(cgroup: &Cgroup, number: &str, data: &Path, names: &str, nodes: &str) -> Command {
    let at = data.display().to_string();
    let mut command = cgroup.command(&Backend::RabbitMq.program());
    for (name, value) in [
        ("HOME", at.as_str()),
        ("ERL_EPMD_PORT", names),
        ("RABBITMQ_DIST_PORT", nodes),
        ("RABBITMQ_NODENAME", &format!("ledger{number}@localhost")),
        ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1"),
        ("RABBITMQ_NODE_PORT", number),
        ("RABBITMQ_MNESIA_BASE", &at),
        ("RABBITMQ_LOG_BASE", &at),
        ("RABBITMQ_CONFIG_FILE", &format!("{at}/none")),
        ("RABBITMQ_CONF_ENV_FILE", &format!("{at}/none")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", &format!("{at}/plugins")),
        // Where it fails to start, what it says of that is in its log.
        ("ERL_CRASH_DUMP", "/dev/null"),
    ] {
        command.env(name, value);
    }
    command
}

fn mariadb_command(cgroup: &Cgroup, number: &str, data: &Path) -> anyhow::Result<Command> {
    let at = data.display().to_string();
    owned_by("mysql", data)?;
    // One that starts removes the temporary tables of all others in the same directory, as left over from a crash.
    let temporary = data.with_file_name("temporary");
    fs::create_dir(&temporary)?;
    owned_by("mysql", &temporary)?;
    let temporary = format!("--tmpdir={}", temporary.display());
    run(as_user("mysql", "mariadb-install-db").args([
        "--no-defaults",
        "--skip-test-db",
        "--auth-root-authentication-method=normal",
        &temporary,
        &format!("--datadir={at}"),
    ]))?;
    let begin = data.join("begin.sql");
    fs::write(&begin, BEGIN)?;
    let mut command = cgroup.command("setpriv");
    command.args(USER).args(["mysql", "--regid", "mysql"]);
    command.arg(Backend::MariaDb.program()).args([
        "--no-defaults",
        "--bind-address=127.0.0.1",
        "--innodb-flush-log-at-trx-commit=0",
        "--plugin-load-add=ha_sequence",
    ]);
    let file = |option: &str, name: &str| format!("--{option}={at}/{name}");
    command.args([
        temporary,
        format!("--datadir={at}"),
        format!("--port={number}"),
        file("socket", "socket"),
        file("pid-file", "pid"),
        file("init-file", "begin.sql"),
    ]);
    Ok(command)
}

/// What `MariaDB` does first.
const BEGIN: &str = "create database test;\ncreate table test.t (n int);\ncreate user ledger@'127.0.0.1';\ngrant all on *.* to ledger@'127.0.0.1';\n";

pub(super) const USER: [&str; 2] = ["--clear-groups", "--reuid"];

/// Debian's newest.
fn postgres(program: &str) -> String {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let newest = versions
        .filter_map(|version| version.file_name().to_str()?.parse::<u32>().ok())
        .max();
    let version = newest.map_or_else(|| "none".to_owned(), |version| version.to_string());
    format!("/usr/lib/postgresql/{version}/bin/{program}")
}

fn as_user(user: &str, program: &str) -> Command {
    let mut command = testkit::process::command("setpriv");
    command.args(USER).args([user, "--regid", user, program]);
    command
}

pub(super) fn owned_by(user: &str, path: &Path) -> anyhow::Result<()> {
    run(testkit::process::command("chown").arg(user).arg(path))
}

pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}{}",
        // What went wrong comes first: long messages are cut at their end.
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    Ok(())
}
