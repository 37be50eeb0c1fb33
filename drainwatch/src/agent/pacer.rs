//! When the loop injects events of its own. Pure: the clock is an argument.

use std::time::Duration;

use super::evidence_lost;
use crate::kernel::Losses;

/// A tick at least this often while something is under way.
const TICK_NS: u64 = 1_000_000_000;
/// A CPU sample of each draining cgroup this often.
const SAMPLE_NS: u64 = 500_000_000;
/// Never two ticks closer than this, whatever deadline the tracker names.
const CLOSEST_NS: u64 = 1_000_000;

/// What the tracker is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnderWay {
    /// When it wants a tick, if anything is under way.
    pub deadline_ns: Option<u64>,
    /// It wants CPU samples.
    pub sampling: bool,
}

impl UnderWay {
    /// Anything at all.
    pub fn any(self) -> bool {
        self.deadline_ns.is_some() || self.sampling
    }
}

/// What is due now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// A tick.
    pub tick: bool,
    /// A sample of each draining cgroup.
    pub sample: bool,
}

/// Remembers when the last ones were.
#[derive(Debug, Default)]
pub struct Pacer {
    tick_ns: u64,
    sample_ns: u64,
    ring_lost: u64,
    other_lost: u64,
}

impl Pacer {
    /// A tick was given.
    pub fn ticked(&mut self, now_ns: u64) {
        self.tick_ns = now_ns;
    }

    fn next_tick(&self, under_way: &UnderWay) -> Option<u64> {
        if !under_way.any() {
            return None;
        }
        let regular = self.tick_ns.saturating_add(TICK_NS);
        let wanted = under_way
            .deadline_ns
            .unwrap_or(regular)
            .max(self.tick_ns.saturating_add(CLOSEST_NS));
        Some(regular.min(wanted))
    }

    fn next_sample(&self, under_way: &UnderWay) -> Option<u64> {
        under_way
            .sampling
            .then(|| self.sample_ns.saturating_add(SAMPLE_NS))
    }

    /// How long the loop may sleep; `None`: until something wakes it.
    pub fn timeout(&self, now_ns: u64, under_way: &UnderWay) -> Option<Duration> {
        let next = self
            .next_tick(under_way)
            .into_iter()
            .chain(self.next_sample(under_way))
            .min()?;
        Some(Duration::from_nanos(next.saturating_sub(now_ns)))
    }

    /// What is due; it counts as done.
    pub fn due(&mut self, now_ns: u64, under_way: &UnderWay) -> Due {
        let reached = |next: Option<u64>| next.is_some_and(|next| next <= now_ns);
        let due = Due {
            tick: reached(self.next_tick(under_way)),
            sample: reached(self.next_sample(under_way)),
        };
        if due.tick {
            self.tick_ns = now_ns;
        }
        if due.sample {
            self.sample_ns = now_ns;
        }
        due
    }

    /// What earlier agents took into account.
    pub fn told(&mut self, (ring, other): (u64, u64)) {
        (self.ring_lost, self.other_lost) = (ring, other);
    }

    /// Evidence lost since the last call. With `just_begun`, only ring entries count.
    pub fn lost(&mut self, losses: &Losses, just_begun: bool) -> Lost {
        let told = evidence_lost(losses);
        let (ring, other) = told;
        let entries = ring.saturating_sub(self.ring_lost);
        let count = entries
            + if just_begun {
                0
            } else {
                other.saturating_sub(self.other_lost)
            };
        let is_news = told != (self.ring_lost, self.other_lost);
        (self.ring_lost, self.other_lost) = told;
        Lost {
            count,
            entries: entries > 0,
            is_news,
            told,
        }
    }
}

/// What was lost since the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// What counts.
    pub count: u64,
    /// Ring entries are among it.
    pub entries: bool,
    /// Anything was.
    pub is_news: bool,
    /// Ring entries and others, in all.
    pub told: (u64, u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const IDLE: UnderWay = UnderWay {
        deadline_ns: None,
        sampling: false,
    };

    #[test]
    fn given_nothing_under_way_then_nothing_is_ever_due_and_the_loop_sleeps_on() {
        let mut pacer = Pacer::default();
        assert_eq!(pacer.timeout(100 * SECOND, &IDLE), None);
        assert_eq!(
            pacer.due(100 * SECOND, &IDLE),
            Due {
                tick: false,
                sample: false
            }
        );
    }

    #[test]
    fn given_a_deadline_then_the_tick_comes_at_it_or_after_a_second_whichever_is_first() {
        let mut pacer = Pacer::default();
        pacer.ticked(10 * SECOND);
        let near = UnderWay {
            deadline_ns: Some(10 * SECOND + 300),
            sampling: false,
        };
        assert_eq!(
            pacer.timeout(10 * SECOND, &near),
            Some(Duration::from_millis(1)),
            "never closer"
        );
        let far = UnderWay {
            deadline_ns: Some(99 * SECOND),
            sampling: false,
        };
        assert_eq!(pacer.timeout(10 * SECOND, &far), Some(Duration::from_secs(1)));
        assert!(!pacer.due(11 * SECOND - 1, &far).tick);
        assert!(pacer.due(11 * SECOND, &far).tick);
        assert!(!pacer.due(11 * SECOND, &far).tick, "once");
    }

    #[test]
    fn given_a_deadline_in_the_past_then_the_loop_does_not_spin() {
        let mut pacer = Pacer::default();
        let past = UnderWay {
            deadline_ns: Some(1),
            sampling: false,
        };
        assert!(pacer.due(10 * SECOND, &past).tick);
        assert!(!pacer.due(10 * SECOND + CLOSEST_NS - 1, &past).tick);
        assert!(pacer.timeout(10 * SECOND, &past).unwrap() >= Duration::from_millis(1));
    }

    #[test]
    fn given_a_draining_cgroup_then_samples_come_twice_a_second() {
        let mut pacer = Pacer::default();
        pacer.ticked(10 * SECOND);
        let draining = UnderWay {
            deadline_ns: Some(99 * SECOND),
            sampling: true,
        };
        assert!(pacer.due(10 * SECOND, &draining).sample);
        assert_eq!(
            pacer.timeout(10 * SECOND, &draining),
            Some(Duration::from_millis(500))
        );
        assert_eq!(
            pacer.due(10 * SECOND + SAMPLE_NS, &draining),
            Due {
                tick: false,
                sample: true
            }
        );
    }

    #[test]
    fn given_losses_while_idle_when_a_shutdown_begins_then_only_ring_entries_count_as_its_own() {
        let mut pacer = Pacer::default();
        let losses = |ring_full, map_full| Losses {
            ring_full,
            map_full,
            payload: 50,
            ..Losses::default()
        };
        assert_eq!(pacer.lost(&losses(1, 7), true).count, 1);
        assert_eq!(pacer.lost(&losses(1, 7), false).count, 0);
        assert_eq!(pacer.lost(&losses(2, 9), false).count, 3);
    }

    #[test]
    fn given_skipped_runs_when_they_show_as_gaps_then_only_the_others_are_missing_everywhere() {
        let skipped = |runs: &[(&'static str, u64)]| Losses {
            skipped_runs: runs.iter().copied().collect(),
            ..Losses::default()
        };
        let mut pacer = Pacer::default();
        let shown = [("socket_read", 5), ("socket_write", 7)];
        assert_eq!(pacer.lost(&skipped(&shown), false).count, 0);
        let with_others = [("socket_read", 5), ("socket_state", 1), ("process_exit", 2)];
        assert_eq!(pacer.lost(&skipped(&with_others), false).count, 3);
    }
}
