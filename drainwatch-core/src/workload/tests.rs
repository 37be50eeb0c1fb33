use super::*;

#[test]
fn a_removed_cgroup_keeps_its_path_until_many_others_were_removed() {
    let mut names = Names::default();
    names.created(1, "/web");
    names.removed(1);
    assert_eq!(names.path(1), "/web");
    for id in 2..=TOMBSTONES as u64 + 1 {
        names.created(id, "/other");
        names.removed(id);
    }
    assert_eq!(names.path(1), "cgroup:1");
    assert_eq!(names.cgroups.len(), TOMBSTONES);
}

#[test]
fn a_cgroup_that_came_back_is_not_forgotten_with_its_tombstone() {
    let mut names = Names::default();
    names.created(1, "/web");
    names.removed(1);
    names.created(1, "/web2");
    for id in 2..=TOMBSTONES as u64 + 2 {
        names.created(id, "/other");
        names.removed(id);
    }
    assert_eq!(names.path(1), "/web2");
}

#[test]
fn a_cgroup_lies_within_itself_and_its_ancestors_only() {
    let mut names = Names::default();
    for (id, path) in [(1, "/"), (2, "/web"), (3, "/web/a"), (4, "/website")] {
        names.created(id, path);
    }
    assert!(names.is_within(3, 2) && names.is_within(3, 1) && names.is_within(2, 2));
    assert!(!names.is_within(4, 2) && !names.is_within(2, 3) && !names.is_within(9, 2));
}

/// A container with a sub-cgroup of a sub-cgroup, a unit and another container inside it.
fn container() -> (Names, String) {
    let mut names = Names::default();
    let own = format!("/system.slice/docker-{}.scope", "0a".repeat(32));
    for (id, below) in [
        (1, String::new()),
        (2, "/sub".to_owned()),
        (3, "/sub/leaf".to_owned()),
        (4, "/init.scope".to_owned()),
        (5, "/system.slice/db.service".to_owned()),
        (6, format!("/docker/{}", "0b".repeat(32))),
        (7, format!("/docker/{}/sub", "0b".repeat(32))),
    ] {
        names.created(id, &format!("{own}{below}"));
    }
    (names, own)
}

fn process() -> Process {
    crate::tracker::tests::scene::process(100)
}

#[test]
fn sub_cgroups_belong_to_their_container_and_what_has_an_identity_of_its_own_does_not() {
    let (names, _) = container();
    let workloads: Vec<u64> = (1..=7).map(|id| names.workload_cgroup(id)).collect();
    assert_eq!(workloads, [1, 1, 1, 1, 5, 6, 6]);
    assert_eq!(names.members(1).collect::<Vec<_>>(), [1, 4, 2, 3]);
    assert_eq!(names.members(6).collect::<Vec<_>>(), [6, 7]);
    assert!(!names.is_shared(4), "the container's own init.scope");
    assert!(names.belongs(3, 1) && !names.belongs(7, 1) && !names.belongs(5, 1));
    assert!(names.same_workload(3, 4) && !names.same_workload(3, 7));
}

#[test]
fn a_process_in_a_sub_cgroup_has_its_containers_name() {
    let (names, own) = container();
    let workload = names.name(3, &process());
    assert_eq!(
        (workload.kind.as_str(), workload.name.as_str(), workload.cgroup),
        ("docker", "0a0a0a0a0a0a", own)
    );
    assert_eq!(workload.container_id, Some("0a".repeat(32)));
    assert_eq!(names.name(3, &process()), names.name(1, &process()));
    assert_eq!(names.name(5, &process()).name, "db.service");
    assert_eq!(names.name(4711, &process()).name, "cgroup:4711");
}

#[test]
fn a_bare_cgroup_is_its_own_workload_and_what_lies_below_it_goes_with_it() {
    let mut names = Names::default();
    for (id, path) in [(1, "/"), (2, "/web"), (3, "/web/a"), (4, "/website")] {
        names.created(id, path);
    }
    assert_eq!(names.workload_cgroup(3), 3);
    assert!(names.belongs(3, 2) && !names.belongs(4, 2) && !names.belongs(2, 3));
    assert_eq!(names.members(2).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(names.members(9).count(), 0);
}

#[test]
fn a_sub_cgroup_of_a_removed_unit_does_not_pass_to_the_next_one_of_that_path() {
    let mut names = Names::default();
    for (unit, sub) in [(1, 2), (3, 4)] {
        names.created(unit, "/system.slice/web.service");
        names.created(sub, "/system.slice/web.service/sub");
        names.removed(sub);
        names.removed(unit);
    }
    assert_eq!((names.workload_cgroup(2), names.workload_cgroup(4)), (1, 3));
    assert_eq!(names.members(1).count() + names.members(3).count(), 0);
    names.created(5, "/system.slice/web.service");
    assert_eq!(names.members(5).collect::<Vec<_>>(), [5]);
}

#[test]
fn a_sub_cgroup_whose_container_was_never_announced_stands_for_itself_under_its_name() {
    let mut names = Names::default();
    names.created(2, &format!("/docker/{}/sub", "0a".repeat(32)));
    assert_eq!(names.workload_cgroup(2), 2);
    assert_eq!(names.name(2, &process()).name, "0a0a0a0a0a0a");
}

#[test]
fn a_container_of_a_user_is_named_by_its_runtime_unless_that_has_it_elsewhere() {
    let (mut names, id) = (Names::default(), "0a".repeat(32));
    let of_user = format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope");
    names.created(7, &of_user);
    let container = crate::description::Container {
        origin: Origin::Podman,
        id: id.clone(),
        name: "shop".into(),
        image: None,
        project: None,
        service: None,
        stop_signal: None,
        grace_seconds: None,
        revision: None,
        restarted_ms: None,
        addresses: Vec::new(),
    };
    names.describe(Description::Container(container));
    assert_eq!(
        (names.named(7).kind, names.named(7).name),
        ("podman".into(), "shop".into())
    );
    names.created(8, &format!("/machine.slice/libpod-{id}.scope"));
    assert_eq!(names.named(8).name, "shop");
    assert_eq!(
        names.named(7).name,
        format!("user@1000.service/libpod-{id}.scope")
    );
}

#[test]
fn a_user_that_makes_cgroups_without_end_pushes_out_nobody_elses() {
    let mut names = Names::default();
    names.created(1, "/system.slice/web.service");
    for id in 2..=2 * (LIVING + TOMBSTONES) as u64 {
        names.created(
            id,
            &format!("/user.slice/user-1000.slice/user@1000.service/{}/{id}", id % 7),
        );
    }
    assert_eq!(names.path(1), "/system.slice/web.service");
    assert_eq!(names.cgroups.len(), 1 + LIVING / 2);
    names.created(3_000_000, "/system.slice/late.service");
    assert_eq!(names.path(3_000_000), "/system.slice/late.service");
}

#[test]
fn the_oldest_of_too_many_cgroups_is_forgotten_with_its_path() {
    let mut names = Names::default();
    let most = (LIVING + TOMBSTONES) as u64;
    for id in 1..=most + 1 {
        names.created(id, &format!("/of{}/c{id}", id % 4));
    }
    assert_eq!(names.path(1), "cgroup:1");
    assert_eq!(
        (names.cgroups.len(), names.living.len()),
        (LIVING + TOMBSTONES, LIVING + TOMBSTONES)
    );
}
