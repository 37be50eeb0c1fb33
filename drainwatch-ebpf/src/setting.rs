//! What the agent hands over before load, for it cannot change as long as the kernel runs: indices into the programs'
//! `SETTINGS` global.

/// 1: `sched_process_exit` has a `group_dead` argument (6.16 and later).
pub const EXIT_HAS_GROUP_DEAD: usize = 0;
/// 1: `mark_victim` gets a task (6.8 and later), 0: a pid.
pub const VICTIM_IS_TASK: usize = 1;
/// Index in `pt_regs`, counted in u64, of the system call's number.
pub const REG_NUMBER: usize = 2;
/// Index of its second argument.
pub const REG_SECOND: usize = 3;
/// Index of its third argument.
pub const REG_THIRD: usize = 4;
/// `read`'s number.
pub const SYS_READ: usize = 5;
/// `write`'s number.
pub const SYS_WRITE: usize = 6;
/// `readv`'s number.
pub const SYS_READV: usize = 7;
/// `writev`'s number.
pub const SYS_WRITEV: usize = 8;
/// `recvfrom`'s number.
pub const SYS_RECVFROM: usize = 9;
/// `sendto`'s number.
pub const SYS_SENDTO: usize = 10;
/// `recvmsg`'s number.
pub const SYS_RECVMSG: usize = 11;
/// `sendmsg`'s number.
pub const SYS_SENDMSG: usize = 12;
/// How many settings there are.
pub const COUNT: usize = 13;
