//! The signals of one shutdown, and what they are called.

use crate::event::{Disposition, Signal};

/// Numbers of the signals that the rules name (the same on every architecture Linux runs on).
pub(in crate::tracker) const SIGHUP: u32 = 1;
pub(in crate::tracker) const SIGINT: u32 = 2;
pub(in crate::tracker) const SIGQUIT: u32 = 3;
pub(in crate::tracker) const SIGKILL: u32 = 9;
pub(in crate::tracker) const SIGTERM: u32 = 15;

/// Most signals listed per shutdown.
const SIGNALS: usize = 200;

/// A stop signal at one process.
#[derive(Debug, Clone, Copy)]
pub(in crate::tracker) struct Stop {
    pub at_ns: u64,
    pub signal: u32,
    pub disposition: Disposition,
    pub dropped: bool,
    /// When it reached its handler.
    pub delivered_ns: Option<u64>,
}

impl Stop {
    /// One that was sent now.
    pub fn new(at_ns: u64, signal: &Signal) -> Self {
        Self {
            at_ns,
            signal: signal.signal,
            disposition: signal.disposition,
            dropped: signal.dropped,
            delivered_ns: None,
        }
    }
}

/// A signal as listed in the report, time absolute.
#[derive(Debug, Clone)]
pub(in crate::tracker) struct SignalAt {
    pub at_ns: u64,
    pub signal: Signal,
}

/// Stop signals and SIGKILLs of one shutdown: the first ones as a list, and what all of them say.
#[derive(Debug, Clone)]
pub(in crate::tracker) struct Signals {
    listed: Vec<SignalAt>,
    first_stop: Option<Stop>,
    last_stop_ns: Option<u64>,
    /// Only signals that some programs use for other things: a thread dump, a Ctrl-C that is ignored.
    mild: bool,
}

impl Default for Signals {
    fn default() -> Self {
        Self {
            listed: Vec::new(),
            first_stop: None,
            last_stop_ns: None,
            mild: true,
        }
    }
}

impl Signals {
    /// In the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &SignalAt> {
        self.listed.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// The stop signal that came first.
    pub fn first_stop(&self) -> Option<Stop> {
        self.first_stop
    }

    pub fn last_stop_ns(&self) -> Option<u64> {
        self.last_stop_ns
    }

    /// Whether only signals came that some programs use for other things than stopping.
    pub fn are_mild(&self) -> bool {
        self.mild
    }

    /// Lists a signal.
    pub fn list(&mut self, at_ns: u64, signal: &Signal) {
        if self.listed.len() < SIGNALS {
            self.listed.push(SignalAt {
                at_ns,
                signal: signal.clone(),
            });
        }
    }

    /// It was one that asks for an end.
    pub fn stopped(&mut self, stop: Stop) {
        self.mild &= matches!(stop.signal, SIGINT | SIGQUIT);
        self.first_stop.get_or_insert(stop);
        self.last_stop_ns = self.last_stop_ns.max(Some(stop.at_ns));
    }

    /// Puts one that came to light late into its place.
    pub fn sort(&mut self) {
        self.listed.sort_by_key(|signal| signal.at_ns);
    }

    /// Takes over those of another shutdown that turned out to be part of this one.
    pub fn absorb(&mut self, other: Self) {
        self.listed.extend(other.listed);
        self.sort();
        self.listed.truncate(SIGNALS);
        self.first_stop = [self.first_stop, other.first_stop]
            .into_iter()
            .flatten()
            .min_by_key(|stop| stop.at_ns);
        self.last_stop_ns = self.last_stop_ns.max(other.last_stop_ns);
        self.mild &= other.mild;
    }
}

/// Names of the signals 1 to 31, as x86 and ARM number them.
const SIGNALS_BY_NUMBER: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// `SIGTERM` and so on; real-time signals by their distance from the first (34 in glibc and musl's `SIGRTMIN`).
pub(in crate::tracker) fn signal_name(signal: u32) -> String {
    let index = usize::try_from(signal)
        .ok()
        .and_then(|number| number.checked_sub(1));
    match index.and_then(|index| SIGNALS_BY_NUMBER.get(index)) {
        Some(known) => format!("SIG{known}"),
        None if signal == 34 => "SIGRTMIN".to_owned(),
        None if (35..=64).contains(&signal) => format!("SIGRTMIN+{}", signal - 34),
        None => format!("signal {signal}"),
    }
}
