use drainwatch_core::{
    event::{EventKind, Listener, Process},
    report::{Trigger, Verdict},
    testing::report,
    tracker::Effect,
};

use super::*;
use crate::outlets::metrics::Metrics;

fn event(at_ns: u64, kind: EventKind) -> Event {
    Event { at_ns, kind }
}

fn created(cgroup: u64) -> Event {
    event(
        cgroup,
        EventKind::CgroupCreated {
            cgroup,
            path: format!("/c{cgroup}"),
            seeded: false,
        },
    )
}

fn removed(cgroup: u64) -> Event {
    event(cgroup + 100, EventKind::CgroupRemoved { cgroup })
}

fn listener(cgroup: u64, still_open: u32) -> Listener {
    Listener {
        process: Process {
            pid: 7,
            parent: 1,
            ns_pid: 7,
            started_ns: 1,
            cgroup,
            comm: "web".into(),
            pid1: false,
            served: true,
            served_more: false,
            called: false,
            exiting: false,
            signalled: false,
            parent_in_cgroup: false,
            unrecorded: false,
            untold: false,
        },
        local: "127.0.0.1:80".parse().unwrap(),
        netns: 1,
        backlog: 0,
        handshakes: 0,
        still_open,
        found: false,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as it is written and read")]
fn at(at: u64) -> Option<Position> {
    Some(Position { ring: 3, at })
}

fn events(past: &Past) -> Vec<Event> {
    past.events().unwrap().collect()
}

fn counted() -> Saved {
    let mut metrics = Metrics::new(&drainwatch_core::class::Classes::default()).unwrap();
    metrics.apply(
        &Effect::Finished(Box::new(report("r", "/svc", Verdict::Severed))),
        1,
    );
    metrics.save(0)
}

#[test]
fn given_a_journal_when_the_agent_was_killed_then_the_next_one_reads_its_events_its_position_and_what_was_told()
 {
    let dir = tempfile::tempdir().unwrap();
    {
        let (mut journal, past) = Journal::open(dir.path(), "boot").unwrap();
        assert!(events(&past).is_empty());
        journal.append(&[created(1), created(2)], at(16)).unwrap();
        journal.told("r1").unwrap();
        journal.append(&[removed(1)], at(32)).unwrap();
    }
    for _ in 0..2 {
        let (_, past) = Journal::open(dir.path(), "boot").unwrap();
        assert_eq!(events(&past), [created(1), created(2), removed(1)]);
        assert_eq!((past.position, past.told.contains("r1")), (at(32), true));
        assert!(!past.broken);
    }
}

#[test]
fn given_a_batch_that_was_not_written_whole_then_none_of_it_counts_and_what_follows_is_whole_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), "boot").unwrap();
    journal.append(&[created(1)], at(16)).unwrap();
    let path = dir.path().join(FILE);
    let whole = fs::read(&path).unwrap();
    journal.append(&[created(2), created(3)], at(48)).unwrap();
    drop(journal);
    let more = fs::read(&path).unwrap();
    for cut in whole.len()..more.len() - 1 {
        fs::write(&path, &more[..cut]).unwrap();
        let (mut journal, past) = Journal::open(dir.path(), "boot").unwrap();
        assert_eq!(
            (events(&past), past.position),
            (vec![created(1)], at(16)),
            "cut at {cut}"
        );
        journal.append(&[created(9)], at(64)).unwrap();
        let (_, past) = Journal::open(dir.path(), "boot").unwrap();
        assert_eq!(
            (events(&past), past.position),
            (vec![created(1), created(9)], at(64))
        );
    }
}

#[test]
fn given_another_boot_then_only_what_was_counted_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), "boot").unwrap();
    journal.append(&[created(1)], at(16)).unwrap();
    journal.compact(&counted(), 7, false).unwrap();
    let (_, past) = Journal::open(dir.path(), "another").unwrap();
    assert_eq!((events(&past), past.position), (vec![], None));
    assert_eq!(past.counters, Some(counted()));
    let (_, past) = Journal::open(dir.path(), "another").unwrap();
    assert_eq!(past.counters, Some(counted()), "it is carried on");
}

#[test]
fn given_what_is_over_when_left_out_then_what_stands_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), "boot").unwrap();
    let opened = event(5, EventKind::ListenerOpened(listener(2, 1)));
    let tick = event(6, EventKind::Tick { wall_ns: 1 });
    let all = [
        created(1),
        created(2),
        opened.clone(),
        event(
            6,
            EventKind::ListenerOpened(Listener {
                found: true,
                ..listener(2, 1)
            }),
        ),
        event(7, EventKind::OomVictim { pid: 3 }),
        event(5, EventKind::Tick { wall_ns: 0 }),
        removed(1),
        tick.clone(),
    ];
    journal.append(&all, at(64)).unwrap();
    journal.compact(&Saved::default(), 7, false).unwrap();
    journal.append(&[created(9)], at(80)).unwrap();
    let (mut journal, past) = Journal::open(dir.path(), "boot").unwrap();
    assert_eq!(events(&past), [created(2), opened, tick.clone(), created(9)]);
    assert_eq!((past.position, past.number), (at(80), 7));
    journal
        .append(&[event(8, EventKind::ListenerClosed(listener(2, 0)))], at(96))
        .unwrap();
    journal.compact(&Saved::default(), 7, false).unwrap();
    let (_, past) = Journal::open(dir.path(), "boot").unwrap();
    assert_eq!(events(&past), [created(2), tick, created(9)]);
}

#[test]
fn given_a_shutdown_under_way_when_it_grew_too_long_then_only_what_may_stand_is_written_until_it_is_whole_again()
 {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), "boot").unwrap();
    journal.append(&[created(1)], at(16)).unwrap();
    journal.compact(&counted(), 7, true).unwrap();
    let oom = event(7, EventKind::OomVictim { pid: 3 });
    journal.append(&[oom.clone(), created(2)], at(32)).unwrap();
    let (mut journal, past) = Journal::open(dir.path(), "boot").unwrap();
    assert!(past.broken && journal.is_long());
    assert_eq!(events(&past), [created(1), created(2)]);
    journal.compact(&counted(), 7, false).unwrap();
    journal.append([&oom], at(48)).unwrap();
    let (_, past) = Journal::open(dir.path(), "boot").unwrap();
    assert_eq!(
        (events(&past), past.broken),
        (vec![created(1), created(2), oom], false)
    );
}

#[test]
fn given_a_file_that_is_no_journal_then_a_new_one_is_begun() {
    for other in [
        "",
        "\n",
        "{}\n",
        "hello",
        "{\"journal\":{\"version\":99,\"boot\":\"boot\"}}\n{\"upto\":null}\n",
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), other).unwrap();
        let (mut journal, past) = Journal::open(dir.path(), "boot").unwrap();
        assert!(events(&past).is_empty() && past.position.is_none(), "{other:?}");
        journal.append(&[created(1)], at(8)).unwrap();
        let (_, past) = Journal::open(dir.path(), "boot").unwrap();
        assert_eq!(events(&past), [created(1)], "{other:?}");
    }
}

#[test]
fn given_counters_when_restored_then_they_go_on_and_nothing_else_is_seen() {
    let counted = counted();
    let mut metrics = Metrics::new(&drainwatch_core::class::Classes::default()).unwrap();
    metrics.restore(counted.clone(), true, 5);
    assert_eq!(metrics.save(0), counted);
    let again = report("r2", "/svc", Verdict::Severed);
    assert_eq!(again.trigger, Trigger::Stop);
    metrics.apply(&Effect::Finished(Box::new(again)), 6);
    assert_ne!(metrics.save(0), counted);
}
