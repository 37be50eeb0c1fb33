//! Putting events into the ring, and counting those that do not fit.

use aya_ebpf::{
    helpers::generated::{bpf_ktime_get_ns, bpf_probe_read_kernel, bpf_ringbuf_output},
    maps::ring_buf::RingBufEntry,
};
use drainwatch_ebpf::{
    ConnectionEvent, EventHeader, LONG_HEAD_CHUNK, LongHead, SocketRecord, counter, event_kind,
    http2::{Http2, Http2Log},
    offset, record_flag,
};

use crate::{
    both_ends,
    cuts::HeadRest,
    kernel::{self, Ptr, load, read},
    maps::{self, EVENTS, count},
    states,
};

/// The time that events and records carry.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no argument.
    unsafe { bpf_ktime_get_ns() }
}

/// Header of an event.
#[inline(always)]
pub fn header(kind: u32, at_ns: u64) -> EventHeader {
    EventHeader {
        at_ns,
        kind,
        reserved: 0,
    }
}

/// Room in the ring for one event; a full ring is counted.
#[inline(always)]
pub fn reserve<T: 'static>() -> Option<RingBufEntry<T>> {
    let entry = EVENTS.reserve_untyped::<T>(0);
    if entry.is_none() {
        count(counter::LOST_RING_FULL);
    }
    entry
}

/// Hands an event over, and counts it: here, because verifiers before 6.2 must not see the reservation
/// tested twice, as it would be if both its outcomes were counted in one place.
#[inline(always)]
pub fn submit<T>(entry: RingBufEntry<T>) {
    entry.submit(0);
    count(counter::EVENTS);
}

/// A state change, as an event tells it.
#[derive(Clone, Copy)]
pub struct Change {
    /// One of [`drainwatch_ebpf::event_kind`].
    pub kind: u32,
    /// TCP state before.
    pub old_state: u32,
    /// TCP state after.
    pub new_state: u32,
}

/// Sends a connection's record: with its heads when bytes ever moved, else without; with its streams when it
/// speaks HTTP/2.
#[inline(never)]
pub fn connection(sk: Ptr, tcp: Ptr, record: &SocketRecord, change: &Change) {
    if record.ask.total | record.answer.total == 0 {
        send::<{ ConnectionEvent::SHORT }>(sk, tcp, record, change);
        return;
    }
    if record.flags & record_flag::HTTP2 != 0
        && let Some(http2) = maps::http2(sk)
    {
        with_streams(sk, tcp, record, http2, change);
        return;
    }
    if record.flags & record_flag::LONG_HEAD != 0
        && let Some(long) = maps::long_head(sk)
    {
        with_long_head(sk, tcp, record, long, change);
        return;
    }
    // Of TLS more stands there than its length says.
    let short = record.flags & record_flag::TLS == 0;
    let (ask, answer) = (record.ask.head_len, record.answer.head_len);
    if short && answer == 0 && ask <= 128 {
        send_heads::<{ ConnectionEvent::SHORT + 128 }, 128, 0>(sk, tcp, record, change);
    } else if short && answer == 0 && ask <= 512 {
        send_heads::<{ ConnectionEvent::SHORT + 512 }, 512, 0>(sk, tcp, record, change);
    } else if short && answer <= 256 && ask <= 256 {
        send_heads::<{ ConnectionEvent::SHORT + 512 }, 256, 256>(sk, tcp, record, change);
    } else {
        send::<{ size_of::<ConnectionEvent>() }>(sk, tcp, record, change);
    }
}

/// Sends a connection with so many bytes of its heads.
#[inline(always)]
fn send_heads<const SIZE: usize, const ASK: usize, const ANSWER: usize>(
    sk: Ptr,
    tcp: Ptr,
    record: &SocketRecord,
    change: &Change,
) {
    const SHORT: usize = ConnectionEvent::SHORT;
    let Some(mut entry) = EVENTS.reserve_bytes(SIZE, 0) else {
        count(counter::LOST_RING_FULL);
        return;
    };
    let event = entry.as_mut_ptr().cast::<ConnectionEvent>();
    fill::<SHORT>(event, sk, tcp, record, change);
    // SAFETY: behind the short event there is room for both; the record is no shorter.
    unsafe {
        (*event).heads = ConnectionEvent::heads(ASK, ANSWER);
        let behind = event.cast::<u8>().add(SHORT);
        bpf_probe_read_kernel(behind.cast(), ASK as u32, record.ask_head.as_ptr().cast());
        if ANSWER > 0 {
            bpf_probe_read_kernel(
                behind.add(ASK).cast(),
                ANSWER as u32,
                record.answer_head.as_ptr().cast(),
            );
        }
    }
    entry.submit(0);
    count(counter::EVENTS);
}

/// Sends a connection of which nothing was recorded.
#[inline(always)]
pub fn bare(sk: Ptr, record: &SocketRecord, change: &Change) {
    let Some(mut entry) = EVENTS.reserve_bytes(ConnectionEvent::SHORT, 0) else {
        count(counter::LOST_RING_FULL);
        return;
    };
    let nothing = Positions {
        unread: 0,
        unsent: 0,
        unacked: 0,
        write_seq: 0,
    };
    fill_with::<{ ConnectionEvent::SHORT }>(entry.as_mut_ptr().cast(), sk, &nothing, record, change);
    entry.submit(0);
    count(counter::EVENTS);
}

#[inline(always)]
fn with_long_head(sk: Ptr, tcp: Ptr, record: &SocketRecord, long: *const LongHead, change: &Change) {
    const WHOLE: usize = size_of::<ConnectionEvent>();
    const ALL: usize = size_of::<LongHead>();
    let behind = [long.cast(), core::ptr::null()];
    // SAFETY: a value of a map.
    if unsafe { (*long).length } > LONG_HEAD_CHUNK as u32 {
        send_with::<{ WHOLE + ALL }, ALL, 0>(sk, tcp, record, behind, change);
    } else {
        const SHORT: usize = LongHead::SHORT;
        send_with::<{ WHOLE + SHORT }, SHORT, 0>(sk, tcp, record, behind, change);
    }
}

/// Sends the streams of a connection that goes on.
#[inline(never)]
pub fn streams(sk: Ptr, tcp: Ptr, record: &SocketRecord, http2: *mut Http2) {
    let state = states::state(sk);
    let change = Change {
        kind: event_kind::TURN_ENDED,
        old_state: state,
        new_state: state,
    };
    with_streams(sk, tcp, record, http2, &change);
}

#[inline(always)]
fn with_streams(sk: Ptr, tcp: Ptr, record: &SocketRecord, http2: *mut Http2, change: &Change) {
    const WHOLE: usize = size_of::<ConnectionEvent>();
    const STREAMS: usize = size_of::<Http2>();
    // SAFETY: a value of a map.
    let (lost, opened) = unsafe { ((*http2).lost, (*http2).opened) };
    if lost == 0
        && opened != 0
        && let Some(log) = maps::http2_log(sk)
    {
        let behind = [http2.cast_const().cast(), log.cast_const().cast()];
        send_with::<{ WHOLE + STREAMS + Http2Log::TOLD }, STREAMS, { Http2Log::TOLD }>(
            sk, tcp, record, behind, change,
        );
    } else {
        let behind = [http2.cast_const().cast(), core::ptr::null()];
        send_with::<{ WHOLE + Http2::IDLE }, { Http2::IDLE }, 0>(sk, tcp, record, behind, change);
    }
}

/// Sends an event and what stands behind it: `FIRST` and `SECOND` bytes of the values of maps, `SIZE` in all.
#[inline(always)]
fn send_with<const SIZE: usize, const FIRST: usize, const SECOND: usize>(
    sk: Ptr,
    tcp: Ptr,
    record: &SocketRecord,
    [first, second]: [Ptr; 2],
    change: &Change,
) {
    let Some(mut entry) = EVENTS.reserve_bytes(SIZE, 0) else {
        count(counter::LOST_RING_FULL);
        return;
    };
    let event = entry.as_mut_ptr().cast::<ConnectionEvent>();
    fill::<{ size_of::<ConnectionEvent>() }>(event, sk, tcp, record, change);
    // SAFETY: behind the event there is room for as much; the values of the maps are no shorter.
    unsafe {
        let behind = event.add(1).cast::<u8>();
        bpf_probe_read_kernel(behind.cast(), FIRST as u32, first.cast());
        if SECOND > 0 {
            bpf_probe_read_kernel(behind.add(FIRST).cast(), SECOND as u32, second.cast());
        }
    }
    entry.submit(0);
    count(counter::EVENTS);
}

#[inline(always)]
fn send<const SIZE: usize>(sk: Ptr, tcp: Ptr, record: &SocketRecord, change: &Change) {
    let Some(mut entry) = EVENTS.reserve_bytes(SIZE, 0) else {
        count(counter::LOST_RING_FULL);
        return;
    };
    fill::<SIZE>(entry.as_mut_ptr().cast(), sk, tcp, record, change);
    entry.submit(0);
    count(counter::EVENTS);
}

/// Writes a connection's event into SIZE bytes: all before the heads exists in both sizes.
#[inline(always)]
pub fn fill<const SIZE: usize>(
    event: *mut ConnectionEvent,
    sk: Ptr,
    tcp: Ptr,
    record: &SocketRecord,
    change: &Change,
) {
    let write_seq: u32 = load(tcp, offset::TCP_WRITE_SEQ);
    let positions = Positions {
        unread: load::<u32>(tcp, offset::TCP_RCV_NXT).wrapping_sub(load(tcp, offset::TCP_COPIED_SEQ)),
        unsent: write_seq.wrapping_sub(load(tcp, offset::TCP_SND_NXT)),
        unacked: write_seq.wrapping_sub(load(tcp, offset::TCP_SND_UNA)),
        write_seq,
    };
    fill_with::<SIZE>(event, sk, &positions, record, change);
}

/// Where the kernel stands on a connection: members of a [`ConnectionEvent`].
struct Positions {
    unread: u32,
    unsent: u32,
    unacked: u32,
    write_seq: u32,
}

#[inline(always)]
fn fill_with<const SIZE: usize>(
    event: *mut ConnectionEvent,
    sk: Ptr,
    positions: &Positions,
    record: &SocketRecord,
    change: &Change,
) {
    // SAFETY: `event` has SIZE bytes, of which all before the heads exist in both sizes; the ring, and maps,
    // align to 8. The record is copied by helper, to the size that is there.
    unsafe {
        (*event).header = header(change.kind, now());
        kernel::describe(kernel::current(), &mut (*event).current);
        (*event).socket = sk as u64;
        (*event).old_state = change.old_state;
        (*event).new_state = change.new_state;
        (*event).unread = positions.unread;
        (*event).unsent = positions.unsent;
        (*event).unacked = positions.unacked;
        (*event).write_seq = positions.write_seq;
        (*event).error = load(sk, offset::SOCK_ERR);
        (*event).accepted = u32::from(read::<u64>(sk, offset::SOCK_SOCKET) != 0);
        (*event).shutdown = u32::from(load::<u8>(sk, offset::SOCK_SHUTDOWN));
        (*event).remembered = 0;
        (*event).other_end = both_ends::other_end(record);
        (*event).heads = 0;
        let room = SIZE - core::mem::offset_of!(ConnectionEvent, record);
        bpf_probe_read_kernel(
            (&raw mut (*event).record).cast(),
            room as u32,
            core::ptr::from_ref(record).cast(),
        );
    }
}

/// Sends an event that is whole already: one that was kept, or is still to be looked at by others.
#[inline(always)]
pub fn again<T>(event: &T) {
    // SAFETY: the event is read by helper, as it stands.
    let sent = unsafe {
        bpf_ringbuf_output(
            (&raw const EVENTS).cast_mut().cast(),
            core::ptr::from_ref(event).cast_mut().cast(),
            size_of::<T>() as u64,
            0,
        )
    };
    count(if sent == 0 {
        counter::EVENTS
    } else {
        counter::LOST_RING_FULL
    });
}

/// The same with what follows its long head.
#[inline(always)]
pub fn again_with(event: &ConnectionEvent, head: *const HeadRest) {
    const WHOLE: usize = size_of::<ConnectionEvent>();
    const REST: usize = size_of::<HeadRest>();
    let Some(mut entry) = EVENTS.reserve_bytes(WHOLE + REST, 0) else {
        count(counter::LOST_RING_FULL);
        return;
    };
    // SAFETY: there is room for both; they are values of maps.
    unsafe {
        let into = entry.as_mut_ptr().cast::<ConnectionEvent>();
        bpf_probe_read_kernel(into.cast(), WHOLE as u32, core::ptr::from_ref(event).cast());
        bpf_probe_read_kernel(into.add(1).cast(), REST as u32, head.cast());
    }
    entry.submit(0);
    count(counter::EVENTS);
}
