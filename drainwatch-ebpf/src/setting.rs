//! Settings that the agent hands over before load: indices into the programs' `SETTINGS` global.

/// Process id of the agent: its own sockets are not recorded.
pub const AGENT_TGID: usize = 0;
/// 1: capture the first bytes of requests and responses; 0: none.
pub const CAPTURE: usize = 1;
/// Bit n: signal n is a stop signal.
pub const STOP_SIGNALS: usize = 2;
/// 1: `sched_process_exit` has a `group_dead` argument (6.16 and later).
pub const EXIT_HAS_GROUP_DEAD: usize = 3;
/// 1: `mark_victim` gets a task (6.8 and later), 0: a pid.
pub const VICTIM_IS_TASK: usize = 4;
/// Index in `pt_regs`, counted in u64, of the system call's number.
pub const REG_NUMBER: usize = 5;
/// Index of its second argument.
pub const REG_SECOND: usize = 6;
/// Index of its third argument.
pub const REG_THIRD: usize = 7;
/// `read`'s number.
pub const SYS_READ: usize = 8;
/// `write`'s number.
pub const SYS_WRITE: usize = 9;
/// `readv`'s number.
pub const SYS_READV: usize = 10;
/// `writev`'s number.
pub const SYS_WRITEV: usize = 11;
/// `recvfrom`'s number.
pub const SYS_RECVFROM: usize = 12;
/// `sendto`'s number.
pub const SYS_SENDTO: usize = 13;
/// `recvmsg`'s number.
pub const SYS_RECVMSG: usize = 14;
/// `sendmsg`'s number.
pub const SYS_SENDMSG: usize = 15;
/// How many settings there are.
pub const COUNT: usize = 16;
