//! By what shutdowns are looked for at each event.
//!
//! Whoever gets at a shutdown to change it is noted ([`Index::touch`]); until the index has followed ([`Index::settle`]),
//! those are looked at whatever it says.

use std::collections::{BTreeMap, BTreeSet};

use super::{Agenda, Episode, Scope};
use crate::workload::tenant::Tenant;

type Numbers = BTreeSet<u64>;

/// In which order those of a tenant are finished where there is no room: what is over first, then what was quiet for longest.
type Rank = (bool, u64);

/// Numbers of shutdowns by what is asked for.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// What may be wrong here.
    touched: Numbers,
    /// Those that have met a process of this id.
    met: BTreeMap<u32, Numbers>,
    /// Those that need this process's mark.
    marked: BTreeMap<u32, Numbers>,
    /// Those whose first process is a child of this one.
    children: BTreeMap<u32, Numbers>,
    /// Those of whole workloads.
    whole: Numbers,
    /// Those of each tenant, in the order in which they can be spared.
    crowds: BTreeMap<Tenant, BTreeSet<(Rank, u64)>>,
    /// When the next thing becomes of each by itself.
    expiring: Agenda,
    entries: BTreeMap<u64, Entry>,
}

/// Where a shutdown stands above.
#[derive(Debug, Default)]
struct Entry {
    met: Vec<u32>,
    marked: Vec<u32>,
    child: Option<(u32, u64)>,
    crowd: Option<(Tenant, (Rank, u64))>,
}

impl Index {
    /// What is said of this one may be wrong from now on.
    pub fn touch(&mut self, number: u64) {
        self.touched.insert(number);
    }

    /// Brings it up to date.
    pub fn settle(&mut self, episodes: &mut BTreeMap<u64, Episode>) {
        for number in std::mem::take(&mut self.touched) {
            match episodes.get_mut(&number) {
                Some(episode) => self.follow(number, episode),
                None => self.forget(number),
            }
        }
    }

    fn follow(&mut self, number: u64, episode: &mut Episode) {
        let entry = self.entries.entry(number).or_default();
        for pid in episode.take_met() {
            self.met.entry(pid).or_default().insert(number);
            entry.met.push(pid);
        }
        for pid in episode.take_marked() {
            self.marked.entry(pid).or_default().insert(number);
            entry.marked.push(pid);
        }
        let child = episode
            .members()
            .first()
            .map(|first| (first.process().parent, number));
        move_to(&mut self.children, &mut entry.child, child);
        let rank = (episode.gone_ns().is_none(), episode.last_activity_ns());
        let crowd = (Tenant::of(episode.workload()), (rank, number));
        move_to(&mut self.crowds, &mut entry.crowd, Some(crowd));
        if episode.scope() == Scope::Workload {
            self.whole.insert(number);
        } else {
            self.whole.remove(&number);
        }
        self.expiring.set(number, Some(episode.due_ns()));
    }

    fn forget(&mut self, number: u64) {
        let Some(mut entry) = self.entries.remove(&number) else {
            return;
        };
        for pid in entry.met {
            leave(&mut self.met, &pid, &number);
        }
        for pid in entry.marked {
            leave(&mut self.marked, &pid, &number);
        }
        move_to(&mut self.children, &mut entry.child, None);
        move_to(&mut self.crowds, &mut entry.crowd, None);
        self.whole.remove(&number);
        self.expiring.set(number, None);
    }

    fn or_touched(&self, numbers: Option<&Numbers>) -> Numbers {
        let numbers = numbers.into_iter().flatten();
        numbers.chain(&self.touched).copied().collect()
    }

    /// Those that may have met this process.
    pub fn met(&self, pid: u32) -> Numbers {
        self.or_touched(self.met.get(&pid))
    }

    /// Those that may need this process's mark.
    pub fn marked(&self, pid: u32) -> Numbers {
        self.or_touched(self.marked.get(&pid))
    }

    /// Those whose first process may be a child of this one.
    pub fn children(&self, parent: u32) -> Numbers {
        self.or_touched(self.children.get(&parent))
    }

    /// Those that may be of whole workloads.
    pub fn whole(&self) -> Numbers {
        self.or_touched(Some(&self.whole))
    }

    /// The one to finish early: of the tenant with the most one that is over, else the one that was quiet for longest.
    pub fn spare(&self) -> Option<u64> {
        let largest = self.crowds.values().max_by_key(|crowd| crowd.len())?;
        largest.first().map(|(_, number)| *number)
    }

    /// Those of which something may become by itself by now.
    pub fn due(&self, now_ns: u64) -> Numbers {
        let due = self.expiring.due(now_ns);
        due.chain(self.touched.iter().copied()).collect()
    }

    /// When something may become of any other.
    pub fn next_ns(&self, now_ns: u64) -> Option<u64> {
        self.expiring.after(now_ns)
    }
}

/// What stood at one place stands at another one now.
fn move_to<K: Ord + Clone, N: Ord + Copy>(
    index: &mut BTreeMap<K, BTreeSet<N>>,
    place: &mut Option<(K, N)>,
    now: Option<(K, N)>,
) {
    if *place == now {
        return;
    }
    if let Some((key, what)) = place.take() {
        leave(index, &key, &what);
    }
    if let Some((key, what)) = &now {
        index.entry(key.clone()).or_default().insert(*what);
    }
    *place = now;
}

fn leave<K: Ord, N: Ord>(index: &mut BTreeMap<K, BTreeSet<N>>, key: &K, what: &N) {
    if let Some(all) = index.get_mut(key) {
        all.remove(what);
        if all.is_empty() {
            index.remove(key);
        }
    }
}
