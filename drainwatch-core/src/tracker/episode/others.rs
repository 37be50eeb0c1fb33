//! Requests at processes of the workload that nobody has told to end, kept apart until it shows whose they are.
//!
//! A whole workload is told to stop through its main process. Others of its processes serve on: children that the
//! main process tells by its own ways, children that nobody tells, or a successor that takes over (a binary upgrade,
//! a restart with `SO_REUSEPORT`). What the successor answers is nobody's drain.

use std::{collections::BTreeMap, sync::Arc};

use super::Tally;
use crate::{class::Classes, event::Connection, tracker::tally::Pair};

/// Most processes told apart; requests of others count at once.
const PROCESSES: usize = 64;

/// By process id; with when the newest connection of any of them came.
#[derive(Debug, Clone, Default)]
pub(in crate::tracker) struct Others {
    tallies: BTreeMap<u32, Tally>,
    newest_ns: u64,
    successors: bool,
}

impl Others {
    /// Where requests at this connection's process are counted; `None` where too many processes are told apart already.
    pub fn of(&mut self, connection: &Connection, classes: &Arc<Classes>) -> Option<&mut Tally> {
        let pid = connection.pid;
        self.newest_ns = self.newest_ns.max(connection.born_ns);
        if !self.tallies.contains_key(&pid) && self.tallies.len() >= PROCESSES {
            return None;
        }
        let new = || Tally::new(Arc::clone(classes));
        Some(self.tallies.entry(pid).or_insert_with(new))
    }

    /// Where a connection is counted that ended.
    pub fn knowing(&mut self, pair: &Pair) -> Option<&mut Tally> {
        self.tallies.values_mut().find(|tally| tally.knows(pair))
    }

    /// When the newest connection of any of them came.
    pub fn newest_ns(&self) -> u64 {
        self.newest_ns
    }

    /// This process ends too: what it held belongs to the shutdown.
    pub fn take(&mut self, pid: u32) -> Option<Tally> {
        self.tallies.remove(&pid)
    }

    /// All of them, whose processes end too.
    pub fn take_all(&mut self) -> impl Iterator<Item = Tally> + use<> {
        std::mem::take(&mut self.tallies).into_values()
    }

    /// They live on, and serve in place of who was told to end: what they held is none of the shutdown's business.
    pub fn hand_over(&mut self) {
        self.tallies.clear();
        self.successors = true;
    }

    /// Whether they took over.
    pub fn are_successors(&self) -> bool {
        self.successors
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.tallies.is_empty()
    }
}
