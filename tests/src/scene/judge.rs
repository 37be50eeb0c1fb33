//! The ledger of a case, and drainwatch's account beside it.

use std::fs;

use anyhow::{Context as _, ensure};

use super::{Played, Scene};
use crate::{
    agent::{Agent, Report},
    client::Connection,
    compare::{self, Entry, Known},
    table::{Ask, Fate, From, Hops, Reports, Saw, Step},
};

impl Scene<'_> {
    /// The workload's series exist at 0 before anything happens to it.
    pub(super) fn wait_known(&self) -> anyhow::Result<()> {
        let Some(agent) = self
            .world
            .agent
            .as_ref()
            .filter(|_| !matches!(self.case.from, From::Running | From::Begun))
        else {
            return Ok(());
        };
        self.until(
            "drainwatch_severed_requests_total{workload} to exist at 0",
            || {
                let mine = self.series(agent, "drainwatch_severed_requests_total")?;
                ensure!(
                    mine.iter().all(|value| *value == 0.0),
                    "not 0 before the shutdown: {mine:?}"
                );
                Ok(!mine.is_empty())
            },
        )
    }

    pub(super) fn series(&self, agent: &Agent, name: &str) -> anyhow::Result<Vec<f64>> {
        let mine = |workload: &String| workload == self.cgroup.workload();
        let all = agent.metrics()?;
        let mine = all
            .iter()
            .filter(|s| s.name == name && s.labels.get("workload").is_some_and(mine));
        Ok(mine.map(|series| series.value).collect())
    }

    /// The ledger: every request of every connection.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let mut entries = vec![];
        for played in &self.played {
            let Played {
                row,
                requests,
                connection,
                prelude,
                ..
            } = played;
            let saw = connection.as_ref().map(Connection::saw).unwrap_or_default();
            let peer = connection
                .as_ref()
                .filter(|_| self.case.hops.peers_known())
                .map(|c| c.local);
            for (
                number,
                Ask {
                    saw: expected, fate, ..
                },
            ) in row.asks.iter().enumerate()
            {
                entries.push(Entry {
                    path: requests[number].path.clone(),
                    peer,
                    expected: *expected,
                    saw: saw.get(prelude + number).copied().unwrap_or(Saw::Unsent),
                    fate: *fate,
                    class: requests[number].act.class(),
                });
                if self.case.hops == Hops::CallsUpstream && matches!(fate, Fate::Severed(_)) {
                    let lost = entries.last().cloned();
                    entries.extend(lost.map(|lost| Entry {
                        peer: Some(self.upstream_address),
                        fate: Fate::Severed("outbound"),
                        ..lost
                    }));
                }
            }
        }
        entries
    }

    /// Waits for the report and compares.
    pub(super) fn judge(&mut self, agent: &Agent, entries: &[Entry]) -> anyhow::Result<()> {
        let expect = &self.case.expect;
        let known = Known {
            port: self.port,
            main: self.main.as_raw().cast_unsigned(),
            sees: agent.sees,
        };
        if expect.reports != Reports::One {
            // No report is expected of what happened; the report of the harness's own kill is the
            // proof that one would have come by now.
            self.cgroup.kill()?;
            self.step(Step::Gone)?;
        }
        let cgroup = self.cgroup.path().to_owned();
        let mut reports: Vec<Report> = vec![];
        let waited = self.until("the workload's report to end", || {
            reports = agent.reports(&cgroup)?;
            let none = expect.reports == Reports::AtMostOne && reports.is_empty();
            Ok(none || (!reports.is_empty() && reports.iter().all(|report| report.ended_at.is_some())))
        });
        if let Some(report) = reports.first() {
            fs::write(self.directory.join("report.json"), format!("{:#}\n", report.json))?;
        }
        waited.with_context(|| compare::table(entries, reports.first()))?;
        let mut wrong = vec![];
        if reports.len() > 1 {
            let triggers: Vec<_> = reports.iter().map(|report| &report.trigger).collect();
            wrong.push(format!("{} reports ({triggers:?}), must be one", reports.len()));
        }
        let Some(report) = reports.first() else {
            return Ok(());
        };
        if let (Some(hosted), Some(contained)) = (&self.case.hosted, &self.contained) {
            compare::names(self.case, hosted, contained, report, &mut wrong);
        }
        let entries = &compare::as_seen(entries, &known, report);
        wrong.extend(compare::report(self.case, entries, &known, report));
        let severed: f64 = self
            .series(agent, "drainwatch_severed_requests_total")?
            .iter()
            .sum();
        let must = compare::severed(entries);
        if severed.to_string() != must.to_string() {
            wrong.push(format!(
                "drainwatch_severed_requests_total sums to {severed}, must be {must}"
            ));
        }
        let shutdowns: f64 = self.series(agent, "drainwatch_shutdowns_total")?.iter().sum();
        if shutdowns.to_string() != "1" {
            wrong.push(format!(
                "drainwatch_shutdowns_total sums to {shutdowns}, must be 1"
            ));
        }
        for other in &self.others {
            for report in agent.reports(other.path())? {
                wrong.push(format!(
                    "INVENTED a shutdown ({}) of {}",
                    report.trigger,
                    other.path()
                ));
            }
        }
        ensure!(
            wrong.is_empty(),
            "drainwatch and the clients disagree\n    {}\n{}",
            wrong.join("\n    "),
            compare::table(entries, Some(report))
        );
        Ok(())
    }
}
