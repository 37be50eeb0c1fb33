//! Reports as Kubernetes Events on what controls the pod, so that `kubectl describe` shows them.
//!
//! `kubectl describe` finds Events by the uid of the object. A pod names its `ReplicaSet` or Job with uid, not the
//! Deployment or `CronJob` behind it: those two are looked up, once each. Where that is not allowed, the Event
//! is the pod's.

use std::{fmt::Write as _, time::Duration};

use drainwatch_core::report::{Report, Verdict};
use k8s_openapi::{
    api::{apps::v1::ReplicaSet, batch::v1::Job, core::v1::ObjectReference},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::time::Instant;

use super::{Inbox, Sink};
use crate::{
    names::kubernetes::{Connection, Options, Owned, Owners, controlling, of_owner},
    outlets::brief,
};

/// Name of the sink.
const NAME: &str = "kubernetes";
/// Reports that may wait.
const ROOM: usize = 256;
/// Longest note that the API takes.
const LONGEST_NOTE: usize = 1024;
/// Events that may be written at once, and how often one more after that: a node that is drained stops
/// hundreds of pods.
const BURST: u32 = 25;
const ONE_PER: Duration = Duration::from_secs(5);
/// How often one Event is tried.
const TRIES: u32 = 4;
/// Most owners that were looked up and are remembered.
const MOST_OWNERS: usize = 256;
/// The permissions that it takes.
const NEEDS: &str = "create and patch events of events.k8s.io (a ClusterRole)";

/// The sink.
pub fn sink(options: Options, owners: Owners) -> Sink {
    Sink::start(NAME, ROOM, |inbox| work(options, owners, inbox))
}

async fn work(options: Options, owners: Owners, mut inbox: Inbox) {
    let mut writer = Writer {
        reporter: Reporter {
            controller: "drainwatch".into(),
            instance: Some(bounded(&options.node, 128)),
        },
        options,
        link: None,
        looked_up: vec![],
    };
    let mut limit = Limit::new(Instant::now());
    let mut failing: Option<String> = None;
    while let Some(report) = inbox.next().await {
        let Some((owned, event)) = wanted(&report, &owners) else {
            inbox.passed();
            continue;
        };
        if !inbox.is_closing() {
            tokio::time::sleep(limit.wait(Instant::now())).await;
        }
        match writer.write(&owned, event, &inbox).await {
            Ok(()) => {
                inbox.sent();
                if failing.take().is_some() {
                    tracing::info!("Kubernetes Events are written again");
                }
            }
            Err(why) => {
                inbox.failed();
                if failing.as_ref() != Some(&why) {
                    tracing::warn!(why, "a Kubernetes Event was not written");
                }
                failing = Some(why);
            }
        }
    }
}

/// The Event of a report, and whose it is; `None` where nothing went wrong, or the pod is not known.
fn wanted(report: &Report, owners: &Owners) -> Option<(Owned, Event)> {
    let wronged = matches!(report.verdict, Verdict::Severed | Verdict::Refused);
    if !wronged && report.findings.is_empty() {
        return None;
    }
    let workload = &report.workload;
    let (namespace, pod) = (workload.namespace.as_deref()?, workload.pod.as_deref()?);
    let mut owned = owners.of(namespace, pod, &workload.cgroup)?;
    if let Some(container) = &workload.container {
        owned.pod.field_path = Some(format!("spec.containers{{{container}}}"));
    }
    let (reason, type_) = match report.verdict {
        Verdict::Severed => ("RequestsSevered", EventType::Warning),
        Verdict::Refused => ("RequestsRefused", EventType::Warning),
        _ => ("ShutdownFlawed", EventType::Normal),
    };
    let event = Event {
        type_,
        reason: reason.into(),
        note: Some(note(report)),
        action: "Shutdown".into(),
        secondary: None,
    };
    Some((owned, event))
}

/// What happened and what to do, as long as there is room.
fn note(report: &Report) -> String {
    let workload = &report.workload;
    let mut text = String::new();
    if let (Some(pod), Some(container)) = (&workload.pod, &workload.container) {
        let _ = write!(text, "{pod} [{container}]: ");
    }
    let severed = report.requests.severed;
    let _ = write!(
        text,
        "{severed} {} severed",
        if severed == 1 { "request" } else { "requests" }
    );
    let causes: Vec<_> = report
        .severed
        .iter()
        .map(|(cause, count)| format!("{count} {cause}"))
        .collect();
    if !causes.is_empty() {
        let _ = write!(text, " ({})", causes.join(", "));
    }
    if let Some(turned_away) = brief::turned_away(report) {
        let _ = write!(text, ", {turned_away}");
    }
    let _ = write!(
        text,
        ", {} drained; trigger {}, shutdown {} on {}.",
        report.requests.drained, report.trigger, report.id, report.node
    );
    for finding in &report.findings {
        let _ = write!(
            text,
            " {}: {} {}",
            finding.code.as_str(),
            finding.summary,
            finding.advice
        );
    }
    bounded(&text, LONGEST_NOTE)
}

fn bounded(text: &str, most: usize) -> String {
    const CUT: &str = "…";
    if text.len() <= most {
        return text.into();
    }
    format!("{}{CUT}", &text[..text.floor_char_boundary(most - CUT.len())])
}

struct Writer {
    options: Options,
    reporter: Reporter,
    link: Option<(Connection, Recorder)>,
    /// Uid of what controls a pod, and what controls that.
    looked_up: Vec<(String, ObjectReference)>,
}

impl Writer {
    async fn write(&mut self, owned: &Owned, mut event: Event, inbox: &Inbox) -> Result<(), String> {
        let mut tries = 0;
        loop {
            if self.link.is_none() {
                let connection = self.options.connect().await?;
                let recorder = Recorder::new(connection.client.clone(), self.reporter.clone());
                self.link = Some((connection, recorder));
            }
            let Some((connection, recorder)) = &self.link else {
                return Err("no client".into());
            };
            let target = target(&connection.client, owned, &mut self.looked_up).await;
            event.secondary = (target.uid != owned.pod.uid).then(|| owned.pod.clone());
            let Err(error) = recorder.publish(&event, &target).await else {
                return Ok(());
            };
            let why = connection.sentence(&error, NEEDS);
            let wait = connection
                .heard
                .retry_after()
                .max(Duration::from_secs(1 << tries));
            tries += 1;
            if let kube::Error::Api(status) = &error {
                if status.code == 401 {
                    // The token or the file may have been renewed.
                    self.link = None;
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
    use drainwatch_core::{
        report::{Finding, FindingCode},
        testing::report,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn given_a_burst_when_limited_then_25_go_at_once_and_one_every_5_seconds() {
        let begun = Instant::now();
        let mut limit = Limit::new(begun);
        let mut at = vec![];
        for _ in 0..28 {
            tokio::time::sleep(limit.wait(Instant::now())).await;
            at.push(begun.elapsed().as_secs());
        }
        assert_eq!(at[24..], [0, 5, 10, 15]);
        // A long silence fills it again, and no more than that.
        tokio::time::sleep(Duration::from_hours(1)).await;
        let free = (0..40).filter(|_| limit.wait(Instant::now()).is_zero()).count();
        assert_eq!(free, 25);
    }

    #[test]
    fn given_a_report_with_long_findings_when_noted_then_it_fits_and_says_what_counts_first() {
        let mut severed = report("r1", "/svc", Verdict::Severed);
        severed.requests.severed = 3;
        severed.workload.pod = Some("web-1".into());
        severed.workload.container = Some("app".into());
        severed.findings = (0..50)
            .map(|_| Finding {
                code: FindingCode::NoHandler,
                summary: "é".repeat(100),
                advice: "é".repeat(100),
            })
            .collect();
        let note = note(&severed);
        assert!(note.starts_with("web-1 [app]: 3 requests severed"), "{note}");
        assert!(
            note.len() <= LONGEST_NOTE && note.ends_with('…'),
            "{}",
            note.len()
        );
    }
}
