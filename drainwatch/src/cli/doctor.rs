//! `drainwatch doctor`.

use super::{args::Format, colour, is_table, print, print_json, refusal, width};
use crate::{failure::Failure, kernel::Kernel, render};

/// Prints the diagnosis; fails with what a start would fail with.
pub fn doctor(format: Format) -> Result<(), Failure> {
    let diagnosis = Kernel::diagnose();
    if is_table(format) {
        print(&render::doctor(&diagnosis, width(), colour(&std::io::stdout())))?;
    } else {
        print_json(&diagnosis, true)?;
    }
    refusal(&diagnosis, None).map_or(Ok(()), Err)
}
