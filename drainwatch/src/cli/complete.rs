//! What a shell offers while a command is typed: words of closed lists by themselves, ids and names from the agent.

use std::{collections::BTreeSet, io, path::PathBuf, time::Duration};

use clap::CommandFactory;
use clap_complete::{CompleteEnv, engine::CompletionCandidate, env::Shells};
use drainwatch_core::{report::Report, workload::text::clean};

use super::{args::Cli, client, failure::Failure};
use crate::{
    cli::{client::Client, print},
    outlets::brief,
};

/// Set by the shell's script where completions are asked for.
const VARIABLE: &str = "_DRAINWATCH_COMPLETE";
/// Somebody waits with the finger on the key.
const WITHIN: Duration = Duration::from_secs(1);
/// How many shutdowns are looked at.
const LAST: &str = "200";

/// Answers a shell and ends the process, where a shell asks.
pub fn answer() {
    CompleteEnv::with_factory(Cli::command).var(VARIABLE).complete();
}

/// Prints the script that makes a shell ask.
pub fn script(shell: clap_complete::Shell) -> Result<(), Failure> {
    let name = shell.to_string();
    let failed = |why: io::Error| Failure::internal("the completions could not be written", why);
    let shells = Shells::builtins();
    let shell = shells
        .completer(&name)
        .ok_or_else(|| failed(io::ErrorKind::Unsupported.into()))?;
    let mut script = Vec::new();
    shell
        .write_registration(VARIABLE, "drainwatch", "drainwatch", "drainwatch", &mut script)
        .map_err(failed)?;
    print(&String::from_utf8_lossy(&script))
}

/// Ids of the last shutdowns, with what they are, and names of workloads.
pub fn ids_and_names() -> Vec<CompletionCandidate> {
    let reports = reports();
    let ids = reports.iter().map(|report| {
        let what = format!(
            "{} {} {}",
            brief::when(&report.started_at),
            brief::workload(&report.workload),
            report.verdict
        );
        CompletionCandidate::new(clean(&report.id)).help(Some(what.into()))
    });
    ids.chain(names(&reports)).collect()
}

/// Names of workloads.
pub fn workloads() -> Vec<CompletionCandidate> {
    names(&reports()).collect()
}

/// Kubernetes namespaces.
pub fn namespaces() -> Vec<CompletionCandidate> {
    candidates(
        reports()
            .iter()
            .filter_map(|report| report.workload.namespace.clone()),
    )
}

/// Classes of severed requests.
pub fn classes() -> Vec<CompletionCandidate> {
    let reports = reports();
    let severed = reports.iter().flat_map(|report| &report.severed_requests);
    candidates(severed.map(|request| request.class.clone()))
}

fn names(reports: &[Report]) -> impl Iterator<Item = CompletionCandidate> {
    let names = reports.iter().map(|report| match &report.workload.namespace {
        Some(namespace) => format!("{namespace}/{}", report.workload.name),
        None => report.workload.name.clone(),
    });
    candidates(names).into_iter()
}

fn candidates(words: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    let words: BTreeSet<_> = words.map(|word| clean(&word)).collect();
    words.into_iter().map(CompletionCandidate::new).collect()
}

/// The last shutdowns of the agent that `DRAINWATCH_URL` names, else of the one of this host; none where none answers.
fn reports() -> Vec<Report> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let url = variable("DRAINWATCH_URL").unwrap_or_else(|| client::URL.into());
    let ca_file = variable("DRAINWATCH_URL_CA_FILE").map(PathBuf::from);
    Client::within(&url, ca_file.as_deref(), WITHIN)
        .and_then(|client| client.list(&[("limit", LAST.into())]))
        .map(|listing| listing.shutdowns)
        .unwrap_or_default()
}
