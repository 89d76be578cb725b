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
    /// The last snapshot from it that was dropped: its further parts are refused. No other snapshot
    /// has its name.
    dropped: Option<u64>,
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

    /// Drops the snapshot that comes from it, if one does; gives its name.
    pub(super) fn drop_incoming(&mut self) -> Option<u64> {
        let dropped = self.incoming.take().and_then(|incoming| incoming.name());
        self.dropped = dropped.or(self.dropped);
        dropped
    }

    pub(super) fn has_dropped(&self, snapshot: u64) -> bool {
        self.dropped == Some(snapshot)
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
