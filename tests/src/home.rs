//! Where a case's server lives: a cgroup per case, in the shape that its workload has in life.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use nix::{errno::Errno, unistd::Pid};
use testkit::{Cgroup, cgroup};

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

/// The cgroup of a workload.
#[derive(Debug)]
pub struct Home {
    directory: PathBuf,
    path: String,
    workload: String,
    /// Of a container: the sub-cgroup that its server lives in.
    inside: Option<PathBuf>,
    /// What was made for it. `None` of one that a runtime makes and removes.
    owned: Option<Cgroup>,
}

impl Home {
    /// Makes `name` under the unified root.
    pub fn create(root: &Path, name: &str) -> anyhow::Result<Self> {
        let owned = Cgroup::create(root, name)?;
        Ok(Self {
            directory: owned.directory().to_owned(),
            path: format!("/{name}"),
            workload: format!("/{name}"),
            inside: None,
            owned: Some(owned),
        })
    }

    /// One that a runtime has made, at `path`, for the workload of this name.
    pub fn hosted(root: &Path, path: &str, workload: &str) -> Self {
        Self {
            directory: root.join(path.trim_start_matches('/')),
            path: path.to_owned(),
            workload: workload.to_owned(),
            inside: None,
            owned: None,
        }
    }

    /// Makes what Docker makes for a container, below `name`: a scope named after the id, and in it the
    /// `init` that a container's first process moves itself into.
    pub fn create_container(root: &Path, name: &str, id: &str) -> anyhow::Result<Self> {
        let holder = Cgroup::create(root, name)?;
        let scope = format!("docker-{id}.scope");
        let directory = holder.below(&scope)?;
        Ok(Self {
            path: format!("/{name}/{scope}"),
            workload: id.chars().take(12).collect(),
            inside: Some(holder.below(&format!("{scope}/init"))?),
            directory,
            owned: Some(holder),
        })
    }

    /// Makes what a kubelet and containerd make for a container of a pod; the API calls its workload `workload`.
    pub fn create_pod(root: &Path, uid: &str, id: &str, workload: &str) -> anyhow::Result<Self> {
        let name = format!("kubepods-besteffort-pod{}.slice", uid.replace('-', "_"));
        let pod = Cgroup::create(root, &name)?;
        let scope = format!("cri-containerd-{id}.scope");
        Ok(Self {
            directory: pod.below(&scope)?,
            path: format!("/{name}/{scope}"),
            workload: workload.to_owned(),
            inside: None,
            owned: Some(pod),
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
            Err(error)
                if self.is_hosted() && error.raw_os_error().map(Errno::from_raw).is_some_and(is_gone) =>
            {
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
        self.unless_gone(cgroup::kill(&self.directory))
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
        let gone = self.is_hosted() && !self.directory.exists();
        gone || cgroup::is_empty(&self.directory)
    }

    fn is_hosted(&self) -> bool {
        self.owned.is_none()
    }
}

fn is_gone(error: Errno) -> bool {
    matches!(error, Errno::ENOENT | Errno::ENODEV)
}
