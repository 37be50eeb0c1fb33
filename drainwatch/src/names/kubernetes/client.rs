//! The way to the API server: where it is, who this node is, how much it may answer.

use std::path::{Path, PathBuf};

use drainwatch_core::workload::text::clean;
use kube::{
    Client, Config,
    client::ClientBuilder,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::guard::{Guard, Heard};
use crate::names::{self, Use, bounded, node};

/// Where a pod finds its service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// Longest cause of a failure that is told.
const CAUSE: usize = 300;

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
    pub fn find(whom: &names::Options) -> Option<Self> {
        let in_cluster =
            std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() && Path::new(SERVICE_ACCOUNT).exists();
        if whom.kubernetes == Use::Off || (whom.kubeconfig.is_none() && !in_cluster) {
            return None;
        }
        let from_environment = std::env::var("NODE_NAME").ok().filter(|name| !name.is_empty());
        let (node, node_from) = match (&whom.node_name, from_environment) {
            (Some(name), _) => (name.clone(), "--kubernetes.node-name"),
            (None, Some(name)) => (name, "NODE_NAME"),
            (None, None) => (node().to_lowercase(), "the host's name"),
        };
        Some(Self {
            kubeconfig: whom.kubeconfig.clone(),
            node,
            node_from,
        })
    }

    /// A client of the API server, or why there is none and what to do. Nothing is sent yet.
    pub async fn connect(&self) -> Result<Connection, String> {
        let mut config = match &self.kubeconfig {
            Some(path) => Self::from_file(path).await?,
            None => Config::incluster().map_err(|error| {
                format!(
                    "the pod's service account cannot be used: {}; set automountServiceAccountToken, or give \
                     --kubernetes.kubeconfig",
                    cause(&error)
                )
            })?,
        };
        // The origin has its own patience, see `watch`.
        config.default_retry = false;
        let server = clean(&config.cluster_url.to_string())
            .trim_end_matches('/')
            .to_owned();
        let heard = Heard::default();
        let guard = tower::layer::layer_fn(|inner| Guard::new(inner, heard.clone()));
        let client = ClientBuilder::try_from(config)
            .map_err(|error| {
                format!(
                    "cannot create a client for the API server {server}: {}",
                    cause(&error)
                )
            })?
            .with_layer(&guard)
            .build();
        Ok(Connection {
            client,
            heard,
            server,
        })
    }

    async fn from_file(path: &Path) -> Result<Config, String> {
        let bad = |why: String| {
            format!(
                "the kubeconfig {} cannot be used: {why}; give a valid file to --kubernetes.kubeconfig",
                clean(&path.display().to_string())
            )
        };
        bounded::check(path).map_err(|error| bad(error.to_string()))?;
        let file = Kubeconfig::read_from(path).map_err(|error| bad(cause(&error)))?;
        Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
            .await
            .map_err(|error| bad(cause(&error)))
    }

    /// That the cluster has no node of this name, and what to do.
    pub fn no_such_node(&self) -> String {
        let Self { node, node_from, .. } = self;
        format!(
            "the cluster has no node `{}` (from {node_from}): give --kubernetes.node-name one of `kubectl get nodes`; \
             until then pods are named by their cgroups",
            clean(node)
        )
    }
}

/// A client with what was heard of the server.
pub struct Connection {
    /// The client, which believes the server only so much.
    pub client: Client,
    /// What was heard.
    pub heard: Heard,
    /// Address of the server.
    pub server: String,
}

impl Connection {
    /// Why a request failed and what to do, in one line. `needs` is the permission that it takes.
    pub fn sentence(&self, error: &kube::Error, needs: &str) -> String {
        let server = &self.server;
        let kube::Error::Api(status) = error else {
            return format!(
                "the API server {server} does not answer as it should: {}; it will be asked again",
                cause(error)
            );
        };
        let says = bounded(&status.message);
        match status.code {
            401 => format!(
                "the API server {server} does not accept the credentials (401): {says}; renew the token or the kubeconfig's user"
            ),
            403 => {
                format!("the API server {server} refuses (403): {says}; allow the agent's account to {needs}")
            }
            429 => format!("the API server {server} is busy (429); it will be asked again"),
            code => format!("the API server {server} answers {code}: {says}; it will be asked again"),
        }
    }
}

/// What is at the bottom of an error: what is above says less.
pub fn cause(error: &dyn std::error::Error) -> String {
    let mut bottom = error;
    while let Some(source) = bottom.source() {
        bottom = source;
    }
    bounded(&bottom.to_string())
}

fn bounded(text: &str) -> String {
    // Parsers go on with a drawing of where it is.
    let first = text.trim().lines().next().unwrap_or_default();
    let line = clean(&first[..first.floor_char_boundary(CAUSE)]);
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
