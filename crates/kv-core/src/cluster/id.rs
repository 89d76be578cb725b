//! Newtypes for ids and counters that must not be mixed up.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use bytes::{Bytes, BytesMut};

use crate::wire::{DecodeError, Wire};

/// The id of a server in its cluster: 1 or greater, 16 bits on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(NonZeroU16);

impl NodeId {
    /// The sequencer of a cluster's first epoch, which alone may found a cluster.
    pub const FIRST: Self = Self(NonZeroU16::MIN);

    /// Makes an id of a number.
    ///
    /// # Errors
    /// [`IdError::ZeroNode`] for 0: ids start at 1.
    pub fn new(number: u16) -> Result<Self, IdError> {
        NonZeroU16::new(number).map(Self).ok_or(IdError::ZeroNode)
    }

    /// The id as a number, 1 or greater.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for NodeId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let number = text.parse().map_err(|_| IdError::NotANumber)?;
        Self::new(number)
    }
}

impl Wire for NodeId {
    fn encode(&self, out: &mut BytesMut) {
        self.number().encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        Self::new(u16::decode(input)?).map_err(|_| DecodeError::Invalid { what: "server id" })
    }
}

/// Why a text or a number is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Server ids start at 1.
    #[error("server id 0 does not exist: ids start at 1")]
    ZeroNode,
    /// The text is not a number from 1 to 65535.
    #[error("a server id is a whole number from 1 to 65535")]
    NotANumber,
}

/// One incarnation of a server: a counter in the high half, a random number in the low.
///
/// A server that starts with nothing takes the highest counter that its peers know of it plus
/// one. The random half tells two incarnations apart that began while no peer could be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// The incarnation of a server that has not chosen one yet.
    pub const UNKNOWN: Self = Self(0);

    /// The incarnation after the highest one that is known of a server; `nonce` is its random
    /// half.
    #[must_use]
    pub const fn following(highest_known: Self, nonce: u32) -> Self {
        let counter = (highest_known.0 >> 32) + 1;
        // Widening: the low half holds the whole nonce.
        #[expect(clippy::as_conversions, reason = "u64::from is not const")]
        Self((counter << 32) | nonce as u64)
    }

    /// Which incarnation this is, from 1; 0 for [`Incarnation::UNKNOWN`].
    #[must_use]
    pub const fn counter(self) -> u64 {
        self.0 >> 32
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.counter(), self.0 & 0xffff_ffff)
    }
}

macro_rules! number_newtype {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Wire for $name {
            fn encode(&self, out: &mut BytesMut) {
                self.0.encode(out);
            }

            fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
                <$inner>::decode(input).map(Self)
            }
        }
    };
}

number_newtype! {
    /// Names one request of one driver; the driver never uses a number twice.
    RequestId(u64)
}
number_newtype! {
    /// The number of a record among all that an engine asked to persist; dense, from 1.
    PersistSeq(u64)
}
number_newtype! {
    /// Which of the groups that a server may one day hold is meant; 0 until then.
    GroupId(u32)
}
number_newtype! {
    /// A random name for a cluster, chosen once when it is founded.
    ClusterId(u64)
}

impl PersistSeq {
    /// The sequence number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Wire for Incarnation {
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

    #[test]
    fn node_ids_start_at_one() {
        assert_eq!(NodeId::new(0), Err(IdError::ZeroNode));
        assert_eq!("0".parse::<NodeId>(), Err(IdError::ZeroNode));
        assert_eq!("x".parse::<NodeId>(), Err(IdError::NotANumber));
        assert_eq!("7".parse::<NodeId>().map(NodeId::number), Ok(7));
    }

    #[test]
    fn a_following_incarnation_is_greater_whatever_the_nonces() {
        let first = Incarnation::following(Incarnation::UNKNOWN, u32::MAX);
        let second = Incarnation::following(first, 0);
        assert!(Incarnation::UNKNOWN < first && first < second);
        assert_eq!((first.counter(), second.counter()), (1, 2));
    }
}
