//! From a cgroup to the name of what runs in it: the one place that names workloads.
//!
//! A cgroup is known by id and path. Where a cgroup holds unrelated processes (the root, a login
//! session, a slice), the workload is the process that was stopped, with its children.

pub mod classify;

use std::collections::{BTreeMap, VecDeque};

use crate::{event::Process, report::Workload};

/// Removed cgroups whose paths are remembered, for events that come after the removal.
const TOMBSTONES: usize = 4096;

/// Most living cgroups that are remembered; far above what a node runs.
const LIVING: usize = 65_536;

/// Paths of cgroups, and the names that follow from them.
#[derive(Debug, Default)]
pub struct Names {
    cgroups: BTreeMap<u64, Known>,
    /// Removed ones, oldest first. An id that came back since is skipped when its turn comes.
    tombstones: VecDeque<u64>,
}

#[derive(Debug)]
struct Known {
    path: String,
    removed: bool,
}

impl Names {
    /// A cgroup is known (or known again).
    pub fn created(&mut self, cgroup: u64, path: &str) {
        if self.cgroups.len() >= LIVING + TOMBSTONES {
            self.cgroups.pop_first(); // ids grow: the oldest goes
        }
        self.cgroups.insert(
            cgroup,
            Known {
                path: path.to_owned(),
                removed: false,
            },
        );
    }

    /// A cgroup was removed; its path stays known for a while.
    pub fn removed(&mut self, cgroup: u64) {
        let Some(known) = self.cgroups.get_mut(&cgroup) else {
            return;
        };
        if std::mem::replace(&mut known.removed, true) {
            return;
        }
        self.tombstones.push_back(cgroup);
        while self.tombstones.len() > TOMBSTONES {
            if let Some(oldest) = self.tombstones.pop_front()
                && self.cgroups.get(&oldest).is_some_and(|known| known.removed)
            {
                self.cgroups.remove(&oldest);
            }
        }
    }

    /// Path of a cgroup; `cgroup:<id>` when it was never announced, so that nobody mistakes it for a path.
    pub fn path(&self, cgroup: u64) -> String {
        self.cgroups
            .get(&cgroup)
            .map_or_else(|| format!("cgroup:{cgroup}"), |known| known.path.clone())
    }

    /// Whether it is known to be removed.
    pub fn is_removed(&self, cgroup: u64) -> bool {
        self.cgroups.get(&cgroup).is_some_and(|known| known.removed)
    }

    /// Whether this cgroup holds unrelated processes. An unknown one does not: it was made for something.
    pub fn is_shared(&self, cgroup: u64) -> bool {
        self.cgroups
            .get(&cgroup)
            .is_some_and(|known| is_shared(&known.path))
    }

    /// Whether `inner` is `outer` or lies below it.
    pub fn is_within(&self, inner: u64, outer: u64) -> bool {
        if inner == outer {
            return true;
        }
        let (Some(inner), Some(outer)) = (self.cgroups.get(&inner), self.cgroups.get(&outer)) else {
            return false;
        };
        inner
            .path
            .strip_prefix(outer.path.trim_end_matches('/'))
            .is_some_and(|rest| rest.starts_with('/'))
    }

    /// The workload of a cgroup, or, in a shared cgroup, of a process in it: the seam for richer names.
    pub fn name(&self, cgroup: u64, process: &Process) -> Workload {
        let path = self.path(cgroup);
        let (kind, name) = if is_shared(&path) {
            ("process", process.comm.clone())
        } else {
            ("cgroup", path.clone())
        };
        Workload {
            kind: kind.to_owned(),
            namespace: None,
            name,
            pod: None,
            container: None,
            container_id: None,
            cgroup: path,
        }
    }
}

/// Whether a cgroup of this path holds unrelated processes: the root, slices, the init scope, login
/// sessions, user managers, terminal tabs. systemd names them: `systemd.slice(5)`, `pam_systemd(8)`, `user@.service(5)`.
pub fn is_shared(path: &str) -> bool {
    let leaf = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let scope = leaf.strip_suffix(".scope");
    leaf.is_empty()
        || leaf.strip_suffix(".slice").is_some()
        || scope.is_some_and(|name| {
            name == "init"
                || ["session-", "vte-spawn-", "tmux-spawn-"]
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
        })
        || (leaf.starts_with("user@") && leaf.strip_suffix(".service").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_of_unrelated_processes_are_shared_and_those_of_one_service_are_not() {
        for shared in [
            "/",
            "/user.slice",
            "/init.scope",
            "/user.slice/user-1000.slice/session-3.scope",
            "/user.slice/user-1000.slice/user@1000.service",
            "/user.slice/user-1000.slice/user@1000.service/init.scope",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/vte-spawn-1.scope",
        ] {
            assert!(is_shared(shared), "{shared}");
        }
        for own in [
            "/web",
            "/system.slice/nginx.service",
            "/system.slice/docker-0123.scope",
            "/kubepods.slice/kubepods-pod1.slice/cri-containerd-9.scope",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/api.service",
        ] {
            assert!(!is_shared(own), "{own}");
        }
    }

    #[test]
    fn a_removed_cgroup_keeps_its_path_until_many_others_were_removed() {
        let mut names = Names::default();
        names.created(1, "/web");
        names.removed(1);
        assert_eq!(names.path(1), "/web");
        for id in 2..=TOMBSTONES as u64 + 1 {
            names.created(id, "/other");
            names.removed(id);
        }
        assert_eq!(names.path(1), "cgroup:1");
        assert_eq!(names.cgroups.len(), TOMBSTONES);
    }

    #[test]
    fn a_cgroup_that_came_back_is_not_forgotten_with_its_tombstone() {
        let mut names = Names::default();
        names.created(1, "/web");
        names.removed(1);
        names.created(1, "/web2");
        for id in 2..=TOMBSTONES as u64 + 2 {
            names.created(id, "/other");
            names.removed(id);
        }
        assert_eq!(names.path(1), "/web2");
    }

    #[test]
    fn a_cgroup_lies_within_itself_and_its_ancestors_only() {
        let mut names = Names::default();
        for (id, path) in [(1, "/"), (2, "/web"), (3, "/web/a"), (4, "/website")] {
            names.created(id, path);
        }
        assert!(names.is_within(3, 2) && names.is_within(3, 1) && names.is_within(2, 2));
        assert!(!names.is_within(4, 2) && !names.is_within(2, 3) && !names.is_within(9, 2));
    }
}
