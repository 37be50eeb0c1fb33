//! Settings of the agent: flag before environment before file before default.
//!
//! **A new setting is one entry of the table below** and a use of its field: its flag and environment variable, its
//! key in the file, its default, its check, its help and its line in `docs/reference/config.md` come from the entry.
//! What may be written, and how it is checked, is the type's ([`Value`]): a text with a check is a newtype with a
//! [`FromStr`](std::str::FromStr) and a [`Text`], beside its like in `config/`.
//!
//! The file is TOML. Its keys are the flags' names, a dot in a flag being a table:
//! `--web.listen-address` is `listen-address` in `[web]`. An unknown key is an error.

mod addresses;
mod classes;
mod collector;
mod file;
mod flags;
mod in_force;
mod numbers;
mod paths;
mod protocols;
mod signals;
mod table;
mod value;
mod words;

use std::{
    num::{NonZeroU16, NonZeroU32},
    path::Path,
    sync::Arc,
};

use drainwatch_core::{class::Classes, reading::Pins};

use crate::{
    kernel::CaptureMode,
    names::{self, Socket, Use},
    outlets::sinks::otlp::{Endpoint, Headers},
};

pub use addresses::{AllowedHosts, ListenAddress, NodeName, TelemetryPath};
pub use file::{ConfigError, parse, text};
pub use flags::Flags;
pub use numbers::{Age, MaxRequests, TimeSpan};
pub use paths::{Directory, File, NewFile, PinDir};
pub use signals::StopSignals;
pub use table::{Setting, keys};
pub use value::{Text, Value};
pub use words::{LogFormat, LogLevel};

// Meaning, key => field: type = default as the file has it, flag VALUE of the commands that take it.
// Without a default it is `none`, with what the help says instead. Without `flag` only the file has it.
table::settings! {
    /// Address of /metrics, the API and the page.
    "web.listen-address" => listen: ListenAddress = "127.0.0.1:9669", flag "ADDRESS:PORT" of run;
    /// Path of the metrics.
    "web.telemetry-path" => telemetry_path: TelemetryPath = "/metrics", flag "PATH" of run;
    /// Most requests answered at the same time; further ones get 503.
    "web.max-requests" => max_requests: MaxRequests = 40, flag "N" of run;
    /// Host names that the web server answers to, besides addresses, `localhost` and this host's own: the name of an ingress,
    /// for example. `*` is every name.
    "web.allowed-hosts" => allowed_hosts: AllowedHosts = none "none", flag "NAME,..." of run;
    /// TLS, client certificates and basic auth, in the format of Prometheus's exporters.
    "web.config.file" => web_config: Option<File> = none "neither TLS nor a login", flag "FILE" of run;

    /// What to log.
    "log.level" => log_level: LogLevel = "info", flag "LEVEL" of run;
    /// How to log.
    "log.format" => log_format: LogFormat = "text", flag "FORMAT" of run;

    /// Directory where reports are stored, so that they survive a restart.
    "state-dir" => state_dir: Option<Directory> = none "none, only the most recent reports are kept, in memory",
        flag "DIR" of run;
    /// Directory where programs are pinned, so that they go on recording while no agent runs: restarts, upgrades and crashes
    /// of the agent lose nothing.
    "pin-dir" => pin_dir: PinDir = "/sys/fs/bpf/drainwatch", flag "DIR|off" of run and doctor and uninstall;
    /// Payload to examine: the first bytes of requests and responses, or none at all.
    "capture" => capture: CaptureMode = "heads", flag "WHAT" of run;
    /// Tell of processes in login sessions and other shared cgroups, too, that never served: what somebody starts and stops
    /// by hand.
    "processes" => processes: bool = false, flag "BOOL" of run;
    /// Record every event, for `drainwatch replay` and for bug reports.
    "record" => record: Option<NewFile> = none, flag "FILE" of run;

    /// Collector that ended shutdowns are sent to over OTLP/HTTP: the URL to which /v1/traces and /v1/logs are appended.
    "otlp.endpoint" => otlp_endpoint: Option<Endpoint> = none "none", flag "URL" of run;
    /// Headers for the collector; prefer the environment or the file, `ps` shows flags.
    "otlp.headers" => otlp_headers: Headers = none "none", flag "NAME=VALUE,..." of run;

    /// Most reports in the store.
    "history.max-reports" => max_reports: NonZeroU32 = 10000;
    /// Age after which a stored report is deleted.
    "history.max-age" => max_age: Age = "30d";
    /// Most reports kept in memory.
    "history.memory-reports" => memory_reports: NonZeroU16 = 1000;

    /// How long after the end late arrivals are still counted.
    "shutdown.linger" => linger: TimeSpan = "5s";
    /// Stop signals in addition to SIGTERM, SIGINT and SIGQUIT.
    "shutdown.stop-signals" => stop_signals: StopSignals = [];

    /// Whether to ask the Kubernetes API for the pods of this node: if a service account or a kubeconfig is found, or never.
    "kubernetes" => kubernetes: Use = "auto", flag "WHETHER" of run and doctor;
    /// How to reach the Kubernetes API.
    "kubernetes.kubeconfig" => kubeconfig: Option<File> = none "the pod's service account",
        flag "FILE" of run and doctor;
    /// Name of this node in Kubernetes.
    "kubernetes.node-name" => node_name: Option<NodeName> = none "`NODE_NAME` of the environment, else the host's name",
        flag "NAME" of run and doctor;
    /// Write a Kubernetes Event for each shutdown that went wrong: `kubectl describe` shows them.
    "kubernetes.events" => kubernetes_events: bool = false, flag "BOOL" of run and doctor;

    /// Docker's socket, auto (/var/run/docker.sock if it exists) or off.
    "docker.socket" => docker_socket: Socket = "auto", flag "PATH|off" of run and doctor;
    /// Podman's socket, auto (/run/podman/podman.sock if it exists) or off.
    "podman.socket" => podman_socket: Socket = "auto", flag "PATH|off" of run and doctor;
    /// Socket of the D-Bus where systemd is asked, auto (`/run/dbus/system_bus_socket` if it exists) or off.
    "systemd.bus" => systemd_bus: Socket = "auto", flag "PATH|off" of run and doctor;

    /// Rules that put requests into classes.
    "class" => classes: Arc<Classes> = none;

    /// What is spoken with ports, where it is not to be found out.
    "protocol" => protocols: Arc<Pins> = none;
}

impl Settings {
    /// Who is asked for names.
    pub fn names(&self) -> names::Options {
        names::Options {
            kubernetes: self.kubernetes,
            kubeconfig: self.kubeconfig.as_deref().map(Path::to_owned),
            node_name: self.node_name.as_deref().map(str::to_owned),
            docker: self.docker_socket.clone(),
            podman: self.podman_socket.clone(),
            systemd: self.systemd_bus.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
