//! Maps, programs and links below a directory of bpffs, so that they outlive the agent.
//!
//! ```text
//! DIR/                     locked by the agent that uses it, for as long as it lives
//!   SET/                   one object with the offsets and settings that it was loaded with, by their hash
//!     maps/NAME
//!     programs/NAME        for the runs that the kernel skipped, which it counts by program
//!     links/NAME           what keeps the program attached
//!   new/                   a set in the making: renamed when it is complete
//!   old/                   one that is being removed: renamed before
//! ```
//!
//! A set is adopted whole or not at all. Programs of a set that is not wanted any more go when its links are removed, which
//! happens after those that take its place were attached.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::{
        fd::{FromRawFd as _, OwnedFd, RawFd},
        unix::{
            ffi::OsStrExt as _,
            fs::{DirBuilderExt as _, OpenOptionsExt as _},
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

/// A set in the making.
const NEW: &str = "new";
/// One that is not whole any more.
const OLD: &str = "old";
/// Subdirectories of a set.
const PARTS: [&str; 3] = ["maps", "programs", "links"];

/// Why nothing is pinned.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// There is no bpffs there.
    #[error("{} is not on a bpf file system", .0.display())]
    NoBpffs(PathBuf),
    /// Another agent uses it.
    #[error("another agent uses {}", .0.display())]
    InUse(PathBuf),
    /// It cannot be used.
    #[error("{}: {why}", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Cause.
        why: io::Error,
    },
}

/// The directory, which no other agent uses meanwhile.
#[derive(Debug)]
pub struct Pins {
    dir: PathBuf,
    _lock: Flock<File>,
}

/// One set.
#[derive(Debug, Clone)]
pub struct Set {
    dir: PathBuf,
}

impl Set {
    /// Where a map of this name is pinned.
    pub fn map(&self, name: &str) -> PathBuf {
        self.dir.join("maps").join(name)
    }

    /// Where a program of this name is pinned.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join("programs").join(name)
    }

    /// Where the link of a program of this name is pinned.
    pub fn link(&self, name: &str) -> PathBuf {
        self.dir.join("links").join(name)
    }

    /// Its maps, by name.
    pub fn maps(&self) -> Vec<(String, PathBuf)> {
        let entries = fs::read_dir(self.dir.join("maps")).into_iter().flatten();
        entries
            .flatten()
            .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
            .collect()
    }
}

impl Pins {
    /// The directory at `dir`, made where there is none.
    pub fn open(dir: &Path) -> Result<Self, PinError> {
        check(dir)?;
        let at = |why| PinError::Io {
            path: dir.into(),
            why,
        };
        match fs::DirBuilder::new().mode(0o700).create(dir) {
            Err(why) if why.kind() != io::ErrorKind::AlreadyExists => return Err(at(why)),
            _ => {}
        }
        let file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY)
            .open(dir)
            .map_err(at)?;
        let lock =
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| PinError::InUse(dir.into()))?;
        Ok(Self {
            dir: dir.into(),
            _lock: lock,
        })
    }

    /// The set with this name, if it is complete.
    pub fn find(&self, name: &str) -> Option<Set> {
        let dir = self.dir.join(name);
        dir.is_dir().then_some(Set { dir })
    }

    /// Begins a set.
    pub fn begin(&self) -> Result<Set, PinError> {
        let dir = self.dir.join(NEW);
        self.remove(NEW)?;
        for part in PARTS {
            let path = dir.join(part);
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(|why| PinError::Io { path, why })?;
        }
        Ok(Set { dir })
    }

    /// Removes a set, if it is there.
    pub fn remove_set(&self, name: &str) -> Result<(), PinError> {
        self.remove(name)
    }

    /// Removes what is there by this name. Its name goes first: who is ended meanwhile leaves no set that looks whole.
    fn remove(&self, name: &str) -> Result<(), PinError> {
        let (dir, old) = (self.dir.join(name), self.dir.join(OLD));
        if name != OLD {
            remove(&old)?;
            match fs::rename(&dir, &old) {
                Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(why) => return Err(PinError::Io { path: dir, why }),
                Ok(()) => {}
            }
        }
        remove(&old)
    }

    /// The set that was begun is complete.
    pub fn finish(&self, name: &str) -> Result<(), PinError> {
        let path = self.dir.join(name);
        fs::rename(self.dir.join(NEW), &path).map_err(|why| PinError::Io { path, why })
    }

    /// Every whole set but this one.
    pub fn others(&self, name: &str) -> Vec<Set> {
        let entries = self.entries().unwrap_or_default();
        let others = entries
            .iter()
            .filter(|entry| ![name, NEW, OLD].contains(&entry.as_str()));
        others.filter_map(|entry| self.find(entry)).collect()
    }

    /// Removes every set but this one; says how many of them were complete.
    pub fn remove_others(&self, name: &str) -> Result<usize, PinError> {
        let mut complete = 0;
        for entry in self.entries()? {
            if entry != name {
                self.remove(&entry)?;
                complete += usize::from(entry != NEW && entry != OLD);
            }
        }
        Ok(complete)
    }

    /// Removes everything, and the directory. Says whether there was anything.
    pub fn remove_all(self) -> Result<bool, PinError> {
        let entries = self.entries()?;
        for entry in &entries {
            self.remove(entry)?;
        }
        remove(&self.dir)?;
        Ok(!entries.is_empty())
    }

    fn entries(&self) -> Result<Vec<String>, PinError> {
        let entries = fs::read_dir(&self.dir).map_err(|why| PinError::Io {
            path: self.dir.clone(),
            why,
        })?;
        Ok(entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect())
    }
}

/// A descriptor of what is pinned here: `BPF_OBJ_GET` of bpf(2). For more than that, aya asks for the kernel's types by
/// their id, which takes `CAP_SYS_ADMIN`.
pub fn descriptor(pin: &Path) -> io::Result<OwnedFd> {
    /// The members of `union bpf_attr` that the command reads.
    #[repr(C)]
    struct ObjGet {
        path: u64,
        descriptor: u32,
        flags: u32,
    }
    const BPF_OBJ_GET: libc::c_int = 7;
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let attr = ObjGet {
        path: path.as_ptr() as u64,
        descriptor: 0,
        flags: 0,
    };
    // SAFETY: the attributes and the path live until the call returns, and it reads no more of them than their size.
    let descriptor =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, &raw const attr, size_of::<ObjGet>()) };
    let descriptor = RawFd::try_from(descriptor).unwrap_or(-1);
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Whether `dir` is on bpffs, or would be once it is made.
pub fn check(dir: &Path) -> Result<(), PinError> {
    let nearest = dir.ancestors().find(|path| path.exists());
    let on_bpffs = nearest
        .and_then(|path| statfs(path).ok())
        .is_some_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC);
    if on_bpffs {
        Ok(())
    } else {
        Err(PinError::NoBpffs(dir.into()))
    }
}

fn remove(dir: &Path) -> Result<(), PinError> {
    match fs::remove_dir_all(dir) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(PinError::Io {
            path: dir.into(),
            why,
        }),
        _ => Ok(()),
    }
}
