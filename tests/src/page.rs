//! The page in a real browser: the real agent, real shutdowns of real services, and what a reader sees of them.

mod browser;
mod checks;
pub mod pictures;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use testkit::Clock;

use crate::{
    agent::{Agent, Report},
    alerts::service::Service,
    home::Home,
    prepare::Artefacts,
    stage::{self, Step},
    table::Server,
};
use browser::Browser;

/// How long a report may take to end: late arrivals are waited for.
const ENDED_WITHIN: Duration = Duration::from_secs(20);
/// A new shutdown is to be seen without a reload within this.
const SEEN_WITHIN: Duration = Duration::from_secs(2);

/// What the steps share.
struct Stage {
    agent: Option<Agent>,
    browser: Browser,
    base: String,
    root: PathBuf,
    out: PathBuf,
    artefacts: Artefacts,
    clock: Clock,
    /// The shutdown that severed webhooks: its workload and id.
    pay: Option<(Home, String)>,
    /// The one of hostile names.
    hostile: Option<(Home, String)>,
}

/// In this order: each relies on what the ones before it left behind.
const STEPS: &[Step<Stage>] = &[
    ("a page without shutdowns says what to do", Stage::nothing_yet),
    ("a shutdown appears by itself, and is announced", Stage::appears),
    ("filters and search live in the address", Stage::filters),
    ("one shutdown: findings, bars, requests", Stage::one),
    (
        "the last deploys are seen first, and lead to a workload's history",
        Stage::deploys,
    ),
    ("hundreds of requests stay legible", Stage::many),
    ("hostile names and paths are mere text", Stage::hostile),
    ("the keyboard is enough", Stage::keyboard),
    ("light, dark, and what was chosen", Stage::themes),
    ("times are the reader's, or everybody's", Stage::zones),
    (
        "more shutdowns than are loaded: all are counted and found",
        Stage::crowd,
    ),
    ("a phone shows it all", Stage::phone),
    ("axe finds nothing", Stage::accessible),
    ("below another path it works too", Stage::prefixed),
    ("nothing else was loaded, nothing was refused", Stage::quiet),
    (
        "an agent that stops does so at once, and the page says so",
        Stage::stops,
    ),
];

/// Plays all of it.
pub fn run(binary: &Path, out: &Path, clock: Clock) -> anyhow::Result<ExitCode> {
    let mut stage = Stage::start(binary, out, "Asia/Kolkata", clock)?;
    Ok(stage::play(&mut stage, STEPS, |stage, number| {
        let picture = out.join(format!("failed-{number}.png"));
        stage.browser.picture(&picture).ok().map(|()| picture)
    }))
}

impl Stage {
    fn start(binary: &Path, out: &Path, zone: &str, clock: Clock) -> anyhow::Result<Self> {
        let agent = Agent::start(binary, out, &[], clock)?;
        let browser = Browser::start(out, zone, clock)?;
        browser.resize(1280, 900)?;
        browser.prefer("light")?;
        Ok(Self {
            base: format!("http://{}/", agent.address()),
            agent: Some(agent),
            browser,
            root: testkit::cgroup::unified_root()?,
            out: out.into(),
            artefacts: Artefacts::locate(),
            clock,
            pay: None,
            hostile: None,
        })
    }

    fn agent(&self) -> anyhow::Result<&Agent> {
        self.agent.as_ref().context("the agent has been stopped")
    }

    fn cgroup(&self, name: &str) -> anyhow::Result<Home> {
        let name = format!("drainwatch-page-{}-{name}", std::process::id());
        Home::create(&self.root, &name)
    }

    fn serve(&self, name: &str, cgroup: &Home, server: Server) -> anyhow::Result<Service> {
        let directory = self.out.join(name);
        // What an earlier service of this name said, or was told, is not this one's.
        let _ = fs::remove_dir_all(&directory);
        Service::start(&self.artefacts, &directory, cgroup, self.clock, server)
    }

    /// The report of a cgroup's only shutdown, once it has ended.
    fn report(&self, cgroup: &Home) -> anyhow::Result<Report> {
        // As reports spell what would turn the direction of the text.
        let path = cgroup.path().replace('\u{202e}', "\\u{202e}");
        let mut ended = None;
        self.clock.until("the report", ENDED_WITHIN, || {
            ended = self
                .agent()?
                .reports(&path)?
                .into_iter()
                .find(|report| report.ended_at.is_some());
            Ok(ended.is_some())
        })?;
        ended.context("no report")
    }

    fn pay(&self) -> anyhow::Result<&(Home, String)> {
        self.pay.as_ref().context("there was no shutdown")
    }

    fn open(&self, query: &str) -> anyhow::Result<()> {
        self.browser.open(&format!("{}{query}", self.base))
    }

    /// Opens one shutdown and waits for its drawing.
    fn open_one(&self, id: &str) -> anyhow::Result<()> {
        self.open(&format!("?id={id}"))?;
        self.browser.until("document.querySelector('.rows') !== null")
    }

    fn text(&self, selector: &str) -> anyhow::Result<String> {
        let script =
            "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent).join('\\n')";
        let text = self.browser.script(script, &selector.into())?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    fn count(&self, selector: &str) -> anyhow::Result<u64> {
        let script = "return document.querySelectorAll(arguments[0]).length";
        let count = self.browser.script(script, &selector.into())?;
        count.as_u64().context("no number")
    }

    /// Nothing sticks out to the side.
    fn fits(&self) -> anyhow::Result<()> {
        let wide = self
            .browser
            .eval("[document.documentElement.scrollWidth, innerWidth]")?;
        ensure!(
            wide[0].as_u64() <= wide[1].as_u64(),
            "wider than the window: {wide}"
        );
        Ok(())
    }
}

/// Ends a service by SIGTERM.
fn stop(service: &mut Service) -> anyhow::Result<()> {
    service.signal(Signal::SIGTERM)?;
    service.wait()
}

fn id(report: &Report) -> anyhow::Result<String> {
    let id = report.json["id"].as_str().context("a report without an id")?;
    Ok(id.into())
}

fn list<'j>(json: &'j Value, key: &str) -> &'j [Value] {
    json[key].as_array().map(Vec::as_slice).unwrap_or_default()
}
