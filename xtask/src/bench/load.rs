//! nginx in a cgroup of its own, and wrk that drives it.

use std::fs;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::unistd::{SysconfVar, sysconf};
use tempfile::TempDir;
use testkit::{Cgroup, Clock, Port, Process};

use crate::shell;

/// nginx with one worker that serves a small constant.
pub struct Nginx {
    process: Process,
    worker: i32,
    /// Where it listens.
    pub port: Port,
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
        let cgroup = Cgroup::unique("bench-nginx")?;
        let port = Port::find()?;
        let here = directory.path().display();
        let configuration = format!(
            "daemon off;\nworker_processes 1;\npid {here}/pid;\nerror_log {here}/error.log;\n\
             events {{ worker_connections 16384; }}\n\
             http {{\n  access_log off;\n  keepalive_requests 100000000;\n  keepalive_timeout 1h;\n  \
             client_body_temp_path {here}/1;\n  proxy_temp_path {here}/2;\n  fastcgi_temp_path {here}/3;\n  \
             uwsgi_temp_path {here}/4;\n  scgi_temp_path {here}/5;\n  \
             server {{ listen {} backlog=4096; location / {{ return 200 \"ok\\n\"; }} }}\n}}\n",
            port.address()
        );
        let file = directory.path().join("nginx.conf");
        fs::write(&file, configuration).context("writing nginx.conf")?;
        let mut command = cgroup.command("nginx");
        command
            .arg("-c")
            .arg(&file)
            .arg("-e")
            .arg(directory.path().join("error.log"));
        let mut nginx = Self {
            process: Process::start(command)?,
            worker: 0,
            port,
            _directory: directory,
            _cgroup: cgroup,
        };
        nginx.worker = Clock::default().find("nginx to serve", Duration::from_secs(10), || {
            nginx.process.check_alive().context("nginx")?;
            let serves = TcpStream::connect(nginx.port.address()).is_ok();
            Ok(nginx.find_worker().filter(|_| serves))
        })?;
        Ok(nginx)
    }

    /// The master's one child.
    fn find_worker(&self) -> Option<i32> {
        let master = self.process.pid().as_raw();
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
        let output = shell::output(wrk.arg(format!("http://{}/", self.port.address())))?;
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
        let _ = self.process.stop();
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
