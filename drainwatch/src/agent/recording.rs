//! Recordings: what the tracker was told, as JSON lines, so that a shutdown can be replayed.
//!
//! The first line is a [`Header`]; every other line is one [`Event`]. A recording holds no payload:
//! only what [`drainwatch_core::reading`] made of it. Those of format 1 are read too.

mod v1;

use std::{
    io::{BufRead, Write},
    sync::Arc,
};

use drainwatch_core::{
    class::{Classes, Rule},
    event::{Event, EventKind},
    report::Report,
    tracker::{Effect, Tracker, TrackerConfig},
};
use serde::{Deserialize, Serialize};

/// Version of the format that is written; grows when an older drainwatch could not read it.
pub const VERSION: u32 = 2;
/// The oldest one that is read.
const OLDEST: u32 = 1;

/// Linger of a replay, and the agent's default: 5 s.
pub const LINGER_NS: u64 = 5_000_000_000;

/// Most ticks after the last event: far more than the shutdowns that can be under way need.
const MOST_TICKS: u32 = 1_000_000;

/// Longest line that is read: no event comes near it, so a file that has longer ones is something else.
const LINE: u64 = 4 * 1024 * 1024;

/// First line of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the format: [`VERSION`], or an older one.
    pub drainwatch_recording: u32,
    /// Host on which it was made.
    pub node: String,
    /// Version of drainwatch that made it.
    pub version: String,
    /// Classes of the configuration that it was made with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<Rule>,
    /// Processes that never served were told of, too; as they always were before this was a setting.
    #[serde(default = "told")]
    pub processes: bool,
}

fn told() -> bool {
    true
}

/// Why a recording could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The first line is not a header.
    #[error("not a drainwatch recording: the first line is not {{\"drainwatch_recording\":{VERSION},…}}")]
    NotARecording,
    /// A format that this version does not know.
    #[error("the recording has format {found}, this drainwatch reads formats {OLDEST} to {VERSION}")]
    Version {
        /// Format of the recording.
        found: u32,
    },
    /// The file ends in the middle of a line: whoever wrote it was stopped, or the copy is incomplete.
    #[error("line {line}: the recording ends in the middle of an event; the lines before it are whole")]
    Truncated {
        /// Its number, from 1.
        line: u64,
    },
    /// A line that is no event.
    #[error("line {line}: not an event: {why}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// Reading or writing failed.
    #[error("line {line}: {source}")]
    Io {
        /// Number of the line, from 1.
        line: u64,
        /// The error of the system.
        source: std::io::Error,
    },
}

/// Writes a recording.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    line: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a recording: writes its header.
    pub fn new(out: W, node: &str, classes: &Classes, processes: bool) -> Result<Self, RecordingError> {
        let mut writer = Self { out, line: 0 };
        writer.line(&Header {
            drainwatch_recording: VERSION,
            node: node.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            classes: classes.rules().to_vec(),
            processes,
        })?;
        Ok(writer)
    }

    /// Appends one event. Buffering is the inner writer's business; see [`Writer::flush`].
    pub fn write(&mut self, event: &Event) -> Result<(), RecordingError> {
        self.line(event)
    }

    /// Flushes the inner writer.
    pub fn flush(&mut self) -> Result<(), RecordingError> {
        self.out.flush().map_err(|source| RecordingError::Io {
            line: self.line,
            source,
        })
    }

    fn line(&mut self, value: &impl Serialize) -> Result<(), RecordingError> {
        self.line += 1;
        let mut text = serde_json::to_vec(value).map_err(|error| RecordingError::Line {
            line: self.line,
            why: error.to_string(),
        })?;
        text.push(b'\n');
        // One call per line, so that a recording that is cut short is cut at a line where possible.
        self.out.write_all(&text).map_err(|source| RecordingError::Io {
            line: self.line,
            source,
        })
    }
}

/// Reads a recording: an iterator of its events. After an error it ends.
#[derive(Debug)]
pub struct Reader<R: BufRead> {
    input: R,
    header: Header,
    line: u64,
    failed: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads and checks the header.
    pub fn new(mut input: R) -> Result<Self, RecordingError> {
        let text = read_line(&mut input, 1)?.ok_or(RecordingError::NotARecording)?;
        let value: serde_json::Value =
            serde_json::from_slice(&text).map_err(|_| RecordingError::NotARecording)?;
        // The version first: the header of another one may look different.
        let found = value
            .get("drainwatch_recording")
            .and_then(serde_json::Value::as_u64);
        let found = found.ok_or(RecordingError::NotARecording)?;
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        if !(OLDEST..=VERSION).contains(&found) {
            return Err(RecordingError::Version { found });
        }
        let header = serde_json::from_value(value).map_err(|_| RecordingError::NotARecording)?;
        Ok(Self {
            input,
            header,
            line: 1,
            failed: false,
        })
    }

    /// Where and by what it was made.
    pub fn header(&self) -> &Header {
        &self.header
    }

    fn event(&self, text: &[u8]) -> serde_json::Result<Event> {
        match self.header.drainwatch_recording {
            1 => serde_json::from_value(v1::upgraded(serde_json::from_slice(text)?)),
            _ => serde_json::from_slice(text),
        }
    }

    fn read(&mut self) -> Result<Option<Event>, RecordingError> {
        loop {
            self.line += 1;
            let Some(text) = read_line(&mut self.input, self.line)? else {
                return Ok(None);
            };
            if text.iter().all(u8::is_ascii_whitespace) && text.ends_with(b"\n") {
                continue;
            }
            return match self.event(&text) {
                Ok(event) => Ok(Some(event)),
                // The writer ends every line: one without an end was cut.
                Err(_) if !text.ends_with(b"\n") => Err(RecordingError::Truncated { line: self.line }),
                Err(error) => Err(RecordingError::Line {
                    line: self.line,
                    why: error.to_string(),
                }),
            };
        }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Event, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.read().transpose();
        self.failed = !matches!(item, Some(Ok(_)));
        item
    }
}

/// One line with its end; `None` at the end of the file.
fn read_line(input: &mut impl BufRead, line: u64) -> Result<Option<Vec<u8>>, RecordingError> {
    let mut text = Vec::new();
    let read = std::io::Read::take(&mut *input, LINE).read_until(b'\n', &mut text);
    match read.map_err(|source| RecordingError::Io { line, source })? {
        0 => Ok(None),
        _ if text.len() as u64 >= LINE && !text.ends_with(b"\n") => Err(if line == 1 {
            RecordingError::NotARecording
        } else {
            RecordingError::Line {
                line,
                why: format!("longer than {LINE} bytes"),
            }
        }),
        _ => Ok(Some(text)),
    }
}

/// Runs the tracker over a recording and returns its reports, in the order in which the shutdowns
/// ended. Shutdowns that the recording breaks off in are finished as they stand.
pub fn replay<R: BufRead>(reader: Reader<R>) -> Result<Vec<Report>, RecordingError> {
    let mut reports = Vec::new();
    replay_each(reader, |report| reports.push(report))?;
    Ok(reports)
}

/// Like [`replay`], but hands over each report as it comes, so that of a damaged recording the reports of
/// what is whole are not lost: they are handed over before the error is returned.
pub fn replay_each<R: BufRead>(
    reader: Reader<R>,
    mut each: impl FnMut(Report),
) -> Result<(), RecordingError> {
    let node = reader.header().node.clone();
    let classes = Arc::new(Classes::new(reader.header().classes.clone()));
    let processes = reader.header().processes;
    let mut tracker = Tracker::new(TrackerConfig {
        node,
        linger_ns: LINGER_NS,
        classes,
        processes,
    });
    let mut collect = |effects: Vec<Effect>| {
        for effect in effects {
            if let Effect::Finished(report) = effect {
                each(*report);
            }
        }
    };
    let (mut now_ns, mut wall, mut error) = (0, (0, 0), None);
    for event in reader {
        match event {
            Ok(event) => {
                now_ns = event.at_ns.max(now_ns);
                if let EventKind::Tick { wall_ns } = event.kind {
                    wall = (event.at_ns, wall_ns);
                }
                collect(tracker.observe(&event));
            }
            Err(damage) => error = Some(damage),
        }
    }
    // Time goes on after the recording, until nothing is under way any more.
    let mut step_ns: u64 = 1;
    for _ in 0..MOST_TICKS {
        let Some(deadline) = tracker.next_deadline() else {
            break;
        };
        // A deadline that does not move, in a recording with numbers that no agent wrote, must not hold up the end.
        step_ns = if deadline > now_ns {
            1
        } else {
            step_ns.saturating_mul(2)
        };
        now_ns = deadline.max(now_ns.saturating_add(step_ns));
        let passed = i64::try_from(now_ns.saturating_sub(wall.0)).unwrap_or(i64::MAX);
        let kind = EventKind::Tick {
            wall_ns: wall.1.saturating_add(passed),
        };
        collect(tracker.observe(&Event { at_ns: now_ns, kind }));
        if now_ns == u64::MAX {
            break;
        }
    }
    error.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The demo as an agent recorded it: its events, a file of them, and their reports.
    fn recorded() -> (Vec<Event>, Vec<u8>, Vec<Report>) {
        let demo = &include_bytes!("../../tests/recordings/demo-6.18.jsonl")[..];
        let reader = Reader::new(demo).unwrap();
        let node = reader.header().node.clone();
        let events: Vec<_> = reader.map(Result::unwrap).collect();
        let reports = replay(Reader::new(demo).unwrap()).unwrap();
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, &node, &Classes::default(), false).unwrap();
        for event in &events {
            writer.write(event).unwrap();
        }
        writer.flush().unwrap();
        (events, out, reports)
    }

    #[test]
    fn what_was_written_is_read_and_replays_to_the_same_reports() {
        let (events, file, reports) = recorded();
        let read: Result<Vec<_>, _> = Reader::new(&file[..]).unwrap().collect();
        assert_eq!(read.unwrap(), events);
        assert_eq!(replay(Reader::new(&file[..]).unwrap()).unwrap(), reports);
        assert_eq!(reports.len(), 2);
    }

    #[test]
    fn a_recording_that_breaks_off_in_a_shutdown_still_gives_its_report() {
        let (_, file, _) = recorded();
        let text = String::from_utf8(file).unwrap();
        let cut: String = text
            .lines()
            .take_while(|line| !line.contains("process_exited"))
            .flat_map(|l| [l, "\n"])
            .collect();
        let reports = replay(Reader::new(cut.as_bytes()).unwrap()).unwrap();
        assert_eq!(
            reports.len(),
            0,
            "a stop signal that ended nothing is no shutdown"
        );
        let cut: String = text
            .lines()
            .take_while(|line| !line.contains("cgroup_emptied"))
            .flat_map(|l| [l, "\n"])
            .collect();
        let reports = replay(Reader::new(cut.as_bytes()).unwrap()).unwrap();
        assert_eq!(reports.len(), 1);
        assert!(reports[0].ended_at.is_some());
    }

    #[test]
    fn a_cut_last_line_is_named_and_what_came_before_it_is_not_lost() {
        let (_, file, expected) = recorded();
        let mut file = file;
        file.extend_from_slice(br#"{"at_ns":99,"event":"ti"#);
        let lines = String::from_utf8_lossy(&file).lines().count();
        let mut reports = Vec::new();
        let error = replay_each(Reader::new(&file[..]).unwrap(), |report| reports.push(report)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "line {lines}: the recording ends in the middle of an event; the lines before it are whole"
            )
        );
        assert_eq!(reports, expected);
    }

    #[test]
    fn a_damaged_line_is_named_by_its_number() {
        let header = r#"{"drainwatch_recording":1,"node":"n","version":"0"}"#;
        let file = format!("{header}\n\n{{\"at_ns\":1,\"event\":\"no_such\"}}\n");
        let mut reader = Reader::new(file.as_bytes()).unwrap();
        let error = reader.next().unwrap().unwrap_err().to_string();
        assert!(
            error.starts_with("line 3: not an event: unknown variant `no_such`"),
            "{error}"
        );
        assert!(reader.next().is_none(), "it ends after an error");
    }

    #[test]
    fn other_files_and_other_formats_are_refused() {
        for other in [
            "",
            "\n",
            "hello\n",
            "{}\n",
            "[1]\n",
            "{\"drainwatch_recording\":\"1\"}\n",
        ] {
            let error = Reader::new(other.as_bytes()).unwrap_err();
            assert!(
                matches!(error, RecordingError::NotARecording),
                "{other:?}: {error}"
            );
        }
        let newer = "{\"drainwatch_recording\":3}\n";
        assert_eq!(
            Reader::new(newer.as_bytes()).unwrap_err().to_string(),
            "the recording has format 3, this drainwatch reads formats 1 to 2"
        );
    }
}
