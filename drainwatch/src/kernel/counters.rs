//! Counters that the programs and the kernel keep.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::{
    Ebpf,
    maps::{PerCpuArray, PerCpuHashMap},
};
use drainwatch_ebpf::{ResetKey, counter};

use super::{Losses, Resets};

/// Sums of the per-CPU counters, and the runs that the kernel skipped.
pub fn losses(ebpf: &Ebpf, undecodable: u64) -> Losses {
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
        skipped_runs: skipped_runs(ebpf).saturating_sub(sum(counter::NESTED)),
        undecodable,
    }
}

/// `recursion_misses` of all loaded programs: runs skipped because the program was running on that CPU.
/// The second program of a pair only stands in for the first: its own misses lose nothing by themselves.
fn skipped_runs(ebpf: &Ebpf) -> u64 {
    ebpf.programs()
        .filter(|(name, _)| *name != "nested_sock_set_state")
        .filter_map(|(_, program)| {
            let fd = program.fd().ok()?;
            // The kernel prints it only here: kernel/bpf/syscall.c, bpf_prog_show_fdinfo().
            let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd())).ok()?;
            text.lines()
                .find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse::<u64>().ok())
        })
        .sum()
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
