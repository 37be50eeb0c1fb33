//! The fuzz targets under `fuzz/`: libFuzzer on the stable compiler, which takes its flags with `RUSTC_BOOTSTRAP`.
//! `cargo fuzz run TARGET` does the same with a nightly one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::deps::{self, Use};
use crate::shell;
use crate::test::Tally;

/// A target, as `fuzz/Cargo.toml` names it.
struct Target {
    name: &'static str,
    /// Where inputs to begin with lie.
    seeds: Option<&'static str>,
    /// Of the agent crate: it takes minutes more to compile than the core.
    agent: bool,
}

const fn target(name: &'static str, seeds: Option<&'static str>, agent: bool) -> Target {
    Target { name, seeds, agent }
}

const TARGETS: &[Target] = &[
    target("reading", None, false),
    target("http2", None, false),
    target("cgroup_path", Some("fuzz/seeds/cgroup_path"), false),
    target("decode", Some("fuzz/seeds/decode"), true),
    target("recording", Some("drainwatch/tests/recordings"), true),
    target("kubernetes_pod", Some("fuzz/seeds/kubernetes_pod"), true),
    target("docker_container", Some("fuzz/seeds/docker_container"), true),
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
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(TARGETS.iter().map(|target| target.name)))]
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
    let wanted = |target: &&Target| options.target.as_deref().is_none_or(|name| name == target.name);
    let tally = fuzz_each(Duration::from_secs(options.seconds), wanted)?;
    println!("{tally}");
    ensure!(tally.failed == 0, "fuzzing found failures");
    Ok(())
}

/// How long each target runs as a part of `cargo xtask test`.
const BRIEFLY: Duration = Duration::from_secs(10);

/// Builds the targets of the core and runs each for a moment.
pub fn checks() -> Result<Tally> {
    fuzz_each(BRIEFLY, |target| !target.agent)
}

fn fuzz_each(each: Duration, wanted: impl Fn(&&Target) -> bool) -> Result<Tally> {
    let targets: Vec<&Target> = TARGETS.iter().filter(wanted).collect();
    let folder = shell::target().join("fuzz");
    build(&folder, &targets)?;
    let mut tally = Tally::default();
    for target in targets {
        tally.note(target.name, fuzz(&folder, target, each));
    }
    Ok(tally)
}

fn build(folder: &Path, targets: &[&Target]) -> Result<()> {
    let mut command = shell::cargo();
    command
        .args([
            "build",
            "--release",
            "--locked",
            "--manifest-path",
            "fuzz/Cargo.toml",
        ])
        .args(["--target", TRIPLE])
        .args(targets.iter().flat_map(|target| ["--bin", target.name]))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
        .env("CARGO_TARGET_DIR", folder);
    if !targets.iter().any(|target| target.agent) {
        command.arg("--no-default-features");
    }
    shell::run(&mut command)
}

/// Runs one target. What it finds interesting is kept between runs, below the target directory.
fn fuzz(folder: &Path, target: &Target, each: Duration) -> Result<()> {
    let made = |kind: &str| -> Result<PathBuf> {
        let path = folder.join(kind).join(target.name);
        std::fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(path)
    };
    let (corpus, artifacts) = (made("corpus")?, made("artifacts")?);
    let mut command = Command::new(folder.join(TRIPLE).join("release").join(target.name));
    command
        .arg(format!("-max_total_time={}", each.as_secs()))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-verbosity=0", "-print_final_stats=1"])
        .arg(corpus)
        .current_dir(shell::root())
        // Looking for leaks needs ptrace, which sandboxes refuse; and nothing here holds memory on purpose.
        .env("ASAN_OPTIONS", "detect_leaks=0");
    if let Some(seeds) = target.seeds {
        command.arg(seeds);
    }
    shell::run(&mut command)
}
