//! A small language for event sequences. Times are milliseconds since the scene began.

use std::net::SocketAddr;

use crate::{
    description::{Description, Origin, Subject},
    event::{
        Asked, Connection, Disposition, End, Event, EventKind, Listener, OtherEnd, Process, Role, Sender,
        Signal,
    },
    exchange::{Evidence, Exchange, ExchangeId, ExchangeState, Http, Operation, Protocol},
    report::{Cause, FindingCode, Report},
    tracker::{Effect, Tracker, TrackerConfig, episode::signals},
};

/// cgroup of everything that says nothing else: `/web`.
pub const WEB: u64 = 7;
/// A login session.
pub const SESSION: u64 = 9;
/// The monotonic clock when a scene begins: not 0, which means unknown.
const EPOCH: u64 = 1_000_000_000_000;

/// The wall clock when a scene begins, in ms: 2026-01-01T00:00:00Z.
pub const WALL_MS: i64 = 1_767_225_600_000;

/// Monotonic ns of a time in ms.
pub fn ns(ms: u64) -> u64 {
    EPOCH + ms * 1_000_000
}

/// A process of `/web` whose parent is elsewhere: the main one.
pub fn process(pid: u32) -> Process {
    Process {
        pid,
        parent: 1,
        ns_pid: pid,
        started_ns: EPOCH - 1_000_000_000 + u64::from(pid),
        cgroup: WEB,
        comm: format!("p{pid}"),
        pid1: false,
        served: false,
        served_more: false,
        called: false,
        exiting: false,
        signalled: false,
        parent_in_cgroup: false,
        unrecorded: false,
        untold: false,
    }
}

impl Process {
    pub(crate) fn child_of(self, parent: &Self) -> Self {
        Self {
            parent: parent.pid,
            parent_in_cgroup: parent.cgroup == self.cgroup,
            ..self
        }
    }
    pub(crate) fn serving(self) -> Self {
        Self {
            served: true,
            served_more: true,
            ..self
        }
    }
    pub(crate) fn calling(self) -> Self {
        Self { called: true, ..self }
    }
    pub(crate) fn pid1(self) -> Self {
        Self {
            pid1: true,
            ns_pid: 1,
            ..self
        }
    }
    pub(crate) fn exiting(self) -> Self {
        Self {
            exiting: true,
            ..self
        }
    }
    pub(crate) fn within(self, cgroup: u64) -> Self {
        Self { cgroup, ..self }
    }
    pub(crate) fn named(self, comm: &str) -> Self {
        Self {
            comm: comm.to_owned(),
            ..self
        }
    }
    pub(crate) fn started(self, ms: u64) -> Self {
        Self {
            started_ns: ns(ms),
            ..self
        }
    }
}

/// `GET /r/1`, begun and last moved at these times; on its connection it is known by when it began.
pub fn get(state: ExchangeState, started: u64, last: u64) -> Exchange {
    Exchange {
        id: ExchangeId::Turn {
            turn: started,
            index: 0,
        },
        protocol: Protocol::Http11,
        operation: Operation::Http(Http {
            method: Some("GET".to_owned()),
            path: Some("/r/1".to_owned()),
            host: Some("web".to_owned()),
            ..Http::default()
        }),
        evidence: Evidence::Exact,
        state,
        doubt: None,
        uploading: false,
        reset: false,
        unread: false,
        started_ns: ns(started),
        last_ns: ns(last),
    }
}

/// A request that was answered completely.
pub fn answered(started: u64, last: u64) -> Exchange {
    get(ExchangeState::Complete, started, last)
}

/// A request of which nothing was answered.
pub fn unanswered(started: u64) -> Exchange {
    get(ExchangeState::Unanswered, started, started)
}

pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The sequence so far, and what the tracker made of it.
pub struct Scene {
    pub tracker: Tracker,
    pub events: Vec<Event>,
    pub effects: Vec<Effect>,
    next_connection: u64,
}

impl Scene {
    pub const NODE: &str = "node-1";

    /// A node with the cgroups `/`, `/web` and a login session.
    pub fn new() -> Self {
        Self::hiding(false)
    }

    /// The same; processes of shared cgroups that never served are left out, or not.
    pub fn hiding(processes: bool) -> Self {
        let config = TrackerConfig {
            node: Self::NODE.to_owned(),
            linger_ns: 5_000_000_000,
            classes: std::sync::Arc::default(),
            processes: !processes,
        };
        let mut scene = Self {
            tracker: Tracker::new(config),
            events: vec![],
            effects: vec![],
            next_connection: 1,
        };
        scene.tick(0);
        for (cgroup, path) in [
            (1, "/"),
            (WEB, "/web"),
            (8, "/web/sub"),
            (SESSION, "/user.slice/user-0.slice/session-1.scope"),
        ] {
            scene.push(
                0,
                EventKind::CgroupCreated {
                    cgroup,
                    path: path.to_owned(),
                    seeded: true,
                },
            );
        }
        scene
    }

    pub fn push(&mut self, at: u64, kind: EventKind) -> Vec<Effect> {
        let event = Event { at_ns: ns(at), kind };
        let effects = self.tracker.observe(&event);
        self.events.push(event);
        self.effects.extend(effects.clone());
        effects
    }

    pub fn expect(&mut self, at: u64, origin: Origin) {
        self.push(at, EventKind::NamesExpected { origin });
    }

    pub fn describe(&mut self, at: u64, description: Description) -> Vec<Effect> {
        self.push(at, EventKind::Described(Box::new(description)))
    }

    pub fn undescribe(&mut self, at: u64, subject: Subject) -> Vec<Effect> {
        self.push(at, EventKind::Undescribed(subject))
    }

    pub fn create(&mut self, at: u64, cgroup: u64, path: &str) -> Vec<Effect> {
        let (path, seeded) = (path.to_owned(), at == 0);
        self.push(at, EventKind::CgroupCreated { cgroup, path, seeded })
    }

    pub fn tick(&mut self, at: u64) -> Vec<Effect> {
        let passed = i64::try_from(at).unwrap() * 1_000_000;
        self.push(
            at,
            EventKind::Tick {
                wall_ns: WALL_MS * 1_000_000 + passed,
            },
        )
    }

    fn listener(process: &Process, port: u16, still_open: u32) -> Listener {
        Listener {
            process: process.clone(),
            local: local(port),
            netns: 1,
            backlog: 0,
            handshakes: 0,
            still_open,
            found: false,
        }
    }

    pub fn listen(&mut self, at: u64, process: &Process, port: u16) {
        self.push(at, EventKind::ListenerOpened(Self::listener(process, port, 1)));
    }

    pub fn unlisten(&mut self, at: u64, process: &Process, port: u16) {
        self.push(at, EventKind::ListenerClosed(Self::listener(process, port, 0)));
    }

    /// It closes its listener while so many handshakes are under way.
    pub fn unlisten_on(&mut self, at: u64, process: &Process, port: u16, handshakes: u32) {
        let closed = Listener {
            handshakes,
            ..Self::listener(process, port, 0)
        };
        self.push(at, EventKind::ListenerClosed(closed));
    }

    /// Any signal, from a process elsewhere.
    pub fn send(&mut self, at: u64, signal: u32, target: &Process, disposition: Disposition) -> Vec<Effect> {
        let sender = Sender::Process(process(2).named("kubelet").within(1));
        self.send_from(at, signal, target, disposition, sender)
    }

    pub fn send_from(
        &mut self,
        at: u64,
        signal: u32,
        target: &Process,
        disposition: Disposition,
        sender: Sender,
    ) -> Vec<Effect> {
        let dropped = disposition == Disposition::Ignored
            || (disposition == Disposition::Default
                && target.pid1
                && !matches!(sender, Sender::Kernel(_))
                && signal != 9);
        let target = target.clone();
        self.push(
            at,
            EventKind::Signal(Signal {
                signal,
                target,
                sender,
                disposition,
                dropped,
                group: true,
                busy: None,
            }),
        )
    }

    /// SIGTERM that meets a handler.
    pub fn term(&mut self, at: u64, target: &Process) {
        self.send(at, signals::SIGTERM, target, Disposition::Handled);
    }

    pub fn kill(&mut self, at: u64, target: &Process) {
        self.send(at, signals::SIGKILL, target, Disposition::Default);
    }

    pub fn delivered(&mut self, at: u64, target: &Process, signal: u32) {
        self.push(
            at,
            EventKind::SignalDelivered {
                target: target.clone(),
                signal,
                disposition: Disposition::Handled,
            },
        );
    }

    /// The handler restored the default action and raised the signal again.
    pub fn raised_again(&mut self, at: u64, target: &Process, signal: u32) {
        let sender = Sender::Process(target.clone());
        self.send_from(at, signal, target, Disposition::Blocked, sender);
        self.push(
            at,
            EventKind::SignalDelivered {
                target: target.clone(),
                signal,
                disposition: Disposition::Default,
            },
        );
    }

    pub fn exit(&mut self, at: u64, process: &Process, code: i32) {
        self.push(
            at,
            EventKind::ProcessExited {
                process: process.clone(),
                code: Some(code),
                signal: None,
                child: None,
                unix_listener: false,
            },
        );
    }

    pub fn died(&mut self, at: u64, process: &Process, signal: u32) {
        self.push(
            at,
            EventKind::ProcessExited {
                process: process.clone(),
                code: None,
                signal: Some(signal),
                child: None,
                unix_listener: false,
            },
        );
    }

    pub fn emptied(&mut self, at: u64) {
        self.push(at, EventKind::CgroupEmptied { cgroup: WEB });
    }

    /// A connection of `/web`'s port 80 that ended with these exchanges; to be changed before it is pushed.
    pub fn connection(&mut self, process: &Process, end: End, exchanges: Vec<Exchange>) -> Connection {
        let id = self.next_connection;
        self.next_connection += 1;
        Connection {
            id,
            role: Role::Server,
            pid: process.pid,
            cgroup: process.cgroup,
            local: local(80),
            peer: SocketAddr::from(([10, 0, 0, 1], 40_000 + u16::try_from(id % 20_000).unwrap())),
            netns: 1,
            born_ns: EPOCH - 500_000_000,
            seeded: false,
            end,
            unread: 0,
            unsent: 0,
            unacked: 0,
            aborted: false,
            remembered: false,
            goodbye: false,
            silent: false,
            other_end: OtherEnd::Elsewhere,
            exchanges,
        }
    }

    pub fn ended(&mut self, at: u64, process: &Process, end: End, exchanges: Vec<Exchange>) -> Connection {
        let connection = self.connection(process, end, exchanges);
        self.push(at, EventKind::ConnectionEnded(connection.clone()));
        connection
    }

    /// A turn of a connection that goes on.
    pub fn exchange(&mut self, at: u64, process: &Process, exchange: Exchange) -> Connection {
        let connection = self.connection(process, End::Open, vec![exchange]);
        self.push(at, EventKind::TurnEnded(connection.clone()));
        connection
    }

    /// A turn of a connection that was established then, and goes on.
    pub fn arrived(&mut self, born: u64, at: u64, process: &Process, exchange: Exchange) {
        let connection = Connection {
            born_ns: ns(born),
            ..self.connection(process, End::Open, vec![exchange])
        };
        self.push(at, EventKind::TurnEnded(connection));
    }

    pub fn reset(&mut self, at: u64, process: &Process, syn: bool, payload: u32, peer: SocketAddr) {
        self.push(
            at,
            EventKind::ResetSent {
                cgroup: process.cgroup,
                pid: process.pid,
                syn,
                payload,
                local: local(80),
                peer,
                netns: 1,
                same_cgroup: false,
                asked: Asked::Unseen,
            },
        );
    }

    /// Lets time pass until nothing is under way, and gives the final reports.
    pub fn finish(&mut self) -> Vec<Report> {
        while let Some(deadline) = self.tracker.next_deadline() {
            self.tick((deadline - EPOCH).div_ceil(1_000_000));
        }
        self.reports()
    }

    /// The only report.
    pub fn report(&mut self) -> Report {
        let mut reports = self.finish();
        assert_eq!(reports.len(), 1, "{reports:#?}");
        reports.remove(0)
    }

    pub fn reports(&self) -> Vec<Report> {
        let finished = |effect: &Effect| match effect {
            Effect::Finished(report) => Some((**report).clone()),
            _ => None,
        };
        self.effects.iter().filter_map(finished).collect()
    }

    pub fn count(&self, which: impl Fn(&Effect) -> bool) -> usize {
        self.effects.iter().filter(|effect| which(effect)).count()
    }
}

pub fn codes(report: &Report) -> Vec<FindingCode> {
    report.findings.iter().map(|finding| finding.code).collect()
}

pub fn causes(report: &Report) -> Vec<(Cause, u64)> {
    report
        .severed
        .iter()
        .map(|(&cause, &count)| (cause, count))
        .collect()
}

pub fn moments(report: &Report) -> Vec<&str> {
    report
        .timeline
        .iter()
        .map(|moment| moment.what.as_str())
        .collect()
}
