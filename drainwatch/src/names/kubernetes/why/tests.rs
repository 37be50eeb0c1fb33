use drainwatch_core::description::Reason::{
    self, Deleted, Eviction, NodeShutdown, Preemption, Rollout, ScaleDown,
};
use serde_json::{Value, json};

use super::*;

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn said(status: &Value) -> Option<Reason> {
    own(&read(
        json!({"metadata": {"name": "p", "uid": "u"}, "status": status}),
    ))
}

#[test]
fn given_a_disruption_when_a_pod_says_so_then_that_is_why_and_what_it_does_not_know_is_not_claimed() {
    for (reason, message, expected) in [
        ("EvictionByEvictionAPI", "Eviction API: evicting", Some(Eviction)),
        (
            "DeletionByTaintManager",
            "Taint manager: deleting due to NoExecute taint",
            Some(Eviction),
        ),
        (
            "PreemptionByScheduler",
            "default-scheduler: preempting to accommodate a higher priority pod",
            Some(Preemption),
        ),
        ("DeletionByPodGC", "PodGC: node no longer exists", Some(Deleted)),
        (
            "TerminationByKubelet",
            "Pod was terminated in response to imminent node shutdown.",
            Some(NodeShutdown),
        ),
        (
            "TerminationByKubelet",
            "The node was low on resource: memory. Threshold quantity: 100Mi",
            Some(Eviction),
        ),
        (
            "TerminationByKubelet",
            "Preempted in order to admit critical pod",
            Some(Preemption),
        ),
        ("TerminationByKubelet", "for a reason of the future", None),
        ("SomethingNew", "", None),
    ] {
        let condition = |status: &str| {
            json!({"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "DisruptionTarget", "status": status, "reason": reason, "message": message}]})
        };
        assert_eq!(said(&condition("True")), expected, "{reason}: {message}");
        // It was to be, and came to nothing.
        assert_eq!(said(&condition("False")), None);
    }
}

#[test]
fn given_a_status_of_the_kubelets_when_the_pod_has_failed_then_it_is_why() {
    for (phase, reason, expected) in [
        ("Failed", "Evicted", Some(Eviction)),
        ("Failed", "Terminated", Some(NodeShutdown)),
        ("Failed", "Shutdown", Some(NodeShutdown)),
        ("Failed", "Preempting", Some(Preemption)),
        ("Failed", "DeadlineExceeded", None),
        ("Running", "Evicted", None),
    ] {
        assert_eq!(
            said(&json!({"phase": phase, "reason": reason})),
            expected,
            "{reason}"
        );
    }
}

/// Templates of a `ReplicaSet` and of its Deployment.
fn superseded(set: &Value, wanted: &Value) -> bool {
    let set = read(json!({"metadata": {}, "spec": {"selector": {}, "template": set}}));
    let deployment = read(json!({"metadata": {}, "spec": {"selector": {}, "template": wanted}}));
    is_superseded(&set, &deployment)
}

#[test]
fn given_a_replica_set_when_its_deployment_wants_another_template_then_it_is_superseded() {
    let template = |image: &str, labels: &Value| json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": image}]}});
    let hashed = json!({"app": "web", "pod-template-hash": "5d4"});
    let plain = json!({"app": "web"});
    assert!(!superseded(&template("a:1", &hashed), &template("a:1", &plain)));
    assert!(superseded(&template("a:1", &hashed), &template("a:2", &plain)));
    // No label but the hash.
    let only = json!({"pod-template-hash": "5d4"});
    let bare = json!({"spec": {"containers": [{"name": "a", "image": "a:1"}]}, "metadata": {"creationTimestamp": null}});
    assert!(!superseded(&template("a:1", &only), &bare));
}

#[test]
fn given_a_wanted_replica_set_then_a_pod_that_it_replaces_was_deleted_by_others_and_one_too_many_is_scaled_down()
 {
    for (wanted, observed, living, newest, expected) in [
        (0, 2, 0, None, Known(ScaleDown)),
        (0, 1, 3, None, Known(ScaleDown)),
        (2, 2, 2, Some(50), Known(ScaleDown)),
        (2, 2, 4, Some(50), Known(ScaleDown)),
        (3, 2, 3, Some(100), Known(Deleted)),
        (3, 2, 3, Some(101), Known(Deleted)),
        // It wants more than it has: it deleted none.
        (3, 2, 2, Some(50), Known(Deleted)),
        // It has not seen yet what is wanted of it.
        (3, 1, 3, Some(50), Later),
    ] {
        let set = read(
            json!({"metadata": {"generation": 2}, "spec": {"replicas": wanted, "selector": {}},
            "status": {"observedGeneration": observed, "replicas": 3}}),
        );
        let siblings = Siblings { living, newest };
        assert_eq!(
            of_replica_set(&set, siblings, 100),
            expected,
            "{wanted} {living} {newest:?}"
        );
    }
}

#[test]
fn given_pods_when_counted_then_only_living_ones_of_the_same_controller_are_siblings() {
    let pod = |uid: &str, owner: &str, created: &str, deleted: bool| {
        let mut metadata = json!({"uid": uid, "creationTimestamp": created, "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": owner, "controller": true}]});
        if deleted {
            metadata["deletionTimestamp"] = created.into();
        }
        read::<ObjectMeta>(metadata)
    };
    let pods = [
        pod("gone", "set", "1970-01-01T00:10:00Z", false),
        pod("a", "set", "1970-01-01T00:00:10Z", false),
        pod("b", "set", "1970-01-01T00:00:20Z", false),
        pod("c", "other", "1970-01-01T00:05:00Z", false),
        pod("d", "set", "1970-01-01T00:05:00Z", true),
    ];
    let siblings = Siblings::among(pods.iter(), "set", "gone");
    assert_eq!(
        siblings,
        Siblings {
            living: 2,
            newest: Some(20)
        }
    );
}

#[test]
fn given_a_pod_of_a_stateful_set_then_its_ordinal_and_its_revision_say_why() {
    for (pod, revision, spec, observed, expected) in [
        ("db-1", "db-old", json!({"replicas": 2}), 2, Known(Rollout)),
        ("db-1", "db-new", json!({"replicas": 2}), 2, Known(Deleted)),
        ("db-2", "db-old", json!({"replicas": 2}), 2, Known(ScaleDown)),
        ("db-0", "db-old", json!({"replicas": 2}), 1, Later),
        // Its first is 5.
        (
            "db-5",
            "db-new",
            json!({"replicas": 1, "ordinals": {"start": 5}}),
            2,
            Known(Deleted),
        ),
        (
            "db-0",
            "db-new",
            json!({"replicas": 1, "ordinals": {"start": 5}}),
            2,
            Known(ScaleDown),
        ),
        // The controller leaves it alone.
        (
            "db-0",
            "db-old",
            json!({"replicas": 2, "updateStrategy": {"type": "OnDelete"}}),
            2,
            Known(Deleted),
        ),
        (
            "db-0",
            "db-old",
            json!({"replicas": 2, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}}),
            2,
            Known(Deleted),
        ),
        ("db", "db-old", json!({"replicas": 2}), 2, Nothing),
    ] {
        let mut spec = spec;
        spec["selector"] = json!({});
        spec["template"] = json!({});
        spec["serviceName"] = "db".into();
        let set = read(json!({"metadata": {"generation": 2}, "spec": spec,
            "status": {"replicas": 2, "observedGeneration": observed, "updateRevision": "db-new"}}));
        assert_eq!(
            of_stateful_set(&set, pod, Some(revision)),
            expected,
            "{pod} {revision}"
        );
    }
}

#[test]
fn given_a_pod_of_a_daemon_set_then_an_older_template_is_a_rollout_and_the_newest_says_nothing() {
    for (own, newest, strategy, expected) in [
        ("1", "2", "RollingUpdate", Known(Rollout)),
        ("2", "2", "RollingUpdate", Nothing),
        ("1", "2", "OnDelete", Nothing),
        ("one", "2", "RollingUpdate", Nothing),
    ] {
        let set = read(json!({"metadata": {"annotations": {NEWEST_GENERATION: newest}},
            "spec": {"selector": {}, "template": {}, "updateStrategy": {"type": strategy}}}));
        let labels = BTreeMap::from([(GENERATION.to_owned(), own.to_owned())]);
        assert_eq!(
            of_daemon_set(&set, &labels),
            expected,
            "{own} {newest} {strategy}"
        );
    }
}

#[test]
fn given_events_of_a_pod_then_only_a_kill_of_that_container_in_that_run_for_its_probe_counts() {
    let event = |reason: &str, path: &str, message: &str, at: &str| {
        read::<Event>(
            json!({"metadata": {}, "involvedObject": {"fieldPath": path}, "reason": reason,
            "message": message, "lastTimestamp": at}),
        )
    };
    let probe = "Container app failed liveness probe, will be restarted";
    let at = "1970-01-01T00:01:00Z";
    for (event, expected) in [
        (event("Killing", "spec.containers{app}", probe, at), true),
        (
            event(
                "Killing",
                "spec.containers{app}",
                "Container app failed startup probe, will be restarted",
                at,
            ),
            true,
        ),
        (event("Killing", "spec.initContainers{app}", probe, at), true),
        (
            event("Killing", "spec.containers{app}", "Stopping container app", at),
            false,
        ),
        (event("Killing", "spec.containers{other}", probe, at), false),
        (event("Unhealthy", "spec.containers{app}", probe, at), false),
        (
            event("Killing", "spec.containers{app}", probe, "1970-01-01T00:00:10Z"),
            false,
        ),
        (
            event("Killing", "spec.containers{app}", probe, "1970-01-01T00:02:00Z"),
            false,
        ),
    ] {
        assert_eq!(
            failed_its_probe(std::slice::from_ref(&event), "app", 30, 70),
            expected,
            "{event:?}"
        );
    }
}

#[test]
fn given_a_pods_labels_then_its_revision_is_the_hash_of_its_template() {
    for (labels, expected) in [
        (json!({"pod-template-hash": "5d4f"}), Some("5d4f")),
        (json!({"controller-revision-hash": "db-69"}), Some("db-69")),
        (json!({"pod-template-hash": ""}), None),
        (json!({"app": "web"}), None),
    ] {
        assert_eq!(revision(&read(json!({"labels": labels}))), expected);
    }
}
