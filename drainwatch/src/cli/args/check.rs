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
    /// Stop signal to every process, SIGKILL after 90 s.
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

/// A signal that stops a service, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopSignal(Signal);

impl StopSignal {
    /// The signal.
    pub fn signal(self) -> Signal {
        self.0
    }

    /// Its number.
    pub fn number(self) -> u32 {
        (self.0 as i32).cast_unsigned()
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl FromStr for StopSignal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = signal(text)?.cast_signed();
        match Signal::try_from(number) {
            Ok(Signal::SIGKILL) => Err("SIGKILL is no stop signal; write for example SIGTERM".into()),
            Ok(signal) => Ok(Self(signal)),
            Err(_) => Err(format!(
                "`{text}` is a real-time signal, which `check` does not send"
            )),
        }
    }
}

/// Flags of `check`.
#[derive(Debug, Args)]
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
    /// Stop signal
    #[arg(long, value_name = "SIGNAL", default_value = "SIGTERM")]
    pub stop_signal: StopSignal,
    /// How to print
    #[arg(
        short = 'o',
        long,
        visible_alias = "output",
        value_enum,
        default_value = "text"
    )]
    pub format: CheckFormat,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
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
