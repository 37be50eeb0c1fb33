//! The way to the API server: where it is, who this node is, how much it may answer.

use std::path::{Path, PathBuf};

use crate::{
    cli::run::node,
    config::{Settings, Use},
};

/// Where a pod finds its service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// What the origin needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How to reach the API server; the service account without it.
    pub kubeconfig: Option<PathBuf>,
    /// Name of this node.
    pub node: String,
    /// Where the node's name comes from, for messages.
    pub node_from: &'static str,
}

impl Options {
    /// What is configured, where a cluster is found here.
    pub fn find(settings: &Settings) -> Option<Self> {
        let in_cluster =
            std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() && Path::new(SERVICE_ACCOUNT).exists();
        if settings.kubernetes == Use::Off || (settings.kubeconfig.is_none() && !in_cluster) {
            return None;
        }
        let from_environment = std::env::var("NODE_NAME").ok().filter(|name| !name.is_empty());
        let (node, node_from) = match (&settings.node_name, from_environment) {
            (Some(name), _) => (name.clone(), "--kubernetes.node-name"),
            (None, Some(name)) => (name, "NODE_NAME"),
            (None, None) => (node().to_lowercase(), "the host's name"),
        };
        Some(Self {
            kubeconfig: settings.kubeconfig.clone(),
            node,
            node_from,
        })
    }
}
