//! Births and ends of connections and listeners: `inet_sock_set_state`.

use aya_ebpf::{helpers::generated::bpf_jiffies64, macros::btf_tracepoint, programs::BtfTracePointContext};
use drainwatch_ebpf::{
    ListenerEvent, PortKey, SocketRecord, activity, event_kind, offset, process_flag, record_flag, role,
    tcp_state::{CLOSE, CLOSE_WAIT, ESTABLISHED, FIN_WAIT1, LAST_ACK, LISTEN, SYN_RECV, SYN_SENT},
};

use crate::{
    both_ends, cuts,
    emit::{self, Change, now},
    globals::has,
    kernel::{self, Ptr, load, read, read_at, tcp_sock},
    late, maps, mptcp, record, served,
    stand_ins::{self, Event, Hook},
    waiting,
};

const IPPROTO_TCP: u16 = 6;
/// `AF_INET6`.
const INET6: u16 = 10;

#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    if let Some(change) = StateChange::of(&ctx) {
        stand_ins::first(Hook::State, change.event(), || change.handle());
    }
    0
}

/// For softirqs, too: one may come in the middle of a process's close, and closes its peer.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn nested_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    if let Some(change) = StateChange::of(&ctx) {
        stand_ins::stand_in(Hook::State, change.event(), || change.handle());
    }
    0
}

#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn nested_sock_set_state_2(ctx: BtfTracePointContext) -> i32 {
    if let Some(change) = StateChange::of(&ctx) {
        stand_ins::last_stand_in(Hook::State, change.event(), || change.handle());
    }
    0
}

/// A TCP socket changes its state, or one of MPTCP, whose subflows are TCP sockets.
#[derive(Clone, Copy)]
struct StateChange {
    sk: Ptr,
    mptcp: bool,
    old: u32,
    new: u32,
}

impl StateChange {
    #[inline(always)]
    fn of(ctx: &BtfTracePointContext) -> Option<Self> {
        let sk: Ptr = ctx.arg(0);
        let mptcp = mptcp::is(sk);
        (mptcp || load::<u16>(sk, offset::SOCK_PROTOCOL) == IPPROTO_TCP).then(|| Self {
            sk,
            mptcp,
            old: ctx.arg(1),
            new: ctx.arg(2),
        })
    }

    #[inline(always)]
    fn event(self) -> Event {
        Event {
            sk: self.sk as u64,
            what: u64::from(self.old) << 32 | u64::from(self.new),
        }
    }

    /// Says whether it was done only now.
    #[inline(always)]
    fn handle(self) -> bool {
        let sk = self.sk;
        if self.mptcp {
            return mptcp::state_changed(sk, self.old, self.new);
        }
        match (self.old, self.new) {
            (SYN_RECV, ESTABLISHED) => born(sk, role::SERVER),
            (SYN_SENT, ESTABLISHED) => born(sk, role::CLIENT),
            (ESTABLISHED, CLOSE_WAIT) => peer_left(sk),
            (ESTABLISHED | CLOSE_WAIT, FIN_WAIT1 | LAST_ACK | CLOSE) => ended(sk, self.old, self.new),
            (_, LISTEN) => listener_opened(sk),
            (LISTEN, CLOSE) => listener_closed(sk),
            _ => true,
        }
    }
}

#[inline(always)]
fn born(sk: Ptr, role: u32) -> bool {
    if role == role::CLIENT && u64::from(kernel::current_tgid()) == maps::holding(activity::AGENT_TGID) {
        return true;
    }
    let Some(tcp) = tcp_sock(sk) else { return true };
    let Some(record) = maps::record_or_create(sk) else {
        // Whoever calls is met when it reads or writes; who is called may never accept it.
        if role == role::SERVER
            && let Some(port) = maps::port(&port_key(sk))
        {
            maps::remember_process(port.tgid, process_flag::UNRECORDED);
        }
        return true;
    };
    let is_new = record.born_ns == 0;
    if is_new {
        fill(record, sk, tcp, role, 0);
        if role == role::CLIENT && record.local == record.peer {
            both_ends::note(sk, record);
        }
    }
    is_new
}

/// Writes the first state of a record.
#[inline(always)]
pub fn fill(record: &mut SocketRecord, sk: Ptr, tcp: Ptr, role: u32, flags: u32) {
    record.born_ns = now();
    record.role = role;
    record.flags = flags;
    identify(sk, record);
    let (received, sent): (u32, u32) = (
        load(tcp, offset::TCP_COPIED_SEQ),
        load(tcp, offset::TCP_WRITE_SEQ),
    );
    if role == role::CLIENT {
        record.ask.seq = sent;
        record.answer.seq = received;
    } else {
        record.ask.seq = received;
        record.answer.seq = sent;
    }
}

/// A connection that moves bytes and has no record: it was waiting to be accepted when the programs were attached, or
/// there was no room for its record. What happened before this call is not known.
#[inline(never)]
pub fn found(sk: Ptr, tcp: Ptr, sending: bool, moved: u32) -> Option<&'static mut SocketRecord> {
    if u64::from(kernel::current_tgid()) == maps::holding(activity::AGENT_TGID) || state(sk) == LISTEN {
        return None;
    }
    let record = maps::record_if_room(sk)?;
    let serves = maps::port(&port_key(sk)).is_some();
    let role = if serves { role::SERVER } else { role::CLIENT };
    fill(record, sk, tcp, role, record_flag::SEEDED);
    // As they were before this call.
    let flow = if sending == (role == role::CLIENT) {
        &mut record.ask
    } else {
        &mut record.answer
    };
    flow.seq = flow.seq.wrapping_sub(moved);
    Some(record)
}

/// A connection without a record that its listener closes, for nobody had accepted it: older than the programs.
#[inline(always)]
fn never_accepted(sk: Ptr) -> Option<&'static mut SocketRecord> {
    // One that was accepted has a file, or its process has shut it down; a peer that reset it left an error.
    let waits = read::<u64>(sk, offset::SOCK_SOCKET) == 0
        && load::<u8>(sk, offset::SOCK_SHUTDOWN) == 0
        && load::<u32>(sk, offset::SOCK_ERR) == 0;
    if !waits {
        return None;
    }
    let tcp = tcp_sock(sk)?;
    let record = maps::record_if_room(sk)?;
    fill(record, sk, tcp, role::SERVER, record_flag::SEEDED);
    Some(record)
}

/// Writes whose ends a record's connection has.
#[inline(never)]
pub fn identify(sk: Ptr, record: &mut SocketRecord) {
    record.netns = netns_of(sk);
    record.family = load(sk, offset::SOCK_FAMILY);
    record.local_port = local_port(sk);
    record.peer_port = u16::from_be(load(sk, offset::SOCK_DPORT));
    record.local = address(
        sk,
        record.family,
        offset::SOCK_RCV_SADDR,
        offset::SOCK_V6_RCV_SADDR,
    );
    record.peer = address(sk, record.family, offset::SOCK_DADDR, offset::SOCK_V6_DADDR);
}

/// The low half of the cookie: an inode number passes to the next namespace at once, and with it a dead
/// container's ports would to the next container.
#[inline(always)]
fn netns_of(sk: Ptr) -> u32 {
    let net: Ptr = read(sk, offset::SOCK_NET);
    read::<u64>(net, offset::NET_COOKIE) as u32
}

/// The bound port; `skc_num` is zero by the time an accepted socket closes.
#[inline(always)]
fn local_port(sk: Ptr) -> u16 {
    match load::<u16>(sk, offset::SOCK_NUM) {
        0 => u16::from_be(read(sk, offset::INET_SPORT)),
        port => port,
    }
}

#[inline(always)]
fn address(sk: Ptr, family: u16, v4: usize, v6: usize) -> [u8; 16] {
    if family == INET6 {
        return read(sk, v6);
    }
    u128::from(read::<u32>(sk, v4)).to_ne_bytes()
}

#[inline(always)]
fn peer_left(sk: Ptr) -> bool {
    let Some(tcp) = tcp_sock(sk) else { return true };
    let Some(record) = maps::record(sk) else {
        return true;
    };
    let is_new = record.flags & record_flag::PEER_FIN == 0;
    if is_new {
        record::set::<{ record_flag::PEER_FIN }>(record);
        record.peer_fin_write_seq = load(tcp, offset::TCP_WRITE_SEQ);
        if fin_came_at_once(tcp) {
            record::set::<{ record_flag::PEER_FIN_AT_ONCE }>(record);
        }
    }
    is_new
}

/// The last bytes came with this FIN, or within two ticks of the kernel's clock before it.
#[inline(always)]
fn fin_came_at_once(tcp: Ptr) -> bool {
    if !has(offset::TCP_LAST_RECEIVED) {
        return false;
    }
    // SAFETY: no argument.
    let ticks = unsafe { bpf_jiffies64() } as u32;
    ticks.wrapping_sub(load::<u32>(tcp, offset::TCP_LAST_RECEIVED)) <= 2
}

/// Our side or the peer ended the connection. Told only when its workload is ending.
#[inline(always)]
fn ended(sk: Ptr, old_state: u32, new_state: u32) -> bool {
    let Some(record) = maps::record(sk).or_else(|| never_accepted(sk)) else {
        return true;
    };
    if record.flags & record_flag::ENDED != 0 {
        return false;
    }
    record::set::<{ record_flag::ENDED }>(record);
    // This may run in softirq on top of anything: current says something only where it is the owner,
    // or where nobody owns the connection because it was never read.
    let current = kernel::current_tgid();
    let owned = record.tgid != 0;
    let (tgid, cgroup) = if owned {
        (record.tgid, record.cgroup)
    } else {
        (current, kernel::current_cgroup())
    };
    let exits = tgid == current && kernel::current_exiting();
    let asked = exits || maps::drains(cgroup, tgid);
    let tells = asked || parent_drains(tgid, current);
    served::ended(sk, record, tells);
    // Unowned, it may have been reset by its client, in softirq on top of anybody.
    let left = !owned && record.flags & record_flag::PEER_RESET != 0;
    if !tells && (left || tgid != current) {
        return true;
    }
    let Some(tcp) = tcp_sock(sk) else { return true };
    // A subflow of MPTCP, from which no process reads.
    if !owned && read::<u64>(sk, offset::ICSK_ULP_OPS) != 0 {
        if mptcp::is_counted() {
            return true;
        }
        record::set::<{ record_flag::MPTCP }>(record);
    }
    let change = Change {
        kind: event_kind::CONNECTION_ENDED,
        old_state,
        new_state,
    };
    catch_up(record, tcp);
    if tells {
        if !owned {
            waiting::tell(sk, tcp, record);
        }
        emit::connection(sk, tcp, record, &change);
        late::closed(record, cgroup, tgid);
    }
    // A parent that ends, or replaces its program, does not mean that its children do.
    if !asked && !left && tgid == current {
        cuts::remember(sk, tcp, record, &change, tgid);
    }
    true
}

/// The owner is current, and its parent got a stop signal.
#[inline(always)]
pub fn parent_drains(tgid: u32, current: u32) -> bool {
    if tgid != current || !maps::anything_drains() {
        return false;
    }
    let parent: Ptr = read(kernel::current(), offset::TASK_REAL_PARENT);
    maps::process_drains(read(parent, offset::TASK_TGID))
}

/// Counts what no hook saw since the last read and write (`splice`, `sendfile` before 6.5).
#[inline(always)]
fn catch_up(record: &mut SocketRecord, tcp: Ptr) {
    let (received, sent): (u32, u32) = (
        load(tcp, offset::TCP_COPIED_SEQ),
        load(tcp, offset::TCP_WRITE_SEQ),
    );
    let (ask, answer) = if record.role == role::CLIENT {
        (sent, received)
    } else {
        (received, sent)
    };
    // A FIN that the process has read counts one in copied_seq, and nothing in bytes.
    let fin = u32::from(record.flags & record_flag::PEER_FIN != 0);
    let (ask_fin, answer_fin) = if record.role == role::CLIENT {
        (0, fin)
    } else {
        (fin, 0)
    };
    let asked = ask.wrapping_sub(record.ask.seq);
    let answered = answer.wrapping_sub(record.answer.seq);
    if asked > ask_fin {
        record.ask.total += u64::from(asked);
        record.ask.seq = ask;
    }
    if answered > answer_fin {
        record.answer.total += u64::from(answered);
        record.answer.seq = answer;
        record::clear::<{ record_flag::TAIL_VALID }>(record);
        record.tail_len = 0;
    }
}

#[inline(always)]
fn listener_opened(sk: Ptr) -> bool {
    let key = port_key(sk);
    let tgid = kernel::current_tgid();
    let Some(open) = maps::open_port(sk, &key, kernel::current_cgroup(), tgid) else {
        return false;
    };
    maps::remember_process(tgid, process_flag::SERVED);
    tell_listener(event_kind::LISTENER_OPENED, sk, kernel::current(), &key, open);
    true
}

#[inline(always)]
fn listener_closed(sk: Ptr) -> bool {
    let key = port_key(sk);
    let (tgid, cgroup) = (kernel::current_tgid(), kernel::current_cgroup());
    let ending = kernel::current_exiting() || maps::drains(cgroup, tgid) || parent_drains(tgid, tgid);
    let Some(still_open) = maps::close_port(sk, &key, cgroup, tgid, now(), ending) else {
        return false;
    };
    tell_listener(
        event_kind::LISTENER_CLOSED,
        sk,
        kernel::current(),
        &key,
        still_open,
    );
    true
}

/// Tells the agent of a listener; `task` is who opened or closed it.
#[inline(never)]
pub fn tell_listener(kind: u32, sk: Ptr, task: Ptr, key: &PortKey, still_open: u64) {
    if kind == event_kind::LISTENER_OPENED && !emit::has_room() {
        return;
    }
    let Some(mut entry) = emit::reserve::<ListenerEvent>() else {
        return;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: every field of the reserved event is written.
    unsafe {
        (*event).header = emit::header(kind, now());
        kernel::describe(task, &mut (*event).process);
        (*event).netns = key.netns;
        (*event).backlog = read(sk, offset::SOCK_ACK_BACKLOG);
        (*event).handshakes = read(sk, offset::LISTEN_HANDSHAKES);
        (*event).reserved = 0;
        (*event).family = read(sk, offset::SOCK_FAMILY);
        (*event).port = key.port as u16;
        (*event).still_open = still_open as u32;
        (*event).address = address(
            sk,
            (*event).family,
            offset::SOCK_RCV_SADDR,
            offset::SOCK_V6_RCV_SADDR,
        );
    }
    emit::submit(entry);
}

/// Key of a listening socket's port.
#[inline(always)]
pub fn port_key(sk: Ptr) -> PortKey {
    PortKey {
        netns: netns_of(sk),
        port: u32::from(local_port(sk)),
    }
}

/// `IPPROTO_TCP` and `SOCK_STREAM` (so not the kernel's own control sockets).
#[inline(always)]
pub fn is_tcp(sk: Ptr) -> bool {
    load::<u16>(sk, offset::SOCK_PROTOCOL) == IPPROTO_TCP
        && read_at::<u16>(sk, crate::globals::offset_of(offset::SOCK_TYPE)) == 1
}

/// State of a socket.
#[inline(always)]
pub fn state(sk: Ptr) -> u32 {
    u32::from(load::<u8>(sk, offset::SOCK_STATE))
}
