//! The room of names: who is asked for the names of workloads, one task per origin, each optional, none able to hold up
//! the recording.
//!
//! May not enter: reports, the settings as a whole (see [`Options`]), and errors that would end the agent: an origin that
//! fails is a [`State`].
//!
//! What they tell comes to the agent's loop as [`News`], and from there to the tracker as events
//! ([`EventKind::Described`]), so that a recording has the names too.

pub mod bounded;
pub mod docker;
mod errands;
pub mod kubernetes;
mod options;
mod signals;
pub mod systemd;

use std::{collections::BTreeMap, os::unix::fs::FileTypeExt as _, path::Path, time::Duration};

use drainwatch_core::{
    description::{Description, Origin, Subject},
    event::EventKind,
};
use serde::Serialize;
use tokio::sync::mpsc;

pub use options::{Options, Socket, Use};
pub use signals::signal;

/// News that may wait for the loop; beyond, the origin waits.
const NEWS: usize = 1024;

/// How long an origin may take to answer the doctor.
const PROBE_WITHIN: Duration = Duration::from_secs(5);

/// Starts a task for each origin that is configured and found here. Their news are for the agent's loop
/// (`agent::Options::names`); `None` where there is nobody to ask. `owners` is where the Kubernetes one notes
/// what Events need to know.
pub fn start(options: &Options, owners: &kubernetes::Owners) -> Option<mpsc::Receiver<News>> {
    let kubernetes = kubernetes::Options::find(options);
    let docker = docker::Options::find(Origin::Docker, &options.docker);
    let podman = docker::Options::find(Origin::Podman, &options.podman);
    let systemd = systemd::Options::find(&options.systemd);
    let expected = [
        kubernetes.as_ref().map(|_| (Origin::Kubernetes, true)),
        docker
            .as_ref()
            .map(|options| (Origin::Docker, options.expected())),
        podman
            .as_ref()
            .map(|options| (Origin::Podman, options.expected())),
        systemd
            .as_ref()
            .map(|options| (Origin::Systemd, options.expected())),
    ];
    let origins: Vec<_> = expected.into_iter().flatten().collect();
    if origins.is_empty() {
        return None;
    }
    let (tellers, news) = Teller::channel_of(&origins);
    for teller in tellers {
        match teller.origin {
            Origin::Kubernetes => {
                if let Some(options) = kubernetes.clone() {
                    tokio::spawn(kubernetes::tell(options, teller, owners.clone()));
                }
            }
            Origin::Docker => {
                if let Some(options) = docker.clone() {
                    tokio::spawn(docker::tell(options, teller));
                }
            }
            Origin::Podman => {
                if let Some(options) = podman.clone() {
                    tokio::spawn(docker::tell(options, teller));
                }
            }
            Origin::Systemd => {
                if let Some(options) = systemd.clone() {
                    tokio::spawn(systemd::tell(options, teller));
                }
            }
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
pub async fn probe(options: &Options) -> Vec<Probed> {
    let (docker, podman) = (Origin::Docker, Origin::Podman);
    // One after the other: whoever is asked at all answers in milliseconds.
    vec![
        within(Origin::Kubernetes, kubernetes::probe(options)).await,
        within(docker, docker::probe(docker, &options.docker)).await,
        within(podman, docker::probe(podman, &options.podman)).await,
        within(Origin::Systemd, systemd::probe(&options.systemd)).await,
    ]
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
                "no answer within {} s; workloads are named by their cgroups until there is one",
                PROBE_WITHIN.as_secs()
            ),
        })
}

/// Name of this host, as reports spell it: `$NODE_NAME` where a pod is given it (a pod's host name is its own).
pub fn node() -> String {
    if let Ok(name) = std::env::var("NODE_NAME")
        && !name.is_empty()
    {
        return name;
    }
    nix::unistd::gethostname().map_or_else(|_| "unknown".into(), |name| name.to_string_lossy().into_owned())
}

fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
}

/// What is to come; never, once it came.
async fn ready<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
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
                tracing::warn!(origin = origin.as_str(), why, "workload names are unavailable");
            }
        } else if *known != state {
            tracing::info!(origin = origin.as_str(), "workload names are available again");
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
        let origins: Vec<_> = origins.iter().map(|&origin| (origin, true)).collect();
        Self::channel_of(&origins)
    }

    /// A channel for these origins; of those that are `true` names are to be expected, of the others only
    /// when they say so ([`Teller::expected`]).
    pub fn channel_of(origins: &[(Origin, bool)]) -> (Vec<Self>, mpsc::Receiver<News>) {
        let (news, told) = mpsc::channel(NEWS);
        let tellers = origins.iter().map(|&(origin, expected)| {
            let teller = Self {
                origin,
                news: news.clone(),
            };
            if expected {
                // There is room: nothing else was sent yet.
                let _ = teller
                    .news
                    .try_send(News::Event(EventKind::NamesExpected { origin }));
            }
            teller
        });
        (tellers.collect(), told)
    }

    /// From now on names are to be expected: the origin has appeared.
    pub async fn expected(&self) {
        let origin = self.origin;
        self.tell(News::Event(EventKind::NamesExpected { origin })).await;
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
