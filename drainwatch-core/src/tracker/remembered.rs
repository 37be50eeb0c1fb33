//! What a process cut a moment before it ended unasked, or replaced its program.
//!
//! Nobody had told the kernel side to look: it kept the last connections that the process closed, and tells them
//! when it exits or has replaced its program. Only what was cut counts here. What was answered is traffic as usual,
//! and where somebody asked the process to end after it had closed the connection, the one has nothing to do with
//! the other: a server that gives up on a request has its reasons.

use super::{SECOND, Tracker, episodes::Who};
use crate::event::{Connection, End, Process};

/// What `execve` closes is closed as the process returns to its new program, within this time.
const CLOSES_NS: u64 = SECOND;

impl Tracker {
    /// A process has replaced its program. Whether that cut anything is told next; what was told to end is gone.
    pub(super) fn replaced(&mut self, at_ns: u64, process: &Process) {
        self.processes.note(process);
        self.replaced.insert(&process.pid, (process.clone(), at_ns));
        self.exec_marks
            .insert(process.pid, at_ns.saturating_add(CLOSES_NS));
        if let Some(key) = self.find(process)
            && let Some(episode) = self.episodes.get_mut(key)
            && episode.first_stop().is_some()
        {
            episode.replaced(at_ns, process);
        }
    }

    /// The kernel side has told what replacing a program closed.
    pub(super) fn forget_exec_marks(&mut self) {
        let now_ns = self.now_ns;
        let due = |_: &u32, due_ns: &mut u64| *due_ns <= now_ns;
        for (pid, _) in self.exec_marks.extract_if(.., due) {
            self.released.process(pid);
        }
    }

    /// This connection was closed by its process, alive, before it ended or replaced its program.
    pub(super) fn remembered(&mut self, at_ns: u64, cgroup: u64, connection: &Connection) {
        let replaced = self.replaced.get(&connection.pid).cloned();
        let replaced = replaced.filter(|(_, replaced_ns)| {
            // Of an exec before the last exit of this process id nothing is told any more.
            *replaced_ns >= at_ns
        });
        if let Some(key) = self.cut_by(cgroup, connection, replaced)
            && let Some(episode) = self.episodes.get_mut(key)
        {
            episode.remembered(at_ns, connection, &self.kubelets);
        }
    }

    /// Whether this connection was closed by the replacement of its process's program, which nobody had asked to end.
    pub(super) fn closed_by_exec(&mut self, at_ns: u64, cgroup: u64, connection: &Connection) -> bool {
        let replaced = self.replaced.get(&connection.pid).cloned();
        let replaced = replaced.filter(|(_, replaced_ns)| {
            let after_ns = at_ns.checked_sub(*replaced_ns);
            connection.born_ns < *replaced_ns && after_ns.is_some_and(|after_ns| after_ns < CLOSES_NS)
        });
        if replaced.is_none() || connection.end != End::Close {
            return false;
        }
        let Some(key) = self.cut_by(cgroup, connection, replaced) else {
            return true;
        };
        match self.episodes.get_mut(key) {
            Some(episode) if episode.first_stop().is_none() => {
                episode.remembered(at_ns, connection, &self.kubelets);
                true
            }
            _ => false,
        }
    }

    /// The shutdown in which a connection was cut: one under way, or that of a process which has replaced its program.
    fn cut_by(
        &mut self,
        cgroup: u64,
        connection: &Connection,
        replaced: Option<(Process, u64)>,
    ) -> Option<u64> {
        if let Some(key) = self.find(Who::pid(cgroup, connection.pid)) {
            return Some(key);
        }
        let (process, replaced_ns) = replaced.filter(|_| super::judge::cuts(connection))?;
        let shared = self.names.is_shared(process.cgroup);
        let key = self.begin_exited(shared, replaced_ns, &process);
        self.episodes.get_mut(key)?.replaced(replaced_ns, &process);
        Some(key)
    }
}
