//! What this process knows from its own latest doings, so that it need not ask the storage again.
//!
//! A memory with room for so many entries of so much weight: the ones that were not used for longest go. It is
//! never a source of truth. Whoever uses it can tell a stale entry, or does no harm with one.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// See the module.
pub(super) struct Recent<K, V> {
    entries: Mutex<Entries<K, V>>,
    most: usize,
    heaviest: usize,
}

struct Entries<K, V> {
    by_key: HashMap<K, Entry<V>>,
    /// Keys by the time of their last use, as a number that grows.
    by_use: BTreeMap<u64, K>,
    uses: u64,
    weight: usize,
}

struct Entry<V> {
    value: V,
    weight: usize,
    used: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> Recent<K, V> {
    /// An empty memory for at most `most` entries that weigh `heaviest` together.
    pub(super) fn new(most: usize, heaviest: usize) -> Self {
        let entries = Entries { by_key: HashMap::new(), by_use: BTreeMap::new(), uses: 0, weight: 0 };
        Self { entries: Mutex::new(entries), most, heaviest }
    }

    fn lock(&self) -> MutexGuard<'_, Entries<K, V>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a value in the place of an earlier one.
    pub(super) fn insert(&self, key: K, value: V, weight: usize) {
        let mut entries = self.lock();
        entries.remove(&key);
        if weight > self.heaviest {
            return;
        }
        let used = entries.next_use();
        entries.by_use.insert(used, key.clone());
        entries.by_key.insert(key, Entry { value, weight, used });
        entries.weight += weight;
        while entries.by_key.len() > self.most || entries.weight > self.heaviest {
            let Some((_, oldest)) = entries.by_use.pop_first() else { return };
            if let Some(entry) = entries.by_key.remove(&oldest) {
                entries.weight -= entry.weight;
            }
        }
    }

    /// A value, which counts as used.
    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let mut entries = self.lock();
        let now = entries.next_use();
        let Entries { by_key, by_use, .. } = &mut *entries;
        let entry = by_key.get_mut(key)?;
        let before = std::mem::replace(&mut entry.used, now);
        if let Some(key) = by_use.remove(&before) {
            by_use.insert(now, key);
        }
        Some(entry.value.clone())
    }

    /// Forgets a value.
    pub(super) fn remove<Q: Eq + Hash + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.lock().remove(key);
    }
}

impl<K: Eq + Hash, V> Entries<K, V> {
    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }

    fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        if let Some(entry) = self.by_key.remove(key) {
            self.weight -= entry.weight;
            self.by_use.remove(&entry.used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_is_forgotten() {
        let recent = Recent::new(3, 100);
        for key in ["a", "b", "c"] {
            recent.insert(key, key, 1);
        }
        assert_eq!(recent.get("a"), Some("a"));
        recent.insert("d", "d", 1);
        assert_eq!(["a", "b", "c", "d"].map(|key| recent.get(key).is_some()), [true, false, true, true]);
        recent.remove("c");
        assert!(recent.get("c").is_none());
    }

    #[test]
    fn weight_is_bounded_and_given_back() {
        let recent = Recent::new(100, 10);
        recent.insert(1, "six", 6);
        recent.insert(2, "four", 4);
        recent.insert(1, "one", 1);
        assert!(recent.get(&2).is_some(), "the weight of what was replaced is free again");
        recent.insert(3, "six", 6);
        assert_eq!([1, 2, 3].map(|key| recent.get(&key).is_some()), [false, true, true]);
        recent.insert(4, "too heavy", 11);
        assert!(recent.get(&4).is_none() && recent.get(&3).is_some());
    }
}
