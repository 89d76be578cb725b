//! What a store needs no more, dropped a few items at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Collections of which nobody reads anything more. To drop a large one at once takes long.
#[derive(Clone, Debug)]
pub(super) struct Remains<C>(Vec<C>);

impl<C: Droppable> Remains<C> {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn add(&mut self, collection: C) {
        if collection.count() > 0 {
            self.0.push(collection);
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many items are left.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.0.iter().map(Droppable::count).sum()
    }

    /// Drops up to `count_max` items; how many more might have been.
    pub(super) fn drop_some(&mut self, count_max: usize) -> usize {
        let mut left = count_max;
        while left > 0
            && let Some(last) = self.0.last_mut()
        {
            last.drop_one();
            left -= 1;
            if last.count() == 0 {
                self.0.pop();
            }
        }
        left
    }
}

/// A collection that can be dropped item by item.
pub(super) trait Droppable {
    fn count(&self) -> usize;
    fn drop_one(&mut self);
}

impl<T> Droppable for VecDeque<T> {
    fn count(&self) -> usize {
        self.len()
    }

    fn drop_one(&mut self) {
        self.pop_back();
    }
}

impl<T: Ord> Droppable for BTreeSet<T> {
    fn count(&self) -> usize {
        self.len()
    }

    fn drop_one(&mut self) {
        self.pop_first();
    }
}

impl<K: Ord, V> Droppable for BTreeMap<K, V> {
    fn count(&self) -> usize {
        self.len()
    }

    fn drop_one(&mut self) {
        self.pop_first();
    }
}
