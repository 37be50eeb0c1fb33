//! What is under `deploy/`: copies and the kustomize base are written here, and what the chart renders is checked.
//!
//! Helm is not needed: `deploy/helm/render` is a small program around the template engine that Helm itself uses.

mod manifests;
mod render;
mod rules;
mod unit;
mod values;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use self::render::Renderer;
use crate::deps::{self, Use};
use crate::shell;
use crate::test::Tally;

/// Options of `cargo xtask deploy`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask deploy          write the chart's copies of rules and dashboards, and the kustomize base
  cargo xtask deploy --check  change nothing: drift, values, rendered manifests, the systemd unit")]
pub struct Options {
    /// Change nothing: check everything under deploy/
    #[arg(long)]
    check: bool,
}

/// Writes or checks.
pub fn run(options: &Options) -> Result<()> {
    if let Some(missing) = deps::missing(&[Use::Deploy, Use::Alerts]) {
        bail!("{missing}");
    }
    if options.check {
        let tally = checks();
        println!("{tally}");
        ensure!(tally.failed == 0, "deploy failed");
        return Ok(());
    }
    for (path, text) in copies()? {
        write(&path, &text)?;
    }
    let renderer = Renderer::build()?;
    for (path, text) in kustomize(&renderer)? {
        write(&path, &text)?;
    }
    Ok(())
}

/// Runs every check, whatever the ones before it said.
pub fn checks() -> Tally {
    let mut tally = Tally::default();
    let mut note = |name: &str, result| tally.note(name, result);
    note(
        "the chart's copies of rules and dashboards",
        copies().and_then(|all| same(&all)),
    );
    match Renderer::build() {
        Ok(renderer) => {
            note(
                "kustomize is the chart",
                kustomize(&renderer).and_then(|all| same(&all)),
            );
            note("values, their comments and their schema", values::described());
            note("bad values are refused", values::bad_ones_refused());
            note("every value has an effect", values::used(&renderer));
            note(
                "a changed configuration changes the pods",
                values::checksum(&renderer),
            );
            for set in values::SETS {
                note(
                    &format!("manifests with {}", set.name),
                    manifests::check(&renderer, set),
                );
            }
        }
        Err(error) => note("the renderer", Err(error)),
    }
    note("systemd's opinion of the unit", unit::check());
    tally
}

fn directory() -> PathBuf {
    shell::root().join("deploy")
}

fn chart() -> PathBuf {
    directory().join("helm/drainwatch")
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    }
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// Fails with the files that are not what they should be.
fn same(expected: &BTreeMap<PathBuf, String>) -> Result<()> {
    let differ: Vec<String> = expected
        .iter()
        .filter(|(path, text)| fs::read_to_string(path).ok().as_ref() != Some(text))
        .map(|(path, _)| path.display().to_string())
        .collect();
    ensure!(
        differ.is_empty(),
        "run `cargo xtask deploy`: {} drifted",
        differ.join(", ")
    );
    Ok(())
}

/// What the chart needs a copy of, since it can read only what lies in it.
fn copies() -> Result<BTreeMap<PathBuf, String>> {
    let (from, to) = (shell::root().join("dashboards"), chart().join("files"));
    let mut copies = BTreeMap::from([(to.join("rules.yaml"), rules::both(&from)?)]);
    for entry in fs::read_dir(&from).with_context(|| format!("reading {}", from.display()))? {
        let path = entry?.path();
        let name = path.file_name().context("a file has a name")?;
        if is(&name.to_string_lossy(), "json") {
            copies.insert(to.join("dashboards").join(name), read(&path)?);
        }
    }
    Ok(copies)
}

const WRITTEN: &str = "# Written by `cargo xtask deploy` from deploy/helm/drainwatch: change it there.\n";

/// The base: the chart with its defaults, one file per template that gives something.
fn kustomize(renderer: &Renderer) -> Result<BTreeMap<PathBuf, String>> {
    let to = directory().join("kustomize");
    let texts = renderer.render(&values::defaults()?, "drainwatch", "drainwatch", "kustomize")?;
    let mut files = BTreeMap::from([(
        "namespace.yaml".to_owned(),
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: drainwatch\n  labels:\n    \
         # The agent shares the host's processes and mounts the host's cgroups.\n    \
         pod-security.kubernetes.io/enforce: privileged\n"
            .to_owned(),
    )]);
    for (template, text) in texts {
        let Some(name) = template.strip_prefix("templates/") else {
            continue;
        };
        // `helm test` is Helm's.
        let test = name.starts_with("tests/");
        if !test && is(name, "yaml") && !text.trim().is_empty() {
            files.insert(name.to_owned(), format!("{}\n", text.trim()));
        }
    }
    let names: Vec<String> = files.keys().map(|name| format!("  - {name}\n")).collect();
    let list = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n{}",
        names.concat()
    );
    files.insert("kustomization.yaml".to_owned(), list);
    Ok(files
        .into_iter()
        .map(|(name, text)| (to.join(name), format!("{WRITTEN}{text}")))
        .collect())
}

/// A file's name ends so.
fn is(name: &str, extension: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|found| found == extension)
}

/// A value by its path.
fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}
