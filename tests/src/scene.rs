//! One case from start to verdict.

use std::{
    fs,
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Child,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testkit::{Clock, Port, process::tail};

use crate::{
    agent::Agent,
    client::{Connection, Request},
    compare::{self, Entry},
    engine::{Contained, Running},
    home::{self, Home},
    prepare::Artefacts,
    server,
    table::{Act, Case, Engine, From, Row},
};

mod judge;
mod rows;
mod start;
mod steps;

/// How long anything that must happen may take, before stretching.
const PATIENCE: Duration = Duration::from_secs(20);

/// What all cases share.
#[derive(Debug)]
pub struct World {
    /// Servers.
    pub artefacts: Artefacts,
    /// Root of the unified hierarchy.
    pub cgroups: PathBuf,
    /// Where cases keep their files and failures leave their reports.
    pub out: PathBuf,
    /// Deadlines.
    pub clock: Clock,
    /// The agent, unless only the clients' side is run.
    pub agent: Option<Agent>,
    /// Runtimes that some case needs.
    pub engines: Vec<Running>,
    /// Runtimes that some case needs and that did not come up, with the reason.
    pub absent: Vec<(Engine, String)>,
}

impl World {
    /// A runtime that is up.
    pub fn engine(&self, engine: Engine) -> anyhow::Result<&Running> {
        let found = self.engines.iter().find(|running| running.engine == engine);
        found.with_context(|| format!("{} is not up", engine.word()))
    }
}

/// How a case came out.
#[derive(Debug)]
pub enum Outcome {
    /// As the table says.
    Passed(Vec<Entry>),
    /// Not so; the text is for people.
    Failed(String),
    /// It cannot run on this machine.
    Skipped(String),
}

/// A connection with the row that it plays.
#[derive(Debug)]
struct Played<'c> {
    row: &'c Row,
    requests: Vec<Request>,
    /// `None` until a late part of the case opens it.
    connection: Option<Connection>,
    /// Requests that came before the row's own, on the same connection.
    prelude: usize,
    /// A `Late`, `Refused`, `Arrive` or leaving row has done its thing.
    acted: bool,
}

/// The running case.
#[derive(Debug)]
struct Scene<'c> {
    world: &'c World,
    case: &'c Case,
    directory: PathBuf,
    port: u16,
    /// Of the server, an upstream, a proxy: ours while the case goes on.
    _ports: [Port; 3],
    /// Where clients connect: the server, or the nginx in front of it.
    entrance: SocketAddr,
    main: Pid,
    /// The server's own network namespace; kept open, so that clients can still come when it is dead.
    netns: Option<File>,
    children: Vec<Child>,
    upstream: Option<Pid>,
    /// nginx's upstream's address.
    upstream_address: SocketAddr,
    signalled: Option<Pid>,
    noted: Option<Pid>,
    played: Vec<Played<'c>>,
    /// What a runtime started.
    contained: Option<Contained>,
    /// What the runtime was told, and is doing.
    told: Vec<Child>,
    /// Of the server; first, so that it is killed first.
    cgroup: Home,
    /// Of an upstream or a proxy.
    others: Vec<Home>,
}

/// Runs one case.
pub fn run(world: &World, case: &Case, number: usize) -> Outcome {
    if case.memory_max.is_some() && !home::memory_limits(&world.cgroups) {
        let root = world.cgroups.display();
        return Outcome::Skipped(format!("no memory controller in {root}/cgroup.controllers"));
    }
    let directory = world
        .out
        .join(format!("{number}-{}", case.name.replace('/', "_")));
    match perform(world, case, number, &directory) {
        Ok(entries) => {
            // Kept only for failures; a leftover in the temporary directory harms nobody.
            let _ = fs::remove_dir_all(&directory);
            Outcome::Passed(entries)
        }
        Err(error) => Outcome::Failed(format!("{error:#}\n    files: {}", directory.display())),
    }
}

fn perform(world: &World, case: &Case, number: usize, directory: &Path) -> anyhow::Result<Vec<Entry>> {
    let mut scene = Scene::start(world, case, number, directory)?;
    let result = scene.play();
    // Ends handlers that still wait, whatever happened.
    fs::write(directory.join("release"), "")?;
    if let Err(error) = result {
        let log = tail(&directory.join("server.log"));
        let events = tail(&directory.join("events"));
        return Err(error.context(format!("server log: {log}\n    events: {events}")));
    }
    let entries = scene.entries();
    let wrong = compare::clients(&entries);
    ensure!(
        wrong.is_empty(),
        "the clients saw something else than the table says\n    {}\n{}",
        wrong.join("\n    "),
        compare::table(&entries, None)
    );
    if let Some(agent) = &world.agent {
        scene.judge(agent, &entries)?;
    }
    Ok(entries)
}

impl Scene<'_> {
    fn patience(&self) -> Duration {
        self.world.clock.stretch(PATIENCE)
    }

    fn until(&self, what: &str, ready: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
        self.world.clock.until(what, PATIENCE, ready)
    }

    fn connect(&self, small_buffer: bool) -> anyhow::Result<Connection> {
        let patience = self.patience();
        let open = || Connection::open(self.entrance, small_buffer, patience);
        match &self.netns {
            Some(netns) => server::in_netns(netns, open),
            None => open(),
        }
    }

    fn has_event(&self, word: &str, what: &str) -> bool {
        let wanted = format!("{word} {what}");
        fs::read_to_string(self.directory.join("events"))
            .is_ok_and(|events| events.lines().any(|line| line.trim_end() == wanted.trim_end()))
    }

    fn wait_event(&self, word: &str, what: &str) -> anyhow::Result<()> {
        self.until(&format!("the server to report `{word} {what}`"), || {
            Ok(self.has_event(word, what))
        })
    }

    fn count_events(&self, word: &str) -> usize {
        let events = fs::read_to_string(self.directory.join("events")).unwrap_or_default();
        events
            .lines()
            .filter(|line| line.split(' ').next() == Some(word))
            .count()
    }

    /// The whole case, up to the clients' last observations.
    fn play(&mut self) -> anyhow::Result<()> {
        if self.case.from == From::Running {
            self.wait_event("started", "")?;
        }
        if self.case.from == From::Answering {
            let mut first = self.connect(false)?;
            if self.case.server.speaks_http2() {
                first.speak_http2();
            }
            first.send(&[Request {
                path: "/warm".into(),
                act: Act::Quick,
            }]);
            first
                .read_complete(self.patience())
                .context("the server does not answer")?;
            first.leave(false)?;
        }
        self.wait_known()?;
        for index in 0..self.played.len() {
            self.open(index)
                .with_context(|| format!("row {}", self.played[index].row.name()))?;
        }
        if self.case.freeze {
            for pid in self.cgroup.processes()? {
                kill(pid, Signal::SIGSTOP)?;
                // The threads stop one by one, some time after the signal was sent.
                self.until("every thread to stop", || server::is_stopped(pid))?;
            }
        }
        for index in 0..self.played.len() {
            self.open_unserved(index)
                .with_context(|| format!("row {}", self.played[index].row.name()))?;
        }
        for step in self.case.ending {
            self.step(*step).with_context(|| format!("step {step:?}"))?;
        }
        for index in 0..self.played.len() {
            self.act_in_the_middle(index)?;
        }
        let patience = self.patience();
        for played in &mut self.played {
            if let Some(connection) = &mut played.connection {
                connection.settle(patience)?;
            }
        }
        Ok(())
    }

    fn any_process(&self) -> anyhow::Result<Pid> {
        self.cgroup
            .processes()?
            .first()
            .copied()
            .context("no process of the server is left")
    }
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        if let (Some(contained), Some(hosted)) = (&self.contained, &self.case.hosted)
            && let Ok(engine) = self.world.engine(hosted.engine)
        {
            engine.remove(&contained.name);
        }
        for child in &mut self.told {
            let _ = child.kill();
            let _ = child.wait();
        }
        // `unshare` and the like live outside the cgroup: they end with their child, else by our hand.
        if let Err(error) = self.cgroup.kill() {
            eprintln!("{}: cannot kill the server: {error}", self.case.name);
        }
        let others_left = self.others.iter().any(|cgroup| cgroup.kill().is_err());
        if others_left {
            eprintln!("{}: cannot kill what stands beside the server", self.case.name);
        }
        for child in &mut self.children {
            // Most have ended already: then there is nothing to kill.
            let _ = child.kill();
            if let Err(error) = child.wait() {
                eprintln!("{}: cannot wait for the server: {error}", self.case.name);
            }
        }
    }
}
