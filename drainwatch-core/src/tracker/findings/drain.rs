//! How the drain went, and what cut it.

use super::{Examined, count, finding};
use crate::{
    report::{Finding, FindingCode},
    tracker::{
        advice::number,
        clock::human,
        episode::{AT_WORK_PERCENT, Member, signals::signal_name},
    },
};

impl Examined<'_> {
    pub(super) fn exit_without_drain(&self) -> Option<Finding> {
        let cut = self.episode.tally().cut_by_exit();
        let stop_ns = self.stop_ns.filter(|_| cut > 0 && self.handled)?;
        // Refused and late ones are not outstanding requests; they are counted elsewhere.
        let exit = self
            .members()
            .filter(|m| m.handles() || m.process().served)
            .filter_map(Member::exit)
            .min_by_key(|e| e.at_ns);
        let after = match exit {
            Some(exit) => format!(
                "exited {} after the stop signal",
                human(exit.at_ns.saturating_sub(stop_ns))
            ),
            None => "closed connections after the stop signal".to_owned(),
        };
        finding(
            FindingCode::ExitWithoutDrain,
            format!(
                "It handled the stop signal and {after}, with {} outstanding.",
                count(cut, "request")
            ),
            "On the stop signal stop accepting, wait for the requests in flight, and exit only then.",
        )
    }

    pub(super) fn killed_mid_drain(&self) -> Option<Finding> {
        let cut = self.episode.tally().cut_by_kill();
        let (_, grace) = self.killed.filter(|_| cut > 0 && self.handled)?;
        let outcomes = self.episode.tally().outcomes();
        let drained = match outcomes.drained {
            0 => "none had finished by then".to_owned(),
            n => format!(
                "{n} had finished, the longest after {}",
                human(self.episode.tally().longest_drained_ns())
            ),
        };
        finding(
            FindingCode::KilledMidDrain,
            format!(
                "SIGKILL came {} after the stop signal{} and severed {}; {drained}{}.",
                human(grace),
                self.after_deletion(self.killed.map(|(at_ns, _)| at_ns)),
                count(cut, "request"),
                self.advice.grace_period()
            ),
            self.own_limit(grace).or_else(|| self.advice.grace(&human(grace))).unwrap_or_else(|| format!(
                "Give it more than {} (terminationGracePeriodSeconds, TimeoutStopSec, `docker stop -t`), or limit its requests to less.",
                human(grace)
            )),
        )
    }

    /// Where its own master lost patience, no setting of an orchestrator's helps.
    fn own_limit(&self, grace: u64) -> Option<String> {
        self.by_own_master.then(|| {
            format!(
                "Its own master killed it: give workers more than {} there (gunicorn's graceful_timeout, PHP-FPM's process_control_timeout, Apache's GracefulShutdownTimeout), or limit its requests to less.",
                human(grace)
            )
        })
    }

    pub(super) fn prestop_cut(&self) -> Option<Finding> {
        let settings = self.episode.settings()?;
        let (prestop, grace) = (settings.prestop.as_ref()?.seconds?, settings.grace_seconds?);
        if prestop < grace {
            return None;
        }
        finding(
            FindingCode::PrestopCut,
            format!(
                "Its preStop hook takes {} s, its grace period is {} s and counts from the beginning of the hook: no time is left after the stop signal.",
                number(prestop),
                number(grace)
            ),
            format!(
                "Set a grace period of more than {} s and the time that the drain takes, or a shorter hook.",
                number(prestop)
            ),
        )
    }

    pub(super) fn hung_on_idle_connections(&self) -> Option<Finding> {
        let tally = self.episode.tally();
        let (kill_ns, grace) = self.killed?;
        let closed = self
            .episode
            .listeners()
            .closed_ns()
            .is_some_and(|at_ns| at_ns <= kill_ns);
        if !self.handled || !closed || self.episode.listeners().open_at_kill() > 0 {
            return None;
        }
        if tally.cut_by_kill() > 0 || tally.idle_when_killed() == 0 {
            return None;
        }
        finding(
            FindingCode::HungOnIdleConnections,
            format!(
                "Nothing was outstanding, but {} kept it running until SIGKILL came, {} after the stop signal.",
                count(tally.idle_when_killed(), "idle keep-alive connection"),
                human(grace)
            ),
            "Close idle keep-alive connections on the stop signal, and answer the last requests with `Connection: close`.",
        )
    }

    pub(super) fn kept_accepting(&self) -> Option<Finding> {
        let open = self.episode.listeners().open_at_kill();
        let (_, grace) = self.killed.filter(|_| open > 0 && self.handled)?;
        finding(
            FindingCode::KeptAccepting,
            format!(
                "{} still open when SIGKILL came, {} after the stop signal.",
                if open == 1 {
                    "Its listener was".to_owned()
                } else {
                    format!("{open} listeners were")
                },
                human(grace)
            ),
            "Close the listener on the stop signal (once endpoint removal has had time to take effect), so that the drain can end.",
        )
    }

    pub(super) fn transaction_open(&self) -> Option<Finding> {
        let open = self.episode.tally().transactions_open();
        if open == 0 {
            return None;
        }
        finding(
            FindingCode::TransactionOpen,
            format!(
                "{} open when {} ended: what had been done in {} was rolled back.",
                if open == 1 {
                    "1 database transaction was".to_owned()
                } else {
                    format!("{open} database transactions were")
                },
                if open == 1 {
                    "its connection"
                } else {
                    "their connections"
                },
                if open == 1 { "it" } else { "them" },
            ),
            "On the stop signal finish or roll back what is under way and close the pool, and keep transactions shorter than the grace period; a database is stopped after its clients.",
        )
    }

    pub(super) fn busy_when_killed(&self) -> Option<Finding> {
        // Cut by the kill itself, or by the end of the pid namespace that it brought.
        if self.episode.tally().cut_by_kill() + self.episode.tally().cut_by_exit() > 0 {
            return None;
        }
        let sampled = self.killed.and_then(|(kill_ns, grace)| {
            let percent = self.episode.cpu().percent_at(kill_ns)?;
            let grace = human(grace);
            Some((
                percent,
                format!("using {percent} % of a CPU when SIGKILL came, {grace} after the stop signal"),
            ))
        });
        let at_end = || {
            let members = self.episode.members();
            let percent = self.episode.busy_at_end().filter(|_| self.episode.is_job())?;
            let by_signal = |m: &Member| m.exit()?.signal;
            let signal = signal_name(
                members
                    .main()
                    .and_then(by_signal)
                    .or_else(|| members.iter().find_map(by_signal))?,
            );
            Some((
                u64::from(percent),
                format!("running or ready to run {percent} % of the time when {signal} ended it"),
            ))
        };
        let busy = |(percent, _): &(u64, String)| *percent >= AT_WORK_PERCENT.into();
        let (_, doing) = sampled.filter(busy).or_else(|| at_end().filter(busy))?;
        finding(
            FindingCode::BusyWhenKilled,
            format!("With no request outstanding it was still {doing}: a job was interrupted."),
            "Let jobs watch for the stop signal and save their progress, or give them a longer grace period.",
        )
    }
}
