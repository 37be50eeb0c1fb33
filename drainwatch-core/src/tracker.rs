//! The shutdown tracker: events in, effects out. No clock, no I/O, no way to fail.
//!
//! The kernel reports generously: on a stop signal it marks both the process and its whole cgroup as
//! draining. What the shutdown is *of* is decided here (`scope` below), and [`Effect::StopCgroup`] and
//! [`Effect::StopProcess`] take the marks back. The kernel knows no workloads, only the cgroup that a
//! process is in: [`Effect::DrainCgroup`] marks what else belongs to a container or unit. An episode's
//! cgroup is always the workload's own; events carry the one that the process is in.
//!
//! | file | what it holds |
//! |---|---|
//! | `tracker` | events in: which shutdown each belongs to |
//! | `beginnings`, `endings` | when a shutdown begins, what it is of; what is told of it, when it ends |
//! | `naming` | which workloads are known, by which name; what waits for one |
//! | `deletions` | pods that are being deleted, before their stop signal |
//! | `episode` | one shutdown under way |
//! | `judge`, `told`, `tally` | what became of each request; what is settled; counts and lists |
//! | `summary`, `findings`, `advice` | the report |
//! | `processes` | living processes and open listeners, before anything is stopped |

mod advice;
mod beginnings;
mod bounded;
mod clock;
mod deletions;
mod endings;
mod episode;
mod findings;
mod judge;
mod naming;
mod processes;
mod summary;
mod tally;
#[cfg(test)]
pub(crate) mod tests;
mod told;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use self::{
    bounded::Recent,
    clock::Clock,
    deletions::Deletions,
    episode::{Ended, Episode, KillBy, News, SIGKILL, Scope, Stop},
    processes::{Listeners, Processes},
};
use crate::{
    class::Classes,
    event::{Connection, Event, EventKind, Listener, Process, Role, Sender, Signal},
    report::{Cause, Configured, Report, Workload},
    workload::{Names, description::Origin},
};

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3600 * SECOND;

/// After a stop signal to one worker the rest of the cgroup stops reporting, but not before the other
/// signals of the same stop (`cgroup.kill`, `kill` to a process group) had time to arrive.
const UNMARK_NS: u64 = SECOND / 4;
/// cgroups whose last unremarkable exit is remembered until they are empty or not.
const QUIET_EXITS: usize = 1024;
/// Most announced workloads that are remembered: those with a cgroup of their own …
const WORKLOADS: usize = 16_384;
/// … and those that are processes.
const PROCESS_WORKLOADS: usize = 1024;

/// What the tracker wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// A workload is known: create its series at 0.
    WorkloadSeen(Workload),
    /// A workload is gone; its series may be retired after a while.
    WorkloadGone(Workload),
    /// How a workload is to be stopped, as its orchestrator was told.
    WorkloadConfigured {
        /// Whose.
        workload: Workload,
        /// What is known of it.
        configured: Configured,
    },
    /// Something had to be told of a workload before this origin had named it: its cgroup's name had to do.
    Unresolved {
        /// Who was expected to name it.
        origin: Origin,
    },
    /// A request was severed, just now.
    Severed {
        /// Whose.
        workload: Workload,
        /// Why.
        cause: Cause,
        /// `request`, `stream`, …
        class: Arc<str>,
        /// Which end we were.
        role: Role,
    },
    /// A request finished during a shutdown, just now.
    Drained {
        /// Whose.
        workload: Workload,
    },
    /// The report as it stands; the shutdown goes on (`ended_at` is `None`).
    Updated(Box<Report>),
    /// The final report.
    Finished(Box<Report>),
    /// It turned out not to be a shutdown (a stop signal that stopped nothing), or to be part of
    /// another one: forget the report.
    Discarded {
        /// Id of the report that an [`Effect::Updated`] may have carried.
        id: String,
    },
    /// Kernel side: this cgroup must report too, until [`Effect::StopCgroup`]. It belongs to a workload that
    /// is stopped, and the signal went to a process elsewhere in it.
    DrainCgroup {
        /// cgroup v2 id.
        cgroup: u64,
    },
    /// Kernel side: in this cgroup, this signal is a stop signal too, as long as the cgroup lives.
    StopSignal {
        /// cgroup v2 id.
        cgroup: u64,
        /// Number; never SIGKILL, nor one that the kernel sends as a matter of course.
        signal: u32,
    },
    /// Kernel side: this cgroup need not report any more.
    StopCgroup {
        /// cgroup v2 id.
        cgroup: u64,
    },
    /// Kernel side: this process need not report any more, nor the ports that it closed.
    StopProcess {
        /// Process id.
        pid: u32,
    },
}

/// Settings of the tracker.
#[derive(Debug, Clone)]
pub struct TrackerConfig {
    /// Name of this host, for reports.
    pub node: String,
    /// How long after the end late arrivals are still counted, in ns.
    pub linger_ns: u64,
    /// Rules that put requests into classes.
    pub classes: Arc<Classes>,
}

/// An exit that says nothing by itself, but is the workload's end when its cgroup empties next.
#[derive(Debug, Clone)]
struct QuietExit {
    process: Process,
    ended: Ended,
    main: bool,
}

/// The state machine.
#[derive(Debug)]
pub struct Tracker {
    config: TrackerConfig,
    /// Latest time that an event carried: events of different CPUs may be a little out of order.
    now_ns: u64,
    clock: Clock,
    names: Names,
    processes: Processes,
    listeners: Listeners,
    /// By number, in order of their beginning.
    episodes: BTreeMap<u64, Episode>,
    next_episode: u64,
    quiet_exits: Recent<u64, QuietExit>,
    /// Stop signals that stopped nothing, by cgroup, or by process in a shared one.
    given_up: Recent<(u64, Option<u32>), (Stop, Signal)>,
    /// Workloads with a cgroup of their own that were announced, and whether the cgroup is removed.
    seen: Recent<u64, (Workload, bool)>,
    /// Announced workloads that are processes.
    seen_processes: Recent<(u64, String), Workload>,
    /// Announced workloads of described pods, by uid.
    seen_pods: BTreeMap<String, Vec<Workload>>,
    waiting: naming::Waiting,
    deletions: Deletions,
    effects: Vec<Effect>,
    unmark_cgroups: BTreeSet<u64>,
    unmark_pids: BTreeSet<u32>,
}

impl Tracker {
    /// A tracker that knows nothing yet.
    pub fn new(config: TrackerConfig) -> Self {
        Self {
            config,
            now_ns: 0,
            clock: Clock::default(),
            names: Names::default(),
            processes: Processes::default(),
            listeners: Listeners::default(),
            episodes: BTreeMap::new(),
            next_episode: 0,
            quiet_exits: Recent::new(QUIET_EXITS),
            given_up: Recent::new(QUIET_EXITS),
            seen: Recent::new(WORKLOADS),
            seen_processes: Recent::new(PROCESS_WORKLOADS),
            seen_pods: BTreeMap::new(),
            waiting: naming::Waiting::new(),
            deletions: Deletions::default(),
            effects: Vec::new(),
            unmark_cgroups: BTreeSet::new(),
            unmark_pids: BTreeSet::new(),
        }
    }

    /// Takes in one event.
    pub fn observe(&mut self, event: &Event) -> Vec<Effect> {
        let at_ns = event.at_ns;
        self.now_ns = self.now_ns.max(at_ns);
        self.expire();
        match &event.kind {
            EventKind::Tick { wall_ns } => self.clock = Clock::new(at_ns, *wall_ns),
            EventKind::CgroupCreated {
                cgroup,
                path,
                seeded: _,
            } => self.cgroup_created(*cgroup, path),
            EventKind::CgroupRemoved { cgroup } => self.cgroup_removed(at_ns, *cgroup),
            EventKind::CgroupEmptied { cgroup } => self.cgroup_emptied(at_ns, *cgroup),
            EventKind::CpuUsed { cgroup, usage_us } => {
                if let Some(episode) = self.whole_workload(*cgroup) {
                    episode.cpu_used(at_ns, *usage_us);
                }
            }
            EventKind::ListenerOpened(listener) => self.listener_opened(at_ns, listener),
            EventKind::ListenerClosed(listener) => self.listener_closed(at_ns, listener),
            EventKind::Signal(signal) => self.signal(at_ns, signal),
            EventKind::SignalDelivered {
                target,
                signal,
                disposition,
            } => {
                if let Some(episode) = self.episode_of(target) {
                    episode.delivered(at_ns, target, *signal, *disposition);
                }
            }
            EventKind::ProcessExited {
                process,
                code,
                signal,
            } => {
                self.process_exited(
                    process,
                    Ended {
                        at_ns,
                        code: *code,
                        signal: *signal,
                    },
                );
            }
            EventKind::OomVictim { pid } => self.oom_victim(at_ns, *pid),
            EventKind::TurnEnded(connection) | EventKind::ConnectionEnded(connection) => {
                self.connection(at_ns, connection);
            }
            EventKind::ResetSent {
                cgroup,
                pid,
                syn,
                payload,
                local,
                peer,
                netns,
            } => {
                let cause = match (syn, payload) {
                    (true, _) => Some(Cause::Refused),
                    (false, 1..) => Some(Cause::Late),
                    (false, 0) => None, // a bare ACK or FIN asks nothing
                };
                let episode = self
                    .find(*cgroup, *pid, None, None)
                    .and_then(|key| self.episodes.get_mut(&key));
                if let (Some(cause), Some(episode)) = (cause, episode) {
                    episode.reset(at_ns, cause, *pid, (*local, *peer, *netns));
                }
            }
            EventKind::NamesExpected { origin } => self.names.expect(*origin),
            EventKind::Described(description) => self.described(at_ns, description),
            EventKind::Undescribed(subject) => self.undescribed(subject),
            EventKind::EventsLost { count } => {
                for episode in self.episodes.values_mut() {
                    episode.events_lost = episode.events_lost.saturating_add(*count);
                    episode.news = episode.news.max(News::Soon);
                }
            }
        }
        self.expire();
        self.publish();
        std::mem::take(&mut self.effects)
    }

    /// Monotonic time at which the tracker wants a [`crate::event::EventKind::Tick`], if anything is under way.
    pub fn next_deadline(&self) -> Option<u64> {
        let update = |episode: &Episode| {
            (episode.news > News::None && episode.reportable()).then(|| self.update_due(episode))
        };
        let deadlines = |episode: &Episode| {
            let end = self.end_due(episode);
            match self.waiting.get(&episode.cgroup).filter(|_| episode.reportable()) {
                // What there is to tell waits for a name.
                Some(&named) => [Some(end.max(named)), episode.unmark_ns, None],
                None => [Some(end), episode.unmark_ns, update(episode)],
            }
            .into_iter()
            .flatten()
            .min()
        };
        let shutdowns = self.episodes.values().filter_map(deadlines);
        shutdowns
            .chain(self.naming_due())
            .chain(self.deletions.due())
            .min()
    }

    /// cgroups that are shutting down: whose CPU use is to be sampled about once a second.
    pub fn draining_cgroups(&self) -> Vec<u64> {
        let draining = |e: &&Episode| e.scope == Scope::Workload && e.gone_ns.is_none();
        let cgroups: BTreeSet<u64> = self
            .episodes
            .values()
            .filter(draining)
            .map(|e| e.cgroup)
            .collect();
        cgroups.into_iter().collect()
    }

    /// The shutdown that a process of this cgroup belongs to.
    fn find(&self, cgroup: u64, pid: u32, started_ns: Option<u64>, parent: Option<u32>) -> Option<u64> {
        let parent = parent.or_else(|| {
            self.processes
                .get(pid)
                .filter(|known| started_ns.is_none_or(|s| s == known.started_ns))
                .map(|p| p.parent)
        });
        let narrow = |e: &Episode| e.scope != Scope::Workload;
        // A worker that was stopped on its own keeps its connections, even when the workload stops after it.
        let own = self
            .episodes
            .iter()
            .rev()
            .find(|(_, e)| narrow(e) && e.holds(pid, started_ns));
        let whole = || {
            self.episodes
                .iter()
                .rev()
                .find(|(_, e)| e.scope == Scope::Workload && self.names.belongs(cgroup, e.cgroup))
        };
        let child = || {
            let parent = parent?;
            self.episodes
                .iter()
                .rev()
                .find(|(_, e)| narrow(e) && self.names.same_workload(e.cgroup, cgroup) && e.adopts(parent))
        };
        own.or_else(whole).or_else(child).map(|(&key, _)| key)
    }

    fn find_process(&self, process: &Process) -> Option<u64> {
        self.find(
            process.cgroup,
            process.pid,
            Some(process.started_ns),
            Some(process.parent),
        )
    }

    fn episode_of(&mut self, process: &Process) -> Option<&mut Episode> {
        self.find_process(process)
            .and_then(|key| self.episodes.get_mut(&key))
    }

    /// The whole-workload shutdown of exactly this cgroup.
    fn whole_workload(&mut self, cgroup: u64) -> Option<&mut Episode> {
        self.episodes
            .values_mut()
            .rev()
            .find(|e| e.scope == Scope::Workload && e.cgroup == cgroup)
    }

    /// Finishes the shutdown of a cgroup's last life when a process of its next life shows up.
    fn finish_last_life(&mut self, at_ns: u64, process: &Process) {
        let over = |e: &Episode| {
            e.scope == Scope::Workload
                && self.names.belongs(process.cgroup, e.cgroup)
                && e.gone_ns.is_some_and(|gone| process.started_ns > gone)
        };
        let over: Vec<u64> = self
            .episodes
            .iter()
            .filter(|(_, e)| over(e))
            .map(|(&key, _)| key)
            .collect();
        for key in over {
            self.finish(key, at_ns);
        }
    }

    fn signal(&mut self, at_ns: u64, signal: &Signal) {
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
            Sender::Kernel(context) if kill == Some(KillBy::NamespaceEnd) => self.find_process(context),
            _ => None,
        };
        let known = self.find_process(target).or_else(namespace);
        // A process that is ending already, or a signal that ends nothing, begins no shutdown.
        let begins = !target.exiting
            && if signal.signal == SIGKILL {
                kill.is_some()
            } else {
                !signal.is_own()
            };
        let key = match known {
            Some(key)
                if main && self.episodes.get(&key).is_some_and(|e| e.scope == Scope::Worker) && begins =>
            {
                self.begin_workload(at_ns, target)
            }
            Some(key) => key,
            None if !begins || kill == Some(KillBy::NamespaceEnd) => {
                // No stop, but the kernel side may have marked it like one.
                self.unmark_pids.insert(target.pid);
                self.unmark_cgroups.insert(target.cgroup);
                return;
            }
            None if shared => self.begin_process(at_ns, target),
            None if main => self.begin_workload(at_ns, target),
            None => self.begin(Scope::Worker, at_ns, target),
        };
        let open = self.open_listeners(key);
        let Some(episode) = self.episodes.get_mut(&key) else {
            return;
        };
        let new = episode.signals.is_empty();
        let main = main || episode.wants_main();
        episode.signal(at_ns, &signal, kill, main, open);
        if episode.ready_at_stop.is_none() && episode.first_stop.is_some_and(|stop| stop.at_ns == at_ns) {
            episode.ready_at_stop = self.names.pod(episode.cgroup).and_then(|pod| pod.ready);
        }
        if new && signal.signal == SIGKILL {
            self.recall(key, target);
        }
        if let Some(episode) = self.episodes.get_mut(&key) {
            match episode.scope {
                Scope::Worker => {
                    episode.unmark_ns.get_or_insert(at_ns.saturating_add(UNMARK_NS));
                    self.presume(key);
                }
                // Its cgroup holds unrelated processes: the process's own mark is enough.
                Scope::Process => {
                    self.unmark_cgroups.insert(target.cgroup);
                }
                Scope::Workload => self.known(key),
            }
        }
        self.drain_all_of(key);
    }

    /// Whether this is a SIGKILL that kills, and who is behind it.
    fn killer(&self, signal: &Signal) -> Option<KillBy> {
        if signal.signal != SIGKILL || signal.dropped || signal.target.exiting {
            return None;
        }
        Some(match &signal.sender {
            Sender::Kernel(context) if context.exiting && context.pid1 => KillBy::NamespaceEnd,
            Sender::Kernel(_) => KillBy::Oom,
            // In a shared cgroup the sender is somebody else, but for the parent of its own children.
            Sender::Process(sender) if self.names.is_shared(signal.target.cgroup) => {
                if self
                    .episodes
                    .values()
                    .any(|e| e.holds(sender.pid, Some(sender.started_ns)))
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

    fn process_exited(&mut self, process: &Process, ended: Ended) {
        let process = &self.processes.enrich(process);
        self.finish_last_life(ended.at_ns, process);
        let shared = self.names.is_shared(process.cgroup);
        let main = !shared && self.processes.is_main(process, &self.names);
        self.processes.exited(process);
        let key = match self.find_process(process) {
            Some(key) => key,
            None if process.served || process.called => self.begin_exited(shared, ended.at_ns, process),
            None => {
                // A mark whose signal was lost on its way here: nothing else would take it out.
                if process.signalled {
                    self.unmark_pids.insert(process.pid);
                    let marks = |e: &Episode| e.marked_cgroups.contains(&process.cgroup);
                    if !self.episodes.values().any(marks) {
                        self.unmark_cgroups.insert(process.cgroup);
                    }
                }
                let quiet = QuietExit {
                    process: process.clone(),
                    ended,
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
        if let Some(episode) = self.episodes.get_mut(&key) {
            let main = main || episode.wants_main();
            if process.signalled {
                episode.marked(process.pid);
                episode.marked_cgroups.insert(process.cgroup);
            }
            episode.exited(process, ended, main);
        }
    }

    /// A cgroup made inside a workload that is being stopped stops with it.
    fn cgroup_created(&mut self, cgroup: u64, path: &str) {
        self.names.created(cgroup, path);
        // Something was told of it before its path: under the name that it has from now on.
        if !self.names.is_shared(cgroup) && self.episodes.values().any(|e| e.cgroup == cgroup) {
            self.renamed(cgroup);
        }
        self.discover(cgroup);
        self.created_in_deleted(cgroup);
        let stopping = |e: &Episode| e.scope == Scope::Workload && e.gone_ns.is_none();
        let of: Vec<u64> = self
            .episodes
            .iter()
            .filter(|(_, e)| stopping(e) && self.names.belongs(cgroup, e.cgroup))
            .map(|(&key, _)| key)
            .collect();
        for key in of {
            self.drain(key, cgroup);
        }
    }

    /// Marks every cgroup of a workload that is stopped as a whole.
    fn drain_all_of(&mut self, key: u64) {
        let Some(episode) = self.episodes.get(&key).filter(|e| e.scope == Scope::Workload) else {
            return;
        };
        let members: Vec<u64> = self.names.members(episode.cgroup).collect();
        for cgroup in members {
            self.drain(key, cgroup);
        }
    }

    fn drain(&mut self, key: u64, cgroup: u64) {
        if let Some(episode) = self.episodes.get_mut(&key)
            && episode.marked_cgroups.insert(cgroup)
        {
            self.effects.push(Effect::DrainCgroup { cgroup });
        }
    }

    fn cgroup_emptied(&mut self, at_ns: u64, cgroup: u64) {
        self.processes.cgroup_emptied(cgroup, &self.names);
        if self.names.workload_cgroup(cgroup) != cgroup {
            return; // the workload lives on in its other cgroups, until its own says that they are empty
        }
        let quiet = self.quiet_exits.remove(&cgroup);
        let quiet = quiet.filter(|quiet| at_ns.saturating_sub(quiet.ended.at_ns) <= self.config.linger_ns);
        if self.whole_workload(cgroup).is_none() && !self.names.is_shared(cgroup) {
            // Nobody was left: what looked like workers were the workload.
            let workers = self.workers(cgroup, |_| true);
            let first = workers.first().and_then(|key| self.episodes.get(key));
            let process = match (first, &quiet) {
                (Some(episode), _) => episode
                    .order
                    .first()
                    .and_then(|pid| episode.members.get(pid))
                    .map(|m| m.process.clone()),
                (None, Some(quiet)) => Some(quiet.process.clone()),
                (None, None) => None,
            };
            let Some(process) = process else { return };
            let at_ns = quiet.as_ref().map_or(at_ns, |quiet| quiet.ended.at_ns);
            let whole = self.begin(Scope::Workload, at_ns, &Process { cgroup, ..process });
            self.merge(whole, &workers);
        }
        if let Some(episode) = self.whole_workload(cgroup) {
            if let Some(quiet) = quiet {
                episode.exited(&quiet.process, quiet.ended, quiet.main);
            }
            episode.emptied(at_ns);
        }
    }

    fn cgroup_removed(&mut self, at_ns: u64, cgroup: u64) {
        self.cgroup_emptied(at_ns, cgroup);
        self.names.removed(cgroup);
        self.listeners.cgroup_removed(cgroup);
        if let Some((_, removed)) = self.seen.entry_if_known(&cgroup) {
            *removed = true;
        }
        self.retire(cgroup);
    }

    fn listener_opened(&mut self, at_ns: u64, listener: &Listener) {
        let process = &Process {
            served: true,
            ..listener.process.clone()
        };
        self.processes.note(process);
        self.finish_last_life(at_ns, process);
        self.listeners.opened(listener);
        let workload = self.names.workload_cgroup(process.cgroup);
        self.announce_named(workload, self.names.name(process.cgroup, process));
        if let Some(episode) = self.episode_of(process) {
            episode.join(process, false);
            episode.listener_opened(at_ns, process.pid, listener.local);
        }
    }

    fn listener_closed(&mut self, at_ns: u64, listener: &Listener) {
        let process = &listener.process;
        let opener = self.listeners.closed(listener);
        let key = self
            .find_process(process)
            .or_else(|| self.find(opener?, process.pid, None, None));
        if let Some(episode) = key.and_then(|key| self.episodes.get_mut(&key)) {
            episode.listener_closed(at_ns, process.pid, listener.local, listener.netns);
        } else {
            // The kernel side may remember the port, for a shutdown that this is not.
            self.unmark_pids.insert(process.pid);
        }
    }

    fn oom_victim(&mut self, at_ns: u64, pid: u32) {
        let cgroup = self.processes.get(pid).map(|process| process.cgroup);
        let key = self
            .episodes
            .iter()
            .rev()
            .find(|(_, e)| e.holds(pid, None))
            .map(|(&key, _)| key);
        let key = key.or_else(|| self.find(cgroup?, pid, None, None));
        match (
            key.and_then(|key| self.episodes.get_mut(&key)),
            self.processes.get(pid).cloned(),
        ) {
            (Some(episode), _) => episode.oom_victim(at_ns, pid),
            // Its SIGKILL was not seen.
            (None, Some(process)) => {
                let shared = self.names.is_shared(process.cgroup);
                let key = self.begin_exited(shared, at_ns, &process);
                if let Some(episode) = self.episodes.get_mut(&key) {
                    episode.join(&process, false);
                    episode.oom_victim(at_ns, pid);
                }
            }
            (None, None) => {}
        }
    }

    fn connection(&mut self, at_ns: u64, connection: &Connection) {
        let cgroup = match connection.cgroup {
            0 => self
                .processes
                .get(connection.pid)
                .map_or(0, |process| process.cgroup),
            cgroup => cgroup,
        };
        self.arrived(cgroup, connection);
        let key = self.find(cgroup, connection.pid, None, None);
        if let Some(episode) = key.and_then(|key| self.episodes.get_mut(&key)) {
            episode.connection(at_ns, connection);
        }
    }
}
