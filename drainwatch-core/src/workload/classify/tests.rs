//! Given this path, then the cgroup is that. Ids are made up.

use proptest::prelude::*;

use super::*;
use crate::workload::text::{NAME, PATH, is_harmful, shown_path};

/// A container's id.
const ID: &str = "4c01db0b339c6d9a2f0e1f57a1bd9c2e7b8a3f6d5e4c1b0a9f8e7d6c5b4a3f21";
/// A container's that holds other containers.
const NODE: &str = "99aa88bb77cc66dd55ee44ff33aa22bb11cc00dd99ee88ff77aa66bb55cc44dd";
const UID: &str = "2b532737-5335-442f-9538-367b4566fc0b";
/// The same in a slice's name.
const SLICED: &str = "2b532737_5335_442f_9538_367b4566fc0b";
/// A static pod's.
const HASH: &str = "0b4f7ad6c1d24a5fb0e3a9c8d7e6f5a4";
/// Of a Nomad allocation.
const ALLOCATION: &str = "9f1b3d5c-7a2e-4c6f-8b0d-1e3a5c7f9b2d";
const BUILD: &str = "k2vd9x0q7m4w8s1z6t3y5r0pa";

/// Fills in the ids.
fn path(shape: &str) -> String {
    [
        ("ID", ID),
        ("NODE", NODE),
        ("UID", UID),
        ("SLICED", SLICED),
        ("HASH", HASH),
        ("ALLOC", ALLOCATION),
        ("BUILD", BUILD),
    ]
    .iter()
    .fold(shape.to_owned(), |text, (word, value)| {
        text.replace(&format!("<{word}>"), value)
    })
}

/// Containers of pods: the path up to the container, with what is below it after a `|`.
const PODS: &[(&str, &str, Qos)] = &[
    // cgroupfs driver, any runtime
    ("/kubepods/besteffort/pod<UID>/<ID>", UID, Qos::BestEffort),
    ("/kubepods/burstable/pod<UID>/<ID>", UID, Qos::Burstable),
    ("/kubepods/pod<UID>/<ID>", UID, Qos::Guaranteed),
    ("/kubepods/pod<UID>/<ID>|/sub/leaf", UID, Qos::Guaranteed),
    ("/kubepods/burstable/pod<HASH>/<ID>", HASH, Qos::Burstable),
    (
        "/kubepods/burstable/pod<UID>/crio-<ID>|/container",
        UID,
        Qos::Burstable,
    ),
    // systemd driver: containerd, Docker, CRI-O
    (
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod<SLICED>.slice/cri-containerd-<ID>.scope",
        UID,
        Qos::BestEffort,
    ),
    (
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<SLICED>.slice/docker-<ID>.scope|/init",
        UID,
        Qos::Burstable,
    ),
    (
        "/kubepods.slice/kubepods-pod<SLICED>.slice/crio-<ID>.scope|/container",
        UID,
        Qos::Guaranteed,
    ),
    (
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<HASH>.slice/crio-<ID>",
        HASH,
        Qos::Burstable,
    ),
    (
        "/kubepods.slice/kubepods-pod<SLICED>.slice/cri-containerd-<ID>.scope|/init.scope",
        UID,
        Qos::Guaranteed,
    ),
    // colon form
    (
        "/system.slice/containerd.service/kubepods-burstable-pod<SLICED>.slice:cri-containerd:<ID>",
        UID,
        Qos::Burstable,
    ),
    (
        "/kubepods-pod<SLICED>.slice:cri-containerd:<ID>|/a",
        UID,
        Qos::Guaranteed,
    ),
    (
        "/k8s.io/kubepods-besteffort-pod<SLICED>.slice:crio:<ID>",
        UID,
        Qos::BestEffort,
    ),
    // nodes inside containers
    (
        "/docker/<NODE>/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod<SLICED>.slice/cri-containerd-<ID>.scope",
        UID,
        Qos::BestEffort,
    ),
    (
        "/system.slice/docker-<NODE>.scope/kubelet/kubepods/burstable/pod<UID>/<ID>",
        UID,
        Qos::Burstable,
    ),
    // from a foreign cgroup namespace
    ("/../../kubepods/burstable/pod<UID>/<ID>", UID, Qos::Burstable),
    (
        "/../kubepods-besteffort-pod<SLICED>.slice/cri-containerd-<ID>.scope",
        UID,
        Qos::BestEffort,
    ),
];

/// Containers without a pod, and what else is a workload. The id is `Some` where the path has one.
const OTHERS: &[(&str, Kind, &str, Option<&str>)] = &[
    // Docker
    ("/docker/<ID>", Kind::Docker, "4c01db0b339c", Some(ID)),
    ("/docker/<ID>|/sub/leaf", Kind::Docker, "4c01db0b339c", Some(ID)),
    (
        "/system.slice/docker-<ID>.scope",
        Kind::Docker,
        "4c01db0b339c",
        Some(ID),
    ),
    (
        "/system.slice/docker-<ID>.scope|/init",
        Kind::Docker,
        "4c01db0b339c",
        Some(ID),
    ),
    ("/<ID>", Kind::Docker, "4c01db0b339c", Some(ID)),
    ("/my-parent/<ID>", Kind::Docker, "4c01db0b339c", Some(ID)),
    (
        "/system.slice:docker:<ID>",
        Kind::Docker,
        "4c01db0b339c",
        Some(ID),
    ),
    (
        "/docker/<NODE>/docker/<ID>|/x",
        Kind::Docker,
        "4c01db0b339c",
        Some(ID),
    ),
    // Podman, rootful, rootless, cgroupfs, inside a unit
    (
        "/machine.slice/libpod-<ID>.scope",
        Kind::Podman,
        "4c01db0b339c",
        Some(ID),
    ),
    (
        "/machine.slice/libpod-<ID>.scope|/container",
        Kind::Podman,
        "4c01db0b339c",
        Some(ID),
    ),
    (
        "/libpod_parent/libpod-<ID>",
        Kind::Podman,
        "4c01db0b339c",
        Some(ID),
    ),
    ("/libpod_parent/<ID>", Kind::Podman, "4c01db0b339c", Some(ID)),
    (
        "/system.slice/web.service/libpod-payload-<ID>",
        Kind::Podman,
        "4c01db0b339c",
        Some(ID),
    ),
    // containerd
    (
        "/system.slice/nerdctl-<ID>.scope",
        Kind::Containerd,
        "4c01db0b339c",
        Some(ID),
    ),
    (
        "/system.slice/cri-containerd-<ID>.scope",
        Kind::Containerd,
        "4c01db0b339c",
        Some(ID),
    ),
    ("/k8s.io/<ID>", Kind::Containerd, "4c01db0b339c", Some(ID)),
    ("/default/<ID>", Kind::Containerd, "4c01db0b339c", Some(ID)),
    ("/default/redis-1", Kind::Containerd, "redis-1", None),
    ("/default/redis-1|/sub", Kind::Containerd, "redis-1", None),
    // CRI-O
    (
        "/system.slice/crio-<ID>.scope",
        Kind::Crio,
        "4c01db0b339c",
        Some(ID),
    ),
    // a pod that cannot be read still is one
    (
        "/kubepods.slice/kubepods-pododd.slice/cri-containerd-<ID>.scope",
        Kind::Kubernetes,
        "4c01db0b339c",
        Some(ID),
    ),
    ("/kubepods/<ID>", Kind::Kubernetes, "4c01db0b339c", Some(ID)),
    // ECS: on EC2, and on Fargate
    ("/ecs/<HASH>/<ID>", Kind::Docker, "4c01db0b339c", Some(ID)),
    (
        "/ecs/<HASH>/<HASH>-1234567890",
        Kind::Containerd,
        "0b4f7ad6c1d24a5fb0e3a9c8d7e6f5a4-1234567890",
        Some("0b4f7ad6c1d24a5fb0e3a9c8d7e6f5a4-1234567890"),
    ),
    // BuildKit
    (
        "/docker/buildkit/<BUILD>",
        Kind::Docker,
        "k2vd9x0q7m4w",
        Some(BUILD),
    ),
    (
        "/system.slice/docker.service/buildkit/<BUILD>|/sub",
        Kind::Docker,
        "k2vd9x0q7m4w",
        Some(BUILD),
    ),
    // LXC, Nomad: closest is a cgroup made for one service
    ("/lxc/web-1", Kind::Cgroup, "web-1", None),
    ("/lxc/web-1|/init.scope", Kind::Cgroup, "web-1", None),
    ("/lxc.payload.web-1", Kind::Cgroup, "web-1", None),
    ("/lxc.payload.web-1|/system.slice", Kind::Cgroup, "web-1", None),
    ("/lxc.payload/web-1", Kind::Cgroup, "web-1", None),
    ("/nomad.slice/<ALLOC>.web.scope", Kind::Cgroup, "web", None),
    (
        "/nomad.slice/share.slice/<ALLOC>.web.api.scope|/x",
        Kind::Cgroup,
        "web.api",
        None,
    ),
    (
        "/nomad.slice/share.slice/docker-<ID>.scope",
        Kind::Docker,
        "4c01db0b339c",
        Some(ID),
    ),
    // systemd
    (
        "/system.slice/nginx.service",
        Kind::Systemd,
        "nginx.service",
        None,
    ),
    (
        "/system.slice/nginx.service|/worker/1",
        Kind::Systemd,
        "nginx.service",
        None,
    ),
    (
        "/runtime.slice/containerd.service",
        Kind::Systemd,
        "containerd.service",
        None,
    ),
    (
        "/reserved.slice/kubelet.service",
        Kind::Systemd,
        "kubelet.service",
        None,
    ),
    (
        "/kube.slice/a.slice/kubelet.service",
        Kind::Systemd,
        "kubelet.service",
        None,
    ),
    (
        "/system.slice/system-getty.slice/getty@tty1.service",
        Kind::Systemd,
        "getty@tty1.service",
        None,
    ),
    (
        "/system.slice/my\\x2dapp.service",
        Kind::Systemd,
        "my-app.service",
        None,
    ),
    (
        "/system.slice/a\\x2fb\\x5cc.service",
        Kind::Systemd,
        "a/b\\c.service",
        None,
    ),
    ("/system.slice/sshd.socket", Kind::Systemd, "sshd.socket", None),
    (
        "/user.slice/user-1000.slice/user@1000.service/app.slice/api.service",
        Kind::Systemd,
        "user@1000.service/api.service",
        None,
    ),
    (
        "/system.slice/run-r0123.scope",
        Kind::Systemd,
        "run-r0123.scope",
        None,
    ),
    (
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-editor-42.scope",
        Kind::Systemd,
        "user@1000.service/app-gnome-editor-42.scope",
        None,
    ),
    // units inside containers are units
    (
        "/docker/<NODE>/system.slice/containerd.service",
        Kind::Systemd,
        "containerd.service",
        None,
    ),
    (
        "/lxc.payload.web-1/system.slice/nginx.service",
        Kind::Systemd,
        "nginx.service",
        None,
    ),
    // what only resembles a container is a unit, or bare
    (
        "/system.slice/docker-0123.scope",
        Kind::Systemd,
        "docker-0123.scope",
        None,
    ),
];

/// Path, and the part of it that is the workload.
fn with_own(shape: &str) -> (String, String) {
    let own = shape.split('|').next().unwrap_or_default();
    (path(&shape.replace('|', "")), path(own))
}

#[test]
fn given_a_container_of_a_pod_then_its_pod_and_the_containers_own_cgroup_are_known() {
    for (shape, uid, qos) in PODS {
        let (path, own) = with_own(shape);
        let identity = classify(&path);
        assert_eq!(
            (identity.role, identity.kind, identity.name.as_str()),
            (CgroupRole::Known, Kind::Kubernetes, "4c01db0b339c"),
            "{path}"
        );
        assert_eq!(identity.container_id.as_deref(), Some(ID), "{path}");
        let pod = Pod {
            uid: (*uid).to_owned(),
            qos: *qos,
        };
        assert_eq!(identity.pod, Some(pod), "{path}");
        assert_eq!(identity.own(&path), own);
    }
}

#[test]
fn given_any_other_workload_then_its_kind_name_id_and_own_cgroup_are_known() {
    for (shape, kind, name, id) in OTHERS {
        let (path, own) = with_own(shape);
        let identity = classify(&path);
        assert_eq!(
            (identity.role, identity.kind, identity.name.as_str()),
            (CgroupRole::Known, *kind, *name),
            "{path}"
        );
        assert_eq!(
            (identity.container_id.as_deref(), &identity.pod),
            (*id, &None),
            "{path}"
        );
        assert_eq!(identity.own(&path), own);
    }
}

#[test]
fn given_a_cgroup_of_no_known_shape_then_it_is_its_own_workload_and_its_path_the_name() {
    for shape in [
        "/web",
        "/web/sub",
        "/drainwatch-test-123-4",
        "/drainwatch-demo-1",
        "/docker",
        "/docker/0123",
        "/user.slice/user-1000.slice/session-3.scope/web",
        "/web/default/redis",
        "/abcdefghijklmnopqrstuvwxy", // 25 letters
        "/<HASH>",
        "/web/conmon",
        "/..",
    ] {
        let path = path(shape);
        let identity = classify(&path);
        assert_eq!(
            (identity.role, identity.kind, identity.name.as_str()),
            (CgroupRole::Bare, Kind::Cgroup, path.as_str())
        );
        assert_eq!(identity.own(&path), path);
        assert!(!identity.is_shared());
    }
}

#[test]
fn given_a_look_alike_below_a_users_own_manager_then_it_is_that_managers_unit_or_nothing_known() {
    let manager = "/user.slice/user-1000.slice/user@1000.service";
    for (below, unit) in [
        ("user.slice/docker-<ID>.scope", Some("docker-<ID>.scope")),
        (
            "user.slice/libpod-<ID>.scope/container",
            Some("libpod-<ID>.scope"),
        ),
        ("system.slice/sshd.service", Some("sshd.service")),
        (
            "kubepods.slice/kubepods-pod<SLICED>.slice/cri-containerd-<ID>.scope",
            Some("cri-containerd-<ID>.scope"),
        ),
        ("kubepods/pod<UID>/<ID>", None),
        ("docker/<ID>", None),
        ("lxc/web", None),
    ] {
        let (path, _) = with_own(&format!("{manager}/{below}"));
        let (unit, _) = with_own(unit.unwrap_or_default());
        let identity = classify(&path);
        let (kind, name) = if unit.is_empty() {
            (Kind::Cgroup, path.clone())
        } else {
            (Kind::Systemd, format!("user@1000.service/{unit}"))
        };
        assert_eq!((identity.kind, identity.name), (kind, name), "{path}");
        assert!(identity.by_user && identity.pod.is_none(), "{path}");
    }
}

#[test]
fn given_a_cgroup_of_unrelated_processes_or_of_a_helper_then_each_process_is_on_its_own() {
    let shared = [
        "",
        "/",
        "/user.slice",
        "/system.slice",
        "/init.scope",
        "/init",
        "/user.slice/user-1000.slice/session-3.scope",
        "/user.slice/user-1000.slice/user@1000.service",
        "/user.slice/user-1000.slice/user@1000.service/init.scope",
        "/user.slice/user-1000.slice/user@1000.service/app.slice/vte-spawn-9f1b3d5c-7a2e.scope",
        "/kubepods",
        "/kubepods/besteffort",
        "/kubepods/besteffort/pod<UID>",
        "/kubepods/pod<HASH>",
        "/kubepods.slice/kubepods-pod<SLICED>.slice",
    ];
    let helpers = [
        "/kubepods.slice/kubepods-pod<SLICED>.slice/crio-conmon-<ID>.scope",
        "/system.slice/crio-conmon-<ID>",
        "/machine.slice/libpod-conmon-<ID>.scope",
        "/libpod_parent/conmon",
        "/libpod_parent/conmon/sub",
        "/lxc.monitor.web-1",
        "/kata_overhead/<ID>",
        "/system.slice/home.mount",
        "/system.slice/dev-sda2.swap",
    ];
    for (shapes, role) in [
        (&shared[..], CgroupRole::Shared),
        (&helpers[..], CgroupRole::Helper),
    ] {
        for shape in shapes {
            let path = path(shape);
            let identity = classify(&path);
            assert_eq!((identity.role, identity.kind), (role, Kind::Process), "{path}");
            assert!(identity.is_shared() && identity.name.is_empty());
        }
    }
}

#[test]
fn given_the_recorded_line_of_a_container_then_it_is_that_container_of_that_pod() {
    // `hierarchy:controllers:path`, cgroups(7).
    let line = include_str!("proc-cgroup.txt").trim();
    let identity = classify(line.splitn(3, ':').nth(2).unwrap());
    assert_eq!(
        (identity.kind, identity.name.as_str()),
        (Kind::Kubernetes, "85e0230aa137")
    );
    assert_eq!(
        identity.container_id.as_deref(),
        Some("85e0230aa13745e44e0b582577fe9616d38dcaeb9c7d6c04751afbd18eefa400")
    );
    let pod = Pod {
        uid: UID.to_owned(),
        qos: Qos::BestEffort,
    };
    assert_eq!(identity.pod, Some(pod));
}

#[test]
fn given_a_path_with_colons_then_the_container_is_found() {
    let colons = path("/system.slice/containerd.service/kubepods-pod<SLICED>.slice:cri-containerd:<ID>");
    assert_eq!(classify(&colons).container_id.as_deref(), Some(ID));
}

#[test]
fn given_a_name_that_is_too_long_then_its_end_is_shown_and_a_path_keeps_its_beginning() {
    let long = format!("/system.slice/{}é-end.service", "x".repeat(400));
    let name = classify(&long).name;
    assert!(
        name.starts_with('…') && name.ends_with("xxé-end.service") && name.len() <= NAME,
        "{name}"
    );
    let exact = format!("/{}", "y".repeat(NAME - 1));
    assert_eq!(classify(&exact).name, exact);
    let path = shown_path(&format!("/web{}", "é".repeat(PATH)));
    assert!(path.starts_with("/webé") && (PATH - 1..=PATH).contains(&path.len()));
}

#[test]
fn given_control_characters_then_they_are_shown_escaped() {
    assert_eq!(shown_path("/a\x1b[2Jb\n\u{202e}c"), "/a\\x1b[2Jb\\x0a\\u{202e}c");
    assert_eq!(classify("/system.slice/a\\x1bb.service").name, "a\\x1bb.service");
}

/// `systemd.unit(5)`: everything but letters, digits, `:`, `_` and `.` becomes `\xNN`; here `/` too.
fn systemd_escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => char::from(byte).to_string(),
            _ => format!("\\x{byte:02x}"),
        })
        .collect()
}

fn hostile() -> impl Strategy<Value = String> {
    // Pieces of known shapes, shuffled, among anything.
    let words = prop::sample::select(vec![
        "/",
        "//",
        "..",
        ":",
        "-",
        ".",
        "kubepods",
        "pod",
        ".slice",
        ".scope",
        ".service",
        "docker-",
        "crio-",
        "libpod-",
        "cri-containerd",
        "\\x",
        "\\x2d",
        "\\xff",
        "lxc",
        "default",
        "user@",
        "session-",
        "\u{1b}",
        "\0",
        "\n",
        "é",
        "\u{202e}",
        ID,
        UID,
        SLICED,
        HASH,
        BUILD,
        ALLOCATION,
    ]);
    let piece = prop_oneof![words.prop_map(str::to_owned), any::<String>()];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_stands_before_a_known_shape_says_nothing(
        before in "(/[a-zA-Z0-9@._:\\\\-]{1,20}){0,5}|(/\\.\\.){1,4}|/docker/[0-9a-f]{64}(/[a-z]{1,9}){0,2}",
        pod in prop::sample::select(PODS), other in prop::sample::select(OTHERS),
    ) {
        let shapes = [pod.0, other.0];
        // A bare id is told by its parent, and `ctr`'s names are known at the root only.
        let rooted = |shape: &str| ["/<ID>", "/default/redis"].iter().any(|start| shape.starts_with(start));
        for shape in shapes.iter().filter(|shape| !rooted(shape)) {
            let (path, own) = with_own(shape);
            let alone = classify(&path);
            let below = format!("{before}{path}");
            let identity = classify(&below);
            prop_assert_eq!(identity.own(&below), format!("{before}{own}"));
            prop_assert_eq!(Identity { own: alone.own, ..identity }, alone);
        }
    }

    #[test]
    fn hostile_paths_stay_bounded_and_free_of_control_characters(
        path in prop_oneof![hostile(), (hostile(), 0usize..600).prop_map(|(text, times)| text.repeat(times))]
    ) {
        let shown = shown_path(&path);
        prop_assert!(shown.len() <= PATH);
        for path in [path, shown.clone()] {
            let identity = classify(&path);
            let id = identity.container_id.clone().unwrap_or_default();
            prop_assert!(identity.name.len() <= NAME && id.len() <= NAME);
            let texts = [&shown, &identity.name, &id];
            prop_assert!(texts.iter().all(|text| !text.chars().any(is_harmful)), "{texts:?}");
            let own = identity.own(&path);
            prop_assert!(path.starts_with(own));
            // What is a workload's own cgroup is so by itself too.
            if identity.role == CgroupRole::Known {
                prop_assert_eq!(classify(own), identity);
            }
        }
    }

    #[test]
    fn a_units_escaped_name_is_read_as_it_was(name in "[^\\p{C}]{1,40}") {
        prop_assert_eq!(unescape(&systemd_escape(&name)), name);
    }

    #[test]
    fn unescaping_never_panics(name in hostile()) {
        prop_assert!(unescape(&name).len() <= name.len());
    }
}
