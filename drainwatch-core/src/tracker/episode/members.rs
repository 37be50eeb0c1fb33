//! The processes of one shutdown: what each was told, and how each ended.
//!
//! They are bounded, none is taken out but successors, and at most one of them is the main one.

use std::collections::BTreeMap;

use super::signals::{SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, Stop};
use crate::{
    event::{Disposition, Process},
    report::Trigger,
};

/// Most processes remembered per shutdown.
const MEMBERS: usize = 1024;
/// Most stop signals remembered per process.
const STOPS_PER_PROCESS: usize = 8;

/// Who sent SIGKILL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tracker) enum KillBy {
    /// Somebody outside the workload.
    Outside,
    /// A process of the workload: a master that lost patience with its worker.
    Own,
    /// The OOM killer.
    Oom,
    /// The kernel, for another reason: a limit of CPU time (`RLIMIT_CPU`).
    Kernel,
    /// The kernel, because PID 1 of the pid namespace had ended, or the parent that it had tied itself to
    /// (`PR_SET_PDEATHSIG`). Nobody forced that.
    NamespaceEnd,
}

/// A SIGKILL at one process.
#[derive(Debug, Clone, Copy)]
pub(in crate::tracker) struct Kill {
    pub at_ns: u64,
    pub by: KillBy,
}

/// The end of one process.
#[derive(Debug, Clone, Copy)]
pub(in crate::tracker) struct Ended {
    pub at_ns: u64,
    pub code: Option<i32>,
    pub signal: Option<u32>,
    /// It listened on a Unix socket.
    pub unix_listener: bool,
}

impl Ended {
    /// What an end that nobody asked for (as far as was seen) says. A fatal stop signal or SIGKILL whose
    /// generation was not seen was sent all the same: the process did not do that to itself.
    pub fn unasked(self) -> Trigger {
        match (self.signal, self.code) {
            (Some(SIGKILL), _) => Trigger::Kill,
            (Some(SIGHUP | SIGINT | SIGQUIT | SIGTERM), _) => Trigger::Stop,
            (None, Some(0) | None) => Trigger::Exit,
            (Some(_), _) | (None, Some(_)) => Trigger::Crash,
        }
    }
}

/// A process of the shutdown.
#[derive(Debug, Clone)]
pub(in crate::tracker) struct Member {
    process: Process,
    main: bool,
    stops: Vec<Stop>,
    kill: Option<Kill>,
    exit: Option<Ended>,
    busy: Option<u32>,
}

impl Member {
    fn new(process: &Process, main: bool) -> Self {
        Self {
            process: process.clone(),
            main,
            stops: Vec::new(),
            kill: None,
            exit: None,
            busy: None,
        }
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    /// It is, or was when it was met, the main process.
    pub fn is_main(&self) -> bool {
        self.main
    }

    /// Stop signals that it got, the first ones.
    pub fn stops(&self) -> &[Stop] {
        &self.stops
    }

    /// The first SIGKILL that it got.
    pub fn kill(&self) -> Option<Kill> {
        self.kill
    }

    pub fn exit(&self) -> Option<Ended> {
        self.exit
    }

    /// How much of the time it was running or ready to run when a signal ended it, in percent.
    pub fn busy(&self) -> Option<u32> {
        self.busy
    }

    /// It could act on a stop signal.
    pub fn handles(&self) -> bool {
        let handles = |stop: &Stop| matches!(stop.disposition, Disposition::Handled | Disposition::Blocked);
        self.stops.iter().any(handles)
    }

    /// It got a stop signal or SIGKILL.
    pub fn is_told(&self) -> bool {
        self.kill.is_some() || !self.stops.is_empty()
    }

    /// Its end says something about the workload; that of a health probe, say, does not.
    pub fn matters(&self) -> bool {
        self.main || self.process.served || self.is_told()
    }

    /// It was told to end, in a way that was not dropped.
    fn is_ending(&self) -> bool {
        self.kill.is_some() || self.exit.is_some() || self.stops.iter().any(|stop| !stop.dropped)
    }

    /// It was that busy when a signal came that may end it.
    pub fn was_busy(&mut self, busy: Option<u32>) {
        self.busy = self.busy.or(busy);
    }

    pub fn stopped(&mut self, stop: Stop) {
        if self.stops.len() < STOPS_PER_PROCESS {
            self.stops.push(stop);
        }
    }

    pub fn killed(&mut self, kill: Kill) {
        self.kill.get_or_insert(kill);
    }

    /// Says whether its end is news.
    pub fn exited(&mut self, ended: Ended) -> bool {
        if self.exit.is_some() {
            return false;
        }
        self.exit = Some(ended);
        true
    }

    /// The SIGKILL that it got was the OOM killer's.
    pub fn chosen_by_oom_killer(&mut self) {
        if let Some(kill) = self.kill.as_mut() {
            kill.by = KillBy::Oom;
        }
    }

    /// A signal was dropped after all: by then it had taken its handler away.
    pub fn dropped(&mut self, signal: u32) {
        for stop in self.stops.iter_mut().filter(|stop| stop.signal == signal) {
            stop.dropped = true;
            stop.disposition = Disposition::Default;
        }
    }

    /// A stop signal reached its handler. Says whether one was on its way.
    pub fn delivered(&mut self, at_ns: u64, signal: u32) -> bool {
        let waiting = |stop: &&mut Stop| stop.signal == signal && stop.delivered_ns.is_none();
        let Some(stop) = self.stops.iter_mut().find(waiting) else {
            return false;
        };
        stop.delivered_ns = Some(at_ns);
        true
    }
}

/// The processes of one shutdown.
#[derive(Debug, Clone, Default)]
pub(in crate::tracker) struct Members {
    by_pid: BTreeMap<u32, Member>,
    /// Process ids in the order in which they were met.
    order: Vec<u32>,
    main: Option<u32>,
    /// Process ids that nobody has asked for yet ([`Members::take_met`]).
    met: Vec<u32>,
}

impl Members {
    /// Takes a process in; `None` when there are too many.
    pub fn join(&mut self, process: &Process, main: bool) -> Option<&mut Member> {
        if !self.by_pid.contains_key(&process.pid) {
            if self.by_pid.len() >= MEMBERS {
                return None;
            }
            self.order.push(process.pid);
            self.met.push(process.pid);
        }
        // One process is the main one. An orphan of it has a parent elsewhere too, and is not.
        let main = main
            && self.main().is_none_or(|known| {
                known.process.pid == process.pid || (process.pid1 && !known.process.pid1)
            });
        let member = self
            .by_pid
            .entry(process.pid)
            .or_insert_with(|| Member::new(process, main));
        if member.process.started_ns != process.started_ns {
            *member = Member::new(process, main); // the process id was used again
        }
        let (served, called) = (member.process.served, member.process.called);
        member.process.clone_from(process);
        member.process.served |= served;
        member.process.called |= called;
        member.main |= main;
        if main {
            self.main = Some(process.pid);
        }
        Some(member)
    }

    /// Process ids that were met since the last time.
    pub fn take_met(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.met)
    }

    /// Those whose end was not seen.
    pub fn living(&self) -> impl Iterator<Item = &Process> {
        let living = self.by_pid.values().filter(|member| member.exit.is_none());
        living.map(|member| &member.process)
    }

    pub fn get(&self, pid: u32) -> Option<&Member> {
        self.by_pid.get(&pid)
    }

    pub fn get_mut(&mut self, pid: u32) -> Option<&mut Member> {
        self.by_pid.get_mut(&pid)
    }

    /// In the order in which they were met.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.order.iter().filter_map(|pid| self.by_pid.get(pid))
    }

    /// The one that was met first.
    pub fn first(&self) -> Option<&Member> {
        self.iter().next()
    }

    /// The main process, where one is known as such.
    pub fn main(&self) -> Option<&Member> {
        self.by_pid.get(&self.main?)
    }

    /// None of them is the main one: that is another process, which is still to be met.
    pub fn without_main(&mut self) {
        self.main = None;
        self.by_pid.values_mut().for_each(|member| member.main = false);
    }

    /// Those that live on, told by nobody, are none of them after all.
    pub fn without_successors(&mut self) {
        self.by_pid
            .retain(|_, member| member.main || member.exit.is_some() || member.is_told());
        self.order.retain(|pid| self.by_pid.contains_key(pid));
    }

    /// Whether this very process is one of them.
    pub fn holds(&self, pid: u32, started_ns: Option<u64>) -> bool {
        let same = |member: &Member| started_ns.is_none_or(|started| member.process.started_ns == started);
        self.by_pid.get(&pid).is_some_and(same)
    }

    /// Whether a child of `parent` is one of them too: a process that merely ignores its stop signal (a
    /// shell) does not take its children with it, PID 1 of a pid namespace does.
    pub fn adopts(&self, parent: u32) -> bool {
        self.by_pid
            .get(&parent)
            .is_some_and(|member| member.process.pid1 || member.is_ending())
    }

    /// Whether this holds for any of them.
    pub fn any(&self, which: impl Fn(&Member) -> bool) -> bool {
        self.by_pid.values().any(which)
    }

    /// Whether this holds for all of them.
    pub fn all(&self, which: impl Fn(&Member) -> bool) -> bool {
        self.by_pid.values().all(which)
    }

    /// The first SIGKILL that somebody sent.
    pub fn first_kill(&self) -> Option<Kill> {
        self.first_kill_by(|by| by != KillBy::NamespaceEnd)
    }

    /// The first SIGKILL from outside, or by the kernel of its own accord.
    pub fn first_outside_kill(&self) -> Option<Kill> {
        self.first_kill_by(|by| matches!(by, KillBy::Outside | KillBy::Oom | KillBy::Kernel))
    }

    fn first_kill_by(&self, whose: impl Fn(KillBy) -> bool) -> Option<Kill> {
        let kills = self.by_pid.values().filter_map(|member| member.kill);
        kills.filter(|kill| whose(kill.by)).min_by_key(|kill| kill.at_ns)
    }

    /// The one that ended last, so far.
    pub fn last_ended(&self) -> Option<&Member> {
        self.by_pid
            .values()
            .filter(|member| member.exit.is_some())
            .max_by_key(|member| member.exit.map(|ended| ended.at_ns))
    }

    /// Takes over those of another shutdown that turned out to be part of this one.
    pub fn absorb(&mut self, mut other: Self) {
        for pid in other.order {
            let Some(member) = other.by_pid.remove(&pid) else {
                continue;
            };
            if !self.by_pid.contains_key(&pid) && self.by_pid.len() < MEMBERS {
                self.order.push(pid);
                self.met.push(pid);
                self.by_pid.insert(pid, member);
            }
        }
        let main = self
            .by_pid
            .iter()
            .filter(|(_, member)| member.main)
            .min_by_key(|(_, member)| (!member.process.pid1, member.process.started_ns));
        self.main = main.map(|(&pid, _)| pid);
    }
}
