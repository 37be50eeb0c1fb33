//! The header blocks that are kept: of requests for their names, of responses for how they ended and for what
//! they refer to.
//!
//! Each direction has a log in two halves. Of a request everything goes there, unless its stream can keep it. Of a
//! response what adds to the dynamic table does, for later ones refer to that; the rest only where it ends a stream
//! while its workload is draining: then it may say how a call failed in words that are not read here.

use drainwatch_ebpf::http2::{
    ANSWER_BLOCK, ANSWER_LOG, ASK_LOG, BLOCK, CHUNK, HeaderLog, Http2, Http2Answers, Http2Log, LogEntry,
    NO_STREAM, SHORT_BLOCK,
};

use super::{flow, read_bytes, some, stream_at};
use crate::{maps, payload::bounded};

const ENTRY: u32 = size_of::<LogEntry>() as u32;
/// Room that a block leaves behind it: see [`keep_block`].
const MARGIN: u32 = 16;
/// One byte a field, each a reference: all have the highest bit set (RFC 7541 section 6.1). And none of them refers to
/// anything.
const REFERS: u64 = 0x8080_8080_8080_8080;
/// Most fields of a response that are looked through for what they add to the dynamic table.
const FIELDS: u32 = 32;

/// The log of a direction.
#[inline(always)]
pub fn of<const ASKS: bool>(http2: *mut Http2) -> *mut HeaderLog {
    // SAFETY: fields of a map's value.
    unsafe {
        if ASKS {
            &raw mut (*http2).ask_log
        } else {
            &raw mut (*http2).answer_log
        }
    }
}

/// Bytes of one of its halves.
const fn half<const ASKS: bool>() -> u32 {
    if ASKS { ASK_LOG as u32 } else { ANSWER_LOG as u32 }
}

/// Most bytes of the header blocks in one.
const fn most<const ASKS: bool>() -> u32 {
    half::<ASKS>() - MARGIN
}

/// Finds room in the log for a header block. Of one that is padded the end is not known.
#[inline(always)]
pub fn begin_block<const ASKS: bool>(http2: *mut Http2, length: u32, padded: u32) {
    let blocks = of::<ASKS>(http2);
    let longest = if ASKS { BLOCK } else { BLOCK / 2 } as u32;
    let wanted = if length < longest { length } else { longest };
    let mut used = get!(blocks.used);
    if used + ENTRY + wanted > most::<ASKS>() {
        set!(blocks.used_before = used);
        set!(blocks.generation = get!(blocks.generation).wrapping_add(1));
        set!(blocks.used = 0);
        used = 0;
    }
    let generation = get!(blocks.generation);
    set!(blocks.at = used);
    set!(blocks.key = generation.wrapping_mul(half::<ASKS>()).wrapping_add(used));
    set!(blocks.length = 0);
    set!(blocks.seen = 0);
    set!(blocks.padded = padded);
}

/// A place in the half of the log that is written.
#[inline(always)]
fn log_at<const ASKS: bool>(http2: *mut Http2, log: *mut u8, at: u32) -> *mut u8 {
    let blocks = of::<ASKS>(http2);
    let half = (get!(blocks.generation) & 1) * half::<ASKS>();
    let at = core::hint::black_box((half + at) as usize);
    let end = if ASKS { Http2Log::TOLD } else { Http2Answers::TOLD };
    // No power of two, so a mask does not do.
    let at = if at < end { at } else { 0 };
    // SAFETY: within the log; what is written there is at most the room behind it.
    unsafe { log.add(at) }
}

/// Keeps bytes of a header block, as many as fit. What follows them is made to look like references.
#[inline(always)]
pub fn keep_block<const ASKS: bool>(http2: *mut Http2, log: *mut u8, bytes: u32) {
    let blocks = of::<ASKS>(http2);
    let (at, kept) = (get!(blocks.at), get!(blocks.length));
    set!(blocks.seen = get!(blocks.seen).wrapping_add(bytes));
    let room = most::<ASKS>() - ENTRY - at - kept;
    let length = if bytes < room { bytes } else { room };
    // Once something is left out, nothing that comes later may stand in its place.
    if length == 0 || get!(blocks.seen).wrapping_sub(bytes) != kept {
        return;
    }
    let into = log_at::<ASKS>(http2, log, at + ENTRY + kept);
    let flow = flow::<ASKS>(http2);
    read_bytes::<ASKS>(http2, into, bounded(length as usize, CHUNK), get!(flow.at));
    let kept = kept + length;
    set!(blocks.length = kept);
    let behind = log_at::<ASKS>(http2, log, at + ENTRY + kept).cast::<u64>();
    // SAFETY: within the log and the room behind it.
    unsafe {
        behind.write_unaligned(REFERS);
        behind.add(1).write_unaligned(REFERS);
    }
    let slot = get!(flow.slot);
    if !ASKS && slot != NO_STREAM {
        let stream = stream_at(http2, slot);
        let block = log_at::<ASKS>(http2, log, at + ENTRY).cast::<u64>();
        // SAFETY: within the log; a field of a map's value at a multiple of 8.
        unsafe {
            (&raw mut (*stream).answer)
                .cast::<u64>()
                .write_volatile(block.read_volatile());
        }
        let most = ANSWER_BLOCK as u32;
        set!(stream.answer_len = if kept < most { kept } else { most } as u8);
    }
}

/// A whole header block has moved: it stays in the log, unless nobody needs it there.
#[inline(always)]
pub fn finish_block<const ASKS: bool>(http2: *mut Http2, log: *mut u8, cgroup: u64, tgid: u32) {
    let flow = flow::<ASKS>(http2);
    let blocks = of::<ASKS>(http2);
    let (at, length) = (get!(blocks.at), get!(blocks.length));
    let missing = some(get!(blocks.seen) ^ length | get!(blocks.padded));
    let entry = log_at::<ASKS>(http2, log, at).cast::<LogEntry>();
    // SAFETY: within the log and the room behind it.
    let (first, second) = unsafe {
        let block = entry.add(1).cast::<u64>();
        (block.read_volatile(), block.add(1).read_volatile())
    };
    let stays = if ASKS {
        let short =
            length <= SHORT_BLOCK as u32 && (first & second & REFERS) ^ REFERS | u64::from(missing) == 0;
        if short {
            keep_short(http2, get!(flow.slot), (first, second), length);
        }
        !short
    } else {
        let whole = length <= ANSWER_BLOCK as u32 && (first & REFERS) ^ REFERS | u64::from(missing) == 0;
        !whole
            && (missing != 0
                || http2_adds(http2, log.cast()) != 0
                || (get!(flow.ends) != 0 && maps::drains(cgroup, tgid)))
    };
    if stays {
        set!(entry.stream = get!(flow.stream));
        set!(entry.length = length as u16);
        set!(entry.cut = missing as u16);
        set!(blocks.used = at + ENTRY + (length.wrapping_add(7) & !7));
    }
}

/// A request's stream keeps its header block, and the log keeps what is referred to for longer.
#[inline(always)]
fn keep_short(http2: *mut Http2, slot: u32, (first, second): (u64, u64), length: u32) {
    if slot == NO_STREAM {
        return;
    }
    let stream = stream_at(http2, slot);
    // SAFETY: a field of a map's value at a multiple of 8.
    unsafe {
        let block = (&raw mut (*stream).block).cast::<u64>();
        block.write_volatile(first);
        block.add(1).cast::<u32>().write_volatile(second as u32);
    }
    set!(stream.block_len = length as u8);
}

/// Whether a response's header block adds to the dynamic table, as far as can be seen: where it cannot, it may. What it
/// says of a call of gRPC before that is noted.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn http2_adds(http2: *mut Http2, log: *mut Http2Answers) -> u32 {
    if http2.is_null() || log.is_null() {
        return 1;
    }
    let blocks = of::<false>(http2);
    set!(blocks.looked = 0);
    let mut field = 0;
    while field < FIELDS {
        if get!(blocks.looked) >= get!(blocks.length) {
            return u32::from(get!(blocks.looked) > get!(blocks.length));
        }
        if adds(http2, log.cast()) {
            return 1;
        }
        field += 1;
    }
    1
}

/// Whether the next field does (RFC 7541 section 6); goes on to the one behind it.
#[inline(always)]
fn adds(http2: *mut Http2, log: *mut u8) -> bool {
    let first = next(http2, log);
    if first & 0x80 != 0 {
        // One of more than a byte is an index that few tables have.
        return first == 0xff;
    }
    // Added to the table; or the table's size changes, by which it may lose entries.
    if first & 0x60 != 0 {
        return true;
    }
    let index = first & 0x0f;
    if index == 0x0f && next(http2, log) & 0x80 != 0 {
        return true;
    }
    if index == 0 {
        grpc_status(http2, log);
        if text(http2, log) {
            return true;
        }
    }
    text(http2, log)
}

/// `grpc-status`, as it is and by the code of RFC 7541 appendix B, with its length before it.
const GRPC_STATUS: (u64, u32) = (u64::from_le_bytes(*b"\x0bgrpc-st"), u32::from_le_bytes(*b"atus"));
const GRPC_STATUS_CODED: (u64, u8) = (u64::from_le_bytes(*b"\x88\x9a\xca\xc8\xb2\x12\x34\xda"), 0x8f);

/// Notes the status of a call where the field whose name comes next says it: one digit or two.
#[inline(always)]
fn grpc_status(http2: *mut Http2, log: *mut u8) {
    let at = here(http2, log);
    // SAFETY: within the log and the room behind it.
    let (first, second) = unsafe {
        (
            at.cast::<u64>().read_unaligned(),
            at.add(8).cast::<u32>().read_unaligned(),
        )
    };
    let plain = first == GRPC_STATUS.0 && second == GRPC_STATUS.1;
    let coded = first == GRPC_STATUS_CODED.0 && second as u8 == GRPC_STATUS_CODED.1;
    let flow = flow::<false>(http2);
    let slot = get!(flow.slot);
    if !(plain || coded) || slot == NO_STREAM {
        return;
    }
    // SAFETY: as above.
    let (length, tens, ones) = unsafe {
        let value = at.add(if plain { 12 } else { 9 });
        (value.read(), value.add(1).read(), value.add(2).read())
    };
    let digit = |text: u8| text.wrapping_sub(b'0');
    let status = match length {
        1 => digit(tens),
        2 => digit(tens) * 10 + digit(ones),
        _ => return,
    };
    if status < 100 {
        let stream = stream_at(http2, slot);
        set!(stream.grpc = status + 1);
    }
}

/// Steps over a string; says whether it is too long for that.
#[inline(always)]
fn text(http2: *mut Http2, log: *mut u8) -> bool {
    let mut length = next(http2, log) & 0x7f;
    if length == 0x7f {
        let low = next(http2, log);
        length += low & 0x7f;
        if low & 0x80 != 0 {
            let high = next(http2, log);
            if high & 0x80 != 0 {
                return true;
            }
            length += high << 7;
        }
    }
    let blocks = of::<false>(http2);
    set!(blocks.looked = get!(blocks.looked).wrapping_add(length));
    false
}

/// Where the block is looked at.
#[inline(always)]
fn here(http2: *mut Http2, log: *mut u8) -> *mut u8 {
    let blocks = of::<false>(http2);
    let at = get!(blocks.at)
        .wrapping_add(ENTRY)
        .wrapping_add(get!(blocks.looked));
    log_at::<false>(http2, log, at)
}

/// The next byte of the block.
#[inline(always)]
fn next(http2: *mut Http2, log: *mut u8) -> u32 {
    let at = here(http2, log);
    let blocks = of::<false>(http2);
    set!(blocks.looked = get!(blocks.looked).wrapping_add(1));
    // SAFETY: within the log.
    u32::from(unsafe { at.read_volatile() })
}
