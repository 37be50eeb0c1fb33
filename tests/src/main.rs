//! The ledger: real servers, real clients, and drainwatch's report compared request by request.
//!
//! Each case starts a server in a cgroup of its own, brings requests to a defined point of their
//! lives by observation, ends the server, and records what every client saw. That record is the
//! oracle: the report must list every request that the clients lost to the server, once, with its
//! cause, and nothing else.
#![forbid(unsafe_code)]

use std::{env, fs, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

mod agent;
mod alerts;
mod cases;
mod client;
mod compare;
mod engine;
mod enter;
mod home;
mod load;
mod page;
mod prepare;
mod runner;
mod scene;
mod serve;
mod server;
mod stage;
mod table;
mod talks;

use testkit::Clock;

use crate::{agent::Agent, load::Load, prepare::Artefacts, scene::World};

/// Compares drainwatch's reports with what clients saw.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
#[command(name = "drainwatch-tests", args_conflicts_with_subcommands = true)]
struct Options {
    /// The agent's binary.
    #[arg(long, value_name = "PATH", required_unless_present_any = ["no_agent", "list", "prepare"])]
    drainwatch: Option<PathBuf>,
    /// Run the cases and check what the clients see, without an agent.
    #[arg(long, conflicts_with = "drainwatch")]
    no_agent: bool,
    /// Only cases whose name contains this; may be given several times.
    #[arg(long, value_name = "SUBSTR")]
    filter: Vec<String>,
    /// Print the cases' names and end.
    #[arg(long)]
    list: bool,
    /// Build what the cases need (Go server, Python environment) and end. Needs a network.
    #[arg(long)]
    prepare: bool,
    /// Instead of the cases: the alerts and dashboards of this directory, with a real Prometheus.
    #[arg(long, value_name = "DIR", requires = "drainwatch")]
    alerts: Option<PathBuf>,
    /// Instead of the cases: the page, in a real browser.
    #[arg(long, requires = "drainwatch")]
    page: bool,
    /// Instead of the cases: write the README's pictures into this directory.
    #[arg(long, value_name = "DIR", requires = "drainwatch")]
    pictures: Option<PathBuf>,
    /// Cases at a time.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
    /// How many times over to run the cases.
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeat: usize,
    /// Factor on every deadline and grace period, for slow machines.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    slow: f64,
    /// Beside the cases, keep a server busy, and check how many runs of the agent's programs the kernel skipped.
    #[arg(long, requires = "drainwatch")]
    load: bool,
    /// Servers that may be missing: their cases are skipped instead of failing. May be given several times.
    #[arg(long, value_name = "PROGRAM")]
    may_miss: Vec<String>,
    /// Afterwards print what clients saw on this kernel, as a table.
    #[arg(long)]
    kernel_notes: bool,
    /// Where files and reports of failed cases are left.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// Parts that the harness plays in processes of their own.
#[derive(Debug, Subcommand)]
enum Part {
    /// Joins a cgroup and becomes a server.
    #[command(name = "__enter", hide = true)]
    Enter(enter::Options),
    /// The hyper server.
    #[command(name = "__hyper", hide = true)]
    Hyper,
    /// The server on bare sockets.
    #[command(name = "__raw", hide = true)]
    Raw,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    match &options.part {
        Some(Part::Enter(enter)) => enter::run(enter).map(|()| ExitCode::SUCCESS),
        Some(Part::Hyper) => serve::hyper::run().map(|()| ExitCode::SUCCESS),
        Some(Part::Raw) => serve::raw::run().map(|()| ExitCode::SUCCESS),
        None => ledger(&options),
    }
}

fn ledger(options: &Options) -> anyhow::Result<ExitCode> {
    let artefacts = Artefacts::locate();
    let mut cases = cases::all();
    cases.retain(|case| options.filter.is_empty() || options.filter.iter().any(|f| case.name.contains(f)));
    let mut talks = talks::all();
    talks.retain(|talk| options.filter.is_empty() || options.filter.iter().any(|f| talk.name.contains(f)));
    if options.list {
        let names = cases.iter().map(|case| case.name);
        for name in names.chain(talks.iter().map(|talk| talk.name)) {
            println!("{name}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    if options.prepare {
        artefacts.prepare()?;
        return Ok(ExitCode::SUCCESS);
    }
    let out = options
        .out
        .clone()
        .unwrap_or_else(|| env::temp_dir().join(format!("drainwatch-ledger-{}", std::process::id())));
    fs::create_dir_all(&out)?;
    let clock = Clock { slow: options.slow };
    if let (Some(dashboards), Some(binary)) = (&options.alerts, &options.drainwatch) {
        let code = alerts::run(dashboards, binary, &out, clock)?;
        if code == ExitCode::SUCCESS {
            // Nothing to look at, as below.
            let _ = fs::remove_dir_all(&out);
        }
        return Ok(code);
    }
    if let (true, Some(binary)) = (options.page, &options.drainwatch) {
        let code = page::run(binary, &out, clock)?;
        if code == ExitCode::SUCCESS {
            let _ = fs::remove_dir_all(&out);
        }
        return Ok(code);
    }
    if let (Some(pictures), Some(binary)) = (&options.pictures, &options.drainwatch) {
        page::pictures::take(pictures, binary, &out, clock)?;
        let _ = fs::remove_dir_all(&out);
        return Ok(ExitCode::SUCCESS);
    }
    let root = testkit::cgroup::unified_root()?;
    let (engines, absent) = engine::start_needed(&cases, &out, &root, clock);
    let agent = options
        .drainwatch
        .as_ref()
        .map(|binary| Agent::start(binary, &out, &engines, clock))
        .transpose()?;
    if agent.as_ref().is_some_and(|agent| !agent.sees.resets) {
        println!("this kernel shows no reset without a socket: causes `refused` and `late` are not expected");
    }
    let mut world = World {
        artefacts,
        cgroups: root,
        out,
        clock,
        agent,
        engines,
        absent,
    };
    let load = options.load.then(|| Load::start(&world.out, clock)).transpose()?;
    let tally = runner::run(&world, &cases, &talks, options)?;
    let bore_it = match (load, &world.agent) {
        (Some(load), Some(agent)) => load.stop(agent),
        _ => Ok(()),
    };
    if let Err(error) = &bore_it {
        println!("FAIL load: {error:#}");
    }
    if options.kernel_notes {
        runner::kernel_notes(&cases, &tally)?;
    }
    let stopped = world.agent.take().map_or(Ok(()), Agent::stop);
    if let Err(error) = &stopped {
        println!("FAIL agent: {error:#}");
    }
    // Before their files go.
    world.engines.clear();
    let failed = tally.failed + usize::from(stopped.is_err()) + usize::from(bore_it.is_err());
    if failed == 0 {
        // Nothing to look at; a leftover in the temporary directory harms nobody.
        let _ = fs::remove_dir_all(&world.out);
    }
    let skipped = if tally.skipped > 0 {
        format!(", {} skipped", tally.skipped)
    } else {
        String::new()
    };
    println!("{} passed, {failed} failed{skipped}", tally.passed);
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
