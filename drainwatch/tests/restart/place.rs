//! Where agents come and go: a bpf file system and a state directory of the test's own.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::{Signal, kill},
};
use tempfile::TempDir;
use testkit::{Agent, Process, command, within};

pub const BINARY: &str = env!("CARGO_BIN_EXE_drainwatch");

/// A place for one agent at a time.
pub struct Place {
    /// Where bpffs is mounted.
    bpf: TempDir,
    state: TempDir,
    config: String,
}

impl Place {
    /// With this linger.
    pub fn new(linger: &str) -> Self {
        let bpf = tempfile::tempdir().unwrap();
        mount(
            Some("bpf"),
            bpf.path(),
            Some("bpf"),
            MsFlags::empty(),
            None::<&str>,
        )
        .unwrap();
        let state = tempfile::tempdir().unwrap();
        let config = state.path().join("drainwatch.toml");
        let off = "socket = \"off\"";
        let text = format!(
            "kubernetes = \"off\"\n[shutdown]\nlinger = \"{linger}\"\n[docker]\n{off}\n[podman]\n{off}\n[systemd]\nbus = \"off\"\n"
        );
        fs::write(&config, text).unwrap();
        Self {
            config: config.display().to_string(),
            bpf,
            state,
        }
    }

    /// An agent of this place.
    pub fn command(&self) -> Command {
        let mut command = testkit::agent::run(BINARY);
        command
            .args(["--config", &self.config, "--pin-dir"])
            .arg(self.pin_dir())
            .arg("--state-dir")
            .arg(self.state.path().join("state"));
        command
    }

    /// Where its programs are pinned.
    pub fn pin_dir(&self) -> PathBuf {
        self.bpf.path().join("drainwatch")
    }

    /// Starts one and waits until it watches.
    pub fn start(&self) -> Agent {
        Agent::start(self.command()).unwrap()
    }

    /// One that has a state of its own and the same pins.
    pub fn start_beside(&self) -> Agent {
        let mut command = testkit::agent::run(BINARY);
        command
            .args(["--config", &self.config, "--pin-dir"])
            .arg(self.pin_dir());
        Agent::start(command).unwrap()
    }

    /// Starts one and kills it this much later, wherever it is by then.
    pub fn start_and_kill(&self, after: Duration) {
        let process = Process::start(self.command()).unwrap();
        std::thread::sleep(after);
        kill(process.pid(), Signal::SIGKILL).unwrap();
        process.wait().unwrap();
    }

    /// `drainwatch uninstall`.
    pub fn uninstall(&self) -> Output {
        let mut uninstall = command(BINARY);
        uninstall.args(["uninstall", "--pin-dir"]).arg(self.pin_dir());
        uninstall.output().unwrap()
    }

    /// Sets of pins.
    pub fn pinned(&self) -> Vec<String> {
        let entries = fs::read_dir(self.pin_dir());
        let names = entries.into_iter().flatten().flatten();
        names
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }
}

/// Ends an agent.
pub fn end(agent: Agent, how: Signal) {
    kill(agent.pid(), how).unwrap();
    within("the agent to end", || agent.check_alive().is_err().then_some(()));
    drop(agent);
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Journal and store are the evidence.
            eprintln!("kept: {}", self.state.path().display());
            self.state.disable_cleanup(true);
        }
        // Programs go with their pins.
        let _ = fs::remove_dir_all(self.pin_dir());
        let _ = umount2(self.bpf.path(), MntFlags::MNT_DETACH);
    }
}
