//! memcached, `MongoDB`, MQTT, NATS and SMTP.

use std::{path::Path, process::Command};

use nix::sys::signal::Signal;
use testkit::{Cgroup, Clock, Port};

use super::{
    Backend, By, Ended, Line, Started, Talk,
    backends::{USER, owned_by},
    table::{cut, idle, in_transaction, outbound, talk, unclear},
};
use crate::prepare::Artefacts;

/// What listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// memcached.
    Memcached,
    /// What speaks `MongoDB`'s protocol: Debian has no server.
    MongoDb,
    /// Mosquitto.
    Mqtt,
    /// nats-server.
    Nats,
    /// aiosmtpd.
    Smtp,
    /// PHP-FPM.
    Php,
    /// `PgBouncer`, in front of a `PostgreSQL` in a cgroup of its own.
    PgBouncer,
}

impl Server {
    /// Its protocol, as reports name it, and its name to `talk.py`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Memcached => "memcached",
            Self::MongoDb => "mongodb",
            Self::Mqtt => "mqtt",
            Self::Nats => "nats",
            Self::Smtp => "smtp",
            Self::Php => "fastcgi",
            Self::PgBouncer => "postgresql",
        }
    }

    /// What must be there.
    pub fn program(self) -> String {
        match self {
            Self::Memcached => "memcached".into(),
            Self::Mqtt => "/usr/sbin/mosquitto".into(),
            Self::Nats => "/usr/sbin/nats-server".into(),
            Self::Php => php(),
            Self::PgBouncer => "/usr/sbin/pgbouncer".into(),
            Self::MongoDb | Self::Smtp => Artefacts::locate().venv.join("bin/python").display().to_string(),
        }
    }

    /// The command that starts it in this cgroup.
    pub fn command(self, cgroup: &Cgroup, port: &str, data: &Path) -> anyhow::Result<Command> {
        let mut command = cgroup.command(&self.program());
        let script = |name: &str| Artefacts::locate().servers.join(name);
        match self {
            Self::Memcached => {
                command.args(["-u", "nobody", "-l", "127.0.0.1", "-U", "0", "-p", port]);
            }
            Self::Mqtt => {
                let configuration = data.join("mosquitto.conf");
                let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n");
                std::fs::write(&configuration, text)?;
                command.arg("-c").arg(configuration);
            }
            Self::Nats => {
                command.args(["--addr", "127.0.0.1", "--port", port]);
            }
            Self::MongoDb => {
                command.arg(script("mongo.py")).arg(port);
            }
            Self::Smtp => {
                command.arg(script("smtp.py")).arg(port);
            }
            Self::Php => {
                let configuration = data.join("php-fpm.conf");
                let text = format!(
                    "[global]\nerror_log = {0}/log\ndaemonize = no\n[www]\nuser = root\nlisten = 127.0.0.1:{port}\n\
                     pm = static\npm.max_children = 8\n",
                    data.display()
                );
                std::fs::write(&configuration, text)?;
                command
                    .arg("--allow-to-run-as-root")
                    .arg("-n")
                    .arg("-y")
                    .arg(configuration);
            }
            Self::PgBouncer => anyhow::bail!("it is started with what it stands in front of"),
        }
        Ok(command)
    }
}

/// A server that another stands in front of, in a cgroup of its own.
#[derive(Debug)]
pub struct Behind {
    _started: Box<Started>,
    _cgroup: Cgroup,
    _port: Port,
}

/// Starts a `PostgreSQL` for `PgBouncer`; says at which port.
pub fn behind(directory: &Path, clock: Clock) -> anyhow::Result<(Behind, u16)> {
    let (cgroup, port) = (Cgroup::unique("talk-behind")?, Port::find()?);
    let directory = directory.join("behind");
    std::fs::create_dir(&directory)?;
    let started = Backend::Postgres.start(&cgroup, &port, &directory, clock)?;
    let number = port.number;
    let behind = Behind {
        _started: Box::new(started),
        _cgroup: cgroup,
        _port: port,
    };
    Ok((behind, number))
}

/// The command that starts `PgBouncer` in front of this port.
pub fn bouncer_command(cgroup: &Cgroup, port: &str, data: &Path, behind: u16) -> anyhow::Result<Command> {
    let (configuration, users) = (data.join("pgbouncer.ini"), data.join("users"));
    let text = format!(
        "[databases]\npostgres = host=127.0.0.1 port={behind}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = transaction\n",
        users.display()
    );
    std::fs::write(&configuration, text)?;
    std::fs::write(&users, "\"postgres\" \"\"\n")?;
    owned_by("postgres", data)?;
    let mut command = cgroup.command("setpriv");
    command.args(USER).args(["postgres", "--regid", "postgres"]);
    command.arg(Server::PgBouncer.program()).arg(configuration);
    Ok(command)
}

/// Debian's.
fn php() -> String {
    let programs = std::fs::read_dir("/usr/sbin").into_iter().flatten().flatten();
    let names = programs.filter_map(|program| program.file_name().into_string().ok());
    let newest = names.filter(|name| name.starts_with("php-fpm")).max();
    format!("/usr/sbin/{}", newest.unwrap_or_else(|| "php-fpm".to_owned()))
}

const KILL: By = By::Signal(Signal::SIGKILL);
const STOP: By = By::Signal(Signal::SIGTERM);

/// All of them.
pub fn all() -> Vec<Talk> {
    [caches(), queues(), php_fpm(), bouncer()].concat()
}

fn row(name: &'static str, server: Server, ended: Ended, by: By, lines: &'static [Line]) -> Talk {
    // Python's servers have no handler.
    let talk = talk(name, Backend::Other(server), ended, by, lines);
    let may: &[_] = match talk.trigger {
        "stop" => &["no_handler", "exit_without_drain"],
        // Whoever loses a query asks at once whether the server is there.
        _ if server == Server::MongoDb => &["no_grace", "refused_after_close"],
        _ => talk.may,
    };
    Talk { may, ..talk }
}

fn caches() -> Vec<Talk> {
    use Ended::{Clients, Server as Serving};
    use Server::{Memcached, MongoDb};
    const IDLE: &[Line] = &[idle("idle"), idle("large"), idle("quiet"), idle("many")];
    // What it answers to many keys comes from more vectors than are looked at.
    const SERVED: &[Line] = &[idle("idle"), idle("large"), idle("quiet"), unclear("many")];
    const HALF: &[Line] = &[
        cut("half", "upload", "SET"),
        idle("idle"),
        idle("large"),
        idle("quiet"),
    ];
    const HALF_OURS: &[Line] = &[outbound("half", "SET"), idle("idle"), idle("large"), idle("many")];
    const MONGO_IDLE: &[Line] = &[idle("idle"), idle("found"), idle("unacknowledged")];
    const MONGO: &[Line] = &[
        cut("query", "unanswered", "find"),
        cut("write", "unanswered", "insert"),
        idle("idle"),
        idle("found"),
        idle("unacknowledged"),
    ];
    const MONGO_OURS: &[Line] = &[
        outbound("query", "find"),
        outbound("write", "insert"),
        idle("idle"),
        idle("found"),
    ];
    vec![
        row("memcached/server/kill", Memcached, Serving, KILL, HALF),
        row("memcached/server/stop-idle", Memcached, Serving, STOP, SERVED),
        row("memcached/clients/kill", Memcached, Clients, KILL, HALF_OURS),
        row("memcached/clients/stop", Memcached, Clients, STOP, IDLE),
        row("mongodb/server/kill", MongoDb, Serving, KILL, MONGO),
        row("mongodb/server/stop-idle", MongoDb, Serving, STOP, MONGO_IDLE),
        row("mongodb/clients/kill", MongoDb, Clients, KILL, MONGO_OURS),
        row("mongodb/clients/stop", MongoDb, Clients, STOP, MONGO_IDLE),
    ]
}

fn queues() -> Vec<Talk> {
    use Ended::{Clients, Server as Serving};
    use Server::{Mqtt, Nats, Smtp};
    const MQTT: &[Line] = &[
        idle("idle"),
        idle("quality0"),
        idle("quality1"),
        idle("quality2"),
        idle("subscribed"),
        idle("done"),
    ];
    const MQTT_OURS: &[Line] = &[
        outbound("job", "process"),
        idle("idle"),
        idle("quality0"),
        idle("quality1"),
        idle("done"),
    ];
    const NATS: &[Line] = &[idle("idle"), idle("subscribed"), unclear("published")];
    const NATS_IDLE: &[Line] = &[idle("idle"), idle("subscribed"), idle("asked")];
    const SMTP: &[Line] = &[
        cut("hangs", "unanswered", "send"),
        cut("half", "upload", "send"),
        idle("idle"),
        idle("sent"),
    ];
    const SMTP_OURS: &[Line] = &[
        outbound("hangs", "send"),
        outbound("half", "send"),
        idle("idle"),
        idle("sent"),
    ];
    const SMTP_IDLE: &[Line] = &[idle("idle"), idle("sent")];
    vec![
        row("mqtt/server/kill", Mqtt, Serving, KILL, MQTT),
        row("mqtt/server/stop-idle", Mqtt, Serving, STOP, MQTT),
        row("mqtt/clients/kill", Mqtt, Clients, KILL, MQTT_OURS),
        row("mqtt/clients/stop", Mqtt, Clients, STOP, MQTT),
        row("nats/server/kill", Nats, Serving, KILL, NATS),
        row("nats/server/stop-idle", Nats, Serving, STOP, NATS_IDLE),
        row("nats/clients/stop", Nats, Clients, STOP, NATS_IDLE),
        row("nats/clients/kill", Nats, Clients, KILL, NATS),
        row("smtp/server/kill", Smtp, Serving, KILL, SMTP),
        row("smtp/server/stop-idle", Smtp, Serving, STOP, SMTP_IDLE),
        row("smtp/clients/kill", Smtp, Clients, KILL, SMTP_OURS),
        row("smtp/clients/stop", Smtp, Clients, STOP, SMTP_IDLE),
    ]
}

fn php_fpm() -> Vec<Talk> {
    use Ended::{Clients, Server as Serving};
    use Server::Php;
    const LOST: &[Line] = &[
        cut("hang", "unanswered", "GET"),
        cut("part", "truncated", "GET"),
        cut("nginx", "unanswered", "GET"),
        idle("idle"),
    ];
    const OURS: &[Line] = &[outbound("hang", "GET"), outbound("part", "GET"), idle("idle")];
    const IDLE: &[Line] = &[idle("idle")];
    vec![
        row("fastcgi/server/kill", Php, Serving, By::CgroupKill, LOST),
        row(
            "fastcgi/server/stop-idle",
            Php,
            Serving,
            By::Signal(Signal::SIGQUIT),
            IDLE,
        ),
        row("fastcgi/clients/kill", Php, Clients, KILL, OURS),
    ]
}

fn bouncer() -> Vec<Talk> {
    use Ended::Server as Serving;
    use Server::PgBouncer;
    const LOST: &[Line] = &[
        cut("query", "unanswered", "SELECT"),
        in_transaction("transaction"),
        idle("idle"),
        idle("committed"),
    ];
    const IDLE: &[Line] = &[idle("idle"), idle("large"), idle("committed")];
    vec![
        row("pgbouncer/kill", PgBouncer, Serving, KILL, LOST),
        row(
            "pgbouncer/stop-idle",
            PgBouncer,
            Serving,
            By::Signal(Signal::SIGTERM),
            IDLE,
        ),
    ]
}
