//! Which rollouts are asked for, and what is found of them.

use drainwatch_core::{
    report::{Report, Verdict},
    rollout::{self, RolledOut, Rollout},
};
use serde::Serialize;

use crate::outlets::{
    listing::{self, Filter},
    questions::{Handle, Unanswered},
};

/// Most shutdowns that rollouts are made of.
const SHUTDOWNS: usize = 5000;
/// How far back they are looked for where nothing is said.
const SINCE: &str = "7d";
/// How many there are where nothing is said.
const LIMIT: usize = 50;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Which shutdowns they are made of.
    shutdowns: Filter,
    /// The worst verdict among them.
    verdict: Option<Verdict>,
    /// Most of them.
    limit: usize,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Found {
    /// The newest first.
    pub rollouts: Vec<Rollout>,
    /// There are more than were asked for, or than could be looked at.
    pub more: bool,
}

/// The query of a listing of rollouts; the error says what to send instead.
pub fn query(query: &str, now: jiff::Timestamp) -> Result<Wanted, String> {
    let Filter {
        since_ms,
        until_ms,
        workload,
        namespace,
        kind,
        search,
        verdict,
        class,
        finding,
        cause,
        limit,
    } = listing::query(query, now)?;
    let of_shutdowns = [class, kind].iter().any(Option::is_some);
    if of_shutdowns || finding.is_some() || cause.is_some() || !search.is_empty() {
        return Err(
            "rollouts are asked for by since, until, workload, namespace, verdict and limit; \
             /api/v1/shutdowns knows kind, class, finding, cause and q"
                .into(),
        );
    }
    let since_ms = match since_ms {
        Some(since_ms) => since_ms,
        None => listing::time("since", SINCE, now)?,
    };
    Ok(Wanted {
        shutdowns: Filter {
            since_ms: Some(since_ms),
            until_ms,
            workload,
            namespace,
            limit: SHUTDOWNS,
            ..Filter::default()
        },
        verdict,
        limit: if query.contains("limit=") { limit } else { LIMIT },
    })
}

/// Looks for them.
pub async fn find(handle: &Handle, wanted: Wanted) -> Result<Found, Unanswered> {
    let running = handle.running().await?;
    let matches = handle.list(wanted.shutdowns).await?;
    let read = move || {
        let reports: Vec<Report> = matches
            .found()
            .iter()
            .filter_map(|json| serde_json::from_str(json).ok())
            .collect();
        let runs = |workload: &RolledOut| running.get(workload).cloned();
        let mut rollouts = rollout::rollouts(&reports, runs);
        rollouts.retain(|one| wanted.verdict.is_none_or(|verdict| verdict == one.verdict));
        let more = matches.more() || rollouts.len() > wanted.limit;
        rollouts.truncate(wanted.limit);
        Found { rollouts, more }
    };
    // Thousands of reports take longer to read than the loop may wait.
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| Unanswered::Store(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_query_when_read_then_a_week_and_fifty_are_meant_where_nothing_is_said() {
        let now = "2026-01-08T00:00:00Z".parse().unwrap();
        let wanted = query("workload=web&verdict=refused", now).unwrap();
        let week = "2026-01-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap();
        assert_eq!(wanted.shutdowns.since_ms, Some(week.as_millisecond()));
        assert_eq!((wanted.verdict, wanted.limit), (Some(Verdict::Refused), LIMIT));
        assert_eq!(
            wanted.shutdowns.verdict, None,
            "clean shutdowns are a part of a bad rollout"
        );
        assert_eq!(query("limit=100", now).unwrap().limit, 100);
        assert!(
            query("cause=late", now)
                .unwrap_err()
                .contains("/api/v1/shutdowns")
        );
    }
}
