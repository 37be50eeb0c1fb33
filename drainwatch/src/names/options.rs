//! Who is to be asked for names, and where.

use std::{path::PathBuf, str::FromStr};

use drainwatch_core::workload::text::shown_name;
use serde::Deserialize;

/// Who is asked. The default is whoever is found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether the Kubernetes API is asked for the pods of this node.
    pub kubernetes: Use,
    /// How to reach it; the service account of the pod without it.
    pub kubeconfig: Option<PathBuf>,
    /// Name of this node in Kubernetes.
    pub node_name: Option<String>,
    /// Docker's socket.
    pub docker: Socket,
    /// Podman's socket.
    pub podman: Socket,
    /// The bus on which systemd is asked.
    pub systemd: Socket,
}

/// Whether an origin of names is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// Where it is found.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// Where an origin of names that has a socket is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Socket {
    /// At the usual place, where there is something.
    #[default]
    Auto,
    /// Nowhere.
    Off,
    /// At this socket.
    At(PathBuf),
}

/// `auto`, `off`, or the path of a socket.
impl FromStr for Socket {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            path if path.starts_with('/') && !path.contains('\0') => Ok(Self::At(path.into())),
            _ => Err(format!(
                "`{}` is not a socket; write auto, off, or its path, for example /var/run/docker.sock",
                shown_name(text)
            )),
        }
    }
}
