//! The alerts and dashboards under `dashboards/`: what they ask for exists, and gives data.

mod boards;
mod delivery;
mod queries;
mod registry;
mod rules;

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::deps::{self, Use};
use crate::shell;
use crate::test::Tally;
use crate::vm;

/// Options of `cargo xtask dashboards`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask dashboards --check  every metric and label that is asked for exists; promtool's checks and unit tests
  cargo xtask dashboards --prove  a real agent, Prometheus and Alertmanager, and real shutdowns (as root)")]
pub struct Options {
    /// Check the files (the default)
    #[arg(long)]
    check: bool,
    /// Let alerts fire and panels show data, with a real Prometheus
    #[arg(long)]
    prove: bool,
}

/// Checks, proves, or both.
pub fn run(options: &Options) -> Result<()> {
    if let Some(missing) = deps::missing(&[Use::Alerts]) {
        bail!("{missing}");
    }
    let mut tally = Tally::default();
    if options.check || !options.prove {
        tally = tally.plus(checks());
    }
    if options.prove {
        tally = tally.plus(prove()?);
    }
    println!("{tally}");
    ensure!(tally.failed == 0, "dashboards failed");
    Ok(())
}

/// Runs every check, whatever the ones before it said.
pub fn checks() -> Tally {
    let mut tally = Tally::default();
    let mut note = |name: &str, result| tally.note(name, result);
    match registry::Registry::of_agent() {
        Ok(registry) => {
            note("alerts and recording rules", rules::check(&registry));
            note("dashboards", boards::check(&registry));
            note(
                "templates of Argo Rollouts and Flagger",
                delivery::check(&registry),
            );
        }
        Err(error) => note("metrics of the agent", Err(error)),
    }
    note(
        "promtool check rules",
        promtool(&["check", "rules", "alerts.yaml", "recording.yaml"]),
    );
    note(
        "promtool test rules",
        promtool(&["test", "rules", "alerts_test.yaml", "recording_test.yaml"]),
    );
    tally
}

fn promtool(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(directory());
    shell::output(&mut command).map(drop)
}

/// Real shutdowns, seen by the harness through a real Prometheus and Alertmanager.
pub fn prove() -> Result<Tally> {
    vm::build_ledger()?;
    let release = shell::target().join("release");
    let mut harness = Command::new(release.join("drainwatch-tests"));
    harness
        .arg("--alerts")
        .arg(directory())
        .arg("--drainwatch")
        .arg(release.join("drainwatch"))
        .current_dir(shell::root());
    let mut last = None;
    let success = shell::run_with_lines(&mut harness, |line| last = Tally::of_line(line).or(last))?;
    let tally = last.context("the harness did not end with `N passed, N failed`")?;
    Ok(tally.ended(success))
}

fn directory() -> std::path::PathBuf {
    shell::root().join("dashboards")
}

fn read(name: &str) -> Result<String> {
    let path = directory().join(name);
    std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

/// Fails with all of them.
fn none_wrong(wrong: &BTreeSet<String>) -> Result<()> {
    let lines: Vec<&str> = wrong.iter().map(String::as_str).collect();
    ensure!(lines.is_empty(), "\n  {}", lines.join("\n  "));
    Ok(())
}
