//! The systemd unit, as systemd reads it.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::shell;

/// Most exposure, in tenths, that `systemd-analyze security` may find: 10.0 is everything.
const EXPOSURE: &str = "20";

/// It is well-formed, and leaves the service little to do harm with.
pub fn check() -> Result<()> {
    let unit = super::directory().join("systemd/drainwatch.service");
    let directory = tempfile::tempdir().context("a directory for the unit")?;
    // The program need not be installed for the unit to be checked.
    let text = super::read(&unit)?.replace("/usr/local/bin/drainwatch", "/bin/true");
    let copy = directory.path().join("drainwatch.service");
    super::write(&copy, &text)?;
    let said = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .arg(&copy)
        .output()
        .context("cannot start systemd-analyze")?;
    let complaints = String::from_utf8_lossy(&said.stderr);
    ensure!(
        said.status.success() && !complaints.contains("drainwatch.service"),
        "{complaints}"
    );
    shell::output(
        Command::new("systemd-analyze")
            .args([
                "security",
                "--no-pager",
                "--offline=true",
                "--threshold",
                EXPOSURE,
            ])
            .arg(&copy),
    )?;
    Ok(())
}
