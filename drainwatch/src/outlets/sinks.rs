//! Where finished reports go besides the history and the metrics: out of the agent.
//!
//! A sink works in a task of its own, behind a bounded queue. The loop only puts reports into the
//! queue: a sink that is slow, stuck or gone costs its own reports, which are counted, and nothing
//! else. When the agent stops, sinks get a moment for what is still queued.

pub mod kubernetes;
pub mod log;
pub mod otlp;
pub mod summary;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use drainwatch_core::report::Report;
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

/// A sink as the loop has it. Dropped, its task is told that no report comes any more.
#[derive(Debug)]
pub struct Sink {
    name: &'static str,
    reports: mpsc::Sender<Arc<Report>>,
    results: Arc<Results>,
    task: JoinHandle<()>,
    wants: fn(&Report) -> bool,
}

/// A sink's reports, as its task has them.
#[derive(Debug)]
pub struct Inbox {
    reports: mpsc::Receiver<Arc<Report>>,
    results: Arc<Results>,
}

/// What became of a sink's reports, by result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// They arrived.
    pub sent: u64,
    /// The other side did not take them.
    pub failed: u64,
    /// They found no room in the queue.
    pub dropped: u64,
}

#[derive(Debug, Default)]
struct Results {
    given: AtomicU64,
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl Sink {
    /// Starts `work` with the inbox of the sink, in which at most `room` reports wait. It is to end
    /// when [`Inbox::next`] gives `None`. Must be called within the runtime.
    pub fn start<F>(name: &'static str, room: usize, work: impl FnOnce(Inbox) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, reports) = mpsc::channel(room);
        let results = Arc::new(Results::default());
        let inbox = Inbox {
            reports,
            results: Arc::clone(&results),
        };
        Self {
            name,
            reports: sender,
            results,
            task: tokio::spawn(work(inbox)),
            wants: |_| true,
        }
    }

    /// The sink, given only such reports: others take no room in its queue.
    #[must_use]
    pub fn only(self, wants: fn(&Report) -> bool) -> Self {
        Self { wants, ..self }
    }

    /// As metrics spell it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Takes a finished report that it wants, or counts it when there is no room. Never waits.
    pub fn give(&self, report: &Arc<Report>) {
        if !(self.wants)(report) {
            return;
        }
        let result = match self.reports.try_send(Arc::clone(report)) {
            Ok(()) => &self.results.given,
            Err(_) => &self.results.dropped,
        };
        result.fetch_add(1, Relaxed);
    }

    /// What became of its reports so far.
    pub fn count(&self) -> Count {
        let Results {
            given: _,
            sent,
            failed,
            dropped,
        } = &*self.results;
        Count {
            sent: sent.load(Relaxed),
            failed: failed.load(Relaxed),
            dropped: dropped.load(Relaxed),
        }
    }

    /// Waits for what is queued, until `deadline` at the latest.
    async fn close(self, deadline: Instant) {
        let Self {
            name,
            reports,
            results,
            mut task,
            wants: _,
        } = self;
        drop(reports);
        if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
            task.abort();
        }
        let done = results.sent.load(Relaxed) + results.failed.load(Relaxed);
        let left = results.given.load(Relaxed).saturating_sub(done);
        if left > 0 {
            tracing::warn!(
                sink = name,
                reports = left,
                "the agent stops with unsent reports; they are in the history"
            );
        }
    }
}

/// Closes all of them at the same time.
pub async fn close(sinks: Vec<Sink>, within: Duration) {
    let deadline = Instant::now() + within;
    let closing: Vec<_> = sinks
        .into_iter()
        .map(|sink| tokio::spawn(sink.close(deadline)))
        .collect();
    for sink in closing {
        // It fails only by a panic, which its task has reported.
        let _ = sink.await;
    }
}

impl Inbox {
    /// The next report; `None` when the agent stops and all were taken. Each is to be followed by
    /// [`Self::sent`], [`Self::failed`] or [`Self::passed`]. Loses nothing when dropped while it waits.
    pub async fn next(&mut self) -> Option<Arc<Report>> {
        self.reports.recv().await
    }

    /// The agent stops: there is only a moment left for the queue.
    pub fn is_closing(&self) -> bool {
        self.reports.is_closed()
    }

    /// A report is none that this sink sends on.
    pub fn passed(&self) {
        self.results.given.fetch_sub(1, Relaxed);
    }

    /// A report arrived.
    pub fn sent(&self) {
        self.results.sent.fetch_add(1, Relaxed);
    }

    /// A report was given up.
    pub fn failed(&self) {
        self.results.failed.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use drainwatch_core::{report::Verdict, testing::report};

    use super::*;

    fn some_report() -> Arc<Report> {
        Arc::new(report("r", "/svc", Verdict::Severed))
    }

    #[tokio::test]
    async fn given_a_sink_that_works_when_closed_then_all_that_was_queued_is_counted() {
        let sink = Sink::start("one", 8, |mut inbox| async move {
            let mut even = true;
            while inbox.next().await.is_some() {
                if even {
                    inbox.sent();
                } else {
                    inbox.failed();
                }
                even = !even;
            }
        });
        let results = Arc::clone(&sink.results);
        for _ in 0..3 {
            sink.give(&some_report());
        }
        close(vec![sink], Duration::from_secs(5)).await;
        assert_eq!((results.sent.load(Relaxed), results.failed.load(Relaxed)), (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn given_a_sink_that_hangs_when_given_more_than_its_room_then_the_rest_is_dropped_and_closing_ends()
    {
        let sink = Sink::start("stuck", 2, |inbox| async move {
            std::future::pending::<()>().await;
            drop(inbox);
        });
        tokio::task::yield_now().await;
        for _ in 0..5 {
            sink.give(&some_report());
        }
        assert_eq!(
            sink.count(),
            Count {
                dropped: 3,
                ..Count::default()
            }
        );
        let begun = Instant::now();
        close(vec![sink], Duration::from_millis(300)).await;
        assert_eq!(begun.elapsed(), Duration::from_millis(300));
    }

    #[tokio::test]
    async fn given_a_sink_that_wants_some_reports_when_given_others_then_they_take_no_room() {
        let sink = Sink::start("choosy", 2, |inbox| async move {
            std::future::pending::<()>().await;
            drop(inbox);
        })
        .only(|report| report.verdict == Verdict::Severed);
        for _ in 0..50 {
            sink.give(&Arc::new(report("r", "/svc", Verdict::Clean)));
        }
        sink.give(&some_report());
        assert_eq!(
            (sink.count(), sink.results.given.load(Relaxed)),
            (Count::default(), 1)
        );
    }

    #[tokio::test]
    async fn given_a_sink_whose_task_died_when_given_reports_then_they_are_dropped() {
        let sink = Sink::start("dead", 2, |inbox| async move { drop(inbox) });
        tokio::task::yield_now().await;
        sink.give(&some_report());
        assert_eq!(sink.count().dropped, 1);
    }
}
