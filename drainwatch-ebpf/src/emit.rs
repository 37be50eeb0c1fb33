//! Putting events into the ring, and counting those that do not fit.

use aya_ebpf::{
    helpers::generated::{bpf_ktime_get_ns, bpf_probe_read_kernel, bpf_ringbuf_output, bpf_ringbuf_query},
    maps::ring_buf::RingBufEntry,
};
use drainwatch_ebpf::{
    ConnectionEvent, Current, EventHeader, LATE_HEAD, LONG_HEAD_CHUNK, LongHead, ResetEvent, SocketRecord,
    counter, event_kind,
    http2::{Http2, Http2Answers, Http2Log},
    offset, process_flag, record_flag,
};

use crate::{
    both_ends,
    cuts::HeadRest,
    kernel::{self, Ptr, load, read},
    maps::{self, EVENTS, RING, count},
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

/// How much of the ring is for ends and exits alone: what they tell is told once, and by nothing else.
const FOR_ENDS: u64 = RING as u64 / 4;
/// How much of it is for signals and exits alone. They are small, there are few, and without them a shutdown is taken for
/// another.
const FOR_SIGNALS: u64 = RING as u64 / 16;
/// How much of it is for exits alone.
const FOR_EXITS: u64 = RING as u64 / 64;
/// `BPF_RB_AVAIL_DATA`.
const AVAILABLE: u64 = 0;

/// Whether the ring holds no more than this; one that does is as good as full, and counted.
#[inline(always)]
fn holds_at_most(most: u64) -> bool {
    // SAFETY: a map of ours.
    let held = unsafe { bpf_ringbuf_query((&raw const EVENTS).cast_mut().cast(), AVAILABLE) };
    if held > most {
        count(counter::LOST_RING_FULL);
        return false;
    }
    true
}

/// Whether there is room for what ends nothing.
#[inline(always)]
pub fn has_room() -> bool {
    holds_at_most(RING as u64 - FOR_ENDS)
}

/// Whether there is room for the end of a connection.
#[inline(always)]
pub fn has_room_for_end() -> bool {
    holds_at_most(RING as u64 - FOR_SIGNALS)
}

/// Whether there is room for a signal.
#[inline(always)]
pub fn has_room_for_signal() -> bool {
    holds_at_most(RING as u64 - FOR_EXITS)
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

/// Sends a connection's record, with as much of its heads as there is; with its streams when it speaks HTTP/2.
#[inline(never)]
pub fn connection(sk: Ptr, tcp: Ptr, record: &SocketRecord, change: &Change) {
    const BARE: usize = ConnectionEvent::BARE;
    const SHORT: usize = ConnectionEvent::SHORT;
    let has_room = if change.kind == event_kind::TURN_ENDED {
        has_room()
    } else {
        has_room_for_end()
    };
    if !has_room {
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
    let asked_only = short && answer == 0 && record.flags & record_flag::TAIL_VALID == 0;
    if asked_only && ask == 0 {
        send_heads::<BARE, BARE, 0, 0>(sk, tcp, record, change);
    } else if asked_only && ask <= 64 {
        send_heads::<{ BARE + 64 }, BARE, 64, 0>(sk, tcp, record, change);
    } else if asked_only && ask <= 128 {
        send_heads::<{ BARE + 128 }, BARE, 128, 0>(sk, tcp, record, change);
    } else if asked_only && ask <= 256 {
        send_heads::<{ BARE + 256 }, BARE, 256, 0>(sk, tcp, record, change);
    } else if asked_only && ask <= 512 {
        send_heads::<{ BARE + 512 }, BARE, 512, 0>(sk, tcp, record, change);
    } else if short && answer <= 256 && ask <= 256 {
        send_heads::<{ SHORT + 512 }, SHORT, 256, 256>(sk, tcp, record, change);
    } else {
        send::<{ size_of::<ConnectionEvent>() }>(sk, tcp, record, change);
    }
}

/// Sends a connection with so many bytes of its heads, behind those that are there of any.
#[inline(always)]
fn send_heads<const SIZE: usize, const FIRST: usize, const ASK: usize, const ANSWER: usize>(
    sk: Ptr,
    tcp: Ptr,
    record: &SocketRecord,
    change: &Change,
) {
    let Some(mut entry) = EVENTS.reserve_bytes(SIZE, 0) else {
        count(counter::LOST_RING_FULL);
        return;
    };
    let event = entry.as_mut_ptr().cast::<ConnectionEvent>();
    fill::<FIRST>(event, sk, tcp, record, change);
    let no_tail = if FIRST == ConnectionEvent::BARE {
        ConnectionEvent::NO_TAIL
    } else {
        0
    };
    // SAFETY: behind the first bytes there is room for both; the record is no shorter.
    unsafe {
        (*event).heads = ConnectionEvent::heads(ASK, ANSWER) | no_tail;
        let behind = event.cast::<u8>().add(FIRST);
        if ASK > 0 {
            bpf_probe_read_kernel(behind.cast(), ASK as u32, record.ask_head.as_ptr().cast());
        }
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

/// Sends the first SIZE bytes of the event of a connection that is no TCP socket, which stands here.
#[inline(always)]
pub fn at<const SIZE: usize>(sk: Ptr, positions: &Positions, record: &SocketRecord, change: &Change) {
    if !has_room_for_end() {
        return;
    }
    let Some(mut entry) = EVENTS.reserve_bytes(SIZE, 0) else {
        count(counter::LOST_RING_FULL);
        return;
    };
    let event = entry.as_mut_ptr().cast::<ConnectionEvent>();
    fill_with::<SIZE>(event, sk, positions, record, change);
    if SIZE == ConnectionEvent::BARE {
        // SAFETY: it is ours until it is submitted.
        unsafe { (*event).heads = ConnectionEvent::NO_TAIL };
    }
    entry.submit(0);
    count(counter::EVENTS);
}

#[inline(always)]
fn with_long_head(sk: Ptr, tcp: Ptr, record: &SocketRecord, long: *const LongHead, change: &Change) {
    const WHOLE: usize = size_of::<ConnectionEvent>();
    const ALL: usize = size_of::<LongHead>();
    let behind = [long.cast(), core::ptr::null(), core::ptr::null()];
    // SAFETY: a value of a map.
    if unsafe { (*long).length } > LONG_HEAD_CHUNK as u32 {
        send_with::<{ WHOLE + ALL }, ALL, 0, 0>(sk, tcp, record, behind, change);
    } else {
        const SHORT: usize = LongHead::SHORT;
        send_with::<{ WHOLE + SHORT }, SHORT, 0, 0>(sk, tcp, record, behind, change);
    }
}

/// Sends the streams of a connection that goes on.
#[inline(never)]
pub fn streams(sk: Ptr, tcp: Ptr, record: &SocketRecord, http2: *mut Http2) {
    if !has_room() {
        return;
    }
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
        && let Some(answers) = maps::http2_answers(sk)
    {
        const ASKED: usize = Http2Log::TOLD;
        const ANSWERED: usize = Http2Answers::TOLD;
        let behind = [
            http2.cast_const().cast(),
            log.cast_const().cast(),
            answers.cast_const().cast(),
        ];
        send_with::<{ WHOLE + STREAMS + ASKED + ANSWERED }, STREAMS, ASKED, ANSWERED>(
            sk, tcp, record, behind, change,
        );
    } else {
        let behind = [http2.cast_const().cast(), core::ptr::null(), core::ptr::null()];
        send_with::<{ WHOLE + Http2::IDLE }, { Http2::IDLE }, 0, 0>(sk, tcp, record, behind, change);
    }
}

/// Sends an event and what stands behind it: so many bytes of the values of maps, `SIZE` in all.
#[inline(always)]
fn send_with<const SIZE: usize, const FIRST: usize, const SECOND: usize, const THIRD: usize>(
    sk: Ptr,
    tcp: Ptr,
    record: &SocketRecord,
    [first, second, third]: [Ptr; 3],
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
        if THIRD > 0 {
            bpf_probe_read_kernel(behind.add(FIRST + SECOND).cast(), THIRD as u32, third.cast());
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
pub struct Positions {
    /// Bytes that the process has not read.
    pub unread: u32,
    /// Bytes that the process has written, and the kernel has not sent.
    pub unsent: u32,
    /// Bytes that the process has written, and the peer has not acknowledged.
    pub unacked: u32,
    /// Position behind the last byte that the process has written.
    pub write_seq: u32,
}

impl Positions {
    /// Nothing is known of it.
    pub const NONE: Self = Self {
        unread: 0,
        unsent: 0,
        unacked: 0,
        write_seq: 0,
    };
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
        (*event).current = Current {
            cgroup: kernel::current_cgroup(),
            tgid: kernel::current_tgid(),
            flags: if kernel::current_process_exiting() {
                process_flag::EXITING
            } else {
                0
            },
        };
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

/// Sends what came too late, with its first bytes, which stand here; without them where they cannot be read.
#[inline(never)]
pub fn late(event: &ResetEvent, bytes: Ptr) {
    const EVENT: usize = size_of::<ResetEvent>();
    if event.length == 0 {
        again(event);
        return;
    }
    let Some(mut entry) = EVENTS.reserve_bytes(EVENT + LATE_HEAD, 0) else {
        count(counter::LOST_RING_FULL);
        return;
    };
    // SAFETY: there is room for both.
    unsafe {
        let into = entry.as_mut_ptr().cast::<ResetEvent>();
        bpf_probe_read_kernel(into.cast(), EVENT as u32, core::ptr::from_ref(event).cast());
        let length = u32::from(event.length).min(LATE_HEAD as u32);
        if bpf_probe_read_kernel(into.add(1).cast(), length, bytes.cast()) != 0 {
            (*into).length = 0;
        }
    }
    entry.submit(0);
    count(counter::EVENTS);
}

/// The same with the streams of a connection that spoke HTTP/2, and without the header blocks of its responses: of what
/// is open they say nothing that matters.
#[inline(always)]
pub fn again_with_streams(event: &ConnectionEvent, http2: *const Http2, log: *const Http2Log) {
    const WHOLE: usize = size_of::<ConnectionEvent>();
    const STREAMS: usize = size_of::<Http2>();
    const ASKED: usize = Http2Log::TOLD;
    let Some(mut entry) = EVENTS.reserve_bytes(WHOLE + STREAMS + ASKED, 0) else {
        count(counter::LOST_RING_FULL);
        return;
    };
    // SAFETY: there is room for all of it; they are values of maps.
    unsafe {
        let into = entry.as_mut_ptr();
        bpf_probe_read_kernel(into.cast(), WHOLE as u32, core::ptr::from_ref(event).cast());
        bpf_probe_read_kernel(into.add(WHOLE).cast(), STREAMS as u32, http2.cast());
        bpf_probe_read_kernel(into.add(WHOLE + STREAMS).cast(), ASKED as u32, log.cast());
    }
    entry.submit(0);
    count(counter::EVENTS);
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
