//! What tests start and ask: agents, other programs, cgroups, ports, a collector of OTLP.
//!
//! It serves the tests of the crate `drainwatch`, the ledger and the bench, and knows the agent only from outside: its
//! command line, its log, `/metrics` and `/api/v1`. So it depends on none of the project's crates.
#![forbid(unsafe_code)]

pub mod agent;
pub mod cgroup;
pub mod clock;
pub mod demo;
pub mod http;
pub mod metrics;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod port;
pub mod process;
pub mod systemd;

pub use agent::{Agent, runs_here};
pub use cgroup::Cgroup;
pub use clock::{Clock, PATIENCE, within};
pub use port::Port;
pub use process::{Process, command};
