//! The pages of `docs/reference` and the manual, `docs/man`: written from the code, and compared with it.
//!
//! What reads the code is a test of the agent, `drainwatch/tests/reference`: it needs the built program and its types,
//! which the tasks should not have to compile. So the unit stage of `cargo xtask test` finds a page that has drifted.

use anyhow::Result;

use crate::shell;

/// Options of `cargo xtask docs`.
#[derive(clap::Args)]
pub struct Options {
    /// Change nothing: fail when a page is not what the code says
    #[arg(long)]
    check: bool,
}

/// Writes the pages, or compares them.
pub fn run(options: &Options) -> Result<()> {
    let mut test = shell::cargo();
    test.args([
        "test",
        "--quiet",
        "--locked",
        "--package",
        "drainwatch",
        "--test",
        "reference",
    ]);
    if options.check {
        test.env_remove(WRITE);
    } else {
        test.env(WRITE, "1");
    }
    shell::run(&mut test)
}

/// Tells the test to write.
const WRITE: &str = "WRITE_REFERENCE";
