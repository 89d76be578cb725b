//! What a driver keeps of each peer.

use std::time::Duration;

use super::snapshot::{Incoming, Outgoing};

/// A peer, its connection, and the snapshots to it and from it: one each at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    is_up: bool,
    pub(super) is_congested: bool,
    pub(super) outgoing: Option<Outgoing>,
    pub(super) incoming: Option<Incoming>,
}

impl Peer {
    pub(super) const fn set_up(&mut self, is_up: bool) {
        self.is_up = is_up;
        self.is_congested = false;
    }

    pub(super) const fn is_up(&self) -> bool {
        self.is_up
    }

    pub(super) const fn takes_frames(&self) -> bool {
        self.is_up && !self.is_congested
    }

    /// When the snapshot to it is to be looked at. Nothing is sent again to one that takes nothing.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let outgoing = self.outgoing.as_ref();
        outgoing.map(if self.takes_frames() {
            Outgoing::next_deadline
        } else {
            Outgoing::gives_up_at
        })
    }
}
