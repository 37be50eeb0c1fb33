//! When to look at what again.

use std::collections::{BTreeMap, BTreeSet};

/// Numbers, each with at most one time.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    times: BTreeMap<u64, u64>,
    in_order: BTreeSet<(u64, u64)>,
}

impl Agenda {
    /// Look at this one then, and at no other time; `None`: not at all.
    pub fn set(&mut self, number: u64, at_ns: Option<u64>) {
        let before = match at_ns {
            Some(at_ns) => self.times.insert(number, at_ns),
            None => self.times.remove(&number),
        };
        if before == at_ns {
            return;
        }
        if let Some(before) = before {
            self.in_order.remove(&(before, number));
        }
        if let Some(at_ns) = at_ns {
            self.in_order.insert((at_ns, number));
        }
    }

    /// Those whose time has come, which stay on it.
    pub fn due(&self, now_ns: u64) -> impl Iterator<Item = u64> {
        self.in_order
            .range(..=(now_ns, u64::MAX))
            .map(|(_, number)| *number)
    }

    /// The earliest time after this one.
    pub fn after(&self, now_ns: u64) -> Option<u64> {
        let later = self.in_order.range((now_ns, u64::MAX)..);
        later.map(|(at_ns, _)| *at_ns).find(|at_ns| *at_ns > now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_times_when_they_come_then_each_number_is_due_at_the_last_time_that_was_set() {
        let mut agenda = Agenda::default();
        agenda.set(1, Some(30));
        agenda.set(2, Some(10));
        agenda.set(3, Some(20));
        agenda.set(1, Some(5));
        agenda.set(3, None);
        agenda.set(4, None);
        let due = |agenda: &Agenda, now_ns| agenda.due(now_ns).collect::<Vec<_>>();
        assert!(due(&agenda, 4).is_empty());
        assert_eq!(due(&agenda, 10), [1, 2]);
        agenda.set(1, Some(11));
        assert_eq!(due(&agenda, 10), [2]);
        assert_eq!(due(&agenda, u64::MAX), [2, 1]);
        let after: Vec<_> = [9, 10, 11].map(|now_ns| agenda.after(now_ns)).into();
        assert_eq!(after, [Some(10), Some(11), None]);
    }
}
