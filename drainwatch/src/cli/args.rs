//! What the command line takes.

use std::{net::SocketAddr, path::PathBuf, str::FromStr};

use clap::{Args, Parser, Subcommand, ValueEnum};
use drainwatch_core::report::Verdict;

use crate::{
    client, config,
    config::{Capture, Layer, LogFormat, LogLevel, Use, Where},
    failure::{EXIT_CODES, Failure},
};

/// Finds the requests that a deploy silently kills.
#[derive(Debug, Parser)]
#[command(name = "drainwatch", version, max_term_width = 100, after_help = EXIT_CODES,
    subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The agent: watches every workload of this node
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<RunArgs>),
    /// Shows on this kernel what drainwatch finds: stops a bad and a good server under traffic
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(DemoArgs),
    /// Past shutdowns, newest first
    #[command(after_help = SHUTDOWNS_EXAMPLES)]
    Shutdowns(ShutdownsArgs),
    /// One shutdown with its timeline
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// One line per shutdown as it ends
    #[command(after_help = WATCH_EXAMPLES)]
    Watch(WatchArgs),
    /// Reports from a recording
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(ReplayArgs),
    /// What this kernel and these privileges allow, and what is lost without the rest
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(DoctorArgs),
    /// Whether `run --config` takes a file, and what is wrong with it
    #[command(after_help = CHECK_CONFIG_EXAMPLES)]
    CheckConfig {
        /// Configuration in TOML.
        file: PathBuf,
    },
    /// Completions for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// One of the two servers of the demo
    #[command(hide = true)]
    DemoServer(DemoServerArgs),
}

const RUN_EXAMPLES: &str = "\
Every flag is also an environment variable, and a key of the file (a dot is a table):
--web.listen-address, DRAINWATCH_WEB_LISTEN_ADDRESS, listen-address in [web].
A flag goes before the environment, that before the file, that before the default.
Keys of the file alone: [history] max-reports, max-age, memory-reports; [shutdown] linger, stop-signals.

Examples:
  sudo drainwatch run
  sudo drainwatch run --state-dir /var/lib/drainwatch --web.listen-address :9669
  sudo drainwatch run --record shutdowns.jsonl --log.level debug
  sudo drainwatch run --otlp.endpoint http://collector:4318";
const DEMO_EXAMPLES: &str = "\
Examples:
  sudo drainwatch demo
  sudo drainwatch demo --format json | jq '.shutdowns[].verdict'";
const SHUTDOWNS_EXAMPLES: &str = "\
Examples:
  drainwatch shutdowns
  drainwatch shutdowns --since 1h --verdict severed
  drainwatch shutdowns --workload shop.service --format json";
const SHOW_EXAMPLES: &str = "\
Examples:
  drainwatch show 01hx        the beginning of an id does where it is unique
  drainwatch show 01hx --format json";
const WATCH_EXAMPLES: &str = "\
Examples:
  drainwatch watch
  drainwatch watch --format json | jq -r .workload.name";
const REPLAY_EXAMPLES: &str = "\
Examples:
  drainwatch replay shutdowns.jsonl
  drainwatch replay shutdowns.jsonl --format json";
const DOCTOR_EXAMPLES: &str = "\
Exits 0 when the agent can run here, 77 when a privilege is missing, 69 when the kernel cannot.

Examples:
  sudo drainwatch doctor
  drainwatch doctor --format json";
const CHECK_CONFIG_EXAMPLES: &str = "\
Exits 0 when it can be used, else 78 with the line and the reason.

Examples:
  drainwatch check-config /etc/drainwatch/drainwatch.toml";
const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  drainwatch completions bash > /etc/bash_completion.d/drainwatch
  drainwatch completions zsh > ~/.zfunc/_drainwatch";

/// Flags of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Address of /metrics, the API and the page [default: 127.0.0.1:9669]
    #[arg(long = "web.listen-address", env = "DRAINWATCH_WEB_LISTEN_ADDRESS", value_name = "ADDRESS:PORT",
        value_parser = config::listen_address)]
    listen: Option<SocketAddr>,
    /// Path of the metrics [default: /metrics]
    #[arg(long = "web.telemetry-path", env = "DRAINWATCH_WEB_TELEMETRY_PATH", value_name = "PATH",
        value_parser = config::telemetry_path)]
    telemetry_path: Option<String>,
    /// Requests answered at the same time; more get 503 [default: 40]
    #[arg(long = "web.max-requests", env = "DRAINWATCH_WEB_MAX_REQUESTS", value_name = "N",
        value_parser = config::max_requests)]
    max_requests: Option<usize>,
    /// Directory in which reports outlive the agent [default: none, the last reports are in memory only]
    #[arg(long, env = "DRAINWATCH_STATE_DIR", value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Configuration in TOML; an unknown key is an error
    #[arg(long, env = "DRAINWATCH_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Payload to look at: the first bytes of requests and responses, or none at all [default: heads]
    #[arg(long, env = "DRAINWATCH_CAPTURE", value_name = "WHAT")]
    capture: Option<Capture>,
    /// Record every event, for `drainwatch replay` and for bug reports
    #[arg(long, env = "DRAINWATCH_RECORD", value_name = "FILE")]
    record: Option<PathBuf>,
    /// Collector to send ended shutdowns to, over OTLP/HTTP: the URL above /v1/traces and /v1/logs [default: none]
    #[arg(
        long = "otlp.endpoint",
        env = "DRAINWATCH_OTLP_ENDPOINT",
        value_name = "URL",
        hide_env_values = true
    )]
    otlp_endpoint: Option<String>,
    /// Headers for the collector; better by environment or file than where `ps` shows them [default: none]
    #[arg(
        long = "otlp.headers",
        env = "DRAINWATCH_OTLP_HEADERS",
        value_name = "NAME=VALUE,...",
        hide_env_values = true
    )]
    otlp_headers: Option<String>,
    /// What to log [default: info]
    #[arg(long = "log.level", env = "DRAINWATCH_LOG_LEVEL", value_name = "LEVEL")]
    log_level: Option<LogLevel>,
    /// How to log [default: text]
    #[arg(long = "log.format", env = "DRAINWATCH_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Who is asked for names.
    #[command(flatten)]
    names: NamesArgs,
}

impl RunArgs {
    /// The flags as a layer of settings.
    pub fn layer(&self) -> Result<Layer, Failure> {
        Ok(Layer {
            listen: self.listen,
            telemetry_path: self.telemetry_path.clone(),
            max_requests: self.max_requests,
            log_level: self.log_level,
            log_format: self.log_format,
            state_dir: self.state_dir.clone(),
            capture: self.capture,
            record: self.record.clone(),
            otlp_endpoint: secret("--otlp.endpoint", self.otlp_endpoint.as_deref())?,
            otlp_headers: secret("--otlp.headers", self.otlp_headers.as_deref())?,
            ..self.names.layer()
        })
    }
}

/// Who is asked for the names of workloads.
#[derive(Debug, Args)]
pub struct NamesArgs {
    /// Ask the Kubernetes API for the pods of this node: where a service account or a kubeconfig is found, or never
    /// [default: auto]
    #[arg(long, env = "DRAINWATCH_KUBERNETES", value_name = "WHETHER")]
    kubernetes: Option<Use>,
    /// How to reach the Kubernetes API [default: the pod's service account]
    #[arg(
        long = "kubernetes.kubeconfig",
        env = "DRAINWATCH_KUBERNETES_KUBECONFIG",
        value_name = "FILE"
    )]
    kubeconfig: Option<PathBuf>,
    /// Name of this node in Kubernetes [default: `NODE_NAME` of the environment, else the host's name]
    #[arg(long = "kubernetes.node-name", env = "DRAINWATCH_KUBERNETES_NODE_NAME", value_name = "NAME",
        value_parser = config::node_name)]
    node_name: Option<String>,
    /// Write a Kubernetes Event for each shutdown that went wrong: `kubectl describe` shows them [default: false]
    #[arg(long = "kubernetes.events", env = "DRAINWATCH_KUBERNETES_EVENTS", value_name = "BOOL",
        num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    kubernetes_events: Option<bool>,
    /// Docker's socket, auto (/var/run/docker.sock, where it is) or off [default: auto]
    #[arg(long = "docker.socket", env = "DRAINWATCH_DOCKER_SOCKET", value_name = "PATH|off",
        value_parser = config::socket)]
    docker_socket: Option<Where>,
    /// Podman's socket, auto (/run/podman/podman.sock, where it is) or off [default: auto]
    #[arg(long = "podman.socket", env = "DRAINWATCH_PODMAN_SOCKET", value_name = "PATH|off",
        value_parser = config::socket)]
    podman_socket: Option<Where>,
    /// Socket of the bus on which systemd is asked, auto (`/run/dbus/system_bus_socket`, where it is) or off
    /// [default: auto]
    #[arg(long = "systemd.bus", env = "DRAINWATCH_SYSTEMD_BUS", value_name = "PATH|off",
        value_parser = config::socket)]
    systemd_bus: Option<Where>,
}

impl NamesArgs {
    /// The flags as a layer of settings.
    pub fn layer(&self) -> Layer {
        Layer {
            kubernetes: self.kubernetes,
            kubeconfig: self.kubeconfig.clone(),
            node_name: self.node_name.clone(),
            kubernetes_events: self.kubernetes_events,
            docker_socket: self.docker_socket.clone(),
            podman_socket: self.podman_socket.clone(),
            systemd_bus: self.systemd_bus.clone(),
            ..Layer::default()
        }
    }
}

/// A value that no message repeats, as clap's own would.
fn secret<T: FromStr<Err = String>>(flag: &str, text: Option<&str>) -> Result<Option<T>, Failure> {
    text.map(str::parse)
        .transpose()
        .map_err(|why| Failure::usage(format!("invalid value for '{flag}': {why}")))
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Where the agent is, and how results are printed.
#[derive(Debug, Args)]
pub struct ClientArgs {
    /// Address of the agent
    #[arg(long, env = "DRAINWATCH_URL", default_value = client::URL)]
    pub url: String,
    /// How to print
    #[arg(long, env = "DRAINWATCH_FORMAT", value_enum, default_value = "table")]
    pub format: Format,
}

/// How results are printed, of commands that ask no agent.
#[derive(Debug, Args)]
pub struct FormatArgs {
    /// How to print
    #[arg(long, env = "DRAINWATCH_FORMAT", value_enum, default_value = "table")]
    pub format: Format,
}

/// Flags of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How to print.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// Flags of `shutdowns`.
#[derive(Debug, Args)]
pub struct ShutdownsArgs {
    /// Ended since then (2026-01-01T00:00:00Z, or 15m ago), or still under way
    #[arg(long, value_name = "WHEN", value_parser = since)]
    pub since: Option<String>,
    /// Only this workload: its name, namespace/name, cgroup, or the last part of its name
    #[arg(long, value_name = "NAME")]
    pub workload: Option<String>,
    /// Only this verdict: clean, severed or unknown
    #[arg(long)]
    pub verdict: Option<Verdict>,
    /// At most so many, up to 1000
    #[arg(long, default_value = "50", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: u16,
    /// Where, and how to print.
    #[command(flatten)]
    pub client: ClientArgs,
}

fn since(text: &str) -> Result<String, String> {
    crate::web::since(text, jiff::Timestamp::now()).map(|_| text.into())
}

/// Flags of `show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Id of a shutdown, or its beginning
    pub id: String,
    /// Where, and how to print.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Flags of `watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Where, and how to print.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Flags of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A recording of `drainwatch run --record`
    pub file: PathBuf,
    /// How to print.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// Flags of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Configuration of the agent; an unknown key is an error
    #[arg(long, env = "DRAINWATCH_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Who is asked for names.
    #[command(flatten)]
    pub names: NamesArgs,
    /// How to print.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// Flags of `demo-server`.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct DemoServerKind {
    /// SIGTERM ends it at once, whatever it is doing
    #[arg(long)]
    pub bad: bool,
    /// SIGTERM lets it finish what it is doing
    #[arg(long)]
    pub good: bool,
}

/// Flags of `demo-server`.
#[derive(Debug, Args)]
pub struct DemoServerArgs {
    /// Which of the two.
    #[command(flatten)]
    pub kind: DemoServerKind,
    /// Directory of the cgroup to move into before anything else
    #[arg(long)]
    pub cgroup: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn given_the_command_line_then_it_is_consistent_and_every_command_has_examples() {
        let mut cli = Cli::command();
        cli.clone().debug_assert();
        for command in cli.get_subcommands_mut().filter(|command| !command.is_hide_set()) {
            let help = command.render_help().to_string();
            assert!(help.contains("Examples:"), "{help}");
        }
    }

    #[test]
    fn given_the_flags_of_run_then_each_has_its_environment_variable_and_its_key_in_the_file() {
        let cli = Cli::command();
        let run = cli.find_subcommand("run").unwrap();
        for flag in run
            .get_arguments()
            .filter_map(|argument| argument.get_long().zip(argument.get_env()))
        {
            let (long, env) = (flag.0, flag.1.to_string_lossy());
            assert_eq!(
                env,
                format!("DRAINWATCH_{}", long.to_uppercase().replace(['.', '-'], "_"))
            );
            assert!(long == "config" || config::KEYS.contains(&long), "{long}");
        }
        let with_env = run
            .get_arguments()
            .filter(|argument| argument.get_env().is_some())
            .count();
        assert_eq!(with_env, 18);
    }
}
