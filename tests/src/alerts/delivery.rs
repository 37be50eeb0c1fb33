//! What Argo Rollouts and Flagger would ask Prometheus for.

use std::{fs, path::Path};

use anyhow::{Context as _, ensure};

use super::cluster::{NAMESPACE, REVISION, WORKLOAD};

/// Each one's query about the pod's workload, from the shipped templates beside the directory of dashboards.
pub fn queries(dashboards: &Path) -> anyhow::Result<Vec<(&'static str, String)>> {
    let argo = [
        ("{{args.namespace}}", NAMESPACE),
        ("{{args.workload}}", WORKLOAD),
        ("{{args.revision}}", REVISION),
        ("{{args.class}}", ".+"),
    ];
    let flagger = [
        ("{{ namespace }}", NAMESPACE),
        ("{{ target }}", WORKLOAD),
        ("{{ interval }}", "10m"),
    ];
    Ok(vec![
        ("Argo Rollouts", query(dashboards, "argo-rollouts.yaml", &argo)?),
        ("Flagger", query(dashboards, "flagger.yaml", &flagger)?),
    ])
}

/// The block under `query: |`, which ends its file in both.
fn query(dashboards: &Path, name: &str, variables: &[(&str, &str)]) -> anyhow::Result<String> {
    let path = dashboards.join("../deploy/delivery").join(name);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (_, query) = text.split_once("query: |\n").context("no query")?;
    let query = variables
        .iter()
        .fold(query.to_owned(), |query, (variable, value)| {
            query.replace(variable, value)
        });
    ensure!(!query.contains("{{"), "a variable that nobody sets: {query}");
    Ok(query)
}
