//! Time as reports write it. The tracker has no clock: monotonic times come with events, and ticks
//! say what the wall clock showed.

use std::time::Duration;

use jiff::Timestamp;

/// What to add to a monotonic time to get wall time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clock {
    offset_ns: i128,
}

impl Clock {
    /// The wall clock showed `wall_ns` (since the Unix epoch) at the monotonic time `at_ns`.
    pub fn new(at_ns: u64, wall_ns: i64) -> Self {
        Self {
            offset_ns: i128::from(wall_ns) - i128::from(at_ns),
        }
    }

    fn timestamp(self, at_ns: u64) -> Timestamp {
        // Out of range only for a wall clock thousands of years off.
        Timestamp::from_nanosecond(self.offset_ns + i128::from(at_ns)).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The monotonic time of a wall time in ms since the Unix epoch; 0 for one before the clock began.
    pub fn monotonic(self, wall_ms: i64) -> u64 {
        let at_ns = i128::from(wall_ms) * 1_000_000 - self.offset_ns;
        u64::try_from(at_ns.max(0)).unwrap_or(u64::MAX)
    }

    /// RFC 3339, UTC, milliseconds.
    pub fn rfc3339(self, at_ns: u64) -> String {
        self.timestamp(at_ns)
            .strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
            .to_string()
    }

    /// An id that begins with the wall time in ms, so that ids of one node sort by it. What `parts`
    /// holds makes it unique. Deterministic, so that a replay gives the ids that the agent gave.
    pub fn id(self, at_ns: u64, parts: &[&[u8]]) -> String {
        let ms = u64::try_from(self.timestamp(at_ns).as_millisecond()).unwrap_or(0);
        format!("{}-{}", base36(ms, 9), base36(fnv1a(parts), 13))
    }
}

/// Milliseconds with microsecond precision.
pub(super) fn ms(ns: u64) -> f64 {
    let ms = Duration::from_nanos(ns).as_secs_f64() * 1e3;
    (ms * 1e3).round() / 1e3
}

/// A duration as people read it.
pub(super) fn human(ns: u64) -> String {
    let ms = ms(ns);
    if ms < 10.0 {
        format!("{ms:.1} ms")
    } else if ms < 1000.0 {
        format!("{ms:.0} ms")
    } else if ms < 120_000.0 {
        format!("{:.1} s", ms / 1e3)
    } else {
        format!("{:.0} min", ms / 60e3)
    }
}

fn base36(mut value: u64, width: usize) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut digits = Vec::with_capacity(width);
    while value > 0 || digits.len() < width {
        digits.push(char::from(DIGITS[usize::try_from(value % 36).unwrap_or(0)]));
        value /= 36;
    }
    digits.iter().rev().collect()
}

/// FNV-1a: small, and stable between Rust releases, which the standard library's hashers are not.
fn fnv1a(parts: &[&[u8]]) -> u64 {
    // A separator keeps ("ab", "c") and ("a", "bc") apart.
    let bytes = parts.iter().flat_map(|part| part.iter().copied().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_follows_from_the_tick_and_is_written_with_milliseconds() {
        let clock = Clock::new(5_000_000_000, 1_767_225_600_000_000_000);
        assert_eq!(clock.rfc3339(5_001_500_000), "2026-01-01T00:00:00.001Z");
        assert_eq!(clock.rfc3339(4_999_000_000), "2025-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_nonsense_wall_clock_does_not_panic() {
        assert_eq!(Clock::new(0, i64::MIN).rfc3339(u64::MAX).len(), 24);
        assert!(!Clock::new(u64::MAX, i64::MIN).id(0, &[]).is_empty());
    }

    #[test]
    fn ids_sort_by_time_and_differ_in_the_same_millisecond() {
        let clock = Clock::new(0, 1_767_225_600_000_000_000);
        let early = clock.id(1_000_000, &[b"node", b"1"]);
        assert!(early < clock.id(2_000_000, &[b"node", b"1"]));
        assert_ne!(early, clock.id(1_000_000, &[b"node", b"2"]));
        assert!(
            early.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'),
            "{early}"
        );
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(human(1_234_000), "1.2 ms");
        assert_eq!(human(250_000_000), "250 ms");
        assert_eq!(human(30_040_000_000), "30.0 s");
        assert_eq!(human(600_000_000_000), "10 min");
    }
}
