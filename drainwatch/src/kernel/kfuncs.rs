//! Calls of kernel functions in the object: linked here, for aya does not.
//!
//! The programs are compiled with calls of helpers that do not exist ([`drainwatch_ebpf::kfunc`]). Before load each
//! becomes a call of the kernel's function by its BTF id (`BPF_PSEUDO_KFUNC_CALL` in `include/uapi/linux/bpf.h`),
//! or, where this kernel needs none, nothing.

use drainwatch_ebpf::kfunc;
use tracing::debug;

use super::btf::Types;

/// Each marker, with the function that it stands for.
const FUNCTIONS: [(u32, &str); 4] = [
    (kfunc::PREEMPT_DISABLE, "bpf_preempt_disable"),
    (kfunc::PREEMPT_ENABLE, "bpf_preempt_enable"),
    (kfunc::LOCAL_IRQ_SAVE, "bpf_local_irq_save"),
    (kfunc::LOCAL_IRQ_RESTORE, "bpf_local_irq_restore"),
];

/// Length of an instruction, and its alignment in the object.
const INSTRUCTION: usize = 8;
/// `BPF_JMP | BPF_CALL`, registers 0, offset 0: a call of the helper whose number follows.
const CALL_HELPER: [u8; 4] = [0x85, 0, 0, 0];
/// The same with `BPF_PSEUDO_KFUNC_CALL` as source register: a call of the function whose BTF id follows.
const CALL_KFUNC: [u8; 4] = [0x85, 0x20, 0, 0];
/// `r0 = 0`: what a call that does nothing leaves behind.
const NOTHING: [u8; INSTRUCTION] = [0xb7, 0, 0, 0, 0, 0, 0, 0];

/// The object with its calls linked, as this kernel needs them.
pub fn link(object: &[u8], types: &Types) -> Vec<u8> {
    let functions = preemption(types);
    debug!(
        linked = functions.is_some(),
        "kernel functions that switch preemption off while a program runs"
    );
    link_with(object, functions.as_ref())
}

/// Ids of [`FUNCTIONS`], where probes of tracepoints can be preempted and all of the functions exist.
fn preemption(types: &Types) -> Option<[u32; FUNCTIONS.len()]> {
    if !types.preemptible_tracepoints() {
        return None;
    }
    let mut ids = [0; FUNCTIONS.len()];
    for (id, (_, name)) in ids.iter_mut().zip(FUNCTIONS) {
        *id = types.function_id(name)?;
    }
    Some(ids)
}

fn link_with(object: &[u8], ids: Option<&[u32; FUNCTIONS.len()]>) -> Vec<u8> {
    let mut linked = object.to_vec();
    for instruction in linked.chunks_exact_mut(INSTRUCTION) {
        let Some(number) = instruction.strip_prefix(&CALL_HELPER) else {
            continue;
        };
        let Some(function) = FUNCTIONS
            .iter()
            .position(|(marker, _)| marker.to_le_bytes() == number)
        else {
            continue;
        };
        match ids {
            Some(ids) => {
                instruction[..4].copy_from_slice(&CALL_KFUNC);
                instruction[4..].copy_from_slice(&ids[function].to_le_bytes());
            }
            None => instruction.copy_from_slice(&NOTHING),
        }
    }
    linked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(code: [u8; 4], number: u32) -> Vec<u8> {
        [code, number.to_le_bytes()].concat()
    }

    #[test]
    fn given_markers_when_the_kernel_has_the_functions_then_they_are_called_by_their_ids() {
        let helper = call(CALL_HELPER, 14);
        let object = [
            call(CALL_HELPER, kfunc::PREEMPT_DISABLE),
            helper.clone(),
            call(CALL_HELPER, kfunc::LOCAL_IRQ_RESTORE),
        ]
        .concat();
        let expected = [call(CALL_KFUNC, 71), helper, call(CALL_KFUNC, 74)].concat();
        assert_eq!(link_with(&object, Some(&[71, 72, 73, 74])), expected);
    }

    #[test]
    fn given_markers_when_the_kernel_lacks_the_functions_then_nothing_is_called() {
        let object = [call(CALL_HELPER, kfunc::PREEMPT_ENABLE), call(CALL_HELPER, 14)].concat();
        let expected = [NOTHING.to_vec(), call(CALL_HELPER, 14)].concat();
        assert_eq!(link_with(&object, None), expected);
    }

    #[test]
    fn given_the_checked_in_object_when_linked_then_no_marker_is_left() {
        let markers = |object: &[u8]| {
            object
                .chunks_exact(INSTRUCTION)
                .filter(|bytes| {
                    FUNCTIONS
                        .iter()
                        .any(|(marker, _)| bytes[..] == call(CALL_HELPER, *marker)[..])
                })
                .count()
        };
        assert!(markers(super::super::load::OBJECT) > 0);
        assert_eq!(markers(&link_with(super::super::load::OBJECT, None)), 0);
    }
}
