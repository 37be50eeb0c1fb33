//! What becomes of a shutdown: metrics, history and store, sinks, web.

pub mod history;
pub mod metrics;
pub mod sinks;
pub mod store;
pub mod text;
pub mod web;
