//! Runs that are not preempted half-way.
//!
//! The kernel skips a tracing program that is already running on this CPU. Where tracepoints leave preemption
//! on (x86 from 7.0 on, `include/linux/tracepoint.h`), a program that is preempted half-way is such a program
//! until its task runs again: for milliseconds. So preemption is off from a program's first instructions to
//! its last. It is switched on again with interrupts off: a preemption that became due meanwhile is then not
//! caught up here, inside the program, but at the kernel's next opportunity, outside.
//!
//! The calls are to kfuncs (6.10 and 6.14). aya links none, so they are written as calls of helpers that do
//! not exist, and the agent replaces them before load: `kernel::kfuncs`.

use core::mem::{MaybeUninit, transmute};

use drainwatch_ebpf::kfunc;

/// Does something with preemption off, where this kernel can.
#[inline(always)]
pub fn off<R>(work: impl FnOnce() -> R) -> R {
    // SAFETY: replaced before load by calls of the kernel's functions, or by nothing; each takes what the
    // kernel's takes. The flags are the verifier's own until they are restored.
    unsafe {
        let disable: extern "C" fn() = transmute(kfunc::PREEMPT_DISABLE as usize);
        let enable: extern "C" fn() = transmute(kfunc::PREEMPT_ENABLE as usize);
        let save: extern "C" fn(*mut u64) = transmute(kfunc::LOCAL_IRQ_SAVE as usize);
        let restore: extern "C" fn(*mut u64) = transmute(kfunc::LOCAL_IRQ_RESTORE as usize);
        disable();
        let result = work();
        let mut flags = MaybeUninit::<u64>::uninit();
        save(flags.as_mut_ptr());
        enable();
        restore(flags.as_mut_ptr());
        result
    }
}
