//! The two rule files as one, as a `PrometheusRule` wants them.

use std::path::Path;

use anyhow::{Context, Result};

/// The groups of alerts and recording rules under one `groups:`, their text unchanged.
pub fn both(dashboards: &Path) -> Result<String> {
    let mut text = String::from("groups:\n");
    for name in ["alerts.yaml", "recording.yaml"] {
        let file = super::read(&dashboards.join(name))?;
        let (_, groups) = file
            .split_once("\ngroups:\n")
            .with_context(|| format!("{name} has no line `groups:`"))?;
        text.push_str(groups);
    }
    Ok(text)
}
