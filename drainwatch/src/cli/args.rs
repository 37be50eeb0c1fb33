//! What the command line takes.

mod check;
mod examples;

use std::path::PathBuf;

use clap::{
    Args, Parser, Subcommand, ValueEnum, ValueHint,
    builder::{PossibleValuesParser, TypedValueParser},
};
use clap_complete::engine::ArgValueCandidates;
use drainwatch_core::report::{Cause, FindingCode, Verdict};

use crate::{
    agent::config::{Flags, Setting},
    cli::{client, complete, failure::EXIT_CODES},
};

use examples::{
    CHECK_CONFIG_EXAMPLES, CHECK_EXAMPLES, COMPLETIONS_EXAMPLES, DEMO_EXAMPLES, DOCTOR_EXAMPLES,
    PRINT_CONFIG_EXAMPLES, RECOMMEND_EXAMPLES, REPLAY_EXAMPLES, ROLLOUTS_EXAMPLES, RUN_EXAMPLES,
    SHOW_EXAMPLES, SHUTDOWNS_EXAMPLES, UNINSTALL_EXAMPLES, WATCH_EXAMPLES,
};

pub use check::{CheckArgs, CheckFormat, Engine, Like, StopSignal};

/// Finds the requests that a deploy silently kills.
#[derive(Debug, Parser)]
#[command(name = "drainwatch", version, max_term_width = 100, after_help = EXIT_CODES,
    subcommand_required = true, arg_required_else_help = true)]
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
    /// Is a service fit to be deployed? Starts it, sends it traffic, stops it as an orchestrator would
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Past shutdowns, newest first
    #[command(after_help = SHUTDOWNS_EXAMPLES)]
    Shutdowns(ShutdownsArgs),
    /// One shutdown with its timeline: the last one, the last one of a workload, or any by its id
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// The last deploys, and what each cost: the shutdowns of one workload's old revision on this node as one
    #[command(after_help = ROLLOUTS_EXAMPLES)]
    Rollouts(RolloutsArgs),
    /// preStop and grace period from what was measured, as a change to apply
    #[command(after_help = RECOMMEND_EXAMPLES)]
    Recommend(RecommendArgs),
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
        /// Configuration in TOML; - is standard input.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// The configuration that `run` would have with the same flags, environment and file, and where each value is from
    #[command(after_help = PRINT_CONFIG_EXAMPLES)]
    PrintConfig(RunArgs),
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
    /// For people, with every column, however wide.
    Wide,
    /// For programs.
    Json,
    /// For programs, one line each.
    Jsonl,
}

/// Where the agent is.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// Address of the agent: a URL, or a host with a port such as node1:9669
    #[arg(long, env = "DRAINWATCH_URL", default_value = client::URL, value_hint = ValueHint::Url, display_order = 800)]
    pub url: String,
    /// Certificates in PEM that an agent behind https is known by [default: those of this host]
    #[arg(long = "url.ca-file", env = "DRAINWATCH_URL_CA_FILE", value_name = "FILE", value_hint = ValueHint::FilePath,
        display_order = 801)]
    pub ca_file: Option<PathBuf>,
}

/// Where the agent is, and how results are printed.
#[derive(Debug, Args)]
pub struct ClientArgs {
    /// Where.
    #[command(flatten)]
    pub agent: AgentArgs,
    /// How to print.
    #[command(flatten)]
    pub format: FormatArgs,
}

/// How results are printed, of commands that ask no agent.
#[derive(Debug, Args)]
pub struct FormatArgs {
    /// How to print
    #[arg(
        short = 'o',
        long,
        visible_alias = "output",
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

/// Which shutdowns.
#[derive(Debug, Args)]
pub struct FilterArgs {
    /// Only this workload: its name, namespace/name, cgroup, or the last part of its name
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::workloads))]
    pub workload: Option<String>,
    /// Only this Kubernetes namespace
    #[arg(short, long, value_name = "NAME", add = ArgValueCandidates::new(complete::namespaces))]
    pub namespace: Option<String>,
    /// Only this verdict
    #[arg(long, value_name = "VERDICT",
        value_parser = PossibleValuesParser::new(Verdict::ALL.iter().map(|word| word.as_str())).try_map(|word| word.parse::<Verdict>()))]
    pub verdict: Option<Verdict>,
    /// Only those that cut a request of this class: webhook, request, stream or one of your own
    #[arg(long, value_name = "CLASS", add = ArgValueCandidates::new(complete::classes))]
    pub class: Option<String>,
    /// Only those with this finding
    #[arg(long, value_name = "FINDING",
        value_parser = PossibleValuesParser::new(FindingCode::ALL.iter().map(|word| word.as_str())).try_map(|word| word.parse::<FindingCode>()))]
    pub finding: Option<FindingCode>,
    /// Only those that cut a request for this cause
    #[arg(long, value_name = "CAUSE",
        value_parser = PossibleValuesParser::new(Cause::ALL.iter().map(|word| word.as_str())).try_map(|word| word.parse::<Cause>()))]
    pub cause: Option<Cause>,
    /// Ended since this time (2026-01-01T00:00:00Z, or 15m: 15 minutes ago), or still under way
    #[arg(long, value_name = "WHEN", value_parser = when)]
    pub since: Option<String>,
    /// Ended until this time (2026-01-01T00:00:00Z, or 15m: 15 minutes ago)
    #[arg(long, value_name = "WHEN", value_parser = when)]
    pub until: Option<String>,
}

impl FilterArgs {
    /// Parameters of the API that say the same.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let given = [
            ("workload", self.workload.clone()),
            ("namespace", self.namespace.clone()),
            ("verdict", self.verdict.map(|word| word.to_string())),
            ("class", self.class.clone()),
            ("finding", self.finding.map(|word| word.to_string())),
            ("cause", self.cause.map(|word| word.to_string())),
            ("since", self.since.clone()),
            ("until", self.until.clone()),
        ];
        let given = given.into_iter();
        given.filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

fn when(text: &str) -> Result<String, String> {
    crate::outlets::listing::time("when", text, jiff::Timestamp::now()).map(|_| text.into())
}

/// Flags of `shutdowns`.
#[derive(Debug, Args)]
pub struct ShutdownsArgs {
    /// Which.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// At most this many, up to 1000
    #[arg(long, default_value = "50", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: u16,
    /// Where, and how to print.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Flags of `show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Id of a shutdown, or a unique prefix, or the name of a workload: its last one [default: the last of all]
    #[arg(value_name = "ID|NAME", add = ArgValueCandidates::new(complete::ids_and_names))]
    pub which: Option<String>,
    /// Where, and how to print.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Flags of `rollouts`.
#[derive(Debug, Args)]
pub struct RolloutsArgs {
    /// Only of this workload: its name, or namespace/name
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::workloads))]
    pub workload: Option<String>,
    /// Only of this Kubernetes namespace
    #[arg(short, long, value_name = "NAME", add = ArgValueCandidates::new(complete::namespaces))]
    pub namespace: Option<String>,
    /// Only where this is the worst of their shutdowns' verdicts
    #[arg(long, value_name = "VERDICT",
        value_parser = PossibleValuesParser::new(Verdict::ALL.iter().map(|word| word.as_str())).try_map(|word| word.parse::<Verdict>()))]
    pub verdict: Option<Verdict>,
    /// Of shutdowns that ended since this time (2026-01-01T00:00:00Z, or 15m: 15 minutes ago), or are still under way
    #[arg(long, value_name = "WHEN", default_value = "7d", value_parser = when)]
    pub since: String,
    /// Of shutdowns that ended until this time
    #[arg(long, value_name = "WHEN", value_parser = when)]
    pub until: Option<String>,
    /// At most this many, up to 1000
    #[arg(long, default_value = "20", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: u16,
    /// Where, and how to print.
    #[command(flatten)]
    pub client: ClientArgs,
}

impl RolloutsArgs {
    /// Parameters of the API that say the same.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let given = [
            ("workload", self.workload.clone()),
            ("namespace", self.namespace.clone()),
            ("verdict", self.verdict.map(|word| word.to_string())),
            ("since", Some(self.since.clone())),
            ("until", self.until.clone()),
            ("limit", Some(self.limit.to_string())),
        ];
        let given = given.into_iter();
        given.filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// What a recommendation is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Change {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// A command that patches what controls the pods; a preStop that sleeps needs Kubernetes 1.30.
    KubectlPatch,
    /// Lines of a Compose file.
    Compose,
    /// A drop-in of the unit.
    Systemd,
}

/// Flags of `recommend`.
#[derive(Debug, Args)]
pub struct RecommendArgs {
    /// Whose: a workload's name, or namespace/name [default: all]
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(complete::workloads))]
    pub workload: Option<String>,
    /// As what
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Change,
    /// Where.
    #[command(flatten)]
    pub agent: AgentArgs,
}

/// Flags of `watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Which; with --since those that ended since then come first, and --until ends it.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Where, and how to print.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Flags of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A recording made by `drainwatch run --record`
    #[arg(value_hint = ValueHint::FilePath)]
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
        assert_eq!(with_env, 22);
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
