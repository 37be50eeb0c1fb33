//! The maps, and the questions that programs ask them.

use core::ffi::c_void;

use aya_ebpf::{
    btf_maps::{Array, HashMap, LruHashMap, LruPerCpuHashMap, PerCpuArray, RingBuf, SkStorage},
    helpers::generated::bpf_sk_storage_get,
    macros::btf_map,
};
use drainwatch_ebpf::{
    Draining, Listening, LongHead, PortKey, PortState, Rate, RateKey, ResetKey, SocketRecord, activity,
    counter,
    http2::{Http2, Http2Answers, Http2Log},
    process_flag,
};

use crate::{atomic, kernel::Ptr, stand_ins::Event};

/// `BPF_NOEXIST`: insert only what is not there.
pub const NOEXIST: u64 = 1;
/// What an insertion with it says of what is there: `-EEXIST`.
pub const EEXIST: i32 = -17;
/// For [`atomic::add`].
const MINUS_ONE: u64 = u64::MAX;
/// `BPF_SK_STORAGE_GET_F_CREATE`.
const CREATE: u64 = 1;
/// `BPF_F_NO_PREALLOC`.
pub const NO_PREALLOC: usize = 1;
/// The root of the unified hierarchy: it holds unrelated processes and is never drained as a whole.
const ROOT_CGROUP: u64 = 1;

/// The flight recorder: one record per TCP connection.
#[btf_map]
pub static RECORDS: SkStorage<SocketRecord> = SkStorage::new();

/// What HTTP/2 has open: only of connections that speak it.
#[btf_map]
static HTTP2: SkStorage<Http2> = SkStorage::new();

/// The header blocks of its responses.
#[btf_map]
static HTTP2_ANSWERS: SkStorage<Http2Answers> = SkStorage::new();

/// The header blocks of its requests.
#[btf_map]
static HTTP2_LOGS: SkStorage<Http2Log> = SkStorage::new();

/// What follows long heads of responses: only of connections that have them.
#[btf_map]
static LONG_HEADS: SkStorage<LongHead> = SkStorage::new();

/// Bytes of the ring.
pub const RING: usize = 32 << 20;

/// Events for the agent.
#[btf_map]
pub static EVENTS: RingBuf<u8, RING> = RingBuf::new();

/// Per-CPU counters, by [`counter`].
#[btf_map]
static COUNTERS: PerCpuArray<u64, { counter::COUNT as usize }> = PerCpuArray::new();

/// The last event seen on this CPU, by hook: see [`crate::stand_ins`].
#[btf_map]
static SEEN: PerCpuArray<Event, 3> = PerCpuArray::new();

/// What holds for all programs at the moment, by [`activity`].
#[btf_map]
static ACTIVITY: Array<u64, { activity::COUNT as usize }> = Array::new();

/// cgroups that report.
#[btf_map]
static DRAINING_CGROUPS: HashMap<u64, Draining, 16384, NO_PREALLOC> = HashMap::new();

/// Stop signals that cgroups have besides everybody's: bit n is signal n. The agent's alone to fill.
#[btf_map]
static STOP_SIGNALS: HashMap<u64, u64, 16384, NO_PREALLOC> = HashMap::new();

/// Processes that report.
#[btf_map]
static DRAINING_PROCESSES: HashMap<u32, Draining, 16384, NO_PREALLOC> = HashMap::new();

/// Processes that own TCP sockets: [`drainwatch_ebpf::process_flag`] bits.
#[btf_map]
static PROCESSES: HashMap<u32, u64, 65536, NO_PREALLOC> = HashMap::new();

/// Listening ports, and those whose listener an ending workload closed.
#[btf_map]
static PORTS: HashMap<PortKey, PortState, 65536, NO_PREALLOC> = HashMap::new();

/// Listening sockets that `PORTS` counts, by address. (A listener must not carry socket storage.)
#[btf_map]
static LISTENERS: HashMap<u64, Listening, 65536, NO_PREALLOC> = HashMap::new();

/// How many of them each cgroup has opened: none may take all the room there is.
#[btf_map]
static LISTENERS_OF: LruHashMap<u64, u64, 4096> = LruHashMap::new();
/// Most of them that are counted.
const LISTENERS_OF_ONE: u64 = 4096;

/// Signals of the last second, by whom they concern. Who is not there may go on.
#[btf_map]
static RATES: LruHashMap<RateKey, Rate, 8192> = LruHashMap::new();
/// How long a second is.
const RATED_NS: u64 = 1_000_000_000;

/// TCP resets.
#[btf_map]
static RESETS: LruPerCpuHashMap<ResetKey, u64, 4096> = LruPerCpuHashMap::new();

/// The record of a socket, if it has one. NULL and non-full sockets have none.
#[inline(always)]
pub fn record(sk: Ptr) -> Option<&'static mut SocketRecord> {
    get_record(sk, 0)
}

/// The record of a socket, made if it has none.
#[inline(always)]
pub fn record_or_create(sk: Ptr) -> Option<&'static mut SocketRecord> {
    let record = get_record(sk, CREATE);
    if record.is_none() {
        count(counter::LOST_NO_STORAGE);
    }
    record
}

/// The same where nothing is lost if there is no room: it was without a record before.
#[inline(always)]
pub fn record_if_room(sk: Ptr) -> Option<&'static mut SocketRecord> {
    get_record(sk, CREATE)
}

#[inline(always)]
fn get_record(sk: Ptr, flags: u64) -> Option<&'static mut SocketRecord> {
    // SAFETY: NULL or a value of the map, which lives until the program ends (RCU).
    unsafe {
        storage((&raw const RECORDS).cast(), sk, flags)
            .cast::<SocketRecord>()
            .as_mut()
    }
}

/// What is kept of a socket that speaks HTTP/2.
#[inline(always)]
pub fn http2(sk: Ptr) -> Option<*mut Http2> {
    let http2 = storage((&raw const HTTP2).cast(), sk, 0).cast::<Http2>();
    if http2.is_null() { None } else { Some(http2) }
}

/// The same, made if there is none.
#[inline(always)]
pub fn http2_or_create(sk: Ptr) -> Option<*mut Http2> {
    let http2 = storage((&raw const HTTP2).cast(), sk, CREATE).cast::<Http2>();
    if http2.is_null() {
        count(counter::LOST_NO_STORAGE);
        return None;
    }
    Some(http2)
}

/// Its header blocks.
#[inline(always)]
pub fn http2_log(sk: Ptr) -> Option<*mut Http2Log> {
    let log = storage((&raw const HTTP2_LOGS).cast(), sk, 0).cast::<Http2Log>();
    if log.is_null() { None } else { Some(log) }
}

/// The same, made if there is none.
#[inline(always)]
pub fn http2_log_or_create(sk: Ptr) -> Option<*mut Http2Log> {
    let log = storage((&raw const HTTP2_LOGS).cast(), sk, CREATE).cast::<Http2Log>();
    if log.is_null() {
        count(counter::LOST_NO_STORAGE);
        return None;
    }
    Some(log)
}

/// The header blocks of its responses.
#[inline(always)]
pub fn http2_answers(sk: Ptr) -> Option<*mut Http2Answers> {
    let answers = storage((&raw const HTTP2_ANSWERS).cast(), sk, 0).cast::<Http2Answers>();
    if answers.is_null() { None } else { Some(answers) }
}

/// The same, made if there is none.
#[inline(always)]
pub fn http2_answers_or_create(sk: Ptr) -> Option<*mut Http2Answers> {
    let answers = storage((&raw const HTTP2_ANSWERS).cast(), sk, CREATE).cast::<Http2Answers>();
    if answers.is_null() {
        count(counter::LOST_NO_STORAGE);
        return None;
    }
    Some(answers)
}

/// What follows the long head of a socket's latest response.
#[inline(always)]
pub fn long_head(sk: Ptr) -> Option<*mut LongHead> {
    let long = storage((&raw const LONG_HEADS).cast(), sk, 0).cast::<LongHead>();
    if long.is_null() { None } else { Some(long) }
}

/// The same, made if there is none.
#[inline(always)]
pub fn long_head_or_create(sk: Ptr) -> Option<*mut LongHead> {
    let long = storage((&raw const LONG_HEADS).cast(), sk, CREATE).cast::<LongHead>();
    if long.is_null() {
        count(counter::LOST_NO_STORAGE);
        return None;
    }
    Some(long)
}

#[inline(always)]
fn storage(map: *const c_void, sk: Ptr, flags: u64) -> *mut c_void {
    // SAFETY: the helper takes any sock pointer of BTF type and returns NULL or a value of the map.
    unsafe { bpf_sk_storage_get(map.cast_mut(), sk.cast_mut().cast(), core::ptr::null_mut(), flags) }
}

/// Adds one to a counter of this CPU.
#[inline(always)]
pub fn count(index: u32) {
    count_more(index, 1);
}

/// Adds to a counter of this CPU.
#[inline(always)]
pub fn count_more(index: u32, more: u64) {
    if let Some(value) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: this CPU's own slot; programs of one CPU may nest, so a count may be lost to a
        // nested one only if the nesting happens within these three instructions.
        unsafe { *value += more };
    }
}

/// Notes that an event of this hook was seen on this CPU.
#[inline(always)]
pub fn note(hook: u32, event: &Event) {
    if let Some(seen) = SEEN.get_ptr_mut(hook) {
        // SAFETY: this CPU's own slot. Volatile: an interrupting program writes it in between.
        unsafe { seen.write_volatile(*event) };
    }
}

/// This event of this hook was the last seen on this CPU.
#[inline(always)]
pub fn is_noted(hook: u32, event: &Event) -> bool {
    // SAFETY: as above.
    SEEN.get_ptr_mut(hook)
        .map(|seen| unsafe { seen.read_volatile() })
        .is_some_and(|seen| seen.what == event.what && seen.sk == event.sk)
}

/// Something, somewhere, is draining: a mark was set that the agent has not yet answered by saying
/// that nothing is left.
#[inline(always)]
pub fn anything_drains() -> bool {
    holding(activity::LAST_MARK) != holding(activity::QUIET)
}

/// One of [`activity`]'s values; 0 until the agent has set it.
#[inline(always)]
pub fn holding(index: u32) -> u64 {
    ACTIVITY.get(index).copied().unwrap_or(0)
}

/// Nobody is the agent any more: the number may be another process's next.
#[inline(always)]
pub fn agent_exited() {
    let _ = ACTIVITY.set(activity::AGENT_TGID, &0, 0);
}

/// Some cgroup has this stop signal of its own: one load, for every signal that is none for everybody.
#[inline(always)]
pub fn is_anybodys_stop(signal: u32) -> bool {
    signal < 64 && holding(activity::OWN_STOP_SIGNALS) >> signal & 1 == 1
}

/// This cgroup has it.
#[inline(always)]
pub fn is_own_stop(cgroup: u64, signal: u32) -> bool {
    // SAFETY: a value of the map lives until the program ends; it is not preallocated.
    let own = STOP_SIGNALS.get_ptr(&cgroup).map_or(0, |mask| unsafe { *mask });
    signal < 64 && own >> signal & 1 == 1
}

/// From now on this process reports. Every signal renews the mark: the agent, which is behind, must see
/// that one which it is about to take out was set again.
#[inline(always)]
pub fn mark_process(tgid: u32, now: u64) {
    mark(
        DRAINING_PROCESSES.insert(&tgid, &Draining { since_ns: now }, 0),
        now,
    );
}

/// From now on this cgroup reports, unless it is the root. Renewed like a process's mark.
#[inline(always)]
pub fn mark_cgroup(cgroup: u64, now: u64) {
    if cgroup > ROOT_CGROUP {
        mark(
            DRAINING_CGROUPS.insert(&cgroup, &Draining { since_ns: now }, 0),
            now,
        );
    }
}

/// The mark comes after the insertion: the agent reads it, looks whether the maps are empty, and only
/// then calls that mark quiet; so an entry that it does not see always leaves a newer mark.
#[inline(always)]
fn mark(inserted: Result<(), i32>, now: u64) {
    match inserted {
        Ok(()) => {
            let _ = ACTIVITY.set(activity::LAST_MARK, &now, 0);
        }
        Err(_) => count(counter::LOST_MAP_FULL),
    }
}

/// The process reports.
#[inline(always)]
pub fn process_drains(tgid: u32) -> bool {
    DRAINING_PROCESSES.get_ptr(&tgid).is_some()
}

/// The cgroup, or the process, reports.
#[inline(always)]
pub fn drains(cgroup: u64, tgid: u32) -> bool {
    anything_drains() && (DRAINING_CGROUPS.get_ptr(&cgroup).is_some() || process_drains(tgid))
}

/// What is known of a process that owns sockets.
#[inline(always)]
pub fn process_flags(tgid: u32) -> Option<u32> {
    // SAFETY: a value of the map lives until the program ends; it is not preallocated.
    PROCESSES.get_ptr(&tgid).map(|flags| unsafe { *flags as u32 })
}

/// Remembers that a process serves one more connection.
#[inline(always)]
pub fn remember_server(tgid: u32) {
    if remember_process(tgid, process_flag::SERVED) {
        remember_process(tgid, process_flag::SERVED_MORE);
    }
}

/// Remembers that a process owns sockets of this kind, and says whether that was known.
#[inline(always)]
pub fn remember_process(tgid: u32, flag: u32) -> bool {
    let flag = u64::from(flag);
    let mut process = PROCESSES.get_ptr_mut(&tgid);
    if process.is_none() {
        match PROCESSES.insert(&tgid, &flag, NOEXIST) {
            Ok(()) => return false,
            // Another of its threads was faster.
            Err(EEXIST) => process = PROCESSES.get_ptr_mut(&tgid),
            Err(_) => count(counter::LOST_MAP_FULL),
        }
    }
    let Some(flags) = process else { return false };
    // SAFETY: a value of the map lives until the program ends. Its threads may come at the same time.
    unsafe { *flags & flag != 0 || atomic::set(flags, flag) & flag != 0 }
}

/// There was no room for a connection of this process, or for a listener: its shutdown is to say so.
#[inline(always)]
pub fn unrecorded(tgid: u32) {
    count(counter::LOST_NO_STORAGE);
    remember_process(tgid, process_flag::UNRECORDED);
}

/// Counts one more of these, and says whether there were no more than so many within a second.
#[inline(always)]
pub fn is_within(most: u64, key: &RateKey, now: u64) -> bool {
    if let Some(rate) = RATES.get_ptr_mut(key) {
        // SAFETY: a value of the map; what two CPUs write at once is about the same.
        let rate = unsafe { &mut *rate };
        if now.wrapping_sub(rate.since_ns) < RATED_NS {
            rate.count += 1;
            return rate.count <= most;
        }
        rate.since_ns = now;
        rate.count = 1;
        return true;
    }
    let _ = RATES.insert(
        key,
        &Rate {
            since_ns: now,
            count: 1,
        },
        0,
    );
    true
}

/// Forgets a process.
#[inline(always)]
pub fn forget_process(tgid: u32) {
    let _ = PROCESSES.remove(&tgid);
}

/// The listener of a port, or what is left of it.
#[inline(always)]
pub fn port(key: &PortKey) -> Option<PortState> {
    // SAFETY: as above.
    PORTS.get_ptr(key).map(|state| unsafe { *state })
}

/// Counts a listening socket; `None` when it was counted before.
#[inline(always)]
pub fn open_port(sk: Ptr, key: &PortKey, cgroup: u64, tgid: u32) -> Option<u64> {
    let known = LISTENERS_OF.get_ptr_mut(&cgroup);
    // SAFETY: a value of the map. CPUs that look at once may let in one too many, which is no matter for a limit.
    if known.is_some_and(|count| unsafe { *count } >= LISTENERS_OF_ONE) {
        unrecorded(tgid);
        return None;
    }
    match LISTENERS.insert(&(sk as u64), &Listening { cgroup }, NOEXIST) {
        Ok(()) => {}
        Err(EEXIST) => return None,
        Err(_) => {
            unrecorded(tgid);
            return None;
        }
    }
    if known.is_none() {
        let _ = LISTENERS_OF.insert(&cgroup, &0, NOEXIST);
    }
    if let Some(count) = LISTENERS_OF.get_ptr_mut(&cgroup) {
        // SAFETY: as above.
        unsafe { atomic::add(count, 1) };
    }
    let none = PortState {
        cgroup,
        closed_ns: 0,
        open: 0,
        tgid,
        reserved: 0,
    };
    if !matches!(PORTS.insert(key, &none, NOEXIST), Ok(()) | Err(EEXIST)) {
        count(counter::LOST_MAP_FULL);
    }
    let Some(state) = PORTS.get_ptr_mut(key) else {
        return Some(1);
    };
    // SAFETY: a value of the map lives until the program ends; workers open theirs at the same time.
    unsafe {
        let before = atomic::add(&raw mut (*state).open, 1);
        ((*state).cgroup, (*state).tgid, (*state).closed_ns) = (cgroup, tgid, 0);
        Some(before + 1)
    }
}

/// Counts a listening socket's end; returns how many are still open on its port, `None` when the socket
/// was not counted, or its end was before. The port is remembered when `remember` says so: until the agent
/// takes it out.
#[inline(always)]
pub fn close_port(sk: Ptr, key: &PortKey, cgroup: u64, tgid: u32, now: u64, remember: bool) -> Option<u64> {
    // SAFETY: a value of the map lives until the program ends; it is not preallocated.
    let opener = LISTENERS
        .get_ptr(&(sk as u64))
        .map(|listening| unsafe { (*listening).cgroup });
    if LISTENERS.remove(&(sk as u64)).is_err() {
        return None;
    }
    if let Some(count) = opener.and_then(|opener| LISTENERS_OF.get_ptr_mut(&opener)) {
        // SAFETY: as above.
        unsafe {
            if *count > 0 {
                atomic::add(count, MINUS_ONE);
            }
        }
    }
    let Some(state) = PORTS.get_ptr_mut(key) else {
        let closed = PortState {
            cgroup,
            closed_ns: now,
            open: 0,
            tgid,
            reserved: 0,
        };
        if remember && PORTS.insert(key, &closed, NOEXIST).is_err() {
            count(counter::LOST_MAP_FULL);
        }
        return Some(0);
    };
    // SAFETY: as above; workers close theirs at the same time.
    unsafe {
        let before = if (*state).open > 0 {
            atomic::add(&raw mut (*state).open, MINUS_ONE)
        } else {
            1
        };
        if before > 1 {
            return Some(before - 1);
        }
        if remember {
            ((*state).cgroup, (*state).tgid, (*state).closed_ns) = (cgroup, tgid, now);
        } else {
            let _ = PORTS.remove(key);
        }
    }
    Some(0)
}

/// Counts a TCP reset.
#[inline(always)]
pub fn count_reset(cgroup: u64, direction: u32, tgid: u32) {
    let key = ResetKey {
        cgroup,
        direction,
        phase: u32::from(drains(cgroup, tgid)),
    };
    if let Some(value) = RESETS.get_ptr_mut(&key) {
        // SAFETY: this CPU's slot, as for the counters.
        unsafe { *value += 1 };
    } else if RESETS.insert(&key, &1, 0).is_err() {
        count(counter::LOST_MAP_FULL);
    }
}
