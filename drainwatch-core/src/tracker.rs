//! The shutdown tracker: events in, effects out. No clock, no I/O, no way to fail.
//!
//! The kernel reports generously: on a stop signal it marks both the process and its whole cgroup as
//! draining. What the shutdown is *of* is decided here (`scope` below), and [`Effect::UnmarkCgroup`] and
//! [`Effect::UnmarkProcess`] take the marks back. The kernel knows no workloads, only the cgroup that a
//! process is in: [`Effect::MarkCgroup`] marks what else belongs to a container or unit. An episode's
//! cgroup is always the workload's own; events carry the one that the process is in.
//!
//! | file | what it holds |
//! |---|---|
//! | `tracker`, `effect` | events in, to the shutdown that each belongs to; what is wanted done |
//! | `process_events`, `cgroup_events` | signals, exits, OOM kills; cgroups made, emptied, removed |
//! | `beginnings`, `endings` | when a shutdown begins, what it is of; what is told of it, when it ends |
//! | `episodes` | the shutdowns under way, and to which of them something belongs |
//! | `episode` | one shutdown: the verbs by which it grows; its parts, each with its bounds |
//! | `marks` | whose sockets report because of a shutdown, and which marks are taken back |
//! | `naming`, `announcements` | which workloads are known, by which name, what waits for one; what of it is told |
//! | `successors` | who serves on in a workload after whoever was told to stop |
//! | `deletions` | pods that are being deleted, before their stop signal |
//! | `probes` | which requests are nobody's |
//! | `judge`, `told`, `tally` | what became of each request; what is settled; counts and lists |
//! | `summary`, `findings`, `advice` | the report |
//! | `one_connection` | processes that serve a single connection and end with it |
//! | `remembered` | what a process cut a moment before it ended, unasked, or replaced its program |
//! | `processes` | living processes and open listeners, before anything is stopped |
//! | `lost_ahead` | evidence that was lost of what has yet to be told |
//! | `agenda`, `bounded`, `clock` | what is due when; a map that forgets its oldest entries; times as reports write them |

mod advice;
mod agenda;
mod announcements;
mod beginnings;
mod bounded;
mod cgroup_events;
mod clock;
mod deletions;
mod effect;
mod endings;
mod episode;
mod episodes;
mod findings;
mod judge;
mod lost_ahead;
mod marks;
mod naming;
mod one_connection;
mod probes;
mod process_events;
mod processes;
mod remembered;
mod successors;
mod summary;
mod tally;
#[cfg(test)]
pub(crate) mod tests;
mod told;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

pub use self::effect::Effect;
use self::{
    announcements::Announcements,
    bounded::Recent,
    clock::Clock,
    deletions::Deletions,
    episode::{Ended, Episode, Scope, signals::Stop},
    episodes::{Episodes, Who},
    lost_ahead::LostAhead,
    marks::Released,
    one_connection::OneConnection,
    probes::Sieve,
    process_events::QuietExit,
    processes::{Listeners, Processes},
    tally::Late,
};
use crate::{
    class::Classes,
    event::{Connection, Event, EventKind, Listener, OtherEnd, Process, Signal},
    workload::Names,
};

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3600 * SECOND;

/// cgroups whose last unremarkable exit, or stop signal that was given up, is remembered.
const REMEMBERED: usize = 1024;

/// Settings of the tracker.
#[derive(Debug, Clone)]
pub struct TrackerConfig {
    /// Name of this host, for reports.
    pub node: String,
    /// How long after the end late arrivals are still counted, in ns.
    pub linger_ns: u64,
    /// Rules that put requests into classes.
    pub classes: Arc<Classes>,
    /// Tells of processes in shared cgroups (a login's, the root) that never served, too: what somebody starts and
    /// stops by hand.
    pub processes: bool,
}

/// The state machine.
#[derive(Debug)]
pub struct Tracker {
    config: TrackerConfig,
    /// Time of the first event: nobody watched before.
    began_ns: u64,
    /// Latest time that an event carried: events of different CPUs may be a little out of order.
    now_ns: u64,
    clock: Clock,
    names: Names,
    processes: Processes,
    lost_ahead: LostAhead,
    listeners: Listeners,
    episodes: Episodes,
    /// By workload's own cgroup.
    quiet_exits: Recent<u64, QuietExit>,
    /// Stop signals that stopped nothing, by cgroup, or by process in a shared one.
    given_up: Recent<(u64, Option<u32>), (Stop, Signal)>,
    /// Processes that ended with their only connection just now, by process id.
    one_connection: Recent<u32, OneConnection>,
    /// Processes that replaced their program just now, and when.
    replaced: Recent<u32, (Process, u64)>,
    /// Processes that report because of that, and until when.
    exec_marks: BTreeMap<u32, u64>,
    announcements: Announcements,
    deletions: Deletions,
    /// Addresses that the kubelet was seen to ask from.
    kubelets: BTreeSet<IpAddr>,
    released: Released,
    effects: Vec<Effect>,
}

impl Tracker {
    /// A tracker that knows nothing yet.
    pub fn new(config: TrackerConfig) -> Self {
        Self {
            lost_ahead: LostAhead::default(),
            config,
            began_ns: u64::MAX,
            now_ns: 0,
            clock: Clock::default(),
            names: Names::default(),
            processes: Processes::default(),
            listeners: Listeners::default(),
            episodes: Episodes::default(),
            quiet_exits: Recent::new(REMEMBERED),
            given_up: Recent::new(REMEMBERED),
            one_connection: Recent::new(REMEMBERED),
            replaced: Recent::new(REMEMBERED),
            exec_marks: BTreeMap::new(),
            announcements: Announcements::new(),
            deletions: Deletions::default(),
            kubelets: BTreeSet::new(),
            released: Released::default(),
            effects: Vec::new(),
        }
    }

    /// Takes in one event.
    pub fn observe(&mut self, event: &Event) -> Vec<Effect> {
        let at_ns = event.at_ns;
        self.began_ns = self.began_ns.min(at_ns);
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
                if let Some(episode) = self.episodes.whole_workload(*cgroup) {
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
                child,
                unix_listener,
            } => {
                let ended = Ended {
                    at_ns,
                    code: *code,
                    signal: *signal,
                    unix_listener: *unix_listener,
                };
                self.process_exited(process, ended, child.as_deref());
            }
            EventKind::ProcessReplaced { process } => self.replaced(at_ns, process),
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
                same_cgroup,
                asked,
            } => {
                // A workload that calls itself is nobody's client.
                let own = *same_cgroup && !self.names.is_shared(*cgroup);
                let pair = (*local, *peer, *netns);
                let key = self
                    .find(Who::pid(*cgroup, *pid))
                    .or_else(|| self.late_at_what_was_taken(*pid, pair));
                if let Some(episode) = key.and_then(|key| self.episodes.get_mut(key)) {
                    match (syn, payload) {
                        _ if own => {}
                        (true, _) => {
                            let open = self.listeners.has_port(*netns, local.port());
                            episode.attempted(at_ns, pair, open, &self.kubelets);
                        }
                        (false, &payload @ 1..) => {
                            let late = Late {
                                at_ns,
                                pid: *pid,
                                pair,
                                payload,
                                asked,
                            };
                            episode.came_late(late, &self.kubelets);
                        }
                        (false, 0) => {} // a bare ACK or FIN asks nothing
                    }
                }
            }
            EventKind::NamesExpected { origin } => self.names.expect(*origin),
            EventKind::Described(description) => self.described(at_ns, description),
            EventKind::Undescribed(subject) => self.undescribed(subject),
            EventKind::EventsLost { count, until_ns } => {
                for episode in self.episodes.iter_mut(|_| true) {
                    episode.events_lost(*count);
                }
                self.lost_ahead.add(event.at_ns, *until_ns, *count);
            }
        }
        self.expire();
        self.publish();
        std::mem::take(&mut self.effects)
    }

    /// Monotonic time at which the tracker wants a [`crate::event::EventKind::Tick`], if anything is under way.
    pub fn next_deadline(&self) -> Option<u64> {
        let update = |episode: &Episode| {
            let telling = episode.telling();
            (telling.has_news() && episode.is_reportable()).then(|| telling.due_ns(self.now_ns))
        };
        let hand_over = |episode: &Episode| {
            // One that is due waits for a sign of the successor.
            episode.hand_over_due_ns().filter(|due| *due > self.now_ns)
        };
        let deadlines = |episode: &Episode| {
            let end = episode.end_due_ns();
            let named = self.announcements.waits_until(episode.cgroup());
            match named.filter(|_| episode.is_reportable()) {
                // What there is to tell waits for a name.
                Some(named) => [Some(end.max(named)), episode.unmark_ns(), None],
                None => [
                    Some(end),
                    episode.unmark_ns().or_else(|| hand_over(episode)),
                    update(episode),
                ],
            }
            .into_iter()
            .flatten()
            .min()
        };
        let shutdowns = self.episodes.at_hand(self.now_ns).filter_map(deadlines);
        shutdowns
            .chain(self.episodes.next_ns(self.now_ns))
            .chain(self.announcements.due_ns())
            .chain(self.deletions.due_ns())
            .chain(self.exec_marks.values().copied().min())
            .min()
    }

    /// cgroups that are shutting down: whose CPU use is to be sampled about once a second.
    pub fn draining_cgroups(&self) -> Vec<u64> {
        let whole = self.episodes.whole().map(|(_, episode)| episode);
        let draining = whole.filter(|episode| episode.gone_ns().is_none());
        let cgroups: BTreeSet<u64> = draining.map(Episode::cgroup).collect();
        cgroups.into_iter().collect()
    }

    /// cgroups that it believes to exist.
    pub fn cgroups(&self) -> impl Iterator<Item = u64> {
        self.names.living()
    }

    /// The number that the next shutdown gets, which is part of its id.
    pub fn next_number(&self) -> u64 {
        self.episodes.next_number()
    }

    /// Goes on counting shutdowns where an earlier tracker stopped.
    pub fn count_from(&mut self, number: u64) {
        self.episodes.count_from(number);
    }

    /// Processes of shutdowns under way whose ends it has not been told of.
    pub fn waits_for(&self) -> Vec<Process> {
        let waits = self
            .episodes
            .iter()
            .flat_map(|episode| episode.members().living());
        waits.cloned().collect()
    }

    /// The shutdown that this process belongs to.
    fn find(&self, who: impl Into<Who>) -> Option<u64> {
        self.episodes.find(who.into(), &self.names, &self.processes)
    }

    fn episode_of(&mut self, process: &Process) -> Option<&mut Episode> {
        let key = self.find(process)?;
        self.episodes.get_mut(key)
    }

    fn listener_opened(&mut self, at_ns: u64, listener: &Listener) {
        // An agent that goes on where another one stopped finds what that one knew: nothing has happened.
        if listener.found && self.listeners.knows(listener) {
            return;
        }
        // Whoever listens serves more than one connection.
        let process = &Process {
            served: true,
            served_more: true,
            ..listener.process.clone()
        };
        self.processes.note(process);
        self.finish_last_life(at_ns, process);
        self.listeners.opened(listener);
        let workload = self.names.workload_cgroup(process.cgroup);
        self.announce_named(workload, self.names.name(process.cgroup, process));
        if let Some(episode) = self.episode_of(process) {
            episode.listener_opened(at_ns, process, listener.local);
        }
    }

    fn listener_closed(&mut self, at_ns: u64, listener: &Listener) {
        let process = &listener.process;
        let opener = self.listeners.closed(listener);
        let key = self
            .find(process)
            .or_else(|| self.find(Who::pid(opener?, process.pid)));
        if let Some(episode) = key.and_then(|key| self.episodes.get_mut(key)) {
            episode.listener_closed(at_ns, listener);
        } else {
            // The kernel side may remember the port, for a shutdown that this is not.
            self.released.process(process.pid);
        }
    }

    /// Both ends are in one workload: it is nobody's request.
    fn is_with_itself(&self, cgroup: u64, connection: &Connection) -> bool {
        match connection.other_end {
            OtherEnd::Elsewhere => false,
            OtherEnd::SameProcess => true,
            OtherEnd::SameCgroup => !self.names.is_shared(cgroup),
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
        if self.is_with_itself(cgroup, connection) {
            return;
        }
        self.was_taken(at_ns, connection);
        if connection.remembered {
            self.remembered(at_ns, cgroup, connection);
            return;
        }
        if self.closed_by_exec(at_ns, cgroup, connection) {
            return;
        }
        let workload = self.names.workload_cgroup(cgroup);
        self.learn_kubelet(workload, connection);
        if self.deletions.of(workload).is_some() {
            let settings = self.names.settings(workload);
            let sieve = Sieve {
                classes: &self.config.classes,
                settings: settings.as_ref(),
                kubelets: &self.kubelets,
            };
            self.deletions.arrived(workload, connection, &sieve);
        }
        let key = self.find(Who::pid(cgroup, connection.pid));
        if let Some(episode) = key.and_then(|key| self.episodes.get_mut(key)) {
            episode.connection(at_ns, connection, &self.kubelets);
        } else {
            self.cut_by_its_end(workload, connection);
        }
    }
}
