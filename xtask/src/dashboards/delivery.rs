//! What Argo Rollouts and Flagger ask Prometheus for, as `deploy/delivery` tells them to.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::none_wrong;
use super::queries::Query;
use super::registry::Registry;
use crate::shell;

/// Files, and what their variables stand for.
const FILES: [(&str, &[(&str, &str)]); 2] = [
    (
        "argo-rollouts.yaml",
        &[
            ("{{args.namespace}}", "shop"),
            ("{{args.workload}}", "web"),
            ("{{args.revision}}", "5d4f8c7b9"),
            ("{{args.class}}", ".+"),
        ],
    ),
    (
        "flagger.yaml",
        &[
            ("{{ namespace }}", "shop"),
            ("{{ target }}", "web"),
            ("{{ interval }}", "10m"),
        ],
    ),
];

#[derive(Deserialize)]
struct Template {
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    query: Option<String>,
    #[serde(default)]
    metrics: Vec<Metric>,
}

#[derive(Deserialize)]
struct Metric {
    provider: Provider,
}

#[derive(Deserialize)]
struct Provider {
    prometheus: Prometheus,
}

#[derive(Deserialize)]
struct Prometheus {
    query: String,
}

/// Checks every query.
pub fn check(registry: &Registry) -> Result<()> {
    let mut wrong = BTreeSet::new();
    for (name, variables) in FILES {
        let path = shell::root().join("deploy/delivery").join(name);
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let template: Template =
            serde_saphyr::from_str(&text).with_context(|| format!("{name} is no template"))?;
        let of_metrics = template.spec.metrics.into_iter();
        let queries = of_metrics.map(|metric| metric.provider.prometheus.query);
        let mut asked = 0;
        for query in queries.chain(template.spec.query) {
            asked += 1;
            let query = variables
                .iter()
                .fold(query, |query, (variable, value)| query.replace(variable, value));
            let found = match Query::parse(&query) {
                _ if query.contains("{{") => vec!["a variable that nobody sets".to_owned()],
                Ok(query) => query.unknown(registry, &BTreeSet::new()),
                Err(error) => vec![format!("{error:#}")],
            };
            wrong.extend(found.into_iter().map(|why| format!("{name}: {why}")));
        }
        if asked == 0 {
            wrong.insert(format!("{name} asks for nothing"));
        }
    }
    none_wrong(&wrong)
}
