//! Which events still say something about the present: those that a tracker must be told that has seen nothing.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use drainwatch_core::{
    description::{Origin, Subject},
    event::{Event, EventKind},
};

/// Whether an event can say so at all, or takes back what another one said.
pub fn may_stand(event: &Event) -> bool {
    matches!(
        event.kind,
        EventKind::Tick { .. }
            | EventKind::CgroupCreated { .. }
            | EventKind::CgroupRemoved { .. }
            | EventKind::NamesExpected { .. }
            | EventKind::Described(_)
            | EventKind::Undescribed(_)
            | EventKind::ListenerOpened(_)
            | EventKind::ListenerClosed(_)
    )
}

/// Numbers of the lines that say what holds now.
#[derive(Debug, Default)]
pub struct Standing {
    tick: Option<usize>,
    cgroups: HashMap<u64, usize>,
    origins: HashMap<Origin, usize>,
    described: HashMap<Subject, usize>,
    listeners: HashMap<(u32, SocketAddr), (u64, Vec<usize>)>,
}

impl Standing {
    /// The event in this line, after all before it.
    pub fn take(&mut self, line: usize, event: &Event) {
        match &event.kind {
            EventKind::Tick { .. } => self.tick = Some(line),
            EventKind::CgroupCreated { cgroup, .. } => {
                self.cgroups.insert(*cgroup, line);
            }
            EventKind::CgroupRemoved { cgroup } => {
                self.cgroups.remove(cgroup);
                self.listeners.retain(|_, (of, _)| of != cgroup);
            }
            EventKind::NamesExpected { origin } => {
                self.origins.insert(*origin, line);
            }
            EventKind::Described(description) => {
                self.described.insert(description.subject(), line);
            }
            EventKind::Undescribed(subject) => {
                self.described.remove(subject);
            }
            EventKind::ListenerOpened(listener) => {
                let key = (listener.netns, listener.local);
                let (of, lines) = self.listeners.entry(key).or_default();
                *of = listener.process.cgroup;
                // Every agent that finds it tells of it.
                if lines.is_empty() || !listener.found {
                    lines.push(line);
                }
            }
            EventKind::ListenerClosed(listener) => {
                let key = (listener.netns, listener.local);
                if let Some((_, lines)) = self.listeners.get_mut(&key) {
                    lines.pop();
                    if lines.is_empty() || listener.still_open == 0 {
                        self.listeners.remove(&key);
                    }
                }
            }
            _ => {}
        }
    }

    /// Those lines.
    pub fn lines(self) -> HashSet<usize> {
        let listeners = self.listeners.into_values().flat_map(|(_, lines)| lines);
        self.tick
            .into_iter()
            .chain(self.cgroups.into_values())
            .chain(self.origins.into_values())
            .chain(self.described.into_values())
            .chain(listeners)
            .collect()
    }
}
