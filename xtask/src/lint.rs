//! Formatting, clippy and documentation: of the workspace, and of the BPF programs for their own target. Dependencies
//! against `deny.toml`.

mod deny;

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::test::Tally;
use crate::{ebpf, shell};

/// Options of `cargo xtask lint`.
#[derive(clap::Args)]
pub struct Options {}

/// Runs every check, and fails if one did.
pub fn run(_: &Options) -> Result<()> {
    let tally = checks();
    println!("{tally}");
    ensure!(tally.failed == 0, "lint failed");
    Ok(())
}

type Check = fn() -> Result<()>;

/// Runs every check, whatever the ones before it said.
pub fn checks() -> Tally {
    let checks: [(&str, Check); 7] = [
        ("formatting", formatting),
        ("clippy", clippy),
        ("clippy of the BPF programs", clippy_of_programs),
        ("documentation", documentation),
        ("leftovers", leftovers),
        ("dependencies", deny::dependencies),
        ("advisories", deny::advisories),
    ];
    let mut tally = Tally::default();
    for (name, check) in checks {
        tally.note(name, check());
    }
    tally
}

fn formatting() -> Result<()> {
    shell::run(shell::cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    let arguments = [
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    shell::run(shell::cargo().args(arguments))
}

/// The programs are compiled for the kernel only, so the workspace's clippy never sees them.
fn clippy_of_programs() -> Result<()> {
    match ebpf::Toolchain::find(None)? {
        Some(toolchain) if toolchain.has_clippy() => {
            ebpf::clippy(&toolchain, &shell::target().join("bpf-clippy"))
        }
        _ => bail!("no BPF toolchain with clippy found.\n{}", ebpf::MISSING),
    }
}

fn documentation() -> Result<()> {
    let arguments = [
        "doc",
        "--quiet",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--locked",
    ];
    shell::run(shell::cargo().args(arguments).env("RUSTDOCFLAGS", "-D warnings"))
}

/// Words that mark unfinished work, split so that this file does not hold them.
const LEFTOVERS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Unfinished work belongs into an issue, not into a comment.
fn leftovers() -> Result<()> {
    let mut list = Command::new("git");
    list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(shell::root());
    let mut found = Vec::new();
    for name in shell::output(&mut list)?
        .split('\0')
        .filter(|name| !name.is_empty())
    {
        let path = shell::root().join(name);
        // Deleted and not yet committed, or a link to a folder.
        if !path.is_file() {
            continue;
        }
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        // Not text: no comments.
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        found.extend(marked_lines(&text).map(|(number, line)| format!("{name}:{number}: {}", line.trim())));
    }
    ensure!(found.is_empty(), "unfinished work:\n  {}", found.join("\n  "));
    Ok(())
}

/// Lines with one of the words on its own, with their numbers from 1.
fn marked_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        words
            .any(|word| LEFTOVERS.contains(&word))
            .then_some((index + 1, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_text_when_searched_for_unfinished_work_then_only_whole_words_count() {
        let text = format!(
            "fine\n// {}: later\nfn {}s() {{}}\n({})\n",
            LEFTOVERS[0], LEFTOVERS[0], LEFTOVERS[1]
        );
        let numbers: Vec<usize> = marked_lines(&text).map(|(number, _)| number).collect();
        assert_eq!(numbers, [2, 4]);
    }
}
