//! List and watch, whatever the server does; what changed is told.

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    time::Duration,
};

use drainwatch_core::description::{Description, Pod, Subject};
use futures_util::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Node, Pod as ApiPod};
use kube::{
    Api,
    runtime::{
        utils::Backoff,
        watcher::{self, DefaultBackoff, Event},
    },
};

use super::{
    client::{Connection, Options},
    guard::Unbelievable,
    inquiries::{Asked, Found, Inquiries, Question, ended_runs},
    owners::Owners,
    pod,
    whence::Whence,
};
use crate::{kernel::memory, names::Teller};

/// Pods of a page of the list. Servers that answer from their cache, as asked, send all at once.
const PAGE: u32 = 100;
/// Most pods that are told of; the largest nodes have some hundred.
const MOST_PODS: usize = 4096;
/// How often a node that does not exist is looked for again.
const LOOK_FOR_NODE: Duration = Duration::from_mins(1);
/// Most runs of a container that are known to have been ended for a failed probe.
const MOST_UNWELL: usize = 8;
/// The permission that the watch takes.
pub const NEEDS: &str = "list and watch pods (a ClusterRole)";

type Events = Pin<Box<dyn Stream<Item = Result<Event<ApiPod>, watcher::Error>> + Send>>;

/// Tells of the pods of this node, for as long as the agent runs.
pub async fn tell(options: Options, teller: Teller, owners: Owners) {
    let mut backoff = DefaultBackoff::default();
    let mut pods = Pods::new(teller, owners);
    loop {
        match options.connect().await {
            // Where the way to the server has changed, the file has: it is read again.
            Ok(connection) => follow(&options, &connection, &mut pods, &mut backoff).await,
            Err(why) => pods.teller.down(why).await,
        }
        pause(&mut backoff, Duration::ZERO).await;
    }
}

/// Lists and watches until the server does not know us any more.
async fn follow(options: &Options, connection: &Connection, pods: &mut Pods, backoff: &mut DefaultBackoff) {
    let mut events = begin(options, connection);
    let mut inquiries = Inquiries::new(connection.client.clone());
    // Answers to earlier questions do not come any more.
    pods.asked.retain(|_, why| matches!(why, Why::Answered));
    let mut node_missing = false;
    loop {
        let look_for_node = async {
            if node_missing {
                tokio::time::sleep(LOOK_FOR_NODE).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        let event = tokio::select! {
            event = events.next() => event,
            (uid, found) = inquiries.next() => {
                pods.found(&uid, &found).await;
                continue;
            }
            () = connection.heard.watching() => {
                backoff.reset();
                if !node_missing {
                    pods.teller.up().await;
                }
                continue;
            }
            () = look_for_node => {
                node_missing = is_missing(options, connection).await;
                if !node_missing {
                    pods.teller.up().await;
                }
                continue;
            }
        };
        match event {
            Some(Ok(event)) => {
                let listed = matches!(event, Event::InitDone);
                pods.take(event, &mut inquiries).await;
                if listed {
                    memory::give_back();
                    node_missing = pods.told.is_empty() && is_missing(options, connection).await;
                    if node_missing {
                        pods.teller.down(options.no_such_node()).await;
                    }
                } else if node_missing && !pods.told.is_empty() {
                    node_missing = false;
                    pods.teller.up().await;
                }
            }
            Some(Err(error)) => {
                pods.teller.down(sentence(connection, &error)).await;
                if is_unauthorized(&error) {
                    return;
                }
                let retry_after = connection.heard.retry_after();
                pause(backoff, retry_after).await;
                if is_lost(&error) {
                    events = begin(options, connection);
                }
            }
            // The watcher has no end of its own.
            None => events = begin(options, connection),
        }
    }
}

fn begin(options: &Options, connection: &Connection) -> Events {
    let config = watcher::Config::default()
        .fields(&format!("spec.nodeName={}", options.node))
        // From the server's cache, which finds pods by node; a list from etcd reads those of all nodes.
        .any_semantic()
        .page_size(PAGE);
    Box::pin(watcher::watcher(Api::all(connection.client.clone()), config))
}

async fn pause(backoff: &mut DefaultBackoff, at_least: Duration) {
    let pause = backoff.next().unwrap_or(LOOK_FOR_NODE);
    tokio::time::sleep(pause.max(at_least)).await;
}

/// Whether the server says that there is no such node. What it does not let us ask counts as there.
pub async fn is_missing(options: &Options, connection: &Connection) -> bool {
    let nodes: Api<Node> = Api::all(connection.client.clone());
    match nodes.get_metadata(&options.node).await {
        Err(kube::Error::Api(status)) => status.code == 404,
        _ => false,
    }
}

/// Why, and what to do.
fn sentence(connection: &Connection, error: &watcher::Error) -> String {
    use watcher::Error;
    match error {
        Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error) => {
            connection.sentence(error, NEEDS)
        }
        Error::WatchError(status) => connection.sentence(&kube::Error::Api(status.clone()), NEEDS),
        Error::NoResourceVersion => format!(
            "the API server {} sends pods without a resource version; they are listed again",
            connection.server
        ),
    }
}

fn is_unauthorized(error: &watcher::Error) -> bool {
    use watcher::Error;
    match error {
        Error::InitialListFailed(kube::Error::Api(status))
        | Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 401,
        _ => false,
    }
}

/// Whether something of the watch is missing now that only a new list can tell. Where merely the connection
/// broke, the watcher goes on from the last version that it saw.
fn is_lost(error: &watcher::Error) -> bool {
    use watcher::Error;
    let error = match error {
        // The watcher lists again by itself, but not after this as the status of an answer.
        Error::WatchStartFailed(kube::Error::Api(status)) => return status.code == 410,
        Error::WatchFailed(error) => error,
        Error::WatchStartFailed(_)
        | Error::InitialListFailed(_)
        | Error::WatchError(_)
        | Error::NoResourceVersion => return false,
    };
    match error {
        kube::Error::ReadEvents(error) if error.kind() == std::io::ErrorKind::InvalidData => true,
        kube::Error::ReadEvents(error) => {
            let mut source: Option<&dyn std::error::Error> = Some(error);
            while let Some(error) = source {
                if error.is::<Unbelievable>() {
                    return true;
                }
                let inner = error
                    .downcast_ref::<std::io::Error>()
                    .and_then(std::io::Error::get_ref)
                    .map(|inner| -> &dyn std::error::Error { inner });
                source = inner.or_else(|| error.source());
            }
            false
        }
        _ => true,
    }
}

/// How far the question has come why a pod is being deleted.
enum Why {
    /// It was asked.
    Asked,
    /// And the pod has left: this is what was known of it.
    Left(Box<Pod>),
    /// There is an answer, or none to be had.
    Answered,
}

/// The pods that were told of.
struct Pods {
    teller: Teller,
    owners: Owners,
    /// As it was when it last had to be read.
    whence: Whence,
    told: HashMap<String, Pod>,
    /// Pods that are being deleted, of which it was asked why.
    asked: HashMap<String, Why>,
    runs: Asked,
    /// Uids of the list that is coming in.
    listed: Option<HashSet<String>>,
    overflowed: bool,
}

impl Pods {
    fn new(teller: Teller, owners: Owners) -> Self {
        Self {
            teller,
            owners,
            whence: Whence::default(),
            told: HashMap::new(),
            asked: HashMap::new(),
            runs: Asked::default(),
            listed: None,
            overflowed: false,
        }
    }

    async fn take(&mut self, event: Event<ApiPod>, inquiries: &mut Inquiries) {
        match event {
            Event::Init => self.listed = Some(HashSet::new()),
            Event::InitApply(pod) => {
                let uid = self.apply(&pod, inquiries).await;
                if let (Some(listed), Some(uid)) = (&mut self.listed, uid) {
                    listed.insert(uid);
                }
            }
            Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let gone: Vec<_> = self
                    .told
                    .keys()
                    .filter(|uid| !listed.contains(*uid))
                    .cloned()
                    .collect();
                for uid in gone {
                    self.forget(uid).await;
                }
            }
            Event::Apply(pod) => drop(self.apply(&pod, inquiries).await),
            Event::Delete(pod) => {
                // Its last state may be the only one that says that it is being deleted.
                if let Some(uid) = self.apply(&pod, inquiries).await {
                    self.forget(uid).await;
                }
            }
        }
    }

    /// Tells of a pod where it is another than before; its uid, if it is told of.
    async fn apply(&mut self, api: &ApiPod, inquiries: &mut Inquiries) -> Option<String> {
        // The uid alone finds what is known of it.
        let uid = pod::describe(api, None)?.uid;
        let before = self.told.get(&uid);
        let mut pod = pod::describe(api, before)?;
        let mut whence = self.whence.of(api, &pod.hosts);
        if whence.is_empty() {
            // The bridge of a pods' network comes up with the first pod.
            self.whence = Whence::here();
            whence = self.whence.of(api, &pod.hosts);
        }
        pod.hosts.extend(whence);
        if before == Some(&pod) {
            return Some(uid);
        }
        let known = before.is_some();
        self.inquire(api, &pod, known, inquiries);
        if !known && self.told.len() >= MOST_PODS {
            if !self.overflowed {
                self.overflowed = true;
                let why =
                    format!("more than {MOST_PODS} pods on this node: the rest are named by their cgroups");
                self.teller.down(why).await;
            }
            return None;
        }
        self.owners.note(api);
        self.told.insert(uid.clone(), pod.clone());
        self.teller.described(Description::Pod(pod)).await;
        Some(uid)
    }

    /// Asks what the pod itself does not say: why it is being deleted, why a container of it was ended. Of runs that
    /// ended before the pod was known there is no report that goes on.
    fn inquire(&mut self, api: &ApiPod, pod: &Pod, known: bool, inquiries: &mut Inquiries) {
        if let Some(deleted_ms) = pod.deleted_ms {
            let new = pod.reason.is_none() && !self.asked.contains_key(&pod.uid);
            let question = Question::deleted(api, deleted_ms).filter(|_| new);
            if question.is_some_and(|question| inquiries.ask(pod.uid.clone(), question)) {
                self.asked.insert(pod.uid.clone(), Why::Asked);
            }
            return;
        }
        for run in ended_runs(api) {
            if self.runs.note(&pod.uid, &run.id) && known {
                inquiries.ask(pod.uid.clone(), Question::Ended(run));
            }
        }
    }

    /// What was found out of a pod, which may have left meanwhile.
    async fn found(&mut self, uid: &str, found: &Found) {
        let mut left = None;
        if let Found::Pod(_) = found {
            // It is not asked again while it is here.
            let before = self.asked.insert(uid.to_owned(), Why::Answered);
            if let Some(Why::Left(pod)) = before {
                self.asked.remove(uid);
                left = Some(*pod);
            }
        }
        let has_left = left.is_some();
        let Some(mut pod) = left.or_else(|| self.told.get(uid).cloned()) else {
            return;
        };
        match found {
            Found::Pod(Some(reason)) => pod.reason = Some(*reason),
            Found::Unwell { container, id } => {
                let Some(container) = pod.containers.iter_mut().find(|known| known.name == *container) else {
                    return;
                };
                container.unwell.insert(0, id.clone());
                container.unwell.truncate(MOST_UNWELL);
            }
            Found::Pod(None) | Found::Well => return,
        }
        if !has_left {
            self.told.insert(uid.to_owned(), pod.clone());
        }
        self.teller.described(Description::Pod(pod)).await;
        if has_left {
            self.teller.undescribed(Subject::Pod(uid.to_owned())).await;
        }
    }

    async fn forget(&mut self, uid: String) {
        let Some(pod) = self.told.remove(&uid) else {
            return;
        };
        self.runs.forget(&uid);
        match self.asked.get_mut(&uid) {
            Some(why @ Why::Asked) => *why = Why::Left(Box::new(pod)),
            _ => drop(self.asked.remove(&uid)),
        }
        self.teller.undescribed(Subject::Pod(uid)).await;
    }
}
