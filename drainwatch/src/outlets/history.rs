//! Which shutdowns there are: those under way, the last ones in memory, and the store behind them.
//!
//! The agent's loop owns the [`History`]; disk writes happen on a thread of their own, so that a
//! slow disk never holds up an event.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
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
/// Bytes of reports that may wait for the disk. Beyond it the oldest are dropped and counted; memory may still have them.
const WAITING_BYTES: usize = 16 << 20;
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
                    workload: Head::from(report).workload_hash(),
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
            writer.remove(id, now_ms);
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
        for json in self.in_memory(filter) {
            if !matches.push(json) {
                break;
            }
        }
        let known = self.open.keys().chain(self.ended.keys()).cloned().collect();
        (matches, known)
    }

    /// The same, all of it, whatever its limit and its words: those are looked for elsewhere.
    pub fn gather(&self, filter: &Filter) -> (Vec<Arc<str>>, HashSet<String>) {
        let known = self.open.keys().chain(self.ended.keys()).cloned().collect();
        (self.in_memory(filter).collect(), known)
    }

    fn in_memory(&self, filter: &Filter) -> impl Iterator<Item = Arc<str>> {
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
            .filter(move |((ended_ms, _), kept)| ended_ms <= times.end() && filter.takes(&kept.head));
        open.map(|report| to_json(report).into())
            .chain(ended.map(|(_, kept)| kept.json.clone()))
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
            .map_or(0, |writer| writer.shared.errors.load(Ordering::Relaxed))
    }

    /// Everything that was given to the store is on disk, as far as there was room for it.
    pub fn is_stored(&self) -> bool {
        self.writer
            .as_ref()
            .is_none_or(|writer| writer.shared.waiting().is_done())
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
                    workload: Head::from(&**report).workload_hash(),
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

/// What is to be done with one id in the store: its report is put in, or what is there is taken out.
#[derive(Debug)]
struct Write {
    entry: Option<Entry>,
    /// It failed before, and was counted.
    tried: bool,
}

/// What waits for the disk, by id: what comes later for the same one takes its place.
#[derive(Debug, Default)]
struct Waiting {
    writes: BTreeMap<String, Write>,
    bytes: usize,
    now_ms: i64,
    closed: bool,
    /// The thread has some of them in hand.
    writing: bool,
}

impl Waiting {
    fn is_done(&self) -> bool {
        self.writes.is_empty() && !self.writing
    }

    /// Takes one in. Gives how many found no room.
    fn put(&mut self, id: String, write: Write) -> u64 {
        let size = |write: &Write| write.entry.as_ref().map_or(0, |entry| entry.json.len());
        self.bytes += size(&write);
        if let Some(before) = self.writes.insert(id, write) {
            self.bytes -= size(&before);
        }
        let mut dropped = 0;
        while self.bytes > WAITING_BYTES {
            // Ids begin with the time: the oldest makes room. A removal takes none.
            let oldest = self.writes.iter().find(|(_, write)| write.entry.is_some());
            let Some(id) = oldest.map(|(id, _)| id.clone()) else {
                break;
            };
            self.bytes -= self.writes.remove(&id).as_ref().map_or(0, size);
            dropped += 1;
        }
        dropped
    }
}

/// What the loop and the writing thread share.
#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    came: Condvar,
    errors: AtomicU64,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that writes to the store.
#[derive(Debug)]
struct Writer {
    shared: Arc<Shared>,
    done: mpsc::Receiver<()>,
}

impl Writer {
    fn start(store: Arc<Store>) -> Self {
        let shared = Arc::new(Shared::default());
        let (finished, done) = mpsc::channel();
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || {
            write_all(&store, &of_thread);
            // The store is closed before the end is announced.
            drop(store);
            let _ = finished.send(());
        });
        Self { shared, done }
    }

    fn put(&self, entry: Entry, now_ms: i64) {
        self.send(entry.id.clone(), Some(entry), now_ms);
    }

    fn remove(&self, id: &str, now_ms: i64) {
        self.send(id.to_owned(), None, now_ms);
    }

    fn send(&self, id: String, entry: Option<Entry>, now_ms: i64) {
        let mut waiting = self.shared.waiting();
        waiting.now_ms = now_ms;
        let dropped = waiting.put(id, Write { entry, tried: false });
        drop(waiting);
        self.shared.came.notify_one();
        if dropped > 0 && self.shared.errors.fetch_add(dropped, Ordering::Relaxed) == 0 {
            tracing::error!(
                "the store is too slow: a report was not stored; it is only in memory and in the log"
            );
        }
    }

    fn finish(self, most: Duration) -> bool {
        self.shared.waiting().closed = true;
        self.shared.came.notify_one();
        self.done.recv_timeout(most).is_ok()
    }
}

/// Writes what comes until the other end is closed; what waits together goes in one transaction. What could not be
/// written, because the disk is full perhaps, is tried again.
fn write_all(store: &Store, shared: &Shared) {
    let mut failed = false;
    loop {
        let mut waiting = shared.waiting();
        let wanted = |waiting: &mut Waiting| !waiting.closed && (failed || waiting.writes.is_empty());
        waiting = if failed {
            let woken = shared
                .came
                .wait_timeout_while(waiting, RETRY, |waiting| !waiting.closed);
            woken.unwrap_or_else(PoisonError::into_inner).0
        } else {
            let woken = shared.came.wait_while(waiting, wanted);
            woken.unwrap_or_else(PoisonError::into_inner)
        };
        let closed = waiting.closed;
        let batch = std::mem::take(&mut waiting.writes);
        waiting.bytes = 0;
        waiting.writing = true;
        let now_ms = waiting.now_ms;
        drop(waiting);
        failed = !batch.is_empty() && !write(store, shared, batch, now_ms);
        shared.waiting().writing = false;
        if closed && (failed || shared.waiting().writes.is_empty()) {
            return;
        }
    }
}

/// Writes a batch; what fails waits again. Says whether it succeeded.
fn write(store: &Store, shared: &Shared, batch: BTreeMap<String, Write>, now_ms: i64) -> bool {
    let entries: Vec<Entry> = batch.values().filter_map(|write| write.entry.clone()).collect();
    let removed = batch.iter().filter(|(_, write)| write.entry.is_none());
    let removed: Vec<String> = removed.map(|(id, _)| id.clone()).collect();
    let mut written = store.write(&entries, &removed, now_ms);
    if let Err(error) = &written {
        tracing::error!(reports = entries.len(), %error, "reports could not be stored; it will be tried again");
        let damaged = error.is_damage() || matches!(store.reopen(), Err(error) if error.is_damage());
        if damaged {
            match store.begin_anew(now_ms) {
                Ok(aside) => {
                    tracing::error!(kept = %aside.display(), "the store was damaged: it was set aside and a new one created");
                    written = store.write(&entries, &removed, now_ms);
                }
                Err(error) => tracing::error!(%error, "the store cannot be created anew"),
            }
        }
    }
    if written.is_ok() {
        return true;
    }
    let mut waiting = shared.waiting();
    for (id, write) in batch {
        if !write.tried {
            shared.errors.fetch_add(1, Ordering::Relaxed);
        }
        if !waiting.writes.contains_key(&id) {
            let dropped = waiting.put(id, Write { tried: true, ..write });
            shared.errors.fetch_add(dropped, Ordering::Relaxed);
        }
    }
    false
}

#[cfg(test)]
pub(crate) mod tests;
