//! Recordings of real kernels, replayed: the reports must stay what the clients of the time confirmed.

use std::{fs::File, io::BufReader, path::Path};

use drainwatch::agent::recording::{self, Reader};
use drainwatch_core::report::{Cause, FindingCode, Report, Trigger, Verdict};

fn reports(name: &str) -> Vec<Report> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/recordings")
        .join(name);
    let reader = Reader::new(BufReader::new(File::open(path).unwrap())).unwrap();
    recording::replay(reader).unwrap()
}

fn of<'a>(reports: &'a [Report], end: &str) -> &'a Report {
    reports
        .iter()
        .find(|report| report.workload.cgroup.ends_with(end))
        .unwrap()
}

/// `drainwatch run --record` on Linux 6.18 while `drainwatch demo` ran: 12 requests to each server, of which
/// the bad one's clients lost 8, and the good one's none.
#[test]
fn given_the_demo_recorded_on_6_18_when_replayed_then_the_reports_are_those_that_its_clients_confirmed() {
    let reports = reports("demo-6.18.jsonl");

    let bad = of(&reports, "-bad");
    assert_eq!((bad.trigger, bad.verdict), (Trigger::Stop, Verdict::Severed));
    assert_eq!(
        bad.severed,
        [(Cause::Unanswered, 4), (Cause::Truncated, 4)].into()
    );
    assert_eq!(bad.findings[0].code, FindingCode::NoHandler);
    let mut paths: Vec<_> = bad
        .severed_requests
        .iter()
        .filter_map(|request| request.path.clone())
        .collect();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), 8, "each request once");

    let good = of(&reports, "-good");
    assert_eq!((good.trigger, good.verdict), (Trigger::Stop, Verdict::Clean));
    assert_eq!((good.requests.drained, good.requests.severed), (8, 0));
    assert_eq!(good.findings, []);
}
