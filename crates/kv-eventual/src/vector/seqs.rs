//! Sets of the numbers of one incarnation's writes.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use kv_core::{DecodeError, Wire};

/// Numbers from 1 on: nearly always all up to one of them, and sometimes some beyond a gap.
///
/// Runs beyond the first gap are bounded. The highest one is forgotten when there are too many:
/// to know too little costs that something is sent twice, to claim too much would lose it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seqs {
    through: u64,
    /// The first and last number of each run, ascending, none adjacent to another.
    beyond: BTreeMap<u64, u64>,
}

impl Seqs {
    /// All numbers up to `through`.
    #[must_use]
    pub const fn through(through: u64) -> Self {
        Self { through, beyond: BTreeMap::new() }
    }

    /// Whether the set has a number.
    #[must_use]
    pub fn contains(&self, seq: u64) -> bool {
        self.run_end(seq).is_some()
    }

    /// The last number of the run that a number is in; `None` if the set does not have it.
    pub(crate) fn run_end(&self, seq: u64) -> Option<u64> {
        if seq <= self.through {
            return Some(self.through);
        }
        let (_, &last) = self.beyond.range(..=seq).next_back()?;
        (seq <= last).then_some(last)
    }

    /// Adds a number.
    pub fn insert(&mut self, seq: u64) {
        if seq == self.through.saturating_add(1) && self.beyond.is_empty() {
            self.through = seq;
        } else {
            self.insert_run(seq, seq);
        }
    }

    fn insert_run(&mut self, first: u64, last: u64) {
        if last <= self.through {
            return;
        }
        let (mut first, mut last) = (first, last);
        // Runs that touch the new one become part of it.
        while let Some((&start, &end)) = self.beyond.range(..=last.saturating_add(1)).next_back() {
            if end.saturating_add(1) < first {
                break;
            }
            first = first.min(start);
            last = last.max(end);
            self.beyond.remove(&start);
        }
        if first <= self.through.saturating_add(1) {
            self.through = self.through.max(last);
            return;
        }
        self.beyond.insert(first, last);
        if self.beyond.len() > RUNS_MAX {
            self.beyond.pop_last();
        }
    }

    /// Adds all of another set.
    pub fn join(&mut self, other: &Self) {
        self.insert_run(1, other.through);
        for (&first, &last) in &other.beyond {
            self.insert_run(first, last);
        }
    }

    /// Whether the set has all of another one.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let has_run = |first, last| self.run_end(first).is_some_and(|end| end >= last);
        (other.through == 0 || has_run(1, other.through))
            && other.beyond.iter().all(|(&first, &last)| has_run(first, last))
    }

    /// The greatest number; 0 for the empty set.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.beyond.last_key_value().map_or(self.through, |(_, &last)| last)
    }

    /// How many numbers the set has.
    #[must_use]
    pub fn count(&self) -> u64 {
        let beyond = self.beyond.iter().map(|(first, last)| last - first + 1);
        beyond.fold(self.through, u64::saturating_add)
    }

    /// How many gaps are below the greatest number.
    pub(crate) fn gaps(&self) -> usize {
        self.beyond.len()
    }
}

impl Wire for Seqs {
    fn encode(&self, out: &mut BytesMut) {
        self.through.encode(out);
        let runs = self.beyond.iter().map(|(&first, &last)| (first, last));
        runs.collect::<Vec<(u64, u64)>>().encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        let mut seqs = Self::through(u64::decode(input)?);
        for (first, last) in Vec::<(u64, u64)>::decode(input)? {
            if first > last || first <= seqs.last().saturating_add(1) {
                return Err(DecodeError::Invalid { what: "set of numbers" });
            }
            if seqs.beyond.len() < RUNS_MAX {
                seqs.beyond.insert(first, last);
            }
        }
        Ok(seqs)
    }
}

/// The most runs beyond the first gap.
pub(crate) const RUNS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn of(numbers: &BTreeSet<u64>) -> Seqs {
        let mut seqs = Seqs::default();
        numbers.iter().rev().for_each(|&seq| seqs.insert(seq));
        seqs
    }

    fn numbers() -> impl Strategy<Value = BTreeSet<u64>> {
        proptest::collection::btree_set(1u64..40, 0..30)
    }

    proptest! {
        #[test]
        fn it_is_the_set_of_its_numbers(numbers in numbers()) {
            let seqs = of(&numbers);
            for seq in 1..45 {
                prop_assert_eq!(seqs.contains(seq), numbers.contains(&seq));
            }
            prop_assert_eq!(seqs.count(), u64::try_from(numbers.len()).unwrap());
            prop_assert_eq!(seqs.last(), numbers.last().copied().unwrap_or(0));
            let mut ascending = Seqs::default();
            numbers.iter().for_each(|&seq| ascending.insert(seq));
            prop_assert_eq!(&ascending, &seqs);
            prop_assert_eq!(Seqs::from_bytes(seqs.to_bytes()), Ok(seqs));
        }

        #[test]
        fn joining_is_union_and_covering_is_inclusion(a in numbers(), b in numbers()) {
            let mut joined = of(&a);
            joined.join(&of(&b));
            prop_assert_eq!(&joined, &of(&(&a | &b)));
            prop_assert_eq!(of(&a).covers(&of(&b)), a.is_superset(&b));
            prop_assert!(joined.covers(&of(&a)) && joined.covers(&of(&b)));
        }
    }

    #[test]
    fn too_many_gaps_forget_the_highest_numbers_and_claim_nothing_more() {
        let mut seqs = Seqs::default();
        for seq in 1..=3_000 {
            seqs.insert(2 * seq);
        }
        assert_eq!(seqs.gaps(), RUNS_MAX);
        assert!(seqs.contains(2) && !seqs.contains(3) && !seqs.contains(6_000));
        for seq in 0..3_000 {
            seqs.insert(2 * seq + 1);
        }
        assert_eq!(seqs.through, 2 * 1_024 + 1);
    }

    #[test]
    fn runs_that_overlap_or_touch_are_no_legal_bytes() {
        for runs in [vec![(3u64, 2u64)], vec![(2, 4)], vec![(5, 6), (7, 8)], vec![(9, 9), (5, 5)]] {
            let mut bytes = BytesMut::new();
            (1u64, runs).encode(&mut bytes);
            assert!(Seqs::from_bytes(bytes.freeze()).is_err());
        }
    }
}
