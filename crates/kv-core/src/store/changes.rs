//! Which keys differ from the checkpoint on disk.

use std::collections::{BTreeSet, VecDeque};

use crate::cluster::id::PersistSeq;
use crate::key::Key;

/// The keys that changed since the last checkpoint on disk.
///
/// It holds two sets: the keys changed since a checkpoint was last taken, and those of that
/// checkpoint until it is known to be on disk. A key is in each at most once, however often it is
/// written. An owner that is never asked for a checkpoint pays nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    /// Those since the last checkpoint was taken or recovered from; `None` before the first one,
    /// when everything differs.
    since: Option<Since>,
    /// Those of the checkpoint that was taken and is not known to be on disk.
    taken: Option<Differing>,
    /// Those of a checkpoint that is on disk, dropped little by little.
    written: VecDeque<Key>,
}

#[derive(Clone, Debug, Default)]
struct Since {
    /// Every key of the store, and `keys` beside them.
    all: bool,
    keys: BTreeSet<Key>,
}

/// The keys of one checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Differing {
    covers: PersistSeq,
    /// Every key of the store, and the other ones beside them.
    pub(super) all: bool,
    /// Those that were read, ascending. They come before all others.
    read: VecDeque<Key>,
    /// Those of a checkpoint before this one that was not written, ascending.
    older: VecDeque<Key>,
    newer: BTreeSet<Key>,
    /// One that covers as much was taken before: should that one be on disk, these still differ.
    is_repeated: bool,
}

impl Changes {
    pub(super) const fn new() -> Self {
        Self { since: None, taken: None, written: VecDeque::new() }
    }

    pub(super) fn recovered() -> Self {
        Self { since: Some(Since::default()), ..Self::new() }
    }

    /// Notes that a key was written or, if it does not stay, removed.
    pub(super) fn note(&mut self, key: &Key, stays: bool) {
        let left = self.written.len().saturating_sub(DROPPED_AT_ONCE);
        self.written.truncate(left);
        if let Some(since) = &mut self.since
            && !(since.all && stays)
        {
            since.keys.insert(key.clone());
        }
    }

    /// Notes that another state took the place of the whole. The keys that are gone with the old
    /// one are to be noted as removed.
    pub(super) const fn note_replaced(&mut self) {
        if let Some(since) = &mut self.since {
            since.all = true;
        }
    }

    /// Takes the keys of a checkpoint that covers the records up to `covers`.
    ///
    /// What was taken before and is not known to be on disk is among them. Of two that cover as
    /// much, the news that one is on disk may be about either, so that it counts for the first.
    pub(super) fn take(&mut self, covers: PersistSeq) -> Differing {
        if let Some(taken) = self.taken.as_ref().filter(|taken| taken.covers == covers) {
            let since = self.since.as_ref();
            return Differing {
                covers,
                all: taken.all || since.is_some_and(|since| since.all),
                read: VecDeque::new(),
                older: taken.read.clone(),
                newer: since.map(|since| since.keys.clone()).unwrap_or_default(),
                is_repeated: true,
            };
        }
        let before = self.taken.take();
        let since = self.since.replace(Since::default());
        let all = before.as_ref().is_some_and(|before| before.all)
            || since.as_ref().is_none_or(|since| since.all);
        Differing {
            covers,
            all,
            read: VecDeque::new(),
            older: before.map(|before| before.read).unwrap_or_default(),
            newer: since.map(|since| since.keys).unwrap_or_default(),
            is_repeated: false,
        }
    }

    /// Takes back the keys of a checkpoint whose view has ended, read or not. They differ until it
    /// is known to be on disk.
    pub(super) fn put_back(&mut self, mut differing: Differing) {
        if differing.is_repeated {
            return;
        }
        // Only where a view ended before all of it was read.
        while let Some(key) = differing.next().cloned() {
            differing.take(&key);
            differing.note_read(key);
        }
        self.taken = Some(differing);
    }

    /// Notes that the checkpoint taken last is on disk, if that is the one that covers `covers`.
    pub(super) fn note_written(&mut self, covers: PersistSeq) {
        if let Some(taken) = self.taken.take_if(|taken| taken.covers == covers) {
            self.written = taken.read;
        }
    }
}

impl Differing {
    pub(super) fn len(&self) -> usize {
        self.older.len() + self.newer.len()
    }

    /// The first key that was not taken.
    pub(super) fn next(&self) -> Option<&Key> {
        match (self.older.front(), self.newer.first()) {
            (Some(older), Some(newer)) => Some(older.min(newer)),
            (older, newer) => older.or(newer),
        }
    }

    /// Takes a key if it is the first one; whether it was.
    pub(super) fn take(&mut self, key: &Key) -> bool {
        let is_first = |first: Option<&Key>| first.is_some_and(|first| first == key);
        let (older, newer) = (is_first(self.older.front()), is_first(self.newer.first()));
        if older {
            self.older.pop_front();
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
}

/// How many keys of a written checkpoint are dropped with each further change.
const DROPPED_AT_ONCE: usize = 64;
