//! Where events come from: the kernel, or a script in tests.

use std::time::Duration;

use drainwatch_core::event::Event;

use crate::kernel::{Kernel, Losses, ProbeStatus, Resets};

/// What the loop needs of the kernel side. [`Kernel`] is the one implementation outside tests.
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
    fn drain_cgroup(&mut self, cgroup: u64);
    /// In this cgroup this signal is a stop signal too, as long as the cgroup lives.
    fn stop_signal(&mut self, cgroup: u64, signal: u32);
    /// This cgroup need not report any more, as far as the events up to `until_ns` say.
    fn stop_cgroup(&mut self, cgroup: u64, until_ns: u64);
    /// This process need not report any more, as far as the events up to `until_ns` say.
    fn stop_process(&mut self, pid: u32, until_ns: u64);
    /// CPU time of a cgroup so far, in µs.
    fn cpu_used_us(&self, cgroup: u64) -> Option<u64>;
    /// Monotonic clock (ns) and wall clock (ns since the epoch), read together.
    fn clocks(&self) -> (u64, i64);
}

impl Source for Kernel {
    async fn next_events(&mut self, timeout: Option<Duration>) -> Vec<Event> {
        Kernel::next_events(self, timeout).await
    }
    fn drain(&mut self) -> Vec<Event> {
        Kernel::drain(self)
    }
    fn probes(&self) -> Vec<ProbeStatus> {
        Kernel::probes(self).to_vec()
    }
    fn losses(&mut self) -> Losses {
        Kernel::losses(self)
    }
    fn resets(&mut self) -> Vec<Resets> {
        Kernel::resets(self)
    }
    fn drain_cgroup(&mut self, cgroup: u64) {
        Kernel::drain_cgroup(self, cgroup);
    }
    fn stop_signal(&mut self, cgroup: u64, signal: u32) {
        Kernel::stop_signal(self, cgroup, signal);
    }
    fn stop_cgroup(&mut self, cgroup: u64, until_ns: u64) {
        Kernel::stop_cgroup(self, cgroup, until_ns);
    }
    fn stop_process(&mut self, pid: u32, until_ns: u64) {
        Kernel::stop_process(self, pid, until_ns);
    }
    fn cpu_used_us(&self, cgroup: u64) -> Option<u64> {
        Kernel::cpu_used_us(self, cgroup)
    }
    fn clocks(&self) -> (u64, i64) {
        Kernel::clocks()
    }
}
