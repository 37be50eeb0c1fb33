//! Where heads of responses say how long their bodies are.
//!
//! Of a response whose length is known its last bytes tell nothing more, and to read them costs as much as to read its
//! head. Heads of one connection are much alike: where one said it, the next one says it most often. Where that is not
//! known it is searched for, a part of the head with each response, from the second turn on: a connection with a single
//! request has nothing from it.

use core::hint::black_box;

use drainwatch_ebpf::{ANSWER_HEAD, SocketRecord, record_flag};

use crate::{
    long_head::{ONES, zero_bytes},
    record,
};

/// The field, without regard to case: its first eight bytes and its last eight.
const FIELD: [u64; 2] = [u64::from_le_bytes(*b"content-"), u64::from_le_bytes(*b"length: ")];
/// Makes letters small, and leaves what else stands in the field.
const SMALL: u64 = 0x2020_2020_2020_2020;
/// Length of the field.
const LENGTH: usize = 16;
/// Where its hyphen stands.
const HYPHEN: usize = 7;
/// Words of the head that a record keeps, and how many of them are searched with one response.
const WORDS: usize = ANSWER_HEAD / 8;
const SEARCHED: usize = 16;
/// Responses in a row without the field after which nobody looks any more: the connection's say it by chunks.
const MOST_MISSED: u8 = 32;

/// A hyphen in each byte of a word, and an L: what the field is looked for by.
const HYPHENS: u64 = ONES * b'-' as u64;
const LS: u64 = ONES * b'l' as u64;

/// A response has begun, of whose head so many bytes are kept: does it say how long its body is, where it is looked for?
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn record_find_length(record: *mut SocketRecord, kept: u32) -> u32 {
    // SAFETY: NULL, or the caller's.
    let Some(record) = (unsafe { record.as_mut() }) else {
        return 0;
    };
    let at = record.length_at as usize;
    if says_length(record, at, kept) || is_searched(record) && search(record, at / 8, kept) {
        record.length_missed = 0;
        record::set::<{ record_flag::LENGTH_SAID }>(record);
        return 1;
    }
    0
}

/// Whether it is worth to look for it, and whether that was not done in vain again and again.
#[inline(always)]
fn is_searched(record: &mut SocketRecord) -> bool {
    if record.turns < 2 || record.length_missed >= MOST_MISSED {
        return false;
    }
    record.length_missed += 1;
    true
}

/// Whether the field stands there, at the beginning of a line, and whole in what is kept.
#[inline(always)]
fn says_length(record: &SocketRecord, at: usize, kept: u32) -> bool {
    if at + LENGTH > kept as usize {
        return false;
    }
    // Where they are not aligned, to load bytes and put them together takes four times as much.
    let bits = (at as u64 & 7) * 8;
    let [first, second, third] = [0, 1, 2].map(|behind| word(record, at / 8 + behind));
    let line = black_box(at).wrapping_sub(1) & (ANSWER_HEAD - 1);
    // SAFETY: within the head. (Before its first byte stands its last, which ends no line where the field begins.)
    let before = unsafe { record.answer_head.as_ptr().add(line).read() };
    let field = [joined(first, second, bits), joined(second, third, bits)];
    before == b'\n' && field.map(|word| word | SMALL) == FIELD
}

/// A word of the head, by its index, which wraps.
#[inline(always)]
fn word(record: &SocketRecord, index: usize) -> u64 {
    let at = black_box(index) & (WORDS - 1);
    // SAFETY: within the head, which lies at a multiple of 8.
    unsafe { record.answer_head.as_ptr().cast::<u64>().add(at).read_volatile() }
}

/// The word that begins so many bits, less than 64, into one and ends in the next.
#[inline(always)]
const fn joined(this: u64, next: u64, bits: u64) -> u64 {
    this >> bits | next << 1 << (63 - bits)
}

/// Looks for it in some words, from this one on; the next response goes on behind them.
#[inline(always)]
fn search(record: &mut SocketRecord, from: usize, kept: u32) -> bool {
    let mut round = 0;
    while round < SEARCHED {
        let index = (from + round) & (WORDS - 1);
        let (this, next) = (word(record, index), word(record, index + 1));
        // A byte that is zero is a hyphen before an L.
        let zero = (this ^ HYPHENS) | (((this >> 8 | next << 56) | SMALL) ^ LS);
        let zeroes = zero_bytes(zero);
        if zeroes != 0 {
            let at = (index * 8 + lowest(zeroes)).wrapping_sub(HYPHEN);
            if says_length(record, at, kept) {
                record.length_at = at as u16;
                return true;
            }
        }
        round += 1;
    }
    record.length_at = (((from + SEARCHED) & (WORDS - 1)) * 8) as u16;
    false
}

/// Which byte is the lowest whose highest bit is set.
#[inline(always)]
const fn lowest(highs: u64) -> usize {
    let bit = (highs & highs.wrapping_neg()) >> 7;
    (bit.wrapping_mul(0x0001_0203_0405_0607) >> 56) as usize
}
