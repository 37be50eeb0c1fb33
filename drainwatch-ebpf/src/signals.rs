//! Stop signals: who sent one to whom, what it met there, when it was acted on.
//!
//! Marks the target and its cgroup as draining, before the signal is delivered. Which of the two
//! really shuts down is judged by the agent, which takes out what need not report.

use aya_ebpf::{
    helpers::generated::bpf_get_current_uid_gid, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use drainwatch_ebpf::{
    ProcessInfo, RateKey, SignalEvent, activity, counter, disposition, event_kind, offset, process_flag,
    rated, sender_kind,
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
    generated(signal, info, target, ctx.arg(3), ctx.arg(4));
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

/// Signals of one number that one process is told of within a second: to those that come then it does nothing new.
const OF_ONE_NUMBER: u64 = 8;
/// Signals of one process within a second, of root's and of anybody else's. An orchestrator that stops a whole node
/// sends fewer.
const OF_ONE_SENDER: [u64; 2] = [4096, 256];
/// Signals to one cgroup within a second.
const TO_ONE_CGROUP: u64 = 4096;

/// Whether a signal is told. One that changes nothing is not, and one too many is counted, so that nobody can fill the
/// ring with signals to keep out what happens elsewhere.
#[inline(always)]
fn is_told(signal: u32, target: &ProcessInfo, own: bool, drains: bool, now: u64) -> bool {
    // By what it does to itself it ends, and is told of then; or goes on.
    if own && signal != SIGKILL && !drains {
        maps::count(counter::SIGNALS_LEFT_OUT);
        return false;
    }
    let of_target = RateKey {
        id: u64::from(target.tgid),
        of: rated::TARGET,
        signal,
    };
    if !maps::is_within(OF_ONE_NUMBER, &of_target, now) {
        maps::count(counter::SIGNALS_LEFT_OUT);
        return false;
    }
    let of_sender = RateKey {
        id: u64::from(kernel::current_tgid()),
        of: rated::SENDER,
        signal: 0,
    };
    let of_cgroup = RateKey {
        id: target.cgroup,
        of: rated::CGROUP,
        signal: 0,
    };
    // SAFETY: no argument.
    let is_root = unsafe { bpf_get_current_uid_gid() } as u32 == 0;
    let most = if is_root {
        OF_ONE_SENDER[0]
    } else {
        OF_ONE_SENDER[1]
    };
    let told = maps::is_within(most, &of_sender, now) && maps::is_within(TO_ONE_CGROUP, &of_cgroup, now);
    if !told {
        maps::count(counter::SIGNALS_UNTOLD);
        maps::remember_process(target.tgid, process_flag::UNTOLD);
    }
    told
}

/// Marks the target of a signal and reports it.
#[inline(always)]
fn generated(signal: u32, info: u64, target: Ptr, group: u32, result: u32) {
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
    let drains = maps::drains(described.cgroup, described.tgid);
    if !dying && !own {
        maps::mark_process(described.tgid, now);
        maps::mark_cgroup(described.cgroup, now);
    }
    if !is_told(signal, &described, own, drains, now) {
        return;
    }
    if !emit::has_room_for_signal() {
        maps::remember_process(described.tgid, process_flag::UNTOLD);
        return;
    }
    let Some(mut entry) = emit::reserve::<SignalEvent>() else {
        return;
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
    let (now, tgid) = (now(), kernel::current_tgid());
    let of_target = RateKey {
        id: u64::from(tgid),
        of: rated::DELIVERED,
        signal,
    };
    // What nobody else asked of it, or handles again and again, begins and changes nothing.
    if !maps::drains(kernel::current_cgroup(), tgid)
        || !maps::is_within(OF_ONE_NUMBER, &of_target, now)
        || !emit::has_room_for_signal()
    {
        return 0;
    }
    let Some(mut entry) = emit::reserve::<SignalEvent>() else {
        return 0;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: every field of the reserved event is written.
    unsafe {
        (*event).header = emit::header(event_kind::SIGNAL_DELIVERED, now);
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
