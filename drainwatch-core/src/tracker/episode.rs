//! One shutdown under way: what was seen of it so far.
//!
//! It grows by verbs, one for each thing that can happen to a shutdown; nothing else writes to it. Each of
//! its parts keeps its own bounds and takes over, by `absorb`, what the same part of another shutdown held.

mod connections;
mod cpu;
mod listeners;
mod members;
mod others;
mod questions;
pub(super) mod signals;
mod telling;
mod timeline;

use std::{net::SocketAddr, sync::Arc};

use self::signals::{SIGKILL, Signals, Stop, signal_name};
pub(super) use self::{
    cpu::CpuUse,
    listeners::OwnListeners,
    members::{Ended, Kill, KillBy, Member, Members},
    others::Others,
    questions::AT_WORK_PERCENT,
    telling::{Telling, Urgency},
    timeline::{MomentAt, Timeline},
};
use super::{
    HOUR, SECOND,
    clock::Clock,
    marks::Marks,
    tally::{Pending, Tally},
};
use crate::{
    class::Classes,
    event::{Disposition, Listener, Process, Signal},
    report::{MomentKind, Reason, Workload},
    workload::directory::{StopSettings, Why},
};

/// A stop signal that stopped nothing is given up after this: SIGINT and SIGQUIT, which some programs use
/// for other things (a JVM's thread dump) …
const MILD_SIGNAL_NS: u64 = 120 * SECOND;
/// … and all others.
const STOP_SIGNAL_NS: u64 = HOUR;
/// A shutdown that began but never ends (a child lives on in its cgroup) is reported as it stands after
/// this long without anything new.
const OVERDUE_NS: u64 = 24 * HOUR;
/// While clients go on trying, closed ports are watched for this long after the end.
const WATCHED_ON_NS: u64 = 60 * SECOND;

/// What a job was doing when a signal ended it, as far as that shows: `SIGKILL, at work 98 % of the time, its child sleep running`.
fn interrupted(signal: u32, busy: Option<u32>, child: Option<&str>) -> String {
    let busy = busy.map_or(String::new(), |percent| {
        format!(", at work {percent} % of the time")
    });
    let child = child.map_or(String::new(), |child| format!(", its child {child} running"));
    format!("{}{busy}{child}", signal_name(signal))
}

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

/// How far the end of a shutdown has come.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that are independent of each other, named one by one"
)]
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// Something ended: it is a shutdown and not a signal that stopped nothing.
    confirmed: bool,
    gone_ns: Option<u64>,
    /// The cgroup emptied (or, of a [`Scope::Process`], its last process ended).
    emptied: bool,
    /// There was no room for it: it was finished before its time.
    cut_short: bool,
    /// Its process goes on, with another program.
    replaced: bool,
    /// A process of it had a connection, or a listener, of which nothing was recorded.
    unrecorded: bool,
    /// A signal to a process of it was not told.
    untold: bool,
}

/// What is known of its pod.
#[derive(Debug, Clone, Copy, Default)]
struct InPod {
    /// It does not list this container: a sandbox, unless it serves.
    unlisted: bool,
    /// When its deletion was asked for.
    deleted_ns: Option<u64>,
    /// Nobody watched then: its stop signal may have come before the agent.
    unwatched: bool,
    /// Whether it counted as ready at the first stop signal.
    ready_at_stop: Option<bool>,
}

/// One shutdown under way.
#[derive(Debug, Clone)]
pub(super) struct Episode {
    telling: Telling,
    clock: Clock,
    scope: Scope,
    /// Processes that never served are told of, too.
    processes: bool,
    /// How long after its end late arrivals are still counted.
    linger_ns: u64,
    /// Every process known to serve was told to stop, though the main process was not: probably the
    /// whole workload ends, and if the cgroup does not empty, it was a [`Scope::Worker`] after all.
    presumed: bool,
    cgroup: u64,
    workload: Workload,
    /// How it was told to be stopped.
    settings: Option<StopSettings>,
    in_pod: InPod,
    /// What was running.
    revision: Option<String>,
    /// Why it is stopped.
    reason: Option<Reason>,
    started_ns: u64,
    last_activity_ns: u64,
    progress: Progress,
    members: Members,
    signals: Signals,
    /// The OOM killer chose one of its processes.
    oom: bool,
    timeline: Timeline,
    listeners: OwnListeners,
    cpu: CpuUse,
    tally: Tally,
    others: Others,
    events_lost: u64,
    marks: Marks,
    /// When the rest of the cgroup may stop reporting.
    unmark_ns: Option<u64>,
}

/// How a shutdown begins: what it is of, when.
#[derive(Debug)]
pub(super) struct Beginning {
    pub scope: Scope,
    pub at_ns: u64,
    /// The workload's own.
    pub cgroup: u64,
    pub workload: Workload,
    pub clock: Clock,
    /// Of its report.
    pub id: String,
    pub classes: Arc<Classes>,
    /// Processes of shared cgroups that never served are told of, too.
    pub processes: bool,
    /// How long after its end late arrivals are still counted.
    pub linger_ns: u64,
}

impl Episode {
    pub fn new(beginning: Beginning) -> Self {
        let Beginning {
            scope,
            at_ns,
            cgroup,
            workload,
            clock,
            id,
            classes,
            processes,
            linger_ns,
        } = beginning;
        Self {
            telling: Telling::new(id),
            clock,
            scope,
            processes,
            linger_ns,
            presumed: false,
            cgroup,
            workload,
            settings: None,
            in_pod: InPod::default(),
            revision: None,
            reason: None,
            started_ns: at_ns,
            last_activity_ns: at_ns,
            progress: Progress::default(),
            members: Members::default(),
            signals: Signals::default(),
            oom: false,
            timeline: Timeline::default(),
            listeners: OwnListeners::default(),
            cpu: CpuUse::default(),
            tally: Tally::new(classes),
            others: Others::default(),
            events_lost: 0,
            marks: Marks::default(),
            unmark_ns: None,
        }
    }

    /// What is said of its workload, from now on.
    pub fn describe(&mut self, workload: Workload, settings: Option<StopSettings>, unlisted: bool) {
        if (&self.workload, &self.settings, self.in_pod.unlisted) == (&workload, &settings, unlisted) {
            return;
        }
        if let Some(settings) = &settings {
            self.learn_why(settings);
        }
        (self.workload, self.settings, self.in_pod.unlisted) = (workload, settings, unlisted);
        self.telling.raise(Urgency::Soon);
    }

    /// What ran, and why it is stopped. What was said first of the revision stays: it is that of the run that is
    /// stopped, and after a restart another one runs under the same name.
    fn learn_why(&mut self, settings: &StopSettings) {
        // A unit that is described only when it is gone may be running again.
        let may_be_next = self.workload.kind == "systemd" && self.progress.gone_ns.is_some();
        if self.revision.is_none() && !may_be_next {
            self.revision.clone_from(&settings.revision);
        }
        let before = |why: &Why| {
            why.before_ms
                .is_none_or(|ms| self.started_ns <= self.clock.monotonic(ms))
        };
        let same_run = settings.revision == self.revision;
        let why = settings.why.as_ref().filter(|why| same_run && before(why));
        self.reason = why.map(|why| why.reason).or(self.reason);
    }

    /// It begins after its pod's deletion; the last arrival since, if any, was then.
    pub fn follows_deletion(&mut self, deleted_ns: u64, last_arrival_ns: Option<u64>, watched: bool) {
        self.in_pod.unwatched = !watched;
        self.in_pod.deleted_ns = Some(deleted_ns.min(self.started_ns));
        self.tally.arrived_before(last_arrival_ns);
    }

    /// Only now it is heard that its pod's deletion was asked for, as it is told at `told_ns`. The stop signal
    /// may be quicker than the news of the deletion that it is of, but not than the deletion.
    pub fn deletion_learned(&mut self, told_ns: u64, deleted_ns: u64) {
        let began_ns = self
            .signals
            .first_stop()
            .map_or(self.started_ns, |stop| stop.at_ns);
        if self.in_pod.deleted_ns.is_none() && told_ns <= began_ns {
            self.in_pod.deleted_ns = Some(deleted_ns.min(began_ns));
        }
    }

    /// Its pod counted as ready, or not, at `at_ns`: kept where that is its first stop signal.
    pub fn readiness(&mut self, at_ns: u64, ready: Option<bool>) {
        let stop_ns = self.signals.first_stop().map(|stop| stop.at_ns);
        if self.in_pod.ready_at_stop.is_none() && stop_ns == Some(at_ns) {
            self.in_pod.ready_at_stop = ready;
        }
    }

    /// Every process that is known to serve was told to stop: probably it is of the whole workload.
    pub fn presume_whole(&mut self) {
        self.scope = Scope::Workload;
        self.presumed = true;
        self.unmark_ns = None;
    }

    /// None of the processes that it has is the main one: that is another process, which is still to be met.
    pub fn without_main(&mut self) {
        self.members.without_main();
    }

    fn touch(&mut self, at_ns: u64, urgency: Urgency) {
        self.last_activity_ns = self.last_activity_ns.max(at_ns);
        self.telling.raise(urgency);
    }

    fn moment(&mut self, at_ns: u64, what: MomentKind, pid: Option<u32>, detail: Option<String>) {
        self.timeline.note(MomentAt {
            at_ns,
            what,
            detail,
            pid,
        });
    }

    /// One of its processes is known; it may have been met before.
    pub fn meet(&mut self, process: &Process) {
        self.misses(process);
        if self.members.get(process.pid).is_none() {
            self.members.join(process, false);
        }
    }

    /// What could not be kept, or told, of one of its processes is missing here.
    fn misses(&mut self, process: &Process) {
        self.progress.unrecorded |= process.unrecorded;
        self.progress.untold |= process.untold;
    }

    /// One of its processes was seen.
    pub fn join(&mut self, process: &Process) {
        self.members.join(process, false);
    }

    /// A stop signal or SIGKILL at one of its processes. `main`: its main process. `open`: listeners it
    /// has open now.
    pub fn signal(&mut self, at_ns: u64, signal: &Signal, kill: Option<KillBy>, main: bool, open: usize) {
        let main = main || self.wants_main();
        self.misses(&signal.target);
        self.touch(at_ns, Urgency::Soon);
        // With the main process it is the whole workload for certain, and ends with the cgroup.
        self.presumed &= !main;
        self.marks.cgroup(signal.target.cgroup);
        self.marks.process(signal.target.pid);
        // What the kernel does to the rest of a pid namespace whose PID 1 has ended is nobody's signal.
        let listed = kill != Some(KillBy::NamespaceEnd);
        if listed {
            self.signals.list(at_ns, signal);
        }
        self.include(signal.target.pid);
        let name = signal_name(signal.signal);
        let detail = Some(format!("{name} to {}", signal.target.comm));
        let pid = Some(signal.target.pid);
        let mut joined = self.members.join(&signal.target, main);
        if let Some(member) = joined.as_mut() {
            member.was_busy(signal.busy);
        }
        if signal.signal == SIGKILL {
            let Some(by) = kill else { return };
            if let Some(member) = joined {
                member.killed(Kill { at_ns, by });
            }
            let first = self.members.first_outside_kill();
            if first.is_some_and(|first| first.at_ns == at_ns) {
                self.listeners.killed(open);
            }
            self.progress.confirmed = true;
            if listed {
                self.moment(at_ns, MomentKind::Kill, pid, detail);
            }
            return;
        }
        // Where its process was ending already, or raised it itself (as uvicorn does after its drain), it asked
        // for nothing new, and what it met there says nothing.
        if !signal.target.exiting && !signal.is_own() {
            let stop = Stop::new(at_ns, signal);
            if let Some(member) = joined {
                member.stopped(stop);
            }
            self.signals.stopped(stop);
        }
        self.moment(at_ns, MomentKind::StopSignal, pid, detail);
    }

    /// The stop signal that was given up on comes first after all.
    pub fn recall(&mut self, stop: Stop, signal: &Signal) {
        let main = self
            .members
            .main()
            .is_some_and(|main| main.process().pid == signal.target.pid);
        self.signal(stop.at_ns, signal, None, main, 0);
        self.started_ns = self.started_ns.min(stop.at_ns);
        self.signals.sort();
        self.timeline.sort();
    }

    /// A stop signal reached its handler.
    pub fn delivered(&mut self, at_ns: u64, target: &Process, signal: u32, disposition: Disposition) {
        let Some(member) = self.members.get_mut(target.pid) else {
            return;
        };
        // A handler that restores the default action and raises the signal again, as Node's runtime does,
        // is no handler at all where the process is PID 1: the kernel drops it now.
        let what = if disposition == Disposition::Default && target.pid1 {
            member.dropped(signal);
            MomentKind::SignalDropped
        } else if member.delivered(at_ns, signal) {
            MomentKind::SignalDelivered
        } else {
            return;
        };
        self.touch(at_ns, Urgency::Later);
        let detail = format!("{} at {}", signal_name(signal), target.comm);
        self.moment(at_ns, what, Some(target.pid), Some(detail));
    }

    /// One of its processes ended: noted once, with its moment on the timeline.
    /// `child`: what one of its children was called, where it still had any.
    pub fn exited(&mut self, process: &Process, ended: Ended, main: bool, child: Option<&str>) {
        let main = main || self.wants_main();
        self.misses(process);
        self.touch(ended.at_ns, Urgency::Soon);
        let busy = self.members.get(process.pid).and_then(Member::busy);
        let detail = match (ended.code, ended.signal) {
            (_, Some(signal)) if process.served => Some(signal_name(signal)),
            (_, Some(signal)) => Some(interrupted(signal, busy, child)),
            (Some(code), None) => Some(format!("code {code}")),
            (None, None) => None,
        };
        self.include(process.pid);
        let Some(member) = self.members.join(process, main) else {
            return;
        };
        if !member.exited(ended) {
            return;
        }
        self.progress.confirmed |= member.matters();
        self.moment(ended.at_ns, MomentKind::Exit, Some(process.pid), detail);
        // It is over when its processes are gone, rather than when its cgroup is empty.
        let ends_with_members = self.scope != Scope::Workload || self.presumed;
        if ends_with_members && self.members.all(|member| member.exit().is_some()) {
            self.progress.emptied = self.scope == Scope::Process;
            self.gone(ended.at_ns);
        }
    }

    /// Its process replaced its program, and goes on as another.
    pub fn replaced(&mut self, at_ns: u64, process: &Process) {
        let process = Process {
            served: true,
            ..process.clone()
        };
        self.members.join(&process, false);
        self.misses(&process);
        self.progress.confirmed = true;
        self.progress.replaced = true;
        self.moment(
            at_ns,
            MomentKind::Exec,
            Some(process.pid),
            Some(process.comm.clone()),
        );
        self.gone(at_ns);
    }

    /// The cgroup is empty.
    pub fn emptied(&mut self, at_ns: u64) {
        if self.progress.emptied {
            return;
        }
        self.progress.emptied = true;
        self.progress.confirmed = true;
        self.gone(at_ns);
    }

    fn gone(&mut self, at_ns: u64) {
        self.include_all();
        self.touch(at_ns, Urgency::Now);
        if self.progress.gone_ns.is_none() {
            self.moment(at_ns, MomentKind::Emptied, None, None);
        }
        self.progress.gone_ns = Some(at_ns);
    }

    /// There is no room for it, or no time: whatever it is, it ends now.
    pub fn confirm(&mut self) {
        self.include_all();
        self.progress.confirmed = true;
    }

    /// There was no room for it: what was still to come until its time is over is not in it.
    pub fn cut_short(&mut self, now_ns: u64) {
        self.progress.cut_short = self.progress.gone_ns.is_none() || now_ns < self.end_due_ns();
    }

    /// This process ends too: its requests belong here.
    fn include(&mut self, pid: u32) {
        if let Some(tally) = self.others.take(pid) {
            self.tally.absorb(tally);
        }
    }

    /// So do all.
    fn include_all(&mut self) {
        for tally in self.others.take_all() {
            self.tally.absorb(tally);
        }
    }

    /// Whoever was told to stop is gone, and others of the workload serve on: it is over, and what they answered is
    /// none of its business.
    pub fn hand_over(&mut self) {
        let gone_ns = self
            .members
            .last_ended()
            .and_then(Member::exit)
            .map(|ended| ended.at_ns);
        self.others.hand_over();
        self.members.without_successors();
        self.scope = Scope::Worker;
        self.progress.confirmed = true;
        self.gone(gone_ns.unwrap_or(self.last_activity_ns));
    }

    /// One of its processes opened a listener.
    pub fn listener_opened(&mut self, at_ns: u64, process: &Process, local: SocketAddr) {
        self.join(process);
        self.touch(at_ns, Urgency::Later);
        let detail = Some(local.to_string());
        self.moment(at_ns, MomentKind::ListenerOpened, Some(process.pid), detail);
    }

    /// A listener was closed.
    pub fn listener_closed(&mut self, at_ns: u64, listener: &Listener) {
        let (pid, local) = (listener.process.pid, listener.local);
        self.marks.process(pid);
        self.listeners.closed(at_ns, listener);
        self.touch(at_ns, Urgency::Soon);
        self.progress.confirmed = true;
        let detail = Some(local.to_string());
        self.moment(at_ns, MomentKind::ListenerClosed, Some(pid), detail);
    }

    /// The OOM killer chose one of its processes.
    pub fn oom_victim(&mut self, at_ns: u64, pid: u32) {
        self.oom = true;
        if let Some(member) = self.members.get_mut(pid) {
            member.chosen_by_oom_killer();
        }
        self.touch(at_ns, Urgency::Soon);
        self.moment(at_ns, MomentKind::Oom, Some(pid), None);
    }

    /// So many µs of CPU time were used until then.
    pub fn cpu_used(&mut self, at_ns: u64, usage_us: u64) {
        self.cpu.sample(at_ns, usage_us);
    }

    /// Events were lost while it went on.
    pub fn events_lost(&mut self, count: u64) {
        self.events_lost = self.events_lost.saturating_add(count);
        self.telling.raise(Urgency::Soon);
    }

    /// This cgroup reports because of it. Says whether that is new.
    pub fn mark_cgroup(&mut self, cgroup: u64) -> bool {
        self.marks.cgroup(cgroup)
    }

    /// The kernel side had marked this process and its cgroup.
    pub fn was_marked(&mut self, process: &Process) {
        self.marks.process(process.pid);
        self.marks.cgroup(process.cgroup);
    }

    /// From then on the rest of the cgroup need not report because of it.
    pub fn unmark_rest_at(&mut self, at_ns: u64) {
        self.unmark_ns.get_or_insert(at_ns);
    }

    /// Says, once, that the time has come at which the rest of the cgroup need not report because of it.
    pub fn is_rest_unmarked(&mut self, now_ns: u64) -> bool {
        let due = self.unmark_ns.take_if(|at_ns| *at_ns <= now_ns).is_some();
        due && self.scope != Scope::Workload
    }

    /// Ids of processes that were met since the last time.
    pub fn take_met(&mut self) -> Vec<u32> {
        self.members.take_met()
    }

    /// Ids of processes that it marked since the last time.
    pub fn take_marked(&mut self) -> Vec<u32> {
        self.marks.take_new()
    }

    /// What its workload's counters are to be told, once it is certain that this is a shutdown.
    pub fn take_pending(&mut self) -> Pending {
        self.tally.take_pending()
    }

    /// Its report was told as it stands.
    pub fn told(&mut self, at_ns: u64) {
        self.telling.told(at_ns);
    }

    /// What there is to tell is to be told now.
    pub fn hurry(&mut self) {
        if self.telling.has_news() {
            self.telling.raise(Urgency::Now);
        }
    }

    /// Another shutdown turned out to be part of this one. The earliest start, and its id, stand. Gives the
    /// ids that are to be taken back.
    pub fn absorb(&mut self, mut other: Self) -> Vec<String> {
        self.include_all();
        other.include_all();
        self.telling
            .absorb(other.telling, other.started_ns < self.started_ns);
        self.started_ns = self.started_ns.min(other.started_ns);
        self.last_activity_ns = self.last_activity_ns.max(other.last_activity_ns);
        self.members.absorb(other.members);
        self.signals.absorb(other.signals);
        self.timeline.absorb(other.timeline);
        self.in_pod.deleted_ns = self.in_pod.deleted_ns.or(other.in_pod.deleted_ns);
        self.revision = self.revision.take().or(other.revision);
        self.reason = self.reason.or(other.reason);
        self.in_pod.ready_at_stop = self.in_pod.ready_at_stop.or(other.in_pod.ready_at_stop);
        self.oom |= other.oom;
        self.progress.confirmed |= other.progress.confirmed;
        self.progress.cut_short |= other.progress.cut_short;
        self.progress.unrecorded |= other.progress.unrecorded;
        self.progress.untold |= other.progress.untold;
        self.listeners.absorb(other.listeners);
        self.tally.absorb(other.tally);
        self.events_lost = self.events_lost.max(other.events_lost);
        self.marks.absorb(other.marks);
        self.telling.take_superseded()
    }
}
