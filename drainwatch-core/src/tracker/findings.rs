//! What was wrong with a shutdown: one sentence with the measured numbers, one of advice.

mod drain;
mod stop_signal;
mod traffic;
mod unasked;

use std::time::Duration;

use super::{
    advice::Advice,
    clock::human,
    episode::{Episode, KillBy, Member},
};
use crate::{
    recommend::Measured,
    report::{Finding, FindingCode, Trigger},
};

/// Everything that was wrong, in the order of the closed list.
pub(super) fn find(
    episode: &Episode,
    trigger: Trigger,
    ended_ns: Option<u64>,
    measured: Option<Measured>,
) -> Vec<Finding> {
    let seen = Examined::new(episode, ended_ns, measured);
    [
        seen.no_handler(),
        seen.ignored_by_pid1(),
        seen.not_forwarded(),
        seen.exit_without_drain(),
        seen.killed_mid_drain(),
        seen.hung_on_idle_connections(),
        seen.kept_accepting(),
        seen.handler_late(),
        seen.traffic_after_stop(),
        seen.refused_after_close(),
        seen.errors_while_draining(),
        seen.handed_over(),
        seen.prestop_cut(),
        seen.keepalive_race(),
        seen.backlog_dropped(),
        seen.transaction_open(),
        seen.busy_when_killed(),
        seen.oom(trigger),
        seen.crash(trigger),
        seen.no_grace(trigger),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "each finding ends with it, and is there or not"
)]
fn finding(code: FindingCode, summary: String, advice: impl Into<String>) -> Option<Finding> {
    Some(Finding {
        code,
        summary,
        advice: advice.into(),
    })
}

/// `1 request`, `2 requests`.
fn count(n: u64, noun: &str) -> String {
    if n == 1 {
        format!("1 {noun}")
    } else {
        format!("{n} {noun}s")
    }
}

struct Examined<'a> {
    episode: &'a Episode,
    stop_ns: Option<u64>,
    /// First SIGKILL after the stop signal, and how long after.
    killed: Option<(u64, u64)>,
    /// Somebody was ready to act on a stop signal.
    handled: bool,
    /// That SIGKILL was its own master's.
    by_own_master: bool,
    /// It was watched until then, and what it turned away had not stopped coming.
    still_until_ns: Option<u64>,
    advice: Advice<'a>,
}

impl<'a> Examined<'a> {
    fn new(episode: &'a Episode, ended_ns: Option<u64>, measured: Option<Measured>) -> Self {
        let stop_ns = episode.first_stop().map(|stop| stop.at_ns);
        let kill = episode
            .members()
            .first_kill()
            .filter(|kill| episode.is_limit(*kill));
        let killed = kill.and_then(|kill| {
            let grace = kill.at_ns.checked_sub(stop_ns?)?;
            Some((kill.at_ns, grace))
        });
        let handled = episode.members().any(Member::handles);
        let measured = measured.map(|measured| Measured {
            // Where its requests were cut, what the time it had was too short for.
            cut: killed
                .filter(|_| handled && episode.tally().cut_by_kill() > 0)
                .map(|(_, had_ns)| Duration::from_nanos(had_ns).as_secs_f64()),
            ..measured
        });
        Self {
            episode,
            stop_ns,
            killed,
            handled,
            by_own_master: kill.is_some_and(|kill| kill.by == KillBy::Own),
            still_until_ns: ended_ns.filter(|&ended_ns| episode.still_arrives(ended_ns)),
            advice: Advice::new(episode, measured),
        }
    }

    /// ` (35.0 s after the pod's deletion)`, where that is known.
    fn after_deletion(&self, at_ns: Option<u64>) -> String {
        match self.episode.deleted_ns().zip(at_ns) {
            Some((deleted_ns, at_ns)) => {
                format!(
                    " ({} after the pod's deletion)",
                    human(at_ns.saturating_sub(deleted_ns))
                )
            }
            None => String::new(),
        }
    }

    /// Processes in the order in which they were met.
    fn members(&self) -> impl Iterator<Item = &'a Member> {
        self.episode.members().iter()
    }
}

fn who(member: &Member) -> String {
    format!("{} (pid {})", member.process().comm, member.process().pid)
}
