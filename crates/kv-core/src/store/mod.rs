//! Where an engine keeps its state.

mod changes;
mod remains;
mod view;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::{Bound, ControlFlow};

use crate::cluster::id::PersistSeq;
use crate::key::Key;
use changes::Changes;
use remains::Remains;
use view::View;

pub use view::{ViewId, ViewRead};

/// A map from keys to what an engine keeps for each, in the order of the keys, of which consistent
/// views are read piece by piece while it changes.
///
/// No copy of the map is made for a view: an item that changes before a view has come to it is kept
/// aside for that view until it has passed. So a view costs memory for what changes meanwhile, and
/// opening or closing one takes no time worth speaking of, however large the map is: what there is
/// to do after a view is put off, and done a few items at a time by [`Store::tidy`], and a little
/// with each change.
///
/// The store knows which keys differ from the checkpoint on disk, so that the next checkpoint is a
/// view of those alone. Nothing is tracked before the first checkpoint: then all keys differ.
#[derive(Clone, Debug)]
pub struct Store<T> {
    items: BTreeMap<Key, T>,
    changes: Changes,
    views: Vec<View<T>>,
    last_view: ViewId,
    /// What is left of a state that was replaced.
    replaced: BTreeMap<Key, T>,
    /// What was kept aside for views that have ended.
    unread: Remains<BTreeMap<Key, Option<T>>>,
}

impl<T: Clone> Store<T> {
    /// An empty store, with no checkpoint on disk.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            items: BTreeMap::new(),
            changes: Changes::new(),
            views: Vec::new(),
            last_view: ViewId(0),
            replaced: BTreeMap::new(),
            unread: Remains::new(),
        }
    }

    /// Notes that the checkpoint on disk holds just what the store holds.
    pub fn note_recovered(&mut self) {
        self.changes = Changes::recovered();
    }

    /// What a key holds.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&T> {
        self.items.get(key)
    }

    /// Replaces what a key holds.
    pub fn insert(&mut self, key: Key, item: T) {
        self.insert_if(key, item, |_, _| true);
    }

    /// Replaces what a key holds if `wins` says so of what it holds now; whether it did.
    pub fn insert_if(
        &mut self,
        key: Key,
        item: T,
        wins: impl FnOnce(&T, Option<&T>) -> bool,
    ) -> bool {
        self.unread.drop_some(DROPPED_WITH_A_CHANGE);
        match self.items.entry(key) {
            Entry::Vacant(place) => {
                if !wins(&item, None) {
                    return false;
                }
                self.changes.note(place.key(), true);
                self.views.iter_mut().for_each(|view| view.keep(place.key(), None));
                place.insert(item);
            }
            Entry::Occupied(mut place) => {
                if !wins(&item, Some(place.get())) {
                    return false;
                }
                self.changes.note(place.key(), true);
                self.views.iter_mut().for_each(|view| view.keep(place.key(), Some(place.get())));
                place.insert(item);
            }
        }
        true
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &Key) {
        self.unread.drop_some(DROPPED_WITH_A_CHANGE);
        self.changes.note(key, false);
        let old = self.items.remove(key);
        self.views.iter_mut().for_each(|view| view.keep(key, old.as_ref()));
    }

    /// The keys after `after` (all of them for `None`), ascending, with what they hold.
    pub fn after<'a>(&'a self, after: Option<&'a Key>) -> impl Iterator<Item = (&'a Key, &'a T)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.items.range::<Key, _>((from, Bound::Unbounded))
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Takes the items of another store in place of its own. All views end: they read as gone.
    ///
    /// The old items are let go by [`Store::tidy`], since that takes time for a large store.
    pub fn replace(&mut self, next: Self) {
        self.drop_replaced(usize::MAX);
        while let Some(view) = self.views.first().map(|view| view.id) {
            self.close_view(view);
        }
        self.replaced = std::mem::replace(&mut self.items, next.items);
        self.changes.note_replaced();
    }

    /// Lets go of about `count_max` items that are not needed: of a state that was replaced, and of
    /// views that have ended. Whether some are left.
    pub fn tidy(&mut self, count_max: usize) -> bool {
        let left = self.drop_replaced(count_max);
        let left = self.unread.drop_some(left);
        self.changes.tidy(left);
        self.is_untidy()
    }

    /// Whether [`Store::tidy`] has something to do.
    #[must_use]
    pub fn is_untidy(&self) -> bool {
        !self.replaced.is_empty() || !self.unread.is_empty() || self.changes.is_untidy()
    }

    /// Opens a view of everything.
    pub fn open_whole(&mut self) -> ViewId {
        self.open(View::whole)
    }

    /// Opens a view of what differs from the checkpoint on disk, for the checkpoint that covers the
    /// records up to `covers`. With it comes about how many keys it has. `None` while
    /// [`Store::tidy`] has something to do that it waits for, of which each call does a share: a
    /// state that was replaced, or a view of changes that ended before.
    ///
    /// One that was opened before and is not known to be on disk is part of it.
    pub fn open_changes(&mut self, covers: PersistSeq) -> Option<(ViewId, usize)> {
        if !self.replaced.is_empty() {
            return None;
        }
        if let Some(open) = self.views.iter().find(|view| view.is_of_changes()) {
            self.close_view(open.id);
        }
        if self.changes.tidy(TIDIED_AT_ONCE) {
            return None;
        }
        let differing = self.changes.take(covers);
        let count = if differing.all { self.items.len() } else { differing.len() };
        Some((self.open(|id| View::of_changes(id, differing)), count))
    }

    /// Reads on in a view: calls `visit` for one key after the other, ascending, with what it held
    /// when the view was opened (nothing, for a key that was removed since the checkpoint on disk),
    /// until `visit` breaks off or the view ends. `None` if there is no such view, or it ended since
    /// the state was replaced.
    pub fn read_view(
        &mut self,
        view: ViewId,
        mut visit: impl FnMut(&Key, Option<&T>) -> ControlFlow<()>,
    ) -> Option<ViewRead> {
        let view = self.views.iter_mut().find(|open| open.id == view)?;
        let read = view.read(&self.items, &mut visit);
        if read == ViewRead::End
            && let Some(differing) = view.take_differing()
        {
            self.changes.put_back(differing, true);
        }
        Some(read)
    }

    /// Ends a view; nothing, if there is none. What is left to do after it, beyond a little, is for
    /// [`Store::tidy`].
    ///
    /// A checkpoint whose view was not read to its end is taken for one that was not written.
    pub fn close_view(&mut self, view: ViewId) {
        let Some(at) = self.views.iter().position(|open| open.id == view) else {
            return;
        };
        let mut view = self.views.swap_remove(at);
        if let Some(differing) = view.take_differing() {
            self.changes.put_back(differing, false);
        }
        self.unread.add(view.into_kept());
        let left = self.unread.drop_some(TIDIED_AT_ONCE);
        self.changes.tidy(left);
    }

    /// Notes that the checkpoint whose view was opened last is on disk, if it covers `covers`.
    pub fn note_written(&mut self, covers: PersistSeq) {
        self.changes.note_written(covers);
        self.changes.tidy(TIDIED_AT_ONCE);
    }

    /// How many items are kept aside for views.
    #[must_use]
    pub fn kept_aside(&self) -> usize {
        self.views.iter().map(View::kept_aside).sum()
    }

    fn open(&mut self, make: impl FnOnce(ViewId) -> View<T>) -> ViewId {
        self.last_view = ViewId(self.last_view.0 + 1);
        self.views.push(make(self.last_view));
        self.last_view
    }

    /// Lets go of up to `count_max` items of a state that was replaced; how many more might have
    /// been.
    fn drop_replaced(&mut self, count_max: usize) -> usize {
        let mut left = count_max;
        while left > 0
            && let Some((key, _)) = self.replaced.pop_first()
        {
            if !self.items.contains_key(&key) {
                self.changes.mark(&key, false);
            }
            left -= 1;
        }
        left
    }
}

impl<T: Clone> Default for Store<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> FromIterator<(Key, T)> for Store<T> {
    /// Makes a store of many items at once, which is faster than to insert one after the other if
    /// their keys ascend. Of two with the same key the later one counts.
    fn from_iter<I: IntoIterator<Item = (Key, T)>>(items: I) -> Self {
        Self {
            items: items.into_iter().collect(),
            changes: Changes::new(),
            views: Vec::new(),
            last_view: ViewId(0),
            replaced: BTreeMap::new(),
            unread: Remains::new(),
        }
    }
}

/// How much is tidied at once when a view is closed or opened: what takes some tenths of a
/// millisecond. Little in tests, so that they see what is put off.
const TIDIED_AT_ONCE: usize = if cfg!(test) { 1 } else { 2_000 };

/// How many items that were kept aside are dropped with each change: more than one change keeps.
const DROPPED_WITH_A_CHANGE: usize = 64;

#[cfg(test)]
mod tests;
