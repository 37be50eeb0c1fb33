//! What a read or a write does to a record: turns, messages, heads, tails.
//!
//! In global functions, which the verifier looks at once, whatever their callers did before: followed along each
//! of the ways that lead here, they took it a second for a program.

use drainwatch_ebpf::{
    ANSWER_HEAD, ASK_HEAD, Flow, SocketRecord, TAIL, TLS_ASK, TLS_CLIENT_HELLO, TLS_SERVER_HELLO, record_flag,
};

use crate::{
    frames, long_head,
    payload::{self, Moved},
};

/// `HTTP/1.` as the low seven bytes of a little-endian word.
const HTTP1: u64 = u64::from_le_bytes(*b"HTTP/1.\0");
const SEVEN_BYTES: u64 = 0x00ff_ffff_ffff_ffff;
/// `CONNECT ` as a little-endian word.
const CONNECT: u64 = u64::from_le_bytes(*b"CONNECT ");
/// What a client of AMQP 0-9-1 says first, and its heartbeat.
const AMQP: u64 = u64::from_le_bytes(*b"AMQP\0\0\x09\x01");
const AMQP_HEARTBEAT: u64 = u64::from_le_bytes(*b"\x08\0\0\0\0\0\0\xce");
/// Type of a handshake's record (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// An interim response longer than this is left in the head for userspace to walk over:
/// it may have been written together with the final one.
const INTERIM_MOST: u64 = 64;

/// Sets bits of a record's flags, in the one byte that they are in: the others are not the caller's to write.
#[inline(always)]
pub fn set<const BITS: u32>(record: &mut SocketRecord) {
    let byte = byte_of::<BITS>(record);
    // SAFETY: a byte of the record. Volatile: never widened to its neighbours.
    unsafe { byte.write_volatile(byte.read_volatile() | (BITS >> shift(BITS)) as u8) };
}

/// Takes them back.
#[inline(always)]
pub fn clear<const BITS: u32>(record: &mut SocketRecord) {
    let byte = byte_of::<BITS>(record);
    // SAFETY: as above.
    unsafe { byte.write_volatile(byte.read_volatile() & !((BITS >> shift(BITS)) as u8)) };
}

/// Whether any of these bits is set: by the byte that they are in, for a word that was written in part a moment ago is read
/// slowly.
#[inline(always)]
pub fn has<const BITS: u32>(record: &SocketRecord) -> bool {
    let byte = (&raw const record.flags).cast::<u8>();
    // SAFETY: within the flags.
    let byte = unsafe { byte.add(shift(BITS) as usize / 8).read_volatile() };
    byte & (BITS >> shift(BITS)) as u8 != 0
}

/// How far below its place the byte is that these bits are in.
const fn shift(bits: u32) -> u32 {
    bits.trailing_zeros() & !7
}

#[inline(always)]
fn byte_of<const BITS: u32>(record: &mut SocketRecord) -> *mut u8 {
    const { assert!(BITS >> shift(BITS) <= 0xff) };
    // SAFETY: within the flags.
    unsafe { (&raw mut record.flags).cast::<u8>().add(shift(BITS) as usize / 8) }
}

/// First word of a head; zero where nothing was captured.
#[inline(always)]
fn word<const N: usize>(head: &[u8; N]) -> u64 {
    // SAFETY: N is at least 8; heads lie at multiples of 8 in the record.
    unsafe { head.as_ptr().cast::<u64>().read() }
}

/// Whether these bytes in the direction of requests begin a turn.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn record_begins_turn(record: *const SocketRecord, moved: *const Moved) -> u32 {
    // SAFETY: NULL, or the caller's.
    let (Some(record), Some(moved)) = (unsafe { (record.as_ref(), moved.as_ref()) }) else {
        return 0;
    };
    let answered = record.answer.total != record.answer.turn_pos;
    let goes_on = has::<{ record_flag::INTERIM | record_flag::SWITCHED }>(record);
    let next = answered && !goes_on && !is_rest_of_upload(record, moved) && !is_heartbeat(record, moved);
    u32::from(record.turns == 0 || next)
}

/// Bytes moved in the direction of requests. Says whether they show that the connection speaks HTTP/2.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn record_asked(record: *mut SocketRecord, moved: *const Moved, begins_turn: u32) -> u32 {
    // SAFETY: NULL, or the caller's.
    let (Some(record), Some(moved)) = (unsafe { (record.as_mut(), moved.as_ref()) }) else {
        return 0;
    };
    let before = record.ask.total + moved.gap;
    record.ask.total = before + moved.bytes;
    record.ask.last_ns = moved.now;
    if begins_turn != 0 {
        // Bytes that no hook saw are the rest of the turn before; on a new connection they begin its first.
        begin_turn(record, if record.turns == 0 { 0 } else { before }, moved.now);
    }
    let since = before - record.ask.message_pos;
    if u64::from(record.ask.head_len) == since && since < ASK_HEAD as u64 {
        let added = if has::<{ record_flag::TLS }>(record) {
            payload::record_append_tls(record, moved.first.base, moved.first.length)
        } else {
            payload::append_ask(record, moved)
        };
        record.ask.head_len += added;
    }
    if record.ask.head_len == 0 {
        set::<{ record_flag::ASK_LOST }>(record);
    }
    u32::from(before == 0 && frames::begin(record))
}

/// Behind a POST, PUT or PATCH that is being answered: does this begin no request? Then it is the rest of
/// the body, which the answer did not wait for.
#[inline(always)]
fn is_rest_of_upload(record: &SocketRecord, moved: &Moved) -> bool {
    if !has::<{ record_flag::HTTP }>(record) || record.ask_head[0] != b'P' || record.ask.head_len == 0 {
        return false;
    }
    let (bytes, length) = payload::first_bytes(moved);
    if length == 0 {
        return false;
    }
    let letter = |byte: u8| byte.wrapping_sub(b'A') < 26;
    // No method is shorter than three letters; some servers read the first of them alone.
    let method = letter(bytes[0]) && (length < 3 || letter(bytes[1]) && letter(bytes[2]));
    let blank = bytes[0] == b'\r' || bytes[0] == b'\n';
    !(method || blank && length > 2)
}

/// A heartbeat of AMQP asks for nothing: the deliveries before it are still waiting for their acknowledgement.
#[inline(always)]
fn is_heartbeat(record: &SocketRecord, moved: &Moved) -> bool {
    u64::from_le_bytes(record.opening) == AMQP
        && moved.bytes == size_of::<u64>() as u64
        && payload::first_word(moved) == AMQP_HEARTBEAT
}

#[inline(always)]
fn begin_turn(record: &mut SocketRecord, ask_pos: u64, now: u64) {
    if record.turns == 1 {
        record.opening = word(&record.ask_head).to_le_bytes();
        if record.opening[0] == TLS_HANDSHAKE && record.opening[1] == 3 {
            record_keep_hellos(record);
        }
    }
    record.turns += 1;
    record.before_last = [0; 8];
    clear::<{ record_flag::ASK_LOST }>(record);
    // The direction of responses is at rest, for one has been given; unless the client does not wait for all of it.
    if has::<OF_LAST_ANSWER>(record) {
        clear::<OF_LAST_ANSWER>(record);
    }
    record.tail_len = 0;
    begin(&mut record.ask, ask_pos, 1);
    record.ask.first_ns = now;
    let answer_pos = record.answer.total;
    begin(&mut record.answer, answer_pos, 0);
    record.answer.first_ns = 0;
}

/// Moves how a connection of TLS began out of the way of what it says next: what it is asked for stands there in clear.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn record_keep_hellos(record: *mut SocketRecord) -> u32 {
    const WORD: usize = size_of::<u64>();
    const WORDS: usize = ASK_HEAD / WORD;
    // SAFETY: NULL, or the caller's.
    let Some(record) = (unsafe { record.as_mut() }) else {
        return 0;
    };
    let most = |length: u32, most: usize| (length as usize).min(most) as u16;
    record.client_hello = most(record.ask.head_len, TLS_CLIENT_HELLO);
    record.server_hello = most(record.answer.head_len, TLS_SERVER_HELLO);
    set::<{ record_flag::TLS }>(record);
    let head = record.ask_head.as_mut_ptr().cast::<u64>();
    let behind = (TLS_ASK + TLS_SERVER_HELLO) / WORD;
    let mut left = TLS_CLIENT_HELLO / WORD;
    // From its end, for the two places overlap.
    while left > 0 {
        left -= 1;
        let from = core::hint::black_box(left) & (WORDS - 1);
        let to = core::hint::black_box(behind + left) & (WORDS - 1);
        // SAFETY: within the head, which lies at a multiple of 8.
        unsafe { head.add(to).write_volatile(head.add(from).read_volatile()) };
    }
    let answer = record.answer_head.as_ptr().cast::<u64>();
    let mut index = 0;
    while index < TLS_SERVER_HELLO / WORD {
        let from = core::hint::black_box(index) & (ANSWER_HEAD / WORD - 1);
        let to = core::hint::black_box(TLS_ASK / WORD + index) & (WORDS - 1);
        // SAFETY: within the two heads.
        unsafe { head.add(to).write_volatile(answer.add(from).read_volatile()) };
        index += 1;
    }
    0
}

#[inline(always)]
fn begin(flow: &mut Flow, at: u64, messages: u32) {
    flow.turn_pos = at;
    flow.message_pos = at;
    flow.head_len = 0;
    flow.messages = messages;
    flow.interims = 0;
}

/// Bytes moved in the direction of responses. Says whether their head goes on behind what is kept of it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn record_answered(record: *mut SocketRecord, moved: *const Moved) -> u32 {
    // SAFETY: NULL, or the caller's.
    let (Some(record), Some(moved)) = (unsafe { (record.as_mut(), moved.as_ref()) }) else {
        return 0;
    };
    let (bytes, now) = (moved.bytes, moved.now);
    let before = record.answer.total + moved.gap;
    record.answer.total = before + bytes;
    record.answer.last_ns = now;
    if record.answer.first_ns == 0 {
        record.answer.first_ns = now;
    }
    let begins = if record.answer.messages == 0 {
        true
    } else {
        // Further writes of a turn: does one begin the next pipelined response?
        has::<{ record_flag::HTTP }>(record) && payload::first_word(moved) & SEVEN_BYTES == HTTP1
    };
    if begins {
        if record.answer.messages > 0 {
            if is_interim(record) {
                record.answer.interims += 1;
            } else {
                record.further = record.further.wrapping_add(1);
            }
        }
        record.message_ns = now;
        record.answer.message_pos = before;
        record.answer.head_len = 0;
        record.answer.messages += 1;
        record.tail_len = 0;
        clear::<OF_ONE_ANSWER>(record);
    }
    let since = before - record.answer.message_pos;
    let held = record.answer.head_len;
    let mut added = 0;
    if u64::from(held) == since && since < ANSWER_HEAD as u64 {
        added = payload::append_answer(record, moved);
        record.answer.head_len = held + added;
        if record.answer.head_len == 0 {
            set::<{ record_flag::ANSWER_LOST }>(record);
        }
    }
    if begins && added > 0 {
        read_status(record, bytes);
    }
    // The first call whose bytes are not all kept.
    if u64::from(held) == since
        && u64::from(record.answer.head_len) < since + bytes
        && has::<{ record_flag::HTTP }>(record)
        && !long_head::ends_in(record)
    {
        set::<{ record_flag::HEAD_OPEN }>(record);
    }
    if u64::from(record.answer.head_len) == since + bytes || has_enough(record, moved, since + bytes) {
        // The head holds everything, or says enough: no tail is needed.
        clear::<{ record_flag::TAIL_VALID }>(record);
        record.tail_len = 0;
    } else if payload::keep_tail(record, moved) {
        set::<{ record_flag::TAIL_VALID }>(record);
    } else {
        clear::<{ record_flag::TAIL_VALID }>(record);
        record.tail_len = 0;
    }
    u32::from(has::<{ record_flag::HEAD_OPEN }>(record))
}

/// A call that moves responses has been overtaken by one that began a turn while it went on: that has counted what it had
/// moved by then, but so much ([`crate::sockets`]' catching up). Its bytes are of no message that is held, and, where the turn
/// has no response yet, of none of its responses: one that waits for room is written for as long as its client likes.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn record_overtaken(record: *mut SocketRecord, progress: u64, now: u64) -> u32 {
    // SAFETY: NULL, or the caller's.
    let Some(record) = (unsafe { record.as_mut() }) else {
        return 0;
    };
    record.answer.total += progress;
    record.answer.last_ns = now;
    if record.answer.messages == 0 {
        record.answer.turn_pos = record.answer.total;
        record.answer.message_pos = record.answer.total;
    } else {
        clear::<{ record_flag::TAIL_VALID }>(record);
        record.tail_len = 0;
    }
    0
}

/// Whether the head says how long the body is, and nothing but that body can stand in what is not kept of so many bytes. (A
/// short rest may be the next response.)
#[inline(always)]
fn has_enough(record: &SocketRecord, moved: &Moved, bytes: u64) -> bool {
    has::<{ record_flag::LENGTH_SAID }>(record)
        && (bytes - u64::from(record.answer.head_len) > TAIL as u64
            || moved.is_in_two() && payload::ends_a_head(&record.answer_head, record.answer.head_len))
}

/// Flags that say something of the latest response.
const OF_ONE_ANSWER: u32 = OF_LAST_ANSWER | record_flag::INTERIM;
/// Those of them that a new turn takes back.
const OF_LAST_ANSWER: u32 = record_flag::ANSWER_LOST
    | record_flag::TAIL_VALID
    | record_flag::HEAD_OPEN
    | record_flag::LONG_HEAD
    | record_flag::LENGTH_SAID;

/// Whether the head that is held is of an interim response.
#[inline(always)]
fn is_interim(record: &SocketRecord) -> bool {
    let head = &record.answer_head;
    record.answer.head_len >= 12
        && word(head) & SEVEN_BYTES == HTTP1
        && head[9] == b'1'
        && !(head[10] == b'0' && head[11] == b'1')
}

/// A response has begun: is it interim, does it switch protocols?
#[inline(always)]
fn read_status(record: &mut SocketRecord, bytes: u64) {
    if word(&record.answer_head) & SEVEN_BYTES != HTTP1 {
        if has::<{ record_flag::HTTP }>(record) && record.answer.head_len >= 7 {
            // The rest of an answer before, behind which the next request was read already.
            record.further = record.further.wrapping_sub(1);
        }
        return;
    }
    set::<{ record_flag::HTTP }>(record);
    // "HTTP/1.1 101": the status at 9, its other digits at 10 and 11.
    let (first, second, third) = (
        record.answer_head[9],
        record.answer_head[10],
        record.answer_head[11],
    );
    if first == b'1' {
        if second == b'0' && third == b'1' {
            set::<{ record_flag::SWITCHED }>(record);
        } else if bytes <= INTERIM_MOST && payload::ends_a_head(&record.answer_head, record.answer.head_len) {
            // RFC 9110 section 15.2: the final response follows. The turn goes on.
            set::<{ record_flag::INTERIM }>(record);
            record.answer.message_pos = record.answer.total;
            record.answer.head_len = 0;
            record.answer.messages -= 1;
        }
    } else if first == b'2' && word(&record.ask_head) == CONNECT {
        set::<{ record_flag::SWITCHED }>(record);
    }
}
