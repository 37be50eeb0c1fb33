//! Connections whose two ends are in one workload: a server and its own workers, the pair by which an event loop wakes
//! itself up. They are nobody's requests.
//!
//! Only a connection from an address to itself can be one. Whether the listener that it meets is its own workload's is
//! looked up once, when the client's end is established; what is so is kept for the server's end, which cannot know.

use aya_ebpf::{btf_maps::LruHashMap, macros::btf_map};
use drainwatch_ebpf::{PortKey, SocketRecord, offset, other_end, record_flag, role};

use crate::{
    globals::has,
    kernel::{self, Ptr, read},
    maps, record,
};

/// The server's end is established this soon after the client's, or it is of a later connection from the same port.
const SOON_NS: u64 = 1_000_000_000;

/// The client's end of such a connection.
#[repr(C)]
#[derive(Clone, Copy)]
struct Client {
    born_ns: u64,
    tgid: u32,
    reserved: u32,
}

/// Clients' ends of such connections, by network namespace and both ports. Newer ones push out the oldest: then the records of
/// both ends say still that it is one, but no more whether both are in one process.
#[btf_map]
static BOTH_ENDS: LruHashMap<PortKey, Client, 1024> = LruHashMap::new();

#[inline(always)]
fn key(netns: u32, client: u16, server: u16) -> PortKey {
    PortKey {
        netns,
        port: u32::from(client) << 16 | u32::from(server),
    }
}

/// A client's end is established, from an address to itself.
#[inline(always)]
pub fn note(sk: Ptr, record: &mut SocketRecord) {
    if !has(offset::SOCK_CGROUP) {
        return;
    }
    let listener = maps::port(&PortKey {
        netns: record.netns,
        port: u32::from(record.peer_port),
    });
    // This may be a softirq on top of anything: the socket says whose it is.
    let cgroup = kernel::cgroup_id(read(sk, offset::SOCK_CGROUP));
    if listener.is_some_and(|listener| listener.cgroup == cgroup) {
        let key = key(record.netns, record.local_port, record.peer_port);
        // Counted nowhere: without it, more is told.
        let client = Client {
            born_ns: record.born_ns,
            tgid: kernel::current_tgid(),
            reserved: 0,
        };
        let _ = BOTH_ENDS.insert(&key, &client, 0);
        record::set::<{ record_flag::BOTH_ENDS }>(record);
    }
}

/// The server's end is established, from an address to itself: the client's was just before.
#[inline(always)]
pub fn meet(record: &mut SocketRecord) {
    if noted(record).is_some() {
        record::set::<{ record_flag::BOTH_ENDS }>(record);
    }
}

/// The client's end of a record's connection.
#[inline(always)]
fn noted(record: &SocketRecord) -> Option<Client> {
    let (client, server) = if record.role == role::CLIENT {
        (record.local_port, record.peer_port)
    } else {
        (record.peer_port, record.local_port)
    };
    let noted = BOTH_ENDS.get_ptr(&key(record.netns, client, server))?;
    // SAFETY: a value of the map lives until the program ends.
    let noted = unsafe { *noted };
    (record.born_ns.wrapping_sub(noted.born_ns) <= SOON_NS).then_some(noted)
}

/// Where the other end of a connection is, as far as that is known.
#[inline(never)]
pub fn other_end(record: &SocketRecord) -> u32 {
    if record.local != record.peer {
        return other_end::ELSEWHERE;
    }
    let Some(noted) = noted(record) else {
        return if record::has::<{ record_flag::BOTH_ENDS }>(record) {
            other_end::SAME_CGROUP
        } else {
            other_end::ELSEWHERE
        };
    };
    let other = if record.role == role::CLIENT {
        let port = u32::from(record.peer_port);
        let netns = record.netns;
        maps::port(&PortKey { netns, port }).map_or(0, |listener| listener.tgid)
    } else {
        noted.tgid
    };
    if other == record.tgid {
        other_end::SAME_PROCESS
    } else {
        other_end::SAME_CGROUP
    }
}
