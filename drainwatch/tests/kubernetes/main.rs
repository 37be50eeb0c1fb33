//! The watch of this node's pods, on the recorded traffic of a real Kubernetes, from a server that
//! misbehaves.

mod agent;
mod doctor;
mod events;
mod in_cluster;
mod reasons;
mod server;
mod watching;

use std::{collections::BTreeMap, time::Duration};

use drainwatch::names::{
    News, State, Teller,
    kubernetes::{self, Options, Owners},
};
use drainwatch_core::{
    description::{Description, Origin, Pod, Subject},
    event::EventKind,
};
use server::Server;
use tokio::{sync::mpsc, time::Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_drainwatch");
/// How long anything may take.
const DEADLINE: Duration = Duration::from_mins(1);

/// What the origin told.
struct Told {
    news: mpsc::Receiver<News>,
    /// Pods that are on the node.
    pods: BTreeMap<String, Pod>,
    /// What was told of pods, in its order.
    sequence: Vec<EventKind>,
    /// Whether it answers, each time that it said so.
    states: Vec<State>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Told {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Told {
    /// By the origin, of `node1` of this server.
    fn by(server: &Server) -> Self {
        Self::with(Options {
            kubeconfig: Some(server.kubeconfig()),
            node: "node1".into(),
            node_from: "the test",
        })
    }

    /// By the origin with these options.
    fn with(options: Options) -> Self {
        Self::noting(options, Owners::default())
    }

    /// And with what Events need noted there.
    fn noting(options: Options, owners: Owners) -> Self {
        let (mut tellers, news) = Teller::channel(&[Origin::Kubernetes]);
        let teller = tellers.remove(0);
        Self {
            news,
            pods: BTreeMap::new(),
            sequence: vec![],
            states: vec![],
            task: tokio::spawn(kubernetes::tell(options, teller, owners)),
        }
    }

    /// Until this holds.
    async fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !holds(self) {
            let news = tokio::time::timeout_at(deadline, self.news.recv())
                .await
                .unwrap_or_else(|_| {
                    panic!(
                        "{what} did not come; pods {:?}, states {:?}",
                        self.names(),
                        self.states
                    )
                });
            self.take(news.unwrap());
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::State(_, state) => {
                if self.states.last() != Some(&state) {
                    self.states.push(state);
                }
            }
            News::Event(kind) => {
                match &kind {
                    EventKind::Described(description) => {
                        let Description::Pod(pod) = &**description else {
                            panic!()
                        };
                        self.pods.insert(pod.uid.clone(), pod.clone());
                    }
                    EventKind::Undescribed(Subject::Pod(uid)) => {
                        assert!(self.pods.remove(uid).is_some(), "{uid} was not there");
                    }
                    EventKind::NamesExpected { .. } => return,
                    _ => panic!("{kind:?}"),
                }
                self.sequence.push(kind);
            }
        }
    }

    /// Names of the pods that are on the node.
    fn names(&self) -> Vec<&str> {
        self.pods.values().map(|pod| pod.name.as_str()).collect()
    }

    /// Why it does not answer, if that was the last that it said.
    fn down(&self) -> Option<&str> {
        match self.states.last()? {
            State::Down(why) => Some(why),
            State::Up => None,
        }
    }
}
