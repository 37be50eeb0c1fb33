//! What rollouts cut, by revision: a family of its own, for it is counted over all containers of a pod.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use drainwatch_core::{
    class::{REQUEST, WEBHOOK},
    report::{Report, Revision, Workload},
    rollout,
};
use prometheus::proto::MetricFamily;

use super::{families::counters, series::MOST_CLASSES, series::OTHER_CLASS};

/// Revisions of a workload that have series: what runs, what it replaced, and the one before.
const REVISIONS: usize = 3;

/// Namespace and name.
type Name = (String, String);

/// Severed requests by class.
type Classes = BTreeMap<String, u64>;

/// The last revisions of each workload.
#[derive(Debug, Default)]
pub struct Rollouts(BTreeMap<Name, VecDeque<(String, Classes)>>);

impl Rollouts {
    /// This revision of a workload runs, or is being stopped: it has series from now on.
    pub fn seen(&mut self, workload: &Workload, revision: &Revision) {
        self.revision(workload, revision);
    }

    /// Counts what the shutdown of a revision cut, if it was a part of a rollout.
    pub fn finished(&mut self, report: &Report) {
        if !rollout::is_part(report) {
            return;
        }
        let Some(classes) = self.revision(&report.workload, &report.revision) else {
            return;
        };
        for (class, count) in &report.severed_classes {
            let known = classes.contains_key(class) || classes.len() < MOST_CLASSES;
            let class = if known { class } else { OTHER_CLASS };
            *classes.entry(class.into()).or_default() += count;
        }
    }

    fn revision(&mut self, workload: &Workload, revision: &Revision) -> Option<&mut Classes> {
        let name = rollout::name(revision);
        if name.is_empty() {
            return None;
        }
        let revisions = self.0.entry(key(workload)).or_default();
        match revisions.iter().position(|(known, _)| known == name) {
            Some(at) => {
                let last = revisions.remove(at)?;
                revisions.push_back(last);
            }
            None => {
                // What an alert or an analysis looks at is there before it is needed.
                let zero = [REQUEST, WEBHOOK].map(|class| (class.to_owned(), 0));
                revisions.push_back((name.to_owned(), zero.into()));
            }
        }
        if revisions.len() > REVISIONS {
            revisions.pop_front();
        }
        revisions.back_mut().map(|(_, classes)| classes)
    }

    /// Forgets the workloads that are not among these.
    pub fn keep(&mut self, names: &BTreeSet<(&str, &str)>) {
        self.0
            .retain(|(namespace, name), _| names.contains(&(namespace.as_str(), name.as_str())));
    }

    /// The family; nothing without a series.
    pub fn collect(&self) -> Option<MetricFamily> {
        let mut series = Vec::new();
        for ((namespace, workload), revisions) in &self.0 {
            for (revision, classes) in revisions {
                for (class, count) in classes {
                    let labels = [
                        ("class", class.as_str()),
                        ("namespace", namespace),
                        ("revision", revision),
                        ("workload", workload),
                    ];
                    series.push((labels, *count));
                }
            }
        }
        let series: Vec<(&[(&str, &str)], u64)> = series
            .iter()
            .map(|(labels, count)| (&labels[..], *count))
            .collect();
        (!series.is_empty()).then(|| {
            counters(
                "drainwatch_rollout_severed_requests_total",
                "Requests that the shutdowns of a revision cut when it was replaced or restarted, by class, counted as each \
                 shutdown ends; of the last three revisions of a workload (pod-template-hash, controller-revision-hash, \
                 Compose's config hash, of a unit the id of the run; the image where there is none of these).",
                &series,
            )
        })
    }
}

fn key(workload: &Workload) -> Name {
    (
        workload.namespace.clone().unwrap_or_default(),
        workload.name.clone(),
    )
}
