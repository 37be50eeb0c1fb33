//! How much, how many, how long.

use std::{ops::Deref, str::FromStr, time::Duration};

use super::Text;

/// Requests that are answered at the same time: at least one, at most ten thousand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxRequests(usize);

impl Text for MaxRequests {
    const VALUES: &str = "1 to 10000";
}

impl FromStr for MaxRequests {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .ok()
            .filter(|n| (1..=10_000).contains(n))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a number from 1 to 10000"))
    }
}

impl Deref for MaxRequests {
    type Target = usize;

    fn deref(&self) -> &usize {
        &self.0
    }
}

/// A whole number with its unit: `500ms`, `5s`, `15m`, `12h`, `30d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeSpan(Duration);

impl Text for TimeSpan {
    const VALUES: &str = "a number with `ms`, `s`, `m`, `h` or `d`";
}

impl FromStr for TimeSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "`{text}` is not a duration; write a number with ms, s, m, h or d, for example 15m or 30d"
            )
        };
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let (number, unit) = text.split_at(unit_at);
        let ms_per: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(bad()),
        };
        let number: u64 = number.parse().map_err(|_| bad())?;
        // A century: nothing beyond it is meant, and sums with it cannot overflow.
        let ms = number
            .checked_mul(ms_per)
            .filter(|ms| *ms <= 36_525 * 86_400_000)
            .ok_or_else(bad)?;
        Ok(Self(Duration::from_millis(ms)))
    }
}

impl Deref for TimeSpan {
    type Target = Duration;

    fn deref(&self) -> &Duration {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_time_span_when_parsed_then_it_has_a_unit_and_is_no_longer_than_a_century() {
        assert_eq!("15m".parse(), Ok(TimeSpan(Duration::from_mins(15))));
        for bad in [
            "",
            "15",
            "m",
            "-1s",
            "1w",
            "99999999999999999999s",
            "999999999999d",
        ] {
            assert!(bad.parse::<TimeSpan>().is_err(), "{bad}");
        }
    }
}
