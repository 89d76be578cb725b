//! Maps and sets of ids that this process gives out itself.

#![allow(clippy::disallowed_types, reason = "with this hasher the order is the same in each run")]

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A map by ids that nobody else chooses, such as [`RequestId`](crate::RequestId): hashed by one
/// multiplication, which somebody who chose them could make collide. The order of what it holds is
/// the same in each run, but means nothing.
pub type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// A set of such ids.
pub type IdSet<K> = HashSet<K, BuildHasherDefault<IdHasher>>;

/// Hashes numbers by a multiplication whose halves are folded (as wyhash does).
#[derive(Clone, Copy, Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.0 ^ number).wrapping_mul(u128::from(FACTOR));
        let low = u64::try_from(product & u128::from(u64::MAX)).unwrap_or_default();
        let high = u64::try_from(product >> 64).unwrap_or_default();
        self.0 = low ^ high;
    }
}

/// Odd: the golden ratio's fraction in 64 bits.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::RequestId;

    #[test]
    fn ids_that_differ_in_any_half_are_told_apart_and_spread() {
        let ids =
            (0..64_u64).flat_map(|high| (0..64).map(move |low| RequestId((high << 32) | low)));
        let hash = |id: RequestId| {
            let mut hasher = IdHasher::default();
            hasher.write_u64(id.0);
            hasher.finish()
        };
        let hashes: BTreeSet<u64> = ids.clone().map(hash).collect();
        assert_eq!(hashes.len(), 64 * 64);
        let mut buckets = [0; 64];
        for hash in hashes {
            buckets[usize::try_from(hash % 64).unwrap()] += 1;
        }
        let fullest = buckets.iter().max().copied().unwrap();
        assert!(fullest < 64 * 3, "{buckets:?}");
    }
}
