//! Names of containers from Docker's socket, and from Podman's, which speaks the same API.
//!
//! Events come first, then a listing, so that nothing falls between: an event already carries name, image
//! and labels, even when `docker run --rm` has taken the container away before anybody could ask. Stop
//! signal and timeout come with an inspection. Only what changes a container's name or life is asked for:
//! while containers merely run, nothing comes.

mod api;
mod container;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bollard::{
    Docker,
    errors::Error,
    models::EventMessage,
    query_parameters::{EventsOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder},
};
use drainwatch_core::{
    description::{Container, Description, Origin, Subject},
    workload::text::shown_name,
};
use futures_util::StreamExt as _;

use self::api::PATIENCE;
pub use self::container::{of_event, of_inspection, of_summary};
use super::{
    Probed, Teller,
    errands::{Backoff, Errands},
    is_socket,
};
use crate::names::Socket;

/// Where Docker listens unless it is told otherwise.
pub const DOCKER_SOCKET: &str = "/var/run/docker.sock";
/// Where Podman's service listens when root runs it.
pub const PODMAN_SOCKET: &str = "/run/podman/podman.sock";

/// Most containers that are known at a time; beyond, new ones go by their id.
const MOST: usize = 8192;
/// How often a socket that is not there is looked for.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// How far back events are asked for, so that none between two connections is missed.
const OVERLAP: Duration = Duration::from_secs(2);

/// Events that change what is known. Podman has names of its own for two of them.
const ACTIONS: [&str; 9] = [
    "create", "start", "die", "died", "destroy", "remove", "rename", "restart", "update",
];
/// States in which a container has processes, or may have them at any moment. Both runtimes know these.
const STATES: [&str; 3] = ["created", "running", "paused"];

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Docker or Podman.
    pub origin: Origin,
    /// Its socket.
    pub socket: PathBuf,
    /// The user named the socket: that it is not there is worth telling.
    pub explicit: bool,
}

impl Options {
    /// Whom the settings name; `None` for `off`.
    pub fn find(origin: Origin, setting: &Socket) -> Option<Self> {
        let (socket, explicit) = match setting {
            Socket::Off => return None,
            Socket::At(path) => (path.clone(), true),
            Socket::Auto if origin == Origin::Podman => (PODMAN_SOCKET.into(), false),
            Socket::Auto => (DOCKER_SOCKET.into(), false),
        };
        // `podman-docker` puts a link to Podman's socket where Docker's would be: it is asked as Podman.
        let both = || {
            Some((
                fs::canonicalize(&socket).ok()?,
                fs::canonicalize(PODMAN_SOCKET).ok()?,
            ))
        };
        if !explicit && origin == Origin::Docker && both().is_some_and(|(docker, podman)| docker == podman) {
            return None;
        }
        Some(Self {
            origin,
            socket,
            explicit,
        })
    }

    /// Its names are to be expected: it was asked for by name, or its socket is there.
    pub fn expected(&self) -> bool {
        self.explicit || self.socket.exists()
    }

    fn title(&self) -> &'static str {
        if self.origin == Origin::Podman {
            "Podman"
        } else {
            "Docker"
        }
    }

    /// One line: what failed, why, what to do.
    fn explain(&self, error: &Error) -> String {
        let (title, socket) = (self.title(), self.socket.display());
        let flag = format!("--{}.socket", self.origin.as_str());
        let service = match self.origin {
            Origin::Podman => "podman.socket",
            _ => "docker",
        };
        match (error, io_kind(error)) {
            (_, Some(io::ErrorKind::NotFound)) => format!(
                "there is no {socket}: start {title} (systemctl start {service}), name its socket with {flag} PATH, or use {flag} off"
            ),
            (_, Some(io::ErrorKind::PermissionDenied)) => format!(
                "permission denied on {socket}: run the agent as root or in the group that owns the socket, or use {flag} off"
            ),
            (_, Some(io::ErrorKind::ConnectionRefused)) if !is_socket(&self.socket) => format!(
                "{socket} is not a socket (a container that mounts a missing path gets a directory): name {title}'s with {flag} PATH, or use {flag} off"
            ),
            (_, Some(io::ErrorKind::ConnectionRefused)) => format!(
                "nothing listens at {socket}: start {title} (systemctl start {service}), or use {flag} off"
            ),
            (Error::DockerResponseServerError { status_code, message }, _) => format!(
                "{title} at {socket} answered {status_code}: {}",
                shown_name(message)
            ),
            (Error::RequestTimeoutError, _) => format!(
                "{title} at {socket} did not answer within {} s; it will be asked again",
                PATIENCE.as_secs()
            ),
            _ => format!(
                "{title} at {socket}: {}; it will be asked again",
                shown_name(&chain(error))
            ),
        }
    }
}

fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut kinds = causes.filter_map(|error| match error.downcast_ref::<Error>() {
        Some(Error::IOError { err }) => Some(err.kind()),
        _ => error.downcast_ref::<io::Error>().map(io::Error::kind),
    });
    kinds.next()
}

/// An error with its causes: those of HTTP say little by themselves.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Asks once, for the doctor: the containers that run.
pub async fn probe(origin: Origin, setting: &Socket) -> Probed {
    let probed = |asked, answer: Result<String, String>| Probed {
        origin,
        asked,
        ok: answer.is_ok(),
        says: answer.unwrap_or_else(|why| why),
    };
    let Some(options) = Options::find(origin, setting) else {
        let off = *setting == Socket::Off;
        return probed(false, Err(if off { "off" } else { "asked as podman" }.into()));
    };
    if !options.expected() {
        let socket = options.socket.display();
        return probed(false, Err(format!("no {socket}")));
    }
    let answer = async {
        let client = api::asking(&options.socket)?.negotiate_version().await?;
        list(&client).await
    };
    let answer = answer.await;
    let known = |all: Vec<_>| format!("{} containers, at {}", all.len(), options.socket.display());
    probed(
        true,
        answer.map(known).map_err(|error| {
            let why = options.explain(&error);
            format!("{why}; containers are named by their ids")
        }),
    )
}

/// Tells of containers for as long as the agent runs.
pub async fn tell(options: Options, teller: Teller) {
    let mut follower = Follower {
        options,
        teller,
        known: BTreeMap::new(),
        told_full: false,
    };
    let mut backoff = Backoff::default();
    let mut found = follower.options.expected();
    loop {
        // It was never there, and nobody said that it would be: nothing to tell.
        while !found {
            tracing::debug!(socket = %follower.options.socket.display(), "no such container runtime here");
            tokio::time::sleep(LOOK_AGAIN).await;
            found = follower.options.expected();
            if found {
                follower.teller.expected().await;
            }
        }
        let begun = Instant::now();
        let error = follower.follow().await;
        follower.teller.down(follower.options.explain(&error)).await;
        tokio::time::sleep(backoff.after(begun.elapsed())).await;
    }
}

/// A container, and whether an inspection has said everything about it.
#[derive(Debug)]
struct Known {
    container: Container,
    inspected: bool,
}

#[derive(Debug)]
struct Follower {
    options: Options,
    teller: Teller,
    known: BTreeMap<String, Known>,
    told_full: bool,
}

/// What an inspection found: id, and the container; `None` where it is gone.
type Inspected = (String, Result<Option<Container>, Error>);

impl Follower {
    /// One connection, until it breaks.
    async fn follow(&mut self) -> Error {
        match self.connected().await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn connected(&mut self) -> Result<std::convert::Infallible, Error> {
        let origin = self.options.origin;
        let socket = self.options.socket.clone();
        let client = api::asking(&socket)?.negotiate_version().await?;
        let (listening, allowance) = api::listening(&socket)?;
        let listening = listening.negotiate_version().await?;
        allowance.renew();
        // With what happened since a moment ago, so that it does not matter which request is served first.
        let since = SystemTime::now()
            .checked_sub(OVERLAP)
            .and_then(|since| since.duration_since(UNIX_EPOCH).ok())
            .unwrap_or_default();
        let filters = HashMap::from([
            ("type".to_owned(), vec!["container".to_owned()]),
            ("event".to_owned(), ACTIONS.map(str::to_owned).to_vec()),
        ]);
        let options = EventsOptionsBuilder::new()
            .since(&since.as_secs().to_string())
            .filters(&filters)
            .build();
        let mut events = std::pin::pin!(listening.events(Some(options)));
        let mut listed = Some(Box::pin(list(&client)));
        let mut errands = Errands::<Inspected>::new();
        let inspect = |id: String| {
            let client = client.clone();
            async move { (id.clone(), inspect(&client, origin, &id).await) }
        };
        loop {
            tokio::select! {
                event = events.next() => {
                    let Some(event) = event else {
                        return Err(api::closed());
                    };
                    let event = event.map_err(|error| allowance.explain(error))?;
                    allowance.renew();
                    self.event(&event, &mut errands).await;
                }
                answer = super::ready(&mut listed) => {
                    listed = None;
                    let listed: Vec<Container> = answer?
                        .iter()
                        .filter_map(|summary| of_summary(origin, summary))
                        .collect();
                    self.listed(listed, &mut errands).await;
                    self.teller.up().await;
                }
                (id, answer) = errands.next(inspect) => self.inspected(id, answer).await,
            }
        }
    }

    async fn event(&mut self, event: &EventMessage, errands: &mut Errands<Inspected>) {
        let (Some(action), Some(actor)) = (event.action.as_deref(), event.actor.as_ref()) else {
            return;
        };
        let Some(id) = actor.id.clone().filter(|id| container::is_id(id)) else {
            return;
        };
        match action {
            "destroy" | "remove" => self.gone(&id).await,
            "create" | "start" | "die" | "died" | "rename" | "update" | "restart" => {
                let known = self.known.get(&id);
                let inspected = known.is_some_and(|known| known.inspected);
                let container = of_event(self.options.origin, actor, known.map(|k| &k.container));
                if let Some(mut container) = container {
                    // Podman's is of restart policies, after an end that nobody asked for.
                    if action == "restart" && self.options.origin == Origin::Docker {
                        container.restarted_ms = event.time_nano.map(|ns| ns / 1_000_000);
                    }
                    self.described(container, inspected).await;
                }
                // Where an event does not say the new name, an inspection does.
                if !inspected || action == "rename" {
                    errands.push(id);
                }
            }
            _ => {}
        }
    }

    /// What lives now. What is known and not listed has stopped, or was removed.
    async fn listed(&mut self, listed: Vec<Container>, errands: &mut Errands<Inspected>) {
        for container in listed {
            let id = container.id.clone();
            if !self.known.get(&id).is_some_and(|known| known.inspected) {
                self.described(container, false).await;
            }
        }
        // Renamed or removed while nobody was connected: their inspections will tell.
        for id in self.known.keys() {
            errands.push(id.clone());
        }
    }

    async fn inspected(&mut self, id: String, answer: Result<Option<Container>, Error>) {
        match answer {
            // It was removed meanwhile: an event said so, and this is the answer to an older question.
            Ok(Some(_)) if !self.known.contains_key(&id) => {}
            Ok(Some(container)) => self.described(container, true).await,
            Ok(None) => self.gone(&id).await,
            // Its name is known from the event or the listing; the stop settings are what is missing.
            Err(error) => tracing::debug!(id, %error, "a container could not be inspected"),
        }
    }

    async fn described(&mut self, container: Container, inspected: bool) {
        let id = container.id.clone();
        let known = self.known.get_mut(&id);
        if let Some(known) = known {
            known.inspected |= inspected;
            if known.container == container {
                return;
            }
            known.container = container.clone();
        } else if self.known.len() < MOST {
            let container = container.clone();
            self.known.insert(id, Known { container, inspected });
        } else {
            if !std::mem::replace(&mut self.told_full, true) {
                let runtime = self.options.title();
                tracing::warn!(
                    runtime,
                    most = MOST,
                    "too many containers: further ones are named by their ids"
                );
            }
            return;
        }
        self.teller.described(Description::Container(container)).await;
    }

    async fn gone(&mut self, id: &str) {
        if self.known.remove(id).is_some() {
            self.teller.undescribed(Subject::Container(id.to_owned())).await;
        }
    }
}

async fn list(client: &Docker) -> Result<Vec<bollard::models::ContainerSummary>, Error> {
    let filters = HashMap::from([("status".to_owned(), STATES.map(str::to_owned).to_vec())]);
    let limit = i32::try_from(MOST).unwrap_or(i32::MAX);
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .limit(limit)
        .filters(&filters)
        .build();
    in_time(client.list_containers(Some(options))).await
}

/// One container; `None` where there is no such one (any more).
async fn inspect(client: &Docker, origin: Origin, id: &str) -> Result<Option<Container>, Error> {
    match in_time(client.inspect_container(id, None::<InspectContainerOptions>)).await {
        Ok(inspection) => Ok(of_inspection(origin, &inspection)),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The whole answer in time; the client itself only waits so long for its beginning.
async fn in_time<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(PATIENCE, answer)
        .await
        .unwrap_or(Err(Error::RequestTimeoutError))
}
