//! The tracker's tests: given what ran, when these events come, then this is the report.

mod advice;
mod databases;
mod deletions;
mod findings;
mod naming;
mod probes;
mod properties;
mod reasons;
mod requests;
pub(crate) mod scene;
mod shutdowns;
mod sub_cgroups;
mod ways;
