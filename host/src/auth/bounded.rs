//! A map that forgets what was not used lately, so that no client can fill the memory with it.
//!
//! Two generations: what is used goes to the young one, and when that is full, the old one is dropped and
//! the young one grows old.

use std::{collections::HashMap, hash::Hash, mem};

/// At most twice `limit` entries.
#[derive(Debug)]
pub(super) struct Bounded<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    limit: usize,
}

impl<K: Eq + Hash, V> Bounded<K, V> {
    pub(super) fn new(limit: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), limit }
    }

    /// An entry, which counts as used.
    pub(super) fn get(&mut self, key: K) -> Option<&mut V> {
        if !self.young.contains_key(&key) {
            let value = self.old.remove(&key)?;
            self.insert_new(key, value).into()
        } else {
            self.young.get_mut(&key)
        }
    }

    /// An entry without using it.
    pub(super) fn peek(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Puts an entry in the place of an earlier one.
    pub(super) fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        self.insert_new(key, value);
    }

    fn insert_new(&mut self, key: K, value: V) -> &mut V {
        if self.young.len() >= self.limit {
            self.old = mem::take(&mut self.young);
        }
        let entry = self.young.entry(key).insert_entry(value);
        entry.into_mut()
    }

    /// Forgets an entry.
    pub(super) fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let mut map = Bounded::new(10);
        map.insert(0, "used");
        for key in 1..1000 {
            map.insert(key, "not used");
            assert_eq!(map.get(0).copied(), Some("used"), "after {key}");
        }
        assert!(map.peek(&1).is_none() && map.young.len() + map.old.len() <= 20);
    }
}
