//! Connections that a living process closed on its clients a moment ago, in case it turns out to be ending.
//!
//! A process may be told to end by ways that no hook sees (a pipe, an HTTP request, its own counter), close what is
//! in flight, and exit a moment later; or replace itself by `exec`, which closes what is marked so. Nothing is told
//! while it serves: the last closes are kept here, per process, and told when it exits or has replaced its program.
//!
//! Closes that follow an answer at once are what every server does that answers one request per connection. They have
//! places of their own, with those of connections on which nothing was said, so that they do not push out the others; and
//! so have closes of idle connections. What pushes out a close that cut a request shows in the exit.

use aya_ebpf::{
    btf_maps::{Array, HashMap, PerCpuArray},
    macros::btf_map,
};
use drainwatch_ebpf::{
    ANSWER_HEAD, ConnectionEvent, LONG_HEAD_CHUNK, LongHead, SocketRecord, TAIL, counter, event_kind,
    http2::{CUT_WITH_IT_NS, Http2, Http2Log},
    offset, record_flag, role,
};

use crate::{
    atomic,
    emit::{self, Change, now},
    kernel::{Ptr, load, read},
    late,
    maps::{self, EEXIST, NO_PREALLOC, NOEXIST},
};

/// What a close did, and how many of it are kept per process: a power of two.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It followed an answer at once, or nothing at all.
    AtOnce,
    /// An answer had been given, or begun, a while ago; or goodbye was said.
    Idle,
    /// An answer was due: it cut a request.
    Open,
}

impl Kind {
    const AT_ONCE_KEPT: u32 = 16;
    const KEPT: u32 = 64;
    /// Places of a process: idle ones, open ones, and those at once.
    const PLACES: u32 = 2 * Self::KEPT + Self::AT_ONCE_KEPT;

    /// What stands in one of them.
    #[inline(always)]
    const fn of(slot: u32) -> Self {
        if slot < Self::KEPT {
            Self::Idle
        } else if slot < 2 * Self::KEPT {
            Self::Open
        } else {
            Self::AtOnce
        }
    }
}

/// A close this soon after the last byte of an answer ends a request, as far as can be told here.
const AT_ONCE_NS: u64 = 2_000_000;
/// What was closed longer ago than this has nothing to do with the end.
pub const RECENT_NS: u64 = 2_000_000_000;

/// A process's place: its id, and which of its places.
#[repr(C)]
#[derive(Clone, Copy)]
struct Place {
    tgid: u32,
    slot: u32,
}

/// How many closes of each kind a process has had.
#[repr(C)]
#[derive(Clone, Copy)]
struct Closes {
    at_once: u64,
    idle: u64,
    open: u64,
    /// When the latest one was lost that may have cut a request: pushed out, or without room.
    lost_ns: u64,
}

/// Most closes that are kept, of all processes together.
const MOST: u32 = 8192;

/// The last closes of living processes. They take room only as long as they may matter: [`sweep`].
#[btf_map]
static CUTS: HashMap<Place, ConnectionEvent, { MOST as usize }, NO_PREALLOC> = HashMap::new();

/// Whose places they are, each in one of these; of no process where it is free.
#[btf_map]
static TAKEN: Array<Place, { MOST as usize }> = Array::new();

/// How many of them were looked at.
#[btf_map]
static SWEPT: Array<u64, 1> = Array::new();
/// Most of them that are looked at for a free one.
const LOOKED_AT: u32 = 8;

/// What follows a long head, as far as it is kept here.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct HeadRest([u8; LongHead::SHORT]);

/// Those of the closes that have one: few do, and whole ones would take many times the room.
#[btf_map]
static HEADS: HashMap<Place, HeadRest, 1024, NO_PREALLOC> = HashMap::new();

/// The streams of those that spoke HTTP/2 and had some open: few do, and such a thing takes 8 KiB.
#[btf_map]
static STREAMS: HashMap<Place, Http2, 1024, NO_PREALLOC> = HashMap::new();

/// And the header blocks of what was asked on them.
#[btf_map]
static LOGS: HashMap<Place, Http2Log, 1024, NO_PREALLOC> = HashMap::new();

/// How many there were, by process.
#[btf_map]
static CLOSES: HashMap<u32, Closes, 65536, NO_PREALLOC> = HashMap::new();

/// An empty one: what a place begins as.
#[btf_map]
static NONE: PerCpuArray<ConnectionEvent, 1> = PerCpuArray::new();

/// Keeps a connection that its owner, alive, has just closed, where a request may have been outstanding on it.
#[inline(always)]
pub fn remember(sk: Ptr, tcp: Ptr, record: &SocketRecord, change: &Change, tgid: u32) {
    // Of one that was never read something may wait.
    let waits = load::<u32>(tcp, offset::TCP_RCV_NXT) != load::<u32>(tcp, offset::TCP_COPIED_SEQ);
    // Of one on which nothing was said yet, the first request may be under way. One that nobody had accepted was reset.
    let silent = record.turns == 0 && !waits;
    if record.role != role::SERVER
        || record.flags & record_flag::PEER_FIN != 0
        || (silent && (record.answer.total != 0 || read::<u64>(sk, offset::SOCK_SOCKET) == 0))
        || (record.flags & record_flag::HTTP2 != 0 && !has_open_streams(sk))
    {
        return;
    }
    let answered = record.answer.total != record.answer.turn_pos
        && record.flags & (record_flag::INTERIM | record_flag::SWITCHED | record_flag::HTTP2) == 0;
    let at_once = answered && now().wrapping_sub(record.answer.last_ns) < AT_ONCE_NS;
    let kind = if at_once || silent {
        Kind::AtOnce
    } else if answered || record.flags & record_flag::SWITCHED != 0 && says_goodbye(record) {
        Kind::Idle
    } else {
        Kind::Open
    };
    let Some(slot) = next(tgid, kind) else {
        return maps::unrecorded(tgid);
    };
    let place = Place { tgid, slot };
    let now = now();
    sweep(now, false);
    let Some(kept) = CUTS.get_ptr_mut(&place).or_else(|| take(&place, kind, now)) else {
        return lose(tgid, kind, now);
    };
    // SAFETY: a value of the map lives until the program ends. First, so that nobody takes it for an old one.
    unsafe { (*kept).header.at_ns = now };
    emit::fill::<{ size_of::<ConnectionEvent>() }>(kept, sk, tcp, record, change);
    // SAFETY: a value of the map lives until the program ends; two threads in one place are at least 16 closes apart.
    unsafe { (*kept).remembered = 1 };
    if record.flags & record_flag::LONG_HEAD != 0 {
        keep_head(sk, &place);
    }
    let whole = record.flags & record_flag::HTTP2 == 0 || keep_streams(sk, &place);
    // Another CPU may have thought it worthless just before.
    if !whole || CUTS.get_ptr(&place).is_none() {
        lose(tgid, kind, now);
    }
}

/// A place that holds nothing yet; none where every place that was looked at holds what may still matter. What cut a
/// request takes that of another process's close that most probably did not.
#[inline(always)]
fn take(place: &Place, kind: Kind, now: u64) -> Option<*mut ConnectionEvent> {
    let mut looked = 0;
    while looked < LOOKED_AT {
        let even_young = kind == Kind::Open && looked >= LOOKED_AT / 2;
        if let Some(free) = sweep(now, even_young) {
            let none = NONE.get_ptr(0)?;
            // SAFETY: this CPU's own, which nobody writes.
            CUTS.insert(place, unsafe { &*none }, 0).ok()?;
            // SAFETY: nobody else looks at this one until all others were looked at.
            unsafe { free.write(*place) };
            return CUTS.get_ptr_mut(place);
        }
        looked += 1;
    }
    None
}

/// Looks at the next of the places that were taken, and frees it where its process has told what it held, or where that is
/// so long ago that it never will. Each close looks at one more than it takes: so nothing stays that is worthless.
/// With `even_young` it frees what did not cut a request for certain, too.
#[inline(never)]
fn sweep(now: u64, even_young: bool) -> Option<*mut Place> {
    // SAFETY: the only value of the map.
    let index = unsafe { atomic::add(SWEPT.get_ptr_mut(0)?, 1) };
    let taken = TAKEN.get_ptr_mut(index as u32 & (MOST - 1))?;
    // SAFETY: a value of the map; see `take`.
    let place = unsafe { taken.read() };
    if place.tgid != 0
        && let Some(kept) = CUTS.get_ptr(&place)
    {
        // SAFETY: a value of the map lives until the program ends.
        if now.wrapping_sub(unsafe { (*kept).header.at_ns }) < RECENT_NS {
            let kind = Kind::of(place.slot);
            if !even_young || kind == Kind::Open {
                return None;
            }
            lose(place.tgid, kind, now);
        }
        forget(&place);
    }
    // SAFETY: as above.
    unsafe { (*taken).tgid = 0 };
    Some(taken)
}

#[inline(always)]
fn forget(place: &Place) {
    let _ = HEADS.remove(place);
    let _ = STREAMS.remove(place);
    let _ = LOGS.remove(place);
    let _ = CUTS.remove(place);
}

/// There was no room for what may have cut a request: an end that nobody asked for is to say so.
#[inline(always)]
fn lose(tgid: u32, kind: Kind, now: u64) {
    maps::count(counter::LOST_MAP_FULL);
    if kind != Kind::AtOnce
        && let Some(closes) = CLOSES.get_ptr_mut(&tgid)
    {
        // SAFETY: a value of the map lives until the program ends.
        unsafe { (*closes).lost_ns = now };
    }
}

/// Whether a server's last words were a `WebSocket`'s close, with a code or without one (RFC 6455 section 5.5.1).
#[inline(always)]
fn says_goodbye(record: &SocketRecord) -> bool {
    const CLOSE: u8 = 0x88;
    // What is short has no tail: all of it stands in the head.
    let length = record.answer.head_len as usize;
    let whole = record.answer.total.wrapping_sub(record.answer.message_pos) == length as u64;
    let last = |back: usize| {
        if whole {
            record.answer_head[length.wrapping_sub(back) & (ANSWER_HEAD - 1)]
        } else {
            record.tail[TAIL - back]
        }
    };
    let known = whole || record.flags & record_flag::TAIL_VALID != 0;
    known && (last(2) == CLOSE && last(1) == 0 || last(4) == CLOSE && last(3) == 2)
}

/// Whether anything may be open on a connection that speaks HTTP/2, or was cut with it, and is known.
#[inline(always)]
fn has_open_streams(sk: Ptr) -> bool {
    // SAFETY: a value of a map. Both directions count what finished, so it may be less than it was.
    maps::http2(sk).is_some_and(|http2| unsafe {
        let cut = now().wrapping_sub((*http2).cut_ns) < CUT_WITH_IT_NS;
        (*http2).lost == 0 && (cut || (*http2).opened != (*http2).finished)
    })
}

/// Keeps what is open on it, where there is room. Else nothing may be left there of an older close.
#[inline(always)]
fn keep_streams(sk: Ptr, place: &Place) -> bool {
    let (Some(http2), Some(log)) = (maps::http2(sk), maps::http2_log(sk)) else {
        return false;
    };
    // SAFETY: values of maps live until the program ends.
    let kept = unsafe { STREAMS.insert(place, &*http2, 0).is_ok() && LOGS.insert(place, &*log, 0).is_ok() };
    if !kept {
        let _ = STREAMS.remove(place);
    }
    kept
}

/// Keeps what follows the long head of its latest response; one that is too long is kept by nobody, and neither is
/// what an older close left in its place.
#[inline(always)]
fn keep_head(sk: Ptr, place: &Place) {
    // SAFETY: values of a map live until the program ends, and begin with so many bytes.
    let kept = maps::long_head(sk).is_some_and(|long| unsafe {
        (*long).length <= LONG_HEAD_CHUNK as u32 && HEADS.insert(place, &*long.cast::<HeadRest>(), 0).is_ok()
    });
    if !kept {
        let _ = HEADS.remove(place);
    }
}

/// The place of this process's next close of this kind.
#[inline(always)]
fn next(tgid: u32, kind: Kind) -> Option<u32> {
    if CLOSES.get_ptr(&tgid).is_none() {
        let none = Closes {
            at_once: 0,
            idle: 0,
            open: 0,
            lost_ns: 0,
        };
        // Another thread may have been the first.
        match CLOSES.insert(&tgid, &none, NOEXIST) {
            Ok(()) | Err(EEXIST) => {}
            Err(_) => return None,
        }
    }
    let closes = CLOSES.get_ptr_mut(&tgid)?;
    // SAFETY: a value of the map lives until the program ends. Threads close at the same time: each takes its number.
    unsafe {
        let (count, first, kept) = match kind {
            Kind::Idle => (&raw mut (*closes).idle, 0, Kind::KEPT),
            Kind::Open => (&raw mut (*closes).open, Kind::KEPT, Kind::KEPT),
            Kind::AtOnce => (&raw mut (*closes).at_once, 2 * Kind::KEPT, Kind::AT_ONCE_KEPT),
        };
        let number = atomic::add(count, 1);
        let slot = first + (number as u32 & (kept - 1));
        if kind == Kind::Open
            && let Some(pushed_out) = CUTS.get_ptr(&Place { tgid, slot })
        {
            (*closes).lost_ns = (*pushed_out).header.at_ns;
        }
        Some(slot)
    }
}

/// Whether this process cut more a moment ago than is kept.
#[inline(always)]
pub fn has_lost(tgid: u32) -> bool {
    // SAFETY: a value of the map lives until the program ends.
    let latest = CLOSES.get_ptr(&tgid).map(|closes| unsafe { (*closes).lost_ns });
    latest.is_some_and(|latest| now().wrapping_sub(latest) < RECENT_NS)
}

/// Tells what this process closed a moment ago, and forgets all of it.
#[inline(always)]
pub fn tell(tgid: u32) {
    if CLOSES.remove(&tgid).is_err() {
        return;
    }
    let now = now();
    let mut slot = 0;
    while slot < Kind::PLACES {
        cuts_tell_place(tgid, slot, now);
        slot += 1;
    }
}

/// Tells what was closed in this place. A global function, which verifiers look at once, not in each round of the loop.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn cuts_tell_place(tgid: u32, slot: u32, now: u64) -> u32 {
    let place = Place { tgid, slot };
    let Some(kept) = CUTS.get_ptr(&place) else {
        return 0;
    };
    // SAFETY: a value of the map lives until the program ends.
    let kept = unsafe { &*kept };
    if kept.header.kind == event_kind::CONNECTION_ENDED && now.wrapping_sub(kept.header.at_ns) < RECENT_NS {
        if kept.record.flags & record_flag::HTTP2 != 0 {
            tell_streams(kept, &place);
        } else {
            match HEADS.get_ptr(&place) {
                Some(head) if kept.record.flags & record_flag::LONG_HEAD != 0 => {
                    emit::again_with(kept, head);
                }
                _ => emit::again(kept),
            }
        }
        late::owner_ended(kept);
    }
    forget(&place);
    0
}

/// Tells one that spoke HTTP/2, where its streams are still kept.
#[inline(always)]
fn tell_streams(kept: &ConnectionEvent, place: &Place) {
    if let (Some(http2), Some(log)) = (STREAMS.get_ptr(place), LOGS.get_ptr(place)) {
        emit::again_with_streams(kept, http2, log);
    }
}
