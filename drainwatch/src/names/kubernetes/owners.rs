//! Which object of the API controls a pod, for Events on it. Kept for some time after the pod is gone: its
//! report comes later.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::{
    api::core::v1::{ObjectReference, Pod},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};

use super::pod::controlling;

/// Most pods that are known.
const MOST: usize = 4096;
/// Most pods of one name that are known.
const MOST_OF_NAME: usize = 4;
/// Longest string of a reference; the API takes no longer one.
const LONGEST: usize = 512;

/// A pod and what controls it, as the API refers to them.
#[derive(Debug, Clone, PartialEq)]
pub struct Owned {
    /// The pod.
    pub pod: ObjectReference,
    /// What controls it: `ReplicaSet`, Job, `StatefulSet`, …
    pub controller: Option<ObjectReference>,
}

/// Pods by namespace and name. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Owners(Option<Arc<Mutex<Table>>>);

/// Namespace and name.
type Name = (String, String);

#[derive(Debug, Default)]
struct Table {
    /// The newest last: a pod of a `StatefulSet` has the name of the one before.
    pods: HashMap<Name, Vec<Owned>>,
    oldest_first: VecDeque<Name>,
}

impl Owners {
    /// A table that keeps what is noted; the default one keeps nothing.
    pub fn kept() -> Self {
        Self(Some(Arc::default()))
    }

    /// Notes a pod.
    pub fn note(&self, pod: &Pod) {
        let Some(table) = &self.0 else { return };
        let Some(owned) = owned(pod) else { return };
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |text: &Option<String>| text.clone().unwrap_or_default();
        let key = (of(&owned.pod.namespace), of(&owned.pod.name));
        let known = table.pods.entry(key.clone()).or_default();
        let first = known.is_empty();
        known.retain(|other| other.pod.uid != owned.pod.uid);
        known.push(owned);
        if known.len() > MOST_OF_NAME {
            known.remove(0);
        }
        if first {
            table.oldest_first.push_back(key);
        }
        if table.oldest_first.len() > MOST
            && let Some(oldest) = table.oldest_first.pop_front()
        {
            table.pods.remove(&oldest);
        }
    }

    /// A pod that was noted; of several with this name the one whose cgroup it is, else the newest.
    pub fn of(&self, namespace: &str, pod: &str, cgroup: &str) -> Option<Owned> {
        let table = self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let known = table.pods.get(&(namespace.into(), pod.into()))?;
        // The systemd driver spells a uid with `_`.
        let cgroup = cgroup.replace('_', "-");
        let has_uid = |owned: &&Owned| {
            let uid = owned.pod.uid.as_deref();
            uid.is_some_and(|uid| cgroup.contains(uid))
        };
        known.iter().find(has_uid).or_else(|| known.last()).cloned()
    }
}

fn owned(pod: &Pod) -> Option<Owned> {
    let metadata = &pod.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or("default");
    let own = reference(
        "v1",
        "Pod",
        namespace,
        metadata.name.as_deref()?,
        metadata.uid.as_deref()?,
    )?;
    let controller = controlling(metadata).and_then(|owner| of_owner(owner, namespace));
    Some(Owned { pod: own, controller })
}

/// An owner in the namespace of what it owns; a node, which owns static pods, is in none.
pub fn of_owner(owner: &OwnerReference, namespace: &str) -> Option<ObjectReference> {
    if owner.kind == "Node" {
        return None;
    }
    reference(
        &owner.api_version,
        &owner.kind,
        namespace,
        &owner.name,
        &owner.uid,
    )
}

fn reference(
    api_version: &str,
    kind: &str,
    namespace: &str,
    name: &str,
    uid: &str,
) -> Option<ObjectReference> {
    let fits = |text: &str| !text.is_empty() && text.len() <= LONGEST;
    [api_version, kind, namespace, name, uid]
        .into_iter()
        .all(fits)
        .then(|| ObjectReference {
            api_version: Some(api_version.into()),
            kind: Some(kind.into()),
            namespace: Some(namespace.into()),
            name: Some(name.into()),
            uid: Some(uid.into()),
            ..ObjectReference::default()
        })
}
