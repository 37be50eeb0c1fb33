//! `drainwatch replay`, and the file of `run --record`.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
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

/// Begins a recording. One that is there is renamed first, for an agent that is started again records again; any other
/// file is left alone.
pub fn create(path: &Path, settings: &Settings) -> Result<Box<dyn Tape>, Failure> {
    let failed = |why: &dyn std::fmt::Display, exit| {
        let path = path.display();
        Failure::new(
            exit,
            format!("cannot record to {path}: {why}; give --record a file that does not exist yet"),
        )
    };
    let of_system = |why: io::Error| {
        let exit = match why.kind() {
            io::ErrorKind::PermissionDenied => Exit::Privilege,
            _ => Exit::Unavailable,
        };
        failed(&why, exit)
    };
    rotate(path).map_err(of_system)?;
    // It tells of paths and hosts.
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(of_system)?;
    let writer = Writer::new(
        BufWriter::new(file),
        &node(),
        &settings.classes,
        settings.processes,
    )
    .map_err(|why| failed(&why, Exit::Unavailable))?;
    Ok(Box::new(Recording(writer)))
}

/// Makes way for a new recording: an earlier one gets a number, one without any event goes.
fn rotate(path: &Path) -> io::Result<()> {
    let Ok(file) = File::open(path) else { return Ok(()) };
    if !file.metadata()?.is_file() {
        return Ok(());
    }
    let Ok(mut reader) = Reader::new(BufReader::new(file)) else {
        return Ok(());
    };
    if reader.next().is_none() {
        return fs::remove_file(path);
    }
    let numbered = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{n}"));
        PathBuf::from(name)
    };
    let free = (1..100_000).map(numbered).find(|name| !name.exists());
    let aside = free.unwrap_or_else(|| numbered(0));
    fs::rename(path, &aside)?;
    tracing::info!(earlier = %aside.display(), "the recording that was there was renamed");
    Ok(())
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
