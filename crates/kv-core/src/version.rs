//! Versions that a client sees.

use std::fmt;

use crate::cluster::id::{Incarnation, NodeId};
use crate::wire_enum;

/// Which write a value is from. Versions of one key are ordered; a greater one is newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// The write's number among all operations in the one log of the linearizable engine, from 1. It
    /// never falls, so it serves as a fencing token.
    Log(u64),
    /// The write's stamp in the eventual engine.
    Stamp {
        /// Hybrid logical clock.
        time: HybridTime,
        /// The server that coordinated the write.
        origin: NodeId,
        /// That server's incarnation.
        incarnation: Incarnation,
    },
    /// The write's tag in an engine that orders writes key by key: a number, and what broke a tie.
    Tag {
        /// One more than any that its writer had met.
        number: u64,
        /// The server that coordinated the write.
        writer: NodeId,
        /// That server's incarnation.
        incarnation: Incarnation,
    },
}

wire_enum!(Version, "version", {
    0 => Log(index),
    1 => Stamp { time, origin, incarnation },
    2 => Tag { number, writer, incarnation },
});

/// `17`, `1460490249593.2@1` or `17@1`
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(index) => index.fmt(f),
            Self::Stamp { time, origin, .. } => write!(f, "{time}@{origin}"),
            Self::Tag { number, writer, .. } => write!(f, "{number}@{writer}"),
        }
    }
}

/// A reading of a hybrid logical clock: 48 bits of milliseconds since the Unix epoch above a
/// 16-bit counter (Kulkarni et al., *Logical Physical Clocks*, 2014).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HybridTime(u64);

impl HybridTime {
    /// Before every write.
    pub const ZERO: Self = Self(0);

    /// The first reading of a millisecond.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis << 16)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0 >> 16
    }

    /// The counter within the millisecond.
    #[must_use]
    pub const fn counter(self) -> u64 {
        self.0 & 0xffff
    }

    /// The next reading: the counter plus one, running over into the milliseconds.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for HybridTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.millis(), self.counter())
    }
}

impl crate::Wire for HybridTime {
    fn encode(&self, out: &mut bytes::BytesMut) {
        self.0.encode(out);
    }

    fn decode(input: &mut bytes::Bytes) -> Result<Self, crate::DecodeError> {
        u64::decode(input).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_time_orders_by_milliseconds_then_counter() {
        let base = HybridTime::from_millis(1_460_490_249_593);
        assert!(base < base.next());
        assert!(base.next() < HybridTime::from_millis(base.millis() + 1));
        assert_eq!(base.next().to_string(), "1460490249593.1");
        let mut last_of_milli = base;
        for _ in 0..0x1_0000 {
            last_of_milli = last_of_milli.next();
        }
        assert_eq!(last_of_milli, HybridTime::from_millis(base.millis() + 1));
    }
}
