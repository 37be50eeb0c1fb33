//! The signals that stop a workload.

use std::{ops::Deref, str::FromStr};

use serde::Deserialize;
use toml::de::ValueDeserializer;

use super::{Value, value::Checked};
use crate::names::signal;

/// Signals that stop a workload, besides SIGTERM, SIGINT and SIGQUIT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopSignals(pub(super) Vec<u32>);

impl Value for StopSignals {
    fn values() -> String {
        "array of names (`SIGUSR1`, `USR1`, `SIGRTMIN+3`) or numbers".into()
    }

    fn from_file(value: ValueDeserializer<'_>) -> Result<Self, toml::de::Error> {
        let signals = Vec::<Checked<StopSignal>>::deserialize(value)?;
        Ok(Self(
            signals.into_iter().map(|Checked(signal)| signal.0).collect(),
        ))
    }
}

impl Deref for StopSignals {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        &self.0
    }
}

const SIGKILL: u32 = 9;
const SIGCHLD: u32 = 17;
const SIGSTOP: u32 = 19;

/// A signal that the kernel side can be told to watch for: it has one word of bits, and 64 is beyond it.
struct StopSignal(u32);

impl FromStr for StopSignal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match signal(text)? {
            number @ (SIGKILL | SIGCHLD | SIGSTOP) => Err(format!(
                "`{text}` ({number}) asks nobody to stop: SIGKILL and SIGSTOP reach no handler, and SIGCHLD comes with every \
                 child that ends; SIGKILL is reported anyway"
            )),
            64 => Err(format!(
                "`{text}` is SIGRTMAX (64), the one signal that cannot be watched for; stop the workload with \
                 another, or omit it: its end is still reported, but not as a stop"
            )),
            number => Ok(Self(number)),
        }
    }
}
