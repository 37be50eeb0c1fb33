//! The help of every command, as the built program prints it.

use std::{fmt::Write as _, process::Command};

use clap::CommandFactory;
use drainwatch::cli::args::Cli;

pub fn page() -> String {
    let mut page = format!(
        "What `drainwatch --help` and the `--help` of each command say. Colour only on a terminal, and not with \
         `NO_COLOR`; results on standard output, everything else on standard error; a failure is one line.\n\n{}",
        help(&[])
    );
    for command in Cli::command()
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
    {
        let name = command.get_name();
        write!(page, "\n## drainwatch {name}\n\n{}", help(&[name])).unwrap();
    }
    page
}

fn help(command: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_drainwatch"))
        .args(command)
        .arg("--help")
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    format!("```text\n{}\n```\n", lines.join("\n").trim_end())
}
