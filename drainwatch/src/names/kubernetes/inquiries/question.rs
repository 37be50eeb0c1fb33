//! One question about a pod.

use std::collections::BTreeMap;

use drainwatch_core::description::Reason;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
        batch::v1::Job,
        core::v1::{ContainerStatus, Event, Pod},
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference},
};
use kube::{Api, Client, Resource, api::ListParams};
use serde::de::DeserializeOwned;

use super::{
    super::{
        controlling, pod,
        why::{self, Answer, Siblings},
    },
    Found,
};

/// Most Events of a pod that are looked at.
const EVENTS: u32 = 50;

/// What is asked of a pod.
#[derive(Debug)]
pub enum Question {
    /// Why it is being deleted.
    Deleted(Deleted),
    /// Whether this run of a container was ended by the kubelet.
    Ended(Run),
}

impl Question {
    /// Why this pod is being deleted, since this time in ms.
    pub fn deleted(pod: &Pod, at_ms: i64) -> Option<Self> {
        Deleted::of(pod, at_ms).map(Self::Deleted)
    }

    /// The answer as it is now.
    pub async fn answer(&self, client: &Client) -> Result<Answer, kube::Error> {
        match self {
            Self::Deleted(pod) => pod.answer(client).await,
            Self::Ended(run) => run.answer(client).await,
        }
    }

    /// What follows for the pod.
    pub fn found(self, reason: Option<Reason>) -> Found {
        match (self, reason) {
            (Self::Deleted(_), reason) => Found::Pod(reason),
            (Self::Ended(run), Some(_)) => Found::Unwell {
                container: run.container,
                id: run.id,
            },
            (Self::Ended(_), None) => Found::Well,
        }
    }
}

/// A run of a container that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    namespace: String,
    /// Uid of its pod.
    pod: String,
    container: String,
    /// Its id, without the runtime.
    pub id: String,
    /// In s since the Unix epoch.
    began: i64,
    ended: i64,
}

impl Run {
    async fn answer(&self, client: &Client) -> Result<Answer, kube::Error> {
        let events: Api<Event> = Api::namespaced(client.clone(), &self.namespace);
        let of_pod = ListParams::default()
            .fields(&format!("involvedObject.uid={},reason=Killing", self.pod))
            .limit(EVENTS);
        let list = events.list(&of_pod).await?;
        // The Event is written beside the kill, and may come after it.
        let failed = why::failed_its_probe(&list.items, &self.container, self.began, self.ended);
        Ok(if failed {
            Answer::Known(Reason::Liveness)
        } else {
            Answer::Later
        })
    }
}

/// Runs of this pod's containers that have ended while it was not being deleted, of containers that the kubelet may
/// restart for a failed probe.
pub fn ended_runs(pod: &Pod) -> Vec<Run> {
    let Some(spec) = &pod.spec else { return vec![] };
    if why::is_leaving(&pod.metadata) || why::own(pod).is_some() {
        return vec![];
    }
    let probed = |name: &str| {
        let init = spec.init_containers.iter().flatten();
        let mut containers = spec.containers.iter().chain(init);
        containers.any(|container| {
            container.name == name
                && (container.liveness_probe.is_some() || container.startup_probe.is_some())
        })
    };
    let statuses = pod::statuses(pod).filter(|status| probed(&status.name));
    statuses.flat_map(|status| runs(&pod.metadata, status)).collect()
}

fn runs(metadata: &ObjectMeta, status: &ContainerStatus) -> impl Iterator<Item = Run> {
    let now_and_before = [&status.state, &status.last_state];
    now_and_before.into_iter().filter_map(|state| {
        let terminated = state.as_ref()?.terminated.as_ref()?;
        Some(Run {
            namespace: metadata.namespace.clone()?,
            pod: metadata.uid.clone()?,
            container: status.name.clone(),
            id: pod::run_id(terminated.container_id.as_deref()?)?,
            began: terminated.started_at.as_ref()?.0.as_second(),
            ended: terminated.finished_at.as_ref()?.0.as_second(),
        })
    })
}

/// A pod that is being deleted.
#[derive(Debug)]
pub struct Deleted {
    namespace: String,
    name: String,
    uid: String,
    labels: BTreeMap<String, String>,
    owner: OwnerReference,
    /// Name of the Deployment, where its `ReplicaSet` is gone.
    above: String,
    /// In s since the Unix epoch.
    at: i64,
}

impl Deleted {
    fn of(pod: &Pod, deleted_ms: i64) -> Option<Self> {
        let metadata = &pod.metadata;
        // Of a mirror pod its deletion says nothing: the kubelet has the file.
        let owner = controlling(metadata)
            .filter(|owner| owner.kind != "Node")?
            .clone();
        Some(Self {
            namespace: metadata.namespace.clone()?,
            name: metadata.name.clone()?,
            uid: metadata.uid.clone()?,
            labels: metadata.labels.clone().unwrap_or_default(),
            above: pod::controller(pod).name,
            owner,
            at: deleted_ms.div_euclid(1000),
        })
    }

    async fn answer(&self, client: &Client) -> Result<Answer, kube::Error> {
        let deleted = Answer::Known(Reason::Deleted);
        let owner = &self.owner;
        match (owner.api_version.as_str(), owner.kind.as_str()) {
            ("apps/v1", "ReplicaSet") => self.of_replica_set(client, owner).await,
            ("apps/v1", "StatefulSet") => {
                let set = self.controller::<StatefulSet>(client, owner).await?;
                Ok(set.map_or(deleted, |set| {
                    why::of_stateful_set(&set, &self.name, self.revision())
                }))
            }
            ("apps/v1", "DaemonSet") => {
                let set = self.controller::<DaemonSet>(client, owner).await?;
                Ok(set.map_or(deleted, |set| why::of_daemon_set(&set, &self.labels)))
            }
            ("batch/v1", "Job") => {
                let job = self.controller::<Job>(client, owner).await?;
                // The rules of a Job that stays delete pods too.
                Ok(job.map_or(deleted, |_| Answer::Nothing))
            }
            _ => Ok(Answer::Nothing),
        }
    }

    fn revision(&self) -> Option<&str> {
        self.labels.get("controller-revision-hash").map(String::as_str)
    }

    async fn of_replica_set(&self, client: &Client, owner: &OwnerReference) -> Result<Answer, kube::Error> {
        let deleted = Ok(Answer::Known(Reason::Deleted));
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), &self.namespace);
        let Some(set) = self.controller::<ReplicaSet>(client, owner).await? else {
            // A Deployment that keeps no history removes its old ones by itself.
            let above = deployments.get_metadata_opt(&self.above).await?;
            return match above {
                Some(above) if !why::is_leaving(&above.metadata) => Ok(Answer::Nothing),
                _ => deleted,
            };
        };
        match controlling(&set.metadata) {
            None => {}
            Some(above) if above.api_version == "apps/v1" && above.kind == "Deployment" => {
                let deployment = deployments.get_opt(&above.name).await?;
                let Some(deployment) = deployment.filter(|found| stays(&found.metadata, &above.uid)) else {
                    return deleted;
                };
                if why::is_superseded(&set, &deployment) {
                    return Ok(Answer::Known(Reason::Rollout));
                }
            }
            // Somebody else's rules.
            Some(_) => return Ok(Answer::Nothing),
        }
        let Some(selector) = set.spec.as_ref().and_then(|spec| labels(&spec.selector)) else {
            return Ok(Answer::Nothing);
        };
        let pods: Api<Pod> = Api::namespaced(client.clone(), &self.namespace);
        let of_set = ListParams::default()
            .labels(&selector)
            .fields("status.phase!=Failed,status.phase!=Succeeded")
            .match_any();
        let list = pods.list_metadata(&of_set).await?;
        let siblings = Siblings::among(list.items.iter().map(|pod| &pod.metadata), &owner.uid, &self.uid);
        Ok(why::of_replica_set(&set, siblings, self.at))
    }

    /// What controls it; `None` where somebody has deleted that.
    async fn controller<K>(&self, client: &Client, owner: &OwnerReference) -> Result<Option<K>, kube::Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + k8s_openapi::Metadata<Ty = ObjectMeta>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(client.clone(), &self.namespace);
        let found = api.get_opt(&owner.name).await?;
        Ok(found.filter(|found| stays(found.metadata(), &owner.uid)))
    }
}

fn stays(metadata: &ObjectMeta, uid: &str) -> bool {
    why::is_same(metadata, uid) && !why::is_leaving(metadata)
}

/// A selector as lists take it, where it is one of labels alone.
fn labels(selector: &LabelSelector) -> Option<String> {
    if selector
        .match_expressions
        .as_ref()
        .is_some_and(|rules| !rules.is_empty())
    {
        return None;
    }
    let labels = selector
        .match_labels
        .as_ref()
        .filter(|labels| !labels.is_empty())?;
    let pairs: Vec<_> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    Some(pairs.join(","))
}
