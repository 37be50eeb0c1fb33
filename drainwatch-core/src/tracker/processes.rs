//! What is known of living processes and open listeners before anything is stopped.

use std::net::SocketAddr;

use super::bounded::Recent;
use crate::{
    event::{Listener, Process},
    workload::Names,
};

/// Most living processes remembered: only those that events named (signalled, listening), not every process.
const PROCESSES: usize = 8192;
/// Most open listeners remembered.
const LISTENERS: usize = 16_384;

/// Living processes that events have named, by process id.
#[derive(Debug)]
pub(super) struct Processes {
    living: Recent<u32, Process>,
}

impl Default for Processes {
    fn default() -> Self {
        Self {
            living: Recent::new(PROCESSES),
        }
    }
}

impl Processes {
    /// A process was named by an event.
    pub fn note(&mut self, process: &Process) {
        if process.pid == 0 || process.exiting {
            return;
        }
        let known = self.living.entry(&process.pid, || process.clone());
        let same = known.started_ns == process.started_ns;
        // What a process once did it did, even if a later event was made before the kernel noted it.
        let (served, more, called) = (
            same && known.served,
            same && known.served_more,
            same && known.called,
        );
        known.clone_from(process);
        known.served |= served;
        known.served_more |= more;
        known.called |= called;
    }

    /// The process as known, with what earlier events said of it.
    pub fn enrich(&self, process: &Process) -> Process {
        let mut enriched = process.clone();
        if let Some(known) = self
            .living
            .get(&process.pid)
            .filter(|k| k.started_ns == process.started_ns)
        {
            enriched.served |= known.served;
            enriched.served_more |= known.served_more;
            enriched.called |= known.called;
            enriched.unrecorded |= known.unrecorded;
            enriched.untold |= known.untold;
        }
        enriched
    }

    pub fn exited(&mut self, process: &Process) {
        if self
            .living
            .get(&process.pid)
            .is_some_and(|known| known.started_ns <= process.started_ns)
        {
            self.living.remove(&process.pid);
        }
    }

    /// Nobody lives in this cgroup any more, nor, when it is a workload's own, in the workload's others,
    /// whatever was seen of their ends.
    pub fn cgroup_emptied(&mut self, cgroup: u64, names: &Names) {
        let gone: Vec<u32> = self
            .living
            .iter()
            .filter(|(_, p)| p.cgroup == cgroup || names.workload_cgroup(p.cgroup) == cgroup)
            .map(|(&pid, _)| pid)
            .collect();
        for pid in gone {
            self.living.remove(&pid);
        }
    }

    /// A living process, by id.
    pub fn get(&self, pid: u32) -> Option<&Process> {
        self.living.get(&pid)
    }

    /// Living processes of some cgroups that have served.
    pub fn serving(&self, of: impl Fn(u64) -> bool) -> impl Iterator<Item = &Process> {
        self.living.values().filter(move |p| p.served && of(p.cgroup))
    }

    /// Whether this is the main process of its workload: PID 1 of a pid namespace, or one whose parent is
    /// elsewhere. Of the latter only the oldest: a later one was put there (`docker exec`, an exec probe,
    /// a unit's `ExecReload`).
    pub fn is_main(&self, process: &Process, names: &Names) -> bool {
        if process.pid1 {
            return true;
        }
        let older = |other: &Process| {
            other.pid1 || (other.started_ns < process.started_ns && !self.is_child(other, names))
        };
        let ours = |other: &Process| names.same_workload(other.cgroup, process.cgroup);
        !self.is_child(process, names)
            && !self
                .living
                .values()
                .any(|other| other.pid != process.pid && ours(other) && older(other))
    }

    /// Whether the process's parent is in the same workload: in the same cgroup, as the kernel says, or,
    /// as far as the parent is known, in another one of it.
    fn is_child(&self, process: &Process, names: &Names) -> bool {
        let in_another = |parent: &Process| {
            parent.cgroup != process.cgroup && names.same_workload(parent.cgroup, process.cgroup)
        };
        process.parent_in_cgroup || self.living.get(&process.parent).is_some_and(in_another)
    }
}

/// An open listener.
#[derive(Debug, Clone)]
pub(super) struct Open {
    /// cgroup of who opened it.
    pub cgroup: u64,
    /// Who opened it last.
    pub process: Process,
    /// Sockets on this very address (`SO_REUSEPORT`).
    sockets: u32,
}

/// Open listeners, by network namespace and address.
#[derive(Debug)]
pub(super) struct Listeners {
    open: Recent<(u32, SocketAddr), Open>,
}

impl Default for Listeners {
    fn default() -> Self {
        Self {
            open: Recent::new(LISTENERS),
        }
    }
}

impl Listeners {
    pub fn opened(&mut self, listener: &Listener) {
        let process = &listener.process;
        let open = self.open.entry(&(listener.netns, listener.local), || Open {
            cgroup: process.cgroup,
            process: process.clone(),
            sockets: 0,
        });
        open.sockets = open.sockets.saturating_add(1);
        open.cgroup = process.cgroup;
        open.process.clone_from(process);
    }

    /// Whether one that was found is among them: opened by this process, or as many as there are are known.
    pub fn knows(&self, listener: &Listener) -> bool {
        let known = self.open.get(&(listener.netns, listener.local));
        let (pid, started_ns) = (listener.process.pid, listener.process.started_ns);
        known.is_some_and(|open| {
            (open.process.pid, open.process.started_ns) == (pid, started_ns)
                || open.sockets >= listener.still_open
        })
    }

    /// Somebody listens on this port, at whatever address.
    pub fn has_port(&self, netns: u32, port: u16) -> bool {
        self.open
            .iter()
            .any(|((of, local), _)| *of == netns && local.port() == port)
    }

    /// cgroup that had opened it, where that is known.
    pub fn closed(&mut self, listener: &Listener) -> Option<u64> {
        let key = (listener.netns, listener.local);
        let open = self.open.entry_if_known(&key)?;
        open.sockets = open.sockets.saturating_sub(1);
        let cgroup = open.cgroup;
        // The kernel's count covers the port; none left there means none left here.
        if open.sockets == 0 || listener.still_open == 0 {
            self.open.remove(&key);
        }
        Some(cgroup)
    }

    /// The cgroup is gone, and so is whatever it listened on.
    pub fn cgroup_removed(&mut self, cgroup: u64) {
        let gone: Vec<_> = self
            .open
            .iter()
            .filter(|(_, o)| o.cgroup == cgroup)
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            self.open.remove(&key);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Open> {
        self.open.values()
    }
}
