//! Who is asked for the names of workloads: one task per origin, each optional, none able to hold up the
//! recording.
//!
//! What they tell comes to the agent's loop as [`News`], and from there to the tracker as events
//! ([`EventKind::Described`]), so that a recording has the names too.

pub mod kubernetes;

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use tokio::sync::mpsc;

use crate::{
    config::Settings,
    event::EventKind,
    workload::description::{Description, Origin, Subject},
};

/// News that may wait for the loop; beyond, the origin waits.
const NEWS: usize = 1024;

/// How long an origin may take to answer the doctor.
const PROBE_WITHIN: Duration = Duration::from_secs(5);

/// Starts a task for each origin that is configured and found here. Their news are for the agent's loop
/// (`agent::Options::names`); `None` where there is nobody to ask.
pub fn start(settings: &Settings) -> Option<mpsc::Receiver<News>> {
    let kubernetes = kubernetes::Options::find(settings);
    let mut origins = vec![];
    if kubernetes.is_some() {
        origins.push(Origin::Kubernetes);
    }
    if origins.is_empty() {
        return None;
    }
    let (tellers, news) = Teller::channel(&origins);
    for teller in tellers {
        match teller.origin {
            Origin::Kubernetes => {
                if let Some(options) = kubernetes.clone() {
                    tokio::spawn(kubernetes::tell(options, teller, kubernetes::Owners::default()));
                }
            }
            Origin::Docker | Origin::Podman | Origin::Systemd => {}
        }
    }
    Some(news)
}

/// What the doctor says of an origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Probed {
    /// Which one.
    pub origin: Origin,
    /// It was found here and may be asked.
    pub asked: bool,
    /// It answered, with what is needed.
    pub ok: bool,
    /// What it knows; or why not, what to do, and what is lost.
    pub says: String,
}

/// Asks each origin once, with a deadline.
pub async fn probe(settings: &Settings) -> Vec<Probed> {
    vec![within(Origin::Kubernetes, kubernetes::probe(settings)).await]
}

/// An answer, or that there was none in time.
async fn within(origin: Origin, probe: impl Future<Output = Probed>) -> Probed {
    tokio::time::timeout(PROBE_WITHIN, probe)
        .await
        .unwrap_or_else(|_| Probed {
            origin,
            asked: true,
            ok: false,
            says: format!(
                "no answer within {} s; workloads go by their cgroups until there is one",
                PROBE_WITHIN.as_secs()
            ),
        })
}

/// What an origin tells.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// For the tracker.
    Event(EventKind),
    /// About the origin itself.
    State(Origin, State),
}

/// How an origin is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It answers.
    Up,
    /// It does not: why, and what to do, in one line. It is asked again.
    Down(String),
}

/// How every origin that is asked is, and how often it failed.
#[derive(Debug, Clone, Default)]
pub struct States(BTreeMap<Origin, (State, u64)>);

impl States {
    /// Takes in a state; says so in the log when it is another than before.
    pub fn observe(&mut self, origin: Origin, state: State) {
        let (known, failures) = self.0.entry(origin).or_insert((State::Up, 0));
        if let State::Down(why) = &state {
            *failures += 1;
            if *known != state {
                tracing::warn!(origin = origin.as_str(), why, "names are not to be had");
            }
        } else if *known != state {
            tracing::info!(origin = origin.as_str(), "names are to be had again");
        }
        *known = state;
    }

    /// Origin, whether it answers, failures so far.
    pub fn iter(&self) -> impl Iterator<Item = (Origin, bool, u64)> {
        self.0
            .iter()
            .map(|(&origin, (state, failures))| (origin, *state == State::Up, *failures))
    }
}

/// Tells the loop.
#[derive(Debug, Clone)]
pub struct Teller {
    origin: Origin,
    news: mpsc::Sender<News>,
}

impl Teller {
    /// A channel for these origins, whose names the tracker is told to expect.
    pub fn channel(origins: &[Origin]) -> (Vec<Self>, mpsc::Receiver<News>) {
        let (news, told) = mpsc::channel(NEWS);
        let tellers = origins.iter().map(|&origin| {
            let teller = Self {
                origin,
                news: news.clone(),
            };
            // There is room: nothing else was sent yet.
            let _ = teller
                .news
                .try_send(News::Event(EventKind::NamesExpected { origin }));
            teller
        });
        (tellers.collect(), told)
    }

    /// A pod, container or unit is known, or changed.
    pub async fn described(&self, description: Description) {
        self.tell(News::Event(EventKind::Described(Box::new(description))))
            .await;
    }

    /// A pod, container or unit has left the node.
    pub async fn undescribed(&self, subject: Subject) {
        self.tell(News::Event(EventKind::Undescribed(subject))).await;
    }

    /// The origin answers.
    pub async fn up(&self) {
        self.tell(News::State(self.origin, State::Up)).await;
    }

    /// The origin does not answer: why, and what to do, in one line.
    pub async fn down(&self, why: impl Into<String>) {
        self.tell(News::State(self.origin, State::Down(why.into()))).await;
    }

    async fn tell(&self, news: News) {
        // The loop is gone only when the agent stops.
        let _ = self.news.send(news).await;
    }
}
