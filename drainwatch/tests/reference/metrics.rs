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

/// How to ask for what a series was born with.
const RULES: &str = "
### Rules of your own

`increase()` does not see what a series was born with. The shipped alerts count a series whole that is younger than the
window, that is, was there at fewer scrapes of it than its agent:

```promql
sum by (workload, cause) (
  (drainwatch_severed_requests_total
    and (count_over_time(drainwatch_severed_requests_total[15m])
      < on (cluster, job, instance) group_left () max by (cluster, job, instance) (count_over_time(drainwatch_build_info[15m]))))
  or
  increase(drainwatch_severed_requests_total[15m])
) > 0
```

Over a day, in which a workload may leave and come back, the dashboards add up what each minute added, to the last
request:

```promql
sum by (workload, cause) (
  sum_over_time((
    (drainwatch_severed_requests_total - drainwatch_severed_requests_total offset 1m) >= 0
    or
    drainwatch_severed_requests_total
      * on (cluster, job, instance) group_left () max by (cluster, job, instance) (drainwatch_build_info offset 1m)
  )[1d:1m])
)
```

`cluster` is there where your labels have it. Both need `drainwatch_build_info`: do not drop it.
";

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
         From the moment that a workload is known, there are at 0: `drainwatch_shutdowns_total` of the trigger `stop`; \
         `drainwatch_severed_requests_total` of the classes `request` and `webhook` and the causes `unanswered` and \
         `truncated`; the counters of drained, failed and refused. With what is known of its settings and revisions that \
         is 11 to 25 series. All others are born when there is something to count; a histogram (11 series) with its first \
         value. A workload is known once it listens, or is stopped. Its series go ten minutes after its last instance. At most 1000 workloads have series of their own; the others are counted as `_overflow`, and \
         so are resets that belong to no known workload; requests served that belong to none are in no series. What counts \
         as served, and what to do with it: [an error budget](../slo.md).\n\n",
    );
    page += &table(&workload);
    let bounds = |family: &str| families[family].labels["le"].join(", ");
    writeln!(
        page,
        "\nUpper bounds of the buckets of `drainwatch_shutdown_seconds` and `drainwatch_drain_seconds`: {}; of \
         `drainwatch_endpoint_lag_seconds`: {}.",
        bounds("drainwatch_shutdown_seconds"),
        bounds("drainwatch_endpoint_lag_seconds")
    )
    .unwrap();
    page += RULES;
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
