use std::{cell::RefCell, collections::VecDeque, rc::Rc, time::Duration};

use drainwatch_core::{
    event::{Disposition, Process, Sender, Signal},
    report::{Report, Verdict},
    testing::report,
};

use super::*;
use crate::{
    agent::source::Present,
    kernel::{Position, ProbeStatus, Resets, Served},
    outlets::{
        listing::Filter,
        questions::{Lookup, Stuck},
    },
};

/// A source that plays a script and remembers what it was told.
#[derive(Debug, Default)]
struct Script {
    batches: VecDeque<Vec<Event>>,
    /// What comes with the second drain: the first is the seed's.
    ring: Vec<Event>,
    told: Rc<RefCell<Vec<String>>>,
    losses: u64,
    /// It went on while no agent ran.
    resumed: bool,
    /// What it tells first follows on what the journal has.
    goes_on: bool,
    /// There is more than it gives.
    behind: bool,
    /// cgroups that there are.
    living: Vec<u64>,
    /// The wall clock is set forward by this much before each batch.
    step_ns: i64,
    given: i64,
}

impl Source for Script {
    async fn next_events(&mut self, timeout: Option<Duration>) -> Vec<Event> {
        self.told.borrow_mut().push(format!("wait {timeout:?}"));
        match self.batches.pop_front() {
            Some(events) => {
                self.given += 1;
                events
            }
            None => std::future::pending().await,
        }
    }
    fn drain(&mut self) -> Vec<Event> {
        let drains = |call: &&String| *call == "drain";
        let first = self.told.borrow().iter().filter(drains).count() == 0;
        self.told.borrow_mut().push("drain".into());
        if first {
            Vec::new()
        } else {
            std::mem::take(&mut self.ring)
        }
    }
    fn is_behind(&self) -> bool {
        self.behind
    }
    fn position(&self) -> Option<Position> {
        Some(Position { ring: 1, at: 8 })
    }
    fn commit(&mut self) {}
    fn skip_to(&mut self, _: Position) -> bool {
        self.goes_on
    }
    fn resumed(&self) -> bool {
        self.resumed
    }
    fn told_losses(&self) -> (u64, u64) {
        (0, 0)
    }
    fn tell_losses(&mut self, _: (u64, u64)) {}
    fn forget_the_dead(&mut self, until_ns: u64) {
        self.told
            .borrow_mut()
            .push(format!("forget the dead until {until_ns}"));
    }
    fn present(&self) -> Present {
        let path = |cgroup: &u64| (*cgroup, format!("/c{cgroup}"));
        Present {
            cgroups: self.living.iter().map(path).collect(),
            ..Present::default()
        }
    }
    fn probes(&self) -> Vec<ProbeStatus> {
        vec![ProbeStatus {
            probe: "signals",
            ok: true,
            gives: "",
            error: None,
            required: true,
        }]
    }
    fn losses(&mut self) -> Losses {
        Losses {
            events: 3,
            ring_full: self.losses,
            ..Losses::default()
        }
    }
    fn resets(&mut self) -> Vec<Resets> {
        Vec::new()
    }
    fn take_served(&mut self) -> Option<Served> {
        None
    }
    fn forget_served(&mut self, _: &[u64]) {}
    fn mark_cgroup(&mut self, cgroup: u64) {
        self.told.borrow_mut().push(format!("mark cgroup {cgroup}"));
    }
    fn watch_stop_signal(&mut self, cgroup: u64, signal: u32) {
        self.told
            .borrow_mut()
            .push(format!("watch for signal {signal} of {cgroup}"));
    }
    fn unmark_cgroup(&mut self, cgroup: u64, until_ns: u64) {
        self.told
            .borrow_mut()
            .push(format!("unmark cgroup {cgroup} until {until_ns}"));
    }
    fn unmark_process(&mut self, pid: u32, until_ns: u64) {
        self.told
            .borrow_mut()
            .push(format!("unmark process {pid} until {until_ns}"));
    }
    fn settle(&mut self) {}
    fn cpu_used_us(&self, _: u64) -> Option<u64> {
        None
    }
    fn clocks(&self) -> (u64, i64) {
        (
            5_000_000_000,
            1_767_225_600_000_000_000 + self.given * self.step_ns,
        )
    }
}

#[derive(Default, Clone)]
struct Written(Rc<RefCell<Vec<Event>>>);

impl Tape for Written {
    fn write(&mut self, event: &Event) -> io::Result<()> {
        if self.0.borrow().len() == 3 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.borrow_mut().push(event.clone());
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn cgroup(id: u64) -> Event {
    let kind = EventKind::CgroupCreated {
        cgroup: id,
        path: format!("/c{id}"),
        seeded: true,
    };
    Event { at_ns: id, kind }
}

fn agent(script: Script) -> (Agent<Script>, Handle) {
    Agent::new(
        script,
        Options {
            node: "n".into(),
            memory_reports: 10,
            ..Options::default()
        },
    )
    .unwrap()
}

#[tokio::test]
async fn given_events_in_the_ring_when_asked_whether_it_is_ready_then_they_are_taken_in_first() {
    let script = Script {
        ring: vec![cgroup(1)],
        ..Script::default()
    };
    let tape = Written::default();
    let options = Options {
        tape: Some(Box::new(tape.clone())),
        ..Options::default()
    };
    let (mut agent, handle) = Agent::new(script, options).unwrap();
    let asked = async {
        // The seed was read when the loop answers.
        handle.beat().await.unwrap();
        handle.ready().await.unwrap();
        assert!(tape.0.borrow().contains(&cgroup(1)));
    };
    agent.run(asked).await;
}

#[tokio::test]
async fn given_an_idle_node_when_run_then_the_loop_waits_without_a_timeout() {
    let script = Script::default();
    let told = script.told.clone();
    let (mut agent, handle) = agent(script);
    let asked = async {
        handle.beat().await.unwrap();
        handle.beat().await.unwrap();
    };
    agent.run(asked).await;
    let told = told.borrow();
    assert!(told.iter().any(|call| call == "wait None"));
    assert!(!told.iter().any(|call| call.starts_with("wait Some")), "{told:?}");
    assert_eq!(told.last().unwrap(), "drain", "the ring is emptied at the end");
}

#[tokio::test]
async fn given_a_tape_when_events_come_then_the_tick_is_first_and_a_full_disk_does_not_stop_the_agent() {
    let tape = Written::default();
    let batches = VecDeque::from([vec![cgroup(1), cgroup(2)], vec![cgroup(3)]]);
    let script = Script {
        batches,
        ..Script::default()
    };
    let options = Options {
        tape: Some(Box::new(tape.clone())),
        ..Options::default()
    };
    let (mut agent, handle) = Agent::new(script, options).unwrap();
    let stop = async {
        // Each answer lets the loop turn once more at least; the script is played when none is left.
        for _ in 0..20 {
            handle.beat().await.unwrap();
        }
    };
    agent.run(stop).await;
    let written = tape.0.borrow();
    assert!(matches!(
        written[0].kind,
        EventKind::Tick {
            wall_ns: 1_767_225_600_000_000_000
        }
    ));
    assert_eq!(&written[1..], [cgroup(1), cgroup(2)]);
    assert!(agent.tape.is_none());
    assert!(
        agent.source.batches.is_empty(),
        "what came after the full disk was still taken in"
    );
}

#[tokio::test]
async fn given_an_idle_node_when_the_wall_clock_was_set_then_the_next_event_comes_with_a_tick() {
    let tape = Written::default();
    let script = Script {
        batches: VecDeque::from([vec![cgroup(1)]]),
        step_ns: 3_600_000_000_000,
        ..Script::default()
    };
    let options = Options {
        tape: Some(Box::new(tape.clone())),
        ..Options::default()
    };
    let (mut agent, handle) = Agent::new(script, options).unwrap();
    let stop = async {
        for _ in 0..20 {
            handle.beat().await.unwrap();
        }
    };
    agent.run(stop).await;
    let hour_later = EventKind::Tick {
        // The event happened 4 999 999 999 ns before the clocks are read.
        wall_ns: 1_767_229_200_000_000_000 - 4_999_999_999,
    };
    let expected = Event {
        at_ns: 1,
        kind: hour_later,
    };
    assert_eq!(&tape.0.borrow()[1..], [expected, cgroup(1)]);
}

#[tokio::test]
async fn given_effects_when_applied_then_reports_metrics_and_kernel_each_get_theirs() {
    let script = Script::default();
    let told = script.told.clone();
    let (mut agent, handle) = agent(script);
    let mut open = report("r1", "/svc", Verdict::Clean);
    open.ended_at = None;
    agent.apply(Effect::WorkloadSeen(open.workload.clone()), 1);
    agent.apply(Effect::Updated(Box::new(open.clone())), 1);
    agent.apply(
        Effect::Updated(Box::new(Report {
            id: "r2".into(),
            ..open
        })),
        1,
    );
    agent.apply(Effect::Discarded { id: "r2".into() }, 1);
    agent.apply(
        Effect::Finished(Box::new(report("r3", "/svc", Verdict::Severed))),
        1,
    );
    agent.apply(Effect::MarkCgroup { cgroup: 6 }, 1);
    agent.apply(Effect::UnmarkCgroup { cgroup: 7 }, 1);
    agent.apply(
        Effect::WatchStopSignal {
            cgroup: 9,
            signal: 10,
        },
        1,
    );
    agent.apply(Effect::UnmarkProcess { pid: 8 }, 1);
    let asked = async {
        assert_eq!(handle.list(Filter::default()).await.unwrap().ids(), ["r1", "r3"]);
        assert!(matches!(handle.get("r3").await.unwrap(), Lookup::Found(json) if json.contains("severed")));
        assert_eq!(
            handle.get("r").await.unwrap(),
            Lookup::Ambiguous(vec!["r1".into(), "r3".into()])
        );
        assert_eq!(handle.get("x").await.unwrap(), Lookup::Missing);
        let text = handle.metrics().await.unwrap();
        assert!(text.contains("drainwatch_shutdowns_under_way 1"), "{text}");
        assert!(text.contains("drainwatch_probe_status{probe=\"signals\"} 1"));
    };
    agent.run(asked).await;
    let told = told.borrow();
    for call in [
        "mark cgroup 6",
        "watch for signal 10 of 9",
        "unmark cgroup 7 until 0",
        "unmark process 8 until 0",
    ] {
        assert!(told.contains(&call.into()), "{call}");
    }
}

#[tokio::test]
async fn given_sinks_when_a_shutdown_ends_then_each_gets_the_report_and_the_metrics_say_so_from_0_on() {
    let good = Sink::start("good", 8, |mut inbox| async move {
        while inbox.next().await.is_some() {
            inbox.sent();
        }
    });
    let stuck = Sink::start("stuck", 1, |inbox| async move {
        std::future::pending::<()>().await;
        drop(inbox);
    });
    let options = Options {
        sinks: vec![good, stuck],
        memory_reports: 10,
        ..Options::default()
    };
    let (mut agent, handle) = Agent::new(Script::default(), options).unwrap();
    let series = |sink, result, count: u8| {
        format!("drainwatch_sink_reports_total{{result=\"{result}\",sink=\"{sink}\"}} {count}\n")
    };
    let before = agent.expose(None).text().unwrap();
    for sink in ["good", "stuck"] {
        for result in ["sent", "failed", "dropped"] {
            assert!(before.contains(&series(sink, result, 0)), "{before}");
        }
    }
    for id in ["r1", "r2"] {
        let done = report(id, "/svc", Verdict::Severed);
        agent.apply(Effect::Finished(Box::new(done)), 1);
    }
    let asked = async {
        // The sink's task takes its turn when the loop waits.
        let until = std::time::Instant::now() + Duration::from_secs(5);
        let text = loop {
            let text = handle.metrics().await.unwrap();
            if text.contains(&series("good", "sent", 2)) {
                break text;
            }
            assert!(std::time::Instant::now() < until, "{text}");
        };
        assert!(text.contains(&series("stuck", "dropped", 1)), "{text}");
    };
    agent.run(asked).await;
    let begun = std::time::Instant::now();
    agent.close(async {}).await;
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "a stuck sink holds up the exit"
    );
}

#[tokio::test]
async fn given_reports_in_memory_and_in_the_store_when_asked_then_each_is_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let keep = crate::outlets::store::Retention {
        reports: 10,
        age: Duration::from_hours(24),
    };
    let now_ms = Script::default().clocks().1 / 1_000_000;
    let store = Arc::new(Store::open(dir.path(), keep, now_ms).unwrap().store);
    let options = Options {
        memory_reports: 1,
        store: Some(store),
        ..Options::default()
    };
    let (mut agent, handle) = Agent::new(Script::default(), options).unwrap();
    for (id, second) in [("r1", 1), ("r2", 2)] {
        let mut done = report(id, "/svc", Verdict::Clean);
        done.ended_at = Some(format!("2026-01-01T00:00:0{second}.000Z"));
        agent.apply(Effect::Finished(Box::new(done)), 1);
    }
    assert!(agent.close(async {}).await, "everything is on disk");
    let asked = async {
        assert_eq!(handle.list(Filter::default()).await.unwrap().ids(), ["r2", "r1"]);
        assert!(
            matches!(handle.get("r1").await.unwrap(), Lookup::Found(_)),
            "only in the store"
        );
        assert!(matches!(handle.get("r").await.unwrap(), Lookup::Ambiguous(_)));
    };
    agent.run(asked).await;
}

#[tokio::test]
async fn given_more_reports_than_memory_holds_when_searched_or_counted_then_the_store_counts_too() {
    let dir = tempfile::tempdir().unwrap();
    let keep = crate::outlets::store::Retention {
        reports: 1000,
        age: Duration::from_hours(24),
    };
    let now = jiff::Timestamp::from_nanosecond(Script::default().clocks().1.into()).unwrap();
    let store = Arc::new(Store::open(dir.path(), keep, now.as_millisecond()).unwrap().store);
    let options = Options {
        memory_reports: 2,
        store: Some(store),
        ..Options::default()
    };
    let (mut agent, handle) = Agent::new(Script::default(), options).unwrap();
    for n in 0..300 {
        let verdict = if n % 3 == 0 {
            Verdict::Severed
        } else {
            Verdict::Clean
        };
        let mut done = report(&format!("r{n:03}"), &format!("/svc/{n}"), verdict);
        done.ended_at = Some(now.to_string());
        done.requests.severed = u64::from(n % 3 == 0);
        agent.apply(Effect::Finished(Box::new(done)), 1);
    }
    let mut open = report("r999", "/svc/open", Verdict::Clean);
    open.ended_at = None;
    agent.apply(Effect::Updated(Box::new(open)), 1);
    assert!(agent.close(async {}).await, "everything is on disk");
    let asked = async {
        let listed = async |query: &str| {
            let filter = crate::outlets::listing::query(query, now).unwrap();
            let matches = handle.list(filter).await.unwrap();
            (matches.ids(), matches.more())
        };
        // Far behind the newest hundred, by words in capitals.
        assert_eq!(
            listed("q=R00%20SEVERED&limit=3").await,
            (vec!["r009".into(), "r006".into(), "r003".into()], true)
        );
        assert_eq!(listed("q=r001").await, (vec!["r001".into()], false));
        assert_eq!(listed("q=nobody").await, (vec![], false));
        let filter = crate::outlets::summary::query("verdict=severed", now).unwrap();
        let counted = crate::outlets::summary::count(&handle, filter, now)
            .await
            .unwrap();
        let counted = serde_json::to_value(counted).unwrap();
        assert_eq!(
            (&counted["shutdowns"], &counted["requests"]["severed"]),
            (&100.into(), &100.into())
        );
        let all = crate::outlets::summary::query("", now).unwrap();
        let all = crate::outlets::summary::count(&handle, all, now).await.unwrap();
        let all = serde_json::to_value(all).unwrap();
        assert_eq!((&all["shutdowns"], &all["partial"]), (&301.into(), &false.into()));
    };
    agent.run(asked).await;
}

#[tokio::test]
async fn given_no_loop_when_asked_then_it_is_stuck() {
    let (agent, handle) = agent(Script::default());
    drop(agent);
    assert_eq!(handle.beat().await, Err(Stuck));
}

#[tokio::test]
async fn given_an_origin_when_the_agent_starts_then_what_is_older_waits_for_its_names() {
    let tape = Written::default();
    let (tellers, names) = crate::names::Teller::channel(&[drainwatch_core::description::Origin::Docker]);
    let options = Options {
        tape: Some(Box::new(tape.clone())),
        names: Some(names),
        ..Options::default()
    };
    let script = Script {
        batches: VecDeque::from([vec![cgroup(1)]]),
        ..Script::default()
    };
    let (mut agent, handle) = Agent::new(script, options).unwrap();
    agent.run(async { handle.beat().await.unwrap() }).await;
    drop(tellers);
    let kinds: Vec<EventKind> = tape.0.borrow().iter().map(|event| event.kind.clone()).collect();
    assert!(
        matches!(
            kinds[..2],
            [EventKind::Tick { .. }, EventKind::NamesExpected { .. }]
        ),
        "{kinds:?}"
    );
    let text = agent.expose(None).text().unwrap();
    assert!(
        text.contains("drainwatch_names_up{origin=\"docker\"} 0"),
        "{text}"
    );
}

/// A server in cgroup 7 that is told to stop.
fn stop(at_ns: u64, pid: u32) -> Event {
    let process = |pid: u32, cgroup| Process {
        pid,
        parent: 1,
        ns_pid: pid,
        started_ns: 1,
        cgroup,
        comm: "web".into(),
        pid1: false,
        served: true,
        served_more: true,
        called: false,
        exiting: false,
        signalled: false,
        parent_in_cgroup: false,
        unrecorded: false,
        untold: false,
    };
    Event {
        at_ns,
        kind: EventKind::Signal(Signal {
            signal: 15,
            target: process(pid, 7),
            sender: Sender::Process(process(1, 1)),
            disposition: Disposition::Handled,
            dropped: false,
            group: true,
            busy: None,
        }),
    }
}

fn tick(at_ns: u64) -> Event {
    Event {
        at_ns,
        kind: EventKind::Tick {
            wall_ns: 1_767_225_600_000_000_000 + i64::try_from(at_ns).unwrap(),
        },
    }
}

/// An agent with a journal in this directory.
fn journaling(script: Script, dir: &std::path::Path) -> (Agent<Script>, Handle) {
    let options = Options {
        node: "n".into(),
        memory_reports: 10,
        linger: Duration::from_secs(1),
        journal: Some(Journal::open(dir, "boot").unwrap()),
        ..Options::default()
    };
    Agent::new(script, options).unwrap()
}

/// What it has in memory after it has begun, as if it was killed then.
async fn reports_of(mut agent: Agent<Script>, handle: Handle) -> Vec<Report> {
    let listed = async {
        handle.beat().await.unwrap();
        let listed = handle.list(Filter::default()).await.unwrap();
        let mut reports = Vec::new();
        for id in listed.ids() {
            if let Lookup::Found(json) = handle.get(&id).await.unwrap() {
                reports.push(serde_json::from_str(&json).unwrap());
            }
        }
        reports
    };
    agent.run(listed).await
}

fn goes_on() -> Script {
    Script {
        resumed: true,
        goes_on: true,
        living: vec![7],
        ..Script::default()
    }
}

#[tokio::test]
async fn given_earlier_shutdowns_that_were_left_out_when_the_agent_is_killed_then_the_one_under_way_keeps_its_id()
 {
    let dir = tempfile::tempdir().unwrap();
    let (mut agent, handle) = journaling(Script::default(), dir.path());
    let second = 1_000_000_000;
    agent.take(vec![tick(1), cgroup(7), stop(2 * second, 70)]);
    // Nobody ended: it is given up, and over.
    agent.take(vec![tick(3 * second), tick(20_000 * second)]);
    let number = agent.tracker.next_number();
    assert_eq!(number, 1, "there was one");
    let counters = agent.metrics.save(0);
    agent.journal(|journal| journal.compact(&counters, number, false));
    agent.take(vec![stop(20_001 * second, 70), tick(20_002 * second)]);
    let before: Vec<String> = agent.history.list(&Filter::default()).0.ids();
    assert_eq!(before.len(), 1);
    drop((agent, handle));
    let (agent, handle) = journaling(goes_on(), dir.path());
    let reports = reports_of(agent, handle).await;
    let ids: Vec<String> = reports.iter().map(|report| report.id.clone()).collect();
    assert_eq!(ids, before);
    assert_eq!(reports[0].events_lost, 0);
}

#[tokio::test]
async fn given_a_journal_that_does_not_go_on_in_the_ring_when_the_agent_comes_back_then_evidence_is_missing()
{
    for (goes_on_there, lost) in [(true, 0), (false, 1)] {
        let dir = tempfile::tempdir().unwrap();
        let (mut agent, handle) = journaling(Script::default(), dir.path());
        agent.take(vec![tick(1), cgroup(7), stop(2, 70), tick(1_000_000_000)]);
        drop((agent, handle));
        let script = Script {
            goes_on: goes_on_there,
            ..goes_on()
        };
        let (agent, handle) = journaling(script, dir.path());
        let reports = reports_of(agent, handle).await;
        assert_eq!(reports.len(), 1);
        assert_eq!(reports[0].events_lost, lost, "goes on: {goes_on_there}");
    }
}

#[test]
fn given_a_full_ring_when_what_it_holds_is_told_after_the_loss_is_known_then_shutdowns_in_it_have_lost_it() {
    let (mut agent, _handle) = agent(Script::default());
    agent.take(vec![tick(1), cgroup(7)]);
    agent.source.behind = true;
    agent.source.losses = 9;
    agent.count_losses(false);
    agent.source.behind = false;
    agent.take(vec![stop(3_000_000_000, 70), tick(3_000_000_001)]);
    let ids = agent.history.list(&Filter::default()).0.ids();
    let report: Report = serde_json::from_str(&agent.history.get(&ids[0]).unwrap()).unwrap();
    assert_eq!((ids.len(), report.events_lost), (1, 9));
}
