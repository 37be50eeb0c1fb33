//! The journal: what the tracker was told, so that the next agent goes on where this one stopped.
//!
//! The tracker is a function of its events, so their tail is its state: an agent that is told the same again knows the same
//! shutdowns under way, with the same ids. The file `journal.jsonl` in the state directory has one JSON value a line:
//!
//! | line | what it is |
//! |---|---|
//! | `journal` | the first: format and boot; after another boot only the counters mean anything |
//! | `counters` | what metrics had counted when the file was begun; the events after it count on |
//! | `number` | what the next shutdown's number was then, which is part of its id |
//! | `event` | an event, in the order in which the tracker was told |
//! | `upto` | all before it is whole, and the ring was read up to there. What follows the last one was never acted on |
//! | `told` | the report with this id was given to log and sinks |
//! | `broken` | events are missing from here on, for the file had grown too long: no shutdown can be taken from it |
//!
//! Events are written before they are acted on, and before the ring may forget them; so whenever the agent is killed, each
//! event is in the file or in the ring, and its position says in which.
//!
//! While nothing is under way, what is over is left out ([`Journal::compact`]): what stays are cgroups, listeners and
//! descriptions that still stand. Appending goes to the page cache, not to the disk: a file outlives its process that way,
//! and events mean nothing after a boot.

mod standing;

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use drainwatch_core::event::Event;
use serde::{Deserialize, Serialize};

use crate::{kernel::Position, outlets::metrics::Saved};
use standing::Standing;

/// Name of the file under the state directory.
pub const FILE: &str = "journal.jsonl";
/// Version of the format.
const VERSION: u32 = 1;
/// What is over is left out when the file is this much longer than it was then.
const LEFT_OUT_BYTES: u64 = 256 * 1024;
/// Longer than this it does not get: shutdowns that are under way then are not found by the next agent.
const MOST_BYTES: u64 = 64 * 1024 * 1024;
/// Longest line that is read.
const LINE: u64 = 4 * 1024 * 1024;

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Journal { version: u32, boot: &'a str },
    Counters(&'a Saved),
    Number(u64),
    Event(&'a Event),
    Upto(Option<Position>),
    Told(&'a str),
    Broken(bool),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Owned {
    Journal { version: u32, boot: String },
    Counters(Saved),
    Number(u64),
    Event(Box<Event>),
    Upto(Option<Position>),
    Told(String),
    Broken(bool),
}

/// The journal of this agent.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    boot: String,
    file: File,
    /// Lines on their way into the file.
    buffer: Vec<u8>,
    length: u64,
    /// Length when it was begun.
    begun: u64,
    position: Option<Position>,
    broken: bool,
}

/// What an earlier agent left.
#[derive(Debug, Default)]
pub struct Past {
    /// What its metrics had counted when the file was begun.
    pub counters: Option<Saved>,
    /// What the next shutdown's number was then.
    pub number: u64,
    /// Up to where it had read the ring.
    pub position: Option<Position>,
    /// Reports that log and sinks have been given.
    pub told: HashSet<String>,
    /// Events are missing.
    pub broken: bool,
    path: PathBuf,
    /// The lines before it are whole; 0 where there are no events of this boot.
    end: u64,
}

impl Past {
    /// Events of this boot, oldest first.
    pub fn events(&self) -> io::Result<impl Iterator<Item = Event>> {
        let lines = lines(&self.path, self.end)?;
        Ok(lines.filter_map(|line| match serde_json::from_slice(&line) {
            Ok(Owned::Event(event)) => Some(*event),
            _ => None,
        }))
    }
}

impl Journal {
    /// Opens the journal below `dir`, or begins one, and says what an earlier agent left there. `boot` names this
    /// boot of the machine.
    pub fn open(dir: &Path, boot: &str) -> io::Result<(Self, Past)> {
        let path = dir.join(FILE);
        let past = read(&path, boot)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)?;
        // What was never acted on is told again by the ring.
        file.set_len(past.end)?;
        file.seek(SeekFrom::End(0))?;
        let mut journal = Self {
            path,
            boot: boot.to_owned(),
            file,
            buffer: Vec::new(),
            length: past.end,
            begun: past.end,
            position: past.position,
            broken: past.broken,
        };
        if past.end == 0 {
            journal.begin(past.counters.as_ref(), 0)?;
        }
        Ok((journal, past))
    }

    fn begin(&mut self, counters: Option<&Saved>, number: u64) -> io::Result<()> {
        let boot = self.boot.clone();
        self.put(&Line::Journal {
            version: VERSION,
            boot: &boot,
        })?;
        if let Some(counters) = counters {
            self.put(&Line::Counters(counters))?;
        }
        self.put(&Line::Number(number))?;
        self.put(&Line::Upto(self.position))?;
        self.write()?;
        self.begun = self.length;
        Ok(())
    }

    /// These are about to be acted on; what the ring has up to `position` is among them.
    pub fn append<'a>(
        &mut self,
        events: impl IntoIterator<Item = &'a Event>,
        position: Option<Position>,
    ) -> io::Result<()> {
        self.position = position;
        for event in events {
            if !self.broken || standing::may_stand(event) {
                self.put(&Line::Event(event))?;
            }
        }
        self.put(&Line::Upto(position))?;
        self.write()
    }

    /// Log and sinks have this report.
    pub fn told(&mut self, id: &str) -> io::Result<()> {
        if self.broken {
            return Ok(());
        }
        self.put(&Line::Told(id))?;
        self.put(&Line::Upto(self.position))?;
        self.write()
    }

    /// It is long enough for what is over to be left out.
    pub fn is_long(&self) -> bool {
        self.broken || self.length > 2 * self.begun + LEFT_OUT_BYTES
    }

    /// It must not get longer, whatever is under way.
    pub fn is_too_long(&self) -> bool {
        self.length > MOST_BYTES && !self.broken
    }

    /// Begins anew with what stands and what was counted so far, and the next shutdown's number. `broken` where something is under way: the next
    /// agent does not find it.
    pub fn compact(&mut self, counters: &Saved, number: u64, broken: bool) -> io::Result<()> {
        let mut standing = Standing::default();
        for (number, line) in lines(&self.path, self.length)?.enumerate() {
            if let Ok(Owned::Event(event)) = serde_json::from_slice(&line) {
                standing.take(number, &event);
            }
        }
        let stays = standing.lines();
        let new = self.path.with_extension("new");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        let old = std::mem::replace(&mut self.file, file);
        let length = std::mem::take(&mut self.length);
        let written = self
            .begin(Some(counters), number)
            .and_then(|()| self.write_anew(broken, &stays, length));
        if let Err(error) = written.and_then(|()| fs::rename(&new, &self.path)) {
            (self.file, self.length) = (old, length);
            self.buffer.clear();
            return Err(error);
        }
        self.broken = broken;
        Ok(())
    }

    fn write_anew(&mut self, broken: bool, stays: &HashSet<usize>, length: u64) -> io::Result<()> {
        if broken {
            self.put(&Line::Broken(true))?;
        }
        for (number, line) in lines(&self.path, length)?.enumerate() {
            if stays.contains(&number) {
                self.buffer.extend_from_slice(&line);
            }
        }
        self.put(&Line::Upto(self.position))?;
        self.write()?;
        self.begun = self.length;
        Ok(())
    }

    fn put(&mut self, line: &Line<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.buffer, line)?;
        self.buffer.push(b'\n');
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&self.buffer);
        self.length += self.buffer.len() as u64;
        self.buffer.clear();
        // A storm's buffer is not kept.
        self.buffer.shrink_to(1 << 16);
        written
    }
}

/// Lines of a file up to `end`, each with its end. Where it cannot be read it ends.
fn lines(path: &Path, end: u64) -> io::Result<impl Iterator<Item = Vec<u8>>> {
    let mut input = BufReader::new(File::open(path)?).take(end);
    Ok(std::iter::from_fn(move || {
        let mut line = Vec::new();
        let read = input.by_ref().take(LINE).read_until(b'\n', &mut line).ok()?;
        (read > 0 && line.ends_with(b"\n")).then_some(line)
    }))
}

/// What there is of an earlier agent.
fn read(path: &Path, boot: &str) -> io::Result<Past> {
    let mut past = Past {
        path: path.into(),
        ..Past::default()
    };
    let all = match lines(path, u64::MAX) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(past),
        all => all?,
    };
    let (mut offset, mut same_boot, mut told) = (0, false, Vec::new());
    for (number, line) in all.enumerate() {
        offset += line.len() as u64;
        // Events are most of it, and read later.
        if number > 0 && line.starts_with(b"{\"event\"") {
            continue;
        }
        match serde_json::from_slice(&line) {
            Ok(Owned::Journal { version, boot: of }) if number == 0 && version == VERSION => {
                same_boot = of == boot;
            }
            _ if number == 0 => break,
            Ok(Owned::Counters(counters)) => past.counters = Some(counters),
            Ok(Owned::Number(number)) if same_boot => past.number = number,
            Ok(Owned::Upto(position)) if same_boot => {
                (past.position, past.end) = (position, offset);
                past.told.extend(told.drain(..));
            }
            Ok(Owned::Told(id)) => told.push(id),
            Ok(Owned::Broken(broken)) => past.broken = broken,
            Ok(Owned::Journal { .. } | Owned::Number(_) | Owned::Upto(_) | Owned::Event(_)) => {}
            // Written by another version, or damaged: what came before it is whole.
            Err(_) => break,
        }
    }
    Ok(past)
}

#[cfg(test)]
mod tests;
