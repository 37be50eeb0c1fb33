//! Flags of `check`.

use std::{ffi::OsString, fmt, str::FromStr, time::Duration};

use clap::{Args, ValueEnum};
use nix::sys::signal::Signal;

use crate::{agent::config::TimeSpan, names::signal};

/// Who stops it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Like {
    /// Stop signal to the main process, new requests for a second more, SIGKILL after 30 s.
    Kubernetes,
    /// Stop signal to the main process, SIGKILL after 10 s.
    Docker,
    /// Stop signal to every process (of a container to the main one), SIGKILL after 90 s.
    Systemd,
}

/// How a check is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// A report of tests, as CI servers read it.
    Junit,
    /// Annotations of a GitHub workflow.
    Github,
}

/// Whose command line starts containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
}

/// A signal that stops a service, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopSignal(u32);

impl StopSignal {
    /// What stops whatever asks for nothing else.
    pub const TERM: Self = Self(Signal::SIGTERM as u32);

    /// The signal, unless it is a real-time one.
    pub fn signal(self) -> Option<Signal> {
        Signal::try_from(self.0.cast_signed()).ok()
    }

    /// Its number.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.signal() {
            Some(signal) => f.write_str(signal.as_str()),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl FromStr for StopSignal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let signal = Self(signal(text)?);
        if signal.signal() == Some(Signal::SIGKILL) {
            return Err("SIGKILL is no stop signal; write for example SIGTERM".into());
        }
        Ok(signal)
    }
}

/// Flags of `check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Who stops it
    #[arg(long, value_enum, default_value = "kubernetes")]
    pub like: Like,
    /// A request to send, such as 'GET /slow'; several take turns, and one that is given twice comes twice as often
    #[arg(long, value_name = "REQUEST", default_value = "GET /")]
    pub request: Vec<String>,
    /// Clients at a time
    #[arg(long, default_value = "16", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,
    /// Requests a second of all clients together [default: as fast as they are answered]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: Option<u32>,
    /// Traffic of your own instead: a shell command, which finds the address in `DRAINWATCH_ADDRESS` and is ended with it
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["request", "concurrency", "rate"])]
    pub traffic: Option<String>,
    /// Where it listens [default: its lowest port]
    #[arg(long)]
    pub port: Option<u16>,
    /// How long it may take until it listens
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub start_within: TimeSpan,
    /// How long it serves before it is stopped
    #[arg(long, value_name = "TIME", default_value = "2s")]
    pub warmup: TimeSpan,
    /// How long a preStop hook would sleep before the stop signal
    #[arg(long, value_name = "TIME", default_value = "0s")]
    pub prestop: TimeSpan,
    /// For how long new requests come once the stop has begun [default: 1s like Kubernetes, else 0s]
    #[arg(long, value_name = "TIME")]
    pub lag: Option<TimeSpan>,
    /// From the beginning of the stop to SIGKILL [default: 30s like Kubernetes, 10s like Docker, 90s like systemd]
    #[arg(long, value_name = "TIME")]
    pub grace: Option<TimeSpan>,
    /// Stop signal [default: SIGTERM, or what the container asks for]
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<StopSignal>,
    /// How to print
    #[arg(
        short = 'o',
        long,
        visible_alias = "output",
        value_enum,
        default_value = "text"
    )]
    pub format: CheckFormat,
    /// An image to run instead of a command; what follows `--` is its command then
    #[arg(long, value_name = "IMAGE")]
    pub container: Option<String>,
    /// Who runs the image [default: who has it, Docker first]
    #[arg(long, value_enum, requires = "container")]
    pub engine: Option<Engine>,
    /// An option of `docker run` or `podman run`, such as --run-option=--env=A=B; may be given several times
    #[arg(
        long,
        value_name = "OPTION",
        requires = "container",
        allow_hyphen_values = true
    )]
    pub run_option: Vec<String>,
    /// The command and its arguments
    #[arg(last = true, required_unless_present = "container", value_name = "CMD")]
    pub command: Vec<OsString>,
}

impl CheckArgs {
    /// From the beginning of the stop to SIGKILL.
    pub fn grace(&self) -> Duration {
        let usual = match self.like {
            Like::Kubernetes => 30,
            Like::Docker => 10,
            Like::Systemd => 90,
        };
        self.grace
            .as_deref()
            .copied()
            .unwrap_or(Duration::from_secs(usual))
    }

    /// For how long new requests come once the stop has begun.
    pub fn lag(&self) -> Duration {
        let usual = u64::from(self.like == Like::Kubernetes);
        self.lag.as_deref().copied().unwrap_or(Duration::from_secs(usual))
    }
}
