//! Going on where an earlier agent stopped, and stopping so that a later one can.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    hash::Hash,
    path::Path,
};

use aya::maps::{Array, HashMap, MapError};
use drainwatch_ebpf::{Draining, PortKey, PortState, activity};
use tracing::{debug, warn};

use super::{Kernel, Position, cgroups};

/// How long a port that a process closed may still be asked for, whatever became of the process.
const PORT_NS: u64 = 60_000_000_000;

impl Kernel {
    /// The programs were running before this agent, and recorded what happened.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// What an earlier agent had read up to `position`, and written down, is not read again. Says whether the ring goes on
    /// there: an agent that wrote nothing down may have read more of it, or it is another ring.
    pub fn skip_to(&mut self, position: Position) -> bool {
        position.ring == self.ring_id && self.ring.get_mut().skip_to(position.at)
    }

    /// Lost ring entries and other losses, as far as an agent took them into account.
    pub fn told_losses(&self) -> (u64, u64) {
        let told = |index| self.activity(index).unwrap_or(0);
        (told(activity::TOLD_LOST_ENTRIES), told(activity::TOLD_LOST_OTHER))
    }

    /// From now on these are taken into account.
    pub fn tell_losses(&mut self, (entries, other): (u64, u64)) {
        let told = self
            .set_activity(activity::TOLD_LOST_ENTRIES, entries)
            .and_then(|()| self.set_activity(activity::TOLD_LOST_OTHER, other));
        if let Err(error) = told {
            debug!(%error, "the next agent counts losses again");
        }
    }

    pub(super) fn activity(&self, index: u32) -> Option<u64> {
        let map = Array::<_, u64>::try_from(self.ebpf.map("ACTIVITY")?).ok()?;
        map.get(&index, 0).ok()
    }

    pub(super) fn set_activity(&mut self, index: u32, value: u64) -> Result<(), MapError> {
        Array::<_, u64>::try_from(self.map_mut("ACTIVITY")?)?.set(index, value, 0)
    }

    /// Learns what the maps say that only an agent knows, before anything is read from the ring.
    pub(super) fn take_over(&mut self) {
        let of_cgroups: Vec<(u64, u64)> = self.entries("STOP_SIGNALS");
        for (cgroup, mask) in of_cgroups {
            if self.paths.contains_key(&cgroup) {
                self.stop_signals.insert(cgroup, mask);
            } else {
                self.remove::<u64, u64>("STOP_SIGNALS", &cgroup);
            }
        }
        self.sum_stop_signals();
    }

    /// Forgets what maps hold of processes and cgroups that are gone, as far as the events up to `until_ns` say. Their ends
    /// told of it, unless no agent saw them: because there was none, or no room in the ring.
    pub fn forget_the_dead(&mut self, until_ns: u64) {
        let (now, _) = Self::clocks();
        let living: HashSet<u64> = cgroups::all(&self.cgroup_root)
            .into_iter()
            .map(|(cgroup, _)| cgroup)
            .collect();
        let is_gone = |pid: u32| !Path::new("/proc").join(pid.to_string()).exists();
        for (cgroup, _) in self.entries::<u64, Draining>("DRAINING_CGROUPS") {
            if !living.contains(&cgroup) {
                self.unmark::<u64>("DRAINING_CGROUPS", &cgroup, until_ns);
            }
        }
        if super::load::in_first_pid_namespace() {
            for (pid, _) in self.entries::<u32, Draining>("DRAINING_PROCESSES") {
                if is_gone(pid) {
                    self.unmark::<u32>("DRAINING_PROCESSES", &pid, until_ns);
                }
            }
            for (pid, _) in self.entries::<u32, u64>("PROCESSES") {
                if is_gone(pid) {
                    self.remove::<u32, u64>("PROCESSES", &pid);
                }
            }
            for (port, state) in self.entries::<PortKey, PortState>("PORTS") {
                if state.open == 0 && now.saturating_sub(state.closed_ns) > PORT_NS && is_gone(state.tgid) {
                    self.remove::<PortKey, PortState>("PORTS", &port);
                }
            }
        }
        self.quieten();
    }

    /// Paths of all cgroups by id, those of them that are empty, and all process ids where all of them are seen.
    pub fn present(&self) -> (BTreeMap<u64, String>, HashSet<u64>, Option<HashSet<u32>>) {
        let cgroups: BTreeMap<_, _> = cgroups::all(&self.cgroup_root).into_iter().collect();
        let empty = cgroups
            .iter()
            .filter(|(_, path)| cgroups::is_empty(&self.cgroup_root, path))
            .map(|(&cgroup, _)| cgroup)
            .collect();
        let processes = super::load::in_first_pid_namespace().then(|| {
            let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
            entries
                .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
                .collect()
        });
        (cgroups, empty, processes)
    }

    fn entries<K: aya::Pod + Eq + Hash, V: aya::Pod>(&self, name: &str) -> Vec<(K, V)> {
        let map = self.ebpf.map(name);
        let map = map.and_then(|map| HashMap::<_, K, V>::try_from(map).ok());
        map.map(|map| map.iter().flatten().collect()).unwrap_or_default()
    }

    /// The agent stops. With `remove` nothing stays behind; else the programs go on, where they are pinned.
    pub fn stop(&mut self, remove: bool) {
        if let Err(error) = self.set_activity(activity::AGENT_TGID, 0) {
            debug!(%error, "the programs take another process for the agent, if it gets this number");
        }
        if remove
            && let Some(pins) = self.pins.take()
            && let Err(why) = pins.remove_all()
        {
            warn!(%why, "programs stay behind; `drainwatch uninstall` removes them");
        }
    }
}
