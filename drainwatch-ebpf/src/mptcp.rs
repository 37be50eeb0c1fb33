//! Connections of MPTCP. Its subflows are TCP sockets that no process reads; what a process reads and writes is the
//! connection itself, whose positions are not those of a TCP socket.
//!
//! So what each call moved is added up, and compared at the end with what the kernel has counted. Where a call was not
//! seen, the two do not fit, or the kernel does not count (before 6.5), nothing of the connection is believed: it keeps
//! [`record_flag::MPTCP`], and all that is told is that it was there.

use drainwatch_ebpf::{
    ConnectionEvent, SocketRecord, event_kind, offset, record_flag, role,
    tcp_state::{CLOSE, CLOSE_WAIT, ESTABLISHED, FIN_WAIT1, LAST_ACK, LISTEN, SYN_RECV, SYN_SENT},
};

use crate::{
    emit::{self, Change, Positions, now},
    globals::has,
    kernel::{self, Ptr, load, read},
    maps, record, states,
};

/// `IPPROTO_MPTCP`.
const PROTOCOL: u16 = 262;

/// Whether this is a socket of it.
#[inline(always)]
pub fn is(sk: Ptr) -> bool {
    load::<u16>(sk, offset::SOCK_PROTOCOL) == PROTOCOL
}

/// A connection changes its state. Says whether anything was done only now.
#[inline(always)]
pub fn state_changed(sk: Ptr, old_state: u32, new_state: u32) -> bool {
    match (old_state, new_state) {
        (LISTEN | SYN_RECV, ESTABLISHED) => born(sk, role::SERVER, 0),
        (SYN_SENT, ESTABLISHED) => born(sk, role::CLIENT, 0),
        (ESTABLISHED, CLOSE_WAIT) => peer_left(sk),
        (ESTABLISHED | CLOSE_WAIT, FIN_WAIT1 | LAST_ACK | CLOSE) => ended(sk, old_state, new_state),
        _ => true,
    }
}

#[inline(always)]
fn born(sk: Ptr, role: u32, flags: u32) -> bool {
    let Some(record) = maps::record_or_create(sk) else {
        return true;
    };
    let is_new = record.born_ns == 0;
    if is_new {
        record.born_ns = now();
        record.role = role;
        record.flags = record_flag::MPTCP | flags;
        states::identify(sk, record);
    }
    is_new
}

/// The record of a connection on which a call has moved something, where it is to be added up.
#[inline(always)]
pub fn record(sk: Ptr) -> Option<&'static mut SocketRecord> {
    let record = maps::record(sk)?;
    if !is_believed(record) {
        return None;
    }
    identify_late(sk, record);
    Some(record)
}

/// The kernel counts what moves on connections, so that it can be known whether every call was seen.
#[inline(always)]
pub fn is_counted() -> bool {
    has(offset::MPTCP_RECEIVED)
}

/// Whether what was added up is all that has moved, as far as is known yet.
#[inline(always)]
fn is_believed(record: &mut SocketRecord) -> bool {
    // What the kernel does not have is nowhere: verifiers follow every way to it.
    if !is_counted() {
        return false;
    }
    let nothing_yet = record.ask.total | record.answer.total == 0;
    if nothing_yet && record.flags & record_flag::SEEDED == 0 {
        record::clear::<{ record_flag::MPTCP }>(record);
    }
    record.flags & record_flag::MPTCP == 0
}

/// A connection becomes established before it has its addresses.
#[inline(always)]
fn identify_late(sk: Ptr, record: &mut SocketRecord) {
    if record.peer_port == 0 {
        states::identify(sk, record);
    }
}

/// A call was not seen by the program that adds up.
#[inline(never)]
pub fn missed(sk: Ptr) {
    if let Some(record) = maps::record(sk) {
        record::set::<{ record_flag::MPTCP | record_flag::SEEDED }>(record);
    }
}

#[inline(always)]
fn peer_left(sk: Ptr) -> bool {
    let Some(record) = maps::record(sk) else {
        return true;
    };
    let is_new = record.flags & record_flag::PEER_FIN == 0;
    if is_new && record.flags & record_flag::MPTCP == 0 {
        record::set::<{ record_flag::PEER_FIN }>(record);
        record.peer_fin_write_seq = totals(record).1 as u32;
    }
    is_new
}

/// What was read, and what was written.
#[inline(always)]
fn totals(record: &SocketRecord) -> (u64, u64) {
    if record.role == role::CLIENT {
        (record.answer.total, record.ask.total)
    } else {
        (record.ask.total, record.answer.total)
    }
}

/// Behind its peer's end nothing is outstanding in all likelihood on one that was not recorded, unless the process dies of
/// it.
#[inline(always)]
fn ended(sk: Ptr, old_state: u32, new_state: u32) -> bool {
    let current = kernel::current_tgid();
    let (tgid, cgroup, recorded) = match maps::record(sk) {
        Some(record) if record.tgid != 0 => (record.tgid, record.cgroup, is_believed(record)),
        _ => (current, kernel::current_cgroup(), false),
    };
    let exits = tgid == current && kernel::current_exiting();
    let drains = || maps::drains(cgroup, tgid) || states::parent_drains(tgid, current);
    if !(exits || (recorded || old_state == ESTABLISHED) && drains()) {
        return true;
    }
    // One that is older than the agent; a listener's port is still known when it was closed just before.
    let role = if maps::port(&states::port_key(sk)).is_some() {
        role::SERVER
    } else {
        role::CLIENT
    };
    born(sk, role, record_flag::SEEDED);
    let Some(record) = maps::record(sk) else {
        return true;
    };
    if record.flags & record_flag::ENDED != 0 {
        return false;
    }
    record::set::<{ record_flag::ENDED }>(record);
    let change = Change {
        kind: event_kind::CONNECTION_ENDED,
        old_state,
        new_state,
    };
    tell(sk, record, &change);
    true
}

/// Tells the record as far as it is believed.
#[inline(never)]
pub fn tell(sk: Ptr, record: &mut SocketRecord, change: &Change) {
    identify_late(sk, record);
    let (read_bytes, written) = totals(record);
    let counted = |member| read::<u64>(sk, member);
    if is_believed(record) {
        let (received, sent) = (counted(offset::MPTCP_RECEIVED), counted(offset::MPTCP_SENT));
        if received >= read_bytes && sent <= written {
            let positions = Positions {
                unread: (received - read_bytes) as u32,
                unsent: (written - sent) as u32,
                unacked: written.wrapping_sub(counted(offset::MPTCP_ACKED)) as u32,
                write_seq: written as u32,
            };
            emit::at::<{ size_of::<ConnectionEvent>() }>(sk, &positions, record, change);
            return;
        }
        record::set::<{ record_flag::MPTCP }>(record);
    }
    emit::at::<{ ConnectionEvent::BARE }>(sk, &Positions::NONE, record, change);
}
