//! Snapshots on their way to peers and from them.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::cluster::id::PersistSeq;
use crate::engine::checkpoint::SnapshotPart;
use crate::store::ViewId;

/// A snapshot that goes to a peer.
///
/// The parts and bytes without an acknowledgement are bounded: they are the memory of both sides,
/// and what a message to the same peer waits behind. A connection that stands loses none of them, and
/// a new one gets a new snapshot. So they are sent again only after a wait in which a slow connection
/// would have carried them, for a peer that dropped one, or whose acknowledgement was dropped.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) view: ViewId,
    pub(super) snapshot: u64,
    /// What goes with the first part.
    pub(super) metadata: Bytes,
    next_number: u32,
    /// Parts that the peer has not acknowledged.
    unacknowledged: VecDeque<SnapshotPart>,
    /// Their bytes.
    unacknowledged_bytes: usize,
    /// All of it was read.
    pub(super) is_read: bool,
    /// When it began, a part was last acknowledged, or one was sent while none was unacknowledged.
    waits_since: Duration,
    /// How often the parts were sent again since then.
    resends: u32,
}

impl Outgoing {
    pub(super) fn new(now: Duration, view: ViewId, snapshot: u64) -> Self {
        Self {
            view,
            snapshot,
            metadata: Bytes::new(),
            next_number: 0,
            unacknowledged: VecDeque::new(),
            unacknowledged_bytes: 0,
            is_read: false,
            waits_since: now,
            resends: 0,
        }
    }

    /// Whether a further part may be sent. One may always be in flight, however large.
    pub(super) fn wants_part(&self, parts_max: u32, bytes_max: usize) -> bool {
        let parts = u32::try_from(self.unacknowledged.len()).unwrap_or(u32::MAX);
        let has_room = parts < parts_max && self.unacknowledged_bytes < bytes_max;
        !self.is_read && (parts == 0 || has_room)
    }

    pub(super) const fn next_number(&self) -> u32 {
        self.next_number
    }

    /// Keeps a part until it is acknowledged.
    pub(super) fn note_sent(&mut self, now: Duration, part: SnapshotPart) {
        if self.unacknowledged.is_empty() {
            self.wait_anew(now);
        }
        self.is_read = part.is_last;
        self.next_number += 1;
        self.unacknowledged_bytes = self.unacknowledged_bytes.saturating_add(bytes(&part));
        self.unacknowledged.push_back(part);
    }

    /// The peer has the parts before this number; whether it has all.
    pub(super) fn on_received(&mut self, now: Duration, parts: u32) -> bool {
        while let Some(part) = self.unacknowledged.front()
            && part.number < parts
        {
            self.unacknowledged_bytes = self.unacknowledged_bytes.saturating_sub(bytes(part));
            self.unacknowledged.pop_front();
            self.wait_anew(now);
        }
        self.is_read && self.unacknowledged.is_empty()
    }

    /// What is to be sent again.
    pub(super) fn resend_if_due(&mut self, now: Duration) -> Vec<SnapshotPart> {
        if self.resends_at() > now {
            return Vec::new();
        }
        self.resends += 1;
        self.unacknowledged.iter().cloned().collect()
    }

    /// Whether the peer has acknowledged nothing for so long that it will not.
    pub(super) fn is_given_up(&self, now: Duration) -> bool {
        self.gives_up_at() <= now
    }

    pub(super) fn gives_up_at(&self) -> Duration {
        self.waits_since.saturating_add(self.patience().saturating_mul(RESENDS_MAX + 1))
    }

    pub(super) fn next_deadline(&self) -> Duration {
        self.resends_at().min(self.gives_up_at())
    }

    fn resends_at(&self) -> Duration {
        self.waits_since.saturating_add(self.patience().saturating_mul(self.resends + 1))
    }

    /// How long the parts in flight may take: a slow connection needs longer for more bytes.
    fn patience(&self) -> Duration {
        let secs = u64::try_from(self.unacknowledged_bytes / SLOW_BYTES_PER_SEC);
        PATIENCE_MIN.saturating_add(Duration::from_secs(secs.unwrap_or(u64::MAX)))
    }

    const fn wait_anew(&mut self, now: Duration) {
        self.waits_since = now;
        self.resends = 0;
    }
}

fn bytes(part: &SnapshotPart) -> usize {
    let items = part.items.iter().map(|(key, held)| key.len().saturating_add(held.len()));
    items.fold(part.metadata.len(), usize::saturating_add)
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

    /// The snapshot's name; `None` while no part of it was taken.
    pub(super) fn name(&self) -> Option<u64> {
        (self.next_number > 0).then_some(self.snapshot)
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

/// Parts without an acknowledgement are sent again this often, and then the transfer ends.
const RESENDS_MAX: u32 = 2;

/// How long even a small part may take.
const PATIENCE_MIN: Duration = Duration::from_secs(10);

/// What a slow connection carries.
const SLOW_BYTES_PER_SEC: usize = 256 << 10;
