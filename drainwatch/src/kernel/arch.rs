//! What differs between processor architectures: registers and numbers of system calls.

use drainwatch_ebpf::setting;

/// `(setting, value)` pairs of this architecture.
#[cfg(target_arch = "x86_64")]
pub const SETTINGS: &[(usize, u64)] = &[
    // struct pt_regs, arch/x86/include/asm/ptrace.h: r15 … orig_ax, counted in u64.
    (setting::REG_NUMBER, 15),
    (setting::REG_SECOND, 13),
    (setting::REG_THIRD, 12),
    // arch/x86/entry/syscalls/syscall_64.tbl
    (setting::SYS_READ, 0),
    (setting::SYS_WRITE, 1),
    (setting::SYS_READV, 19),
    (setting::SYS_WRITEV, 20),
    (setting::SYS_SENDTO, 44),
    (setting::SYS_RECVFROM, 45),
    (setting::SYS_SENDMSG, 46),
    (setting::SYS_RECVMSG, 47),
];

/// `(setting, value)` pairs of this architecture.
#[cfg(target_arch = "aarch64")]
pub const SETTINGS: &[(usize, u64)] = &[
    // struct user_pt_regs, arch/arm64/include/uapi/asm/ptrace.h: the number is in x8, arguments from x0.
    (setting::REG_NUMBER, 8),
    (setting::REG_SECOND, 1),
    (setting::REG_THIRD, 2),
    // include/uapi/asm-generic/unistd.h
    (setting::SYS_READ, 63),
    (setting::SYS_WRITE, 64),
    (setting::SYS_READV, 65),
    (setting::SYS_WRITEV, 66),
    (setting::SYS_SENDTO, 206),
    (setting::SYS_RECVFROM, 207),
    (setting::SYS_SENDMSG, 211),
    (setting::SYS_RECVMSG, 212),
];
