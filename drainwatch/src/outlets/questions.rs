//! What the web server, the service manager and the demo ask the loop: a bounded channel, and a second for the answer.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use drainwatch_core::{report::Revision, rollout::RolledOut};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    kernel::{Counts, Served},
    outlets::{
        listing::{Filter, Matches},
        metrics::Snapshot,
        store::{Store, StoreError},
    },
};

/// Questions that may wait for the loop.
const QUESTIONS: usize = 64;
/// How long the loop may take for an answer before it counts as stuck.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Most ids named when a prefix is ambiguous.
pub const IDS_NAMED: usize = 5;

/// The loop did not answer in time, or is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agent's loop does not answer")]
pub struct Stuck;

/// Why a question about reports has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The loop.
    #[error(transparent)]
    Stuck(#[from] Stuck),
    /// The store.
    #[error("{0}")]
    Store(String),
}

/// What an id, or the beginning of one, stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// This report, as JSON.
    Found(Arc<str>),
    /// Nothing.
    Missing,
    /// Several; some of them.
    Ambiguous(Vec<String>),
}

/// What the loop is asked, each with where the answer goes.
#[derive(Debug)]
pub enum Question {
    /// Whether it turns.
    Beat(oneshot::Sender<()>),
    /// To take in what the ring holds.
    Ready(oneshot::Sender<()>),
    /// All metrics as they are now, with what was served, where somebody counts it.
    Metrics(Option<Counts>, oneshot::Sender<Snapshot>),
    /// Which revision runs of each workload, as told last.
    Running(oneshot::Sender<BTreeMap<RolledOut, Revision>>),
    /// What this filter asks for of the reports in memory, and the ids of all of those.
    List(Filter, oneshot::Sender<(Matches, HashSet<String>)>),
    /// What this filter asks for of the reports in memory, whatever its words, and the ids of all of those.
    Gather(Filter, oneshot::Sender<(Vec<Arc<str>>, HashSet<String>)>),
    /// Ids in memory that begin so, at most [`IDS_NAMED`].
    Ids(String, oneshot::Sender<Vec<String>>),
    /// The report in memory with this id, as JSON.
    Get(String, oneshot::Sender<Option<Arc<str>>>),
}

/// A handle to ask with, and what the loop has of it: the questions, and whom it tells that a report changed.
pub fn channel(
    store: Option<Arc<Store>>,
    served: Option<Served>,
) -> (Handle, mpsc::Receiver<Question>, watch::Sender<u64>) {
    let (sender, questions) = mpsc::channel(QUESTIONS);
    let (changes, told) = watch::channel(0);
    let handle = Handle {
        questions: sender,
        store,
        served: served.map(|served| Arc::new(Mutex::new(served))),
        changes: told,
    };
    (handle, questions, changes)
}

/// Asks the loop, and the store behind it.
#[derive(Debug, Clone)]
pub struct Handle {
    questions: mpsc::Sender<Question>,
    store: Option<Arc<Store>>,
    served: Option<Arc<Mutex<Served>>>,
    changes: watch::Receiver<u64>,
}

impl Handle {
    /// Counts up whenever a report is new, changed or gone.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Result<T, Stuck> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.questions.send(question(answer)).await.map_err(|_| Stuck)?;
            answered.await.map_err(|_| Stuck)
        };
        tokio::time::timeout(ANSWER_WITHIN, asked)
            .await
            .map_err(|_| Stuck)?
    }

    /// The loop turns: it has answered within a second.
    pub async fn beat(&self) -> Result<(), Stuck> {
        self.ask(Question::Beat).await
    }

    /// The kernel side is attached, what was there before it is known, and the loop has taken in all that
    /// the ring held when it was asked.
    pub async fn ready(&self) -> Result<(), Stuck> {
        self.ask(Question::Ready).await
    }

    /// The exposition of all metrics, written on a thread of its own: the loop has better things to do.
    pub async fn metrics(&self) -> Result<String, Stuck> {
        let served = self.served().await;
        let snapshot = self.ask(|answer| Question::Metrics(served, answer)).await?;
        let text = tokio::task::spawn_blocking(|| snapshot.text());
        Ok(text.await.map_err(|_| Stuck)?.unwrap_or_else(|error| {
            tracing::error!(%error, "metrics could not be encoded");
            String::new()
        }))
    }

    /// What was served, counted on a thread of its own.
    async fn served(&self) -> Option<Counts> {
        let served = Arc::clone(self.served.as_ref()?);
        let count = move || {
            // Whoever panicked with it has left nothing half done.
            let mut served = served.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            served.counts()
        };
        tokio::task::spawn_blocking(count).await.ok()
    }

    /// Which revision runs of each workload, as far as it was told.
    pub async fn running(&self) -> Result<BTreeMap<RolledOut, Revision>, Stuck> {
        self.ask(Question::Running).await
    }

    /// Reports: under way first, then newest first.
    pub async fn list(&self, filter: Filter) -> Result<Matches, Unanswered> {
        if !filter.search.is_empty() {
            let none = Matches::new(filter.limit);
            let take = |matches: &mut Matches, json: &str| matches.push(json.into());
            let (mut matches, whole) = self.survey(filter, none, take).await?;
            if !whole {
                matches.cut();
            }
            return Ok(matches);
        }
        let (mut matches, known) = self.ask(|answer| Question::List(filter.clone(), answer)).await?;
        if matches.more() {
            return Ok(matches);
        }
        self.in_store(move |store| {
            let Some(store) = store else { return Ok(matches) };
            if let Err(error) = store.list(&filter, &known, &mut matches) {
                tracing::error!(%error, "a listing has only the reports in memory");
                matches.cut();
            }
            Ok(matches)
        })
        .await
    }

    /// Shows every report that `filter` asks for to `look`, under way first, then newest first, until that says `false`; on a
    /// thread of its own. Gives what came of it, and whether all could be read.
    pub async fn survey<T: Send + 'static>(
        &self,
        filter: Filter,
        mut seen: T,
        mut look: impl FnMut(&mut T, &str) -> bool + Send + 'static,
    ) -> Result<(T, bool), Unanswered> {
        let (in_memory, known) = self
            .ask(|answer| Question::Gather(filter.clone(), answer))
            .await?;
        self.in_store(move |store| {
            let mut look = |json: &str| !filter.finds(json) || look(&mut seen, json);
            let enough = in_memory.iter().any(|json| !look(json));
            let mut whole = true;
            if let Some(store) = store.filter(|_| !enough)
                && let Err(error) = store.each(&filter, &known, look)
            {
                tracing::error!(%error, "a search has only the reports in memory");
                whole = false;
            }
            Ok((seen, whole))
        })
        .await
    }

    /// The report with this id, or with the only id that begins so.
    pub async fn get(&self, id: &str) -> Result<Lookup, Unanswered> {
        if let Some(json) = self.ask(|answer| Question::Get(id.into(), answer)).await? {
            return Ok(Lookup::Found(json));
        }
        let mut ids = self.ask(|answer| Question::Ids(id.into(), answer)).await?;
        let prefix = id.to_owned();
        let stored = self
            .in_store(move |store| store.map_or(Ok(vec![]), |store| store.ids(&prefix, IDS_NAMED)))
            .await?;
        ids.extend(stored);
        ids.sort();
        ids.dedup();
        ids.truncate(IDS_NAMED);
        let one = match (ids.iter().find(|known| *known == id), ids.as_slice()) {
            (Some(exact), _) => exact.clone(),
            (None, []) => return Ok(Lookup::Missing),
            (None, [one]) => one.clone(),
            (None, _) => return Ok(Lookup::Ambiguous(ids)),
        };
        if let Some(json) = self.ask(|answer| Question::Get(one.clone(), answer)).await? {
            return Ok(Lookup::Found(json));
        }
        let json = self
            .in_store(move |store| store.map_or(Ok(None), |store| store.get(&one)))
            .await?;
        Ok(json.map_or(Lookup::Missing, Lookup::Found))
    }

    /// Reads the store on a thread of its own, so that a slow disk does not hold up the loop.
    async fn in_store<T: Send + 'static>(
        &self,
        read: impl FnOnce(Option<&Store>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Unanswered> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || read(store.as_deref()))
            .await
            .map_err(|error| Unanswered::Store(error.to_string()))?
            .map_err(|error| Unanswered::Store(error.to_string()))
    }
}
