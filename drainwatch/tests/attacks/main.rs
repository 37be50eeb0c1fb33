//! Attacks on the agent, and storms: what it does not survive, or does not see because of them. The quick forms; what longer
//! ones measured is in docs/reliability.md.

mod blinding;
mod crowd;
mod readers;

use std::{
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use testkit::{Agent, agent, runs_here};

const BINARY: &str = env!("CARGO_BIN_EXE_drainwatch");

/// An agent watches the whole machine: whoever counts what it is told must not run beside an attack.
static ATTACKS: RwLock<()> = RwLock::new(());

/// Held by an attack.
fn attacking() -> RwLockReadGuard<'static, ()> {
    ATTACKS.read().unwrap_or_else(PoisonError::into_inner)
}

/// Held by who counts.
fn alone() -> RwLockWriteGuard<'static, ()> {
    ATTACKS.write().unwrap_or_else(PoisonError::into_inner)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/attacks")
        .join(name)
}

/// An agent with these arguments; none without root, where none runs: that it then refuses is the command line's own test.
fn agent(arguments: &[&str]) -> Option<Agent> {
    if !runs_here(BINARY) {
        return None;
    }
    let mut run = agent::run(BINARY);
    run.args(arguments);
    Some(Agent::start(run).expect("an agent that watches"))
}
