//! What runs on the cluster: objects as the API server takes them.

use serde_json::{Value, json};

/// Label of everything that a row of the table starts.
const APP: &str = "app";

/// What controls the pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// Surges: the new pod is ready before the old one is stopped.
    Deployment,
    /// One after the other, in place.
    StatefulSet,
    /// One on the node, in place.
    DaemonSet,
}

impl Controller {
    /// As kubectl names it.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::StatefulSet => "statefulset",
            Self::DaemonSet => "daemonset",
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }
}

/// A service.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts of a service that are independent of each other, named one by one"
)]
#[derive(Debug, Clone)]
pub struct Service {
    /// What controls its pods.
    pub controller: Controller,
    /// How many of them.
    pub replicas: u32,
    /// Its command line.
    pub command: Vec<&'static str>,
    /// Its environment.
    pub env: Vec<(&'static str, &'static str)>,
    /// preStop: seconds of sleep.
    pub prestop: Option<u32>,
    /// Grace period in seconds.
    pub grace: u32,
    /// PID 1 is the sandbox's pause, not the service.
    pub share_pids: bool,
    /// With a liveness probe.
    pub liveness: bool,
    /// With an init container.
    pub init: bool,
    /// Probed by a connection alone.
    pub tcp_probe: bool,
    /// In the node's own network.
    pub host_network: bool,
    /// So much CPU is asked for, in thousandths.
    pub cpu: Option<u32>,
    /// Behind a sidecar that passes connections on.
    pub sidecar: bool,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            controller: Controller::Deployment,
            replicas: 3,
            command: vec!["/bin/app", "serve"],
            env: Vec::new(),
            prestop: None,
            grace: 30,
            share_pids: false,
            liveness: false,
            init: false,
            tcp_probe: false,
            host_network: false,
            cpu: None,
            sidecar: false,
        }
    }
}

impl Service {
    /// Its objects, in a namespace of their own.
    pub fn objects(&self, namespace: &str) -> Vec<Value> {
        let labels = json!({APP: namespace});
        let mut spec = json!({
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": self.pod()},
        });
        match self.controller {
            Controller::Deployment => {
                spec["replicas"] = json!(self.replicas);
                spec["strategy"] = json!({"rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}});
            }
            Controller::StatefulSet => {
                spec["replicas"] = json!(self.replicas);
                spec["serviceName"] = json!(APP);
            }
            Controller::DaemonSet => {}
        }
        let metadata = json!({"namespace": namespace, "name": APP});
        vec![
            self::namespace(namespace),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {
                "selector": labels, "ports": [{"port": 80, "targetPort": 8080}],
            }}),
            json!({"apiVersion": "apps/v1", "kind": self.controller.kind(), "metadata": metadata, "spec": spec}),
        ]
    }

    fn pod(&self) -> Value {
        let port = if self.sidecar { 8081 } else { 8080 };
        let mut env: Vec<Value> = self
            .env
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        env.push(json!({"name": "PORT", "value": port.to_string()}));
        let probe = |path: &str| {
            if self.tcp_probe {
                json!({"tcpSocket": {"port": port}, "periodSeconds": 1})
            } else {
                json!({"httpGet": {"path": path, "port": port}, "periodSeconds": 1})
            }
        };
        let mut service = json!({
            "name": "app", "image": "app:1", "command": self.command, "env": env,
            "ports": [{"containerPort": port}], "readinessProbe": probe("/ready"),
        });
        if self.liveness {
            service["livenessProbe"] = probe("/live");
        }
        if let Some(seconds) = self.prestop {
            service["lifecycle"] = prestop(seconds);
        }
        if let Some(cpu) = self.cpu {
            service["resources"] = json!({"requests": {"cpu": format!("{cpu}m")}});
        }
        let mut containers = vec![service];
        if self.sidecar {
            // It ends last, as a mesh's does: its own preStop is longer than the service's.
            containers.push(json!({
                "name": "proxy", "image": "app:1", "command": ["/bin/app", "proxy"],
                "env": [{"name": "PORT", "value": "8080"}, {"name": "UPSTREAM", "value": "127.0.0.1:8081"}],
                "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
                "lifecycle": prestop(self.prestop.unwrap_or_default()),
            }));
        }
        let mut pod = json!({
            "terminationGracePeriodSeconds": self.grace, "containers": containers,
            "shareProcessNamespace": self.share_pids, "enableServiceLinks": false,
            "automountServiceAccountToken": false, "hostNetwork": self.host_network,
        });
        if self.init {
            pod["initContainers"] = json!([
                {"name": "wait", "image": "app:1", "command": ["/bin/sleep", "1"]},
                {"name": "prepare", "image": "app:1", "command": ["/bin/app", "job"], "env": [{"name": "SECONDS", "value": "1"}]},
            ]);
        }
        pod
    }
}

fn prestop(seconds: u32) -> Value {
    json!({"preStop": {"exec": {"command": ["/bin/sleep", seconds.to_string()]}}})
}

/// A namespace.
pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// A pod that pushes others off the node: it is more important and wants so much CPU, in thousandths.
pub fn preemptor(namespace: &str, cpu: u32) -> [Value; 2] {
    [
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "important"}, "value": 1000}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": namespace, "name": "preemptor"}, "spec": {
            "priorityClassName": "important", "terminationGracePeriodSeconds": 1, "enableServiceLinks": false,
            "automountServiceAccountToken": false,
            "containers": [{"name": "app", "image": "app:1", "command": ["/bin/app", "pause"],
                            "resources": {"requests": {"cpu": format!("{cpu}m")}}}],
        }}),
    ]
}

/// A Job that works for some seconds; how it answers SIGTERM is in `stop`.
pub fn job(namespace: &str, seconds: u32, stop: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"namespace": namespace, "name": "job"},
           "spec": job_spec(seconds, stop)})
}

/// A Job that works for some seconds, calls the API server as its last deed, and finishes.
pub fn calling_job(namespace: &str) -> Value {
    let mut job = job(namespace, 0, "");
    let script = "echo GET / HTTP/1.0 > /tmp/ask; echo >> /tmp/ask; sleep 5; \
                  exec /bin/busybox nc -w 3 $KUBERNETES_SERVICE_HOST 443 < /tmp/ask";
    job["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["/bin/sh", "-c", script]);
    job
}

/// A `CronJob` that runs one every minute.
pub fn cron_job(namespace: &str) -> Value {
    json!({"apiVersion": "batch/v1beta1", "kind": "CronJob", "metadata": {"namespace": namespace, "name": "cron"},
           "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": job_spec(2, "")}}})
}

fn job_spec(seconds: u32, stop: &str) -> Value {
    json!({"backoffLimit": 0, "template": {"spec": {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 5, "enableServiceLinks": false,
        "automountServiceAccountToken": false,
        "containers": [{"name": "job", "image": "app:1", "command": ["/bin/app", "job"],
                        "env": [{"name": "SECONDS", "value": seconds.to_string()}, {"name": "STOP", "value": stop}]}],
    }}})
}
