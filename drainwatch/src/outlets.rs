//! What becomes of a shutdown: metrics, history and store, sinks, web.

pub mod brief;
pub mod history;
pub mod listing;
pub mod metrics;
pub mod questions;
pub mod sinks;
pub mod store;
pub mod text;
pub mod web;
