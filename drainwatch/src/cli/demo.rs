//! `drainwatch demo`: a server that shuts down badly and the same one that shuts down well, on the
//! user's own kernel, with what their clients saw beside what the agent saw.

pub mod cgroup;
pub mod server;
mod traffic;

use std::{
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use drainwatch_core::report::Report;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    cli::{
        args::Format,
        colour,
        failure::{Exit, Failure},
        inside, is_table, print, print_json, render, width,
    },
    kernel::KernelOptions,
    outlets::{listing::Filter, questions::Handle},
};
use server::Specimen;
use traffic::{Account, Clients};

/// Late arrivals are none of the demo's.
const LINGER: Duration = Duration::from_millis(300);
/// How long the servers may take to listen, and the reports to come.
const PATIENCE: Duration = Duration::from_secs(6);

/// What one of the two servers showed.
struct Act {
    report: Report,
    seen: Account,
}

/// Runs the demo and prints both reports.
pub fn demo(format: Format) -> Result<(), Failure> {
    let cgroup_root = &inside::cgroup_root()?;
    let options = KernelOptions::default();
    say("starting the agent");
    let acts = inside::run(&options, LINGER, None, async |handle| {
        acts(handle, cgroup_root).await
    })?;
    show(&acts, format)
}

async fn acts(handle: &Handle, cgroup_root: &Path) -> Result<[Act; 2], Failure> {
    say("starting two servers, each in a cgroup of its own");
    let bad = act(handle, cgroup_root, "bad");
    let good = act(handle, cgroup_root, "good");
    let (bad, good) = tokio::try_join!(bad, good)?;
    Ok([bad, good])
}

async fn act(handle: &Handle, cgroup_root: &Path, kind: &str) -> Result<Act, Failure> {
    let mut specimen = Specimen::start(cgroup_root, kind)?;
    let address = within("a server to listen", specimen.listening()).await??;
    let mut clients = Clients::send(address, kind);
    within(
        "the server to read its requests",
        specimen.requests(traffic::REQUESTS),
    )
    .await??;
    within("its first answers", clients.answered(traffic::BEFORE_STOP)).await?;
    say(&format!(
        "{kind}: {} requests sent, {} answered; sending SIGTERM to process {}",
        traffic::REQUESTS,
        clients.seen().answered,
        specimen.pid()
    ));
    let pid = Pid::from_raw(specimen.pid().cast_signed());
    kill(pid, Signal::SIGTERM).map_err(|why| Failure::internal("SIGTERM could not be sent", why))?;
    let seen = within("the clients to finish", clients.finished()).await?;
    say(&format!(
        "{kind}: {} answered, {} cut; waiting for the report",
        seen.answered, seen.cut
    ));
    let report = report_of(handle, &specimen.cgroup_name()).await?;
    Ok(Act { report, seen })
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::time::timeout(PATIENCE, future)
        .await
        .map_err(|_| Failure::internal("the demo timed out", format!("for {what}")))
}

/// The final report of the workload whose cgroup has this name.
async fn report_of(handle: &Handle, cgroup: &str) -> Result<Report, Failure> {
    let deadline = Instant::now() + PATIENCE;
    let filter = Filter {
        workload: Some(cgroup.into()),
        ..Filter::default()
    };
    while Instant::now() < deadline {
        let matches = handle
            .list(filter.clone())
            .await
            .map_err(|why| Failure::internal("the agent did not answer", why))?;
        let reports = matches
            .found()
            .iter()
            .filter_map(|json| serde_json::from_str::<Report>(json).ok());
        if let Some(report) = reports.into_iter().find(|report| report.ended_at.is_some()) {
            return Ok(report);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(Failure::internal(
        "no report came",
        format!("of {cgroup}; `drainwatch doctor` says which probes work"),
    ))
}

fn show(acts: &[Act; 2], format: Format) -> Result<(), Failure> {
    let [bad, good] = acts;
    if is_table(format) {
        let colour = colour(&std::io::stdout());
        for (n, act) in acts.iter().enumerate() {
            let gap = if n == 0 { "" } else { "\n" };
            print(&format!(
                "{gap}{}\n{}\n",
                render::report(&act.report, width(), colour),
                verdict(act)
            ))?;
        }
    } else {
        let value = serde_json::json!({
            "shutdowns": [bad.report, good.report],
            "clients": { "bad": bad.seen, "good": good.seen },
        });
        print_json(&value, true)?;
    }
    if acts.iter().all(agrees) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Internal,
        "the report and the clients disagree; please report it with the output of `drainwatch doctor`",
    ))
}

fn agrees(act: &Act) -> bool {
    act.report.requests.severed == act.seen.cut && act.report.requests.drained == act.seen.after_stop
}

fn verdict(act: &Act) -> String {
    let Account {
        sent,
        answered,
        cut,
        after_stop,
    } = act.seen;
    let requests = &act.report.requests;
    format!(
        "clients saw: {sent} sent, {answered} answered ({after_stop} of them after SIGTERM), {cut} cut\n\
         drainwatch:  {} severed, {} drained {}",
        requests.severed,
        requests.drained,
        if agrees(act) {
            "✓ both agree"
        } else {
            "✗ they disagree"
        },
    )
}

/// Progress, for people; who closed standard error does not want it.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}
