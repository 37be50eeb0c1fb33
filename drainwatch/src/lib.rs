//! drainwatch finds the requests that a deploy silently kills.
//!
//! Data walks one way: [`kernel`] and [`names`] → [`agent`], whose loop gives events to [`drainwatch_core`] (events to
//! reports; pure) → [`outlets`] → whoever reads, [`cli`] among them. Uses go from [`cli`] down: [`agent`], [`outlets`],
//! [`names`], [`kernel`], `drainwatch_core`; `tests/floors.rs` holds them to it. `ARCHITECTURE.md` has the map.
#![deny(unsafe_code)]

pub mod agent;
pub mod cli;
pub mod kernel;
pub mod names;
pub mod outlets;
