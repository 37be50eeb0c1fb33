//! Data that reached a connection which a living process had closed, in case that process turns out to be ending.
//!
//! A server that is told to end by a way that no hook sees (a pipe, SIGUSR1, an HTTP request) closes its idle
//! connections and exits, and a request that was on its way to one of them is answered with RST, before or after that
//! exit. Nothing is told while servers merely serve: what came too late is kept here until the process's exit tells
//! which connections it had closed, and those are kept until something comes too late.
//!
//! A server that lingers (Apache, lighttpd, nginx) closes its sending side first, and reads and throws away what still
//! comes: what begins a request there has come too late as well.

use aya_ebpf::{
    btf_maps::{LruHashMap, PerCpuArray},
    helpers::generated::bpf_probe_read_kernel,
    macros::btf_map,
};
use drainwatch_ebpf::{
    ConnectionEvent, LATE_HEAD, PortKey, ResetEvent, SocketRecord, counter, event_kind, other_end,
    record_flag, reset_flag, role,
};

use crate::{
    both_ends,
    cuts::RECENT_NS,
    emit::{self, now},
    kernel::Ptr,
    maps,
};

/// A connection of the server, as both a segment and a record name it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Pair {
    peer: [u8; 16],
    netns: u32,
    local_port: u16,
    peer_port: u16,
}

impl Pair {
    #[inline(always)]
    fn of(event: &ResetEvent) -> Self {
        Self {
            peer: event.peer,
            netns: event.netns,
            local_port: event.local_port,
            peer_port: event.peer_port,
        }
    }
}

/// What came too late (without an owner, with the cgroup that sent it), or a connection of an ended process (without
/// payload).
#[repr(C)]
#[derive(Clone, Copy)]
struct Kept {
    event: ResetEvent,
    bytes: [u8; LATE_HEAD],
}

/// Older ones are worthless by the time that they are pushed out.
#[btf_map]
static LATE: LruHashMap<Pair, Kept, 2048> = LruHashMap::new();

/// An empty one: what a place begins as.
#[btf_map]
static NOTHING_LATE: PerCpuArray<Kept, 1> = PerCpuArray::new();

/// Tells of data that one in `sender` (a cgroup, or 0) sent to this process; its first bytes stand at `bytes`.
#[inline(always)]
pub fn tell(event: &mut ResetEvent, bytes: Ptr, cgroup: u64, tgid: u32, sender: u64) {
    (event.cgroup, event.tgid) = (cgroup, tgid);
    event.flags &= !reset_flag::SAME_CGROUP;
    if sender == cgroup {
        event.flags |= reset_flag::SAME_CGROUP;
    }
    if emit::has_room() {
        emit::late(event, bytes);
    }
}

/// Data has met a closed connection. Tells it where the process that closed it has ended since, and keeps it otherwise.
#[inline(never)]
pub fn came(event: &mut ResetEvent, bytes: Ptr, sender: u64) {
    let pair = Pair::of(event);
    if let Some(kept) = LATE.get_ptr(&pair) {
        // SAFETY: a value of the map lives until the program ends.
        let kept = unsafe { &(*kept).event };
        if event.header.at_ns.wrapping_sub(kept.header.at_ns) < RECENT_NS {
            let (cgroup, tgid) = (kept.cgroup, kept.tgid);
            if tgid != 0 {
                let _ = LATE.remove(&pair);
                tell(event, bytes, cgroup, tgid, sender);
            }
            return;
        }
    }
    (event.cgroup, event.tgid) = (sender, 0);
    keep(&pair, event, bytes);
}

/// A process has read a request behind its own FIN: whatever it does with it, it cannot answer.
#[inline(never)]
pub fn was_read(record: &SocketRecord, payload: u32) {
    // Of TLS other things stand there.
    let readable = record.flags & record_flag::TLS == 0;
    let length = if readable { record.ask.head_len } else { 0 };
    let mut event = of_record(record, record.cgroup, record.tgid);
    (event.payload, event.length) = (payload, length.min(LATE_HEAD as u32) as u16);
    let bytes = record.ask_head.as_ptr();
    let sender = if both_ends::other_end(record) == other_end::ELSEWHERE {
        0
    } else {
        record.cgroup
    };
    if maps::drains(record.cgroup, record.tgid) {
        tell(&mut event, bytes, record.cgroup, record.tgid, sender);
    }
    came(&mut event, bytes, sender);
}

/// A process that is ending, or leaving, has closed this connection: keeps who is to be told of what comes, where the
/// port does not say that. It may be that of a master, or of whoever hands over sockets, which go on.
#[inline(never)]
pub fn closed(record: &SocketRecord, cgroup: u64, tgid: u32) {
    let port = maps::port(&PortKey {
        netns: record.netns,
        port: u32::from(record.local_port),
    });
    let says = port.is_some_and(|port| {
        port.tgid == tgid && (port.closed_ns != 0 || maps::drains(port.cgroup, port.tgid))
    });
    if !says && record.role == role::SERVER && record.flags & record_flag::PEER_FIN == 0 {
        let event = of_record(record, cgroup, tgid);
        keep(&Pair::of(&event), &event, core::ptr::null());
    }
}

/// The process that closed this connection has ended: tells what has come on it since, and keeps who is to be told of
/// what comes.
#[inline(never)]
pub fn owner_ended(closed: &ConnectionEvent) {
    let record = &closed.record;
    // From one on which nothing was said nobody has read.
    let (cgroup, tgid) = if record.tgid == 0 {
        (closed.current.cgroup, closed.current.tgid)
    } else {
        (record.cgroup, record.tgid)
    };
    let mut event = of_record(record, cgroup, tgid);
    let pair = Pair::of(&event);
    if let Some(kept) = LATE.get_ptr(&pair) {
        // SAFETY: a value of the map lives until the program ends.
        let (kept, bytes) = unsafe { (&(*kept).event, (*kept).bytes.as_ptr()) };
        if kept.tgid == 0 && event.header.at_ns.wrapping_sub(kept.header.at_ns) < RECENT_NS {
            event.header.at_ns = kept.header.at_ns;
            (event.flags, event.payload, event.length) = (kept.flags, kept.payload, kept.length);
            let sender = kept.cgroup;
            tell(&mut event, bytes, cgroup, tgid, sender);
            let _ = LATE.remove(&pair);
            return;
        }
    }
    keep(&pair, &event, core::ptr::null());
}

/// Of a connection of this process, from now.
#[inline(always)]
fn of_record(record: &SocketRecord, cgroup: u64, tgid: u32) -> ResetEvent {
    ResetEvent {
        header: emit::header(event_kind::RESET_SENT, now()),
        cgroup,
        tgid,
        flags: 0,
        payload: 0,
        netns: record.netns,
        family: record.family,
        local_port: record.local_port,
        peer_port: record.peer_port,
        length: 0,
        local: record.local,
        peer: record.peer,
    }
}

#[inline(always)]
fn keep(pair: &Pair, event: &ResetEvent, bytes: Ptr) {
    let Some(none) = NOTHING_LATE.get_ptr(0) else {
        return;
    };
    // SAFETY: this CPU's own, which nobody writes.
    if LATE.insert(pair, unsafe { &*none }, 0).is_err() {
        maps::count(counter::LOST_MAP_FULL);
        return;
    }
    let Some(kept) = LATE.get_ptr_mut(pair) else {
        return;
    };
    // SAFETY: a value of the map lives until the program ends, and has so much room.
    unsafe {
        (*kept).event = *event;
        let length = u32::from(event.length).min(LATE_HEAD as u32);
        if length > 0 && bpf_probe_read_kernel((&raw mut (*kept).bytes).cast(), length, bytes.cast()) != 0 {
            (*kept).event.length = 0;
        }
    }
}
