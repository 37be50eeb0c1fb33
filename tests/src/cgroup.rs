//! One cgroup per case, under the unified hierarchy.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use nix::{
    errno::Errno,
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
    workload: String,
    /// Of a container: the sub-cgroup that its server lives in.
    inside: Option<PathBuf>,
    /// Made with it, to hold it; goes with it.
    holder: Option<PathBuf>,
    /// It is a runtime's, which makes it and removes it.
    hosted: bool,
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
            workload: format!("/{name}"),
            inside: None,
            holder: None,
            hosted: false,
            clock,
        })
    }

    /// One that a runtime has made, at `path`, for the workload of this name.
    pub fn hosted(root: &Path, path: &str, workload: &str, clock: Clock) -> Self {
        Self {
            directory: root.join(path.trim_start_matches('/')),
            path: path.to_owned(),
            workload: workload.to_owned(),
            inside: None,
            holder: None,
            hosted: true,
            clock,
        }
    }

    /// Makes what Docker makes for a container, below `name`: a scope named after the id, and in it the
    /// `init` that a container's first process moves itself into.
    pub fn create_container(root: &Path, name: &str, id: &str, clock: Clock) -> anyhow::Result<Self> {
        let holder = root.join(name);
        let scope = format!("docker-{id}.scope");
        let inside = holder.join(&scope).join("init");
        fs::create_dir_all(&inside).with_context(|| format!("cannot make {}", inside.display()))?;
        Ok(Self {
            directory: holder.join(&scope),
            path: format!("/{name}/{scope}"),
            workload: id.chars().take(12).collect(),
            inside: Some(inside),
            holder: Some(holder),
            hosted: false,
            clock,
        })
    }

    /// Makes what a kubelet and containerd make for a container of a pod; the API calls its workload `workload`.
    pub fn create_pod(
        root: &Path,
        uid: &str,
        id: &str,
        workload: &str,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let pod = format!("kubepods-besteffort-pod{}.slice", uid.replace('-', "_"));
        let scope = format!("cri-containerd-{id}.scope");
        let directory = root.join(&pod).join(&scope);
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(Self {
            directory,
            path: format!("/{pod}/{scope}"),
            workload: workload.to_owned(),
            inside: None,
            holder: Some(root.join(&pod)),
            hosted: false,
            clock,
        })
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where its server lives.
    pub fn inside(&self) -> &Path {
        self.inside.as_deref().unwrap_or(&self.directory)
    }

    /// Its name in reports and metrics.
    pub fn workload(&self) -> &str {
        &self.workload
    }

    fn all_processes(&self) -> io::Result<String> {
        let directories = [Some(&self.directory), self.inside.as_ref()];
        let lists = directories
            .into_iter()
            .flatten()
            .map(|directory| self.unless_gone(fs::read_to_string(directory.join("cgroup.procs"))));
        lists.collect()
    }

    /// What a runtime has removed is empty.
    fn unless_gone<T: Default>(&self, result: io::Result<T>) -> io::Result<T> {
        match result {
            // The file, or the directory while it was being read.
            Err(error) if self.hosted && error.raw_os_error().map(Errno::from_raw).is_some_and(is_gone) => {
                Ok(T::default())
            }
            other => other,
        }
    }

    /// Its path in the hierarchy, as reports name it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its processes that are still alive, oldest first.
    pub fn processes(&self) -> anyhow::Result<Vec<Pid>> {
        let mut alive = vec![];
        for pid in self.all_processes()?.split_whitespace() {
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
        self.unless_gone(fs::write(self.directory.join("cgroup.kill"), "1"))
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
        if self.hosted && !self.directory.exists() {
            return true;
        }
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

fn is_gone(error: Errno) -> bool {
    matches!(error, Errno::ENOENT | Errno::ENODEV)
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if self.hosted {
            return;
        }
        let left = self
            .kill()
            .map_err(anyhow::Error::from)
            .and_then(|()| self.wait_empty());
        let directories = [self.inside.as_ref(), Some(&self.directory), self.holder.as_ref()];
        let removed = left.and_then(|()| {
            let mut innermost_first = directories.into_iter().flatten();
            Ok(innermost_first.try_for_each(fs::remove_dir)?)
        });
        if let Err(error) = removed {
            eprintln!("cannot remove {}: {error:#}", self.directory.display());
        }
    }
}
