//! The room of outlets: what a shutdown becomes for others, as metrics, in history and store, in sinks, on the web.
//!
//! May not enter: the kernel side itself, the tracker, and anything that decides what a report says: reports come in
//! finished. None may hold up the loop: what writes or sends does so elsewhere, behind a bounded queue.

pub mod brief;
pub mod doubts;
pub mod history;
pub mod listing;
pub mod metrics;
pub mod questions;
pub mod rollouts;
pub mod sinks;
pub mod store;
pub mod summary;
pub mod text;
pub mod web;
