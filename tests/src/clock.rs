//! Deadlines, stretched for slow machines.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;

/// How slow this machine is; a QEMU guest without KVM is about twenty times slower.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Factor on every deadline and grace period.
    pub slow: f64,
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
        let patience = self.stretch(patience);
        let begun = Instant::now();
        loop {
            if ready()? {
                return Ok(());
            }
            if begun.elapsed() > patience {
                bail!("waited {patience:.1?} in vain for {what}");
            }
            thread::sleep(Duration::from_millis(3));
        }
    }
}
