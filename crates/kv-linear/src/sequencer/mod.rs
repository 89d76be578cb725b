//! The sequencer: it orders operations and counts who holds them.

mod admission;
mod confirming;
mod hand_over;
mod intake;
mod outgoing;
pub(crate) mod progress;
mod replication;
mod ticks;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use kv_core::{HaltReason, Incarnation, NodeId};

use crate::core::{Core, Out};
use crate::founding::Member;
use crate::log::entry::{OPERATION_OVERHEAD, Origin};
use crate::log::epoch::{Epoch, LogIndex};
use crate::log::tail::{Tail, agreement};
use crate::message::Ack;
use crate::mutation::Mutation;
use crate::sequencer::confirming::Confirming;
use crate::sequencer::hand_over::HandOver;
use crate::sequencer::intake::Intake;
use crate::sequencer::progress::Progress;

/// The one server that assigns log positions.
#[derive(Clone, Debug)]
pub(crate) struct Sequencer {
    pub(crate) epoch: Epoch,
    /// The entry that opened the epoch.
    pub(crate) opening: LogIndex,
    pub(crate) peers: BTreeMap<NodeId, Progress>,
    pub(crate) queue: VecDeque<Queued>,
    pub(crate) queue_bytes: usize,
    pub(crate) heartbeat_at: Duration,
    /// When it is looked whether a key's time is up.
    tick_at: Option<Duration>,
    /// Founding members that have not been welcomed, since the founding is not on disk.
    welcomes: Vec<Member>,
    handing: Option<HandOver>,
    /// One that was given up is not begun again by itself before this.
    hand_over_not_before: Duration,
    /// When it was given up last that one of these leads.
    declined: BTreeMap<NodeId, Duration>,
    pub(crate) confirming: Confirming,
}

/// A request that has no position yet.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) origin: Origin,
    pub(crate) encoded: Bytes,
}

impl Sequencer {
    /// Begins with an epoch whose opening entry is the last one of the log.
    pub(crate) fn start(core: &mut Core, now: Duration, welcomes: Vec<Member>) -> Self {
        let timing = core.config.timing;
        let opening = core.replica.log().last().index;
        let progress = |peer| {
            let incarnation = core.known.highest(peer);
            let mut progress = Progress::new(&timing, incarnation, opening);
            progress.heard_at = Some(now);
            if !core.broken.is(Mutation::PlacedForwardRefused) {
                progress.intake = Intake::holding(core.replica.placed(peer, incarnation));
            }
            (peer, progress)
        };
        let mut sequencer = Self {
            epoch: core.promised(),
            opening,
            peers: core.peers().into_iter().map(progress).collect(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            heartbeat_at: now,
            tick_at: None,
            welcomes,
            handing: None,
            hand_over_not_before: now,
            declined: BTreeMap::new(),
            confirming: Confirming::default(),
        };
        sequencer.take_pending(core);
        core.flush_soon(now);
        sequencer
    }

    /// Takes the requests that this server's clients wait for into the queue, but for those that
    /// are in the log.
    fn take_pending(&mut self, core: &mut Core) {
        let (server, incarnation) = (core.node(), core.incarnation());
        let placed = core.replica.placed(server, incarnation);
        let settled_below = core.forwarder.settled_below();
        for (number, encoded) in core.forwarder.keep_all() {
            if !placed.contains(number) {
                let origin = Origin { server, incarnation, number, settled_below };
                self.enqueue(Queued { origin, encoded });
            }
        }
    }

    /// Whether this epoch's opening entry is committed. Until then an entry that this log lacks
    /// may still turn up in a later epoch.
    pub(crate) fn is_settled(&self, core: &Core) -> bool {
        core.replica.commit() >= self.opening
    }

    /// The last entry of the log, once the disk has the one that opened this epoch.
    pub(crate) fn sequenced(&self, core: &Core) -> Option<LogIndex> {
        (core.replica.durable() >= self.opening).then(|| core.replica.log().last().index)
    }

    /// The founding is on disk: the members may take part.
    pub(crate) fn welcome(&mut self, core: &Core, out: &mut Out) {
        for member in std::mem::take(&mut self.welcomes) {
            core.welcome(member.node, member.nonce, out);
        }
    }

    /// A follower's disk holds the log up to here.
    pub(crate) fn on_ack(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, incarnation, ack): (NodeId, Incarnation, Ack),
        out: &mut Out,
    ) {
        let last = core.replica.log().last().index;
        let Some(progress) = self.peers.get_mut(&from) else {
            return;
        };
        let counted = incarnation == progress.incarnation
            || core.broken.is(Mutation::FormerIncarnationCounted);
        if !counted {
            core.counters.stray_messages += 1;
            return;
        }
        if ack.durable > last {
            // Another process has opened this epoch, on another copy of this disk.
            core.halt_for(HaltReason::SetBack { peer: from }, out);
            return;
        }
        if ack.round > self.confirming.last() {
            core.counters.malformed += 1;
            return;
        }
        progress.recovering = ack.recovering;
        progress.confirmed = progress.confirmed.max(ack.round);
        let progressed = progress.acknowledge(&core.config.timing, now, ack.durable);
        self.advance_commit(core, now, out);
        self.end_rounds(core, out);
        if progressed || self.may_begin_round(core) {
            core.flush_soon(now);
        }
    }

    /// A follower's log differs from this one, or has a gap; false if it is committed beyond this
    /// one.
    pub(crate) fn on_nack(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, incarnation, tail): (NodeId, Incarnation, Tail),
    ) -> bool {
        let Some(progress) = self.peers.get_mut(&from) else {
            return true;
        };
        if incarnation != progress.incarnation {
            core.counters.stray_messages += 1;
            return true;
        }
        let log = core.replica.log();
        let lacks_committed = tail.commit > log.last().index
            || log.hash_at(tail.commit).is_some_and(|hash| hash != tail.commit_hash);
        if lacks_committed {
            return false;
        }
        let agreed = agreement(log, core.replica.commit(), &tail).max(progress.acked);
        core.counters.resends += 1;
        progress.locate(agreed);
        core.flush_soon(now);
        true
    }

    pub(crate) fn on_peer_up(&mut self, core: &mut Core, now: Duration, peer: NodeId) {
        if let Some(progress) = self.peers.get_mut(&peer) {
            progress.resume(&core.config.timing);
            self.heartbeat_at = now;
            core.flush_soon(now);
        }
    }

    pub(crate) fn on_peer_down(&mut self, peer: NodeId) {
        if let Some(progress) = self.peers.get_mut(&peer) {
            progress.pause();
        }
    }

    /// A message of a peer came: it is alive, and in the incarnation that is known.
    pub(crate) fn on_heard(&mut self, core: &Core, now: Duration, peer: NodeId) {
        let present = core.known.highest(peer);
        if let Some(progress) = self.peers.get_mut(&peer) {
            progress.heard_at = Some(now);
            if present != progress.incarnation {
                // Its requests may be in this log already, by an earlier sequencer.
                let placed = core.replica.placed(peer, present);
                progress.begin_incarnation(present, Intake::holding(placed));
            }
        }
    }

    /// Commits what this server's disk and those of W - 1 others hold.
    ///
    /// Entries of earlier epochs are committed with the one that opened this one, never by
    /// themselves: a server that promised a later epoch with a longer log of an earlier one might
    /// replace them (Ongaro, section 3.6.2).
    pub(crate) fn advance_commit(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        let held = self.held_by_quorum(core);
        let inherited = core.broken.is(Mutation::InheritedCommitted);
        if held > core.replica.commit() && (held >= self.opening || inherited) {
            core.replica.note_commit(held);
            core.flush_soon(now);
        }
        core.deliver(out);
    }

    /// The last entry that W servers hold on disk, this one among them.
    fn held_by_quorum(&self, core: &Core) -> LogIndex {
        let log_last = core.replica.log().last().index;
        let early = core.broken.is(Mutation::AppliedBeforePersisted);
        let own = if early { log_last } else { core.replica.durable() };
        let fewer = u16::from(core.broken.is(Mutation::CommitsWithOneFewer));
        let others = core.quorums.write.saturating_sub(1 + fewer);
        let ignored =
            core.broken.is(Mutation::WriteQuorumIgnored) && core.quorums.write < core.quorums.nodes;
        let Some(nth) = usize::from(others).checked_sub(1).filter(|_| !ignored) else {
            return own;
        };
        let counted = |(peer, progress): (&NodeId, &Progress)| {
            if progress.counts(*peer, core) { progress.acked } else { LogIndex::ZERO }
        };
        let mut acked: Vec<LogIndex> = self.peers.iter().map(counted).collect();
        acked.sort_unstable_by(|a, b| b.cmp(a));
        let held = acked.get(nth).copied().unwrap_or(LogIndex::ZERO);
        if core.broken.is(Mutation::OwnDiskNotCounted) { held } else { held.min(own) }
    }

    /// How many servers are known to hold the log up to `position` on disk.
    pub(crate) fn holders(&self, core: &Core, position: LogIndex) -> u16 {
        let own = usize::from(core.replica.durable() >= position);
        let others = self.peers.values().filter(|progress| progress.acked >= position).count();
        u16::try_from(own + others).unwrap_or(u16::MAX)
    }

    /// Puts what waits in the queue into entries, while the window has room: one entry, unless that
    /// were larger than a message.
    pub(crate) fn sequence(&mut self, core: &mut Core, out: &mut Out) {
        if self.queue.is_empty() || core.replica.durable() < self.opening || self.holds() {
            return;
        }
        if let Err(reason) = self.check_reachable(core, false) {
            self.refuse_queue(core, &reason, out);
            return;
        }
        let previous = core.replica.log().last().index;
        let mut sequenced = Vec::new();
        while has_window(core) {
            let batch = self.take_batch(core);
            if batch.is_empty() {
                break;
            }
            let entry = core.next_entry(&batch);
            sequenced.push(entry.clone());
            core.replica.append(entry);
        }
        core.persist_entries(previous, sequenced, out);
    }

    /// Takes as many requests from the queue as an entry may have.
    fn take_batch(&mut self, core: &mut Core) -> Vec<(Origin, Bytes)> {
        let bytes_max = core.config.limits.message_bytes_max;
        let position = core.replica.log().last().index.next();
        let mut batch = Vec::with_capacity(self.queue.len());
        let mut size_bytes = 0;
        while let Some(queued) = self.queue.front() {
            size_bytes += queued.encoded.len() + OPERATION_OVERHEAD;
            if size_bytes > bytes_max && !batch.is_empty() {
                break;
            }
            let Some(queued) = self.queue.pop_front() else {
                break;
            };
            self.queue_bytes -= queued.encoded.len();
            if queued.origin.server == core.node() {
                if core.forwarder.pending(queued.origin.number).is_none() {
                    continue;
                }
                core.forwarder.mark_placed(queued.origin.number, position);
            }
            batch.push((queued.origin, queued.encoded));
        }
        batch
    }
}

fn has_window(core: &Core) -> bool {
    let replica = &core.replica;
    let limits = &core.config.limits;
    let open = replica.log().last().index.distance_from(replica.commit());
    open < u64::try_from(limits.window_entries_max).unwrap_or(u64::MAX)
        && replica.undelivered_bytes() < limits.window_bytes_max
}
