//! A pod of the API to its description. Pure and total: everything in a pod was chosen by other people.

use std::{collections::BTreeMap, net::IpAddr};

use drainwatch_core::{
    description::{MOST_ADDRESSES, MOST_CONTAINERS, Pod, PodContainer, PreStop},
    workload::text::shown_name,
};
use k8s_openapi::{
    api::core::v1::{Container, ContainerStatus, EphemeralContainer, Lifecycle, Pod as ApiPod},
    apimachinery::pkg::{
        apis::meta::v1::{ObjectMeta, OwnerReference},
        util::intstr::IntOrString,
    },
};

use super::why;
use crate::names::signal;

mod probes;

/// Longest container id that is believed: runtimes make 64 hexadecimal digits.
const ID: usize = 128;
/// Most ids of a container's runs that are kept: of one that crashes again and again, the last ones.
const MOST_IDS: usize = 8;
/// Longest spelling of a preStop command.
const COMMAND: usize = 200;
/// How long before its pod's creation a `CronJob`'s run may have been due, and how long after.
const DUE_SECONDS: std::ops::RangeInclusive<i64> = -366 * 86_400..=86_400;

/// What controls a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// Kind, as reports show it.
    pub kind: String,
    /// Name, as reports show it.
    pub name: String,
}

/// The description of a pod; `None` for one without name and uid. `before` is what was known of it: when a pod
/// is deleted, the API forgets the ids of its containers and the grace period that they had.
pub fn describe(pod: &ApiPod, before: Option<&Pod>) -> Option<Pod> {
    let metadata = &pod.metadata;
    let name = metadata.name.as_deref().filter(|name| !name.is_empty())?;
    let uid = cgroup_uid(metadata).filter(|uid| !uid.is_empty())?;
    let spec = pod.spec.as_ref();
    let controller = controller(pod);
    // Of a mirror its deletion says nothing: what the kubelet runs is the static pod, with its own grace period, and it
    // goes on when its mirror is deleted.
    let own = !is_static(metadata);
    let deletion_grace = metadata
        .deletion_grace_period_seconds
        .filter(|seconds| own && *seconds >= 0);
    // Once every container has ended, the kubelet shortens the grace period to 0 to have the pod removed:
    // that is not what the containers had.
    let had = deletion_grace.filter(|seconds| *seconds > 0 || any_running(pod));
    let grace = had
        .map(seconds)
        .or_else(|| before.filter(|before| before.deleted_ms.is_some())?.grace_seconds)
        .or_else(|| {
            let configured = spec?.termination_grace_period_seconds?;
            (configured >= 0).then(|| seconds(configured))
        });
    Some(Pod {
        uid: shown_name(uid),
        namespace: shown_name(metadata.namespace.as_deref().unwrap_or("default")),
        name: shown_name(name),
        workload: controller.name,
        controller: controller.kind,
        grace_seconds: grace,
        deleted_ms: metadata.deletion_timestamp.as_ref().filter(|_| own).map(|at| {
            let grace_ms = deletion_grace.unwrap_or(0).saturating_mul(1000);
            at.0.as_millisecond().saturating_sub(grace_ms)
        }),
        ready: ready(pod),
        revision: why::revision(metadata).map(shown_name),
        reason: why::own(pod)
            .or_else(|| before?.reason)
            .or_else(|| why::of_bare(metadata).filter(|_| own)),
        containers: containers(pod, before),
        probes: probes::described(pod),
        hosts: probes::hosts(pod),
        addresses: addresses(pod),
    })
}

/// The pod's own addresses; of one in its node's network none.
fn addresses(pod: &ApiPod) -> Vec<IpAddr> {
    let shared = pod.spec.as_ref().and_then(|spec| spec.host_network);
    let ips = pod.status.as_ref().and_then(|status| status.pod_ips.as_ref());
    let own = ips.into_iter().flatten().filter(|_| shared != Some(true));
    own.filter_map(|own| own.ip.parse().ok())
        .take(MOST_ADDRESSES)
        .collect()
}

/// Whether the API says that a container of the pod runs.
fn any_running(pod: &ApiPod) -> bool {
    statuses(pod).any(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()))
}

/// The uid that the pod's cgroup has. The API knows a static pod by its mirror, whose uid is another.
fn cgroup_uid(metadata: &ObjectMeta) -> Option<&str> {
    let annotation = |name: &str| metadata.annotations.as_ref()?.get(name).map(String::as_str);
    if is_static(metadata) {
        return annotation("kubernetes.io/config.hash").or_else(|| annotation("kubernetes.io/config.mirror"));
    }
    metadata.uid.as_deref()
}

fn is_static(metadata: &ObjectMeta) -> bool {
    metadata.annotations.as_ref().is_some_and(|annotations| {
        annotations.contains_key("kubernetes.io/config.mirror")
            || annotations
                .get("kubernetes.io/config.source")
                .is_some_and(|source| source != "api")
    })
}

/// The owner that controls an object; not just any owner.
pub fn controlling(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    let owners = metadata.owner_references.as_ref()?;
    owners.iter().find(|owner| owner.controller == Some(true))
}

/// What controls the pod, told without asking the API: through `ReplicaSet` and Job.
pub(super) fn controller(pod: &ApiPod) -> Controller {
    let metadata = &pod.metadata;
    let name = metadata.name.as_deref().unwrap_or_default();
    let of = |kind: &str, name: &str| Controller {
        kind: shown_name(kind),
        name: shown_name(name),
    };
    if is_static(metadata) {
        // The kubelet appends the node's name to what the file says.
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let of_file = node
            .and_then(|node| name.strip_suffix(node)?.strip_suffix('-'))
            .filter(|name| !name.is_empty());
        return of("Pod", of_file.unwrap_or(name));
    }
    let Some(owner) = controlling(metadata) else {
        return of("Pod", name);
    };
    let without_hash = |label: &str| without_label(&owner.name, label, metadata.labels.as_ref());
    match owner.kind.as_str() {
        "ReplicaSet" => {
            if let Some(deployment) = without_hash("pod-template-hash") {
                return of("Deployment", deployment);
            }
            if let Some(rollout) = without_hash("rollouts-pod-template-hash") {
                return of("Rollout", rollout);
            }
        }
        "Job" => {
            let created = metadata
                .creation_timestamp
                .as_ref()
                .map(|created| created.0.as_second());
            if let Some(cron_job) = without_run(&owner.name, created) {
                return of("CronJob", cron_job);
            }
        }
        _ => {}
    }
    of(&owner.kind, &owner.name)
}

/// `web-7746b9b95f` with the label's value `7746b9b95f` is `web`.
fn without_label<'a>(
    name: &'a str,
    label: &str,
    labels: Option<&BTreeMap<String, String>>,
) -> Option<&'a str> {
    let hash = labels?.get(label).filter(|hash| !hash.is_empty())?;
    name.strip_suffix(hash.as_str())?
        .strip_suffix('-')
        .filter(|name| !name.is_empty())
}

/// `tick-29920212` is the run of the `CronJob` `tick` that was due in that minute since the Unix epoch; before
/// 1.21 it was the second. Digits that are no time near the pod's creation belong to the Job's own name.
fn without_run(job: &str, created: Option<i64>) -> Option<&str> {
    let (name, digits) = job.rsplit_once('-')?;
    if name.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: i64 = digits.parse().ok()?;
    let due = match digits.len() {
        8 | 9 => number * 60,
        10 => number,
        _ => return None,
    };
    created
        .is_none_or(|created| DUE_SECONDS.contains(&due.saturating_sub(created)))
        .then_some(name)
}

fn ready(pod: &ApiPod) -> Option<bool> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    Some(ready.status == "True")
}

fn containers(pod: &ApiPod, before: Option<&Pod>) -> Vec<PodContainer> {
    let Some(spec) = &pod.spec else { return vec![] };
    let init = spec.init_containers.iter().flatten();
    let init = init.map(|container| {
        // With `restartPolicy: Always` it is a sidecar: it runs as long as the regular ones.
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        Spec::of(container, !sidecar)
    });
    let regular = spec.containers.iter().map(|container| Spec::of(container, false));
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(Spec::of_ephemeral);
    regular
        .chain(init)
        .chain(ephemeral)
        .take(MOST_CONTAINERS)
        .map(|spec| {
            let mut container = spec.describe(pod);
            let known = before.and_then(|before| {
                let mut known = before.containers.iter();
                known.find(|known| known.name == container.name)
            });
            if let Some(known) = known {
                carry(known, &mut container);
            }
            container
        })
        .collect()
}

/// Keeps what the API no longer says of a container.
fn carry(before: &PodContainer, now: &mut PodContainer) {
    for id in &before.ids {
        if !now.ids.contains(id) && now.ids.len() < MOST_IDS {
            now.ids.push(id.clone());
        }
    }
    now.stop_signal = now.stop_signal.or(before.stop_signal);
    now.unwell.clone_from(&before.unwell);
}

/// What regular and ephemeral containers have in common.
struct Spec<'a> {
    name: &'a str,
    image: Option<&'a str>,
    lifecycle: Option<&'a Lifecycle>,
    init: bool,
}

impl<'a> Spec<'a> {
    fn of(container: &'a Container, init: bool) -> Self {
        Self {
            name: &container.name,
            image: container.image.as_deref(),
            lifecycle: container.lifecycle.as_ref(),
            init,
        }
    }

    fn of_ephemeral(container: &'a EphemeralContainer) -> Self {
        Self {
            name: &container.name,
            image: container.image.as_deref(),
            lifecycle: container.lifecycle.as_ref(),
            init: false,
        }
    }

    fn describe(&self, pod: &ApiPod) -> PodContainer {
        let status = statuses(pod).find(|status| status.name == self.name);
        let stop_signal = status
            .and_then(|status| status.stop_signal.as_deref())
            .or_else(|| self.lifecycle?.stop_signal.as_deref())
            .and_then(|name| signal(name).ok());
        PodContainer {
            name: shown_name(self.name),
            ids: status.map(ids).unwrap_or_default(),
            image: self.image.map(shown_name),
            prestop: self.lifecycle.and_then(prestop),
            stop_signal,
            init: self.init,
            unwell: vec![],
        }
    }
}

pub(super) fn statuses(pod: &ApiPod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.iter().flat_map(|status| {
        let init = status.init_container_statuses.iter().flatten();
        let regular = status.container_statuses.iter().flatten();
        let ephemeral = status.ephemeral_container_statuses.iter().flatten();
        regular.chain(init).chain(ephemeral)
    })
}

/// Ids of a container's runs: now, ended, the one before.
fn ids(status: &ContainerStatus) -> Vec<String> {
    let terminated = [&status.state, &status.last_state]
        .into_iter()
        .filter_map(|state| state.as_ref()?.terminated.as_ref()?.container_id.as_deref());
    let mut ids: Vec<String> = vec![];
    let all = status.container_id.as_deref().into_iter().chain(terminated);
    for id in all.filter_map(run_id) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

/// The id of a container's run, without the runtime; `None` of what is none.
pub(super) fn run_id(id: &str) -> Option<String> {
    let id = id.split_once("://").map_or(id, |(_, id)| id);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (!id.is_empty() && id.len() <= ID && id.bytes().all(plain)).then(|| id.to_owned())
}

fn prestop(lifecycle: &Lifecycle) -> Option<PreStop> {
    let handler = lifecycle.pre_stop.as_ref()?;
    if let Some(sleep) = &handler.sleep {
        let secs = sleep.seconds.max(0);
        return Some(PreStop {
            what: format!("sleep {secs}"),
            seconds: Some(seconds(secs)),
        });
    }
    if let Some(exec) = &handler.exec {
        let command = exec.command.as_deref().unwrap_or_default();
        return Some(PreStop {
            what: shown_name(&format!("exec {}", joined(command))),
            seconds: slept(command),
        });
    }
    if let Some(get) = &handler.http_get {
        let port = match &get.port {
            IntOrString::Int(port) => port.to_string(),
            IntOrString::String(name) => cut(name).into(),
        };
        let path = cut(get.path.as_deref().unwrap_or("/"));
        return Some(PreStop {
            what: shown_name(&format!("GET :{port}{path}")),
            seconds: None,
        });
    }
    None
}

/// A command as people would write it, cut where it is long.
fn joined(command: &[String]) -> String {
    let mut text = String::new();
    for argument in command {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(cut(argument));
        if text.len() > COMMAND {
            text.truncate(text.floor_char_boundary(COMMAND));
            text.push('…');
            break;
        }
    }
    text
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(COMMAND + 1)]
}

/// How long a command sleeps that does nothing else: `sleep 5`, `/bin/sleep 5s`, `sh -c "sleep 5"`.
fn slept(command: &[String]) -> Option<f64> {
    let program = |path: &str, names: &[&str]| names.contains(&path.rsplit('/').next().unwrap_or(path));
    let words: Vec<&str> = match command {
        [shell, flag, script]
            if program(shell, &["sh", "bash", "ash", "dash"]) && ["-c", "-ec"].contains(&flag.as_str()) =>
        {
            script.split_whitespace().take(3).collect()
        }
        _ => command.iter().map(String::as_str).take(3).collect(),
    };
    let [sleep, time] = words[..] else { return None };
    if !program(sleep, &["sleep"]) {
        return None;
    }
    let (number, per) = match time.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(number) if time.ends_with('m') => (number, 60.0),
        Some(number) if time.ends_with('h') => (number, 3600.0),
        Some(number) if time.ends_with('d') => (number, 86_400.0),
        Some(number) => (number, 1.0),
        None => (time, 1.0),
    };
    let plain = |c: char| c.is_ascii_digit() || c == '.';
    let number: f64 = Some(number)
        .filter(|text| text.chars().all(plain))?
        .parse()
        .ok()?;
    Some(number * per).filter(|seconds| seconds.is_finite())
}

#[expect(clippy::cast_precision_loss, reason = "whole seconds of this size are exact")]
fn seconds(whole: i64) -> f64 {
    whole.min(1 << 50) as f64
}

#[cfg(test)]
mod tests;
