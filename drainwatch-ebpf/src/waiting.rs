//! What waits in a connection's receive queue, and nobody will read any more: its first bytes.
//!
//! They lie in fragments of pages, of which a buffer knows the descriptors alone. Every page stands in the kernel's map
//! of all memory as far behind that map's begin as its descriptor stands behind that of the descriptors, so one number
//! leads from the one to the other. It is found at start: words that the agent has sent to itself wait on a connection,
//! and the number is the one by which they are read (`seed_direct_map`). Where it is not found, nothing is read.

use aya_ebpf::{
    btf_maps::Array,
    helpers::generated::bpf_probe_read_kernel,
    macros::{btf_map, fentry},
    programs::FEntryContext,
};
use drainwatch_ebpf::{
    ASK_HEAD, SocketRecord, WaitingEvent, activity, direct_map, event_kind, offset, record_flag, role,
    tcp_state::ESTABLISHED,
};

use crate::{
    emit::{self, now},
    globals::offset_of,
    kernel::{self, Ptr, load, read, read_at, tcp_sock},
    maps, preemption, record, states,
};

/// `PAGE_SHIFT` of a page whose descriptor has 64 bytes, as the agent has made sure: 12 - 6.
const SHIFT: u32 = 6;
/// Both maps begin at a multiple of this.
const ALIGNED: u64 = 1 << 30;
/// What is known of the kernel's map of all memory, by [`direct_map`].
#[btf_map]
static DIRECT_MAP: Array<u64, { direct_map::COUNT as usize }> = Array::new();

/// `tcp_close(sk, timeout)`: its queue is thrown away before the state changes.
#[fentry(function = "tcp_close")]
pub fn tcp_close(ctx: FEntryContext) -> i32 {
    let sk: Ptr = ctx.arg(0);
    let Some(tcp) = tcp_sock(sk) else { return 0 };
    if load::<u32>(tcp, offset::TCP_RCV_NXT) != load::<u32>(tcp, offset::TCP_COPIED_SEQ) {
        preemption::off(|| closes(sk, tcp));
    }
    0
}

#[inline(always)]
fn closes(sk: Ptr, tcp: Ptr) {
    let Some(record) = maps::record(sk) else { return };
    let current = kernel::current_tgid();
    let tells = || {
        kernel::current_exiting()
            || maps::drains(kernel::current_cgroup(), current)
            || states::parent_drains(current, current)
    };
    if record.flags & record_flag::ENDED == 0 && tells() {
        tell(sk, tcp, record);
    }
}

/// What leads from a page's descriptor to the page, where that was found and payload may be looked at.
#[inline(always)]
fn offset_of_pages() -> Option<u64> {
    let offset = *DIRECT_MAP.get(direct_map::OFFSET)?;
    (offset != 0 && maps::holding(activity::CAPTURE) != 0).then_some(offset)
}

/// Where the payload of a segment is that stands behind so many bytes of header, and how much of it in one piece.
#[inline(always)]
pub fn of_segment(skb: Ptr, header: u32) -> Option<(Ptr, u32)> {
    let offset = offset_of_pages()?;
    let len = read(skb, offset::SKB_LEN);
    Buffer { skb, len }.bytes_behind(header, offset)
}

/// Tells what waits, where it is the beginning of something: with the connection's end, where nobody has read from it.
#[inline(never)]
pub fn tell(sk: Ptr, tcp: Ptr, record: &mut SocketRecord) {
    let Some(offset) = offset_of_pages() else {
        return;
    };
    if record.role != role::SERVER {
        return;
    }
    if record.flags & (record_flag::HTTP2 | record_flag::MPTCP) != 0 {
        return;
    }
    let Some(first) = Buffer::first(sk) else { return };
    let Some((at, length)) = first.bytes(load(tcp, offset::TCP_COPIED_SEQ), offset) else {
        return;
    };
    let length = length.min(ASK_HEAD as u32);
    if record.tgid == 0 && record.ask.head_len == 0 {
        // SAFETY: so much room there is.
        let copied = unsafe { bpf_probe_read_kernel(record.ask_head.as_mut_ptr().cast(), length, at.cast()) };
        if copied == 0 && first.still_is(sk) {
            record::set::<{ record_flag::WAITS }>(record);
            record.ask.head_len = length;
        }
        return;
    }
    if !emit::has_room_for_end() {
        return;
    }
    let Some(mut entry) = emit::reserve::<WaitingEvent>() else {
        return;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: every field is written, but for bytes behind those that are told, which nobody looks at.
    let copied = unsafe {
        (*event).header = emit::header(event_kind::WAITING, now());
        (*event).socket = sk as u64;
        (*event).born_ns = record.born_ns;
        (*event).local_port = record.local_port;
        (*event).peer_port = record.peer_port;
        (*event).length = length;
        bpf_probe_read_kernel((&raw mut (*event).bytes).cast(), length, at.cast())
    };
    if copied == 0 && first.still_is(sk) {
        emit::submit(entry);
    } else {
        entry.discard(0);
    }
}

/// What the kernel keeps a segment in, or several in a row.
#[derive(Clone, Copy)]
struct Buffer {
    skb: Ptr,
    len: u32,
}

impl Buffer {
    /// The first one of a receive queue.
    #[inline(always)]
    fn first(sk: Ptr) -> Option<Self> {
        let skb: Ptr = read(sk, offset::SOCK_RECEIVE_QUEUE);
        // The queue's own head: it is empty.
        if skb.is_null() || skb as usize == sk as usize + offset_of(offset::SOCK_RECEIVE_QUEUE) {
            return None;
        }
        let len = read(skb, offset::SKB_LEN);
        Some(Self { skb, len })
    }

    /// The queue is not locked: a segment that arrives may have put the first two together.
    #[inline(always)]
    fn still_is(self, sk: Ptr) -> bool {
        Self::first(sk).is_some_and(|now| now.skb == self.skb && now.len == self.len)
    }

    /// Where the bytes from this position on are, and how many of them in one piece.
    #[inline(always)]
    fn bytes(self, position: u32, offset: u64) -> Option<(Ptr, u32)> {
        // `tcp_skb_cb` begins with the buffer's first position.
        self.bytes_behind(position.wrapping_sub(read(self.skb, offset::SKB_CB)), offset)
    }

    /// The same for the bytes behind so many.
    #[inline(always)]
    fn bytes_behind(self, behind: u32, offset: u64) -> Option<(Ptr, u32)> {
        if behind >= self.len {
            return None;
        }
        let linear = self.len.wrapping_sub(read(self.skb, offset::SKB_DATA_LEN));
        if behind < linear {
            let data: Ptr = read(self.skb, offset::SKB_DATA);
            return Some((data.wrapping_add(behind as usize), linear - behind));
        }
        let fragment = self.fragment()?;
        let behind = behind - linear;
        (behind < fragment.length).then(|| {
            let at = fragment.at(offset).wrapping_add(behind as usize);
            (at, fragment.length - behind)
        })
    }

    #[inline(always)]
    fn fragment(self) -> Option<Fragment> {
        let head: Ptr = read(self.skb, offset::SKB_HEAD);
        let shared = head.wrapping_add(read::<u32>(self.skb, offset::SKB_END) as usize);
        if read::<u8>(shared, offset::SHARED_COUNT) == 0 {
            return None;
        }
        let fragment: Fragment = read(shared, offset::SHARED_FRAGMENTS);
        // With this bit it is memory of a device.
        (fragment.page & 1 == 0).then_some(fragment)
    }
}

/// `skb_frag_t`, on 64-bit kernels since 5.4.
#[repr(C)]
#[derive(Clone, Copy)]
struct Fragment {
    page: u64,
    length: u32,
    offset: u32,
}

impl Fragment {
    #[inline(always)]
    fn at(self, offset: u64) -> Ptr {
        let page = (self.page << SHIFT).wrapping_add(offset);
        page.wrapping_add(u64::from(self.offset)) as Ptr
    }
}

/// Looks for the map of all memory, by the connection on which the agent's words wait.
///
/// The buffer itself stands in that map; so the map begins at a multiple of [`ALIGNED`] below it, and that of the descriptors
/// below the fragment's. What is tried lies no farther from it than there is memory.
#[inline(always)]
pub fn find_direct_map(sk: Ptr) {
    let value = |index| DIRECT_MAP.get(index).copied().unwrap_or(0);
    if u64::from(states::port_key(sk).port) != value(direct_map::PORT) || states::state(sk) != ESTABLISHED {
        return;
    }
    let Some(first) = Buffer::first(sk) else { return };
    let Some(fragment) = first.fragment() else { return };
    let nearest = (first.skb as u64 & !(ALIGNED - 1)).wrapping_sub((fragment.page & !(ALIGNED - 1)) << SHIFT);
    let tried = value(direct_map::TRIED);
    let magic = [0, 1, 2, 3].map(|word| value(direct_map::MAGIC + word));
    for next in 0..direct_map::TRIES {
        // One below, one above, two below ...; without a branch.
        let number = tried + u64::from(next);
        let sign = (number & 1).wrapping_sub(1);
        let steps = number.div_ceil(2) * ALIGNED;
        let offset = nearest.wrapping_add((steps ^ sign).wrapping_sub(sign));
        if is_magic(fragment.at(offset), &magic) {
            let _ = DIRECT_MAP.set(direct_map::OFFSET, &offset, 0);
            return;
        }
    }
}

/// What is compared without a branch a word: the verifier follows every one of them, of every try.
#[inline(always)]
fn is_magic(at: Ptr, magic: &[u64; 4]) -> bool {
    let [a, b, c, d]: [u64; 4] = read_at(at, 0);
    (a ^ magic[0]) | (b ^ magic[1]) | (c ^ magic[2]) | (d ^ magic[3]) == 0
}
