//! The rule files: what each rule asks for, and what each alert tells.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::queries::Query;
use super::registry::Registry;
use super::{none_wrong, read};
use crate::shell;

/// Where `runbook_url` leads.
const RUNBOOK: &str = "https://github.com/drainwatch/drainwatch/blob/main/docs/runbook.md#";
const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];

#[derive(Deserialize)]
struct File {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: Option<String>,
    record: Option<String>,
    expr: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Checks both rule files, their runbook and that every alert has a unit test.
pub fn check(registry: &Registry) -> Result<()> {
    let runbook =
        std::fs::read_to_string(shell::root().join("docs/runbook.md")).context("reading docs/runbook.md")?;
    let tests = read("alerts_test.yaml")?;
    let (mut wrong, mut registry) = (BTreeSet::new(), registry.clone());
    for name in ["alerts.yaml", "recording.yaml"] {
        let file: File =
            serde_saphyr::from_str(&read(name)?).with_context(|| format!("{name} is no rule file"))?;
        for rule in file.groups.iter().flat_map(|group| &group.rules) {
            let title = rule
                .alert
                .as_deref()
                .or(rule.record.as_deref())
                .unwrap_or("a rule without name");
            let found = rule.wrong(&registry, &runbook, &tests);
            wrong.extend(found.into_iter().map(|why| format!("{name}: {title}: {why}")));
            // Rules after it may ask for it.
            if let (Some(record), Ok(query)) = (&rule.record, Query::parse(&rule.expr)) {
                registry.record(record, query.metrics());
            }
        }
    }
    none_wrong(&wrong)
}

impl Rule {
    fn wrong(&self, registry: &Registry, runbook: &str, tests: &str) -> Vec<String> {
        let mut wrong = match Query::parse(&self.expr) {
            Ok(query) => query.unknown(registry, &BTreeSet::new()),
            Err(error) => vec![format!("{error:#}")],
        };
        let Some(alert) = &self.alert else { return wrong };
        let mut must = |holds: bool, what: &str| {
            if !holds {
                wrong.push(what.to_owned());
            }
        };
        let severity = self
            .labels
            .get("severity")
            .map(String::as_str)
            .unwrap_or_default();
        must(
            alert.starts_with("Drainwatch"),
            "its name does not begin with Drainwatch",
        );
        must(SEVERITIES.contains(&severity), "no known severity");
        let annotation = |name: &str| self.annotations.get(name).map(String::as_str).unwrap_or_default();
        let summary = annotation("summary");
        must(
            summary.ends_with('.') && !summary.contains("{{"),
            "the summary is no fixed sentence",
        );
        must(!annotation("description").is_empty(), "no description");
        let anchor = alert.to_lowercase();
        must(
            annotation("runbook_url") == format!("{RUNBOOK}{anchor}"),
            "runbook_url leads elsewhere",
        );
        must(
            runbook
                .lines()
                .any(|line| line.strip_prefix("## ") == Some(alert)),
            "docs/runbook.md has no chapter of it",
        );
        must(
            tests.contains(alert.as_str()),
            "alerts_test.yaml has no test of it",
        );
        wrong
    }
}
