//! The log joined with the state that it makes: what is on disk, committed and applied.

use kv_core::{Incarnation, NodeId, Outcome, Wire};

use crate::durable::journal::LogOnDisk;
use crate::log::entry::{Entry, Origin};
use crate::log::epoch::LogIndex;
use crate::log::{Log, Position};
use crate::mutation::{Broken, Mutation};
use crate::state_machine::StateMachine;
use crate::state_machine::dedup::Dedup;
use crate::state_machine::numbers::NumberSet;
use crate::state_machine::page::PageBounds;
use crate::state_machine::sessions::Logged;

/// A server's copy of the log and of the state.
///
/// An entry is applied once it is committed: then W servers have it on disk, whether this one has
/// or not. So reads go on where the disk is full.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    log: Log,
    /// The bytes of entries that are not applied.
    undelivered_bytes: usize,
    machine: StateMachine,
    dedup: Dedup,
    durable: LogIndex,
    /// How often entries were cut off the log's end.
    cuts: u64,
    cuts_on_disk: u64,
    commit: LogIndex,
    applied: Position,
    duplicates: u64,
    unreadable: u64,
}

/// An operation that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) origin: Origin,
    /// `None` for a duplicate, which has no effect.
    pub(crate) outcome: Option<Outcome>,
}

/// What operations are applied with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applying {
    pub(crate) bounds: PageBounds,
    /// This server's own clock, which has no part in what is applied.
    pub(crate) wall_ms: u64,
    pub(crate) broken: Broken,
}

impl Replica {
    /// The state at a position of the log, and nothing after it.
    pub(crate) fn at(position: Position, mut machine: StateMachine, dedup: Dedup) -> Self {
        machine.resume(position.log_time_ms);
        Self {
            log: Log::starting_after(position),
            undelivered_bytes: 0,
            machine,
            dedup,
            durable: position.index,
            cuts: 0,
            cuts_on_disk: 0,
            commit: position.index,
            applied: position,
            duplicates: 0,
            unreadable: 0,
        }
    }

    pub(crate) fn empty() -> Self {
        Self::at(Position::default(), StateMachine::default(), Dedup::default())
    }

    pub(crate) const fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) const fn machine(&self) -> &StateMachine {
        &self.machine
    }

    pub(crate) const fn machine_mut(&mut self) -> &mut StateMachine {
        &mut self.machine
    }

    pub(crate) const fn dedup(&self) -> &Dedup {
        &self.dedup
    }

    /// The last entry on this server's own disk.
    pub(crate) const fn durable(&self) -> LogIndex {
        self.durable
    }

    pub(crate) const fn commit(&self) -> LogIndex {
        self.commit
    }

    pub(crate) const fn applied(&self) -> Position {
        self.applied
    }

    /// How many operations had no effect since their request was applied before.
    pub(crate) const fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// How many operations had no effect since they could not be read.
    pub(crate) const fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// The bytes of entries that are not applied.
    pub(crate) const fn undelivered_bytes(&self) -> usize {
        self.undelivered_bytes
    }

    /// The requests of a server's incarnation that have a position in the log, applied or not.
    pub(crate) fn placed(&self, server: NodeId, incarnation: Incarnation) -> NumberSet {
        let mut placed = self.dedup.numbers_of(server, incarnation);
        for entry in self.log.from(self.applied.index.next()) {
            for (origin, _) in entry.operations() {
                if (origin.server, origin.incarnation) == (server, incarnation) {
                    placed.insert(origin.number);
                }
            }
        }
        placed
    }

    /// An incarnation of a server that the log knows and that counts as later than this one: another
    /// one whose number is not lower.
    pub(crate) fn superseding(&self, server: NodeId, own: Incarnation) -> Option<Incarnation> {
        let rest = self.log.from(self.applied.index.next()).flat_map(Entry::operations);
        let of_rest = rest.map(|(origin, _)| origin).filter(|origin| origin.server == server);
        let all = self.dedup.latest(server).into_iter();
        let known = all.chain(of_rest.map(|origin| origin.incarnation));
        known.filter(|other| other.counter() >= own.counter() && *other != own).max()
    }

    /// Appends the entry that follows the last one.
    pub(crate) fn append(&mut self, entry: Entry) {
        self.undelivered_bytes += entry.size_bytes();
        self.log.append(entry);
    }

    /// Drops what comes after `index`, which is not committed.
    pub(crate) fn truncate(&mut self, index: LogIndex) {
        assert!(index >= self.commit);
        self.undelivered_bytes -= self.log.truncate(index);
        self.durable = self.durable.min(index);
        self.cuts += 1;
    }

    /// How far the disk has the log once the records that were asked for are there.
    pub(crate) fn asked(&self) -> LogOnDisk {
        LogOnDisk { last: self.log.last().index, cuts: self.cuts }
    }

    /// Whether the disk has every cut. Until then it has entries that are gone here, and records on
    /// their way to it may follow on these.
    pub(crate) const fn is_cut_on_disk(&self) -> bool {
        self.cuts == self.cuts_on_disk
    }

    /// Notes that the log is on disk as far as a record had it.
    pub(crate) fn note_durable(&mut self, on_disk: LogOnDisk) {
        if on_disk.cuts == self.cuts {
            assert!(on_disk.last <= self.log.last().index);
            self.durable = self.durable.max(on_disk.last);
            self.cuts_on_disk = self.cuts;
        }
    }

    /// Notes that the log up to `commit` is committed.
    pub(crate) fn note_commit(&mut self, commit: LogIndex) {
        assert!(commit <= self.log.last().index);
        self.commit = self.commit.max(commit);
    }

    /// Applies the next entry that is committed, and gives what became of each of its
    /// operations; false if there is none.
    pub(crate) fn deliver_next(
        &mut self,
        applying: Applying,
        mut each: impl FnMut(Delivered),
    ) -> bool {
        let broken = applying.broken;
        let index = self.applied.index.next();
        if !self.may_apply(index, broken) {
            return false;
        }
        let Some(entry) = self.log.entry(index) else {
            return false;
        };
        let operations = entry.operations();
        let (whole, before) = (entry.header().operations, entry.header().operations_before);
        let log_time_ms = entry.header().log_time_ms;
        self.undelivered_bytes -= entry.size_bytes();
        self.applied = Position::of(entry);
        if broken.is(Mutation::EntrySkipped) && self.may_apply(index.next(), broken) {
            return true;
        }
        let by_own_clock = broken.is(Mutation::ExpiryByOwnClock);
        self.machine.advance(if by_own_clock { applying.wall_ms } else { log_time_ms });
        let mut number = before;
        for (origin, bytes) in operations {
            number = number.saturating_add(1);
            let outcome = self.apply(number, origin, bytes, applying);
            each(Delivered { origin, outcome });
        }
        // What cannot be read is without effect everywhere.
        self.unreadable += u64::from(whole) - (number - before);
        true
    }

    /// Applies an operation, unless it is a duplicate.
    fn apply(
        &mut self,
        number: u64,
        origin: Origin,
        bytes: bytes::Bytes,
        applying: Applying,
    ) -> Option<Outcome> {
        let Applying { bounds, broken, .. } = applying;
        if !self.dedup.note(&origin) && !broken.is(Mutation::ForwardAppliedTwice) {
            self.duplicates += 1;
            return None;
        }
        let Ok(logged) = Logged::from_bytes(bytes) else {
            self.unreadable += 1;
            return None;
        };
        Some(self.machine.apply_once(&logged, number, bounds, broken))
    }

    fn may_apply(&self, index: LogIndex, broken: Broken) -> bool {
        index <= self.commit || broken.is(Mutation::AppliedBeforeCommitted)
    }

    /// Goes on with a copy that came from elsewhere and is on disk.
    pub(crate) fn replace(&mut self, next: Self, broken: Broken) {
        let mut machine = std::mem::take(&mut self.machine);
        machine.replace(next.machine, broken);
        let cuts = self.cuts + 1;
        *self = Self { machine, cuts, cuts_on_disk: cuts, ..next };
        self.durable = self.log.last().index;
    }

    /// Forgets applied entries beyond so many bytes or entries, the oldest first.
    pub(crate) fn trim(&mut self, bytes_max: usize, entries_max: usize) {
        while self.log.size_bytes() - self.undelivered_bytes > bytes_max
            || self.log.len() - self.undelivered() > entries_max
        {
            if self.log.trim_first().is_none() {
                return;
            }
        }
    }

    /// How many entries are not applied.
    fn undelivered(&self) -> usize {
        let count = self.log.last().index.distance_from(self.applied.index);
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// Checks what must hold between steps.
    pub(crate) fn check_invariants(&self) {
        let last = self.log.last().index;
        assert!(self.log.base().index <= self.applied.index);
        assert!(self.applied.index <= self.commit);
        assert!(self.commit <= last);
        assert!(self.durable <= last);
        assert_eq!(self.log.hash_at(self.applied.index), Some(self.applied.hash));
        assert!(self.undelivered_bytes <= self.log.size_bytes());
    }
}

#[cfg(test)]
mod tests;
