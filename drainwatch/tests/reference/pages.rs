//! The pages written by hand, as far as a program can tell whether they are true.

use std::{fs, path::Path, path::PathBuf};

use clap::Parser;
use drainwatch::{cli::args::Cli, cli::failure::EXIT_CODES};
use drainwatch_core::report::{Cause, FindingCode, Trigger, Verdict};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// Lines of the fenced blocks in this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in page.lines() {
        if let Some(fence) = line.strip_prefix("```") {
            inside = fence == language;
        } else if inside {
            lines.push(line.to_owned());
        }
    }
    lines
}

#[test]
fn given_the_commands_of_the_readme_when_parsed_then_the_program_takes_them() {
    let mut taken = 0;
    for line in blocks(&read("README.md"), "sh") {
        let command = line.split('#').next().unwrap_or_default();
        let words: Vec<_> = command.split_whitespace().collect();
        let Some(at) = words.iter().position(|word| {
            *word == "--"
                || Path::new(word)
                    .file_name()
                    .is_some_and(|name| name == "drainwatch")
        }) else {
            continue;
        };
        let arguments = std::iter::once("drainwatch").chain(words[at + 1..].iter().copied());
        assert!(Cli::try_parse_from(arguments).is_ok(), "{line}");
        taken += 1;
    }
    assert!(taken >= 6, "the README's commands were not found");
}

#[test]
fn given_the_closed_lists_then_the_readme_has_every_word_and_exit_code() {
    let readme = read("README.md");
    let lists = [
        Trigger::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>(),
        Verdict::ALL.iter().map(|word| word.as_str()).collect(),
        Cause::ALL.iter().map(|word| word.as_str()).collect(),
        FindingCode::ALL.iter().map(|word| word.as_str()).collect(),
    ];
    for word in lists.concat() {
        assert!(
            readme.contains(&format!("`{word}`")),
            "`{word}` is not in the README"
        );
    }
    let (_, codes) = readme.split_once("## Exit codes").unwrap();
    for line in EXIT_CODES.lines().skip(1) {
        let code = line.split_whitespace().next().unwrap();
        assert!(codes.contains(code), "exit code {code} is not in the README");
    }
}

#[test]
fn given_the_queries_of_the_readme_then_each_metric_and_label_is_exposed() {
    let metrics = read("docs/reference/metrics.md");
    let queries = blocks(&read("README.md"), "promql");
    assert!(!queries.is_empty());
    for query in queries {
        for word in query.split(|c: char| !c.is_alphanumeric() && c != '_') {
            let known = ["sum", "by", "increase", "1h", "0", ""].contains(&word);
            assert!(
                known || metrics.contains(&format!("`{word}`")),
                "{word} in {query}"
            );
        }
    }
}

#[test]
fn given_the_pages_then_every_link_to_a_file_leads_to_one() {
    let mut pages = vec![
        "README.md".to_owned(),
        "ARCHITECTURE.md".into(),
        "CHANGELOG.md".into(),
        "CONTRIBUTING.md".into(),
        "SECURITY.md".into(),
    ];
    for folder in ["docs", "docs/reference"] {
        let files = fs::read_dir(root().join(folder)).unwrap().flatten();
        pages.extend(
            files
                .filter(|file| file.path().extension().is_some_and(|extension| extension == "md"))
                .filter_map(|file| file.file_name().into_string().ok())
                .map(|name| format!("{folder}/{name}")),
        );
    }
    for page in pages {
        let text = read(&page);
        let ways = ["](", "src=\"", "srcset=\""];
        for (_, after) in ways
            .iter()
            .flat_map(|way| text.match_indices(way))
            .map(|(at, found)| text.split_at(at + found.len()))
        {
            let target = after.split([')', '"']).next().unwrap_or_default();
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || target.contains("://") {
                continue;
            }
            let beside = root().join(&page);
            assert!(beside.parent().unwrap().join(file).exists(), "{page}: {target}");
        }
    }
}

#[test]
fn given_the_pages_for_contributors_then_every_file_that_they_name_exists() {
    let folders = [
        "dashboards",
        "deploy",
        "docs",
        "drainwatch",
        "drainwatch-core",
        "drainwatch-ebpf",
        "fuzz",
        "tests",
        "xtask",
    ];
    for page in ["CONTRIBUTING.md", "SECURITY.md"] {
        let text = read(page);
        let quoted = text.split('`').skip(1).step_by(2);
        let paths: Vec<_> = quoted
            .filter(|word| {
                word.split_once('/')
                    .is_some_and(|(first, _)| folders.contains(&first))
            })
            .collect();
        assert!(paths.len() >= 5, "{page}: the files were not found");
        for path in paths {
            assert!(root().join(path).exists(), "{page}: {path}");
        }
    }
}
