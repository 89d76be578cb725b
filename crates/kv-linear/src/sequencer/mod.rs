//! The sequencer: it orders operations and counts who holds them.

mod admission;
mod intake;
mod opening;
mod outgoing;
pub(crate) mod progress;
mod replication;
mod set_back;
mod start;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use kv_core::{Incarnation, NodeId, Operation};

use crate::core::{Core, Out};
use crate::founding::Member;
use crate::log::entry::{Entry, EntryHeader, Origin};
use crate::log::epoch::LogIndex;
use crate::message::Body;
use crate::mutation::Mutation;
use crate::sequencer::intake::Intake;
use crate::sequencer::outgoing::refute_incarnation;
use crate::sequencer::progress::{Claim, Progress};

/// The one server that assigns log positions.
#[derive(Clone, Debug)]
pub(crate) struct Sequencer {
    pub(crate) peers: BTreeMap<NodeId, Progress>,
    pub(crate) queue: VecDeque<Queued>,
    pub(crate) queue_bytes: usize,
    pub(crate) heartbeat_at: Duration,
    /// The last position of the epoch's starting log: all that this server's disk held when it
    /// opened the epoch.
    pub(crate) start: LogIndex,
    /// Founding members that have not been welcomed, since the founding is not on disk.
    welcomes: Vec<Member>,
}

/// A request that has no position yet.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) origin: Origin,
    pub(crate) operation: Operation,
    pub(crate) encoded: Bytes,
}

impl Sequencer {
    /// Begins with the incarnations of the peers that are known.
    pub(crate) fn start(
        core: &Core,
        now: Duration,
        incarnations: &BTreeMap<NodeId, Incarnation>,
        welcomes: Vec<Member>,
    ) -> Self {
        let timing = core.config.timing;
        let progress = |peer| {
            let incarnation = incarnations.get(&peer).copied().unwrap_or(Incarnation::UNKNOWN);
            let mut progress = Progress::new(&timing, incarnation);
            if !core.broken.is(Mutation::PlacedForwardRefused) {
                progress.intake = Intake::holding(core.replica.placed(peer, incarnation));
            }
            (peer, progress)
        };
        Self {
            peers: core.peers().into_iter().map(progress).collect(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            heartbeat_at: now.saturating_add(timing.heartbeat),
            start: core.replica.log().last().index,
            welcomes,
        }
    }

    /// The founding or the epoch is on disk: the other servers may take part.
    pub(crate) fn on_identity_durable(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        for member in std::mem::take(&mut self.welcomes) {
            let body = Body::Welcome { nonce: member.nonce, highest: Incarnation::UNKNOWN };
            core.send(member.node, body, out);
        }
        self.heartbeat_at = now;
        core.flush_soon(now);
    }

    /// An empty server asks to be taken in; it learns which incarnations of it are over.
    pub(crate) fn on_join(&self, core: &Core, from: NodeId, nonce: u64, out: &mut Out) {
        if let Some(progress) = self.peers.get(&from).filter(|_| core.is_durable()) {
            let noting = progress.noting.map(|(incarnation, _)| incarnation);
            let highest = progress.incarnation.max(noting.unwrap_or(Incarnation::UNKNOWN));
            core.send(from, Body::Welcome { nonce, highest }, out);
        }
    }

    /// A follower's disk holds the log up to `durable`.
    pub(crate) fn on_ack(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, incarnation): (NodeId, Incarnation),
        durable: LogIndex,
        out: &mut Out,
    ) {
        let Some(progress) = self.peers.get_mut(&from) else {
            return;
        };
        let former = incarnation < progress.incarnation;
        let counted = former && core.broken.is(Mutation::FormerIncarnationCounted);
        if former && !counted {
            refute_incarnation(core, now, (from, progress), out);
            return;
        }
        if incarnation == progress.incarnation || counted {
            if progress.acknowledge(&core.config.timing, now, durable) {
                self.advance_commit(core, now, out);
                core.flush_soon(now);
            }
            return;
        }
        progress.note_incarnation(core, from, (incarnation, Claim::Holds(durable)), out);
    }

    /// A peer's incarnation is on disk: what it acknowledged counts from here on.
    pub(crate) fn on_incarnation_durable(
        &mut self,
        core: &mut Core,
        now: Duration,
        peer: NodeId,
        incarnation: Incarnation,
    ) {
        let Some(progress) = self.peers.get_mut(&peer) else {
            return;
        };
        if let Some((noting, claim)) = progress.noting
            && noting == incarnation
        {
            match claim {
                Claim::Holds(acked) => progress.begin_incarnation(incarnation, Some(acked)),
                Claim::Needs(need) => {
                    progress.begin_incarnation(incarnation, None);
                    progress.take_need(core, now, self.start, need);
                }
            }
            core.flush_soon(now);
        }
    }

    /// A follower lacks what comes after `last`.
    pub(crate) fn on_nack(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, incarnation): (NodeId, Incarnation),
        last: LogIndex,
    ) {
        let log_last = core.replica.log().last().index;
        match self.peers.get_mut(&from) {
            Some(progress)
                if incarnation == progress.incarnation
                    && progress.acked.is_some_and(|acked| last >= acked)
                    && last <= log_last =>
            {
                core.counters.resends += 1;
                progress.rewind(last);
                core.flush_soon(now);
            }
            Some(_) | None => core.counters.stray_messages += 1,
        }
    }

    pub(crate) fn on_peer_up(&mut self, core: &mut Core, now: Duration, peer: NodeId) {
        if let Some(progress) = self.peers.get_mut(&peer) {
            progress.resume(&core.config.timing);
            self.heartbeat_at = now;
        }
    }

    pub(crate) fn on_peer_down(&mut self, peer: NodeId) {
        if let Some(progress) = self.peers.get_mut(&peer) {
            progress.pause();
        }
    }

    /// Commits what this server's disk and those of W - 1 others hold.
    ///
    /// Acknowledgements are of this epoch, and count for the entries of earlier ones too: a
    /// server that gives one holds the whole starting log.
    pub(crate) fn advance_commit(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        let commit = self.held_by_quorum(core);
        if commit > core.replica.commit() {
            core.replica.note_commit(commit);
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
        let others = core.config.cluster.write_quorum().saturating_sub(1 + fewer);
        let ignored = core.broken.is(Mutation::WriteQuorumIgnored)
            && core.config.cluster.write_quorum() < core.config.cluster.nodes();
        let Some(nth) = usize::from(others).checked_sub(1).filter(|_| !ignored) else {
            return own;
        };
        let earlier = core.broken.is(Mutation::CommitAcrossEpochs);
        let acked = |progress: &Progress| match &progress.start {
            Some(start) if earlier => start.need.last.min(log_last),
            Some(_) | None => progress.acked(),
        };
        let mut acked: Vec<LogIndex> = self.peers.values().map(acked).collect();
        acked.sort_unstable_by(|a, b| b.cmp(a));
        let held = acked.get(nth).copied().unwrap_or(LogIndex::ZERO);
        if core.broken.is(Mutation::OwnDiskNotCounted) { held } else { held.min(own) }
    }

    /// How many servers are known to hold the log up to `position` on disk.
    pub(crate) fn holders(&self, core: &Core, position: LogIndex) -> u16 {
        let own = usize::from(core.replica.durable() >= position);
        let others = self.peers.values().filter(|progress| progress.acked() >= position).count();
        u16::try_from(own + others).unwrap_or(u16::MAX)
    }

    /// Assigns positions to the requests in the queue while the window has room.
    pub(crate) fn sequence(&mut self, core: &mut Core, wall: Duration, out: &mut Out) {
        if !core.is_durable() || self.queue.is_empty() {
            return;
        }
        if let Err(reason) = self.check_reachable(core) {
            self.refuse_queue(core, &reason, out);
            return;
        }
        if !self.has_window(core) {
            return;
        }
        let mut sequenced = Vec::with_capacity(self.queue.len().min(SEQUENCED_USUALLY));
        while self.has_window(core) {
            let Some(queued) = self.queue.pop_front() else {
                break;
            };
            self.queue_bytes -= queued.encoded.len();
            if queued.origin.server == core.node() {
                if core.forwarder.pending(queued.origin.number).is_none() {
                    continue;
                }
                let position = core.replica.log().last().index.next();
                core.forwarder.mark_placed(queued.origin.number, position);
            }
            let entry = next_entry(core, wall, &queued);
            sequenced.push(entry.clone());
            core.replica.append(entry, queued.operation);
        }
        core.persist_entries(sequenced, out);
    }

    fn has_window(&self, core: &Core) -> bool {
        let replica = &core.replica;
        let limits = &core.config.limits;
        let open = replica.log().last().index.distance_from(replica.commit());
        open < u64::try_from(limits.window_entries_max).unwrap_or(u64::MAX)
            && replica.undelivered_bytes() < limits.window_bytes_max
    }
}

/// Makes the entry that follows the last one.
fn next_entry(core: &Core, wall: Duration, queued: &Queued) -> Entry {
    let last = core.replica.log().last();
    let wall_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
    let header = EntryHeader {
        index: last.index.next(),
        epoch: core.epoch(),
        log_time_ms: last.log_time_ms.max(wall_ms),
        origin: queued.origin,
        previous_hash: last.hash,
    };
    Entry::new(header, &queued.encoded)
}

/// A batch of so many entries is made room for at once.
const SEQUENCED_USUALLY: usize = 256;
