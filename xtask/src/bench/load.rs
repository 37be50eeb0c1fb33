//! nginx in a cgroup of its own, and wrk that drives it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};
use tempfile::TempDir;

use super::agent::free_port;
use crate::shell;

/// A cgroup for one server, so that it is a workload of its own; removed when dropped.
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Under the unified hierarchy, wherever it is mounted.
    pub fn new(name: &str) -> Result<Self> {
        let mounts = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
        let root = mounts
            .into_iter()
            .find(|path| path.join("cgroup.procs").is_file())
            .context("no unified cgroup hierarchy is mounted")?;
        let path = root.join(format!("drainwatch-bench-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("making {} (are you root?)", path.display()))?;
        Ok(Self(path))
    }

    /// A command that enters the cgroup and becomes `program`.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""])
            .arg(&self.0)
            .arg(program);
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its processes were ended just before; the kernel may need a moment to see that.
        let start = Instant::now();
        while fs::remove_dir(&self.0).is_err() && start.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// nginx with one worker that serves a small constant.
pub struct Nginx {
    child: Child,
    worker: i32,
    /// Where it listens.
    pub port: u16,
    _directory: TempDir,
    _cgroup: Cgroup,
}

/// What one run of wrk showed.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Requests in all.
    pub requests: f64,
    /// Requests per second.
    pub rate: f64,
    /// CPU of nginx's worker per request, in microseconds.
    pub cpu_us: f64,
}

impl Nginx {
    /// Starts it and waits until it serves.
    pub fn start() -> Result<Self> {
        let directory = tempfile::tempdir().context("making a directory for nginx")?;
        let cgroup = Cgroup::new("nginx")?;
        let port = free_port()?;
        let here = directory.path().display();
        let configuration = format!(
            "daemon off;\nworker_processes 1;\npid {here}/pid;\nerror_log {here}/error.log;\n\
             events {{ worker_connections 16384; }}\n\
             http {{\n  access_log off;\n  keepalive_requests 100000000;\n  keepalive_timeout 1h;\n  \
             client_body_temp_path {here}/1;\n  proxy_temp_path {here}/2;\n  fastcgi_temp_path {here}/3;\n  \
             uwsgi_temp_path {here}/4;\n  scgi_temp_path {here}/5;\n  \
             server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 \"ok\\n\"; }} }}\n}}\n"
        );
        let file = directory.path().join("nginx.conf");
        fs::write(&file, configuration).context("writing nginx.conf")?;
        let child = cgroup
            .command("nginx")
            .arg("-c")
            .arg(&file)
            .arg("-e")
            .arg(directory.path().join("error.log"))
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start nginx")?;
        let mut nginx = Self {
            child,
            worker: 0,
            port,
            _directory: directory,
            _cgroup: cgroup,
        };
        let start = Instant::now();
        loop {
            ensure!(
                nginx.child.try_wait().context("waiting for nginx")?.is_none(),
                "nginx ended at once"
            );
            ensure!(
                start.elapsed() < Duration::from_secs(10),
                "nginx does not serve after 10 s"
            );
            let serves = std::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port)).is_ok();
            if let (true, Some(worker)) = (serves, nginx.find_worker()) {
                nginx.worker = worker;
                return Ok(nginx);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The master's one child.
    fn find_worker(&self) -> Option<i32> {
        let master = self.child.id().cast_signed();
        let all = procfs::process::all_processes().ok()?;
        all.flatten()
            .filter_map(|process| process.stat().ok())
            .find(|stat| stat.ppid == master)
            .map(|stat| stat.pid)
    }

    fn cpu_seconds(&self) -> Result<f64> {
        let stat = procfs::process::Process::new(self.worker).and_then(|process| process.stat());
        let stat = stat.context("reading the state of nginx's worker")?;
        let per_second = sysconf(SysconfVar::CLK_TCK)
            .ok()
            .flatten()
            .context("this system has no clock ticks")?;
        #[expect(clippy::cast_precision_loss, reason = "ticks of a few hours at most")]
        Ok((stat.utime + stat.stime) as f64 / per_second as f64)
    }

    /// Drives it for a while.
    pub fn drive(&self, load: Duration, keep_alive: bool) -> Result<Measured> {
        let before = self.cpu_seconds()?;
        let mut wrk = Command::new("wrk");
        wrk.args(["-t", "1", "-c", "32", "-d", &format!("{}s", load.as_secs())]);
        if !keep_alive {
            wrk.args(["-H", "Connection: close"]);
        }
        let output = shell::output(wrk.arg(format!("http://127.0.0.1:{}/", self.port)))?;
        let cpu = self.cpu_seconds()? - before;
        let (requests, rate) =
            read_wrk(&output).with_context(|| format!("not what wrk prints:\n{output}"))?;
        if output.contains("Non-2xx") {
            bail!("nginx answered with errors:\n{output}");
        }
        Ok(Measured {
            requests,
            rate,
            cpu_us: cpu * 1e6 / requests,
        })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master takes its worker with it; it may have ended by itself.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// Requests and requests per second.
fn read_wrk(output: &str) -> Option<(f64, f64)> {
    let requests = output
        .lines()
        .find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())?;
    let rate = output
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok())?;
    Some((requests, rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_what_wrk_prints_when_read_then_requests_and_rate_are_found() {
        let output = "Running 1s test @ http://127.0.0.1/\n  1 threads and 32 connections\n  Thread Stats   Avg\n  \
                      43210 requests in 1.01s, 7.0MB read\nRequests/sec:  42782.18\nTransfer/sec:      7.1MB\n";
        assert_eq!(read_wrk(output), Some((43210.0, 42782.18)));
        assert_eq!(read_wrk("unable to connect"), None);
    }
}
