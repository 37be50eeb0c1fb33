//! HTTP/2 in clear: a walk over the frame headers of each call's bytes, which keeps who is open.
//!
//! It reads frame headers, the few bytes of `RST_STREAM` and GOAWAY that decide, and header blocks, which it
//! keeps for userspace to decode. Everything else it steps over. Where it does not know any more where frames
//! begin, it says so and stops for good.
//!
//! The state of the loop lies in map memory, read and written volatile: so each round looks alike to the
//! verifier, which else follows every way through every round. It gives up where more than 8192 branches are
//! still to be followed, so a round may have some thirty: hence arithmetic and [`RULES`] instead of branches.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use drainwatch_ebpf::{
    ANSWER_HEAD, SocketRecord, counter,
    http2::{CHUNK, Http2, Http2Answers, Http2Flow, Http2Log, NO_STREAM, PARTIAL, STREAMS, walk_lost},
};

macro_rules! get {
    ($base:ident . $field:ident) => {
        // SAFETY: a field of a map's value; volatile, so that no state of the loop stays in a register.
        unsafe { (&raw const (*$base).$field).read_volatile() }
    };
}

macro_rules! set {
    ($base:ident . $field:ident = $value:expr) => {{
        let value = $value;
        // SAFETY: as above.
        unsafe { (&raw mut (*$base).$field).write_volatile(value) }
    }};
}

mod blocks;
mod streams;

use self::{
    blocks::{begin_block, finish_block, keep_block},
    streams::{answers, end_stream, open, reset_stream, stream_at},
};
use crate::{
    kernel::Ptr,
    maps::{self, count},
    payload::{self, Vector, bounded},
    record,
};

/// Pieces that are looked at in one call: this times as many. A piece is a header with what can be stepped over,
/// a header block, a vector.
const ROUNDS: u32 = 32;
/// The client's preface, `PRI * HTTP/2.0` and so on (RFC 9113 section 3.4).
const PREFACE: u32 = 24;
const PREFACE_BEGINS: [u64; 2] = [
    u64::from_le_bytes(*b"PRI * HT"),
    u64::from_le_bytes(*b"TP/2.0\r\n"),
];
const HEADER: u32 = 9;
/// Header, last stream and code of a GOAWAY.
const GOAWAY_BEGINS: u32 = HEADER + 8;
/// The code of a stream that was refused before anything was done for it (RFC 9113 section 7).
const REFUSED_STREAM: u32 = 7;
/// Header and code of a `RST_STREAM`.
const RESET: u32 = HEADER + 4;

/// Frame types (RFC 9113 section 6).
mod kind {
    pub const DATA: usize = 0;
    pub const HEADERS: usize = 1;
    pub const PRIORITY: usize = 2;
    pub const RST_STREAM: usize = 3;
    pub const SETTINGS: usize = 4;
    pub const PUSH_PROMISE: usize = 5;
    pub const PING: usize = 6;
    pub const GOAWAY: usize = 7;
    pub const WINDOW_UPDATE: usize = 8;
    pub const CONTINUATION: usize = 9;
}

/// What holds of a frame type, packed.
mod rule {
    /// Its length, where it has only one.
    pub const LENGTH: u32 = 0x3f;
    /// 1: it is a promise of a stream, with the header block of a request that nobody sent.
    pub const PROMISE: u32 = 7;
    /// 1: it has only one.
    pub const EXACT: u32 = 8;
    /// 1: it belongs to a stream.
    pub const OF_STREAM: u32 = 9;
    /// 1: it belongs to the connection.
    pub const OF_CONNECTION: u32 = 10;
    /// 1: it may end a stream.
    pub const MAY_END: u32 = 11;
    /// 1: it has a header block, which may go on in CONTINUATION.
    pub const BLOCK: u32 = 12;
    /// 1: it is HEADERS.
    pub const HEADERS: u32 = 13;
    /// 1: it is CONTINUATION.
    pub const CONTINUATION: u32 = 14;
    /// 1: it may not be a direction's first.
    pub const NOT_FIRST: u32 = 15;
    /// Bytes that are wanted of it, its header among them: the beginning of its payload decides something.
    pub const WANTED: u32 = 16;
}

/// By frame type. Those that nobody knows are to be ignored, and are no first frames.
#[unsafe(no_mangle)]
static RULES: [u32; 256] = {
    const fn bit(of: u32) -> u32 {
        1 << of
    }
    const OF_STREAM: u32 = bit(rule::OF_STREAM) | bit(rule::NOT_FIRST);
    const OF_CONNECTION: u32 = bit(rule::OF_CONNECTION) | bit(rule::NOT_FIRST);
    const EXACT: u32 = bit(rule::EXACT);
    let mut rules = [bit(rule::NOT_FIRST); 256];
    rules[kind::DATA] = OF_STREAM | bit(rule::MAY_END);
    rules[kind::HEADERS] = OF_STREAM | bit(rule::MAY_END) | bit(rule::BLOCK) | bit(rule::HEADERS);
    rules[kind::PRIORITY] = OF_STREAM | EXACT | 5;
    rules[kind::RST_STREAM] = OF_STREAM | EXACT | 4 | RESET << rule::WANTED;
    rules[kind::SETTINGS] = bit(rule::OF_CONNECTION);
    rules[kind::PUSH_PROMISE] = OF_STREAM | bit(rule::BLOCK) | bit(rule::PROMISE);
    rules[kind::PING] = OF_CONNECTION | EXACT | 8;
    rules[kind::GOAWAY] = OF_CONNECTION | GOAWAY_BEGINS << rule::WANTED;
    rules[kind::WINDOW_UPDATE] = bit(rule::NOT_FIRST) | EXACT | 4;
    rules[kind::CONTINUATION] = OF_STREAM | bit(rule::BLOCK) | bit(rule::CONTINUATION);
    rules
};

/// Bits of a frame's flags: `END_STREAM`, `END_HEADERS`, `PADDED`, `PRIORITY`.
mod flag {
    pub const END_STREAM: u32 = 0;
    pub const END_HEADERS: u32 = 2;
    pub const PADDED: u32 = 3;
    pub const PRIORITY: u32 = 5;
}

/// 0 or 1: a bit of a word.
#[inline(always)]
fn bit(word: u32, at: u32) -> u32 {
    (word >> at) & 1
}

/// 0 or 1: whether a number below 2^32 is none, without a branch.
#[inline(always)]
fn some(number: u32) -> u32 {
    ((u64::from(number) + 0xffff_ffff) >> 32) as u32
}

/// What moved in one call on a connection that speaks HTTP/2.
#[derive(Clone, Copy)]
pub struct Moved {
    /// In the direction of requests.
    pub asks: bool,
    pub sending: bool,
    /// Bytes before it that no hook saw.
    pub gap: u64,
    pub bytes: u64,
    /// The kernel's position has moved by less: another call's bytes are counted with it.
    pub overtaken: bool,
    pub now: u64,
}

/// Whether the first bytes of a connection's requests are the preface of HTTP/2.
#[inline(always)]
pub fn begin(record: &SocketRecord) -> bool {
    let head = record.ask_head.as_ptr().cast::<u64>();
    // SAFETY: the head has more than 16 bytes and lies at a multiple of 8.
    unsafe { head.read() == PREFACE_BEGINS[0] && head.add(1).read() == PREFACE_BEGINS[1] }
}

/// A connection is found to speak HTTP/2, by the bytes of the call at hand.
#[inline(always)]
pub fn first(sk: Ptr, record: &mut SocketRecord, moved: &Moved) {
    // The logs first: where one is missing, nothing is kept.
    let logs = maps::http2_log_or_create(sk).is_some() && maps::http2_answers_or_create(sk).is_some();
    let http2 = if logs { maps::http2_or_create(sk) } else { None };
    if let Some(http2) = http2 {
        let (ask, answer) = (flow::<true>(http2), flow::<false>(http2));
        set!(ask.until = PREFACE);
        set!(ask.slot = NO_STREAM);
        set!(answer.slot = NO_STREAM);
        greeted(http2, record, record.answer.total);
    }
    // Now the server, which may speak at the same time, is walked over, too.
    record::set::<{ drainwatch_ebpf::record_flag::HTTP2 }>(record);
    if let Some(http2) = http2 {
        walk_over(sk, http2, record, moved);
    }
}

/// The server spoke first, as it may: what it wrote, so many bytes, stands in the head of the response.
#[inline(always)]
fn greeted(http2: *mut Http2, record: &SocketRecord, total: u64) {
    if total > 0 {
        http2_greeted(http2, record, total);
    }
}

/// A function of its own, for two ways lead here.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn http2_greeted(http2: *mut Http2, record: *const SocketRecord, total: u64) -> u32 {
    // SAFETY: NULL, or the caller's.
    let Some(record) = (unsafe { record.as_ref() }) else {
        return 0;
    };
    if http2.is_null() {
        return 0;
    }
    let mut at = 0_u64;
    let mut frames = 0;
    let mut settings = true;
    while frames < 4 && at + u64::from(HEADER) <= total {
        let byte = |index: u64| {
            let index = core::hint::black_box(at + index) as usize & (ANSWER_HEAD - 1);
            // SAFETY: within the head.
            u64::from(unsafe { record.answer_head.as_ptr().add(index).read_volatile() })
        };
        let kind = byte(3) as u32;
        settings &= kind == kind::SETTINGS as u32 || (frames > 0 && kind == kind::WINDOW_UPDATE as u32);
        at += u64::from(HEADER) + (byte(0) << 16 | byte(1) << 8 | byte(2));
        frames += 1;
    }
    if !settings || at < total || total > ANSWER_HEAD as u64 {
        lose::<false>(http2, walk_lost::UNSEEN);
        return 0;
    }
    let answer = flow::<false>(http2);
    set!(answer.begun = 1);
    set!(answer.until = (at - total) as u32);
    set!(answer.walked = total);
    0
}

/// Something moved on a connection that speaks HTTP/2.
#[inline(always)]
pub fn moved(sk: Ptr, tcp: Ptr, record: &mut SocketRecord, moved: &Moved) {
    let direction = if moved.asks {
        &mut record.ask
    } else {
        &mut record.answer
    };
    let before = direction.total;
    direction.total = before + moved.gap + moved.bytes;
    direction.last_ns = moved.now;
    if direction.first_ns == 0 {
        direction.first_ns = moved.now;
    }
    let Some(http2) = maps::http2(sk) else { return };
    if get!(http2.lost) != 0 {
        return;
    }
    if !moved.asks {
        let answer = flow::<false>(http2);
        // What it wrote while another CPU found out what is spoken.
        if get!(answer.walked) != before {
            greeted(http2, record, before);
        }
    }
    walk_over(sk, http2, record, moved);
    // Only what a server writes makes any of it new.
    if moved.asks {
        return;
    }
    let answers = blocks::of::<false>(http2);
    let many = get!(http2.finished).wrapping_sub(get!(http2.finished_told)) >= STREAMS as u32 / 2;
    // Of the log of responses one half may be written over from now on.
    let full = get!(answers.generation) != get!(answers.told);
    if (many || full) && maps::drains(record.cgroup, record.tgid) {
        crate::emit::streams(sk, tcp, record, http2);
        set!(http2.finished_told = get!(http2.finished));
        set!(answers.told = get!(answers.generation));
        set!(http2.told_ns = moved.now);
    }
}

#[inline(always)]
fn walk_over(sk: Ptr, http2: *mut Http2, record: &SocketRecord, moved: &Moved) {
    if moved.asks {
        let Some(log) = maps::http2_log(sk) else { return };
        if start::<true>(http2, moved) {
            let more = http2_walk_asked(http2, log, moved.now);
            walked::<true>(http2, more);
        }
    } else {
        let Some(log) = maps::http2_answers(sk) else {
            return;
        };
        if start::<false>(http2, moved) {
            let more = http2_walk_answered(http2, log, moved.now, record.cgroup, record.tgid);
            walked::<false>(http2, more);
        }
    }
}

/// The walk over a call has come as far as it goes.
#[inline(always)]
fn walked<const ASKS: bool>(http2: *mut Http2, more: u32) {
    if more != 0 {
        lose::<ASKS>(http2, walk_lost::LONG_CALL);
    }
    // SAFETY: as in `lose`.
    if u32::from(unsafe { lost::<ASKS>(http2).read_volatile() }) & walk_lost::FAULT != 0 {
        count(counter::LOST_PAYLOAD);
    }
}

/// Points the walk at the bytes of the call; says whether it knows where they belong.
#[inline(always)]
fn start<const ASKS: bool>(http2: *mut Http2, moved: &Moved) -> bool {
    if moved.overtaken {
        lose::<ASKS>(http2, walk_lost::UNSEEN);
        return false;
    }
    let buffers = payload::buffers(moved.bytes, moved.sending);
    let flow = flow::<ASKS>(http2);
    let known = buffers.first.length > 0 || buffers.vectors > 0;
    let unseen = if known { moved.gap } else { moved.gap + moved.bytes };
    set!(flow.walked = get!(flow.walked) + moved.gap + moved.bytes);
    set!(flow.at = buffers.first.base);
    set!(flow.here = buffers.first.length);
    set!(flow.vector = buffers.address);
    set!(flow.vectors = buffers.vectors);
    set!(flow.left = if known { moved.bytes } else { 0 });
    if unseen > 0 {
        let until = get!(flow.until);
        let inside = get!(flow.wanted) | get!(flow.skip) | get!(flow.block_left);
        if unseen > u64::from(until) || inside != 0 {
            lose::<ASKS>(http2, walk_lost::UNSEEN);
            set!(flow.left = 0);
        } else {
            set!(flow.until = until - unseen as u32);
        }
    }
    true
}

#[inline(always)]
fn flow<const ASKS: bool>(http2: *mut Http2) -> *mut Http2Flow {
    // SAFETY: fields of a map's value.
    unsafe {
        if ASKS {
            &raw mut (*http2).ask
        } else {
            &raw mut (*http2).answer
        }
    }
}

/// What a direction has lost: its half of [`Http2::lost`], which nobody else writes.
#[inline(always)]
fn lost<const ASKS: bool>(http2: *mut Http2) -> *mut u16 {
    // SAFETY: within the field.
    unsafe { (&raw mut (*http2).lost).cast::<u16>().add(usize::from(!ASKS)) }
}

#[inline(always)]
fn lose<const ASKS: bool>(http2: *mut Http2, why: u32) {
    let lost = lost::<ASKS>(http2);
    // SAFETY: of a map's value; volatile as all of the walk's state.
    unsafe { lost.write_volatile(lost.read_volatile() | why as u16) };
}

/// Repeats a step that says whether there is more. The verifier compares each round's state with those of all
/// rounds before it; so many rounds are rounds of rounds, each level a function that it looks at once.
#[inline(always)]
fn repeat(step: impl Fn() -> u32) -> u32 {
    let mut rounds = 0;
    while rounds < ROUNDS {
        if step() == 0 {
            return 0;
        }
        rounds += 1;
    }
    1
}

/// All steps in the direction of requests.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn http2_walk_asked(http2: *mut Http2, log: *mut Http2Log, now: u64) -> u32 {
    repeat(|| http2_steps_asked(http2, log, now))
}

/// All steps in the direction of responses.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn http2_walk_answered(
    http2: *mut Http2,
    log: *mut Http2Answers,
    now: u64,
    cgroup: u64,
    tgid: u32,
) -> u32 {
    repeat(|| http2_steps_answered(http2, log, now, cgroup, tgid))
}

/// Some steps in the direction of requests.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn http2_steps_asked(http2: *mut Http2, log: *mut Http2Log, now: u64) -> u32 {
    repeat(|| http2_step_asked(http2, log, now))
}

/// Some steps in the direction of responses.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn http2_steps_answered(
    http2: *mut Http2,
    log: *mut Http2Answers,
    now: u64,
    cgroup: u64,
    tgid: u32,
) -> u32 {
    repeat(|| http2_step_answered(http2, log, now, cgroup, tgid))
}

/// A step in the direction of requests: a global function, which the verifier looks at once for all rounds.
/// (Without arguments that it does not use: callers would leave them unset, and be refused.)
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn http2_step_asked(http2: *mut Http2, log: *mut Http2Log, now: u64) -> u32 {
    if http2.is_null() || log.is_null() {
        return 0;
    }
    u32::from(step::<true>(http2, log.cast(), now, 0, 0))
}

/// A step in the direction of responses.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn http2_step_answered(
    http2: *mut Http2,
    log: *mut Http2Answers,
    now: u64,
    cgroup: u64,
    tgid: u32,
) -> u32 {
    if http2.is_null() || log.is_null() {
        return 0;
    }
    u32::from(step::<false>(http2, log.cast(), now, cgroup, tgid))
}

/// One piece. Says whether there is more. `log` is that of the direction.
#[inline(always)]
fn step<const ASKS: bool>(http2: *mut Http2, log: *mut u8, now: u64, cgroup: u64, tgid: u32) -> bool {
    let flow = flow::<ASKS>(http2);
    if get!(flow.ends) != 0 && get!(flow.until) == 0 {
        end_stream::<ASKS>(http2, now);
        set!(flow.ends = 0);
    }
    // SAFETY: as in `lose`.
    if get!(flow.left) == 0 || unsafe { lost::<ASKS>(http2).read_volatile() } != 0 {
        return false;
    }
    if get!(flow.here) == 0 {
        next_vector::<ASKS>(http2);
    } else if get!(flow.until) == 0 {
        at_header::<ASKS>(http2, now);
    } else {
        inside::<ASKS>(http2, log, now, cgroup, tgid);
    }
    true
}

#[inline(always)]
fn next_vector<const ASKS: bool>(http2: *mut Http2) {
    let flow = flow::<ASKS>(http2);
    let (address, vectors) = (get!(flow.vector), get!(flow.vectors));
    let mut vector = Vector::none();
    if vectors == 0 {
        lose::<ASKS>(http2, walk_lost::FAULT);
        return;
    }
    // SAFETY: the helper writes so many bytes.
    let failed = unsafe {
        bpf_probe_read_user(
            (&raw mut vector).cast(),
            size_of::<Vector>() as u32,
            address as *const _,
        )
    };
    lose_where_failed::<ASKS>(http2, failed);
    set!(flow.vector = address + size_of::<Vector>() as u64);
    set!(flow.vectors = vectors - 1);
    set!(flow.at = vector.base);
    let left = get!(flow.left);
    set!(flow.here = if vector.length < left { vector.length } else { left });
}

/// What was read is garbage then, and what is made of it in this round is looked at by nobody.
#[inline(always)]
fn lose_where_failed<const ASKS: bool>(http2: *mut Http2, result: i64) {
    lose::<ASKS>(http2, (result >> 63) as u32 & walk_lost::FAULT);
}

/// Goes on by some bytes.
#[inline(always)]
fn advance(flow: *mut Http2Flow, bytes: u32) {
    let bytes = u64::from(bytes);
    set!(flow.at = get!(flow.at) + bytes);
    set!(flow.here = get!(flow.here) - bytes);
    set!(flow.left = get!(flow.left) - bytes);
}

/// The smaller of what is wanted and what this buffer has.
#[inline(always)]
fn available(flow: *mut Http2Flow, wanted: u32) -> u32 {
    let here = get!(flow.here);
    if here < u64::from(wanted) {
        here as u32
    } else {
        wanted
    }
}

/// Appends to the partial header; says how many bytes there are now, and how many came.
#[inline(always)]
fn hold<const ASKS: bool>(http2: *mut Http2, flow: *mut Http2Flow, wanted: u32) -> (u32, u32) {
    let held = get!(flow.held);
    let bytes = available(flow, wanted.wrapping_sub(held));
    let at = core::hint::black_box(held as usize) & (PARTIAL / 2 - 1);
    // SAFETY: at most the second half's end.
    let into = unsafe { (&raw mut (*flow).partial).cast::<u8>().add(at) };
    read_bytes::<ASKS>(http2, into, bounded(bytes as usize, PARTIAL / 2), get!(flow.at));
    let held = held + bytes;
    set!(flow.held = held);
    (held, bytes)
}

#[inline(always)]
fn read_bytes<const ASKS: bool>(http2: *mut Http2, into: *mut u8, length: usize, from: u64) {
    // SAFETY: the callers bound the length by the room.
    let result = unsafe { bpf_probe_read_user(into.cast(), length as u32, from as *const _) };
    lose_where_failed::<ASKS>(http2, result);
}

/// Within a frame.
#[inline(always)]
fn inside<const ASKS: bool>(http2: *mut Http2, log: *mut u8, now: u64, cgroup: u64, tgid: u32) {
    let flow = flow::<ASKS>(http2);
    let wanted = get!(flow.wanted);
    let bytes = if wanted != 0 {
        let (held, bytes) = hold::<ASKS>(http2, flow, wanted);
        if held == wanted {
            if wanted == RESET {
                reset_stream::<ASKS>(http2, now, cgroup, tgid);
            } else {
                goes_away(flow);
            }
            set!(flow.held = 0);
            set!(flow.wanted = 0);
        }
        bytes
    } else if get!(flow.skip) != 0 {
        let bytes = available(flow, get!(flow.skip));
        set!(flow.skip = get!(flow.skip) - bytes);
        bytes
    } else if get!(flow.block_left) != 0 {
        let left = get!(flow.block_left);
        let most = if left < CHUNK as u32 { left } else { CHUNK as u32 };
        let bytes = available(flow, most);
        let left = get!(flow.block_left) - bytes;
        set!(flow.block_left = left);
        keep_block::<ASKS>(http2, log, bytes);
        if left | get!(flow.continues) == 0 {
            finish_block::<ASKS>(http2, log, cgroup, tgid);
        }
        bytes
    } else {
        available(flow, get!(flow.until))
    };
    set!(flow.until = get!(flow.until) - bytes);
    advance(flow, bytes);
}

/// Where a frame begins.
#[inline(always)]
fn at_header<const ASKS: bool>(http2: *mut Http2, now: u64) {
    let flow = flow::<ASKS>(http2);
    let (held, bytes) = hold::<ASKS>(http2, flow, HEADER);
    advance(flow, bytes);
    if held == HEADER {
        header::<ASKS>(http2, now);
        if get!(flow.wanted) | get!(flow.skip) | get!(flow.block_left) == 0 {
            let bytes = available(flow, get!(flow.until));
            set!(flow.until = get!(flow.until) - bytes);
            advance(flow, bytes);
        }
    }
}

#[inline(always)]
fn header<const ASKS: bool>(http2: *mut Http2, now: u64) {
    let flow = flow::<ASKS>(http2);
    // SAFETY: within the partial header, which lies at a multiple of 8.
    let (word, last) = unsafe {
        let partial = (&raw const (*flow).partial).cast::<u8>();
        (
            partial.cast::<u64>().read_volatile(),
            partial.add(8).read_volatile(),
        )
    };
    let word = u64::from_be(word);
    let length = (word >> 40) as u32;
    let kind = (word >> 32) as usize & 0xff;
    let flags = (word >> 24) as u32 & 0xff;
    let stream = ((word as u32) << 8 | u32::from(last)) & 0x7fff_ffff;
    // SAFETY: a static of ours; the index is below 256.
    let rule = unsafe { (&raw const RULES).cast::<u32>().add(kind).read_volatile() };

    // Whatever is not as it must be shows that no frame begins here (or that the peers will part anyway).
    let continues = get!(flow.continues);
    let goes_on = bit(rule, rule::CONTINUATION);
    let not_its_length = (length ^ (rule & rule::LENGTH)) * bit(rule, rule::EXACT);
    let not_its_place =
        (some(stream) ^ 1) & bit(rule, rule::OF_STREAM) | some(stream) & bit(rule, rule::OF_CONNECTION);
    let not_its_turn = (some(continues) ^ goes_on) | ((continues ^ stream) * goes_on);
    let not_its_first = (get!(flow.begun) ^ 1) & bit(rule, rule::NOT_FIRST);
    let wrong = not_its_length | not_its_place | not_its_turn | not_its_first;
    let goes_further = bit(flags, flag::END_HEADERS) ^ 1;
    // Clients promise nothing.
    let promises = if ASKS { 0 } else { bit(rule, rule::PROMISE) };
    let skip = (bit(flags, flag::PADDED) + 5 * bit(flags, flag::PRIORITY)) * bit(rule, rule::HEADERS)
        + (bit(flags, flag::PADDED) + 4) * promises;
    let block = bit(rule, rule::HEADERS) | goes_on | promises;
    let block_left = length.wrapping_sub(skip) * block;
    // Of a header block there is something in each frame.
    let empty = block & (block_left.wrapping_sub(1) >> 31);
    lose::<ASKS>(http2, some(wrong | empty) * walk_lost::NO_FRAME);

    let wanted = rule >> rule::WANTED;
    set!(flow.begun = 1);
    set!(flow.until = length);
    set!(flow.stream = stream);
    set!(flow.held = some(wanted) * HEADER);
    set!(flow.wanted = wanted);
    set!(flow.skip = skip);
    set!(flow.block_left = block_left);
    set!(flow.ends = stream * (bit(flags, flag::END_STREAM) & bit(rule, rule::MAY_END)));
    set!(flow.continues = stream * (goes_further & bit(rule, rule::BLOCK)));
    if bit(rule, rule::HEADERS) != 0 {
        begin_block::<ASKS>(http2, length - skip, bit(flags, flag::PADDED));
        let slot = if ASKS {
            asks(http2, stream, now)
        } else {
            answers(http2, bit(flags, flag::END_STREAM), stream)
        };
        set!(flow.slot = slot);
    } else if promises != 0 {
        begin_block::<ASKS>(http2, length - skip, bit(flags, flag::PADDED));
        set!(flow.slot = NO_STREAM);
    }
}

/// A request, or its trailers; the index of a stream that begins.
#[inline(always)]
fn asks(http2: *mut Http2, stream: u32, now: u64) -> u32 {
    // A client's streams have odd numbers.
    lose::<true>(http2, ((stream & 1) ^ 1) * walk_lost::NO_FRAME);
    if stream > get!(http2.last_stream) {
        open(http2, stream, now)
    } else {
        NO_STREAM
    }
}

#[inline(always)]
fn goes_away(flow: *mut Http2Flow) {
    set!(flow.goaway_last = payload_word(flow, HEADER as usize) & 0x7fff_ffff);
    set!(flow.goaways = get!(flow.goaways).wrapping_add(1));
}

/// A word of what is held.
#[inline(always)]
fn payload_word(flow: *mut Http2Flow, at: usize) -> u32 {
    // SAFETY: within the partial header; byte by byte, for it does not lie at a multiple of 4.
    let byte = |index: usize| u32::from(unsafe { (&raw const (*flow).partial[at + index]).read_volatile() });
    byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3)
}
