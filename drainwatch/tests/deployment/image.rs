//! The agent in a container of a real runtime, with what the chart gives it: a read-only root, two capabilities, the
//! host's processes and a look at the host's cgroups.
//!
//! Base images cannot be had here. The root is the Dockerfile's last stage made by hand: the agent, and the libraries
//! that it is linked with. The runtime is runc, which Docker and Kubernetes start containers with; Docker 20.10 itself,
//! which Debian has, does not know `CAP_BPF`.

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Command, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{Agent, command};

use crate::{BINARY, runs_here};

/// A bundle: root and configuration of a container.
struct Bundle {
    dir: TempDir,
    name: String,
}

impl Bundle {
    /// As the chart makes it, but for `change`.
    fn create(change: impl FnOnce(&mut Value)) -> Self {
        let dir = TempDir::new().unwrap();
        let root = dir.path().join("rootfs");
        for made in [
            "usr/local/bin",
            "usr/lib",
            "etc",
            "proc",
            "sys",
            "dev",
            "var/lib/drainwatch",
            "host",
        ] {
            fs::create_dir_all(root.join(made)).unwrap();
        }
        fs::create_dir_all(root.join("host/sys/fs/cgroup")).unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        // As distributions with a merged /usr have them.
        for (name, target) in [("lib", "usr/lib"), ("lib64", "usr/lib64")] {
            symlink(target, root.join(name)).unwrap();
        }
        fs::copy(BINARY, root.join("usr/local/bin/drainwatch")).unwrap();
        for library in libraries() {
            let below = library.strip_prefix("/").unwrap();
            let below = below.strip_prefix("usr").unwrap_or(below);
            let to = root.join("usr").join(below);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(&library, to).unwrap();
        }
        let made = command("runc")
            .args(["spec", "--bundle"])
            .arg(dir.path())
            .status();
        assert!(
            made.expect("runc is here: `cargo xtask deps --install`")
                .success()
        );
        let path = dir.path().join("config.json");
        let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let two = json!(["CAP_BPF", "CAP_PERFMON"]);
        config["process"]["args"] = json!([
            "/usr/local/bin/drainwatch",
            "run",
            "--web.listen-address=127.0.0.1:0",
            "--state-dir=/var/lib/drainwatch"
        ]);
        config["process"]["terminal"] = json!(false);
        config["process"]["noNewPrivileges"] = json!(true);
        // This machine may not raise limits.
        config["process"]["rlimits"] = json!([]);
        config["process"]["capabilities"] = json!({"bounding": two, "effective": two, "permitted": two});
        config["root"]["readonly"] = json!(true);
        // The host's processes, as `hostPID: true`; its network, so that the test reaches the agent.
        config["linux"]["namespaces"] =
            json!([{"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "cgroup"}]);
        config["linux"]["resources"] = json!({});
        let state = dir.path().join("state");
        config["mounts"].as_array_mut().unwrap().extend([
            json!({"destination": "/host/sys/fs/cgroup", "type": "bind", "source": "/sys/fs/cgroup",
                "options": ["rbind", "ro"]}),
            json!({"destination": "/var/lib/drainwatch", "type": "bind", "source": state, "options": ["rbind", "rw"]}),
        ]);
        let name = format!(
            "drainwatch-test-{}",
            dir.path()
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .trim_start_matches('.')
        );
        config["linux"]["cgroupsPath"] = json!(format!("/{name}"));
        change(&mut config);
        fs::write(&path, config.to_string()).unwrap();
        Self { dir, name }
    }

    /// Runs it in the foreground, where the unified hierarchy alone is at /sys/fs/cgroup.
    fn command(&self) -> Command {
        let mut command = command("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-ec"])
            .arg(
                "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; \
                 exec runc --root \"$0/runc\" run --bundle \"$0\" \"$1\"",
            )
            .arg(self.dir.path())
            .arg(&self.name);
        command
    }

    /// First process of the container, as the host counts.
    fn pid(&self) -> String {
        let output = command("runc")
            .arg("--root")
            .arg(self.dir.path().join("runc"))
            .args(["state", &self.name])
            .output()
            .unwrap();
        let state: Value = serde_json::from_slice(&output.stdout).unwrap();
        state["pid"].to_string()
    }
}

/// Paths of the libraries that the agent is linked with.
fn libraries() -> Vec<PathBuf> {
    let told = String::from_utf8(command("ldd").arg(BINARY).output().unwrap().stdout).unwrap();
    told.split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

fn can_run() -> bool {
    nix::unistd::geteuid().is_root() && runs_here()
}

#[test]
fn given_a_container_as_the_chart_makes_it_when_run_then_it_attaches_and_serves_and_stops_within_a_second() {
    if !can_run() {
        return;
    }
    let bundle = Bundle::create(|_| ());
    let agent = Agent::start(bundle.command()).expect("it starts");
    assert_eq!(agent.get("/readyz").unwrap(), "ok\n");
    assert_eq!(agent.get("/healthz").unwrap(), "ok\n");
    let mut broken = agent.degraded().unwrap();
    broken.retain(|probe| !["reset_sent", "socket_close"].contains(&probe.as_str()));
    assert!(broken.is_empty(), "{broken:?}");
    let pid = bundle.pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    let effective = status.lines().find(|line| line.starts_with("CapEff:")).unwrap();
    assert!(
        effective.ends_with("0000000000000000") || effective.ends_with("0000008000000000"),
        "{effective}"
    );
    // It is in a cgroup namespace of its own, and yet knows the host's workloads, of which it is one.
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(own.contains(&bundle.name), "{own}");
    assert!(bundle.dir.path().join("state/reports.redb").exists());
    let (status, took) = agent.stop().unwrap();
    assert!(status.success(), "{status}: {}", agent.log());
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn given_a_seccomp_profile_without_bpf_when_run_then_one_line_says_so() {
    if !can_run() {
        return;
    }
    let bundle = Bundle::create(|config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]
        });
    });
    let output = bundle.command().output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(69), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(
        log.starts_with("drainwatch: ") && log.contains("seccomp"),
        "{log}"
    );
}

#[test]
fn given_a_container_without_the_hosts_cgroups_when_run_then_one_line_says_what_to_mount() {
    if !can_run() {
        return;
    }
    let bundle = Bundle::create(|config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/host/sys/fs/cgroup");
    });
    let output = bundle.command().output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(69), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("/sys/fs/cgroup"), "{log}");
}
