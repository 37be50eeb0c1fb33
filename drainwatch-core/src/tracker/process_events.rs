//! What happens to processes: signals, exits, the OOM killer.

use super::{
    Tracker,
    episode::{
        Ended, Episode, KillBy, Scope,
        signals::{SIGINT, SIGKILL, SIGQUIT},
    },
    episodes::{SAME_STOP_NS, Who},
    one_connection::OneConnection,
};
use crate::event::{Process, Sender, Signal};

/// After a stop signal to one worker the rest of the cgroup stops reporting, but not before the other
/// signals of the same stop (`cgroup.kill`, `kill` to a process group) had time to arrive.
const UNMARK_NS: u64 = super::SECOND / 4;

/// An exit that says nothing by itself, but is the workload's end when its cgroup empties next.
#[derive(Debug, Clone)]
pub(super) struct QuietExit {
    pub process: Process,
    pub ended: Ended,
    pub child: Option<String>,
    pub main: bool,
}

impl Tracker {
    pub(super) fn signal(&mut self, at_ns: u64, signal: &Signal) {
        if let Sender::Process(sender) | Sender::CgroupKill(sender) = &signal.sender {
            self.processes.note(sender);
        }
        self.processes.note(&signal.target);
        let mut signal = signal.clone();
        signal.target = self.processes.enrich(&signal.target);
        let target = &signal.target;
        self.finish_last_life(at_ns, target);

        let kill = self.killer(&signal);
        let shared = self.names.is_shared(target.cgroup);
        let main = !shared && self.processes.is_main(target, &self.names);
        // The end of a pid namespace belongs to the shutdown of its PID 1.
        let namespace = || match &signal.sender {
            Sender::Kernel(context) | Sender::CgroupKill(context) if kill == Some(KillBy::NamespaceEnd) => {
                self.find(context)
            }
            _ => None,
        };
        let known = self.find(target).or_else(namespace);
        // A process that is ending already, or a signal that ends nothing, begins no shutdown.
        let begins = !target.exiting
            && if signal.signal == SIGKILL {
                kill.is_some()
            } else {
                !signal.is_own()
            };
        let key = match known {
            Some(key)
                if main && begins && self.episodes.get(key).is_some_and(|e| e.scope() == Scope::Worker) =>
            {
                self.begin_workload(at_ns, target)
            }
            Some(key) if begins && self.was_no_stop(key, at_ns, &signal) => {
                self.give_up(key);
                self.begin_anew(at_ns, target, shared, main)
            }
            Some(key) => key,
            None if !begins || kill == Some(KillBy::NamespaceEnd) => {
                // No stop, but the kernel side may have marked it like one.
                self.released.process(target.pid);
                self.released.cgroup(target.cgroup);
                return;
            }
            None => self.begin_anew(at_ns, target, shared, main),
        };
        let open = self.open_listeners(key);
        let Some(episode) = self.episodes.get_mut(key) else {
            return;
        };
        let new = episode.signals().is_empty();
        episode.signal(at_ns, &signal, kill, main, open);
        if new && episode.scope() == Scope::Workload {
            // Those that serve without being told are met before anything is asked of them.
            let cgroup = episode.cgroup();
            for process in self.processes.serving(|other| self.names.belongs(other, cgroup)) {
                episode.meet(process);
            }
        }
        let pod = self.names.pod(episode.cgroup());
        episode.readiness(at_ns, pod.and_then(|pod| pod.ready));
        if new && signal.signal == SIGKILL {
            self.recall(key, target);
        }
        if let Some(episode) = self.episodes.get_mut(key) {
            match episode.scope() {
                Scope::Worker => {
                    episode.unmark_rest_at(at_ns.saturating_add(UNMARK_NS));
                    self.presume(key);
                }
                // Its cgroup holds unrelated processes: the process's own mark is enough.
                Scope::Process => self.released.cgroup(target.cgroup),
                Scope::Workload => self.known(key),
            }
        }
        self.mark_all_of(key);
    }

    fn begin_anew(&mut self, at_ns: u64, target: &Process, shared: bool, main: bool) -> u64 {
        if shared {
            self.begin_process(at_ns, target)
        } else if main {
            self.begin_workload(at_ns, target)
        } else {
            self.begin(Scope::Worker, at_ns, target)
        }
    }

    /// Whether what this shutdown was begun by was no stop, as this signal is one: SIGINT or SIGQUIT, which some
    /// programs use for other things (a thread dump), came earlier, and nothing has ended since.
    fn was_no_stop(&self, key: u64, at_ns: u64, signal: &Signal) -> bool {
        let mild = |episode: &Episode| {
            let last_ns = episode.signals().last_stop_ns();
            !episode.is_confirmed()
                && episode.signals().are_mild()
                && last_ns.is_some_and(|last| at_ns.saturating_sub(last) > SAME_STOP_NS)
        };
        let stops = !matches!(signal.signal, SIGKILL | SIGINT | SIGQUIT);
        stops && self.episodes.get(key).is_some_and(mild)
    }

    /// Whether this is a SIGKILL that kills, and who is behind it.
    fn killer(&self, signal: &Signal) -> Option<KillBy> {
        if signal.signal != SIGKILL || signal.dropped || signal.target.exiting {
            return None;
        }
        Some(match &signal.sender {
            Sender::Kernel(context) if context.exiting && context.pid1 => KillBy::NamespaceEnd,
            // The OOM killer says who was its victim, next.
            Sender::Kernel(_) => KillBy::Kernel,
            // By the time that the kernel sends it, the target has another parent.
            Sender::CgroupKill(context) if context.exiting => KillBy::NamespaceEnd,
            // In a shared cgroup the sender is somebody else, but for the parent of its own children.
            Sender::Process(sender) if self.names.is_shared(signal.target.cgroup) => {
                if self
                    .episodes
                    .any(|e| e.members().holds(sender.pid, Some(sender.started_ns)))
                {
                    KillBy::Own
                } else {
                    KillBy::Outside
                }
            }
            Sender::Process(sender) if self.names.same_workload(sender.cgroup, signal.target.cgroup) => {
                KillBy::Own
            }
            Sender::Process(_) | Sender::CgroupKill(_) => KillBy::Outside,
        })
    }

    /// `child`: what one of its children was called, where it still had any.
    pub(super) fn process_exited(&mut self, process: &Process, ended: Ended, child: Option<&str>) {
        let process = &self.processes.enrich(process);
        self.finish_last_life(ended.at_ns, process);
        let shared = self.names.is_shared(process.cgroup);
        let main = !shared && self.processes.is_main(process, &self.names);
        self.processes.exited(process);
        let key = match self.find(process) {
            Some(key) => key,
            None if self.ended_with_its_connection(process, ended, main) => {
                self.one_connection
                    .insert(&process.pid, OneConnection::new(process, ended));
                return;
            }
            None if process.served || process.called || process.unrecorded => {
                self.begin_exited(shared, ended.at_ns, process)
            }
            None => {
                // A mark whose signal was lost on its way here: nothing else would take it out.
                if process.signalled {
                    self.released.process(process.pid);
                    let marks = |e: &Episode| e.marks().has_cgroup(process.cgroup);
                    if !self.episodes.any(marks) {
                        self.released.cgroup(process.cgroup);
                    }
                }
                let quiet = QuietExit {
                    process: process.clone(),
                    ended,
                    child: child.map(str::to_owned),
                    main,
                };
                // The main process's end says more than a child's that comes after it.
                let workload = self.names.workload_cgroup(process.cgroup);
                let known = self.quiet_exits.get(&workload);
                let fresh =
                    |known: &QuietExit| ended.at_ns.saturating_sub(known.ended.at_ns) < self.config.linger_ns;
                if !shared && !known.is_some_and(|known| known.main && !main && fresh(known)) {
                    self.quiet_exits.insert(&workload, quiet);
                }
                return;
            }
        };
        if let Some(episode) = self.episodes.get_mut(key) {
            if process.signalled {
                episode.was_marked(process);
            }
            episode.exited(process, ended, main, child);
        }
    }

    pub(super) fn oom_victim(&mut self, at_ns: u64, pid: u32) {
        let cgroup = self.processes.get(pid).map(|process| process.cgroup);
        let key = self
            .episodes
            .of_pid(pid)
            .or_else(|| self.find(Who::pid(cgroup?, pid)));
        match (
            key.and_then(|key| self.episodes.get_mut(key)),
            self.processes.get(pid).cloned(),
        ) {
            (Some(episode), _) => episode.oom_victim(at_ns, pid),
            // Its SIGKILL was not seen.
            (None, Some(process)) => {
                let shared = self.names.is_shared(process.cgroup);
                let key = self.begin_exited(shared, at_ns, &process);
                if let Some(episode) = self.episodes.get_mut(key) {
                    episode.join(&process);
                    episode.oom_victim(at_ns, pid);
                }
            }
            (None, None) => {}
        }
    }
}
