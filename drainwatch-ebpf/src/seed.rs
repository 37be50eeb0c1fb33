//! Sockets that are older than the agent: one pass over the node's open files.
//!
//! Run twice at start: first for listeners, then for connections, which are servers' ends where a
//! listener has their port. What happened on them before is not known, and marked so.
//! Connections in an accept queue belong to no file: they get their record when they are first read from or written to
//! (`states::found`), or closed with their listener.
//!
//! Where programs were running before the agent, they have records and counted listeners already. Connections keep
//! theirs; listeners are told of all the same, for this agent may not have heard of them.

use aya_ebpf::helpers::generated::bpf_sock_from_file;
use drainwatch_ebpf::{
    counter, event_kind, offset, process_flag, record_flag, role,
    tcp_state::{CLOSE_WAIT, ESTABLISHED, LISTEN},
};

use crate::{
    kernel::{Ptr, load, read, tcp_sock},
    maps, states, waiting,
};

/// `struct bpf_iter__task_file`: four eight-byte members, pointers that may be NULL.
#[repr(C)]
pub struct TaskFile {
    meta: Ptr,
    task: Ptr,
    fd: u64,
    file: Ptr,
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub extern "C" fn seed_listeners(ctx: *const TaskFile) -> i32 {
    if let Some((task, sk)) = tcp_socket(ctx)
        && states::state(sk) == LISTEN
    {
        let tgid: u32 = read(task, offset::TASK_TGID);
        maps::remember_process(tgid, process_flag::SERVED);
        let key = states::port_key(sk);
        // The cgroup of the first process found with it; the event tells all that is known of it.
        let cgroup = crate::kernel::cgroup_of(task);
        let open = maps::open_port(sk, &key, cgroup, tgid);
        let open = open.unwrap_or_else(|| maps::port(&key).map_or(1, |state| state.open));
        states::tell_listener(event_kind::LISTENER_FOUND, sk, task, &key, open);
    }
    0
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub extern "C" fn seed_connections(ctx: *const TaskFile) -> i32 {
    let Some((task, sk)) = tcp_socket(ctx) else {
        return 0;
    };
    let state = states::state(sk);
    if state != ESTABLISHED && state != CLOSE_WAIT {
        return 0;
    }
    if maps::record(sk).is_some() {
        return 0;
    }
    let Some(tcp) = tcp_sock(sk) else { return 0 };
    let Some(record) = maps::record_or_create(sk) else {
        return 0;
    };
    maps::count(counter::SEEDED);
    let serves = maps::port(&states::port_key(sk)).is_some();
    let fin = if state == CLOSE_WAIT {
        record_flag::PEER_FIN
    } else {
        0
    };
    let role = if serves { role::SERVER } else { role::CLIENT };
    states::fill(record, sk, tcp, role, record_flag::SEEDED | fin);
    record.tgid = read(task, offset::TASK_TGID);
    record.cgroup = crate::kernel::cgroup_of(task);
    record.peer_fin_write_seq = load(tcp, offset::TCP_WRITE_SEQ);
    maps::remember_process(
        record.tgid,
        if serves {
            process_flag::SERVED
        } else {
            process_flag::CALLED
        },
    );
    0
}

/// Run before the others, once: see [`waiting`].
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub extern "C" fn seed_direct_map(ctx: *const TaskFile) -> i32 {
    if let Some((_, sk)) = tcp_socket(ctx) {
        waiting::find_direct_map(sk);
    }
    0
}

#[inline(always)]
fn tcp_socket(ctx: *const TaskFile) -> Option<(Ptr, Ptr)> {
    // SAFETY: the context of this iterator; the verifier knows its members' types.
    let (task, file) = unsafe { ((*ctx).task, (*ctx).file) };
    if task.is_null() || file.is_null() {
        return None;
    }
    // SAFETY: a file of BTF type; NULL when it is no socket.
    let socket = unsafe { bpf_sock_from_file(file.cast_mut().cast()) }
        .cast::<u8>()
        .cast_const();
    if socket.is_null() {
        return None;
    }
    let sk: Ptr = load(socket, offset::SOCKET_SK);
    if sk.is_null() || !states::is_tcp(sk) {
        return None;
    }
    Some((task, sk))
}
