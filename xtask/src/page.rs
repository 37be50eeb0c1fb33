//! The page: its tests in a real browser, and the README's pictures of it.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::deps::{self, Use};
use crate::shell;
use crate::test::Tally;
use crate::vm;

/// Options of `cargo xtask pictures`.
#[derive(clap::Args)]
#[command(after_help = "\
Runs the agent, real services and their shutdowns, a browser and a terminal (as root), and writes docs/pictures.")]
pub struct Options {}

/// Takes the pictures.
pub fn run(_: &Options) -> Result<()> {
    if let Some(missing) = deps::missing(&[Use::Ledger, Use::Page]) {
        bail!("{missing}");
    }
    let mut harness = harness()?;
    harness.arg("--pictures").arg(shell::root().join("docs/pictures"));
    shell::run(&mut harness)
}

/// Real shutdowns, seen through the page.
pub fn prove() -> Result<Tally> {
    let mut last = None;
    let success = shell::run_with_lines(harness()?.arg("--page"), |line| {
        last = Tally::of_line(line).or(last);
    })?;
    let tally = last.context("the harness did not end with `N passed, N failed`")?;
    Ok(tally.ended(success))
}

fn harness() -> Result<Command> {
    vm::build_ledger()?;
    let release = shell::target().join("release");
    let mut harness = Command::new(release.join("drainwatch-tests"));
    harness
        .arg("--drainwatch")
        .arg(release.join("drainwatch"))
        .current_dir(shell::root());
    Ok(harness)
}
