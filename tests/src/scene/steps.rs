//! The steps of an ending.

use std::{fs, thread, time::Duration};

use anyhow::{Context as _, bail, ensure};
use nix::{sys::signal::kill, unistd::Pid};

use super::{PATIENCE, Scene};
use crate::{
    server,
    table::{Ask, Fate, Saw, Step, Who},
};

impl Scene<'_> {
    pub(super) fn pid_of(&self, who: Who) -> anyhow::Result<Pid> {
        match who {
            Who::Main => Ok(self.main),
            Who::Serving => {
                let events = fs::read_to_string(self.directory.join("events"))?;
                let by = events
                    .lines()
                    .filter_map(|line| line.strip_prefix("by "))
                    .next_back();
                Ok(Pid::from_raw(
                    by.context("no request was reported with its process")?
                        .trim()
                        .parse()?,
                ))
            }
            Who::Upstream => self.upstream.context("this server has no upstream"),
            Who::Child => {
                let all = self.cgroup.processes()?;
                let mut others = all
                    .iter()
                    .filter(|pid| **pid != self.main && Some(**pid) != self.upstream);
                match (others.next(), others.next()) {
                    (Some(child), None) => Ok(*child),
                    _ => bail!("not exactly one child of {}: {all:?}", self.main),
                }
            }
        }
    }

    pub(super) fn step(&mut self, step: Step) -> anyhow::Result<()> {
        match step {
            Step::Signal(who, signal) => {
                let pid = self.pid_of(who)?;
                self.signalled = Some(pid);
                kill(pid, signal).with_context(|| format!("cannot signal {pid}"))
            }
            Step::CgroupKill => Ok(self.cgroup.kill()?),
            Step::Tell(words) => self.tell(words),
            Step::Told => {
                let clock = self.world.clock;
                clock.until("the runtime to have done what it was told", PATIENCE, || {
                    self.has_done()
                })
            }
            Step::Poison => self.poison(),
            Step::Stopping => self.wait_event("stopping", ""),
            Step::ListenerClosed => {
                self.until("the listener to close", || {
                    // A drain that has nothing to wait for may be over already.
                    Ok(self
                        .cgroup
                        .processes()?
                        .first()
                        .is_none_or(|pid| !server::is_listening(*pid, self.port)))
                })
            }
            Step::During => (0..self.played.len()).try_for_each(|index| self.act_in_the_middle(index)),
            Step::Release => {
                fs::write(self.directory.join("release"), "")?;
                let patience = self.patience();
                for played in &mut self.played {
                    let answered = |ask: &Ask| {
                        matches!(ask.fate, Fate::Drained | Fate::Failed)
                            || (ask.fate == Fate::Probe && matches!(ask.saw, Saw::Complete(_)))
                    };
                    let drained = played.row.asks.iter().any(answered);
                    if let Some(connection) = played.connection.as_mut().filter(|_| drained) {
                        connection.settle(patience)?;
                        // Done: a client that stayed would hold drains that wait for it.
                        connection.leave(false)?;
                    }
                }
                Ok(())
            }
            Step::Grace(ms) => {
                // Not synchronisation: this is the grace period itself.
                thread::sleep(self.world.clock.stretch(Duration::from_millis(ms)));
                Ok(())
            }
            Step::Gone => {
                let clock = self.world.clock;
                clock.until("the workload to be gone", PATIENCE, || {
                    self.reap()?;
                    Ok(self.cgroup.is_empty())
                })
            }
            Step::SignalledGone => {
                let pid = self.signalled.context("nothing was signalled")?;
                self.wait_gone(pid)
            }
            Step::Note(who) => {
                self.noted = Some(self.pid_of(who)?);
                Ok(())
            }
            Step::NotedGone => {
                let pid = self.noted.context("nothing was noted")?;
                self.wait_gone(pid)
            }
            Step::TwoWorkers => self.until("a second worker beside the first", || {
                Ok(self.cgroup.processes()?.len() > 2)
            }),
            Step::MainGone => self.wait_gone(self.main),
            Step::WorkerGone => {
                self.until("a worker to be gone", || Ok(self.count_events("worker_gone") > 0))
            }
            Step::NewWorker => self.until("a second worker", || Ok(self.count_events("worker") > 1)),
        }
    }

    fn tell(&mut self, words: &[&str]) -> anyhow::Result<()> {
        let hosted = self.case.hosted.as_ref().context("no runtime runs this case")?;
        let name = &self.contained.as_ref().context("it was not started")?.name;
        let child = self.world.engine(hosted.engine)?.begin(words, name)?;
        self.told.push(child);
        Ok(())
    }

    fn has_done(&mut self) -> anyhow::Result<bool> {
        let mut done = true;
        for child in &mut self.told {
            match child.try_wait()? {
                Some(status) => ensure!(status.success(), "the runtime could not do it: {status}"),
                None => done = false,
            }
        }
        Ok(done)
    }

    /// Collects the ends of our own children, so that none stays a zombie.
    pub(super) fn reap(&mut self) -> anyhow::Result<()> {
        for child in &mut self.children {
            child.try_wait()?;
        }
        Ok(())
    }

    pub(super) fn wait_gone(&mut self, pid: Pid) -> anyhow::Result<()> {
        let clock = self.world.clock;
        clock.until(&format!("process {pid} to be gone"), PATIENCE, || {
            self.reap()?;
            Ok(!self.cgroup.processes()?.contains(&pid))
        })
    }
}
