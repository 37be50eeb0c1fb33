//! Requests that servers answered: what those that a shutdown cut are compared with.
//!
//! Nothing is counted while a connection goes on, for its record knows its turns anyway. They are added up, by cgroup, as it
//! ends; of connections that are open a pass over all records tells, when the agent asks. The two are never mixed: what is
//! open is found anew each time, so nothing is counted twice, whoever asks and however often.
//!
//! Counted is what was read in clear: HTTP/1 by its turns, HTTP/2 by the streams whose last frame a server wrote.

use aya_ebpf::{
    btf_maps::{HashMap, PerCpuHashMap},
    macros::btf_map,
};
use drainwatch_ebpf::{SocketRecord, counter, http2::Http2, offset, other_end, record_flag, role};

use crate::{
    both_ends,
    kernel::{Ptr, load, tcp_sock},
    maps, mptcp,
};

/// `BPF_F_NO_PREALLOC`.
const NO_PREALLOC: usize = 1;

/// On connections that have ended, by cgroup. The agent takes out those of cgroups that are gone.
#[btf_map]
static SERVED: PerCpuHashMap<u64, u64, 16384, NO_PREALLOC> = PerCpuHashMap::new();

/// On connections that are open, by cgroup: empty but for what the last pass found.
#[btf_map]
static SERVED_OPEN: HashMap<u64, u64, 16384, NO_PREALLOC> = HashMap::new();

/// Answered in full whatever becomes of the connection: every turn but the current one, and every answer but the
/// latest of those that were given at once.
#[inline(always)]
fn before_latest(record: &SocketRecord) -> u32 {
    record.turns.wrapping_add(record.further).saturating_sub(1)
}

/// Final responses that a server has finished, as far as that is certain while the connection is open.
#[inline(always)]
fn certain(sk: Ptr, record: &SocketRecord) -> u32 {
    if record.role != role::SERVER {
        0
    } else if record.flags & record_flag::HTTP2 != 0 {
        maps::http2(sk).map_or(0, |http2: *mut Http2| {
            // SAFETY: a value of a map, which another CPU may write meanwhile.
            unsafe { (&raw const (*http2).served).read_volatile() }
        })
    } else if record.flags & record_flag::HTTP != 0 {
        before_latest(record)
    } else {
        0
    }
}

/// Whether the latest answer was begun, and nobody broke it off. (Whether it had come to its end is not looked at: a server
/// that goes on serving, or a client that leaves in peace, had no more to say or to ask.)
#[inline(always)]
fn is_latest_answered(sk: Ptr, record: &SocketRecord) -> bool {
    let answered = record.turns != 0
        && record.answer.total != record.answer.turn_pos
        && record.flags & record_flag::INTERIM == 0;
    if !answered || record.flags & (record_flag::HTTP | record_flag::HTTP2) != record_flag::HTTP {
        return false;
    }
    if record.flags & record_flag::PEER_RESET == 0 && load::<u32>(sk, offset::SOCK_ERR) == 0 {
        return true;
    }
    // Reset by the peer, or given up: what it had not acknowledged it does not have.
    tcp_sock(sk)
        .is_some_and(|tcp| load::<u32>(tcp, offset::TCP_WRITE_SEQ) == load::<u32>(tcp, offset::TCP_SND_UNA))
}

/// A connection ends. Where the agent is told, it sees for itself what became of the latest answer, and counts it.
#[inline(never)]
pub fn ended(sk: Ptr, record: &SocketRecord, told: bool) {
    let mut count = certain(sk, record);
    if record.role == role::SERVER && !told && is_latest_answered(sk, record) {
        count = count.wrapping_add(1);
    }
    if count == 0 || both_ends::other_end(record) != other_end::ELSEWHERE {
        return;
    }
    let (cgroup, count) = (record.cgroup, u64::from(count));
    if let Some(value) = SERVED.get_ptr_mut(&cgroup) {
        // SAFETY: this CPU's slot, as for the counters.
        unsafe { *value += count };
    } else if SERVED.insert(&cgroup, &count, 0).is_err() {
        maps::count_more(counter::SERVED_UNCOUNTED, count);
    }
}

/// `struct bpf_iter__bpf_sk_storage_map`: four eight-byte members, the last two NULL at the end.
#[repr(C)]
pub struct Element {
    meta: Ptr,
    map: Ptr,
    sk: Ptr,
    value: *const SocketRecord,
}

/// Adds up what was answered on connections that are open.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
pub extern "C" fn served_open(ctx: *const Element) -> i32 {
    // SAFETY: the context of this iterator; the verifier knows its members' types.
    let (sk, value) = unsafe { ((*ctx).sk, (*ctx).value) };
    if sk.is_null() || value.is_null() {
        return 0;
    }
    // SAFETY: a value of `RECORDS`, the only map that this runs over; its owner may write it meanwhile.
    let record = unsafe { &*value };
    if record.flags & record_flag::ENDED != 0 || mptcp::is(sk) {
        return 0;
    }
    let count = certain(sk, record);
    if count == 0 || both_ends::other_end(record) != other_end::ELSEWHERE {
        return 0;
    }
    let (cgroup, count) = (record.cgroup, u64::from(count));
    if let Some(value) = SERVED_OPEN.get_ptr_mut(&cgroup) {
        // SAFETY: a value of the map lives until the program ends; one pass runs at a time.
        unsafe { *value += count };
    } else {
        // Without room it is counted as it ends.
        let _ = SERVED_OPEN.insert(&cgroup, &count, 0);
    }
    0
}
