//! Other kernels: Debian's and Ubuntu's, in QEMU, with this machine's file system as their root.
//!
//! Everything installed here (nginx, node, Go, this workspace's `target`) can be used there; what the guest writes
//! stays in its memory and vanishes with it.

mod initramfs;
mod kernel;
mod machine;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

pub use self::kernel::Kernel;
use self::machine::{Clock, Outcome};
use crate::shell;
use crate::test::Tally;

/// Options of `cargo xtask vm`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask vm 6.1                          the whole ledger on Linux 6.1
  cargo xtask vm all --ledger -- --slow 5 --filter nginx
                                              some of the ledger on every kernel
  cargo xtask vm 6.12 -- uname -a             a command
  cargo xtask vm 5.15 -- 'nginx -v; id'       one argument is a shell's command line")]
pub struct Options {
    /// Which kernel
    #[arg(value_enum)]
    kernel: Choice,
    /// The words after -- are arguments of the ledger, not a command
    #[arg(long)]
    ledger: bool,
    /// A nanosecond is an instruction, on one CPU
    #[arg(long, conflicts_with = "ledger")]
    counted: bool,
    /// Seconds until the guest is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 1200)]
    deadline: u64,
    /// Look for a newer kernel than the one in target/vm
    #[arg(long)]
    refresh: bool,
    /// Command to run in the guest; without one, the ledger
    #[arg(last = true)]
    command: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Choice {
    #[value(name = "5.10")]
    V5_10,
    #[value(name = "5.15")]
    V5_15,
    #[value(name = "6.1")]
    V6_1,
    #[value(name = "6.12")]
    V6_12,
    #[value(name = "7")]
    V7,
    /// One after the other
    All,
}

impl Choice {
    fn kernels(self) -> Vec<&'static Kernel> {
        let name = self.to_possible_value().map(|value| value.get_name().to_owned());
        kernel::KERNELS
            .iter()
            .filter(|kernel| matches!(self, Self::All) || Some(kernel.name) == name.as_deref())
            .collect()
    }
}

/// Runs the command or the ledger.
pub fn run(options: &Options) -> Result<()> {
    let deadline = Duration::from_secs(options.deadline);
    let is_command = !options.ledger && !options.command.is_empty();
    if !is_command {
        build_ledger()?;
    }
    let mut failed = Vec::new();
    for kernel in options.kernel.kernels() {
        if options.refresh {
            kernel.forget()?;
        }
        let result = if is_command {
            command(kernel, &options.command, options.counted, deadline)
        } else {
            cases(kernel, &options.command, deadline)
        };
        let passed = result.unwrap_or_else(|error| {
            println!("FAILED  Linux {}: {error:#}", kernel.name);
            false
        });
        if !passed {
            failed.push(kernel.name);
        }
    }
    ensure!(failed.is_empty(), "failed on Linux {}", failed.join(", "));
    Ok(())
}

/// Whether a command exits with 0. One word is a shell's command line; several are a program and its arguments.
fn command(kernel: &Kernel, words: &[String], counted: bool, deadline: Duration) -> Result<bool> {
    let script = match words {
        [line] => line.clone(),
        words => words
            .iter()
            .map(|word| shell::quote(word))
            .collect::<Vec<_>>()
            .join(" "),
    };
    println!("== Linux {}: {script}", kernel.name);
    let clock = if counted { Clock::Instructions } else { Clock::Real };
    Ok(execute(kernel, &script, clock, deadline, |_| ())?.status == 0)
}

/// Whether every case of the ledger passes.
fn cases(kernel: &Kernel, arguments: &[String], deadline: Duration) -> Result<bool> {
    // Emulated CPUs are about five times slower than real ones.
    let stretched = ["--slow", "5", "--jobs", "2"].map(str::to_owned);
    let tally = ledger(
        kernel,
        if arguments.is_empty() {
            &stretched
        } else {
            arguments
        },
        deadline,
    )?;
    println!("Linux {}: {tally}", kernel.name);
    Ok(tally.failed == 0)
}

/// Every kernel, for the test command.
pub fn kernels() -> &'static [Kernel] {
    kernel::KERNELS
}

/// Builds the agent and the ledger, and what the ledger's servers need: guests have no network and change nothing.
pub fn build_ledger() -> Result<()> {
    let packages = ["--package", "drainwatch", "--package", "drainwatch-tests"];
    shell::run(
        shell::cargo()
            .args(["build", "--release", "--locked"])
            .args(packages),
    )?;
    let ledger = shell::target().join("release/drainwatch-tests");
    shell::run(Command::new(ledger).arg("--prepare").current_dir(shell::root()))
}

/// The ledger's argument for a load beside its cases.
pub const LOAD: &str = "--load";
/// Where the kernel lets it be chosen (`CONFIG_PREEMPT_DYNAMIC`).
const PREEMPT_FULL: &str =
    "mount -t debugfs debugfs /sys/kernel/debug && echo full > /sys/kernel/debug/sched/preempt\n";

/// The ledger on a kernel that is supported; on one that is not, that the agent refuses with a clear message.
pub fn ledger(kernel: &Kernel, arguments: &[String], deadline: Duration) -> Result<Tally> {
    let release = shell::target().join("release");
    let agent = shell::quote(&release.join("drainwatch").to_string_lossy());
    if !kernel.supported {
        return refusal(kernel, &agent, deadline);
    }
    let ledger = shell::quote(&release.join("drainwatch-tests").to_string_lossy());
    println!("== Linux {}: the ledger", kernel.name);
    let words: Vec<String> = arguments.iter().map(|word| shell::quote(word)).collect();
    // A busy kernel is busiest when it preempts wherever it can; from 7.0 on that is not the default.
    let preempts = if arguments.iter().any(|word| word == LOAD) {
        PREEMPT_FULL
    } else {
        ""
    };
    let script = format!("{preempts}{ledger} --drainwatch {agent} {}", words.join(" "));
    let mut tally = None;
    let outcome = execute(kernel, &script, Clock::Real, deadline, |line| {
        tally = Tally::of_line(line).or(tally);
    })?;
    let tally = tally.with_context(|| {
        format!(
            "the ledger did not end with `N passed, N failed` on Linux {}",
            kernel.name
        )
    })?;
    Ok(tally.ended(outcome.status == 0))
}

fn refusal(kernel: &Kernel, agent: &str, deadline: Duration) -> Result<Tally> {
    println!("== Linux {}: the agent must refuse", kernel.name);
    let mut lines = Vec::new();
    let script =
        format!("timeout 30 {agent} run --state-dir /run/drainwatch --web.listen-address 127.0.0.1:9669");
    let outcome = execute(kernel, &script, Clock::Real, deadline, |line| {
        lines.push(line.to_owned());
    })?;
    let refused = is_refusal(outcome.status, &lines);
    if !refused {
        println!("FAILED: wanted one line that says what this kernel lacks, and exit status 1 to 123");
    }
    Ok(Tally {
        passed: u64::from(refused),
        failed: u64::from(!refused),
    })
}

/// A refusal is an ordinary error exit (not a signal, nor `timeout`'s 124 and above) after one line about the kernel.
fn is_refusal(status: i32, lines: &[String]) -> bool {
    let about_the_kernel = |line: &String| line.to_lowercase().contains("kernel");
    (1..124).contains(&status) && lines.len() == 1 && lines.iter().all(about_the_kernel)
}

/// Runs a script where a nanosecond is an instruction; fails where it does.
pub fn counted(kernel: &str, script: &str, deadline: Duration, each: impl FnMut(&str)) -> Result<()> {
    let kernel = kernel::KERNELS.iter().find(|known| known.name == kernel);
    let kernel = kernel.context("no such kernel")?;
    println!("== Linux {}, its instructions counted: {script}", kernel.name);
    let status = execute(kernel, script, Clock::Instructions, deadline, each)?.status;
    ensure!(status == 0, "exit status {status} in the guest");
    Ok(())
}

/// Boots the kernel, runs the script and gives its exit status.
fn execute(
    kernel: &Kernel,
    script: &str,
    clock: Clock,
    deadline: Duration,
    each: impl FnMut(&str),
) -> Result<Outcome> {
    if let Some(missing) = crate::deps::missing(&[crate::deps::Use::Vm]) {
        bail!("cannot start a guest: {missing}");
    }
    let image = kernel.fetch()?;
    let directory = tempfile::Builder::new()
        .prefix("vm-")
        .tempdir_in(shell::target())?;
    let initramfs = initramfs::build(&image, kernel.name, script, directory.path())?;
    let outcome = machine::run(&image, kernel.name, &initramfs, clock, deadline, each)?;
    println!(
        "-- Linux {}: exit status {}, {:.1} s after power-on the command began, {:.1} s in all; kernel's console: {}",
        outcome.release,
        outcome.status,
        outcome.boot.as_secs_f64(),
        outcome.total.as_secs_f64(),
        outcome.console.display()
    );
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_an_agents_end_when_judged_then_only_one_clear_line_and_an_error_exit_are_a_refusal() {
        let line = || "error: this kernel (5.10) lacks bpf_sk_storage_get for tracing programs".to_owned();
        assert!(is_refusal(1, &[line()]));
        assert!(!is_refusal(0, &[line()]), "it ran");
        assert!(!is_refusal(124, &[line()]), "timeout ended it");
        assert!(!is_refusal(139, &[line()]), "it crashed");
        assert!(
            !is_refusal(1, &[line(), "stack backtrace:".to_owned()]),
            "more than one line"
        );
        assert!(
            !is_refusal(1, &["error: invalid argument".to_owned()]),
            "does not say what is missing"
        );
    }
}
