//! The CPU time of a workload that shuts down: the last samples.

use std::collections::VecDeque;

/// Samples kept: at one a second, the last minute.
const SAMPLES: usize = 60;
/// CPU time is judged over at least this long …
const WINDOW_NS: u64 = 500_000_000;
/// … from a sample that is not older than this (they come about once a second).
const STALE_NS: u64 = 2_500_000_000;

/// Samples of the CPU time used so far, oldest first.
#[derive(Debug, Clone, Default)]
pub(in crate::tracker) struct CpuUse(VecDeque<(u64, u64)>);

impl CpuUse {
    /// So many µs were used until then.
    pub fn sample(&mut self, at_ns: u64, usage_us: u64) {
        if self.0.len() >= SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back((at_ns, usage_us));
    }

    /// How busy it was at this time, in percent of one CPU; nothing where there are too few samples.
    pub fn percent_at(&self, when_ns: u64) -> Option<u64> {
        let mut before = self.0.iter().rev().filter(|(at_ns, _)| *at_ns <= when_ns);
        let latest = before.next()?;
        let earlier = before.find(|(at_ns, _)| latest.0.saturating_sub(*at_ns) >= WINDOW_NS)?;
        if when_ns - latest.0 > STALE_NS {
            return None;
        }
        let wall_us = (latest.0 - earlier.0) / 1000;
        Some(latest.1.saturating_sub(earlier.1).saturating_mul(100) / wall_us.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn given_samples_around_a_time_then_only_those_before_it_that_are_fresh_and_apart_count() {
        let mut cpu = CpuUse::default();
        assert_eq!(cpu.percent_at(SECOND), None, "no sample");
        cpu.sample(SECOND, 0);
        assert_eq!(cpu.percent_at(SECOND), None, "one alone");
        cpu.sample(2 * SECOND, 750_000);
        cpu.sample(5 * SECOND, 9_000_000);
        assert_eq!(cpu.percent_at(3 * SECOND), Some(75));
        assert_eq!(
            cpu.percent_at(4 * SECOND + SECOND / 2),
            Some(75),
            "just fresh enough"
        );
        assert_eq!(cpu.percent_at(5 * SECOND - 1), None, "stale");
    }
}
