//! A Debian to install packages on: made once by debootstrap, with a layer over it for each test that is thrown away. The
//! layer is also how a test sees what a package has left behind.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use testkit::{Cgroup, Clock, PATIENCE, Process, process, systemd};

use crate::shell;

/// The Debian, and what it has besides what every Debian has: who starts the unit, who shows its manual, who completes
/// its command line, and who installs packages of others.
const SUITE: &str = "bookworm";
const INCLUDED: &str = "bash-completion,ca-certificates,dbus,man-db,procps,rpm,systemd,systemd-sysv";
const ARCHIVE: &str = "http://deb.debian.org/debian";

/// Lays the layer (in `$1`) over Debian (`$2`) as `$m`, with the release (`$3`) at /mnt/packages.
const LAY: &str = r#"
m=$1/root
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$m"
mount -t tmpfs -o mode=755 none "$m/mnt"
mkdir "$m/mnt/packages"
mount --bind "$3" "$m/mnt/packages"
mount -t proc proc "$m/proc"
mount --rbind /sys "$m/sys"
"#;
/// Runs a script (`$4`) there.
const ENTER: &str = r#"
mount --rbind /dev "$m/dev"
mount -t tmpfs -o mode=755 none "$m/run"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive chroot "$m" sh -ec "$4"
"#;
/// Boots it, in the cgroup `$4`, with devices and a network of its own, and nothing of the machine's that it could change.
const BOOT: &str = r#"
mount --bind "$m/proc/sys" "$m/proc/sys"
mount -o remount,bind,ro "$m/proc/sys"
mount -o remount,bind,ro "$m/sys"
# Of the hierarchy systemd has its part only, beside which the agent needs the whole.
mkdir "$m/mnt/cgroup"
mount --bind "${4%/*}" "$m/mnt/cgroup"
umount -R "$m/sys/fs/cgroup"
mount -t cgroup2 none "$m/sys/fs/cgroup"
mount -t tmpfs -o mode=755 none "$m/dev"
for device in null zero full random urandom tty; do
    touch "$m/dev/$device"
    mount --bind "/dev/$device" "$m/dev/$device"
done
mkdir "$m/dev/pts" "$m/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 none "$m/dev/pts"
ln -s pts/ptmx "$m/dev/ptmx"
exec unshare --net sh -ec '
ip link set lo up
cd "$0"
mkdir mnt/old
pivot_root . mnt/old
umount -l /mnt/old
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 container=test \
    /lib/systemd/systemd --unit=multi-user.target --show-status=0 --log-target=console
' "$m"
"#;

/// A Debian, and the layer over it.
pub struct Machine {
    layer: TempDir,
    base: PathBuf,
    packages: PathBuf,
}

impl Machine {
    /// A new one, with what is in `packages` at `/mnt/packages`.
    pub fn create(packages: &Path) -> Result<Self> {
        let base = base()?;
        // Beside it: not every file system can be the upper one.
        let layer =
            tempfile::tempdir_in(shell::root().join("target")).context("a directory for a machine")?;
        for directory in ["root", "upper", "work"] {
            fs::create_dir(layer.path().join(directory)).context("a directory for a machine")?;
        }
        Ok(Self {
            layer,
            base,
            packages: packages.to_owned(),
        })
    }

    /// Runs a script there, and gives what it printed.
    pub fn run(&self, script: &str) -> Result<String> {
        let mut command = process::unshared(&["--pid", "--fork", "--kill-child"]);
        command.args(["sh", "-ec", &format!("{LAY}{ENTER}"), "sh"]);
        self.arguments(&mut command).arg(script);
        shell::output(&mut command)
    }

    /// Boots it. Nothing else may run there meanwhile.
    pub fn boot(&self) -> Result<Booted<'_>> {
        let cgroup = Cgroup::unique("dist")?;
        let mut command = systemd::boot(cgroup.directory(), &format!("{LAY}{BOOT}"));
        command.arg("sh");
        self.arguments(&mut command).arg(cgroup.directory());
        let process = Process::start_logging(command, &self.layer.path().join("console"), Clock::default())?;
        let booted = Booted {
            cgroup,
            process,
            _machine: self,
        };
        Clock::default().until("systemd to be up", PATIENCE, || {
            booted.process.check_alive()?;
            Ok(booted
                .run("systemctl is-active --quiet multi-user.target")
                .is_ok())
        })?;
        Ok(booted)
    }

    fn arguments<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.arg(self.layer.path()).arg(&self.base).arg(&self.packages)
    }

    /// Files that are there now and were not before, or say something else, or are gone.
    pub fn changed(&self) -> Result<BTreeSet<String>> {
        let upper = self.layer.path().join("upper");
        let mut changed = BTreeSet::new();
        let mut directories = vec![upper.clone()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory).context("reading the layer")? {
                let entry = entry?;
                let below = entry.path();
                let below = below
                    .strip_prefix(&upper)
                    .context("a path of the layer")?
                    .to_owned();
                let name = format!("/{}", below.display());
                if entry.file_type()?.is_dir() {
                    directories.push(entry.path());
                    // Of a directory that was there before only what is in it is new.
                    if self.base.join(&below).exists() {
                        continue;
                    }
                } else if entry.file_type()?.is_char_device() && !self.base.join(&below).exists() {
                    // Made and removed.
                    continue;
                }
                changed.insert(name);
            }
        }
        Ok(changed)
    }
}

/// One that runs. Killed when dropped.
pub struct Booted<'a> {
    /// First, so that nothing runs any more when the rest is dropped.
    cgroup: Cgroup,
    process: Process,
    _machine: &'a Machine,
}

impl Booted<'_> {
    /// Runs a script there, and gives what it printed.
    pub fn run(&self, script: &str) -> Result<String> {
        let first = systemd::first_process(self.cgroup.directory()).context("systemd is not there")?;
        let mut command = systemd::inside(first);
        command.args([
            "--net",
            "env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG=C.UTF-8",
        ]);
        command.args(["DEBIAN_FRONTEND=noninteractive", "sh", "-ec", script]);
        shell::output(&mut command).with_context(|| format!("the machine said: {}", self.process.log()))
    }
}

/// The Debian without a layer, made where it is not there yet.
fn base() -> Result<PathBuf> {
    let base = shell::root().join("target/dist-debian");
    if base.exists() {
        return Ok(base);
    }
    let new = shell::root().join("target/dist-debian.new");
    if new.exists() {
        fs::remove_dir_all(&new).context("removing a half-made Debian")?;
    }
    let made = Command::new("debootstrap")
        .args(["--variant=minbase", &format!("--include={INCLUDED}"), SUITE])
        .arg(&new)
        .arg(ARCHIVE)
        .status()
        .context("cannot start debootstrap")?;
    if !made.success() {
        bail!("debootstrap: {made}");
    }
    fs::rename(&new, &base).context("keeping Debian")?;
    Ok(base)
}
