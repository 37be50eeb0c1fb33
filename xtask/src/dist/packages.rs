//! Packages for Debian's and Fedora's families, and an archive for every other distribution.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{VERSION, architecture, commit_time, debian_architecture};
use crate::shell;

/// The same files for a machine without a package manager: to be unpacked over `/`.
pub fn archive(stage: &Path, to: &Path) -> Result<()> {
    let path = to.join(format!("drainwatch-{VERSION}-{}.tar", architecture()));
    super::tar(stage, &path)?;
    shell::run(Command::new("gzip").args(["--best", "--no-name"]).arg(path))
}

/// By cargo-deb.
pub fn deb(to: &Path) -> Result<()> {
    let path = to.join(format!("drainwatch_{VERSION}-1_{}.deb", debian_architecture()));
    let mut cargo = shell::cargo();
    cargo
        .args([
            "deb",
            "--package",
            "drainwatch",
            "--quiet",
            "--no-build",
            "--no-strip",
            "--locked",
        ])
        .arg("--output")
        .arg(path)
        .env("SOURCE_DATE_EPOCH", commit_time());
    shell::run(&mut cargo)
}

/// By cargo-generate-rpm.
pub fn rpm(to: &Path) -> Result<()> {
    let path = to.join(format!("drainwatch-{VERSION}-1.{}.rpm", architecture()));
    let mut cargo = shell::cargo();
    cargo
        .args(["generate-rpm", "--package", "drainwatch", "--output"])
        .arg(&path)
        .env("SOURCE_DATE_EPOCH", commit_time());
    shell::run(&mut cargo)?;
    fs::metadata(&path).with_context(|| format!("{} was not made", path.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::Deserialize;

    use super::super::stage;
    use super::*;

    #[derive(Deserialize)]
    struct Manifest {
        package: Package,
    }

    #[derive(Deserialize)]
    struct Package {
        metadata: Metadata,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Metadata {
        deb: Deb,
        generate_rpm: Rpm,
    }

    #[derive(Deserialize)]
    struct Deb {
        assets: Vec<(String, String, String)>,
    }

    #[derive(Deserialize)]
    struct Rpm {
        assets: Vec<Asset>,
    }

    #[derive(Deserialize)]
    struct Asset {
        source: String,
        dest: String,
        mode: String,
    }

    fn metadata() -> Metadata {
        let text = fs::read_to_string(shell::root().join("drainwatch/Cargo.toml")).unwrap();
        toml::from_str::<Manifest>(&text).unwrap().package.metadata
    }

    #[test]
    fn given_both_packages_when_compared_then_each_has_every_file_at_its_place_and_no_other() {
        let metadata = metadata();
        let rpm = metadata.generate_rpm.assets.into_iter();
        let rpm = rpm.map(|asset| {
            (
                asset.source,
                asset.dest.trim_start_matches('/').to_owned(),
                asset.mode,
            )
        });
        let made: BTreeSet<String> = stage::made().into_iter().collect();
        for assets in [metadata.deb.assets, rpm.collect()] {
            let mut found = BTreeSet::new();
            for (source, destination, mode) in assets {
                let Some(staged) = source.strip_prefix("../target/stage/") else {
                    assert!(
                        shell::root().join("drainwatch").join(&source).exists(),
                        "{source}"
                    );
                    continue;
                };
                let expected = staged.rsplit_once('*').map_or(staged, |(directory, _)| directory);
                assert_eq!(destination, expected);
                let program = staged == super::super::PROGRAM;
                assert_eq!(mode, if program { "755" } else { "644" }, "{staged}");
                found.insert(staged.to_owned());
            }
            assert_eq!(found, made);
        }
    }

    #[test]
    fn given_the_scripts_of_packages_when_a_shell_reads_them_then_it_understands_them() {
        for directory in ["debian", "rpm"] {
            let directory = shell::root().join("deploy/packages").join(directory);
            let scripts: Vec<_> = fs::read_dir(&directory).unwrap().collect();
            assert_eq!(scripts.len(), 3, "{}", directory.display());
            for script in scripts {
                shell::output(Command::new("sh").arg("-n").arg(script.unwrap().path())).unwrap();
            }
        }
    }
}
