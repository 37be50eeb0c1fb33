//! The agent ended again and again while servers are stopped, storms, and hundreds of servers stopped at once: the long forms
//! of `drainwatch/tests/restart`, `storms` and `attacks`, whose short ones are part of the unit stage. `docs/reliability.md`
//! has what came of them.

use std::process::Command;

use anyhow::Result;

use crate::shell;

/// Options of `cargo xtask torture`.
#[derive(clap::Args)]
pub struct Options {
    /// How often the agent is ended: by SIGKILL and by SIGTERM in turn
    #[arg(long, default_value_t = 200)]
    restarts: u32,
    /// Which moments; without it others each time
    #[arg(long)]
    seed: Option<u64>,
    /// How many connections are cut at once
    #[arg(long, default_value_t = 50_000)]
    connections: u32,
    /// How many servers are stopped at once
    #[arg(long, default_value_t = 1000)]
    crowd: u32,
}

/// Runs them.
pub fn run(options: &Options) -> Result<()> {
    let mut storms = test("storms");
    // One storm at a time.
    storms.arg("--test-threads=1");
    storms.env("CONNECTIONS", options.connections.to_string());
    shell::run(&mut storms)?;
    let mut restarts = test("restart");
    restarts.arg("random_moments");
    restarts.env("RESTARTS", options.restarts.to_string());
    if let Some(seed) = options.seed {
        restarts.env("SEED", seed.to_string());
    }
    shell::run(&mut restarts)?;
    let mut crowd = test("attacks");
    crowd.arg("hundreds_of_workloads");
    crowd.env("CROWD", options.crowd.to_string());
    shell::run(&mut crowd)
}

fn test(name: &str) -> Command {
    let mut test = shell::cargo();
    test.args([
        "test",
        "--locked",
        "--package",
        "drainwatch",
        "--test",
        name,
        "--",
        "--nocapture",
    ]);
    test
}
