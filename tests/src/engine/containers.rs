//! Docker and Podman, and what they run.
//!
//! Images hold nothing but directories: programs, scripts and files of a case are mounted at the paths that
//! they have outside, so that containers run the same servers as everybody else.

use std::{fs, net::IpAddr, os::unix::fs::symlink, path::Path, process::Command};

use anyhow::{Context as _, ensure};

use nix::unistd::Pid;

use super::{Contained, LOOPBACK, Order, Running, main_of};
use crate::table::Engine;

/// Name of the image.
pub const IMAGE: &str = "ledger:1";
/// What distributions with a merged `/usr` have as links.
const LINKS: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// The unified hierarchy alone, at the usual place, and a loopback.
const PRIVATE: &str = "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; ip link set lo up; ";

pub(super) fn docker(directory: &Path) -> String {
    let at = directory.display();
    format!(
        "{PRIVATE} exec dockerd --host unix://{at}/socket --data-root {at}/data --exec-root {at}/exec \
         --pidfile {at}/pid --exec-opt native.cgroupdriver=cgroupfs --userland-proxy=false"
    )
}

pub(super) fn podman(directory: &Path) -> anyhow::Result<String> {
    let at = directory.display();
    // Limits that this machine cannot give: containers without them.
    let settings = "[containers]\npids_limit = 0\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
                    [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n";
    fs::write(directory.join("containers.conf"), settings)?;
    Ok(format!(
        "{PRIVATE} export CONTAINERS_CONF={at}/containers.conf; mkdir -p {at}/run; \
         mount -t tmpfs none /run; mkdir -p /run/netns /run/lock; \
         exec podman --root {at}/data --runroot {at}/run --tmpdir {at}/tmp --cgroup-manager cgroupfs \
         --events-backend file system service --time 0 unix://{at}/socket"
    ))
}

impl Running {
    /// Makes the image.
    pub(super) fn import(&self) -> anyhow::Result<()> {
        let root = self.directory.join("root");
        for name in ["usr", "proc", "sys", "dev", "tmp", "etc", "run", "var"] {
            fs::create_dir_all(root.join(name))?;
        }
        for name in LINKS {
            let host = Path::new("/").join(name);
            let target = fs::read_link(&host)
                .with_context(|| format!("{} is no link: /usr is not merged here", host.display()))?;
            symlink(target, root.join(name))?;
        }
        let tar = self.directory.join("image.tar");
        let status = Command::new("tar")
            .arg("cf")
            .arg(&tar)
            .arg("-C")
            .arg(&root)
            .arg(".")
            .status()?;
        ensure!(status.success(), "tar: {status}");
        self.ask(&["import", &tar.display().to_string(), IMAGE])?;
        Ok(())
    }

    pub(super) fn run_container(&self, order: &Order<'_>) -> anyhow::Result<Contained> {
        let harness = std::env::current_exe()?;
        let mut line: Vec<String> = ["run", "--detach", "--name", order.name]
            .map(str::to_owned)
            .to_vec();
        line.extend(order.options.iter().cloned());
        let read_only = [
            Some(Path::new("/usr")),
            harness.parent(),
            Some(&order.artefacts.servers),
            order.artefacts.go.parent(),
        ];
        for path in read_only.into_iter().flatten().filter(|path| path.exists()) {
            line.push(format!("--volume={0}:{0}:ro", path.display()));
        }
        line.push(format!("--volume={0}:{0}", order.directory.display()));
        line.push(format!("--workdir={}", order.directory.display()));
        for (name, value) in &order.variables {
            line.push(format!("--env={name}={value}"));
        }
        line.push(IMAGE.to_owned());
        line.extend(order.line.iter().cloned());
        let words: Vec<&str> = line.iter().map(String::as_str).collect();
        let id = self.ask(&words)?;
        let (main, cgroup, ip) = if order.lives {
            self.living(order.name)?
        } else {
            // It may be gone already: nobody can be asked.
            (Pid::from_raw(0), format!("{}{id}", self.parent()), LOOPBACK)
        };
        Ok(Contained {
            name: order.name.to_owned(),
            id: Some(id),
            main,
            cgroup,
            ip,
        })
    }

    fn living(&self, name: &str) -> anyhow::Result<(Pid, String, IpAddr)> {
        let format = "{{.State.Pid}} {{.NetworkSettings.IPAddress}}";
        let known = self.ask(&["inspect", "--format", format, name])?;
        let (pid, ip) = known.split_once(' ').context("it has no address")?;
        let pid = pid.parse().with_context(|| format!("`{pid}` is no process"))?;
        let (main, cgroup) = main_of(Pid::from_raw(pid))?;
        let ip = ip
            .trim()
            .parse()
            .with_context(|| format!("`{ip}` is no address"))?;
        Ok((main, cgroup, ip))
    }

    /// What stands before an id in the path of its cgroup.
    fn parent(&self) -> &'static str {
        match self.engine {
            Engine::Podman => "/libpod_parent/libpod-",
            _ => "/docker/",
        }
    }

    /// Removes what it leaves in the machine's cgroups, where nobody else uses it.
    pub(super) fn sweep(&self) {
        let parent = match self.engine {
            Engine::Docker => "docker",
            Engine::Podman => "libpod_parent",
            Engine::Systemd => return self.sweep_systemd(),
        };
        // Left with children where another runtime is at work.
        let _ = fs::remove_dir(self.root.join(parent).join("conmon"));
        let _ = fs::remove_dir(self.root.join(parent));
    }
}
