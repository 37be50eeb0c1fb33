//! Running other programs, with errors that name the command line.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The workspace's root directory.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
}

/// The workspace's target directory: `CARGO_TARGET_DIR`, else `target`.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Builds the agent as it is shipped; says where it is.
pub fn build_dist() -> Result<PathBuf> {
    let build = [
        "build",
        "--profile",
        "dist",
        "--locked",
        "--package",
        "drainwatch",
    ];
    run(cargo().args(build))?;
    Ok(target().join("dist/drainwatch"))
}

/// The cargo that runs this task, in the workspace's root.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Path of a program, if `PATH` (or a system directory that users' paths lack) has it.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// Runs it with our own stdout and stderr; any exit status but 0 is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", line(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", line(command));
    }
    Ok(())
}

/// Runs it and gives its stdout; any exit status but 0 is an error that carries its stderr.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", line(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} failed: {}\n{}",
            line(command),
            output.status,
            stderr.trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs it, prints its stdout as it comes and hands each line to `each`; gives whether it exited with 0.
pub fn run_with_lines(command: &mut Command, mut each: impl FnMut(&str)) -> Result<bool> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", line(command)))?;
    let stdout = child.stdout.take().context("the child's stdout is piped")?;
    for bytes in BufReader::new(stdout).split(b'\n') {
        let bytes = bytes.with_context(|| format!("reading from {}", line(command)))?;
        let text = String::from_utf8_lossy(&bytes);
        println!("{text}");
        each(&text);
    }
    Ok(child
        .wait()
        .with_context(|| format!("waiting for {}", line(command)))?
        .success())
}

/// A word as a POSIX shell reads it back unchanged.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The command line, to be shown to people.
pub fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .map(|word| quote(&word))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_words_with_quotes_and_spaces_when_a_shell_reads_them_back_then_they_are_unchanged() {
        for word in ["plain", "", "two words", "it's", "$HOME `x` \\ \"q\"", "a\nb"] {
            let echoed = output(
                Command::new("sh")
                    .arg("-c")
                    .arg(format!("printf %s {}", quote(word))),
            );
            assert_eq!(echoed.expect("sh runs"), word);
        }
    }

    #[test]
    fn given_a_command_that_fails_when_run_then_the_error_names_it_and_carries_its_stderr() {
        let error = output(Command::new("sh").args(["-c", "echo because >&2; exit 3"])).unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("sh -c") && text.contains('3') && text.contains("because"),
            "{text}"
        );
    }
}
