//! Cgroups of tests, under the unified hierarchy.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context as _, bail};
use nix::{
    sys::statfs::{CGROUP2_SUPER_MAGIC, statfs},
    unistd::Pid,
};

use crate::{
    clock::{Clock, PATIENCE},
    process::command,
};

/// Where cgroup v2 is mounted: `/sys/fs/cgroup`, or `unified` below it on a hybrid host.
pub fn unified_root() -> anyhow::Result<PathBuf> {
    for candidate in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        if statfs(candidate).is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC) {
            return Ok(candidate.into());
        }
    }
    bail!("no cgroup v2 at /sys/fs/cgroup or /sys/fs/cgroup/unified: mount -t cgroup2 none /sys/fs/cgroup")
}

/// First process that a cgroup lists, as the host counts.
pub fn first_process(directory: &Path) -> Option<Pid> {
    let listed = fs::read_to_string(directory.join("cgroup.procs")).ok()?;
    listed.lines().next()?.parse().ok().map(Pid::from_raw)
}

/// SIGKILLs everything inside, by the kernel's own means.
pub fn kill(directory: &Path) -> io::Result<()> {
    fs::write(directory.join("cgroup.kill"), "1")
}

/// No process is left in it, nor below it.
pub fn is_empty(directory: &Path) -> bool {
    fs::read_to_string(directory.join("cgroup.events"))
        .is_ok_and(|events| events.lines().any(|line| line == "populated 0"))
}

/// Removes a cgroup and those below it, as soon as what was killed in them is gone.
pub fn remove(directory: &Path, clock: Clock) -> anyhow::Result<()> {
    let what = format!("{} to go", directory.display());
    clock.until(&what, PATIENCE, || {
        remove_once(directory);
        Ok(!directory.exists())
    })
}

/// Innermost first; what still holds processes is left.
fn remove_once(directory: &Path) {
    let inner = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in inner.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_once(&entry.path());
    }
    let _ = fs::remove_dir(directory);
}

/// A cgroup. Dropping it kills what is inside, and removes it with all below it.
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
}

impl Cgroup {
    /// Makes `name` under the unified root.
    pub fn create(root: &Path, name: &str) -> anyhow::Result<Self> {
        let directory = root.join(name);
        fs::create_dir(&directory)
            .with_context(|| format!("cannot make {} (are you root?)", directory.display()))?;
        Ok(Self { directory })
    }

    /// Makes one of a name that nobody else has, with this word in it.
    pub fn unique(word: &str) -> anyhow::Result<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("drainwatch-{word}-{}-{number}", std::process::id());
        Self::create(&unified_root()?, &name)
    }

    /// Makes a cgroup below it, and those between.
    pub fn below(&self, path: &str) -> anyhow::Result<PathBuf> {
        let directory = self.directory.join(path);
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(directory)
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its name; the end of its path in reports.
    pub fn name(&self) -> &str {
        let name = self.directory.file_name().and_then(|name| name.to_str());
        name.unwrap_or_default()
    }

    /// A command that enters it and becomes `program`.
    pub fn command(&self, program: &str) -> Command {
        let mut shell = command("sh");
        shell
            // 0 is the writer itself.
            .args(["-c", "echo 0 >\"$0\"/cgroup.procs && exec \"$@\""])
            .arg(&self.directory)
            .arg(program);
        shell
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let removed = kill(&self.directory)
            .map_err(anyhow::Error::from)
            .and_then(|()| remove(&self.directory, Clock::default()));
        if let Err(error) = removed {
            eprintln!("cannot remove {}: {error:#}", self.directory.display());
        }
    }
}
