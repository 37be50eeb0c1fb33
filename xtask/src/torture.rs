//! The agent ended again and again while servers are stopped: the long form of `drainwatch/tests/restart`, whose short one
//! is part of the unit stage. `docs/reliability.md` has what came of it.

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
}

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let mut test = shell::cargo();
    test.args([
        "test",
        "--locked",
        "--package",
        "drainwatch",
        "--test",
        "restart",
        "--",
        "--nocapture",
        "random_moments",
    ]);
    test.env("RESTARTS", options.restarts.to_string());
    if let Some(seed) = options.seed {
        test.env("SEED", seed.to_string());
    }
    shell::run(&mut test)
}
