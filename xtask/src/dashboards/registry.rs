//! What the agent exposes, from its registry.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};

use crate::shell;

/// Labels that Prometheus or the user's configuration adds to every series.
const OF_TARGET: [&str; 4] = ["cluster", "instance", "job", "node"];
/// Labels whose values are closed lists, every one of which the example exposes.
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
#[derive(Debug, Clone)]
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

    /// A rule records a metric, from these: it has no other labels than they.
    pub fn record<'a>(&mut self, metric: &str, from: impl IntoIterator<Item = &'a str>) {
        let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (label, values) in from.into_iter().filter_map(|metric| self.0.get(metric)).flatten() {
            labels
                .entry(label.clone())
                .or_default()
                .extend(values.iter().cloned());
        }
        self.0.insert(metric.to_owned(), labels);
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

    #[test]
    fn given_a_recorded_metric_then_it_is_known_with_the_labels_of_those_that_it_is_made_of() {
        let mut registry = registry();
        registry.record("workload:x:sum", ["drainwatch_x_total", "process_y"]);
        assert!(registry.has("workload:x:sum") && registry.has_label("workload:x:sum", "cause"));
        assert!(!registry.can_be("workload:x:sum", "cause", "lost"));
        assert!(!registry.has_label("workload:x:sum", "namespace"));
    }
}
