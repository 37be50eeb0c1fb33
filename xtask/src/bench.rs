//! What the agent costs, measured on this machine: a bench to read, not a test that passes or fails.
//!
//! Noise on a shared machine is larger than what is measured, so every comparison runs in blocks: off, on and off once
//! more, in an order shuffled block by block. The second off against the first is the control: it says how far apart two
//! equal things are here.

mod agent;
mod counted;
mod empty;
mod far;
mod latency;
mod load;
mod memory;
mod numbers;
mod programs;
mod serving;
mod start;
mod throughput;

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::deps::{self, Use};
use crate::shell;

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Options {
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,
    /// Seconds of load in each run
    #[arg(long, value_name = "SECONDS", default_value_t = 4)]
    seconds: u64,
    /// Blocks of off, on and off again
    #[arg(long, value_name = "N", default_value_t = 8)]
    blocks: usize,
    /// Order of the runs; the same seed gives the same order
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Agent to measure instead of the workspace's own release build
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,
    /// Count the instructions of the BPF programs instead, in a guest; fail where they are more than was committed
    #[arg(long, conflicts_with_all = ["only", "markdown"])]
    counted: bool,
    /// Programs: what `--counted` runs in its guest
    #[arg(long, hide = true)]
    in_guest: bool,
    /// Commit what was counted
    #[arg(long, requires = "counted")]
    write: bool,
    /// Also write the results here, as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Nanoseconds of each program's run, less an empty program's on the same hook
    Programs,
    /// nginx's throughput and CPU per request, agent off and on
    Throughput,
    /// Events and wake-ups of the agent while workloads merely serve
    Serving,
    /// The agent's memory with idle connections and with pods, and the kernel's for it
    Memory,
    /// The agent's start, and what the kernel verifies for it
    Start,
    /// From SIGKILL of a server to the metric
    Latency,
}

/// What every part needs to know.
pub struct Setup {
    /// The agent's binary.
    pub agent: PathBuf,
    /// Load in each run.
    pub load: Duration,
    /// Blocks of runs.
    pub blocks: usize,
    /// Seed of the order of runs.
    pub seed: u64,
    /// A nanosecond is an instruction here.
    pub counted: bool,
}

/// One table of results.
pub struct Table {
    /// What was measured, and how.
    pub title: String,
    /// Names of the columns.
    pub columns: Vec<&'static str>,
    /// Cells, row by row.
    pub rows: Vec<Vec<String>>,
    /// What to know when reading it.
    pub notes: Vec<String>,
}

impl Table {
    /// As Markdown, its columns aligned so that it can be read as it is.
    fn markdown(&self) -> String {
        let head = self
            .columns
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>();
        let width = |column: usize| {
            let cells = self.rows.iter().chain([&head]).filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let line = |cells: &[String]| {
            let padded = cells
                .iter()
                .zip(&widths)
                .map(|(cell, &width)| format!("{cell:width$}"));
            format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
        };
        let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
        let rows: String = [&head, &rule]
            .into_iter()
            .chain(&self.rows)
            .map(|row| line(row))
            .collect();
        let notes = self
            .notes
            .iter()
            .fold(String::new(), |text, note| text + "\n" + note + "\n");
        format!("## {}\n\n{rows}{notes}\n", self.title)
    }
}

/// Measures and prints.
pub fn run(options: &Options) -> Result<()> {
    if let Some(missing) = deps::missing(&[Use::Ledger]) {
        bail!("{missing}");
    }
    ensure!(
        options.blocks > 0 && options.seconds > 0,
        "--blocks and --seconds must be at least 1"
    );
    let agent = if let Some(path) = &options.agent {
        std::path::absolute(path).context("the agent's path")?
    } else {
        shell::build_dist()?
    };
    ensure!(agent.is_file(), "no agent at {}", agent.display());
    if options.counted {
        return counted::run(&agent, options.write);
    }
    let setup = Setup {
        agent,
        load: Duration::from_secs(options.seconds),
        blocks: options.blocks,
        seed: options.seed,
        counted: options.in_guest,
    };
    let mut text = format!("# What the agent costs\n\n{}\n", machine()?);
    print!("{text}");
    for part in Part::value_variants() {
        if options.only.is_empty() || options.only.contains(part) {
            let name = part
                .to_possible_value()
                .map(|value| value.get_name().to_owned())
                .unwrap_or_default();
            eprintln!("measuring: {name}");
            let one = |table: Table| vec![table];
            let tables = match part {
                Part::Programs => programs::measure(&setup).map(one),
                Part::Throughput => throughput::measure(&setup).map(one),
                Part::Serving => serving::measure(&setup).map(one),
                Part::Memory => memory::measure(&setup),
                Part::Start => start::measure(&setup),
                Part::Latency => latency::measure(&setup).map(one),
            };
            let tables = tables.with_context(|| format!("measuring {name}"))?;
            let section: String = tables.iter().map(Table::markdown).collect();
            print!("{section}");
            text += &section;
        }
    }
    if let Some(path) = &options.markdown {
        fs::write(path, text.trim_end().to_owned() + "\n")
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// That no BPF program needs more instructions for a request than was committed. They do not depend on how the agent was
/// built, so that this is the build that other stages of the test command have.
pub fn counted() -> Result<()> {
    shell::run(shell::cargo().args(["build", "--release", "--locked", "--package", "drainwatch"]))?;
    counted::run(&shell::target().join("release/drainwatch"), false)
}

/// What it was measured on.
fn machine() -> Result<String> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("reading the kernel's release")?;
    let cpus = fs::read_to_string("/proc/cpuinfo").context("reading /proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or(": unknown CPU");
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let mut text = String::new();
    writeln!(
        text,
        "Measured by `cargo xtask bench` on Linux {}, {count} × {}, server, load generator and agent on the same \
         machine.",
        kernel.trim(),
        model.trim_start_matches([':', ' ', '\t'])
    )
    .context("writing to a string")?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_table_when_written_as_markdown_then_its_columns_are_aligned() {
        let table = Table {
            title: "Memory".to_owned(),
            columns: vec!["connections", "KiB"],
            rows: vec![
                vec!["0".to_owned(), "4000".to_owned()],
                vec!["1000".to_owned(), "4010".to_owned()],
            ],
            notes: vec!["Idle.".to_owned()],
        };
        let expected = "\
## Memory

| connections | KiB  |
| ----------- | ---- |
| 0           | 4000 |
| 1000        | 4010 |

Idle.

";
        assert_eq!(table.markdown(), expected);
    }
}
