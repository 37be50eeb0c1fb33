//! drainwatch finds the requests that a deploy silently kills.
//!
//! Data flows one way: [`kernel`] → [`event`] → [`workload`] → [`tracker`] → [`report`] → sinks
//! (metrics, store, web, recording). The core ([`protocol`], [`tracker`]) is pure.
//! `ARCHITECTURE.md` has the map.
#![deny(unsafe_code)]

pub mod event;
pub mod kernel;
pub mod protocol;
pub mod recording;
pub mod report;
pub mod tracker;
pub mod workload;
