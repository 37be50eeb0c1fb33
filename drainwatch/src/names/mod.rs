//! Who is asked for the names of workloads: one task per origin, each optional, none able to hold up the
//! recording.
//!
//! What they tell comes to the agent's loop as [`News`], and from there to the tracker as events
//! ([`EventKind::Described`]), so that a recording has the names too.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use crate::{
    event::EventKind,
    workload::description::{Description, Origin, Subject},
};

/// News that may wait for the loop; beyond, the origin waits.
const NEWS: usize = 1024;

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
