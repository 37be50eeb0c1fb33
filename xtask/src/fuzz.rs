//! The fuzz targets under `fuzz/`: libFuzzer on the stable compiler, which takes its flags with `RUSTC_BOOTSTRAP`.
//! `cargo fuzz run TARGET` does the same with a nightly one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::deps::{self, Use};
use crate::shell;
use crate::test::Tally;

/// The targets, as `fuzz/Cargo.toml` names them, and where inputs to begin with lie.
const TARGETS: &[(&str, &str)] = &[
    ("decode", "fuzz/seeds/decode"),
    ("reading", "fuzz/seeds/reading"),
    ("recording", "drainwatch/tests/recordings"),
    ("cgroup_path", "fuzz/seeds/cgroup_path"),
    ("kubernetes_pod", "fuzz/seeds/kubernetes_pod"),
    ("docker_container", "fuzz/seeds/docker_container"),
];

/// What cargo-fuzz gives the compiler: coverage for libFuzzer, and the address sanitizer.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Zsanitizer=address",
    "--cfg=fuzzing",
];

/// The compiler's target: with one named, the flags are for the targets only, not for build scripts and macros.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// The longest that one input may take, in seconds: all of them are read in microseconds.
const INPUT_SECONDS: u64 = 10;

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask fuzz                          every target, a minute each
  cargo xtask fuzz reading --seconds 3600   one target, an hour

An input that fails is kept in target/fuzz/artifacts/TARGET; the last lines of the output say how to run it again.")]
pub struct Options {
    /// Only this target
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(TARGETS.iter().map(|(name, _)| *name)))]
    target: Option<String>,
    /// How long each target runs, in seconds
    #[arg(long, default_value_t = 60, value_name = "N")]
    seconds: u64,
}

/// Builds the targets and runs them, all of them even if one fails.
pub fn run(options: &Options) -> Result<()> {
    if let Some(missing) = deps::missing(&[Use::Fuzz]) {
        bail!("{missing}");
    }
    let wanted = |name: &str| options.target.as_deref().is_none_or(|target| target == name);
    let tally = checks(Duration::from_secs(options.seconds), wanted)?;
    println!("{tally}");
    ensure!(tally.failed == 0, "fuzzing found failures");
    Ok(())
}

/// Builds all targets and runs those that are wanted for this long each.
pub fn checks(each: Duration, wanted: impl Fn(&str) -> bool) -> Result<Tally> {
    let folder = shell::target().join("fuzz");
    build(&folder)?;
    let mut tally = Tally::default();
    for (name, seeds) in TARGETS.iter().filter(|(name, _)| wanted(name)) {
        tally.note(name, fuzz(&folder, name, seeds, each));
    }
    Ok(tally)
}

fn build(folder: &Path) -> Result<()> {
    let mut command = shell::cargo();
    command
        .args([
            "build",
            "--release",
            "--locked",
            "--manifest-path",
            "fuzz/Cargo.toml",
        ])
        .args(["--bins", "--target", TRIPLE])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
        .env("CARGO_TARGET_DIR", folder);
    shell::run(&mut command)
}

/// Runs one target. What it finds interesting is kept between runs, below the target directory.
fn fuzz(folder: &Path, name: &str, seeds: &str, each: Duration) -> Result<()> {
    let made = |kind: &str| -> Result<PathBuf> {
        let path = folder.join(kind).join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(path)
    };
    let (corpus, artifacts) = (made("corpus")?, made("artifacts")?);
    let mut command = Command::new(folder.join(TRIPLE).join("release").join(name));
    command
        .arg(format!("-max_total_time={}", each.as_secs()))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-verbosity=0", "-print_final_stats=1"])
        .arg(corpus)
        .current_dir(shell::root())
        // Looking for leaks needs ptrace, which sandboxes refuse; and nothing here holds memory on purpose.
        .env("ASAN_OPTIONS", "detect_leaks=0");
    let seeds = shell::root().join(seeds);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    shell::run(&mut command)
}
