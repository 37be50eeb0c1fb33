//! Why the evidence does not say what became of a request, or of a whole shutdown: in words.

use drainwatch_core::{
    exchange::Doubt,
    report::{MomentKind, Report, Verdict},
};

/// What a reason means.
pub fn meaning(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::HeadTooLong => "a head was longer than what is kept of it",
        Doubt::OlderThanAgent => "the connection was older than the agent, and nothing began on it since",
        Doubt::CloseDelimited => {
            "a response without a length ends with its connection: whether it was whole cannot be told"
        }
        Doubt::ChunkedEnd => "the end of a chunked response was not among the last bytes that are kept",
        Doubt::Gap => "bytes moved that could not be looked at (sendfile, splice, io_uring)",
        Doubt::Malformed => "a message contradicted itself, or broke off into something else",
        Doubt::Pipelined => "more requests were sent at once than are kept",
        Doubt::EarlyAnswer => "the rest of an upload that had been answered before its end",
        Doubt::End => "which side ended the connection cannot be told",
        Doubt::EventsLost => "events were lost on their way from the kernel: counts may be too low",
        Doubt::CutShort => "too many shutdowns were under way at once: it was finished before its end",
        Doubt::Job => {
            "a job that serves nobody, ended by a signal that it did not handle: how far it had come nobody knows"
        }
        Doubt::Status => {
            "it was answered, perhaps with an error: its status refers to what is not kept any more"
        }
        Doubt::Mptcp => "MPTCP at both ends, whose bytes were not recorded",
        Doubt::NoStorage => "the kernel had no memory for what was open on a connection of HTTP/2",
    }
}

/// The reasons of a report in a few words, such as `2 gap, agent_stopped`: empty where nothing is in doubt.
pub fn words(report: &Report) -> String {
    let mut words: Vec<_> = report
        .unknown_reasons
        .iter()
        .map(|(doubt, count)| match count {
            0 | 1 => doubt.to_string(),
            many => format!("{many} {doubt}"),
        })
        .collect();
    if report.first(MomentKind::AgentStopped).is_some() {
        words.push(MomentKind::AgentStopped.to_string());
    }
    if words.is_empty() && report.verdict == Verdict::Unknown {
        words.push(if report.requests.unknown > 0 {
            format!("{} requests", report.requests.unknown)
        } else {
            "its agent did not say why".into()
        });
    }
    words.join(", ")
}

/// The same as sentences, one for each reason.
pub fn sentences(report: &Report) -> Vec<String> {
    let mut sentences: Vec<_> = report
        .unknown_reasons
        .iter()
        .map(|(doubt, count)| {
            let count = match (doubt, count) {
                (Doubt::CutShort | Doubt::Job, _) => String::new(),
                (Doubt::EventsLost, count) => format!(" ({count})"),
                (_, 1) => " (1 request)".into(),
                (_, count) => format!(" ({count} requests)"),
            };
            format!("unknown, {doubt}{count}: {}", meaning(*doubt))
        })
        .collect();
    if report.first(MomentKind::AgentStopped).is_some() {
        sentences.push("the agent stopped before this shutdown had ended: the rest was not seen".into());
    }
    if sentences.is_empty() && report.verdict == Verdict::Unknown {
        sentences.push("why it is unknown its agent did not say: it was older than this command".into());
    }
    sentences
}

#[cfg(test)]
mod tests {
    use drainwatch_core::{report::Moment, testing::report};

    use super::*;

    #[test]
    fn given_an_unknown_shutdown_then_something_always_says_why() {
        let mut one = report("a", "/svc/a", Verdict::Unknown);
        assert!(!words(&one).is_empty() && !sentences(&one).is_empty());
        one.timeline.push(Moment {
            at_ms: 1.0,
            what: MomentKind::AgentStopped,
            detail: None,
            pid: None,
        });
        assert_eq!(words(&one), "agent_stopped");
        one.unknown_reasons = Doubt::ALL.iter().map(|doubt| (*doubt, 2)).collect();
        assert_eq!(sentences(&one).len(), Doubt::ALL.len() + 1);
        assert!(words(&one).starts_with("2 head_too_long, "));
        assert_eq!(words(&report("b", "/svc/a", Verdict::Clean)), "");
    }
}
