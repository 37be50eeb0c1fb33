//! What is told after each fault is what is told without it.

use serde_json::{Value, json};

use super::{
    Told,
    server::{Fault, Server, WATCH},
};
use drainwatch::names::kubernetes::Options;
use drainwatch_core::description::MOST_CONTAINERS;
use std::{collections::BTreeSet, time::Duration};

/// The line of the recording at which faults happen: a pod of the new generation gets its container.
const AT: usize = 6;

/// Plays the recording; `fault` happens at one of its lines.
async fn played(server: &Server, fault: impl AsyncFnOnce(&Server)) -> Told {
    let mut told = Told::by(server);
    told.until("the list", |told| told.pods.len() == 7).await;
    let lines: Vec<_> = WATCH.lines().collect();
    for line in &lines[..AT] {
        server.happen(line);
    }
    told.until("the beginning", |told| told.names().contains(&"bare"))
        .await;
    fault(server).await;
    server.happen(lines[AT]);
    let web = "web-7746b9b95f-25v6v";
    told.until("the line at which it went wrong", |told| {
        told.pods
            .values()
            .any(|pod| pod.name == web && pod.ready == Some(true))
    })
    .await;
    for line in &lines[AT + 1..] {
        server.happen(line);
    }
    let last: Value = serde_json::from_str(lines[lines.len() - 1]).unwrap();
    let last = last["object"]["metadata"]["name"].as_str().unwrap();
    told.until("the end", |told| told.names().contains(&last)).await;
    told
}

async fn undisturbed() -> Told {
    played(&Server::recorded().await, async |_| {}).await
}

#[tokio::test]
async fn given_the_recording_when_played_then_each_pod_comes_changes_and_goes() {
    let told = undisturbed().await;
    let names: BTreeSet<_> = told.names().into_iter().collect();
    let expected = [
        "agent-wjkrt",
        "db-0",
        "tick-1795212600-d2vzz",
        "tick-1795212660-hcpsv",
        "tick-1795212720-79hk2",
        "tick-1795212780-zghxm",
        "web-7746b9b95f-25v6v",
        "web-7746b9b95f-nmmhz",
        "web-7746b9b95f-qdtcw",
    ];
    assert_eq!(names, expected.into());
    assert_eq!(told.down(), None);
    // Fewer than the lines of the recording: what does not matter wakes nobody.
    assert!(
        told.sequence.len() < 7 + WATCH.lines().count(),
        "{}",
        told.sequence.len()
    );
}

#[tokio::test]
async fn given_a_connection_that_breaks_when_watched_again_then_nothing_is_missing_or_said_twice() {
    let expected = undisturbed().await;
    for fault in [Fault::CutLine, Fault::ShortWatch(3)] {
        let server = Server::recorded().await;
        let told = played(&server, async |server| server.fault(fault.clone())).await;
        assert_eq!(told.sequence, expected.sequence, "{fault:?}");
        assert_eq!(server.faults_left(), 0);
    }
}

#[tokio::test]
async fn given_a_server_that_lies_when_listed_again_then_the_pods_are_those_without_it() {
    let expected = undisturbed().await;
    let status = |code| {
        json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "code": code,
        "status": "Failure", "message": "no", "reason": "No", "metadata": {}}})
        .to_string()
    };
    let faults = [
        Fault::TruncatedLine,
        Fault::GarbageLine(b"\xff\xfe\x00garbage".into()),
        Fault::GarbageLine(b"\"\xff\xfe\"".into()),
        Fault::GarbageLine(br#"{"type":"MODIFIED","object":{"metadata":{"name":7}}}"#.into()),
        Fault::GarbageLine(br#"{"type":"SOMETHING","object":{}}"#.into()),
        Fault::GarbageLine(br#"{"type":"MODIFIED","object":{"metadata":{"name":"x","uid":"x"}}}"#.into()),
        Fault::EndlessLine,
        Fault::ExtraLine(status(410)),
        Fault::ExtraLine(status(500)),
    ];
    for fault in faults {
        let server = Server::recorded().await;
        let told = played(&server, async |server| server.fault(fault.clone())).await;
        assert_eq!(told.pods, expected.pods, "{fault:?}");
        assert_eq!(server.faults_left(), 0);
    }
}

#[tokio::test]
async fn given_a_server_that_restarts_when_it_is_back_then_the_pods_are_those_without_it() {
    let expected = undisturbed().await;
    for status in [None, Some(false), Some(true)] {
        let server = Server::recorded().await;
        let told = played(&server, async |server| {
            server.down().await;
            // It has forgotten the past, and says so as a line, or as the status of the answer.
            if let Some(status) = status {
                server.fault(Fault::Compact { status });
            }
            server.up();
        })
        .await;
        assert_eq!(told.pods, expected.pods, "{status:?}");
    }
}

#[tokio::test]
async fn given_refusals_when_asked_again_then_each_is_told_in_one_line_and_the_pods_are_those_without_it() {
    let expected = undisturbed().await;
    for (fault, says) in [
        (Fault::Status(401, None), "does not accept the credentials (401)"),
        (
            Fault::Status(403, None),
            "allow the agent's account to list and watch pods",
        ),
        (Fault::Status(429, Some(1)), "busy (429)"),
        (Fault::Status(500, None), "answers 500: fault 500"),
        (Fault::Status(503, None), "answers 503"),
        (
            Fault::Raw(b"\x00\x01garbage".into()),
            "does not answer as it should",
        ),
        (
            Fault::Raw(
                b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{\"kind\":\"PodList\",\"items\":[".into(),
            ),
            "does not answer as it should",
        ),
        (
            Fault::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]".into()),
            "does not answer as it should",
        ),
        (
            Fault::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n{\"metadata\":{},\"a\":\"b\"}".into()),
            "",
        ),
        (Fault::Raw(vec![]), "does not answer as it should"),
    ] {
        let server = Server::recorded().await;
        // The first list meets it.
        server.fault(fault.clone());
        let told = played(&server, async |_| {}).await;
        assert_eq!(told.pods, expected.pods, "{fault:?}");
        let downs: Vec<_> = told
            .states
            .iter()
            .filter_map(|state| match state {
                drainwatch::names::State::Down(why) => Some(why),
                drainwatch::names::State::Up => None,
            })
            .collect();
        assert_eq!(downs.len(), 1, "{fault:?}: {downs:?}");
        assert!(
            downs[0].contains(says) && !downs[0].contains('\n'),
            "{fault:?}: {downs:?}"
        );
        assert_eq!(told.down(), None, "{fault:?}");
    }
}

#[tokio::test]
async fn given_retry_after_then_the_server_is_left_alone_for_that_long() {
    let server = Server::recorded().await;
    server.fault(Fault::Status(429, Some(4)));
    let begun = tokio::time::Instant::now();
    let mut told = Told::by(&server);
    told.until("the list", |told| told.pods.len() == 7).await;
    assert!(begun.elapsed() >= Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn given_a_slow_server_then_its_answer_is_waited_for() {
    let server = Server::recorded().await;
    server.fault(Fault::Delay(Duration::from_secs(3)));
    let mut told = Told::by(&server);
    told.until("the list", |told| told.pods.len() == 7).await;
    assert_eq!(
        server
            .requests()
            .iter()
            .filter(|line| !line.contains("watch=true"))
            .count(),
        1
    );
}

#[tokio::test]
async fn given_a_server_that_takes_watches_and_ends_them_at_once_then_it_is_not_asked_in_a_frenzy() {
    let server = Server::recorded().await;
    server.fault(Fault::ShortWatch(1_000_000));
    let mut told = Told::by(&server);
    told.until("the list", |told| told.pods.len() == 7).await;
    let watches = || {
        server
            .requests()
            .iter()
            .filter(|line| line.contains("watch=true"))
            .count()
    };
    let begun = tokio::time::Instant::now();
    while watches() < 5 && begun.elapsed() < super::DEADLINE {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Two at once, then after 200, 400 and 800 ms.
    assert!(
        begun.elapsed() >= Duration::from_millis(1200),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn given_a_server_that_is_not_there_when_it_comes_then_its_pods_do_and_the_state_changed_twice() {
    let server = Server::recorded().await;
    server.down().await;
    let mut told = Told::by(&server);
    told.until("the failure", |told| told.down().is_some()).await;
    assert!(
        told.down().unwrap().contains("Connection refused"),
        "{:?}",
        told.states
    );
    server.up();
    told.until("the list", |told| told.pods.len() == 7 && told.down().is_none())
        .await;
    assert_eq!(told.states.len(), 2, "{:?}", told.states);
}

#[tokio::test]
async fn given_a_kubeconfig_that_cannot_be_used_when_it_is_mended_then_it_is_read_again() {
    let server = Server::recorded().await;
    let path = server.kubeconfig();
    let good = std::fs::read(&path).unwrap();
    for bad in [
        "",
        "a: [",
        "{\"apiVersion\": \"v1\", \"kind\": \"Config\"}",
        "\u{0}\u{1b}[31m",
    ] {
        std::fs::write(&path, bad).unwrap();
        let mut told = Told::with(Options {
            kubeconfig: Some(path.clone()),
            node: "node1".into(),
            node_from: "the test",
        });
        told.until("the failure", |told| told.down().is_some()).await;
        let why = told.down().unwrap().to_owned();
        assert!(
            why.contains("kubeconfig") && why.contains("give a valid file to --kubernetes.kubeconfig"),
            "{why}"
        );
        assert!(!why.contains(['\n', '\x1b']), "{why}");
        std::fs::write(&path, &good).unwrap();
        told.until("the list", |told| told.pods.len() == 7).await;
    }
}

#[tokio::test]
async fn given_a_node_that_does_not_exist_then_it_is_said_with_what_to_do() {
    let server = Server::recorded().await;
    let mut told = Told::with(Options {
        kubeconfig: Some(server.kubeconfig()),
        node: "nodeX".into(),
        node_from: "NODE_NAME",
    });
    told.until("the failure", |told| told.down().is_some()).await;
    let why = told.down().unwrap();
    assert!(
        why.contains("no node `nodeX` (from NODE_NAME)") && why.contains("--kubernetes.node-name"),
        "{why}"
    );
    assert_eq!(told.pods.len(), 0);
}

/// A pod of `node1` with one container that runs.
fn pod(n: usize) -> Value {
    json!({"metadata": {"name": format!("p-{n}"), "namespace": "load", "uid": format!("uid-{n}"), "resourceVersion": "1",
            "annotations": {"filler": "x".repeat(8000)}},
        "spec": {"nodeName": "node1", "containers": [{"name": "app"}], "terminationGracePeriodSeconds": 30},
        "status": {"containerStatuses": [{"name": "app", "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "containerID": format!("containerd://{n:064}"), "state": {"running": {}}}]}})
}

#[tokio::test]
async fn given_a_full_node_when_listed_at_once_or_in_pages_then_every_pod_is_told_once() {
    for paged in [false, true] {
        let pods: Vec<_> = (0..250).map(pod).collect();
        let server = Server::start(&json!({"metadata": {"resourceVersion": "7"}, "items": pods})).await;
        if paged {
            server.paged();
        }
        let mut told = Told::by(&server);
        told.until("all of them", |told| {
            told.pods.len() == 250 && told.down().is_none() && !told.states.is_empty()
        })
        .await;
        assert_eq!(told.sequence.len(), 250);
        let lists = server
            .requests()
            .iter()
            .filter(|line| line.contains("limit="))
            .count();
        assert_eq!(lists, if paged { 3 } else { 1 });
    }
}

#[tokio::test]
async fn given_hundreds_of_pods_that_come_and_go_while_the_watch_is_cut_then_those_that_are_left_are_told() {
    let server = Server::start(
        &json!({"metadata": {"resourceVersion": "7"}, "items": (0..100).map(pod).collect::<Vec<_>>()}),
    )
    .await;
    let mut told = Told::by(&server);
    told.until("the list", |told| told.pods.len() == 100).await;
    for round in 0..4 {
        let (from, to) = (100 + round * 100, 200 + round * 100);
        server.down().await;
        for n in from..to {
            server.change("ADDED", pod(n));
            server.change("DELETED", pod(n - 100));
        }
        // Twice it can go on from where it was, twice it has to list again.
        if round % 2 == 1 {
            server.fault(Fault::Compact { status: round == 1 });
        }
        server.up();
        server.change("ADDED", pod(10_000 + round));
        let expected: BTreeSet<_> = (from..to)
            .chain(10_000..=10_000 + round)
            .map(|n| format!("uid-{n}"))
            .collect();
        told.until("the rest", |told| told.pods.keys().eq(expected.iter()))
            .await;
    }
}

#[tokio::test]
async fn given_pods_with_hostile_names_then_they_are_told_bounded_and_the_others_unharmed() {
    let evil = format!("\x1b[2J\n{}", "é".repeat(10_000));
    let mut hostile = pod(0);
    hostile["metadata"]["name"] = evil.clone().into();
    hostile["metadata"]["uid"] = evil.clone().into();
    hostile["spec"]["containers"] = (0..200).map(|_| json!({"name": evil, "image": evil})).collect();
    let nameless =
        json!({"metadata": {"resourceVersion": "1"}, "spec": {"nodeName": "node1", "containers": []}});
    let server =
        Server::start(&json!({"metadata": {"resourceVersion": "7"}, "items": [hostile, nameless, pod(1)]}))
            .await;
    let mut told = Told::by(&server);
    told.until("the list", |told| told.pods.len() == 2).await;
    let hostile = told.pods.values().find(|pod| pod.name != "p-1").unwrap();
    assert!(hostile.name.len() <= 253 && hostile.uid.len() <= 253 && !hostile.name.contains('\x1b'));
    assert_eq!(hostile.containers.len(), MOST_CONTAINERS);
    // And it goes.
    let mut gone = pod(0);
    gone["metadata"]["name"] = evil.clone().into();
    gone["metadata"]["uid"] = evil.into();
    server.change("DELETED", gone);
    told.until("its end", |told| told.names() == ["p-1"]).await;
}
