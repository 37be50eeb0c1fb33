//! What tests of this crate and of others begin with.

use std::collections::BTreeMap;

use crate::report::{Outcomes, RefusedAttempts, Report, Revision, Trigger, Verdict, Workload};

/// A report of a shutdown that ended, with nothing in it.
pub fn report(id: &str, workload: &str, verdict: Verdict) -> Report {
    Report {
        id: id.into(),
        node: "n1".into(),
        workload: Workload {
            kind: "cgroup".into(),
            namespace: None,
            name: workload.into(),
            pod: None,
            container: None,
            container_id: None,
            cgroup: workload.into(),
            controller: None,
            image: None,
        },
        trigger: Trigger::Stop,
        reason: None,
        revision: Revision::default(),
        verdict,
        started_at: "2026-01-01T00:00:00.000Z".into(),
        ended_at: Some("2026-01-01T00:00:01.000Z".into()),
        exit: None,
        signals: vec![],
        requests: Outcomes::default(),
        refused: RefusedAttempts::default(),
        unknown_reasons: BTreeMap::new(),
        opaque_connections: vec![],
        probes: 0,
        severed: BTreeMap::new(),
        severed_classes: BTreeMap::new(),
        severed_requests: vec![],
        severed_requests_omitted: 0,
        timeline: vec![],
        drained_requests: vec![],
        drain_ms: None,
        endpoint_lag_ms: None,
        still_arriving: false,
        unix_sockets: false,
        findings: vec![],
        events_lost: 0,
        configured: None,
        deleted_at: None,
        ready_at_stop: None,
    }
}
