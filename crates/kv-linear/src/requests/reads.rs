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
mod tests {
    use std::collections::BTreeMap;

    use kv_core::Key;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn submit(reads: &mut Reads, ids: impl IntoIterator<Item = u64>) {
        for id in ids {
            reads.submit(RequestId(id), Operation::get(Key::new("k").unwrap()), SECOND);
        }
    }

    fn answered(reads: &mut Reads, applied: u64) -> Vec<u64> {
        let next = || reads.pop_granted(LogIndex(applied)).map(|(id, _)| id.0);
        let mut ids: Vec<u64> = std::iter::from_fn(next).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn a_read_is_answered_once_the_log_is_applied_as_far_as_its_question_says() {
        let mut reads = Reads::new();
        assert_eq!(reads.ask(), None);
        submit(&mut reads, [1, 2]);
        assert_eq!(reads.ask(), Some(1));
        submit(&mut reads, [3]);
        assert_eq!(reads.ask(), Some(2));
        assert_eq!(reads.ask(), Some(2), "nothing new came");
        reads.grant(1, LogIndex(5));
        assert_eq!(answered(&mut reads, 4), []);
        assert_eq!(answered(&mut reads, 5), [1, 2]);
        assert_eq!(answered(&mut reads, 9), []);
        reads.grant(2, LogIndex(9));
        assert_eq!(answered(&mut reads, 9), [3]);
        assert_eq!((reads.len(), reads.next_alarm(), reads.ask()), (0, None, None));
    }

    #[test]
    fn the_answer_to_a_later_question_is_one_to_all_before_it() {
        let mut reads = Reads::new();
        submit(&mut reads, [1]);
        reads.ask();
        submit(&mut reads, [2]);
        reads.ask();
        reads.grant(2, LogIndex(7));
        assert_eq!(answered(&mut reads, 7), [1, 2]);
        assert!(!reads.is_asked());
    }

    #[test]
    fn what_one_sequencer_did_not_answer_the_next_one_is_asked() {
        let mut reads = Reads::new();
        submit(&mut reads, [1, 2]);
        reads.ask();
        reads.cancel(RequestId(1));
        submit(&mut reads, [3]);
        reads.ask_again();
        assert_eq!(reads.ask(), Some(2));
        reads.grant(1, LogIndex(1));
        assert_eq!(answered(&mut reads, 1), [], "the answer to a former question is not for these");
        reads.grant(2, LogIndex(1));
        assert_eq!(answered(&mut reads, 1), [2, 3]);
    }

    #[test]
    fn a_read_whose_time_is_up_is_taken_out_wherever_it_is() {
        let mut reads = Reads::new();
        submit(&mut reads, [1]);
        reads.ask();
        reads.grant(1, LogIndex(3));
        submit(&mut reads, [2]);
        assert_eq!(reads.pop_expired(SECOND / 2), None);
        assert_eq!(reads.pop_expired(SECOND), Some(RequestId(1)));
        assert_eq!(reads.pop_expired(SECOND), Some(RequestId(2)));
        assert_eq!(reads.pop_expired(SECOND), None);
        assert_eq!(answered(&mut reads, 3), []);
        assert_eq!(reads.settle_waiting(), []);
    }

    #[test]
    fn reads_that_nobody_answers_leave_nothing_behind() {
        let mut reads = Reads::new();
        submit(&mut reads, 0..1_000);
        for id in 0..999 {
            reads.ask();
            reads.cancel(RequestId(id));
            submit(&mut reads, [1_000 + id]);
            reads.cancel(RequestId(1_000 + id));
        }
        let named: usize = reads.asked.iter().map(|(_, ids)| ids.len()).sum();
        assert!(named <= 2 * STALE_MAX, "{named}");
        assert!(reads.asked.len() <= 2 * STALE_MAX);
        assert!(reads.is_asked());
        reads.cancel(RequestId(999));
        assert!(!reads.is_asked(), "nobody is asked for nothing");
    }

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Submit,
        Ask,
        AskAgain,
        Grant { back: u64, index: u64 },
        Answer { applied: u64 },
        Cancel { id: u64 },
        Expire { id: u64 },
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            3 => Just(Act::Submit),
            2 => Just(Act::Ask),
            1 => Just(Act::AskAgain),
            2 => (0..3_u64, 0..9_u64).prop_map(|(back, index)| Act::Grant { back, index }),
            2 => (0..9_u64).prop_map(|applied| Act::Answer { applied }),
            1 => (0..40_u64).prop_map(|id| Act::Cancel { id }),
            1 => (0..40_u64).prop_map(|id| Act::Expire { id }),
        ]
    }

    /// What is known of a pending read.
    #[derive(Clone, Copy, Debug)]
    enum Known {
        Waits,
        Asked(u64),
        Granted(u64),
    }

    fn check(acts: Vec<Act>) -> Result<(), TestCaseError> {
        let (mut reads, mut model) = (Reads::new(), BTreeMap::<u64, Known>::new());
        let (mut next, mut last) = (0, 0);
        for act in acts {
            match act {
                Act::Submit => {
                    let operation = Operation::get(Key::new("k").unwrap());
                    reads.submit(RequestId(next), operation, Duration::from_secs(next));
                    model.insert(next, Known::Waits);
                    next += 1;
                }
                Act::Ask => {
                    let has_waiting = model.values().any(|known| matches!(known, Known::Waits));
                    let asked = reads.ask();
                    last = last.max(asked.unwrap_or_default());
                    prop_assert!(!has_waiting || asked == Some(last));
                    for known in model.values_mut().filter(|known| matches!(known, Known::Waits)) {
                        *known = Known::Asked(last);
                    }
                }
                Act::AskAgain => {
                    reads.ask_again();
                    for known in model.values_mut() {
                        if let Known::Asked(_) = known {
                            *known = Known::Waits;
                        }
                    }
                }
                Act::Grant { back, index } => {
                    let number = last.saturating_sub(back);
                    reads.grant(number, LogIndex(index));
                    for known in model.values_mut() {
                        if let Known::Asked(asked) = known
                            && *asked <= number
                        {
                            *known = Known::Granted(index);
                        }
                    }
                }
                Act::Answer { applied } => {
                    for id in answered(&mut reads, applied) {
                        let known = model.remove(&id);
                        let is_right = matches!(known, Some(Known::Granted(i)) if i <= applied);
                        prop_assert!(is_right, "{id} is {known:?} at {applied}");
                    }
                }
                Act::Cancel { id } => {
                    reads.cancel(RequestId(id));
                    model.remove(&id);
                }
                Act::Expire { id } => {
                    while reads.pop_expired(Duration::from_secs(id)).is_some() {}
                    model.retain(|pending, _| *pending > id);
                }
            }
            prop_assert_eq!(reads.len(), model.len());
        }
        // Whatever is pending is answered in the end.
        reads.ask_again();
        let number = reads.ask().unwrap_or_default();
        reads.grant(number, LogIndex(9));
        prop_assert_eq!(answered(&mut reads, 9), model.into_keys().collect::<Vec<_>>());
        prop_assert_eq!((reads.len(), reads.is_asked(), reads.next_alarm()), (0, false, None));
        Ok(())
    }

    proptest! {
        #[test]
        fn a_read_is_answered_once_and_only_when_its_own_question_was_answered_and_enough_is_applied(
            acts in vec(act(), 0..120)
        ) {
            check(acts)?;
        }
    }
}
