//! What a release consists of, made here as the release workflow makes it: the program, packages, an image, what they
//! are made of, and their hashes.
//!
//! Files of the packages are laid out in `target/stage` as they will lie on a machine; `drainwatch/Cargo.toml` says
//! which goes where.

mod check;
mod image;
mod machine;
mod packages;
mod sbom;
mod stage;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::deps::{self, Use};
use crate::shell;

/// Options of `cargo xtask dist`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask dist --install  everything into target/packages, with the tools that this takes
  cargo xtask dist --check    install, run and remove what is there: packages in a Debian of their own, the image
                              with Podman and containerd")]
pub struct Options {
    /// Make nothing: try what is in target/packages (as root)
    #[arg(long)]
    check: bool,
    /// First install the tools that this takes (Debian and its like, as root)
    #[arg(long)]
    install: bool,
}

/// Version of everything.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Where the release workflow puts the image, and where the chart looks for it.
const REPOSITORY: &str = "ghcr.io/drainwatch/drainwatch";

/// Makes a release, or tries the one that is there.
pub fn run(options: &Options) -> Result<()> {
    if options.install {
        deps::install(&[Use::Dist])?;
    }
    if options.check {
        if let Some(missing) = deps::missing(&[Use::Dist]) {
            bail!("{missing}\n(or add --install)");
        }
        return check::run();
    }
    ensure!(
        deps::complete(&[Use::Dist]),
        "tools are missing that make a release: add --install"
    );
    let to = directory();
    if to.exists() {
        fs::remove_dir_all(&to).context("removing the last release")?;
    }
    fs::create_dir_all(&to).with_context(|| format!("creating {}", to.display()))?;
    let stage = stage::lay()?;
    packages::archive(&stage, &to)?;
    packages::deb(&to)?;
    packages::rpm(&to)?;
    image::write(&stage.join(PROGRAM), &to)?;
    sbom::write(&to)?;
    sums(&to)
}

/// Where everything goes.
fn directory() -> PathBuf {
    shell::root().join("target/packages")
}

/// The program below `target/stage`.
const PROGRAM: &str = "usr/bin/drainwatch";

/// As `rustc` and file names call it.
fn architecture() -> &'static str {
    std::env::consts::ARCH
}

/// As Debian and OCI call it.
fn debian_architecture() -> &'static str {
    match architecture() {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// When the commit was made, in seconds since 1970: files bear no other time, so that who builds it again gets the same.
fn commit_time() -> String {
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(shell::root());
    // Not a clone, but an archive of the sources.
    shell::output(&mut git).map_or_else(|_| "0".to_owned(), |time| time.trim().to_owned())
}

/// An archive of a directory that depends on nothing but what is in it.
fn tar(directory: &Path, to: &Path) -> Result<()> {
    shell::run(
        Command::new("tar")
            .arg("--create")
            .arg("--directory")
            .arg(directory)
            .args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
            .arg(format!("--mtime=@{}", commit_time()))
            .arg("--file")
            .arg(to)
            .arg("."),
    )
}

/// SHA-256 of a file, in hexadecimal.
fn hash(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let digits: Vec<String> = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(digits.concat())
}

/// `SHA256SUMS`, as `sha256sum --check` reads it.
fn sums(directory: &Path) -> Result<()> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(directory).context("reading the release")? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let size = fs::metadata(&path)?.len();
        lines.push((name, hash(&path)?, size));
    }
    lines.sort();
    let text: Vec<String> = lines
        .iter()
        .map(|(name, hash, _)| format!("{hash}  {name}\n"))
        .collect();
    fs::write(directory.join("SHA256SUMS"), text.concat()).context("writing SHA256SUMS")?;
    println!("{}:", directory.display());
    for (name, _, size) in lines {
        println!("{:>10} kB  {name}", size.div_ceil(1000));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str) -> String {
        fs::read_to_string(shell::root().join(name)).unwrap()
    }

    #[test]
    fn given_the_image_that_a_release_publishes_then_the_chart_looks_for_it() {
        let values = read("deploy/helm/drainwatch/values.yaml");
        assert!(values.contains(&format!("  repository: {REPOSITORY}\n")));
        let chart = read("deploy/helm/drainwatch/Chart.yaml");
        assert!(chart.contains(&format!("\nversion: {VERSION}\nappVersion: {VERSION}\n")));
        for template in ["deploy/ci/action.yml", "deploy/ci/gitlab.yml"] {
            assert!(read(template).contains(VERSION), "{template}");
        }
    }

    #[test]
    fn given_the_workflows_then_each_action_of_others_is_pinned_by_its_commit() {
        for workflow in ["test", "release"] {
            let text = read(&format!(".github/workflows/{workflow}.yml"));
            let used: Vec<&str> = text
                .lines()
                .filter_map(|line| line.split_once("uses: "))
                .map(|(_, used)| used)
                .collect();
            assert!(!used.is_empty(), "{workflow}");
            for action in used {
                let commit = action
                    .split_once('@')
                    .map_or("", |(_, rest)| rest.split(' ').next().unwrap_or_default());
                let pinned = commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
                assert!(pinned, "{workflow}: {action}");
            }
        }
    }
}
