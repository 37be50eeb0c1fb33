//! Which shutdowns there are: those under way, the last ones in memory, and the store behind them.
//!
//! The agent's loop owns the [`History`]; disk writes happen on a thread of their own, so that a
//! slow disk never holds up an event.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use drainwatch_core::report::Report;

use crate::outlets::{
    listing::{Filter, Head, Matches},
    store::{Entry, Store, StoreError},
};

/// Most bytes of reports kept in memory, whatever their number.
const MEMORY_BYTES: usize = 4 << 20;
/// Writes that may wait for the disk. Beyond it they are dropped and counted; memory still has them.
const QUEUE: usize = 256;
/// When writes that failed are tried again, if nothing comes before.
const RETRY: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Kept {
    head: Head,
    json: Arc<str>,
}

/// Shutdowns under way and the last ones that ended.
#[derive(Debug)]
pub struct History {
    open: BTreeMap<String, Box<Report>>,
    /// By time of end and id.
    recent: BTreeMap<(i64, String), Kept>,
    ended: HashMap<String, i64>,
    bytes: usize,
    most: usize,
    /// Severed requests in what is stored of those under way.
    stored: HashMap<String, u64>,
    store: Option<Arc<Store>>,
    writer: Option<Writer>,
}

impl History {
    /// Keeps at most `most` ended reports in memory, and all of them in `store` if there is one.
    pub fn new(most: usize, store: Option<Arc<Store>>) -> Self {
        Self {
            open: BTreeMap::new(),
            recent: BTreeMap::new(),
            ended: HashMap::new(),
            bytes: 0,
            most,
            stored: HashMap::new(),
            writer: store.clone().map(Writer::start),
            store,
        }
    }

    /// A shutdown goes on. Its first report is stored at once, and each that knows of more severed requests, so that
    /// they are not lost with the machine.
    pub fn update(&mut self, report: Box<Report>, now_ms: i64) {
        let (id, severed) = (report.id.clone(), report.requests.severed);
        self.open.insert(id.clone(), report);
        if self.stored.get(&id).is_none_or(|stored| *stored < severed) {
            self.stored.insert(id.clone(), severed);
            self.store_open(&id, now_ms);
        }
    }

    /// A shutdown ended.
    pub fn finish(&mut self, report: &Report, now_ms: i64) {
        let (ended_ms, json) = self.remember(report, now_ms);
        if let Some(writer) = &self.writer {
            writer.put(
                Entry {
                    id: report.id.clone(),
                    ended_ms,
                    open: false,
                    json: json.clone(),
                },
                now_ms,
            );
        }
    }

    /// A shutdown ended, and the store knows it.
    pub fn remember(&mut self, report: &Report, now_ms: i64) -> (i64, Arc<str>) {
        self.open.remove(&report.id);
        self.stored.remove(&report.id);
        let json: Arc<str> = to_json(report).into();
        let ended_ms = report
            .ended_at
            .as_ref()
            .and_then(|at| at.parse::<jiff::Timestamp>().ok())
            .map_or(now_ms, jiff::Timestamp::as_millisecond);
        self.bytes += json.len();
        self.ended.insert(report.id.clone(), ended_ms);
        self.recent.insert(
            (ended_ms, report.id.clone()),
            Kept {
                head: report.into(),
                json: json.clone(),
            },
        );
        while self.recent.len() > self.most || self.bytes > MEMORY_BYTES {
            let Some(((_, id), gone)) = self.recent.pop_first() else {
                break;
            };
            self.bytes -= gone.json.len();
            self.ended.remove(&id);
        }
        (ended_ms, json)
    }

    /// The store has the final report of this shutdown.
    pub fn has_stored(&self, id: &str) -> bool {
        let stored = self.store.as_ref().and_then(|store| store.get(id).ok().flatten());
        let head = stored.and_then(|json| serde_json::from_str::<Report>(&json).ok());
        head.is_some_and(|report| report.ended_at.is_some())
    }

    /// Of shutdowns that earlier agents stored before their end, those that are not under way here say that their end was
    /// not seen. Says how many.
    pub fn mark_unfinished(&self) -> Result<usize, StoreError> {
        let Some(store) = &self.store else { return Ok(0) };
        store.mark_unfinished(|id| self.open.contains_key(id) || self.ended.contains_key(id))
    }

    /// It was no shutdown.
    pub fn discard(&mut self, id: &str, now_ms: i64) {
        self.open.remove(id);
        self.stored.remove(id);
        if let Some(writer) = &self.writer {
            writer.send(Write::Remove(id.into(), now_ms));
        }
    }

    /// How many shutdowns are under way.
    pub fn under_way(&self) -> usize {
        self.open.len()
    }

    /// What `filter` asks for of those in memory: under way first, then newest first; with the ids
    /// of all that are in memory, for the search in the store.
    pub fn list(&self, filter: &Filter) -> (Matches, HashSet<String>) {
        let mut matches = Matches::new(filter.limit);
        let open = self
            .open
            .values()
            .rev()
            .filter(|report| filter.takes_under_way() && filter.takes(&Head::from(&***report)));
        let times = filter.ended_ms();
        let ended = self
            .recent
            .range((*times.start(), String::new())..)
            .rev()
            .filter(|((ended_ms, _), kept)| ended_ms <= times.end() && filter.takes(&kept.head));
        let all = open
            .map(|report| to_json(report).into())
            .chain(ended.map(|(_, kept)| kept.json.clone()));
        for json in all {
            if !matches.push(json) {
                break;
            }
        }
        let known = self.open.keys().chain(self.ended.keys()).cloned().collect();
        (matches, known)
    }

    /// Ids in memory that begin with `prefix`, at most `most`.
    pub fn ids(&self, prefix: &str, most: usize) -> Vec<String> {
        let all = self.open.keys().chain(self.ended.keys());
        all.filter(|id| id.starts_with(prefix))
            .take(most)
            .cloned()
            .collect()
    }

    /// The report with this id, if it is in memory.
    pub fn get(&self, id: &str) -> Option<Arc<str>> {
        if let Some(report) = self.open.get(id) {
            return Some(to_json(report).into());
        }
        let ended_ms = *self.ended.get(id)?;
        self.recent
            .get(&(ended_ms, id.into()))
            .map(|kept| kept.json.clone())
    }

    /// Writes that failed or found no room in the queue.
    pub fn store_errors(&self) -> u64 {
        self.writer
            .as_ref()
            .map_or(0, |writer| writer.errors.load(Ordering::Relaxed))
    }

    /// Stores what is under way as it stands and waits until everything is on disk, at most `most`.
    /// `false` when the disk was too slow for that.
    pub fn close(&mut self, now_ms: i64, most: Duration) -> bool {
        let ids: Vec<_> = self.open.keys().cloned().collect();
        for id in ids {
            self.store_open(&id, now_ms);
        }
        self.store = None;
        self.writer.take().is_none_or(|writer| writer.finish(most))
    }

    fn store_open(&self, id: &str, now_ms: i64) {
        if let (Some(writer), Some(report)) = (&self.writer, self.open.get(id)) {
            let json = to_json(report).into();
            writer.put(
                Entry {
                    id: id.into(),
                    ended_ms: now_ms,
                    open: true,
                    json,
                },
                now_ms,
            );
        }
    }
}

/// A report has string keys and finite numbers only, so this cannot fail; if it ever did, the
/// reader would see an empty object instead of a stopped agent.
fn to_json(report: &Report) -> String {
    serde_json::to_string(report).unwrap_or_else(|_| "{}".into())
}

#[derive(Debug)]
enum Write {
    Put(Entry, i64),
    Remove(String, i64),
}

/// The thread that writes to the store.
#[derive(Debug)]
struct Writer {
    queue: mpsc::SyncSender<Write>,
    done: mpsc::Receiver<()>,
    errors: Arc<AtomicU64>,
}

impl Writer {
    fn start(store: Arc<Store>) -> Self {
        let (queue, waiting) = mpsc::sync_channel(QUEUE);
        let (finished, done) = mpsc::channel();
        let errors = Arc::new(AtomicU64::new(0));
        let counted = errors.clone();
        thread::spawn(move || {
            write_all(&store, &waiting, &counted);
            // The store is closed before the end is announced.
            drop(store);
            let _ = finished.send(());
        });
        Self { queue, done, errors }
    }

    fn put(&self, entry: Entry, now_ms: i64) {
        self.send(Write::Put(entry, now_ms));
    }

    fn send(&self, write: Write) {
        if self.queue.try_send(write).is_err() && self.errors.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::error!(
                "the store is too slow: a report was not stored; it is only in memory and in the log"
            );
        }
    }

    fn finish(self, most: Duration) -> bool {
        drop(self.queue);
        self.done.recv_timeout(most).is_ok()
    }
}

/// Writes what comes until the queue's other end is gone; what waits together goes in one transaction.
/// What could not be written, because the disk is full perhaps, is tried again.
fn write_all(store: &Store, waiting: &mpsc::Receiver<Write>, errors: &AtomicU64) {
    let (mut entries, mut removed) = (HashMap::new(), Vec::new());
    let mut now_ms = i64::MIN;
    let mut open = true;
    while open {
        let first = if entries.is_empty() && removed.is_empty() {
            waiting.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            waiting.recv_timeout(RETRY)
        };
        open = !matches!(first, Err(RecvTimeoutError::Disconnected));
        let mut fresh: u64 = 0;
        for write in first.into_iter().chain(waiting.try_iter()) {
            fresh += 1;
            match write {
                Write::Put(entry, at_ms) => {
                    now_ms = now_ms.max(at_ms);
                    entries.insert(entry.id.clone(), entry);
                }
                Write::Remove(id, at_ms) => {
                    now_ms = now_ms.max(at_ms);
                    entries.remove(&id);
                    removed.push(id);
                }
            }
        }
        if entries.is_empty() && removed.is_empty() {
            continue;
        }
        let batch: Vec<_> = entries.values().cloned().collect();
        let Err(error) = store.write(&batch, &removed, now_ms) else {
            entries.clear();
            removed.clear();
            continue;
        };
        errors.fetch_add(fresh, Ordering::Relaxed);
        tracing::error!(reports = batch.len(), %error, "reports could not be stored; it will be tried again");
        if let Err(error) = store.reopen() {
            tracing::error!(%error, "the store cannot be reopened");
        }
        // The oldest make room; memory may still have them.
        let mut oldest: Vec<_> = batch
            .iter()
            .map(|entry| (entry.ended_ms, entry.id.clone()))
            .collect();
        oldest.sort_unstable();
        for (_, id) in oldest.iter().rev().skip(QUEUE) {
            entries.remove(id);
        }
        removed.truncate(QUEUE);
    }
}

#[cfg(test)]
pub(crate) mod tests;
