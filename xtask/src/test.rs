//! The project's one test command: every stage, timed, and a plain last line.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;

use crate::deps::Use;
use crate::{bench, dashboards, deploy, deps, ebpf, fuzz, lint, page, shell, vm};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask test --install         everything, with all that it needs; ends with `N passed, N failed`
  cargo xtask test                   the same, where all of that is there
  cargo xtask test --only lint,unit  what a change of pure code needs
  cargo xtask test --only ledger     real servers on this machine's kernel")]
pub struct Options {
    /// Only these stages
    #[arg(long, value_enum, value_delimiter = ',', value_name = "STAGE")]
    only: Vec<Stage>,
    /// First install what the stages need and this machine lacks (Debian and its like, as root)
    #[arg(long)]
    install: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// Formatting, clippy, documentation, leftovers
    Lint,
    /// The BPF object in the tree comes from the sources in the tree
    Ebpf,
    /// `cargo test --workspace`
    Unit,
    /// Hostile bytes into what reads them, for a moment
    Fuzz,
    /// Real servers, request by request, on this machine's kernel
    Ledger,
    /// The alerts and dashboards, with a real Prometheus and Alertmanager
    Alerts,
    /// The chart, the kustomize base and the systemd unit
    Deploy,
    /// The page, in a real browser
    Page,
    /// Instructions of the BPF programs for a request, against the committed ones
    Counted,
    /// A part of the ledger on other kernels, in QEMU
    Vm,
}

impl Stage {
    fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    fn uses(self) -> &'static [Use] {
        match self {
            Self::Lint | Self::Ebpf => &[Use::Bpf],
            Self::Unit => &[Use::Unit],
            Self::Fuzz => &[Use::Fuzz],
            Self::Ledger => &[Use::Ledger],
            Self::Page => &[Use::Ledger, Use::Page],
            Self::Alerts => &[Use::Alerts],
            Self::Deploy => &[Use::Deploy, Use::Alerts],
            Self::Counted | Self::Vm => &[Use::Vm, Use::Ledger],
        }
    }

    fn run(self) -> Result<Tally> {
        match self {
            Self::Lint => Ok(lint::checks()),
            Self::Ebpf => ebpf::check().map(|_| Tally { passed: 1, failed: 0 }),
            Self::Unit => unit(),
            Self::Fuzz => fuzz::checks(),
            Self::Ledger => ledger(),
            Self::Alerts => Ok(dashboards::checks().plus(dashboards::prove()?)),
            Self::Deploy => Ok(deploy::checks()),
            Self::Page => page::prove(),
            Self::Counted => bench::counted().map(|()| Tally { passed: 1, failed: 0 }),
            Self::Vm => Ok(guests()),
        }
    }
}

/// How long one guest may take; a hung one must not eat the time of the others.
const GUEST_DEADLINE: Duration = Duration::from_mins(8);

/// What guests run. Emulated CPUs are about five times slower than real ones: deadlines are stretched, few cases run
/// at a time, and only those of servers that start fast, which among them meet every hook and every cause; and one for
/// each further storage that a socket may get, for which kernels differ in what they allow.
const GUEST_ARGUMENTS: &[&str] = &[
    "--slow",
    "5",
    "--jobs",
    "3",
    "--filter",
    "raw/",
    "--filter",
    "nginx-proxy",
    "--filter",
    "oom",
    "--filter",
    "pid1",
    "--filter",
    "http2/node/kill/every-state",
    "--filter",
    "heads/helmet/kill/cut",
];
/// On the newest kernel also these, beside a load: preemption and softirqs interrupt programs there.
const LOADED_ARGUMENTS: &[&str] = &[vm::LOAD, "--slow", "15", "--jobs", "2", "--filter", "raw/kill"];
/// Which one that is.
const NEWEST: &str = "7";
/// Not from Debian's suites, so not there for everybody: on demand, `cargo xtask vm 5.15`.
const ON_DEMAND: &str = "5.15";

/// Runs the stages, all of them even if one fails.
pub fn run(options: &Options) -> Result<()> {
    let stages: Vec<Stage> = Stage::value_variants()
        .iter()
        .copied()
        .filter(|stage| options.wants(*stage))
        .collect();
    let mut uses: Vec<Use> = stages.iter().flat_map(|stage| stage.uses()).copied().collect();
    uses.dedup();
    if options.install {
        deps::install(&uses)?;
    }
    if let Some(missing) = deps::missing(&uses) {
        bail!("{missing}\n(or add --install)");
    }
    let mut total = Tally::default();
    let mut lines = Vec::new();
    for stage in stages {
        println!("== {}", stage.name());
        let start = Instant::now();
        let tally = stage.run().unwrap_or_else(|error| {
            println!("FAILED  {}: {error:#}", stage.name());
            Tally { passed: 0, failed: 1 }
        });
        total = total.plus(tally);
        lines.push(format!(
            "{:7} {tally} in {:.0} s",
            stage.name(),
            start.elapsed().as_secs_f64()
        ));
    }
    println!("== summary\n{}", lines.join("\n"));
    println!("{total}");
    ensure!(total.failed == 0, "tests failed");
    Ok(())
}

impl Options {
    fn wants(&self, stage: Stage) -> bool {
        self.only.is_empty() || self.only.contains(&stage)
    }
}

fn unit() -> Result<Tally> {
    let mut tally = Tally::default();
    let success = shell::run_with_lines(
        shell::cargo().args(["test", "--workspace", "--locked", "--no-fail-fast"]),
        |line| tally = tally.plus(Tally::of_line(line).unwrap_or_default()),
    )?;
    Ok(tally.ended(success))
}

fn ledger() -> Result<Tally> {
    vm::build_ledger()?;
    let release = shell::target().join("release");
    let mut ledger = std::process::Command::new(release.join("drainwatch-tests"));
    ledger
        .arg("--drainwatch")
        .arg(release.join("drainwatch"))
        .current_dir(shell::root());
    let mut last = None;
    let success = shell::run_with_lines(&mut ledger, |line| last = Tally::of_line(line).or(last))?;
    let Some(tally) = last else {
        bail!("the ledger did not end with `N passed, N failed`")
    };
    Ok(tally.ended(success))
}

fn guests() -> Tally {
    if let Err(error) = vm::build_ledger() {
        println!("FAILED  building the ledger: {error:#}");
        return Tally { passed: 0, failed: 1 };
    }
    let kernels = vm::kernels().iter().filter(|kernel| kernel.name != ON_DEMAND);
    let loaded = kernels.clone().filter(|kernel| kernel.name == NEWEST);
    let runs = kernels
        .map(|kernel| (kernel, GUEST_ARGUMENTS))
        .chain(loaded.map(|kernel| (kernel, LOADED_ARGUMENTS)));
    runs.fold(Tally::default(), |total, (kernel, arguments)| {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let tally = vm::ledger(kernel, &arguments, GUEST_DEADLINE).unwrap_or_else(|error| {
            println!("FAILED  Linux {}: {error:#}", kernel.name);
            Tally { passed: 0, failed: 1 }
        });
        total.plus(tally)
    })
}

/// How many cases passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Cases that passed.
    pub passed: u64,
    /// Cases that failed.
    pub failed: u64,
}

impl Tally {
    /// Of a line `N passed, N failed`, whatever comes before or after it; cargo's own summaries are such lines too.
    pub fn of_line(line: &str) -> Option<Self> {
        let separator = |c: char| c.is_whitespace() || ",;".contains(c);
        let words: Vec<&str> = line.split(separator).filter(|word| !word.is_empty()).collect();
        words.windows(4).find_map(|window| match window {
            [passed, "passed", failed, "failed"] => Some(Self {
                passed: passed.parse().ok()?,
                failed: failed.parse().ok()?,
            }),
            _ => None,
        })
    }

    /// Prints how a check went, and counts it.
    pub fn note(&mut self, name: &str, result: Result<()>) {
        match result {
            Ok(()) => {
                println!("ok      {name}");
                self.passed += 1;
            }
            Err(error) => {
                println!("FAILED  {name}: {error:#}");
                self.failed += 1;
            }
        }
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
        }
    }

    /// A program that failed without naming a case (it did not compile, it crashed) is one failure.
    pub fn ended(self, success: bool) -> Self {
        Self {
            failed: if success { self.failed } else { self.failed.max(1) },
            ..self
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_summaries_of_cargo_and_the_ledger_when_read_then_their_numbers_are_found() {
        let cargo = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(
            Tally::of_line(cargo),
            Some(Tally {
                passed: 12,
                failed: 3
            })
        );
        assert_eq!(
            Tally::of_line("60 passed, 0 failed"),
            Some(Tally {
                passed: 60,
                failed: 0
            })
        );
        assert_eq!(Tally::of_line("some passed, none failed"), None);
        assert_eq!(Tally::of_line("60 passed"), None);
    }

    #[test]
    fn given_a_program_that_fails_without_a_failed_case_when_tallied_then_it_counts_as_one() {
        let tally = Tally { passed: 4, failed: 0 };
        assert_eq!(tally.ended(false), Tally { passed: 4, failed: 1 });
        assert_eq!(tally.ended(true), tally);
        assert_eq!(Tally { passed: 4, failed: 2 }.ended(false).failed, 2);
    }
}
