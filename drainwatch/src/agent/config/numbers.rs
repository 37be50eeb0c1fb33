//! How much, how many, how long.

use std::{ops::Deref, str::FromStr, time::Duration};

use super::Text;
use crate::outlets::text::duration;

/// Requests that are answered at the same time: at least one, at most ten thousand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxRequests(usize);

impl Text for MaxRequests {
    const VALUES: &str = "1 to 10000";
}

impl FromStr for MaxRequests {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .ok()
            .filter(|n| (1..=10_000).contains(n))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a number from 1 to 10000"))
    }
}

impl Deref for MaxRequests {
    type Target = usize;

    fn deref(&self) -> &usize {
        &self.0
    }
}

/// How long something is kept: longer than no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age(Duration);

impl Text for Age {
    const VALUES: &str = "a number above 0 with `ms`, `s`, `m`, `h` or `d`";
}

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match duration(text)? {
            Duration::ZERO => Err(format!(
                "`{text}` would keep nothing; write for example 30d, or leave state-dir out"
            )),
            age => Ok(Self(age)),
        }
    }
}

impl Deref for Age {
    type Target = Duration;

    fn deref(&self) -> &Duration {
        &self.0
    }
}

/// A whole number with its unit: `500ms`, `5s`, `15m`, `12h`, `30d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeSpan(Duration);

impl Text for TimeSpan {
    const VALUES: &str = "a number with `ms`, `s`, `m`, `h` or `d`";
}

impl FromStr for TimeSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        duration(text).map(Self)
    }
}

impl Deref for TimeSpan {
    type Target = Duration;

    fn deref(&self) -> &Duration {
        &self.0
    }
}
