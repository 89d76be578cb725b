//! Which records are being written to disk, and what may be said once they are there.

use std::collections::VecDeque;

use kv_core::{Effects, Incarnation, NodeId, PersistSeq};

use crate::durable::record::Record;
use crate::identity::Identity;
use crate::log::epoch::{Epoch, LogIndex};
use crate::message::Message;

/// What becomes true when a record is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    /// Who the server is.
    Identity(Identity),
    /// A peer's incarnation.
    Known { peer: NodeId, incarnation: Incarnation },
    /// The server's promise.
    Promised(Epoch),
    /// The entry that opens an epoch of this server, which it promised with it.
    Opened { identity: Identity, epoch: Epoch, log: LogOnDisk },
    /// Entries, and the promise of the epoch that they came in.
    Log { promised: Epoch, log: LogOnDisk },
    /// A part of a checkpoint.
    Staged,
    /// A whole checkpoint, and the promise of the epoch that it came in.
    Installed { promised: Epoch },
    /// The name of an empty server.
    Named,
    /// On which log the cluster is founded.
    FoundedOn,
    /// That the disk is not to be started on again.
    Refuted,
}

/// How far the disk has a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogOnDisk {
    pub(crate) last: LogIndex,
    /// How often the log had been cut by then: a later cut is in a later record.
    pub(crate) cuts: u64,
}

/// The records that were asked to be written and are not known to be on disk.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    asked: PersistSeq,
    persisted: PersistSeq,
    waiting: VecDeque<Durable>,
}

impl Journal {
    /// Goes on after the last record that was recovered.
    pub(crate) const fn following(recovered: PersistSeq) -> Self {
        Self { asked: recovered, persisted: recovered, waiting: VecDeque::new() }
    }

    pub(crate) fn persist(
        &mut self,
        record: Record,
        durable: Durable,
        out: &mut Effects<Message, Record>,
    ) {
        self.asked = self.asked.next();
        self.waiting.push_back(durable);
        out.persist(self.asked, record);
    }

    /// The last record that was asked for.
    pub(crate) const fn asked(&self) -> PersistSeq {
        self.asked
    }

    /// The last record known to be on disk.
    pub(crate) const fn persisted(&self) -> PersistSeq {
        self.persisted
    }

    /// How many records are being written.
    pub(crate) fn outstanding(&self) -> usize {
        self.waiting.len()
    }

    /// Takes the oldest record up to `up_to` that has come to the disk; none for a number that was
    /// never asked for.
    pub(crate) fn pop_durable(&mut self, up_to: PersistSeq) -> Option<Durable> {
        if up_to > self.asked || self.persisted >= up_to {
            return None;
        }
        self.persisted = self.persisted.next();
        self.waiting.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promised(round: u32) -> Durable {
        Durable::Promised(Epoch { round, ..Epoch::default() })
    }

    #[test]
    fn promises_come_true_in_order_and_once() {
        let mut journal = Journal::following(PersistSeq(4));
        let mut out = Effects::new();
        for index in 1..=3 {
            journal.persist(Record::Recovered, promised(index), &mut out);
        }
        assert_eq!(out.len(), 3);
        let log = promised;
        assert_eq!(journal.pop_durable(PersistSeq(8)), None);
        assert_eq!(journal.pop_durable(PersistSeq(6)), Some(log(1)));
        assert_eq!(journal.pop_durable(PersistSeq(6)), Some(log(2)));
        assert_eq!(journal.pop_durable(PersistSeq(6)), None);
        assert_eq!(journal.pop_durable(PersistSeq(3)), None);
        assert_eq!(journal.persisted(), PersistSeq(6));
        assert_eq!(journal.outstanding(), 1);
    }
}
