//! Asks what controls a pod why the pod is stopped, and whether the kubelet restarted a container for a failed
//! probe. Where the API may not be asked, nothing is claimed.

mod question;

use std::{collections::HashMap, sync::Arc, time::Duration};

use drainwatch_core::description::Reason;
use kube::Client;
use tokio::{sync::Semaphore, task::JoinSet};

pub use self::question::{Question, ended_runs};
use super::why::Answer;

/// Most questions under way; what is beyond is not asked.
const MOST: usize = 512;
/// Most of them that the server has at a time.
const AT_ONCE: usize = 4;
/// After which a question is asked again, from the last time.
const AGAIN: [Duration; 4] = [
    Duration::from_millis(700),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// What was found out of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Why it is being deleted.
    Pod(Option<Reason>),
    /// This run of a container was ended by the kubelet, for a failed probe.
    Unwell {
        /// Its name.
        container: String,
        /// Id of the run.
        id: String,
    },
    /// This run was not, as far as is known.
    Well,
}

/// Questions under way. Dropped, they end.
pub struct Inquiries {
    client: Client,
    at_once: Arc<Semaphore>,
    running: JoinSet<(String, Found)>,
}

impl Inquiries {
    /// None yet.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            running: JoinSet::new(),
        }
    }

    /// Asks this of the pod whose description has this uid. Says whether there was room.
    pub fn ask(&mut self, uid: String, question: Question) -> bool {
        if self.running.len() >= MOST {
            return false;
        }
        let (client, at_once) = (self.client.clone(), Arc::clone(&self.at_once));
        self.running.spawn(async move {
            let reason = settled(&question, &client, &at_once).await;
            (uid, question.found(reason))
        });
        true
    }

    /// The next answer; never, while nothing is asked. Loses nothing when dropped.
    pub async fn next(&mut self) -> (String, Found) {
        loop {
            match self.running.join_next().await {
                Some(Ok(found)) => return found,
                // It panicked, which its task has reported.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }
}

/// Asks until there is an answer, or none is to be expected.
async fn settled(question: &Question, client: &Client, at_once: &Semaphore) -> Option<Reason> {
    let mut pauses = AGAIN.into_iter();
    loop {
        let answer = {
            let _turn = at_once.acquire().await.ok()?;
            question.answer(client).await
        };
        match answer {
            Ok(Answer::Known(reason)) => return Some(reason),
            Ok(Answer::Nothing) => return None,
            Ok(Answer::Later) => {}
            Err(kube::Error::Api(status)) if status.code == 403 || status.code == 401 => {
                tracing::debug!(why = %status.message, "why a pod is stopped may not be asked");
                return None;
            }
            Err(error) => tracing::debug!(%error, "why a pod is stopped could not be asked"),
        }
        tokio::time::sleep(pauses.next()?).await;
    }
}

/// Runs that were asked about, by the pod's uid, so that each is asked about once.
#[derive(Debug, Default)]
pub struct Asked(HashMap<String, Vec<String>>);

/// Most runs of a pod that are remembered as asked about.
const RUNS: usize = 64;

impl Asked {
    /// Notes this run. Says whether it is new.
    pub fn note(&mut self, uid: &str, id: &str) -> bool {
        let known = self.0.entry(uid.to_owned()).or_default();
        if known.iter().any(|run| run == id) {
            return false;
        }
        if known.len() >= RUNS {
            known.remove(0);
        }
        known.push(id.to_owned());
        true
    }

    /// The pod is gone.
    pub fn forget(&mut self, uid: &str) {
        self.0.remove(uid);
    }
}
