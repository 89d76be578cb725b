//! Sets of calls that are open at one time, by numbers that are used again.

/// A set of slots.
pub(super) trait Slots: Clone + Ord {
    /// The bytes that a set holds beside itself.
    fn bytes_beside(&self) -> usize;
    fn empty() -> Self;
    fn contains(&self, slot: u32) -> bool;
    fn insert(&mut self, slot: u32);
    fn remove(&mut self, slot: u32);
}

impl Slots for u128 {
    fn bytes_beside(&self) -> usize {
        0
    }

    fn empty() -> Self {
        0
    }

    fn contains(&self, slot: u32) -> bool {
        self & (1 << slot) != 0
    }

    fn insert(&mut self, slot: u32) {
        *self |= 1 << slot;
    }

    fn remove(&mut self, slot: u32) {
        *self &= !(1 << slot);
    }
}

impl Slots for Vec<u64> {
    fn bytes_beside(&self) -> usize {
        16 + 8 * self.capacity()
    }

    fn empty() -> Self {
        Self::new()
    }

    fn contains(&self, slot: u32) -> bool {
        let (word, bit) = word_and_bit(slot);
        self.get(word).is_some_and(|word| word & bit != 0)
    }

    fn insert(&mut self, slot: u32) {
        let (word, bit) = word_and_bit(slot);
        if self.len() <= word {
            self.resize(word + 1, 0);
        }
        if let Some(word) = self.get_mut(word) {
            *word |= bit;
        }
    }

    fn remove(&mut self, slot: u32) {
        let (word, bit) = word_and_bit(slot);
        if let Some(word) = self.get_mut(word) {
            *word &= !bit;
        }
        // Equal sets must be equal vectors.
        while self.last() == Some(&0) {
            self.pop();
        }
    }
}

fn word_and_bit(slot: u32) -> (usize, u64) {
    (usize::try_from(slot / 64).unwrap_or(usize::MAX), 1 << (slot % 64))
}
