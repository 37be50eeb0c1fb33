//! Stop signals: who sent one to whom, what it met there, when it was acted on.
//!
//! Marks the target and its cgroup as draining, before the signal is delivered. Which of the two
//! really shuts down is judged by the agent, which takes out what need not report.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::warn;
use drainwatch_ebpf::{
    ProcessInfo, SignalEvent, activity, disposition, event_kind, offset, process_flag, sender_kind,
};

use crate::{
    emit::{self, now},
    globals::{has, offset_of},
    kernel::{self, Ptr, read, read_at},
    maps,
};

const SIGKILL: u32 = 9;
/// `sizeof(struct k_sigaction)` where it has a restorer (x86, arm64); the handler comes first.
const SIGACTION: usize = 32;
const SIG_IGN: u64 = 1;
/// State of a task that runs, or is ready to.
const TASK_RUNNING: u32 = 0;
/// Most threads that are looked at.
const THREADS: u32 = 64;
/// `TRACE_SIGNAL_IGNORED`, include/trace/events/signal.h.
const RESULT_IGNORED: u32 = 1;

#[inline(always)]
fn is_stop(signal: u32) -> bool {
    signal < 64 && maps::holding(activity::STOP_SIGNALS) >> signal & 1 == 1
}

#[btf_tracepoint(function = "signal_generate")]
pub fn signal_generate(ctx: BtfTracePointContext) -> i32 {
    let signal: u32 = ctx.arg(0);
    let target: Ptr = ctx.arg(2);
    // Never followed: 0 and 1 are marks of kernel senders, not addresses.
    let info: u64 = ctx.arg(1);
    let own = || maps::is_anybodys_stop(signal) && maps::is_own_stop(kernel::cgroup_of(target), signal);
    if signal != SIGKILL && !is_stop(signal) && !own() && !kills_from_outside(signal, info, target) {
        return 0;
    }
    if !generated(signal, info, target, ctx.arg(3), ctx.arg(4)) {
        // The counter says how many were lost; which one is worth a line, for it begins a shutdown.
        let tgid: u32 = read(target, offset::TASK_TGID);
        warn!(
            &ctx,
            "the ring is full: signal {} to process {} is not reported", signal, tgid
        );
    }
    0
}

/// Signals that end a process which does not handle them, besides those that are stop signals for everybody:
/// all but SIGKILL, SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG and SIGWINCH.
const FATAL: u64 =
    !(1 | 1 << 9 | 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20 | 1 << 21 | 1 << 22 | 1 << 23 | 1 << 28);

/// Somebody else's signal that the target does not handle and that ends it (a log rotation's SIGUSR1).
#[inline(always)]
fn kills_from_outside(signal: u32, info: u64, target: Ptr) -> bool {
    if signal >= 64 || FATAL >> signal & 1 == 0 || info <= 1 {
        return false;
    }
    // `struct kernel_siginfo { int si_signo; int si_errno; int si_code; … }`; above 0: a fault, a timer, the kernel.
    let code: i32 = read_at(info as Ptr, 8);
    code <= 0
        && read::<u32>(target, offset::TASK_TGID) != kernel::current_tgid()
        && disposition_of(target, signal) == disposition::DEFAULT
}

/// Marks the target of a signal and reports it; false when there is no room for the report.
#[inline(always)]
fn generated(signal: u32, info: u64, target: Ptr, group: u32, result: u32) -> bool {
    let now = now();
    let mut described = NOBODY;
    kernel::describe(target, &mut described);
    // The mark comes first: the shutdown's evidence is told even if this event is lost. A fatal signal has
    // set SIGNAL_GROUP_EXIT by now; only a group that was dying before it drops it.
    let dying = result == RESULT_IGNORED && described.flags & process_flag::GROUP_EXIT != 0;
    // A main thread that had ended before, alone: this signal ends the others.
    if !dying && described.flags & process_flag::GROUP_EXIT != 0 && !kernel::is_group_dead(target) {
        described.flags &= !process_flag::EXITING;
    }
    // What a process does to itself is no stop from outside; if it ends by it, its exit tells what it cut.
    let own = described.tgid == kernel::current_tgid();
    if !dying && !own {
        maps::mark_process(described.tgid, now);
        maps::mark_cgroup(described.cgroup, now);
    }
    let Some(mut entry) = emit::reserve::<SignalEvent>() else {
        return false;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: every field of the reserved event is written.
    unsafe {
        (*event).header = emit::header(event_kind::SIGNAL_GENERATED, now);
        (*event).target = described;
        kernel::describe(kernel::current(), &mut (*event).sender);
        (*event).signal = signal;
        let disposition = disposition_of(target, signal);
        (*event).disposition = disposition;
        (*event).result = result;
        (*event).sender_kind = match info {
            0 => sender_kind::CGROUP_KILL,
            1 => sender_kind::KERNEL,
            _ => sender_kind::PROCESS,
        };
        (*event).group = group;
        // What it is doing matters only where this ends it.
        (*event).busy = if signal == SIGKILL || disposition == disposition::DEFAULT {
            busy(target)
        } else {
            SignalEvent::UNKNOWN
        };
    }
    emit::submit(entry);
    true
}

/// How busy the busiest of the first threads of a process is. The signal has woken those that slept, which brings their
/// average up to date; or will in a moment, on another CPU: then they are not running yet.
#[inline(never)]
fn busy(target: Ptr) -> u32 {
    if !has(offset::TASK_BUSY) {
        return SignalEvent::UNKNOWN;
    }
    let signal: Ptr = read(target, offset::TASK_SIGNAL);
    let head = signal as usize + offset_of(offset::SIGNAL_THREAD_HEAD);
    let mut busiest = 0;
    let mut node = head;
    for _ in 0..THREADS {
        node = read_at(node as Ptr, 0);
        if node == head || node == 0 {
            break;
        }
        let thread = node.wrapping_sub(offset_of(offset::TASK_THREAD_NODE)) as Ptr;
        if read::<u32>(thread, offset::TASK_STATE) == TASK_RUNNING {
            busiest = busiest.max(read::<u64>(thread, offset::TASK_BUSY) as u32);
        }
    }
    busiest
}

#[inline(always)]
fn disposition_of(task: Ptr, signal: u32) -> u32 {
    let bit = signal.wrapping_sub(1) & 63;
    // While a thread waits in sigtimedwait (tini does), what it waits for is not among the blocked ones.
    let blocked: u64 = read::<u64>(task, offset::TASK_BLOCKED) | read::<u64>(task, offset::TASK_REAL_BLOCKED);
    let sighand: Ptr = read(task, offset::TASK_SIGHAND);
    let handler: u64 = read_at(
        sighand,
        offset_of(offset::SIGHAND_ACTION) + SIGACTION * bit as usize,
    );
    if blocked >> bit & 1 == 1 {
        return disposition::BLOCKED;
    }
    match handler {
        0 => disposition::DEFAULT,
        SIG_IGN => disposition::IGNORED,
        _ => disposition::HANDLED,
    }
}

#[btf_tracepoint(function = "signal_deliver")]
pub fn signal_deliver(ctx: BtfTracePointContext) -> i32 {
    let signal: u32 = ctx.arg(0);
    // A default action shows here as SIGKILL; the exit tells that better.
    let own = || maps::is_anybodys_stop(signal) && maps::is_own_stop(kernel::current_cgroup(), signal);
    if !is_stop(signal) && !own() {
        return 0;
    }
    let Some(mut entry) = emit::reserve::<SignalEvent>() else {
        return 0;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: every field of the reserved event is written.
    unsafe {
        (*event).header = emit::header(event_kind::SIGNAL_DELIVERED, now());
        kernel::describe(kernel::current(), &mut (*event).target);
        (*event).sender = NOBODY;
        (*event).signal = signal;
        // struct k_sigaction begins with the handler; the pointer is never NULL.
        let handler: u64 = read_at(ctx.arg(2), 0);
        (*event).disposition = if handler == 0 {
            disposition::DEFAULT
        } else {
            disposition::HANDLED
        };
        (*event).result = 0;
        (*event).sender_kind = sender_kind::PROCESS;
        (*event).group = 0;
        (*event).busy = SignalEvent::UNKNOWN;
    }
    emit::submit(entry);
    0
}

const NOBODY: ProcessInfo = ProcessInfo {
    cgroup: 0,
    started_ns: 0,
    tgid: 0,
    parent_tgid: 0,
    ns_tgid: 0,
    flags: 0,
    comm: [0; drainwatch_ebpf::COMM],
};
