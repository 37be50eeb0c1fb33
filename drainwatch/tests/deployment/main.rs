//! The agent as it is deployed: with the privileges of the chart and of the unit, told to stop while it is busy.
//!
//! Needs root, a unified cgroup hierarchy and a kernel that drainwatch supports. On another machine the tests of what
//! a machine lacks still hold: `drainwatch doctor` must say so, and they end there.

mod ci;
mod image;
mod memory;
mod names;
mod privileges;
mod service;
mod shutdown;
mod unit;
mod web;

const BINARY: &str = env!("CARGO_BIN_EXE_drainwatch");

/// The agent can run on this machine with all privileges there are; what it says otherwise is another test's.
fn runs_here() -> bool {
    testkit::runs_here(BINARY)
}
