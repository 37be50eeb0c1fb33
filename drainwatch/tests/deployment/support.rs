//! An agent of one's own, and how to ask it.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

pub const BINARY: &str = env!("CARGO_BIN_EXE_drainwatch");
/// Guests in QEMU are slow; nothing is waited for that long where it goes well.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The agent can run on this machine with all privileges there are; what it says otherwise is another test's.
pub fn runs_here() -> bool {
    Command::new(BINARY)
        .arg("doctor")
        .output()
        .unwrap()
        .status
        .success()
}

/// A command whose environment has no settings of drainwatch.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("DRAINWATCH_") {
            command.env_remove(name);
        }
    }
    command
}

/// A running agent. Killed when dropped.
pub struct Agent {
    child: Child,
    log: mpsc::Receiver<String>,
    pub address: String,
}

impl Agent {
    /// Starts `program`, which is the agent or becomes it, and waits until it says its address; `Err` has its last
    /// line and its status when it ends instead.
    pub fn start(mut command: Command) -> Result<Self, (String, ExitStatus)> {
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = lines(child.stderr.take().unwrap());
        let mut last = String::new();
        loop {
            match log.recv_timeout(PATIENCE) {
                Ok(line) => {
                    if let Some((_, rest)) = line.split_once("address=\"") {
                        let address = rest.trim_end_matches('"').to_owned();
                        return Ok(Self { child, log, address });
                    }
                    last = line;
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err((last, child.wait().unwrap())),
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("no address in time; last line: {last}"),
            }
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// SIGTERM; how it ended and how long that took.
    pub fn stop(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        kill(self.pid(), Signal::SIGTERM).unwrap();
        (self.child.wait().unwrap(), began.elapsed())
    }

    /// The rest of the log of one that has ended.
    pub fn rest(&self) -> String {
        self.log.iter().collect::<Vec<_>>().join("\n")
    }

    /// What it has logged and nobody has read.
    pub fn log(&self) -> Vec<String> {
        self.log.try_iter().collect()
    }

    /// The body of a 200.
    pub fn get(&self, path: &str) -> String {
        get(&self.address, path)
    }

    /// Its reports of the workload of this cgroup, newest first.
    pub fn reports(&self, cgroup: &str) -> Vec<serde_json::Value> {
        let listing: serde_json::Value = serde_json::from_str(&self.get("/api/v1/shutdowns")).unwrap();
        let all = listing["shutdowns"].as_array().unwrap();
        let of = |report: &&serde_json::Value| {
            report["workload"]["cgroup"]
                .as_str()
                .is_some_and(|path| path.ends_with(cgroup))
        };
        all.iter().filter(of).cloned().collect()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body of a 200.
pub fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {response}");
    body.into()
}

/// Lines of a pipe as they come.
pub fn lines(pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Polls until it is there.
pub fn within<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not in time");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A cgroup of one's own, removed when dropped.
pub struct Cgroup(pub PathBuf);

impl Cgroup {
    pub fn create() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let root = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .into_iter()
            .map(Path::new)
            .find(|root| root.join("cgroup.procs").exists() && fs::metadata(root).is_ok_and(|m| m.ino() == 1))
            .expect("a unified hierarchy is mounted");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = root.join(format!("drainwatch-deployment-{}-{number}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    pub fn name(&self) -> &str {
        self.0.file_name().unwrap().to_str().unwrap()
    }

    /// A command that enters it before it becomes `program`.
    pub fn command(&self, program: &str) -> Command {
        let mut shell = command("sh");
        shell
            .arg("-c")
            .arg("echo 0 >\"$0\"/cgroup.procs && exec \"$@\"")
            .arg(&self.0)
            .arg(program);
        shell
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        let deadline = Instant::now() + Duration::from_secs(5);
        while fs::remove_dir(&self.0).is_err() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
    }
}
