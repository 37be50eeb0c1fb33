//! `drainwatch uninstall`.

use super::{args::UninstallArgs, print, run::settings};
use crate::{
    cli::failure::{Exit, Failure},
    kernel::{Kernel, PinError},
};

/// Removes what is pinned: programs that no agent uses end by that.
pub fn uninstall(args: &UninstallArgs) -> Result<(), Failure> {
    let settings = settings(&args.settings, args.config.as_deref())?;
    let Some(dir) = settings.pin_dir.path() else {
        return print("nothing is pinned: pin-dir is off\n");
    };
    match Kernel::uninstall(dir) {
        Ok(true) => print(&format!("the programs below {} are removed\n", dir.display())),
        Ok(false) | Err(PinError::NoBpffs(_)) => {
            print(&format!("nothing is pinned below {}\n", dir.display()))
        }
        Err(why @ PinError::InUse(_)) => Err(Failure::unavailable(format!("{why}; stop it first"))),
        Err(PinError::Io { path, why }) => {
            let exit = match why.kind() {
                std::io::ErrorKind::PermissionDenied => Exit::Privilege,
                _ => Exit::Unavailable,
            };
            Err(Failure::new(
                exit,
                format!("cannot remove {}: {why}", path.display()),
            ))
        }
    }
}
