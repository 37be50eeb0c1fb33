//! ABI of HTTP/2: what is kept of a connection that began with the client's preface (RFC 9113 section 3.4),
//! beside its [`super::SocketRecord`] and in three socket storages of its own: Linux 7.2 allocates them by `kmalloc_nolock`,
//! which gives no more than 8 KiB in one piece.
//!
//! The programs walk over frame headers and keep who is open; names are for userspace, from the header blocks
//! kept here. Each direction is written by the task that moves its bytes, so no field is written by both
//! but where it says so.

/// Most streams kept of one connection: those that are open, and the latest that finished.
pub const STREAMS: usize = 128;
/// Bytes of one of the two halves of the log of requests' header blocks: as many as fit into 8 KiB.
pub const ASK_LOG: usize = 3896;
/// And of the log of responses' header blocks: as many as older kernels allow a socket beside the others.
pub const ANSWER_LOG: usize = 808;
/// Most bytes kept of one header block, unless its half of the log has more room; of responses half as many.
pub const BLOCK: usize = 1024;
/// Most bytes of one that are kept at once.
pub const CHUNK: usize = 256;
/// Longest header block of a request that its stream keeps itself, and the log does not.
pub const SHORT_BLOCK: usize = 12;
/// Most bytes that a stream keeps of its response's header block: its status is the first field (RFC 9113 section 8.3).
pub const ANSWER_BLOCK: usize = 8;

/// What a server resets so shortly before it closes the connection it cuts by that.
pub const CUT_WITH_IT_NS: u64 = 100_000_000;

/// How far one direction of a stream has come.
pub mod stream_state {
    /// Nothing has moved: only of the answering direction.
    pub const IDLE: u8 = 0;
    /// Begun.
    pub const OPEN: u8 = 1;
    /// Its last frame moved: `END_STREAM`.
    pub const ENDED: u8 = 2;
    /// This side reset the stream.
    pub const RESET: u8 = 3;
}

/// Bits of [`Stream::flags`].
pub mod stream_flag {
    /// The answering side reset the stream, and had looked at it: not `REFUSED_STREAM`.
    pub const CUT: u8 = 1 << 0;
    /// It did so while its workload was draining.
    pub const WHILE_DRAINING: u8 = 1 << 1;
}

/// One stream: a request and its response.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Stream {
    /// Monotonic time of its first frame.
    pub began_ns: u64,
    /// Monotonic time at which a direction of it ended last.
    pub last_ns: u64,
    /// Its request's header block, when it is short and adds nothing to the dynamic table.
    pub block: [u8; SHORT_BLOCK],
    /// Where its response's latest header block stands, or would stand: as `log_at`, in the other log.
    pub answer_at: u32,
    /// First bytes of that block, which may be its trailers.
    pub answer: [u8; ANSWER_BLOCK],
    /// Its number; 0 for none.
    pub id: u32,
    /// Where its request's header block stands, or would stand, in the log: [`HeaderLog::generation`] times
    /// [`ASK_LOG`], and the place in that half.
    pub log_at: u32,
    /// One of [`stream_state`]: the direction of requests.
    pub asked: u8,
    /// One of [`stream_state`]: the direction of responses.
    pub answered: u8,
    /// Bytes of `block`; 0 when the block stands in the log.
    pub block_len: u8,
    /// Bytes of `answer`.
    pub answer_len: u8,
    /// 1 while it is open.
    pub live: u8,
    /// Bits of [`stream_flag`].
    pub flags: u8,
    /// First byte of its response's header block before the latest one, where that is its last; else 0.
    pub status: u8,
    /// One more than the `grpc-status` that its response's latest header block says by itself; 0 for none.
    pub grpc: u8,
}
const _: () = assert!(size_of::<Stream>() == 56);

/// Room for a frame's header and the beginning of its payload, twice, so that the verifier can bound a write.
pub const PARTIAL: usize = 64;

/// Where the walk over the frames of one direction stands.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Http2Flow {
    /// Bytes of this direction that the walk has seen, or knows to be payload.
    pub walked: u64,
    /// Address of the next vector of the call at hand.
    pub vector: u64,
    /// Vectors left of it.
    pub vectors: u64,
    /// Address of the next byte.
    pub at: u64,
    /// Bytes left in this buffer.
    pub here: u64,
    /// Bytes left of the call.
    pub left: u64,
    /// Bytes of the current frame that are still to come.
    pub until: u32,
    /// Bytes in `partial`.
    pub held: u32,
    /// Bytes that `partial` is to have before they mean something.
    pub wanted: u32,
    /// Bytes of the current frame before its header block.
    pub skip: u32,
    /// Bytes of a header block that are still to be kept.
    pub block_left: u32,
    /// Stream that ends with the current frame; 0 for none.
    pub ends: u32,
    /// Stream whose header block goes on in the next frame; 0 for none.
    pub continues: u32,
    /// 1 once its first frame has begun, which is SETTINGS.
    pub begun: u32,
    /// Last stream that this side promised to serve when it said GOAWAY.
    pub goaway_last: u32,
    /// How often it said that.
    pub goaways: u32,
    /// Index of the stream whose header block moves; [`NO_STREAM`] for none.
    pub slot: u32,
    /// Stream that the last frame header named.
    pub stream: u32,
    /// A frame's header, and the beginning of its payload where that is read.
    pub partial: [u8; PARTIAL],
}
const _: () = assert!(size_of::<Http2Flow>() == 6 * 8 + 12 * 4 + PARTIAL);

/// Index of no stream.
pub const NO_STREAM: u32 = u32::MAX;

/// Why the walk does not know any more where frames begin, or who is open: bits of the halves of [`Http2::lost`].
pub mod walk_lost {
    /// Bytes moved in a call that shows none (`sendfile`, `io_uring`), and a frame began in them.
    pub const UNSEEN: u32 = 1 << 0;
    /// More frames or buffers in one call than are walked over.
    pub const LONG_CALL: u32 = 1 << 1;
    /// What stands where a frame must begin is none.
    pub const NO_FRAME: u32 = 1 << 2;
    /// More streams are open than are kept.
    pub const MANY_STREAMS: u32 = 1 << 3;
    /// The process's memory could not be read.
    pub const FAULT: u32 = 1 << 4;
}

/// Where one of the two logs of header blocks stands.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct HeaderLog {
    /// How often it has gone on in its other half: half `generation & 1` is written now.
    pub generation: u32,
    /// Its generation when the streams were told last.
    pub told: u32,
    /// Bytes in use of the half that is written.
    pub used: u32,
    /// Bytes in use of the other half.
    pub used_before: u32,
    /// Where the header block stands that moves: its entry, in the half that is written.
    pub at: u32,
    /// Its place in the order of all: what [`Stream::log_at`] says of it.
    pub key: u32,
    /// Bytes of it that are kept.
    pub length: u32,
    /// Bytes of it that have moved.
    pub seen: u32,
    /// How far it has been looked through.
    pub looked: u32,
    /// 1: what moves behind it is padding, and counted as of it.
    pub padded: u32,
}
const _: () = assert!(size_of::<HeaderLog>() == 40);

/// A header block in the log. Its bytes follow, padded to 8.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LogEntry {
    /// Stream.
    pub stream: u32,
    /// Bytes that were kept.
    pub length: u16,
    /// 1: there were more.
    pub cut: u16,
}
const _: () = assert!(size_of::<LogEntry>() == 8);

/// What is kept of a connection that speaks HTTP/2.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Http2 {
    /// Bits of [`walk_lost`], never taken back: the direction of requests has the lower half, that of responses the upper.
    pub lost: u32,
    /// Highest stream that was opened.
    pub last_stream: u32,
    /// How many streams were opened, and not given up by who opened them.
    pub opened: u32,
    /// How many of those the direction of responses has finished.
    pub finished: u32,
    /// [`Self::finished`] when the streams were told last.
    pub finished_told: u32,
    /// How many were answered to their end; written by the direction of responses alone.
    pub served: u32,
    /// Header blocks of requests.
    pub ask_log: HeaderLog,
    /// Header blocks of responses.
    pub answer_log: HeaderLog,
    /// Monotonic time at which the answering side reset a stream last that it had looked at.
    pub cut_ns: u64,
    /// Monotonic time at which the streams were told last; those that had finished by then are told.
    pub told_ns: u64,
    /// Direction of requests.
    pub ask: Http2Flow,
    /// Direction of responses.
    pub answer: Http2Flow,
    /// Streams, by half of their number and then further on.
    pub streams: [Stream; STREAMS],
}

impl Http2 {
    /// Bytes that travel to userspace of a connection that has no stream to tell of; of others all of it, and the
    /// log's [`Http2Log::bytes`] behind it.
    pub const IDLE: usize = core::mem::offset_of!(Self, streams);
}

/// The log of requests' header blocks, in a socket storage of its own.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Http2Log {
    /// Header blocks in the order in which they moved, but those that their streams keep, each a [`LogEntry`]: two
    /// halves, written in turns, so that at least the latest half is there.
    pub bytes: [u8; Self::TOLD],
    /// Room behind them, so that the verifier can bound a write.
    pub room: [u8; CHUNK],
}

impl Http2Log {
    /// Bytes that travel to userspace.
    pub const TOLD: usize = 2 * ASK_LOG;
}

/// The log of responses' header blocks, in a socket storage of its own: those that later ones can refer to, and, while
/// the workload is draining, those that end a stream and do not say by themselves how.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Http2Answers {
    /// As in [`Http2Log`].
    pub bytes: [u8; Self::TOLD],
    /// Room behind them.
    pub room: [u8; CHUNK],
}

impl Http2Answers {
    /// Bytes that travel to userspace.
    pub const TOLD: usize = 2 * ANSWER_LOG;
}

/// Most that fits into 8 KiB of the kernel's memory with the kernel's header, of at most 136 bytes.
const STORAGE: usize = 8192 - 136;
const _: () = assert!(size_of::<Http2>() <= STORAGE && size_of::<Http2>().is_multiple_of(8));
const _: () =
    assert!(size_of::<Http2Log>() <= STORAGE && ASK_LOG.is_multiple_of(8) && ANSWER_LOG.is_multiple_of(8));
// With a record they stay below what older kernels allow a socket (`net.core.optmem_max`), which counts the kernel's
// headers: those of each, and one of the socket.
const _: () = assert!(
    size_of::<Http2>()
        + size_of::<Http2Log>()
        + size_of::<Http2Answers>()
        + size_of::<super::SocketRecord>()
        + 4 * 136
        + 512
        <= 20480
);
