//! What the agent may do: capabilities that loading and attaching need, and letting go of them afterwards.
//!
//! Measured: from Linux 5.19 on, `kernel.unprivileged_bpf_disabled` stands only before making maps and loading
//! programs; whoever holds a descriptor of a map may use it without any capability. Before, it stands before every
//! `bpf()` call, so that a look into a map needs `CAP_BPF`. Everything else that the agent does later needs none: the
//! ring is memory, `recursion_misses` stands in `/proc/self/fdinfo`, files of cgroups are readable by all, and links
//! go away with their descriptors. Hence [`let_go`] tries it out and keeps what it must.

use std::fs;

use caps::{CapSet, Capability, CapsHashSet, errors::CapsError};
use nix::sys::prctl;

/// Each capability that is needed, and what for.
const NEEDED: &[(Capability, &str)] = &[
    (Capability::CAP_BPF, "loads BPF programs and maps"),
    (
        Capability::CAP_PERFMON,
        "lets them read kernel memory and attach to tracepoints",
    ),
];

/// What stands before `bpf()` for those without `CAP_BPF`: 0 nothing, 1 a ban for good, 2 a ban until it is changed.
const UNPRIVILEGED_BPF: &str = "/proc/sys/kernel/unprivileged_bpf_disabled";

/// Needed capabilities that this process lacks, with what each is for.
/// `CAP_SYS_ADMIN` stands in for both, as in the kernel (`bpf_capable`, `perfmon_capable`).
pub fn missing() -> Vec<(String, String)> {
    if has(Capability::CAP_SYS_ADMIN) {
        return Vec::new();
    }
    NEEDED
        .iter()
        .filter(|(capability, _)| !has(*capability))
        .map(|(capability, why)| (capability.to_string(), (*why).to_owned()))
        .collect()
}

fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

/// Capabilities that must stay once everything is attached, with the reason. `uses_map` looks into a map and changes
/// it; it is tried with no capability in effect.
pub fn kept(uses_map: impl FnOnce() -> bool) -> Result<Vec<(String, String)>, CapsError> {
    Ok(named(staying(uses_map)?))
}

/// Gives up, for good, every capability that the agent does not need from now on, in every set, and the ways to
/// get one again; returns those that it keeps, with the reason. Capabilities are a thread's own: to be called while
/// the process has one thread; those that are started later inherit what is left.
pub fn let_go(uses_map: impl FnOnce() -> bool) -> Result<Vec<(String, String)>, CapsError> {
    let stays = staying(uses_map)?;
    let set: CapsHashSet = stays.iter().map(|(capability, _)| *capability).collect();
    keep(&set)?;
    Ok(named(stays))
}

/// Gives up everything, for the calling thread alone: for one that is started before the others can let go.
pub fn let_go_of_all() -> Result<(), CapsError> {
    keep(&CapsHashSet::new())
}

/// Keeps these, and no way to get others.
fn keep(set: &CapsHashSet) -> Result<(), CapsError> {
    // First the set that one needs a capability to change.
    if has(Capability::CAP_SETPCAP) {
        for capability in caps::read(None, CapSet::Bounding)? {
            caps::drop(None, CapSet::Bounding, capability)?;
        }
    }
    if caps::runtime::ambient_set_supported().is_ok() {
        caps::clear(None, CapSet::Ambient)?;
    }
    caps::set(None, CapSet::Effective, set)?;
    caps::set(None, CapSet::Permitted, set)?;
    caps::clear(None, CapSet::Inheritable)?;
    // Else root would have them all again after an exec, where the bounding set could not be emptied.
    prctl::set_no_new_privs().map_err(|error| format!("no_new_privs: {error}"))?;
    Ok(())
}

/// What must stay, found out by doing without.
fn staying(uses_map: impl FnOnce() -> bool) -> Result<Option<(Capability, &'static str)>, CapsError> {
    let effective = caps::read(None, CapSet::Effective)?;
    caps::clear(None, CapSet::Effective)?;
    let works = uses_map();
    caps::set(None, CapSet::Effective, &effective)?;
    let open = fs::read_to_string(UNPRIVILEGED_BPF).map_or(true, |text| text.trim() == "0");
    let why = match (works, open) {
        (false, _) => "this kernel requires it for every map lookup, as kernels before 5.19 do",
        (true, true) => {
            "kernel.unprivileged_bpf_disabled is 0: once it is set, kernels before 5.19 require it for every map lookup"
        }
        (true, false) => return Ok(None),
    };
    Ok([Capability::CAP_BPF, Capability::CAP_SYS_ADMIN]
        .into_iter()
        .find(|capability| effective.contains(capability))
        .map(|capability| (capability, why)))
}

fn named(stays: Option<(Capability, &'static str)>) -> Vec<(String, String)> {
    stays
        .into_iter()
        .map(|(capability, why)| (capability.to_string(), why.to_owned()))
        .collect()
}
