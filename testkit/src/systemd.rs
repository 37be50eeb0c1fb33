//! What a systemd of a test's own needs: PID 1 of its own namespaces, on the machine's own files, with a bus and
//! nothing else. The machine's units are hidden from it: none of them may act on the machine.

use std::{fs, path::Path, process::Command};

use anyhow::Context as _;
use nix::unistd::Pid;

use crate::{cgroup, process::command, process::unshared};

/// The machine's units that it has.
const UNITS: &[&str] = &[
    "basic.target",
    "dbus.service",
    "dbus.socket",
    "shutdown.target",
    "sockets.target",
    "sysinit.target",
    "umount.target",
];
/// Where the machine's units are.
pub const LIBRARY: &str = "/usr/lib/systemd/system";

/// Puts units into a directory: the machine's that are needed, and a target that wants the bus.
pub fn lay_units(directory: &Path, target: &str) -> anyhow::Result<()> {
    fs::create_dir_all(directory)?;
    for unit in UNITS {
        let from = Path::new(LIBRARY).join(unit);
        fs::copy(&from, directory.join(unit)).with_context(|| {
            format!(
                "cannot copy {}; `cargo xtask deps --install` gets systemd",
                from.display()
            )
        })?;
    }
    let wants = "[Unit]\nRequires=dbus.socket dbus.service\nAfter=dbus.socket\n";
    Ok(fs::write(directory.join(target), wants)?)
}

/// Runs a script that boots it, in its namespaces except that of cgroups, and in the cgroup that it is to take for the
/// root. The script ends by becoming systemd; `$0`, `$1` and so on are the words given to this command.
///
/// A namespace of cgroups begins where the process that makes it is: so that one comes second, from inside.
pub fn boot(cgroup: &Path, script: &str) -> Command {
    let mut command = unshared(&["--pid", "--ipc", "--uts", "--fork", "--kill-child"]);
    command
        .args([
            "sh",
            "-ec",
            "echo 0 >\"$0\"/cgroup.procs; exec unshare --cgroup sh -ec \"$@\"",
        ])
        .arg(cgroup)
        .arg(script);
    command
}

/// The first process of one that has this cgroup for the root, as the host counts.
pub fn first_process(cgroup: &Path) -> Option<Pid> {
    cgroup::first_process(&cgroup.join("init.scope"))
}

/// A command in the namespaces of this first process.
pub fn inside(first: Pid) -> Command {
    let mut command = command("nsenter");
    command.args([
        "--target",
        &first.to_string(),
        "--mount",
        "--pid",
        "--cgroup",
        "--uts",
        "--ipc",
    ]);
    command
}
