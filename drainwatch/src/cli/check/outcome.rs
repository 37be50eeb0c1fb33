//! What a check found, for people, programs and CI.

use std::{fmt::Write as _, io};

use drainwatch_core::{
    report::{Report, Verdict},
    workload::text::clean,
};

use super::traffic::Account;
use crate::{
    cli::{
        args::CheckFormat,
        colour,
        failure::{Exit, Failure},
        print, print_json, render, width,
    },
    outlets::{brief, doubts},
};

/// The report, and what the clients saw where they were ours.
pub struct Outcome {
    pub report: Report,
    pub seen: Option<Account>,
}

impl Outcome {
    /// Prints it.
    pub fn print(&self, format: CheckFormat) -> Result<(), Failure> {
        match format {
            CheckFormat::Text => {
                let report = render::report(&self.report, width(), colour(&io::stdout()));
                print(&format!("{report}{}", self.compared()))
            }
            CheckFormat::Json => print_json(
                &serde_json::json!({
                    "fit": self.wrong().is_none(),
                    "why": self.wrong(),
                    "report": self.report,
                    "clients": self.seen,
                }),
                true,
            ),
            CheckFormat::Junit => print(&self.junit()),
            CheckFormat::Github => print(&self.github()),
        }
    }

    /// An error where the service is not fit to be deployed, or nobody knows.
    pub fn judge(&self) -> Result<(), Failure> {
        let Some(why) = self.wrong() else { return Ok(()) };
        let exit = if self.lost() {
            Exit::Unfit
        } else {
            Exit::NotChecked
        };
        Err(Failure::new(exit, why))
    }

    /// Somebody lost something, as the report or the clients have it.
    fn lost(&self) -> bool {
        let seen = self.seen.unwrap_or_default();
        matches!(self.report.verdict, Verdict::Severed | Verdict::Refused) || seen.cut + seen.failed > 0
    }

    /// What is wrong, in one sentence.
    fn wrong(&self) -> Option<String> {
        let report = &self.report;
        let cut = self.seen.map_or(0, |seen| seen.cut);
        match report.verdict {
            Verdict::Severed => Some(format!(
                "not fit: its shutdown cut requests: {}",
                brief::severed_counts(report)
            )),
            Verdict::Refused => {
                let turned = brief::turned_away(report).unwrap_or_default();
                Some(format!("not fit: its shutdown turned clients away: {turned}"))
            }
            _ if self.lost() => Some(format!(
                "not fit: clients lost requests that the kernel's evidence does not show ({cut} cut); `drainwatch doctor` \
                 says what this kernel does not tell"
            )),
            Verdict::Unknown => Some(format!(
                "nobody knows: no loss was seen, but evidence is missing ({})",
                doubts::words(report)
            )),
            Verdict::Clean => None,
        }
    }

    /// Whether the clients saw the same.
    fn compared(&self) -> String {
        let Some(seen) = self.seen else {
            return String::new();
        };
        let Account {
            sent,
            answered,
            failed,
            cut,
            refused,
        } = seen;
        let requests = &self.report.requests;
        // Refused attempts are for comparing by eye: not every kernel tells them.
        let agree = if (cut, failed) == (requests.severed, requests.failed) {
            "✓ both agree"
        } else {
            "✗ they differ"
        };
        format!(
            "\nclients saw: {sent} sent, {answered} answered ({failed} with 5xx after the stop), {cut} cut, {refused} refused\n\
             drainwatch:  {} severed, {} failed, {} refused {agree}\n",
            requests.severed, requests.failed, self.report.refused.attempts
        )
    }

    fn junit(&self) -> String {
        let seconds = self.report.gone_ms().unwrap_or(0.0) / 1000.0;
        let failure = self.wrong().map_or_else(String::new, |why| {
            let text = self.advice().join("\n");
            format!(
                "\n    <failure message=\"{}\">{}</failure>\n  ",
                escaped(&why),
                escaped(&text)
            )
        });
        let failures = u8::from(self.wrong().is_some());
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"drainwatch\" tests=\"1\" failures=\"{failures}\">\n  \
             <testcase classname=\"drainwatch.check\" name=\"shutdown\" time=\"{seconds:.3}\">{failure}</testcase>\n</testsuite>\n"
        )
    }

    /// Annotations of a GitHub workflow.
    fn github(&self) -> String {
        let Some(why) = self.wrong() else {
            return "::notice title=drainwatch::fit: nobody lost a request as it was stopped\n".into();
        };
        let mut lines = format!("::error title=drainwatch::{}\n", one_line(&why));
        for advice in self.advice() {
            let _ = writeln!(lines, "::warning title=drainwatch::{}", one_line(&advice));
        }
        lines
    }

    fn advice(&self) -> Vec<String> {
        let findings = self.report.findings.iter();
        findings
            .map(|finding| {
                format!(
                    "{}: {} {}",
                    finding.code,
                    clean(&finding.summary),
                    clean(&finding.advice)
                )
            })
            .collect()
    }
}

/// Text of an XML document, in an attribute or not.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// The value of a workflow command.
fn one_line(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use drainwatch_core::{
        report::{Finding, FindingCode},
        testing::report,
    };

    use super::*;

    fn outcome(verdict: Verdict, cut: u64) -> Outcome {
        let mut report = report("a", "/check", verdict);
        report.requests.severed = cut;
        if cut > 0 {
            report.findings = vec![Finding {
                code: FindingCode::NoHandler,
                summary: "no handler for SIGTERM & <more>".into(),
                advice: "Install one.".into(),
            }];
        }
        let seen = Some(Account {
            sent: 9,
            answered: 9 - cut,
            cut,
            ..Account::default()
        });
        Outcome { report, seen }
    }

    #[test]
    fn given_what_was_found_then_the_exit_code_says_fit_unfit_or_not_known() {
        assert_eq!(outcome(Verdict::Clean, 0).judge(), Ok(()));
        let exit = |outcome: Outcome| outcome.judge().unwrap_err().exit;
        assert_eq!(exit(outcome(Verdict::Severed, 2)), Exit::Unfit);
        assert_eq!(exit(outcome(Verdict::Refused, 0)), Exit::Unfit);
        assert_eq!(exit(outcome(Verdict::Unknown, 0)), Exit::NotChecked);
        let mut unseen = outcome(Verdict::Clean, 0);
        unseen.seen = Some(Account {
            cut: 1,
            ..Account::default()
        });
        assert_eq!(exit(unseen), Exit::Unfit, "the client is the oracle");
    }

    #[test]
    fn given_ci_when_told_then_each_has_its_own_form() {
        let bad = outcome(Verdict::Severed, 2);
        let junit = bad.junit();
        assert!(
            junit.contains("failures=\"1\"") && junit.contains("SIGTERM &amp; &lt;more&gt;"),
            "{junit}"
        );
        let github = bad.github();
        assert!(
            github.starts_with("::error title=drainwatch::not fit: its shutdown cut requests: 2 severed\n"),
            "{github}"
        );
        assert!(
            github.contains("::warning title=drainwatch::no_handler: "),
            "{github}"
        );
        let good = outcome(Verdict::Clean, 0);
        assert!(good.junit().contains("failures=\"0\"") && !good.junit().contains("<failure"));
        assert!(good.compared().contains("✓ both agree"));
        assert!(good.github().starts_with("::notice"));
    }
}
