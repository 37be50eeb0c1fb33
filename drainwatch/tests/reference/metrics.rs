//! Every metric, from an exposition: what is exposed is what is documented.

use std::{collections::BTreeMap, fmt::Write as _};

use drainwatch::outlets::metrics;

use super::source::cell;

/// Labels that say whose series it is, or that are as many as something else: their values are not listed.
const OPEN: &[&str] = &[
    "namespace",
    "workload",
    "workload_kind",
    "container",
    "version",
    "probe",
    "le",
    "revision",
    "image",
];

/// Labels that every series of a workload has.
const OWN: &[&str] = &["container", "namespace", "workload", "workload_kind"];

#[derive(Default)]
struct Family {
    help: String,
    kind: String,
    labels: BTreeMap<String, Vec<String>>,
}

pub fn page() -> String {
    let families = families();
    let (workload, own): (Vec<_>, Vec<_>) = families
        .iter()
        .partition(|(_, family)| family.labels.contains_key("workload"));
    let mut page = String::from(
        "What `/metrics` exposes, in the text format 0.0.4.\n\n\
         ## Of workloads\n\n\
         But for `drainwatch_rollout_severed_requests_total`, which is counted over all containers of a pod and has \
         `namespace` and `workload` alone, each of these has the labels `namespace`, `workload`, `workload_kind` and `container`, and those of the table. \
         Every series of a workload exists at 0 from the moment that the workload is known, so that `increase()` sees \
         its first shutdown. A workload is known once it listens, or is stopped. Its series go ten minutes after its \
         last instance. At most 1000 workloads have series of their own; the others are counted as `_overflow`, and \
         so are resets that belong to no known workload.\n\n",
    );
    page += &table(&workload);
    let bounds = &families["drainwatch_shutdown_seconds"].labels["le"];
    writeln!(
        page,
        "\nUpper bounds of the histograms' buckets: {}.",
        bounds.join(", ")
    )
    .unwrap();
    page += "\n## Of the agent\n\n";
    page += &table(&own);
    page += "\n`drainwatch doctor` lists the probes. Of `drainwatch_kernel_events_lost_total` all reasons but `payload` \
             make a shutdown under way `unknown` where it would be `clean`; `payload` makes single requests \
             `unknown` or `inferred`.\n";
    page
}

fn table(families: &[(&String, &Family)]) -> String {
    let mut table = String::from("| name | type | labels | help |\n|---|---|---|---|\n");
    for (name, family) in families {
        let labels: Vec<_> = family
            .labels
            .iter()
            .filter(|(label, _)| !OWN.contains(&label.as_str()) && *label != "le")
            .map(|(label, values)| {
                if OPEN.contains(&label.as_str()) {
                    format!("`{label}`")
                } else {
                    format!("`{label}`: {}", values.join(", "))
                }
            })
            .collect();
        writeln!(
            table,
            "| `{name}` | {} | {} | {} |",
            family.kind,
            labels.join("; "),
            cell(&family.help)
        )
        .unwrap();
    }
    table
}

/// Families of an exposition, by name.
fn families() -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in metrics::sample().unwrap().lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            families.entry(name.into()).or_default().help = help.into();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            families.entry(name.into()).or_default().kind = kind.into();
        } else if let Some((name, labels)) = line.split_once('{') {
            let name = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| {
                    name.strip_suffix(suffix)
                        .filter(|name| families.contains_key(*name))
                })
                .unwrap_or(name);
            let family = families.get_mut(name).unwrap();
            let labels = labels.rsplit_once('}').unwrap().0;
            for label in labels.split("\",") {
                let (label, value) = label.split_once("=\"").unwrap();
                let value = value.trim_end_matches('"').to_owned();
                let values = family.labels.entry(label.into()).or_default();
                if !values.contains(&value) {
                    values.push(value);
                }
            }
        }
    }
    families
}
