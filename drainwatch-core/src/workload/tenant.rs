//! Whose a workload is, as far as room is concerned.
//!
//! Where something has room for so many workloads, one part of the node's tree must not take all of it: an unprivileged
//! user makes as many processes and cgroups as it likes.

use crate::report::Workload;

/// A part of the node that shares its room.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant {
    /// Anybody may have made what is in it: processes, and what is below a user's slice.
    is_anybody: bool,
    /// A namespace, or the beginning of a path.
    of: String,
}

impl Tenant {
    /// That of a workload.
    pub fn of(workload: &Workload) -> Self {
        if let Some(namespace) = &workload.namespace {
            return Self {
                is_anybody: false,
                of: namespace.clone(),
            };
        }
        let tenant = Self::at(&workload.cgroup);
        Self {
            is_anybody: tenant.is_anybody || workload.kind == "process",
            ..tenant
        }
    }

    /// That of a cgroup: the first two components above it.
    pub fn at(path: &str) -> Self {
        let above = path.trim_end_matches('/').rsplit_once('/');
        let above = above.map_or("", |(above, _)| above);
        let mut ends = above.match_indices('/').map(|(at, _)| at).skip(2);
        let of = ends.next().map_or(above, |end| &above[..end]);
        Self {
            is_anybody: of.starts_with("/user.slice"),
            of: of.to_owned(),
        }
    }

    /// How many of `room` it may have: of what anybody can make a tenth, else most of it.
    pub fn share(&self, room: usize) -> usize {
        if self.is_anybody {
            room.div_ceil(10)
        } else {
            (room * 8).div_ceil(10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report::Verdict, testing::report};

    #[test]
    fn given_a_path_then_its_tenant_is_the_beginning_of_what_is_above_it() {
        for (path, of, is_anybody) in [
            ("/", "", false),
            ("/web", "", false),
            ("/system.slice/nginx.service", "/system.slice", false),
            ("/a/b/c/d", "/a/b", false),
            (
                "/user.slice/user-1000.slice/session-3.scope",
                "/user.slice/user-1000.slice",
                true,
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/x/y/z",
                "/user.slice/user-1000.slice",
                true,
            ),
        ] {
            let of = of.to_owned();
            assert_eq!(Tenant::at(path), Tenant { is_anybody, of }, "{path}");
        }
    }

    #[test]
    fn given_a_process_then_it_shares_the_room_of_anybody_and_a_pod_that_of_its_namespace() {
        let mut workload = report("r", "/web", Verdict::Clean).workload;
        assert_eq!(Tenant::of(&workload).share(1000), 800);
        workload.kind = "process".to_owned();
        assert_eq!(Tenant::of(&workload).share(1000), 100);
        workload.namespace = Some("shop".to_owned());
        assert_eq!(Tenant::of(&workload).of, "shop");
    }
}
