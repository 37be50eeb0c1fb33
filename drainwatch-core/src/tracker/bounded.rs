//! A map that forgets its oldest entries: nothing in the tracker may grow with traffic.

use std::collections::{BTreeMap, VecDeque};

/// A map of at most `limit` entries; inserting into a full one drops the one inserted first.
#[derive(Debug, Clone)]
pub(super) struct Recent<K, V> {
    entries: BTreeMap<K, V>,
    order: VecDeque<K>,
    limit: usize,
}

impl<K: Ord + Clone, V> Recent<K, V> {
    pub fn new(limit: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            order: VecDeque::new(),
            limit,
        }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    /// For changing an entry that is there already.
    pub fn entry_if_known(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    pub fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// The entry of this key, made by `new` when there is none.
    pub fn entry(&mut self, key: &K, new: impl FnOnce() -> V) -> &mut V {
        if !self.entries.contains_key(key) {
            while self.entries.len() >= self.limit.max(1) {
                let Some(oldest) = self.order.pop_front() else {
                    break;
                };
                self.entries.remove(&oldest);
            }
            self.order.push_back(key.clone());
        }
        self.entries.entry(key.clone()).or_insert_with(new)
    }

    pub fn insert(&mut self, key: &K, value: V) {
        self.remove(key);
        self.entry(key, || value);
    }

    /// Takes out the entry inserted first, when there is no room for one more.
    pub fn make_room(&mut self) -> Option<(K, V)> {
        if self.entries.len() < self.limit.max(1) {
            return None;
        }
        let oldest = self.order.pop_front()?;
        let value = self.entries.remove(&oldest)?;
        Some((oldest, value))
    }

    /// Slow for a large map: it searches the order of insertion.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let removed = self.entries.remove(key)?;
        self.order.retain(|other| other != key);
        Some(removed)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter()
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entry_makes_room() {
        let mut map = Recent::new(2);
        map.insert(&1, 'a');
        map.insert(&2, 'b');
        *map.entry(&1, || 'x') = 'c';
        map.insert(&3, 'd');
        assert_eq!(map.iter().collect::<Vec<_>>(), [(&2, &'b'), (&3, &'d')]);
    }

    #[test]
    fn a_removed_entry_leaves_room() {
        let mut map = Recent::new(2);
        map.insert(&1, 'a');
        map.insert(&2, 'b');
        assert_eq!(map.remove(&1), Some('a'));
        map.insert(&3, 'c');
        map.insert(&2, 'd');
        assert_eq!(map.iter().collect::<Vec<_>>(), [(&2, &'d'), (&3, &'c')]);
        assert!(map.contains(&3) && map.get(&1).is_none());
    }
}
