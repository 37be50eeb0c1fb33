//! `shutdowns`, `show`, `watch`: what an agent knows.

use std::{
    collections::{HashSet, VecDeque},
    io::{self, Write},
    thread,
    time::Duration,
};

use drainwatch_core::report::Report;

use super::{
    args::{Format, ShowArgs, ShutdownsArgs, WatchArgs},
    colour, failure_line, is_table, print, print_json, width,
};
use crate::{
    cli::{
        client::Client,
        failure::{Exit, Failure},
        render,
    },
    outlets::brief,
};

/// How often `watch` asks.
const EVERY: Duration = Duration::from_millis(500);
/// How far back each question of `watch` reaches: what ended while a question was on its way, or
/// while the agent was restarting, is in it; what was printed already is remembered.
const BACK: &str = "10m";
/// Ids remembered as printed.
const REMEMBERED: usize = 10_000;

/// Prints past shutdowns.
pub fn shutdowns(args: &ShutdownsArgs) -> Result<(), Failure> {
    let mut parameters = vec![("limit", args.limit.to_string())];
    let optional = [
        ("since", args.since.clone()),
        ("workload", args.workload.clone()),
        ("verdict", args.verdict.map(|verdict| verdict.to_string())),
    ];
    parameters.extend(
        optional
            .into_iter()
            .filter_map(|(name, value)| value.map(|value| (name, value))),
    );
    let listing = Client::new(&args.client.url)?.list(&parameters)?;
    if !is_table(args.client.format) {
        return print_json(
            &serde_json::json!({ "shutdowns": listing.shutdowns, "more": listing.more }),
            true,
        );
    }
    if listing.shutdowns.is_empty() {
        return print("no shutdowns\n");
    }
    print(&render::table(&listing.shutdowns, width()))?;
    if listing.more {
        print("… and more; raise --limit, or narrow it with --since, --workload or --verdict\n")?;
    }
    Ok(())
}

/// Prints one shutdown.
pub fn show(args: &ShowArgs) -> Result<(), Failure> {
    let report = Client::new(&args.client.url)?.show(&args.id)?;
    print_report(&report, args.client.format)
}

/// Prints one report.
pub fn print_report(report: &Report, format: Format) -> Result<(), Failure> {
    if is_table(format) {
        print(&render::report(report, width(), colour(&io::stdout())))
    } else {
        print_json(report, true)
    }
}

/// Prints each shutdown as it ends, until interrupted. Survives the agent's restart.
pub fn watch(args: &WatchArgs) -> Result<(), Failure> {
    let client = Client::new(&args.client.url)?;
    let parameters = [("since", BACK.to_owned()), ("limit", "1000".to_owned())];
    let mut printed = Printed::default();
    for report in client
        .list(&parameters)?
        .shutdowns
        .iter()
        .filter(|report| report.ended_at.is_some())
    {
        printed.is_new(&report.id);
    }
    let mut away = false;
    loop {
        thread::sleep(EVERY);
        match client.list(&parameters) {
            Ok(listing) => {
                if std::mem::take(&mut away) {
                    say("drainwatch: the agent answers again");
                }
                for report in listing
                    .shutdowns
                    .iter()
                    .rev()
                    .filter(|report| report.ended_at.is_some())
                {
                    if printed.is_new(&report.id) {
                        print_line(report, args.client.format)?;
                    }
                }
            }
            Err(failure) if failure.exit == Exit::Unavailable => {
                if !std::mem::replace(&mut away, true) {
                    say(&format!("{}; waiting for it", failure_line(&failure)));
                }
            }
            Err(failure) => return Err(failure),
        }
    }
}

fn print_line(report: &Report, format: Format) -> Result<(), Failure> {
    if is_table(format) {
        print(&(brief::line(report, colour(&io::stdout())) + "\n"))
    } else {
        print_json(report, false)
    }
}

/// To standard error; who closed it does not want to know.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Ids that were printed, the oldest forgotten first.
#[derive(Default)]
struct Printed {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Printed {
    fn is_new(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.into()) {
            return false;
        }
        self.order.push_back(id.into());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}
