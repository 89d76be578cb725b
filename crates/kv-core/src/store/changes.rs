//! Which keys differ from the checkpoint on disk.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::remains::Remains;
use crate::cluster::id::PersistSeq;
use crate::key::Key;

/// The keys that changed since the last checkpoint on disk.
///
/// It holds two sets: the keys changed since a checkpoint was last taken, and those of that
/// checkpoint until it is known to be on disk. A key is in each at most once, however often it is
/// written. An owner that is never asked for a checkpoint pays nothing.
///
/// What takes time for many keys is done by [`Changes::tidy`], a few keys at a time.
#[derive(Clone, Debug)]
pub(super) struct Changes {
    /// Those since the last checkpoint was taken or recovered from; `None` before the first one,
    /// when everything differs.
    since: Option<Since>,
    /// Those of the checkpoint that was taken and is not known to be on disk.
    taken: Option<Taken>,
    /// The checkpoint whose view ended before all of it was read, until its keys are one list.
    /// `taken` is none meanwhile.
    cut_short: Option<Differing>,
    /// Keys that do not differ, or are in another set.
    lists: Remains<VecDeque<Key>>,
    sets: Remains<BTreeSet<Key>>,
}

#[derive(Clone, Debug, Default)]
struct Since {
    /// Every key of the store, and `keys` beside them.
    all: bool,
    keys: BTreeSet<Key>,
}

/// The keys of a checkpoint whose view has ended.
#[derive(Clone, Debug)]
struct Taken {
    /// `None` if it cannot be on disk, since it was not read to its end.
    covers: Option<PersistSeq>,
    all: bool,
    /// Ascending.
    keys: Arc<VecDeque<Key>>,
}

/// The keys of a checkpoint whose view is read.
#[derive(Clone, Debug)]
pub(super) struct Differing {
    covers: PersistSeq,
    /// Every key of the store, and the other ones beside them.
    pub(super) all: bool,
    /// Those that were read, ascending. They come before all others.
    read: VecDeque<Key>,
    /// Those of a checkpoint before this one that was not written, ascending.
    older: Arc<VecDeque<Key>>,
    /// How many of them were taken.
    older_taken: usize,
    newer: BTreeSet<Key>,
    /// One that covers as much was taken before: should that one be on disk, these still differ.
    is_repeated: bool,
}

impl Changes {
    pub(super) const fn new() -> Self {
        Self {
            since: None,
            taken: None,
            cut_short: None,
            lists: Remains::new(),
            sets: Remains::new(),
        }
    }

    pub(super) fn recovered() -> Self {
        Self { since: Some(Since::default()), ..Self::new() }
    }

    /// Notes that a key was written or, if it does not stay, removed.
    pub(super) fn note(&mut self, key: &Key, stays: bool) {
        self.tidy(TIDIED_WITH_A_CHANGE);
        self.mark(key, stays);
    }

    /// The same without tidying.
    pub(super) fn mark(&mut self, key: &Key, stays: bool) {
        if let Some(since) = &mut self.since
            && !(since.all && stays)
        {
            since.keys.insert(key.clone());
        }
    }

    /// Does a part of what was put off, of about `count_max` keys; whether more is left.
    pub(super) fn tidy(&mut self, count_max: usize) -> bool {
        let left = self.lists.drop_some(count_max);
        let mut left = self.sets.drop_some(left);
        if let Some(mut differing) = self.cut_short.take() {
            while left > 0
                && let Some(key) = differing.next().cloned()
            {
                differing.take(&key);
                differing.note_read(key);
                left -= 1;
            }
            match differing.next() {
                Some(_) => self.cut_short = Some(differing),
                None => self.keep(differing, None),
            }
        }
        self.is_untidy()
    }

    pub(super) const fn is_untidy(&self) -> bool {
        self.cut_short.is_some() || !self.lists.is_empty() || !self.sets.is_empty()
    }

    /// How many keys [`Changes::tidy`] has to do with.
    #[cfg(test)]
    pub(super) fn untidy_count(&self) -> usize {
        let unread = self.cut_short.as_ref().map_or(0, |cut| cut.len() + cut.older.len());
        self.lists.count() + self.sets.count() + unread
    }

    /// Notes that another state took the place of the whole. The keys that are gone with the old
    /// one are to be noted as removed.
    pub(super) const fn note_replaced(&mut self) {
        if let Some(since) = &mut self.since {
            since.all = true;
        }
    }

    /// Takes the keys of a checkpoint that covers the records up to `covers`, while there is
    /// nothing to tidy.
    ///
    /// What was taken before and is not known to be on disk is among them. Of two that cover as
    /// much, the news that one is on disk may be about either, so that it counts for the first.
    pub(super) fn take(&mut self, covers: PersistSeq) -> Differing {
        if let Some(taken) = self.taken.as_ref().filter(|taken| taken.covers == Some(covers)) {
            let since = self.since.as_ref();
            let newer = since.map(|since| since.keys.clone()).unwrap_or_default();
            let all = taken.all || since.is_some_and(|since| since.all);
            let differing = Differing::new(covers, all, Arc::clone(&taken.keys), newer);
            return Differing { is_repeated: true, ..differing };
        }
        let before = self.taken.take();
        let since = self.since.replace(Since::default());
        let all = before.as_ref().is_some_and(|before| before.all)
            || since.as_ref().is_none_or(|since| since.all);
        let older = before.map(|before| before.keys).unwrap_or_default();
        Differing::new(covers, all, older, since.map(|since| since.keys).unwrap_or_default())
    }

    /// Takes back the keys of a checkpoint whose view has ended, read to its end or not. They
    /// differ until it is known to be on disk.
    pub(super) fn put_back(&mut self, differing: Differing, is_read: bool) {
        if differing.is_repeated {
            self.lists.add(differing.read);
            self.sets.add(differing.newer);
            self.drop_list(differing.older);
        } else if is_read {
            let covers = Some(differing.covers);
            self.keep(differing, covers);
        } else {
            self.cut_short = Some(differing);
        }
    }

    /// Notes that the checkpoint taken last is on disk, if that is the one that covers `covers`.
    pub(super) fn note_written(&mut self, covers: PersistSeq) {
        if let Some(taken) = self.taken.take_if(|taken| taken.covers == Some(covers)) {
            self.drop_list(taken.keys);
        }
    }

    /// Keeps the keys of a checkpoint that were all taken.
    fn keep(&mut self, differing: Differing, covers: Option<PersistSeq>) {
        let Differing { all, read, older, .. } = differing;
        self.taken = Some(Taken { covers, all, keys: Arc::new(read) });
        self.drop_list(older);
    }

    /// Drops a list little by little, unless a view or a checkpoint has it as well.
    fn drop_list(&mut self, list: Arc<VecDeque<Key>>) {
        if let Some(list) = Arc::into_inner(list) {
            self.lists.add(list);
        }
    }
}

impl Differing {
    const fn new(
        covers: PersistSeq,
        all: bool,
        older: Arc<VecDeque<Key>>,
        newer: BTreeSet<Key>,
    ) -> Self {
        let read = VecDeque::new();
        Self { covers, all, read, older, older_taken: 0, newer, is_repeated: false }
    }

    /// How many keys were not taken.
    pub(super) fn len(&self) -> usize {
        self.older.len() - self.older_taken + self.newer.len()
    }

    /// Whether a key is one of them that comes after all that were taken.
    pub(super) fn contains(&self, key: &Key) -> bool {
        self.newer.contains(key) || self.older.binary_search(key).is_ok()
    }

    /// The first key that was not taken.
    pub(super) fn next(&self) -> Option<&Key> {
        match (self.next_older(), self.newer.first()) {
            (Some(older), Some(newer)) => Some(older.min(newer)),
            (older, newer) => older.or(newer),
        }
    }

    /// Takes a key if it is the first one; whether it was.
    pub(super) fn take(&mut self, key: &Key) -> bool {
        let is_first = |first: Option<&Key>| first.is_some_and(|first| first == key);
        let (older, newer) = (is_first(self.next_older()), is_first(self.newer.first()));
        if older {
            self.older_taken += 1;
        }
        if newer {
            self.newer.pop_first();
        }
        older || newer
    }

    /// Keeps a key that was taken, in case the checkpoint does not come to the disk.
    pub(super) fn note_read(&mut self, key: Key) {
        self.read.push_back(key);
    }

    fn next_older(&self) -> Option<&Key> {
        self.older.get(self.older_taken)
    }
}

/// How many keys are tidied with each further change, so that an owner that never tidies has no
/// more to tidy the more it changes.
const TIDIED_WITH_A_CHANGE: usize = 64;
