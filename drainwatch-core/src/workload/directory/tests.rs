use super::{super::classify::classify, *};

fn pod(uid: &str, ids: &[&str]) -> Description {
    Description::Pod(Pod {
        uid: uid.into(),
        name: format!("web-{uid}"),
        containers: vec![PodContainer {
            name: "web".into(),
            ids: ids.iter().map(|&id| id.to_owned()).collect(),
            ..PodContainer::default()
        }],
        ..Pod::default()
    })
}

fn found(directory: &Directory, uid: &str, id: &str) -> Option<(String, Option<String>)> {
    let path = format!("/kubepods/burstable/pod{uid}/{id}");
    match directory.find(&classify(&path), &path)? {
        Found::Pod(pod, container) => Some((pod.name.clone(), container.map(|c| c.name.clone()))),
        Found::Container(_) | Found::Unit(_) => None,
    }
}

fn uid(n: usize) -> String {
    format!("{n:032x}")
}

fn id(n: usize) -> String {
    format!("{n:064x}")
}

#[test]
fn a_pod_that_left_stays_known_until_many_others_left() {
    let mut directory = Directory::default();
    for n in 0..=LEFT {
        directory.describe(pod(&uid(n), &[&id(n)]));
        directory.leave(&Subject::Pod(uid(n)));
        directory.leave(&Subject::Pod(uid(n)));
    }
    assert_eq!(found(&directory, &uid(0), &id(0)), None);
    assert!(found(&directory, &uid(1), &id(1)).is_some());
    let Directory {
        entries,
        by_container,
        living,
        left,
        ..
    } = &directory;
    assert_eq!(
        (entries.len(), by_container.len(), living.len(), left.len()),
        (LEFT, LEFT, 0, LEFT)
    );
}

#[test]
fn the_oldest_of_too_many_living_ones_is_forgotten() {
    let mut directory = Directory::default();
    for n in 0..=LIVING {
        directory.describe(pod(&uid(n), &[]));
    }
    assert_eq!(directory.entries.len(), LIVING);
    assert_eq!(found(&directory, &uid(0), &id(0)), None);
}

#[test]
fn a_run_that_the_api_no_longer_tells_of_stays_the_containers() {
    let mut directory = Directory::default();
    for n in 0..3 {
        directory.describe(pod(&uid(0), &[&id(n)]));
    }
    let web = Some((format!("web-{}", uid(0)), Some("web".to_owned())));
    assert_eq!(found(&directory, &uid(0), &id(0)), web);
    for n in 3..100 {
        directory.describe(pod(&uid(0), &[&id(n)]));
    }
    assert_eq!(directory.by_container.len(), RUNS);
    assert_eq!(
        found(&directory, &uid(0), &id(0)),
        Some((format!("web-{}", uid(0)), None))
    );
}

#[test]
fn a_container_whose_path_has_no_pod_is_found_by_its_id() {
    let mut directory = Directory::default();
    directory.describe(pod(&uid(0), &[&id(7)]));
    let path = format!("/system.slice/crio-{}.scope", id(7));
    assert!(matches!(
        directory.find(&classify(&path), &path),
        Some(Found::Pod(_, Some(_)))
    ));
}

#[test]
fn only_what_its_origin_is_expected_to_tell_of_is_awaited() {
    let mut directory = Directory::default();
    let docker = format!("/system.slice/docker-{}.scope", id(1));
    let awaited = |directory: &Directory, path: &str| directory.awaited(&classify(path), path);
    assert_eq!(awaited(&directory, &docker), None);
    for origin in Origin::ALL {
        directory.expect(origin);
    }
    assert_eq!(awaited(&directory, &docker), Some(Origin::Docker));
    assert_eq!(awaited(&directory, "/system.slice/web.service"), None);
    assert_eq!(awaited(&directory, "/web"), None);
    let pod = format!("/kubepods/pod{}/{}", uid(0), id(1));
    assert_eq!(awaited(&directory, &pod), Some(Origin::Kubernetes));
    directory.describe(self::pod(&uid(0), &[]));
    assert_eq!(
        awaited(&directory, &pod),
        Some(Origin::Kubernetes),
        "its id is not listed"
    );
    directory.describe(self::pod(&uid(0), &[&id(1)]));
    assert_eq!(awaited(&directory, &pod), None);
}
