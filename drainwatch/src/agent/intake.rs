//! What the tracker is told, and in which order: what the ring tells, what origins of names tell, what the agent itself has to
//! say. All of it goes through [`Agent::take`] or [`Agent::inject`], which write it down first.

use std::{io, time::Duration};

use drainwatch_core::event::{Event, EventKind};
use tokio::sync::mpsc;

use super::{Agent, CLOCK_MOVED_NS, journal::Journal, offset, pacer, source::Source};
use crate::{kernel::memory, names::News};

/// Most events that are read before they are acted on.
const MOST_AHEAD: usize = 8192;
/// How often lost entries are looked for while nothing is under way, where events come.
const LOOK_NS: u64 = 1_000_000_000;

impl<S: Source> Agent<S> {
    /// Events of the ring, and then what the kernel could not deliver.
    pub(super) fn take(&mut self, mut events: Vec<Event>) {
        let Some(first) = events.first() else { return };
        let before = self.under_way().any();
        if !before {
            self.read_clock(first.at_ns);
        }
        self.keep(&events);
        // In a storm room in the ring is what matters: first it is made, then what was in it is acted on.
        while events.len() < MOST_AHEAD && self.source.is_behind() {
            let more = self.source.drain();
            self.keep(&more);
            events.extend(more);
        }
        self.taken = self.taken.saturating_add(events.len());
        for event in &events {
            self.observe(event);
        }
        if self.under_way().any() {
            self.count_losses(!before);
            self.flush_tape();
        } else {
            self.look_for_losses();
        }
        self.leave_out();
    }

    /// Written down, then forgotten by the ring, then acted on: whenever the agent is killed, it is in one of them.
    fn keep(&mut self, events: &[Event]) {
        let position = self.source.position();
        self.journal(|journal| journal.append(events, position));
        self.source.commit();
        self.committed = position;
    }

    /// While nothing is under way, lost entries are nobody's evidence; but cgroups may be among them, whose names would
    /// be missing.
    fn look_for_losses(&mut self) {
        let (now_ns, _) = self.source.clocks();
        if now_ns.saturating_sub(self.looked_ns) < LOOK_NS {
            return;
        }
        self.looked_ns = now_ns;
        let lost = self.source.losses().ring_full;
        if std::mem::replace(&mut self.looked_lost, lost) < lost {
            self.find_out();
        }
    }

    /// Something that the agent itself has to say, now.
    pub(super) fn inject(&mut self, kind: EventKind) {
        let (at_ns, _) = self.source.clocks();
        self.inject_at(at_ns, kind);
    }

    pub(super) fn inject_at(&mut self, at_ns: u64, kind: EventKind) {
        let event = Event { at_ns, kind };
        let position = self.committed;
        self.journal(|journal| journal.append([&event], position));
        self.observe(&event);
    }

    /// What is over is left out of the journal, as soon as nothing is under way and the store has it.
    pub(super) fn leave_out(&mut self) {
        let quiet = !self.under_way().any();
        // While something is, marks of processes that are gone are of use: a connection may outlive its process.
        if quiet && std::mem::take(&mut self.stale) {
            self.source.forget_the_dead(self.latest_ns);
        }
        if quiet && std::mem::take(&mut self.taken) > MOST_AHEAD {
            memory::give_back();
        }
        let stored = self.history.is_stored();
        let wanted = |journal: &Journal| {
            if quiet && stored {
                journal.is_long()
            } else {
                journal.is_too_long()
            }
        };
        if !self.journal.as_ref().is_some_and(wanted) {
            return;
        }
        if !quiet {
            tracing::warn!(
                "too much happened since nothing was under way: a restart of the agent would lose what is"
            );
        }
        let now_ns = self.source.clocks().0;
        let (counters, number) = (self.metrics.save(now_ns), self.tracker.next_number());
        self.journal(|journal| journal.compact(&counters, number, !quiet));
        self.forget_served();
    }

    /// Writes to the journal, if there is one. One that cannot be written to ends.
    pub(super) fn journal(&mut self, write: impl FnOnce(&mut Journal) -> io::Result<()>) {
        if let Some(journal) = &mut self.journal
            && let Err(error) = write(journal)
        {
            tracing::error!(%error, "the journal ends here: a restart of the agent loses what is under way");
            self.journal = None;
        }
    }

    /// What is older than the agent waits for its name too: so whose names are to come is told before it.
    pub(super) fn hear_what_to_expect(&mut self, at_ns: u64) {
        while let Some(Ok(news)) = self.names.as_mut().map(mpsc::Receiver::try_recv) {
            match news {
                News::State(origin, state) => self.origins.observe(origin, state),
                News::Event(kind) => self.inject_at(at_ns, kind),
            }
        }
    }

    /// What an origin of names tells; an event among it gets the time of now.
    pub(super) fn hear(&mut self, news: News) {
        match news {
            News::State(origin, state) => self.origins.observe(origin, state),
            News::Event(kind) => {
                // What the ring holds happened before.
                self.take_all();
                let (at_ns, _) = self.source.clocks();
                self.take(vec![Event { at_ns, kind }]);
            }
        }
    }

    /// Without a shutdown there is no tick, for days perhaps, and meanwhile the wall clock may have been set,
    /// or the machine have slept: tells the tracker before what comes next.
    fn read_clock(&mut self, at_ns: u64) {
        let (now_ns, wall_ns) = self.source.clocks();
        let moved = offset(now_ns, wall_ns) - self.offset_ns;
        if moved.abs() < CLOCK_MOVED_NS {
            return;
        }
        let since = i64::try_from(now_ns.saturating_sub(at_ns)).unwrap_or(0);
        self.offset_ns += moved;
        self.inject_at(
            at_ns,
            EventKind::Tick {
                wall_ns: wall_ns.saturating_sub(since),
            },
        );
    }

    /// Samples, losses and the tick, in the order of their times with what the ring holds.
    pub(super) fn tick_when_due(&mut self) {
        let under_way = self.under_way();
        let (now_ns, wall_ns) = self.source.clocks();
        if self.pacer.timeout(now_ns, &under_way) != Some(Duration::ZERO) {
            return;
        }
        // The clock was read first: what the ring holds up to then comes before the tick.
        let events = self.source.drain();
        self.take(events);
        if self.source.is_behind() {
            // Time must not pass what the ring still holds: what is over then would be told without it.
            return;
        }
        let due = self.pacer.due(now_ns, &under_way);
        if due.sample {
            for cgroup in self.tracker.draining_cgroups() {
                if let Some(usage_us) = self.source.cpu_used_us(cgroup) {
                    self.inject_at(now_ns, EventKind::CpuUsed { cgroup, usage_us });
                }
            }
        }
        if due.tick {
            self.count_losses(false);
            self.offset_ns = offset(now_ns, wall_ns);
            self.inject_at(now_ns, EventKind::Tick { wall_ns });
            self.flush_tape();
            if self.missed {
                self.find_out();
            }
            self.leave_out();
        }
    }

    /// Tells the tracker what was lost since the last time. Where a shutdown has only just begun,
    /// what the counters grew by while nothing was under way is not its loss; except ring entries,
    /// which exist only around shutdowns, so that one missing may well be its own.
    pub(super) fn count_losses(&mut self, just_begun: bool) {
        let lost = self.pacer.lost(&self.source.losses(), just_begun);
        self.lose(&lost);
    }

    pub(super) fn lose(&mut self, lost: &pacer::Lost) {
        if lost.count > 0 {
            tracing::warn!(count = lost.count, "evidence was lost on its way from the kernel");
            let (now_ns, _) = self.source.clocks();
            // While the ring holds more, time has come as far as what was read of it, and the place where it ran full is
            // ahead.
            let at_ns = if self.source.is_behind() {
                self.latest_ns.min(now_ns)
            } else {
                now_ns
            };
            self.inject_at(
                at_ns,
                EventKind::EventsLost {
                    count: lost.count,
                    until_ns: now_ns,
                },
            );
        }
        if lost.is_news {
            self.source.tell_losses(lost.told);
        }
        if lost.entries {
            // What the ring had no room for is not told again.
            self.missed = true;
        }
    }

    pub(super) fn tape(&mut self, event: &Event) {
        if let Some(tape) = &mut self.tape
            && let Err(error) = tape.write(event)
        {
            tracing::error!(%error, "the recording ends here; the agent continues");
            self.tape = None;
        }
    }

    pub(super) fn observe(&mut self, event: &Event) {
        self.tape(event);
        self.latest_ns = self.latest_ns.max(event.at_ns);
        self.metrics.observe(event);
        for effect in self.tracker.observe(event) {
            self.apply(effect, event.at_ns);
        }
    }

    pub(super) fn flush_tape(&mut self) {
        if let Some(tape) = &mut self.tape
            && let Err(error) = tape.flush()
        {
            tracing::error!(%error, "the recording ends here; the agent continues");
            self.tape = None;
        }
    }
}
