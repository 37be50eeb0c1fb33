//! `drainwatch doctor`.

use serde::Serialize;

use super::{
    args::DoctorArgs,
    colour, is_table, print, print_json, refusal,
    run::{runtime, settings},
    width,
};
use crate::{
    cli::{failure::Failure, render},
    kernel::{Diagnosis, Kernel},
    names,
};

/// What `--format json` prints.
#[derive(Serialize)]
struct Doctor<'a> {
    #[serde(flatten)]
    diagnosis: &'a Diagnosis,
    names: &'a [names::Probed],
}

/// Prints the diagnosis; fails with what a start would fail with. Names are no condition of a start.
pub fn doctor(args: &DoctorArgs) -> Result<(), Failure> {
    let settings = settings(&args.settings, args.config.as_deref())?;
    let diagnosis = Kernel::diagnose(settings.pin_dir.path());
    let names = runtime()?.block_on(names::probe(&settings.names()));
    if is_table(args.format.format) {
        let colour = colour(&std::io::stdout());
        print(&(render::doctor(&diagnosis, width(), colour) + &render::names(&names, width())))?;
    } else {
        let doctor = Doctor {
            diagnosis: &diagnosis,
            names: &names,
        };
        print_json(&doctor, true)?;
    }
    refusal(&diagnosis, None).map_or(Ok(()), Err)
}
