//! The least of a Kubernetes API that names one pod and says how it is stopped: dashboards show configured grace
//! and preStop beside the measured ones. How the watch behaves is tested where it is written.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    thread,
};

use serde_json::{Value, json};

/// Name of the pod's workload.
pub const WORKLOAD: &str = "shop";
/// Its namespace.
pub const NAMESPACE: &str = "store";
/// Its revision.
pub const REVISION: &str = "shop-5d4f8c7b9";
const NODE: &str = "node1";

/// An API server that knows one pod, until the program ends.
#[derive(Debug)]
pub struct Cluster {
    kubeconfig: PathBuf,
    /// Uid of the pod.
    pub uid: String,
}

impl Cluster {
    /// Serves; the pod's container has this id.
    pub fn serve(id: &str, out: &Path) -> anyhow::Result<Self> {
        let uid = format!("00000000-0000-4000-8000-{:012x}", std::process::id());
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let kubeconfig = out.join("kubeconfig");
        std::fs::write(&kubeconfig, config(listener.local_addr()?).to_string())?;
        let pod = pod(&uid, id);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let pod = pod.clone();
                // An agent that has left is none of ours.
                thread::spawn(move || answer(stream, &pod));
            }
        });
        Ok(Self { kubeconfig, uid })
    }

    /// What makes an agent ask here.
    pub fn arguments(&self) -> [String; 4] {
        [
            "--kubernetes.kubeconfig".to_owned(),
            self.kubeconfig.display().to_string(),
            "--kubernetes.node-name".to_owned(),
            NODE.to_owned(),
        ]
    }
}

fn config(address: SocketAddr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]
    })
}

fn pod(uid: &str, id: &str) -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": "shop-0", "namespace": NAMESPACE, "uid": uid, "resourceVersion": "1",
            "labels": {"controller-revision-hash": REVISION},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": WORKLOAD, "uid": "s", "controller": true}]
        },
        "spec": {
            "nodeName": NODE, "terminationGracePeriodSeconds": 8,
            "containers": [{"name": "app", "image": "shop:1", "lifecycle": {"preStop": {"exec": {"command": ["sleep", "2"]}}}}]
        },
        "status": {
            "phase": "Running",
            "containerStatuses": [{
                "name": "app", "image": "shop:1", "imageID": "", "ready": true, "restartCount": 0,
                "containerID": format!("containerd://{id}")
            }]
        }
    })
}

/// Answers the requests of one connection; a watch has nothing to tell and stays open.
fn answer(mut stream: TcpStream, pod: &Value) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut header = String::new();
        while reader.read_line(&mut header)? > 2 {
            header.clear();
        }
        if request.contains("watch=") {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            continue;
        }
        let (status, body) = if request.contains("/api/v1/pods") {
            let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": [pod]});
            (200, list)
        } else if request.contains(&format!("/api/v1/nodes/{NODE}")) {
            (
                200,
                json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": NODE}}),
            )
        } else {
            (
                404,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}),
            )
        };
        let body = body.to_string();
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all((head + &body).as_bytes())?;
    }
}
