//! One line per shutdown, on the agent's own log: `logfmt`-like text, or JSON with flat keys.
//!
//! Names in it were chosen by other people. The text form writes every string in quotes and escapes
//! what is not printable, so that none of them can end the line or begin another.

use drainwatch_core::report::Report;

use super::summary::{Summary, is_warning};

/// The message of these lines, by which they are found.
pub const MESSAGE: &str = "shutdown";

/// Logs an ended shutdown: as a warning when requests were severed.
pub fn log(report: &Report) {
    let line = Summary::from(report);
    macro_rules! fields {
        ($level:ident, $($field:ident),*) => {
            tracing::$level!($($field = line.$field,)* "{MESSAGE}")
        };
    }
    macro_rules! line {
        ($level:ident) => {
            fields!(
                $level,
                id,
                node,
                workload_kind,
                namespace,
                workload,
                pod,
                container,
                trigger,
                reason,
                revision,
                verdict,
                started_at,
                ended_at,
                duration_ms,
                drain_ms,
                endpoint_lag_ms,
                deleted_at,
                grace_seconds,
                exit_code,
                exit_signal,
                signals,
                drained,
                failed,
                severed,
                aborted,
                destroyed,
                unknown,
                refused,
                refused_clients,
                opaque,
                probes,
                severed_unanswered,
                severed_truncated,
                severed_upload,
                severed_stream,
                severed_unaccepted,
                severed_late,
                severed_outbound,
                severed_unsent,
                webhooks_severed,
                maybe_taken_for_delivered,
                findings,
                events_lost
            )
        };
    }
    if is_warning(report) {
        line!(warn);
    } else {
        line!(info);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use drainwatch_core::{
        report::{Configured, Exit, Outcomes, Verdict},
        testing::report,
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What the agent's log has of this report.
    fn logged(report: &Report, json: bool) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let builder = tracing_subscriber::fmt()
            .with_target(false)
            .with_ansi(false)
            .with_writer(move || writer.clone());
        let run = || log(report);
        if json {
            tracing::subscriber::with_default(builder.json().flatten_event(true).finish(), run);
        } else {
            tracing::subscriber::with_default(builder.finish(), run);
        }
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn rich() -> Report {
        let mut report = report("r1", "/svc", Verdict::Severed);
        report.requests = Outcomes {
            drained: 4,
            failed: 3,
            severed: 8,
            aborted: 1,
            destroyed: 0,
            unknown: 2,
            opaque: 0,
        };
        // Every cause, so that every field is there.
        report.severed = drainwatch_core::report::Cause::ALL
            .iter()
            .map(|cause| (*cause, 1))
            .collect();
        report.drain_ms = Some(12.5);
        report.endpoint_lag_ms = Some(3.0);
        report.deleted_at = Some("2026-01-01T00:00:00Z".into());
        report.configured = Some(Configured {
            grace_seconds: Some(30.0),
            ..Configured::default()
        });
        report.workload.namespace = Some("shop".into());
        report.workload.pod = Some("p".into());
        report.workload.container = Some("c".into());
        report.exit = Some(Exit {
            pid: 1,
            code: Some(3),
            signal: Some(9),
        });
        report.timeline = vec![drainwatch_core::report::Moment {
            at_ms: 800.25,
            what: drainwatch_core::report::MomentKind::Emptied,
            detail: None,
            pid: None,
        }];
        report
    }

    #[test]
    fn given_a_shutdown_when_logged_as_json_then_the_line_has_every_field_of_the_summary_and_no_other() {
        let line = logged(&rich(), true);
        let mut object: serde_json::Map<_, _> = serde_json::from_str(&line).unwrap();
        assert_eq!(object.remove("level").unwrap(), "WARN");
        assert_eq!(object.remove("message").unwrap(), MESSAGE);
        assert!(object.remove("timestamp").is_some());
        assert_eq!(
            serde_json::Value::Object(object),
            serde_json::to_value(Summary::from(&rich())).unwrap()
        );
        let summary = serde_json::to_string(&Summary::from(&rich())).unwrap();
        assert!(summary.contains("\"severed\":8,") && summary.contains("\"drain_ms\":12.5,"));
        assert!(summary.contains("\"deleted_at\":\"2026-01-01T00:00:00Z\",\"grace_seconds\":30.0,"));
        assert!(summary.contains("\"duration_ms\":800.25,") && summary.contains("\"exit_code\":3,"));
    }

    #[test]
    fn given_a_clean_shutdown_when_logged_then_it_is_no_warning_and_what_is_not_known_is_left_away() {
        let line = logged(&report("r1", "/svc", Verdict::Clean), false);
        assert!(line.contains(" INFO shutdown id=\"r1\" node=\"n1\" "), "{line}");
        assert!(
            line.contains(" severed=0 ") && !line.contains("drain_ms"),
            "{line}"
        );
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn given_hostile_names_when_logged_then_there_is_one_line_and_no_field_of_theirs() {
        let evil = "x\" verdict=\"clean\n2026 WARN shutdown id=\"evil\x1b[2J\u{202e}\\";
        let mut report = report("r1", evil, Verdict::Severed);
        report.workload.pod = Some(evil.into());
        for json in [false, true] {
            let line = logged(&report, json);
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(line.ends_with('\n') && !line.contains('\x1b'), "{line}");
            if json {
                let object: serde_json::Value = serde_json::from_str(&line).unwrap();
                assert_eq!(
                    (&object["workload"], &object["verdict"]),
                    (&evil.into(), &"severed".into())
                );
            } else {
                assert!(!line.contains(" verdict=\"clean"), "{line}");
                assert!(line.contains(r#"workload="x\" verdict=\"clean\n2026"#), "{line}");
                assert!(!line.contains('\u{202e}'), "{line}");
            }
        }
    }
}
