//! What drainwatch makes of what the kernel recorded: the pure part.
//!
//! Records come in as plain structures, time comes in with events, and reports go out. Nothing here
//! reads a clock, a file or a socket, or can fail; so a recording replays to the same reports, and
//! the crate's dependencies keep it that way. `ARCHITECTURE.md` has the map.
#![forbid(unsafe_code)]

pub mod class;
pub mod description;
pub mod event;
pub mod exchange;
pub mod reading;
pub mod recommend;
pub mod record;
pub mod report;
pub mod rollout;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tracker;
mod words;
pub mod workload;
