//! Why a pod is being stopped. Pure: from what the pod says of itself, and what controls it.
//!
//! A pod that is evicted or preempted says so in its condition `DisruptionTarget` (from Kubernetes 1.26 on) or in its
//! status. Of one that is merely deleted, what controls it tells whether it was in the way of a new revision, one too
//! many, or neither. What these do not say is not claimed.

use std::collections::BTreeMap;

use drainwatch_core::description::Reason;
use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
        core::v1::{Event, Pod, PodTemplateSpec},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

/// Label of a `ReplicaSet`'s pods.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// The same of Argo Rollouts' `ReplicaSet`s.
const ROLLOUTS_HASH: &str = "rollouts-pod-template-hash";
/// Label of a `StatefulSet`'s and a `DaemonSet`'s pods.
const CONTROLLER_HASH: &str = "controller-revision-hash";
/// Label of a `DaemonSet`'s pods, and what the `DaemonSet` has in its annotation: the number of its template.
const GENERATION: &str = "pod-template-generation";
const NEWEST_GENERATION: &str = "deprecated.daemonset.template.generation";

use self::Answer::{Known, Later, Nothing};

/// What there is to say, now or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// This is why.
    Known(Reason),
    /// Its controller has not come so far yet.
    Later,
    /// Nothing can be told.
    Nothing,
}

/// Which template a pod was made from.
pub fn revision(metadata: &ObjectMeta) -> Option<&str> {
    let labels = metadata.labels.as_ref()?;
    let hash = labels
        .get(TEMPLATE_HASH)
        .or_else(|| labels.get(ROLLOUTS_HASH))
        .or_else(|| labels.get(CONTROLLER_HASH))?;
    (!hash.is_empty()).then_some(hash)
}

/// Why it is stopped, as the pod itself says.
pub fn own(pod: &Pod) -> Option<Reason> {
    let status = pod.status.as_ref()?;
    let ended_by_kubelet = status
        .reason
        .as_deref()
        .filter(|_| status.phase.as_deref() == Some("Failed"))
        .and_then(of_kubelet);
    let disrupted = || {
        let conditions = status.conditions.as_ref()?;
        let target = conditions
            .iter()
            .find(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True")?;
        match target.reason.as_deref()? {
            "EvictionByEvictionAPI" | "DeletionByTaintManager" => Some(Reason::Eviction),
            "PreemptionByScheduler" => Some(Reason::Preemption),
            "DeletionByPodGC" => Some(Reason::Deleted),
            // The kubelet evicts, preempts and shuts down under one name: its message says which.
            "TerminationByKubelet" => of_message(target.message.as_deref()?),
            _ => None,
        }
    };
    ended_by_kubelet.or_else(disrupted)
}

/// What the kubelet writes into the status of a pod that it fails.
fn of_kubelet(reason: &str) -> Option<Reason> {
    match reason {
        "Evicted" => Some(Reason::Eviction),
        "Preempting" => Some(Reason::Preemption),
        // Its name before 1.22.
        "Terminated" | "Shutdown" => Some(Reason::NodeShutdown),
        _ => None,
    }
}

fn of_message(message: &str) -> Option<Reason> {
    let message = message.to_ascii_lowercase();
    if message.contains("node shutdown") {
        Some(Reason::NodeShutdown)
    } else if message.contains("low on resource")
        || message.contains("exceeds")
        || message.contains("exceeded")
    {
        Some(Reason::Eviction)
    } else if message.contains("preempt") || message.contains("critical pod") {
        Some(Reason::Preemption)
    } else {
        None
    }
}

/// A pod that nothing controls is deleted by somebody.
pub fn of_bare(metadata: &ObjectMeta) -> Option<Reason> {
    let owned = metadata
        .owner_references
        .as_ref()
        .is_some_and(|owners| !owners.is_empty());
    (is_leaving(metadata) && !owned).then_some(Reason::Deleted)
}

/// An object that somebody deletes takes with it what it controls.
pub fn is_leaving(metadata: &ObjectMeta) -> bool {
    metadata.deletion_timestamp.is_some()
}

/// Whether this is the object of that uid, and not another one that has its name by now.
pub fn is_same(metadata: &ObjectMeta, uid: &str) -> bool {
    metadata.uid.as_deref() == Some(uid)
}

/// A deleted pod's siblings: what else its controller has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Siblings {
    /// Those that are not being deleted.
    pub living: usize,
    /// When the newest of them was created, in s since the Unix epoch.
    pub newest: Option<i64>,
}

impl Siblings {
    /// Of the pods with these metadata, those of the controller `owner` other than `uid`.
    pub fn among<'a>(pods: impl Iterator<Item = &'a ObjectMeta>, owner: &str, uid: &str) -> Self {
        let mut siblings = Self::default();
        for metadata in pods {
            let ours = super::controlling(metadata).is_some_and(|controller| controller.uid == owner);
            if !ours || is_leaving(metadata) || is_same(metadata, uid) {
                continue;
            }
            siblings.living += 1;
            let created = metadata
                .creation_timestamp
                .as_ref()
                .map(|created| created.0.as_second());
            siblings.newest = siblings.newest.max(created);
        }
        siblings
    }
}

/// Whether a `ReplicaSet` is not the one that its Deployment wants now. The Deployment's controller compares the same
/// way: numbers of revisions lag behind (of the strategy `Recreate` until the old pods are gone).
pub fn is_superseded(set: &ReplicaSet, deployment: &Deployment) -> bool {
    let template = |template: &PodTemplateSpec| {
        let mut template = template.clone();
        let labels = template.metadata.as_mut().and_then(|meta| meta.labels.as_mut());
        if let Some(labels) = labels {
            labels.remove(TEMPLATE_HASH);
        }
        if let Some(metadata) = &mut template.metadata {
            let empty = |map: &Option<BTreeMap<String, String>>| map.as_ref().is_none_or(BTreeMap::is_empty);
            if empty(&metadata.labels) {
                metadata.labels = None;
            }
            if empty(&metadata.annotations) {
                metadata.annotations = None;
            }
        }
        template
    };
    let of_set = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    let wanted = deployment.spec.as_ref().map(|spec| &spec.template);
    match (of_set, wanted) {
        (Some(of_set), Some(wanted)) => template(of_set) != template(wanted),
        _ => false,
    }
}

/// A pod of a `ReplicaSet` that is the wanted one, deleted at `deleted` (s since the Unix epoch): one too many, or
/// deleted by somebody else, whereupon the `ReplicaSet` made another.
pub fn of_replica_set(set: &ReplicaSet, siblings: Siblings, deleted: i64) -> Answer {
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let wanted = usize::try_from(wanted).unwrap_or(0);
    if wanted == 0 {
        return Known(Reason::ScaleDown);
    }
    let seen = set.status.as_ref().and_then(|status| status.observed_generation);
    if seen < set.metadata.generation {
        return Later;
    }
    let replaced = siblings.newest.is_some_and(|created| created >= deleted);
    if replaced || siblings.living < wanted {
        return Known(Reason::Deleted);
    }
    Known(Reason::ScaleDown)
}

/// A pod of a `StatefulSet`, by its name and revision.
pub fn of_stateful_set(set: &StatefulSet, pod: &str, revision: Option<&str>) -> Answer {
    let (Some(spec), Some(status)) = (&set.spec, &set.status) else {
        return Nothing;
    };
    if status.observed_generation < set.metadata.generation {
        return Later;
    }
    let ordinal = pod
        .rsplit_once('-')
        .and_then(|(_, ordinal)| ordinal.parse::<i32>().ok());
    let (Some(ordinal), Some(revision)) = (ordinal, revision) else {
        return Nothing;
    };
    let first = spec
        .ordinals
        .as_ref()
        .and_then(|ordinals| ordinals.start)
        .unwrap_or(0);
    let wanted = first..first.saturating_add(spec.replicas.unwrap_or(1));
    if !wanted.contains(&ordinal) {
        return Known(Reason::ScaleDown);
    }
    let strategy = spec.update_strategy.as_ref();
    let rolls = strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete");
    let partition = strategy.and_then(|strategy| strategy.rolling_update.as_ref()?.partition);
    match status.update_revision.as_deref() {
        Some(newest) if newest != revision && rolls && ordinal >= partition.unwrap_or(0) => {
            Known(Reason::Rollout)
        }
        Some(_) => Known(Reason::Deleted),
        None => Nothing,
    }
}

/// A pod of a `DaemonSet`, by its labels. Of one with the newest template it cannot be told: its node may not be meant any
/// more.
pub fn of_daemon_set(set: &DaemonSet, labels: &BTreeMap<String, String>) -> Answer {
    let number = |map: Option<&BTreeMap<String, String>>, key: &str| map?.get(key)?.parse::<i64>().ok();
    let own = number(Some(labels), GENERATION);
    let newest = number(set.metadata.annotations.as_ref(), NEWEST_GENERATION);
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    let rolls = strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete");
    match (own, newest) {
        (Some(own), Some(newest)) if own < newest && rolls => Known(Reason::Rollout),
        _ => Nothing,
    }
}

/// Whether one of these says that the kubelet ended this container between the two times, in s since the Unix epoch,
/// because a probe failed.
pub fn failed_its_probe(events: &[Event], container: &str, began: i64, ended: i64) -> bool {
    let field = format!("spec.containers{{{container}}}");
    let sidecar = format!("spec.initContainers{{{container}}}");
    events.iter().any(|event| {
        let path = event.involved_object.field_path.as_deref();
        let ours = path == Some(&field) || path == Some(&sidecar);
        let message = event.message.as_deref().unwrap_or_default();
        let probe = message.contains("failed liveness probe") || message.contains("failed startup probe");
        let at = event
            .last_timestamp
            .as_ref()
            .map(|at| at.0.as_second())
            .or_else(|| event.event_time.as_ref().map(|at| at.0.as_second()));
        ours && probe
            && event.reason.as_deref() == Some("Killing")
            && at.is_some_and(|at| (began..=ended).contains(&at))
    })
}

#[cfg(test)]
mod tests;
