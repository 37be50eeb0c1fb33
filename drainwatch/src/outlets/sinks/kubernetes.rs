//! Reports as Kubernetes Events on what controls the pod, so that `kubectl describe` shows them: one for each
//! rollout, which is updated with every further shutdown.
//!
//! `kubectl describe` finds Events by the uid of the object. A pod names its `ReplicaSet` or Job with uid, not the
//! Deployment or `CronJob` behind it: those two are looked up, once each. Where that is not allowed, the Event
//! is the pod's. Events are of core/v1: those of events.k8s.io never change their note.

mod series;

use std::time::Duration;

use drainwatch_core::report::Report;
use k8s_openapi::{
    api::{
        apps::v1::ReplicaSet,
        batch::v1::Job,
        core::v1::{Event, ObjectReference},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::time::Instant;

use self::series::{Key, Series, bounded, is_wanted};
use super::{Inbox, Sink};
use crate::names::kubernetes::{Connection, Options, Owned, Owners, controlling, of_owner};

/// Name of the sink.
const NAME: &str = "kubernetes";
/// Reports that may wait.
const ROOM: usize = 256;
/// Events that may be written at once, and how often one more after that: as many as a node has pods.
const BURST: u32 = 250;
const ONE_PER: Duration = Duration::from_secs(1);
/// Least time between two updates of one Event: what comes meanwhile is written with the next.
const UPDATES: Duration = Duration::from_secs(1);
/// After so long without a further shutdown it is another rollout, and another Event.
const OVER: Duration = Duration::from_mins(10);
/// How often one Event is tried.
const TRIES: u32 = 4;
/// Most owners that were looked up and are remembered.
const MOST_OWNERS: usize = 256;
/// Most rollouts that are remembered.
const MOST_ROLLOUTS: usize = 256;
/// The permissions that it takes.
const NEEDS: &str = "create and patch events (a ClusterRole)";

/// The sink.
pub fn sink(options: Options, owners: Owners) -> Sink {
    Sink::start(NAME, ROOM, |inbox| work(options, owners, inbox)).only(is_wanted)
}

/// A rollout whose Event is, or is to be, written.
struct Rollout {
    key: Key,
    series: Series,
    /// Of the last shutdown.
    owned: Owned,
    target: ObjectReference,
    /// Name of its Event, once that was written.
    event: Option<String>,
    /// Id of the report that began it.
    id: String,
    first: Time,
    touched: Instant,
    /// When it may be written next.
    due: Instant,
    /// Reports that are not written yet.
    pending: u32,
}

async fn work(options: Options, owners: Owners, mut inbox: Inbox) {
    let mut writer = Writer {
        instance: bounded(&options.node, 128),
        options,
        connection: None,
        looked_up: vec![],
    };
    let mut rollouts: Vec<Rollout> = vec![];
    let mut limit = Limit::new(Instant::now());
    let mut failing: Option<String> = None;
    let mut open = true;
    while open || rollouts.iter().any(|rollout| rollout.pending > 0) {
        let next = rollouts
            .iter()
            .enumerate()
            .filter(|(_, rollout)| rollout.pending > 0)
            .min_by_key(|(_, rollout)| rollout.due);
        let next = next.map(|(at, rollout)| (at, if open { rollout.due } else { Instant::now() }));
        let due = async {
            match next {
                Some((at, due)) => {
                    tokio::time::sleep_until(due).await;
                    at
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            report = inbox.next(), if open => match report {
                Some(report) => writer.take(&report, &owners, &inbox, &mut rollouts).await,
                None => open = false,
            },
            at = due => {
                if open {
                    tokio::time::sleep(limit.wait(Instant::now())).await;
                }
                let Some(rollout) = rollouts.get_mut(at) else { continue };
                let written = writer.write(rollout, &inbox).await;
                let reports = std::mem::take(&mut rollout.pending);
                rollout.due = Instant::now() + UPDATES;
                for _ in 0..reports {
                    if written.is_ok() { inbox.sent() } else { inbox.failed() }
                }
                match written {
                    Ok(()) if failing.take().is_some() => tracing::info!("Kubernetes Events are written again"),
                    Ok(()) => {}
                    Err(why) => {
                        if failing.as_ref() != Some(&why) {
                            tracing::warn!(why, "a Kubernetes Event was not written");
                        }
                        failing = Some(why);
                    }
                }
            }
        }
    }
}

struct Writer {
    options: Options,
    instance: String,
    connection: Option<Connection>,
    /// Uid of what controls a pod, and what controls that.
    looked_up: Vec<(String, ObjectReference)>,
}

impl Writer {
    /// Adds a report to its rollout.
    async fn take(&mut self, report: &Report, owners: &Owners, inbox: &Inbox, rollouts: &mut Vec<Rollout>) {
        let workload = &report.workload;
        let owned = workload
            .namespace
            .as_deref()
            .zip(workload.pod.as_deref())
            .and_then(|(namespace, pod)| owners.of(namespace, pod, &workload.cgroup));
        let Some(mut owned) = owned else {
            inbox.passed();
            return;
        };
        if let Some(container) = &workload.container {
            owned.pod.field_path = Some(format!("spec.containers{{{container}}}"));
        }
        let target = self.target(&owned).await;
        let key = Key {
            owner: target.uid.clone().unwrap_or_default(),
            revision: (report.revision.id.clone(), report.revision.image.clone()),
        };
        let now = Instant::now();
        rollouts.retain(|rollout| rollout.pending > 0 || now < rollout.touched + OVER);
        let known = rollouts.iter().position(|rollout| rollout.key == key);
        let at = known.unwrap_or_else(|| {
            if rollouts.len() >= MOST_ROLLOUTS
                && let Some(written) = rollouts.iter().position(|rollout| rollout.pending == 0)
            {
                rollouts.remove(written);
            }
            rollouts.push(Rollout {
                key,
                series: Series::default(),
                owned: owned.clone(),
                target,
                event: None,
                id: report.id.clone(),
                first: Time(jiff::Timestamp::now()),
                touched: now,
                due: now,
                pending: 0,
            });
            rollouts.len() - 1
        });
        if let Some(rollout) = rollouts.get_mut(at) {
            rollout.series.add(report);
            rollout.owned = owned;
            rollout.touched = now;
            rollout.pending += 1;
        }
    }

    async fn target(&mut self, owned: &Owned) -> ObjectReference {
        match self.connected().await {
            Ok(client) => target(&client, owned, &mut self.looked_up).await,
            Err(_) => owned.controller.clone().unwrap_or_else(|| owned.pod.clone()),
        }
    }

    async fn connected(&mut self) -> Result<Client, String> {
        if self.connection.is_none() {
            self.connection = Some(self.options.connect().await?);
        }
        let connection = self.connection.as_ref().ok_or("no client")?;
        Ok(connection.client.clone())
    }

    /// Writes a rollout's Event as it stands: a new one, or over the one that it has.
    async fn write(&mut self, rollout: &mut Rollout, inbox: &Inbox) -> Result<(), String> {
        let mut tries = 0;
        loop {
            let client = self.connected().await?;
            let Err(error) = self.put(client, rollout).await else {
                return Ok(());
            };
            let Some(connection) = &self.connection else {
                return Err("no client".into());
            };
            let why = connection.sentence(&error, NEEDS);
            let wait = connection
                .heard
                .retry_after()
                .max(Duration::from_secs(1 << tries));
            tries += 1;
            if let kube::Error::Api(status) = &error {
                if status.code == 404 && rollout.event.take().is_some() {
                    // It has expired.
                    continue;
                }
                if status.code == 401 {
                    // The token or the file may have been renewed.
                    self.connection = None;
                } else if status.code != 429 && status.code < 500 {
                    return Err(why);
                }
            }
            if tries >= TRIES || inbox.is_closing() {
                return Err(why);
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn put(&self, client: Client, rollout: &mut Rollout) -> Result<(), kube::Error> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let target = &rollout.target;
        let api: Api<Event> = Api::namespaced(client, &text(&target.namespace));
        let (reason, type_) = rollout.series.reason();
        let note = rollout.series.note();
        let now = Time(jiff::Timestamp::now());
        let related = (target.uid != rollout.owned.pod.uid).then(|| rollout.owned.pod.clone());
        if let Some(name) = &rollout.event {
            let change = json!({"message": note, "reason": reason, "type": type_, "count": rollout.series.count,
                "lastTimestamp": now, "related": related});
            api.patch(name, &PatchParams::default(), &Patch::Merge(change))
                .await?;
            return Ok(());
        }
        let name = format!("{}.{}", bounded_name(&text(&target.name)), rollout.id);
        let event = Event {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: target.namespace.clone(),
                ..ObjectMeta::default()
            },
            involved_object: target.clone(),
            related,
            reason: Some(reason.into()),
            type_: Some(type_.into()),
            message: Some(note),
            action: Some("Shutdown".into()),
            count: Some(rollout.series.count),
            first_timestamp: Some(rollout.first.clone()),
            last_timestamp: Some(now),
            source: Some(k8s_openapi::api::core::v1::EventSource {
                component: Some("drainwatch".into()),
                host: Some(self.instance.clone()),
            }),
            reporting_component: Some("drainwatch".into()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        };
        match api.create(&PostParams::default(), &event).await {
            // An attempt before whose answer was lost.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            created => drop(created?),
        }
        rollout.event = Some(name);
        Ok(())
    }
}

/// As much of an object's name as leaves room for a report's id.
fn bounded_name(name: &str) -> &str {
    let cut = &name[..name.floor_char_boundary(200)];
    cut.trim_end_matches(|c: char| !c.is_ascii_alphanumeric())
}

/// Whose Event it is: the controller's controller, the controller's, else the pod's.
async fn target(
    client: &Client,
    owned: &Owned,
    looked_up: &mut Vec<(String, ObjectReference)>,
) -> ObjectReference {
    let Some(controller) = &owned.controller else {
        return owned.pod.clone();
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (uid, name, namespace) = (
        text(&controller.uid),
        text(&controller.name),
        text(&controller.namespace),
    );
    if let Some((_, found)) = looked_up.iter().find(|(known, _)| *known == uid) {
        return found.clone();
    }
    let metadata = match (controller.api_version.as_deref(), controller.kind.as_deref()) {
        (Some("apps/v1"), Some("ReplicaSet")) => {
            let api: Api<ReplicaSet> = Api::namespaced(client.clone(), &namespace);
            api.get_metadata(&name).await.map(|object| object.metadata)
        }
        (Some("batch/v1"), Some("Job")) => {
            let api: Api<Job> = Api::namespaced(client.clone(), &namespace);
            api.get_metadata(&name).await.map(|object| object.metadata)
        }
        _ => return controller.clone(),
    };
    let found = match metadata {
        Ok(metadata) if metadata.uid.as_ref() == Some(&uid) => above(&metadata, controller, &namespace),
        Ok(_) => return owned.pod.clone(),
        Err(error) => {
            tracing::debug!(%error, kind = ?controller.kind, name, "the Event is attached to the pod: its owner could not be determined");
            return owned.pod.clone();
        }
    };
    if looked_up.len() >= MOST_OWNERS {
        looked_up.remove(0);
    }
    looked_up.push((uid, found.clone()));
    found
}

fn above(metadata: &ObjectMeta, controller: &ObjectReference, namespace: &str) -> ObjectReference {
    controlling(metadata)
        .and_then(|owner| of_owner(owner, namespace))
        .unwrap_or_else(|| controller.clone())
}

/// A token bucket.
struct Limit {
    tokens: u32,
    /// When the last token came.
    since: Instant,
}

impl Limit {
    fn new(now: Instant) -> Self {
        Self {
            tokens: BURST,
            since: now,
        }
    }

    /// How long to wait for a token, which is taken then.
    fn wait(&mut self, now: Instant) -> Duration {
        while self.tokens < BURST && self.since + ONE_PER <= now {
            self.since += ONE_PER;
            self.tokens += 1;
        }
        if self.tokens == BURST {
            self.since = now;
        }
        if self.tokens > 0 {
            self.tokens -= 1;
            return Duration::ZERO;
        }
        self.since += ONE_PER;
        self.since.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn given_a_burst_when_limited_then_250_go_at_once_and_one_every_second() {
        let begun = Instant::now();
        let mut limit = Limit::new(begun);
        let mut at = vec![];
        for _ in 0..253 {
            tokio::time::sleep(limit.wait(Instant::now())).await;
            at.push(begun.elapsed().as_secs());
        }
        assert_eq!(at[249..], [0, 1, 2, 3]);
        // A long silence fills it again, and no more than that.
        tokio::time::sleep(Duration::from_hours(1)).await;
        let free = (0..300).filter(|_| limit.wait(Instant::now()).is_zero()).count();
        assert_eq!(free, 250);
    }
}
