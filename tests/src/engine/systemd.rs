//! systemd as PID 1 of its own pid, mount, cgroup, IPC and UTS namespaces, on the machine's own files, with
//! a bus and nothing else: the machine's units are hidden, none of them may act on it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use nix::sys::signal::{Signal, kill};
use testkit::systemd::{self, LIBRARY};

use super::{Contained, LOOPBACK, Order, Running, main_of};

pub(super) fn boot(directory: &Path, root: &Path) -> anyhow::Result<Command> {
    let (units, bus) = (directory.join("units"), directory.join("bus"));
    systemd::lay_units(&units, "ledger.target")?;
    fs::create_dir_all(&bus)?;
    let cgroup = cgroup(root);
    fs::create_dir_all(&cgroup).with_context(|| format!("cannot make {}", cgroup.display()))?;
    let script = format!(
        "mount -t proc proc /proc; mount --bind {units} {LIBRARY}; \
         umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; \
         for hidden in /run /etc/systemd/system /usr/lib/systemd/system-generators /usr/lib/systemd/system-preset; \
         do mount -t tmpfs -o mode=755 none $hidden; done; mkdir -p /run/lock /run/dbus /run/systemd/system; \
         mount --bind {bus} /run/dbus; \
         exec env -i PATH=\"$PATH\" container=ledger /lib/systemd/systemd --unit=ledger.target --show-status=0 \
         --log-target=console",
        units = units.display(),
        bus = bus.display(),
    );
    Ok(systemd::boot(&cgroup, &script))
}

/// The cgroup that it takes for the root.
fn cgroup(root: &Path) -> PathBuf {
    root.join(format!("drainwatch-systemd-{}", std::process::id()))
}

impl Running {
    /// Its first process, which our child waits for.
    pub(super) fn find_systemd(&mut self) -> bool {
        let Some(pid) = systemd::first_process(&cgroup(&self.root)) else {
            return false;
        };
        self.inside = pid;
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
        let unit = cgroup(&self.root).join(path.trim_start_matches('/'));
        let first = testkit::cgroup::first_process(&unit);
        let (main, cgroup) = main_of(first.context("it does not run")?)?;
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
        if testkit::cgroup::kill(&cgroup(&self.root)).is_err() {
            let _ = kill(self.inside, Signal::SIGKILL);
        }
    }

    pub(super) fn sweep_systemd(&self) {
        if let Err(error) = testkit::cgroup::remove(&cgroup(&self.root), self.clock) {
            eprintln!("{error:#}");
        }
    }
}
