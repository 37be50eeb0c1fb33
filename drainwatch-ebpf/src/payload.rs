//! The bytes of the system call in flight: where they are, and copies of their first and last ones.
//!
//! The programs run in the task that reads or writes, after the kernel has copied the data, so the
//! user's buffer holds what moved. `bpf_task_pt_regs` gives the call's arguments (5.15 and later).
//! A read of user memory costs about 115 ns whatever its length, so reads are counted, not bytes.

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user, bpf_task_pt_regs};
use drainwatch_ebpf::{ANSWER_HEAD, ASK_HEAD, SocketRecord, TAIL, TLS_ASK, activity, counter, setting};

use crate::{
    globals::setting,
    kernel, length,
    maps::{self, count},
};

/// Most vectors looked at in one call; the tail of a longer one is not known.
const VECTORS: usize = 8;

/// `struct iovec`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Vector {
    pub base: u64,
    pub length: u64,
}

impl Vector {
    /// None. Zeroes that the optimizer does not see: it would call `memset`, which goes byte by byte.
    #[inline(always)]
    pub fn none() -> Self {
        let zero = core::hint::black_box(0);
        Self {
            base: zero,
            length: zero,
        }
    }
}

/// All buffers of the system call in flight; of no length and no vectors when that is not known.
pub struct Buffers {
    /// The only one.
    pub first: Vector,
    /// Address of the vectors.
    pub address: u64,
    /// How many there are.
    pub vectors: u64,
}

/// What a call moved, and where those bytes are; all zero when that is not known. (Not an `Option`: its unset
/// payload would be read by spills that the verifier refuses.)
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Moved {
    /// How many bytes.
    pub bytes: u64,
    /// Bytes before them that no hook saw.
    pub gap: u64,
    pub now: u64,
    /// First buffer that is not empty; of no length when the call carries none. (Erlang begins every `writev` with an
    /// empty one.)
    pub first: Vector,
    /// The next one that is not empty; of no length when there is none.
    pub second: Vector,
    /// One past the last moved byte, when known, else 0.
    end: u64,
    /// Bytes before `end` in the same buffer.
    last_length: u64,
    /// The buffer before that one; of no length when there is none.
    before_last: Vector,
    /// Address of the vectors, and how many there are, where there are any.
    address: u64,
    vectors: u32,
    /// Index behind the vector that is `first`, and behind that which is `second`.
    behind_first: u16,
    behind_second: u16,
}

impl Moved {
    /// Bytes of which it is not known yet where they are.
    #[inline(always)]
    pub fn new(bytes: u64, gap: u64, now: u64) -> Self {
        let none = Vector::none();
        Self {
            bytes,
            gap,
            now,
            first: none,
            second: none,
            end: none.base,
            last_length: none.length,
            before_last: none,
            address: none.base,
            vectors: none.length as u32,
            behind_first: none.length as u16,
            behind_second: none.length as u16,
        }
    }
}

impl Moved {
    /// Whether they stand in two vectors, as a head and its body do.
    #[inline(always)]
    pub fn is_in_two(&self) -> bool {
        self.vectors == 2
    }
}

/// Finds the buffers of the system call in flight that moved these bytes; nowhere when it carries
/// none (`sendfile`, `splice`, `io_uring`) or capture is off.
#[inline(always)]
pub fn find(moved: &mut Moved, sending: bool) {
    let Buffers {
        first,
        address,
        vectors,
    } = buffers(moved.bytes, sending);
    if vectors > 0 {
        moved.address = address;
        moved.vectors = vectors as u32;
        if vectors <= 2 {
            moved_find_in_two(moved, address, vectors);
        } else {
            moved_find_in_vectors(moved, address, vectors);
        }
    } else if first.length > 0 {
        moved.first = first;
        moved.end = first.base + moved.bytes;
        moved.last_length = moved.bytes;
    }
}

/// The buffers of the system call in flight that moved `moved` bytes, as [`find`] finds them.
#[inline(always)]
pub fn buffers(moved: u64, sending: bool) -> Buffers {
    let none = Vector::none();
    let nowhere = Buffers {
        first: none,
        address: none.base,
        vectors: none.length,
    };
    if maps::holding(activity::CAPTURE) == 0 {
        return nowhere;
    }
    // SAFETY: the current task is valid; the registers are read by direct loads, which the verifier
    // checks against `struct pt_regs`.
    let registers = unsafe { bpf_task_pt_regs(kernel::current().cast_mut().cast()) } as *const u64;
    // SAFETY: as above.
    let register = |index: usize| unsafe { registers.add(setting(index) as usize).read_volatile() };
    let number = register(setting::REG_NUMBER);
    let second = register(setting::REG_SECOND);
    let third = register(setting::REG_THIRD);
    let (plain, plain_socket, vectored, message) = if sending {
        (
            setting::SYS_WRITE,
            setting::SYS_SENDTO,
            setting::SYS_WRITEV,
            setting::SYS_SENDMSG,
        )
    } else {
        (
            setting::SYS_READ,
            setting::SYS_RECVFROM,
            setting::SYS_READV,
            setting::SYS_RECVMSG,
        )
    };
    if number == setting(plain) || number == setting(plain_socket) {
        // A worker of io_uring has zeroed registers, which look like an empty read.
        if second == 0 || third < moved {
            return nowhere;
        }
        let first = Vector {
            base: second,
            length: moved,
        };
        Buffers { first, ..nowhere }
    } else if number == setting(vectored) {
        Buffers {
            address: second,
            vectors: third,
            ..nowhere
        }
    } else if number == setting(message) {
        // struct user_msghdr: msg_iov at 16, msg_iovlen at 24.
        let mut vectors = Vector::none();
        if !read_user(second + 16, &mut vectors) {
            return nowhere;
        }
        Buffers {
            address: vectors.base,
            vectors: vectors.length,
            ..nowhere
        }
    } else {
        nowhere
    }
}

/// `length` as the verifier can bound it: between 1 and `most`, a power of two. The value is hidden from
/// the optimizer, which would take the mask away where it can prove what the verifier cannot.
#[inline(always)]
pub fn bounded(length: usize, most: usize) -> usize {
    (core::hint::black_box(length).wrapping_sub(1) & (most - 1)) + 1
}

/// Finds what moved in the vectors of the call. On a stack of its own: verifiers before 6.3 count those of four calls
/// together.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn moved_find_in_vectors(found: *mut Moved, address: u64, count: u64) -> u32 {
    // SAFETY: NULL, or the caller's.
    let Some(found) = (unsafe { found.as_mut() }) else {
        return 0;
    };
    let moved = found.bytes;
    let mut vectors = [Vector::none(); VECTORS];
    let known = if count < VECTORS as u64 {
        count as usize
    } else {
        VECTORS
    };
    let bytes = bounded(known * size_of::<Vector>(), size_of::<[Vector; VECTORS]>());
    // SAFETY: at most the array's size, see the mask; a fault leaves zeroes and an error.
    if unsafe { bpf_probe_read_user((&raw mut vectors).cast(), bytes as u32, address as *const _) } < 0 {
        self::count(counter::LOST_PAYLOAD);
        return 0;
    }
    // From the last one on, so that the first two that are not empty are left.
    let mut index = VECTORS;
    while index > 0 {
        let vector = vectors[index - 1];
        if vector.length > 0 {
            found.second = found.first;
            found.behind_second = found.behind_first;
            found.first = vector;
            found.behind_first = index as u16;
        }
        index -= 1;
    }
    if found.first.length > moved {
        found.first.length = moved;
    }
    let behind = moved - found.first.length;
    if found.second.length > behind {
        found.second.length = behind;
    }
    // The vector in which the moved bytes end: the first one up to which the lengths reach `moved`.
    let mut before = 0;
    let mut previous = Vector::none();
    let mut index = 0;
    while index < VECTORS {
        let vector = vectors[index];
        if before < moved && before + vector.length >= moved {
            found.end = vector.base + (moved - before);
            found.last_length = moved - before;
            found.before_last = previous;
        }
        if vector.length > 0 {
            previous = vector;
        }
        before += vector.length;
        index += 1;
    }
    0
}

/// The same in one vector or two, which are most calls' (a head, and a body): without a loop.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn moved_find_in_two(found: *mut Moved, address: u64, count: u64) -> u32 {
    // SAFETY: NULL, or the caller's.
    let Some(found) = (unsafe { found.as_mut() }) else {
        return 0;
    };
    let mut vectors = [Vector::none(); 2];
    let bytes = bounded(count as usize * size_of::<Vector>(), size_of::<[Vector; 2]>());
    // SAFETY: at most the array's size, see the mask; a fault leaves zeroes and an error.
    if unsafe { bpf_probe_read_user((&raw mut vectors).cast(), bytes as u32, address as *const _) } < 0 {
        self::count(counter::LOST_PAYLOAD);
        return 0;
    }
    let moved = found.bytes;
    let [mut first, mut second] = vectors;
    let mut behind = 1;
    if first.length == 0 {
        first = second;
        second = Vector::none();
        behind = 2;
    }
    if first.length >= moved {
        first.length = moved;
        second.length = 0;
        found.end = first.base + moved;
        found.last_length = moved;
    } else {
        let left = moved - first.length;
        if second.length >= left {
            second.length = left;
            found.end = second.base + left;
            found.last_length = left;
            found.before_last = first;
        }
    }
    found.first = first;
    found.second = second;
    found.behind_first = behind;
    found.behind_second = 2;
    0
}

/// Reads the vector at an index; says the index behind it, and 0 where there is none.
#[inline(always)]
fn vector_at(moved: &Moved, index: u64, vector: &mut Vector) -> u64 {
    if index >= u64::from(moved.vectors)
        || !read_user(moved.address + index * size_of::<Vector>() as u64, vector)
    {
        return 0;
    }
    index + 1
}

#[inline(always)]
fn read_user<T: Copy>(address: u64, into: &mut T) -> bool {
    // SAFETY: the helper writes size_of::<T>() bytes, zeroes when it fails; T is plain data.
    let failed = unsafe {
        bpf_probe_read_user(
            core::ptr::from_mut(into).cast(),
            size_of::<T>() as u32,
            address as *const _,
        )
    } < 0;
    if failed {
        count(counter::LOST_PAYLOAD);
    }
    !failed
}

/// First eight bytes of what moved; zero when they are fewer, or not known.
#[inline(always)]
pub fn first_word(moved: &Moved) -> u64 {
    let mut word = 0;
    if moved.first.length >= 8 {
        read_user(moved.first.base, &mut word);
    }
    word
}

/// First four bytes of what moved, and how many of them there are; none where they are not known.
#[inline(always)]
pub fn first_bytes(moved: &Moved) -> ([u8; 4], usize) {
    let mut bytes = [0; 4];
    if moved.first.length == 0 {
        return (bytes, 0);
    }
    let length = if moved.first.length < 4 {
        moved.first.length as usize
    } else {
        4
    };
    let length = bounded(length, 4);
    // SAFETY: at most the array's size; a fault leaves zeroes and an error.
    let failed = unsafe {
        bpf_probe_read_user(
            bytes.as_mut_ptr().cast(),
            length as u32,
            moved.first.base as *const _,
        )
    } < 0;
    if failed {
        count(counter::LOST_PAYLOAD);
        return (bytes, 0);
    }
    (bytes, length)
}

/// Appends to a head of `CAP` bytes that holds `filled` so far; returns how many bytes were added.
///
/// The first read may fill the head. A later one adds at most half of the head where at most half is held, a
/// quarter where three quarters are, and so on: bounds that the verifier can follow without relating two
/// variables.
#[inline(always)]
fn append<const CAP: usize>(head: &mut [u8; CAP], filled: u32, from: &Vector) -> u32 {
    let (half, quarter, eighth) = (CAP / 2, CAP / 4, CAP / 8);
    let wanted = from.length;
    if wanted == 0 {
        return 0;
    }
    let filled = core::hint::black_box(filled as usize);
    let (at, most) = if filled == 0 {
        (0, CAP)
    } else if filled < half {
        (filled & (half - 1), half)
    } else if filled < half + quarter {
        (half + (filled & (quarter - 1)), quarter)
    } else if filled < half + quarter + eighth {
        (half + quarter + (filled & (eighth - 1)), eighth)
    } else {
        return 0;
    };
    let length = if wanted < most as u64 {
        wanted as usize
    } else {
        most
    };
    let length = bounded(length, most);
    // SAFETY: at + length <= CAP in both cases.
    let failed = unsafe {
        bpf_probe_read_user(
            head.as_mut_ptr().add(at).cast(),
            length as u32,
            from.base as *const _,
        )
    } < 0;
    if failed {
        count(counter::LOST_PAYLOAD);
        return 0;
    }
    length as u32
}

/// [`append`] to the head of the asking direction.
#[inline(always)]
pub fn append_ask(record: &mut SocketRecord, moved: &Moved) -> u32 {
    let held = record.ask.head_len;
    let first = append::<ASK_HEAD>(&mut record.ask_head, held, &moved.first);
    if u32::from(moved.behind_first) >= moved.vectors
        || u64::from(first) != moved.first.length
        || ends_a_head(&record.ask_head, held + first)
    {
        return first;
    }
    record_append_pieces(record, moved, held + first, ASK).wrapping_sub(held)
}

/// [`append`] to what is kept of a turn of TLS: its first buffer shows how long its first records are.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn record_append_tls(record: *mut SocketRecord, base: u64, length: u64) -> u32 {
    // SAFETY: NULL, or the caller's.
    let Some(record) = (unsafe { record.as_mut() }) else {
        return 0;
    };
    // SAFETY: the head begins with as many bytes.
    let head = unsafe { &mut *record.ask_head.as_mut_ptr().cast::<[u8; TLS_ASK]>() };
    append::<TLS_ASK>(head, record.ask.head_len, &Vector { base, length })
}

/// [`append`] to the head of the answering direction.
#[inline(always)]
pub fn append_answer(record: &mut SocketRecord, moved: &Moved) -> u32 {
    let held = record.answer.head_len;
    let first = append::<ANSWER_HEAD>(&mut record.answer_head, held, &moved.first);
    // A head in two vectors, or a short body behind it: what is held whole needs no tail of its own.
    let next = &moved.second;
    let said = held == 0 && length::record_find_length(record, first) != 0;
    if first == 0
        || u64::from(first) < moved.first.length
        || next.length == 0
        || (next.length > SHORT || said && moved.is_in_two())
            && ends_a_head(&record.answer_head, held + first)
    {
        return first;
    }
    let both = first + append::<ANSWER_HEAD>(&mut record.answer_head, held + first, next);
    let kept = &record.answer_head;
    if u32::from(moved.behind_second) >= moved.vectors
        || u64::from(both) < moved.first.length + next.length
        || ends_a_head(kept, held + first)
        || ends_a_head(kept, held + both)
    {
        return both;
    }
    record_append_pieces(record, moved, held + both, ANSWER).wrapping_sub(held)
}

/// A second vector that is longer, behind a whole head, is a body, of which the tail says enough.
const SHORT: u64 = ANSWER_HEAD as u64 / 4;
/// Most vectors of which a head is put together: Varnish has some three for each line.
const PIECES: u32 = 96;
/// Directions, as numbers.
const ASK: u32 = 0;
const ANSWER: u32 = 1;

/// Whether what is held of a head, so many bytes, ends with an empty line.
#[inline(always)]
pub fn ends_a_head<const CAP: usize>(head: &[u8; CAP], length: u32) -> bool {
    let at = core::hint::black_box(length as usize).wrapping_sub(4) & (CAP - 1);
    // SAFETY: within the head but for its last three places, where it wraps and nothing is read.
    at <= CAP - 4
        && unsafe { head.as_ptr().add(at).cast::<u32>().read_unaligned() } == u32::from_le_bytes(*b"\r\n\r\n")
}

/// Appends what stands in the further vectors of the call at hand, up to the end of the head, or what there is
/// room for; says how many bytes are kept then. A head of which `held` bytes are kept by now.
///
/// It lives on little stack: verifiers before 6.3 count 320 bytes below it, of 512.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn record_append_pieces(
    record: *mut SocketRecord,
    moved: *const Moved,
    held: u32,
    direction: u32,
) -> u32 {
    // SAFETY: NULL, or the caller's.
    let (Some(record), Some(moved)) = (unsafe { (record.as_mut(), moved.as_ref()) }) else {
        return held;
    };
    let mut now = held | direction << 31;
    let mut left = moved.bytes.saturating_sub(moved.first.length);
    let mut index = u64::from(moved.behind_first);
    if direction != ASK {
        left = left.saturating_sub(moved.second.length);
        index = u64::from(moved.behind_second);
    }
    let mut pieces = 0;
    while pieces < PIECES {
        if left == 0 {
            break;
        }
        pieces += 1;
        let mut vector = Vector::none();
        index = vector_at(moved, index, &mut vector);
        if index == 0 {
            break;
        }
        if vector.length > left {
            vector.length = left;
        }
        left -= vector.length;
        let added = record_append_piece(record, vector.base, vector.length, now);
        now += added & !ENDS;
        if u64::from(added & !ENDS) != vector.length || added & ENDS != 0 {
            break;
        }
    }
    now & !ENDS
}

/// Said of a piece with which the head ends, beside its length.
const ENDS: u32 = 1 << 31;

/// Appends one piece to a head of which so many bytes are held (and, in the highest bit, its direction); says how many
/// bytes, and whether the head ends with them.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn record_append_piece(record: *mut SocketRecord, base: u64, length: u64, held: u32) -> u32 {
    // SAFETY: NULL, or the caller's.
    let Some(record) = (unsafe { record.as_mut() }) else {
        return 0;
    };
    let piece = Vector { base, length };
    let direction = held >> 31;
    let held = held & !ENDS;
    let (added, ends) = if direction == ASK {
        let added = append::<ASK_HEAD>(&mut record.ask_head, held, &piece);
        (added, ends_a_head(&record.ask_head, held + added))
    } else {
        let added = append::<ANSWER_HEAD>(&mut record.answer_head, held, &piece);
        (added, ends_a_head(&record.answer_head, held + added))
    };
    if ends && added > 0 { added | ENDS } else { added }
}

/// A last buffer shorter than this does not show whether a chunked body has ended: `\r\n0\r\n\r\n`.
const ENOUGH: u64 = 7;

/// Keeps the last bytes that moved, behind what the tail holds already when they are few.
/// Returns false when they are not known.
#[inline(always)]
pub fn keep_tail(record: &mut SocketRecord, moved: &Moved) -> bool {
    if moved.end == 0 || moved.last_length == 0 {
        return false;
    }
    if record.tail_len >= 8 {
        // SAFETY: the last eight bytes of the tail, which ends at TAIL, a multiple of 8 as its place in the record.
        record.before_last = unsafe { record.tail.as_ptr().add(TAIL - 8).cast::<[u8; 8]>().read() };
    }
    let before = &moved.before_last;
    if moved.last_length < ENOUGH
        && before.length > 0
        && !push(record, before.base + before.length, before.length)
    {
        return false;
    }
    push(record, moved.end, moved.last_length)
}

/// Pushes the bytes before `end` into the tail; `length` of them are in that buffer.
#[inline(always)]
fn push(record: &mut SocketRecord, end: u64, length: u64) -> bool {
    let length = if length < TAIL as u64 {
        length as usize
    } else {
        TAIL
    };
    let length = bounded(length, TAIL);
    let tail = record.tail.as_mut_ptr();
    // SAFETY: the tail has twice TAIL bytes: TAIL - length + length <= TAIL; the verifier sees at most
    // 15 + 16. The copy within it goes downwards, as the helper copies upwards.
    unsafe {
        if length < TAIL && record.tail_len > 0 {
            bpf_probe_read_kernel(tail.cast(), TAIL as u32, tail.add(length).cast());
        } else {
            record.tail_len = 0;
        }
        let at = core::hint::black_box(TAIL - length) & (TAIL - 1);
        if bpf_probe_read_user(
            tail.add(at).cast(),
            length as u32,
            (end - length as u64) as *const _,
        ) < 0
        {
            count(counter::LOST_PAYLOAD);
            return false;
        }
    }
    let held = record.tail_len as usize + length;
    record.tail_len = if held < TAIL { held as u16 } else { TAIL as u16 };
    true
}
