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

/// What is kept of a connection: each of its own, for the one may come while the other is being kept, on another CPU.
#[derive(Clone, Copy)]
enum Of {
    /// What came too late.
    Data = 0,
    /// Who is to be told of it.
    Owner = 1,
}

/// A connection of the server, as both a segment and a record name it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Pair {
    peer: [u8; 16],
    netns: u32,
    local_port: u16,
    peer_port: u16,
    /// One of [`Of`].
    of: u32,
}

impl Pair {
    #[inline(always)]
    fn new(event: &ResetEvent, of: Of) -> Self {
        Self {
            peer: event.peer,
            netns: event.netns,
            local_port: event.local_port,
            peer_port: event.peer_port,
            of: of as u32,
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
    let (data, owner) = (Pair::new(event, Of::Data), Pair::new(event, Of::Owner));
    if let Some((cgroup, tgid)) = owner_of(&owner, event.header.at_ns) {
        if LATE.remove(&owner).is_ok() {
            tell(event, bytes, cgroup, tgid, sender);
        }
        return;
    }
    if kept(&data, event.header.at_ns).is_some() {
        return;
    }
    (event.cgroup, event.tgid) = (sender, 0);
    keep(&data, event, bytes);
    // The owner may have ended meanwhile, and looked for data before there were any. Whoever takes them tells them.
    if let Some((cgroup, tgid)) = owner_of(&owner, event.header.at_ns)
        && LATE.remove(&data).is_ok()
    {
        let _ = LATE.remove(&owner);
        tell(event, bytes, cgroup, tgid, sender);
    }
}

/// What is kept there, unless it is old.
#[inline(always)]
fn kept(pair: &Pair, now: u64) -> Option<&'static Kept> {
    // SAFETY: a value of the map lives until the program ends.
    let kept = LATE.get_ptr(pair).map(|kept| unsafe { &*kept })?;
    // SAFETY: written last, by another CPU perhaps.
    let at_ns = unsafe { (&raw const kept.event.header.at_ns).read_volatile() };
    // It may have been kept a moment after the time that this is at.
    (now.wrapping_add(RECENT_NS).wrapping_sub(at_ns) < 2 * RECENT_NS).then_some(kept)
}

/// Who is to be told of what comes on this connection: cgroup and process.
#[inline(always)]
fn owner_of(pair: &Pair, now: u64) -> Option<(u64, u32)> {
    kept(pair, now).map(|kept| (kept.event.cgroup, kept.event.tgid))
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
        keep(&Pair::new(&event, Of::Owner), &event, core::ptr::null());
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
    let (data, owner) = (Pair::new(&event, Of::Data), Pair::new(&event, Of::Owner));
    // First, for what comes in this moment, on another CPU, looks for it.
    keep(&owner, &event, core::ptr::null());
    if let Some(kept) = kept(&data, event.header.at_ns)
        && LATE.remove(&data).is_ok()
    {
        let _ = LATE.remove(&owner);
        let (came, bytes) = (&kept.event, kept.bytes.as_ptr());
        event.header.at_ns = came.header.at_ns;
        (event.flags, event.payload, event.length) = (came.flags, came.payload, came.length);
        let sender = came.cgroup;
        tell(&mut event, bytes, cgroup, tgid, sender);
    }
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
    // SAFETY: a value of the map lives until the program ends, and has so much room. Its time comes last: until then there is
    // nothing for others.
    unsafe {
        let behind = size_of_val(&event.header.at_ns);
        core::ptr::copy_nonoverlapping(
            core::ptr::from_ref(event).cast::<u8>().add(behind).cast::<u64>(),
            (&raw mut (*kept).event).cast::<u8>().add(behind).cast::<u64>(),
            (size_of::<ResetEvent>() - behind) / size_of::<u64>(),
        );
        let length = u32::from(event.length).min(LATE_HEAD as u32);
        if length > 0 && bpf_probe_read_kernel((&raw mut (*kept).bytes).cast(), length, bytes.cast()) != 0 {
            (*kept).event.length = 0;
        }
        (&raw mut (*kept).event.header.at_ns).write_volatile(event.header.at_ns);
    }
}
