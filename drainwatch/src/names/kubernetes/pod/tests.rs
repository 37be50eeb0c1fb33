use drainwatch_core::{description::Reason, workload::text::NAME};
use serde_json::{Value, json};

use super::*;

const LIST: &str = include_str!("../../../../tests/fixtures/kubernetes/pods-list.json");
const WATCH: &str = include_str!("../../../../tests/fixtures/kubernetes/pods-watch.jsonl");

fn described(pod: Value) -> Pod {
    describe(&serde_json::from_value(pod).unwrap(), None).unwrap()
}

/// A pod that is controlled by this, with this label.
fn owned(kind: &str, owner: &str, label: Option<(&str, &str)>) -> Value {
    let labels: BTreeMap<_, _> = label.into_iter().collect();
    json!({"metadata": {
        "name": "p", "namespace": "shop", "uid": "u", "labels": labels,
        "creationTimestamp": "2026-11-20T22:12:05Z",
        "ownerReferences": [
            {"apiVersion": "v1", "kind": "Bystander", "name": "first", "uid": "0"},
            {"apiVersion": "v1", "kind": kind, "name": owner, "uid": "1", "controller": true},
        ]}, "spec": {"containers": [], "nodeName": "node1"}})
}

#[test]
fn given_recorded_pods_when_described_then_workload_grace_and_containers_are_those_of_the_manifests() {
    let list: Value = serde_json::from_str(LIST).unwrap();
    let pods: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pod| described(pod.clone()))
        .collect();
    let short: Vec<_> = pods
        .iter()
        .map(|pod| {
            (
                pod.name.as_str(),
                pod.controller.as_str(),
                pod.workload.as_str(),
                pod.containers.len(),
            )
        })
        .collect();
    assert_eq!(
        short,
        [
            ("agent-wjkrt", "DaemonSet", "agent", 1),
            ("db-0", "StatefulSet", "db", 3),
            ("tick-1795212600-d2vzz", "CronJob", "tick", 1),
            ("tick-1795212660-hcpsv", "CronJob", "tick", 1),
            ("web-8c7f6f865-h96xp", "Deployment", "web", 1),
            ("web-8c7f6f865-psmxm", "Deployment", "web", 1),
            ("web-8c7f6f865-zsscw", "Deployment", "web", 1),
        ]
    );
    let web = &pods[4];
    assert_eq!(web.grace_seconds, Some(8.0));
    assert!(web.containers[0].prestop.is_some(), "{web:?}");
    for pod in &pods {
        assert_eq!(pod.namespace, "shop");
        // The API has forgotten the containers of the one that is being deleted.
        let regular = pod
            .containers
            .iter()
            .filter(|container| pod.deleted_ms.is_none() || container.init);
        for container in regular {
            assert!(
                container.ids.iter().all(|id| id.len() == 64) && !container.ids.is_empty(),
                "{container:?}"
            );
        }
    }
}

#[test]
fn given_a_recorded_deletion_when_described_then_grace_and_time_stay_to_its_end() {
    let deletions: Vec<_> = WATCH
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["object"]["metadata"]["name"] == "web-8c7f6f865-zsscw")
        .map(|line| described(line["object"].clone()))
        .collect();
    assert_eq!(deletions.len(), 5);
    // Asked for at 22:11:24; the kubelet changed grace and time before it removed the pod.
    for pod in &deletions {
        assert_eq!(
            (pod.grace_seconds, pod.deleted_ms),
            (Some(8.0), Some(1_795_212_684_000))
        );
    }
    assert_eq!(deletions[0].ready, Some(true));
    assert_eq!(deletions[4].ready, Some(false));
}

#[test]
fn given_a_recorded_deletion_of_which_more_was_known_when_described_then_the_ids_are_kept() {
    let mut before: Option<Pod> = None;
    let mut shown = vec![];
    for line in WATCH.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["object"]["metadata"]["name"] != "db-0" {
            continue;
        }
        let pod = serde_json::from_value(line["object"].clone()).unwrap();
        if line["type"] == "ADDED" {
            before = None;
        }
        let now = describe(&pod, before.as_ref()).unwrap();
        shown.push((describe(&pod, None).unwrap(), now.clone()));
        before = Some(now);
    }
    let (alone, with_past) = shown.last().unwrap();
    assert_eq!(alone.containers[0].ids, [""; 0]);
    assert_eq!(with_past.containers[0].name, "db");
    assert!(with_past.containers[0].ids[0].starts_with("4646c827"));
    assert_eq!(with_past.grace_seconds, Some(30.0));
}

#[test]
fn given_a_deletion_with_a_grace_of_its_own_when_the_kubelet_ends_it_then_that_grace_is_kept() {
    let pod = |grace: i64, at: &str| {
        serde_json::from_value(
            json!({"metadata": {"name": "p", "uid": "u", "deletionGracePeriodSeconds": grace,
                "deletionTimestamp": at},
            "spec": {"containers": [{"name": "a"}], "terminationGracePeriodSeconds": 30}}),
        )
        .unwrap()
    };
    let first = describe(&pod(5, "1970-01-01T00:01:05Z"), None).unwrap();
    let last = describe(&pod(0, "1970-01-01T00:01:00Z"), Some(&first)).unwrap();
    for description in [&first, &last] {
        assert_eq!(
            (description.grace_seconds, description.deleted_ms),
            (Some(5.0), Some(60_000))
        );
    }
}

#[test]
fn given_a_container_that_crashes_again_and_again_when_described_then_its_last_ids_are_kept() {
    let run = |n: usize| {
        serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": [{"name": "a"}]},
            "status": {"containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": n,
                                              "containerID": format!("docker://{n}")}]}}))
        .unwrap()
    };
    let last = (0..100).fold(None, |before: Option<Pod>, n| describe(&run(n), before.as_ref()));
    let ids = &last.unwrap().containers[0].ids;
    assert_eq!(ids, &["99", "98", "97", "96", "95", "94", "93", "92"]);
}

#[test]
fn given_owners_when_described_then_it_is_the_controllers_own_owner_where_the_names_say_so() {
    for (kind, owner, label, expected) in [
        (
            "ReplicaSet",
            "web-7746b9b95f",
            Some(("pod-template-hash", "7746b9b95f")),
            ("Deployment", "web"),
        ),
        (
            "ReplicaSet",
            "web-7746b9b95f",
            None,
            ("ReplicaSet", "web-7746b9b95f"),
        ),
        (
            "ReplicaSet",
            "web-7746b9b95f",
            Some(("pod-template-hash", "b95f")),
            ("ReplicaSet", "web-7746b9b95f"),
        ),
        (
            "ReplicaSet",
            "-7746",
            Some(("pod-template-hash", "7746")),
            ("ReplicaSet", "-7746"),
        ),
        (
            "ReplicaSet",
            "web-",
            Some(("pod-template-hash", "")),
            ("ReplicaSet", "web-"),
        ),
        (
            "ReplicaSet",
            "pay-5d4",
            Some(("rollouts-pod-template-hash", "5d4")),
            ("Rollout", "pay"),
        ),
        ("Job", "tick-29920212", None, ("CronJob", "tick")),
        ("Job", "tick-1795212720", None, ("CronJob", "tick")),
        ("Job", "migrate-20261120", None, ("Job", "migrate-20261120")),
        ("Job", "migrate-7", None, ("Job", "migrate-7")),
        ("Job", "29920212", None, ("Job", "29920212")),
        ("StatefulSet", "db", None, ("StatefulSet", "db")),
        ("DaemonSet", "agent", None, ("DaemonSet", "agent")),
        (
            "CloneSet",
            "web",
            Some(("pod-template-hash", "web")),
            ("CloneSet", "web"),
        ),
    ] {
        let pod = described(owned(kind, owner, label));
        assert_eq!((pod.controller.as_str(), pod.workload.as_str()), expected);
    }
}

#[test]
fn given_a_bare_or_static_pod_when_described_then_it_is_its_own_workload() {
    let bare = described(json!({"metadata": {"name": "bare", "uid": "u"}}));
    assert_eq!(
        (
            bare.controller.as_str(),
            bare.workload.as_str(),
            bare.uid.as_str()
        ),
        ("Pod", "bare", "u")
    );
    assert_eq!(bare.namespace, "default");
    // An owner that does not control it.
    let owned = json!({"metadata": {"name": "bare", "uid": "u", "ownerReferences": [
        {"apiVersion": "v1", "kind": "ReplicaSet", "name": "other", "uid": "1"}]}});
    assert_eq!(described(owned).controller, "Pod");
    let mirror = json!({"metadata": {"name": "kube-apiserver-node1", "namespace": "kube-system", "uid": "mirror",
        "annotations": {"kubernetes.io/config.mirror": "2b04", "kubernetes.io/config.hash": "2b04",
                        "kubernetes.io/config.source": "file"},
        "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "node1", "uid": "n", "controller": true}]},
        "spec": {"containers": [], "nodeName": "node1"}});
    let pod = described(mirror);
    assert_eq!(
        (
            pod.uid.as_str(),
            pod.controller.as_str(),
            pod.workload.as_str(),
            pod.name.as_str()
        ),
        ("2b04", "Pod", "kube-apiserver", "kube-apiserver-node1")
    );
}

#[test]
fn given_a_pod_that_nothing_controls_when_it_is_deleted_then_somebody_did_it() {
    let deleted = |owners: Value| {
        json!({"metadata": {"name": "p", "uid": "u", "ownerReferences": owners, "deletionGracePeriodSeconds": 5,
            "deletionTimestamp": "1970-01-01T00:01:05Z"}})
    };
    assert_eq!(described(deleted(json!([]))).reason, Some(Reason::Deleted));
    let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "1", "controller": true}]);
    assert_eq!(described(deleted(owner)).reason, None);
    assert_eq!(
        described(json!({"metadata": {"name": "p", "uid": "u"}})).reason,
        None
    );
}

#[test]
fn given_a_static_pod_when_its_mirror_is_deleted_without_a_grace_period_then_its_own_stays() {
    let mirror = |annotations: Value| {
        json!({"metadata": {"name": "etcd-node1", "namespace": "kube-system", "uid": "mirror", "annotations": annotations,
            "deletionTimestamp": "1970-01-01T00:01:00Z", "deletionGracePeriodSeconds": 0},
        "spec": {"nodeName": "node1", "containers": [{"name": "etcd"}], "terminationGracePeriodSeconds": 20},
        "status": {"containerStatuses": [{"name": "etcd", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                                          "state": {"running": {}}}]}})
    };
    let static_pod = described(mirror(
        json!({"kubernetes.io/config.mirror": "2b04", "kubernetes.io/config.hash": "2b04"}),
    ));
    assert_eq!(static_pod.grace_seconds, Some(20.0));
    assert_eq!((static_pod.deleted_ms, static_pod.reason), (None, None));
    let of_the_api = described(mirror(json!({})));
    assert_eq!(of_the_api.grace_seconds, Some(0.0));
}

#[test]
fn given_containers_of_every_sort_when_described_then_each_has_the_ids_of_its_runs() {
    let status = |name: &str, now: &str, before: &str| {
        json!({"name": name, "image": "", "imageID": "", "ready": true, "restartCount": 1, "containerID": now,
               "state": {"running": {}},
               "lastState": {"terminated": {"exitCode": 0, "containerID": before}}})
    };
    let pod = described(json!({"metadata": {"name": "p", "uid": "u"},
        "spec": {
            "initContainers": [{"name": "wait"}, {"name": "proxy", "restartPolicy": "Always"}],
            "containers": [{"name": "app", "image": "app:1", "lifecycle": {"stopSignal": "SIGUSR1"}}, {"name": "new"}],
            "ephemeralContainers": [{"name": "debug"}]},
        "status": {
            "initContainerStatuses": [status("wait", "containerd://i1", "containerd://i1"), status("proxy", "containerd://i2", "")],
            "containerStatuses": [status("app", "containerd://a2", "containerd://a1"),
                                  {"name": "other", "image": "", "imageID": "", "ready": true, "restartCount": 0}],
            "ephemeralContainerStatuses": [status("debug", "docker://e1", "docker://../../etc")]}}));
    let short: Vec<_> = pod
        .containers
        .iter()
        .map(|container| (container.name.as_str(), container.ids.join(" "), container.init))
        .collect();
    assert_eq!(
        short,
        [
            ("app", "a2 a1".into(), false),
            ("new", String::new(), false),
            ("wait", "i1".into(), true),
            ("proxy", "i2".into(), false),
            ("debug", "e1".into(), false),
        ]
    );
    assert_eq!(pod.containers[0].stop_signal, Some(10));
    assert_eq!(pod.containers[0].image.as_deref(), Some("app:1"));
}

#[test]
fn given_a_stop_signal_in_the_status_when_described_then_it_goes_before_the_specs() {
    let pod = described(json!({"metadata": {"name": "p", "uid": "u"},
        "spec": {"containers": [{"name": "a", "lifecycle": {"stopSignal": "SIGUSR1"}}]},
        "status": {"containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                                          "stopSignal": "SIGRTMIN+3"}]}}));
    assert_eq!(pod.containers[0].stop_signal, Some(37));
}

#[test]
fn given_prestop_hooks_when_described_then_only_those_that_just_sleep_have_a_time() {
    for (handler, what, seconds) in [
        (json!({"sleep": {"seconds": 5}}), "sleep 5", Some(5.0)),
        (json!({"sleep": {"seconds": -5}}), "sleep 0", Some(0.0)),
        (
            json!({"exec": {"command": ["/bin/sleep", "1.5"]}}),
            "exec /bin/sleep 1.5",
            Some(1.5),
        ),
        (
            json!({"exec": {"command": ["sleep", "2m"]}}),
            "exec sleep 2m",
            Some(120.0),
        ),
        (
            json!({"exec": {"command": ["sh", "-c", "sleep 10"]}}),
            "exec sh -c sleep 10",
            Some(10.0),
        ),
        (
            json!({"exec": {"command": ["/bin/bash", "-c", " sleep  7s "]}}),
            "exec /bin/bash -c  sleep  7s ",
            Some(7.0),
        ),
        (
            json!({"exec": {"command": ["sh", "-c", "sleep 5; nginx -s quit"]}}),
            "exec sh -c sleep 5; nginx -s quit",
            None,
        ),
        (
            json!({"exec": {"command": ["sh", "-c", "sleep $N"]}}),
            "exec sh -c sleep $N",
            None,
        ),
        (
            json!({"exec": {"command": ["sleep", "infinity"]}}),
            "exec sleep infinity",
            None,
        ),
        (
            json!({"exec": {"command": ["sleep", "inf"]}}),
            "exec sleep inf",
            None,
        ),
        (json!({"exec": {"command": []}}), "exec ", None),
        (
            json!({"httpGet": {"path": "/drain", "port": 8080}}),
            "GET :8080/drain",
            None,
        ),
        (json!({"httpGet": {"port": "admin"}}), "GET :admin/", None),
    ] {
        let pod = described(json!({"metadata": {"name": "p", "uid": "u"},
            "spec": {"containers": [{"name": "a", "lifecycle": {"preStop": handler}}]}}));
        let prestop = pod.containers[0].prestop.clone().unwrap();
        assert_eq!((prestop.what.as_str(), prestop.seconds), (what, seconds));
    }
}

#[test]
fn given_a_forced_deletion_when_described_then_there_is_no_grace() {
    let pod = described(
        json!({"metadata": {"name": "p", "uid": "u", "deletionGracePeriodSeconds": 0,
            "deletionTimestamp": "1970-01-01T00:01:00Z"},
        "spec": {"containers": [{"name": "a"}], "terminationGracePeriodSeconds": 30},
        "status": {"containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                                          "state": {"running": {}}}]}}),
    );
    assert_eq!((pod.grace_seconds, pod.deleted_ms), (Some(0.0), Some(60_000)));
}

#[test]
fn given_a_pod_without_name_or_uid_then_it_is_not_described() {
    for metadata in [
        json!({}),
        json!({"name": "", "uid": "u"}),
        json!({"name": "p"}),
        json!({"name": "p", "uid": ""}),
        json!({"name": "p", "uid": "u", "annotations": {"kubernetes.io/config.source": "file"}}),
    ] {
        let pod: ApiPod = serde_json::from_value(json!({"metadata": metadata})).unwrap();
        assert_eq!(describe(&pod, None), None);
    }
}

#[test]
fn given_hostile_strings_everywhere_when_described_then_all_are_bounded_and_none_acts() {
    let evil = format!("\x1b[2J\n\u{202e}{}", "é".repeat(3000));
    let containers: Vec<_> = (0..500)
        .map(|n| {
            json!({"name": format!("{n}{evil}"), "image": evil, "lifecycle":
                {"stopSignal": evil, "preStop": {"exec": {"command": vec![evil.clone(); 50]}}}})
        })
        .collect();
    let statuses: Vec<_> = (0..500)
        .map(|n| {
            json!({"name": format!("{n}{evil}"), "image": evil, "imageID": "", "ready": true, "restartCount": 0,
                   "containerID": format!("docker://{}", "a".repeat(5000))})
        })
        .collect();
    let pod = described(json!({
        "metadata": {"name": evil, "namespace": evil, "uid": evil, "labels": {"pod-template-hash": evil},
            "deletionTimestamp": "9999-12-01T23:59:59Z", "deletionGracePeriodSeconds": i64::MAX,
            "ownerReferences": [{"apiVersion": "v1", "kind": evil, "name": evil, "uid": evil, "controller": true}]},
        "spec": {"containers": containers, "terminationGracePeriodSeconds": i64::MIN},
        "status": {"containerStatuses": statuses}}));
    assert_eq!(pod.containers.len(), MOST_CONTAINERS);
    let text = serde_json::to_value(&pod).unwrap();
    let mut waiting = vec![&text];
    while let Some(value) = waiting.pop() {
        match value {
            Value::String(text) => {
                assert!(text.len() <= NAME, "{}", text.len());
                assert!(!text.contains(['\x1b', '\n', '\u{202e}']), "{text:?}");
            }
            Value::Array(items) => waiting.extend(items),
            Value::Object(map) => waiting.extend(map.values()),
            _ => {}
        }
    }
    assert!(pod.containers.iter().all(|container| container.ids.is_empty()));
}
