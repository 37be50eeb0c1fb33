//! Recordings: what the tracker was told, as JSON lines, so that a shutdown can be replayed.
//!
//! The first line is a [`Header`]; every other line is one [`Event`]. A recording holds no payload:
//! only what [`crate::protocol`] made of it.

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::{
    event::{Event, EventKind},
    report::Report,
    tracker::{Effect, Tracker, TrackerConfig},
};

/// Version of the format; grows when old recordings can no longer be read.
pub const VERSION: u32 = 1;

/// Linger of a replay, and the agent's default: 5 s.
pub const LINGER_NS: u64 = 5_000_000_000;

/// Longest line that is read: no event comes near it, so a file that has longer ones is something else.
const LINE: u64 = 4 * 1024 * 1024;

/// First line of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the format: [`VERSION`].
    pub drainwatch_recording: u32,
    /// Host on which it was made.
    pub node: String,
    /// Version of drainwatch that made it.
    pub version: String,
}

/// Why a recording could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The first line is not a header.
    #[error("not a drainwatch recording: the first line is not {{\"drainwatch_recording\":{VERSION},…}}")]
    NotARecording,
    /// A format that this version does not know.
    #[error("the recording has format {found}, this drainwatch reads format {VERSION}")]
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
    pub fn new(out: W, node: &str) -> Result<Self, RecordingError> {
        let mut writer = Self { out, line: 0 };
        writer.line(&Header {
            drainwatch_recording: VERSION,
            node: node.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
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
        if found != u64::from(VERSION) {
            return Err(RecordingError::Version {
                found: u32::try_from(found).unwrap_or(u32::MAX),
            });
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

    fn read(&mut self) -> Result<Option<Event>, RecordingError> {
        loop {
            self.line += 1;
            let Some(text) = read_line(&mut self.input, self.line)? else {
                return Ok(None);
            };
            if text.iter().all(u8::is_ascii_whitespace) && text.ends_with(b"\n") {
                continue;
            }
            return match serde_json::from_slice(&text) {
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

/// Runs the tracker over a recording and returns its reports, oldest first. Shutdowns that the recording
/// breaks off in are finished as they stand.
pub fn replay<R: BufRead>(reader: Reader<R>) -> Result<Vec<Report>, RecordingError> {
    let node = reader.header().node.clone();
    let mut tracker = Tracker::new(TrackerConfig {
        node,
        linger_ns: LINGER_NS,
    });
    let mut reports = Vec::new();
    let mut collect = |effects: Vec<Effect>| {
        reports.extend(effects.into_iter().filter_map(|effect| match effect {
            Effect::Finished(report) => Some(*report),
            _ => None,
        }));
    };
    let (mut last_ns, mut wall) = (0, None);
    for event in reader {
        let event = event?;
        last_ns = last_ns.max(event.at_ns);
        if let EventKind::Tick { wall_ns } = event.kind {
            wall = Some((event.at_ns, wall_ns));
        }
        collect(tracker.observe(&event));
    }
    // Time goes on after the recording, until nothing is under way any more.
    let mut now_ns = last_ns;
    while let Some(deadline) = tracker.next_deadline() {
        now_ns = deadline.max(now_ns.saturating_add(1));
        let (at_ns, wall_ns) = wall.unwrap_or_default();
        let passed = i64::try_from(now_ns.saturating_sub(at_ns)).unwrap_or(i64::MAX);
        let kind = EventKind::Tick {
            wall_ns: wall_ns.saturating_add(passed),
        };
        collect(tracker.observe(&Event { at_ns: now_ns, kind }));
        if now_ns == u64::MAX {
            break;
        }
    }
    Ok(reports)
}
