//! What a process cut a moment before it ended unasked, or replaced its program.
//!
//! Nobody had told the kernel side to look: it kept the last connections that the process closed, and tells them
//! when it exits or has replaced its program. Only what was cut counts here. What was answered is traffic as usual,
//! and where somebody asked the process to end after it had closed the connection, the one has nothing to do with
//! the other: a server that gives up on a request has its reasons.

use super::{Tracker, episodes::Who};
use crate::event::{Connection, Process};

impl Tracker {
    /// A process has replaced its program. Whether that cut anything is told next.
    pub(super) fn replaced(&mut self, at_ns: u64, process: &Process) {
        self.processes.note(process);
        self.replaced.insert(&process.pid, (process.clone(), at_ns));
    }

    /// This connection was closed by its process, alive, before it ended or replaced its program.
    pub(super) fn remembered(&mut self, at_ns: u64, cgroup: u64, connection: &Connection) {
        let replaced = self.replaced.get(&connection.pid).cloned();
        let replaced = replaced.filter(|(_, replaced_ns)| {
            // Of an exec before the last exit of this process id nothing is told any more.
            *replaced_ns >= at_ns
        });
        let key = match (self.find(Who::pid(cgroup, connection.pid)), &replaced) {
            (Some(key), _) => key,
            (None, Some((process, replaced_ns))) if super::judge::cuts(connection) => {
                let shared = self.names.is_shared(process.cgroup);
                let key = self.begin_exited(shared, *replaced_ns, process);
                if let Some(episode) = self.episodes.get_mut(key) {
                    episode.replaced(*replaced_ns, process);
                }
                key
            }
            _ => return,
        };
        if let Some(episode) = self.episodes.get_mut(key) {
            episode.remembered(at_ns, connection, &self.kubelets);
        }
    }
}
