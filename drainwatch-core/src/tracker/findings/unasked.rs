//! Ends that nobody asked for, or gave no time for.

use super::{Examined, count, finding, who};
use crate::{
    report::{Finding, FindingCode, Trigger},
    tracker::episode::{
        Ended, KillBy, Member,
        signals::{SIGKILL, signal_name},
    },
};

impl Examined<'_> {
    pub(super) fn oom(&self, trigger: Trigger) -> Option<Finding> {
        if !self.episode.is_oom() && trigger != Trigger::Oom {
            return None;
        }
        let victim = self
            .members()
            .find(|member| member.kill().is_some_and(|kill| kill.by == KillBy::Oom));
        let whom = victim.map_or_else(|| "one of its processes".to_owned(), who);
        finding(
            FindingCode::Oom,
            format!("The kernel's OOM killer ended {whom}; this was not a deploy."),
            "Raise the memory limit, or find out what uses the memory.",
        )
    }

    pub(super) fn crash(&self, trigger: Trigger) -> Option<Finding> {
        if !matches!(trigger, Trigger::Crash | Trigger::Worker) || self.stop_ns.is_some() {
            return None;
        }
        let crashed = |member: &&Member| {
            let crash = |exit: Ended| exit.unasked() == Trigger::Crash;
            member.kill().is_none() && member.exit().is_some_and(crash)
        };
        let main = self.episode.members().main().filter(crashed);
        let member = main.or_else(|| self.members().find(crashed))?;
        let exit = member.exit()?;
        // Masters let their workers end with codes of their own (uWSGI at a reload): where nothing was lost, no fault shows.
        let lost = self.episode.tally().outcomes().severed > 0;
        if trigger == Trigger::Worker && exit.signal.is_none() && !lost {
            return None;
        }
        let how = match (exit.signal, exit.code) {
            (Some(signal), _) => format!("was killed by {}", signal_name(signal)),
            // A shell reports the fatal signal of its child so (POSIX, 2.8.2 Exit Status for Commands).
            (None, Some(code @ 129..=192)) => {
                let child = signal_name(code.unsigned_abs() - 128);
                format!("exited with code {code} (128 + {child}: it passed on that {child} killed a child)")
            }
            (None, code) => format!("exited with code {} of its own accord", code.unwrap_or_default()),
        };
        finding(
            FindingCode::Crash,
            format!("{} {how}; this was not a deploy.", who(member)),
            "Check its log and core dump: this is a fault of the program or its configuration.",
        )
    }

    /// SIGKILL from the kernel of its own accord: nothing but a limit of CPU time is known to do that.
    fn limit(&self, killed: &Member) -> Option<Finding> {
        finding(
            FindingCode::NoGrace,
            format!(
                "The kernel itself sent {} SIGKILL, with no stop signal before it: it had probably used up its limit of CPU time (RLIMIT_CPU); {} severed.",
                who(killed),
                count(self.episode.tally().outcomes().severed, "request")
            ),
            "Raise the limit (LimitCPU= of a systemd unit, `ulimit -t`), or take it away: it is no way to stop a service.",
        )
    }

    pub(super) fn no_grace(&self, trigger: Trigger) -> Option<Finding> {
        // Its stop signal may be what was lost.
        let unseen = self.episode.may_have_been_stopped_unwatched() || self.episode.lost() > 0;
        if self.stop_ns.is_some() || unseen || !matches!(trigger, Trigger::Kill | Trigger::Worker) {
            return None;
        }
        let killed = self.members().find(|member| match member.kill() {
            Some(kill) => !matches!(kill.by, KillBy::NamespaceEnd | KillBy::Oom | KillBy::Own),
            None => member.exit().is_some_and(|exit| exit.signal == Some(SIGKILL)),
        })?;
        if self
            .episode
            .members()
            .first_outside_kill()
            .is_some_and(|kill| kill.by == KillBy::Kernel)
        {
            return self.limit(killed);
        }
        let outstanding = self.episode.tally().outcomes().severed;
        finding(
            FindingCode::NoGrace,
            format!(
                "{} got SIGKILL with no stop signal before it; {} severed.",
                who(killed),
                count(outstanding, "request")
            ),
            "Stop it with its stop signal and a grace period first; SIGKILL leaves no time to finish anything.",
        )
    }
}
