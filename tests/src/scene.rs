//! One case from start to verdict.

use std::{
    fs,
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Child,
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    agent::{Agent, Report},
    cgroup::{self, Cgroup},
    clock::Clock,
    client::{Connection, Request},
    compare::{self, Entry, Known},
    prepare::Artefacts,
    server::{self, Setting, Started},
    table::{Act, Around, Ask, Case, Fate, From, Net, Python, Reports, Row, Saw, Server, Step, Upstream, Way, Who},
};

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
    /// Where clients connect: the server, or the nginx in front of it.
    entrance: SocketAddr,
    main: Pid,
    /// The server's own network namespace; kept open, so that clients can still come when it is dead.
    netns: Option<File>,
    children: Vec<Child>,
    upstream: Option<Pid>,
    signalled: Option<Pid>,
    noted: Option<Pid>,
    played: Vec<Played<'c>>,
    /// Of the server; first, so that it is killed first.
    cgroup: Cgroup,
    /// Of an upstream or a proxy.
    others: Vec<Cgroup>,
}

/// Runs one case.
pub fn run(world: &World, case: &Case, number: usize) -> Outcome {
    if case.memory_max.is_some() && !cgroup::memory_limits(&world.cgroups) {
        let root = world.cgroups.display();
        return Outcome::Skipped(format!("no memory controller in {root}/cgroup.controllers"));
    }
    let directory = world.out.join(format!("{number}-{}", case.name.replace('/', "_")));
    match perform(world, case, number, &directory) {
        Ok(entries) => {
            // Kept only for failures; a leftover in the temporary directory harms nobody.
            let _ = fs::remove_dir_all(&directory);
            Outcome::Passed(entries)
        }
        Err(error) => {
            Outcome::Failed(format!("{error:#}\n    files: {}", directory.display()))
        }
    }
}

fn perform(world: &World, case: &Case, number: usize, directory: &Path) -> anyhow::Result<Vec<Entry>> {
    let mut scene = Scene::start(world, case, number, directory)?;
    let result = scene.play();
    // Ends handlers that still wait, whatever happened.
    fs::write(directory.join("release"), "")?;
    if let Err(error) = result {
        let log = server::tail(&directory.join("server.log"));
        let events = server::tail(&directory.join("events"));
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

impl<'c> Scene<'c> {
    fn start(world: &'c World, case: &'c Case, number: usize, directory: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(directory)?;
        let name = format!("drainwatch-test-{}-{number}", std::process::id());
        let cgroup = Cgroup::create(&world.cgroups, &name, world.clock)?;
        if let Some(bytes) = case.memory_max {
            cgroup.limit_memory(bytes)?;
        }
        let mut others = vec![];
        let beside = Cgroup::create(&world.cgroups, &format!("{name}-beside"), world.clock)?;
        let port = server::free_port()?;
        let upstream_port = server::free_port()?;
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let setting = Setting {
            artefacts: &world.artefacts,
            directory,
            cgroup: &cgroup,
            clock: world.clock,
            net: case.net,
            around: case.around,
            port,
            upstream: Some(local(upstream_port)),
        };
        let mut started = setting.start(case.server)?;
        if case.from != From::Running {
            setting.wait_listening(&mut started)?;
        }
        let Started { child, address, main } = started;
        let netns = (case.around == Around::NetNamespace)
            .then(|| File::open(format!("/proc/{main}/ns/net")))
            .transpose()
            .context("cannot open the server's network namespace")?;
        let mut scene_children = vec![child];
        let (mut entrance, mut upstream) = (address, None);
        let python = Server::Python(Python { http: "1.1", threads: "many", on_term: "default", slow_start: "" });
        if let Server::Nginx { upstream: place, .. } = case.server {
            let home = if place == Upstream::Inside { &cgroup } else { &beside };
            let setting =
                Setting { cgroup: home, net: Net::V4, around: Around::Nothing, port: upstream_port, ..setting };
            // Not waiting for "the first process of the cgroup": inside, that is nginx.
            let mut started = setting.start(python)?;
            started.main = Pid::from_raw(started.child.id().cast_signed());
            setting.wait_listening(&mut started)?;
            upstream = Some(started.main);
            scene_children.push(started.child);
        }
        if case.behind_nginx {
            let directory = directory.join("front");
            let front_port = server::free_port()?;
            let setting = Setting {
                directory: &directory,
                cgroup: &beside,
                net: Net::V4,
                around: Around::Nothing,
                port: front_port,
                upstream: Some(address),
                ..setting
            };
            let mut started = setting.start(Server::Nginx { upstream: Upstream::Outside, extra: "" })?;
            setting.wait_listening(&mut started)?;
            entrance = started.address;
            scene_children.push(started.child);
        }
        others.push(beside);
        let mut scene = Self {
            world,
            case,
            directory: directory.to_owned(),
            port,
            entrance,
            main,
            netns,
            children: scene_children,
            upstream,
            signalled: None,
            noted: None,
            played: vec![],
            cgroup,
            others,
        };
        scene.lay_out();
        Ok(scene)
    }

    /// Numbers the requests of the table's rows.
    fn lay_out(&mut self) {
        let mut number = 0;
        for row in &self.case.rows {
            for _ in 0..row.times {
                let requests = row.asks.iter().map(|ask| {
                    number += 1;
                    Request { path: format!("/r/{}-{number}", self.case.name), act: ask.act }
                });
                let requests = requests.collect();
                self.played.push(Played { row, requests, connection: None, prelude: 0, acted: false });
            }
        }
    }

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
        self.until(&format!("the server to report `{word} {what}`"), || Ok(self.has_event(word, what)))
    }

    fn count_events(&self, word: &str) -> usize {
        let events = fs::read_to_string(self.directory.join("events")).unwrap_or_default();
        events.lines().filter(|line| line.split(' ').next() == Some(word)).count()
    }

    /// The whole case, up to the clients' last observations.
    fn play(&mut self) -> anyhow::Result<()> {
        if self.case.from == From::Running {
            self.wait_event("started", "")?;
        }
        if self.case.from == From::Answering {
            let mut first = self.connect(false)?;
            first.send(&[Request { path: "/warm".into(), act: Act::Quick }]);
            first.read_complete(self.patience()).context("the server does not answer")?;
            first.leave(false)?;
        }
        self.wait_known()?;
        for index in 0..self.played.len() {
            self.open(index).with_context(|| format!("row {}", self.played[index].row.name()))?;
        }
        if self.case.freeze {
            for pid in self.cgroup.processes()? {
                kill(pid, Signal::SIGSTOP)?;
                // The threads stop one by one, some time after the signal was sent.
                self.until("every thread to stop", || server::is_stopped(pid))?;
            }
        }
        for index in 0..self.played.len() {
            self.open_unserved(index).with_context(|| format!("row {}", self.played[index].row.name()))?;
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

    /// The workload's series exist at 0 before anything happens to it.
    fn wait_known(&self) -> anyhow::Result<()> {
        let Some(agent) = self.world.agent.as_ref().filter(|_| self.case.from != From::Running) else { return Ok(()) };
        self.until("drainwatch_severed_requests_total{workload} to exist at 0", || {
            let mine = self.series(agent, "drainwatch_severed_requests_total")?;
            ensure!(mine.iter().all(|value| *value == 0.0), "not 0 before the shutdown: {mine:?}");
            Ok(!mine.is_empty())
        })
    }

    fn series(&self, agent: &Agent, name: &str) -> anyhow::Result<Vec<f64>> {
        let path = self.cgroup.path();
        let mine = |workload: &String| workload == path || format!("/{workload}") == path;
        let all = agent.metrics()?;
        let mine = all.iter().filter(|s| s.name == name && s.labels.get("workload").is_some_and(mine));
        Ok(mine.map(|series| series.value).collect())
    }

    /// Plays the part of a row that comes before the ending, with a server that serves.
    fn open(&mut self, index: usize) -> anyhow::Result<()> {
        let Played { row, requests, .. } = &self.played[index];
        let (row, requests) = (*row, requests.clone());
        let patience = self.patience();
        let mut connection = match row.way {
            Way::Queue | Way::QueueSilent | Way::Knock | Way::Arrive | Way::Finally => return Ok(()),
            way => self.connect(way == Way::Slow)?,
        };
        let mut prelude = 0;
        if matches!(row.way, Way::Again | Way::Ignored | Way::Late) {
            prelude = 1;
            connection.send(&[Request { path: format!("{}-prelude", requests[0].path), act: Act::Quick }]);
            connection.read_complete(patience)?;
        }
        match row.way {
            Way::Ignored | Way::Late => {}
            Way::Upload => {
                connection.send_upload(&requests[0], false);
                self.reach(&mut connection, row, &requests)?;
            }
            Way::UploadContinue => {
                connection.send_upload(&requests[0], true);
                connection.read_interim(patience)?;
                connection.send_body_part();
                self.reach(&mut connection, row, &requests)?;
            }
            _ => {
                connection.send(&requests);
                if row.way == Way::HalfClose {
                    connection.half_close()?;
                }
                self.reach(&mut connection, row, &requests)?;
            }
        }
        if matches!(row.way, Way::LeaveBefore | Way::ResetBefore) {
            self.leave(&mut connection, row.way == Way::ResetBefore)?;
        }
        let played = &mut self.played[index];
        (played.connection, played.prelude) = (Some(connection), prelude);
        Ok(())
    }

    fn leave(&self, connection: &mut Connection, reset: bool) -> anyhow::Result<()> {
        connection.leave(reset)?;
        let (pid, client) = (self.any_process()?, connection.local);
        self.until("the server's kernel to see the client leave", || {
            Ok(server::has_left(pid, self.port, client))
        })
    }

    fn any_process(&self) -> anyhow::Result<Pid> {
        self.cgroup.processes()?.first().copied().context("no process of the server is left")
    }

    /// Waits until the requests have reached the point of their lives that the table means.
    fn reach(&self, connection: &mut Connection, row: &Row, requests: &[Request]) -> anyhow::Result<()> {
        let patience = self.patience();
        let last = requests.last().context("a row without requests")?;
        for request in requests {
            match request.act {
                // Most servers call the handler of a later request only when this one is answered.
                Act::Hang | Act::HangHead | Act::Block => {
                    self.wait_event("got", &request.path)?;
                    break;
                }
                Act::AfterFin => {
                    self.wait_event("got", &request.path)?;
                    connection.read_begun(patience)?;
                }
                Act::Post => self.wait_event("got", &request.path)?,
                Act::Big(_) if row.way == Way::Slow && request.act.fits_the_send_queue() => {
                    self.wait_event("sent", &request.path)?;
                }
                Act::Half | Act::Chunked | Act::Sse | Act::Upgrade | Act::Undelimited | Act::Big(_) | Act::Huge
                    if request.path == last.path =>
                {
                    connection.read_begun(patience)?;
                }
                Act::Quick | Act::Head | Act::NoContent | Act::NotModified if request.path == last.path => {
                    connection.read_complete(patience)?;
                }
                _ => {}
            }
        }
        if self.case.peers_unknown {
            return Ok(());
        }
        let (pid, client, tail) = (self.any_process()?, connection.local, row.has_unread_tail());
        let what = if tail { "the later requests to lie unread" } else { "the server to read everything" };
        self.until(what, || {
            Ok(server::unread(pid, self.port, client).is_none_or(|unread| (unread > 0) == tail))
        })
    }

    /// Plays rows that need a server which does not read or accept.
    fn open_unserved(&mut self, index: usize) -> anyhow::Result<()> {
        let row = self.played[index].row;
        let requests = self.played[index].requests.clone();
        let mut connection = match row.way {
            Way::Ignored => self.played[index].connection.take().context("the prelude is missing")?,
            Way::Queue | Way::QueueSilent => self.connect(false)?,
            _ => return Ok(()),
        };
        let unread = if row.way == Way::QueueSilent {
            connection.note_unsent(&requests);
            0
        } else {
            connection.send(&requests);
            1
        };
        let (pid, client) = (self.any_process()?, connection.local);
        self.until("the connection to wait at the server, unread", || {
            Ok(server::unread(pid, self.port, client).is_some_and(|held| held >= unread))
        })?;
        self.played[index].connection = Some(connection);
        Ok(())
    }

    fn pid_of(&self, who: Who) -> anyhow::Result<Pid> {
        match who {
            Who::Main => Ok(self.main),
            Who::Serving => {
                let events = fs::read_to_string(self.directory.join("events"))?;
                let by = events.lines().filter_map(|line| line.strip_prefix("by ")).next_back();
                Ok(Pid::from_raw(by.context("no request was reported with its process")?.trim().parse()?))
            }
            Who::Upstream => self.upstream.context("this server has no upstream"),
            Who::Child => {
                let all = self.cgroup.processes()?;
                let mut others = all.iter().filter(|pid| **pid != self.main && Some(**pid) != self.upstream);
                match (others.next(), others.next()) {
                    (Some(child), None) => Ok(*child),
                    _ => bail!("not exactly one child of {}: {all:?}", self.main),
                }
            }
        }
    }

    fn step(&mut self, step: Step) -> anyhow::Result<()> {
        match step {
            Step::Signal(who, signal) => {
                let pid = self.pid_of(who)?;
                self.signalled = Some(pid);
                kill(pid, signal).with_context(|| format!("cannot signal {pid}"))
            }
            Step::CgroupKill => Ok(self.cgroup.kill()?),
            Step::Poison => self.poison(),
            Step::Stopping => self.wait_event("stopping", ""),
            Step::ListenerClosed => {
                self.until("the listener to close", || {
                    // A drain that has nothing to wait for may be over already.
                    Ok(self.cgroup.processes()?.first().is_none_or(|pid| !server::is_listening(*pid, self.port)))
                })
            }
            Step::During => (0..self.played.len()).try_for_each(|index| self.act_in_the_middle(index)),
            Step::Release => {
                fs::write(self.directory.join("release"), "")?;
                let patience = self.patience();
                for played in &mut self.played {
                    let drained = played.row.asks.iter().any(|ask| ask.fate == Fate::Drained);
                    if let Some(connection) = played.connection.as_mut().filter(|_| drained) {
                        connection.settle(patience)?;
                        // Done: a client that stayed would hold drains that wait for it.
                        connection.leave(false)?;
                    }
                }
                Ok(())
            }
            Step::Grace(ms) => {
                // Not synchronisation: this is the grace period itself.
                thread::sleep(self.world.clock.stretch(Duration::from_millis(ms)));
                Ok(())
            }
            Step::Gone => {
                let clock = self.world.clock;
                clock.until("the workload to be gone", PATIENCE, || {
                    self.reap()?;
                    Ok(self.cgroup.is_empty())
                })
            }
            Step::SignalledGone => {
                let pid = self.signalled.context("nothing was signalled")?;
                self.wait_gone(pid)
            }
            Step::Note(who) => {
                self.noted = Some(self.pid_of(who)?);
                Ok(())
            }
            Step::NotedGone => {
                let pid = self.noted.context("nothing was noted")?;
                self.wait_gone(pid)
            }
            Step::TwoWorkers => {
                self.until("a second worker beside the first", || Ok(self.cgroup.processes()?.len() > 2))
            }
            Step::MainGone => self.wait_gone(self.main),
            Step::WorkerGone => self.until("a worker to be gone", || Ok(self.count_events("worker_gone") > 0)),
            Step::NewWorker => self.until("a second worker", || Ok(self.count_events("worker") > 1)),
        }
    }

    /// Collects the ends of our own children, so that none stays a zombie.
    fn reap(&mut self) -> anyhow::Result<()> {
        for child in &mut self.children {
            child.try_wait()?;
        }
        Ok(())
    }

    fn wait_gone(&mut self, pid: Pid) -> anyhow::Result<()> {
        let clock = self.world.clock;
        clock.until(&format!("process {pid} to be gone"), PATIENCE, || {
            self.reap()?;
            Ok(!self.cgroup.processes()?.contains(&pid))
        })
    }

    fn poison(&mut self) -> anyhow::Result<()> {
        for index in 0..self.played.len() {
            if self.played[index].row.way == Way::Finally {
                let mut connection = self.connect(false)?;
                connection.send(&self.played[index].requests);
                self.played[index].connection = Some(connection);
            }
        }
        Ok(())
    }

    /// Leaves, arrives, is late or is refused; once.
    fn act_in_the_middle(&mut self, index: usize) -> anyhow::Result<()> {
        let way = self.played[index].row.way;
        if std::mem::replace(&mut self.played[index].acted, true) {
            return Ok(());
        }
        let requests = self.played[index].requests.clone();
        let patience = self.patience();
        match way {
            Way::Knock => {
                // Where no process is left, nothing listens.
                if let Some(pid) = self.cgroup.processes()?.first() {
                    self.until("the listener to be gone", || Ok(!server::is_listening(*pid, self.port)))?;
                }
                let mut connection = self.connect(false)?;
                connection.note_unsent(&requests);
                self.played[index].connection = Some(connection);
            }
            Way::Arrive => {
                let mut connection = self.connect(false)?;
                connection.send(&requests);
                self.reach(&mut connection, self.played[index].row, &requests)?;
                self.played[index].connection = Some(connection);
            }
            Way::Late => {
                let connection = self.played[index].connection.as_mut().context("the prelude is missing")?;
                connection.read_end(patience)?;
                connection.send_late(&requests[0], patience)?;
            }
            Way::LeaveDuring | Way::ResetDuring => {
                let mut connection = self.played[index].connection.take().context("not connected")?;
                self.leave(&mut connection, way == Way::ResetDuring)?;
                self.played[index].connection = Some(connection);
            }
            _ => {}
        }
        Ok(())
    }

    /// The ledger: every request of every connection.
    fn entries(&self) -> Vec<Entry> {
        let mut entries = vec![];
        for played in &self.played {
            let Played { row, requests, connection, prelude, .. } = played;
            let saw = connection.as_ref().map(Connection::saw).unwrap_or_default();
            let peer = connection.as_ref().filter(|_| !self.case.peers_unknown).map(|c| c.local);
            for (number, Ask { saw: expected, fate, .. }) in row.asks.iter().enumerate() {
                entries.push(Entry {
                    path: requests[number].path.clone(),
                    peer,
                    expected: *expected,
                    saw: saw.get(prelude + number).copied().unwrap_or(Saw::Unsent),
                    fate: *fate,
                });
            }
        }
        entries
    }

    /// Waits for the report and compares.
    fn judge(&mut self, agent: &Agent, entries: &[Entry]) -> anyhow::Result<()> {
        let expect = &self.case.expect;
        // Lost at nginx's upstream, the request was not at our port.
        let at_upstream = self.case.peers_unknown && !self.case.behind_nginx;
        let port = (!at_upstream).then_some(self.port);
        let known =
            Known { port, main: self.main.as_raw().cast_unsigned(), sees_resets: agent.sees_resets };
        if expect.reports != Reports::One {
            // No report is expected of what happened; the report of the harness's own kill is the
            // proof that one would have come by now.
            self.cgroup.kill()?;
            self.step(Step::Gone)?;
        }
        let cgroup = self.cgroup.path().to_owned();
        let mut reports: Vec<Report> = vec![];
        let waited = self.until("the workload's report to end", || {
            reports = agent.reports(&cgroup)?;
            let none = expect.reports == Reports::AtMostOne && reports.is_empty();
            Ok(none || (!reports.is_empty() && reports.iter().all(|report| report.ended_at.is_some())))
        });
        if let Some(report) = reports.first() {
            fs::write(self.directory.join("report.json"), format!("{:#}\n", report.json))?;
        }
        waited.with_context(|| compare::table(entries, reports.first()))?;
        let mut wrong = vec![];
        if reports.len() > 1 {
            let triggers: Vec<_> = reports.iter().map(|report| &report.trigger).collect();
            wrong.push(format!("{} reports ({triggers:?}), must be one", reports.len()));
        }
        let Some(report) = reports.first() else { return Ok(()) };
        wrong.extend(compare::report(self.case, entries, &known, report));
        let severed: f64 = self.series(agent, "drainwatch_severed_requests_total")?.iter().sum();
        let must = compare::severed(entries, &known);
        if severed.to_string() != must.to_string() {
            wrong.push(format!("drainwatch_severed_requests_total sums to {severed}, must be {must}"));
        }
        let shutdowns: f64 = self.series(agent, "drainwatch_shutdowns_total")?.iter().sum();
        if shutdowns.to_string() != "1" {
            wrong.push(format!("drainwatch_shutdowns_total sums to {shutdowns}, must be 1"));
        }
        for other in &self.others {
            for report in agent.reports(other.path())? {
                wrong.push(format!("INVENTED a shutdown ({}) of {}", report.trigger, other.path()));
            }
        }
        ensure!(
            wrong.is_empty(),
            "drainwatch and the clients disagree\n    {}\n{}",
            wrong.join("\n    "),
            compare::table(entries, Some(report))
        );
        Ok(())
    }
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
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

impl Row {
    /// The way, for messages.
    fn name(&self) -> String {
        format!("{:?} {:?}", self.way, self.asks.iter().map(|ask| ask.act).collect::<Vec<_>>())
    }

    /// The table says that later requests of a pipeline lie unread behind the first.
    fn has_unread_tail(&self) -> bool {
        self.way != Way::Ignored && self.asks.iter().skip(1).any(|ask| matches!(ask.fate, Fate::Pathless(_)))
    }
}

impl Act {
    /// Small enough for the kernel to take it whole while the client does not read.
    fn fits_the_send_queue(self) -> bool {
        matches!(self, Self::Big(n) if n <= 1_000_000)
    }
}
