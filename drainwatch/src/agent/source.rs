//! Where events come from: the kernel, or a script in tests.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use drainwatch_core::{
    event::Event,
    reading::{self, Rules},
    record::Fact,
};

use crate::kernel::{Kernel, Losses, Position, ProbeStatus, Resets, Served};

/// What the loop needs of the kernel side. [`Live`] is the one implementation outside tests.
pub trait Source {
    /// Waits until there are events, or `timeout`; oldest first. Must be cancel safe: an event is
    /// taken out only by a call that returns it.
    fn next_events(&mut self, timeout: Option<Duration>) -> impl Future<Output = Vec<Event>>;
    /// The events that there are now, oldest first, without waiting: as many as leave time for something else.
    fn drain(&mut self) -> Vec<Event>;
    /// There were more than the last call gave.
    fn is_behind(&self) -> bool;
    /// Up to where it was read.
    fn position(&self) -> Option<Position>;
    /// All that was read is written down: room may be made for more.
    fn commit(&mut self);
    /// What an earlier agent had read and written down is not read again. Says whether what follows is what comes next.
    fn skip_to(&mut self, position: Position) -> bool;
    /// It went on while no agent ran.
    fn resumed(&self) -> bool;
    /// Losses that agents took into account so far.
    fn told_losses(&self) -> (u64, u64);
    /// From now on these are taken into account.
    fn tell_losses(&mut self, told: (u64, u64));
    /// Forgets what it keeps of processes and cgroups that are gone, as far as the events up to `until_ns` say.
    fn forget_the_dead(&mut self, until_ns: u64);
    /// What there is of cgroups and processes, whatever was told of them.
    fn present(&self) -> Present;
    /// State of each probe.
    fn probes(&self) -> Vec<ProbeStatus>;
    /// The kernel side's counters.
    fn losses(&mut self) -> Losses;
    /// TCP resets by cgroup.
    fn resets(&mut self) -> Vec<Resets>;
    /// Who counts what servers answered, for whoever may wait for it; once.
    fn take_served(&mut self) -> Option<Served>;
    /// What was served in these cgroups, which are gone, is taken into account.
    fn forget_served(&mut self, cgroups: &[u64]);
    /// From now on this cgroup reports.
    fn mark_cgroup(&mut self, cgroup: u64);
    /// In this cgroup this signal is a stop signal too, as long as the cgroup lives.
    fn watch_stop_signal(&mut self, cgroup: u64, signal: u32);
    /// This cgroup need not report any more, as far as the events up to `until_ns` say.
    fn unmark_cgroup(&mut self, cgroup: u64, until_ns: u64);
    /// This process need not report any more, as far as the events up to `until_ns` say.
    fn unmark_process(&mut self, pid: u32, until_ns: u64);
    /// Does what follows from all that was unmarked since the last time.
    fn settle(&mut self);
    /// CPU time of a cgroup so far, in µs.
    fn cpu_used_us(&self, cgroup: u64) -> Option<u64>;
    /// Monotonic clock (ns) and wall clock (ns since the epoch), read together.
    fn clocks(&self) -> (u64, i64);
}

/// What there is, as the file systems show it.
#[derive(Debug, Default)]
pub struct Present {
    /// Paths of cgroups, by id: those of parents are lower.
    pub cgroups: BTreeMap<u64, String>,
    /// Those in which, or below which, no process lives.
    pub empty: HashSet<u64>,
    /// Process ids; nothing where the agent does not see all of them.
    pub processes: Option<HashSet<u32>>,
}

/// The kernel side; what it recorded of connections is read on the way to the loop.
#[derive(Debug)]
pub struct Live {
    kernel: Kernel,
    /// What the user says of what is spoken.
    rules: Rules,
}

impl Live {
    /// Facts of `kernel`, read with these rules.
    pub fn new(kernel: Kernel, rules: Rules) -> Self {
        Self { kernel, rules }
    }

    /// Stops: with `remove` nothing stays behind in the kernel, else what is pinned goes on.
    pub fn stop(&mut self, remove: bool) {
        self.kernel.stop(remove);
    }

    fn read(&self, facts: Vec<Fact>) -> Vec<Event> {
        facts
            .into_iter()
            .map(|fact| reading::event(fact, &self.rules))
            .collect()
    }
}

impl Source for Live {
    async fn next_events(&mut self, timeout: Option<Duration>) -> Vec<Event> {
        let facts = self.kernel.next_facts(timeout).await;
        self.read(facts)
    }
    fn drain(&mut self) -> Vec<Event> {
        let facts = self.kernel.drain();
        self.read(facts)
    }
    fn is_behind(&self) -> bool {
        self.kernel.is_behind()
    }
    fn position(&self) -> Option<Position> {
        Some(self.kernel.position())
    }
    fn commit(&mut self) {
        self.kernel.commit();
    }
    fn skip_to(&mut self, position: Position) -> bool {
        self.kernel.skip_to(position)
    }
    fn resumed(&self) -> bool {
        self.kernel.resumed()
    }
    fn told_losses(&self) -> (u64, u64) {
        self.kernel.told_losses()
    }
    fn tell_losses(&mut self, told: (u64, u64)) {
        self.kernel.tell_losses(told);
    }
    fn forget_the_dead(&mut self, until_ns: u64) {
        self.kernel.forget_the_dead(until_ns);
    }
    fn present(&self) -> Present {
        let (cgroups, empty, processes) = self.kernel.present();
        Present {
            cgroups,
            empty,
            processes,
        }
    }
    fn probes(&self) -> Vec<ProbeStatus> {
        self.kernel.probes().to_vec()
    }
    fn losses(&mut self) -> Losses {
        self.kernel.losses()
    }
    fn resets(&mut self) -> Vec<Resets> {
        self.kernel.resets()
    }
    fn take_served(&mut self) -> Option<Served> {
        self.kernel.take_served()
    }
    fn forget_served(&mut self, cgroups: &[u64]) {
        self.kernel.forget_served(cgroups);
    }
    fn mark_cgroup(&mut self, cgroup: u64) {
        self.kernel.mark_cgroup(cgroup);
    }
    fn watch_stop_signal(&mut self, cgroup: u64, signal: u32) {
        self.kernel.watch_stop_signal(cgroup, signal);
    }
    fn unmark_cgroup(&mut self, cgroup: u64, until_ns: u64) {
        self.kernel.unmark_cgroup(cgroup, until_ns);
    }
    fn unmark_process(&mut self, pid: u32, until_ns: u64) {
        self.kernel.unmark_process(pid, until_ns);
    }
    fn settle(&mut self) {
        self.kernel.settle();
    }
    fn cpu_used_us(&self, cgroup: u64) -> Option<u64> {
        self.kernel.cpu_used_us(cgroup)
    }
    fn clocks(&self) -> (u64, i64) {
        Kernel::clocks()
    }
}
