//! The room of the agent: the one loop (kernel → recording → tracker → effects → outlets), what paces it, what it records
//! and the settings it runs with.
//!
//! May not enter: protocols, and what makes a shutdown (both are `drainwatch_core`'s); disks and networks, which the loop
//! would wait for. (What the journal appends goes to the page cache.)
//!
//! The loop owns all state. Everything else (the web server, the demo) asks it through a bounded channel
//! with a [`Handle`]. While nothing is under way it has no timer: it sleeps until the kernel, a
//! question or a stop signal wakes it.

pub mod config;
mod intake;
pub mod journal;
mod pacer;
pub mod recording;
mod resume;
pub mod source;

use std::{io, sync::Arc, time::Duration};

use drainwatch_core::{
    class::Classes,
    event::{Event, EventKind},
    report::Report,
    tracker::{Effect, Tracker, TrackerConfig},
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    kernel::{Counts, Losses, Position},
    names::{News, States},
    outlets::{
        history::History,
        metrics::{Metrics, Scrape, Snapshot},
        questions::{self, Handle, IDS_NAMED, Question},
        sinks::{self, Sink},
        store::Store,
    },
};
use journal::{Journal, Past};
use pacer::Pacer;
use source::Source;

/// How long the store may take at the end.
const FLUSH_WITHIN: Duration = Duration::from_millis(600);
/// How long sinks may take for what is queued at the end.
const SEND_WITHIN: Duration = Duration::from_millis(250);
/// A difference between the clocks that is more than the time between reading one and the other.
const CLOCK_MOVED_NS: i128 = 10_000_000;
/// How often the source is asked for what there is, before others have their turn: as often as takes in the largest ring.
const MOST_DRAINS: usize = 64;
/// Stored reports that recommended values begin with.
const REMEMBERED_REPORTS: usize = 500;

/// Where events are recorded to (`--record`).
pub trait Tape {
    /// Appends one event.
    fn write(&mut self, event: &Event) -> io::Result<()>;
    /// Hands over what is buffered.
    fn flush(&mut self) -> io::Result<()>;
}

/// What to run with.
#[derive(Default)]
pub struct Options {
    /// Name of this host.
    pub node: String,
    /// How long after a workload's end late arrivals are still counted.
    pub linger: Duration,
    /// Rules that put requests into classes.
    pub classes: Arc<Classes>,
    /// Tell of processes of shared cgroups that never served, too.
    pub processes: bool,
    /// Most ended reports in memory.
    pub memory_reports: usize,
    /// Where all reports go.
    pub store: Option<Arc<Store>>,
    /// Where events are recorded to.
    pub tape: Option<Box<dyn Tape>>,
    /// Where events are written down for the next agent, and what the last one wrote.
    pub journal: Option<(Journal, Past)>,
    /// What the origins of names tell.
    pub names: Option<mpsc::Receiver<News>>,
    /// Where finished reports go.
    pub sinks: Vec<Sink>,
}

/// The loop and what it owns.
pub struct Agent<S> {
    source: S,
    tracker: Tracker,
    metrics: Metrics,
    history: History,
    tape: Option<Box<dyn Tape>>,
    journal: Option<Journal>,
    past: Option<Past>,
    questions: mpsc::Receiver<Question>,
    /// Who asks again when a report changed.
    changes: watch::Sender<u64>,
    pacer: Pacer,
    names: Option<mpsc::Receiver<News>>,
    sinks: Vec<Sink>,
    origins: States,
    /// Who waits until all is taken in that the ring holds.
    catching_up: Vec<oneshot::Sender<()>>,
    /// Latest time that an event carried: those of different CPUs may be a little out of order.
    latest_ns: u64,
    /// What the last tick said: wall clock less monotonic clock.
    offset_ns: i128,
    /// Up to where the source was read, and what was read written down.
    committed: Option<Position>,
    /// Entries of the ring were lost, and nobody has found out yet which.
    missed: bool,
    /// It has gone on where the last agent stopped.
    begun: bool,
    /// Events since something was under way, or memory given back.
    taken: usize,
    /// The kernel side may keep what it should have forgotten: ends that nobody saw.
    stale: bool,
    /// When lost entries were looked for last, and how many there were.
    looked_ns: u64,
    looked_lost: u64,
}

impl<S: Source> Agent<S> {
    /// An agent on this source, and the handle to ask it with.
    pub fn new(mut source: S, options: Options) -> Result<(Self, Handle), prometheus::Error> {
        let Options {
            node,
            linger,
            processes,
            classes,
            memory_reports,
            store,
            tape,
            journal,
            names,
            sinks,
        } = options;
        let (journal, past) = journal.unzip();
        let (handle, questions, changes) = questions::channel(store.clone(), source.take_served());
        let linger_ns = u64::try_from(linger.as_nanos()).unwrap_or(u64::MAX);
        let mut metrics = Metrics::new(&classes)?;
        for report in store.as_deref().map(last_reports).unwrap_or_default() {
            metrics.remember(&report);
        }
        let agent = Self {
            source,
            metrics,
            tracker: Tracker::new(TrackerConfig {
                node,
                linger_ns,
                classes,
                processes,
            }),
            history: History::new(memory_reports, store),
            tape,
            journal,
            past,
            questions,
            changes,
            pacer: Pacer::default(),
            names,
            sinks,
            origins: States::default(),
            catching_up: Vec::new(),
            latest_ns: 0,
            offset_ns: 0,
            committed: None,
            missed: false,
            begun: false,
            taken: 0,
            stale: false,
            looked_ns: 0,
            looked_lost: 0,
        };
        Ok((agent, handle))
    }

    /// Runs until `stop` is ready, then takes in what the ring still holds.
    pub async fn run<T>(&mut self, stop: impl Future<Output = T>) -> T {
        let mut stop = std::pin::pin!(stop);
        // Nothing is lost by it: what the journal holds stays there.
        tokio::select! {
            biased;
            stopped = &mut stop => return stopped,
            () = self.begin() => {}
        }
        let stopped = loop {
            let (now_ns, _) = self.source.clocks();
            let timeout = self.pacer.timeout(now_ns, &self.under_way());
            tokio::select! {
                stopped = &mut stop => break stopped,
                Some(question) = self.questions.recv() => self.answer(question),
                news = told(&mut self.names) => self.hear(news),
                events = self.source.next_events(timeout) => self.take(events),
            }
            self.tick_when_due();
            self.source.settle();
            if !self.source.is_behind() {
                // An asker that has gone meanwhile is no error.
                for answer in self.catching_up.drain(..) {
                    let _ = answer.send(());
                }
            }
        };
        self.take_all();
        // What is stored of a shutdown that goes on is to be what was seen of it.
        for effect in self.tracker.tell_all() {
            self.apply(effect, self.latest_ns);
        }
        self.source.settle();
        stopped
    }

    /// Where events come from.
    pub fn source_mut(&mut self) -> &mut S {
        &mut self.source
    }

    /// Goes on where the last agent stopped, takes in what happened since, and what was there before.
    async fn begin(&mut self) {
        self.pacer.told(self.source.told_losses());
        self.looked_lost = self.source.losses().ring_full;
        let goes_on = self.resume().await;
        let first = self.source.drain();
        let (now_ns, wall_ns) = self.source.clocks();
        self.pacer.ticked(now_ns);
        self.offset_ns = offset(now_ns, wall_ns);
        // The ring may have kept what happened long ago: then that is when this begins.
        let begins_ns = first.iter().map(|event| event.at_ns).fold(now_ns, u64::min);
        let since = i64::try_from(now_ns - begins_ns).unwrap_or(0);
        if !goes_on {
            self.inject_at(
                begins_ns,
                EventKind::Tick {
                    wall_ns: wall_ns.saturating_sub(since),
                },
            );
        }
        self.hear_what_to_expect(begins_ns);
        self.take(first);
        self.take_all();
        // Nobody's but of those that are under way.
        let lost = self.pacer.lost(&self.source.losses(), false);
        self.lose(&lost);
        if goes_on || self.source.resumed() {
            if self.missed || !self.source.resumed() {
                self.find_out();
            }
            self.stale = true;
            self.inject(EventKind::Tick { wall_ns });
        }
        self.source.settle();
        self.begun = true;
        self.leave_out();
    }

    /// Everything that there is now; of a ring that fills all the time, as much as it can hold.
    fn take_all(&mut self) {
        for _ in 0..MOST_DRAINS {
            let events = self.source.drain();
            self.take(events);
            if !self.source.is_behind() {
                return;
            }
        }
    }

    /// Ends: stores what is under way as it stands, goes on answering until `others` (the web
    /// server) is ready and the sinks had their moment, and returns `false` when the store did not
    /// get everything in time.
    pub async fn close(&mut self, others: impl Future<Output = ()>) -> bool {
        let sinks = sinks::close(std::mem::take(&mut self.sinks), SEND_WITHIN);
        let others = async { tokio::join!(others, sinks) };
        let mut others = std::pin::pin!(others);
        loop {
            tokio::select! {
                _ = &mut others => break,
                Some(question) = self.questions.recv() => self.answer(question),
            }
        }
        self.flush_tape();
        let now_ms = self.wall_ms();
        self.history.close(now_ms, FLUSH_WITHIN)
    }

    fn under_way(&self) -> pacer::UnderWay {
        pacer::UnderWay {
            deadline_ns: self.tracker.next_deadline(),
            sampling: !self.tracker.draining_cgroups().is_empty(),
        }
    }

    fn apply(&mut self, effect: Effect, at_ns: u64) {
        self.metrics.apply(&effect, at_ns);
        if let Effect::Updated(_) | Effect::Finished(_) | Effect::Discarded { .. } = &effect {
            self.changes.send_modify(|count| *count += 1);
        }
        match effect {
            Effect::Updated(report) => {
                let now_ms = self.wall_ms();
                self.history.update(report, now_ms);
            }
            Effect::Finished(report) => self.finish(report),
            Effect::Discarded { id } => {
                let now_ms = self.wall_ms();
                self.history.discard(&id, now_ms);
            }
            other => self.mark(&other),
        }
    }

    /// What the kernel side is asked for. Nothing is wrong with asking twice.
    fn mark(&mut self, effect: &Effect) {
        match *effect {
            Effect::MarkCgroup { cgroup } => self.source.mark_cgroup(cgroup),
            Effect::UnmarkCgroup { cgroup } => self.source.unmark_cgroup(cgroup, self.latest_ns),
            Effect::UnmarkProcess { pid } => self.source.unmark_process(pid, self.latest_ns),
            Effect::WatchStopSignal { cgroup, signal } => self.source.watch_stop_signal(cgroup, signal),
            Effect::WorkloadSeen(_)
            | Effect::WorkloadGone(_)
            | Effect::WorkloadConfigured { .. }
            | Effect::Unresolved { .. }
            | Effect::Severed { .. }
            | Effect::Drained { .. }
            | Effect::Failed { .. }
            | Effect::Refused { .. }
            | Effect::Probed { .. }
            | Effect::Updated(_)
            | Effect::Finished(_)
            | Effect::Discarded { .. } => {}
        }
    }

    /// An asker that has gone meanwhile is no error.
    fn answer(&mut self, question: Question) {
        match question {
            Question::Beat(answer) => drop(answer.send(())),
            // It was stopped before it knew what the last one knew.
            Question::Ready(answer) if !self.begun => drop(answer),
            Question::Ready(answer) => {
                let events = self.source.drain();
                self.take(events);
                if self.source.is_behind() {
                    self.catching_up.push(answer);
                } else {
                    let _ = answer.send(());
                }
            }
            Question::Metrics(served, answer) => drop(answer.send(self.expose(served.as_ref()))),
            Question::Running(answer) => drop(answer.send(self.metrics.running())),
            Question::List(filter, answer) => drop(answer.send(self.history.list(&filter))),
            Question::Gather(filter, answer) => drop(answer.send(self.history.gather(&filter))),
            Question::Ids(prefix, answer) => drop(answer.send(self.history.ids(&prefix, IDS_NAMED))),
            Question::Get(id, answer) => drop(answer.send(self.history.get(&id))),
        }
    }

    fn expose(&mut self, served: Option<&Counts>) -> Snapshot {
        let (now_ns, _) = self.source.clocks();
        let sinks: Vec<_> = self
            .sinks
            .iter()
            .map(|sink| (sink.name(), sink.count()))
            .collect();
        let scrape = Scrape {
            now_ns,
            losses: self.source.losses(),
            resets: &self.source.resets(),
            served: served.map(|counts| &counts[..]),
            probes: &self.source.probes(),
            store_errors: self.history.store_errors(),
            under_way: self.history.under_way(),
            origins: &self.origins,
            sinks: &sinks,
        };
        let snapshot = self.metrics.snapshot(&scrape);
        if self.journal.is_none() {
            self.forget_served();
        }
        snapshot
    }

    /// The kernel side need not keep any longer what was served in cgroups that are gone: it is written down, or cannot be.
    fn forget_served(&mut self) {
        let gone = self.metrics.forget_served();
        self.source.forget_served(&gone);
    }

    fn wall_ms(&self) -> i64 {
        self.source.clocks().1.div_euclid(1_000_000)
    }
}

/// What earlier agents stored last, oldest first: what they measured still counts.
fn last_reports(store: &Store) -> Vec<Report> {
    let reports = store.last(REMEMBERED_REPORTS).unwrap_or_else(|error| {
        tracing::warn!(%error, "recommended values start from scratch: the stored reports cannot be read");
        Vec::new()
    });
    let reports = reports
        .iter()
        .rev()
        .filter_map(|json| serde_json::from_str(json).ok());
    reports.collect()
}

/// The next news; never ready without anybody to tell.
async fn told(names: &mut Option<mpsc::Receiver<News>>) -> News {
    if let Some(channel) = names {
        if let Some(news) = channel.recv().await {
            return news;
        }
        *names = None;
    }
    std::future::pending().await
}

/// Wall clock less monotonic clock.
fn offset(monotonic_ns: u64, wall_ns: i64) -> i128 {
    i128::from(wall_ns) - i128::from(monotonic_ns)
}

/// What is lost, of the counters that mean missing evidence anywhere. (`payload` and the skipped runs that
/// show are not among them: the record says so itself, and is judged without it. Nor is `no_storage`: whose it is
/// is remembered with the process.)
fn evidence_lost(losses: &Losses) -> (u64, u64) {
    let ring = losses.ring_full + losses.undecodable;
    let other = losses.map_full + losses.skipped_without_trace();
    (ring, other)
}

#[cfg(test)]
mod tests;
