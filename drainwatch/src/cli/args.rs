//! What the command line takes.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use drainwatch_core::report::Verdict;

use crate::{
    agent::config::{Flags, Setting},
    cli::{client, failure::EXIT_CODES},
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
    Run(RunArgs),
    /// A demonstration on this kernel: stops a bad and a good server under traffic
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
    /// What this kernel and these privileges allow, and what is lost otherwise
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(DoctorArgs),
    /// Takes out the programs that an agent left running in the kernel
    #[command(after_help = UNINSTALL_EXAMPLES)]
    Uninstall(UninstallArgs),
    /// Checks whether `run --config` accepts a file, and says what is wrong with it
    #[command(after_help = CHECK_CONFIG_EXAMPLES)]
    CheckConfig {
        /// Configuration in TOML.
        file: PathBuf,
    },
    /// Shell completions
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
Every flag is also an environment variable and a key of the configuration file (a dot separates tables):
--web.listen-address, DRAINWATCH_WEB_LISTEN_ADDRESS, listen-address in [web].
A flag overrides the environment, which overrides the file, which overrides the default.
Only in the file: [history] max-reports, max-age, memory-reports; [shutdown] linger, stop-signals.

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
  drainwatch show 01hx        a unique prefix of the id is enough
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
Exits with 0 if the agent can run here, 77 if a privilege is missing, 69 if the kernel does not support it.

Examples:
  sudo drainwatch doctor
  drainwatch doctor --format json";
const UNINSTALL_EXAMPLES: &str = "\
An agent that is stopped as a service leaves its programs recording, for the one that comes next. Stop it first.
Exits with 0, also if there was nothing, else with 69 if an agent still uses them.

Examples:
  sudo drainwatch uninstall
  sudo drainwatch uninstall --pin-dir /sys/fs/bpf/drainwatch";
const CHECK_CONFIG_EXAMPLES: &str = "\
Exits with 0 if the file can be used, else with 78, the line and the reason.

Examples:
  drainwatch check-config /etc/drainwatch/drainwatch.toml";
const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  drainwatch completions bash > /etc/bash_completion.d/drainwatch
  drainwatch completions zsh > ~/.zfunc/_drainwatch";

/// Flags of `run`, in the help as in the table of settings, except that the log comes after what a run is for.
#[derive(Debug, Args)]
#[command(
    mut_arg("log.level", |flag| flag.display_order(Setting::help_order("otlp.headers") + 1)),
    mut_arg("log.format", |flag| flag.display_order(Setting::help_order("otlp.headers") + 2))
)]
pub struct RunArgs {
    /// Configuration in TOML; an unknown key is an error
    #[arg(long, env = "DRAINWATCH_CONFIG", value_name = "FILE", display_order = Setting::help_order("state-dir") + 1)]
    pub config: Option<PathBuf>,
    /// Every setting that has a flag.
    #[command(flatten)]
    pub settings: Flags,
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
    #[arg(
        long,
        env = "DRAINWATCH_FORMAT",
        value_enum,
        default_value = "table",
        display_order = 900
    )]
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
    /// Ended since this time (2026-01-01T00:00:00Z, or 15m ago), or still under way
    #[arg(long, value_name = "WHEN", value_parser = since)]
    pub since: Option<String>,
    /// Only this workload: its name, namespace/name, cgroup, or the last part of its name
    #[arg(long, value_name = "NAME")]
    pub workload: Option<String>,
    /// Only this verdict: clean, severed or unknown
    #[arg(long)]
    pub verdict: Option<Verdict>,
    /// At most this many, up to 1000
    #[arg(long, default_value = "50", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: u16,
    /// Where, and how to print.
    #[command(flatten)]
    pub client: ClientArgs,
}

fn since(text: &str) -> Result<String, String> {
    crate::outlets::listing::since(text, jiff::Timestamp::now()).map(|_| text.into())
}

/// Flags of `show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Id of a shutdown, or a unique prefix
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
    /// A recording made by `drainwatch run --record`
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
    pub settings: Flags,
    /// How to print.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// Flags of `uninstall`.
#[derive(Debug, Args)]
pub struct UninstallArgs {
    /// Configuration of the agent; an unknown key is an error
    #[arg(long, env = "DRAINWATCH_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the programs are.
    #[command(flatten)]
    pub settings: Flags,
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
    use crate::agent::config;
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
            assert!(
                long == "config" || config::keys().any(|key| key == long),
                "{long}"
            );
        }
        let with_env = run
            .get_arguments()
            .filter(|argument| argument.get_env().is_some())
            .count();
        assert_eq!(with_env, 20);
        let of_file = config::SETTINGS
            .iter()
            .filter(|setting| setting.variable().is_none() && setting.keys.is_empty());
        for key in of_file.map(|setting| setting.key) {
            let (table, key) = key.split_once('.').unwrap();
            let line = RUN_EXAMPLES
                .lines()
                .find(|line| line.starts_with("Only in the file: "));
            let keys = line.unwrap().split_once(&format!("[{table}]")).unwrap().1;
            let keys = keys.split(';').next().unwrap();
            assert!(
                keys.contains(key),
                "the help of `run` does not name {table}.{key}"
            );
        }
    }
}
