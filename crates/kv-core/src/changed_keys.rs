//! What an engine keeps to tell a checkpoint's changes from what is on disk already.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::id::PersistSeq;
use crate::key::Key;
use crate::store::Store;

/// The keys of a state that changed since the last checkpoint on disk, for
/// [`ConsistencyEngine::checkpoint`](crate::ConsistencyEngine::checkpoint).
///
/// It holds two sets: the keys changed since a checkpoint was last taken, and those of that
/// checkpoint until it is known to be on disk. A key is in each at most once, however often it is
/// written, so both together hold at most twice the keys written since the checkpoint on disk.
/// Before the first checkpoint is taken all keys count as changed and none is kept, so an engine
/// that is never asked for one pays nothing.
#[derive(Clone, Debug, Default)]
pub struct ChangedKeys {
    /// Those since the last checkpoint was taken or recovered from; `None` before the first one.
    since: Option<BTreeSet<Key>>,
    /// The checkpoint that was taken and is not known to be on disk.
    under_way: Option<UnderWay>,
}

#[derive(Clone, Debug)]
struct UnderWay {
    covers: PersistSeq,
    changes: Changes,
}

#[derive(Clone, Debug, Default)]
struct Changes {
    /// Every key of the state, and `keys` beside them.
    all: bool,
    keys: BTreeSet<Key>,
}

impl ChangedKeys {
    /// For a state of which no checkpoint is on disk.
    #[must_use]
    pub const fn new() -> Self {
        Self { since: None, under_way: None }
    }

    /// For a state that was made of the checkpoint on disk, and has not changed since.
    #[must_use]
    pub const fn recovered() -> Self {
        Self { since: Some(BTreeSet::new()), under_way: None }
    }

    /// Notes that a key was written or removed.
    pub fn note(&mut self, key: &Key) {
        if let Some(since) = &mut self.since {
            since.insert(key.clone());
        }
    }

    /// Notes what differs where a state takes the place of another one as a whole.
    pub fn note_replaced<T: PartialEq>(&mut self, old: &impl Store<T>, new: &impl Store<T>) {
        let Some(since) = &mut self.since else {
            return;
        };
        let (mut old, mut new) = (old.after(None).peekable(), new.after(None).peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((old, _)), Some((new, _))) => old.cmp(new),
            };
            let gone = old.next_if(|_| order.is_le());
            let came = new.next_if(|_| order.is_ge());
            if let Some((key, _)) = came.or(gone).filter(|_| gone != came) {
                since.insert(key.clone());
            }
        }
    }

    /// Takes a checkpoint that covers the records up to `covers`: all keys changed since the one
    /// on disk, ascending, each with what it holds now. It takes as long as so many look-ups.
    ///
    /// What was taken before and is not known to be on disk is among them. Of two that cover as
    /// much, the news that one is on disk may be about either, so that it counts for the first.
    pub fn take<T: Clone>(
        &mut self,
        covers: PersistSeq,
        store: &impl Store<T>,
    ) -> Vec<(Key, Option<T>)> {
        let mut changes = match self.under_way.take() {
            Some(taken) if taken.covers == covers => return self.take_again(taken, store),
            Some(taken) => taken.changes,
            None => Changes::default(),
        };
        match self.since.replace(BTreeSet::new()) {
            Some(mut keys) => changes.keys.append(&mut keys),
            None => changes.all = true,
        }
        let held = changes.held_in(store);
        self.under_way = Some(UnderWay { covers, changes });
        held
    }

    /// The same once more, and what has changed since.
    fn take_again<T: Clone>(
        &mut self,
        taken: UnderWay,
        store: &impl Store<T>,
    ) -> Vec<(Key, Option<T>)> {
        let mut changes = taken.changes.clone();
        changes.keys.extend(self.since.iter().flatten().cloned());
        self.under_way = Some(taken);
        changes.held_in(store)
    }

    /// Notes that the checkpoint taken last is on disk, if that is the one that covers `covers`.
    pub fn note_written(&mut self, covers: PersistSeq) {
        self.under_way.take_if(|taken| taken.covers == covers);
    }

    /// How many keys are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        let under_way = self.under_way.as_ref().map_or(0, |taken| taken.changes.keys.len());
        self.since.as_ref().map_or(0, BTreeSet::len) + under_way
    }

    /// Whether no keys are kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Changes {
    fn held_in<T: Clone>(&self, store: &impl Store<T>) -> Vec<(Key, Option<T>)> {
        let look_up = |key: &Key| (key.clone(), store.get(key).cloned());
        if !self.all {
            return self.keys.iter().map(look_up).collect();
        }
        let held = store.after(None).map(|(key, held)| (key.clone(), Some(held.clone())));
        let mut all: Vec<_> = held.collect();
        all.extend(self.keys.iter().map(look_up).filter(|(_, held)| held.is_none()));
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::store::MemoryStore;

    fn key(name: u8) -> Key {
        Key::new(vec![name]).unwrap()
    }

    fn content(store: &MemoryStore<u8>) -> BTreeMap<Key, u8> {
        store.clone().into_iter().collect()
    }

    #[derive(Clone, Debug)]
    enum Event {
        Put(u8, u8),
        Remove(u8),
        Replace(BTreeMap<u8, u8>),
        /// A checkpoint, and what becomes of it.
        Checkpoint(Fate),
        /// The process starts again on the disk as it is.
        Restart,
    }

    #[derive(Clone, Copy, Debug)]
    enum Fate {
        Written,
        /// The engine never hears of it.
        WrittenUnheard,
        Failed,
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let fate = prop_oneof![Just(Fate::Written), Just(Fate::WrittenUnheard), Just(Fate::Failed)];
        let state = proptest::collection::btree_map(0..KEYS, any::<u8>(), 0..6);
        let event = prop_oneof![
            6 => (0..KEYS, any::<u8>()).prop_map(|(key, value)| Event::Put(key, value)),
            4 => (0..KEYS).prop_map(Event::Remove),
            1 => state.prop_map(Event::Replace),
            4 => fate.prop_map(Event::Checkpoint),
            1 => Just(Event::Restart),
        ];
        proptest::collection::vec(event, 0..60)
    }

    const KEYS: u8 = 8;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn what_is_taken_sums_up_to_the_state(events in events()) {
            let (mut store, mut changed) = (MemoryStore::new(), ChangedKeys::new());
            let mut disk: Option<BTreeMap<Key, u8>> = None;
            for (event, seq) in events.into_iter().zip(1..) {
                match event {
                    Event::Put(name, value) => {
                        changed.note(&key(name));
                        store.insert(key(name), value);
                    }
                    Event::Remove(name) => {
                        changed.note(&key(name));
                        store.remove(&key(name));
                    }
                    Event::Replace(state) => {
                        let mut next = MemoryStore::new();
                        state.iter().for_each(|(name, value)| next.insert(key(*name), *value));
                        changed.note_replaced(&store, &next);
                        store = next;
                    }
                    Event::Checkpoint(fate) => {
                        let taken = changed.take(PersistSeq(seq), &store);
                        prop_assert!(taken.windows(2).all(|pair| pair[0].0 < pair[1].0));
                        if matches!(fate, Fate::Failed) {
                            continue;
                        }
                        let disk = disk.get_or_insert_default();
                        for (key, held) in taken {
                            match held {
                                Some(value) => disk.insert(key, value),
                                None => disk.remove(&key),
                            };
                        }
                        prop_assert_eq!(&*disk, &content(&store));
                        if matches!(fate, Fate::Written) {
                            changed.note_written(PersistSeq(seq));
                        }
                    }
                    Event::Restart => {
                        store = MemoryStore::new();
                        changed = ChangedKeys::new();
                        if let Some(disk) = &disk {
                            disk.iter().for_each(|(key, value)| store.insert(key.clone(), *value));
                            changed = ChangedKeys::recovered();
                        }
                    }
                }
                prop_assert!(changed.len() <= 2 * usize::from(KEYS));
            }
        }
    }

    #[test]
    fn only_what_changed_since_the_one_on_disk_is_taken() {
        let (mut store, mut changed) = (MemoryStore::new(), ChangedKeys::new());
        let mut put = |changed: &mut ChangedKeys, name| {
            changed.note(&key(name));
            store.insert(key(name), name);
            store.clone()
        };
        put(&mut changed, 1);
        let store = put(&mut changed, 2);
        assert!(changed.is_empty(), "all counts as changed before the first one");
        let first = PersistSeq(2);
        let all = [(key(1), Some(1)), (key(2), Some(2))];
        assert_eq!(changed.take(first, &store), all);
        assert_eq!(changed.take(first, &store), all, "it was not written");
        let store = put(&mut changed, 3);
        changed.note_written(PersistSeq(1));
        assert_eq!(changed.take(PersistSeq(3), &store).len(), 3, "another one was written");
        changed.note_written(PersistSeq(3));
        assert_eq!(changed.take(PersistSeq(3), &store), []);
        let store = put(&mut changed, 2);
        changed.note(&key(9));
        changed.note_written(PersistSeq(3));
        assert_eq!(changed.take(PersistSeq(4), &store), [(key(2), Some(2)), (key(9), None)]);
    }

    /// The second one may have been dropped, as it covers no more.
    #[test]
    fn of_two_that_cover_as_much_the_first_alone_counts_as_written() {
        let (mut store, mut changed) = (MemoryStore::new(), ChangedKeys::recovered());
        changed.note(&key(1));
        store.insert(key(1), 1);
        assert_eq!(changed.take(PersistSeq(1), &store), [(key(1), Some(1))]);
        changed.note(&key(2));
        store.insert(key(2), 2);
        let both = [(key(1), Some(1)), (key(2), Some(2))];
        assert_eq!(changed.take(PersistSeq(1), &store), both);
        changed.note_written(PersistSeq(1));
        assert_eq!(changed.take(PersistSeq(2), &store), [(key(2), Some(2))]);
    }

    #[test]
    fn of_a_replaced_state_only_what_differs_is_taken() {
        let store = |pairs: &[(u8, u8)]| {
            let mut store = MemoryStore::new();
            pairs.iter().for_each(|(name, value)| store.insert(key(*name), *value));
            store
        };
        let (old, new) = (store(&[(1, 1), (2, 2), (3, 3)]), store(&[(2, 2), (3, 4), (5, 5)]));
        let mut changed = ChangedKeys::recovered();
        changed.note_replaced(&old, &new);
        let taken = changed.take(PersistSeq(1), &new);
        assert_eq!(taken, [(key(1), None), (key(3), Some(4)), (key(5), Some(5))]);
    }
}
