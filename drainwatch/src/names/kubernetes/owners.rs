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

#[derive(Debug, Default)]
struct Table {
    pods: HashMap<(String, String), Owned>,
    oldest_first: VecDeque<(String, String)>,
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
        if table.pods.insert(key.clone(), owned).is_none() {
            table.oldest_first.push_back(key);
        }
        if table.oldest_first.len() > MOST
            && let Some(oldest) = table.oldest_first.pop_front()
        {
            table.pods.remove(&oldest);
        }
    }

    /// A pod that was noted.
    pub fn of(&self, namespace: &str, pod: &str) -> Option<Owned> {
        let table = self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        table.pods.get(&(namespace.into(), pod.into())).cloned()
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
