//! Functions of the kernel that the programs call, as numbers of helpers that do not exist: the agent replaces each
//! call before load, see its `kernel::kfuncs`.

/// `bpf_preempt_disable`.
pub const PREEMPT_DISABLE: u32 = 0x6b66_0000;
/// `bpf_preempt_enable`.
pub const PREEMPT_ENABLE: u32 = 0x6b66_0001;
/// `bpf_local_irq_save`.
pub const LOCAL_IRQ_SAVE: u32 = 0x6b66_0002;
/// `bpf_local_irq_restore`.
pub const LOCAL_IRQ_RESTORE: u32 = 0x6b66_0003;
