//! What the doctor says of the origin: one line, with what to do.

use std::path::Path;

use serde_json::Value;

use super::{
    BINARY,
    server::{Fault, Server},
};

/// Whether it is asked, whether it answers, and what is said of it.
async fn diagnosed(kubeconfig: &Path, node: &str) -> (bool, bool, String) {
    let mut command = testkit::command(BINARY);
    command
        .args(["doctor", "--format", "json", "--kubernetes.node-name", node])
        .arg("--kubernetes.kubeconfig")
        .arg(kubeconfig);
    // The server is on this thread's runtime.
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let doctor: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(doctor["kernel"].is_string() && doctor["probes"].is_array());
    let origins = doctor["names"].as_array().unwrap();
    let kubernetes: Vec<_> = origins
        .iter()
        .filter(|origin| origin["origin"] == "kubernetes")
        .collect();
    assert_eq!(kubernetes.len(), 1);
    let flag = |key: &str| kubernetes[0][key].as_bool().unwrap();
    let says = kubernetes[0]["says"].as_str().unwrap().to_owned();
    assert!(!says.contains('\n'), "{says}");
    (flag("asked"), flag("ok"), says)
}

#[tokio::test]
async fn given_a_cluster_then_the_doctor_counts_the_pods_of_the_node() {
    let server = Server::recorded().await;
    let (asked, ok, says) = diagnosed(&server.kubeconfig(), "node1").await;
    assert!(
        asked && ok && says.starts_with("7 pods of node node1, from http://127.0.0.1:"),
        "{says}"
    );
}

#[tokio::test]
async fn given_what_can_be_wrong_then_the_doctor_says_why_what_to_do_and_what_it_costs() {
    let server = Server::recorded().await;
    let kubeconfig = server.kubeconfig();
    let costs = "meanwhile pods are named by their cgroups, without grace period and preStop";
    let bad = |(asked, ok, says): (bool, bool, String), part: &str| {
        assert!(
            asked && !ok && says.contains(part) && says.contains(costs),
            "{says}"
        );
    };
    bad(
        diagnosed(&kubeconfig, "node-x").await,
        "the cluster has no node `node-x` (from --kubernetes.node-name)",
    );
    server.fault(Fault::Status(403, None));
    bad(
        diagnosed(&kubeconfig, "node1").await,
        "allow the agent's account to list and watch pods",
    );
    server.down().await;
    bad(diagnosed(&kubeconfig, "node1").await, "Connection refused");
    bad(
        diagnosed(Path::new("/nowhere/kubeconfig"), "node1").await,
        "the kubeconfig /nowhere/kubeconfig cannot be used",
    );
    server.up();
    server.fault(Fault::Delay(std::time::Duration::from_mins(1)));
    let (asked, ok, says) = diagnosed(&kubeconfig, "node1").await;
    assert!(asked && !ok && says.contains("no answer within 5 s"), "{says}");
}

#[tokio::test]
async fn given_no_cluster_or_a_refusal_to_ask_then_the_doctor_says_so_and_asks_nobody() {
    let server = Server::recorded().await;
    let kubeconfig = server.kubeconfig();
    for (arguments, part) in [
        (
            vec![
                "--kubernetes",
                "off",
                "--kubernetes.kubeconfig",
                kubeconfig.to_str().unwrap(),
            ],
            "disabled by --kubernetes",
        ),
        (vec![], "no cluster here"),
    ] {
        let mut command = testkit::command(BINARY);
        let output = command
            .env_remove("KUBERNETES_SERVICE_HOST")
            .args(["doctor", "--format", "json"])
            .args(arguments)
            .output()
            .unwrap();
        let doctor: Value = serde_json::from_slice(&output.stdout).unwrap();
        let kubernetes = &doctor["names"][0];
        assert_eq!(kubernetes["asked"], false);
        assert!(
            kubernetes["says"].as_str().unwrap().contains(part),
            "{kubernetes}"
        );
    }
    assert_eq!(server.requests().len(), 0);
}
