//! Snapshots on their way to peers and from them.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::cluster::id::PersistSeq;
use crate::engine::checkpoint::SnapshotPart;
use crate::store::ViewId;

/// A snapshot that goes to a peer.
///
/// So many parts may be without an answer: they bound the memory of both sides, and what a message
/// to the same peer waits behind.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) view: ViewId,
    pub(super) snapshot: u64,
    /// What goes with the first part.
    pub(super) metadata: Bytes,
    next_number: u32,
    /// Parts that the peer has not acknowledged.
    unacknowledged: VecDeque<SnapshotPart>,
    /// All of it was read.
    pub(super) is_read: bool,
    resend_at: Duration,
    resend_after: Duration,
    give_up_at: Duration,
}

impl Outgoing {
    pub(super) fn new(now: Duration, view: ViewId, snapshot: u64) -> Self {
        Self {
            view,
            snapshot,
            metadata: Bytes::new(),
            next_number: 0,
            unacknowledged: VecDeque::new(),
            is_read: false,
            resend_at: now.saturating_add(RESEND_MIN),
            resend_after: RESEND_MIN,
            give_up_at: now.saturating_add(GIVE_UP_AFTER),
        }
    }

    pub(super) fn wants_part(&self, in_flight_max: u32) -> bool {
        let in_flight = u32::try_from(self.unacknowledged.len()).unwrap_or(u32::MAX);
        !self.is_read && in_flight < in_flight_max
    }

    pub(super) const fn next_number(&self) -> u32 {
        self.next_number
    }

    /// Keeps a part until it is acknowledged.
    pub(super) fn note_sent(&mut self, now: Duration, part: SnapshotPart) {
        if self.unacknowledged.is_empty() {
            self.resend_at = now.saturating_add(self.resend_after);
        }
        self.is_read = part.is_last;
        self.next_number += 1;
        self.unacknowledged.push_back(part);
    }

    /// The peer has the parts before this number; whether it has all.
    pub(super) fn on_received(&mut self, now: Duration, parts: u32) -> bool {
        let before = self.unacknowledged.len();
        while self.unacknowledged.front().is_some_and(|part| part.number < parts) {
            self.unacknowledged.pop_front();
        }
        if self.unacknowledged.len() < before {
            self.resend_after = RESEND_MIN;
            self.resend_at = now.saturating_add(RESEND_MIN);
            self.give_up_at = now.saturating_add(GIVE_UP_AFTER);
        }
        self.is_read && self.unacknowledged.is_empty()
    }

    /// What is to be sent again.
    pub(super) fn resend_if_due(&mut self, now: Duration) -> Vec<SnapshotPart> {
        if self.resend_at > now {
            return Vec::new();
        }
        self.resend_after = (self.resend_after * 2).min(RESEND_MAX);
        self.resend_at = now.saturating_add(self.resend_after);
        self.unacknowledged.iter().cloned().collect()
    }

    /// Whether the peer has answered nothing for so long that it will not.
    pub(super) fn is_given_up(&self, now: Duration) -> bool {
        self.give_up_at <= now
    }

    pub(super) const fn gives_up_at(&self) -> Duration {
        self.give_up_at
    }

    pub(super) fn next_deadline(&self) -> Duration {
        self.resend_at.min(self.give_up_at)
    }
}

/// A snapshot that comes from a peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Incoming {
    snapshot: u64,
    /// The part that is due; none is before part 0 came.
    next_number: u32,
    /// Parts that were taken, with the last record that they made, until that is on disk.
    staged: VecDeque<(PersistSeq, u32)>,
    /// Parts whose records are on disk.
    received: u32,
}

/// What to do with a part that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Give it to the engine.
    Next,
    /// It came before: say again what was received.
    Repeated,
    /// It is not due.
    Early,
}

impl Incoming {
    pub(super) fn take(&mut self, part: &SnapshotPart) -> Taken {
        // The names of a peer's snapshots ascend: the first part of an earlier one is late.
        if part.number == 0 && part.snapshot > self.snapshot {
            *self = Self { snapshot: part.snapshot, ..Self::default() };
        }
        if part.snapshot != self.snapshot || part.number > self.next_number {
            return Taken::Early;
        }
        if part.number < self.next_number {
            return Taken::Repeated;
        }
        self.next_number += 1;
        Taken::Next
    }

    pub(super) const fn snapshot(&self) -> u64 {
        self.snapshot
    }

    pub(super) const fn received(&self) -> u32 {
        self.received
    }

    /// The records of all parts that were taken are asked for.
    pub(super) fn note_staged(&mut self, asked: PersistSeq) {
        let noted = self.staged.back().map_or(self.received, |(_, parts)| *parts);
        if noted < self.next_number {
            self.staged.push_back((asked, self.next_number));
        }
    }

    /// Records up to this one are on disk; whether more parts were received by that.
    pub(super) fn on_persisted(&mut self, up_to: PersistSeq) -> bool {
        let before = self.received;
        while let Some(&(asked, parts)) = self.staged.front()
            && asked <= up_to
        {
            self.received = parts;
            self.staged.pop_front();
        }
        self.received > before
    }
}

const RESEND_MIN: Duration = Duration::from_secs(1);
const RESEND_MAX: Duration = Duration::from_secs(8);

/// A transfer in which nothing has come for so long ends.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);
