//! The Grafana dashboards: what each panel asks for, and that it says what it shows.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use super::queries::Query;
use super::registry::Registry;
use super::{none_wrong, read};

/// The files.
const FILES: [&str; 3] = ["fleet.json", "workload.json", "agent.json"];
/// Schema of Grafana 10.4 and later.
const SCHEMA: u64 = 39;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Board {
    uid: String,
    schema_version: u64,
    templating: List,
    annotations: List,
    panels: Vec<Panel>,
}

#[derive(Deserialize)]
struct List {
    list: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Panel {
    id: u64,
    #[serde(rename = "type")]
    kind: String,
    title: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    datasource: Value,
    #[serde(default)]
    targets: Vec<Target>,
    #[serde(default)]
    field_config: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    expr: String,
    #[serde(default)]
    legend_format: String,
}

/// Checks every dashboard.
pub fn check(registry: &Registry) -> Result<()> {
    let mut wrong = BTreeSet::new();
    let mut uids: BTreeMap<String, &str> = BTreeMap::new();
    for name in FILES {
        let board: Board =
            serde_json::from_str(&read(name)?).with_context(|| format!("{name} is no dashboard"))?;
        let found = board.wrong(registry);
        wrong.extend(found.into_iter().map(|why| format!("{name}: {why}")));
        if let Some(other) = uids.insert(board.uid, name) {
            wrong.insert(format!("{name} has the uid of {other}"));
        }
    }
    none_wrong(&wrong)
}

impl Board {
    fn wrong(&self, registry: &Registry) -> Vec<String> {
        let mut wrong = Vec::new();
        if !self.uid.starts_with("drainwatch-") || self.uid.len() > 40 {
            wrong.push(format!("the uid {} is none of ours, or longer than 40", self.uid));
        }
        if self.schema_version < SCHEMA {
            wrong.push(format!(
                "its schema {} is older than {SCHEMA}",
                self.schema_version
            ));
        }
        let variables: BTreeSet<&str> = self
            .templating
            .list
            .iter()
            .filter_map(|v| v["name"].as_str())
            .collect();
        for needed in ["datasource", "cluster"] {
            if !variables.contains(needed) {
                wrong.push(format!("no variable {needed}"));
            }
        }
        for variable in &self.templating.list {
            if let Some(selector) = variable["query"]["query"].as_str().and_then(label_values) {
                wrong.extend(asked(registry, &selector.0, &BTreeSet::from([selector.1])));
            }
        }
        for annotation in self.annotations.list.iter().filter_map(|a| a["expr"].as_str()) {
            wrong.extend(asked(registry, annotation, &BTreeSet::new()));
        }
        let mut ids = BTreeSet::new();
        for panel in &self.panels {
            if !ids.insert(panel.id) {
                wrong.push(format!("two panels have the id {}", panel.id));
            }
            if panel.kind != "row" {
                let found = panel.wrong(registry);
                wrong.extend(found.into_iter().map(|why| format!("{}: {why}", panel.title)));
            }
        }
        wrong
    }
}

impl Panel {
    fn wrong(&self, registry: &Registry) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut must = |holds: bool, what: &str| {
            if !holds {
                wrong.push(what.to_owned());
            }
        };
        let over_time = ["timeseries", "heatmap"].contains(&self.kind.as_str());
        must(!self.title.is_empty(), "no title");
        must(self.description.ends_with('.'), "no description");
        must(
            self.field_config["defaults"]["unit"]
                .as_str()
                .is_some_and(|unit| !unit.is_empty()),
            "no unit",
        );
        must(
            self.datasource["uid"] == "${datasource}",
            "not the variable's data source",
        );
        must(!self.targets.is_empty(), "no query");
        for target in &self.targets {
            must(!target.legend_format.is_empty(), "a query without legend");
            let fixed = target
                .expr
                .match_indices('[')
                .any(|(at, _)| !target.expr[at..].starts_with("[$__rate_interval]"));
            must(!over_time || !fixed, "a window that is not $__rate_interval");
        }
        for target in &self.targets {
            wrong.extend(asked(registry, &target.expr, &shown(&target.legend_format)));
        }
        wrong
    }
}

/// What is wrong with a query of a dashboard.
fn asked(registry: &Registry, expr: &str, shown: &BTreeSet<String>) -> Vec<String> {
    match Query::parse(expr) {
        Ok(query) => {
            let mut wrong = query.unknown(registry, shown);
            if expr.contains('{') && !query.always_matches_on("cluster") {
                wrong.push(format!("not every selector asks for the chosen cluster: {expr}"));
            }
            wrong
        }
        Err(error) => vec![format!("{error:#}: {expr}")],
    }
}

/// `label_values(metric{…}, label)` → selector and label.
fn label_values(query: &str) -> Option<(String, String)> {
    let inside = query.strip_prefix("label_values(")?.strip_suffix(')')?;
    let (selector, label) = inside.rsplit_once(',')?;
    Some((selector.trim().to_owned(), label.trim().to_owned()))
}

/// Labels in a legend: `{{cause}}, {{class}}`.
fn shown(legend: &str) -> BTreeSet<String> {
    legend
        .split("{{")
        .skip(1)
        .filter_map(|part| part.split_once("}}"))
        .map(|(label, _)| label.trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::registry::tests::registry;
    use super::*;

    fn panel(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut panel = json!({
            "id": 1, "type": "timeseries", "title": "t", "description": "What it is.",
            "datasource": { "uid": "${datasource}" },
            "fieldConfig": { "defaults": { "unit": "short" } },
            "targets": [{
                "expr": "sum by (cause) (rate(drainwatch_x_total{cluster=~\"$cluster\"}[$__rate_interval]))",
                "legendFormat": "{{cause}}",
            }],
        });
        change(&mut panel);
        serde_json::from_value::<Panel>(panel).unwrap().wrong(&registry())
    }

    #[test]
    fn given_a_panel_when_it_lacks_something_then_that_is_named() {
        assert_eq!(panel(|_| {}), [""; 0]);
        let lacks = |change: fn(&mut Value), says: &str| {
            let wrong = panel(change);
            assert!(wrong.iter().any(|why| why.contains(says)), "{says}: {wrong:?}");
        };
        lacks(|panel| panel["description"] = json!(""), "no description");
        lacks(|panel| panel["fieldConfig"] = json!({}), "no unit");
        lacks(|panel| panel["targets"] = json!([]), "no query");
        lacks(|panel| panel["datasource"]["uid"] = json!("abc"), "data source");
        lacks(
            |panel| panel["targets"][0]["legendFormat"] = json!(""),
            "without legend",
        );
        lacks(
            |panel| panel["targets"][0]["legendFormat"] = json!("{{pod}}"),
            "label pod",
        );
        lacks(
            |panel| {
                panel["targets"][0]["expr"] = json!("rate(drainwatch_x_total{cluster=~\"$cluster\"}[5m])");
            },
            "window",
        );
        lacks(
            |panel| panel["targets"][0]["expr"] = json!("drainwatch_x_total{cause=\"late\"}"),
            "chosen cluster",
        );
    }

    #[test]
    fn given_a_variable_of_label_values_when_read_then_its_selector_and_label_are_known() {
        assert_eq!(
            label_values("label_values(a{b=\"c\", d=\"e\"}, f)"),
            Some(("a{b=\"c\", d=\"e\"}".to_owned(), "f".to_owned()))
        );
        assert_eq!(label_values("metrics(a)"), None);
    }
}
