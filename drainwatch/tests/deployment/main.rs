//! The agent as it is deployed: with the privileges of the chart and of the unit, told to stop while it is busy.
//!
//! Needs root, a unified cgroup hierarchy and a kernel that drainwatch supports. On another machine the tests of what
//! a machine lacks still hold: `drainwatch doctor` must say so, and they end there.

mod image;
mod names;
mod privileges;
mod service;
mod shutdown;
mod support;
mod unit;
mod web;
