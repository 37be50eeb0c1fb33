//! What the web server, the service manager and the demo ask the loop: a bounded channel, and a second for the answer.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use drainwatch_core::{report::Revision, rollout::RolledOut};
use tokio::sync::{mpsc, oneshot, watch};

use crate::outlets::{
    listing::{Filter, Matches},
    store::{Store, StoreError},
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
    /// The exposition of all metrics.
    Metrics(oneshot::Sender<String>),
    /// Which revision runs of each workload, as told last.
    Running(oneshot::Sender<BTreeMap<RolledOut, Revision>>),
    /// What this filter asks for of the reports in memory, and the ids of all of those.
    List(Filter, oneshot::Sender<(Matches, HashSet<String>)>),
    /// Ids in memory that begin so, at most [`IDS_NAMED`].
    Ids(String, oneshot::Sender<Vec<String>>),
    /// The report in memory with this id, as JSON.
    Get(String, oneshot::Sender<Option<Arc<str>>>),
}

/// A handle to ask with, and what the loop has of it: the questions, and whom it tells that a report changed.
pub fn channel(store: Option<Arc<Store>>) -> (Handle, mpsc::Receiver<Question>, watch::Sender<u64>) {
    let (sender, questions) = mpsc::channel(QUESTIONS);
    let (changes, told) = watch::channel(0);
    let handle = Handle {
        questions: sender,
        store,
        changes: told,
    };
    (handle, questions, changes)
}

/// Asks the loop, and the store behind it.
#[derive(Debug, Clone)]
pub struct Handle {
    questions: mpsc::Sender<Question>,
    store: Option<Arc<Store>>,
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

    /// The exposition of all metrics.
    pub async fn metrics(&self) -> Result<String, Stuck> {
        self.ask(Question::Metrics).await
    }

    /// Which revision runs of each workload, as far as it was told.
    pub async fn running(&self) -> Result<BTreeMap<RolledOut, Revision>, Stuck> {
        self.ask(Question::Running).await
    }

    /// Reports: under way first, then newest first.
    pub async fn list(&self, filter: Filter) -> Result<Matches, Unanswered> {
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
        let Some(store) = self.store.clone() else {
            return read(None).map_err(|error| Unanswered::Store(error.to_string()));
        };
        tokio::task::spawn_blocking(move || read(Some(&store)))
            .await
            .map_err(|error| Unanswered::Store(error.to_string()))?
            .map_err(|error| Unanswered::Store(error.to_string()))
    }
}
