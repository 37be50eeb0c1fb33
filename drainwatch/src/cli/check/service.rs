//! The service that is checked: a command in a cgroup of its own, or a container in one of its engine's.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use procfs::{
    net::{TcpNetEntry, TcpState},
    process::{FDTarget, Process},
};

use super::container::Container;
use crate::cli::{args::StopSignal, demo::cgroup::Cgroup, failure::Failure};

/// Between two looks at it.
const EVERY: Duration = Duration::from_millis(20);

/// Enters the cgroup before anything else, and becomes the command. What a shell says of one that it cannot become begins
/// with its own name, [`SHELL`].
const ENTER: &str = r#"echo 0 > "$1" && shift && exec "$@""#;
const SHELL: &str = "drainwatch check";

/// A command or a container, and what it starts. It goes with everything that it left when dropped.
pub struct Service {
    body: Body,
    /// Directory of its cgroup.
    cgroup: PathBuf,
}

enum Body {
    // The processes before their cgroup: fields are dropped in this order.
    Command(
        Reaped,
        #[expect(dead_code, reason = "held until the processes are gone")] Cgroup,
    ),
    Container(Box<Container>),
}

struct Reaped {
    child: Child,
    kill: PathBuf,
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
    /// Starts a command; what it prints goes to standard error.
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
        let dir = cgroup.dir().to_owned();
        let kill = dir.join("cgroup.kill");
        Ok(Self {
            body: Body::Command(Reaped { child, kill }, cgroup),
            cgroup: dir,
        })
    }

    /// A container that was started.
    pub fn of_container(cgroup_root: &Path, container: Container) -> Self {
        Self {
            cgroup: cgroup_root.join(container.cgroup().trim_start_matches('/')),
            body: Body::Container(Box::new(container)),
        }
    }

    /// What it is, in a word.
    fn what(&self) -> &'static str {
        match &self.body {
            Body::Command(..) => "command",
            Body::Container(_) => "container",
        }
    }

    /// Id of its main process.
    pub fn pid(&self) -> i32 {
        match &self.body {
            Body::Command(process, _) => process.child.id().cast_signed(),
            Body::Container(container) => container.pid(),
        }
    }

    /// What stops it unless another signal is asked for.
    pub fn stop_signal(&self) -> StopSignal {
        match &self.body {
            Body::Command(..) => StopSignal::TERM,
            Body::Container(container) => container.stop_signal(),
        }
    }

    /// How its report is found: by the last part of its cgroup's path, or by all of it.
    pub fn workload(&self) -> String {
        match &self.body {
            Body::Command(..) => self
                .cgroup
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            Body::Container(container) => container.cgroup().to_owned(),
        }
    }

    /// Waits until it, or a process that it started, listens: at this port, or at its lowest one.
    pub async fn listening(&mut self, port: Option<u16>, within: Duration) -> Result<SocketAddr, Failure> {
        let deadline = Instant::now() + within;
        let mut out_of_reach = None;
        while Instant::now() < deadline {
            self.check_alive()?;
            let mut listeners = self.listeners();
            listeners.retain(|address| port.is_none_or(|port| port == address.port()));
            let mut found: Vec<_> = listeners
                .iter()
                .filter_map(|&address| self.reachable(address))
                .collect();
            found.sort_by_key(|address| (address.port(), !address.ip().is_loopback()));
            if let Some(address) = found.first() {
                return Ok(*address);
            }
            out_of_reach = listeners.first().copied();
            tokio::time::sleep(EVERY).await;
        }
        if let Some(address) = out_of_reach {
            return Err(Failure::unavailable(if address.ip().is_loopback() {
                format!(
                    "it listens at {address} of the container's own network alone, where nobody outside reaches it; have it \
                     listen at 0.0.0.0"
                )
            } else {
                format!(
                    "it listens at {address}, but its container has no address; give it a network, such as \
                     --run-option=--network=host"
                )
            }));
        }
        let port = port.map_or_else(String::new, |port| format!(" at port {port}"));
        Err(Failure::unavailable(format!(
            "the {} did not listen{port} within {} s; give it longer with --start-within, or another --port",
            self.what(),
            within.as_secs_f64()
        )))
    }

    /// It must not have ended by itself.
    pub fn check_alive(&mut self) -> Result<(), Failure> {
        match &mut self.body {
            Body::Command(process, _) => match process.child.try_wait() {
                Ok(None) => Ok(()),
                Ok(Some(status)) => Err(Failure::unavailable(format!(
                    "the command ended by itself ({status}) before it was stopped; its output is above"
                ))),
                Err(why) => Err(Failure::internal("the command cannot be waited for", why)),
            },
            Body::Container(container) if container.is_alive() => Ok(()),
            Body::Container(container) => Err(container.ended()),
        }
    }

    /// Addresses at which its processes listen, as they see them.
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
            .map(|entry| {
                let address = entry.local_address;
                SocketAddr::new(address.ip().to_canonical(), address.port())
            })
            .collect()
    }

    /// How a client of this host reaches what listens there.
    fn reachable(&self, address: SocketAddr) -> Option<SocketAddr> {
        let ip = match &self.body {
            Body::Container(container) if container.own_network() => container.outside(address.ip())?,
            _ => here(address.ip()),
        };
        Some(SocketAddr::new(ip, address.port()))
    }

    fn pids(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        let mut waiting = vec![self.cgroup.clone()];
        while let Some(dir) = waiting.pop() {
            let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            pids.extend(procs.lines().filter_map(|pid| pid.parse::<i32>().ok()));
            let below = fs::read_dir(&dir).into_iter().flatten().flatten();
            waiting.extend(
                below
                    .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                    .map(|entry| entry.path()),
            );
        }
        pids
    }

    /// Signals its main process, or all processes of a command: nobody does that to a container.
    pub fn signal(&self, signal: StopSignal, all: bool) -> Result<(), Failure> {
        let main = self.pid();
        let all = all && matches!(self.body, Body::Command(..));
        let pids = if all { self.pids() } else { vec![main] };
        for pid in pids {
            match send(pid, signal) {
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
        let _ = fs::write(self.cgroup.join("cgroup.kill"), "1");
        for pid in self.pids() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// Waits until its main process has ended; `false` when it has not in time.
    pub async fn ended(&mut self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            let alive = match &mut self.body {
                Body::Command(process, _) => matches!(process.child.try_wait(), Ok(None)),
                Body::Container(container) => container.is_alive(),
            };
            if !alive {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}

/// Sends it; by the shell where it is a real-time signal, which nix does not know.
fn send(pid: i32, signal: StopSignal) -> io::Result<()> {
    if let Some(signal) = signal.signal() {
        return kill(Pid::from_raw(pid), signal).map_err(io::Error::from);
    }
    let status = Command::new("sh")
        .args(["-c", r#"kill -"$1" "$2""#, SHELL])
        .args([signal.number().to_string(), pid.to_string()])
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(Errno::ESRCH.into())
    }
}

/// The address of every interface is reached at loopback.
fn here(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}
