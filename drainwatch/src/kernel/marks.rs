//! Whose sockets report, and which signals are stop signals of a cgroup's own: what the tracker wants of the maps.

use aya::maps::{Map, MapError};
use drainwatch_ebpf::{Draining, PortKey, PortState, activity};
use tracing::debug;

use super::Kernel;

impl Kernel {
    /// From now on this cgroup reports, as if a process in it had been sent a stop signal.
    pub fn mark_cgroup(&mut self, cgroup: u64) {
        let (now, _) = Self::clocks();
        if let Err(error) = self.set_mark(cgroup, now) {
            debug!(cgroup, %error, "a cgroup that shuts down does not report");
            self.unmarked += 1;
        }
    }

    /// The entry first, then the time of the mark, as the programs do: see `maps::mark`.
    fn set_mark(&mut self, cgroup: u64, now: u64) -> Result<(), MapError> {
        let mut map = aya::maps::HashMap::<_, u64, Draining>::try_from(self.map_mut("DRAINING_CGROUPS")?)?;
        if map.get(&cgroup, 0).is_err() {
            // Older than any event: ours to take back at any time, unless a signal renews it.
            map.insert(cgroup, Draining { since_ns: 0 }, 0)?;
        }
        let mut map = aya::maps::Array::<_, u64>::try_from(self.map_mut("ACTIVITY")?)?;
        map.set(activity::LAST_MARK, now, 0)
    }

    pub(super) fn map_mut(&mut self, name: &str) -> Result<&mut Map, MapError> {
        let missing = || MapError::InvalidName {
            name: name.to_owned(),
        };
        self.ebpf.map_mut(name).ok_or_else(missing)
    }

    /// In this cgroup this signal is a stop signal too, as long as the cgroup lives.
    pub fn watch_stop_signal(&mut self, cgroup: u64, signal: u32) {
        // The programs know of 63 signals, as the setting does.
        let Some(mask) = 1u64.checked_shl(signal).filter(|_| signal > 0) else {
            return;
        };
        // Removed already, as the ring says: nobody would take it out again.
        if self.stop_signals.get(&cgroup) == Some(&mask) || !self.paths.contains_key(&cgroup) {
            return;
        }
        if let Err(error) = self.set_stop_signals(cgroup, mask) {
            debug!(cgroup, %error, "a stop signal of its own is not seen there");
            self.unmarked += 1;
            return;
        }
        self.stop_signals.insert(cgroup, mask);
        self.sum_stop_signals();
    }

    fn set_stop_signals(&mut self, cgroup: u64, mask: u64) -> Result<(), MapError> {
        let mut map = aya::maps::HashMap::<_, u64, u64>::try_from(self.map_mut("STOP_SIGNALS")?)?;
        map.insert(cgroup, mask, 0)
    }

    pub(super) fn forget_stop_signals(&mut self, cgroup: u64) {
        if self.stop_signals.remove(&cgroup).is_some() {
            self.remove::<u64, u64>("STOP_SIGNALS", &cgroup);
            self.sum_stop_signals();
        }
    }

    /// The programs look into the map only for signals that some cgroup has.
    pub(super) fn sum_stop_signals(&mut self) {
        let all = self.stop_signals.values().fold(0, |all, mask| all | mask);
        let set = |map: &mut Map| {
            aya::maps::Array::<_, u64>::try_from(map)?.set(activity::OWN_STOP_SIGNALS, all, 0)
        };
        if let Err(error) = self.map_mut("ACTIVITY").and_then(set) {
            debug!(%error, "stop signals of workloads' own are not seen");
        }
    }

    /// This cgroup need not report any more, unless it was marked again after `until_ns`: the signal that
    /// did it is still on its way through the ring. What follows from it waits for [`Kernel::settle`].
    pub fn unmark_cgroup(&mut self, cgroup: u64, until_ns: u64) {
        self.unmark::<u64>("DRAINING_CGROUPS", &cgroup, until_ns);
        self.unmarked_processes.get_or_insert_default();
    }

    /// This process need not report any more, as with [`Kernel::unmark_cgroup`].
    pub fn unmark_process(&mut self, pid: u32, until_ns: u64) {
        self.unmark::<u32>("DRAINING_PROCESSES", &pid, until_ns);
        self.unmarked_processes
            .get_or_insert_default()
            .insert(pid, until_ns);
    }

    /// Forgets the ports that unmarked processes had closed until then, and tells the programs where nothing drains any
    /// more. Once for all that a turn of the loop unmarks: either looks through a map.
    pub fn settle(&mut self) {
        let Some(unmarked) = self.unmarked_processes.take() else {
            return;
        };
        if !unmarked.is_empty() {
            let is_done = |state: &PortState| {
                let until_ns = unmarked.get(&state.tgid);
                until_ns.is_some_and(|until_ns| state.closed_ns <= *until_ns)
            };
            for port in self.closed_ports(is_done) {
                self.remove::<PortKey, PortState>("PORTS", &port);
            }
        }
        self.quieten();
    }

    pub(super) fn unmark<K: aya::Pod>(&mut self, map: &'static str, key: &K, until_ns: u64) {
        let marked = self
            .ebpf
            .map(map)
            .and_then(|map| aya::maps::HashMap::<_, K, Draining>::try_from(map).ok())
            .and_then(|map| map.get(key, 0).ok());
        if marked.is_some_and(|mark| mark.since_ns <= until_ns) {
            self.remove::<K, Draining>(map, key);
        }
    }

    pub(super) fn remove<K: aya::Pod, V: aya::Pod>(&mut self, map: &'static str, key: &K) {
        let Some(map) = self.ebpf.map_mut(map) else { return };
        if let Ok(mut map) = aya::maps::HashMap::<_, K, V>::try_from(map) {
            // It may not be there: the programs mark more than the tracker knows of, and less.
            let _ = map.remove(key);
        }
    }

    fn closed_ports(&self, wanted: impl Fn(&PortState) -> bool) -> Vec<PortKey> {
        let Some(map) = self.ebpf.map("PORTS") else {
            return Vec::new();
        };
        let Ok(map) = aya::maps::HashMap::<_, PortKey, PortState>::try_from(map) else {
            return Vec::new();
        };
        map.iter()
            .flatten()
            .filter(|(_, state)| state.open == 0 && wanted(state))
            .map(|(key, _)| key)
            .collect()
    }

    /// Tells the programs that nothing drains, when that is so. The order matters: see `maps::mark`.
    pub(super) fn quieten(&mut self) {
        let Some(map) = self.ebpf.map("ACTIVITY") else {
            return;
        };
        let Ok(last_mark) =
            aya::maps::Array::<_, u64>::try_from(map).and_then(|map| map.get(&activity::LAST_MARK, 0))
        else {
            return;
        };
        if self.has_entries::<u64>("DRAINING_CGROUPS") || self.has_entries::<u32>("DRAINING_PROCESSES") {
            return;
        }
        let Some(map) = self.ebpf.map_mut("ACTIVITY") else {
            return;
        };
        if let Ok(mut map) = aya::maps::Array::<_, u64>::try_from(map)
            && let Err(error) = map.set(activity::QUIET, last_mark, 0)
        {
            debug!(%error, "the programs keep looking for draining workloads");
        }
    }

    fn has_entries<K: aya::Pod>(&self, map: &str) -> bool {
        let Some(map) = self.ebpf.map(map) else {
            return false;
        };
        aya::maps::HashMap::<_, K, Draining>::try_from(map).is_ok_and(|map| map.keys().next().is_some())
    }
}
