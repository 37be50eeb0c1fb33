//! The hot path: what a task reads from and writes to a TCP socket.
//!
//! `sock_recv_length` and `sock_send_length` (6.3 and later) fire once per call with what it
//! returned; older kernels have the same at the exits of `tcp_recvmsg` and `tcp_sendmsg`.

use aya_ebpf::{
    macros::{btf_tracepoint, fexit},
    programs::{BtfTracePointContext, FExitContext},
};
use drainwatch_ebpf::{SocketRecord, activity, event_kind, offset, process_flag, record_flag, role};

use crate::{
    emit::{self, Change, now},
    frames,
    kernel::{self, Ptr, load},
    late, long_head, maps, mptcp,
    payload::{self, Moved},
    record,
    stand_ins::{self, Event, Hook},
    states,
};

/// `MSG_PEEK`.
const MSG_PEEK: u32 = 2;
/// `MSG_TRUNC`: what is read from a stream is thrown away, and the buffer left as it is (tcp(7)).
const MSG_TRUNC: u32 = 0x20;
/// Stands for the position of a call that moved nothing of a TCP connection: no position is as large.
const NOTHING_MOVED: u64 = u64::MAX;
/// How far the position that a program found may lie behind the one that another program has noted meanwhile. (What no hook
/// sees may be gigabytes.)
const BEHIND: u32 = 1 << 24;

#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length(ctx: BtfTracePointContext) -> i32 {
    let call = received(&ctx);
    stand_ins::first(Hook::Read, call.event(), || call.record());
    0
}

#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length_2(ctx: BtfTracePointContext) -> i32 {
    let call = received(&ctx);
    stand_ins::stand_in(Hook::Read, call.event(), || call.record_if_new());
    0
}

#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length_3(ctx: BtfTracePointContext) -> i32 {
    let call = received(&ctx);
    stand_ins::last_stand_in(Hook::Read, call.event(), || call.record_if_new());
    0
}

#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    let call = sent(&ctx);
    stand_ins::first(Hook::Write, call.event(), || call.record());
    0
}

#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length_2(ctx: BtfTracePointContext) -> i32 {
    let call = sent(&ctx);
    stand_ins::stand_in(Hook::Write, call.event(), || call.record_if_new());
    0
}

#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length_3(ctx: BtfTracePointContext) -> i32 {
    let call = sent(&ctx);
    stand_ins::last_stand_in(Hook::Write, call.event(), || call.record_if_new());
    0
}

#[inline(always)]
fn received(ctx: &BtfTracePointContext) -> Call<true> {
    Call::received(ctx.arg(0), ctx.arg(1), ctx.arg(2))
}

#[inline(always)]
fn sent(ctx: &BtfTracePointContext) -> Call<true> {
    Call::sent(ctx.arg(0), ctx.arg(1))
}

/// 5.19 and later: `tcp_recvmsg(sk, msg, len, flags, addr_len)`, then what it returned.
#[fexit(function = "tcp_recvmsg")]
pub fn tcp_recvmsg(ctx: FExitContext) -> i32 {
    Call::<false>::received(ctx.arg(0), ctx.arg(5), ctx.arg(3)).record();
    0
}

/// Up to 5.18: `tcp_recvmsg(sk, msg, len, nonblock, flags, addr_len)`, then what it returned.
#[fexit(function = "tcp_recvmsg")]
pub fn tcp_recvmsg_before_5_19(ctx: FExitContext) -> i32 {
    Call::<false>::received(ctx.arg(0), ctx.arg(6), ctx.arg(4)).record();
    0
}

#[fexit(function = "tcp_sendmsg")]
pub fn tcp_sendmsg(ctx: FExitContext) -> i32 {
    // tcp_sendmsg(sk, msg, size)
    Call::<false>::sent(ctx.arg(0), ctx.arg(3)).record();
    0
}

/// A call that read from or wrote to a socket.
/// `ANY`: its hook sees sockets of any protocol.
#[derive(Clone, Copy)]
struct Call<const ANY: bool> {
    sk: Ptr,
    /// The same as a TCP socket; NULL where the call moved nothing, or the socket is of another protocol.
    tcp: Ptr,
    /// How many bytes it moved.
    returned: u64,
    sending: bool,
    /// It has thrown away what it read: no buffer has it.
    discards: bool,
}

impl<const ANY: bool> Call<ANY> {
    #[inline(always)]
    fn received(sk: Ptr, returned: i32, flags: u32) -> Self {
        Self {
            discards: flags & MSG_TRUNC != 0,
            ..Self::of(sk, if flags & MSG_PEEK == 0 { returned } else { 0 }, false)
        }
    }

    #[inline(always)]
    fn sent(sk: Ptr, returned: i32) -> Self {
        Self::of(sk, returned, true)
    }

    #[inline(always)]
    fn of(sk: Ptr, returned: i32, sending: bool) -> Self {
        Self {
            sk,
            tcp: if returned > 0 {
                kernel::tcp_sock(sk).unwrap_or(core::ptr::null())
            } else {
                core::ptr::null()
            },
            returned: returned as u64,
            sending,
            discards: false,
        }
    }

    /// Where it moved anything, it was on a connection of MPTCP.
    #[inline(always)]
    fn is_multipath(self) -> bool {
        ANY && self.tcp.is_null()
    }

    /// It has moved something on a connection of MPTCP.
    #[inline(always)]
    fn moved_on_mptcp(self) -> bool {
        self.is_multipath() && self.returned as i32 > 0 && mptcp::is(self.sk)
    }

    /// The kernel's position after the call.
    #[inline(always)]
    fn position(self) -> u32 {
        let member = if self.sending {
            offset::TCP_WRITE_SEQ
        } else {
            offset::TCP_COPIED_SEQ
        };
        load(self.tcp, member)
    }

    /// How far it has come tells the call from others, where it has moved anything.
    #[inline(always)]
    fn event(self) -> Event {
        Event {
            sk: self.sk as u64,
            what: if self.tcp.is_null() {
                NOTHING_MOVED
            } else {
                u64::from(self.position())
            },
        }
    }

    #[inline(always)]
    fn record(self) -> bool {
        let record = if !self.tcp.is_null() {
            self.its_record()
        } else if self.moved_on_mptcp() {
            mptcp::record(self.sk)
        } else {
            return true;
        };
        match record {
            Some(record) => self.record_in(record),
            // What is not added up is told as such at its end.
            None if self.is_multipath() => {}
            None => without_record(),
        }
        true
    }

    #[inline(always)]
    fn its_record(self) -> Option<&'static mut SocketRecord> {
        maps::record(self.sk).or_else(|| states::found(self.sk, self.tcp, self.sending, self.returned as u32))
    }

    /// Records it unless its connection has come as far already.
    #[inline(always)]
    fn record_if_new(self) -> bool {
        if self.tcp.is_null() {
            // How far it had come tells nobody whether this call was added up.
            if self.moved_on_mptcp() {
                mptcp::missed(self.sk);
            }
            return true;
        }
        let Some(record) = self.its_record() else {
            return true;
        };
        let asks = self.sending == (record.role == role::CLIENT);
        let flow = if asks { &record.ask } else { &record.answer };
        let is_new = flow.seq != self.position();
        if is_new {
            self.record_in(record);
        }
        is_new
    }

    #[inline(always)]
    fn record_in(self, record: &mut SocketRecord) {
        let now = now();
        socket_owned(record);
        let asks = self.sending == (record.role == role::CLIENT);
        let caught_up = if asks { 0 } else { record.caught_up };
        let flow = if asks { &mut record.ask } else { &mut record.answer };
        let position = if self.is_multipath() {
            flow.seq.wrapping_add(self.returned as u32)
        } else {
            self.position()
        };
        let before = flow.seq;
        let ahead = position.wrapping_sub(before);
        let progress = if ahead > BEHIND.wrapping_neg() {
            0
        } else {
            flow.seq = position;
            u64::from(ahead)
        };
        // More than this call moved: a call that no hook saw (`splice`, `sendfile` before 6.5; a skipped run).
        let gap = progress.saturating_sub(self.returned);
        // A FIN that was read with the data counts one; behind our own it is not noted.
        let fin = !self.sending && record.flags & (record_flag::PEER_FIN | record_flag::ENDED) != 0;
        let gap = if fin && gap == 1 { 0 } else { gap };
        let framed = frames::Moved {
            asks,
            sending: self.sending,
            gap,
            bytes: self.returned,
            overtaken: progress < self.returned,
            now,
        };
        if record.flags & record_flag::HTTP2 != 0 {
            // One of MPTCP has none: for the verifier, which does not know.
            if !self.is_multipath() {
                frames::moved(self.sk, self.tcp, record, &framed);
            }
            return;
        }
        // (Where what is written goes elsewhere, by a map of sockets, the kernel's position stands still.)
        if progress < self.returned && before == caught_up && caught_up != 0 {
            record::record_overtaken(record, progress, now);
            return;
        }
        let mut moved = Moved::new(self.returned, gap, now);
        if !self.discards {
            payload::find(&mut moved, self.sending);
        }
        if asks {
            // What is said before the first request is no answer: it may be on its way through another program.
            if !self.is_multipath() && record.turns > 0 {
                catch_up_answers(record, self.tcp, self.sending, now);
            }
            let ended = record.flags & record_flag::ENDED != 0;
            // Who throws away what it could still answer, throws away the rest of something.
            let begins_turn = if self.discards && !ended {
                0
            } else {
                record::record_begins_turn(record, &raw const moved)
            };
            // Its own FIN has left.
            let late = begins_turn != 0 && ended && !self.is_multipath();
            if begins_turn != 0 && record.turns > 0 && !late && maps::drains(record.cgroup, record.tgid) {
                let state = states::state(self.sk);
                let change = Change {
                    kind: event_kind::TURN_ENDED,
                    old_state: state,
                    new_state: state,
                };
                if self.is_multipath() {
                    mptcp::tell(self.sk, record, &change);
                } else {
                    emit::connection(self.sk, self.tcp, record, &change);
                }
            }
            if record::record_asked(record, &raw const moved, begins_turn) != 0 {
                if self.is_multipath() {
                    // Frames are walked by the positions of a TCP socket.
                    record::set::<{ record_flag::MPTCP }>(record);
                } else {
                    frames::first(self.sk, record, &framed);
                }
            }
            if late {
                late::was_read(record, self.returned as u32);
            }
        } else if record::record_answered(record, &raw const moved) != 0
            && let Some(long) = maps::long_head_or_create(self.sk)
        {
            long_head::long_head_append(long, record, &raw const moved);
        }
    }
}

/// The running task has a connection for which there was no room, or that nobody saw begin.
#[inline(always)]
fn without_record() {
    let tgid = kernel::current_tgid();
    if u64::from(tgid) != maps::holding(activity::AGENT_TGID) {
        maps::remember_process(tgid, process_flag::UNRECORDED);
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
    // Not where the direction of responses has just gone on.
    if unseen != 0 && unseen <= BEHIND.wrapping_neg() {
        record.answer.seq = sequence;
        record.caught_up = sequence;
        record.answer.total += u64::from(unseen);
        record.answer.last_ns = now;
        record::clear::<{ record_flag::TAIL_VALID }>(record);
        record.tail_len = 0;
    }
}

/// The running task owns the connection from now on.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn socket_owned(record: *mut SocketRecord) -> u32 {
    // SAFETY: NULL, or the caller's.
    let Some(record) = (unsafe { record.as_mut() }) else {
        return 0;
    };
    let tgid = kernel::current_tgid();
    if record.tgid != tgid {
        let is_first = record.tgid == 0;
        record.tgid = tgid;
        if record.role == role::CLIENT {
            maps::remember_process(tgid, process_flag::CALLED);
        } else if is_first {
            maps::remember_server(tgid);
        } else {
            // Processes that serve a connection in turns (sshd's) serve no more than that one.
            maps::remember_process(tgid, process_flag::SERVED);
        }
    }
    record.cgroup = kernel::current_cgroup();
    0
}
