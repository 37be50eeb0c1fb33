//! One run of a guest: QEMU, its two serial ports, and the deadline.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::kernel::Image;
use crate::shell;

/// What `init.sh` begins its own lines with.
const MARK: &str = "drainwatch-vm: ";

/// How a run ended.
pub struct Outcome {
    /// The command's exit status, as a shell gives it.
    pub status: i32,
    /// `uname -r` of the guest.
    pub release: String,
    /// From power-on to the command's start.
    pub boot: Duration,
    /// From power-on to the end.
    pub total: Duration,
    /// The kernel's console.
    pub console: PathBuf,
}

/// A line of `init.sh`'s own.
#[derive(Debug, PartialEq, Eq)]
enum Report<'a> {
    Ready { release: &'a str },
    Exit(i32),
    Failed(&'a str),
}

fn report(line: &str) -> Option<Report<'_>> {
    let text = line.strip_prefix(MARK)?;
    Some(match text.split_once(' ') {
        Some(("ready", rest)) => Report::Ready {
            release: rest.split(' ').next().unwrap_or_default(),
        },
        Some(("exit", status)) if status.parse::<i32>().is_ok() => Report::Exit(status.parse().unwrap_or(-1)),
        _ => Report::Failed(text),
    })
}

/// How a guest's time goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// As this machine's, on two CPUs.
    Real,
    /// A nanosecond is an instruction, on one CPU: what is measured is the same whatever else this machine does.
    Instructions,
}

impl Clock {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Real => &["-smp", "2"],
            Self::Instructions => &["-smp", "1", "-icount", "shift=0"],
        }
    }
}

/// Ends QEMU when a run is left early.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended by itself, and nobody is left who could act on an error.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots, hands each line of the command's output to `each`, and waits for the end.
pub fn run(
    image: &Image,
    kernel: &str,
    initramfs: &Path,
    clock: Clock,
    deadline: Duration,
    mut each: impl FnMut(&str),
) -> Result<Outcome> {
    let logs = shell::target().join("vm");
    let console = logs.join(format!("{kernel}.console.log"));
    let log = logs.join(format!("{kernel}.log"));
    let mut log_file = fs::File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    let start = Instant::now();
    let mut guest = Guest(
        qemu(image, initramfs, clock, &console)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start qemu-system-x86_64")?,
    );
    let lines = lines_of(guest.0.stdout.take().context("QEMU's stdout is piped")?);
    let mut release = String::new();
    let mut boot = Duration::ZERO;
    loop {
        let line = match lines.recv_timeout(deadline.saturating_sub(start.elapsed())) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => bail!(
                "gave the guest up after {} s; output: {}, kernel's console: {}",
                deadline.as_secs(),
                log.display(),
                console.display()
            ),
            Err(RecvTimeoutError::Disconnected) => bail!(
                "the guest died before the command ended; its console ({}) ends with\n{}",
                console.display(),
                last_lines(&console, 40)
            ),
        };
        writeln!(log_file, "{line}").with_context(|| format!("writing {}", log.display()))?;
        match report(&line) {
            None => {
                println!("{line}");
                each(&line);
            }
            Some(Report::Ready { release: name }) => {
                name.clone_into(&mut release);
                boot = start.elapsed();
            }
            Some(Report::Exit(status)) => {
                let total = start.elapsed();
                return Ok(Outcome {
                    status,
                    release,
                    boot,
                    total,
                    console,
                });
            }
            Some(Report::Failed(text)) => {
                bail!(
                    "the guest could not be set up: {text}\n{}",
                    last_lines(&console, 40)
                )
            }
        }
    }
}

fn qemu(image: &Image, initramfs: &Path, clock: Clock, console: &Path) -> Command {
    // If this task is killed outright, the kernel ends the guest.
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
        .args(["-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "3G"])
        .args(clock.arguments())
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(["-serial", "stdio"])
        .args([
            "-virtfs",
            "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
        ])
        .arg("-kernel")
        .arg(&image.vmlinuz)
        .arg("-initrd")
        .arg(initramfs)
        // A panic ends QEMU at once; the mitigations only slow down a CPU that is emulated anyway.
        .args([
            "-append",
            "console=ttyS0 loglevel=6 panic=-1 mitigations=off rdinit=/init",
        ]);
    command
}

/// Lines of a pipe as they come, without the carriage returns of a serial port.
fn lines_of(pipe: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for bytes in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&bytes).trim_end_matches('\r').to_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

fn last_lines(path: &Path, count: usize) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_lines_of_a_guest_when_read_then_only_those_of_init_are_reports() {
        assert_eq!(
            report("drainwatch-vm: ready 6.1.0-56-amd64 2.61"),
            Some(Report::Ready {
                release: "6.1.0-56-amd64"
            })
        );
        assert_eq!(report("drainwatch-vm: exit 3"), Some(Report::Exit(3)));
        assert_eq!(report("drainwatch-vm: exit "), Some(Report::Failed("exit ")));
        assert_eq!(
            report("drainwatch-vm: failed: mount"),
            Some(Report::Failed("failed: mount"))
        );
        assert_eq!(report("exit 3"), None);
    }
}
