//! Fields of the log line, and of what goes to a collector.

use super::source::{Source, keys};

pub fn page() -> String {
    let source = Source::read(&["drainwatch/src/outlets/sinks/summary.rs"], &[]);
    let fields = source.fields("Summary").into_iter().map(|mut entry| {
        // A value that is not known is left away here, never `null`.
        if let Some(kind) = entry.kind.strip_suffix(" or `null`") {
            entry.kind = format!("{kind}, if known");
        }
        entry
    });
    format!(
        "One line per ended shutdown with the message `shutdown`: level `WARN` when requests were severed, else `INFO`. \
         `--log.format json` makes it one flat JSON object, `text` (the default) `key=value` with every string in \
         quotes and escaped. The log record and the root span that `--otlp.endpoint` sends have the same fields as \
         attributes, each behind `drainwatch.`.\n\n{}",
        keys(&fields.collect::<Vec<_>>())
    )
}
