//! One shutdown in one flat record: what the log line and the OTLP log record both say.

use drainwatch_core::{
    class::WEBHOOK,
    event::Disposition,
    report::{Cause, Report, Verdict},
};
use serde::Serialize;

/// One ended shutdown, flat: no value is an object or a list, and numbers are numbers. What is not
/// known, and causes that did not occur, are left away.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Id of the report: `drainwatch show ID` has the rest.
    pub id: String,
    /// Host name.
    pub node: String,
    /// Kind of the workload: `kubernetes`, `docker`, `systemd` and so on.
    pub workload_kind: String,
    /// Kubernetes namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the workload.
    pub workload: String,
    /// Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// How it ended.
    pub trigger: String,
    /// Why it was stopped, where the platform says so: `rollout`, `scale_down` and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was running: a hash of its configuration, or of a unit the id of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// How it went.
    pub verdict: String,
    /// First stop signal, or the unannounced end. RFC 3339.
    pub started_at: String,
    /// When the workload was gone, with the linger. RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// From `started_at` until the workload was gone, without the linger; absent where that was not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<f64>,
    /// First stop signal to the end of the last request that finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_ms: Option<f64>,
    /// First stop signal (of a pod: its deletion) to the last new arrival.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_lag_ms: Option<f64>,
    /// When the pod's deletion was asked for. RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<String>,
    /// Configured time from the beginning of the stop (of a pod: its deletion) to SIGKILL, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<f64>,
    /// Exit status of the main process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Number of the signal that ended the main process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_signal: Option<i64>,
    /// Signals in their order, each with what the process does about it: `SIGTERM:handled,SIGKILL:default`. At
    /// most eight.
    pub signals: String,
    /// Requests that finished during the shutdown.
    pub drained: u64,
    /// Requests answered with 5xx after the stop signal.
    pub failed: u64,
    /// Requests severed.
    pub severed: u64,
    /// Requests whose peer ended first.
    pub aborted: u64,
    /// Requests whose connection somebody else on the node had destroyed.
    pub destroyed: u64,
    /// Requests of which the evidence does not say.
    pub unknown: u64,
    /// Connection attempts that met a closed port, apart from requests.
    pub refused: u64,
    /// From how many addresses they came.
    pub refused_clients: u64,
    /// Connections whose protocol nobody reads; in no other number.
    pub opaque: u64,
    /// Health checks and scrapes, whatever became of them: in no other number.
    pub probes: u64,
    /// Of the severed: no byte of a response had left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severed_unanswered: Option<u64>,
    /// Of the severed: cut in the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severed_truncated: Option<u64>,
    /// Of the severed: cut in the request's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severed_upload: Option<u64>,
    /// Of the severed: long-lived streams cut without a goodbye.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severed_stream: Option<u64>,
    /// Of the severed: never accepted by the application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severed_unaccepted: Option<u64>,
    /// Of the severed: met a connection that was closed already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severed_late: Option<u64>,
    /// Of the severed: calls of the workload's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severed_outbound: Option<u64>,
    /// Of the severed: bytes that the peer never acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severed_unsent: Option<u64>,
    /// Severed webhooks, of the requests that the report lists.
    pub webhooks_severed: u64,
    /// Of these, those that their sender may take for delivered, and then never sends again.
    pub maybe_taken_for_delivered: u64,
    /// Codes of the findings, with commas.
    pub findings: String,
    /// Events that the kernel could not deliver.
    pub events_lost: u64,
}

/// Most signals named in one line.
const SIGNALS: usize = 8;

impl From<&Report> for Summary {
    fn from(report: &Report) -> Self {
        let workload = &report.workload;
        let exit = report.exit.as_ref();
        let signals: Vec<_> = report
            .signals
            .iter()
            .take(SIGNALS)
            .map(|seen| format!("{}:{}", seen.signal, word(seen.disposition)))
            .collect();
        let findings: Vec<_> = report
            .findings
            .iter()
            .map(|finding| finding.code.as_str())
            .collect();
        let webhooks = || {
            report
                .severed_requests
                .iter()
                .filter(|request| request.class == WEBHOOK)
        };
        let by = |cause: Cause| report.severed.get(&cause).copied();
        Self {
            id: report.id.clone(),
            node: report.node.clone(),
            workload_kind: workload.kind.clone(),
            namespace: workload.namespace.clone(),
            workload: workload.name.clone(),
            pod: workload.pod.clone(),
            container: workload.container.clone(),
            trigger: report.trigger.to_string(),
            reason: report.reason.map(|reason| reason.to_string()),
            revision: report.revision.id.clone(),
            verdict: report.verdict.to_string(),
            started_at: report.started_at.clone(),
            ended_at: report.ended_at.clone(),
            duration_ms: report.gone_ms(),
            drain_ms: report.drain_ms,
            endpoint_lag_ms: report.endpoint_lag_ms,
            deleted_at: report.deleted_at.clone(),
            grace_seconds: report
                .configured
                .as_ref()
                .and_then(|configured| configured.grace_seconds),
            exit_code: exit.and_then(|exit| exit.code).map(i64::from),
            exit_signal: exit.and_then(|exit| exit.signal).map(i64::from),
            signals: signals.join(","),
            drained: report.requests.drained,
            failed: report.requests.failed,
            severed: report.requests.severed,
            aborted: report.requests.aborted,
            destroyed: report.requests.destroyed,
            unknown: report.requests.unknown,
            refused: report.refused.attempts,
            refused_clients: report.refused.clients,
            opaque: report.requests.opaque,
            probes: report.probes,
            severed_unanswered: by(Cause::Unanswered),
            severed_truncated: by(Cause::Truncated),
            severed_upload: by(Cause::Upload),
            severed_stream: by(Cause::Stream),
            severed_unaccepted: by(Cause::Unaccepted),
            severed_late: by(Cause::Late),
            severed_outbound: by(Cause::Outbound),
            severed_unsent: by(Cause::Unsent),
            webhooks_severed: webhooks().count() as u64,
            maybe_taken_for_delivered: webhooks()
                .filter(|request| request.maybe_taken_for_delivered)
                .count() as u64,
            findings: findings.join(","),
            events_lost: report.events_lost,
        }
    }
}

fn word(disposition: Disposition) -> &'static str {
    match disposition {
        Disposition::Default => "default",
        Disposition::Handled => "handled",
        Disposition::Ignored => "ignored",
        Disposition::Blocked => "blocked",
    }
}

/// A severed request is what to be warned of.
pub fn is_warning(report: &Report) -> bool {
    report.verdict == Verdict::Severed
}
