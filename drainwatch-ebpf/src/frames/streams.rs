//! The streams that are kept of a connection.

use drainwatch_ebpf::http2::{Http2, NO_STREAM, STREAMS, Stream, stream_flag, stream_state, walk_lost};

use super::{HEADER, REFUSED_STREAM, blocks, flow, lose, payload_word, some};
use crate::maps;

/// Places where a stream may be kept, from its own on.
const PLACES: u32 = 32;

/// A response, or its trailers, which end the stream: its index.
#[inline(always)]
pub fn answers(http2: *mut Http2, ends: u32, stream: u32) -> u32 {
    let slot = find(http2, stream);
    if slot == NO_STREAM {
        return slot;
    }
    let (kept, blocks) = (stream_at(http2, slot), blocks::of::<false>(http2));
    // Behind another head what ends the stream is its trailers, or the final response behind an interim one.
    let behind = u32::from(get!(kept.answered)) & ends & 1;
    // SAFETY: a byte of a map's value.
    let first = unsafe { (&raw const (*kept).answer[0]).read_volatile() };
    set!(kept.status = first * behind as u8);
    set!(kept.answered = stream_state::OPEN);
    set!(kept.answer_len = 0);
    set!(kept.grpc = 0);
    set!(kept.answer_at = get!(blocks.key));
    slot
}

/// The stream of an index; of [`NO_STREAM`] any.
#[inline(always)]
pub fn stream_at(http2: *mut Http2, slot: u32) -> *mut Stream {
    let index = core::hint::black_box(slot as usize) & (STREAMS - 1);
    // SAFETY: within the table.
    unsafe { (&raw mut (*http2).streams).cast::<Stream>().add(index) }
}

/// Index of a stream. Its own place is nearly always the right one.
#[inline(never)]
pub fn find(http2: *mut Http2, stream: u32) -> u32 {
    let own = stream >> 1;
    let kept = stream_at(http2, own);
    if get!(kept.id) == stream {
        return own & (STREAMS as u32 - 1);
    }
    let mut found = PLACES;
    let mut place = PLACES;
    while place > 1 {
        place -= 1;
        let kept = stream_at(http2, own + place);
        let other = some(get!(kept.id) ^ stream);
        found = place + found.wrapping_sub(place) * other;
    }
    if found == PLACES {
        return NO_STREAM;
    }
    (own + found) & (STREAMS as u32 - 1)
}

/// Keeps a new stream, in place of none or of one that has finished; its index.
#[inline(never)]
pub fn open(http2: *mut Http2, stream: u32, now: u64) -> u32 {
    set!(http2.last_stream = stream);
    set!(http2.opened = get!(http2.opened).wrapping_add(1));
    let own = stream >> 1;
    let mut found = PLACES;
    let mut place = PLACES;
    while place > 0 {
        place -= 1;
        let kept = stream_at(http2, own + place);
        found = place + found.wrapping_sub(place) * u32::from(get!(kept.live));
    }
    if found >= PLACES {
        lose::<true>(http2, walk_lost::MANY_STREAMS);
        return NO_STREAM;
    }
    let (kept, blocks) = (stream_at(http2, own + found), blocks::of::<true>(http2));
    // Its number comes last: what is copied meanwhile, on another CPU, has the stream that was here, or none.
    set!(kept.id = 0);
    set!(kept.began_ns = now);
    set!(kept.last_ns = now);
    set!(kept.flags = 0);
    set!(kept.log_at = get!(blocks.key));
    set!(kept.asked = stream_state::OPEN);
    set!(kept.answered = stream_state::IDLE);
    set!(kept.status = 0);
    set!(kept.grpc = 0);
    set!(kept.block_len = 0);
    set!(kept.answer_len = 0);
    set!(kept.live = 1);
    set!(kept.id = stream);
    (own + found) & (STREAMS as u32 - 1)
}

/// The last byte of a direction of a stream has moved.
#[inline(always)]
pub fn end_stream<const ASKS: bool>(http2: *mut Http2, now: u64) {
    let flow = flow::<ASKS>(http2);
    let slot = find(http2, get!(flow.ends));
    if slot == NO_STREAM {
        return;
    }
    let kept = stream_at(http2, slot);
    if ASKS {
        set!(kept.asked = stream_state::ENDED);
    } else {
        set!(kept.last_ns = now);
        set!(kept.answered = stream_state::ENDED);
        // One that was given up before is none.
        let ends = u32::from(get!(kept.live));
        set!(kept.live = 0);
        set!(http2.served = get!(http2.served).wrapping_add(ends));
        set!(http2.finished = get!(http2.finished).wrapping_add(ends));
    }
}

/// One side gives a stream up.
#[inline(always)]
pub fn reset_stream<const ASKS: bool>(http2: *mut Http2, now: u64, cgroup: u64, tgid: u32) {
    let flow = flow::<ASKS>(http2);
    let slot = find(http2, get!(flow.stream));
    if slot == NO_STREAM {
        return;
    }
    let kept = stream_at(http2, slot);
    if get!(kept.live) == 0 {
        return;
    }
    set!(kept.last_ns = now);
    set!(kept.live = 0);
    if ASKS {
        set!(kept.asked = stream_state::RESET);
        set!(http2.opened = get!(http2.opened).wrapping_sub(1));
    } else {
        set!(kept.answered = stream_state::RESET);
        if payload_word(flow, HEADER as usize) != REFUSED_STREAM {
            set!(http2.cut_ns = now);
            let draining = if maps::drains(cgroup, tgid) {
                stream_flag::WHILE_DRAINING
            } else {
                0
            };
            set!(kept.flags = stream_flag::CUT | draining);
        }
        set!(http2.finished = get!(http2.finished).wrapping_add(1));
    }
}
