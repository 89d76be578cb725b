//! A server's own copy of the registers: what is on its disk, and what is on its way there.

use std::collections::{BTreeMap, BTreeSet};

use kv_core::{Key, NodeId, PersistSeq, Store, Value};

use crate::message::{CallId, Held, Record};
use crate::rule::{Broken, Rule};

/// Who waits for a record: the coordinator of a question, and which one that is.
pub(crate) type Waiter = (NodeId, CallId);

/// The registers as this server's disk has them.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub(crate) store: Store<Held>,
    pub(crate) persisted: PersistSeq,
    broken: Broken,
    next_seq: PersistSeq,
    /// What is on its way to the disk, with those who wait for it.
    unsynced: BTreeMap<PersistSeq, (Record, BTreeSet<Waiter>)>,
}

/// What comes of a wish to store something.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Storing {
    /// It, or something newer, is on disk.
    Done,
    /// It is on its way already.
    UnderWay,
    /// This record must be persisted.
    Begins(PersistSeq, Record),
}

impl Replica {
    pub(crate) const fn new(broken: Broken) -> Self {
        Self {
            store: Store::new(),
            persisted: PersistSeq(0),
            broken,
            next_seq: PersistSeq(1),
            unsynced: BTreeMap::new(),
        }
    }

    /// Takes a record that the disk held at the start.
    pub(crate) fn replay(&mut self, seq: PersistSeq, record: Record) {
        self.persisted = seq;
        self.next_seq = seq.next();
        self.apply(record);
    }

    /// Goes on after a checkpoint that covers so many records.
    pub(crate) fn resume_at(&mut self, covers: PersistSeq) {
        self.persisted = covers;
        self.next_seq = covers.next();
    }

    /// Stores something for somebody, who waits where it is not on disk yet.
    pub(crate) fn store(&mut self, key: &Key, held: &Held, waiter: Waiter) -> Storing {
        if self.store.get(key).is_some_and(|own| !self.replaces(held, own)) {
            return Storing::Done;
        }
        let mut under_way = self.unsynced.values_mut().rev();
        let newer = under_way.find(|(record, _)| record.key == *key && record.held.tag >= held.tag);
        if let Some((_, waiters)) = newer {
            waiters.insert(waiter);
            return Storing::UnderWay;
        }
        let value = held.value.as_ref().map(Value::detached);
        let record = Record { key: key.detached(), held: Held { value, ..held.clone() } };
        let seq = self.next_seq;
        self.next_seq = seq.next();
        self.unsynced.insert(seq, (record.clone(), BTreeSet::from([waiter])));
        Storing::Begins(seq, self.written(record))
    }

    /// Notes that records are on disk; all who waited for them.
    pub(crate) fn on_persisted(&mut self, up_to: PersistSeq) -> Vec<Waiter> {
        let mut released = Vec::new();
        while let Some(entry) = self.unsynced.first_entry().filter(|entry| *entry.key() <= up_to) {
            let (seq, (record, waiters)) = entry.remove_entry();
            self.persisted = seq;
            self.apply(record);
            released.extend(waiters);
        }
        released
    }

    fn apply(&mut self, Record { key, held }: Record) {
        if self.broken.is(Rule::DeletesLeaveNothing) && held.value.is_none() {
            self.store.remove(&key);
        } else if self.store.get(&key).is_none_or(|own| self.replaces(&held, own)) {
            self.store.insert(key, held);
        }
    }

    fn replaces(&self, new: &Held, own: &Held) -> bool {
        if self.broken.is(Rule::LastToComeWins) {
            return new.tag != own.tag;
        }
        if self.broken.is(Rule::TieIgnored) {
            return new.tag.number > own.tag.number;
        }
        new.tag > own.tag
    }

    /// The record as it goes to the disk.
    fn written(&self, mut record: Record) -> Record {
        if self.broken.is(Rule::TagNotPersisted) {
            record.held.tag.number = 0;
        }
        record
    }
}
