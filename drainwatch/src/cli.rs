//! The room of the command line: the commands, each in a file of its own, what they print and how they fail; [`main`]
//! only picks one.
//!
//! May not enter: what any other room needs. Nothing stands on this one.

pub mod args;
mod check;
pub mod client;
mod complete;
pub mod demo;
mod doctor;
pub mod failure;
mod history;
mod inside;
mod log;
mod recommend;
mod recordings;
pub mod render;
mod rollouts;
pub mod run;
mod service;
mod uninstall;

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write},
};

use clap::{Parser, error::ErrorKind};
use drainwatch_core::workload::text::{clean, is_harmful};
use serde::Serialize;

use crate::{
    cli::failure::{Exit, Failure},
    kernel::{Diagnosis, Kernel, KernelError, KernelOptions},
    outlets::text::Colour,
};
use args::{Cli, Command, Format};

/// Columns when the output is no terminal.
const WIDTH: usize = 120;

/// Reads the command line and does what it says. The exit code, and the one line of the failure.
pub fn main() -> Result<(), Failure> {
    complete::answer();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Demo(args) => demo::demo(args.format.format),
        Command::Check(args) => check::check(&args),
        Command::Shutdowns(args) => history::shutdowns(&args),
        Command::Show(args) => history::show(&args),
        Command::Rollouts(args) => rollouts::rollouts(&args),
        Command::Recommend(args) => recommend::recommend(&args),
        Command::Watch(args) => history::watch(&args),
        Command::Replay(args) => recordings::replay(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Uninstall(args) => uninstall::uninstall(&args),
        Command::CheckConfig { file } => run::check_config(&file),
        Command::PrintConfig(args) => run::print_config(&args),
        Command::Completions { shell } => complete::script(shell),
        Command::DemoServer(args) => demo::server::serve(&args),
    }
}

/// Help and version are answers; anything else is bad usage, in one line.
fn refuse(error: &clap::Error) -> Result<(), Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let text = error.render();
            let coloured = colour(&io::stdout()) == Colour::Always;
            print(&if coloured {
                text.ansi().to_string()
            } else {
                text.to_string()
            })
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Err(Failure::usage(
            "no command was given; write for example `drainwatch demo`; `drainwatch --help` lists all of them",
        )),
        _ => Err(Failure::usage(one_line(&error.render().to_string()))),
    }
}

/// clap's message without its usage paragraph, its lines joined.
fn one_line(message: &str) -> String {
    let lines: Vec<_> = message
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let joined = lines.join("; ").replace(":;", ":");
    format!(
        "{}; see --help",
        joined.strip_prefix("error: ").unwrap_or(&joined)
    )
}

/// Colour only on a terminal, and only where `NO_COLOR` (no-color.org) is not set.
pub fn colour(output: &impl IsTerminal) -> Colour {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if output.is_terminal() && !refused {
        Colour::Always
    } else {
        Colour::Never
    }
}

/// Columns of the terminal, where the output is one.
pub fn terminal() -> Option<usize> {
    // comfy-table knows how to ask the terminal.
    let columns = comfy_table::Table::new().width().map(usize::from);
    columns.filter(|columns| *columns > 0)
}

/// Columns to draw in.
pub fn width() -> usize {
    terminal().unwrap_or(WIDTH)
}

/// Writes to standard output. A reader that has gone (`| head`) is no failure: the process ends.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(why) if why.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(why) => Err(Failure::internal("cannot write to standard output", why)),
        Ok(()) => Ok(()),
    }
}

/// Writes to standard error; who closed it does not want to know.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes one value as JSON.
pub fn print_json(value: &impl Serialize, pretty: bool) -> Result<(), Failure> {
    let json = if pretty {
        serde_json::to_string_pretty(value)
    } else {
        serde_json::to_string(value)
    };
    let json = json.map_err(|why| Failure::internal("a report could not be written as JSON", why))?;
    print(&(harmless(json) + "\n"))
}

/// The same JSON for a terminal: what would reorder or hide text there, which can stand only in its strings, escaped.
fn harmless(json: String) -> String {
    let acts = |c: char| c != '\n' && is_harmful(c);
    if !json.contains(acts) {
        return json;
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if acts(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// The line that a failure is reported by.
pub fn failure_line(failure: &Failure) -> String {
    format!("drainwatch: {}", clean(&failure.message.replace('\n', " ")))
}

/// Starts the kernel side; a refusal names what is missing.
pub fn start_kernel(options: &KernelOptions) -> Result<Kernel, Failure> {
    Kernel::start(options).map_err(|error| match error {
        KernelError::Refused(why) => refusal(&Kernel::diagnose(None), Some(why)).unwrap_or_else(|| {
            Failure::unavailable("the kernel side refused to start; `drainwatch doctor` says what is missing")
        }),
        KernelError::Failed { .. } => Failure::new(
            Exit::Internal,
            format!("the kernel side did not start: {error}; see `drainwatch doctor`"),
        ),
    })
}

/// Why the agent cannot run here, if it cannot: 77 where a privilege is missing, else 69.
pub fn refusal(diagnosis: &Diagnosis, refused: Option<String>) -> Option<Failure> {
    if !diagnosis.missing_capabilities.is_empty() {
        let missing: Vec<_> = diagnosis
            .missing_capabilities
            .iter()
            .map(|(capability, needed_for)| format!("{capability} ({needed_for})"))
            .collect();
        let sentence = format!(
            "missing {}; run it with sudo, or grant the capabilities",
            missing.join(" and ")
        );
        return Some(Failure::new(Exit::Privilege, sentence));
    }
    refused
        .or_else(|| diagnosis.refusal.clone())
        .map(Failure::unavailable)
}

/// Writes each value as one line of JSON.
pub fn print_lines(values: &[impl Serialize]) -> Result<(), Failure> {
    values.iter().try_for_each(|value| print_json(value, false))
}

/// Checks before writing that the format is for people.
pub fn is_table(format: Format) -> bool {
    matches!(format, Format::Table | Format::Wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_hostile_text_when_written_as_json_then_it_is_the_same_and_nothing_in_it_acts() {
        let value = serde_json::json!({ "path": "/a\u{202e}\u{e0001}\u{7f}\u{1b}[2J\né" });
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let printed = harmless(text);
            assert!(!printed.contains(|c| c != '\n' && is_harmful(c)), "{printed}");
            assert!(printed.contains('é'));
            let read: serde_json::Value = serde_json::from_str(&printed).unwrap();
            assert_eq!(read, value);
        }
    }

    #[test]
    fn given_claps_message_when_shortened_then_it_is_one_line_with_its_tip() {
        let error = Cli::try_parse_from(["drainwatch", "run", "--stat-dir", "x"]).unwrap_err();
        let line = one_line(&error.render().to_string());
        assert_eq!(
            line,
            "unexpected argument '--stat-dir' found; tip: a similar argument exists: '--state-dir'; see --help"
        );
        let error = Cli::try_parse_from(["drainwatch", "replay"]).unwrap_err();
        let line = one_line(&error.render().to_string());
        assert_eq!(
            line,
            "the following required arguments were not provided: <FILE>; see --help"
        );
    }

    #[test]
    fn given_a_diagnosis_when_refused_then_the_missing_capability_goes_before_all_else() {
        let mut diagnosis = Diagnosis {
            kernel: "6.1".into(),
            cgroup_root: None,
            missing_capabilities: vec![],
            kept_capabilities: vec![],
            probes: vec![],
            pins: String::new(),
            not_recorded: &[],
            refusal: None,
        };
        assert_eq!(refusal(&diagnosis, None), None);
        diagnosis.refusal = Some("no BTF".into());
        assert_eq!(refusal(&diagnosis, None), Some(Failure::unavailable("no BTF")));
        diagnosis.missing_capabilities = vec![("CAP_BPF".into(), "loads the programs".into())];
        let failure = refusal(&diagnosis, Some("EPERM".into())).unwrap();
        assert_eq!(failure.exit, Exit::Privilege);
        assert!(
            failure
                .message
                .starts_with("missing CAP_BPF (loads the programs); run it with sudo")
        );
    }
}
