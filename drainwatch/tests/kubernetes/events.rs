//! Reports become Events on what `kubectl describe` looks at.

use std::{sync::Arc, time::Duration};

use drainwatch::{
    names::kubernetes::{Options, Owners},
    outlets::sinks::{Count, Sink, kubernetes},
};
use drainwatch_core::report::Report;
use serde_json::{Value, json};

use super::{
    DEADLINE, Told,
    server::{Fault, Server},
};

/// A report on a container of this pod, which severed so many requests and has so many findings.
fn report(pod: &str, severed: u64, findings: usize) -> Arc<Report> {
    of_revision("8c7f6f865", pod, severed, findings)
}

fn of_revision(revision: &str, pod: &str, severed: u64, findings: usize) -> Arc<Report> {
    let finding = json!({"code": "no_handler", "summary": "Died at once.", "advice": "Handle SIGTERM."});
    let report = json!({
        "id": "01h", "node": "node1",
        "workload": {"kind": "kubernetes", "namespace": "shop", "name": "web", "pod": pod, "container": "web",
            "container_id": null, "cgroup": "/kubepods/besteffort/podx/y", "controller": "Deployment"},
        "trigger": "stop", "reason": "rollout", "revision": {"id": revision, "image": "web:1"}, "verdict": if severed > 0 { "severed" } else { "clean" },
        "started_at": "2026-01-01T00:00:00.000Z", "ended_at": "2026-01-01T00:00:01.000Z", "exit": null, "signals": [],
        "requests": {"drained": 1, "severed": severed, "aborted": 0, "unknown": 0},
        "severed": if severed > 0 { json!({"unanswered": severed}) } else { json!({}) },
        "severed_requests": [], "severed_requests_omitted": 0, "timeline": [], "drain_ms": null,
        "endpoint_lag_ms": null, "findings": vec![finding; findings], "events_lost": 0});
    Arc::new(serde_json::from_value(report).unwrap())
}

struct Scene {
    server: Server,
    sink: Sink,
    _told: Told,
}

impl Scene {
    /// The recorded cluster, its pods known, and the sink.
    async fn set() -> Self {
        let server = Server::recorded().await;
        let options = Options {
            kubeconfig: Some(server.kubeconfig()),
            node: "node1".into(),
            node_from: "the test",
        };
        let owners = Owners::kept();
        let mut told = Told::noting(options.clone(), owners.clone());
        told.until("the list", |told| told.pods.len() == 7).await;
        // What goes wrong next is to meet the sink, not the watch.
        let begun = tokio::time::Instant::now();
        while server.watches_open() == 0 {
            assert!(begun.elapsed() < DEADLINE);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Self {
            sink: kubernetes::sink(options, owners),
            server,
            _told: told,
        }
    }

    /// What controls the pods of the Deployment, and what controls that.
    fn with_deployment(self) -> Self {
        let list: Value = serde_json::from_str(super::server::LIST).unwrap();
        let owner = &list["items"][4]["metadata"]["ownerReferences"][0];
        assert_eq!(owner["kind"], "ReplicaSet");
        let name = owner["name"].as_str().unwrap();
        let path = format!("/apis/apps/v1/namespaces/shop/replicasets/{name}");
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "deployment-uid",
            "controller": true});
        let object = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {
            "name": name, "namespace": "shop", "uid": owner["uid"], "ownerReferences": [deployment]}});
        self.server.object(&path, object);
        self
    }

    async fn until(&self, sent: u64, failed: u64) {
        let begun = tokio::time::Instant::now();
        let expected = Count {
            sent,
            failed,
            dropped: 0,
        };
        while self.sink.count() != expected {
            assert!(begun.elapsed() < DEADLINE, "{:?}", self.sink.count());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

const POD: &str = "web-8c7f6f865-h96xp";

#[tokio::test]
async fn given_a_deployments_pod_when_requests_were_severed_then_the_event_is_the_deployments_by_its_uid() {
    let scene = Scene::set().await.with_deployment();
    scene.sink.give(&report(POD, 3, 1));
    scene.until(1, 0).await;
    let events = scene.server.events();
    let (request, event) = &events[0];
    assert_eq!(request, "POST /api/v1/namespaces/shop/events");
    assert_eq!(
        event["involvedObject"],
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web", "uid": "deployment-uid"})
    );
    assert_eq!(event["related"]["name"], POD);
    assert_eq!(event["related"]["fieldPath"], "spec.containers{web}");
    assert_eq!(
        (&event["type"], &event["reason"]),
        (&json!("Warning"), &json!("RequestsSevered"))
    );
    assert_eq!(event["reportingComponent"], "drainwatch");
    assert_eq!(event["reportingInstance"], "node1");
    let note = event["message"].as_str().unwrap();
    assert!(
        note.starts_with(&format!(
            "1 shutdown of revision 8c7f6f865 (rollout) on node1: 3 requests severed (3 unanswered), 1 drained; last {POD} [web]"
        )),
        "{note}"
    );
    assert!(
        note.contains("no_handler: Died at once. Handle SIGTERM."),
        "{note}"
    );
}

#[tokio::test]
async fn given_a_rollout_of_many_pods_when_written_then_it_is_one_event_that_counts_and_the_owner_is_looked_up_once()
 {
    let scene = Scene::set().await.with_deployment();
    let begun = tokio::time::Instant::now();
    let pods = [POD, "web-8c7f6f865-psmxm", "web-8c7f6f865-zsscw"];
    for pod in pods {
        scene.sink.give(&report(pod, 3, 1));
    }
    scene.until(3, 0).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    scene.sink.give(&report(POD, 1, 0));
    scene.until(4, 0).await;
    let events = scene.server.events();
    let (created, changed) = events.split_first().unwrap();
    assert!(created.0.starts_with("POST "), "{}", created.0);
    let name = created.1["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("web."), "{name}");
    // What comes within a second is written at once.
    assert!((1..=3).contains(&changed.len()), "{changed:#?}");
    let path = format!("PATCH /api/v1/namespaces/shop/events/{name}");
    assert!(
        changed.iter().all(|(request, _)| *request == path),
        "{changed:#?}"
    );
    let last = &changed.last().unwrap().1;
    assert_eq!(last["count"], 4);
    assert!(last["lastTimestamp"].is_string(), "{last:#}");
    let note = last["message"].as_str().unwrap();
    assert!(
        note.starts_with(
            "4 shutdowns of revision 8c7f6f865 (rollout) on node1: 10 requests severed (10 unanswered)"
        ),
        "{note}"
    );
    assert!(note.contains("no_handler (3 of 4): "), "{note}");
    let lookups = scene.server.requests();
    assert_eq!(
        lookups
            .iter()
            .filter(|line| line.contains("/replicasets/"))
            .count(),
        1
    );
}

#[tokio::test]
async fn given_another_revision_or_an_event_that_has_expired_when_written_then_it_is_another_event() {
    let scene = Scene::set().await.with_deployment();
    scene.sink.give(&report(POD, 1, 0));
    scene.until(1, 0).await;
    scene.sink.give(&of_revision("next", POD, 1, 0));
    scene.until(2, 0).await;
    let posted = |scene: &Scene| {
        let events = scene.server.events();
        events
            .iter()
            .filter(|(request, _)| request.starts_with("POST "))
            .count()
    };
    assert_eq!(posted(&scene), 2);
    scene.server.fault(Fault::Status(404, None));
    scene.sink.give(&of_revision("next", POD, 1, 0));
    scene.until(3, 0).await;
    assert_eq!(posted(&scene), 3);
}

#[tokio::test]
async fn given_an_owner_that_is_not_to_be_had_or_another_by_now_when_written_then_the_event_is_the_pods() {
    let scene = Scene::set().await;
    scene.sink.give(&report(POD, 1, 0));
    scene.until(1, 0).await;
    let list: Value = serde_json::from_str(super::server::LIST).unwrap();
    let pod = |event: &Value| {
        assert_eq!(
            (&event["involvedObject"]["kind"], &event["involvedObject"]["name"]),
            (&json!("Pod"), &json!(POD))
        );
        assert_eq!(
            event["involvedObject"]["uid"],
            list["items"][4]["metadata"]["uid"]
        );
        assert_eq!(event["related"], Value::Null);
    };
    pod(&scene.server.events()[0].1);
    // A `ReplicaSet` of the same name, made anew.
    let name = list["items"][4]["metadata"]["ownerReferences"][0]["name"]
        .as_str()
        .unwrap();
    let other = json!({"metadata": {"name": name, "namespace": "shop", "uid": "another"}});
    scene.server.object(
        &format!("/apis/apps/v1/namespaces/shop/replicasets/{name}"),
        other,
    );
    scene.sink.give(&of_revision("next", POD, 1, 0));
    scene.until(2, 0).await;
    pod(&scene.server.events()[1].1);
}

#[tokio::test]
async fn given_pods_of_other_controllers_when_written_then_the_event_is_that_controllers() {
    let scene = Scene::set().await;
    scene.sink.give(&report("db-0", 1, 0));
    scene.sink.give(&report("agent-wjkrt", 0, 1));
    scene.until(2, 0).await;
    let events = scene.server.events();
    let short = |event: &Value| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (
            text(&event["involvedObject"]["kind"]),
            text(&event["reason"]),
            text(&event["type"]),
        )
    };
    let expected = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    assert_eq!(
        short(&events[0].1),
        expected("StatefulSet", "RequestsSevered", "Warning")
    );
    assert_eq!(
        short(&events[1].1),
        expected("DaemonSet", "ShutdownFlawed", "Normal")
    );
}

#[tokio::test]
async fn given_a_clean_shutdown_or_a_pod_that_nobody_knows_then_no_event_is_written_and_none_is_missing() {
    let scene = Scene::set().await;
    scene.sink.give(&report("db-0", 0, 0));
    scene.sink.give(&report("stranger", 3, 1));
    scene.sink.give(&report("db-0", 1, 0));
    scene.until(1, 0).await;
    assert_eq!(scene.server.events().len(), 1);
}

#[tokio::test]
async fn given_refusals_when_written_then_what_passes_is_tried_again_and_the_rest_is_counted() {
    let scene = Scene::set().await;
    // What passes: busy, broken, gone for a moment.
    scene.server.fault(Fault::Status(429, Some(1)));
    scene.server.fault(Fault::Status(503, None));
    scene.server.fault(Fault::Raw(vec![]));
    scene.sink.give(&report("db-0", 1, 0));
    scene.until(1, 0).await;
    // What does not: permission, a namespace that is gone.
    for (n, code, pod) in [(1, 403, "db-0"), (2, 422, "db-0"), (3, 404, "agent-wjkrt")] {
        scene.server.fault(Fault::Status(code, None));
        scene.sink.give(&report(pod, 1, 0));
        scene.until(1, n).await;
    }
    // What passes too late.
    for _ in 0..4 {
        scene.server.fault(Fault::Status(500, None));
    }
    scene.sink.give(&report("db-0", 1, 0));
    scene.until(1, 4).await;
    scene.sink.give(&report("agent-wjkrt", 1, 0));
    scene.until(2, 4).await;
    assert_eq!(scene.server.faults_left(), 0);
}
