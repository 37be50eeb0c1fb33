//! The pages of `docs/reference` and the manual, `docs/man`, are written from the code; one that says something else fails
//! here.
//!
//! `cargo xtask docs` runs this test with `WRITE_REFERENCE` set: then it writes the pages instead.

mod cli;
mod config;
mod log;
mod man;
mod metrics;
mod pages;
mod recording;
mod report;
mod source;

use std::{collections::BTreeSet, env, fs, path::PathBuf};

/// Set: write the pages. Not set: compare them.
const WRITE: &str = "WRITE_REFERENCE";

fn directory(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name)
}

/// Compares a page with what the code says, or writes it.
fn check(name: &str, title: &str, body: &str) {
    let page = format!(
        "<!-- Written by `cargo xtask docs` from the code: change it there. -->\n\n# {title}\n\n{}\n",
        body.trim()
    );
    same("reference", name, &page);
}

/// Compares a file below `docs` with what it is to be, or writes it.
fn same(directory_name: &str, name: &str, page: &str) {
    let path = directory(directory_name).join(name);
    if env::var_os(WRITE).is_some() {
        fs::create_dir_all(directory(directory_name)).unwrap();
        fs::write(&path, page).unwrap();
        return;
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let (now, then): (Vec<_>, Vec<_>) = (page.lines().collect(), written.lines().collect());
    let line = |lines: &[&str], index| {
        lines
            .get(index)
            .map_or("(nothing)".into(), |line: &&str| line.to_string())
    };
    let differs = (0..now.len().max(then.len())).find(|&index| now.get(index) != then.get(index));
    if let Some(index) = differs {
        panic!(
            "docs/{directory_name}/{name}, line {}, is not what the code says; run `cargo xtask docs`\n  page: {}\n  code: {}",
            index + 1,
            line(&then, index),
            line(&now, index)
        );
    }
}

#[test]
fn given_the_command_line_then_the_reference_has_the_help_of_every_command() {
    check("cli.md", "Command line", &cli::page());
}

#[test]
fn given_the_command_line_then_the_manual_has_a_page_of_every_command_and_no_other() {
    let pages = man::pages();
    for (name, page) in &pages {
        same("man", name, page);
    }
    let names: BTreeSet<String> = pages.into_keys().collect();
    let found = fs::read_dir(directory("man")).unwrap();
    let found: BTreeSet<String> = found
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, names);
}

#[test]
fn given_the_metrics_then_the_reference_has_each_with_its_labels() {
    check("metrics.md", "Metrics", &metrics::page());
}

#[test]
fn given_the_settings_then_the_reference_has_each_with_its_default() {
    check("config.md", "Configuration", &config::page());
}

#[test]
fn given_the_log_line_of_a_shutdown_then_the_reference_has_each_field() {
    check("log.md", "Log", &log::page());
}

#[test]
fn given_the_report_then_the_reference_has_each_key_and_word() {
    check("report.md", "Report", &report::page());
}

#[test]
fn given_the_recording_then_the_reference_has_each_event() {
    check("recording.md", "Recording", &recording::page());
}
