//! The report's keys and words.

use std::fmt::Write as _;

use drainwatch_core::report::{DRAINED_LISTED, Report, SEVERED_LISTED, TIMELINE_LISTED};

use super::source::{Source, keys, words};

const OBJECTS: &[&str] = &[
    "Workload",
    "Exit",
    "SignalSeen",
    "ProcessSeen",
    "Outcomes",
    "Revision",
    "SeveredRequest",
    "DrainedRequest",
    "Configured",
    "Moment",
    "Finding",
];
const LISTS: &[&str] = &[
    "Trigger",
    "Reason",
    "Verdict",
    "Cause",
    "FindingCode",
    "MomentKind",
    "Disposition",
    "Role",
    "Protocol",
    "Evidence",
];

/// A whole report of the tracker's own tests.
const EXAMPLE: &str = "../drainwatch-core/src/tracker/tests/snapshots/drainwatch_core__tracker__tests__findings__a_whole_report.snap";

pub fn page() -> String {
    let source = Source::read(
        &[
            "drainwatch-core/src/report.rs",
            "drainwatch-core/src/description.rs",
            "drainwatch-core/src/event.rs",
            "drainwatch-core/src/exchange.rs",
        ],
        &[
            ("SEVERED_LISTED", SEVERED_LISTED),
            ("DRAINED_LISTED", DRAINED_LISTED),
            ("TIMELINE_LISTED", TIMELINE_LISTED),
        ],
    );
    let mut page = format!(
        "One JSON object per shutdown: from `GET /api/v1/shutdowns` (`{{\"shutdowns\": [report…], \"more\": …}}`, those \
         under way first, then newest first), `GET /api/v1/shutdowns/ID`, and `--format json` of `shutdowns`, `show`, \
         `watch` (one line each), `replay` and `demo`.\n\n\
         Keys are only added to, never renamed. Every `at_ms` counts milliseconds from `started_at`. Counts are exact \
         even where a list is cut; `timeline` has at most {TIMELINE_LISTED} moments.\n\n{}",
        keys(&source.fields("Report"))
    );
    for object in OBJECTS {
        let (about, table) = (source.about(object), keys(&source.fields(object)));
        write!(page, "\n## {object}\n\n{about}\n\n{table}").unwrap();
    }
    for list in LISTS {
        let (about, table) = (source.about(list), words(&source.words(list)));
        write!(page, "\n## {list}\n\n{about}\n\n{table}").unwrap();
    }
    write!(page, "\n## An example\n\n```json\n{}\n```\n", example()).unwrap();
    page
}

fn example() -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(EXAMPLE);
    let text = std::fs::read_to_string(path).unwrap();
    let json = text.splitn(3, "---\n").nth(2).unwrap().trim();
    let report: Report = serde_json::from_str(json).unwrap();
    serde_json::to_string_pretty(&report).unwrap()
}
