//! What became of stop signals: who had no handler, who never got one, who was late.

use super::{Examined, finding, who};
use crate::{
    event::Disposition,
    report::{Finding, FindingCode},
    tracker::{
        clock::human,
        episode::{
            KillBy, Scope,
            signals::{Stop, signal_name},
        },
    },
};

/// A handler that ran later than this after its signal is late.
const LATE_NS: u64 = 1_000_000_000;
/// A blocked signal (`sigwait`, `signalfd`) shows no delivery: its first effect later than this is late.
const LATE_EFFECT_NS: u64 = 5_000_000_000;

impl Examined<'_> {
    pub(super) fn no_handler(&self) -> Option<Finding> {
        let no_main = self.episode.members().main().is_none();
        let (member, stop) = self
            .members()
            .filter(|m| (m.is_main() && !self.episode.serves_on()) || m.process().served || no_main)
            .find_map(|member| {
                let fatal = |stop: &&Stop| stop.disposition == Disposition::Default && !stop.dropped;
                Some((member, member.stops().iter().find(fatal)?))
            })?;
        let name = signal_name(stop.signal);
        let after = match member.exit() {
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

    pub(super) fn ignored_by_pid1(&self) -> Option<Finding> {
        let (member, stop) = self
            .members()
            .filter(|member| member.process().pid1)
            .find_map(|member| Some((member, member.stops().iter().find(|stop| stop.dropped)?)))?;
        let name = signal_name(stop.signal);
        let lived = match (self.killed, member.exit()) {
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

    pub(super) fn not_forwarded(&self) -> Option<Finding> {
        if self.episode.scope() == Scope::Worker {
            return None;
        }
        let main = self.episode.members().main()?;
        let stop = main.stops().first()?;
        // A server that has others serve tells them by ways of its own (a pipe); a manager that tells it alone does not.
        if main.process().served && self.advice.kill_mode().is_none() {
            return None;
        }
        let mut untold = self.members().filter(|member| {
            // Another way of telling it (a pipe, its own process's patience) shows as an orderly exit, or as
            // a kill by the workload itself.
            let cut = match member.kill() {
                Some(kill) => kill.by != KillBy::Own,
                None => match member.exit() {
                    Some(exit) => exit.signal.is_some(),
                    None => self.episode.serves_on(),
                },
            };
            !member.is_main() && member.process().served && member.stops().is_empty() && cut
        });
        let first = untold.next()?;
        let others = untold.count() as u64;
        let more = if others > 0 {
            format!(" and {others} more")
        } else {
            String::new()
        };
        let after = match first
            .kill()
            .map(|kill| kill.at_ns)
            .or(first.exit().map(|exit| exit.at_ns))
        {
            Some(at_ns) => format!(
                ", and was killed {} later",
                human(at_ns.saturating_sub(stop.at_ns))
            ),
            None => ", and serves on".to_owned(),
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
                main.process().comm
            ),
        )
    }

    /// Not a fault: told, so that nobody wonders who serves.
    pub(super) fn handed_over(&self) -> Option<Finding> {
        if !self.episode.is_handed_over() {
            return None;
        }
        finding(
            FindingCode::HandedOver,
            "It ended while others of the same workload serve on: a successor took over.".to_owned(),
            "Nothing to change: what the successor answers is not part of this shutdown.",
        )
    }

    pub(super) fn handler_late(&self) -> Option<Finding> {
        self.members().find_map(|member| {
            let (stop, late_ns, what) = member.stops().iter().find_map(|stop| match stop.delivered_ns {
                Some(at_ns) => {
                    let late_ns = at_ns.saturating_sub(stop.at_ns);
                    (late_ns > LATE_NS).then_some((stop, late_ns, "reached its handler"))
                }
                None if stop.disposition == Disposition::Blocked => {
                    let exit = member.exit().map(|exit| exit.at_ns);
                    let effects = [self.episode.listeners().closed_ns(), exit].into_iter().flatten();
                    let first = effects
                        .min()
                        .filter(|&at_ns| member.kill().is_none_or(|kill| at_ns < kill.at_ns));
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
}
