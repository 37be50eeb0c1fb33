//! The shipped unit, as it is, under a real systemd: PID 1 of namespaces of its own, on the machine's own files.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::unistd::Pid;
use tempfile::TempDir;
use testkit::{Cgroup, Clock, PATIENCE, Process, agent, cgroup, http, metrics, systemd, within};

use crate::{BINARY, runs_here};

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/systemd");

/// What stands before systemd: `$1` is the test's directory, `$2` its cgroup, `$3` the agent.
const BOOT: &str = r#"
mount -t proc proc /proc
mount -t tmpfs -o mode=755 none /mnt
mkdir /mnt/cgroup /mnt/test
mount --bind "$1" /mnt/test
cp -a /etc /mnt/etc
mount --bind /mnt/etc /etc
systemd-sysusers /mnt/test/drainwatch.sysusers.conf
# Of the hierarchy systemd has its part only, beside which the agent needs the whole.
mount --bind "${2%/*}" /mnt/cgroup
umount -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mount --bind /mnt/test/units /usr/lib/systemd/system
for hidden in /etc/systemd/system /usr/lib/systemd/system-generators /usr/lib/systemd/system-preset /var/lib \
    /etc/default; do
    mount -t tmpfs -o mode=755 none $hidden
done
touch /mnt/drainwatch
mount --bind "$3" /mnt/drainwatch
mount -t tmpfs -o mode=755 none /usr/local/bin
touch /usr/local/bin/drainwatch
mount --bind /mnt/drainwatch /usr/local/bin/drainwatch
mount -t tmpfs -o mode=755 none /run
mkdir -p /run/lock /run/dbus /run/systemd/system
cp -r /mnt/test/etc/. /etc/
exec env -i PATH="$PATH" container=test /lib/systemd/systemd --unit=test.target --show-status=0 --log-target=console
"#;

/// A systemd that runs. Killed, with all it started, when dropped.
struct Systemd {
    /// First, so that nothing runs any more when the rest is dropped.
    cgroup: Cgroup,
    process: Process,
    dir: TempDir,
}

impl Systemd {
    /// Boots it with the shipped unit and, as its user would write it, /etc/default/drainwatch.
    fn boot() -> Self {
        let dir = TempDir::new().unwrap();
        let at = |path: &str| dir.path().join(path);
        let drop_in = at("etc/systemd/system/drainwatch.service.d");
        for made in [at("etc/default"), drop_in.clone()] {
            fs::create_dir_all(made).unwrap();
        }
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        systemd::lay_units(&at("units"), "test.target").unwrap();
        let shipped = |name: &str| PathBuf::from(SHIPPED).join(name);
        let unit = at("etc/systemd/system/drainwatch.service");
        fs::copy(shipped("drainwatch.service"), unit).unwrap();
        let users = "drainwatch.sysusers.conf";
        fs::copy(shipped(users), at(users)).unwrap();
        let environment = "DRAINWATCH_WEB_LISTEN_ADDRESS=127.0.0.1:0\n";
        fs::write(at("etc/default/drainwatch"), environment).unwrap();
        // There is no journal.
        let log = "[Service]\nStandardError=append:/mnt/test/log\n";
        fs::write(drop_in.join("log.conf"), log).unwrap();
        let cgroup = Cgroup::unique("deployment").unwrap();
        let mut boot = systemd::boot(cgroup.directory(), BOOT);
        boot.arg("sh").arg(dir.path()).arg(cgroup.directory()).arg(BINARY);
        let console = dir.path().join("console");
        let process = Process::start_logging(boot, &console, Clock::default()).unwrap();
        let booted = Self { cgroup, process, dir };
        within("systemd's bus", || {
            booted.process.check_alive().unwrap();
            let up = booted.inside(&["systemctl", "is-active", "dbus.service"]).is_ok();
            up.then_some(())
        });
        booted
    }

    /// First process of one of its units, as the host counts.
    fn first_of(&self, unit: &str) -> Option<Pid> {
        cgroup::first_process(&self.cgroup.directory().join("system.slice").join(unit))
    }

    /// What a command printed where it is PID 1; `Err` has what it complained of.
    fn inside(&self, line: &[&str]) -> Result<String, String> {
        let first = systemd::first_process(self.cgroup.directory()).ok_or("systemd is gone")?;
        let output = systemd::inside(first).args(line).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(format!("{line:?}: {}\n{}", text(&output.stderr), self.log()))
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn agent_address(&self) -> SocketAddr {
        within("the agent's address", || {
            let log = self.log();
            let mut lines = log.split_inclusive('\n').rev();
            agent::address_in(lines.find(|line| line.ends_with('\n') && line.contains("address="))?)
        })
    }
}

/// The body of a 200.
fn get(address: SocketAddr, path: &str) -> String {
    let (status, body) = http::get(address, path, PATIENCE).unwrap();
    assert_eq!(status, 200, "{path}: {body}");
    body
}

#[test]
fn given_the_shipped_unit_when_systemd_starts_it_then_it_is_ready_and_watches_units_and_stops_within_a_second()
 {
    if !nix::unistd::geteuid().is_root() || !runs_here() {
        return;
    }
    let systemd = Systemd::boot();
    // With all its restrictions; it comes back when the agent has said that it is ready.
    systemd.inside(&["systemctl", "start", "drainwatch"]).unwrap();
    let show = |property: &str| {
        let property = format!("--property={property}");
        systemd
            .inside(&["systemctl", "show", "--value", &property, "drainwatch"])
            .unwrap()
    };
    assert_eq!(show("ActiveState"), "active");
    assert_eq!(show("NeedDaemonReload"), "no");
    let address = systemd.agent_address();
    assert_eq!(get(address, "/readyz"), "ok\n");
    let mut broken = metrics::degraded(&get(address, "/metrics"));
    // This systemd has a pid namespace of its own, which is what `seed` cannot do with.
    broken.retain(|probe| !["reset_sent", "seed", "socket_close"].contains(&probe.as_str()));
    assert!(broken.is_empty(), "{broken:?}");

    let pid = systemd.first_of("drainwatch.service").expect("it runs");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().to_owned()
    };
    assert!(
        ["0000000000000000", "0000008000000000"].contains(&&*value("CapEff:")),
        "{status}"
    );
    assert_eq!(value("NoNewPrivs:"), "1");
    assert_eq!(value("Seccomp:"), "2", "the unit's filter is in force");
    assert!(!value("Uid:").split_whitespace().any(|id| id == "0"), "{status}");
    let state = PathBuf::from(format!("/proc/{pid}/root/var/lib/drainwatch/reports.redb"));
    assert!(state.exists());

    // The bus answers the user that it runs as.
    within("names of units", || {
        let metrics = get(address, "/metrics");
        metrics
            .contains("drainwatch_names_up{origin=\"systemd\"} 1\n")
            .then_some(())
    });

    // Another unit is stopped, and is known by its name.
    let line = "systemd-run --quiet --unit=worker sleep 600";
    systemd.inside(&line.split(' ').collect::<Vec<_>>()).unwrap();
    systemd.inside(&["systemctl", "stop", "worker"]).unwrap();
    let report = within("the report of the unit", || {
        let all = agent::shutdowns(&get(address, "/api/v1/shutdowns")).unwrap();
        all.into_iter().find(|report| {
            let path = report["workload"]["cgroup"].as_str().unwrap_or_default();
            path.contains(systemd.cgroup.name())
                && path.ends_with("/worker.service")
                && !report["ended_at"].is_null()
        })
    });
    assert_eq!(report["workload"]["kind"], "systemd");
    assert_eq!(report["workload"]["name"], "worker.service");
    assert_eq!(report["trigger"], "stop");

    let began = Instant::now();
    systemd.inside(&["systemctl", "stop", "drainwatch"]).unwrap();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(show("Result"), "success");
    assert_eq!(show("ExecMainStatus"), "0");
}

#[test]
fn given_a_configuration_that_is_wrong_when_systemd_starts_the_unit_then_it_is_not_started_again_and_again() {
    if !nix::unistd::geteuid().is_root() || !runs_here() {
        return;
    }
    let systemd = Systemd::boot();
    let line = [
        "sh",
        "-c",
        "echo DRAINWATCH_CONFIG=/nowhere.toml >> /etc/default/drainwatch",
    ];
    systemd.inside(&line).unwrap();
    systemd.inside(&["systemctl", "start", "drainwatch"]).unwrap_err();
    let property = |name: &str| {
        let property = format!("--property={name}");
        systemd
            .inside(&["systemctl", "show", "--value", &property, "drainwatch"])
            .unwrap()
    };
    assert_eq!(property("ActiveState"), "failed");
    assert_eq!(property("NRestarts"), "0");
    assert!(systemd.log().contains("/nowhere.toml"), "{}", systemd.log());
}
