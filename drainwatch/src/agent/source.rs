//! Where events come from: the kernel, or a script in tests.

use std::time::Duration;

use drainwatch_core::{
    event::Event,
    reading::{self, HeaderRules},
    record::Fact,
};

use crate::kernel::{Kernel, Losses, ProbeStatus, Resets};

/// What the loop needs of the kernel side. [`Live`] is the one implementation outside tests.
pub trait Source {
    /// Waits until there are events, or `timeout`; oldest first. Must be cancel safe: an event is
    /// taken out only by a call that returns it.
    fn next_events(&mut self, timeout: Option<Duration>) -> impl Future<Output = Vec<Event>>;
    /// Every event there is now, without waiting.
    fn drain(&mut self) -> Vec<Event>;
    /// State of each probe.
    fn probes(&self) -> Vec<ProbeStatus>;
    /// The kernel side's counters.
    fn losses(&mut self) -> Losses;
    /// TCP resets by cgroup.
    fn resets(&mut self) -> Vec<Resets>;
    /// From now on this cgroup reports.
    fn mark_cgroup(&mut self, cgroup: u64);
    /// In this cgroup this signal is a stop signal too, as long as the cgroup lives.
    fn watch_stop_signal(&mut self, cgroup: u64, signal: u32);
    /// This cgroup need not report any more, as far as the events up to `until_ns` say.
    fn unmark_cgroup(&mut self, cgroup: u64, until_ns: u64);
    /// This process need not report any more, as far as the events up to `until_ns` say.
    fn unmark_process(&mut self, pid: u32, until_ns: u64);
    /// CPU time of a cgroup so far, in µs.
    fn cpu_used_us(&self, cgroup: u64) -> Option<u64>;
    /// Monotonic clock (ns) and wall clock (ns since the epoch), read together.
    fn clocks(&self) -> (u64, i64);
}

/// The kernel side; what it recorded of connections is read on the way to the loop.
#[derive(Debug)]
pub struct Live {
    kernel: Kernel,
    /// The user's rules on headers of requests.
    rules: HeaderRules,
}

impl Live {
    /// Facts of `kernel`, read with these rules.
    pub fn new(kernel: Kernel, rules: HeaderRules) -> Self {
        Self { kernel, rules }
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
    fn probes(&self) -> Vec<ProbeStatus> {
        self.kernel.probes().to_vec()
    }
    fn losses(&mut self) -> Losses {
        self.kernel.losses()
    }
    fn resets(&mut self) -> Vec<Resets> {
        self.kernel.resets()
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
    fn cpu_used_us(&self, cgroup: u64) -> Option<u64> {
        self.kernel.cpu_used_us(cgroup)
    }
    fn clocks(&self) -> (u64, i64) {
        Kernel::clocks()
    }
}
