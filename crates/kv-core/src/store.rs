//! Where an engine keeps its state.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::key::Key;

/// A map from keys to what an engine keeps for each.
///
/// Engines reach their state through this trait alone, so that it may live elsewhere than in
/// memory one day.
pub trait Store<T> {
    /// What a key holds.
    fn get(&self, key: &Key) -> Option<&T>;

    /// Replaces what a key holds.
    fn insert(&mut self, key: Key, item: T);

    /// Removes a key.
    fn remove(&mut self, key: &Key);

    /// The keys after `after` (all of them for `None`), ascending, with what they hold.
    fn after<'a>(&'a self, after: Option<&'a Key>) -> impl Iterator<Item = (&'a Key, &'a T)>
    where
        T: 'a;

    /// How many keys there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A store in memory, in the order of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryStore<T> {
    items: BTreeMap<Key, T>,
}

impl<T> MemoryStore<T> {
    /// An empty store.
    #[must_use]
    pub const fn new() -> Self {
        Self { items: BTreeMap::new() }
    }
}

impl<T> Default for MemoryStore<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> FromIterator<(Key, T)> for MemoryStore<T> {
    /// Makes a store of many items at once, which is faster than to insert one after the other if
    /// their keys ascend. Of two with the same key the later one counts.
    fn from_iter<I: IntoIterator<Item = (Key, T)>>(items: I) -> Self {
        Self { items: items.into_iter().collect() }
    }
}

impl<T> IntoIterator for MemoryStore<T> {
    type Item = (Key, T);
    type IntoIter = std::collections::btree_map::IntoIter<Key, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<T> Store<T> for MemoryStore<T> {
    fn get(&self, key: &Key) -> Option<&T> {
        self.items.get(key)
    }

    fn insert(&mut self, key: Key, item: T) {
        self.items.insert(key, item);
    }

    fn remove(&mut self, key: &Key) {
        self.items.remove(key);
    }

    fn after<'a>(&'a self, after: Option<&'a Key>) -> impl Iterator<Item = (&'a Key, &'a T)>
    where
        T: 'a,
    {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.items.range::<Key, _>((from, Bound::Unbounded))
    }

    fn len(&self) -> usize {
        self.items.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_on_after_a_key_even_if_it_is_gone() {
        let key = |text: &'static str| Key::new(text).unwrap();
        let mut store = MemoryStore::new();
        for (n, name) in ["a", "b", "c"].into_iter().enumerate() {
            store.insert(key(name), n);
        }
        store.remove(&key("b"));
        let gone = key("b");
        let rest: Vec<_> = store.after(Some(&gone)).collect();
        assert_eq!(rest, [(&key("c"), &2)]);
        assert_eq!(store.after(None).count(), 2);
    }

    #[test]
    fn of_items_at_once_the_later_of_two_counts() {
        let key = |text: &'static str| Key::new(text).unwrap();
        let store: MemoryStore<_> =
            [(key("b"), 1), (key("a"), 2), (key("b"), 3)].into_iter().collect();
        let mut expected = MemoryStore::new();
        expected.insert(key("a"), 2);
        expected.insert(key("b"), 3);
        assert_eq!(store, expected);
    }
}
