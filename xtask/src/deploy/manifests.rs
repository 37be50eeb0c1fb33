//! Rendered manifests: known to the API, no more privileged than they must be, understood by the agent.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{ConfigMap, Container, Namespace, Pod, ResourceQuota, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::at;
use super::render::Renderer;
use super::values::Set;
use crate::shell;

/// What the agent may ask the API server for: verbs by group and resource.
const ALWAYS: &[(&str, &str, &[&str])] = &[("", "pods", &["list", "watch"]), ("", "nodes", &["get"])];
/// And to say why a pod was stopped.
const FOR_REASONS: &[(&str, &str, &[&str])] = &[
    ("apps", "replicasets", &["get"]),
    ("apps", "deployments", &["get"]),
    ("apps", "statefulsets", &["get"]),
    ("apps", "daemonsets", &["get"]),
    ("batch", "jobs", &["get"]),
    ("", "events", &["list"]),
];
/// And with Events.
const FOR_EVENTS: &[(&str, &str, &[&str])] = &[
    ("", "events", &["create", "patch"]),
    ("apps", "replicasets", &["get"]),
    ("batch", "jobs", &["get"]),
];
/// Directories and sockets of the host that may be mounted, and whether the agent may write there.
const HOST_PATHS: &[(&str, bool)] = &[
    ("/sys/fs/cgroup", false),
    ("/var/lib/drainwatch", true),
    ("/sys/fs/bpf", true),
    ("/run/docker.sock", false),
    ("/run/podman/podman.sock", false),
    ("/run/dbus/system_bus_socket", false),
];

/// Renders with these values and checks everything.
pub fn check(renderer: &Renderer, set: &Set) -> Result<()> {
    let values = set.values()?;
    let texts = renderer.render(&values, "drainwatch", "monitoring", "Helm")?;
    let mut objects = Vec::new();
    for (template, text) in &texts {
        ensure!(!text.contains("<no value>"), "{template}: a value is missing");
        if !super::is(template, "yaml") {
            continue;
        }
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(text).with_context(|| format!("{template}: no YAML"))?;
        objects.extend(documents.into_iter().filter(|document| !document.is_null()));
    }
    let mut kinds = BTreeMap::<String, usize>::new();
    for object in &objects {
        let kind = object["kind"].as_str().context("an object without kind")?;
        let name = at(object, &["metadata", "name"])
            .and_then(Value::as_str)
            .unwrap_or("?");
        known(kind, object).with_context(|| format!("{kind} {name}"))?;
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    ensure!(kinds.get("DaemonSet") == Some(&1), "not one DaemonSet: {kinds:?}");
    for object in &objects {
        match object["kind"].as_str().unwrap_or_default() {
            "DaemonSet" => daemonset(object)?,
            "Pod" => test_pod(object, &objects)?,
            "ClusterRole" => {
                let on =
                    |what: &str| at(&values, &["kubernetes", what, "enabled"]) == Some(&Value::Bool(true));
                role(object, on("reasons"), on("events"))?;
            }
            "ConfigMap" => config(object)?,
            "PrometheusRule" => alerts(object)?,
            _ => {}
        }
    }
    let expected = [
        ("ServiceAccount", at(&values, &["serviceAccount", "create"])),
        ("ClusterRole", at(&values, &["rbac", "create"])),
        ("ServiceMonitor", at(&values, &["serviceMonitor", "enabled"])),
        ("PodMonitor", at(&values, &["podMonitor", "enabled"])),
        ("PrometheusRule", at(&values, &["prometheusRule", "enabled"])),
        ("NetworkPolicy", at(&values, &["networkPolicy", "enabled"])),
        ("ResourceQuota", at(&values, &["priorityQuota", "enabled"])),
    ];
    for (kind, wanted) in expected {
        ensure!(
            kinds.contains_key(kind) == (wanted == Some(&Value::Bool(true))),
            "{kind}: {kinds:?}"
        );
    }
    Ok(())
}

/// The API server would take every field.
fn known(kind: &str, object: &Value) -> Result<()> {
    match kind {
        "DaemonSet" => strict::<DaemonSet>(object),
        "ConfigMap" => strict::<ConfigMap>(object),
        "Namespace" => strict::<Namespace>(object),
        "Service" => strict::<Service>(object),
        "ServiceAccount" => strict::<ServiceAccount>(object),
        "NetworkPolicy" => strict::<NetworkPolicy>(object),
        "Pod" => strict::<Pod>(object),
        "ResourceQuota" => strict::<ResourceQuota>(object),
        "ClusterRole" => strict::<ClusterRole>(object),
        "ClusterRoleBinding" => strict::<ClusterRoleBinding>(object),
        "ServiceMonitor" => strict::<Custom<ServiceMonitor>>(object),
        "PodMonitor" => strict::<Custom<PodMonitor>>(object),
        "PrometheusRule" => strict::<Custom<PrometheusRule>>(object),
        _ => bail!("nobody knows this kind"),
    }
}

fn strict<T: DeserializeOwned>(object: &Value) -> Result<()> {
    let mut unknown = BTreeSet::new();
    let _: T = serde_ignored::deserialize(object, |path| {
        unknown.insert(path.to_string());
    })?;
    ensure!(unknown.is_empty(), "unknown fields: {unknown:?}");
    Ok(())
}

/// The agent's pods: what they may, and that the agent understands how it is started.
fn daemonset(object: &Value) -> Result<()> {
    let daemonset: DaemonSet = serde_json::from_value(object.clone())?;
    let spec = daemonset.spec.context("no spec")?;
    let pod = spec.template.spec.context("no pod")?;
    ensure!(
        pod.host_network.is_none() && pod.host_ipc.is_none(),
        "shares network or IPC with the host"
    );
    let first = pod.init_containers.as_deref().unwrap_or_default();
    ensure!(pod.containers.len() == 1, "not one container");
    first.iter().try_for_each(removes_pins)?;
    ensure!(
        pod.host_pid == Some(true),
        "without the host's processes it finds no older sockets"
    );
    let container = &pod.containers[0];
    let security = container
        .security_context
        .as_ref()
        .context("no security context")?;
    ensure!(security.privileged != Some(true), "privileged");
    ensure!(
        security.allow_privilege_escalation == Some(false),
        "may gain privileges"
    );
    ensure!(
        security.read_only_root_filesystem == Some(true),
        "may write to its image"
    );
    ensure!(security.seccomp_profile.is_some(), "no seccomp profile");
    let capabilities = security.capabilities.as_ref().context("no capabilities")?;
    ensure!(
        capabilities.drop.as_deref() == Some(&["ALL".to_owned()]),
        "does not drop all capabilities"
    );
    ensure!(
        capabilities.add.as_deref() == Some(&["BPF".to_owned(), "PERFMON".to_owned()]),
        "adds {:?}",
        capabilities.add
    );
    ensure!(
        pod.termination_grace_period_seconds
            .is_some_and(|seconds| seconds <= 10),
        "holds up the node's drain"
    );
    let mounts: Vec<_> = first
        .iter()
        .chain([container])
        .flat_map(|container| container.volume_mounts.as_deref().unwrap_or_default())
        .collect();
    for volume in pod.volumes.unwrap_or_default() {
        let Some(host) = volume.host_path else {
            continue;
        };
        let (_, writes) = HOST_PATHS
            .iter()
            .find(|(path, _)| *path == host.path)
            .with_context(|| format!("mounts {} of the host", host.path))?;
        ensure!(host.type_.is_some(), "{}: whatever is there", host.path);
        let mount = mounts
            .iter()
            .find(|mount| mount.name == volume.name)
            .with_context(|| format!("{} is mounted nowhere", volume.name))?;
        ensure!(
            mount.read_only == Some(true) || *writes,
            "{} is writable",
            host.path
        );
    }
    arguments(container.args.as_deref().unwrap_or_default())
}

/// What may run before the agent: it removes pins, and has no capability.
fn removes_pins(container: &Container) -> Result<()> {
    let arguments = container.args.as_deref().unwrap_or_default();
    ensure!(
        arguments.first().is_some_and(|first| first == "uninstall"),
        "what else runs in the pod: {arguments:?}"
    );
    let security = container
        .security_context
        .as_ref()
        .context("no security context")?;
    let capabilities = security.capabilities.as_ref().context("no capabilities")?;
    ensure!(
        security.privileged != Some(true)
            && security.allow_privilege_escalation == Some(false)
            && security.read_only_root_filesystem == Some(true)
            && security.seccomp_profile.is_some()
            && capabilities.drop.as_deref() == Some(&["ALL".to_owned()])
            && capabilities.add.is_none(),
        "it may more than it must"
    );
    exits(arguments.iter().map(String::as_str).chain(["--help"]), 0)
}

/// The pod of `helm test`: no agent itself, with no rights, and it asks the service beside it, by the address that
/// Kubernetes puts into a variable.
fn test_pod(object: &Value, objects: &[Value]) -> Result<()> {
    let pod: Pod = serde_json::from_value(object.clone())?;
    let labels = pod.metadata.labels.context("no labels")?;
    let service = objects
        .iter()
        .find(|other| other["kind"] == "Service" && other["metadata"]["name"] == object["metadata"]["name"])
        .context("no service of that name")?;
    let service: Service = serde_json::from_value(service.clone())?;
    let selector = service
        .spec
        .and_then(|spec| spec.selector)
        .context("it selects nothing")?;
    ensure!(
        selector.iter().any(|(key, value)| labels.get(key) != Some(value)),
        "it selects the pod that asks"
    );
    let name = service.metadata.name.context("no name")?;
    let variable = format!("$({}_SERVICE_HOST)", name.to_uppercase().replace('-', "_"));
    let spec = pod.spec.context("no pod")?;
    ensure!(
        spec.host_pid.is_none() && spec.volumes.is_none(),
        "it may more than it must"
    );
    let container = spec.containers.first().context("no container")?;
    let security = container
        .security_context
        .as_ref()
        .context("no security context")?;
    let capabilities = security.capabilities.as_ref().context("no capabilities")?;
    ensure!(
        security.run_as_non_root == Some(true) && capabilities.add.is_none(),
        "it may more than it must"
    );
    let arguments = container.args.as_deref().unwrap_or_default();
    ensure!(
        arguments.iter().any(|argument| argument.contains(&variable)),
        "it does not ask {variable}: {arguments:?}"
    );
    // Nobody answers at port 9 of this machine (69); what it does not understand it would not ask (64).
    exits(with(arguments, "--url=", "--url=http://127.0.0.1:9"), 69)
}

/// The real command line takes them: with a configuration that is not there it fails over that (78), and not over
/// its usage (64).
fn arguments(arguments: &[String]) -> Result<()> {
    let missing = "--config=/nonexistent/drainwatch.toml";
    exits(with(arguments, "--config=", missing), 78)
}

/// These arguments, another one in place of that which begins so.
fn with<'a>(arguments: &'a [String], begins: &'a str, other: &'a str) -> impl Iterator<Item = &'a str> {
    let replaced = move |argument: &'a String| {
        if argument.starts_with(begins) {
            other
        } else {
            argument
        }
    };
    arguments.iter().map(replaced)
}

/// With these arguments the agent exits so.
fn exits<'a>(arguments: impl Iterator<Item = &'a str>, code: i32) -> Result<()> {
    let output = agent()
        .args(arguments)
        .output()
        .context("cannot start the agent")?;
    ensure!(
        output.status.code() == Some(code),
        "the agent says: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

fn agent() -> Command {
    let mut cargo = shell::cargo();
    cargo.args(["run", "--quiet", "--locked", "--package", "drainwatch", "--"]);
    cargo
}

/// The right things and no others; above all no secrets.
fn role(object: &Value, reasons: bool, events: bool) -> Result<()> {
    let role: ClusterRole = serde_json::from_value(object.clone())?;
    ensure!(role.aggregation_rule.is_none(), "takes the rights of others");
    let given: BTreeSet<String> = role.rules.unwrap_or_default().iter().flat_map(spelled).collect();
    let expected: BTreeSet<String> = ALWAYS
        .iter()
        .chain(if reasons { FOR_REASONS } else { &[] })
        .chain(if events { FOR_EVENTS } else { &[] })
        .flat_map(|(group, resource, verbs)| {
            verbs.iter().map(move |verb| format!("{verb} {group}/{resource}"))
        })
        .collect();
    ensure!(
        given == expected,
        "rights differ: {:?}",
        given.symmetric_difference(&expected)
    );
    Ok(())
}

fn spelled(rule: &PolicyRule) -> Vec<String> {
    let mut all = Vec::new();
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            all.extend(rule.verbs.iter().map(|verb| format!("{verb} {group}/{resource}")));
        }
    }
    let urls = rule.non_resource_urls.iter().flatten();
    all.extend(urls.map(|url| format!("url {url}")));
    all
}

/// The agent takes the configuration; dashboards are JSON.
fn config(object: &Value) -> Result<()> {
    let map: ConfigMap = serde_json::from_value(object.clone())?;
    for (name, text) in map.data.unwrap_or_default() {
        if super::is(&name, "json") {
            let _: Value = serde_json::from_str(&text).with_context(|| name.clone())?;
            continue;
        }
        let file = tempfile::NamedTempFile::new().context("a file for the configuration")?;
        super::write(file.path(), &text)?;
        shell::output(agent().arg("check-config").arg(file.path()))?;
    }
    Ok(())
}

/// Prometheus takes the rules.
fn alerts(object: &Value) -> Result<()> {
    let file = tempfile::NamedTempFile::new().context("a file for the rules")?;
    // JSON is YAML.
    super::write(file.path(), &object["spec"].to_string())?;
    shell::output(Command::new("promtool").args(["check", "rules"]).arg(file.path())).map(drop)
}

/// An object of the Prometheus operator (monitoring.coreos.com/v1): what of it the chart uses.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read to see that nothing else is there")]
struct Custom<T> {
    api_version: Monitoring,
    kind: String,
    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    spec: T,
}

#[derive(Deserialize)]
enum Monitoring {
    #[serde(rename = "monitoring.coreos.com/v1")]
    V1,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read to see that nothing else is there")]
struct ServiceMonitor {
    selector: k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector,
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read to see that nothing else is there")]
struct PodMonitor {
    selector: k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector,
    pod_metrics_endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read to see that nothing else is there")]
struct Endpoint {
    port: String,
    path: String,
    honor_labels: bool,
    interval: Option<String>,
    scrape_timeout: Option<String>,
    relabelings: Vec<Relabeling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read to see that nothing else is there")]
struct Relabeling {
    source_labels: Vec<String>,
    target_label: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read to see that nothing else is there")]
struct PrometheusRule {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read to see that nothing else is there")]
struct Group {
    name: String,
    interval: Option<String>,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read to see that nothing else is there")]
struct Rule {
    alert: Option<String>,
    record: Option<String>,
    expr: String,
    r#for: Option<String>,
    keep_firing_for: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}
