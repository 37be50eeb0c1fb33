//! `shutdowns`, `show`, `watch`: what an agent knows.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    io, thread,
    time::Duration,
};

use drainwatch_core::{report::Report, workload::text::clean};

use super::{
    args::{Format, ShowArgs, ShutdownsArgs, WatchArgs},
    colour, failure_line, is_table, print, print_json, print_lines, say, terminal, width,
};
use crate::{
    cli::{
        client::Client,
        failure::{Exit, Failure},
        render,
    },
    outlets::{brief, listing},
};

/// How often `watch` asks.
const EVERY: Duration = Duration::from_millis(500);
/// How far back each question of `watch` reaches: what ended while a question was on its way, or
/// while the agent was restarting, is in it; what was printed already is remembered.
const BACK: &str = "10m";
/// Of how many the last one is looked for.
const LAST_OF: usize = 20;
/// Ids remembered as printed.
const REMEMBERED: usize = 10_000;

/// Prints past shutdowns.
pub fn shutdowns(args: &ShutdownsArgs) -> Result<(), Failure> {
    let mut parameters = args.filter.parameters();
    parameters.push(("limit", args.limit.to_string()));
    let listing = Client::new(&args.client.agent)?.list(&parameters)?;
    match args.client.format.format {
        Format::Json => print_json(
            &serde_json::json!({ "shutdowns": listing.shutdowns, "more": listing.more }),
            true,
        ),
        Format::Jsonl => print_lines(&listing.shutdowns),
        Format::Table | Format::Wide if listing.shutdowns.is_empty() => print("no shutdowns\n"),
        format => {
            print(&if format == Format::Wide {
                render::wide(&listing.shutdowns)
            } else {
                render::table(&listing.shutdowns, terminal())
            })?;
            if listing.more {
                say("… and more; raise --limit, or narrow it with --since, --workload or --verdict");
            }
            Ok(())
        }
    }
}

/// Prints one shutdown: by its id, the last one of a workload, or the last one of all.
pub fn show(args: &ShowArgs) -> Result<(), Failure> {
    let client = Client::new(&args.client.agent)?;
    let report = match &args.which {
        None => last(&client, None)?.ok_or_else(|| {
            Failure::usage("no shutdown was seen yet; `sudo drainwatch demo` shows an example")
        })?,
        Some(which) => match client.show(which)? {
            Some(report) => report,
            None => match last(&client, Some(which))? {
                Some(report) => report,
                None => return Err(unknown(&client, which)?),
            },
        },
    };
    print_report(&report, args.client.format.format)
}

/// Nothing is called so; perhaps a workload whose name looks like it was meant.
fn unknown(client: &Client, which: &str) -> Result<Failure, Failure> {
    /// A typing error or two; less is chance.
    const ALIKE: f64 = 0.8;
    let reports = client.list(&[("limit", listing::MOST_LISTED.to_string())])?;
    let names: BTreeSet<String> = reports
        .shutdowns
        .into_iter()
        .map(|report| report.workload.name)
        .collect();
    let likeness = |name: &String| strsim::jaro_winkler(name, which);
    let nearest = names.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let meant = nearest
        .filter(|name| likeness(name) >= ALIKE)
        .map_or_else(String::new, |name| format!("did you mean `{}`? ", clean(name)));
    Ok(Failure::usage(format!(
        "`{which}` is neither the id nor the workload of a shutdown; {meant}`drainwatch shutdowns` lists them"
    )))
}

/// The shutdown that began last, of this workload or of all.
fn last(client: &Client, workload: Option<&str>) -> Result<Option<Report>, Failure> {
    let workload = workload.map(|name| ("workload", name.to_owned()));
    // Those under way come before those that ended, and need not have begun later.
    let parameters: Vec<_> = workload
        .into_iter()
        .chain([("limit", LAST_OF.to_string())])
        .collect();
    let reports = client.list(&parameters)?.shutdowns.into_iter();
    Ok(reports.max_by(|a, b| a.started_at.cmp(&b.started_at)))
}

/// Prints one report.
pub fn print_report(report: &Report, format: Format) -> Result<(), Failure> {
    if is_table(format) {
        print(&render::report(report, width(), colour(&io::stdout())))
    } else {
        print_json(report, format == Format::Json)
    }
}

/// Prints each shutdown as it ends, until interrupted or until the time that was given. Survives the agent's restart.
pub fn watch(args: &WatchArgs) -> Result<(), Failure> {
    let client = Client::new(&args.client.agent)?;
    let until = args.filter.until.as_deref().and_then(|until| {
        let now = jiff::Timestamp::now();
        listing::time("until", until, now).ok()
    });
    let mut printed = Printed::default();
    let mut first = args.filter.parameters();
    first.push(("limit", listing::MOST_LISTED.to_string()));
    let mut parameters = first.clone();
    parameters.retain(|(name, _)| *name != "since" && *name != "until");
    parameters.push(("since", BACK.into()));
    if args.filter.since.is_none() {
        first.clone_from(&parameters);
    }
    for report in ended(&client.list(&first)?.shutdowns) {
        if printed.is_new(&report.id) && args.filter.since.is_some() {
            print_line(report, args.client.format.format)?;
        }
    }
    let mut away = false;
    loop {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        if until.is_some_and(|until| until <= now_ms) {
            return Ok(());
        }
        thread::sleep(EVERY);
        match client.list(&parameters) {
            Ok(listing) => {
                if std::mem::take(&mut away) {
                    say("drainwatch: the agent answers again");
                }
                for report in ended(&listing.shutdowns) {
                    if printed.is_new(&report.id) {
                        print_line(report, args.client.format.format)?;
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

/// Those that ended, the oldest first.
fn ended(reports: &[Report]) -> impl Iterator<Item = &Report> {
    reports.iter().rev().filter(|report| report.ended_at.is_some())
}

fn print_line(report: &Report, format: Format) -> Result<(), Failure> {
    let line = match format {
        Format::Json | Format::Jsonl => return print_json(report, false),
        Format::Table => brief::line(report, colour(&io::stdout())),
        Format::Wide => {
            let line = brief::line(report, colour(&io::stdout()));
            format!("{line}  id {} on {}", clean(&report.id), clean(&report.node))
        }
    };
    print(&(line + "\n"))
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
