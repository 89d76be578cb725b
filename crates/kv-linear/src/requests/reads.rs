//! Reads of this server's clients, which take no place in the log.
//!
//! Source: Ongaro, *Consensus: Bridging Theory and Practice* (2014), section 6.4. A read is answered
//! from this server's own state, once that has all that was committed when the read came. How far
//! that is says the sequencer, after R servers have confirmed that no other one has taken its place.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use kv_core::{IdMap, Operation, RequestId};

use crate::log::epoch::LogIndex;

/// The reads that have no answer yet.
#[derive(Clone, Debug)]
pub(crate) struct Reads {
    pending: IdMap<RequestId, Read>,
    alarms: BTreeSet<(Duration, RequestId)>,
    /// Those for which the sequencer was not asked yet, oldest first.
    waiting: Vec<RequestId>,
    /// Those for which it was asked, by the numbers of the questions, ascending.
    asked: VecDeque<(u64, Vec<RequestId>)>,
    /// Those that are answered once the log is applied up to a place, ascending.
    granted: VecDeque<(LogIndex, Vec<RequestId>)>,
    /// Those that are answered once so many operations are applied, whatever the sequencer says.
    sequential: BTreeSet<(u64, RequestId)>,
    next_number: u64,
    /// How many of those that the lists name were taken out, at most.
    stale: usize,
}

/// A read.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) operation: Operation,
    deadline: Duration,
    /// How many operations must be applied, for a sequential one.
    seen: Option<u64>,
}

impl Reads {
    pub(crate) fn new() -> Self {
        Self {
            pending: IdMap::default(),
            alarms: BTreeSet::new(),
            waiting: Vec::new(),
            asked: VecDeque::new(),
            granted: VecDeque::new(),
            sequential: BTreeSet::new(),
            next_number: 1,
            stale: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn is_pending(&self, id: RequestId) -> bool {
        self.pending.contains_key(&id)
    }

    /// Takes a read in.
    pub(crate) fn submit(&mut self, id: RequestId, operation: Operation, deadline: Duration) {
        self.pending.insert(id, Read { operation, deadline, seen: None });
        self.alarms.insert((deadline, id));
        self.waiting.push(id);
    }

    /// Takes in a read that is answered once `seen` operations are applied here.
    pub(crate) fn submit_sequential(
        &mut self,
        id: RequestId,
        operation: Operation,
        deadline: Duration,
        seen: u64,
    ) {
        self.pending.insert(id, Read { operation, deadline, seen: Some(seen) });
        self.alarms.insert((deadline, id));
        self.sequential.insert((seen, id));
    }

    /// Takes the next of those that can be answered once `applied` operations are applied.
    pub(crate) fn pop_sequential(&mut self, applied: u64) -> Option<(RequestId, Operation)> {
        let (_, id) = self.sequential.first().copied().filter(|(seen, _)| *seen <= applied)?;
        self.remove(id).map(|read| (id, read.operation))
    }

    /// Whether the sequencer is to be asked.
    pub(crate) const fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The number under which it is asked for all that wait; the same as before if nothing does.
    /// `None` if there is nothing to ask for.
    pub(crate) fn ask(&mut self) -> Option<u64> {
        if !self.waiting.is_empty() {
            let number = self.next_number;
            self.next_number += 1;
            self.asked.push_back((number, std::mem::take(&mut self.waiting)));
        }
        self.asked.back().map(|(number, _)| *number)
    }

    /// Whether a question has no answer yet.
    pub(crate) fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// The sequencer says up to where the log must be applied for all that it was asked for up to
    /// this question: what was committed when a later one came was so when an earlier one did.
    pub(crate) fn grant(&mut self, number: u64, index: LogIndex) {
        while self.asked.front().is_some_and(|(asked, _)| *asked <= number) {
            if let Some((_, ids)) = self.asked.pop_front() {
                let last = self.granted.back().map_or(index, |(last, _)| index.max(*last));
                self.granted.push_back((last, ids));
            }
        }
    }

    /// Takes the next read that can be answered from a state that is applied up to `applied`.
    pub(crate) fn pop_granted(&mut self, applied: LogIndex) -> Option<(RequestId, Operation)> {
        while let Some((index, ids)) = self.granted.front_mut() {
            if *index > applied {
                return None;
            }
            let Some(id) = ids.pop() else {
                self.granted.pop_front();
                continue;
            };
            if let Some(read) = self.remove(id) {
                return Some((id, read.operation));
            }
        }
        None
    }

    /// Whoever was asked is not the sequencer any more: all that has no answer is asked for again.
    pub(crate) fn ask_again(&mut self) {
        let mut waiting: Vec<RequestId> = self.asked.drain(..).flat_map(|(_, ids)| ids).collect();
        waiting.append(&mut self.waiting);
        waiting.retain(|id| self.pending.contains_key(id));
        self.waiting = waiting;
    }

    /// Takes out those for which the sequencer was asked up to this question.
    pub(crate) fn settle_asked(&mut self, number: u64) -> Vec<RequestId> {
        let later = self.asked.partition_point(|(asked, _)| *asked <= number);
        let asked: Vec<RequestId> = self.asked.drain(..later).flat_map(|(_, ids)| ids).collect();
        asked.into_iter().filter(|id| self.remove(*id).is_some()).collect()
    }

    /// Takes out those for which nobody was asked.
    pub(crate) fn settle_waiting(&mut self) -> Vec<RequestId> {
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().filter(|id| self.remove(*id).is_some()).collect()
    }

    /// Takes out a read whose client is gone.
    pub(crate) fn cancel(&mut self, id: RequestId) {
        self.take_out(id);
    }

    /// Takes out one read whose time is up.
    pub(crate) fn pop_expired(&mut self, now: Duration) -> Option<RequestId> {
        let (alarm, id) = self.alarms.first().copied()?;
        if alarm > now {
            return None;
        }
        self.take_out(id);
        Some(id)
    }

    /// When a read's time is up.
    pub(crate) fn next_alarm(&self) -> Option<Duration> {
        self.alarms.first().map(|(alarm, _)| *alarm)
    }

    /// Removes a read that the lists still name. They forget such reads from time to time, so that
    /// they are bounded although nobody answers.
    fn take_out(&mut self, id: RequestId) {
        if self.remove(id).is_none() {
            return;
        }
        self.stale += 1;
        if self.pending.is_empty() || self.stale > self.pending.len() + STALE_MAX {
            self.stale = 0;
            let pending = &self.pending;
            self.waiting.retain(|id| pending.contains_key(id));
            forget_stale(&mut self.asked, pending);
            forget_stale(&mut self.granted, pending);
        }
    }

    fn remove(&mut self, id: RequestId) -> Option<Read> {
        let read = self.pending.remove(&id)?;
        self.alarms.remove(&(read.deadline, id));
        if let Some(seen) = read.seen {
            self.sequential.remove(&(seen, id));
        }
        Some(read)
    }
}

fn forget_stale<K>(lists: &mut VecDeque<(K, Vec<RequestId>)>, pending: &IdMap<RequestId, Read>) {
    lists.retain_mut(|(_, ids)| {
        ids.retain(|id| pending.contains_key(id));
        !ids.is_empty()
    });
}

/// How many more reads than are pending may be named by the lists.
const STALE_MAX: usize = 64;

#[cfg(test)]
mod tests;
