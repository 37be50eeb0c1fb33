//! `__enter`: joins the case's cgroup (and a network namespace of its own), then becomes the server.
//!
//! The join happens before exec and in the process itself, so every socket and every process of the
//! server is born inside the cgroup.

use std::{fs, os::unix::process::CommandExt as _, path::PathBuf, process::Command};

use anyhow::{Context as _, bail, ensure};
use nix::sched::{CloneFlags, unshare};

/// Arguments of `__enter`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The cgroup's directory.
    #[arg(long)]
    cgroup: PathBuf,
    /// Make a network namespace with `lo` up first.
    #[arg(long)]
    netns: bool,
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, required = true)]
    command: Vec<String>,
}

/// Becomes the program; returns only on failure.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let Options {
        cgroup,
        netns,
        command,
    } = options;
    if *netns {
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        let status = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status()
            .context("cannot run ip")?;
        ensure!(status.success(), "ip link set lo up: {status}");
    }
    // 0 is the writer itself: right inside a pid namespace too.
    fs::write(cgroup.join("cgroup.procs"), "0")
        .with_context(|| format!("cannot join {}", cgroup.display()))?;
    let [program, arguments @ ..] = command.as_slice() else {
        bail!("no program given")
    };
    Err(Command::new(program).args(arguments).exec()).with_context(|| format!("cannot run {program}"))
}
