//! The pages of `docs/reference` are written from the code; one that says something else fails here.
//!
//! `cargo xtask docs` runs this test with `WRITE_REFERENCE` set: then it writes the pages instead.

mod cli;
mod config;
mod log;
mod metrics;
mod pages;
mod recording;
mod report;
mod source;

use std::{env, fs, path::PathBuf};

/// Set: write the pages. Not set: compare them.
const WRITE: &str = "WRITE_REFERENCE";

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/reference")
}

/// Compares a page with what the code says, or writes it.
fn check(name: &str, title: &str, body: &str) {
    let page = format!(
        "<!-- Written by `cargo xtask docs` from the code: change it there. -->\n\n# {title}\n\n{}\n",
        body.trim()
    );
    let path = directory().join(name);
    if env::var_os(WRITE).is_some() {
        fs::create_dir_all(directory()).unwrap();
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
            "docs/reference/{name}, line {}, is not what the code says; run `cargo xtask docs`\n  page: {}\n  code: {}",
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
