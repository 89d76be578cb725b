//! Places in the log, and who may assign them.

use std::fmt;

use kv_core::{DecodeError, NodeId, Wire, wire_struct};

/// The right of one sequencer to assign positions in the log, compared in the order of its fields.
///
/// The first epoch of a cluster is (0, sequencer, 0). Only its owner may open a round with
/// generation 0; only the sequencer of a generation may make the next one, when it restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// Grows whenever another server takes over.
    pub round: u32,
    /// The sequencer.
    pub owner: NodeId,
    /// Which restart of that sequencer.
    pub generation: u16,
}

wire_struct!(Epoch { round, owner, generation });

impl Epoch {
    /// The epoch in which a cluster is founded.
    #[must_use]
    pub const fn first(owner: NodeId) -> Self {
        Self { round: 0, owner, generation: 0 }
    }

    /// The epoch of the same sequencer after a restart; `None` after 65,535 of them.
    #[must_use]
    pub fn next_generation(self) -> Option<Self> {
        let generation = self.generation.checked_add(1)?;
        Some(Self { generation, ..self })
    }
}

/// The lowest of all epochs, which is before the first entry of every log.
impl Default for Epoch {
    fn default() -> Self {
        Self::first(NodeId::FIRST)
    }
}

/// `0.1.0`
impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.round, self.owner, self.generation)
    }
}

/// A position in the log, from 1; [`LogIndex::ZERO`] is before the first entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogIndex(pub u64);

impl LogIndex {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);

    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The position before this one; zero is before itself.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// How many positions this one is after another; 0 if it is before.
    #[must_use]
    pub const fn distance_from(self, other: Self) -> u64 {
        self.0.saturating_sub(other.0)
    }
}

impl fmt::Display for LogIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Wire for LogIndex {
    fn encode(&self, out: &mut bytes::BytesMut) {
        self.0.encode(out);
    }

    fn decode(input: &mut bytes::Bytes) -> Result<Self, DecodeError> {
        u64::decode(input).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_compare_by_round_then_owner_then_generation() {
        let epoch = |round, owner, generation| Epoch {
            round,
            owner: NodeId::new(owner).unwrap(),
            generation,
        };
        assert!(epoch(0, 9, 9) < epoch(1, 1, 0));
        assert!(epoch(1, 1, 9) < epoch(1, 2, 0));
        assert!(epoch(1, 1, 0) < epoch(1, 1, 1));
        assert_eq!(Epoch::first(NodeId::FIRST), epoch(0, 1, 0));
        assert_eq!(epoch(0, 1, 0).next_generation(), Some(epoch(0, 1, 1)));
        assert_eq!(epoch(0, 1, u16::MAX).next_generation(), None);
    }
}
