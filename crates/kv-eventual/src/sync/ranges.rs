//! Ranges of keys by the hash of what they hold, and what two servers hold differently in one.

use bytes::BytesMut;
use kv_core::{Key, Wire, digest};

use crate::message::{HashedRange, Listing, Summary};
use crate::state::State;
use crate::state::record::Write;
use crate::state::stamp::Entry;

/// The ranges of one question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ranges {
    pub(crate) ranges: Vec<HashedRange>,
    /// How many bytes were looked at.
    pub(crate) bytes: usize,
}

/// Hashes the next ranges after a key.
pub(crate) fn hash(state: &State, after: Option<&Key>) -> Ranges {
    let mut budget = Budget::new(ASKED_KEYS_MAX, ASKED_BYTES_MAX);
    let mut held = state.store.after(after).peekable();
    let mut ranges = Vec::new();
    loop {
        let (mut hash, mut keys, mut last) = (RangeHash::default(), 0, None);
        while keys < RANGE_KEYS
            && budget.is_left()
            && let Some((key, entry)) = held.next()
        {
            budget.take(key, entry);
            hash.add(&Summary::of(key, entry));
            (keys, last) = (keys + 1, Some(key));
        }
        // The last range has no end: the other server may hold something after the last key here.
        let up_to = last.filter(|_| held.peek().is_some()).cloned();
        let is_last = up_to.is_none() || !budget.is_left();
        ranges.push(HashedRange { up_to, hash: hash.value });
        if is_last {
            return Ranges { ranges, bytes: budget.bytes_taken };
        }
    }
}

/// What is held in the ranges that differ.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Listings {
    pub(crate) listings: Vec<Listing>,
    /// What was looked at ends with this key; with the last of all keys for `None`.
    pub(crate) through: Option<Key>,
}

/// Lists what is held in those of the ranges whose hash differs, as far as one answer goes. `None` if
/// these are no ranges one after the other.
pub(crate) fn list(
    state: &State,
    mut after: Option<Key>,
    ranges: &[HashedRange],
) -> Option<Listings> {
    if !are_ascending(after.as_ref(), ranges) {
        return None;
    }
    let mut budget = Budget::new(2 * ASKED_KEYS_MAX, 2 * ASKED_BYTES_MAX);
    let mut listings = Vec::new();
    for HashedRange { up_to, hash: expected } in ranges {
        let (records, is_whole) = summaries(state, after.as_ref(), up_to.as_ref(), &mut budget);
        let end = match records.last() {
            _ if is_whole => up_to.clone(),
            // The answer ends within the range, if it has begun with it.
            Some(last) => Some(last.key.clone()),
            None => break,
        };
        let mut hash = RangeHash::default();
        records.iter().for_each(|summary| hash.add(summary));
        let before = std::mem::replace(&mut after, end.clone());
        if !is_whole || hash.value != *expected {
            listings.push(Listing { after: before, up_to: end, records });
        }
        if !is_whole {
            break;
        }
    }
    Some(Listings { listings, through: after })
}

/// The records of a range as far as the budget goes, and whether those are all.
fn summaries(
    state: &State,
    after: Option<&Key>,
    up_to: Option<&Key>,
    budget: &mut Budget,
) -> (Vec<Summary>, bool) {
    let mut records = Vec::new();
    for (key, entry) in within(state, after, up_to) {
        if !budget.is_left() {
            return (records, false);
        }
        budget.take(key, entry);
        records.push(Summary::of(key, entry));
    }
    (records, true)
}

/// Whether each range begins where another one ends, and only the last has no end.
fn are_ascending(after: Option<&Key>, ranges: &[HashedRange]) -> bool {
    let Some((last, before)) = ranges.split_last().filter(|_| ranges.len() <= RANGES_MAX) else {
        return false;
    };
    let ends = before.iter().map(|range| range.up_to.as_ref());
    let ends = after.into_iter().map(Some).chain(ends);
    // A last range without an end is after all others.
    let ends: Vec<_> = ends.chain(last.up_to.as_ref().map(Some)).collect();
    ends.iter().all(Option::is_some) && ends.is_sorted_by(|a, b| a < b)
}

fn within<'a>(
    state: &'a State,
    after: Option<&'a Key>,
    up_to: Option<&'a Key>,
) -> impl Iterator<Item = (&'a Key, &'a Entry)> {
    let held = state.store.after(after);
    held.take_while(move |(key, _)| up_to.is_none_or(|up_to| *key <= up_to))
}

/// What two servers hold differently.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    /// What is newer here, or missing there.
    pub(crate) newer_here: Vec<Write>,
    /// What is newer there, or missing here.
    pub(crate) newer_there: Vec<Summary>,
}

/// Compares what is held in a range with what another server holds there. `None` if the listing is
/// none: its keys are not ascending, or not in its range.
pub(crate) fn differences(state: &State, listing: &Listing) -> Option<Differences> {
    let Listing { after, up_to, records } = listing;
    let is_within = |summary: &Summary| {
        after.as_ref().is_none_or(|after| summary.key > *after)
            && up_to.as_ref().is_none_or(|up_to| summary.key <= *up_to)
    };
    if !records.is_sorted_by(|a, b| a.key < b.key) || !records.iter().all(is_within) {
        return None;
    }
    let mut differences = Differences::default();
    let mut there = records.iter().peekable();
    for (key, entry) in within(state, after.as_ref(), up_to.as_ref()) {
        while let Some(summary) = there.next_if(|summary| summary.key < *key) {
            differences.newer_there.push(summary.clone());
        }
        let here = Summary::of(key, entry);
        let there = there.next_if(|summary| summary.key == *key);
        if there == Some(&here) {
            continue;
        }
        // Of two with one stamp, which only a fault makes, each server is brought the other's.
        if there.is_none_or(|there| here.stamp >= there.stamp) {
            differences.newer_here.push(Write { key: key.clone(), entry: entry.clone() });
        }
        if let Some(there) = there.filter(|there| there.stamp >= here.stamp) {
            differences.newer_there.push(there.clone());
        }
    }
    differences.newer_there.extend(there.cloned());
    Some(differences)
}

/// The hash of records one after the other.
#[derive(Default)]
struct RangeHash {
    value: u64,
    bytes: BytesMut,
}

impl RangeHash {
    fn add(&mut self, summary: &Summary) {
        self.bytes.clear();
        self.value.encode(&mut self.bytes);
        summary.encode(&mut self.bytes);
        self.value = digest(&self.bytes);
    }
}

/// What one message may look at.
struct Budget {
    keys: usize,
    bytes: usize,
    bytes_taken: usize,
}

impl Budget {
    const fn new(keys: usize, bytes: usize) -> Self {
        Self { keys, bytes, bytes_taken: 0 }
    }

    const fn is_left(&self) -> bool {
        self.keys > 0 && self.bytes > 0
    }

    fn take(&mut self, key: &Key, entry: &Entry) {
        let bytes = key.as_bytes().len() + entry.size_bytes() + KEY_COST_BYTES;
        self.keys = self.keys.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.bytes_taken += bytes;
    }
}

/// The most keys of a range.
const RANGE_KEYS: usize = 256;

/// The most ranges of a question.
const RANGES_MAX: usize = 9;

/// The most keys that are hashed for one question: some hundred microseconds of work.
const ASKED_KEYS_MAX: usize = 8 * RANGE_KEYS;

/// To look at a key costs about as much as hashing so many bytes.
const KEY_COST_BYTES: usize = 128;

/// About the most bytes of keys and values.
const ASKED_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use kv_core::{HybridTime, Incarnation, NodeId, Value};
    use proptest::prelude::*;

    use super::*;
    use crate::ids::WriteSeq;
    use crate::state::record::Record;
    use crate::state::stamp::Stamp;

    fn record(number: u32, millis: u64, value: &'static str) -> Record {
        let stamp = Stamp {
            time: HybridTime::from_millis(millis),
            origin: NodeId::FIRST,
            incarnation: Incarnation(1 << 32),
        };
        let value = (!value.is_empty()).then(|| Value::new(value).unwrap());
        let entry = Entry { stamp, seq: WriteSeq(millis), value };
        Record::Write(Write { key: key(number), entry })
    }

    fn key(number: u32) -> Key {
        Key::new(format!("{number:06}")).unwrap()
    }

    fn state(records: impl IntoIterator<Item = Record>) -> State {
        let mut state = State::empty(NodeId::FIRST);
        records.into_iter().for_each(|record| state.apply(record));
        state
    }

    /// Goes through all ranges as two servers do; what is newer at each, and the number of questions.
    fn compared(here: &State, there: &State) -> (Vec<Key>, Vec<Key>, usize) {
        let (mut newer_here, mut newer_there, mut questions) = (Vec::new(), Vec::new(), 0);
        let mut after = None;
        loop {
            questions += 1;
            let asked = hash(here, after.as_ref());
            let answer = list(there, after.clone(), &asked.ranges).unwrap();
            for listing in &answer.listings {
                let found = differences(here, listing).unwrap();
                newer_here.extend(found.newer_here.into_iter().map(|write| write.key));
                newer_there.extend(found.newer_there.into_iter().map(|summary| summary.key));
            }
            assert!(answer.through.is_none() || answer.through > after, "it gets on");
            after = answer.through;
            if after.is_none() {
                return (newer_here, newer_there, questions);
            }
        }
    }

    #[test]
    fn what_differs_is_found_and_nothing_else() {
        let all = || (0..5_000).map(|number| record(number, 10, "v"));
        let here = state(all().chain([record(17, 11, "w"), record(4_999, 5, "old")]));
        let there = state(all().chain([record(256, 12, ""), record(9_000, 9, "more")]));
        let (newer_here, newer_there, questions) = compared(&here, &there);
        assert_eq!((newer_here, newer_there), (vec![key(17)], vec![key(256), key(9_000)]));
        assert_eq!(questions, 3);
        assert_eq!(compared(&here, &here), (Vec::new(), Vec::new(), 3));
    }

    #[test]
    fn a_server_that_holds_much_more_in_a_range_answers_piece_by_piece() {
        let (here, there) = (state([]), state((0..20_000).map(|number| record(number, 10, "v"))));
        let (newer_here, newer_there, questions) = compared(&here, &there);
        assert_eq!((newer_here.len(), newer_there.len(), questions), (0, 20_000, 5));
        let (newer_here, newer_there, _) = compared(&there, &here);
        assert_eq!((newer_here.len(), newer_there.len()), (20_000, 0));
    }

    #[test]
    fn of_two_records_with_one_stamp_each_server_gets_the_others() {
        let (here, there) = (state([record(1, 10, "a")]), state([record(1, 10, "b")]));
        assert_eq!(compared(&here, &there), (vec![key(1)], vec![key(1)], 1));
    }

    #[test]
    fn what_is_no_question_or_no_answer_is_noticed() {
        let state = state([record(1, 10, "a")]);
        let range = |up_to: Option<u32>| HashedRange { up_to: up_to.map(key), hash: 0 };
        for (after, ranges) in [
            (None, vec![]),
            (Some(5), vec![range(Some(5))]),
            (None, vec![range(Some(2)), range(Some(2))]),
            (None, vec![range(None), range(Some(2))]),
        ] {
            assert_eq!(list(&state, after.map(key), &ranges), None, "{ranges:?}");
        }
        let summary = |number| Summary {
            key: key(number),
            stamp: Stamp {
                time: HybridTime::ZERO,
                origin: NodeId::FIRST,
                incarnation: Incarnation(1),
            },
            seq: WriteSeq(1),
            value: None,
        };
        for records in [vec![summary(3), summary(2)], vec![summary(1)], vec![summary(9)]] {
            let listing = Listing { after: Some(key(1)), up_to: Some(key(8)), records };
            assert_eq!(differences(&state, &listing), None);
        }
    }

    proptest! {
        #[test]
        fn every_difference_is_found(
            here in proptest::collection::btree_map(0u32..600, 1u64..4, 0..600),
            there in proptest::collection::btree_map(0u32..600, 1u64..4, 0..600),
        ) {
            let of = |held: &std::collections::BTreeMap<u32, u64>| {
                state(held.iter().map(|(number, millis)| record(*number, *millis, "v")))
            };
            let newer = |a: &std::collections::BTreeMap<u32, u64>,
                         b: &std::collections::BTreeMap<u32, u64>| {
                let newer = a.iter().filter(|(number, millis)| b.get(number) < Some(millis));
                newer.map(|(number, _)| key(*number)).collect::<Vec<_>>()
            };
            let (newer_here, newer_there, _) = compared(&of(&here), &of(&there));
            prop_assert_eq!(newer_here, newer(&here, &there));
            prop_assert_eq!(newer_there, newer(&there, &here));
        }
    }
}
