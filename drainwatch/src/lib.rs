//! drainwatch finds the requests that a deploy silently kills.
//!
//! Data flows one way: [`kernel`] → [`event`] → [`workload`] → [`tracker`] → [`report`] → sinks
//! (metrics, store, web, recording). The core ([`protocol`], [`tracker`]) is pure.
//! `ARCHITECTURE.md` has the map.
#![deny(unsafe_code)]

pub mod agent;
pub mod class;
pub mod cli;
pub mod client;
pub mod config;
pub mod demo;
pub mod event;
pub mod failure;
pub mod history;
pub mod kernel;
pub mod metrics;
pub mod names;
pub mod protocol;
pub mod recommend;
pub mod recording;
pub mod render;
pub mod report;
pub mod sinks;
pub mod source;
pub mod store;
pub mod tracker;
pub mod web;
pub mod workload;
