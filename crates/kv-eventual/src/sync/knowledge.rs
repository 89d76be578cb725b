//! What this server knows of what its peers' disks reflect.

use std::collections::BTreeSet;
use std::time::Duration;

use kv_core::{Incarnation, Key, NodeId};

use crate::core::{Core, Step};
use crate::ids::{Slot, WriteId};
use crate::message::{Cut, Hello, Report};
use crate::mutation::Mutation;
use crate::state::journal::Then;
use crate::state::record::{Record, take_for_removal};
use crate::state::stamp::Entry;
use crate::vector::Vector;
use crate::vector::seqs::RUNS_MAX;

/// One peer, as far as it has told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peerage {
    /// What its disk reflects, at the least.
    pub(crate) vector: Vector,
    /// Which start of its process said so; 0 if that was before this server's own.
    run: u64,
    /// Whether that lacked what it once had, and it has not said since that it has noted it or made
    /// up for it: it asks again until it has heard.
    has_lost: bool,
    /// How far its own writes are.
    pub(crate) cut: Cut,
}

impl Peerage {
    /// What is on this server's disk about a peer.
    pub(crate) fn recovered(vector: Vector) -> Self {
        Self { vector, ..Self::default() }
    }
}

impl Core {
    /// What this server says of itself.
    pub(crate) fn report(&self, now: Duration, cut: Cut) -> Report {
        Report {
            vector: self.state.vector.clone(),
            counts: self.counts(now),
            is_whole: self.state.counts,
            members: self.state.members().collect(),
            cut,
            floor: self.state.floor,
        }
    }

    /// A peer has acknowledged a write.
    pub(crate) fn note_ack(&mut self, slot: Slot, id: WriteId) {
        self.peerage.entry(slot).or_default().vector.insert(id);
    }

    /// Learns from a hello what a peer's disk reflects; whether that lacks what it once had.
    ///
    /// Only the first hello of a process can begin it: a later one may have been overtaken by
    /// acknowledgements. A stale one is answered and not kept: it may have been overtaken by all that
    /// a later process said.
    pub(crate) fn has_lost(&mut self, slot: Slot, hello: &Hello, is_stale: bool) -> bool {
        let known = self.peerage.entry(slot).or_default();
        let is_first = known.run != hello.run;
        let has_lost = (is_first || known.has_lost)
            && hello.report.is_whole
            && !hello.report.vector.covers(&known.vector);
        if !is_stale {
            known.run = hello.run;
            known.has_lost = has_lost;
        }
        has_lost
    }

    /// Learns from a hello that a peer has no incarnation yet: it began with an empty disk.
    ///
    /// What the hello says of that disk is not believed. It may be late, from a start whose disk is
    /// lost by now, and nothing in it shows that. An incarnation that no server knows any more would
    /// stay among what the peer is taken to reflect, since reports are joined. The peer is taken to
    /// reflect nothing until its next report, which is safe.
    pub(crate) fn note_joining(&mut self, step: &mut Step<'_>, slot: Slot, report: &Report) {
        self.note_members(step, &report.members);
        self.observe_stamp(step, report.floor);
        self.peerage.entry(slot).or_default().vector = Vector::default();
    }

    /// Learns what a peer says of itself, and keeps it if `is_kept`.
    pub(crate) fn note_report(
        &mut self,
        step: &mut Step<'_>,
        slot: Slot,
        report: &Report,
        is_kept: bool,
    ) {
        self.note_members(step, &report.members);
        self.observe_stamp(step, report.floor);
        let known = self.peerage.entry(slot).or_default();
        if report.cut.incarnation != Incarnation::UNKNOWN {
            known.cut = report.cut;
        }
        if report.is_whole {
            known.vector.join(&report.vector);
        } else {
            // It has noted that it lost data, and says what is left.
            known.vector.clone_from(&report.vector);
        }
        if let Some(peer) = self.peers.get(slot).map(|peer| peer.node)
            && is_kept
            && *self.state.peer_vectors.get(&peer).unwrap_or(&Vector::default()) != known.vector
        {
            let vector = known.vector.clone();
            self.persist(step, Record::PeerVector { peer, vector }, Then::Nothing);
        }
    }

    /// Learns of servers that others have seen.
    pub(crate) fn note_members(&mut self, step: &mut Step<'_>, members: &[NodeId]) {
        for &peer in members {
            let Some(slot) = self.peers.slot(peer) else {
                continue;
            };
            if self.heard_of.insert(slot) && !self.state.incarnations.contains_key(&peer) {
                let incarnation = Incarnation::UNKNOWN;
                self.persist(step, Record::PeerIncarnation { peer, incarnation }, Then::Nothing);
            }
        }
    }

    /// Removes the records that this server holds, or is about to, from before it lost data, and
    /// that a peer knows which holds nothing of those keys: they were deleted, and the delete is
    /// forgotten, or they are void.
    ///
    /// One that is later than all deletes which are forgotten was lost by the peer, and stays.
    pub(crate) fn drop_suspects(
        &mut self,
        step: &mut Step<'_>,
        brought: &BTreeSet<Key>,
        end: &Report,
    ) {
        let floor = self.state.floor.max(end.floor);
        let is_gone = |entry: &Entry| {
            let is_old = entry.stamp.time <= floor || end.vector.is_void(entry.id());
            is_old && end.vector.contains(entry.id())
        };
        let held = self.state.store.after(None).chain(self.journal.writes());
        let gone = held.filter(|(key, entry)| !brought.contains(*key) && is_gone(entry));
        let records: Vec<_> = gone.map(|(key, entry)| (key.clone(), entry.id())).collect();
        if !records.is_empty() {
            tracing::warn!(count = records.len(), "removed records of an older copy of the disk");
            self.counters.suspects_removed += super::count(records.len());
            let mut left = records.into_iter().peekable();
            while left.peek().is_some() {
                let records = take_for_removal(&mut left);
                self.standing.await_removal();
                self.persist(step, Record::Removed { floor, records }, Then::SuspectsRemoved);
            }
        }
    }

    /// Takes former incarnations for completely known of which all servers know the same, once
    /// every server takes no more messages of them: what no server holds of them is void.
    ///
    /// Each server must have said so since it met all others in their present incarnations. What a
    /// disk held that is lost may else be under way still, from an incarnation before the loss.
    pub(crate) fn retire(&mut self, step: &mut Step<'_>) {
        if !self.state.counts && !self.other_members().is_empty() {
            return;
        }
        let members: Vec<NodeId> = self.state.members().collect();
        let present_of = |node: &NodeId| {
            let (present, _) = self.state.vector.live_of(*node).next_back()?;
            Some((*node, present))
        };
        let present: Vec<_> = members.iter().filter_map(present_of).collect();
        for node in members {
            let own = &self.state.vector;
            let Some((current, _)) = own.live_of(node).next_back() else {
                continue;
            };
            let former = |vector: &Vector| {
                let live = vector.live_of(node).filter(|(incarnation, _)| *incarnation < current);
                live.map(|(incarnation, seqs)| (incarnation, seqs.clone())).collect::<Vec<_>>()
            };
            let known = former(own);
            if known.is_empty() {
                continue;
            }
            // A set that is full may have forgotten its highest numbers.
            if known.iter().any(|(_, seqs)| seqs.gaps() >= RUNS_MAX) {
                continue;
            }
            let agrees = |slot: Slot| {
                let peer = self.peerage.get(&slot).map(|peer| &peer.vector);
                peer.is_some_and(|peer| {
                    present.iter().all(|(node, present)| peer.has_entry(*node, *present))
                        && peer.retired_of(node).eq(own.retired_of(node))
                        && former(peer) == known
                })
            };
            let is_early = self.broken().is(Mutation::RetiresEarly);
            if is_early || self.other_members().iter().all(agrees) {
                let incarnations = known.into_iter().map(|(former, _)| former).collect();
                self.persist(step, Record::Retired { node, incarnations }, Then::Nothing);
            }
        }
    }
}
