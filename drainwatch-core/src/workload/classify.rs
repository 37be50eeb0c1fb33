//! From a cgroup's path to what it is: a table of the shapes that container runtimes, orchestrators
//! and systemd give their cgroups. Pure: no I/O, no state, any input.
//!
//! A path is read from its innermost component outwards, and the first component that a rule knows
//! decides: in a node that is itself a container, the container of the pod is the workload, not the
//! node; and whatever stands before a known component says nothing. What lies below belongs to it,
//! slices and `init.scope` of a container's own systemd too.
//!
//! | shape | kind | name |
//! |---|---|---|
//! | container of a pod, both cgroup drivers, every runtime, colon form | `kubernetes` | short id |
//! | `docker-<id>.scope`, `docker/<id>`, `<id>`, `<parent>/<id>`; a build step of `BuildKit` | `docker` | short id |
//! | `libpod-<id>.scope`, `libpod_parent/libpod-<id>`, `libpod-payload-<id>` | `podman` | short id |
//! | `cri-containerd-<id>`, `nerdctl-<id>`, `/default/<name>` (ctr) without a pod | `containerd` | short id, or name |
//! | ECS on Fargate, which runs containerd: `<32 hex>-<digits>` | `containerd` | whole id: a task's containers share its beginning |
//! | `crio-<id>` without a pod | `crio` | short id |
//! | `X.service`, `X.socket`, `X.scope` | `systemd` | unit, unescaped |
//! | LXC, Nomad: a cgroup that was made for one service | `cgroup` | the container's, the task's |
//! | anything else | `cgroup` | its path |
//! | root, slices, sessions, user managers, pods as a whole; `conmon`, mounts and the like | `process` | of the process |
//!
//! Below a user's own manager (`user-1000.slice/user@1000.service`) the user makes cgroups of any name. What looks like a
//! container or a pod there is believed of nobody, and a unit is that manager's, not the system's: its name says so.
//!
//! Not told by a path: the sandbox (pause) container of a pod looks like any other; its runtime knows.

use super::text::{shown_name, unescape};

/// Characters of a container id that people and tools show.
const SHORT_ID: usize = 12;

/// What kind of thing a workload is: a closed list, which is only added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A container of a pod.
    Kubernetes,
    /// Docker's.
    Docker,
    /// Podman's.
    Podman,
    /// Of containerd itself: `ctr`, `nerdctl`, or its CRI without a pod; ECS on Fargate.
    Containerd,
    /// Of CRI-O without a pod.
    Crio,
    /// A unit: service, socket or scope.
    Systemd,
    /// A cgroup made for one service: whatever is not known better.
    Cgroup,
    /// A process in a cgroup that holds unrelated ones.
    Process,
}

impl Kind {
    /// As reports and metrics spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
            Self::Crio => "crio",
            Self::Systemd => "systemd",
            Self::Cgroup => "cgroup",
            Self::Process => "process",
        }
    }
}

/// What a cgroup is to the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupRole {
    /// A container, or a unit, or something inside it.
    Known,
    /// A cgroup of no known shape: made for one service, presumably.
    Bare,
    /// It holds unrelated processes.
    Shared,
    /// A helper of a runtime, or of systemd: not a workload.
    Helper,
}

/// Quality of service of a pod, by the cgroup that it lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    /// No cgroup of its own.
    Guaranteed,
    /// `burstable`.
    Burstable,
    /// `besteffort`.
    BestEffort,
}

/// What a path says of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.uid`, with `-`; of a static pod 32 hexadecimal digits (its
    /// `kubernetes.io/config.hash`, which the mirror pod carries as an annotation).
    pub uid: String,
    /// Quality of service.
    pub qos: Qos,
}

/// What a path says. Text in it is bounded and free of control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What the cgroup is to the workload.
    pub role: CgroupRole,
    /// What kind of thing the workload is.
    pub kind: Kind,
    /// Short id of a container, unit, path; empty where the process gives the name. At most [`NAME`](super::text::NAME) bytes.
    pub name: String,
    /// Whole container id.
    pub container_id: Option<String>,
    /// The pod, of a container that is in one.
    pub pod: Option<Pod>,
    /// It lies below a user's own manager: its path says what that user wants.
    pub by_user: bool,
    /// Bytes of the path up to the end of the workload's own cgroup.
    own: usize,
}

impl Identity {
    /// The part of `path`, which it was made from, that is the workload's own cgroup.
    pub fn own<'p>(&self, path: &'p str) -> &'p str {
        path.get(..self.own).unwrap_or(path)
    }

    /// Whether processes in this cgroup have nothing to do with each other.
    pub fn is_shared(&self) -> bool {
        matches!(self.role, CgroupRole::Shared | CgroupRole::Helper)
    }
}

/// A component of a path, and what is above it.
#[derive(Debug, Clone, Copy)]
struct Place<'p> {
    name: &'p str,
    /// Up to and without the `/` before the name.
    above: &'p str,
}

impl<'p> Place<'p> {
    fn of(path: &'p str) -> Self {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let above = above.trim_end_matches('/');
        Self { name, above }
    }

    fn parent(self) -> Self {
        Self::of(self.above)
    }
}

/// A rule for a component that needs no taking apart.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Is(&'static str),
    Begins(&'static str),
    Ends(&'static str),
    /// Beginning and end.
    Like(&'static str, &'static str),
    /// Directly below a component of this name.
    Below(&'static str),
    /// Parent and name.
    At(&'static str, &'static str),
}

impl Shape {
    fn fits(self, place: Place<'_>) -> bool {
        let Place { name, .. } = place;
        match self {
            Self::Is(whole) => name == whole,
            Self::Begins(start) => name.starts_with(start),
            Self::Ends(end) => name.len() > end.len() && name.ends_with(end),
            Self::Like(start, end) => name.strip_prefix(start).is_some_and(|rest| rest.ends_with(end)),
            Self::Below(parent) => place.parent().name == parent,
            Self::At(parent, whole) => name == whole && place.parent().name == parent,
        }
    }
}

/// Not workloads: monitors of containers, overhead of virtual machines, units that mount or swap.
const HELPERS: &[Shape] = &[
    Shape::Begins("crio-conmon-"),
    Shape::Begins("libpod-conmon-"),
    Shape::At("libpod_parent", "conmon"),
    Shape::Begins("lxc.monitor"),
    Shape::Is("lxc.pivot"),
    Shape::Is("kata_overhead"),
    Shape::Below("kata_overhead"),
    Shape::Ends(".mount"),
    Shape::Ends(".swap"),
];

/// Unrelated processes: `systemd.slice(5)`, `systemd.scope(5)`, `pam_systemd(8)`, `user@.service(5)`,
/// a terminal's tabs, and what the kubelet puts pods into.
const SHARED: &[Shape] = &[
    Shape::Ends(".slice"),
    Shape::Is("init.scope"),
    // What was in the root of a container's hierarchy, where its entry point wants to run containers of its own:
    // https://github.com/moby/moby/blob/master/hack/dind
    Shape::At("", "init"),
    Shape::Like("session-", ".scope"),
    Shape::Like("vte-spawn-", ".scope"),
    Shape::Like("tmux-spawn-", ".scope"),
    Shape::Like("user@", ".service"),
    Shape::Is("kubepods"),
    Shape::Below("kubepods"),
];

/// Units that run processes: `systemd.unit(5)`.
const UNITS: &[Shape] = &[
    Shape::Ends(".service"),
    Shape::Ends(".scope"),
    Shape::Ends(".socket"),
];

/// What runtimes put before a container's id.
const RUNTIMES: &[(&str, Kind)] = &[
    ("cri-containerd", Kind::Containerd),
    ("nerdctl", Kind::Containerd),
    ("docker", Kind::Docker),
    ("crio", Kind::Crio),
    ("libpod-payload", Kind::Podman), // podman --cgroups=split, quadlets
    ("libpod", Kind::Podman),
];

/// Parents that tell whose a bare id below them is; below any other it is Docker's, which lets its users
/// choose the parent.
const PARENTS: &[(&str, Kind)] = &[
    ("default", Kind::Containerd), // nerdctl's namespace, cgroupfs
    ("k8s.io", Kind::Containerd),
    ("libpod_parent", Kind::Podman),
];

/// Namespaces in which containerd's own client puts containers under names that people choose. Only at
/// the root: deeper, such a word means nothing.
const CTR_NAMESPACES: &[&str] = &["default", "k8s.io"];

/// Says what the cgroup of this path is. The path is that of the unified hierarchy, or one that leads
/// there from elsewhere (`/../…`).
pub fn classify(path: &str) -> Identity {
    let mut rest = path.trim_end_matches('/');
    let leaf = Place::of(rest);
    let manager = user_manager(path);
    while !rest.is_empty() {
        let place = Place::of(rest);
        let known = match manager {
            Some(manager) if place.above.len() >= manager.above.len() + 1 + manager.name.len() => {
                of_user(place, manager, rest.len())
            }
            _ => component(place, rest.len()),
        };
        if let Some(identity) = known {
            return identity;
        }
        rest = place.above;
    }
    let root = leaf.name.is_empty();
    if root || is_shared(leaf) {
        return nobody(CgroupRole::Shared, path.len());
    }
    Identity {
        role: CgroupRole::Bare,
        kind: Kind::Cgroup,
        name: shown_name(path),
        container_id: None,
        pod: None,
        by_user: manager.is_some(),
        own: path.len(),
    }
}

/// The user's own service manager that a path leads through.
fn user_manager(path: &str) -> Option<Place<'_>> {
    let mut rest = path;
    while !rest.is_empty() {
        let place = Place::of(rest);
        let slice = Shape::Like("user-", ".slice").fits(place.parent());
        if slice && Shape::Like("user@", ".service").fits(place) {
            return Some(place);
        }
        rest = place.above;
    }
    None
}

/// One component below a user's own manager: a unit of it, or whatever the user wants it to look like.
fn of_user(place: Place<'_>, manager: Place<'_>, own: usize) -> Option<Identity> {
    if HELPERS.iter().any(|shape| shape.fits(place)) {
        return Some(nobody(CgroupRole::Helper, own));
    }
    // Its runtime may say that it is one.
    let id = container(place).map(|(_, id)| id.to_owned());
    let (kind, name) = match unit(place) {
        Some(unit) => (Kind::Systemd, format!("{}/{unit}", manager.name)),
        None if id.is_some() => (Kind::Cgroup, format!("{}/{}", place.above, place.name)),
        None => return None,
    };
    Some(Identity {
        role: CgroupRole::Known,
        kind,
        name: shown_name(&name),
        container_id: id,
        pod: None,
        by_user: true,
        own,
    })
}

/// The rules, in their order, for one component that ends at byte `own`.
fn component(place: Place<'_>, own: usize) -> Option<Identity> {
    if HELPERS.iter().any(|shape| shape.fits(place)) {
        return Some(nobody(CgroupRole::Helper, own));
    }
    let (kind, name, id) = container(place)
        .map(|(kind, id)| (kind, short(id), Some(id)))
        .or_else(|| build_step(place).map(|id| (Kind::Docker, short(id), Some(id))))
        .or_else(|| fargate(place).map(|id| (Kind::Containerd, id.to_owned(), Some(id))))
        .or_else(|| ctr(place).map(|name| (Kind::Containerd, name.to_owned(), None)))
        .or_else(|| lxc(place).map(|name| (Kind::Cgroup, name.to_owned(), None)))
        .or_else(|| nomad(place).map(|task| (Kind::Cgroup, task.to_owned(), None)))
        .or_else(|| unit(place).map(|unit| (Kind::Systemd, unit, None)))?;
    let pod = id.and_then(|_| pod_above(place));
    // A pod's cgroup that cannot be read still is one.
    let in_pod = pod.is_some() || (id.is_some() && pod_cgroup(place).contains("kubepods"));
    Some(Identity {
        role: CgroupRole::Known,
        kind: if in_pod { Kind::Kubernetes } else { kind },
        name: shown_name(&name),
        container_id: id.map(str::to_owned),
        pod,
        by_user: false,
        own,
    })
}

fn nobody(role: CgroupRole, own: usize) -> Identity {
    Identity {
        role,
        kind: Kind::Process,
        name: String::new(),
        container_id: None,
        pod: None,
        by_user: false,
        own,
    }
}

fn is_shared(place: Place<'_>) -> bool {
    // `/kubepods[/<qos>]/pod<uid>`: of the cgroupfs driver, a slice without the name of one.
    SHARED.iter().any(|shape| shape.fits(place)) || place.name.strip_prefix("pod").is_some_and(is_uid)
}

/// `<runtime>-<id>[.scope]`, `<slice>:<runtime>:<id>`, `<id>`.
fn container(place: Place<'_>) -> Option<(Kind, &str)> {
    let name = place.name;
    if is_id(name) {
        let parent = place.parent().name;
        let known = PARENTS.iter().find(|(word, _)| *word == parent);
        return Some((known.map_or(Kind::Docker, |(_, kind)| *kind), name));
    }
    if let Some((before, id)) = name.rsplit_once(':') {
        let runtime = before.rsplit(':').next()?;
        let (_, kind) = RUNTIMES.iter().find(|(word, _)| *word == runtime)?;
        return is_id(id).then_some((*kind, id));
    }
    let name = name.strip_suffix(".scope").unwrap_or(name);
    RUNTIMES.iter().find_map(|(word, kind)| {
        let id = name.strip_prefix(word)?.strip_prefix('-')?;
        is_id(id).then_some((*kind, id))
    })
}

/// `BuildKit`'s ids: 25 digits in base 36, `identity.NewID()`. A word of that length has hardly two digits in it.
fn build_step(place: Place<'_>) -> Option<&str> {
    let id = place.name;
    let digits = id.bytes().filter(u8::is_ascii_digit).count();
    let base36 = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
    (id.len() == 25 && id.bytes().all(base36) && (2..25).contains(&digits)).then_some(id)
}

/// A container of ECS on Fargate: `<task: 32 hex>-<digits>`.
fn fargate(place: Place<'_>) -> Option<&str> {
    let (task, number) = place.name.split_once('-')?;
    let digits = !number.is_empty() && number.len() <= 20 && number.bytes().all(|byte| byte.is_ascii_digit());
    (task.len() == 32 && is_hex(task) && digits).then_some(place.name)
}

/// `/<namespace>/<name>`.
fn ctr(place: Place<'_>) -> Option<&str> {
    let namespace = place.above.trim_start_matches('/');
    (CTR_NAMESPACES.contains(&namespace) && !is_shared(place)).then_some(place.name)
}

/// `lxc.payload.<name>`, `lxc.payload/<name>` and `lxc/<name>`, as LXC's versions have it.
fn lxc(place: Place<'_>) -> Option<&str> {
    let below = ["lxc", "lxc.payload"].contains(&place.parent().name);
    let name = match place.name.strip_prefix("lxc.payload.") {
        Some(name) => name,
        None if below => place.name,
        None => return None,
    };
    (!name.is_empty() && !is_shared(place)).then_some(name)
}

/// `<allocation>.<task>.scope`.
fn nomad(place: Place<'_>) -> Option<&str> {
    let (allocation, task) = place.name.strip_suffix(".scope")?.split_once('.')?;
    (is_uuid(allocation, b'-') && !task.is_empty()).then_some(task)
}

fn unit(place: Place<'_>) -> Option<String> {
    let unit = UNITS.iter().any(|shape| shape.fits(place)) && !is_shared(place);
    unit.then(|| unescape(place.name))
}

/// The component that is the pod's cgroup, if the container is in one: the one above, or of the colon
/// form the first part.
fn pod_cgroup(container: Place<'_>) -> &str {
    match container.name.split_once(':') {
        Some((slice, _)) => slice,
        None => container.parent().name,
    }
}

/// `pod<uid>` or `[…-]kubepods[-<qos>]-pod<uid>.slice`.
fn pod_above(container: Place<'_>) -> Option<Pod> {
    let name = pod_cgroup(container);
    if let Some(uid) = name.strip_prefix("pod").filter(|uid| is_uid(uid)) {
        let qos = qos_of(container.parent().parent().name);
        return Some(Pod {
            uid: dashed(uid),
            qos,
        });
    }
    let (before, uid) = name.strip_suffix(".slice")?.rsplit_once("-pod")?;
    (before.contains("kubepods") && is_uid(uid)).then(|| Pod {
        uid: dashed(uid),
        qos: qos_of(before.rsplit('-').next().unwrap_or_default()),
    })
}

fn qos_of(word: &str) -> Qos {
    match word {
        "burstable" => Qos::Burstable,
        "besteffort" => Qos::BestEffort,
        _ => Qos::Guaranteed,
    }
}

fn dashed(uid: &str) -> String {
    uid.replace('_', "-")
}

/// A pod's uid: a UUID, in slices with `_`; of a static pod 32 digits.
fn is_uid(text: &str) -> bool {
    (text.len() == 32 && is_hex(text)) || is_uuid(text, b'-') || is_uuid(text, b'_')
}

fn is_uuid(text: &str, separator: u8) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == separator,
            _ => byte.is_ascii_hexdigit(),
        })
}

/// A container's id.
fn is_id(text: &str) -> bool {
    text.len() == 64 && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Its first characters, as `docker ps` shows them. Ids are ASCII.
fn short(id: &str) -> String {
    id.chars().take(SHORT_ID).collect()
}

#[cfg(test)]
mod tests;
