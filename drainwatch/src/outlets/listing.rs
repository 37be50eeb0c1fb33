//! Which shutdowns a listing asks for, and what it found of them.

use std::sync::Arc;

use drainwatch_core::report::{Report, Verdict};
use serde::Deserialize;

use crate::outlets::text::duration;

/// Most bytes of one listing; the rest is left to a narrower question.
const LISTING_BYTES: usize = 8 << 20;

/// What a listing asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Ended at this time (ms since the epoch) or later, or still under way.
    pub since_ms: Option<i64>,
    /// Name, `namespace/name`, cgroup path, or the last part of the name.
    pub workload: Option<String>,
    /// Verdict.
    pub verdict: Option<Verdict>,
    /// Most reports.
    pub limit: usize,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            since_ms: None,
            workload: None,
            verdict: None,
            limit: 100,
        }
    }
}

impl Filter {
    /// The report with this head is asked for, as far as workload and verdict go.
    pub fn takes(&self, head: &Head) -> bool {
        self.verdict.is_none_or(|verdict| verdict == head.verdict)
            && self
                .workload
                .as_ref()
                .is_none_or(|wanted| head.workload.is(wanted))
    }
}

/// The fields of a report that a [`Filter`] looks at.
#[derive(Debug, Clone, Deserialize)]
pub struct Head {
    /// Verdict.
    pub verdict: Verdict,
    /// Workload.
    pub workload: HeadWorkload,
}

/// The fields of a workload that a [`Filter`] looks at.
#[derive(Debug, Clone, Deserialize)]
pub struct HeadWorkload {
    namespace: Option<String>,
    name: String,
    cgroup: String,
}

impl HeadWorkload {
    fn is(&self, wanted: &str) -> bool {
        let qualified = || {
            let (namespace, name) = wanted.split_once('/')?;
            Some(self.namespace.as_deref() == Some(namespace) && self.name == name)
        };
        self.name == wanted
            || self.cgroup == wanted
            || self.name.rsplit('/').next() == Some(wanted)
            || qualified() == Some(true)
    }
}

impl From<&Report> for Head {
    fn from(report: &Report) -> Self {
        let workload = &report.workload;
        Self {
            verdict: report.verdict,
            workload: HeadWorkload {
                namespace: workload.namespace.clone(),
                name: workload.name.clone(),
                cgroup: workload.cgroup.clone(),
            },
        }
    }
}

/// Reports found, bounded in number and bytes.
#[derive(Debug)]
pub struct Matches {
    found: Vec<Arc<str>>,
    bytes: usize,
    limit: usize,
    more: bool,
}

impl Matches {
    /// None yet, at most `limit`.
    pub fn new(limit: usize) -> Self {
        Self {
            found: Vec::new(),
            bytes: 0,
            limit,
            more: false,
        }
    }

    /// Takes one in; `false` when there is no room, and the search may stop.
    pub fn push(&mut self, json: Arc<str>) -> bool {
        if self.found.len() >= self.limit || self.bytes.saturating_add(json.len()) > LISTING_BYTES {
            self.more = true;
            return false;
        }
        self.bytes += json.len();
        self.found.push(json);
        true
    }

    /// Not all could be looked at.
    pub fn cut(&mut self) {
        self.more = true;
    }

    /// There was no room for all, or not all could be looked at.
    pub fn more(&self) -> bool {
        self.more
    }

    /// The reports, as JSON.
    pub fn found(&self) -> &[Arc<str>] {
        &self.found
    }

    #[cfg(test)]
    pub(crate) fn ids(&self) -> Vec<String> {
        self.found
            .iter()
            .map(|json| serde_json::from_str::<Report>(json).unwrap().id)
            .collect()
    }
}

/// A time (RFC 3339), or how long ago (`15m`), as ms since the epoch.
pub fn since(text: &str, now: jiff::Timestamp) -> Result<i64, String> {
    // A `+` of a time zone that was not encoded arrives as a space.
    if let Ok(at) = text.replace(' ', "+").parse::<jiff::Timestamp>() {
        return Ok(at.as_millisecond());
    }
    let ago = duration(text).map_err(|_| {
        format!("since: `{text}` is neither a time such as 2026-01-01T00:00:00Z nor a duration such as 15m")
    })?;
    Ok(now
        .as_millisecond()
        .saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)))
}
