//! Lines of a recording: each is an event or an error, events replay to reports, and reports are written and read back.
#![no_main]

use drainwatch::agent::recording::{Reader, replay_each};
use drainwatch_core::report::Report;
use libfuzzer_sys::fuzz_target;

/// Headers of the formats that are read.
const HEADERS: [&str; 2] = [
    "{\"drainwatch_recording\":2,\"node\":\"n\",\"version\":\"0\"}\n",
    "{\"drainwatch_recording\":1,\"node\":\"n\",\"version\":\"0\"}\n",
];

fuzz_target!(|bytes: &[u8]| {
    let files = HEADERS.map(|header| [header.as_bytes(), bytes].concat());
    for file in files.iter().map(Vec::as_slice).chain([bytes]) {
        let Ok(reader) = Reader::new(file) else { continue };
        // A damaged line is an error, which is what it should be; the reports before it stand.
        let _ = replay_each(reader, |report| {
            let text = serde_json::to_string(&report).expect("a report can be written");
            let read: Report = serde_json::from_str(&text).expect("a report that was written can be read");
            assert_eq!(
                serde_json::to_string(&read).expect("it can be written again"),
                text
            );
        });
    }
});
