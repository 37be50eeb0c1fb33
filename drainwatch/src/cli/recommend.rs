//! `recommend`: what was measured over a workload's last stops, and the change that follows from it.

mod advice;
mod changes;

use drainwatch_core::report::Report;

use super::{
    args::{Change, RecommendArgs},
    print, print_json, terminal,
};
use crate::{
    cli::{client::Client, failure::Failure},
    outlets::listing::MOST_LISTED,
};

/// Prints what to change of one workload, or of all.
pub fn recommend(args: &RecommendArgs) -> Result<(), Failure> {
    let mut parameters = vec![("limit", MOST_LISTED.to_string())];
    if let Some(workload) = &args.workload {
        parameters.push(("workload", workload.clone()));
    }
    let reports: Vec<Report> = Client::new(&args.agent)?.list(&parameters)?.shutdowns;
    let advices = advice::of(&reports);
    if advices.is_empty() {
        let whose = args
            .workload
            .as_ref()
            .map_or_else(String::new, |name| format!(" of `{name}`"));
        return Err(Failure::usage(format!(
            "no stop{whose} was measured yet; `drainwatch shutdowns` lists what was seen"
        )));
    }
    match args.output {
        Change::Json => print_json(&serde_json::json!({ "workloads": advices }), true),
        Change::Text if args.workload.is_none() => print(&changes::table(&advices, terminal())),
        Change::Text => each(&advices, |advice| Ok(changes::text(advice))),
        Change::KubectlPatch => each(&changes::pods(&advices), |of_one| changes::kubectl_patch(of_one)),
        Change::Compose => each(&advices, changes::compose),
        Change::Systemd => each(&advices, changes::systemd),
    }
}

/// Prints the change of each. Where it is of one only, that it cannot be made is a failure, else a comment.
fn each<T>(all: &[T], change: impl Fn(&T) -> Result<String, String>) -> Result<(), Failure> {
    let alone = all.len() == 1;
    let texts: Result<Vec<_>, Failure> = all
        .iter()
        .map(|one| match change(one) {
            Ok(text) => Ok(text),
            Err(why) if alone => Err(Failure::usage(why)),
            Err(why) => Ok(format!("# {why}\n")),
        })
        .collect();
    print(&texts?.join("\n"))
}

#[cfg(test)]
mod tests;
