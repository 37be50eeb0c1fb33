//! Why a pod is stopped: what controls it is asked, and nothing is claimed that it does not say.

use std::time::Duration;

use drainwatch_core::{
    description::{Description, Pod},
    event::EventKind,
    report::Reason,
};
use serde_json::{Value, json};

use super::{Told, server::Server};

const SET: &str = "/apis/apps/v1/namespaces/shop/replicasets/web-5d4f";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/shop/deployments/web";
const PODS: &str = "/api/v1/namespaces/shop/pods";
const EVENTS: &str = "/api/v1/namespaces/shop/events";
const RUN: &str = "aaaa";

fn owner(kind: &str, name: &str, uid: &str) -> Value {
    json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true}])
}

/// A pod of the Deployment `web` that runs.
fn web() -> Value {
    json!({"metadata": {"name": "web-5d4f-x", "namespace": "shop", "uid": "pod", "labels": {"pod-template-hash": "5d4f"},
            "ownerReferences": owner("ReplicaSet", "web-5d4f", "set")},
        "spec": {"nodeName": "node1", "containers": [{"name": "app", "image": "web:1",
            "livenessProbe": {"httpGet": {"path": "/live", "port": 80}}}]},
        "status": {"phase": "Running", "containerStatuses": [{"name": "app", "image": "", "imageID": "", "ready": true,
            "restartCount": 0, "containerID": format!("containerd://{RUN}"), "state": {"running": {}}}]}})
}

/// It is being deleted, since the second 70.
fn deleted(mut pod: Value) -> Value {
    pod["metadata"]["deletionTimestamp"] = "1970-01-01T00:01:40Z".into();
    pod["metadata"]["deletionGracePeriodSeconds"] = 30.into();
    pod
}

fn template(image: &str, hash: Option<&str>) -> Value {
    json!({"metadata": {"labels": {"app": "web", "pod-template-hash": hash}},
        "spec": {"containers": [{"name": "app", "image": image}]}})
}

fn set(replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web-5d4f", "namespace": "shop", "uid": "set",
            "generation": 3, "ownerReferences": owner("Deployment", "web", "deployment")},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"pod-template-hash": "5d4f"}},
            "template": template("web:1", Some("5d4f"))},
        "status": {"replicas": replicas, "observedGeneration": 3}})
}

fn deployment(image: &str) -> Value {
    let mut template = template(image, None);
    template["metadata"]["labels"]
        .as_object_mut()
        .unwrap()
        .remove("pod-template-hash");
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop", "uid": "deployment"},
        "spec": {"selector": {}, "template": template}})
}

/// Other pods of the `ReplicaSet`, created at these seconds.
fn others(created: &[u32]) -> Value {
    let items = created.iter().map(|second| {
        json!({"metadata": {"name": format!("web-5d4f-{second}"), "uid": format!("other-{second}"),
            "creationTimestamp": format!("1970-01-01T00:01:{second:02}Z"),
            "ownerReferences": owner("ReplicaSet", "web-5d4f", "set")}})
    });
    let items: Vec<_> = items.collect();
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {}, "items": items})
}

/// A server with the pod and what may be asked, and what it tells.
async fn told_of(objects: &[(&str, Value)]) -> (Server, Told) {
    let server = Server::start(&json!({"metadata": {"resourceVersion": "7"}, "items": [web()]})).await;
    for (path, object) in objects {
        server.object(path, object.clone());
    }
    let mut told = Told::by(&server);
    told.until("the pod", |told| told.pods.len() == 1).await;
    (server, told)
}

/// What was said last of the pod.
fn last(told: &Told) -> Option<&Pod> {
    told.sequence.iter().rev().find_map(|kind| match kind {
        EventKind::Described(description) => match &**description {
            Description::Pod(pod) => Some(pod),
            _ => None,
        },
        _ => None,
    })
}

fn reason(told: &Told) -> Option<Reason> {
    last(told)?.reason
}

#[tokio::test]
async fn given_a_deletion_when_its_controllers_are_asked_then_they_say_why() {
    for (what, objects, expected) in [
        (
            "another template",
            vec![(SET, set(0)), (DEPLOYMENT, deployment("web:2"))],
            Reason::Rollout,
        ),
        (
            "one too many",
            vec![
                (SET, set(1)),
                (DEPLOYMENT, deployment("web:1")),
                (PODS, others(&[1])),
            ],
            Reason::ScaleDown,
        ),
        (
            "made again",
            vec![
                (SET, set(2)),
                (DEPLOYMENT, deployment("web:1")),
                (PODS, others(&[1, 10])),
            ],
            Reason::Deleted,
        ),
        (
            "no Deployment",
            vec![(SET, set(1)), (DEPLOYMENT, Value::Null)],
            Reason::Deleted,
        ),
        (
            "neither",
            vec![(SET, Value::Null), (DEPLOYMENT, Value::Null)],
            Reason::Deleted,
        ),
    ] {
        let (server, mut told) = told_of(&objects).await;
        server.change("MODIFIED", deleted(web()));
        told.until(what, |told| reason(told) == Some(expected)).await;
        let pod = last(&told).unwrap();
        assert!(
            pod.deleted_ms.is_some() && pod.revision.as_deref() == Some("5d4f"),
            "{what}: {pod:?}"
        );
    }
}

#[tokio::test]
async fn given_a_pod_that_is_gone_when_the_answer_comes_then_it_is_told_and_the_pod_stays_gone() {
    let (server, mut told) = told_of(&[(SET, set(0)), (DEPLOYMENT, deployment("web:2"))]).await;
    server.change("DELETED", deleted(web()));
    told.until("the reason", |told| reason(told) == Some(Reason::Rollout))
        .await;
    told.until("the end", |told| told.pods.is_empty()).await;
    assert!(
        matches!(told.sequence.last(), Some(EventKind::Undescribed(_))),
        "{:?}",
        told.sequence
    );
}

#[tokio::test]
async fn given_rights_that_are_missing_when_a_pod_is_deleted_then_nothing_is_claimed_nor_asked_again() {
    let (server, mut told) = told_of(&[]).await;
    server.change("MODIFIED", deleted(web()));
    let asked = || server.requests().iter().filter(|line| line.contains(SET)).count();
    told.until("the deletion", |told| {
        last(told).is_some_and(|pod| pod.deleted_ms.is_some())
    })
    .await;
    until(|| asked() == 1).await;
    let mut later = deleted(web());
    later["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]);
    server.change("MODIFIED", later);
    told.until("the next state", |told| {
        last(told).is_some_and(|pod| pod.ready == Some(false))
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((asked(), reason(&told)), (1, None));
}

#[tokio::test]
async fn given_a_pod_that_says_itself_why_then_nobody_is_asked() {
    let (server, mut told) = told_of(&[]).await;
    let mut evicted = deleted(web());
    evicted["status"]["conditions"] = json!([{"type": "DisruptionTarget", "status": "True",
        "reason": "EvictionByEvictionAPI"}]);
    server.change("MODIFIED", evicted);
    told.until("the reason", |told| reason(told) == Some(Reason::Eviction))
        .await;
    assert!(!server.requests().iter().any(|line| line.contains(SET)));
}

#[tokio::test]
async fn given_a_container_that_ended_when_the_kubelet_says_that_its_probe_failed_then_that_run_was_unwell() {
    let killing = |message: &str| {
        json!({"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": [{"metadata": {"name": "e", "namespace": "shop"},
            "involvedObject": {"kind": "Pod", "uid": "pod", "fieldPath": "spec.containers{app}"}, "reason": "Killing",
            "message": message, "lastTimestamp": "1970-01-01T00:01:00Z"}]})
    };
    for (message, expected) in [
        (
            "Container app failed liveness probe, will be restarted",
            vec![RUN.to_owned()],
        ),
        ("Stopping container app", vec![]),
    ] {
        let (server, mut told) = told_of(&[(EVENTS, killing(message))]).await;
        let mut again = web();
        let status = &mut again["status"]["containerStatuses"][0];
        status["containerID"] = "containerd://bbbb".into();
        status["restartCount"] = 1.into();
        status["lastState"] = json!({"terminated": {"exitCode": 0, "containerID": format!("containerd://{RUN}"),
            "startedAt": "1970-01-01T00:00:10Z", "finishedAt": "1970-01-01T00:01:10Z"}});
        server.change("MODIFIED", again);
        let ids = |told: &Told| last(told).map(|pod| pod.containers[0].ids.len());
        told.until("the next run", |told| ids(told) == Some(2)).await;
        until(|| {
            server
                .requests()
                .iter()
                .any(|line| line.contains("reason%3DKilling"))
        })
        .await;
        if !expected.is_empty() {
            told.until("the answer", |told| {
                last(told).is_some_and(|pod| !pod.containers[0].unwell.is_empty())
            })
            .await;
        }
        assert_eq!(last(&told).unwrap().containers[0].unwell, expected, "{message}");
    }
}

/// Until this holds.
async fn until(mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + super::DEADLINE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
