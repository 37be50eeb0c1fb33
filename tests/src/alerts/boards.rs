//! Every query of the dashboards, asked as Grafana would.

use std::fs;

use anyhow::Context as _;
use serde_json::Value;

use super::monitoring::{Monitoring, RATE_INTERVAL, number};

/// Longer than everything that has happened.
const RANGE: u64 = 600;

/// What gives no data, by dashboard and title. `workload` is the one that is chosen.
pub fn empty(monitoring: &Monitoring, workload: &str) -> anyhow::Result<Vec<String>> {
    let mut empty = vec![];
    for name in ["fleet", "workload", "agent"] {
        let text = fs::read_to_string(monitoring.dashboards.join(format!("{name}.json")))?;
        let board: Value = serde_json::from_str(&text)?;
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut asked = 0;
        for panel in list(&board["panels"]) {
            for target in list(&panel["targets"]) {
                let query = substituted(target["expr"].as_str().context("no query")?, workload);
                let instant = target["instant"] == true;
                asked += 1;
                if !has_data(monitoring, &query, instant)? {
                    empty.push(format!("{name}: {}: {query}", panel["title"]));
                }
            }
        }
        for annotation in list(&board["annotations"]["list"]) {
            if let Some(expr) = annotation["expr"].as_str()
                && !has_data(monitoring, &substituted(expr, workload), false)?
            {
                empty.push(format!("{name}: annotation {}", annotation["name"]));
            }
        }
        for variable in list(&board["templating"]["list"]) {
            let values = variable["query"]["query"].as_str().and_then(selector);
            if let Some(selector) = values
                && !has_data(monitoring, &substituted(selector, workload), true)?
            {
                empty.push(format!("{name}: variable {}", variable["name"]));
            }
        }
        anyhow::ensure!(asked > 10, "{name} has only {asked} queries");
    }
    Ok(empty)
}

/// `label_values(metric{…}, label)` → what has the label.
fn selector(query: &str) -> Option<&str> {
    query
        .strip_prefix("label_values(")?
        .rsplit_once(',')
        .map(|(selector, _)| selector)
}

/// The query with the dashboard's variables in their initial positions.
fn substituted(query: &str, workload: &str) -> String {
    let mut query = query
        .replace("$__rate_interval", RATE_INTERVAL)
        .replace("$__range", &format!("{RANGE}s"))
        // Subqueries look at whole minutes, and all of this takes less than one.
        .replace(":1m]", ":1s]")
        .replace("offset 1m", "offset 1s")
        .replace("$workload", workload);
    for variable in ["$cluster", "$namespace", "$container", "$job", "$instance"] {
        query = query.replace(variable, ".*");
    }
    query
}

fn has_data(monitoring: &Monitoring, query: &str, instant: bool) -> anyhow::Result<bool> {
    let series = if instant {
        monitoring.query(query)
    } else {
        monitoring.query_range(query, RANGE)
    };
    let series = series.with_context(|| query.to_owned())?;
    let samples = |series: &Value| match series["values"].as_array() {
        Some(values) => values.clone(),
        None => vec![series["value"].clone()],
    };
    Ok(series
        .iter()
        .flat_map(samples)
        .any(|sample| number(&sample).is_some()))
}
