//! The files of the packages, as they will lie on a machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::PROGRAM;
use crate::shell;

/// Files that are made here, and from what; the man pages besides, as many as there are commands.
const DEFAULT: &str = "etc/default/drainwatch";
const UNIT: &str = "usr/lib/systemd/system/drainwatch.service";
const USERS: &str = "usr/lib/sysusers.d/drainwatch.conf";
const EXAMPLE: &str = "usr/share/doc/drainwatch/examples/drainwatch.toml";
const MAN: &str = "usr/share/man/man1";
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "usr/share/bash-completion/completions/drainwatch"),
    ("fish", "usr/share/fish/vendor_completions.d/drainwatch.fish"),
    ("zsh", "usr/share/zsh/site-functions/_drainwatch"),
];

/// Where it is; below `target` wherever cargo itself builds, because `drainwatch/Cargo.toml` names it.
pub fn directory() -> PathBuf {
    shell::root().join("target/stage")
}

/// Builds the agent, and lays out what comes with it.
pub fn lay() -> Result<PathBuf> {
    let built = shell::build_dist()?;
    let stage = directory();
    if stage.exists() {
        fs::remove_dir_all(&stage).context("removing the last stage")?;
    }
    let program = stage.join(PROGRAM);
    write(&program, &read_bytes(&built)?)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&program, mode).context("making it a program")?;
    let deploy = shell::root().join("deploy");
    write(
        &stage.join(DEFAULT),
        &read_bytes(&deploy.join("packages/default"))?,
    )?;
    let unit = fs::read_to_string(deploy.join("systemd/drainwatch.service")).context("reading the unit")?;
    write(&stage.join(UNIT), packaged(&unit).as_bytes())?;
    let users =
        fs::read_to_string(deploy.join("systemd/drainwatch.sysusers.conf")).context("reading sysusers")?;
    write(&stage.join(USERS), without_head(&users).as_bytes())?;
    for (shell_name, path) in COMPLETIONS {
        let script = said(&program, &["completions", shell_name])?;
        write(&stage.join(path), script.as_bytes())?;
    }
    write(
        &stage.join(EXAMPLE),
        said(&program, &["print-config"])?.as_bytes(),
    )?;
    manual(&stage)?;
    Ok(stage)
}

/// The pages that `cargo xtask docs` has written.
fn manual(stage: &Path) -> Result<()> {
    let from = shell::root().join("docs/man");
    for entry in fs::read_dir(&from).with_context(|| format!("reading {}", from.display()))? {
        let page = entry?.path();
        let name = page.file_name().context("a file has a name")?;
        let to = stage.join(MAN).join(name);
        write(&to, &read_bytes(&page)?)?;
        // Without a time, so that the same pages are the same file.
        shell::run(Command::new("gzip").args(["--best", "--no-name"]).arg(&to))?;
    }
    Ok(())
}

/// The unit as a package has it: the program is where packages put programs.
pub fn packaged(unit: &str) -> String {
    without_head(unit).replace("/usr/local/bin/", "/usr/bin/")
}

/// Without the lines that say how to install it by hand.
fn without_head(text: &str) -> String {
    let lines = text.lines().skip_while(|line| line.starts_with('#'));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// What the program prints, whatever the caller's environment says.
fn said(program: &Path, arguments: &[&str]) -> Result<String> {
    shell::output(Command::new(program).args(arguments).env_clear())
}

fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let parent = path.parent().context("a file is in a directory")?;
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

/// What packages consist of, where it is not made of the program.
#[cfg(test)]
pub fn made() -> Vec<String> {
    let fixed = [PROGRAM, DEFAULT, UNIT, USERS, EXAMPLE];
    let completions = COMPLETIONS.iter().map(|(_, path)| *path);
    let mut all: Vec<String> = fixed.into_iter().chain(completions).map(str::to_owned).collect();
    all.push(format!("{MAN}/*.1.gz"));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_the_shipped_unit_when_packaged_then_it_starts_the_package_s_program_and_nothing_else_is_changed()
    {
        let shipped = fs::read_to_string(shell::root().join("deploy/systemd/drainwatch.service")).unwrap();
        let unit = packaged(&shipped);
        assert!(unit.starts_with("[Unit]\n"), "{unit}");
        assert!(unit.contains("\nExecStart=/usr/bin/drainwatch run "), "{unit}");
        assert!(!unit.contains("/usr/local"), "{unit}");
        let settings = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(settings(&unit), settings(&shipped));
    }
}
