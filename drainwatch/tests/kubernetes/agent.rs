//! The agent, with cgroups shaped as a kubelet shapes them, real processes in them, and the API server telling
//! of the pod: before, after, late, never.

use std::{
    fs,
    net::TcpStream,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use testkit::{Agent, Cgroup, agent, demo, demo::Manners, runs_here, within};

use super::{
    BINARY,
    server::{Fault, Server},
};

/// A pod of the Deployment `web` with one container.
struct Pod {
    uid: String,
    name: String,
    id: String,
    base: Cgroup,
}

impl Pod {
    /// Makes the pod's cgroup; the container's comes with its process.
    fn create() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let own = std::process::id();
        let pod = Self {
            uid: format!("24be0636-f470-4c97-{number:04x}-{own:012x}"),
            name: format!("web-7746b9b95f-{number}"),
            id: format!("{number:032x}{own:032x}"),
            base: Cgroup::unique("kubernetes").unwrap(),
        };
        pod.base.below(&pod.path()).unwrap();
        pod
    }

    /// Of its cgroup, as kubelets name it.
    fn path(&self) -> String {
        format!("kubepods/besteffort/pod{}", self.uid)
    }

    fn container_dir(&self) -> PathBuf {
        self.base.directory().join(self.path()).join(&self.id)
    }

    /// As the API tells of it.
    fn object(&self, statuses: &Value) -> Value {
        json!({"metadata": {"name": self.name, "namespace": "shop", "uid": self.uid, "resourceVersion": "1",
                "labels": {"pod-template-hash": "7746b9b95f"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7746b9b95f", "uid": "rs",
                                     "controller": true}]},
            "spec": {"nodeName": "node1", "terminationGracePeriodSeconds": 8, "containers": [{"name": "app",
                "image": "shop/web:1", "lifecycle": {"preStop": {"exec": {"command": ["sleep", "1"]}}}}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": statuses}})
    }

    fn running(&self) -> Value {
        self.object(
            &json!([{"name": "app", "image": "shop/web:1", "imageID": "", "ready": true, "restartCount": 0,
            "containerID": format!("containerd://{}", self.id), "state": {"running": {}}}]),
        )
    }

    /// While it is being deleted, which was asked for now.
    fn deleting(&self) -> Value {
        let mut pod = self.running();
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(8);
        pod["metadata"]["deletionTimestamp"] = end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
        pod["metadata"]["deletionGracePeriodSeconds"] = 8.into();
        pod
    }

    /// Its report, once it is finished.
    fn report(&self, agent: &Agent) -> Value {
        agent.ended_report(&self.id).unwrap()
    }
}

fn watch(server: &Server) -> Agent {
    let mut run = agent::run(BINARY);
    run.args(["--kubernetes.node-name", "node1", "--kubernetes.kubeconfig"])
        .arg(server.kubeconfig());
    Agent::start(run).unwrap()
}

/// The demo's server that dies of SIGTERM, in the container, with one request that it has read.
struct Busy {
    server: demo::Server,
    _client: TcpStream,
}

impl Busy {
    fn start(pod: &Pod) -> Self {
        fs::create_dir(pod.container_dir()).unwrap();
        let server = demo::Server::start(BINARY, Manners::Bad, &pod.container_dir()).unwrap();
        Self {
            _client: server.ask("/orders?wait=9000").unwrap(),
            server,
        }
    }

    /// SIGTERM, and the container's cgroup goes as a runtime takes it away.
    fn stop(self, pod: &Pod) {
        self.server.stop().unwrap();
        within("the empty cgroup", || fs::remove_dir(pod.container_dir()).ok());
    }
}

fn is_named(report: &Value, pod: &Pod) {
    let workload = &report["workload"];
    let expected = [
        ("kind", "kubernetes"),
        ("namespace", "shop"),
        ("name", "web"),
        ("controller", "Deployment"),
        ("pod", &pod.name),
        ("container", "app"),
        ("container_id", &pod.id),
        ("image", "shop/web:1"),
    ];
    for (key, value) in expected {
        assert_eq!(workload[key], value, "{key}: {report:#}");
    }
    assert_eq!(report["configured"]["grace_seconds"], 8.0, "{report:#}");
    assert_eq!(report["configured"]["prestop_seconds"], 1.0, "{report:#}");
}

async fn empty_cluster() -> Server {
    Server::start(&json!({"metadata": {"resourceVersion": "7"}, "items": []})).await
}

/// The same with an agent that watches it. `None` where nothing can be traced: that the agent says so is another test's.
async fn watched_cluster() -> Option<(Server, Agent)> {
    if !runs_here(BINARY) {
        return None;
    }
    let server = empty_cluster().await;
    let agent = watch(&server);
    within("the watch", || (server.watches_open() == 1).then_some(()));
    Some((server, agent))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn given_a_pod_that_is_known_when_it_is_deleted_then_its_report_speaks_of_namespace_deployment_and_grace()
 {
    let Some((server, agent)) = watched_cluster().await else {
        return;
    };
    let pod = Pod::create();
    server.change("ADDED", pod.running());
    let busy = Busy::start(&pod);
    within("its series", || {
        let series = r#"container="app",namespace="shop""#;
        agent.get("/metrics").unwrap().contains(series).then_some(())
    });
    server.change("MODIFIED", pod.deleting());
    // The signal comes when the preStop hook is over.
    thread::sleep(Duration::from_secs(1));
    busy.stop(&pod);
    server.change("DELETED", pod.deleting());
    let report = pod.report(&agent);
    is_named(&report, &pod);
    assert_eq!(
        (&report["verdict"], &report["severed"]["unanswered"]),
        (&json!("severed"), &json!(1)),
        "{report:#}"
    );
    assert!(
        report["deleted_at"].is_string() && report["ready_at_stop"] == true,
        "{report:#}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn given_an_api_server_that_answers_3_s_after_the_death_then_the_report_has_the_name() {
    let Some((server, agent)) = watched_cluster().await else {
        return;
    };
    let pod = Pod::create();
    Busy::start(&pod).stop(&pod);
    thread::sleep(Duration::from_secs(3));
    server.change("ADDED", pod.deleting());
    is_named(&pod.report(&agent), &pod);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn given_a_container_that_lives_50_ms_then_it_has_its_name_though_the_api_tells_of_it_when_it_is_gone()
{
    let Some((server, agent)) = watched_cluster().await else {
        return;
    };
    let pod = Pod::create();
    server.change("ADDED", pod.object(&json!([])));
    fs::create_dir(pod.container_dir()).unwrap();
    let status = Command::new("sh")
        .args(["-c", "echo 0 >\"$0\"/cgroup.procs; sleep 0.05; exit 3"])
        .arg(pod.container_dir())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(3));
    within("the empty cgroup", || fs::remove_dir(pod.container_dir()).ok());
    thread::sleep(Duration::from_millis(300));
    let id = format!("containerd://{}", pod.id);
    let terminated = json!({"terminated": {"exitCode": 3, "containerID": id}});
    let statuses = json!([{"name": "app", "image": "shop/web:1", "imageID": "", "ready": false, "restartCount": 1,
        "containerID": "containerd://ffff", "state": {"running": {}}, "lastState": terminated}]);
    server.change("MODIFIED", pod.object(&statuses));
    let report = pod.report(&agent);
    is_named(&report, &pod);
    assert_eq!(report["trigger"], "crash", "{report:#}");
    assert_eq!(report["exit"]["code"], 3, "{report:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn given_an_api_server_that_is_gone_or_lies_then_the_recording_goes_on_and_the_log_says_why_once() {
    if !runs_here(BINARY) {
        return;
    }
    for gone in [true, false] {
        let server = empty_cluster().await;
        if gone {
            server.down().await;
        } else {
            for _ in 0..50 {
                server.fault(Fault::Raw(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{{{".into(),
                ));
            }
        }
        let agent = watch(&server);
        let pod = Pod::create();
        Busy::start(&pod).stop(&pod);
        let report = pod.report(&agent);
        assert_eq!(report["verdict"], "severed", "{report:#}");
        assert_eq!(report["workload"]["kind"], "kubernetes", "{report:#}");
        assert_eq!(report["workload"]["pod"], Value::Null, "{report:#}");
        let said = agent.lines("workload names are unavailable");
        assert_eq!(said.len(), 1, "{}", agent.log());
        assert!(said[0].contains(&server.address.to_string()), "{said:?}");
    }
}
