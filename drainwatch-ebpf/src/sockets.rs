//! The hot path: what a task reads from and writes to a TCP socket.
//!
//! `sock_recv_length` and `sock_send_length` (6.3 and later) fire once per call with what it
//! returned; older kernels have the same at the exits of `tcp_recvmsg` and `tcp_sendmsg`.

use aya_ebpf::{
    helpers::generated::bpf_skc_to_tcp_sock,
    macros::{btf_tracepoint, fexit},
    programs::{BtfTracePointContext, FExitContext},
};
use drainwatch_ebpf::{SocketRecord, offset, process_flag, record_flag, role};

use crate::{
    emit::now,
    kernel::{self, Ptr, load},
    maps, payload, preemption, record,
};

/// `MSG_PEEK`.
const MSG_PEEK: u32 = 2;

#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length(ctx: BtfTracePointContext) -> i32 {
    if ctx.arg::<u32>(2) & MSG_PEEK == 0 {
        preemption::off(|| received(ctx.arg(0), ctx.arg(1)));
    }
    0
}

#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    preemption::off(|| sent(ctx.arg(0), ctx.arg(1)));
    0
}

/// 5.19 and later: `tcp_recvmsg(sk, msg, len, flags, addr_len)`, then what it returned.
#[fexit(function = "tcp_recvmsg")]
pub fn tcp_recvmsg(ctx: FExitContext) -> i32 {
    if ctx.arg::<u32>(3) & MSG_PEEK == 0 {
        received(ctx.arg(0), ctx.arg(5));
    }
    0
}

/// Up to 5.18: `tcp_recvmsg(sk, msg, len, nonblock, flags, addr_len)`, then what it returned.
#[fexit(function = "tcp_recvmsg")]
pub fn tcp_recvmsg_before_5_19(ctx: FExitContext) -> i32 {
    if ctx.arg::<u32>(4) & MSG_PEEK == 0 {
        received(ctx.arg(0), ctx.arg(6));
    }
    0
}

#[fexit(function = "tcp_sendmsg")]
pub fn tcp_sendmsg(ctx: FExitContext) -> i32 {
    // tcp_sendmsg(sk, msg, size)
    sent(ctx.arg(0), ctx.arg(3));
    0
}

#[inline(always)]
fn received(sk: Ptr, returned: i32) {
    moved(sk, returned, false);
}

#[inline(always)]
fn sent(sk: Ptr, returned: i32) {
    moved(sk, returned, true);
}

#[inline(always)]
fn moved(sk: Ptr, returned: i32, sending: bool) {
    if returned <= 0 {
        return;
    }
    let Some(record) = maps::record(sk) else { return };
    // SAFETY: the helper takes any sock pointer of BTF type; NULL when it is not TCP.
    let tcp = unsafe { bpf_skc_to_tcp_sock(sk.cast_mut().cast()) }
        .cast::<u8>()
        .cast_const();
    if tcp.is_null() {
        return;
    }
    let now = now();
    own(record);
    let returned = returned as u64;
    let asks = sending == (record.role == role::CLIENT);
    let flow = if asks { &mut record.ask } else { &mut record.answer };
    let sequence: u32 = load(
        tcp,
        if sending {
            offset::TCP_WRITE_SEQ
        } else {
            offset::TCP_COPIED_SEQ
        },
    );
    let progress = u64::from(sequence.wrapping_sub(flow.seq));
    flow.seq = sequence;
    // More than this call moved: a call that no hook saw (`splice`, `sendfile` before 6.5).
    let gap = progress.saturating_sub(returned);
    let moved = payload::of_current_call(returned, sending);
    if asks {
        catch_up_answers(record, tcp, sending, now);
        record::asked(sk, tcp, record, gap, returned, &moved, now);
    } else {
        record::answered(record, gap, returned, &moved, now);
    }
}

/// Counts the answer bytes that no hook saw, before a request is counted that may come after them:
/// they are of the turn that is about to end.
#[inline(always)]
fn catch_up_answers(record: &mut SocketRecord, tcp: Ptr, sending: bool, now: u64) {
    let member = if sending {
        offset::TCP_COPIED_SEQ
    } else {
        offset::TCP_WRITE_SEQ
    };
    let sequence: u32 = load(tcp, member);
    let unseen = sequence.wrapping_sub(record.answer.seq);
    if unseen != 0 {
        record.answer.seq = sequence;
        record.answer.total += u64::from(unseen);
        record.answer.last_ns = now;
        record.flags &= !record_flag::TAIL_VALID;
        record.tail_len = 0;
    }
}

/// The running task owns the connection from now on.
#[inline(always)]
fn own(record: &mut SocketRecord) {
    let tgid = kernel::current_tgid();
    if record.tgid != tgid {
        record.tgid = tgid;
        let flag = if record.role == role::CLIENT {
            process_flag::CALLED
        } else {
            process_flag::SERVED
        };
        maps::remember_process(tgid, flag);
    }
    record.cgroup = kernel::current_cgroup();
}
