//! What holds for any sequence of events, possible or not.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;

use super::{
    naming::{self, SANDBOX, WEB_CGROUP},
    scene::{SESSION, WALL_MS, WEB, get, local, ns, process},
    sub_cgroups::{CONTAINER, INIT, UNIT, WORKER, container, container_path},
};
use crate::{
    description::{Container, Description, Origin, Pod, PodContainer, PreStop, Subject, Unit},
    event::{
        Asked, Connection, Disposition, End, Event, EventKind, Listener, OtherEnd, Process, Role, Sender,
        Signal,
    },
    exchange::{Exchange, ExchangeState, Operation},
    report::{Cause, Reason, Report, SEVERED_LISTED, TIMELINE_LISTED, Verdict, Workload},
    tracker::{Effect, Tracker, TrackerConfig, deletions::Deletions, naming::NAME_WITHIN_NS},
};

/// Of the scene, and one that nobody told of.
const CGROUPS: [u64; 10] = [
    WEB, 8, SESSION, 1, 4711, CONTAINER, INIT, WORKER, UNIT, WEB_CGROUP,
];

fn any_process() -> impl Strategy<Value = Process> {
    let cgroup = prop_oneof![
        6 => Just(WEB), 2 => Just(8), 2 => Just(SESSION), 1 => Just(1), 1 => Just(4711),
        2 => Just(CONTAINER), 3 => Just(INIT), 2 => Just(WORKER), 1 => Just(UNIT), 3 => Just(WEB_CGROUP),
    ];
    (1u32..8, 0u32..8, cgroup, any::<[bool; 6]>(), 0u64..3).prop_map(|(pid, parent, cgroup, flags, life)| {
        let [pid1, served, called, exiting, signalled, parent_in_cgroup] = flags;
        Process {
            parent,
            cgroup,
            pid1: pid1 && signalled,
            served,
            // Of one that served a single connection what is cut is in no report.
            served_more: served,
            called,
            exiting: exiting && pid1,
            signalled,
            parent_in_cgroup,
            started_ns: ns(life * 3000),
            ..process(pid)
        }
    })
}

fn any_state() -> impl Strategy<Value = ExchangeState> {
    use ExchangeState::{Complete, RequestIncomplete, ResponseIncomplete, Stream, Unanswered, Unknown};
    prop::sample::select(vec![
        RequestIncomplete,
        Unanswered,
        ResponseIncomplete,
        Complete,
        Stream,
        Unknown,
    ])
}

fn any_exchange() -> impl Strategy<Value = Exchange> {
    (any_state(), 0u64..20_000, 0u64..20_000, 0..4).prop_map(|(state, a, b, prober)| {
        let mut exchange = get(state, a.min(b), a.max(b));
        if let (Operation::Http(http), 0) = (&mut exchange.operation, prober) {
            http.prober = Some("kubelet".to_owned());
        }
        exchange
    })
}

fn any_connection() -> impl Strategy<Value = Connection> {
    let ends = vec![
        End::Open,
        End::Exit,
        End::Close,
        End::Unaccepted,
        End::Peer,
        End::Unknown,
    ];
    (
        any_process(),
        0u64..40,
        prop::sample::select(vec![Role::Server, Role::Client, Role::Unknown]),
        prop::sample::select(ends),
        prop::collection::vec(any_exchange(), 0..3),
        any::<bool>(),
        (0u32..2, 0u32..2),
    )
        .prop_map(
            |(process, id, role, end, exchanges, aborted, (unsent, unacked))| Connection {
                id,
                role,
                pid: process.pid,
                cgroup: process.cgroup,
                local: local(80),
                peer: local(1000 + u16::try_from(id).unwrap()),
                netns: 1,
                born_ns: ns(id * 500),
                seeded: aborted,
                end,
                unread: 0,
                unsent,
                unacked,
                aborted,
                remembered: false,
                goodbye: false,
                silent: exchanges.is_empty() && !aborted,
                other_end: match id % 7 {
                    0 => OtherEnd::SameCgroup,
                    1 => OtherEnd::SameProcess,
                    _ => OtherEnd::Elsewhere,
                },
                exchanges,
            },
        )
}

fn any_signal() -> impl Strategy<Value = Signal> {
    let dispositions = vec![
        Disposition::Default,
        Disposition::Handled,
        Disposition::Ignored,
        Disposition::Blocked,
    ];
    let sender = (any_process(), 0..6).prop_map(|(process, kind)| match kind {
        0 => Sender::CgroupKill(process),
        1 => Sender::Kernel(process),
        _ => Sender::Process(process),
    });
    let signals = vec![2, 3, 9, 9, 15, 15, 15, 40, 4000];
    (
        prop::sample::select(signals),
        any_process(),
        sender,
        prop::sample::select(dispositions),
        0..4,
    )
        .prop_map(|(signal, target, sender, disposition, dropped)| Signal {
            signal,
            target,
            sender,
            disposition,
            dropped: dropped == 0,
            group: true,
            busy: (dropped == 1).then_some(signal * 7),
        })
}

fn any_listener() -> impl Strategy<Value = Listener> {
    (any_process(), 80u16..83, 0u32..2).prop_map(|(process, port, still_open)| Listener {
        process,
        local: local(port),
        netns: 1,
        backlog: 0,
        handshakes: 0,
        still_open,
        found: false,
    })
}

fn any_kind() -> impl Strategy<Value = EventKind> {
    let cgroup = prop::sample::select(CGROUPS.to_vec());
    // What holds unrelated processes never becomes a workload of its own.
    let unshared = cgroup
        .clone()
        .prop_filter("shared", |cgroup| ![SESSION, 1].contains(cgroup));
    let exit = (any_process(), 0..3, 0u32..20).prop_map(|(process, code, signal)| EventKind::ProcessExited {
        process,
        code: (signal > 9).then_some(code),
        signal: (signal <= 9).then_some(signal),
        child: (code == 2).then(|| "sleep".to_owned()),
        unix_listener: false,
    });
    let reset =
        (any_process(), any::<bool>(), 0u32..2, 0u16..40).prop_map(|(process, syn, payload, peer)| {
            EventKind::ResetSent {
                cgroup: process.cgroup,
                pid: process.pid,
                syn,
                payload,
                local: local(80),
                peer: local(1000 + peer),
                netns: 1,
                same_cgroup: peer % 5 == 0,
                asked: Asked::Unseen,
            }
        });
    prop_oneof![
        2 => any::<i64>().prop_map(|wall_ns| EventKind::Tick { wall_ns }),
        1 => cgroup.clone().prop_map(|cgroup| EventKind::CgroupRemoved { cgroup }),
        2 => cgroup.clone().prop_map(|cgroup| EventKind::CgroupEmptied { cgroup }),
        1 => unshared.prop_map(|cgroup| EventKind::CgroupCreated { cgroup, path: "/again".into(), seeded: false }),
        1 => (30u64..34).prop_map(|cgroup| EventKind::CgroupCreated {
            cgroup, path: format!("{}/new-{cgroup}", container_path()), seeded: false,
        }),
        1 => (cgroup, any::<u64>()).prop_map(|(cgroup, usage_us)| EventKind::CpuUsed { cgroup, usage_us }),
        2 => any_listener().prop_map(EventKind::ListenerOpened),
        2 => any_listener().prop_map(EventKind::ListenerClosed),
        6 => any_signal().prop_map(EventKind::Signal),
        1 => (any_process(), 0u32..20).prop_map(|(target, signal)| EventKind::SignalDelivered { target, signal, disposition: Disposition::Handled }),
        5 => exit,
        1 => (1u32..8).prop_map(|pid| EventKind::OomVictim { pid }),
        3 => any_connection().prop_map(EventKind::TurnEnded),
        10 => any_connection().prop_map(EventKind::ConnectionEnded),

        4 => reset,
        1 => any_origin().prop_map(|origin| EventKind::NamesExpected { origin }),
        4 => any_description().prop_map(|description| EventKind::Described(Box::new(description))),
        1 => any_description().prop_map(|description| EventKind::Undescribed(description.subject())),
        1 => any::<(u64, u64)>().prop_map(|(count, until_ns)| EventKind::EventsLost { count, until_ns }),
    ]
}

fn any_origin() -> impl Strategy<Value = Origin> {
    prop::sample::select(Origin::ALL.to_vec())
}

/// Of the scene's container, pod or unit, or of another; whatever may be said of it.
fn any_description() -> impl Strategy<Value = Description> {
    let seconds = || prop::option::of((0u8..200).prop_map(f64::from));
    let name = || prop::sample::select(vec!["blue", "green", ""]);
    let signal = || prop::option::of(0u32..70);
    let id = prop::sample::select(vec!["5f".repeat(32), naming::id(WEB_CGROUP), naming::id(1)]);
    let container = (
        id.clone(),
        name(),
        signal(),
        seconds(),
        any_origin(),
        any::<bool>(),
    )
        .prop_map(|(id, name, stop_signal, grace_seconds, origin, composed)| {
            Description::Container(Container {
                origin,
                id,
                name: name.into(),
                image: None,
                project: composed.then(|| "shop".into()),
                service: composed.then(|| name.into()),
                stop_signal,
                grace_seconds,
                revision: composed.then(|| "5d41".into()),
                restarted_ms: stop_signal.map(|ms| WALL_MS + i64::from(ms) * 1000),
                addresses: vec![],
            })
        });
    let listed = prop::collection::vec((id, name(), any::<bool>(), signal(), seconds()), 0..3);
    let pod = (
        any::<bool>(),
        listed,
        prop::option::of(-5000..700_000i64),
        seconds(),
        any::<Option<bool>>(),
    )
        .prop_map(|(other, listed, deleted, grace_seconds, ready)| {
            let containers = listed
                .into_iter()
                .map(|(id, name, init, stop_signal, seconds)| PodContainer {
                    name: name.into(),
                    ids: vec![id],
                    image: None,
                    prestop: seconds.map(|_| PreStop {
                        what: "sleep".into(),
                        seconds,
                    }),
                    stop_signal,
                    init,
                    unwell: vec![],
                });
            Description::Pod(Pod {
                uid: if other { "0".repeat(32) } else { naming::UID.into() },
                deleted_ms: deleted.map(|ms| WALL_MS + ms),
                grace_seconds,
                ready,
                reason: deleted.map(|_| Reason::Rollout),
                containers: containers.collect(),
                ..naming::pod()
            })
        });
    let unit = (name(), signal(), seconds()).prop_map(|(name, stop_signal, grace_seconds)| {
        Description::Unit(Unit {
            cgroup: format!("{}/system.slice/db.service", container_path()),
            name: name.into(),
            stop_signal,
            grace_seconds,
            kill_mode: None,
            invocation: Some(name.into()),
            restarting: stop_signal.is_some(),
        })
    });
    prop_oneof![3 => container, 3 => pod, 1 => unit]
}

/// Steps of up to `most` ms, now and then one back.
fn any_events(most: u64) -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec((any_kind(), 0..most, 0..10u8), 0..120).prop_map(|kinds| {
        let mut at = 10u64;
        let step = |(kind, ms, back): (EventKind, u64, u8)| {
            at = if back == 0 {
                at.saturating_sub(ms / 10)
            } else {
                at + ms
            };
            Event { at_ns: ns(at), kind }
        };
        kinds.into_iter().map(step).collect()
    })
}

/// A tracker that was told these events and the time after them, with everything that it made of them.
fn told(events: &[Event]) -> (Tracker, Vec<Effect>) {
    let mut scene = container();
    for cgroup in [SANDBOX, WEB_CGROUP] {
        scene.create(0, cgroup, &naming::container_path(cgroup));
    }
    let mut effects = std::mem::take(&mut scene.effects);
    let told = events.iter().flat_map(|event| scene.tracker.observe(event));
    effects.extend(told);
    scene.finish();
    effects.append(&mut scene.effects);
    (scene.tracker, effects)
}

fn run(events: &[Event]) -> Vec<Effect> {
    told(events).1
}

fn instances(effects: &[Effect]) -> HashMap<&Workload, i64> {
    let mut instances = HashMap::new();
    for effect in effects {
        match effect {
            Effect::WorkloadSeen(workload) => *instances.entry(workload).or_default() += 1,
            Effect::WorkloadGone(workload) => *instances.entry(workload).or_default() -= 1,
            _ => {}
        }
    }
    instances
}

fn consistent(report: &Report) {
    let severed: u64 = report.severed.values().sum();
    assert_eq!(severed, report.requests.severed);
    assert_eq!(
        severed,
        report.severed_requests.len() as u64 + report.severed_requests_omitted
    );
    assert!(report.severed_requests.len() <= SEVERED_LISTED && report.timeline.len() <= TIMELINE_LISTED);
    assert_eq!(report.verdict == Verdict::Severed, severed > 0);
    let turned_away = report.requests.failed + report.refused.attempts > 0;
    assert_eq!(report.verdict == Verdict::Refused, severed == 0 && turned_away);
    assert!(report.refused.clients <= report.refused.attempts);
    let clean = severed == 0 && !turned_away && report.unknown_reasons.is_empty();
    assert!(!clean || (report.requests.unknown == 0 && report.events_lost == 0));
    assert_eq!(report.verdict == Verdict::Clean, clean);
    assert!(report.timeline.is_sorted_by(|a, b| a.at_ms <= b.at_ms));
    assert!(report.timeline.iter().all(|moment| moment.at_ms >= 0.0));
    assert!(
        report
            .findings
            .iter()
            .all(|finding| !finding.summary.is_empty() && !finding.advice.is_empty())
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counters_agree_with_each_other_and_with_what_was_told(
        events in prop_oneof![any_events(50), any_events(2000), any_events(600_000)]
    ) {
        let (mut told, mut reported): (BTreeMap<Cause, u64>, BTreeMap<Cause, u64>) = Default::default();
        let (mut drained, mut drained_reported) = (0, 0);
        let (mut probes, mut probes_reported) = (0, 0);
        let mut open: BTreeMap<String, bool> = BTreeMap::new();
        for effect in run(&events) {
            match effect {
                Effect::Severed { cause, .. } => *told.entry(cause).or_default() += 1,
                Effect::Drained { .. } => drained += 1,
                Effect::Probed { count, .. } => probes += count,
                Effect::Updated(report) => {
                    consistent(&report);
                    prop_assert_eq!(&report.ended_at, &None);
                    prop_assert!(!open.get(&report.id).is_some_and(|over| *over), "updated after its end");
                    open.insert(report.id, false);
                }
                Effect::Finished(report) => {
                    consistent(&report);
                    prop_assert!(report.ended_at.is_some());
                    prop_assert!(!open.get(&report.id).is_some_and(|over| *over), "finished twice");
                    for (cause, count) in report.severed {
                        *reported.entry(cause).or_default() += count;
                    }
                    drained_reported += report.requests.drained;
                    probes_reported += report.probes;
                    open.insert(report.id, true);
                }
                Effect::Discarded { id } => {
                    prop_assert_eq!(open.insert(id, true), Some(false), "only what was told is taken back");
                }
                _ => {}
            }
        }
        prop_assert_eq!(told, reported);
        prop_assert_eq!(drained, drained_reported);
        // Probes make no report, and are counted where there is none.
        prop_assert!(probes >= probes_reported);
        prop_assert!(open.values().all(|over| *over), "every report ends: {:?}", open);
    }

    #[test]
    fn a_workload_leaves_no_more_often_than_it_came(events in prop_oneof![any_events(50), any_events(20_000)]) {
        let mut instances = HashMap::new();
        for effect in run(&events) {
            match effect {
                Effect::WorkloadSeen(workload) => *instances.entry(workload).or_insert(0i64) += 1,
                Effect::WorkloadGone(workload) => {
                    let count = instances.entry(workload.clone()).or_insert(0i64);
                    *count -= 1;
                    prop_assert!(*count >= 0, "{:?}", workload);
                }
                Effect::Updated(report) | Effect::Finished(report) => {
                    let known = instances.get(&report.workload).is_some_and(|count| *count > 0);
                    prop_assert!(known, "it was announced: {:?}", report.workload);
                }
                Effect::Severed { workload, .. }
                | Effect::Drained { workload }
                | Effect::Probed { workload, .. }
                | Effect::WorkloadConfigured { workload, .. } => {
                    let known = instances.get(&workload).is_some_and(|count| *count > 0);
                    prop_assert!(known, "it was announced: {:?}", workload);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn nothing_is_left_of_what_is_gone(events in prop_oneof![any_events(50), any_events(2000), any_events(600_000)]) {
        let (mut tracker, mut effects) = told(&events);
        let at_ns = tracker.now_ns;
        let mut tell = |kind| effects.extend(tracker.observe(&Event { at_ns, kind }));
        for uid in [naming::UID.into(), "0".repeat(32)] {
            tell(EventKind::Undescribed(Subject::Pod(uid)));
        }
        for cgroup in CGROUPS.into_iter().chain([SANDBOX]).chain(30..34) {
            tell(EventKind::CgroupRemoved { cgroup });
        }
        while let Some(at_ns) = tracker.next_deadline() {
            prop_assert!(at_ns > tracker.now_ns, "a deadline that a tick does not end");
            effects.extend(tracker.observe(&Event { at_ns, kind: EventKind::Tick { wall_ns: 0 } }));
        }
        // A process of a shared cgroup is known as long as it may listen there.
        let left = instances(&effects).into_iter().find(|(workload, count)| workload.kind != "process" && *count != 0);
        prop_assert_eq!(left, None);
        prop_assert_eq!((tracker.announcements.waiting(), tracker.announcements.pods()), (0, 0));
        prop_assert_eq!(format!("{:?}", tracker.deletions), format!("{:?}", Deletions::default()));
    }

    #[test]
    fn every_deadline_is_ended_by_a_tick_and_names_wait_no_longer_than_they_may(events in any_events(20_000)) {
        let mut tracker = container().tracker;
        for event in &events {
            tracker.observe(event);
            let waits = tracker.announcements.due_ns().map(|due| due.saturating_sub(tracker.now_ns));
            prop_assert!(waits.is_none_or(|ns| ns > 0 && ns <= NAME_WITHIN_NS), "{:?}", waits);
            if let Some(at_ns) = tracker.next_deadline() {
                prop_assert!(at_ns > tracker.now_ns, "at once, again and again: {:?}", event);
            }
        }
    }

    #[test]
    fn an_agent_that_ends_has_told_everything(events in any_events(5000)) {
        let mut tracker = container().tracker;
        let mut effects: Vec<Effect> = events.iter().flat_map(|event| tracker.observe(event)).collect();
        effects.extend(tracker.tell_all());
        let mut last: BTreeMap<String, Report> = BTreeMap::new();
        for effect in effects {
            match effect {
                Effect::Updated(report) | Effect::Finished(report) => drop(last.insert(report.id.clone(), *report)),
                Effect::Discarded { id } => drop(last.remove(&id)),
                _ => {}
            }
        }
        for episode in tracker.episodes.iter().filter(|episode| episode.is_reportable()) {
            let now = episode.report(&tracker.config.node, None);
            prop_assert_eq!(last.get(episode.telling().id()), Some(&now));
            prop_assert!(episode.end_due_ns() > tracker.now_ns, "it is over");
        }
    }

    #[test]
    fn the_same_events_have_the_same_effects(events in any_events(2000)) {
        prop_assert_eq!(run(&events), run(&events));
    }

    #[test]
    fn every_mark_is_taken_back(events in any_events(2000)) {
        let signalled = events.iter().filter_map(|event| match &event.kind {
            EventKind::Signal(signal) => Some(signal),
            _ => None,
        });
        let effects = run(&events);
        let stopped: Vec<u64> = effects.iter().filter_map(|effect| match effect {
            Effect::UnmarkCgroup { cgroup } => Some(*cgroup),
            _ => None,
        }).collect();
        for signal in signalled {
            let begins = !signal.target.exiting && signal.signal != 9;
            prop_assert!(!begins || stopped.contains(&signal.target.cgroup), "{signal:?}");
        }
        // And every one that was asked for, after it was.
        let mut asked = BTreeSet::new();
        for effect in &effects {
            match effect {
                Effect::MarkCgroup { cgroup } => drop(asked.insert(*cgroup)),
                Effect::UnmarkCgroup { cgroup } => drop(asked.remove(cgroup)),
                _ => {}
            }
        }
        prop_assert_eq!(asked, BTreeSet::new());
    }

    #[test]
    fn events_are_read_as_they_were_recorded(events in any_events(2000)) {
        let text: Vec<String> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
        let read: Vec<Event> = text.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        prop_assert_eq!(read, events);
    }

    #[test]
    fn extreme_times_do_no_harm(kinds in prop::collection::vec((any_kind(), any::<u64>()), 0..20)) {
        let config = TrackerConfig { node: String::new(), linger_ns: u64::MAX, classes: std::sync::Arc::default(), processes: true };
        let mut tracker = Tracker::new(config);
        for (kind, at_ns) in kinds {
            tracker.observe(&Event { at_ns, kind });
            let _ = (tracker.next_deadline(), tracker.draining_cgroups());
        }
    }
}
