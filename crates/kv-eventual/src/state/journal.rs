//! Records being written to disk.

use std::collections::VecDeque;

use kv_core::{IdSet, Key, PersistSeq};

use crate::ids::{Slot, WriteId};
use crate::state::record::{Record, Write};
use crate::state::stamp::Entry;

/// The records that were asked to be persisted and are not yet, in order, each with what is to be
/// done once it is.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    asked: PersistSeq,
    waiting: VecDeque<(Record, Then)>,
    /// Writes of other servers among the waiting.
    foreign: IdSet<WriteId>,
    foreign_bytes: usize,
    own_bytes: usize,
}

/// What follows once a record is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing more.
    Nothing,
    /// An incarnation has begun.
    Begin,
    /// A write of this server counts as held by it.
    OwnWrite(WriteId),
    /// A write of another server is acknowledged to it.
    Acknowledge(Slot, WriteId),
    /// A write that another server was seen to hold is there.
    Repaired(WriteId),
    /// That this server lost data is noted.
    LossNoted,
    /// Some deletes are forgotten, and others may have to be.
    Buried,
    /// Records of an older copy of the disk are gone.
    SuspectsRemoved,
}

impl Then {
    const fn foreign(self) -> Option<WriteId> {
        match self {
            Self::Acknowledge(_, id) | Self::Repaired(id) => Some(id),
            Self::Nothing
            | Self::Begin
            | Self::OwnWrite(_)
            | Self::LossNoted
            | Self::Buried
            | Self::SuspectsRemoved => None,
        }
    }
}

impl Journal {
    pub(crate) fn after(last: PersistSeq) -> Self {
        Self {
            asked: last,
            waiting: VecDeque::new(),
            foreign: IdSet::default(),
            foreign_bytes: 0,
            own_bytes: 0,
        }
    }

    /// Puts a record into the queue; returns its position.
    pub(crate) fn push(&mut self, record: Record, then: Then) -> PersistSeq {
        if let Some(id) = then.foreign() {
            self.foreign.insert(id);
            self.foreign_bytes += record_bytes(&record);
        } else {
            self.own_bytes += record_bytes(&record);
        }
        self.asked = self.asked.next();
        self.waiting.push_back((record, then));
        self.asked
    }

    /// Takes the next record if it is on disk.
    pub(crate) fn pop(&mut self, up_to: PersistSeq) -> Option<(Record, Then)> {
        if self.persisted() >= up_to {
            return None;
        }
        let (record, then) = self.waiting.pop_front()?;
        if let Some(id) = then.foreign() {
            self.foreign.remove(&id);
            self.foreign_bytes -= record_bytes(&record);
        } else {
            self.own_bytes -= record_bytes(&record);
        }
        Some((record, then))
    }

    /// The last record that was asked to be persisted.
    pub(crate) const fn asked(&self) -> PersistSeq {
        self.asked
    }

    /// The last record that is on disk.
    pub(crate) fn persisted(&self) -> PersistSeq {
        let waiting = u64::try_from(self.waiting.len()).unwrap_or(u64::MAX);
        PersistSeq(self.asked.0 - waiting)
    }

    /// How many records wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// How many writes of other servers wait.
    pub(crate) fn foreign_len(&self) -> usize {
        self.foreign.len()
    }

    /// How many bytes those writes have.
    pub(crate) const fn foreign_bytes(&self) -> usize {
        self.foreign_bytes
    }

    /// How many bytes this server's own writes have that wait, those included whose client does
    /// not wait any more.
    pub(crate) const fn own_bytes(&self) -> usize {
        self.own_bytes
    }

    /// The writes that wait.
    pub(crate) fn writes(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.waiting.iter().filter_map(|(record, _)| match record {
            Record::Write(Write { key, entry }) => Some((key, entry)),
            Record::Incarnation { .. }
            | Record::PeerIncarnation { .. }
            | Record::ClockBound { .. }
            | Record::Superseded(_)
            | Record::Join(_)
            | Record::Standing { .. }
            | Record::PeerVector { .. }
            | Record::Retired { .. }
            | Record::Removed { .. } => None,
        })
    }

    /// Whether a write of another server is among the waiting.
    pub(crate) fn has_foreign(&self, id: WriteId) -> bool {
        self.foreign.contains(&id)
    }
}

fn record_bytes(record: &Record) -> usize {
    match record {
        Record::Write(write) => write.size_bytes(),
        Record::Incarnation { .. }
        | Record::PeerIncarnation { .. }
        | Record::ClockBound { .. }
        | Record::Superseded(_)
        | Record::Join(_)
        | Record::Standing { .. }
        | Record::PeerVector { .. }
        | Record::Retired { .. }
        | Record::Removed { .. } => 0,
    }
}
