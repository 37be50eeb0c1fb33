//! From the ring's bytes to plain facts: bounds are checked here; no protocol is known here.

mod http2;

use std::{
    mem::offset_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use drainwatch_core::{
    event::{
        Asked, Connection, Disposition, End, Event, EventKind, Listener, OtherEnd, Process, Role, Sender,
        Signal,
    },
    record::{self, Fact, Hellos, Recorded, Turn},
};
use drainwatch_ebpf::{
    ANSWER_HEAD, ASK_HEAD, COMM, CgroupEvent, ConnectionEvent, EventHeader, ExitEvent, ListenerEvent,
    LongHead, ProcessInfo, ResetEvent, SignalEvent, SocketRecord, TAIL, TLS_ASK, TLS_SERVER_HELLO,
    WaitingEvent, disposition, event_kind, other_end, process_flag, record_flag, reset_flag, role,
    sender_kind,
    tcp_state::{CLOSE, CLOSE_WAIT},
};

// What the readers count on is what a record of the kernel side holds.
const _: () =
    assert!(record::ASK_HEAD == ASK_HEAD && record::ANSWER_HEAD == ANSWER_HEAD && record::TAIL == TAIL);

/// `AF_INET6`.
const INET6: u16 = 10;
/// `errno.h`.
const ECONNABORTED: u32 = 103;

/// Decodes one entry of the ring; `None` when it is not one of ours.
pub fn fact(bytes: &[u8]) -> Option<Fact> {
    let header: EventHeader = structure(bytes)?;
    let kind = match header.kind {
        event_kind::SIGNAL_GENERATED => signal(&structure(bytes)?),
        event_kind::SIGNAL_DELIVERED => {
            let event: SignalEvent = structure(bytes)?;
            EventKind::SignalDelivered {
                target: process(&event.target),
                signal: event.signal,
                disposition: disposition(event.disposition),
            }
        }
        event_kind::PROCESS_EXIT => exit(&structure(bytes)?),
        event_kind::PROCESS_EXEC => EventKind::ProcessReplaced {
            process: process(&structure::<ExitEvent>(bytes)?.process),
        },
        event_kind::OOM_VICTIM => EventKind::OomVictim {
            pid: structure::<ExitEvent>(bytes)?.process.tgid,
        },
        event_kind::LISTENER_OPENED => EventKind::ListenerOpened(listener(&structure(bytes)?)),
        event_kind::LISTENER_FOUND => EventKind::ListenerOpened(Listener {
            found: true,
            ..listener(&structure(bytes)?)
        }),
        event_kind::LISTENER_CLOSED => EventKind::ListenerClosed(listener(&structure(bytes)?)),
        event_kind::TURN_ENDED | event_kind::CONNECTION_ENDED => {
            let event = whole_or_short(bytes)?;
            return Some(Fact::Connection(Box::new(Recorded {
                at_ns: header.at_ns,
                connection: connection(&event),
                turn: Turn {
                    answer: answer(bytes, &event.record),
                    http2: http2::of(bytes, &event),
                    ..turn(&event.record)
                },
            })));
        }
        event_kind::RESET_SENT => {
            let event: ResetEvent = structure(bytes)?;
            let kind = reset(&event);
            if event.length > 0 {
                let bytes = bytes.get(size_of::<ResetEvent>()..)?;
                return Some(Fact::Late {
                    event: Event {
                        at_ns: header.at_ns,
                        kind,
                    },
                    bytes: bytes.get(..event.length.into())?.to_vec(),
                });
            }
            kind
        }
        event_kind::CGROUP_CREATED => {
            let event: CgroupEvent = structure(bytes)?;
            EventKind::CgroupCreated {
                cgroup: event.cgroup,
                path: cgroup_path(&event),
                seeded: false,
            }
        }
        event_kind::CGROUP_REMOVED => EventKind::CgroupRemoved {
            cgroup: structure::<CgroupEvent>(bytes)?.cgroup,
        },
        event_kind::CGROUP_EMPTIED => EventKind::CgroupEmptied {
            cgroup: structure::<CgroupEvent>(bytes)?.cgroup,
        },
        _ => return None,
    };
    Some(Fact::Event(Event {
        at_ns: header.at_ns,
        kind,
    }))
}

/// What waits unread on a connection that is about to end.
pub struct Waiting {
    /// Which one.
    pub connection: u64,
    /// When it was told.
    pub at_ns: u64,
    /// Its first bytes.
    pub bytes: Vec<u8>,
}

/// The connection whose end an entry tells.
pub fn ends(bytes: &[u8]) -> Option<u64> {
    const RECORD: usize = offset_of!(ConnectionEvent, record);
    let header: EventHeader = structure(bytes)?;
    if header.kind != event_kind::CONNECTION_ENDED {
        return None;
    }
    let word = |at: usize| Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    let port = |at: usize| Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    Some(identity(
        word(RECORD + offset_of!(SocketRecord, born_ns))?,
        word(offset_of!(ConnectionEvent, socket))?,
        port(RECORD + offset_of!(SocketRecord, peer_port))?,
        port(RECORD + offset_of!(SocketRecord, local_port))?,
    ))
}

/// It, if an entry says so.
pub fn waiting(bytes: &[u8]) -> Option<Waiting> {
    let header: EventHeader = structure(bytes)?;
    if header.kind != event_kind::WAITING {
        return None;
    }
    let event: WaitingEvent = structure(bytes)?;
    Some(Waiting {
        connection: identity(event.born_ns, event.socket, event.peer_port, event.local_port),
        at_ns: header.at_ns,
        bytes: head(&event.bytes, event.length).into(),
    })
}

/// Structures of the ABI: plain integers, any bytes are valid.
trait Plain: Copy {}
impl Plain for EventHeader {}
impl Plain for SignalEvent {}
impl Plain for ExitEvent {}
impl Plain for ListenerEvent {}
impl Plain for ConnectionEvent {}
impl Plain for ResetEvent {}
impl Plain for WaitingEvent {}
impl Plain for CgroupEvent {}

fn structure<T: Plain>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: long enough, `Plain` types are valid for any bytes, and the read needs no alignment.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// A connection whose heads are short comes with as much of them as there is.
fn whole_or_short(bytes: &[u8]) -> Option<Box<ConnectionEvent>> {
    let heads = bytes.get(offset_of!(ConnectionEvent, heads)..)?;
    let heads = u32::from_ne_bytes(*heads.first_chunk()?);
    if heads == 0 {
        return structure(bytes).map(Box::new);
    }
    let first = if heads & ConnectionEvent::NO_TAIL == 0 {
        ConnectionEvent::SHORT
    } else {
        ConnectionEvent::BARE
    };
    let (first, behind) = bytes.split_at_checked(first)?;
    let mut padded = vec![0; size_of::<ConnectionEvent>()];
    padded[..first.len()].copy_from_slice(first);
    let (ask, answer) = ConnectionEvent::parts(heads);
    if ask > ASK_HEAD || answer > ANSWER_HEAD || behind.len() < ask + answer {
        return None;
    }
    let (of_ask, of_answer) = padded[ConnectionEvent::SHORT..].split_at_mut(ASK_HEAD);
    of_ask[..ask].copy_from_slice(&behind[..ask]);
    of_answer[..answer].copy_from_slice(&behind[ask..ask + answer]);
    let mut event: Box<ConnectionEvent> = structure(&padded).map(Box::new)?;
    // No more of them is there than what came.
    event.record.ask.head_len = event.record.ask.head_len.min(u32::try_from(ask).ok()?);
    event.record.answer.head_len = event.record.answer.head_len.min(u32::try_from(answer).ok()?);
    Some(event)
}

fn process(info: &ProcessInfo) -> Process {
    let has = |flag| info.flags & flag != 0;
    Process {
        pid: info.tgid,
        parent: info.parent_tgid,
        ns_pid: info.ns_tgid,
        started_ns: info.started_ns,
        cgroup: info.cgroup,
        comm: comm(&info.comm),
        pid1: has(process_flag::PID1),
        served: has(process_flag::SERVED),
        served_more: has(process_flag::SERVED_MORE),
        called: has(process_flag::CALLED),
        exiting: has(process_flag::EXITING) || has(process_flag::GROUP_EXIT),
        signalled: has(process_flag::SIGNALLED),
        parent_in_cgroup: has(process_flag::PARENT_IN_CGROUP),
        unrecorded: has(process_flag::UNRECORDED),
        untold: has(process_flag::UNTOLD),
    }
}

fn comm(bytes: &[u8; COMM]) -> String {
    let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    printable(&bytes[..length])
}

/// Text that other processes chose: valid UTF-8, without control characters. What turns a line around is spelled out where
/// it is shown, so that two names remain two.
pub fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn cgroup_path(event: &CgroupEvent) -> String {
    let length = (event.path_len as usize).min(event.path.len());
    printable(&event.path[..length])
}

fn signal(event: &SignalEvent) -> EventKind {
    let sender = process(&event.sender);
    let mut target = process(&event.target);
    // TRACE_SIGNAL_IGNORED: by its disposition, or because the group was dying already. A signal that
    // is fatal itself has marked the group as exiting by now, and was not ignored.
    let ignored = event.result == 1;
    let group_exits = event.target.flags & process_flag::GROUP_EXIT != 0;
    target.exiting = event.target.flags & process_flag::EXITING != 0 || (ignored && group_exits);
    EventKind::Signal(Signal {
        signal: event.signal,
        target,
        sender: match event.sender_kind {
            sender_kind::CGROUP_KILL => Sender::CgroupKill(sender),
            sender_kind::KERNEL => Sender::Kernel(sender),
            _ => Sender::Process(sender),
        },
        disposition: disposition(event.disposition),
        dropped: ignored && !group_exits,
        group: event.group != 0,
        busy: (event.busy != SignalEvent::UNKNOWN).then(|| event.busy.min(1024) * 100 / 1024),
    })
}

fn disposition(number: u32) -> Disposition {
    match number {
        disposition::HANDLED => Disposition::Handled,
        disposition::IGNORED => Disposition::Ignored,
        disposition::BLOCKED => Disposition::Blocked,
        _ => Disposition::Default,
    }
}

fn exit(event: &ExitEvent) -> EventKind {
    let fatal = event.status & 0x7f;
    let code = (event.status >> 8 & 0xff).cast_signed();
    EventKind::ProcessExited {
        process: process(&event.process),
        code: (fatal == 0).then_some(code),
        signal: (fatal != 0).then_some(fatal),
        child: (event.child[0] != 0).then(|| comm(&event.child)),
        unix_listener: event.unix_listener != 0,
    }
}

fn listener(event: &ListenerEvent) -> Listener {
    Listener {
        process: process(&event.process),
        local: SocketAddr::new(address(event.family, &event.address), event.port),
        netns: event.netns,
        backlog: event.backlog,
        handshakes: event.handshakes,
        still_open: event.still_open,
        found: false,
    }
}

fn address(family: u16, bytes: &[u8; 16]) -> IpAddr {
    if family == INET6 {
        // A client of IPv4 that reaches a dual-stack listener is shown as the client sees itself.
        Ipv6Addr::from(*bytes).to_canonical()
    } else {
        Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()
    }
}

fn reset(event: &ResetEvent) -> EventKind {
    EventKind::ResetSent {
        cgroup: event.cgroup,
        pid: event.tgid,
        syn: event.flags & reset_flag::SYN != 0,
        payload: event.payload,
        local: SocketAddr::new(address(event.family, &event.local), event.local_port),
        peer: SocketAddr::new(address(event.family, &event.peer), event.peer_port),
        netns: event.netns,
        same_cgroup: event.flags & reset_flag::SAME_CGROUP != 0,
        asked: Asked::Unseen,
    }
}

fn connection(event: &ConnectionEvent) -> Connection {
    let record = &event.record;
    let role = match record.role {
        role::SERVER => Role::Server,
        role::CLIENT => Role::Client,
        _ => Role::Unknown,
    };
    let fin = u32::from(record.flags & record_flag::PEER_FIN != 0);
    let unread = event.unread.saturating_sub(fin);
    let end = end(event);
    // Nobody read from it: it belongs to whom it was closed by, or waited for.
    let (pid, cgroup) = if record.tgid == 0 {
        (event.current.tgid, event.current.cgroup)
    } else {
        (record.tgid, record.cgroup)
    };
    Connection {
        id: identity(record.born_ns, event.socket, record.peer_port, record.local_port),
        role,
        pid,
        cgroup,
        local: SocketAddr::new(address(record.family, &record.local), record.local_port),
        peer: SocketAddr::new(address(record.family, &record.peer), record.peer_port),
        netns: record.netns,
        born_ns: record.born_ns,
        seeded: record.flags & record_flag::SEEDED != 0,
        end,
        unread,
        unsent: event.unsent,
        unacked: event.unacked,
        aborted: event.new_state == CLOSE && !matches!(end, End::Peer | End::Destroyed),
        silent: false,
        other_end: match event.other_end {
            other_end::SAME_CGROUP => OtherEnd::SameCgroup,
            other_end::SAME_PROCESS => OtherEnd::SameProcess,
            _ => OtherEnd::Elsewhere,
        },
        goodbye: false,
        remembered: event.remembered != 0,
        exchanges: Vec::new(),
    }
}

/// FNV-1a over what makes a connection one: kernel addresses stay here.
fn identity(born_ns: u64, socket: u64, peer_port: u16, local_port: u16) -> u64 {
    [
        born_ns,
        socket,
        u64::from(peer_port) << 16 | u64::from(local_port),
    ]
    .iter()
    .flat_map(|word| word.to_le_bytes())
    .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Who ended the connection: what the first closing state change says of it.
///
/// A close of ours leads to `FIN_WAIT1`, or straight to `CLOSE` where unread data makes it a reset (`__tcp_close` in
/// `net/ipv4/tcp.c`); an exit closes all files of the process, whose flags say that it is exiting. A peer's FIN leads to
/// `CLOSE_WAIT`, its RST to `CLOSE` (`tcp_reset` in `net/ipv4/tcp_input.c`).
fn end(event: &ConnectionEvent) -> End {
    let record = &event.record;
    if event.header.kind == event_kind::TURN_ENDED {
        return End::Open;
    }
    // tcp_abort(), for SOCK_DESTROY and bpf_sock_destroy(), and nothing else sets this one.
    if event.new_state == CLOSE && event.error == ECONNABORTED {
        return End::Destroyed;
    }
    // tcp_reset() and tcp_write_err() set sk_err before the state changes; our own abort after it.
    if record.flags & record_flag::PEER_RESET != 0 || (event.new_state == CLOSE && event.error != 0) {
        return End::Peer;
    }
    if event.old_state == CLOSE_WAIT {
        // The peer closed its side first. A half-close is legal, and shows by the peer's acknowledging what was
        // written after its FIN, or by a FIN that came with the request; else it counts as having left.
        let acknowledged = event.write_seq.wrapping_sub(event.unacked);
        let after_fin = acknowledged.wrapping_sub(record.peer_fin_write_seq);
        let asked = record.ask.total > 0 || event.unread > 1;
        let at_once =
            record.role == role::SERVER && record.flags & record_flag::PEER_FIN_AT_ONCE != 0 && asked;
        if !at_once && (after_fin == 0 || after_fin > u32::MAX / 2) {
            return End::Peer;
        }
    }
    // Nobody reads from a subflow of MPTCP, accepted or not.
    let read_by_none = record.tgid == 0 && record.flags & record_flag::MPTCP == 0;
    if record.role == role::SERVER && read_by_none && event.accepted == 0 {
        return End::Unaccepted;
    }
    if event.current.flags & process_flag::EXITING != 0
        && (record.tgid == event.current.tgid || record.tgid == 0)
    {
        End::Exit
    } else {
        End::Close
    }
}

fn turn(record: &SocketRecord) -> Turn {
    let has = |flag| record.flags & flag != 0;
    let (ask, answer) = (&record.ask, &record.answer);
    let tail_len = usize::from(record.tail_len).min(TAIL);
    let (ask_head, waiting): (&[u8], &[u8]) = if has(record_flag::WAITS) {
        (&[], head(&record.ask_head, ask.head_len))
    } else {
        (&record.ask_head, &[])
    };
    let (tls_ask, hellos) = record.ask_head.split_at(TLS_ASK);
    Turn {
        opening: record.opening,
        before_last: record.before_last,
        before: before(record),
        number: record.turns,
        ask: head(
            if has(record_flag::TLS) { tls_ask } else { ask_head },
            ask.head_len,
        )
        .into(),
        ask_bytes: ask.total.wrapping_sub(ask.turn_pos),
        answer: Vec::new(),
        answer_bytes: answer.total.wrapping_sub(answer.turn_pos),
        message_bytes: answer.total.wrapping_sub(answer.message_pos),
        answers: answer.messages,
        interims: answer.interims,
        tail: has(record_flag::TAIL_VALID).then(|| record.tail[TAIL - tail_len..TAIL].into()),
        interim: has(record_flag::INTERIM),
        http: has(record_flag::HTTP),
        ask_first_ns: ask.first_ns,
        ask_last_ns: ask.last_ns,
        answer_last_ns: answer.last_ns,
        message_first_ns: record.message_ns,
        hellos: has(record_flag::TLS).then(|| {
            let (server, client) = hellos.split_at(TLS_SERVER_HELLO);
            Box::new(Hellos {
                client: head(client, record.client_hello.into()).into(),
                server: head(server, record.server_hello.into()).into(),
            })
        }),
        mptcp: has(record_flag::MPTCP),
        http2: None,
        waiting: waiting.into(),
    }
}

/// The head of the latest response: what the record has of it, and what stands behind its event; `bytes` are all of it.
fn answer(bytes: &[u8], record: &SocketRecord) -> Vec<u8> {
    let kept = head(&record.answer_head, record.answer.head_len);
    if record.flags & (record_flag::LONG_HEAD | record_flag::HTTP2) != record_flag::LONG_HEAD {
        return kept.into();
    }
    // A connection that was remembered comes without it where it is longer than 1 KiB.
    let behind = bytes.get(size_of::<ConnectionEvent>()..).unwrap_or_default();
    let length = behind
        .first_chunk()
        .map_or(0, |length| u32::from_ne_bytes(*length));
    let behind = behind.get(offset_of!(LongHead, bytes)..).unwrap_or_default();
    [kept, head(behind, length)].concat()
}

/// How the last answer before this turn began: it stands there until another begins, and comes with an event whose heads
/// are all there.
fn before(record: &SocketRecord) -> [u8; 16] {
    let answer = &record.answer;
    let nothing = answer.total == answer.turn_pos && answer.head_len == 0;
    let first = record.answer_head.first_chunk().filter(|_| nothing);
    first.copied().unwrap_or_default()
}

fn head(bytes: &[u8], length: u32) -> &[u8] {
    &bytes[..(length as usize).min(bytes.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that waits in the accept queue of a listener that closes.
    fn queued(old_state: u32) -> ConnectionEvent {
        let zeroed = vec![0; size_of::<ConnectionEvent>()];
        let mut event: ConnectionEvent = structure(&zeroed).unwrap();
        event.header.kind = event_kind::CONNECTION_ENDED;
        event.old_state = old_state;
        event.new_state = CLOSE;
        event.current.flags = process_flag::EXITING;
        event.write_seq = 1000;
        event.record.role = role::SERVER;
        event.record.family = 2;
        event.record.peer_fin_write_seq = 1000;
        event.record.flags = if old_state == CLOSE_WAIT {
            record_flag::PEER_FIN
        } else {
            0
        };
        event
    }

    #[test]
    fn given_a_connection_with_short_heads_then_it_is_what_it_was_and_no_length_is_believed_beyond_what_came()
    {
        let mut event = queued(1);
        event.heads = ConnectionEvent::heads(128, 256);
        event.record.ask.head_len = 3;
        event.record.answer.head_len = 400;
        // SAFETY: plain integers.
        let whole = unsafe {
            std::slice::from_raw_parts(
                std::ptr::from_ref(&event).cast::<u8>(),
                size_of::<ConnectionEvent>(),
            )
        };
        let mut bytes = whole[..ConnectionEvent::SHORT].to_vec();
        bytes.extend([b'a'; 128]);
        bytes.extend([b'b'; 256]);
        let read = whole_or_short(&bytes).unwrap();
        assert_eq!(
            read.record.ask_head[..129],
            [[b'a'; 128].as_slice(), &[0]].concat()[..]
        );
        assert_eq!(
            read.record.answer_head[..257],
            [[b'b'; 256].as_slice(), &[0]].concat()[..]
        );
        assert_eq!((read.record.ask.head_len, read.record.answer.head_len), (3, 256));
        for short in 0..bytes.len() {
            assert!(whole_or_short(&bytes[..short]).is_none(), "{short}");
        }
    }

    #[test]
    fn given_a_connection_that_nobody_read_from_then_what_waits_is_no_head_and_its_end_is_found_by_its_identity()
     {
        let mut event = queued(1);
        event.record.flags = record_flag::WAITS;
        event.record.born_ns = 7;
        event.socket = 9;
        event.record.local_port = 80;
        event.record.ask.head_len = 3;
        event.heads = ConnectionEvent::heads(64, 0) | ConnectionEvent::NO_TAIL;
        // SAFETY: plain integers.
        let whole = unsafe {
            std::slice::from_raw_parts(
                std::ptr::from_ref(&event).cast::<u8>(),
                size_of::<ConnectionEvent>(),
            )
        };
        let bytes = [&whole[..ConnectionEvent::BARE], &[b'a'; 64]].concat();
        let Some(Fact::Connection(recorded)) = fact(&bytes) else {
            panic!("it is a connection's end");
        };
        assert_eq!(
            (&recorded.turn.ask[..], &recorded.turn.waiting[..]),
            (&b""[..], &b"aaa"[..])
        );
        assert_eq!(ends(&bytes), Some(recorded.connection.id));
        for short in 0..bytes.len() {
            assert!(fact(&bytes[..short]).is_none(), "{short}");
        }
    }

    #[test]
    fn given_a_client_that_waits_when_nobody_accepted_then_it_was_dropped() {
        assert_eq!(connection(&queued(1)).end, End::Unaccepted);
    }

    #[test]
    fn given_a_connection_that_somebody_else_destroyed_when_it_ends_then_neither_side_ended_it() {
        let mut event = queued(1);
        event.new_state = CLOSE;
        event.error = ECONNABORTED;
        let connection = connection(&event);
        assert_eq!((connection.end, connection.aborted), (End::Destroyed, false));
    }

    #[test]
    fn given_a_subflow_that_no_process_reads_when_its_server_ends_then_nobody_says_that_it_waited() {
        let mut event = queued(1);
        event.record.flags = record_flag::MPTCP;
        assert_eq!(connection(&event).end, End::Exit);
        assert!(turn(&event.record).mptcp);
    }

    #[test]
    fn given_a_turn_without_an_answer_then_it_comes_with_how_the_last_one_before_it_began() {
        let mut event = queued(1);
        event.record.answer_head = [b'a'; 512];
        (event.record.answer.total, event.record.answer.turn_pos) = (21, 21);
        assert_eq!(turn(&event.record).before, [b'a'; 16]);
        event.record.answer.total = 22;
        assert_eq!(turn(&event.record).before, [0; 16]);
    }

    #[test]
    fn given_a_long_head_when_its_end_stands_behind_the_event_then_the_head_is_whole() {
        let mut event = queued(1);
        event.record.flags = record_flag::LONG_HEAD | record_flag::HTTP;
        event.record.answer.head_len = 512;
        event.record.answer_head = [b'a'; 512];
        let whole = &raw const event;
        // SAFETY: plain integers.
        let mut bytes =
            unsafe { std::slice::from_raw_parts(whole.cast::<u8>(), size_of::<ConnectionEvent>()) }.to_vec();
        let alone = answer(&bytes, &event.record);
        bytes.extend([3, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(b"bcd, and what an older one left");
        let joined = answer(&bytes, &event.record);
        assert_eq!(
            (alone.len(), joined.len(), &joined[511..]),
            (512, 515, &b"abcd"[..])
        );
    }

    #[test]
    fn given_a_client_that_left_first_when_nobody_accepted_then_the_peer_ended_it() {
        let mut event = queued(CLOSE_WAIT);
        event.unread = 1 + 18; // its FIN, and what it had asked
        let connection = connection(&event);
        assert_eq!((connection.end, connection.unread), (End::Peer, 18));
    }
}
