//! The agent as a process: what every exporter tells of itself. Not the collector of the crate `prometheus`, which brings older
//! versions of procfs and rustix with it, and knows whole seconds only.

use procfs::{
    ProcResult, WithCurrentSystemInfo as _,
    process::{LimitValue, Process},
};
use prometheus::{
    Counter, Gauge, IntGauge,
    core::{Collector, Desc},
    proto::MetricFamily,
};

/// Reads them when they are asked for.
#[derive(Debug)]
pub struct OfProcess {
    cpu: Counter,
    open_fds: IntGauge,
    max_fds: Gauge,
    virtual_memory: Gauge,
    resident_memory: Gauge,
    start: Gauge,
    threads: IntGauge,
}

impl OfProcess {
    /// Of this process.
    pub fn new() -> Result<Self, prometheus::Error> {
        let all = Self {
            cpu: Counter::new(
                "process_cpu_seconds_total",
                "Total user and system CPU time spent in seconds.",
            )?,
            open_fds: IntGauge::new("process_open_fds", "Number of open file descriptors.")?,
            max_fds: Gauge::new("process_max_fds", "Maximum number of open file descriptors.")?,
            virtual_memory: Gauge::new("process_virtual_memory_bytes", "Virtual memory size in bytes.")?,
            resident_memory: Gauge::new("process_resident_memory_bytes", "Resident memory size in bytes.")?,
            start: Gauge::new(
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
            )?,
            threads: IntGauge::new("process_threads", "Number of OS threads in the process.")?,
        };
        // Once: later it would move with the clock.
        if let Ok(started) = started() {
            all.start.set(started);
        }
        Ok(all)
    }

    fn all(&self) -> [&dyn Collector; 7] {
        [
            &self.cpu,
            &self.open_fds,
            &self.max_fds,
            &self.virtual_memory,
            &self.resident_memory,
            &self.start,
            &self.threads,
        ]
    }

    fn read(&self) -> ProcResult<()> {
        let process = Process::myself()?;
        let stat = process.stat()?;
        let spent = seconds(stat.utime + stat.stime);
        // Two scrapes at the same time may have read in another order.
        self.cpu.inc_by((spent - self.cpu.get()).max(0.0));
        self.virtual_memory.set(approximately(stat.vsize));
        self.resident_memory.set(approximately(stat.rss_bytes().get()));
        self.threads.set(stat.num_threads);
        self.open_fds
            .set(i64::try_from(process.fd_count()?).unwrap_or(i64::MAX));
        self.max_fds
            .set(match process.limits()?.max_open_files.soft_limit {
                LimitValue::Value(most) => approximately(most),
                LimitValue::Unlimited => f64::INFINITY,
            });
        Ok(())
    }
}

/// When this process began, in seconds since the Unix epoch.
fn started() -> ProcResult<f64> {
    let stat = Process::myself()?.stat()?;
    Ok(approximately(procfs::boot_time_secs()?) + seconds(stat.starttime))
}

fn seconds(ticks: u64) -> f64 {
    approximately(ticks) / approximately(procfs::ticks_per_second())
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
fn approximately(number: u64) -> f64 {
    number as f64
}

impl Collector for OfProcess {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // What cannot be read stays as it was.
        if let Err(error) = self.read() {
            tracing::debug!(%error, "cannot read what this process uses");
        }
        self.all().into_iter().flat_map(Collector::collect).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn given_this_process_when_collected_then_its_numbers_are_those_of_the_kernel() {
        let process = OfProcess::new().unwrap();
        assert_eq!((process.desc().len(), process.collect().len()), (7, 7));
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let age = now - process.start.get();
        assert!((-2.0..86_400.0).contains(&age), "it began {age} s ago");
        assert!(
            process.resident_memory.get() > 1e6
                && process.virtual_memory.get() > process.resident_memory.get()
        );
        assert!(process.threads.get() > 0 && process.open_fds.get() > 2);
        assert!(process.max_fds.get() >= 16.0);

        let before = process.cpu.get();
        // Some tens of ticks of work.
        let begun = std::time::Instant::now();
        let mut work = 0_u64;
        while process.cpu.get() < before + 0.05 {
            work = (0..1_000_000).fold(work, |sum, n| sum ^ std::hint::black_box(n));
            process.collect();
            assert!(begun.elapsed().as_secs() < 60, "{work}");
        }
    }
}
