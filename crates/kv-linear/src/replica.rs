//! The log joined with the state that it makes: what is on disk, committed and applied.

use std::collections::VecDeque;

use kv_core::{Incarnation, NodeId, Operation, Outcome};

use crate::log::entry::{Entry, Origin};
use crate::log::epoch::LogIndex;
use crate::log::{Log, Position};
use crate::mutation::{Broken, Mutation};
use crate::state_machine::StateMachine;
use crate::state_machine::dedup::Dedup;
use crate::state_machine::numbers::NumberSet;
use crate::state_machine::page::PageBounds;

/// A server's copy of the log and of the state.
///
/// An entry is applied once it is both committed and on this server's own disk, so that the state
/// is never ahead of what a restart would find.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    log: Log,
    undelivered: VecDeque<Operation>,
    undelivered_bytes: usize,
    machine: StateMachine,
    dedup: Dedup,
    durable: LogIndex,
    commit: LogIndex,
    applied: Position,
    duplicates: u64,
}

/// An entry that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) origin: Origin,
    /// `None` for a duplicate, which has no effect, and for what another server's client reads.
    pub(crate) outcome: Option<Outcome>,
}

impl Replica {
    /// The state at a position of the log, and nothing after it.
    pub(crate) const fn at(position: Position, machine: StateMachine, dedup: Dedup) -> Self {
        Self {
            log: Log::starting_after(position),
            undelivered: VecDeque::new(),
            undelivered_bytes: 0,
            machine,
            dedup,
            durable: position.index,
            commit: position.index,
            applied: position,
            duplicates: 0,
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

    /// How many entries had no effect since their request was applied before.
    pub(crate) const fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// The bytes of entries that are not applied.
    pub(crate) const fn undelivered_bytes(&self) -> usize {
        self.undelivered_bytes
    }

    /// The requests of a server's incarnation that have a position in the log, applied or not.
    pub(crate) fn placed(&self, server: NodeId, incarnation: Incarnation) -> NumberSet {
        let mut placed = self.dedup.numbers_of(server, incarnation);
        for entry in self.log.from(self.applied.index.next()) {
            let origin = entry.header().origin;
            if (origin.server, origin.incarnation) == (server, incarnation) {
                placed.insert(origin.number);
            }
        }
        placed
    }

    /// Appends the entry that follows the last one; `operation` is what it holds.
    pub(crate) fn append(&mut self, entry: Entry, operation: Operation) {
        self.undelivered_bytes += entry.size_bytes();
        self.undelivered.push_back(operation);
        self.log.append(entry);
    }

    /// Notes that the log up to `last` is on disk.
    pub(crate) fn note_durable(&mut self, last: LogIndex) {
        assert!(last <= self.log.last().index);
        self.durable = self.durable.max(last);
    }

    /// Notes that the log up to `commit` is committed.
    pub(crate) fn note_commit(&mut self, commit: LogIndex) {
        assert!(commit <= self.log.last().index);
        self.commit = self.commit.max(commit);
    }

    /// Applies the next entry that is committed and on disk. `own` is this server's incarnation,
    /// whose reads alone are carried out.
    pub(crate) fn deliver_next(
        &mut self,
        own: Option<(NodeId, Incarnation)>,
        bounds: PageBounds,
        broken: Broken,
    ) -> Option<Delivered> {
        let index = self.applied.index.next();
        if !self.may_apply(index, broken) {
            return None;
        }
        let entry = self.log.entry(index)?;
        let operation = self.undelivered.pop_front()?;
        let origin = entry.header().origin;
        self.undelivered_bytes -= entry.size_bytes();
        self.applied = Position::of(entry);
        if broken.is(Mutation::EntrySkipped) && self.may_apply(index.next(), broken) {
            return Some(Delivered { origin, outcome: None });
        }
        if !self.dedup.note(&origin) && !broken.is(Mutation::ForwardAppliedTwice) {
            self.duplicates += 1;
            return Some(Delivered { origin, outcome: None });
        }
        let own = own == Some((origin.server, origin.incarnation));
        let outcome = if own || !operation.is_read_only() {
            Some(self.machine.apply(&operation, index, bounds, broken))
        } else {
            None
        };
        Some(Delivered { origin, outcome })
    }

    fn may_apply(&self, index: LogIndex, broken: Broken) -> bool {
        let committed = index <= self.commit || broken.is(Mutation::AppliedBeforeCommitted);
        let durable = index <= self.durable || broken.is(Mutation::AppliedBeforePersisted);
        committed && durable
    }

    /// Replaces what comes after `base` by other entries, which are on disk.
    ///
    /// What is committed stays.
    pub(crate) fn replace_after(&mut self, base: LogIndex, entries: Vec<(Entry, Operation)>) {
        assert!(base >= self.commit);
        assert!(base <= self.log.last().index);
        while self.log.last().index > base {
            let dropped = self.log.drop_last().map_or(0, |entry| entry.size_bytes());
            self.undelivered_bytes -= dropped;
            self.undelivered.pop_back();
        }
        for (entry, operation) in entries {
            self.append(entry, operation);
        }
        self.durable = self.log.last().index;
    }

    /// Goes on with a copy that came from elsewhere.
    pub(crate) fn replace(&mut self, next: Self, broken: Broken) {
        let mut machine = std::mem::take(&mut self.machine);
        machine.replace(next.machine, broken);
        *self = Self { machine, ..next };
    }

    /// Forgets applied entries beyond so many bytes or entries, the oldest first.
    pub(crate) fn trim(&mut self, bytes_max: usize, entries_max: usize) {
        while self.log.size_bytes() - self.undelivered_bytes > bytes_max
            || self.log.len() - self.undelivered.len() > entries_max
        {
            if self.log.trim_first().is_none() {
                return;
            }
        }
    }

    /// Checks what must hold between steps.
    pub(crate) fn check_invariants(&self) {
        let last = self.log.last().index;
        assert!(self.log.base().index <= self.applied.index);
        assert!(self.applied.index <= self.commit);
        assert!(self.applied.index <= self.durable);
        assert!(self.commit <= last);
        assert!(self.durable <= last);
        assert_eq!(self.log.hash_at(self.applied.index), Some(self.applied.hash));
        let undelivered = last.distance_from(self.applied.index);
        assert_eq!(u64::try_from(self.undelivered.len()), Ok(undelivered));
        assert!(self.undelivered_bytes <= self.log.size_bytes());
    }
}

#[cfg(test)]
mod tests {
    use kv_core::{Key, Value, Wire};

    use super::*;
    use crate::log::entry::EntryHeader;
    use crate::log::epoch::Epoch;

    const BOUNDS: PageBounds = PageBounds { entries_max: 9, bytes_max: 99 };

    fn append(replica: &mut Replica, number: u64, operation: &Operation) {
        let last = replica.log().last();
        let header = EntryHeader {
            index: last.index.next(),
            epoch: Epoch::first(NodeId::FIRST),
            log_time_ms: last.log_time_ms,
            origin: Origin {
                server: NodeId::FIRST,
                incarnation: Incarnation(1),
                number,
                settled_below: 1,
            },
            previous_hash: last.hash,
        };
        let entry = Entry::new(header, &operation.to_bytes());
        replica.append(entry, operation.clone());
    }

    fn put() -> Operation {
        Operation::put(Key::new("k").unwrap(), Value::new("v").unwrap())
    }

    fn deliver(replica: &mut Replica) -> Vec<Delivered> {
        let own = Some((NodeId::FIRST, Incarnation(1)));
        std::iter::from_fn(|| replica.deliver_next(own, BOUNDS, Broken::default())).collect()
    }

    #[test]
    fn an_entry_is_applied_once_it_is_committed_and_on_disk() {
        let mut replica = Replica::empty();
        append(&mut replica, 1, &put());
        append(&mut replica, 2, &put());
        assert_eq!(deliver(&mut replica), []);
        replica.note_commit(LogIndex(2));
        assert_eq!(deliver(&mut replica), []);
        replica.note_durable(LogIndex(1));
        assert_eq!(deliver(&mut replica).len(), 1);
        replica.note_durable(LogIndex(2));
        assert_eq!(deliver(&mut replica).len(), 1);
        assert_eq!(replica.undelivered_bytes(), 0);
        replica.check_invariants();
    }

    #[test]
    fn a_request_that_is_in_the_log_twice_has_one_effect() {
        let mut replica = Replica::empty();
        let increment =
            Operation::of(kv_core::Command::Increment { key: Key::new("n").unwrap(), by: 1 });
        append(&mut replica, 1, &increment);
        append(&mut replica, 1, &increment);
        replica.note_commit(LogIndex(2));
        replica.note_durable(LogIndex(2));
        let delivered = deliver(&mut replica);
        assert!(matches!(delivered[0].outcome, Some(Outcome::Done(_))));
        assert_eq!(delivered[1].outcome, None);
        assert_eq!(replica.duplicates(), 1);
    }

    #[test]
    fn what_is_not_committed_can_be_replaced() {
        let mut replica = Replica::empty();
        for number in 1..=4 {
            append(&mut replica, number, &put());
        }
        replica.note_durable(LogIndex(4));
        replica.note_commit(LogIndex(2));
        deliver(&mut replica);
        let mut other = replica.clone();
        other.replace_after(LogIndex(2), Vec::new());
        append(&mut other, 9, &put());
        let entry = other.log().entry(LogIndex(3)).cloned().unwrap();
        replica.replace_after(LogIndex(2), vec![(entry.clone(), put())]);
        assert_eq!((replica.log().last().hash, replica.durable()), (entry.hash(), LogIndex(3)));
        assert_eq!(replica.undelivered_bytes(), entry.size_bytes());
        replica.check_invariants();
        replica.note_commit(LogIndex(3));
        assert_eq!(deliver(&mut replica).first().map(|given| given.origin.number), Some(9));
    }

    #[test]
    #[should_panic(expected = "base >= self.commit")]
    fn what_is_committed_is_not_replaced() {
        let mut replica = Replica::empty();
        append(&mut replica, 1, &put());
        replica.note_commit(LogIndex(1));
        replica.replace_after(LogIndex(0), Vec::new());
    }

    #[test]
    fn only_applied_entries_are_trimmed() {
        let mut replica = Replica::empty();
        for number in 1..=4 {
            append(&mut replica, number, &put());
        }
        replica.note_commit(LogIndex(3));
        replica.note_durable(LogIndex(4));
        deliver(&mut replica);
        let each = replica.log().size_bytes() / 4;
        replica.trim(2 * each, 9);
        assert_eq!(replica.log().base().index, LogIndex(1));
        replica.trim(each, 0);
        assert_eq!(replica.log().base().index, LogIndex(3));
        assert_eq!(replica.log().len(), 1);
        replica.check_invariants();
    }
}
