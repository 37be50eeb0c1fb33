//! What a start of the agent takes, and what the kernel's verifier has to do for it.

use std::io::{self, BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use aya::programs::loaded_programs;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::process::spawn;

use super::agent::{self, Agent};
use super::numbers::{median, range};
use super::{Setup, Table};

const RUNS: usize = 10;
/// What the agent says once it is ready.
const READY: &str = "watching every workload";

/// Time until it is ready, and instructions verified.
pub fn measure(setup: &Setup) -> Result<Vec<Table>> {
    let starts = (0..RUNS).map(|_| once(setup)).collect::<Result<Vec<_>>>()?;
    let column = |value: fn(&Start) -> Duration| {
        let values: Vec<f64> = starts
            .iter()
            .map(|start| value(start).as_secs_f64() * 1e3)
            .collect();
        let (_, most) = range(&values);
        [median(&values), most].map(|value| format!("{value:.0}"))
    };
    let rows = vec![
        row("from exec until it watches", column(|start| start.ready)),
        row("CPU until then, its own", column(|start| start.user)),
        row(
            "CPU until then, the kernel's for it",
            column(|start| start.system),
        ),
    ];
    let time = Table {
        title: "Start of the agent".to_owned(),
        columns: vec!["what", "median, ms", "longest, ms"],
        rows,
        notes: vec![format!(
            "{RUNS} starts with an empty state directory and without pins, so that all programs are loaded. Ready is its line \
             `{READY} …`: programs are attached then, and `/healthz` answers. The kernel's CPU is mostly its verifier and \
             compiler; clock ticks of 10 ms."
        )],
    };
    Ok(vec![time, verified(setup)?])
}

fn row(what: &str, values: [String; 2]) -> Vec<String> {
    [what.to_owned()].into_iter().chain(values).collect()
}

struct Start {
    ready: Duration,
    user: Duration,
    system: Duration,
}

fn once(setup: &Setup) -> Result<Start> {
    let state = tempfile::tempdir().context("making a state directory")?;
    let mut command = agent::command(setup, state.path());
    let (reader, writer) = io::pipe().context("making a pipe")?;
    let other = writer.try_clone().context("making a pipe")?;
    command.stdin(Stdio::null()).stdout(writer).stderr(other);
    let began = Instant::now();
    let mut child = spawn(&mut command)?;
    // It holds the writing ends.
    drop(command);
    let mut lines = BufReader::new(reader).lines();
    let mut said = Vec::new();
    let ready = loop {
        match lines.next().transpose().context("reading what the agent says")? {
            Some(line) if line.contains(READY) => break began.elapsed(),
            Some(line) => said.push(line),
            None => bail!("the agent ended ({}): {}", child.wait()?, said.join("\n")),
        }
    };
    let cpu = agent::cpu(child.id().cast_signed());
    let ended = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
    // Until its output ends, or it would wait for a reader.
    lines.for_each(drop);
    child.wait().context("waiting for the agent")?;
    ended.context("ending the agent")?;
    let (user, system) = cpu?;
    Ok(Start { ready, user, system })
}

fn verified(setup: &Setup) -> Result<Table> {
    let agent = Agent::start(setup)?;
    let ids = agent.program_ids()?;
    let mut found = Vec::new();
    for program in loaded_programs()
        .flatten()
        .filter(|program| ids.contains(&program.id()))
    {
        let name = program
            .name_as_str()
            .context("a program's name is plain")?
            .to_owned();
        let verified = program.verified_instruction_count();
        let verified = verified.context("this kernel does not tell (5.16 and later do)")?;
        found.push((
            name,
            [
                verified,
                program.size_translated().unwrap_or_default() / 8,
                program.size_jitted(),
            ],
        ));
    }
    found.sort_by_key(|(_, [verified, ..])| std::cmp::Reverse(*verified));
    let sum = found
        .iter()
        .fold([0; 3], |[a, b, c], (_, [x, y, z])| [a + x, b + y, c + z]);
    found.push(("all".to_owned(), sum));
    let rows = found.into_iter().map(|(name, counts)| {
        let counts = counts.map(|count| count.to_string());
        [name].into_iter().chain(counts).collect()
    });
    Ok(Table {
        title: "Verification of the BPF programs".to_owned(),
        columns: vec!["program", "instructions verified", "instructions", "machine code, bytes"],
        rows: rows.collect(),
        notes: vec![
            "Verified are instructions on all paths that the kernel's verifier walks; a program of which it sees much again \
             counts them each time. The kernel keeps 15 characters of a program's name."
                .to_owned(),
        ],
    })
}
