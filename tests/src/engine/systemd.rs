//! systemd as PID 1 of its own pid, mount, cgroup, IPC and UTS namespaces, on the machine's own files, with
//! a bus and nothing else: the machine's units are hidden, none of them may act on it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Contained, LOOPBACK, Order, Running, main_of};

/// The units that it has, besides those that it makes itself.
const UNITS: &[&str] = &[
    "basic.target",
    "dbus.service",
    "dbus.socket",
    "shutdown.target",
    "sockets.target",
    "sysinit.target",
    "umount.target",
];
/// Where the machine's units are.
const LIBRARY: &str = "/usr/lib/systemd/system";

pub(super) fn boot(directory: &Path, root: &Path) -> anyhow::Result<String> {
    let units = directory.join("units");
    fs::create_dir_all(&units)?;
    for unit in UNITS {
        let from = Path::new(LIBRARY).join(unit);
        fs::copy(&from, units.join(unit)).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    fs::create_dir_all(directory.join("bus"))?;
    let ledger = "[Unit]\nRequires=dbus.socket dbus.service\nAfter=dbus.socket\n";
    fs::write(units.join("ledger.target"), ledger)?;
    let cgroup = cgroup(root);
    fs::create_dir_all(&cgroup).with_context(|| format!("cannot make {}", cgroup.display()))?;
    Ok(format!(
        // The namespace of cgroups begins where the process that makes it is: so a second one, from inside.
        "echo 0 > {cgroup}/cgroup.procs; exec unshare --cgroup sh -ec 'mount -t proc proc /proc; \
         mount --bind {units} {LIBRARY}; \
         umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; \
         for hidden in /run /etc/systemd/system /usr/lib/systemd/system-generators /usr/lib/systemd/system-preset; \
         do mount -t tmpfs -o mode=755 none $hidden; done; mkdir -p /run/lock /run/dbus /run/systemd/system; \
         mount --bind {bus} /run/dbus; \
         exec env -i PATH=\"$PATH\" container=ledger /lib/systemd/systemd --unit=ledger.target --show-status=0 \
         --log-target=console'",
        cgroup = cgroup.display(),
        units = units.display(),
        bus = directory.join("bus").display(),
    ))
}

/// The cgroup that it takes for the root.
fn cgroup(root: &Path) -> PathBuf {
    root.join(format!("drainwatch-systemd-{}", std::process::id()))
}

impl Running {
    /// Its first process, which our child waits for.
    pub(super) fn find_systemd(&mut self) -> bool {
        let listed = fs::read_to_string(cgroup(&self.root).join("init.scope/cgroup.procs"));
        let Some(pid) = listed.ok().and_then(|text| text.lines().next()?.parse().ok()) else {
            return false;
        };
        self.inside = Pid::from_raw(pid);
        self.socket = self.directory.join("bus/system_bus_socket");
        self.socket.exists()
    }

    pub(super) fn run_unit(&self, order: &Order<'_>) -> anyhow::Result<Contained> {
        let unit = format!("--unit={}", order.name);
        let mut line = vec!["systemd-run".to_owned(), "--quiet".into(), unit];
        line.extend(order.options.iter().cloned());
        line.push(format!("--working-directory={}", order.directory.display()));
        let log = order.directory.join("server.log");
        line.push(format!("--property=StandardError=append:{}", log.display()));
        for (name, value) in &order.variables {
            line.push(format!("--setenv={name}={value}"));
        }
        line.push("--".into());
        line.extend(order.line.iter().cloned());
        let words: Vec<&str> = line.iter().map(String::as_str).collect();
        self.ask(&words)?;
        let path = self.ask(&[
            "systemctl",
            "show",
            "--value",
            "--property=ControlGroup",
            order.name,
        ])?;
        ensure!(!path.is_empty(), "the unit {} ended at once", order.name);
        // The process as the host counts.
        let directory = format!("{}{path}", cgroup(&self.root).display());
        let listed = fs::read_to_string(format!("{directory}/cgroup.procs"))?;
        let (main, cgroup) = main_of(listed.lines().next().unwrap_or_default())?;
        Ok(Contained {
            name: format!("{}.service", order.name),
            id: None,
            main,
            cgroup,
            ip: LOOPBACK,
        })
    }

    /// Everything in its cgroup, itself included.
    pub(super) fn halt(&self) {
        if fs::write(cgroup(&self.root).join("cgroup.kill"), "1").is_err() {
            let _ = kill(self.inside, Signal::SIGKILL);
        }
    }

    pub(super) fn sweep_systemd(&self) {
        let root = cgroup(&self.root);
        let swept = self.clock.until("systemd's cgroups to go", super::PATIENCE, || {
            remove_below(&root);
            Ok(!root.exists())
        });
        if let Err(error) = swept {
            eprintln!("{error:#}");
        }
    }
}

fn remove_below(directory: &Path) {
    let inner = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in inner.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_below(&entry.path());
    }
    // Processes may still be on their way out: it is tried again.
    let _ = fs::remove_dir(directory);
}
