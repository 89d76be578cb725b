//! The clocks of one server.

use std::time::Duration;

use kv_core::{ConsistencyEngine, NodeId, Now};

use crate::cluster::Cluster;

/// How one server reads the time in one of its lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    started_at: Duration,
    wall_offset: WallOffset,
}

/// How far a wall clock is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WallOffset {
    /// It shows a later time than it is.
    Ahead(Duration),
    /// It shows an earlier time than it is.
    Behind(Duration),
}

impl WallOffset {
    /// The right time.
    pub const NONE: Self = Self::Ahead(Duration::ZERO);
}

impl Clock {
    pub(crate) const fn new(started_at: Duration, wall_offset: WallOffset) -> Self {
        Self { started_at, wall_offset }
    }

    pub(crate) const fn set_wall_offset(&mut self, offset: WallOffset) {
        self.wall_offset = offset;
    }

    /// What the server reads when the simulation's time is `at`.
    pub(crate) fn now(&self, at: Duration) -> Now {
        let wall = WALL_AT_START + at;
        Now {
            mono: MONO_AT_START + at.saturating_sub(self.started_at),
            wall: match self.wall_offset {
                WallOffset::Ahead(offset) => wall + offset,
                WallOffset::Behind(offset) => wall.saturating_sub(offset),
            },
        }
    }

    /// The simulation's time when the server's monotonic clock shows `deadline`.
    pub(crate) const fn time_of(&self, deadline: Duration) -> Duration {
        self.started_at.saturating_add(deadline.saturating_sub(MONO_AT_START))
    }
}

impl<E: ConsistencyEngine> Cluster<E> {
    /// Sets how far a server's wall clock is off, in this life and the later ones.
    pub fn set_wall_offset(&mut self, node: NodeId, offset: WallOffset) {
        self.server_mut(node).set_wall_offset(offset);
    }
}

// Both are far from zero, as on a real machine, so that nothing mistakes zero for "never".
const MONO_AT_START: Duration = Duration::from_secs(1);
const WALL_AT_START: Duration = Duration::from_secs(1_000_000_000);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_convert_there_and_back_in_every_life() {
        let second = Duration::from_secs(1);
        let clock = Clock::new(100 * second, WallOffset::Behind(3 * second));
        let now = clock.now(105 * second);
        assert_eq!(now.mono, MONO_AT_START + 5 * second);
        assert_eq!(now.wall, WALL_AT_START + 102 * second);
        assert_eq!(clock.time_of(now.mono + second), 106 * second);
    }
}
