//! drainwatch finds the requests that a deploy silently kills.
//!
//! Data flows one way: [`kernel`] → [`drainwatch_core`] (records to events, events to reports; pure) → sinks
//! (metrics, store, web, recording).
//! `ARCHITECTURE.md` has the map.
#![deny(unsafe_code)]

pub mod agent;
pub mod cli;
pub mod kernel;
pub mod names;
pub mod outlets;
