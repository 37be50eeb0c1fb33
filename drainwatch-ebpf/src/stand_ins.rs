//! Programs that see what the first program on their hook could not.
//!
//! The kernel skips a tracing program that is already running on this CPU: a softirq came in its middle, or
//! its task was preempted there ([`crate::preemption`] leaves a few instructions where that happens). So the
//! hooks that run all the time have further programs, attached after the first, which do what it did not.
//! The first notes what it has seen, per CPU; a stand-in that finds its own event noted there has nothing to
//! do. One that finds another looks closer, for the note may have been overwritten meanwhile: the work itself
//! says whether it was done before.

use drainwatch_ebpf::counter;

use crate::{maps, preemption};

/// The hooks that have stand-ins.
#[derive(Clone, Copy)]
pub enum Hook {
    /// `sock_recv_length`.
    Read,
    /// `sock_send_length`.
    Write,
    /// `inet_sock_set_state`.
    State,
}

impl Hook {
    const fn counter(self) -> u32 {
        match self {
            Self::Read => counter::STOOD_IN_READ,
            Self::Write => counter::STOOD_IN_WRITE,
            Self::State => counter::STOOD_IN_STATE,
        }
    }
}

/// What tells an event from others of its hook on this CPU, shortly before and after.
#[derive(Clone, Copy)]
pub struct Event {
    /// The socket's address. (A pointer still, for the verifier: nothing may be computed with it.)
    pub sk: u64,
    /// What happened to it.
    pub what: u64,
}

/// No event.
const NONE: Event = Event { sk: 0, what: 0 };

/// The first program of a hook.
#[inline(always)]
pub fn first(hook: Hook, event: Event, work: impl FnOnce() -> bool) {
    preemption::off(|| {
        work();
        // Last, so that what interrupts the work does not leave its own note behind.
        maps::note(hook as u32, &event);
    });
}

/// A stand-in; `work` says whether it was done only now.
#[inline(always)]
pub fn stand_in(hook: Hook, event: Event, work: impl FnOnce() -> bool) {
    if !maps::is_noted(hook as u32, &event) {
        preemption::off(|| do_instead(hook, event, work));
    }
}

/// The last stand-in of a hook: takes the note away, since the next event may be alike.
#[inline(always)]
pub fn last_stand_in(hook: Hook, event: Event, work: impl FnOnce() -> bool) {
    stand_in(hook, event, work);
    maps::note(hook as u32, &NONE);
}

#[inline(always)]
fn do_instead(hook: Hook, event: Event, work: impl FnOnce() -> bool) {
    if work() {
        maps::count(hook.counter());
    }
    maps::note(hook as u32, &event);
}
