//! Places in the log, and who may assign them.

use std::fmt;

use bytes::{Bytes, BytesMut};
use kv_core::{DecodeError, Incarnation, NodeId, Wire};

/// The right of one process to assign positions in the log, compared in the order of its fields.
///
/// Every start of a server is another incarnation, so that no two processes ever share an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// Grows whenever the sequencer is chosen anew; at most [`Epoch::ROUND_MAX`].
    pub round: u32,
    /// The sequencer.
    pub owner: NodeId,
    /// The process of that server which is meant.
    pub incarnation: Incarnation,
}

impl Epoch {
    /// The last round. One beyond it is refused where it is read: a damaged number could use up
    /// all that follow.
    pub const ROUND_MAX: u32 = u32::MAX / 2;

    /// The epoch in which a cluster is founded.
    #[must_use]
    pub const fn first(owner: NodeId, incarnation: Incarnation) -> Self {
        Self { round: 0, owner, incarnation }
    }

    /// An epoch after this one, whatever its owner; `None` after the last round.
    #[must_use]
    pub fn next(self, owner: NodeId, incarnation: Incarnation) -> Option<Self> {
        let round = self.round.checked_add(1).filter(|round| *round <= Self::ROUND_MAX)?;
        Some(Self { round, owner, incarnation })
    }

    /// Whether both are of one round and owner, in whichever process.
    #[must_use]
    pub fn is_round_of(self, other: Self) -> bool {
        (self.round, self.owner) == (other.round, other.owner)
    }
}

/// The lowest of all epochs, which is before the first entry of every log.
impl Default for Epoch {
    fn default() -> Self {
        Self::first(NodeId::FIRST, Incarnation::UNKNOWN)
    }
}

/// `0.1.3`: round, owner and the owner's how manieth start.
impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.round, self.owner, self.incarnation.counter())
    }
}

impl Wire for Epoch {
    fn encode(&self, out: &mut BytesMut) {
        self.round.encode(out);
        self.owner.encode(out);
        self.incarnation.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        let round = u32::decode(input)?;
        if round > Self::ROUND_MAX {
            return Err(DecodeError::Invalid { what: "round of an epoch" });
        }
        Ok(Self { round, owner: Wire::decode(input)?, incarnation: Wire::decode(input)? })
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
    fn encode(&self, out: &mut BytesMut) {
        self.0.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        u64::decode(input).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(round: u32, owner: u16, incarnation: u64) -> Epoch {
        let owner = NodeId::new(owner).unwrap();
        Epoch { round, owner, incarnation: Incarnation(incarnation) }
    }

    #[test]
    fn epochs_compare_by_round_then_owner_then_incarnation() {
        assert!(epoch(0, 9, 9) < epoch(1, 1, 0));
        assert!(epoch(1, 1, 9) < epoch(1, 2, 0));
        assert!(epoch(1, 1, 0) < epoch(1, 1, 1));
        assert!(Epoch::default() < Epoch::first(NodeId::FIRST, Incarnation(1)));
    }

    #[test]
    fn the_next_epoch_is_above_every_owner_and_incarnation_of_this_one() {
        let next = epoch(4, 9, u64::MAX).next(NodeId::FIRST, Incarnation(1));
        assert_eq!(next, Some(epoch(5, 1, 1)));
        assert_eq!(epoch(Epoch::ROUND_MAX, 1, 1).next(NodeId::FIRST, Incarnation(1)), None);
    }

    #[test]
    fn a_round_that_nobody_can_have_reached_is_not_read() {
        let last = epoch(Epoch::ROUND_MAX, 1, 1);
        assert_eq!(Epoch::from_bytes(last.to_bytes()), Ok(last));
        let beyond = epoch(Epoch::ROUND_MAX + 1, 1, 1);
        assert!(Epoch::from_bytes(beyond.to_bytes()).is_err());
    }
}
