//! A pod is deleted, traffic goes on for a while, the stop signal comes.

use super::{
    naming::{UID, WEB_CGROUP, container_path, pod, pod_scene, web},
    scene::{Scene, WALL_MS, answered, codes},
};
use crate::{
    description::{Description, Pod, Subject},
    event::EventKind,
    report::{FindingCode, Report},
    tracker::Effect,
};

fn deleted(wall_ms: i64) -> Description {
    Description::Pod(Pod {
        deleted_ms: Some(WALL_MS + wall_ms),
        ..pod()
    })
}

/// A described pod that serves.
fn serving() -> Scene {
    let mut scene = pod_scene();
    scene.describe(5, Description::Pod(pod()));
    scene.listen(6, &web(), 80);
    scene
}

fn marked(effects: &[Effect]) -> Vec<(u64, bool)> {
    let marks = effects.iter().filter_map(|effect| match effect {
        Effect::MarkCgroup { cgroup } => Some((*cgroup, true)),
        Effect::UnmarkCgroup { cgroup } => Some((*cgroup, false)),
        _ => None,
    });
    marks.collect()
}

fn stop(scene: &mut Scene, at: u64) -> Report {
    scene.term(at, &web());
    scene.exit(at + 100, &web(), 0);
    scene.push(at + 101, EventKind::CgroupEmptied { cgroup: WEB_CGROUP });
    scene.push(at + 102, EventKind::CgroupRemoved { cgroup: WEB_CGROUP });
    scene.report()
}

#[test]
fn what_arrives_between_the_deletion_and_the_stop_signal_is_the_endpoints_lag() {
    let mut scene = serving();
    let effects = scene.describe(10_400, deleted(10_000));
    assert!(marked(&effects).contains(&(WEB_CGROUP, true)));
    scene.arrived(11_400, 11_500, &web(), answered(11_400, 11_450));
    // On a connection that stood before, which says nothing of where traffic is sent.
    scene.exchange(14_500, &web(), answered(14_400, 14_450));
    let report = stop(&mut scene, 15_400);
    assert_eq!(
        report.deleted_at.as_deref(),
        Some("2026-01-01T00:00:10.400Z"),
        "when it was heard of"
    );
    assert_eq!(report.endpoint_lag_ms, Some(1000.0));
    assert_eq!(report.ready_at_stop, Some(true));
    assert_eq!(
        codes(&report),
        [] as [FindingCode; 0],
        "nothing came after the stop signal"
    );
    assert_eq!(scene.tracker.next_deadline(), None);
    let marks = marked(&scene.effects);
    assert!(marks.contains(&(WEB_CGROUP, false)), "{marks:?}");
}

#[test]
fn arrivals_after_the_stop_signal_count_from_the_deletion_too() {
    let mut scene = serving();
    scene.describe(10_400, deleted(10_000));
    scene.term(12_400, &web());
    scene.arrived(13_000, 13_400, &web(), answered(13_000, 13_300));
    let report = stop(&mut scene, 13_500);
    assert_eq!(report.endpoint_lag_ms, Some(2600.0));
    assert!(codes(&report).contains(&FindingCode::TrafficAfterStop));
}

#[test]
fn without_an_arrival_after_the_deletion_there_is_no_lag() {
    let mut scene = serving();
    scene.describe(10_400, deleted(10_000));
    let report = stop(&mut scene, 15_400);
    assert_eq!(report.endpoint_lag_ms, None);
}

#[test]
fn news_of_a_deletion_that_come_late_have_its_time_by_the_clock() {
    let mut scene = serving();
    scene.describe(20_000, deleted(10_000));
    let report = stop(&mut scene, 25_000);
    assert_eq!(report.deleted_at.as_deref(), Some("2026-01-01T00:00:10.000Z"));
}

#[test]
fn a_stop_signal_that_is_quicker_than_the_news_of_the_deletion_is_of_it_and_an_earlier_one_is_not() {
    for (told_ms, at) in [(9_000, Some("2026-01-01T00:00:10.000Z")), (11_000, None)] {
        let mut scene = serving();
        scene.term(10_000, &web());
        scene.describe(11_000, deleted(told_ms));
        let report = stop(&mut scene, 11_200);
        assert_eq!(report.deleted_at.as_deref(), at, "told {told_ms}");
    }
}

#[test]
fn a_deletion_that_nothing_comes_of_is_forgotten_and_its_marks_with_it() {
    let mut scene = serving();
    scene.describe(10_400, deleted(10_000));
    let effects = scene.create(11_000, 33, &format!("{}/sub", container_path(WEB_CGROUP)));
    assert_eq!(marked(&effects), [(33, true)]);
    scene.undescribe(12_000, Subject::Pod(UID.into()));
    assert!(scene.finish().is_empty());
    let mut marks = marked(&scene.effects);
    marks.retain(|(_, set)| !set);
    let unmarked: Vec<u64> = marks.into_iter().map(|(cgroup, _)| cgroup).collect();
    assert!(
        unmarked.contains(&WEB_CGROUP) && unmarked.contains(&33),
        "{unmarked:?}"
    );
}

#[test]
fn a_kill_whose_stop_signal_may_have_come_before_the_agent_is_not_said_to_have_had_no_grace() {
    for (deleted_ms, expected) in [(-5_000, vec![]), (1_000, vec![FindingCode::NoGrace])] {
        let mut scene = serving();
        scene.describe(1_200, deleted(deleted_ms));
        scene.kill(20_000, &web());
        scene.died(20_001, &web(), 9);
        scene.push(20_002, EventKind::CgroupEmptied { cgroup: WEB_CGROUP });
        scene.push(20_003, EventKind::CgroupRemoved { cgroup: WEB_CGROUP });
        assert_eq!(codes(&scene.report()), expected, "deleted at {deleted_ms}");
    }
}
