//! `drainwatch check --container` with real containers of Podman: what it says of an image is what the image is, and
//! nothing is left of it.

use std::{fs, os::unix::fs::symlink, path::Path, process::Output, time::Duration};

use assert_cmd::Command;
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use testkit::{Process, process::unshared, runs_here};

const BINARY: &str = env!("CARGO_BIN_EXE_drainwatch");

/// The unified hierarchy alone, and what Podman keeps in places of its own: `$work` is a directory.
const INSIDE: &str = "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; ip link set lo up; \
     mount -t tmpfs none /run; mount -t tmpfs none /dev/shm; mkdir -p /run/netns /run/lock; work=$1; shift; \
     export CONTAINERS_CONF=$work/containers.conf CONTAINERS_STORAGE_CONF=$work/storage.conf; exec \"$@\"";

/// Where the unified hierarchy is on this machine.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// Answers after 200 ms. A process without handlers, as PID 1, takes no notice of SIGTERM. At SIGQUIT it serves for 1.5 s
/// more and finishes what it has.
const SERVER: &str = r#"
import signal, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        time.sleep(0.2)
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")
    def log_message(self, *_): pass

class Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

server, stopping = Server((sys.argv[1], 8080), Handler), threading.Event()
def stop():
    stopping.wait()
    time.sleep(1.5)
    server.shutdown()
stopper = threading.Thread(target=stop, daemon=True)
stopper.start()
signal.signal(signal.SIGQUIT, lambda *_: stopping.set())
print("serving", flush=True)
server.serve_forever(poll_interval=0.05)
server.server_close()
"#;

/// Podman with an image `shop/web:1`, whose programs are this machine's.
struct Podman {
    work: TempDir,
}

impl Podman {
    /// `None` where there is none, or no agent can run.
    fn new() -> Option<Self> {
        let here = || {
            let said = testkit::command("sh")
                .args(["-c", "command -v podman && command -v python3 && test -L /lib"])
                .output();
            said.is_ok_and(|output| output.status.success())
        };
        if !runs_here(BINARY) || !here() {
            return None;
        }
        let podman = Self {
            work: TempDir::new().unwrap(),
        };
        let at = podman.work.path();
        // Limits that not every machine can give: containers without them.
        podman.write(
            "containers.conf",
            &format!(
                "[containers]\npids_limit = 0\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
                 log_driver = \"k8s-file\"\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
                 tmp_dir = \"{}\"\n",
                at.join("tmp").display()
            ),
        );
        podman.write(
            "storage.conf",
            &format!(
                "[storage]\ndriver = \"vfs\"\ngraphroot = \"{0}/data\"\nrunroot = \"{0}/run\"\n",
                at.display()
            ),
        );
        let root = at.join("root");
        for name in ["usr", "proc", "sys", "dev", "tmp", "etc", "run"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
                symlink(target, root.join(name)).unwrap();
            }
        }
        fs::write(root.join("server.py"), SERVER).unwrap();
        let tar = at.join("image.tar");
        let packed = std::process::Command::new("tar")
            .arg("cf")
            .arg(&tar)
            .arg("-C")
            .arg(&root)
            .arg(".")
            .status();
        assert!(packed.unwrap().success());
        let image = tar.to_str().unwrap();
        podman.told(&[
            "podman",
            "import",
            "--change",
            "STOPSIGNAL SIGQUIT",
            "--change",
            r#"CMD ["python3", "/server.py", "0.0.0.0"]"#,
            image,
            "shop/web:1",
        ]);
        Some(podman)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.work.path().join(name), text).unwrap();
    }

    /// A command in its namespaces, as which the process goes on.
    fn command(&self, line: &[&str]) -> std::process::Command {
        let mut command = unshared(&["--net", "sh", "-ec", INSIDE, "sh"]);
        command.arg(self.work.path()).args(line);
        command
    }

    fn run(&self, line: &[&str]) -> Output {
        Command::from_std(self.command(line))
            .timeout(Duration::from_mins(1))
            .output()
            .unwrap()
    }

    fn told(&self, line: &[&str]) -> String {
        let output = self.run(line);
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line:?}: {log}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Exit code, what is said on standard output, and on standard error.
    fn check(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut line = vec![BINARY, "check", "--format", "json", "--warmup", "1s"];
        line.extend(["--run-option=--volume=/usr:/usr:ro"]);
        line.extend(arguments);
        let output = self.run(&line);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// No container is left, whatever became of it.
    fn nothing_is_left(&self) {
        assert_eq!(self.told(&["podman", "ps", "--all", "--quiet"]), "");
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // What Podman leaves of its own, unless another one is at work.
        for name in ["libpod_parent/conmon", "libpod_parent"] {
            for root in ROOTS {
                let _ = fs::remove_dir(Path::new(root).join(name));
            }
        }
    }
}

/// The report's cgroup is gone, which was there while it was told of.
fn its_cgroup_is_gone(report: &Value) {
    let cgroup = report["workload"]["cgroup"].as_str().unwrap();
    assert!(cgroup.contains("libpod"), "{cgroup}");
    for root in ROOTS {
        assert!(!Path::new(root).join(&cgroup[1..]).exists(), "{root}{cgroup}");
    }
}

#[test]
fn given_an_image_when_checked_then_its_own_stop_signal_is_what_makes_it_fit() {
    let Some(podman) = Podman::new() else { return };
    let (code, said, log) = podman.check(&["--container", "shop/web:1"]);
    assert_eq!(code, 0, "{said} {log}");
    let said: Value = serde_json::from_str(&said).unwrap();
    let report = &said["report"];
    assert_eq!(report["verdict"], "clean", "{said}");
    assert_eq!(report["workload"]["kind"], "podman", "{said}");
    assert_eq!(report["workload"]["name"], "shop/web:1", "{said}");
    assert_eq!(report["signals"][0]["signal"], "SIGQUIT", "{said}");
    assert!(report["requests"]["drained"].as_u64() > Some(0), "{said}");
    assert!(said["clients"]["sent"].as_u64() > Some(0), "{said}");
    assert!(log.contains("serving\n"), "its output is passed on: {log}");
    its_cgroup_is_gone(report);
    podman.nothing_is_left();

    let (code, said, log) = podman.check(&[
        "--container",
        "shop/web:1",
        "--engine",
        "podman",
        "--stop-signal",
        "SIGTERM",
        "--like",
        "docker",
        "--grace",
        "1s",
        "--lag",
        "5s",
    ]);
    assert_eq!(code, 1, "{said} {log}");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["report"]["verdict"], "severed", "{said}");
    let codes: Vec<_> = said["report"]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| &finding["code"])
        .collect();
    assert!(codes.iter().any(|code| *code == "ignored_by_pid1"), "{said}");
    let cut = said["clients"]["cut"].as_u64();
    assert!(cut > Some(0), "{said}");
    assert_eq!(cut, said["report"]["requests"]["severed"].as_u64(), "{said}");
    podman.nothing_is_left();
}

#[test]
fn given_an_image_in_the_hosts_network_when_checked_then_it_is_asked_at_loopback() {
    let Some(podman) = Podman::new() else { return };
    let server = ["--", "python3", "/server.py", "127.0.0.1"];
    let host = [
        "--container",
        "shop/web:1",
        "--like",
        "systemd",
        "--run-option=--network=host",
    ];
    let (code, said, log) = podman.check(&[&host[..], &server].concat());
    assert_eq!(code, 0, "{said} {log}");
    assert!(log.contains("listens at 127.0.0.1:8080"), "{log}");
    podman.nothing_is_left();
}

#[test]
fn given_a_check_of_an_image_when_interrupted_then_its_container_goes_with_it() {
    let Some(podman) = Podman::new() else { return };
    let volume = "--run-option=--volume=/usr:/usr:ro";
    let line = [
        BINARY,
        "check",
        "--warmup",
        "10m",
        volume,
        "--container",
        "shop/web:1",
    ];
    let check = Process::start(podman.command(&line)).unwrap();
    check.line("listens at").unwrap();
    check.signal(Signal::SIGINT).unwrap();
    let status = check.wait().unwrap();
    assert_eq!(status.code(), Some(130), "{}", check.log());
    podman.nothing_is_left();
}

#[test]
fn given_images_that_cannot_be_checked_then_2_and_one_line_that_says_why() {
    let Some(podman) = Podman::new() else { return };
    let image = ["--container", "shop/web:1"];
    let quickly = ["--start-within", "1s"];
    for (arguments, says) in [
        (
            vec!["--container", "nowhere/none:1"],
            "podman has no image `nowhere/none:1`",
        ),
        (
            [&image[..], &["--", "/nowhere"]].concat(),
            "did not start `shop/web:1`: ",
        ),
        ([&image[..], &["--run-option=--nonsense"]].concat(), "--nonsense"),
        (
            [&image[..], &["--", "sh", "-c", "echo no database; exit 3"]].concat(),
            "the container ended by itself (exit code 3)",
        ),
        (
            [&image[..], &quickly, &["--", "sleep", "60"]].concat(),
            "the container did not listen within 1 s",
        ),
        (
            [
                &image[..],
                &quickly,
                &["--", "python3", "/server.py", "127.0.0.1"],
            ]
            .concat(),
            "it listens at 127.0.0.1:8080 of the container's own network alone",
        ),
        (
            [&image[..], &quickly, &["--run-option=--network=none"]].concat(),
            "its container has no address",
        ),
    ] {
        let (code, said, log) = podman.check(&arguments);
        assert_eq!(code, 2, "{arguments:?}: {log}");
        let last = log.lines().last().unwrap();
        assert!(
            last.starts_with("drainwatch: ") && last.contains(says),
            "{arguments:?}: {log}"
        );
        assert_eq!(said, "");
        if says.contains("exit code 3") {
            assert!(log.contains("no database\n"), "its output is above: {log}");
        }
        podman.nothing_is_left();
    }
}

#[test]
fn given_no_engine_when_a_container_is_to_be_checked_then_2_and_what_is_missing() {
    if !runs_here(BINARY) {
        return;
    }
    let nothing = TempDir::new().unwrap();
    let mut check = Command::new(BINARY);
    let output = check
        .args(["check", "--container", "shop/web:1"])
        .env("PATH", nothing.path())
        .output()
        .unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{log}");
    let last = log.lines().last().unwrap();
    assert!(
        last.contains("docker is not installed; podman is not installed"),
        "{log}"
    );
}
