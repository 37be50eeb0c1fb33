//! Instructions of the BPF programs for a request, in a guest whose clock counts them: the same to within one per cent
//! whatever else this machine does, so that a change of a few per cent is seen, and a committed figure can be held.
//!
//! An instruction is not a nanosecond: what a read of user memory or a cache miss costs shows only on a real machine.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{shell, vm};

/// The kernel on which they are counted.
const KERNEL: &str = "6.12";
/// How much more than was committed may be needed, and how much less goes without a word.
const TOLERANCE: f64 = 0.05;
const DEADLINE: Duration = Duration::from_mins(15);

/// Instructions for a request, by traffic and program.
type Counted = BTreeMap<(String, String), f64>;

/// Where the committed ones are.
fn committed() -> PathBuf {
    shell::root().join("xtask/src/bench/counted.tsv")
}

/// Counts; with `write` commits what was counted, else fails where a program needs more than was committed.
pub fn run(agent: &Path, write: bool) -> Result<()> {
    let xtask = std::env::current_exe().context("finding this program")?;
    let script = format!(
        "{} bench --only programs --in-guest --seconds 1 --agent {}",
        shell::quote(&xtask.to_string_lossy()),
        shell::quote(&agent.to_string_lossy())
    );
    let mut counted = Counted::new();
    vm::counted(KERNEL, &script, DEADLINE, |line| counted.extend(of_line(line)))?;
    ensure!(!counted.is_empty(), "the guest told of no program");
    let file = committed();
    if write {
        return fs::write(&file, text(&counted)).with_context(|| format!("writing {}", file.display()));
    }
    let before = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let more = compare(&of_text(&before), &counted);
    ensure!(
        more.is_empty(),
        "more instructions for a request than {} says (`cargo xtask bench --counted --write` commits them):\n  {}",
        file.display(),
        more.join("\n  ")
    );
    Ok(())
}

/// What a row of the table of programs says of one that runs for each request, and of all together.
fn of_line(line: &str) -> Option<((String, String), f64)> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    let [_, traffic, _, _, program, _, runs, .., net, _] = cells[..] else {
        return None;
    };
    let per_request = runs.is_empty() || runs.parse::<f64>().ok()? >= 0.5;
    let net = net.parse().ok()?;
    per_request.then(|| ((traffic.to_owned(), program.to_owned()), net))
}

fn text(counted: &Counted) -> String {
    counted
        .iter()
        .fold(String::new(), |mut text, ((traffic, program), net)| {
            let _ = writeln!(text, "{traffic}\t{program}\t{net:.0}");
            text
        })
}

fn of_text(text: &str) -> Counted {
    let line = |line: &str| {
        let mut cells = line.split('\t');
        let key = (cells.next()?.to_owned(), cells.next()?.to_owned());
        Some((key, cells.next()?.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// What needs more than before, and what was not there before.
fn compare(before: &Counted, now: &Counted) -> Vec<String> {
    let mut more = Vec::new();
    for ((traffic, program), now) in now {
        let was = before
            .get(&(traffic.clone(), program.clone()))
            .copied()
            .unwrap_or_default();
        println!("{traffic}, {program}: {now:.0} instructions a request, {was:.0} committed");
        if *now > was * (1.0 + TOLERANCE) {
            more.push(format!("{traffic}, {program}: {now:.0}, was {was:.0}"));
        } else if *now < was * (1.0 - TOLERANCE) {
            println!("  fewer: commit them with `cargo xtask bench --counted --write`");
        }
    }
    more
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: [&str; 5] = [
        "| traffic    | connections | ends here | program         | hook       | runs per request | ns per run | empty | net | net, ns per request |",
        "| ---------- | ----------- | --------- | --------------- | ---------- | ---------------- | ---------- | ----- | --- | ------------------- |",
        "| keep-alive | 32          | both      | sock_recv_lengt | tp_btf/soc | 2.00             | 393        | 52    | 341 | 681                 |",
        "| keep-alive | 32          | both      | sched_process_e | tp_btf/sch | 0.02             | 9554       | 175   | 938 | 19                  |",
        "| keep-alive | 32          | both      | all programs    |            |                  |            |       |     | 1896                |",
    ];

    fn counted() -> Counted {
        TABLE.into_iter().filter_map(of_line).collect()
    }

    #[test]
    fn given_the_table_of_programs_when_read_then_those_that_run_for_each_request_are_found() {
        let found: Vec<_> = counted().into_iter().collect();
        let key = |program: &str| ("keep-alive".to_owned(), program.to_owned());
        assert_eq!(
            found,
            [(key("all programs"), 1896.0), (key("sock_recv_lengt"), 681.0)]
        );
    }

    #[test]
    fn given_what_was_committed_when_a_program_needs_a_tenth_more_then_it_is_told() {
        let before = of_text(&text(&counted()));
        assert_eq!(before, counted());
        assert_eq!(compare(&before, &counted()), Vec::<String>::new());
        let now = counted().into_iter().map(|(key, net)| (key, net * 1.1)).collect();
        assert_eq!(compare(&before, &now).len(), 2);
        assert_eq!(compare(&now, &before), Vec::<String>::new());
    }

    #[test]
    fn given_a_program_that_was_not_committed_when_compared_then_it_is_told() {
        assert_eq!(compare(&Counted::new(), &counted()).len(), 2);
    }
}
