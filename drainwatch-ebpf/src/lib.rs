//! The ABI between the BPF programs and the agent: records, events, counters, globals.
//!
//! Every structure is `repr(C)`, made of integers, with explicit padding and its size asserted,
//! because both sides are compiled by different compilers. A change here needs a rebuilt object
//! (`cargo xtask ebpf`); the test command fails when the checked-in one is older than its sources.
#![no_std]
#![deny(unsafe_code)]

/// Most bytes kept of the request direction of a connection (the asking side), per turn.
pub const ASK_HEAD: usize = 1024;
/// Most bytes kept of the response direction (the answering side), per message.
pub const ANSWER_HEAD: usize = 512;
/// Most bytes kept of a response's head behind those: of connections whose heads are longer.
pub const LONG_HEAD: usize = 7168;
/// Most bytes of it that are kept at once.
pub const LONG_HEAD_CHUNK: usize = 1024;
/// Of a connection of TLS, whose bytes say nothing but how long its records are: so many of them are kept of a turn's
/// requests, from its second turn on. Behind them in [`SocketRecord::ask_head`] stands how it began.
pub const TLS_ASK: usize = 256;
/// Most bytes kept of the server's first answer there.
pub const TLS_SERVER_HELLO: usize = 128;
/// Most bytes kept of its `ClientHello`, behind that.
pub const TLS_CLIENT_HELLO: usize = ASK_HEAD - TLS_ASK - TLS_SERVER_HELLO;
/// Last bytes written in the response direction, when the head does not already hold them.
pub const TAIL: usize = 64;
/// Room for the tail: twice its length, so that the verifier can bound a right-aligned write.
pub const TAIL_ROOM: usize = 2 * TAIL;
/// Length of a task's `comm`.
pub const COMM: usize = 16;
/// Most bytes kept of a cgroup path, including the terminating zero.
pub const CGROUP_PATH: usize = 512;

/// Which end of the connection this node's process is.
pub mod role {
    /// Not known: the connection is older than the agent and its port tells nothing.
    pub const UNKNOWN: u32 = 0;
    /// The connection was accepted here: we are asked.
    pub const SERVER: u32 = 1;
    /// The connection was opened here: we ask.
    pub const CLIENT: u32 = 2;
}

/// Bits of [`SocketRecord::flags`].
///
/// One task may read from a connection while another writes to it, and a segment arrives on a third CPU. So each byte of them
/// has one writer: the direction of responses, that of requests, whoever holds the socket's lock, and what makes the record.
pub mod record_flag {
    /// Payload of the current response could not be captured from its first byte on.
    pub const ANSWER_LOST: u32 = 1 << 0;
    /// The last answer bytes seen were an interim (1xx) response: the request goes on.
    pub const INTERIM: u32 = 1 << 1;
    /// `tail` holds the last bytes of the answer (otherwise the answer head holds them all, or says how many there are, or
    /// they are lost).
    pub const TAIL_VALID: u32 = 1 << 2;
    /// An answer began with `HTTP/1.`: the connection speaks HTTP/1 in clear.
    pub const HTTP: u32 = 1 << 3;
    /// The protocol was switched (101, CONNECT): the turn goes on whatever is said.
    pub const SWITCHED: u32 = 1 << 4;
    /// The end of the latest response's head has not been seen: it goes on behind what is kept of it.
    pub const HEAD_OPEN: u32 = 1 << 5;
    /// What follows the captured head of the latest response stands in the connection's
    /// [`LongHead`](super::LongHead).
    pub const LONG_HEAD: u32 = 1 << 6;
    /// The head of the latest response says how long its body is: its last bytes tell nothing that their number does not.
    pub const LENGTH_SAID: u32 = 1 << 7;

    /// Payload of the current turn's request could not be captured from its first byte on.
    pub const ASK_LOST: u32 = 1 << 8;
    /// The connection began with a handshake of TLS, and this is not its first turn: what stands in `ask_head` is said at
    /// [`TLS_ASK`](super::TLS_ASK).
    pub const TLS: u32 = 1 << 9;
    /// The connection began with the preface of HTTP/2: it has no turns, and an [`http2::Http2`](super::http2::Http2)
    /// of its own unless there was no room for one.
    pub const HTTP2: u32 = 1 << 10;
    /// Nobody has read from it: what stands in `ask_head` waits.
    pub const WAITS: u32 = 1 << 11;

    /// The peer sent FIN (the socket passed through `CLOSE_WAIT`).
    pub const PEER_FIN: u32 = 1 << 16;
    /// The peer's FIN came at once with its last bytes: it has closed its sending side and waits. One that gives up does
    /// so later.
    pub const PEER_FIN_AT_ONCE: u32 = 1 << 17;
    /// The peer sent RST.
    pub const PEER_RESET: u32 = 1 << 18;
    /// Our side ended the connection (its closing state change has been seen).
    pub const ENDED: u32 = 1 << 19;

    /// The socket is older than the agent: what happened before is not known.
    pub const SEEDED: u32 = 1 << 24;
    /// An MPTCP socket, or a subflow of one, and what moved on it was not recorded.
    pub const MPTCP: u32 = 1 << 25;
}

/// One direction of one connection, with what was captured of its current message.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Flow {
    /// Bytes since the connection began (for a seeded socket: since the agent saw it first).
    pub total: u64,
    /// Value of `total` where the current turn began.
    pub turn_pos: u64,
    /// Value of `total` where the captured head began: the current message.
    pub message_pos: u64,
    /// Monotonic time of the first byte of the current turn in this direction; 0 when there is none.
    pub first_ns: u64,
    /// Monotonic time of the last byte in this direction; 0 when there is none.
    pub last_ns: u64,
    /// The kernel's position when it was last looked at (`copied_seq` or `write_seq`).
    pub seq: u32,
    /// Bytes captured in the head buffer of this direction.
    pub head_len: u32,
    /// Messages begun in the current turn, as far as system call boundaries show them.
    pub messages: u32,
    /// Of those messages, interim responses (1xx) that a further one followed: too long to be looked at to their
    /// end, or written in parts.
    pub interims: u32,
}
const _: () = assert!(size_of::<Flow>() == 56);

/// What the kernel remembers of one TCP connection, in socket storage.
///
/// `ask` is the direction in which requests travel (received for a server, sent for a client),
/// `answer` the other one. A *turn* begins with the first ask byte after an answer byte.
/// The same structure travels to userspace as the body of a [`ConnectionEvent`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SocketRecord {
    // What every call touches, in three lines of the cache: the storage begins eight bytes into one.
    /// cgroup v2 id of the task that last read or wrote; 0 when no task ever did.
    pub cgroup: u64,
    /// Process that last read or wrote; 0 when none ever did.
    pub tgid: u32,
    /// One of [`role`].
    pub role: u32,
    /// Bits of [`record_flag`].
    pub flags: u32,
    /// Turns begun on this connection.
    pub turns: u32,
    /// Request direction.
    pub ask: Flow,
    /// Response direction.
    pub answer: Flow,
    /// Monotonic time at which the latest response began.
    pub message_ns: u64,
    /// Last bytes of the tail before the latest call in the response direction was added to it; zero where there was
    /// none.
    pub before_last: [u8; 8],
    /// Bytes of `tail` in use: the last ones before index [`TAIL`].
    pub tail_len: u16,
    /// Where in `answer_head` a response of this connection last said how long its body is, or where to look next.
    pub length_at: u16,
    /// With [`record_flag::TLS`]: how much is kept of the server's first answer.
    pub server_hello: u16,
    /// How many responses in a row did not say it there.
    pub length_missed: u8,
    /// Which word of `answer_head` had the end of the latest head that was looked through.
    pub head_end: u8,
    /// Responses that were begun beyond one a turn, less what followed one in a later turn than its own: with `turns` they
    /// are all that were begun. Wraps.
    pub further: u32,
    /// Up to which of the kernel's positions the direction of requests has counted responses that no hook had seen; 0 where it
    /// never had to.
    pub caught_up: u32,
    // What is touched as the connection begins, ends, or is told.
    /// Monotonic time at which the connection was established (for a seeded socket: first seen).
    pub born_ns: u64,
    /// The connection's first bytes in the request direction, from its second turn on.
    pub opening: [u8; 8],
    /// `write_seq` when the peer's FIN arrived; meaningful with [`record_flag::PEER_FIN`].
    pub peer_fin_write_seq: u32,
    /// Network namespace: the low half of its cookie.
    pub netns: u32,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
    /// Local port, host byte order.
    pub local_port: u16,
    /// Peer's port, host byte order.
    pub peer_port: u16,
    /// With [`record_flag::TLS`]: how much is kept of the `ClientHello`.
    pub client_hello: u16,
    /// Local address; IPv4 in the first four bytes.
    pub local: [u8; 16],
    /// Peer's address; IPv4 in the first four bytes.
    pub peer: [u8; 16],
    /// Last bytes written in the answer direction, right-aligned at index [`TAIL`].
    pub tail: [u8; TAIL_ROOM],
    /// First bytes of the current turn's request(s); of TLS, fewer of them, and how it began.
    pub ask_head: [u8; ASK_HEAD],
    /// First bytes of the current response.
    pub answer_head: [u8; ANSWER_HEAD],
}
const _: () = assert!(size_of::<SocketRecord>() == 1896);
const _: () = assert!(size_of::<SocketRecord>().is_multiple_of(8));

/// What follows the captured head of the latest response, in a socket storage that only connections with long heads
/// have, and none of HTTP/2. With the record it stays below the 20 KiB that older kernels allow a socket.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LongHead {
    /// Bytes that are kept: as many as were needed to see the head's end.
    pub length: u32,
    /// Explicit padding.
    pub reserved: u32,
    /// The bytes, and room behind them, so that the verifier can bound a write.
    pub bytes: [u8; LONG_HEAD + 576],
}
// With its header of at most 136 bytes it takes 8 KiB of the kernel's memory, not 16.
const _: () = assert!(size_of::<LongHead>() <= 8192 - 136 && size_of::<LongHead>().is_multiple_of(8));

impl LongHead {
    /// Bytes that travel to userspace where it holds no more than [`LONG_HEAD_CHUNK`].
    pub const SHORT: usize = core::mem::offset_of!(Self, bytes) + LONG_HEAD_CHUNK;
}

/// First field of every event: what it is.
pub mod event_kind {
    /// A stop or kill signal was generated: [`super::SignalEvent`].
    pub const SIGNAL_GENERATED: u32 = 1;
    /// A stop signal reached its handler: [`super::SignalEvent`].
    pub const SIGNAL_DELIVERED: u32 = 2;
    /// The last thread of a process is exiting, its sockets still open: [`super::ExitEvent`].
    pub const PROCESS_EXIT: u32 = 3;
    /// The OOM killer chose a process: [`super::ExitEvent`] with only the process filled in.
    pub const OOM_VICTIM: u32 = 4;
    /// A TCP listener was opened: [`super::ListenerEvent`].
    pub const LISTENER_OPENED: u32 = 5;
    /// A TCP listener was closed for good: [`super::ListenerEvent`].
    pub const LISTENER_CLOSED: u32 = 6;
    /// A turn ended because the next one began, on a draining workload: [`super::ConnectionEvent`].
    pub const TURN_ENDED: u32 = 7;
    /// A connection ended (first closing state change): [`super::ConnectionEvent`].
    pub const CONNECTION_ENDED: u32 = 8;
    /// We answered a segment with RST: [`super::ResetEvent`].
    pub const RESET_SENT: u32 = 9;
    /// A cgroup was created: [`super::CgroupEvent`].
    pub const CGROUP_CREATED: u32 = 10;
    /// A cgroup was removed: [`super::CgroupEvent`].
    pub const CGROUP_REMOVED: u32 = 11;
    /// A cgroup's last process left it: [`super::CgroupEvent`] without path.
    pub const CGROUP_EMPTIED: u32 = 12;
    /// A process that had closed connections just before replaced its program: [`super::ExitEvent`].
    pub const PROCESS_EXEC: u32 = 13;
    /// What waits unread on a connection that is about to end: [`super::WaitingEvent`].
    pub const WAITING: u32 = 14;
    /// A TCP listener was found open by the agent as it started: [`super::ListenerEvent`].
    pub const LISTENER_FOUND: u32 = 15;
}

/// Header of every event in the ring.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct EventHeader {
    /// Monotonic time.
    pub at_ns: u64,
    /// One of [`event_kind`].
    pub kind: u32,
    /// Explicit padding.
    pub reserved: u32,
}
const _: () = assert!(size_of::<EventHeader>() == 16);

/// Bits of [`ProcessInfo::flags`].
pub mod process_flag {
    /// PID 1 of a pid namespace other than the initial one.
    pub const PID1: u32 = 1 << 0;
    /// It holds, or held, the server end of a connection, or opened a listener.
    pub const SERVED: u32 = 1 << 1;
    /// It holds, or held, the client end of a connection.
    pub const CALLED: u32 = 1 << 2;
    /// It is exiting (`PF_EXITING`).
    pub const EXITING: u32 = 1 << 3;
    /// It, or its parent, was sent a stop signal or SIGKILL since the agent runs.
    pub const SIGNALLED: u32 = 1 << 4;
    /// Its whole thread group is already exiting (`SIGNAL_GROUP_EXIT`).
    pub const GROUP_EXIT: u32 = 1 << 5;
    /// Its parent lives in the same cgroup (so it is not the cgroup's first process).
    pub const PARENT_IN_CGROUP: u32 = 1 << 6;
    /// It held the server end of more than one connection, or opened a listener and held one.
    pub const SERVED_MORE: u32 = 1 << 7;
    /// It held a connection, or a listener, for which there was no room: what became of it nobody knows.
    pub const UNRECORDED: u32 = 1 << 8;
    /// A signal to it was not told: there were too many, or there was no room.
    pub const UNTOLD: u32 = 1 << 9;
}

/// A process as the kernel sees it at the moment of an event.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ProcessInfo {
    /// cgroup v2 id.
    pub cgroup: u64,
    /// Start time (`task_struct::start_time` of the group leader, monotonic ns): with the pid, an identity.
    pub started_ns: u64,
    /// Process id in the initial pid namespace.
    pub tgid: u32,
    /// Parent's process id in the initial pid namespace.
    pub parent_tgid: u32,
    /// Process id inside its own pid namespace.
    pub ns_tgid: u32,
    /// Bits of [`process_flag`].
    pub flags: u32,
    /// `comm` of the group leader, zero-padded.
    pub comm: [u8; COMM],
}
const _: () = assert!(size_of::<ProcessInfo>() == 48);

/// Disposition of a signal at its target when it was generated.
pub mod disposition {
    /// `SIG_DFL`.
    pub const DEFAULT: u32 = 0;
    /// A handler is installed.
    pub const HANDLED: u32 = 1;
    /// `SIG_IGN`.
    pub const IGNORED: u32 = 2;
    /// Blocked by the thread that was looked at: pending for `sigwait` or `signalfd`, or merely late.
    pub const BLOCKED: u32 = 3;
}

/// Where a signal came from.
pub mod sender_kind {
    /// A process, by `kill(2)` and its like.
    pub const PROCESS: u32 = 0;
    /// Kernel code on behalf of a process (`cgroup.kill`: `info` is 0).
    pub const CGROUP_KILL: u32 = 1;
    /// The kernel itself (`info` is 1): OOM killer, or the end of a pid namespace.
    pub const KERNEL: u32 = 2;
}

/// A stop or kill signal, at generation or at delivery.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SignalEvent {
    /// Time and kind.
    pub header: EventHeader,
    /// Who gets it.
    pub target: ProcessInfo,
    /// Who sent it (at delivery: zero).
    pub sender: ProcessInfo,
    /// Signal number.
    pub signal: u32,
    /// One of [`disposition`].
    pub disposition: u32,
    /// `signal_generate`'s result: 0 delivered, 1 ignored, 2 already pending, 3 overflow, 4 info lost.
    pub result: u32,
    /// One of [`sender_kind`].
    pub sender_kind: u32,
    /// 1 when the signal was sent to the process, 0 when to one thread.
    pub group: u32,
    /// How much of the time the busiest of the target's threads was running or ready to run, in 1024ths, by the
    /// scheduler's own average (it halves every 32 ms); [`SignalEvent::UNKNOWN`] where the kernel keeps none, and at
    /// delivery.
    pub busy: u32,
}
impl SignalEvent {
    /// No value.
    pub const UNKNOWN: u32 = u32::MAX;
}
const _: () = assert!(size_of::<SignalEvent>() == 136);

/// A process is exiting; its sockets are still open.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ExitEvent {
    /// Time and kind.
    pub header: EventHeader,
    /// Who.
    pub process: ProcessInfo,
    /// Wait status: low 7 bits the fatal signal, bits 8 to 15 the exit code.
    pub status: u32,
    /// 1: it had a listening Unix socket open.
    pub unix_listener: u32,
    /// `comm` of one of its children, zero-padded; empty where it had none.
    pub child: [u8; COMM],
}
const _: () = assert!(size_of::<ExitEvent>() == 88);

/// A listener was opened or closed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ListenerEvent {
    /// Time and kind.
    pub header: EventHeader,
    /// The task that opened or closed it.
    pub process: ProcessInfo,
    /// Network namespace: the low half of its cookie.
    pub netns: u32,
    /// Connections in the accept queue.
    pub backlog: u32,
    /// Connections whose handshake had not come to its end.
    pub handshakes: u32,
    /// Zero.
    pub reserved: u32,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
    /// Port, host byte order.
    pub port: u16,
    /// Listeners on this port and namespace that are still open (`SO_REUSEPORT`, IPv4 beside IPv6).
    pub still_open: u32,
    /// Local address; IPv4 in the first four bytes.
    pub address: [u8; 16],
}
const _: () = assert!(size_of::<ListenerEvent>() == 104);

/// Where the other end of a connection is.
pub mod other_end {
    /// Elsewhere, or not known.
    pub const ELSEWHERE: u32 = 0;
    /// In the same cgroup.
    pub const SAME_CGROUP: u32 = 1;
    /// In the same process.
    pub const SAME_PROCESS: u32 = 2;
}

/// The running task, as far as the end of a connection is a matter of it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Current {
    /// cgroup v2 id.
    pub cgroup: u64,
    /// Process id in the initial pid namespace.
    pub tgid: u32,
    /// [`process_flag::EXITING`], or nothing.
    pub flags: u32,
}
const _: () = assert!(size_of::<Current>() == 16);

/// A connection's record with what only its end shows.
///
/// Where its heads are short, as most are, no more of them follows than [`ConnectionEvent::heads`] says, and of a
/// connection without a tail not even room for one: what ends at once are often thousands, and the ring holds the more of
/// them.
/// Behind the event of one that speaks HTTP/2 stands its [`http2::Http2`] with its [`http2::Http2Log`], or only
/// [`http2::Http2::IDLE`] bytes; behind one with [`record_flag::LONG_HEAD`] its [`LongHead`], all of it or
/// [`LongHead::SHORT`] bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ConnectionEvent {
    /// Time and kind.
    pub header: EventHeader,
    /// Process in whose context the event happened. Only meaningful together with its flags: on
    /// loopback a socket of one process is handled on top of another.
    pub current: Current,
    /// Address of the socket: with `record.born_ns`, the identity of the connection.
    pub socket: u64,
    /// TCP state before the change (for `TURN_ENDED`: the current one).
    pub old_state: u32,
    /// TCP state after the change.
    pub new_state: u32,
    /// `rcv_nxt - copied_seq`: received, not read. A FIN counts 1.
    pub unread: u32,
    /// `write_seq - snd_nxt`: written, not sent.
    pub unsent: u32,
    /// `write_seq - snd_una`: written, not acknowledged.
    pub unacked: u32,
    /// `write_seq`.
    pub write_seq: u32,
    /// `sk_err`.
    pub error: u32,
    /// 1 when the socket belongs to a file (was accepted), else 0.
    pub accepted: u32,
    /// `sk_shutdown`: 1 receive side, 2 send side closed by us.
    pub shutdown: u32,
    /// 1 when it is told only now, because its owner ends, or has replaced its program: at the time of the header it
    /// was alive and nobody had asked it to end.
    pub remembered: u32,
    /// One of [`other_end`].
    pub other_end: u32,
    /// 0 where all of it is there. Else how many bytes of the request's head follow [`ConnectionEvent::SHORT`] bytes, and
    /// how many of the response's: the lower and the upper half. With [`ConnectionEvent::NO_TAIL`] they follow
    /// [`ConnectionEvent::BARE`] bytes.
    pub heads: u32,
    /// What was recorded; last, so that its heads can be left away.
    pub record: SocketRecord,
}
impl ConnectionEvent {
    /// Size without the heads.
    pub const SHORT: usize = size_of::<Self>() - ASK_HEAD - ANSWER_HEAD;
    /// Size without the tail, too, which is the last before them.
    pub const BARE: usize = Self::SHORT - TAIL_ROOM;
    /// Bit of [`ConnectionEvent::heads`]: the tail is left away.
    pub const NO_TAIL: u32 = 1 << 15;

    /// Value of [`ConnectionEvent::heads`].
    #[expect(clippy::cast_possible_truncation, reason = "heads are shorter than 64 KiB")]
    pub const fn heads(ask: usize, answer: usize) -> u32 {
        (ask | answer << 16) as u32
    }

    /// How many bytes of the heads of request and response it says that follow.
    pub const fn parts(heads: u32) -> (usize, usize) {
        ((heads & 0x7fff) as usize, (heads >> 16) as usize)
    }
}
const _: () = assert!(ASK_HEAD <= 0x7fff && ANSWER_HEAD <= 0xffff);
const _: () = assert!(size_of::<ConnectionEvent>() == 88 + 1896);

/// Bits of [`ResetEvent::flags`].
pub mod reset_flag {
    /// The segment carried SYN: a connection attempt met a closed port.
    pub const SYN: u32 = 1 << 0;
    /// Whoever sent it, from the address that it went to, is in the cgroup that the port belongs, or belonged, to.
    pub const SAME_CGROUP: u32 = 1 << 1;
    /// The socket still had its record: closed by us, not yet forgotten.
    pub const RECORD: u32 = 1 << 2;
}

/// A segment that met no listener, or a connection that we had closed, and was answered with RST; or what a process read
/// behind its own FIN, where that begins a request.
/// Sent only when its local port belongs, or belonged, to a listener of a workload that is ending.
///
/// Where [`ResetEvent::length`] is not 0, [`LATE_HEAD`] bytes stand behind it, of which so many are the payload's first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ResetEvent {
    /// Time and kind.
    pub header: EventHeader,
    /// cgroup whose listener the port belonged to.
    pub cgroup: u64,
    /// Process that closed the listener, or owned the connection.
    pub tgid: u32,
    /// Bits of [`reset_flag`].
    pub flags: u32,
    /// Bytes of payload in the segment.
    pub payload: u32,
    /// Network namespace: the low half of its cookie.
    pub netns: u32,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
    /// Local port, host byte order.
    pub local_port: u16,
    /// Peer's port, host byte order.
    pub peer_port: u16,
    /// How many of the payload's bytes stand behind the event, no more than [`LATE_HEAD`].
    pub length: u16,
    /// Local address.
    pub local: [u8; 16],
    /// Peer's address.
    pub peer: [u8; 16],
}
const _: () = assert!(size_of::<ResetEvent>() == 80);

/// Room for what came too late, behind its [`ResetEvent`].
pub const LATE_HEAD: usize = 512;
const _: () = assert!(LATE_HEAD <= ASK_HEAD);

/// First bytes of what waits unread on a connection whose record holds others: told just before its end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WaitingEvent {
    /// Time and kind.
    pub header: EventHeader,
    /// As in [`ConnectionEvent::socket`].
    pub socket: u64,
    /// As in [`SocketRecord::born_ns`].
    pub born_ns: u64,
    /// Local port, host byte order.
    pub local_port: u16,
    /// Peer's port, host byte order.
    pub peer_port: u16,
    /// How many of the bytes are there.
    pub length: u32,
    /// The bytes.
    pub bytes: [u8; ASK_HEAD],
}
const _: () = assert!(size_of::<WaitingEvent>() == 40 + ASK_HEAD);

/// Indices of what is known of the kernel's map of all memory: see the programs' `waiting`.
pub mod direct_map {
    /// What makes a page's address of its descriptor's: 0 where it was not found.
    pub const OFFSET: u32 = 0;
    /// Local port of the connection that it is looked for with.
    pub const PORT: u32 = 1;
    /// How many places were tried before.
    pub const TRIED: u32 = 2;
    /// The first of the words that wait on that connection.
    pub const MAGIC: u32 = 3;
    /// How many words.
    pub const WORDS: u32 = 4;
    /// How many values there are.
    pub const COUNT: u32 = MAGIC + WORDS;
    /// How many places one pass tries: what verifiers follow.
    pub const TRIES: u32 = 64;
}

/// A cgroup came, went, or lost its last process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CgroupEvent {
    /// Time and kind.
    pub header: EventHeader,
    /// cgroup v2 id.
    pub cgroup: u64,
    /// Bytes of `path` in use, without the terminating zero.
    pub path_len: u32,
    /// Explicit padding.
    pub reserved: u32,
    /// Path below the unified hierarchy's root.
    pub path: [u8; CGROUP_PATH],
}
const _: () = assert!(size_of::<CgroupEvent>() == 32 + CGROUP_PATH);

/// Why a cgroup, or a process, reports. Value of the draining maps.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Draining {
    /// Monotonic time of the last stop signal: the time of the event that tells of it.
    pub since_ns: u64,
}
const _: () = assert!(size_of::<Draining>() == 8);

/// Whose signals are counted.
pub mod rated {
    /// Those of one number to one process.
    pub const TARGET: u32 = 0;
    /// Those of one number that one process handled.
    pub const DELIVERED: u32 = 1;
    /// All that one process sends.
    pub const SENDER: u32 = 2;
    /// All to the processes of one cgroup.
    pub const CGROUP: u32 = 3;
}

/// Key of the map of rates.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RateKey {
    /// Process or cgroup.
    pub id: u64,
    /// One of [`rated`].
    pub of: u32,
    /// Signal number, where only those of one number count.
    pub signal: u32,
}

/// What was told of a second.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Rate {
    /// When it began.
    pub since_ns: u64,
    /// How many came.
    pub count: u64,
}

/// A listening socket that is counted.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Listening {
    /// cgroup of who opened it.
    pub cgroup: u64,
}

/// Key of the listener map: a port in a network namespace.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortKey {
    /// Network namespace: the low half of its cookie.
    pub netns: u32,
    /// Port, host byte order.
    pub port: u32,
}

/// Value of the listener map.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PortState {
    /// cgroup of the task that opened the first of them.
    pub cgroup: u64,
    /// Monotonic time at which the last of them was closed; 0 while one is open.
    pub closed_ns: u64,
    /// Listeners open now.
    pub open: u64,
    /// Process that opened or, once closed, closed it.
    pub tgid: u32,
    /// Zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<PortState>() == 32);

/// Key of the reset counters.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResetKey {
    /// cgroup v2 id of the connection's owner.
    pub cgroup: u64,
    /// 0 sent, 1 received.
    pub direction: u32,
    /// 0 serving, 1 shutdown.
    pub phase: u32,
}

pub mod counter;
pub mod http2;
pub mod kfunc;
pub mod offset;
pub mod setting;

/// States of a TCP socket that matter here, `include/net/tcp_states.h`.
pub mod tcp_state {
    /// Both directions are open.
    pub const ESTABLISHED: u32 = 1;
    /// We called and have no answer yet.
    pub const SYN_SENT: u32 = 2;
    /// We were called and have answered.
    pub const SYN_RECV: u32 = 3;
    /// We have closed our side.
    pub const FIN_WAIT1: u32 = 4;
    /// Closed, or not open yet.
    pub const CLOSE: u32 = 7;
    /// The peer has closed its side.
    pub const CLOSE_WAIT: u32 = 8;
    /// So has the peer, and then we ours.
    pub const LAST_ACK: u32 = 9;
    /// A listener.
    pub const LISTEN: u32 = 10;
}

/// What holds at the moment, for the programs and for the agent that comes next: indices into a map, for the programs may
/// be older than the agent that runs.
pub mod activity {
    /// Time of the last entry that the programs put into a draining map. Something drains while it differs from
    /// [`QUIET`].
    pub const LAST_MARK: u32 = 0;
    /// The last mark after which the agent found the draining maps empty.
    pub const QUIET: u32 = 1;
    /// Stop signals of their own that cgroups have, those of all of them: bit n is signal n.
    pub const OWN_STOP_SIGNALS: u32 = 2;
    /// Process id of the agent: its own calls are not recorded. 0 while there is none.
    pub const AGENT_TGID: u32 = 3;
    /// 1: the first bytes of requests and responses are captured; 0: none.
    pub const CAPTURE: u32 = 4;
    /// Bit n: signal n is a stop signal.
    pub const STOP_SIGNALS: u32 = 5;
    /// Ring entries that were lost, as far as an agent has taken them into account.
    pub const TOLD_LOST_ENTRIES: u32 = 6;
    /// Other evidence that was lost, as far as an agent has taken it into account.
    pub const TOLD_LOST_OTHER: u32 = 7;
    /// How many there are.
    pub const COUNT: u32 = 8;
}

#[cfg(feature = "agent")]
#[expect(unsafe_code, reason = "the marker trait is unsafe")]
mod plain {
    use super::{Draining, PortKey, PortState, ResetKey};

    // SAFETY: `repr(C)` structures of integers without implicit padding, as the size asserts show.
    unsafe impl aya::Pod for Draining {}
    // SAFETY: as above.
    unsafe impl aya::Pod for PortKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for PortState {}
    // SAFETY: as above.
    unsafe impl aya::Pod for ResetKey {}
}
