//! Per-CPU counters: the index is one of these.

/// Events put into the ring.
pub const EVENTS: u32 = 0;
/// Events lost: the ring was full.
pub const LOST_RING_FULL: u32 = 1;
/// Sockets without a record: storage could not be allocated.
pub const LOST_NO_STORAGE: u32 = 2;
/// Entries lost: a map was full.
pub const LOST_MAP_FULL: u32 = 3;
/// Payload that could not be read from the process (its position is still right).
pub const LOST_PAYLOAD: u32 = 4;
/// Reads that a stand-in recorded, for the first program was skipped.
pub const STOOD_IN_READ: u32 = 5;
/// Writes that a stand-in recorded.
pub const STOOD_IN_WRITE: u32 = 6;
/// State changes that a stand-in handled.
pub const STOOD_IN_STATE: u32 = 7;
/// Connections that are older than the programs, as far as the first look found them.
pub const SEEDED: u32 = 8;
/// Signals that changed nothing: to oneself, or the same again and again. They were not told.
pub const SIGNALS_LEFT_OUT: u32 = 9;
/// Signals beyond what one process may send, or one cgroup get, in a second. Their targets are known, and nothing is
/// claimed of those.
pub const SIGNALS_UNTOLD: u32 = 10;
/// Requests that were served and are counted nowhere else: there was no room for their cgroup.
pub const SERVED_UNCOUNTED: u32 = 11;
/// How many counters there are.
pub const COUNT: u32 = 12;
