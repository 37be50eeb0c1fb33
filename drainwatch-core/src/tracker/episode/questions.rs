//! What is asked of a shutdown: nothing here changes it.

use super::{
    Clock, CpuUse, Episode, Kill, KillBy, MILD_SIGNAL_NS, Member, Members, OVERDUE_NS, Others, OwnListeners,
    STOP_SIGNAL_NS, Scope, Signals, Stop, StopSettings, Tally, Telling, Timeline, WATCHED_ON_NS, Workload,
};
use crate::{
    event::Disposition,
    report::Reason,
    tracker::{SECOND, marks::Marks, successors::SETTLED_NS},
};

/// Whoever runs, or is ready to, this much of the time is at work.
pub(in crate::tracker) const AT_WORK_PERCENT: u32 = 50;

impl Episode {
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The workload's own cgroup.
    pub fn cgroup(&self) -> u64 {
        self.cgroup
    }

    pub fn workload(&self) -> &Workload {
        &self.workload
    }

    /// How its workload was told to be stopped.
    pub fn settings(&self) -> Option<&StopSettings> {
        self.settings.as_ref()
    }

    /// Writes its times.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    pub fn started_ns(&self) -> u64 {
        self.started_ns
    }

    pub fn last_activity_ns(&self) -> u64 {
        self.last_activity_ns
    }

    /// When its last process, or the last of those it is about, was gone.
    pub fn gone_ns(&self) -> Option<u64> {
        self.progress.gone_ns
    }

    /// Something ended: it is a shutdown and not a signal that stopped nothing.
    pub fn is_confirmed(&self) -> bool {
        self.progress.confirmed
    }

    /// It is of the whole workload only if the cgroup empties, which it has not done.
    pub fn is_only_presumed(&self) -> bool {
        self.presumed && !self.progress.emptied
    }

    /// Whether its pod counted as ready at the first stop signal.
    pub fn ready_at_stop(&self) -> Option<bool> {
        self.in_pod.ready_at_stop
    }

    /// What was running.
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// Why it was stopped, as its origin told it. What becomes of a pod once it is deleted says nothing of what was
    /// stopped before.
    pub fn told_reason(&self) -> Option<Reason> {
        self.reason.filter(|reason| match reason {
            Reason::Rollout | Reason::ScaleDown | Reason::Preemption | Reason::Deleted => {
                self.deleted_ns().is_some()
            }
            Reason::Eviction
            | Reason::NodeShutdown
            | Reason::Liveness
            | Reason::Restart
            | Reason::Finished => self.scope != Scope::Worker,
        })
    }

    pub fn members(&self) -> &Members {
        &self.members
    }

    /// In a shared cgroup the process that was stopped is the main one: its children come after it.
    pub(super) fn wants_main(&self) -> bool {
        self.scope == Scope::Process && self.members.main().is_none()
    }

    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    pub fn first_stop(&self) -> Option<Stop> {
        self.signals.first_stop()
    }

    /// The OOM killer chose one of its processes.
    pub fn is_oom(&self) -> bool {
        self.oom
    }

    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    pub fn listeners(&self) -> &OwnListeners {
        &self.listeners
    }

    pub fn cpu(&self) -> &CpuUse {
        &self.cpu
    }

    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whether events were lost while it went on, and how many.
    pub fn lost(&self) -> u64 {
        self.events_lost.max(u64::from(self.progress.untold))
    }

    /// The main process, which did not serve itself (a shell), is gone, and another one, which nobody told, serves on
    /// or did until it was killed.
    pub fn serves_on(&self) -> bool {
        let untold = |m: &Member| !m.is_main() && m.process().served && m.stops().is_empty();
        let main = self.members.main();
        main.is_some_and(|main| !main.process().served && main.exit().is_some()) && self.members.any(untold)
    }

    /// Requests at processes that nobody has told to end.
    pub fn others(&self) -> &Others {
        &self.others
    }

    /// A successor in the same workload took over.
    pub fn is_handed_over(&self) -> bool {
        self.others.are_successors()
    }

    /// Nothing was recorded of a connection, or a listener, of it.
    pub fn is_unrecorded(&self) -> bool {
        self.progress.unrecorded
    }

    /// It was finished before its time.
    pub fn is_cut_short(&self) -> bool {
        self.progress.cut_short
    }

    /// From when on others of the workload that serve on are successors: whoever was told to stop handled it, served,
    /// and is gone.
    pub fn hand_over_due_ns(&self) -> Option<u64> {
        if self.scope != Scope::Workload || self.progress.gone_ns.is_some() || self.first_stop().is_none() {
            return None;
        }
        let main = self.members.main().filter(|main| main.handles())?;
        let by_itself = main.kill().is_none() && main.exit().is_some_and(|ended| ended.signal.is_none());
        let served = self
            .members
            .any(|member| member.process().served && member.exit().is_some());
        let told_are_gone = self
            .members
            .all(|member| member.exit().is_some() || !member.is_told());
        let gone_ns = self.members.last_ended()?.exit()?.at_ns;
        let no_kill = self.members.first_kill().is_none();
        (by_itself && served && told_are_gone && no_kill).then(|| gone_ns.saturating_add(SETTLED_NS))
    }

    pub fn telling(&self) -> &Telling {
        &self.telling
    }

    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// When the rest of the cgroup may stop reporting.
    pub fn unmark_ns(&self) -> Option<u64> {
        self.unmark_ns
    }

    /// Whether its workload's counters are to be told something.
    pub fn has_pending(&self) -> bool {
        self.tally.has_pending()
    }

    /// Its stop signal may have come before the agent: its pod's deletion did.
    pub fn may_have_been_stopped_unwatched(&self) -> bool {
        self.in_pod.unwatched
    }

    /// When its pod's deletion was asked for. Of one worker of many that says nothing.
    pub fn deleted_ns(&self) -> Option<u64> {
        self.in_pod.deleted_ns.filter(|_| self.scope != Scope::Worker)
    }

    /// The stop signal after which arrivals mean that traffic was not moved away in time. Of one worker
    /// of many they mean nothing: the others take them. Nor where who serves was never told.
    pub fn arrivals_after(&self) -> Option<u64> {
        self.first_stop()
            .filter(|_| self.scope != Scope::Worker && !self.serves_on())
            .map(|stop| stop.at_ns)
    }

    /// From when its lag counts: the deletion, where that is known, else the stop signal.
    pub fn lag_from(&self) -> Option<u64> {
        self.deleted_ns().or_else(|| self.arrivals_after())
    }

    /// What it turned away kept coming until nobody watched any more, at `ended_ns`: how long it takes until no more
    /// comes is not known.
    pub fn still_arrives(&self, ended_ns: u64) -> bool {
        let last = self.tally.refused().last_ns();
        last.is_some_and(|last| ended_ns < last.saturating_add(self.linger_ns))
    }

    /// When it ends if nothing more happens.
    pub fn end_due_ns(&self) -> u64 {
        let (from, wait) = match (self.progress.gone_ns, self.progress.confirmed) {
            // What keeps being turned away is watched on, for a while.
            (Some(gone), _) => {
                let until = gone.saturating_add(WATCHED_ON_NS);
                let attempts = self.tally.refused().last_ns().map(|last| last.min(until));
                (attempts.map_or(gone, |last| last.max(gone)), self.linger_ns)
            }
            (None, true) => (self.last_activity_ns, OVERDUE_NS),
            (None, false) => {
                let wait = if self.signals.are_mild() {
                    MILD_SIGNAL_NS
                } else {
                    STOP_SIGNAL_NS
                };
                (self.signals.last_stop_ns().unwrap_or(self.started_ns), wait)
            }
        };
        from.saturating_add(wait)
    }

    /// When the next thing becomes of it by itself: it ends, is handed over, or its rest need not report any more.
    pub fn due_ns(&self) -> u64 {
        let others = [self.unmark_ns(), self.hand_over_due_ns()];
        others.into_iter().flatten().fold(self.end_due_ns(), u64::min)
    }

    /// Whether this SIGKILL was the end of the time that was given: not what the end of a pid namespace brings, nor what a
    /// master does to its workers at once.
    pub fn is_limit(&self, kill: Kill) -> bool {
        let waited = |stop: Stop| kill.at_ns >= stop.at_ns.saturating_add(SECOND);
        match kill.by {
            KillBy::NamespaceEnd => false,
            KillBy::Own => self.first_stop().is_some_and(waited),
            KillBy::Outside | KillBy::Oom | KillBy::Kernel => true,
        }
    }

    /// It served nobody, and a signal that it did not handle ended it, or a process of it that did the work: a job, which
    /// may have been half-way.
    pub fn is_job(&self) -> bool {
        let serves = self.listened_on_unix_socket() || self.members.any(|member| member.process().served);
        if self.scope == Scope::Worker || serves {
            return false;
        }
        let by_signal = |m: &Member| m.exit().is_some_and(|ended| ended.signal.is_some());
        let unhandled = |m: &Member| {
            let stopped = m
                .stops()
                .iter()
                .any(|stop| stop.disposition == Disposition::Default);
            let killed = m
                .kill()
                .is_some_and(|kill| !matches!(kill.by, KillBy::NamespaceEnd | KillBy::Own));
            let at_work = m.busy().is_some_and(|percent| percent >= AT_WORK_PERCENT);
            by_signal(m) && (stopped || killed || at_work)
        };
        let main = self.members.main().or_else(|| self.members.last_ended());
        main.is_some_and(by_signal) || self.members.any(unhandled)
    }

    /// How much of the time the busiest of its processes that a signal ended was running or ready to run, in percent.
    pub fn busy_at_end(&self) -> Option<u32> {
        let by_signal = |m: &&Member| m.exit().is_some_and(|ended| ended.signal.is_some());
        self.members
            .iter()
            .filter(by_signal)
            .filter_map(Member::busy)
            .max()
    }

    /// It is of a process of a shared cgroup that never served: something that somebody started by hand, which is told
    /// of only where that is wanted.
    pub fn is_hidden(&self) -> bool {
        let served = || self.members.any(|member| member.process().served);
        self.scope == Scope::Process && !self.processes && !served()
    }

    /// Whether a report is worth making of it.
    pub fn is_reportable(&self) -> bool {
        if self.is_hidden() {
            return false;
        }
        let served = self.members.any(|member| member.process().served);
        let called = self.members.any(|member| member.process().called);
        let requests = self.tally.any() || self.is_unrecorded();
        if self.is_sandbox() && !(served || called || requests) {
            return false;
        }
        let signalled = self.first_stop().is_some();
        let killed = || self.members.first_kill().is_some();
        match self.scope {
            Scope::Workload => {
                let unasked = !signalled && !killed() && !self.oom;
                let fine = || {
                    self.members
                        .all(|m| m.exit().is_none_or(|ended| ended.code == Some(0)))
                };
                !(unasked && fine()) || served || called || requests
            }
            // What neither served nor called can have cut nothing: a helper, a probe, a `sleep`.
            Scope::Worker => served || requests || (called && signalled),
            Scope::Process => {
                served || requests || ((signalled || killed()) && (called || self.tally.is_touched()))
            }
        }
    }

    /// A process of it listened on a Unix socket when it ended.
    pub fn listened_on_unix_socket(&self) -> bool {
        self.members
            .any(|member| member.exit().is_some_and(|ended| ended.unix_listener))
    }

    /// The container that holds a pod's namespaces: no workload of anybody's. Its program is `pause` wherever
    /// it comes from.
    fn is_sandbox(&self) -> bool {
        let pause = || self.members.all(|member| member.process().comm == "pause");
        // One that fails early is listed late.
        let failed = || {
            self.members
                .any(|m| !m.is_told() && m.exit().is_some_and(|ended| ended.code != Some(0)))
        };
        (self.in_pod.unlisted && !failed()) || (self.workload.kind == "kubernetes" && pause())
    }
}
