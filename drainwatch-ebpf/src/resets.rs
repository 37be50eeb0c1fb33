//! TCP resets: counted per workload, and, for ports of ending workloads, told one by one.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use drainwatch_ebpf::{LATE_HEAD, PortKey, ResetEvent, event_kind, offset, record_flag, reset_flag};

use crate::{
    emit::{self, now},
    kernel::{self, Ptr, read, read_at},
    late, maps, preemption, record, waiting,
};

const SENT: u32 = 0;
const RECEIVED: u32 = 1;

/// 6.10 and later: `(sk, skb, reason)`; `sk` may be NULL, a `TIME_WAIT` or a request socket, `skb` NULL.
#[btf_tracepoint(function = "tcp_send_reset")]
pub fn tcp_send_reset(ctx: BtfTracePointContext) -> i32 {
    preemption::off(|| reset_sent(ctx.arg(0), ctx.arg(1)));
    0
}

#[inline(always)]
fn reset_sent(sk: Ptr, skb: Ptr) {
    let mut closed_by_us = false;
    if !sk.is_null()
        && let Some(record) = maps::record(sk)
    {
        maps::count_reset(record.cgroup, SENT, record.tgid);
        closed_by_us = record.flags & record_flag::ENDED != 0;
        if !closed_by_us {
            return;
        }
    }
    if !skb.is_null() {
        answered(sk, skb, if closed_by_us { reset_flag::RECORD } else { 0 });
    }
}

/// Up to 6.9: `(sk, skb)`, and only for sockets that exist.
#[btf_tracepoint(function = "tcp_send_reset")]
pub fn tcp_send_reset_before_6_10(ctx: BtfTracePointContext) -> i32 {
    let sk: Ptr = ctx.arg(0);
    let skb: Ptr = ctx.arg(1);
    if !sk.is_null()
        && let Some(record) = maps::record(sk)
    {
        maps::count_reset(record.cgroup, SENT, record.tgid);
        if record.flags & record_flag::ENDED != 0 && !skb.is_null() {
            answered(sk, skb, reset_flag::RECORD);
        }
    }
    0
}

#[btf_tracepoint(function = "tcp_receive_reset")]
pub fn tcp_receive_reset(ctx: BtfTracePointContext) -> i32 {
    preemption::off(|| {
        if let Some(record) = maps::record(ctx.arg(0)) {
            record::set::<{ record_flag::PEER_RESET }>(record);
            maps::count_reset(record.cgroup, RECEIVED, record.tgid);
        }
    });
    0
}

/// The segment that was answered with RST: did it want a port of a workload that is ending, or a connection whose
/// process has ended?
#[inline(always)]
fn answered(sk: Ptr, skb: Ptr, flags: u32) {
    let head: Ptr = read(skb, offset::SKB_HEAD);
    let tcp = usize::from(read::<u16>(skb, offset::SKB_TRANSPORT_HEADER));
    let ip = usize::from(read::<u16>(skb, offset::SKB_NETWORK_HEADER));
    // RFC 9293 section 3.1: ports at 0 and 2, data offset and flags at 12 and 13.
    let source = u16::from_be(read_at(head, tcp));
    let destination = u16::from_be(read_at(head, tcp + 2));
    let header = 4 * u32::from(read_at::<u8>(head, tcp + 12) >> 4);
    let syn = read_at::<u8>(head, tcp + 13) & 0x02 != 0;
    // A socket of any state, TIME_WAIT included, begins with sock_common; a segment that found one has
    // lost its device by now.
    let net: Ptr = if sk.is_null() {
        let device: Ptr = read(skb, offset::SKB_DEV);
        read(device, offset::DEV_NET)
    } else {
        read(sk, offset::SOCK_NET)
    };
    let netns = read::<u64>(net, offset::NET_COOKIE) as u32;

    let port = maps::port(&PortKey {
        netns,
        port: u32::from(destination),
    });
    // Always defined: verifiers before 6.3 refuse what is read from the stack where it was never written, though unused.
    let (cgroup, tgid, leaving) = port.map_or((0, 0, false), |port| {
        let leaving = port.closed_ns != 0 || maps::drains(port.cgroup, port.tgid);
        (port.cgroup, port.tgid, leaving)
    });
    // `data` points at the TCP header here, so `len` is header and payload.
    let payload = read::<u32>(skb, offset::SKB_LEN).saturating_sub(header);
    let maybe_late = !syn && payload > 0;
    if !leaving && !maybe_late {
        return;
    }
    let version = read_at::<u8>(head, ip) >> 4;
    let mut local = [0; 16];
    let mut peer = [0; 16];
    let family = if version == 6 {
        peer = read_at(head, ip + 8);
        local = read_at(head, ip + 24);
        10
    } else {
        let from: [u8; 4] = read_at(head, ip + 12);
        let to: [u8; 4] = read_at(head, ip + 16);
        peer[..4].copy_from_slice(&from);
        local[..4].copy_from_slice(&to);
        2
    };
    // On its way from an address to itself a segment is still in the hands of whoever sends it.
    let sender = if local == peer {
        kernel::current_cgroup()
    } else {
        0
    };
    let mut event = ResetEvent {
        header: emit::header(event_kind::RESET_SENT, now()),
        cgroup: 0,
        tgid: 0,
        flags: flags | if syn { reset_flag::SYN } else { 0 },
        payload,
        netns,
        family,
        local_port: destination,
        peer_port: source,
        length: 0,
        local,
        peer,
    };
    let mut bytes: Ptr = core::ptr::null();
    if maybe_late && let Some((at, length)) = waiting::of_segment(skb, header) {
        (bytes, event.length) = (at, length.min(LATE_HEAD as u32) as u16);
    }
    if leaving {
        late::tell(&mut event, bytes, cgroup, tgid, sender);
    }
    // The process that closed this connection need not be the one that opened the port.
    if maybe_late {
        late::came(&mut event, bytes, sender);
    }
}
