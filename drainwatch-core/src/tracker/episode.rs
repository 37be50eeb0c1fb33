//! One shutdown under way: what was seen of it so far.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
};

use super::{
    clock::Clock,
    tally::{Context, Since, Tally},
};
use crate::{
    event::{Connection, Disposition, End, Process, Signal},
    report::{Cause, MomentKind, TIMELINE_LISTED, Workload},
    workload::directory::Settings,
};

/// Numbers of the signals that the rules name (the same on every architecture Linux runs on).
pub(super) const SIGHUP: u32 = 1;
pub(super) const SIGINT: u32 = 2;
pub(super) const SIGQUIT: u32 = 3;
pub(super) const SIGKILL: u32 = 9;
pub(super) const SIGTERM: u32 = 15;

/// Most processes remembered per shutdown.
const MEMBERS: usize = 1024;
/// Most marks remembered per shutdown: as many as the kernel side has room for.
const MARKS: usize = 16_384;
/// Most closed listeners remembered per shutdown.
const CLOSED: usize = 1024;
/// Most signals listed per shutdown, and per process.
const SIGNALS: usize = 200;
const STOPS_PER_PROCESS: usize = 8;
/// Places of the timeline kept for moments that must not be missing (kill, oom, emptied).
const RESERVED_MOMENTS: usize = 8;
/// CPU samples kept: at one a second, the last minute.
const CPU_SAMPLES: usize = 60;

/// What a shutdown is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// A whole cgroup with everything below it.
    Workload,
    /// One process, with its children, of a workload that goes on.
    Worker,
    /// In a shared cgroup: one process with its children, which are the workload.
    Process,
}

/// A stop signal at one process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    pub at_ns: u64,
    pub signal: u32,
    pub disposition: Disposition,
    pub dropped: bool,
    /// When it reached its handler.
    pub delivered_ns: Option<u64>,
}

/// Who sent SIGKILL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KillBy {
    /// Somebody outside the workload.
    Outside,
    /// A process of the workload: a master that lost patience with its worker.
    Own,
    /// The OOM killer.
    Oom,
    /// The kernel, because PID 1 of the pid namespace had ended. Nobody forced that.
    NamespaceEnd,
}

/// A SIGKILL at one process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kill {
    pub at_ns: u64,
    pub by: KillBy,
}

/// The end of one process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub at_ns: u64,
    pub code: Option<i32>,
    pub signal: Option<u32>,
}

/// A process of the shutdown.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub process: Process,
    pub main: bool,
    pub stops: Vec<Stop>,
    pub kill: Option<Kill>,
    pub exit: Option<Ended>,
}

impl Member {
    /// It could act on a stop signal.
    pub fn handles(&self) -> bool {
        let handles = |stop: &Stop| matches!(stop.disposition, Disposition::Handled | Disposition::Blocked);
        self.stops.iter().any(handles)
    }

    /// It was told to end, in a way that was not dropped.
    fn is_ending(&self) -> bool {
        self.kill.is_some() || self.exit.is_some() || self.stops.iter().any(|stop| !stop.dropped)
    }
}

/// A signal as listed in the report, time absolute.
#[derive(Debug, Clone)]
pub(super) struct SignalAt {
    pub at_ns: u64,
    pub signal: Signal,
}

/// A moment of the timeline, time absolute.
#[derive(Debug, Clone)]
pub(super) struct MomentAt {
    pub at_ns: u64,
    pub what: MomentKind,
    pub detail: Option<String>,
    pub pid: Option<u32>,
}

/// How much there is to tell since the last [`super::Effect::Updated`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum News {
    None,
    /// Drained requests and the like: can wait.
    Some,
    /// Signals, exits, severed requests: soon.
    Soon,
    /// At once.
    Now,
}

/// One shutdown under way.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts seen one by one, each independent of the others"
)]
pub(super) struct Episode {
    pub id: String,
    pub clock: Clock,
    pub scope: Scope,
    /// Every process known to serve was told to stop, though the main process was not: probably the
    /// whole workload ends, and if the cgroup does not empty, it was a [`Scope::Worker`] after all.
    pub presumed: bool,
    pub workload: Workload,
    /// How it was told to be stopped.
    pub settings: Option<Settings>,
    /// Its pod does not list this container: a sandbox, unless it serves.
    pub unlisted: bool,
    /// When its pod's deletion was asked for.
    pub deleted_ns: Option<u64>,
    /// Whether its pod counted as ready at the first stop signal.
    pub ready_at_stop: Option<bool>,
    pub cgroup: u64,
    pub started_ns: u64,
    pub last_activity_ns: u64,
    pub members: BTreeMap<u32, Member>,
    /// Process ids in the order in which they were met.
    pub order: Vec<u32>,
    pub main: Option<u32>,
    pub signals: Vec<SignalAt>,
    pub timeline: Vec<MomentAt>,
    pub first_stop: Option<Stop>,
    pub last_stop_ns: Option<u64>,
    /// Only signals that some programs use for other things: a thread dump, a Ctrl-C that is ignored.
    pub mild: bool,
    pub oom: bool,
    /// Something ended: it is a shutdown and not a signal that stopped nothing.
    pub confirmed: bool,
    pub listener_closed_ns: Option<u64>,
    /// Network namespace and address of each listener that it closed.
    pub closed: BTreeSet<(u32, SocketAddr)>,
    pub listeners_open_at_kill: usize,
    pub cpu: VecDeque<(u64, u64)>,
    pub tally: Tally,
    pub events_lost: u64,
    pub gone_ns: Option<u64>,
    /// The cgroup emptied (or, of a [`Scope::Process`], its last process ended).
    pub emptied: bool,
    pub news: News,
    pub updated_ns: Option<u64>,
    /// Ids under which parts of it were reported before they turned out to be parts.
    pub superseded: Vec<String>,
    /// When the rest of the cgroup may stop reporting.
    pub unmark_ns: Option<u64>,
    pub marked_cgroups: BTreeSet<u64>,
    pub marked_pids: BTreeSet<u32>,
}

impl Episode {
    pub fn new(scope: Scope, at_ns: u64, cgroup: u64, workload: Workload, clock: Clock, id: String) -> Self {
        Self {
            id,
            clock,
            scope,
            presumed: false,
            workload,
            settings: None,
            unlisted: false,
            deleted_ns: None,
            ready_at_stop: None,
            cgroup,
            started_ns: at_ns,
            last_activity_ns: at_ns,
            members: BTreeMap::new(),
            order: Vec::new(),
            main: None,
            signals: Vec::new(),
            timeline: Vec::new(),
            first_stop: None,
            last_stop_ns: None,
            mild: true,
            oom: false,
            confirmed: false,
            listener_closed_ns: None,
            closed: BTreeSet::new(),
            listeners_open_at_kill: 0,
            cpu: VecDeque::new(),
            tally: Tally::default(),
            events_lost: 0,
            gone_ns: None,
            emptied: false,
            news: News::Now,
            updated_ns: None,
            superseded: Vec::new(),
            unmark_ns: None,
            marked_cgroups: BTreeSet::new(),
            marked_pids: BTreeSet::new(),
        }
    }

    /// It is over when its processes are gone, rather than when its cgroup is empty.
    fn ends_with_members(&self) -> bool {
        self.scope != Scope::Workload || self.presumed
    }

    /// Whether this very process belongs to it.
    pub fn holds(&self, pid: u32, started_ns: Option<u64>) -> bool {
        let same = |member: &Member| started_ns.is_none_or(|started| member.process.started_ns == started);
        self.members.get(&pid).is_some_and(same)
    }

    /// Whether a child of `parent` belongs to it: a process that merely ignores its stop signal (a
    /// shell) does not take its children with it, PID 1 of a pid namespace does.
    pub fn adopts(&self, parent: u32) -> bool {
        self.members
            .get(&parent)
            .is_some_and(|member| member.process.pid1 || member.is_ending())
    }

    /// In a shared cgroup the process that was stopped is the main one: its children come after it.
    pub fn wants_main(&self) -> bool {
        self.scope == Scope::Process && self.main.is_none()
    }

    /// What is said of its workload, from now on.
    pub fn describe(&mut self, workload: Workload, settings: Option<Settings>, unlisted: bool) {
        if (&self.workload, &self.settings, self.unlisted) == (&workload, &settings, unlisted) {
            return;
        }
        (self.workload, self.settings, self.unlisted) = (workload, settings, unlisted);
        self.news = self.news.max(News::Soon);
    }

    pub fn touch(&mut self, at_ns: u64, news: News) {
        self.last_activity_ns = self.last_activity_ns.max(at_ns);
        self.news = self.news.max(news);
    }

    /// Takes a process in; `None` when there are too many.
    pub fn join(&mut self, process: &Process, main: bool) -> Option<&mut Member> {
        if !self.members.contains_key(&process.pid) {
            if self.members.len() >= MEMBERS {
                return None;
            }
            self.order.push(process.pid);
        }
        // One process is the main one. An orphan of it has a parent elsewhere too, and is not.
        let main = main
            && self
                .main
                .and_then(|pid| self.members.get(&pid))
                .is_none_or(|known| {
                    known.process.pid == process.pid || (process.pid1 && !known.process.pid1)
                });
        let fresh = || Member {
            process: process.clone(),
            main,
            stops: Vec::new(),
            kill: None,
            exit: None,
        };
        let member = self.members.entry(process.pid).or_insert_with(fresh);
        if member.process.started_ns != process.started_ns {
            *member = fresh(); // the process id was used again
        }
        let (served, called) = (member.process.served, member.process.called);
        member.process.clone_from(process);
        member.process.served |= served;
        member.process.called |= called;
        member.main |= main;
        if main {
            self.main = Some(process.pid);
        }
        self.members.get_mut(&process.pid)
    }

    /// A stop signal or SIGKILL at one of its processes. `main`: its main process. `open`: listeners it
    /// has open now.
    pub fn signal(&mut self, at_ns: u64, signal: &Signal, kill: Option<KillBy>, main: bool, open: usize) {
        self.touch(at_ns, News::Soon);
        // With the main process it is the whole workload for certain, and ends with the cgroup.
        self.presumed &= !main;
        self.marked_cgroups.insert(signal.target.cgroup);
        self.marked(signal.target.pid);
        if self.signals.len() < SIGNALS {
            self.signals.push(SignalAt {
                at_ns,
                signal: signal.clone(),
            });
        }
        let name = signal_name(signal.signal);
        let detail = format!("{name} to {}", signal.target.comm);
        let pid = Some(signal.target.pid);
        let joined = self.join(&signal.target, main);
        if signal.signal == SIGKILL {
            let Some(by) = kill else { return };
            if let Some(member) = joined {
                member.kill.get_or_insert(Kill { at_ns, by });
            }
            if by != KillBy::NamespaceEnd && self.first_kill().is_none_or(|first| first.at_ns == at_ns) {
                self.listeners_open_at_kill = open;
            }
            self.oom |= by == KillBy::Oom;
            self.confirmed = true;
            self.moment(MomentAt {
                at_ns,
                what: MomentKind::Kill,
                detail: Some(detail),
                pid,
            });
            return;
        }
        // Its process was ending already, or raised it itself (as uvicorn does after its drain): it asked for
        // nothing new, and what it met there says nothing.
        if signal.target.exiting || signal.is_own() {
            self.moment(MomentAt {
                at_ns,
                what: MomentKind::StopSignal,
                detail: Some(detail),
                pid,
            });
            return;
        }
        let stop = Stop {
            at_ns,
            signal: signal.signal,
            disposition: signal.disposition,
            dropped: signal.dropped,
            delivered_ns: None,
        };
        if let Some(member) = joined
            && member.stops.len() < STOPS_PER_PROCESS
        {
            member.stops.push(stop);
        }
        self.mild &= matches!(signal.signal, SIGINT | SIGQUIT);
        self.first_stop.get_or_insert(stop);
        self.last_stop_ns = self.last_stop_ns.max(Some(at_ns));
        self.moment(MomentAt {
            at_ns,
            what: MomentKind::StopSignal,
            detail: Some(detail),
            pid,
        });
    }

    /// A stop signal reached its handler.
    pub fn delivered(&mut self, at_ns: u64, target: &Process, signal: u32, disposition: Disposition) {
        let Some(member) = self.members.get_mut(&target.pid) else {
            return;
        };
        // A handler that restores the default action and raises the signal again, as Node's runtime does,
        // is no handler at all where the process is PID 1: the kernel drops it now.
        if disposition == Disposition::Default && target.pid1 {
            for stop in member.stops.iter_mut().filter(|stop| stop.signal == signal) {
                stop.dropped = true;
                stop.disposition = Disposition::Default;
            }
            self.touch(at_ns, News::Some);
            let detail = Some(format!("{} at {}", signal_name(signal), target.comm));
            self.moment(MomentAt {
                at_ns,
                what: MomentKind::SignalDropped,
                detail,
                pid: Some(target.pid),
            });
            return;
        }
        let waiting = |stop: &&mut Stop| stop.signal == signal && stop.delivered_ns.is_none();
        let Some(stop) = member.stops.iter_mut().find(waiting) else {
            return;
        };
        stop.delivered_ns = Some(at_ns);
        self.touch(at_ns, News::Some);
        let detail = Some(format!("{} at {}", signal_name(signal), target.comm));
        self.moment(MomentAt {
            at_ns,
            what: MomentKind::SignalDelivered,
            detail,
            pid: Some(target.pid),
        });
    }

    /// One of its processes ended: noted once, with its moment on the timeline.
    pub fn exited(&mut self, process: &Process, ended: Ended, main: bool) {
        self.touch(ended.at_ns, News::Soon);
        let detail = match (ended.code, ended.signal) {
            (_, Some(signal)) => Some(signal_name(signal)),
            (Some(code), None) => Some(format!("code {code}")),
            (None, None) => None,
        };
        let Some(member) = self.join(process, main) else {
            return;
        };
        if member.exit.is_some() {
            return;
        }
        member.exit = Some(ended);
        // A health probe that ends meanwhile says nothing about the workload.
        let matters =
            member.main || member.process.served || !member.stops.is_empty() || member.kill.is_some();
        self.confirmed |= matters;
        self.moment(MomentAt {
            at_ns: ended.at_ns,
            what: MomentKind::Exit,
            detail,
            pid: Some(process.pid),
        });
        if self.ends_with_members() && self.members.values().all(|member| member.exit.is_some()) {
            self.emptied = self.scope == Scope::Process;
            self.gone(ended.at_ns);
        }
    }

    /// The cgroup is empty.
    pub fn emptied(&mut self, at_ns: u64) {
        if self.emptied {
            return;
        }
        self.emptied = true;
        self.confirmed = true;
        self.gone(at_ns);
    }

    fn gone(&mut self, at_ns: u64) {
        self.touch(at_ns, News::Now);
        if self.gone_ns.is_none() {
            self.moment(MomentAt {
                at_ns,
                what: MomentKind::Emptied,
                detail: None,
                pid: None,
            });
        }
        self.gone_ns = Some(at_ns);
    }

    pub fn listener_opened(&mut self, at_ns: u64, pid: u32, local: SocketAddr) {
        self.touch(at_ns, News::Some);
        let detail = Some(local.to_string());
        self.moment(MomentAt {
            at_ns,
            what: MomentKind::ListenerOpened,
            detail,
            pid: Some(pid),
        });
    }

    /// The kernel side remembers something of this process until it is told not to.
    pub fn marked(&mut self, pid: u32) {
        if self.marked_pids.len() < MARKS {
            self.marked_pids.insert(pid);
        }
    }

    pub fn listener_closed(&mut self, at_ns: u64, pid: u32, local: SocketAddr, netns: u32) {
        self.marked(pid);
        if self.closed.len() < CLOSED {
            self.closed.insert((netns, local));
        }
        self.touch(at_ns, News::Soon);
        self.confirmed = true;
        self.listener_closed_ns = Some(at_ns);
        let detail = Some(local.to_string());
        self.moment(MomentAt {
            at_ns,
            what: MomentKind::ListenerClosed,
            detail,
            pid: Some(pid),
        });
    }

    pub fn oom_victim(&mut self, at_ns: u64, pid: u32) {
        self.oom = true;
        if let Some(kill) = self.members.get_mut(&pid).and_then(|member| member.kill.as_mut()) {
            kill.by = KillBy::Oom;
        }
        self.touch(at_ns, News::Soon);
        self.moment(MomentAt {
            at_ns,
            what: MomentKind::Oom,
            detail: None,
            pid: Some(pid),
        });
    }

    pub fn cpu_used(&mut self, at_ns: u64, usage_us: u64) {
        if self.cpu.len() >= CPU_SAMPLES {
            self.cpu.pop_front();
        }
        self.cpu.push_back((at_ns, usage_us));
    }

    /// The stop signal after which arrivals mean that traffic was not moved away in time. Of one worker
    /// of many they mean nothing: the others take them.
    pub fn arrivals_after(&self) -> Option<u64> {
        self.first_stop
            .filter(|_| self.scope != Scope::Worker)
            .map(|stop| stop.at_ns)
    }

    /// From when its lag counts: the deletion, where that is known, else the stop signal.
    pub fn lag_from(&self) -> Option<u64> {
        let deleted_ns = self.deleted_ns.filter(|_| self.scope != Scope::Worker);
        deleted_ns.or_else(|| self.arrivals_after())
    }

    fn since(&self) -> Since {
        Since {
            stop_ns: self.arrivals_after(),
            lag_ns: self.lag_from(),
        }
    }

    /// One of its connections reported.
    pub fn connection(&mut self, at_ns: u64, connection: &Connection) {
        let member = self.members.get(&connection.pid);
        // A connection of the next life of this cgroup.
        if member.is_none() && self.gone_ns.is_some_and(|gone| connection.born_ns > gone) {
            return;
        }
        let killed = match member {
            Some(member) => member.kill.is_some_and(|kill| kill.by != KillBy::NamespaceEnd),
            None => self.first_kill().is_some(),
        };
        let context = Context {
            at_ns,
            since_ns: self.started_ns,
            since: self.since(),
            killed: killed && matches!(connection.end, End::Exit | End::Unaccepted),
        };
        let lag = |tally: &Tally| (tally.arrivals, tally.last_after_stop_ns, tally.last_arrival_ns);
        let (severed, arrived) = (self.tally.outcomes.severed, lag(&self.tally));
        let settled = self.tally.connection(connection, context);
        if settled || lag(&self.tally) != arrived {
            let severed = self.tally.outcomes.severed > severed;
            self.touch(at_ns, if severed { News::Soon } else { News::Some });
        }
    }

    /// A segment met a port or connection that it had closed.
    pub fn reset(&mut self, at_ns: u64, cause: Cause, pid: u32, pair: (SocketAddr, SocketAddr, u32)) {
        let since = self.since();
        let new = match cause {
            Cause::Refused if !self.listened(pair.0, pair.2) => false,
            Cause::Refused => self.tally.refused(at_ns, since, pid, pair),
            _ => self.tally.late(at_ns, since, pid, pair),
        };
        if new {
            self.touch(at_ns, News::Soon);
        }
    }

    /// Whether one of its closed listeners had taken connections to this address. The kernel side goes by
    /// the port alone; where the listeners of that port are not known, that is all there is.
    fn listened(&self, at: SocketAddr, netns: u32) -> bool {
        let mut known = self
            .closed
            .iter()
            .filter(|(ns, local)| *ns == netns && local.port() == at.port())
            .map(|(_, local)| local.ip())
            .peekable();
        known.peek().is_none()
            || known.any(|ip| ip == at.ip() || ip.is_unspecified() && (ip.is_ipv6() || at.is_ipv4()))
    }

    /// The first SIGKILL that somebody sent.
    pub fn first_kill(&self) -> Option<Kill> {
        let kills = self.members.values().filter_map(|member| member.kill);
        kills
            .filter(|kill| kill.by != KillBy::NamespaceEnd)
            .min_by_key(|kill| kill.at_ns)
    }

    /// Whether a report is worth making of it.
    pub fn reportable(&self) -> bool {
        let served = self.members.values().any(|member| member.process.served);
        let called = self.members.values().any(|member| member.process.called);
        let requests = self.tally.any();
        if self.is_sandbox() && !(served || called || requests) {
            return false;
        }
        let signalled = self.first_stop.is_some();
        match self.scope {
            Scope::Workload => {
                let unasked = !signalled && self.first_kill().is_none() && !self.oom;
                let fine = || {
                    self.members
                        .values()
                        .all(|m| m.exit.is_none_or(|e| e.code == Some(0)))
                };
                !(unasked && fine()) || served || called || requests
            }
            // What neither served nor called can have cut nothing: a helper, a probe, a `sleep`.
            Scope::Worker => served || requests || (called && signalled),
            Scope::Process => {
                let told = signalled || self.first_kill().is_some();
                served || requests || (told && (called || self.tally.touched))
            }
        }
    }

    /// The container that holds a pod's namespaces: no workload of anybody's. Its program is `pause` wherever
    /// it comes from.
    fn is_sandbox(&self) -> bool {
        let pause = || self.members.values().all(|member| member.process.comm == "pause");
        self.unlisted || (self.workload.kind == "kubernetes" && pause())
    }

    /// Another shutdown turned out to be part of this one. The earliest start, and its id, stand.
    pub fn absorb(&mut self, other: Self) {
        // Each id with the time at which it was last told of, if ever.
        let mut dropped = (other.id, other.updated_ns);
        if other.started_ns < self.started_ns {
            std::mem::swap(&mut self.id, &mut dropped.0);
            std::mem::swap(&mut self.updated_ns, &mut dropped.1);
        }
        // Only an id that somebody may have heard of needs to be taken back.
        self.superseded.extend(dropped.1.map(|_| dropped.0));
        self.started_ns = self.started_ns.min(other.started_ns);
        self.last_activity_ns = self.last_activity_ns.max(other.last_activity_ns);
        for pid in other.order {
            let Some(member) = other.members.get(&pid) else {
                continue;
            };
            if !self.members.contains_key(&pid) && self.members.len() < MEMBERS {
                self.order.push(pid);
                self.members.insert(pid, member.clone());
            }
        }
        let main = self
            .members
            .iter()
            .filter(|(_, m)| m.main)
            .min_by_key(|(_, m)| (!m.process.pid1, m.process.started_ns));
        self.main = main.map(|(&pid, _)| pid);
        self.signals.extend(other.signals);
        self.signals.sort_by_key(|signal| signal.at_ns);
        self.signals.truncate(SIGNALS);
        // Its processes being gone was not the end of this one.
        self.timeline.extend(
            other
                .timeline
                .into_iter()
                .filter(|moment| moment.what != MomentKind::Emptied),
        );
        self.timeline.sort_by_key(|moment| moment.at_ns);
        self.timeline.truncate(TIMELINE_LISTED - RESERVED_MOMENTS);
        self.first_stop = [self.first_stop, other.first_stop]
            .into_iter()
            .flatten()
            .min_by_key(|s| s.at_ns);
        self.last_stop_ns = self.last_stop_ns.max(other.last_stop_ns);
        self.deleted_ns = self.deleted_ns.or(other.deleted_ns);
        self.ready_at_stop = self.ready_at_stop.or(other.ready_at_stop);
        self.mild &= other.mild;
        self.oom |= other.oom;
        self.confirmed |= other.confirmed;
        self.listener_closed_ns = self.listener_closed_ns.max(other.listener_closed_ns);
        self.closed.extend(other.closed);
        self.listeners_open_at_kill = self.listeners_open_at_kill.max(other.listeners_open_at_kill);
        self.tally.absorb(other.tally);
        self.events_lost = self.events_lost.max(other.events_lost);
        self.marked_cgroups.extend(other.marked_cgroups);
        self.marked_pids.extend(other.marked_pids);
        self.news = News::Now;
    }

    fn moment(&mut self, moment: MomentAt) {
        let needed = matches!(
            moment.what,
            MomentKind::Emptied | MomentKind::Oom | MomentKind::Kill
        );
        let room = if needed {
            TIMELINE_LISTED
        } else {
            TIMELINE_LISTED - RESERVED_MOMENTS
        };
        if self.timeline.len() < room {
            self.timeline.push(moment);
        } else if moment.what == MomentKind::Emptied {
            self.timeline.pop();
            self.timeline.push(moment);
        }
    }
}

/// Names of the signals 1 to 31, as x86 and ARM number them.
const SIGNALS_BY_NUMBER: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// `SIGTERM` and so on; real-time signals by their distance from the first (34 in glibc and musl's `SIGRTMIN`).
pub(super) fn signal_name(signal: u32) -> String {
    let index = usize::try_from(signal)
        .ok()
        .and_then(|number| number.checked_sub(1));
    match index.and_then(|index| SIGNALS_BY_NUMBER.get(index)) {
        Some(known) => format!("SIG{known}"),
        None if signal == 34 => "SIGRTMIN".to_owned(),
        None if (35..=64).contains(&signal) => format!("SIGRTMIN+{}", signal - 34),
        None => format!("signal {signal}"),
    }
}
