//! Snapshots and checkpoints, a part at a time.

use bytes::Bytes;

use super::output::{Output, PeerFrame, SnapshotFrame};
use super::peer::Peer;
use super::rule::DriverRule;
use super::snapshot::{Outgoing, Taken};
use super::{DriverCore, disk};
use crate::cluster::id::{NodeId, PersistSeq};
use crate::engine::checkpoint::{CheckpointItem, SnapshotPart, ViewChunk, ViewScope};
use crate::engine::{ConsistencyEngine, Input, Now};
use crate::store::ViewId;

impl<E: ConsistencyEngine> DriverCore<E> {
    /// The checkpoint's writer has taken the changes that it was given, and takes more.
    pub const fn on_changes_taken(&mut self) {
        if let Some(stream) = &mut self.disk.stream {
            stream.room += 1;
            self.has_work = true;
        }
    }

    /// The checkpoint that was begun is on disk.
    pub fn on_checkpoint_written(&mut self, now: Now) {
        if let Some(disk::CheckpointStream { view, covers, .. }) = self.disk.end(now.mono) {
            self.engine.close_view(view);
            self.counters.checkpoints_written += 1;
            self.step(now, Input::CheckpointWritten { covers });
        }
    }

    /// The checkpoint that was begun was not written; one is tried again later.
    pub fn on_checkpoint_failed(&mut self, now: Now) {
        if self.config.broken.is(DriverRule::FailedCheckpointKept) {
            return;
        }
        if self.config.broken.is(DriverRule::FailedCheckpointCounts) {
            return self.on_checkpoint_written(now);
        }
        if let Some(stream) = self.disk.fail(now.mono) {
            self.engine.close_view(stream.view);
        }
    }

    /// Opens a checkpoint that is due, and hands over a chunk of the one under way.
    pub(super) fn advance_checkpoint(&mut self, now: Now) {
        if self.config.disk.is_none() {
            return;
        }
        if self.disk.look(now.mono).is_some_and(|due| due <= now.mono) {
            self.begin_checkpoint(now);
        }
        let Some(stream) = self.disk.stream.filter(|stream| stream.room > 0 && !stream.is_read)
        else {
            return;
        };
        match self.engine.read_view(stream.view, self.config.part_bytes_max) {
            Some(ViewChunk { mut changes, is_last }) => {
                if let Some(stream) = &mut self.disk.stream {
                    stream.room -= 1;
                    stream.is_read = is_last;
                    self.has_work |= stream.room > 0 && !is_last;
                }
                if self.config.broken.is(DriverRule::CheckpointChunkLost) {
                    changes.clear();
                }
                self.checkpoint.push_back(Output::WriteChanges { changes, is_last });
            }
            None => {
                self.checkpoint.push_back(Output::AbandonCheckpoint);
                self.on_checkpoint_failed(now);
            }
        }
    }

    fn begin_checkpoint(&mut self, now: Now) {
        let Some(view) = self.engine.open_view(ViewScope::Changes) else {
            return self.disk.put_off(now.mono);
        };
        let mut covers = view.covers;
        if self.config.broken.is(DriverRule::CheckpointCoversTooMuch) {
            covers = self.disk.asked;
        }
        if covers <= self.disk.covers() {
            self.engine.close_view(view.id);
            return self.disk.put_off(now.mono);
        }
        self.disk.begin(view.id, covers);
        let (metadata, changes) = (view.metadata, view.items);
        self.checkpoint.push_back(Output::BeginCheckpoint { covers, metadata, changes });
    }

    /// Begins a snapshot to a peer, unless one is under way or the peer is not there.
    pub(super) fn begin_snapshot(&mut self, now: Now, to: NodeId) {
        let is_due = |peer: &Peer| peer.is_up() && peer.outgoing.is_none();
        if !self.peers.get(&to).is_some_and(is_due) {
            return;
        }
        if let Some(view) = self.engine.open_view(ViewScope::Whole) {
            let name = self.name_snapshot();
            let Some(peer) = self.peers.get_mut(&to) else {
                return;
            };
            self.counters.snapshots_begun += 1;
            let mut outgoing = Outgoing::new(now.mono, view.id, name);
            outgoing.metadata = view.metadata;
            peer.outgoing = Some(outgoing);
        }
    }

    /// A name that no other process of this server gives a snapshot: a peer's word on one that a
    /// former process sent may still be on its way.
    fn name_snapshot(&mut self) -> u64 {
        self.last_snapshot += 1;
        self.engine.status().incarnation.0.wrapping_add(self.last_snapshot)
    }

    /// Sends each peer that is owed a snapshot its next part.
    pub(super) fn advance_snapshots(&mut self, now: Now) {
        let mut sends = Vec::new();
        let mut ended = Vec::new();
        let skips = self.config.broken.is(DriverRule::SnapshotPartLost);
        let (parts_max, bytes_max) =
            (self.config.parts_in_flight_max, self.config.bytes_in_flight_max);
        for (&to, peer) in &mut self.peers {
            let takes = peer.takes_frames();
            let Some(outgoing) = &mut peer.outgoing else {
                continue;
            };
            if outgoing.is_given_up(now.mono) {
                ended.push(to);
                continue;
            }
            if !takes {
                continue;
            }
            let again = outgoing.resend_if_due(now.mono).into_iter();
            sends.extend(again.map(|part| (to, SnapshotFrame::Part(part))));
            if !outgoing.wants_part(parts_max, bytes_max) {
                continue;
            }
            let Some(part) =
                read_part(&mut self.engine, outgoing, self.config.part_bytes_max, skips)
            else {
                ended.push(to);
                continue;
            };
            outgoing.note_sent(now.mono, part.clone());
            self.has_work |= outgoing.wants_part(parts_max, bytes_max);
            sends.push((to, SnapshotFrame::Part(part)));
        }
        for (to, frame) in sends {
            self.send(to, PeerFrame::Snapshot(frame));
        }
        for to in ended {
            self.end_outgoing(to);
        }
    }

    pub(super) fn on_snapshot_frame(&mut self, now: Now, from: NodeId, frame: SnapshotFrame) {
        match frame {
            SnapshotFrame::Part(part) => self.on_part(now, from, part),
            SnapshotFrame::Received { snapshot, parts } => {
                let outgoing = self.outgoing(from, snapshot);
                if outgoing.is_some_and(|outgoing| outgoing.on_received(now.mono, parts)) {
                    self.counters.snapshots_sent += 1;
                    self.end_outgoing(from);
                }
                self.has_work = true;
            }
            SnapshotFrame::Refused { snapshot } => {
                if self.outgoing(from, snapshot).is_some() {
                    self.end_outgoing(from);
                }
            }
        }
    }

    fn on_part(&mut self, now: Now, from: NodeId, part: SnapshotPart) {
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        if peer.has_dropped(part.snapshot) {
            return self.refuse(from, part.snapshot);
        }
        let incoming = peer.incoming.get_or_insert_default();
        // It follows parts that were received, and were dropped since.
        let is_of_dropped =
            part.snapshot != incoming.snapshot() && part.number >= self.config.parts_in_flight_max;
        match incoming.take(&part) {
            Taken::Next => self.step(now, Input::SnapshotPart { from, part }),
            Taken::Repeated => self.acknowledge(from),
            Taken::Early if is_of_dropped => self.refuse(from, part.snapshot),
            Taken::Early => {}
        }
    }

    /// Notes, once the effects of this turn were taken, what the parts that came have to wait for.
    pub(super) fn stage_parts(&mut self) {
        let asked = self.disk.asked;
        for incoming in self.peers.values_mut().filter_map(|peer| peer.incoming.as_mut()) {
            incoming.note_staged(asked);
        }
        let on_disk = self.config.disk.map_or(asked, |_| self.disk.persisted);
        self.acknowledge_parts(on_disk);
    }

    pub(super) fn acknowledge_parts(&mut self, up_to: PersistSeq) {
        let mut received = Vec::new();
        for (&from, peer) in &mut self.peers {
            if peer.incoming.as_mut().is_some_and(|incoming| incoming.on_persisted(up_to)) {
                received.push(from);
            }
        }
        received.into_iter().for_each(|from| self.acknowledge(from));
    }

    fn acknowledge(&mut self, from: NodeId) {
        let incoming = self.peers.get(&from).and_then(|peer| peer.incoming.as_ref());
        let received = incoming.map(|incoming| SnapshotFrame::Received {
            snapshot: incoming.snapshot(),
            parts: incoming.received(),
        });
        if let Some(received) = received {
            self.send(from, PeerFrame::Snapshot(received));
        }
    }

    /// The engine has no use for the snapshot to a peer or from it.
    pub(super) fn refuse_snapshots(&mut self, peer: NodeId) {
        if let Some(snapshot) = self.peers.get_mut(&peer).and_then(Peer::drop_incoming) {
            self.refuse(peer, snapshot);
        }
        self.end_outgoing(peer);
    }

    fn refuse(&mut self, from: NodeId, snapshot: u64) {
        self.send(from, PeerFrame::Snapshot(SnapshotFrame::Refused { snapshot }));
    }

    pub(super) fn end_outgoing(&mut self, to: NodeId) {
        if let Some(outgoing) = self.peers.get_mut(&to).and_then(|peer| peer.outgoing.take()) {
            self.engine.close_view(outgoing.view);
        }
    }

    fn outgoing(&mut self, to: NodeId, snapshot: u64) -> Option<&mut Outgoing> {
        let outgoing = self.peers.get_mut(&to).and_then(|peer: &mut Peer| peer.outgoing.as_mut());
        outgoing.filter(|outgoing| outgoing.snapshot == snapshot)
    }
}

/// The next part of a snapshot; `None` if its view is gone.
fn read_part<E: ConsistencyEngine>(
    engine: &mut E,
    outgoing: &mut Outgoing,
    bytes_max: usize,
    skips: bool,
) -> Option<SnapshotPart> {
    let number = outgoing.next_number();
    if skips && number == 1 {
        engine.read_view(outgoing.view, bytes_max)?;
    }
    let metadata = std::mem::take(&mut outgoing.metadata);
    part(engine, outgoing.view, (outgoing.snapshot, number), metadata, bytes_max)
}

/// Reads a part of a view; `None` if it is gone.
pub(super) fn part<E: ConsistencyEngine>(
    engine: &mut E,
    view: ViewId,
    (snapshot, number): (u64, u32),
    metadata: Bytes,
    bytes_max: usize,
) -> Option<SnapshotPart> {
    let ViewChunk { changes, is_last } = engine.read_view(view, bytes_max)?;
    let items: Vec<CheckpointItem> =
        changes.into_iter().filter_map(|(key, held)| Some((key, held?))).collect();
    Some(SnapshotPart { snapshot, number, metadata, items, is_last })
}
