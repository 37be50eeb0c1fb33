//! Data that reached a connection which a living process had closed, in case that process turns out to be ending.
//!
//! A server that is told to end by a way that no hook sees (a pipe, SIGUSR1, an HTTP request) closes its idle
//! connections and exits, and a request that was on its way to one of them is answered with RST, before or after that
//! exit. Nothing is told while servers merely serve: what came too late is kept here until the process's exit tells
//! which connections it had closed, and those are kept until something comes too late.

use aya_ebpf::{btf_maps::LruHashMap, macros::btf_map};
use drainwatch_ebpf::{ConnectionEvent, ResetEvent, counter, event_kind, reset_flag};

use crate::{
    cuts::RECENT_NS,
    emit::{self, now},
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

/// What came too late (without an owner, with the cgroup that sent it), and the connections of ended processes (without payload). Older ones are
/// worthless by the time that they are pushed out.
#[btf_map]
static LATE: LruHashMap<Pair, ResetEvent, 2048> = LruHashMap::new();

/// Tells of a segment that one in `sender` (a cgroup, or 0) sent to this process.
#[inline(always)]
pub fn tell(event: &mut ResetEvent, cgroup: u64, tgid: u32, sender: u64) {
    (event.cgroup, event.tgid) = (cgroup, tgid);
    event.flags &= !reset_flag::SAME_CGROUP;
    if sender == cgroup {
        event.flags |= reset_flag::SAME_CGROUP;
    }
    if emit::has_room() {
        emit::again(event);
    }
}

/// Data has met a closed connection. Tells it where the process that closed it has ended since, and keeps it otherwise.
#[inline(never)]
pub fn came(event: &mut ResetEvent, sender: u64) {
    let pair = Pair {
        peer: event.peer,
        netns: event.netns,
        local_port: event.local_port,
        peer_port: event.peer_port,
    };
    if let Some(kept) = LATE.get_ptr(&pair) {
        // SAFETY: a value of the map lives until the program ends.
        let kept = unsafe { &*kept };
        if event.header.at_ns.wrapping_sub(kept.header.at_ns) < RECENT_NS {
            let (cgroup, tgid) = (kept.cgroup, kept.tgid);
            if tgid != 0 {
                let _ = LATE.remove(&pair);
                tell(event, cgroup, tgid, sender);
            }
            return;
        }
    }
    (event.cgroup, event.tgid) = (sender, 0);
    keep(&pair, event);
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
    let pair = Pair {
        peer: record.peer,
        netns: record.netns,
        local_port: record.local_port,
        peer_port: record.peer_port,
    };
    let mut event = ResetEvent {
        header: emit::header(event_kind::RESET_SENT, now()),
        cgroup,
        tgid,
        flags: 0,
        payload: 0,
        netns: record.netns,
        family: record.family,
        local_port: record.local_port,
        peer_port: record.peer_port,
        reserved: 0,
        local: record.local,
        peer: record.peer,
    };
    if let Some(kept) = LATE.get_ptr(&pair) {
        // SAFETY: a value of the map lives until the program ends.
        let kept = unsafe { &*kept };
        if kept.tgid == 0 && event.header.at_ns.wrapping_sub(kept.header.at_ns) < RECENT_NS {
            event.header.at_ns = kept.header.at_ns;
            (event.flags, event.payload) = (kept.flags, kept.payload);
            let sender = kept.cgroup;
            let _ = LATE.remove(&pair);
            tell(&mut event, cgroup, tgid, sender);
            return;
        }
    }
    keep(&pair, &event);
}

#[inline(always)]
fn keep(pair: &Pair, event: &ResetEvent) {
    if LATE.insert(pair, event, 0).is_err() {
        maps::count(counter::LOST_MAP_FULL);
    }
}
