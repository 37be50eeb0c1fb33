//! What is kept: of too many reports those of the workload with the most go first, its oldest ones; then what is too old.
//!
//! Which workload a report is of stands beside it in tables of its own, by a hash: `workloads` by id, `by_workload` by hash
//! and time, `counts` by hash.

use std::time::{Duration, Instant};

use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

use super::{IDS, REPORTS, StoreError, forget};
use crate::outlets::listing::Head;

const WORKLOADS: TableDefinition<&str, u64> = TableDefinition::new("workloads");
const BY_WORKLOAD: TableDefinition<(u64, i64, &str), ()> = TableDefinition::new("by_workload");
const COUNTS: TableDefinition<u64, u64> = TableDefinition::new("counts");
const META: TableDefinition<&str, i64> = TableDefinition::new("meta");
/// Up to when reports have aged.
const AGED: &str = "aged_ms";

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Most reports.
    pub reports: u64,
    /// Oldest report.
    pub age: Duration,
}

/// The time by which reports age. It follows the wall clock, but never faster than twice as fast as time passes: a clock
/// that is set far forward does not make everything old at once.
#[derive(Debug)]
pub(super) struct Aging {
    last: Instant,
}

impl Aging {
    pub fn new() -> Self {
        Self { last: Instant::now() }
    }

    fn passed(&mut self) -> Duration {
        let last = std::mem::replace(&mut self.last, Instant::now());
        last.elapsed()
    }
}

fn aged(before_ms: i64, now_ms: i64, passed: Duration) -> i64 {
    let most = i64::try_from(passed.as_millis())
        .unwrap_or(i64::MAX)
        .saturating_mul(2);
    now_ms.min(before_ms.saturating_add(most))
}

/// Notes that this report is stored.
pub(super) fn note(
    write: &WriteTransaction,
    id: &str,
    ended_ms: i64,
    workload: u64,
) -> Result<(), StoreError> {
    write.open_table(WORKLOADS)?.insert(id, workload)?;
    write
        .open_table(BY_WORKLOAD)?
        .insert((workload, ended_ms, id), ())?;
    count(write, workload, |count| count + 1)
}

/// Notes that it is not any more.
pub(super) fn unnote(write: &WriteTransaction, id: &str, ended_ms: i64) -> Result<(), StoreError> {
    let Some(workload) = write.open_table(WORKLOADS)?.remove(id)?.map(|of| of.value()) else {
        return Ok(());
    };
    write.open_table(BY_WORKLOAD)?.remove((workload, ended_ms, id))?;
    count(write, workload, |count| count.saturating_sub(1))
}

fn count(write: &WriteTransaction, workload: u64, change: impl Fn(u64) -> u64) -> Result<(), StoreError> {
    let mut counts = write.open_table(COUNTS)?;
    let before = counts.get(workload)?.map_or(0, |count| count.value());
    match change(before) {
        0 => drop(counts.remove(workload)?),
        count => drop(counts.insert(workload, count)?),
    }
    Ok(())
}

/// Notes all that is stored, where an earlier version did not.
pub(super) fn index(write: &WriteTransaction) -> Result<(), StoreError> {
    let missing: Vec<(String, i64, u64)> = {
        let reports = write.open_table(REPORTS)?;
        if write.open_table(WORKLOADS)?.len()? == reports.len()? {
            return Ok(());
        }
        let mut missing = Vec::new();
        for row in reports.iter()? {
            let (key, json) = row?;
            let head: Option<Head> = serde_json::from_slice(json.value()).ok();
            let workload = head.map_or(0, |head| head.workload_hash());
            missing.push((key.value().1.to_owned(), key.value().0, workload));
        }
        missing
    };
    write.delete_table(WORKLOADS)?;
    write.delete_table(BY_WORKLOAD)?;
    write.delete_table(COUNTS)?;
    for (id, ended_ms, workload) in missing {
        note(write, &id, ended_ms, workload)?;
    }
    Ok(())
}

/// Takes out what is too much.
pub(super) fn retain(
    write: &WriteTransaction,
    keep: &Retention,
    aging: &mut Aging,
    now_ms: i64,
) -> Result<(), StoreError> {
    while write.open_table(IDS)?.len()? > keep.reports {
        let Some(id) = oldest_of_most(write)? else { break };
        forget(write, &id)?;
    }
    let mut meta = write.open_table(META)?;
    let before_ms = meta.get(AGED)?.map_or(now_ms, |aged| aged.value());
    let aged_ms = aged(before_ms, now_ms, aging.passed());
    meta.insert(AGED, aged_ms)?;
    drop(meta);
    let kept_ms = i64::try_from(keep.age.as_millis()).unwrap_or(i64::MAX);
    let oldest_ms = aged_ms.saturating_sub(kept_ms);
    loop {
        let first = {
            let reports = write.open_table(REPORTS)?;
            let first = reports.first()?;
            first
                .map(|(key, _)| (key.value().0, key.value().1.to_owned()))
                .filter(|(ended_ms, _)| *ended_ms < oldest_ms)
        };
        match first {
            Some((_, id)) => forget(write, &id)?,
            None => return Ok(()),
        }
    }
}

/// The oldest report of the workload that has the most.
fn oldest_of_most(write: &WriteTransaction) -> Result<Option<String>, StoreError> {
    let counts = write.open_table(COUNTS)?;
    let mut most: Option<(u64, u64)> = None;
    for row in counts.iter()? {
        let (workload, count) = row?;
        let (workload, count) = (workload.value(), count.value());
        if most.is_none_or(|(_, of_most)| count > of_most) {
            most = Some((workload, count));
        }
    }
    let Some((workload, _)) = most else {
        return Ok(None);
    };
    let reports = write.open_table(BY_WORKLOAD)?;
    let mut of_it = reports.range((workload, i64::MIN, "")..)?;
    let first = of_it.next().transpose()?;
    Ok(first.map(|(key, _)| key.value().2.to_owned()))
}

#[cfg(test)]
pub(super) fn set_aged(write: &WriteTransaction, ms: i64) {
    write.open_table(META).unwrap().insert(AGED, ms).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_clock_that_is_set_then_reports_age_no_faster_than_twice_the_time_that_passes() {
        let second = Duration::from_secs(1);
        assert_eq!(aged(10_000, 11_000, second), 11_000);
        assert_eq!(aged(10_000, 3_456_000_000, second), 12_000);
        assert_eq!(aged(10_000, 5_000, second), 5_000, "set back");
        assert_eq!(aged(i64::MAX, i64::MAX, Duration::MAX), i64::MAX);
    }
}
