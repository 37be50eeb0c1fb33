//! Reading kernel memory and asking who is who.

use aya_ebpf::{
    bindings::task_struct,
    helpers::generated::{
        bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_task_btf, bpf_probe_read_kernel,
        bpf_skc_to_tcp_sock,
    },
};
use drainwatch_ebpf::{COMM, ProcessInfo, offset, process_flag};

use crate::{globals::offset_of, maps};

/// `PF_EXITING`, include/linux/sched.h.
const PF_EXITING: u32 = 0x0000_0004;
/// `SIGNAL_GROUP_EXIT`, include/linux/sched/signal.h.
const SIGNAL_GROUP_EXIT: u32 = 0x0000_0004;

/// A pointer into kernel memory that the verifier knows the type of, or that is only read by helper.
pub type Ptr = *const u8;

/// Direct load of a member: only through pointers whose BTF type the verifier knows. The cheap way.
#[inline(always)]
pub fn load<T: Copy>(base: Ptr, member: usize) -> T {
    // SAFETY: the verifier checks type and bounds of the access; a fault reads as zero.
    unsafe { base.add(offset_of(member)).cast::<T>().read_volatile() }
}

/// Load of a member by helper, through any pointer; zero when it faults.
#[inline(always)]
pub fn read<T: Copy>(base: Ptr, member: usize) -> T {
    read_at(base, offset_of(member))
}

/// Load at an offset by helper; zero when it faults.
#[inline(always)]
pub fn read_at<T: Copy>(base: Ptr, at: usize) -> T {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes size_of::<T>() bytes, or zeroes them when it faults; T is plain data.
    unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            base.add(at).cast(),
        );
        value.assume_init()
    }
}

/// The running task.
#[inline(always)]
pub fn current() -> Ptr {
    // SAFETY: no argument, never NULL.
    let task: *mut task_struct = unsafe { bpf_get_current_task_btf() };
    task.cast::<u8>().cast_const()
}

/// Process id of the running task in the initial pid namespace.
#[inline(always)]
pub fn current_tgid() -> u32 {
    // SAFETY: no argument.
    (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32
}

/// cgroup v2 id of the running task.
#[inline(always)]
pub fn current_cgroup() -> u64 {
    // SAFETY: no argument.
    unsafe { bpf_get_current_cgroup_id() }
}

/// The running task is exiting.
#[inline(always)]
pub fn current_exiting() -> bool {
    load::<u32>(current(), offset::TASK_FLAGS) & PF_EXITING != 0
}

/// The running task is exiting, and its whole process with it.
#[inline(always)]
pub fn current_process_exiting() -> bool {
    if !current_exiting() {
        return false;
    }
    let signal: Ptr = read(current(), offset::TASK_SIGNAL);
    read::<u32>(signal, offset::SIGNAL_FLAGS) & SIGNAL_GROUP_EXIT != 0
        || read::<i32>(signal, offset::SIGNAL_LIVE) == 0
}

/// The TCP socket that a socket is, for its members; `None` when it is of another protocol.
#[inline(always)]
pub fn tcp_sock(sk: Ptr) -> Option<Ptr> {
    // SAFETY: the helper takes any sock pointer of BTF type; NULL when it is not TCP.
    let tcp = unsafe { bpf_skc_to_tcp_sock(sk.cast_mut().cast()) }
        .cast::<u8>()
        .cast_const();
    if tcp.is_null() { None } else { Some(tcp) }
}

/// cgroup v2 id of a task: the inode of its directory in the unified hierarchy.
#[inline(always)]
pub fn cgroup_of(task: Ptr) -> u64 {
    let css_set: Ptr = read(task, offset::TASK_CGROUPS);
    let cgroup: Ptr = read(css_set, offset::CSS_SET_DFL_CGRP);
    cgroup_id(cgroup)
}

/// Id of a cgroup.
#[inline(always)]
pub fn cgroup_id(cgroup: Ptr) -> u64 {
    let node: Ptr = read(cgroup, offset::CGROUP_KN);
    read(node, offset::KERNFS_NODE_ID)
}

/// The last thread of the task's process has begun to exit.
#[inline(always)]
pub fn is_group_dead(task: Ptr) -> bool {
    let signal: Ptr = read(task, offset::TASK_SIGNAL);
    read::<i32>(signal, offset::SIGNAL_LIVE) == 0
}

/// Wait status of the task's process: a fatal signal, or what `exit_group` was given.
#[inline(always)]
pub fn exit_status(task: Ptr) -> u32 {
    let signal: Ptr = read(task, offset::TASK_SIGNAL);
    let flags: u32 = read(signal, offset::SIGNAL_FLAGS);
    if flags & SIGNAL_GROUP_EXIT != 0 {
        read(signal, offset::SIGNAL_GROUP_EXIT_CODE)
    } else {
        read(task, offset::TASK_EXIT_CODE)
    }
}

/// Everything about a task's process that an event carries.
#[inline(never)]
pub fn describe(task: Ptr, into: &mut ProcessInfo) {
    let leader: Ptr = read(task, offset::TASK_GROUP_LEADER);
    let parent: Ptr = read(leader, offset::TASK_REAL_PARENT);
    let signal: Ptr = read(task, offset::TASK_SIGNAL);
    into.cgroup = cgroup_of(task);
    into.tgid = read(task, offset::TASK_TGID);
    into.parent_tgid = read(parent, offset::TASK_TGID);
    into.started_ns = read(leader, offset::TASK_START_TIME);
    into.comm = read::<[u8; COMM]>(leader, offset::TASK_COMM);

    let mut flags = 0;
    let pid: Ptr = read(leader, offset::TASK_THREAD_PID);
    let level: u32 = read(pid, offset::PID_LEVEL);
    // `struct upid { int nr; struct pid_namespace *ns; }`: 16 bytes each, one per level.
    into.ns_tgid = read_at(pid, offset_of(offset::PID_NUMBERS) + 16 * (level & 31) as usize);
    if level > 0 && into.ns_tgid == 1 {
        flags |= process_flag::PID1;
    }
    let group_exits = read::<u32>(signal, offset::SIGNAL_FLAGS) & SIGNAL_GROUP_EXIT != 0;
    // A main thread that has ended while others go on is no process that ends.
    let ends = group_exits || read::<i32>(signal, offset::SIGNAL_LIVE) == 0;
    if ends && read::<u32>(task, offset::TASK_FLAGS) & PF_EXITING != 0 {
        flags |= process_flag::EXITING;
    }
    if group_exits {
        flags |= process_flag::GROUP_EXIT;
    }
    if cgroup_of(parent) == into.cgroup {
        flags |= process_flag::PARENT_IN_CGROUP;
    }
    if let Some(known) = maps::process_flags(into.tgid) {
        flags |= known;
    }
    if maps::process_drains(into.tgid) || maps::process_drains(into.parent_tgid) {
        flags |= process_flag::SIGNALLED;
    }
    into.flags = flags;
}
