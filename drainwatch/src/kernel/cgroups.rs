//! The unified cgroup hierarchy as the file system shows it.

use std::{
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use procfs::process::Process;

use super::decode::printable;

/// Most cgroups looked at in one walk.
const MOST: usize = 65_536;

/// Number of the directory of the hierarchy's root.
const ROOT_INODE: u64 = 1;

/// Where the unified hierarchy is mounted: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` on hybrid hosts. The root
/// itself, by its number: in a container the mount's own `root` says nothing, for there it is seen from the container's
/// cgroup (`/` is the container's, `/../..` the host's).
pub fn unified_root() -> Option<PathBuf> {
    let mounts = Process::myself().ok()?.mountinfo().ok()?;
    mounts
        .into_iter()
        .filter(|mount| mount.fs_type == "cgroup2")
        .map(|mount| mount.mount_point)
        .filter(|point| fs::metadata(point).is_ok_and(|metadata| metadata.ino() == ROOT_INODE))
        .min_by_key(|point| point.as_os_str().len())
}

/// `(id, path)` of every cgroup below `root`, parents first. What vanishes meanwhile is left out.
pub fn all(root: &Path) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(directory) = pending.pop() {
        let Ok(metadata) = fs::metadata(&directory) else {
            continue;
        };
        found.push((metadata.ino(), path_below(root, &directory)));
        if found.len() >= MOST {
            break;
        }
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        pending.extend(
            entries
                .flatten()
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    found
}

fn path_below(root: &Path, directory: &Path) -> String {
    let below = directory.strip_prefix(root).unwrap_or(directory);
    printable(Path::new("/").join(below).as_os_str().as_bytes())
}

/// CPU time used by the cgroup at `path` below `root`, in µs. The file exists without the cpu controller too.
pub fn cpu_used_us(root: &Path, path: &str) -> Option<u64> {
    let text = fs::read_to_string(root.join(path.trim_start_matches('/')).join("cpu.stat")).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("usage_usec ")?.trim().parse().ok())
}

/// No process lives in the cgroup at `path` below `root`, nor below it. (The root itself has no such file.)
pub fn is_empty(root: &Path, path: &str) -> bool {
    let file = root.join(path.trim_start_matches('/')).join("cgroup.events");
    fs::read_to_string(file).is_ok_and(|text| text.lines().any(|line| line == "populated 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_of_directories_is_listed_with_paths_below_its_root() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        let mut paths: Vec<_> = all(root.path()).into_iter().map(|(_, path)| path).collect();
        paths.sort();
        assert_eq!(paths, ["/", "/a", "/a/b"]);
    }

    #[test]
    fn a_name_that_would_steer_a_terminal_is_made_harmless_as_in_events() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("a\n\u{1b}[2Jä\"")).unwrap();
        let paths: Vec<_> = all(root.path()).into_iter().map(|(_, path)| path).collect();
        assert_eq!(paths, ["/", "/a\u{fffd}\u{fffd}[2Jä\""]);
    }

    #[test]
    fn cpu_time_is_read_from_cpu_stat_and_missing_when_the_cgroup_is_gone() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("a")).unwrap();
        fs::write(
            root.path().join("a/cpu.stat"),
            "usage_usec 1500\nuser_usec 1000\n",
        )
        .unwrap();
        assert_eq!(cpu_used_us(root.path(), "/a"), Some(1500));
        assert_eq!(cpu_used_us(root.path(), "/gone"), None);
    }
}
