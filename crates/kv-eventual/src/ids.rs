//! What names a server, a write, a read or a request here.

use bytes::{Bytes, BytesMut};
use kv_core::{DecodeError, Incarnation, NodeId, Wire, wire_struct};

/// The position of a server in the sorted list of voters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u8);

impl Slot {
    /// `None` for a position that no cluster has.
    pub(crate) fn new(index: usize) -> Option<Self> {
        let index = u8::try_from(index).ok()?;
        (u32::from(index) < u16::BITS).then_some(Self(index))
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A set of servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotSet(u16);

impl SlotSet {
    /// No server.
    pub(crate) const EMPTY: Self = Self(0);

    /// The first so many servers.
    pub(crate) fn of_first(count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Self(1_u16.checked_shl(count).map_or(u16::MAX, |end| end - 1))
    }

    /// Adds a server; false if it was there already.
    pub(crate) const fn insert(&mut self, slot: Slot) -> bool {
        let is_new = !self.contains(slot);
        self.0 |= 1 << slot.0;
        is_new
    }

    pub(crate) const fn remove(&mut self, slot: Slot) {
        self.0 &= !(1 << slot.0);
    }

    pub(crate) const fn contains(self, slot: Slot) -> bool {
        self.0 & (1 << slot.0) != 0
    }

    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn len(self) -> u16 {
        u16::try_from(self.0.count_ones()).unwrap_or(u16::MAX)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Slot> {
        (0..16).map(Slot).filter(move |slot| self.contains(*slot))
    }
}

/// The number of a write among those that one incarnation of a server coordinated; dense, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteSeq(pub u64);

impl WriteSeq {
    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Wire for WriteSeq {
    fn encode(&self, out: &mut BytesMut) {
        self.0.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        u64::decode(input).map(Self)
    }
}

/// Names one write for good, whatever becomes of its coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId {
    /// The server that coordinated it.
    pub origin: NodeId,
    /// That server's incarnation.
    pub incarnation: Incarnation,
    /// Its number in that incarnation.
    pub seq: WriteSeq,
}

wire_struct!(WriteId { origin, incarnation, seq });

/// Names a read of one coordinator; never used twice, not even by another incarnation of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

impl Wire for ReadId {
    fn encode(&self, out: &mut BytesMut) {
        self.0.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        u64::decode(input).map(Self)
    }
}

/// The position of a request in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QueuePosition(u64);

impl QueuePosition {
    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Whether an incarnation can be one: damage could otherwise use up all the numbers for
/// incarnations.
pub(crate) const fn is_plausible_incarnation(incarnation: Incarnation) -> bool {
    incarnation.counter() < INCARNATIONS_END
}

const INCARNATIONS_END: u64 = 1 << 31;
