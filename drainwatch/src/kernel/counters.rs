//! Counters that the programs and the kernel keep.

use std::{collections::BTreeMap, fs, os::fd::AsRawFd as _};

use aya::{
    Ebpf,
    maps::{PerCpuArray, PerCpuHashMap},
};
use drainwatch_ebpf::{ResetKey, counter};

use super::{
    Losses, Resets,
    probes::{self, Attached},
};

/// Sums of the per-CPU counters, and the runs that the kernel skipped.
pub fn losses(ebpf: &Ebpf, programs: &[Attached], undecodable: u64) -> Losses {
    let counters = ebpf
        .map("COUNTERS")
        .and_then(|map| PerCpuArray::<_, u64>::try_from(map).ok());
    let sum = |index: u32| {
        counters
            .as_ref()
            .and_then(|map| map.get(&index, 0).ok())
            .map_or(0, |values| values.iter().sum())
    };
    Losses {
        events: sum(counter::EVENTS),
        ring_full: sum(counter::LOST_RING_FULL),
        no_storage: sum(counter::LOST_NO_STORAGE),
        map_full: sum(counter::LOST_MAP_FULL),
        payload: sum(counter::LOST_PAYLOAD),
        skipped_runs: skipped_runs(programs, &sum),
        undecodable,
        signals_left_out: sum(counter::SIGNALS_LEFT_OUT),
        signals_untold: sum(counter::SIGNALS_UNTOLD),
        served_uncounted: sum(counter::SERVED_UNCOUNTED),
    }
}

/// Connections that were older than the programs.
pub fn seeded(ebpf: &Ebpf) -> u64 {
    ebpf.map("COUNTERS")
        .and_then(|map| PerCpuArray::<_, u64>::try_from(map).ok())
        .and_then(|map| map.get(&counter::SEEDED, 0).ok())
        .map_or(0, |values| values.iter().sum())
}

/// First programs that have stand-ins, and what these did instead of them.
const STOOD_IN: [(&str, u32); 3] = [
    ("sock_recv_length", counter::STOOD_IN_READ),
    ("sock_send_length", counter::STOOD_IN_WRITE),
    ("inet_sock_set_state", counter::STOOD_IN_STATE),
];

/// By probe, `recursion_misses` of its first program, runs skipped because the program was running on that CPU, less
/// those that a stand-in saw. (What a stand-in is skipped for loses nothing by itself.)
fn skipped_runs(programs: &[Attached], sum: &impl Fn(u32) -> u64) -> BTreeMap<&'static str, u64> {
    let mut skipped = BTreeMap::new();
    for Attached { name, program, .. } in programs {
        let Some(probe) = probes::probe_of_first(name) else {
            continue;
        };
        // The kernel prints it only here: kernel/bpf/syscall.c, bpf_prog_show_fdinfo().
        let text =
            fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd())).unwrap_or_default();
        let Some(misses) = text
            .lines()
            .find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse::<u64>().ok())
        else {
            continue;
        };
        let stood_in = STOOD_IN
            .iter()
            .find(|(first, _)| first == name)
            .map_or(0, |(_, counter)| sum(*counter));
        *skipped.entry(probe).or_default() += misses.saturating_sub(stood_in);
    }
    skipped
}

/// TCP resets by cgroup, direction and phase.
pub fn resets(ebpf: &Ebpf) -> Vec<Resets> {
    let Some(map) = ebpf
        .map("RESETS")
        .and_then(|map| PerCpuHashMap::<_, ResetKey, u64>::try_from(map).ok())
    else {
        return Vec::new();
    };
    map.iter()
        .flatten()
        .map(|(key, values)| Resets {
            cgroup: key.cgroup,
            sent: key.direction == 0,
            shutdown: key.phase == 1,
            count: values.iter().sum(),
        })
        .collect()
}
