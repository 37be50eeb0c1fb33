//! A cgroup that goes when it is dropped.

use std::{
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::cli::failure::{Exit, Failure};

/// How long the kernel may take to see the cgroup empty once its processes were reaped.
const REMOVED_WITHIN: Duration = Duration::from_secs(1);

/// A directory in the unified hierarchy.
pub struct Cgroup {
    dir: PathBuf,
}

impl Cgroup {
    /// Creates `<root>/<name>`.
    pub fn create(root: &Path, name: &str) -> Result<Self, Failure> {
        let dir = root.join(name);
        std::fs::create_dir(&dir).map_err(|why| {
            let exit = match why.kind() {
                io::ErrorKind::PermissionDenied => Exit::Privilege,
                _ => Exit::Unavailable,
            };
            let advice = "run it with sudo, where the cgroup hierarchy is writable";
            Failure::new(
                exit,
                format!("cannot create the cgroup {}: {why}; {advice}", dir.display()),
            )
        })?;
        Ok(Self { dir })
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let deadline = Instant::now() + REMOVED_WITHIN;
        while std::fs::remove_dir(&self.dir).is_err_and(|why| why.kind() == io::ErrorKind::ResourceBusy)
            && Instant::now() < deadline
        {
            thread::sleep(Duration::from_millis(5));
        }
    }
}
