//! The service that is checked: a command in a cgroup of its own.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use procfs::{
    net::{TcpNetEntry, TcpState},
    process::{FDTarget, Process},
};

use crate::cli::{args::StopSignal, demo::cgroup::Cgroup, failure::Failure};

/// Between two looks at it.
const EVERY: Duration = Duration::from_millis(20);

/// Enters the cgroup before anything else, and becomes the command. What a shell says of one that it cannot become begins
/// with its own name, [`SHELL`].
const ENTER: &str = r#"echo 0 > "$1" && shift && exec "$@""#;
const SHELL: &str = "drainwatch check";

/// A command and what it starts. Killed, reaped and its cgroup removed when dropped.
pub struct Service {
    // Before the cgroup: fields are dropped in this order.
    process: Reaped,
    cgroup: Cgroup,
}

struct Reaped {
    child: Child,
    kill: std::path::PathBuf,
}

impl Drop for Reaped {
    fn drop(&mut self) {
        // It may have ended long ago, which is what it was stopped for.
        let _ = fs::write(&self.kill, "1");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Service {
    /// Starts it; what it prints goes to standard error.
    pub fn start(cgroup_root: &Path, command: &[OsString]) -> Result<Self, Failure> {
        let cgroup = Cgroup::create(cgroup_root, &format!("drainwatch-check-{}", std::process::id()))?;
        let output = io::stderr()
            .as_fd()
            .try_clone_to_owned()
            .map_or_else(|_| Stdio::null(), Stdio::from);
        let child = Command::new("sh")
            .args(["-c", ENTER, SHELL])
            .arg(cgroup.dir().join("cgroup.procs"))
            .args(command)
            .stdin(Stdio::null())
            .stdout(output)
            // Ctrl-C is for this program, which stops it.
            .process_group(0)
            .spawn()
            .map_err(|why| Failure::unavailable(format!("the command did not start: {why}")))?;
        let kill = cgroup.dir().join("cgroup.kill");
        Ok(Self {
            process: Reaped { child, kill },
            cgroup,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Last part of its cgroup's path.
    pub fn cgroup_name(&self) -> String {
        let name = self.cgroup.dir().file_name();
        name.map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    /// Waits until it, or a process that it started, listens: at this port, or at its lowest one.
    pub async fn listening(&mut self, port: Option<u16>, within: Duration) -> Result<SocketAddr, Failure> {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            self.check_alive()?;
            let mut found = self.listeners();
            found.retain(|address| port.is_none_or(|port| port == address.port()));
            found.sort_by_key(|address| (address.port(), !address.ip().is_loopback()));
            if let Some(address) = found.first() {
                return Ok(*address);
            }
            tokio::time::sleep(EVERY).await;
        }
        let port = port.map_or_else(String::new, |port| format!(" at port {port}"));
        Err(Failure::unavailable(format!(
            "the command did not listen{port} within {} s; give it longer with --start-within, or another --port",
            within.as_secs_f64()
        )))
    }

    /// It must not have ended by itself.
    pub fn check_alive(&mut self) -> Result<(), Failure> {
        match self.process.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(Failure::unavailable(format!(
                "the command ended by itself ({status}) before it was stopped; its output is above"
            ))),
            Err(why) => Err(Failure::internal("the command cannot be waited for", why)),
        }
    }

    /// Addresses at which its processes listen, as a client of this host reaches them.
    fn listeners(&self) -> Vec<SocketAddr> {
        let processes: Vec<Process> = self
            .pids()
            .into_iter()
            .filter_map(|pid| Process::new(pid).ok())
            .collect();
        let inodes: HashSet<u64> = processes
            .iter()
            .filter_map(|process| process.fd().ok())
            .flatten()
            .filter_map(|fd| match fd.ok()?.target {
                FDTarget::Socket(inode) => Some(inode),
                _ => None,
            })
            .collect();
        let Some(process) = processes.first() else {
            return vec![];
        };
        let entries = process.tcp().into_iter().chain(process.tcp6()).flatten();
        let is_its = |entry: &TcpNetEntry| entry.state == TcpState::Listen && inodes.contains(&entry.inode);
        entries
            .filter(is_its)
            .map(|entry| reachable(entry.local_address))
            .collect()
    }

    fn pids(&self) -> Vec<i32> {
        let procs = fs::read_to_string(self.cgroup.dir().join("cgroup.procs")).unwrap_or_default();
        procs.lines().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Signals its main process, or all of its processes.
    pub fn signal(&self, signal: StopSignal, all: bool) -> Result<(), Failure> {
        let main = self.pid().cast_signed();
        let pids = if all { self.pids() } else { vec![main] };
        for pid in pids {
            match kill(Pid::from_raw(pid), signal.signal()) {
                // One that has ended meanwhile needs no signal.
                Err(why) if pid == main => {
                    return Err(Failure::internal("the stop signal could not be sent", why));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// SIGKILL to all of it.
    pub fn kill(&self) {
        // Before Linux 5.14 there is no such file; 5.15 is the oldest that is supported.
        let _ = fs::write(&self.process.kill, "1");
        for pid in self.pids() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// Waits until its main process has ended; `false` when it has not in time.
    pub async fn ended(&mut self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            if !matches!(self.process.child.try_wait(), Ok(None)) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}

/// The address of every interface is reached at loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
