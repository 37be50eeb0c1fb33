//! What rollouts cut, by revision: a family of its own, for it is counted over all containers of a pod.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use drainwatch_core::{
    class::{REQUEST, WEBHOOK},
    report::{Report, Revision, Workload},
    rollout,
};

use super::{series::MOST_CLASSES, series::OTHER_CLASS, text};

/// Revisions of a workload that have series: what runs, what it replaced, and the one before.
const REVISIONS: usize = 3;

/// Namespace and name.
type Name = (String, String);

/// Severed requests by class.
type Classes = BTreeMap<String, u64>;

/// The last revisions of each workload. A copy is cheap; the original goes on without waiting for it.
#[derive(Debug, Clone, Default)]
pub struct Rollouts(Arc<BTreeMap<Name, VecDeque<(String, Classes)>>>);

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
        let revisions = Arc::make_mut(&mut self.0).entry(key(workload)).or_default();
        if let Some(at) = revisions.iter().position(|(known, _)| known == name) {
            let last = revisions.remove(at)?;
            revisions.push_back(last);
        } else {
            // What an alert or an analysis looks at is there before it is needed.
            let zero = [REQUEST, WEBHOOK].map(|class| (class.to_owned(), 0));
            revisions.push_back((name.to_owned(), zero.into()));
        }
        if revisions.len() > REVISIONS {
            revisions.pop_front();
        }
        revisions.back_mut().map(|(_, classes)| classes)
    }

    /// Forgets the workloads that are not among these.
    pub fn keep(&mut self, names: &BTreeSet<(&str, &str)>) {
        let stays = |(namespace, name): &Name| names.contains(&(namespace.as_str(), name.as_str()));
        if !self.0.keys().all(stays) {
            Arc::make_mut(&mut self.0).retain(|name, _| stays(name));
        }
    }

    /// Writes the family; nothing without a series.
    pub fn write(&self, out: &mut String) {
        let mut family = text::Family::new(
            out,
            "drainwatch_rollout_severed_requests_total",
            "Requests that the shutdowns of a revision cut when it was replaced or restarted, by class, counted as each \
             shutdown ends; of the last three revisions of a workload (pod-template-hash, controller-revision-hash, \
             Compose's config hash, of a unit the id of the run; the image where there is none of these).",
            "counter",
        );
        for ((namespace, workload), revisions) in self.0.iter() {
            for (revision, classes) in revisions {
                for (class, count) in classes {
                    let labels = [
                        ("class", class.as_str()),
                        ("namespace", namespace),
                        ("revision", revision),
                        ("workload", workload),
                    ];
                    family.line("", labels, *count);
                }
            }
        }
    }
}

fn key(workload: &Workload) -> Name {
    (
        workload.namespace.clone().unwrap_or_default(),
        workload.name.clone(),
    )
}

#[cfg(test)]
mod tests {
    use drainwatch_core::{
        report::{Reason, Trigger, Verdict},
        testing::report,
    };

    use super::*;

    fn stopped(revision: &str, severed: u64) -> Report {
        let mut report = report("a", "web", Verdict::Severed);
        report.workload.namespace = Some("shop".into());
        report.revision.id = Some(revision.into());
        report.severed_classes = [(WEBHOOK.to_owned(), severed), ("orders".to_owned(), 1)].into();
        report
    }

    /// `revision class count` of each series.
    fn series(rollouts: &Rollouts) -> Vec<String> {
        let mut text = String::new();
        rollouts.write(&mut text);
        let one = |line: &str| {
            let label = |name: &str| {
                let (_, value) = line.split_once(&format!("{name}=\""))?;
                value.split_once('"').map(|(value, _)| value)
            };
            assert_eq!(
                (label("namespace"), label("workload")),
                (Some("shop"), Some("web"))
            );
            let value = line.rsplit(' ').next()?;
            Some(format!("{} {} {value}", label("revision")?, label("class")?))
        };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(one).collect()
    }

    #[test]
    fn given_a_revision_that_runs_then_it_has_series_at_zero_and_its_shutdowns_are_counted_by_class() {
        let mut rollouts = Rollouts::default();
        let report = stopped("r1", 2);
        rollouts.seen(&report.workload, &report.revision);
        assert_eq!(series(&rollouts), ["r1 request 0", "r1 webhook 0"]);
        let mut sidecar = stopped("r1", 3);
        sidecar.workload.container = Some("proxy".into());
        rollouts.finished(&report);
        rollouts.finished(&sidecar);
        assert_eq!(series(&rollouts), ["r1 orders 2", "r1 request 0", "r1 webhook 5"]);
        rollouts.seen(&report.workload, &Revision::default());
        assert_eq!(
            series(&rollouts).len(),
            3,
            "nothing is told of what has no revision"
        );
        rollouts.keep(&BTreeSet::new());
        assert_eq!(series(&rollouts), [""; 0]);
    }

    #[test]
    fn given_more_revisions_than_three_then_the_one_that_was_seen_longest_ago_goes() {
        let mut rollouts = Rollouts::default();
        for revision in ["r1", "r2", "r3", "r1", "r4"] {
            rollouts.finished(&stopped(revision, 0));
        }
        let left: BTreeSet<_> = series(&rollouts)
            .iter()
            .filter_map(|line| line.split(' ').next().map(str::to_owned))
            .collect();
        assert_eq!(left.into_iter().collect::<Vec<_>>(), ["r1", "r3", "r4"]);
    }

    #[test]
    fn given_a_shutdown_that_is_no_part_of_a_deploy_then_it_is_not_counted() {
        let mut rollouts = Rollouts::default();
        let mut scaled = stopped("r1", 2);
        scaled.reason = Some(Reason::ScaleDown);
        let mut crashed = stopped("r1", 2);
        crashed.trigger = Trigger::Crash;
        rollouts.finished(&scaled);
        rollouts.finished(&crashed);
        assert_eq!(series(&rollouts), [""; 0]);
    }
}
