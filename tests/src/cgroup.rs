//! One cgroup per case, under the unified hierarchy.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use nix::{
    sys::statfs::{CGROUP2_SUPER_MAGIC, statfs},
    unistd::Pid,
};

use crate::clock::Clock;

/// Where cgroup v2 is mounted: `/sys/fs/cgroup`, or `unified` below it on a hybrid host.
pub fn unified_root() -> anyhow::Result<PathBuf> {
    for candidate in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        if statfs(candidate).is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC) {
            return Ok(candidate.into());
        }
    }
    bail!("no cgroup v2 at /sys/fs/cgroup or /sys/fs/cgroup/unified: mount -t cgroup2 none /sys/fs/cgroup")
}

/// Whether v2 cgroups can have a memory limit here; makes it available to children of the root.
pub fn memory_limits(root: &Path) -> bool {
    let listed = |file: &str| {
        fs::read_to_string(root.join(file))
            .is_ok_and(|text| text.split_whitespace().any(|word| word == "memory"))
    };
    listed("cgroup.controllers")
        && (listed("cgroup.subtree_control")
            || fs::write(root.join("cgroup.subtree_control"), "+memory").is_ok())
}

/// A cgroup; dropping it kills what is inside and removes it.
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
    path: String,
    clock: Clock,
}

impl Cgroup {
    /// Makes `name` under the unified root.
    pub fn create(root: &Path, name: &str, clock: Clock) -> anyhow::Result<Self> {
        let directory = root.join(name);
        fs::create_dir(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(Self {
            directory,
            path: format!("/{name}"),
            clock,
        })
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its path in the hierarchy, as reports name it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its processes that are still alive, oldest first.
    pub fn processes(&self) -> anyhow::Result<Vec<Pid>> {
        let mut alive = vec![];
        for pid in fs::read_to_string(self.directory.join("cgroup.procs"))?.split_whitespace() {
            let pid: i32 = pid.parse()?;
            // A process that has just ended may still be listed; zombies hold nothing any more.
            if let Ok(stat) = procfs::process::Process::new(pid).and_then(|process| process.stat())
                && !matches!(stat.state, 'Z' | 'X')
            {
                alive.push((stat.starttime, pid));
            }
        }
        alive.sort_unstable();
        Ok(alive.into_iter().map(|(_, pid)| Pid::from_raw(pid)).collect())
    }

    /// SIGKILLs everything inside, by the kernel's own means.
    pub fn kill(&self) -> io::Result<()> {
        fs::write(self.directory.join("cgroup.kill"), "1")
    }

    /// Sets `memory.max`, without swap.
    pub fn limit_memory(&self, bytes: u64) -> anyhow::Result<()> {
        fs::write(self.directory.join("memory.max"), bytes.to_string()).context("cannot set memory.max")?;
        // Absent where the kernel has no swap accounting: then there is no swap to limit.
        let _ = fs::write(self.directory.join("memory.swap.max"), "0");
        Ok(())
    }

    /// No process is left.
    pub fn is_empty(&self) -> bool {
        fs::read_to_string(self.directory.join("cgroup.events"))
            .is_ok_and(|events| events.lines().any(|line| line == "populated 0"))
    }

    /// Waits until no process is left.
    pub fn wait_empty(&self) -> anyhow::Result<()> {
        self.clock
            .until("the cgroup to become empty", Duration::from_secs(20), || {
                Ok(self.is_empty())
            })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let left = self
            .kill()
            .map_err(anyhow::Error::from)
            .and_then(|()| self.wait_empty());
        if let Err(error) = left.and_then(|()| Ok(fs::remove_dir(&self.directory)?)) {
            eprintln!("cannot remove {}: {error:#}", self.directory.display());
        }
    }
}
