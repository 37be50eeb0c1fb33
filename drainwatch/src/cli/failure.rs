//! Why a command failed: one line for the person, one number for the script.

use std::fmt::Display;

/// Exit codes, those of `sysexits.h` where it has a fitting one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// `check`: the service is not fit to be deployed.
    Unfit = 1,
    /// `check`: whether it is fit could not be found out.
    NotChecked = 2,
    /// Bad usage: unknown flag, malformed value (`EX_USAGE`).
    Usage = 64,
    /// Data that cannot be read: a truncated recording, an answer that is no report (`EX_DATAERR`).
    Data = 65,
    /// Something needed is not there: agent not reachable, port occupied, kernel not supported (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// A failure that is drainwatch's own (`EX_SOFTWARE`).
    Internal = 70,
    /// A privilege is missing (`EX_NOPERM`).
    Privilege = 77,
    /// The configuration cannot be used (`EX_CONFIG`).
    Config = 78,
    /// Interrupted by SIGINT, as shells spell it.
    Interrupted = 130,
}

/// The exit codes as `--help` prints them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    success
  1    check: requests were severed, or clients turned away
  2    check: it could not be run, or evidence is missing
  64   bad usage: unknown flag, malformed value
  65   bad data: truncated recording, response that is not a report
  69   unavailable: agent not reachable, port occupied, store in use, kernel not supported
  70   internal error
  77   missing privilege
  78   bad configuration
  130  interrupted (check, demo, watch)";

/// A failure of a command: what failed, why, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What the process exits with.
    pub exit: Exit,
    /// One sentence; control characters in it are escaped when it is printed.
    pub message: String,
}

impl Failure {
    /// A failure with this exit code and sentence.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }

    /// Bad usage.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Bad data.
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(Exit::Data, message)
    }

    /// Something needed is not there.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unavailable, message)
    }

    /// Our own fault: `what` failed because of `why`.
    pub fn internal(what: &str, why: impl Display) -> Self {
        Self::new(Exit::Internal, format!("{what}: {why}"))
    }
}
