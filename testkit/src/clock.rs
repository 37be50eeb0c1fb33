//! Deadlines, stretched for slow machines.

use std::{
    env, thread,
    time::{Duration, Instant},
};

use anyhow::bail;

/// Longest wait for what takes moments where all goes well, before stretching: guests in QEMU are slow.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// How slow this machine is; a QEMU guest without KVM is about twenty times slower.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Factor on every deadline and grace period.
    pub slow: f64,
}

impl Default for Clock {
    /// As `SLOW` of the environment says, which is for guests.
    fn default() -> Self {
        let slow = env::var("SLOW").ok().and_then(|slow| slow.parse().ok());
        Self {
            slow: slow.unwrap_or(1.0),
        }
    }
}

impl Clock {
    /// A duration as this machine needs it.
    pub fn stretch(self, duration: Duration) -> Duration {
        duration.mul_f64(self.slow)
    }

    /// Polls until `ready` says so; fails after `patience` (stretched), naming what was waited for.
    pub fn until(
        self,
        what: &str,
        patience: Duration,
        mut ready: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        self.find(what, patience, || Ok(ready()?.then_some(())))
    }

    /// Polls until there is something; fails after `patience` (stretched), naming what was waited for.
    pub fn find<T>(
        self,
        what: &str,
        patience: Duration,
        mut poll: impl FnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let patience = self.stretch(patience);
        let begun = Instant::now();
        loop {
            if let Some(found) = poll()? {
                return Ok(found);
            }
            if begun.elapsed() > patience {
                bail!("waited {patience:.1?} in vain for {what}");
            }
            thread::sleep(Duration::from_millis(3));
        }
    }
}

/// Polls until there is something.
///
/// # Panics
/// When there is nothing after [`PATIENCE`].
#[track_caller]
pub fn within<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    match Clock::default().find(what, PATIENCE, || Ok(poll())) {
        Ok(found) => found,
        Err(error) => panic!("{error}"),
    }
}
