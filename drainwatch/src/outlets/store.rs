//! The embedded store: every report, under `--state-dir`, in `reports.redb`.
//!
//! Tables: `reports` holds JSON under (time of end in ms since the epoch, id), so that newest first
//! is a scan backwards; `ids` finds the time of an id; `open` names the reports that were stored
//! before their shutdown ended. Invariant: the three change in one transaction, so `ids` and
//! `reports` always name the same set. A file that cannot be read is renamed, never deleted: at the start, and
//! when damage shows later. Which of too many reports go is `retention`'s.

mod guard;
mod retention;

use std::{
    collections::HashSet,
    fs::{DirBuilder, OpenOptions, Permissions},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use drainwatch_core::report::{Moment, MomentKind, Report, Verdict};
use redb::{
    Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    StorageError, TableDefinition, WriteTransaction,
};

pub use self::retention::Retention;
use self::{guard::guarded, retention::Aging};
use crate::outlets::listing::{Filter, Head, Matches};

const REPORTS: TableDefinition<(i64, &str), &[u8]> = TableDefinition::new("reports");
const IDS: TableDefinition<&str, i64> = TableDefinition::new("ids");
const OPEN: TableDefinition<&str, ()> = TableDefinition::new("open");

/// Name of the file under the state directory.
pub const FILE: &str = "reports.redb";

/// Page cache; redb's default of 1 GiB is not for a node agent.
const CACHE_BYTES: usize = 1 << 20;

/// Why the store cannot be used. Each message is one line.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds it.
    #[error("the store {} is in use by another agent; stop that one, or give another --state-dir", path.display())]
    InUse {
        /// File.
        path: PathBuf,
    },
    /// The directory or the file cannot be used.
    #[error("cannot use the store {}: {why}; check --state-dir and its permissions", path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// Cause.
        why: std::io::Error,
    },
    /// Its content is damaged.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// A failure closed it, and it could not be opened again so far.
    #[error("the store was closed after a disk error; see the log, and free space under --state-dir")]
    Closed,
    /// The embedded database refused.
    #[error("the store failed: {0}")]
    Database(#[from] Box<redb::Error>),
}

impl StoreError {
    /// It is the content of the file that cannot be used.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Corrupt(_) => true,
            Self::Database(error) => {
                matches!(**error, redb::Error::Corrupted(_) | redb::Error::RepairAborted)
            }
            Self::InUse { .. } | Self::Io { .. } | Self::Closed => false,
        }
    }
}

macro_rules! from_redb {
    ($($error:ident),*) => { $(
        impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self { Self::Database(Box::new(error.into())) }
        }
    )* };
}
from_redb!(TransactionError, TableError, CommitError, StorageError);

/// A report on its way into the store.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Id of the report.
    pub id: String,
    /// Time of its end, or of this writing where it has not ended; ms since the epoch.
    pub ended_ms: i64,
    /// It has not ended.
    pub open: bool,
    /// The report.
    pub json: Arc<str>,
    /// [`Head::workload_hash`] of its workload.
    pub workload: u64,
}

/// What opening found.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// Where a damaged predecessor was moved, and what was wrong with it.
    pub quarantined: Option<(PathBuf, String)>,
}

/// The store. Reads may run beside a write.
#[derive(Debug)]
pub struct Store {
    /// `None` while a database that had failed could not be opened again.
    database: RwLock<Option<Database>>,
    path: PathBuf,
    retention: Retention,
    aging: Mutex<Aging>,
}

impl Store {
    /// Opens or creates the store under `dir`, which is created when missing. `now_ms` is the wall clock.
    pub fn open(dir: &Path, retention: Retention, now_ms: i64) -> Result<Opened, StoreError> {
        // Reports tell of paths and hosts. A directory that is there is somebody's to care for.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|why| StoreError::Io {
            path: dir.into(),
            why,
        })?;
        let path = dir.join(FILE);
        let mut quarantined = None;
        let opened = match Self::open_whole(&path, retention, now_ms) {
            Err(StoreError::Corrupt(why)) => {
                quarantined = Some((set_aside(&path, now_ms)?, why));
                Self::open_whole(&path, retention, now_ms)?
            }
            other => other?,
        };
        Ok(Opened {
            store: opened,
            quarantined,
        })
    }

    /// Opens the file, and does all that is to be done first: what of its pages is damaged there shows by that.
    fn open_whole(path: &Path, retention: Retention, now_ms: i64) -> Result<Self, StoreError> {
        guarded(|| {
            let store = Self {
                database: RwLock::new(Some(database(path)?)),
                path: path.into(),
                retention,
                aging: Mutex::new(Aging::new()),
            };
            let whole = store.probe().and_then(|()| {
                // Which of them go on is known later; here it is only seen whether they can be read.
                store.mark_unfinished(|_| true)?;
                store.write(&[], &[], now_ms)
            });
            match whole {
                Ok(()) => Ok(store),
                Err(StoreError::Database(error)) if is_content(&error) => {
                    Err(StoreError::Corrupt(error.to_string()))
                }
                Err(other) => Err(other),
            }
        })
    }

    fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(StoreError::Closed)?;
        Ok(database.begin_read()?)
    }

    fn begin_write(&self) -> Result<WriteTransaction, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(StoreError::Closed)?;
        Ok(database.begin_write()?)
    }

    /// As an error of the disk leaves it.
    #[cfg(test)]
    pub(crate) fn fail(&self) {
        *self.database.write().unwrap() = None;
    }

    /// Closes the database and opens it again: after an error of the disk it refuses everything else.
    /// What was committed before is still there.
    pub fn reopen(&self) -> Result<(), StoreError> {
        let mut open = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // Closing it may find damage too.
        let _ = guarded(|| {
            *open = None;
            Ok(())
        });
        *open = guarded(|| database(&self.path).map(Some))?;
        Ok(())
    }

    /// Sets a damaged file aside and begins anew; says where it is.
    pub fn begin_anew(&self, now_ms: i64) -> Result<PathBuf, StoreError> {
        let mut open = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let _ = guarded(|| {
            *open = None;
            Ok(())
        });
        let aside = set_aside(&self.path, now_ms)?;
        *open = guarded(|| database(&self.path).map(Some))?;
        drop(open);
        guarded(|| self.probe())?;
        Ok(aside)
    }

    /// Creates the tables and reads both ends of them, so that damage shows now and not at the first shutdown.
    fn probe(&self) -> Result<(), StoreError> {
        let write = self.begin_write()?;
        {
            let reports = write.open_table(REPORTS)?;
            let ids = write.open_table(IDS)?;
            write.open_table(OPEN)?;
            if reports.len()? != ids.len()? {
                return Err(StoreError::Corrupt(
                    "its index and its reports differ in number".into(),
                ));
            }
            for end in [reports.first()?, reports.last()?].into_iter().flatten() {
                let _: Head = serde_json::from_slice(end.1.value()).map_err(|error| {
                    StoreError::Corrupt(format!("a report in it cannot be read: {error}"))
                })?;
            }
        }
        retention::index(&write)?;
        write.commit()?;
        Ok(())
    }

    /// Reports stored before their end, but those that `go_on`: says so in each of them, and never calls such a shutdown
    /// clean. Says how many they are.
    pub fn mark_unfinished(&self, go_on: impl Fn(&str) -> bool) -> Result<usize, StoreError> {
        guarded(|| {
            let ids: Vec<String> = {
                let read = self.begin_read()?;
                let open = read.open_table(OPEN)?;
                let ids = open.iter()?.map(|row| Ok(row?.0.value().to_owned()));
                ids.filter(|id| id.as_ref().map_or(true, |id: &String| !go_on(id)))
                    .collect::<Result<_, StorageError>>()?
            };
            if ids.is_empty() {
                return Ok(0);
            }
            let write = self.begin_write()?;
            for id in &ids {
                write.open_table(OPEN)?.remove(id.as_str())?;
                let Some(ended_ms) = write.open_table(IDS)?.get(id.as_str())?.map(|at| at.value()) else {
                    continue;
                };
                let mut reports = write.open_table(REPORTS)?;
                let marked = reports
                    .get((ended_ms, id.as_str()))?
                    .and_then(|json| serde_json::from_slice(json.value()).ok())
                    .and_then(|report| serde_json::to_vec(&unfinished(report, ended_ms)).ok());
                if let Some(json) = marked {
                    reports.insert((ended_ms, id.as_str()), json.as_slice())?;
                }
            }
            write.commit()?;
            Ok(ids.len())
        })
    }

    /// Puts `entries` in (each replacing what its id held), takes `removed` out, and drops what
    /// retention does not allow, durably and in one transaction.
    pub fn write(&self, entries: &[Entry], removed: &[String], now_ms: i64) -> Result<(), StoreError> {
        guarded(|| self.write_all(entries, removed, now_ms))
    }

    fn write_all(&self, entries: &[Entry], removed: &[String], now_ms: i64) -> Result<(), StoreError> {
        let write = self.begin_write()?;
        for id in removed {
            forget(&write, id)?;
        }
        for entry in entries {
            forget(&write, &entry.id)?;
            write
                .open_table(REPORTS)?
                .insert((entry.ended_ms, entry.id.as_str()), entry.json.as_bytes())?;
            write.open_table(IDS)?.insert(entry.id.as_str(), entry.ended_ms)?;
            retention::note(&write, &entry.id, entry.ended_ms, entry.workload)?;
            if entry.open {
                write.open_table(OPEN)?.insert(entry.id.as_str(), ())?;
            }
        }
        let mut aging = self.aging.lock().unwrap_or_else(PoisonError::into_inner);
        retention::retain(&write, &self.retention, &mut aging, now_ms)?;
        write.commit()?;
        Ok(())
    }

    /// Adds what `filter` asks for to `matches`, newest first, leaving out the ids in `known`.
    pub fn list(
        &self,
        filter: &Filter,
        known: &HashSet<String>,
        matches: &mut Matches,
    ) -> Result<(), StoreError> {
        self.each(filter, known, |json| matches.push(json.into()))
    }

    /// Shows what `filter` asks for, whatever its words, to `look` until that says `false`: newest first, without the ids in
    /// `known`.
    pub fn each(
        &self,
        filter: &Filter,
        known: &HashSet<String>,
        mut look: impl FnMut(&str) -> bool,
    ) -> Result<(), StoreError> {
        guarded(|| {
            let read = self.begin_read()?;
            let reports = read.open_table(REPORTS)?;
            let times = filter.ended_ms();
            for row in reports.range((*times.start(), "")..)?.rev() {
                let (key, json) = row?;
                if key.value().0 > *times.end() || known.contains(key.value().1) {
                    continue;
                }
                let Ok(json) = std::str::from_utf8(json.value()) else {
                    continue;
                };
                let Ok(head) = serde_json::from_str::<Head>(json) else {
                    continue;
                };
                if filter.takes(&head) && !look(json) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The last reports, newest first, at most `most`.
    pub fn last(&self, most: usize) -> Result<Vec<Arc<str>>, StoreError> {
        guarded(|| {
            let read = self.begin_read()?;
            let reports = read.open_table(REPORTS)?;
            let mut last = Vec::new();
            for row in reports.iter()?.rev().take(most) {
                let (_, json) = row?;
                last.extend(std::str::from_utf8(json.value()).map(Arc::from));
            }
            Ok(last)
        })
    }

    /// Ids that begin with `prefix`, at most `most`.
    pub fn ids(&self, prefix: &str, most: usize) -> Result<Vec<String>, StoreError> {
        guarded(|| {
            let read = self.begin_read()?;
            let ids = read.open_table(IDS)?;
            let mut found = Vec::new();
            for row in ids.range(prefix..)?.take(most) {
                let id = row?.0.value().to_owned();
                if !id.starts_with(prefix) {
                    break;
                }
                found.push(id);
            }
            Ok(found)
        })
    }

    /// The report with this id.
    pub fn get(&self, id: &str) -> Result<Option<Arc<str>>, StoreError> {
        guarded(|| {
            let read = self.begin_read()?;
            let Some(ended_ms) = read.open_table(IDS)?.get(id)?.map(|at| at.value()) else {
                return Ok(None);
            };
            let json = read.open_table(REPORTS)?.get((ended_ms, id))?;
            Ok(json.and_then(|json| std::str::from_utf8(json.value()).ok().map(Into::into)))
        })
    }

    /// How many reports there are.
    pub fn len(&self) -> Result<u64, StoreError> {
        guarded(|| Ok(self.begin_read()?.open_table(IDS)?.len()?))
    }

    /// There are none.
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self.len()? == 0)
    }
}

fn database(path: &Path) -> Result<Database, StoreError> {
    // Whatever the umask: reports tell of paths and hosts.
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .and_then(|file| file.set_permissions(Permissions::from_mode(0o600)).map(|()| file))
        .map_err(|why| StoreError::Io {
            path: path.into(),
            why,
        })?;
    Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create_file(file)
        .map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path.into() },
            DatabaseError::Storage(StorageError::Io(why)) if !is_damage(&why) => StoreError::Io {
                path: path.into(),
                why,
            },
            other => StoreError::Corrupt(other.to_string()),
        })
}

fn forget(write: &WriteTransaction, id: &str) -> Result<(), StoreError> {
    if let Some(ended_ms) = write.open_table(IDS)?.remove(id)?.map(|at| at.value()) {
        write.open_table(REPORTS)?.remove((ended_ms, id))?;
        retention::unnote(write, id, ended_ms)?;
        write.open_table(OPEN)?.remove(id)?;
    }
    Ok(())
}

/// `report` as it stood when the agent stopped, saying that its end was not seen.
fn unfinished(mut report: Report, stored_ms: i64) -> Report {
    if report.verdict == Verdict::Clean {
        report.verdict = Verdict::Unknown;
    }
    let started = report
        .started_at
        .parse::<jiff::Timestamp>()
        .map_or(stored_ms, jiff::Timestamp::as_millisecond);
    // Milliseconds of one shutdown: far below the 2^53 that f64 holds exactly.
    #[expect(clippy::cast_precision_loss, reason = "a shutdown lasts less than 2^53 ms")]
    let at_ms = stored_ms.saturating_sub(started).max(0) as f64;
    report.timeline.push(Moment {
        at_ms,
        what: MomentKind::AgentStopped,
        detail: Some("drainwatch stopped before this shutdown ended; the rest was not seen".into()),
        pid: None,
    });
    report
}

/// The same of redb's.
fn is_content(error: &redb::Error) -> bool {
    match error {
        redb::Error::Io(why) => is_damage(why),
        _ => true,
    }
}

/// Renames a file that cannot be read; says to what.
fn set_aside(path: &Path, now_ms: i64) -> Result<PathBuf, StoreError> {
    let aside = free_name(path, now_ms);
    std::fs::rename(path, &aside).map_err(|why| StoreError::Io {
        path: aside.clone(),
        why,
    })?;
    Ok(aside)
}

/// Errors that tell of the file's content, not of the disk or of permissions.
fn is_damage(why: &std::io::Error) -> bool {
    matches!(
        why.kind(),
        std::io::ErrorKind::InvalidData
            | std::io::ErrorKind::UnexpectedEof
            | std::io::ErrorKind::InvalidInput
    )
}

/// `reports.redb.corrupt-<time>`, with a number after it while that name is taken.
fn free_name(path: &Path, now_ms: i64) -> PathBuf {
    let seconds = now_ms.div_euclid(1000);
    let name = |suffix: &str| PathBuf::from(format!("{}.corrupt-{seconds}{suffix}", path.display()));
    std::iter::once(name(""))
        .chain((2..1000).map(|n| name(&format!("-{n}"))))
        .find(|candidate| !candidate.exists())
        .unwrap_or_else(|| name(&format!("-{}", std::process::id())))
}

#[cfg(test)]
mod tests;
