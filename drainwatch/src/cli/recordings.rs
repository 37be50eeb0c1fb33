//! `drainwatch replay`, and the file of `run --record`.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter},
    path::Path,
};

use drainwatch_core::event::Event;

use super::{
    args::{Format, ReplayArgs},
    colour, print, print_json, print_lines, terminal, width,
};
use crate::{
    agent::{
        Tape,
        config::Settings,
        recording::{self, Reader, RecordingError, Writer},
    },
    cli::{
        failure::{Exit, Failure},
        render,
    },
    names::node,
};

/// Prints the reports of a recording.
pub fn replay(args: &ReplayArgs) -> Result<(), Failure> {
    let path = args.file.display();
    let file = File::open(&args.file).map_err(|why| {
        Failure::data(format!(
            "cannot read the recording {path}: {why}; give a file that `drainwatch run --record` wrote"
        ))
    })?;
    let reports = Reader::new(BufReader::new(file)).and_then(recording::replay);
    let reports = reports.map_err(|error| {
        let advice = match &error {
            RecordingError::Truncated { line } => {
                format!(
                    "`head -n {} FILE` makes a recording of the whole lines",
                    line.saturating_sub(1)
                )
            }
            RecordingError::Version { .. } => "use the drainwatch that recorded it".into(),
            _ => "give a file that `drainwatch run --record` wrote".into(),
        };
        Failure::data(format!("cannot replay {path}: {error}; {advice}"))
    })?;
    match (args.format.format, reports.as_slice()) {
        (Format::Json, reports) => print_json(&serde_json::json!({ "shutdowns": reports }), true),
        (Format::Jsonl, reports) => print_lines(reports),
        (_, []) => print("no shutdowns\n"),
        (_, [one]) => print(&render::report(one, width(), colour(&io::stdout()))),
        (Format::Table, many) => print(&render::table(many, terminal())),
        (Format::Wide, many) => print(&render::wide(many)),
    }
}

/// Begins a recording. An existing file is not overwritten: it may be the evidence of a bug.
pub fn create(path: &Path, settings: &Settings) -> Result<Box<dyn Tape>, Failure> {
    let failed = |why: &dyn std::fmt::Display, exit| {
        let path = path.display();
        Failure::new(
            exit,
            format!("cannot record to {path}: {why}; give --record a file that does not exist yet"),
        )
    };
    let file = File::create_new(path).map_err(|why| {
        let exit = match why.kind() {
            io::ErrorKind::PermissionDenied => Exit::Privilege,
            _ => Exit::Unavailable,
        };
        failed(&why, exit)
    })?;
    let writer = Writer::new(
        BufWriter::new(file),
        &node(),
        &settings.classes,
        settings.processes,
    )
    .map_err(|why| failed(&why, Exit::Unavailable))?;
    Ok(Box::new(Recording(writer)))
}

struct Recording(Writer<BufWriter<File>>);

impl Tape for Recording {
    fn write(&mut self, event: &Event) -> io::Result<()> {
        self.0.write(event).map_err(io::Error::other)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(io::Error::other)
    }
}
