//! The agent in a container of a real Docker, with what the chart gives it: a read-only root and two capabilities.
//!
//! Base images cannot be had here. The image is the Dockerfile's last stage made by hand: the agent, and the
//! libraries that it is linked with.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::support::{BINARY, command, runs_here, within};

const IMAGE: &str = "drainwatch:test";
/// What the chart's container has.
const CHART: &[&str] = &[
    "--read-only",
    "--cap-drop=ALL",
    "--cap-add=BPF",
    "--cap-add=PERFMON",
    "--security-opt=no-new-privileges",
    "--pid=host",
    "--volume=/sys/fs/cgroup:/host/sys/fs/cgroup:ro",
];

/// A Docker of one's own: in a mount namespace whose /sys/fs/cgroup is the unified hierarchy alone.
struct Docker {
    daemon: Child,
    dir: TempDir,
}

impl Docker {
    /// `None` where there is no Docker.
    fn start() -> Option<Self> {
        Command::new("dockerd").arg("--version").output().ok()?;
        let dir = TempDir::new().unwrap();
        let at = dir.path().display();
        let script = format!(
            "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec dockerd --host unix://{at}/socket \
             --data-root {at}/data --exec-root {at}/exec --pidfile {at}/pid --bridge none --iptables=false \
             --exec-opt native.cgroupdriver=cgroupfs"
        );
        let log = fs::File::create(dir.path().join("log")).unwrap();
        // It must not outlive the test, however that ends.
        let daemon = command("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "unshare",
                "--mount",
                "--propagation",
                "private",
            ])
            .args(["sh", "-ec", &script])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut docker = Self { daemon, dir };
        within("Docker", || {
            if let Some(status) = docker.daemon.try_wait().unwrap() {
                panic!(
                    "{status}: {}",
                    fs::read_to_string(docker.dir.path().join("log")).unwrap()
                );
            }
            docker.ask(&["info"]).status.success().then_some(())
        });
        Some(docker)
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        command("docker")
            .arg("--host")
            .arg(format!("unix://{}", self.dir.path().join("socket").display()))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What it answers to something that must work.
    fn told(&self, arguments: &[&str]) -> String {
        let output = self.ask(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Standard error of a container, which is the agent's log.
    fn log(&self, container: &str) -> String {
        String::from_utf8(self.ask(&["logs", container]).stderr).unwrap()
    }

    fn import(&self) {
        let root = self.dir.path().join("root");
        for dir in [
            "usr/local/bin",
            "usr/lib",
            "etc",
            "proc",
            "sys",
            "dev",
            "var/lib/drainwatch",
        ] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        // Distributions with a merged /usr.
        for (name, target) in [("lib", "usr/lib"), ("lib64", "usr/lib64")] {
            symlink(target, root.join(name)).unwrap();
        }
        fs::copy(BINARY, root.join("usr/local/bin/drainwatch")).unwrap();
        for library in libraries() {
            let real = library.strip_prefix("/usr").unwrap_or(&library);
            let to = root.join("usr").join(real.strip_prefix("/").unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(&library, to).unwrap();
        }
        let tar = self.dir.path().join("image.tar");
        let packed = command("tar")
            .arg("cf")
            .arg(&tar)
            .arg("-C")
            .arg(&root)
            .arg(".")
            .status()
            .unwrap();
        assert!(packed.success());
        let entry = "ENTRYPOINT [\"/usr/local/bin/drainwatch\"]";
        self.told(&["import", "--change", entry, tar.to_str().unwrap(), IMAGE]);
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let _ = self.ask(&["rm", "--force", "agent"]);
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.daemon.id().cast_signed()),
            nix::sys::signal::Signal::SIGTERM,
        );
        let _ = self.daemon.wait();
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

fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200").then_some(answer)
}

#[test]
fn given_a_container_as_the_chart_makes_it_when_run_then_it_attaches_and_serves_and_stops_within_a_second() {
    if !nix::unistd::geteuid().is_root() || !runs_here() {
        return;
    }
    let Some(docker) = Docker::start() else { return };
    docker.import();
    let state = docker.dir.path().join("state");
    fs::create_dir(&state).unwrap();
    let volume = format!("--volume={}:/var/lib/drainwatch", state.display());
    let run = |further: &[&str]| {
        let mut arguments = vec!["run", "--detach", "--name=agent", "--network=host", &volume];
        arguments.extend(CHART);
        arguments.extend(further);
        arguments.extend([
            IMAGE,
            "run",
            "--web.listen-address=127.0.0.1:0",
            "--state-dir=/var/lib/drainwatch",
        ]);
        docker.told(&arguments);
    };

    // Docker before 23 has a profile that keeps bpf() from those with CAP_BPF alone: the agent says so.
    run(&[]);
    let allowed = within("a start or a refusal", || {
        let log = docker.log("agent");
        let refused = log.contains("drainwatch: ");
        (refused || log.contains("address=")).then_some(!refused)
    });
    if !allowed {
        let log = docker.log("agent");
        assert!(log.contains("seccomp") && log.lines().count() == 1, "{log}");
        docker.told(&["rm", "agent"]);
        run(&["--security-opt=seccomp=unconfined"]);
    }
    let address = within("its address", || {
        let log = docker.log("agent");
        assert!(!log.contains("drainwatch: "), "{log}");
        let (_, rest) = log.split_once("address=\"")?;
        Some(rest.split('"').next()?.to_owned())
    });

    within("ready", || get(&address, "/readyz"));
    assert!(get(&address, "/healthz").is_some());
    let metrics = get(&address, "/metrics").unwrap();
    let broken: Vec<_> = metrics
        .lines()
        .filter(|line| line.starts_with("drainwatch_probe_status{") && line.ends_with(" 0"))
        .filter(|line| !line.contains("reset_sent"))
        .collect();
    assert!(broken.is_empty(), "{broken:?}: {}", docker.log("agent"));
    let pid = docker.told(&["inspect", "--format={{.State.Pid}}", "agent"]);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    let effective = status.lines().find(|line| line.starts_with("CapEff:")).unwrap();
    assert!(
        effective.ends_with("0000000000000000") || effective.ends_with("0000008000000000"),
        "{effective}"
    );
    assert!(state.join("reports.redb").exists());
    // It knows the containers of this Docker, itself among them, by the host's names.
    let id = docker.told(&["inspect", "--format={{.Id}}", "agent"]);
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(cgroup.contains(&id), "{cgroup}");

    let began = Instant::now();
    docker.told(&["kill", "--signal=TERM", "agent"]);
    let process = PathBuf::from(format!("/proc/{pid}"));
    within("its end", || (!Path::new(&process).exists()).then_some(()));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    within("its status", || {
        (docker.told(&["inspect", "--format={{.State.Status}}", "agent"]) == "exited").then_some(())
    });
    assert_eq!(
        docker.told(&["inspect", "--format={{.State.ExitCode}}", "agent"]),
        "0"
    );
}
