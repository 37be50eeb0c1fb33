//! The pods of this node, from the Kubernetes API: one watch.
//!
//! | file | what it holds |
//! |---|---|
//! | `client` | the way to the API server: where it is, who this node is |
//! | `guard` | how far the server is believed: time, length, wholeness |
//! | `watch` | list and watch, whatever the server does; what changed is told |
//! | `pod` | a pod to its description. Pure, total |
//! | `whence` | where the kubelet's probes come from, as the agent's own network shows it |
//! | `why` | why a pod is stopped, from what it and its controller say. Pure, total |
//! | `inquiries` | asks what controls a pod, a few questions at a time |
//! | `owners` | which object controls a pod, for Events |

mod client;
mod guard;
mod inquiries;
mod owners;
mod pod;
mod watch;
mod whence;
mod why;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};

pub use client::{Connection, Options};
use drainwatch_core::description::Origin;
pub use owners::{Owned, Owners, of_owner};
pub use pod::{controlling, describe};
pub use watch::tell;

use super::{Probed, Use};

/// What it costs to do without.
const COSTS: &str = "pods are named by their cgroups, without grace period and preStop";

/// Asks once: the pods of this node.
pub async fn probe(whom: &super::Options) -> Probed {
    let probed = |asked, ok, says| Probed {
        origin: Origin::Kubernetes,
        asked,
        ok,
        says,
    };
    let Some(options) = Options::find(whom) else {
        let says = match whom.kubernetes {
            Use::Off => format!("disabled by --kubernetes; {COSTS}"),
            Use::Auto => "no cluster here: neither a service account nor --kubernetes.kubeconfig".into(),
        };
        return probed(false, false, says);
    };
    match count(&options).await {
        Ok(says) => probed(true, true, says),
        Err(why) => probed(true, false, format!("{why}; meanwhile {COSTS}")),
    }
}

async fn count(options: &Options) -> Result<String, String> {
    let connection = options.connect().await?;
    let pods: Api<Pod> = Api::all(connection.client.clone());
    let of_node = ListParams::default()
        .fields(&format!("spec.nodeName={}", options.node))
        .match_any();
    let list = pods
        .list_metadata(&of_node)
        .await
        .map_err(|error| connection.sentence(&error, watch::NEEDS))?;
    if list.items.is_empty() && watch::is_missing(options, &connection).await {
        return Err(options.no_such_node());
    }
    Ok(format!(
        "{} pods of node {}, from {}",
        list.items.len(),
        options.node,
        connection.server
    ))
}
