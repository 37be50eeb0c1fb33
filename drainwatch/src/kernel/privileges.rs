//! What the agent may do: capabilities that loading and attaching need.

use caps::{CapSet, Capability};

/// Each capability that is needed, and what for.
const NEEDED: &[(Capability, &str)] = &[
    (Capability::CAP_BPF, "loads BPF programs and maps"),
    (
        Capability::CAP_PERFMON,
        "lets them read kernel memory and attach to tracepoints",
    ),
];

/// Needed capabilities that this process lacks, with what each is for.
/// `CAP_SYS_ADMIN` stands in for both, as in the kernel (`bpf_capable`, `perfmon_capable`).
pub fn missing() -> Vec<(String, String)> {
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    if has(Capability::CAP_SYS_ADMIN) {
        return Vec::new();
    }
    NEEDED
        .iter()
        .filter(|(capability, _)| !has(*capability))
        .map(|(capability, why)| (capability.to_string(), (*why).to_owned()))
        .collect()
}
