//! A set of numbers that come almost in order.

use std::collections::BTreeSet;

use kv_core::wire_struct;

/// How far the numbers of one server may run ahead of the oldest that it may still send again.
/// It bounds what everybody remembers of them.
pub(crate) const NUMBERS_SPAN_MAX: u64 = 1 << 18;

/// A set of request numbers: all below a watermark, and some above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NumberSet {
    below: u64,
    above: BTreeSet<u64>,
}

impl NumberSet {
    /// The numbers before the first one, which is 1.
    pub(crate) const fn new() -> Self {
        Self { below: 1, above: BTreeSet::new() }
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        number < self.below || self.above.contains(&number)
    }

    pub(crate) fn insert(&mut self, number: u64) {
        if number == self.below {
            self.below = self.below.saturating_add(1);
            self.absorb();
        } else if number > self.below {
            self.above.insert(number);
        }
    }

    /// Puts all numbers below `settled` into the set.
    pub(crate) fn insert_below(&mut self, settled: u64) {
        if settled > self.below {
            self.below = settled;
            self.above = self.above.split_off(&settled);
            self.absorb();
        }
    }

    fn absorb(&mut self) {
        while self.above.remove(&self.below) {
            self.below = self.below.saturating_add(1);
        }
    }
}

/// The byte form of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NumberRanges {
    below: u64,
    above: Vec<u64>,
}

wire_struct!(NumberRanges { below, above });

impl From<&NumberSet> for NumberRanges {
    fn from(set: &NumberSet) -> Self {
        Self { below: set.below, above: set.above.iter().copied().collect() }
    }
}

impl From<NumberRanges> for NumberSet {
    fn from(ranges: NumberRanges) -> Self {
        let mut set = Self { below: ranges.below.max(1), above: BTreeSet::new() };
        ranges.above.into_iter().for_each(|number| set.insert(number));
        set
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_set_of_what_was_inserted(
            steps in proptest::collection::vec((any::<bool>(), 1u64..40), 0..60),
        ) {
            let mut set = NumberSet::new();
            let mut model = BTreeSet::from([0]);
            for (single, number) in steps {
                if single {
                    set.insert(number);
                    model.insert(number);
                } else {
                    set.insert_below(number);
                    model.extend(0..number);
                }
                prop_assert!(set.above.iter().all(|above| *above > set.below));
            }
            for number in 0..50 {
                prop_assert_eq!(set.contains(number), model.contains(&number));
            }
            prop_assert_eq!(NumberSet::from(NumberRanges::from(&set)), set);
        }
    }

    #[test]
    fn numbers_in_order_take_no_room() {
        let mut set = NumberSet::new();
        (1..1000).for_each(|number| set.insert(number));
        assert_eq!((set.below, set.above.len()), (1000, 0));
    }
}
