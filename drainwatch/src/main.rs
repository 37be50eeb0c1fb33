//! The command line.
#![forbid(unsafe_code)]

use std::{io::Write, process::ExitCode};

fn main() -> ExitCode {
    match drainwatch::cli::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody may be reading; the exit code says it as well.
            let _ = writeln!(std::io::stderr(), "{}", drainwatch::cli::failure_line(&failure));
            ExitCode::from(failure.exit as u8)
        }
    }
}
