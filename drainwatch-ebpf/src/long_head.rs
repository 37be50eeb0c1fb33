//! Heads of responses that are longer than what a record keeps of them.
//!
//! Where a response's body begins, and how long it is, only its whole head tells. So when a call moves more than the
//! record keeps, what is kept is searched for the end of the head; where the head goes on, the bytes behind it are
//! kept in a storage of their own, until its end. All is done by words of eight bytes: a search is some ten
//! instructions for each.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use drainwatch_ebpf::{
    ANSWER_HEAD, LONG_HEAD, LONG_HEAD_CHUNK, LongHead, SocketRecord, counter, record_flag,
};

use crate::{
    maps::count,
    payload::{Moved, bounded, ends_a_head},
    record,
};

/// Each byte of a word.
pub const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;
const LINE_FEEDS: u64 = ONES * b'\n' as u64;
const RETURNS: u64 = ONES * b'\r' as u64;
/// Words of the head that a record keeps.
const WORDS: usize = ANSWER_HEAD / 8;
/// Words that may have to be searched for what came with one chunk.
const CHUNK_WORDS: u64 = LONG_HEAD_CHUNK as u64 / 8 + 2;
/// Chunks that are kept of one call: as many as there is room for, and one for each end of a buffer.
const CHUNKS: u32 = (LONG_HEAD / LONG_HEAD_CHUNK) as u32 + 2;
/// Said of a chunk that has the end of the head, beside its length.
const ENDS: u32 = 1 << 31;

/// The highest bits of bytes that are zero; of further ones, perhaps, above the lowest that is.
#[inline(always)]
pub const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// Whether a line begins with a carriage return within this word, or between it and the next: the line is empty, and
/// the head ends with it.
#[inline(always)]
const fn has_end(word: u64, next: u64) -> bool {
    // A byte that is zero is a line feed before a carriage return.
    let zero = (word ^ LINE_FEEDS) | ((word >> 8 | next << 56) ^ RETURNS);
    zero_bytes(zero) != 0
}

/// Whether what a record keeps of a head, more than which has moved, holds its end. A head that was kept in parts and
/// does not fill its place is not searched, for behind it stands an older one; where it ends with what is kept of it, its
/// body came in a vector of its own. (An interim response may be followed by the final one.)
#[inline(always)]
pub fn ends_in(record: &mut SocketRecord) -> bool {
    let words = record.answer_head.as_ptr().cast::<u64>();
    let ends = |index: usize| {
        let at = core::hint::black_box(index) & (WORDS - 1);
        let next = core::hint::black_box(index + 1) & (WORDS - 1);
        // SAFETY: within the head, which lies at a multiple of 8. The last word is followed by the first, which
        // begins with no carriage return.
        unsafe { has_end(words.add(at).read_volatile(), words.add(next).read_volatile()) }
    };
    if record.answer.head_len < ANSWER_HEAD as u32 {
        return record.answer_head[9] != b'1' && ends_a_head(&record.answer_head, record.answer.head_len);
    }
    // Heads of one connection are alike.
    let last = record.head_end as usize;
    if ends(last) || ends(last + 1) || ends(last.wrapping_sub(1)) {
        return true;
    }
    let mut index = 0;
    while index < WORDS {
        if ends(index) {
            record.head_end = index as u8;
            return true;
        }
        index += 1;
    }
    false
}

/// Keeps what the call at hand moved of the head of the latest response, behind what is kept already.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn long_head_append(
    long: *mut LongHead,
    record: *mut SocketRecord,
    moved: *const Moved,
) -> u32 {
    // SAFETY: NULL, or the caller's.
    let (Some(long), Some(record), Some(moved)) =
        (unsafe { (long.as_mut(), record.as_mut(), moved.as_ref()) })
    else {
        return 0;
    };
    if record.flags & record_flag::LONG_HEAD == 0 {
        record::set::<{ record_flag::LONG_HEAD }>(record);
        long.length = 0;
    }
    // Where this call's bytes begin in the response, and where those go on that are kept.
    let begin = record.answer.total - record.answer.message_pos - moved.bytes;
    let mut rounds = 0;
    while rounds < CHUNKS {
        let kept = u64::from(record.answer.head_len) + u64::from(long.length);
        let skip = kept.wrapping_sub(begin);
        if skip == moved.bytes {
            return 0;
        }
        let (base, length) = if skip < moved.first.length {
            (moved.first.base + skip, moved.first.length - skip)
        } else {
            let skip = skip - moved.first.length;
            if skip >= moved.second.length {
                break;
            }
            (moved.second.base + skip, moved.second.length - skip)
        };
        let chunk = long_head_chunk(long, base, length);
        if chunk == 0 || chunk & ENDS != 0 {
            break;
        }
        rounds += 1;
    }
    // Its end was seen, or will not be: bytes are missing, or there is no more room.
    record::clear::<{ record_flag::HEAD_OPEN }>(record);
    0
}

/// Keeps a part of so many bytes at an address; says how many, and whether the head ends there.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn long_head_chunk(long: *mut LongHead, from: u64, available: u64) -> u32 {
    // SAFETY: NULL, or the caller's.
    let Some(long) = (unsafe { long.as_mut() }) else {
        return 0;
    };
    let held = core::hint::black_box(long.length as usize);
    // Bounds that the verifier can follow.
    let at = if held < 4096 {
        held & 4095
    } else if held < 6144 {
        4096 + (held & 2047)
    } else if held < LONG_HEAD - 512 {
        6144 + (held & 511)
    } else {
        return 0;
    };
    let most = LONG_HEAD_CHUNK as u64;
    let length = if available < most { available } else { most };
    let length = bounded(length as usize, LONG_HEAD_CHUNK);
    // SAFETY: at + length is at most 6655 + 1024, within the bytes.
    let failed = unsafe {
        let into = long.bytes.as_mut_ptr().add(at);
        bpf_probe_read_user(into.cast(), length as u32, from as *const _) < 0
    };
    if failed {
        count(counter::LOST_PAYLOAD);
        return 0;
    }
    long.length = (held + length) as u32;
    // From the word before the new bytes on, for the end may lie between. (Before the first bytes stands their number,
    // which does not look like an end.) A word counts when all of it is new: what stands behind is of an older head.
    let from = at & !7;
    let available = (8 + at - from + length) as u64;
    // SAFETY: the bytes lie behind one word, which lies at a multiple of 8; so the last word that is looked at ends at
    // most at 6648 + 131 * 8.
    let words = unsafe { core::ptr::from_ref(long).cast::<u8>().add(from) }.cast::<u64>();
    // SAFETY: as above.
    let mut word = unsafe { words.read_volatile() };
    let mut index = 1;
    while index <= CHUNK_WORDS && index * 8 < available {
        // SAFETY: as above.
        let next = unsafe { words.add(index as usize).read_volatile() };
        if has_end(word, next) {
            return length as u32 | ENDS;
        }
        word = next;
        index += 1;
    }
    length as u32
}
