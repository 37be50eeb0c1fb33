//! What was wrong with a shutdown: one sentence with the measured numbers, one of advice.

use std::time::Duration;

use super::{
    advice::Advice,
    clock::human,
    episode::{Episode, KillBy, Member, SIGKILL, Scope, Stop, signal_name},
    summary::unasked_trigger,
};
use crate::{
    event::Disposition,
    recommend::Measured,
    report::{Cause, Finding, FindingCode, Trigger},
};

/// A handler that ran later than this after its signal is late.
const LATE_NS: u64 = 1_000_000_000;
/// A blocked signal (`sigwait`, `signalfd`) shows no delivery: its first effect later than this is late.
const LATE_EFFECT_NS: u64 = 5_000_000_000;
/// CPU time is judged over at least this long before SIGKILL …
const BUSY_WINDOW_NS: u64 = 500_000_000;
/// … from a sample that is not older than this at SIGKILL (they come about once a second).
const BUSY_STALE_NS: u64 = 2_500_000_000;

/// Everything that was wrong, in the order of the closed list.
pub(super) fn find(episode: &Episode, trigger: Trigger, measured: Option<Measured>) -> Vec<Finding> {
    let seen = Seen::new(episode, measured);
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
        seen.keepalive_race(),
        seen.backlog_dropped(),
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

struct Seen<'a> {
    episode: &'a Episode,
    stop_ns: Option<u64>,
    /// First SIGKILL after the stop signal, and how long after.
    killed: Option<(u64, u64)>,
    /// Somebody was ready to act on a stop signal.
    handled: bool,
    advice: Advice<'a>,
}

impl<'a> Seen<'a> {
    fn new(episode: &'a Episode, measured: Option<Measured>) -> Self {
        let stop_ns = episode.first_stop.map(|stop| stop.at_ns);
        let killed = episode.first_kill().and_then(|kill| {
            let grace = kill.at_ns.checked_sub(stop_ns?)?;
            Some((kill.at_ns, grace))
        });
        let handled = episode.members.values().any(Member::handles);
        let measured = measured.map(|measured| Measured {
            // Where its requests were cut, what the time it had was too short for.
            cut: killed
                .filter(|_| handled && episode.tally.cut_by_kill > 0)
                .map(|(_, had_ns)| Duration::from_nanos(had_ns).as_secs_f64()),
            ..measured
        });
        Self {
            episode,
            stop_ns,
            killed,
            handled,
            advice: Advice::new(episode, measured),
        }
    }

    /// ` (35.0 s after the pod's deletion)`, where that is known.
    fn after_deletion(&self, at_ns: Option<u64>) -> String {
        let deleted_ns = self
            .episode
            .deleted_ns
            .filter(|_| self.episode.scope != Scope::Worker);
        match deleted_ns.zip(at_ns) {
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
        let episode = self.episode;
        episode.order.iter().filter_map(|pid| episode.members.get(pid))
    }

    fn no_handler(&self) -> Option<Finding> {
        let no_main = self.episode.main.is_none();
        let (member, stop) = self
            .members()
            .filter(|m| m.main || m.process.served || no_main)
            .find_map(|member| {
                let fatal = |stop: &&Stop| stop.disposition == Disposition::Default && !stop.dropped;
                Some((member, member.stops.iter().find(fatal)?))
            })?;
        let name = signal_name(stop.signal);
        let after = match member.exit {
            Some(exit) => format!("{} later", human(exit.at_ns.saturating_sub(stop.at_ns))),
            None => "at once".to_owned(),
        };
        finding(
            FindingCode::NoHandler,
            format!(
                "{} has no handler for {name}: the default action ended it {after}.",
                who(member)
            ),
            format!(
                "Install a {name} handler that stops accepting, lets the requests in flight finish, then exits{}.",
                self.advice.stop_signal(*stop)
            ),
        )
    }

    fn ignored_by_pid1(&self) -> Option<Finding> {
        let (member, stop) = self
            .members()
            .filter(|member| member.process.pid1)
            .find_map(|member| Some((member, member.stops.iter().find(|stop| stop.dropped)?)))?;
        let name = signal_name(stop.signal);
        let lived = match (self.killed, member.exit) {
            (Some((_, grace)), _) => format!("; SIGKILL came {} later", human(grace)),
            (None, Some(exit)) => format!(
                "; it ended {} later",
                human(exit.at_ns.saturating_sub(stop.at_ns))
            ),
            (None, None) => String::new(),
        };
        finding(
            FindingCode::IgnoredByPid1,
            format!(
                "The kernel dropped {name}: {} is PID 1 of its pid namespace and has no handler for it{lived}.",
                who(member)
            ),
            format!(
                "Install a {name} handler, or run the program under an init (`docker run --init`, tini) that passes signals on{}.",
                self.advice.stop_signal(*stop)
            ),
        )
    }

    fn not_forwarded(&self) -> Option<Finding> {
        if self.episode.scope == Scope::Worker {
            return None;
        }
        let main = self.episode.members.get(&self.episode.main?)?;
        let stop = main.stops.first()?;
        let mut untold = self.members().filter(|member| {
            // Another way of telling it (a pipe, its own process's patience) shows as an orderly exit, or as
            // a kill by the workload itself.
            let cut = match member.kill {
                Some(kill) => kill.by != KillBy::Own,
                None => member.exit.is_some_and(|exit| exit.signal.is_some()),
            };
            !member.main && member.process.served && member.stops.is_empty() && cut
        });
        let first = untold.next()?;
        let others = untold.count() as u64;
        let more = if others > 0 {
            format!(" and {others} more")
        } else {
            String::new()
        };
        let after = match first
            .kill
            .map(|kill| kill.at_ns)
            .or(first.exit.map(|exit| exit.at_ns))
        {
            Some(at_ns) => format!(
                ", and was killed {} later",
                human(at_ns.saturating_sub(stop.at_ns))
            ),
            None => String::new(),
        };
        let (why, instead) = match self.advice.kill_mode() {
            Some(setting) => (
                format!(" (KillMode={setting} sends it to the main process alone)"),
                format!("set KillMode=control-group in {}", self.advice.unit()),
            ),
            None => (String::new(), "use an init that forwards signals".to_owned()),
        };
        finding(
            FindingCode::NotForwarded,
            format!(
                "{} received {}{why}; {}{more}, which serves, never got a stop signal{after}.",
                who(main),
                signal_name(stop.signal),
                who(first)
            ),
            format!(
                "Start the server with `exec` so that it replaces {}, or {instead}.",
                main.process.comm
            ),
        )
    }

    fn exit_without_drain(&self) -> Option<Finding> {
        let cut = self.episode.tally.cut_by_exit;
        let stop_ns = self.stop_ns.filter(|_| cut > 0 && self.handled)?;
        // Refused and late ones are not outstanding requests; they are counted elsewhere.
        let exit = self
            .members()
            .filter(|m| m.handles() || m.process.served)
            .filter_map(|m| m.exit)
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

    fn killed_mid_drain(&self) -> Option<Finding> {
        let cut = self.episode.tally.cut_by_kill;
        let (_, grace) = self.killed.filter(|_| cut > 0 && self.handled)?;
        let outcomes = &self.episode.tally.outcomes;
        let drained = match outcomes.drained {
            0 => "none had finished by then".to_owned(),
            n => format!(
                "{n} had finished, the longest after {}",
                human(self.episode.tally.longest_drained_ns)
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
            self.advice.grace(&human(grace)).unwrap_or_else(|| format!(
                "Give it more than {} (terminationGracePeriodSeconds, TimeoutStopSec, `docker stop -t`), or limit its requests to less.",
                human(grace)
            )),
        )
    }

    fn hung_on_idle_connections(&self) -> Option<Finding> {
        let tally = &self.episode.tally;
        let (kill_ns, grace) = self.killed?;
        let closed = self
            .episode
            .listener_closed_ns
            .is_some_and(|at_ns| at_ns <= kill_ns);
        if !self.handled || !closed || self.episode.listeners_open_at_kill > 0 {
            return None;
        }
        if tally.cut_by_kill > 0 || tally.idle_when_killed == 0 {
            return None;
        }
        finding(
            FindingCode::HungOnIdleConnections,
            format!(
                "Nothing was outstanding, but {} kept it running until SIGKILL came, {} after the stop signal.",
                count(tally.idle_when_killed, "idle keep-alive connection"),
                human(grace)
            ),
            "Close idle keep-alive connections on the stop signal, and answer the last requests with `Connection: close`.",
        )
    }

    fn kept_accepting(&self) -> Option<Finding> {
        let open = self.episode.listeners_open_at_kill;
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

    fn handler_late(&self) -> Option<Finding> {
        self.members().find_map(|member| {
            let (stop, late_ns, what) = member.stops.iter().find_map(|stop| match stop.delivered_ns {
                Some(at_ns) => {
                    let late_ns = at_ns.saturating_sub(stop.at_ns);
                    (late_ns > LATE_NS).then_some((stop, late_ns, "reached its handler"))
                }
                None if stop.disposition == Disposition::Blocked => {
                    let exit = member.exit.map(|exit| exit.at_ns);
                    let effects = [self.episode.listener_closed_ns, exit].into_iter().flatten();
                    let first = effects
                        .min()
                        .filter(|&at_ns| member.kill.is_none_or(|kill| at_ns < kill.at_ns));
                    let late_ns = first?.saturating_sub(stop.at_ns);
                    (late_ns > LATE_EFFECT_NS).then_some((stop, late_ns, "had its first effect"))
                }
                None => None,
            })?;
            finding(
                FindingCode::HandlerLate,
                format!(
                    "{} at {} {what} only {} after it was sent.",
                    signal_name(stop.signal),
                    who(member),
                    human(late_ns)
                ),
                "Keep the signal unblocked and the event loop free: long work belongs in other threads.",
            )
        })
    }

    fn traffic_after_stop(&self) -> Option<Finding> {
        let stop_ns = self.stop_ns?;
        let last_ns = self.episode.tally.last_after_stop_ns?;
        let lag = human(last_ns.saturating_sub(stop_ns));
        let ready = match self.episode.ready_at_stop {
            Some(true) => "; it was still ready when the stop signal came",
            Some(false) | None => "",
        };
        finding(
            FindingCode::TrafficAfterStop,
            format!(
                "{} came after the stop signal, the last {lag} after it{}{ready}.",
                count(self.episode.tally.arrivals, "new request"),
                self.after_deletion(Some(last_ns))
            ),
            self.advice.prestop().unwrap_or_else(|| format!(
                "Keep serving for longer than {lag} before the stop signal comes (a preStop sleep), or take it out of rotation first."
            )),
        )
    }

    fn refused_after_close(&self) -> Option<Finding> {
        let refused = self.episode.tally.count(Cause::Refused);
        if refused == 0 {
            return None;
        }
        let first = self
            .episode
            .tally
            .severed_requests
            .iter()
            .find(|request| request.cause == Cause::Refused);
        let after = match (first, self.episode.listener_closed_ns) {
            (Some(first), Some(closed_ns)) if first.at_ns >= closed_ns => {
                format!(
                    ", the first {} after the listener had closed",
                    human(first.at_ns - closed_ns)
                )
            }
            _ => String::new(),
        };
        finding(
            FindingCode::RefusedAfterClose,
            format!(
                "{} found the port closed{after}.",
                count(refused, "connection attempt")
            ),
            if self.stop_ns.is_some() {
                self.advice.prestop().unwrap_or_else(|| {
                    "Close the listener only when traffic has moved away: a preStop sleep, or a delay in the handler."
                        .to_owned()
                })
            } else {
                "It ended without notice while traffic still came: have more than one instance, and retries at the caller."
                    .to_owned()
            },
        )
    }

    fn keepalive_race(&self) -> Option<Finding> {
        let late = self.episode.tally.count(Cause::Late);
        if late == 0 {
            return None;
        }
        finding(
            FindingCode::KeepaliveRace,
            format!(
                "{} reached keep-alive connections that had just been closed.",
                count(late, "request")
            ),
            "Announce the close with `Connection: close` on the last response, and keep idle connections open for a moment longer.",
        )
    }

    fn backlog_dropped(&self) -> Option<Finding> {
        let dropped = self.episode.tally.count(Cause::Unaccepted);
        if dropped == 0 {
            return None;
        }
        finding(
            FindingCode::BacklogDropped,
            format!(
                "The listener closed with {} waiting in its accept queue.",
                count(dropped, "connection")
            ),
            "Accept what is queued before closing the listener: stop new traffic first, then drain the queue.",
        )
    }

    fn busy_when_killed(&self) -> Option<Finding> {
        let (kill_ns, grace) = self.killed?;
        // Cut by the kill itself, or by the end of the pid namespace that it brought.
        if self.episode.tally.cut_by_kill + self.episode.tally.cut_by_exit > 0 {
            return None;
        }
        let mut before = self
            .episode
            .cpu
            .iter()
            .rev()
            .filter(|(at_ns, _)| *at_ns <= kill_ns);
        let latest = before.next()?;
        let earlier = before.find(|(at_ns, _)| latest.0.saturating_sub(*at_ns) >= BUSY_WINDOW_NS)?;
        if kill_ns - latest.0 > BUSY_STALE_NS {
            return None;
        }
        let wall_us = (latest.0 - earlier.0) / 1000;
        let percent = latest.1.saturating_sub(earlier.1).saturating_mul(100) / wall_us.max(1);
        if percent < 50 {
            return None;
        }
        finding(
            FindingCode::BusyWhenKilled,
            format!(
                "With no request outstanding it was still using {percent} % of a CPU when SIGKILL came, {} after the stop signal: a job was interrupted.",
                human(grace)
            ),
            "Let jobs watch for the stop signal and save their progress, or give them a longer grace period.",
        )
    }

    fn oom(&self, trigger: Trigger) -> Option<Finding> {
        if !self.episode.oom && trigger != Trigger::Oom {
            return None;
        }
        let victim = self
            .members()
            .find(|member| member.kill.is_some_and(|kill| kill.by == KillBy::Oom));
        let whom = victim.map_or_else(|| "one of its processes".to_owned(), who);
        finding(
            FindingCode::Oom,
            format!("The kernel's OOM killer ended {whom}; this was not a deploy."),
            "Raise the memory limit, or find out what uses the memory.",
        )
    }

    fn crash(&self, trigger: Trigger) -> Option<Finding> {
        if !matches!(trigger, Trigger::Crash | Trigger::Worker) || self.stop_ns.is_some() {
            return None;
        }
        let crashed = |member: &&Member| {
            let crash = |exit| unasked_trigger(exit) == Trigger::Crash;
            member.kill.is_none() && member.exit.is_some_and(crash)
        };
        let main = self
            .episode
            .main
            .and_then(|pid| self.episode.members.get(&pid))
            .filter(crashed);
        let member = main.or_else(|| self.members().find(crashed))?;
        let exit = member.exit?;
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

    fn no_grace(&self, trigger: Trigger) -> Option<Finding> {
        if self.stop_ns.is_some() || !matches!(trigger, Trigger::Kill | Trigger::Worker) {
            return None;
        }
        let killed = self.members().find(|member| match member.kill {
            Some(kill) => kill.by != KillBy::NamespaceEnd && kill.by != KillBy::Oom,
            None => member.exit.is_some_and(|exit| exit.signal == Some(SIGKILL)),
        })?;
        let outstanding = self.episode.tally.outcomes.severed;
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

fn who(member: &Member) -> String {
    format!("{} (pid {})", member.process.comm, member.process.pid)
}
