//! Databases, caches and queues: real ones, their clients in a workload of their own, and one of the two ended.
//!
//! Where the server is ended, what the clients saw is the oracle: each connection says whether it was owed an answer
//! that it did not get. Where the clients are ended, the point that they had brought a connection to is.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::{Signal, kill};
use testkit::{Cgroup, Clock, Port, Process, cgroup::first_process};

use crate::{
    agent::{Agent, Report, Severed},
    prepare::Artefacts,
    scene::World,
    server::runnable,
};

pub mod backends;
mod others;
mod rpc;
mod table;
mod tls;

pub use self::backends::Backend;
pub use self::table::all;

/// How long anything that must happen may take, before stretching.
const PATIENCE: Duration = Duration::from_secs(30);

/// One conversation of several connections.
#[derive(Debug, Clone, Copy)]
pub struct Talk {
    /// Unique; `--filter` matches against it.
    pub name: &'static str,
    /// What listens.
    pub backend: Backend,
    /// The connections.
    pub lines: &'static [Line],
    /// Who is ended.
    pub ended: Ended,
    /// By what.
    pub by: By,
    /// Trigger of the report.
    pub trigger: &'static str,
    /// Findings that may be there beside `transaction_open`, which must be where a line says so.
    pub may: &'static [&'static str],
}

/// A connection and what must be told of it.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// What the client does, a name in `talk.py`.
    pub mode: &'static str,
    /// Cause and what was to be done, where it is cut.
    pub cut: Option<(&'static str, Option<&'static str>)>,
    /// And what else of it is.
    pub also: Option<(&'static str, &'static str)>,
    /// A transaction is open on it.
    pub transaction: bool,
    /// It counts as opaque.
    pub opaque: bool,
    /// It is answered with an error after the stop signal.
    pub failed: bool,
}

/// Who is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The clients' workload.
    Clients,
    /// The server's.
    Server,
}

/// By what it is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A signal to its main process.
    Signal(Signal),
    /// `cgroup.kill`.
    CgroupKill,
}

/// Why this one cannot run here: a program that is not installed.
pub fn missing(talk: &Talk, world: &World) -> Option<(&'static str, String)> {
    let python = world.artefacts.venv.join("bin/python").display().to_string();
    let server = talk.backend.program();
    [("python", python), (talk.backend.word(), server)]
        .into_iter()
        .find(|(_, program)| !Path::new(program).exists() && !runnable(program))
}

/// Runs one.
pub fn run(world: &World, talk: &Talk, number: usize) -> anyhow::Result<()> {
    let directory = world
        .out
        .join(format!("{number}-{}", talk.name.replace('/', "_")));
    fs::create_dir_all(&directory)?;
    perform(world, talk, &directory).with_context(|| format!("files: {}", directory.display()))?;
    let _ = fs::remove_dir_all(&directory);
    Ok(())
}

fn perform(world: &World, talk: &Talk, directory: &Path) -> anyhow::Result<()> {
    let port = Port::find()?;
    let homes = [Cgroup::unique("talk-server")?, Cgroup::unique("talk-clients")?];
    let [served, asking] = &homes;
    let clock = world.clock;
    let backend = talk.backend.start(served, &port, directory, clock)?;
    let modes: Vec<_> = talk.lines.iter().map(|line| line.mode).collect();
    let clients = clients(
        &world.artefacts,
        talk.backend,
        &port,
        asking,
        &modes,
        directory,
        clock,
    )?;

    let ending = if talk.ended == Ended::Server {
        served
    } else {
        asking
    };
    let earlier = earlier(world, ending)?;
    match talk.by {
        By::CgroupKill => fs::write(ending.directory().join("cgroup.kill"), "1")?,
        By::Signal(signal) => {
            let main = match talk.ended {
                Ended::Server => backend.main,
                Ended::Clients => first_process(asking.directory()).context("the clients are gone")?,
            };
            kill(main, signal)?;
        }
    }
    clock.until("the end of what was told to end", PATIENCE, || {
        Ok(testkit::cgroup::is_empty(ending.directory()))
    })?;
    if talk.ended == Ended::Server {
        clients.line("gone").context("the clients wait on")?;
    }
    let seen = seen(&clients)?;
    let Some(agent) = &world.agent else {
        return saw(talk, &seen);
    };
    saw(talk, &seen)?;
    judge(world, agent, talk, ending, (&seen, &earlier), directory)
}

/// Reports of helpers that came and went before the end: Erlang's nodes all listen, those of a command line, too.
fn earlier(world: &World, ending: &Cgroup) -> anyhow::Result<Vec<String>> {
    let Some(agent) = &world.agent else {
        return Ok(vec![]);
    };
    let mut reports = vec![];
    world.clock.until("what helpers left to be told", PATIENCE, || {
        reports = agent.reports(&format!("/{}", ending.name()))?;
        Ok(reports.iter().all(|report| report.ended_at.is_some()))
    })?;
    let other = reports
        .iter()
        .find(|report| report.trigger != "worker" || report.verdict != "clean");
    if let Some(other) = other {
        bail!("told before anything ended: {:#}", other.json);
    }
    Ok(reports.into_iter().map(|report| report.id).collect())
}

/// Starts the clients, each connection with its mode; they are at their points then.
pub fn clients(
    artefacts: &Artefacts,
    backend: Backend,
    port: &Port,
    cgroup: &Cgroup,
    modes: &[&str],
    directory: &Path,
    clock: Clock,
) -> anyhow::Result<Process> {
    let mut command = cgroup.command(&artefacts.venv.join("bin/python").display().to_string());
    command
        .arg(artefacts.servers.join("talk.py"))
        .arg(backend.word())
        .arg(port.number.to_string())
        .args(modes);
    let clients = Process::start_logging(command, &directory.join("clients.log"), clock)?;
    clients.line("ready").context("the clients did not get ready")?;
    // Nobody is to take what they did to get there for a job that is cut.
    let (mut used, mut at) = (usage(cgroup)?, Instant::now());
    clock.until("the clients to do nothing but wait", PATIENCE, || {
        let waits = clock.stretch(SETTLED);
        if at.elapsed() < waits {
            return Ok(false);
        }
        let before = std::mem::replace(&mut used, usage(cgroup)?);
        at = Instant::now();
        Ok(used.saturating_sub(before) < waits / 10)
    })?;
    Ok(clients)
}

/// How long they must have waited.
const SETTLED: Duration = Duration::from_millis(300);

/// CPU time that a cgroup has used.
fn usage(cgroup: &Cgroup) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(cgroup.directory().join("cpu.stat"))?;
    let used = stat.lines().find_map(|line| line.strip_prefix("usage_usec "));
    Ok(Duration::from_micros(
        used.context("no usage_usec in cpu.stat")?.parse()?,
    ))
}

/// A connection as its client tells of it.
#[derive(Debug)]
struct Seen {
    mode: String,
    port: String,
    saw: Option<String>,
}

fn seen(clients: &Process) -> anyhow::Result<Vec<Seen>> {
    let mut saw: BTreeMap<String, String> = BTreeMap::new();
    for line in clients.lines("saw ") {
        let mut words = line.splitn(3, ' ').skip(1);
        let (Some(port), Some(what)) = (words.next(), words.next()) else {
            bail!("the clients said: {line}");
        };
        saw.insert(port.to_owned(), what.to_owned());
    }
    let connection = |line: String| {
        let mut words = line.split(' ').skip(1);
        let (mode, port) = (words.next()?.to_owned(), words.next()?.to_owned());
        let saw = saw.get(&port).cloned();
        Some(Seen { mode, port, saw })
    };
    Ok(clients
        .lines("conn ")
        .into_iter()
        .filter_map(connection)
        .collect())
}

/// The clients saw what the table says.
fn saw(talk: &Talk, seen: &[Seen]) -> anyhow::Result<()> {
    ensure!(
        seen.len() == talk.lines.len(),
        "connections: {seen:?}, must be {}",
        talk.lines.len()
    );
    if talk.ended == Ended::Clients {
        return Ok(());
    }
    for one in seen {
        let line = line(talk, &one.mode)?;
        let lost = one.saw.as_deref().is_some_and(|saw| saw.starts_with("lost"));
        let failed = one.saw.as_deref().is_some_and(|saw| saw.starts_with("failed"));
        ensure!(
            one.saw.is_some() && (line.opaque || lost == line.cut.is_some()) && failed == line.failed,
            "the client of {} saw {:?}, which is not what the table says",
            one.mode,
            one.saw
        );
    }
    Ok(())
}

fn line<'t>(talk: &'t Talk, mode: &str) -> anyhow::Result<&'t Line> {
    let found = talk.lines.iter().find(|line| line.mode == mode);
    found.with_context(|| format!("{mode} is not in the table"))
}

fn judge(
    world: &World,
    agent: &Agent,
    talk: &Talk,
    ending: &Cgroup,
    (seen, earlier): (&[Seen], &[String]),
    directory: &Path,
) -> anyhow::Result<()> {
    let path = format!("/{}", ending.name());
    let mut reports: Vec<Report> = vec![];
    world.clock.until("the report to end", PATIENCE, || {
        reports = agent.reports(&path)?;
        reports.retain(|report| !earlier.contains(&report.id));
        Ok(!reports.is_empty() && reports.iter().all(|report| report.ended_at.is_some()))
    })?;
    let report = &reports[0];
    fs::write(directory.join("report.json"), format!("{:#}\n", report.json))?;
    let mut wrong = vec![];
    if reports.len() > 1 {
        wrong.push(format!("{} reports", reports.len()));
    }
    if report.trigger != talk.trigger {
        wrong.push(format!("trigger {}, must be {}", report.trigger, talk.trigger));
    }
    let mut must = vec![];
    for one in seen {
        let line = line(talk, &one.mode)?;
        let also = line.also.map(|(cause, method)| (cause, Some(method)));
        for (cause, method) in line.cut.into_iter().chain(also) {
            must.push(format!(
                "{} {} {cause} {}",
                one.mode,
                one.port,
                method.unwrap_or("-")
            ));
        }
    }
    let mut told: Vec<String> = report
        .severed_requests
        .iter()
        // What a server asks others is none of its clients'.
        .filter(|severed| talk.ended == Ended::Clients || severed.role == "server")
        .map(|severed| shown(talk, severed, seen))
        .collect();
    must.sort();
    told.sort();
    if must != told {
        wrong.push(format!("severed are {told:#?}, must be {must:#?}"));
    }
    // Whoever serves nobody and is killed may have been at a job: how far it had come nobody knows.
    let job = talk.ended == Ended::Clients && talk.trigger == "kill";
    let lines = || seen.iter().filter_map(|one| line(talk, &one.mode).ok());
    let failed = lines().filter(|line| line.failed).count() as u64;
    let verdict = match (must.is_empty(), job) {
        (false, _) => "severed",
        (true, true) => "unknown",
        (true, false) if failed > 0 => "refused",
        (true, false) => "clean",
    };
    if report.verdict != verdict {
        wrong.push(format!("verdict {}, must be {verdict}", report.verdict));
    }
    let opaque = lines().filter(|line| line.opaque).count() as u64;
    for (outcome, must) in [("unknown", 0), ("opaque", opaque), ("failed", failed)] {
        let all = report.requests.get(outcome).copied().unwrap_or_default();
        let is = all - elsewhere(talk, report, outcome);
        if is != must {
            wrong.push(format!("{is} {outcome}, must be {must}"));
        }
    }
    let open = lines().any(|line| line.transaction);
    let is_open = |code: &&str| *code == "transaction_open";
    let codes: Vec<_> = report
        .findings
        .iter()
        .map(|finding| finding.code.as_str())
        .collect();
    if codes.iter().any(is_open) != open {
        wrong.push(format!("findings {codes:?}: transaction_open must be {open}"));
    }
    if codes.contains(&"errors_while_draining") != (failed > 0) {
        wrong.push(format!("findings {codes:?}: {failed} failed"));
    }
    if let Some(other) = codes
        .iter()
        .find(|code| !is_open(code) && **code != "errors_while_draining" && !talk.may.contains(code))
    {
        wrong.push(format!("an invented finding: {other}"));
    }
    ensure!(
        wrong.is_empty(),
        "drainwatch and the clients disagree\n    {}\n    clients: {seen:#?}",
        wrong.join("\n    ")
    );
    Ok(())
}

/// How many of these are of what a server asks others: that is none of its clients'.
fn elsewhere(talk: &Talk, report: &Report, outcome: &str) -> u64 {
    let listed = report.json["opaque_connections"].as_array();
    let asked = listed
        .into_iter()
        .flatten()
        .filter(|kind| kind["role"] == "client");
    let count = asked.filter_map(|kind| kind["count"].as_u64()).sum();
    if talk.ended == Ended::Server && outcome == "opaque" {
        count
    } else {
        0
    }
}

/// A severed request in the words of the table.
fn shown(talk: &Talk, severed: &Severed, seen: &[Seen]) -> String {
    let end = if talk.ended == Ended::Server {
        &severed.peer
    } else {
        &severed.local
    };
    let port = end.rsplit_once(':').map_or("?", |(_, port)| port);
    let mode = seen
        .iter()
        .find(|one| one.port == port)
        .map_or("?", |one| one.mode.as_str());
    let method = severed
        .rpc
        .as_ref()
        .map(|rpc| format!("{}/{}", rpc.service, rpc.method));
    let method = method.as_deref().or(severed.method.as_deref());
    let as_read = severed.evidence == talk.backend.evidence()
        && severed.protocol == talk.backend.protocol()
        && talk
            .backend
            .host()
            .is_none_or(|host| severed.host.as_deref() == Some(host));
    format!(
        "{mode} {port} {} {}{}",
        severed.cause,
        method.unwrap_or("-"),
        if as_read {
            String::new()
        } else {
            format!(" {} {} {:?}", severed.evidence, severed.protocol, severed.host)
        }
    )
}

/// A server that runs.
#[derive(Debug)]
pub struct Started {
    /// Its main process.
    pub main: nix::unistd::Pid,
    /// Killed when dropped.
    _process: Process,
    /// What it stands in front of.
    _behind: Option<others::Behind>,
    /// By which it is found.
    _names: Option<Process>,
}

impl Started {
    fn new(process: Process, cgroup: &Cgroup) -> anyhow::Result<Self> {
        Ok(Self {
            main: first_process(cgroup.directory()).context("the server is gone")?,
            _process: process,
            _behind: None,
            _names: None,
        })
    }
}

/// Where a server keeps its files.
fn data(directory: &Path) -> PathBuf {
    directory.join("data")
}
