//! The tracker's tests: given what ran, when these events come, then this is the report.

mod findings;
mod properties;
mod requests;
pub(crate) mod scene;
mod shutdowns;
mod sub_cgroups;
