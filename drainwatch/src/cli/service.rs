//! What a service manager (systemd, `Type=notify`) is told. Without one, nothing is told to nobody.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::outlets::questions::Handle;

/// Tells when the agent is ready, as `/readyz` does, and, where a watchdog is set, that its loop turns.
pub fn spawn(handle: Handle) {
    tokio::spawn(async move {
        if handle.ready().await.is_err() {
            return;
        }
        tell(NotifyState::Ready);
        let Some(period) = watchdog() else { return };
        // In time even if one beat takes its longest.
        let mut ticks = tokio::time::interval(period / 3);
        loop {
            ticks.tick().await;
            if handle.beat().await.is_ok() {
                tell(NotifyState::Watchdog);
            }
        }
    });
}

/// Tells that the agent ends because it was asked to.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager could not be notified");
    }
}

/// `WatchdogSec=` of the unit.
fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|period| !period.is_zero())
}
