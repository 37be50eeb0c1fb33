//! Ends of processes: the exit of the last thread, before its sockets close, and OOM victims.

use aya_ebpf::{EbpfContext as _, macros::btf_tracepoint, programs::BtfTracePointContext};
use drainwatch_ebpf::{COMM, ExitEvent, ProcessInfo, activity, event_kind, offset, process_flag, setting};

use crate::{
    cuts,
    emit::{self, now},
    globals::{offset_of, setting},
    kernel::{self, Ptr, read, read_at},
    maps, preemption, unix,
};

/// Signal part of a wait status.
const FATAL_SIGNAL: u32 = 0x7f;
/// The root of the unified hierarchy.
const ROOT_CGROUP: u64 = 1;

#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    let task: Ptr = ctx.arg(0);
    let group_dead = if setting(setting::EXIT_HAS_GROUP_DEAD) == 1 {
        // SAFETY: the context is an array of u64; the second exists where the setting says so.
        let argument = unsafe { ctx.as_ptr().cast::<u64>().add(1).read_volatile() };
        argument & 0xff != 0
    } else {
        kernel::is_group_dead(task)
    };
    if group_dead {
        preemption::off(|| exited(task));
    }
    0
}

#[inline(always)]
fn exited(task: Ptr) {
    let status = kernel::exit_status(task);
    let mut process = core::mem::MaybeUninit::<ProcessInfo>::uninit();
    // SAFETY: `describe` writes every field.
    let process = unsafe {
        kernel::describe(task, &mut *process.as_mut_ptr());
        process.assume_init_mut()
    };
    mark_what_was_cut(process);
    if u64::from(process.tgid) == maps::holding(activity::AGENT_TGID) {
        maps::agent_exited();
    }
    if !matters(process, status) {
        return;
    }
    if let Some(mut entry) = emit::reserve::<ExitEvent>() {
        entry.write(ExitEvent {
            header: emit::header(event_kind::PROCESS_EXIT, now()),
            process: *process,
            status,
            unix_listener: u32::from(unix::listens(task)),
            child: child(task),
        });
        emit::submit(entry);
    }
    // After the exit, which they are judged by.
    cuts::tell(process.tgid);
    maps::forget_process(process.tgid);
}

/// Says of a process that nobody asked to end whether it cut more while it lived than can be told.
#[inline(always)]
fn mark_what_was_cut(process: &mut ProcessInfo) {
    if cuts::has_lost(process.tgid) && !maps::drains(process.cgroup, process.tgid) {
        process.flags |= process_flag::UNRECORDED;
    }
}

/// What one of its children is called. They have not been given another parent yet.
#[inline(always)]
fn child(task: Ptr) -> [u8; COMM] {
    let leader: Ptr = read(task, offset::TASK_GROUP_LEADER);
    let first: Ptr = read(leader, offset::TASK_CHILDREN);
    // The list's own head: there is none.
    if first as usize == leader as usize + offset_of(offset::TASK_CHILDREN) {
        return [0; COMM];
    }
    let child = (first as usize).wrapping_sub(offset_of(offset::TASK_SIBLING)) as Ptr;
    read_at(child, offset_of(offset::TASK_COMM))
}

/// A server has replaced its program. What it had marked so is closed as it returns to the new one: it is told.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    let task: Ptr = ctx.arg(0);
    let tgid = kernel::current_tgid();
    if maps::process_flags(tgid).is_some_and(|flags| flags & process_flag::SERVED != 0) {
        preemption::off(|| {
            replaced(task);
            maps::mark_process(tgid, now());
            cuts::tell(tgid);
        });
    }
    0
}

#[inline(always)]
fn replaced(task: Ptr) {
    let Some(mut entry) = emit::reserve::<ExitEvent>() else {
        return;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: every field of the reserved event is written.
    unsafe {
        (*event).header = emit::header(event_kind::PROCESS_EXEC, now());
        kernel::describe(task, &mut (*event).process);
        mark_what_was_cut(&mut (*event).process);
        (*event).status = 0;
        (*event).unix_listener = 0;
        (*event).child = [0; COMM];
    }
    emit::submit(entry);
}

/// Told of: processes with sockets, those that were signalled or live in a cgroup that drains, the
/// first process of a cgroup, and what died of a signal. Not of every command that a shell runs.
#[inline(always)]
fn matters(process: &ProcessInfo, status: u32) -> bool {
    let told = process_flag::SERVED
        | process_flag::CALLED
        | process_flag::SIGNALLED
        | process_flag::PID1
        | process_flag::UNRECORDED
        | process_flag::UNTOLD;
    let first = process.flags & process_flag::PARENT_IN_CGROUP == 0 && process.cgroup > ROOT_CGROUP;
    process.flags & told != 0
        || first
        || status & FATAL_SIGNAL != 0
        || maps::drains(process.cgroup, process.tgid)
}

#[btf_tracepoint(function = "mark_victim")]
pub fn mark_victim(ctx: BtfTracePointContext) -> i32 {
    let tgid = if setting(setting::VICTIM_IS_TASK) == 1 {
        read(ctx.arg::<Ptr>(0), offset::TASK_TGID)
    } else {
        ctx.arg::<u32>(0)
    };
    let Some(mut entry) = emit::reserve::<ExitEvent>() else {
        return 0;
    };
    entry.write(ExitEvent {
        header: emit::header(event_kind::OOM_VICTIM, now()),
        process: ProcessInfo {
            cgroup: 0,
            started_ns: 0,
            tgid,
            parent_tgid: 0,
            ns_tgid: 0,
            flags: 0,
            comm: [0; COMM],
        },
        status: 0,
        unix_listener: 0,
        child: [0; COMM],
    });
    emit::submit(entry);
    0
}
