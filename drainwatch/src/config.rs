//! Settings of the agent: flag before environment before file before default.
//!
//! The file is TOML. Its keys are the flags' names, a dot in a flag being a table:
//! `--web.listen-address` is `listen-address` in `[web]`. An unknown key is an error.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use drainwatch_core::class::{Classes, MOST_RULES, Rule};
use serde::Deserialize;

use crate::{
    kernel::CaptureMode,
    sinks::otlp::settings::{Endpoint, Headers},
};

/// Every key of the file, dotted.
pub const KEYS: &[&str] = &[
    "web.listen-address",
    "web.telemetry-path",
    "web.max-requests",
    "log.level",
    "log.format",
    "state-dir",
    "capture",
    "record",
    "otlp.endpoint",
    "otlp.headers",
    "history.max-reports",
    "history.max-age",
    "history.memory-reports",
    "shutdown.linger",
    "shutdown.stop-signals",
    "kubernetes",
    "kubernetes.kubeconfig",
    "kubernetes.node-name",
    "kubernetes.events",
    "docker.socket",
    "podman.socket",
    "systemd.bus",
    "class.name",
    "class.path",
    "class.host",
    "class.method",
    "class.port",
    "class.sender",
    "class.header",
];

/// Default of `--web.listen-address`.
pub const LISTEN_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9669);
/// Default of `--web.telemetry-path`.
pub const TELEMETRY_PATH: &str = "/metrics";
/// Default of `--web.max-requests`.
pub const MAX_REQUESTS: usize = 40;

/// The configuration cannot be used. Each message is one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {why}; give a readable file to --config, or leave it away", path.display())]
    Unreadable {
        /// File.
        path: PathBuf,
        /// Cause.
        why: std::io::Error,
    },
    /// It is not TOML, or a value has the wrong type or range.
    #[error("configuration {}, line {line}: {why}", path.display())]
    Malformed {
        /// File.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Cause.
        why: String,
    },
    /// A key that does not exist.
    #[error("configuration {}: unknown key `{key}`; {suggestion}", path.display())]
    UnknownKey {
        /// File.
        path: PathBuf,
        /// Dotted name.
        key: String,
        /// The nearest valid ones.
        suggestion: String,
    },
}

/// Level of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What fails.
    Error,
    /// And what degrades.
    Warn,
    /// And every shutdown.
    #[default]
    Info,
    /// And what the agent does.
    Debug,
    /// Everything.
    Trace,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// Form of the log's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// How much payload is captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Capture {
    /// The first bytes of requests and responses.
    #[default]
    Heads,
    /// Nothing: every request is judged by turn-taking on the wire.
    None,
}

/// Whether an origin of names is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// Where it is found.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// Where an origin of names that has a socket is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Where {
    /// At the usual place, where there is something.
    #[default]
    Auto,
    /// Nowhere.
    Off,
    /// At this socket.
    At(PathBuf),
}

impl From<Capture> for CaptureMode {
    fn from(capture: Capture) -> Self {
        match capture {
            Capture::Heads => Self::Heads,
            Capture::None => Self::None,
        }
    }
}

/// Values that one source (flags with environment, or file) gives; `None` where it is silent.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    /// `web.listen-address`.
    pub listen: Option<SocketAddr>,
    /// `web.telemetry-path`.
    pub telemetry_path: Option<String>,
    /// `web.max-requests`.
    pub max_requests: Option<usize>,
    /// `log.level`.
    pub log_level: Option<LogLevel>,
    /// `log.format`.
    pub log_format: Option<LogFormat>,
    /// `state-dir`.
    pub state_dir: Option<PathBuf>,
    /// `capture`.
    pub capture: Option<Capture>,
    /// `record`.
    pub record: Option<PathBuf>,
    /// `otlp.endpoint`.
    pub otlp_endpoint: Option<Endpoint>,
    /// `otlp.headers`.
    pub otlp_headers: Option<Headers>,
    /// `history.max-reports`.
    pub max_reports: Option<u64>,
    /// `history.max-age`.
    pub max_age: Option<Duration>,
    /// `history.memory-reports`.
    pub memory_reports: Option<usize>,
    /// `shutdown.linger`.
    pub linger: Option<Duration>,
    /// `shutdown.stop-signals`.
    pub stop_signals: Option<Vec<u32>>,
    /// `kubernetes`.
    pub kubernetes: Option<Use>,
    /// `kubernetes.kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
    /// `kubernetes.node-name`.
    pub node_name: Option<String>,
    /// `kubernetes.events`.
    pub kubernetes_events: Option<bool>,
    /// `docker.socket`.
    pub docker_socket: Option<Where>,
    /// `podman.socket`.
    pub podman_socket: Option<Where>,
    /// `systemd.bus`.
    pub systemd_bus: Option<Where>,
    /// `[[class]]`, which only the file has.
    pub classes: Option<Vec<Rule>>,
}

/// Resolved settings of `drainwatch run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the web server listens.
    pub listen: SocketAddr,
    /// Path of the metrics.
    pub telemetry_path: String,
    /// Requests answered at the same time.
    pub max_requests: usize,
    /// Level of the log.
    pub log_level: LogLevel,
    /// Form of the log.
    pub log_format: LogFormat,
    /// Directory of the store; memory only without one.
    pub state_dir: Option<PathBuf>,
    /// How much payload is captured.
    pub capture: Capture,
    /// File that every event is recorded to.
    pub record: Option<PathBuf>,
    /// Collector that ended shutdowns are sent to.
    pub otlp_endpoint: Option<Endpoint>,
    /// Headers for it.
    pub otlp_headers: Headers,
    /// Most reports in the store.
    pub max_reports: u64,
    /// Age beyond which a stored report is dropped.
    pub max_age: Duration,
    /// Most reports in memory.
    pub memory_reports: usize,
    /// How long after the end late arrivals are still counted.
    pub linger: Duration,
    /// Stop signals besides SIGTERM, SIGINT and SIGQUIT.
    pub stop_signals: Vec<u32>,
    /// Whether the Kubernetes API is asked for the pods of this node.
    pub kubernetes: Use,
    /// How to reach the Kubernetes API; the service account of the pod without it.
    pub kubeconfig: Option<PathBuf>,
    /// Name of this node in Kubernetes.
    pub node_name: Option<String>,
    /// Shutdowns that went wrong become Kubernetes Events.
    pub kubernetes_events: bool,
    /// Docker's socket.
    pub docker_socket: Where,
    /// Podman's socket.
    pub podman_socket: Where,
    /// The bus on which systemd is asked.
    pub systemd_bus: Where,
    /// Rules of the classes.
    pub classes: Arc<Classes>,
}

impl Settings {
    /// `first` before `second` before the defaults.
    pub fn resolve(first: Layer, second: Layer) -> Self {
        Self {
            listen: first.listen.or(second.listen).unwrap_or(LISTEN_ADDRESS),
            telemetry_path: first
                .telemetry_path
                .or(second.telemetry_path)
                .unwrap_or_else(|| TELEMETRY_PATH.into()),
            max_requests: first.max_requests.or(second.max_requests).unwrap_or(MAX_REQUESTS),
            log_level: first.log_level.or(second.log_level).unwrap_or_default(),
            log_format: first.log_format.or(second.log_format).unwrap_or_default(),
            state_dir: first.state_dir.or(second.state_dir),
            capture: first.capture.or(second.capture).unwrap_or_default(),
            record: first.record.or(second.record),
            otlp_endpoint: first.otlp_endpoint.or(second.otlp_endpoint),
            otlp_headers: first.otlp_headers.or(second.otlp_headers).unwrap_or_default(),
            max_reports: first.max_reports.or(second.max_reports).unwrap_or(10_000),
            max_age: first
                .max_age
                .or(second.max_age)
                .unwrap_or(Duration::from_hours(30 * 24)),
            memory_reports: first.memory_reports.or(second.memory_reports).unwrap_or(1000),
            linger: first.linger.or(second.linger).unwrap_or(Duration::from_secs(5)),
            stop_signals: first.stop_signals.or(second.stop_signals).unwrap_or_default(),
            kubernetes: first.kubernetes.or(second.kubernetes).unwrap_or_default(),
            kubeconfig: first.kubeconfig.or(second.kubeconfig),
            node_name: first.node_name.or(second.node_name),
            kubernetes_events: first
                .kubernetes_events
                .or(second.kubernetes_events)
                .unwrap_or_default(),
            docker_socket: first.docker_socket.or(second.docker_socket).unwrap_or_default(),
            podman_socket: first.podman_socket.or(second.podman_socket).unwrap_or_default(),
            systemd_bus: first.systemd_bus.or(second.systemd_bus).unwrap_or_default(),
            classes: Arc::new(Classes::new(first.classes.or(second.classes).unwrap_or_default())),
        }
    }
}

/// `ADDRESS:PORT`; also `:PORT` (every address) and `localhost:PORT`.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let port = |port: &str| port.parse::<u16>().ok();
    if let Some(port) = text.strip_prefix(':').and_then(port) {
        return Ok((Ipv6Addr::UNSPECIFIED, port).into());
    }
    if let Some(port) = text.strip_prefix("localhost:").and_then(port) {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse().map_err(|_| {
        format!("`{text}` is not ADDRESS:PORT; write for example 127.0.0.1:9669, [::1]:9669 or :9669")
    })
}

/// A path of the web server: `/` and URL-safe characters, and not one of the server's own.
pub fn telemetry_path(text: &str) -> Result<String, String> {
    let safe = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
    if !text.starts_with('/') || text.len() < 2 || !text.chars().all(safe) {
        return Err(format!(
            "`{text}` is not a path; write for example /metrics (letters, digits and /-_.~ only)"
        ));
    }
    if text == "/healthz" || text == "/readyz" || text.starts_with("/api/") || text.starts_with("/page/") {
        return Err(format!(
            "`{text}` is a path of the agent's own; write for example /metrics"
        ));
    }
    Ok(text.into())
}

/// Name of a node: what Kubernetes takes as the name of an object.
pub fn node_name(text: &str) -> Result<String, String> {
    let safe = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if text.is_empty() || text.len() > 253 || !text.chars().all(safe) {
        return Err(format!(
            "`{}` is not the name of a node; `kubectl get nodes` lists them",
            drainwatch_core::workload::text::shown_name(text)
        ));
    }
    Ok(text.into())
}

/// `auto`, `off`, or the path of a socket.
pub fn socket(text: &str) -> Result<Where, String> {
    match text {
        "auto" => Ok(Where::Auto),
        "off" => Ok(Where::Off),
        path if path.starts_with('/') && !path.contains('\0') => Ok(Where::At(path.into())),
        _ => Err(format!(
            "`{}` is not a socket; write auto, off, or its path, for example /var/run/docker.sock",
            drainwatch_core::workload::text::shown_name(text)
        )),
    }
}

/// At least one, at most ten thousand.
pub fn max_requests(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|n| (1..=10_000).contains(n))
        .ok_or_else(|| format!("`{text}` is not a number from 1 to 10000"))
}

/// A whole number with its unit: `500ms`, `5s`, `15m`, `12h`, `30d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || {
        format!("`{text}` is not a duration; write a number with ms, s, m, h or d, for example 15m or 30d")
    };
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let (number, unit) = text.split_at(unit_at);
    let ms_per: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(bad()),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    // A century: nothing beyond it is meant, and sums with it cannot overflow.
    let ms = number
        .checked_mul(ms_per)
        .filter(|ms| *ms <= 36_525 * 86_400_000)
        .ok_or_else(bad)?;
    Ok(Duration::from_millis(ms))
}

/// A signal that the kernel side can be told to watch for: it has one word of bits, and 64 is beyond it.
fn stop_signal(text: &str) -> Result<u32, String> {
    match signal(text)? {
        64 => Err(format!(
            "`{text}` is SIGRTMAX (64), the one signal that cannot be watched for; stop the workload with another, or \
             leave it away: its end is reported, as unasked"
        )),
        number => Ok(number),
    }
}

/// A signal by name (`SIGUSR1`, `USR1`, `SIGRTMIN+3`) or number.
pub fn signal(text: &str) -> Result<u32, String> {
    let bad = || {
        format!("`{text}` is not a signal; write for example SIGUSR1, SIGRTMIN+3 or a number from 1 to 64")
    };
    if let Ok(number) = text.parse::<u32>() {
        return if (1..=64).contains(&number) {
            Ok(number)
        } else {
            Err(bad())
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = name.strip_prefix("RTMIN+") {
        // glibc keeps 32 and 33 to itself; images and units count from 34.
        return offset
            .parse::<u32>()
            .ok()
            .filter(|n| *n <= 30)
            .map(|n| n + 34)
            .ok_or_else(bad);
    }
    if let Some(below) = name.strip_prefix("RTMAX-") {
        return below
            .parse::<u32>()
            .ok()
            .filter(|n| *n <= 30)
            .map(|n| 64 - n)
            .ok_or_else(bad);
    }
    match name {
        "RTMIN" => return Ok(34),
        "RTMAX" => return Ok(64),
        _ => {}
    }
    nix::sys::signal::Signal::from_str(&format!("SIG{name}"))
        .map(|signal| (signal as i32).cast_unsigned())
        .map_err(|_| bad())
}

/// Reads a configuration file.
pub fn read(path: &Path) -> Result<Layer, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|why| ConfigError::Unreadable {
        path: path.into(),
        why,
    })?;
    parse(&text, path)
}

fn parse(text: &str, path: &Path) -> Result<Layer, ConfigError> {
    let malformed = |error: &toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text
            .get(..at)
            .map_or(1, |before| before.matches('\n').count() + 1);
        let why = error.message().trim().replace('\n', "; ");
        ConfigError::Malformed {
            path: path.into(),
            line,
            why,
        }
    };
    let table: toml::Table = text.parse().map_err(|error| malformed(&error))?;
    if let Some(key) = unknown_key(&table) {
        return Err(ConfigError::UnknownKey {
            path: path.into(),
            suggestion: suggestion(&key),
            key,
        });
    }
    let file: File = toml::from_str(text).map_err(|error| malformed(&error))?;
    Ok(file.into())
}

fn unknown_key(table: &toml::Table) -> Option<String> {
    let is_table = |name: &str| {
        KEYS.iter()
            .any(|key| key.split_once('.').is_some_and(|(t, _)| t == name))
    };
    for (name, value) in table {
        match value {
            toml::Value::Table(inner) if is_table(name) => {
                let unknown = unknown_in(name, inner);
                if unknown.is_some() {
                    return unknown;
                }
            }
            toml::Value::Array(items) if is_table(name) => {
                let unknown = items
                    .iter()
                    .filter_map(toml::Value::as_table)
                    .find_map(|inner| unknown_in(name, inner));
                if unknown.is_some() {
                    return unknown;
                }
            }
            // A table's name with another kind of value: its type is what is wrong, serde says so.
            _ if is_table(name) || KEYS.contains(&name.as_str()) => {}
            _ => return Some(name.clone()),
        }
    }
    None
}

fn unknown_in(name: &str, table: &toml::Table) -> Option<String> {
    table
        .keys()
        .map(|key| format!("{name}.{key}"))
        .find(|key| !KEYS.contains(&key.as_str()))
}

/// The valid keys nearest to `key`, as a sentence.
fn suggestion(key: &str) -> String {
    let leaf = |key: &str| key.rsplit('.').next().unwrap_or_default().replace('_', "-");
    let mut near: Vec<(f64, &str)> = KEYS
        .iter()
        .map(|valid| {
            let whole = strsim::jaro_winkler(&key.replace('_', "-"), valid);
            (whole.max(strsim::jaro_winkler(&leaf(key), &leaf(valid))), *valid)
        })
        .filter(|(likeness, _)| *likeness > 0.8)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let near: Vec<_> = near
        .iter()
        .take(3)
        .map(|(_, valid)| format!("`{valid}`"))
        .collect();
    if near.is_empty() {
        format!("valid keys: {}", KEYS.join(", "))
    } else {
        format!("did you mean {}?", near.join(" or "))
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    web: Web,
    log: Log,
    state_dir: Option<PathBuf>,
    capture: Option<Capture>,
    record: Option<PathBuf>,
    otlp: Otlp,
    history: History,
    shutdown: Shutdown,
    kubernetes: Asked<Kubernetes>,
    docker: Runtime,
    podman: Runtime,
    systemd: Systemd,
    #[serde(rename = "class", deserialize_with = "rules")]
    classes: Option<Vec<Rule>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Web {
    listen_address: Option<Checked<SocketAddr>>,
    telemetry_path: Option<Checked<String>>,
    max_requests: Option<Checked<usize>>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Log {
    level: Option<LogLevel>,
    format: Option<LogFormat>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Otlp {
    endpoint: Option<Checked<Endpoint>>,
    headers: Option<Checked<Headers>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct History {
    max_reports: Option<std::num::NonZeroU32>,
    max_age: Option<Checked<Duration>>,
    memory_reports: Option<std::num::NonZeroU16>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Shutdown {
    linger: Option<Checked<Duration>>,
    stop_signals: Option<Vec<Checked<u32>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Kubernetes {
    kubeconfig: Option<PathBuf>,
    node_name: Option<Checked<NodeName>>,
    events: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Runtime {
    socket: Option<Checked<Where>>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Systemd {
    bus: Option<Checked<Where>>,
}

/// An origin of names: `kubernetes = "off"`, or the table `[kubernetes]`.
#[derive(Default)]
struct Asked<T> {
    whether: Option<Use>,
    table: T,
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Asked<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Default> serde::de::Visitor<'de> for Visitor<T> {
            type Value = Asked<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"auto\", \"off\" or a table")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let whether = Use::deserialize(serde::de::value::StrDeserializer::new(text))?;
                Ok(Asked {
                    whether: Some(whether),
                    table: T::default(),
                })
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let table = T::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Asked { whether: None, table })
            }
        }
        deserializer.deserialize_any(Visitor(std::marker::PhantomData))
    }
}

/// A bounded number of rules: each class is a label value of metrics.
fn rules<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Rule>>, D::Error> {
    let rules = Vec::<Rule>::deserialize(deserializer)?;
    if rules.len() > MOST_RULES {
        return Err(serde::de::Error::custom(format!(
            "{} tables [[class]] are more than {MOST_RULES}; one rule can have several values",
            rules.len()
        )));
    }
    Ok(Some(rules))
}

/// A value with the same check in the file as on the command line.
#[derive(Deserialize)]
#[serde(try_from = "Raw", bound = "T: Check")]
struct Checked<T>(T);

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string or a whole number")]
enum Raw {
    Number(i64),
    Text(String),
}

trait Check: Sized {
    fn check(text: &str) -> Result<Self, String>;
}

impl<T: Check> TryFrom<Raw> for Checked<T> {
    type Error = String;
    fn try_from(raw: Raw) -> Result<Self, String> {
        match raw {
            Raw::Number(number) => T::check(&number.to_string()),
            Raw::Text(text) => T::check(&text),
        }
        .map(Self)
    }
}

impl Check for SocketAddr {
    fn check(text: &str) -> Result<Self, String> {
        listen_address(text)
    }
}
impl Check for String {
    fn check(text: &str) -> Result<Self, String> {
        telemetry_path(text)
    }
}
/// A name of a node that was checked.
struct NodeName(String);

impl Check for NodeName {
    fn check(text: &str) -> Result<Self, String> {
        node_name(text).map(Self)
    }
}
impl Check for Where {
    fn check(text: &str) -> Result<Self, String> {
        socket(text)
    }
}
impl Check for usize {
    fn check(text: &str) -> Result<Self, String> {
        max_requests(text)
    }
}
impl Check for Duration {
    fn check(text: &str) -> Result<Self, String> {
        duration(text)
    }
}
impl Check for Endpoint {
    fn check(text: &str) -> Result<Self, String> {
        text.parse()
    }
}
impl Check for Headers {
    fn check(text: &str) -> Result<Self, String> {
        text.parse()
    }
}
impl Check for u32 {
    fn check(text: &str) -> Result<Self, String> {
        stop_signal(text)
    }
}

impl From<File> for Layer {
    fn from(file: File) -> Self {
        let File {
            web,
            log,
            state_dir,
            capture,
            record,
            otlp,
            history,
            shutdown,
            kubernetes,
            docker,
            podman,
            systemd,
            classes,
        } = file;
        Self {
            listen: web.listen_address.map(|v| v.0),
            telemetry_path: web.telemetry_path.map(|v| v.0),
            max_requests: web.max_requests.map(|v| v.0),
            log_level: log.level,
            log_format: log.format,
            state_dir,
            capture,
            record,
            otlp_endpoint: otlp.endpoint.map(|v| v.0),
            otlp_headers: otlp.headers.map(|v| v.0),
            max_reports: history.max_reports.map(|v| v.get().into()),
            max_age: history.max_age.map(|v| v.0),
            memory_reports: history.memory_reports.map(|v| v.get().into()),
            linger: shutdown.linger.map(|v| v.0),
            stop_signals: shutdown
                .stop_signals
                .map(|all| all.into_iter().map(|v| v.0).collect()),
            kubernetes: kubernetes.whether,
            kubeconfig: kubernetes.table.kubeconfig,
            node_name: kubernetes.table.node_name.map(|v| v.0.0),
            kubernetes_events: kubernetes.table.events,
            docker_socket: docker.socket.map(|v| v.0),
            podman_socket: podman.socket.map(|v| v.0),
            systemd_bus: systemd.bus.map(|v| v.0),
            classes,
        }
    }
}

#[cfg(test)]
mod tests;
