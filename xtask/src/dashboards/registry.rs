//! What the agent exposes, from its registry.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};

use crate::shell;

/// Labels that Prometheus or the user's configuration adds to every series.
const OF_TARGET: [&str; 4] = ["cluster", "instance", "job", "node"];
/// Labels whose values are closed lists, every one of which the agent exposes from the start.
const CLOSED: [&str; 8] = [
    "cause",
    "class",
    "direction",
    "finding",
    "phase",
    "reason",
    "trigger",
    "verdict",
];

/// Metrics, their labels, and the labels' values.
#[derive(Debug)]
pub struct Registry(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Registry {
    /// Asks the agent's own registry.
    pub fn of_agent() -> Result<Self> {
        let mut example = shell::cargo();
        example.args([
            "run",
            "--quiet",
            "--locked",
            "-p",
            "drainwatch",
            "--example",
            "families",
        ]);
        let registry = Self::of_text(&shell::output(&mut example)?)?;
        ensure!(
            registry.0.len() > 20,
            "only {} metrics were found",
            registry.0.len()
        );
        Ok(registry)
    }

    fn of_text(text: &str) -> Result<Self> {
        let mut metrics: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for line in text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
        {
            let (series, _) = line
                .rsplit_once(' ')
                .with_context(|| format!("no value in {line}"))?;
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let known = metrics.entry(name.to_owned()).or_default();
            for pair in labels
                .trim_end_matches('}')
                .split("\",")
                .filter(|pair| !pair.is_empty())
            {
                let (label, value) = pair
                    .split_once("=\"")
                    .with_context(|| format!("no label in {pair}"))?;
                known
                    .entry(label.to_owned())
                    .or_default()
                    .insert(value.trim_end_matches('"').to_owned());
            }
        }
        // What Prometheus says of its own about every target.
        metrics.entry("up".to_owned()).or_default();
        Ok(Self(metrics))
    }

    /// The metric exists.
    pub fn has(&self, metric: &str) -> bool {
        self.0.contains_key(metric)
    }

    /// The metric has this label, of its own or from its target.
    pub fn has_label(&self, metric: &str, label: &str) -> bool {
        OF_TARGET.contains(&label)
            || self
                .0
                .get(metric)
                .is_some_and(|labels| labels.contains_key(label))
    }

    /// The label can have this value, as far as its values are a closed list.
    pub fn can_be(&self, metric: &str, label: &str, value: &str) -> bool {
        !CLOSED.contains(&label)
            || self
                .0
                .get(metric)
                .and_then(|labels| labels.get(label))
                .is_some_and(|values| values.contains(value))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn registry() -> Registry {
        Registry::of_text(
            "# HELP x y\ndrainwatch_x_total{cause=\"late\",workload=\"/a\"} 0\n\
             drainwatch_x_total{cause=\"refused\",workload=\"/a\"} 0\nprocess_y 1\n",
        )
        .unwrap()
    }

    #[test]
    fn given_an_exposition_when_asked_then_metrics_labels_and_values_are_known() {
        let registry = registry();
        assert!(registry.has("process_y") && registry.has("up") && !registry.has("process_z"));
        assert!(registry.has_label("drainwatch_x_total", "workload"));
        assert!(registry.has_label("process_y", "instance"));
        assert!(!registry.has_label("process_y", "workload"));
        assert!(registry.can_be("drainwatch_x_total", "cause", "refused"));
        assert!(!registry.can_be("drainwatch_x_total", "cause", "lost"));
        assert!(
            registry.can_be("drainwatch_x_total", "workload", "/b"),
            "not a closed list"
        );
    }
}
