//! The lines of a recording.

use std::fmt::Write as _;

use drainwatch::agent::recording::VERSION;

use super::source::{Source, keys, words};

const OBJECTS: &[&str] = &[
    "Process",
    "Signal",
    "Listener",
    "Connection",
    "Exchange",
    "Http",
    "Rule",
    "Pod",
    "PodContainer",
    "PreStop",
    "Probe",
    "Container",
    "Unit",
];
const LISTS: &[&str] = &[
    "Disposition",
    "Role",
    "End",
    "Protocol",
    "ExchangeState",
    "Evidence",
    "Origin",
];

pub fn page() -> String {
    let constant = usize::try_from(VERSION).unwrap();
    let source = Source::read(
        &[
            "drainwatch/src/agent/recording.rs",
            "drainwatch-core/src/class.rs",
            "drainwatch-core/src/event.rs",
            "drainwatch-core/src/exchange.rs",
            "drainwatch-core/src/description.rs",
        ],
        &[("VERSION", constant)],
    );
    let mut page = format!(
        "What `drainwatch run --record FILE` writes and `drainwatch replay FILE` reads: JSON lines. The first is the \
         header, every other one an event: `at_ns`, `event`, and that event's keys. Replaying gives the same reports as \
         the agent gave, with a linger of 5 s.\n\n\
         A recording holds no payload: of requests only method, path without query, host, protocol and status; \
         besides that addresses, process names and ids, cgroup paths. Look through it before you send it to \
         somebody.\n\n## Header\n\n{}\n## Every event\n\n{}",
        keys(&source.fields("Header")),
        keys(
            &source
                .fields("Event")
                .into_iter()
                .filter(|entry| entry.name == "at_ns")
                .collect::<Vec<_>>()
        ),
    );
    page.push_str("| `event` | string | Which of the following it is. |\n");
    for (event, fields) in source.variants("EventKind") {
        write!(page, "\n## `{}`\n\n{}\n", event.name, event.doc).unwrap();
        if !event.kind.is_empty() {
            write!(page, "\nKeys: those of {}.\n", event.kind).unwrap();
        }
        if !fields.is_empty() {
            write!(page, "\n{}", keys(&fields)).unwrap();
        }
    }
    for object in OBJECTS {
        let (about, table) = (source.about(object), keys(&source.fields(object)));
        write!(page, "\n## {object}\n\n{about}\n\n{table}").unwrap();
    }
    for (variant, fields) in source.variants("ExchangeId") {
        write!(
            page,
            "\n## ExchangeId\n\n{} {}\n\n{}",
            source.about("ExchangeId"),
            variant.doc,
            keys(&fields)
        )
        .unwrap();
    }
    write!(
        page,
        "\n## Sender\n\n{} An object with one key, the kind, and the process as its value.\n\n{}",
        source.about("Sender"),
        words(&source.words("Sender"))
    )
    .unwrap();
    for (one, form) in [
        ("Operation", "An object with one key, or the word `opaque`."),
        (
            "Asked",
            "An object with the key `requests`, or a word; left out where it is `unseen`.",
        ),
    ] {
        let variants: Vec<_> = source
            .variants(one)
            .into_iter()
            .map(|(variant, _)| variant)
            .collect();
        let about = source.about(one);
        write!(page, "\n## {one}\n\n{about} {form}\n\n{}", keys(&variants)).unwrap();
    }
    for one in ["Description", "Subject"] {
        let variants: Vec<_> = source
            .variants(one)
            .into_iter()
            .map(|(variant, _)| variant)
            .collect();
        write!(
            page,
            "\n## {one}\n\n{} An object with one key.\n\n{}",
            source.about(one),
            keys(&variants)
        )
        .unwrap();
    }
    for list in LISTS {
        let (about, table) = (source.about(list), words(&source.words(list)));
        write!(page, "\n## {list}\n\n{about}\n\n{table}").unwrap();
    }
    page
}
