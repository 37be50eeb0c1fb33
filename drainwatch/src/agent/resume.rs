//! Going on where an earlier agent stopped, and finding out what nobody saw.
//!
//! What the journal holds is told to the tracker and to the metrics again, in the order in which it was told before; all
//! that follows from it follows again, and what the world was given already it is not given twice.

use std::collections::{BTreeMap, HashSet};

use drainwatch_core::{
    event::{Event, EventKind},
    report::Report,
    tracker::Effect,
};

use super::{Agent, journal::Past, source::Source};
use crate::outlets::sinks;

/// Events after which whoever wants to stop the agent is heard.
const WITHOUT_A_BREAK: u64 = 256;

impl<S: Source> Agent<S> {
    /// Tells the tracker what the journal holds. Says whether there was anything.
    pub(super) async fn resume(&mut self) -> bool {
        let Some(past) = self.past.take() else {
            self.mark_unfinished();
            return false;
        };
        let now_ns = self.source.clocks().0;
        if let Some(counters) = past.counters.clone() {
            self.metrics.restore(counters, self.source.resumed(), now_ns);
        }
        // An agent that could not write down what it read, or had another place for it, has left a gap.
        let gap = past
            .position
            .is_some_and(|position| !self.source.skip_to(position));
        self.missed |= gap;
        self.tracker.count_from(past.number);
        let mut open = BTreeMap::new();
        let mut count: u64 = 0;
        match past.events() {
            Ok(events) => {
                for event in events {
                    self.again(&event, &past, &mut open);
                    count += 1;
                    if count.is_multiple_of(WITHOUT_A_BREAK) {
                        tokio::task::yield_now().await;
                    }
                }
            }
            Err(error) => {
                tracing::error!(%error, "what the last agent knew is not known: its journal cannot be read");
            }
        }
        for (_, report) in open {
            let wall_ms = self.wall_ms();
            self.history.update(report, wall_ms);
        }
        self.mark_unfinished();
        if self.under_way().any() && (gap || !self.source.resumed()) {
            // Nobody recorded meanwhile, or what was recorded is not known.
            self.inject(EventKind::EventsLost {
                count: 1,
                until_ns: 0,
            });
        }
        if count > 0 {
            tracing::info!(
                events = count,
                under_way = self.history.under_way(),
                "went on where the last agent stopped"
            );
        }
        count > 0
    }

    fn again(&mut self, event: &Event, past: &Past, open: &mut BTreeMap<String, Box<Report>>) {
        self.tape(event);
        self.latest_ns = self.latest_ns.max(event.at_ns);
        self.metrics.observe(event);
        for effect in self.tracker.observe(event) {
            self.metrics.apply(&effect, event.at_ns);
            match effect {
                Effect::Updated(report) if !past.broken => {
                    open.insert(report.id.clone(), report);
                }
                Effect::Finished(report) if !past.broken => {
                    open.remove(&report.id);
                    self.finished_again(report, past);
                }
                Effect::Discarded { id } => {
                    open.remove(&id);
                    let now_ms = self.wall_ms();
                    self.history.discard(&id, now_ms);
                }
                other => self.mark(&other),
            }
        }
    }

    fn finished_again(&mut self, report: Box<Report>, past: &Past) {
        if !past.told.contains(&report.id) {
            self.finish(report);
            return;
        }
        let now_ms = self.wall_ms();
        // What was on its way to the disk when the last agent was killed is not there.
        if self.history.has_stored(&report.id) {
            self.history.remember(&report, now_ms);
        } else {
            self.history.finish(&report, now_ms);
        }
    }

    /// Reports of shutdowns that no agent will see the end of say so.
    fn mark_unfinished(&self) {
        match self.history.mark_unfinished() {
            Ok(0) => {}
            Ok(reports) => tracing::warn!(
                reports,
                "shutdowns were in progress when the last agent stopped; their reports say that their end was not seen"
            ),
            Err(error) => tracing::error!(%error, "the store cannot say which shutdowns had not ended"),
        }
    }

    /// Gives a report to everybody.
    pub(super) fn finish(&mut self, report: Box<Report>) {
        sinks::log::log(&report);
        let now_ms = self.wall_ms();
        self.history.finish(&report, now_ms);
        let report: std::sync::Arc<Report> = report.into();
        for sink in &self.sinks {
            sink.give(&report);
        }
        self.journal(|journal| journal.told(&report.id));
    }

    /// Finds out what nobody told: cgroups that came and went, and processes that ended, while the ring was full or no
    /// program was attached.
    pub(super) fn find_out(&mut self) {
        self.missed = false;
        // What was gone before the ring was read, and is not told there, is not told at all; and what was there both before
        // and after.
        let before = self.source.present();
        self.take_all();
        let present = self.source.present();
        let known: HashSet<u64> = self.tracker.cgroups().collect();
        let mut missed = Vec::new();
        for (&cgroup, path) in &present.cgroups {
            if before.cgroups.contains_key(&cgroup) && !known.contains(&cgroup) {
                missed.push(EventKind::CgroupCreated {
                    cgroup,
                    path: path.clone(),
                    seeded: true,
                });
            }
        }
        if let Some(processes) = &before.processes {
            let mut gone = self.tracker.waits_for();
            gone.retain(|process| !processes.contains(&process.pid));
            missed.extend(gone.into_iter().map(|process| EventKind::ProcessExited {
                process,
                code: None,
                signal: None,
                child: None,
                unix_listener: false,
            }));
        }
        for cgroup in self.tracker.draining_cgroups() {
            if before.empty.contains(&cgroup) && present.empty.contains(&cgroup) {
                missed.push(EventKind::CgroupEmptied { cgroup });
            }
        }
        for &cgroup in &known {
            if !before.cgroups.contains_key(&cgroup) && !present.cgroups.contains_key(&cgroup) {
                missed.push(EventKind::CgroupRemoved { cgroup });
            }
        }
        if !missed.is_empty() {
            tracing::info!(
                count = missed.len(),
                "cgroups and processes came or went unseen: found out now"
            );
        }
        for kind in missed {
            self.inject(kind);
        }
        self.stale = true;
    }
}
