//! Real runtimes: Docker, Podman and systemd, each brought up once for the whole run, in namespaces of its own.
//!
//! Their mounts, bridges and firewall rules live in those namespaces and go with them. The cgroups are the
//! machine's: a private mount of the unified hierarchy, so that a hybrid host is one for them too.

mod containers;
mod systemd;

use std::{
    fs,
    fs::File,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testkit::{Clock, Process, process::unshared};

use crate::{
    prepare::Artefacts,
    server,
    table::{Case, Engine},
};

pub use containers::IMAGE;

/// How long a runtime may take to come up, and to go.
const PATIENCE: Duration = Duration::from_secs(30);

/// A runtime that runs.
#[derive(Debug)]
pub struct Running {
    /// Which one.
    pub engine: Engine,
    /// What the agent asks.
    pub socket: PathBuf,
    daemon: Process,
    /// Of systemd's namespaces; of the others the daemon itself.
    inside: Pid,
    directory: PathBuf,
    root: PathBuf,
    clock: Clock,
}

/// Runtimes that are up, and those that are not, with the reason.
pub type Started = (Vec<Running>, Vec<(Engine, String)>);

/// Brings up what some of these cases need.
pub fn start_needed(cases: &[Case], out: &Path, root: &Path, clock: Clock) -> Started {
    let (mut engines, mut absent) = (vec![], vec![]);
    for engine in Engine::ALL {
        let needs = |case: &Case| case.hosted.is_some_and(|hosted| hosted.engine == engine);
        if cases.iter().any(needs) {
            match Running::start(engine, out, root, clock) {
                Ok(running) => engines.push(running),
                Err(error) => absent.push((engine, format!("{error:#}"))),
            }
        }
    }
    (engines, absent)
}

/// What a runtime started.
#[derive(Debug)]
pub struct Contained {
    /// Name of the container, or of the unit without its suffix.
    pub name: String,
    /// Whole id of a container.
    pub id: Option<String>,
    /// First process, as the host counts.
    pub main: Pid,
    /// Path of its cgroup.
    pub cgroup: String,
    /// Where it is found in the runtime's network.
    pub ip: IpAddr,
}

/// What is to run.
#[derive(Debug)]
pub struct Order<'a> {
    /// Name.
    pub name: &'a str,
    /// Arguments of the runtime's own.
    pub options: Vec<String>,
    /// The program.
    pub line: &'a [String],
    /// Its environment.
    pub variables: Vec<(String, String)>,
    /// It can be asked about when it was started.
    pub lives: bool,
    /// Directory of the case.
    pub directory: &'a Path,
    /// Binaries and scripts.
    pub artefacts: &'a Artefacts,
}

impl Running {
    /// Brings it up.
    pub fn start(engine: Engine, out: &Path, root: &Path, clock: Clock) -> anyhow::Result<Self> {
        for program in needs(engine) {
            ensure!(
                server::runnable(program),
                "{program} is missing: `cargo xtask deps --install` gets it"
            );
        }
        let directory = out.join(engine.word());
        // Of an earlier run into the same place.
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        let networked = |script: &str| unshared(&["--net", "sh", "-ec", script]);
        let command = match engine {
            Engine::Docker => networked(&containers::docker(&directory)),
            Engine::Podman => networked(&containers::podman(&directory)?),
            Engine::Systemd => systemd::boot(&directory, root)?,
        };
        let daemon = Process::start_logging(command, &directory.join("log"), clock)?;
        let inside = daemon.pid();
        let mut running = Self {
            engine,
            socket: directory.join("socket"),
            daemon,
            inside,
            directory,
            root: root.to_owned(),
            clock,
        };
        running.wait_up()?;
        if engine == Engine::Systemd {
            return Ok(running);
        }
        running.import()?;
        Ok(running)
    }

    fn wait_up(&mut self) -> anyhow::Result<()> {
        let word = self.engine.word();
        self.clock.until(&format!("{word} to come up"), PATIENCE, || {
            self.daemon.check_alive().context(word)?;
            if self.engine == Engine::Systemd && !self.find_systemd() {
                return Ok(false);
            }
            Ok(self.answers())
        })
    }

    /// Its own command line, in its namespaces.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match self.engine {
            Engine::Docker => {
                let mut command = Command::new("docker");
                command.args(["--host", &format!("unix://{}", self.socket.display())]);
                command
            }
            Engine::Podman => {
                let mut command = Command::new("podman");
                command.args(["--url", &format!("unix://{}", self.socket.display())]);
                command
            }
            Engine::Systemd => testkit::systemd::inside(self.inside),
        };
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs it, and gives what it printed.
    fn ask(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self
            .command(arguments)
            .output()
            .context("cannot run the command line")?;
        ensure!(
            output.status.success(),
            "{} {}: {} {}",
            self.engine.word(),
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn answers(&self) -> bool {
        let question: &[&str] = match self.engine {
            Engine::Docker | Engine::Podman => &["info"],
            Engine::Systemd => &["systemctl", "is-active", "dbus.service"],
        };
        self.ask(question).is_ok()
    }

    /// Its network namespace: where clients have to come from.
    pub fn netns(&self) -> anyhow::Result<Option<File>> {
        if self.engine == Engine::Systemd {
            return Ok(None);
        }
        let netns = File::open(format!("/proc/{}/ns/net", self.inside));
        netns
            .map(Some)
            .context("cannot open the runtime's network namespace")
    }

    /// Starts something.
    pub fn run(&self, order: &Order<'_>) -> anyhow::Result<Contained> {
        match self.engine {
            Engine::Docker | Engine::Podman => self.run_container(order),
            Engine::Systemd => self.run_unit(order),
        }
    }

    /// Begins to stop, kill or restart something, as its user would.
    pub fn begin(&self, words: &[&str], name: &str) -> anyhow::Result<Child> {
        let mut line = match self.engine {
            Engine::Docker | Engine::Podman => vec![],
            Engine::Systemd => vec!["systemctl"],
        };
        line.extend(words);
        line.push(name);
        let child = self.command(&line).stdout(Stdio::null()).spawn();
        child.with_context(|| format!("cannot run {}", line.join(" ")))
    }

    /// Takes away what is left of something.
    pub fn remove(&self, name: &str) {
        let line: &[&str] = match self.engine {
            Engine::Docker => &["rm", "--force", name],
            Engine::Podman => &["rm", "--force", "--ignore", "--time", "0", name],
            Engine::Systemd => &["systemctl", "kill", "--signal", "SIGKILL", name],
        };
        // Most are gone already, and nothing else is to be done about the others.
        let _ = self
            .command(line)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// A process that the runtime names, and its cgroup.
fn main_of(pid: Pid) -> anyhow::Result<(Pid, String)> {
    ensure!(pid.as_raw() > 0, "it does not run");
    let groups = procfs::process::Process::new(pid.as_raw())?.cgroups()?;
    let unified = groups.into_iter().find(|group| group.hierarchy == 0);
    let path = unified.context("it is in no unified cgroup")?.pathname;
    Ok((pid, path))
}

/// Programs that must be there.
fn needs(engine: Engine) -> &'static [&'static str] {
    match engine {
        Engine::Docker => &["setpriv", "unshare", "dockerd", "docker"],
        Engine::Podman => &["setpriv", "unshare", "podman"],
        Engine::Systemd => &[
            "setpriv",
            "unshare",
            "nsenter",
            "/lib/systemd/systemd",
            "dbus-daemon",
        ],
    }
}

/// Where the host's own loopback is.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl Drop for Running {
    fn drop(&mut self) {
        if self.engine == Engine::Systemd {
            self.halt();
        } else {
            // It stops its containers and its own children.
            let _ = kill(self.inside, Signal::SIGTERM);
        }
        if let Err(error) = self.daemon.wait() {
            eprintln!("{}: {error:#}", self.engine.word());
            let _ = self.daemon.signal(Signal::SIGKILL);
            let _ = self.daemon.wait();
        }
        self.sweep();
    }
}
