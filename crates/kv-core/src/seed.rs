//! Randomness that a seed decides.

use std::hash::{BuildHasher, RandomState};

/// A stream of pseudo-random numbers from a seed (`SplitMix64`; Steele, Lea & Flood, *Fast
/// Splittable Pseudorandom Number Generators*, 2014).
///
/// An engine draws all its randomness from one, so that equal inputs give equal effects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SeedStream(u64);

impl SeedStream {
    /// Starts the stream of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed that no other program run has: the system draws it. It is the one thing here that is
    /// not repeatable, and nothing but [`EngineConfig::new`](crate::EngineConfig::new) asks for it.
    pub(crate) fn drawn_by_the_system() -> u64 {
        RandomState::new().hash_one(0)
    }

    /// The next number, uniform over all of 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next number below `bound`; 0 for a bound of 0. The bias is below `bound / 2^64`.
    pub const fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next_u64() % bound }
    }

    /// Whether an event of `per_mille` in 1,000 happens.
    pub const fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_that_the_system_draws_differ() {
        assert_ne!(SeedStream::drawn_by_the_system(), SeedStream::drawn_by_the_system());
    }

    #[test]
    fn the_stream_is_the_published_one() {
        let mut stream = SeedStream::new(1_234_567);
        let drawn = [stream.next_u64(), stream.next_u64(), stream.next_u64()];
        assert_eq!(
            drawn,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn below_stays_below() {
        let mut stream = SeedStream::new(7);
        assert!((0..1000).all(|_| stream.below(3) < 3));
        assert_eq!(stream.below(0), 0);
    }
}
