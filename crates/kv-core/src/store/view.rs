//! A consistent view of a store, read while the store changes.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::{Bound, ControlFlow};

use super::changes::Differing;
use crate::key::Key;

/// Names a view of one store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewId(pub u64);

/// How far reading a view came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewRead {
    /// There may be more.
    More,
    /// That was all.
    End,
}

/// What a store held when the view was opened, as far as it has not been read.
#[derive(Clone, Debug)]
pub(super) struct View<T> {
    pub(super) id: ViewId,
    /// Every item of the store is part of it.
    all: bool,
    /// The keys that are part of it beside that, in a view of changes.
    differing: Option<Differing>,
    /// What keys held that have changed since, after `position` alone.
    kept: BTreeMap<Key, Option<T>>,
    /// The last key that was read.
    position: Option<Key>,
    has_ended: bool,
}

impl<T: Clone> View<T> {
    pub(super) const fn whole(id: ViewId) -> Self {
        Self::new(id, true, None)
    }

    pub(super) const fn of_changes(id: ViewId, differing: Differing) -> Self {
        Self::new(id, differing.all, Some(differing))
    }

    const fn new(id: ViewId, all: bool, differing: Option<Differing>) -> Self {
        let kept = BTreeMap::new();
        Self { id, all, differing, kept, position: None, has_ended: false }
    }

    pub(super) const fn is_of_changes(&self) -> bool {
        self.differing.is_some()
    }

    pub(super) fn kept_aside(&self) -> usize {
        self.kept.len()
    }

    /// The keys of a view of changes, once.
    pub(super) const fn take_differing(&mut self) -> Option<Differing> {
        self.differing.take()
    }

    /// What is kept aside, for a view that ends.
    pub(super) fn into_kept(self) -> BTreeMap<Key, Option<T>> {
        self.kept
    }

    /// Keeps aside what a key held that changes, if the view comes to it.
    pub(super) fn keep(&mut self, key: &Key, old: Option<&T>) {
        let is_passed = self.position.as_ref().is_some_and(|position| key <= position);
        if self.has_ended || is_passed || self.kept.contains_key(key) {
            return;
        }
        if self.all || self.differing.as_ref().is_some_and(|differing| differing.contains(key)) {
            self.kept.insert(key.clone(), old.cloned());
        }
    }

    pub(super) fn read(
        &mut self,
        items: &BTreeMap<Key, T>,
        visit: &mut impl FnMut(&Key, Option<&T>) -> ControlFlow<()>,
    ) -> ViewRead {
        if self.has_ended {
            return ViewRead::End;
        }
        let from = self.position.clone();
        let from = from.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = items.range::<Key, _>((from, Bound::Unbounded)).peekable();
        while let Some(key) = self.next_key(&mut rest) {
            let differs = self.differing.as_mut().is_some_and(|keys| keys.take(&key));
            let in_store = rest.next_if(|(next, _)| **next == key).map(|(_, item)| item);
            while self.kept.first_key_value().is_some_and(|(kept, _)| *kept < key) {
                self.kept.pop_first();
            }
            let kept = self.kept.remove(&key);
            let held = match &kept {
                Some(old) => old.as_ref(),
                None if self.all => in_store,
                None => items.get(&key),
            };
            if let Some(differing) = &mut self.differing
                && (!self.all || (differs && held.is_none()))
            {
                differing.note_read(key.clone());
            }
            // A key that was inserted after the view was opened is not part of it.
            let visited = if held.is_some() || differs { visit(&key, held) } else { CONTINUE };
            self.position = Some(key);
            if visited.is_break() {
                return ViewRead::More;
            }
        }
        self.kept.clear();
        self.has_ended = true;
        ViewRead::End
    }

    fn next_key<'a>(
        &self,
        rest: &mut Peekable<impl Iterator<Item = (&'a Key, &'a T)>>,
    ) -> Option<Key>
    where
        T: 'a,
    {
        let all = self.all.then(|| rest.peek().map(|(key, _)| *key)).flatten();
        let kept = self.all.then(|| self.kept.first_key_value().map(|(key, _)| key)).flatten();
        let differing = self.differing.as_ref().and_then(Differing::next);
        [all, kept, differing].into_iter().flatten().min().cloned()
    }
}

const CONTINUE: ControlFlow<()> = ControlFlow::Continue(());
