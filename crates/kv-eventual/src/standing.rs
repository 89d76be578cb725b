//! Whether what a server holds counts towards the answers that a read needs.
//!
//! A server whose disk lost data has acknowledged writes that it does not hold. Counted for reads,
//! it would make a quorum that misses them. It counts again once it has taken everything from as many
//! others as it takes to meet one that holds such a write: a write is on W of the servers S that
//! were ever seen, so |S| - W + 1 of the others. Those must count themselves, or else be all there
//! are and, with this one, W at least: fewer than that may all have lost what others still hold. At W = 1 nothing can bring back what was lost, and it takes what can be reached.
//!
//! A server that starts empty cannot know whether it had data before, so that the rule is the same.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::{Core, Step};
use crate::deadline::Due;
use crate::ids::{Slot, SlotSet};
use crate::mutation::Mutation;
use crate::state::journal::Then;
use crate::state::record::Record;

/// What this server has done to count again, since it started or learned of a loss.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// It holds all that these held, which counted themselves.
    taken_from_sound: SlotSet,
    /// It holds all that these held.
    taken_from: SlotSet,
    /// So many records remove what was deleted since and are not on disk yet.
    removals: usize,
    /// It lost data, or may have, since this process started, whatever it counts by now.
    has_lost: bool,
    /// Peers that have not said whether this server lost data, and until when that is waited for.
    unheard: BTreeMap<Slot, Duration>,
    armed: Option<Duration>,
    /// That it lost data is being written to disk.
    is_loss_pending: bool,
    /// That it has made up for it is on disk, or being written.
    is_noted: bool,
    /// The peers that have said what they know since this server started.
    heard: SlotSet,
}

impl Standing {
    /// The time has come up to which peers were waited for.
    pub(crate) const fn on_timeout(&mut self) {
        self.armed = None;
    }

    /// A record that removes what was deleted since is on its way to the disk, and shown until then.
    pub(crate) const fn await_removal(&mut self) {
        self.removals += 1;
    }

    /// One of these is on disk.
    pub(crate) const fn note_removed(&mut self) {
        self.removals = self.removals.saturating_sub(1);
    }

    /// Whether no peer is waited for.
    pub(crate) fn is_clear(&self) -> bool {
        self.unheard.is_empty()
    }

    /// A peer has said what it knows.
    pub(crate) fn hear(&mut self, slot: Slot) {
        self.heard.insert(slot);
        self.unheard.remove(&slot);
    }

    /// A peer is gone, and is not waited for.
    pub(crate) fn give_up(&mut self, slot: Slot) {
        self.unheard.remove(&slot);
    }

    /// The peers that it has taken all from since it last lost data.
    pub(crate) const fn taken_from(&self) -> SlotSet {
        self.taken_from
    }

    /// What it took from a peer did not show what that no longer holds, and is to be taken again.
    pub(crate) const fn forget(&mut self, slot: Slot) {
        self.taken_from.remove(slot);
    }

    /// It has taken all that a peer held.
    pub(crate) const fn take_from(&mut self, slot: Slot, is_sound: bool) {
        self.taken_from.insert(slot);
        if is_sound {
            self.taken_from_sound.insert(slot);
        }
    }
}

impl Core {
    /// Whether this server's answers count.
    pub(crate) fn counts(&self, now: Duration) -> bool {
        if self.broken().is(Mutation::LostDataCounts) {
            return self.serves_reads();
        }
        self.is_settled(now)
            && !self.standing.is_loss_pending
            && self.standing.removals == 0
            && (self.state.counts || self.has_made_up())
    }

    /// Whether it can say what it holds, and whoever may know of a loss has said so, or had the time
    /// to.
    pub(crate) fn is_settled(&self, now: Duration) -> bool {
        self.serves_reads() && self.standing.unheard.values().all(|until| *until <= now)
    }

    /// Waits for what some servers know of a loss, for a while.
    pub(crate) fn expect(&mut self, now: Duration, from: SlotSet) {
        let until = now.saturating_add(self.config.timing.join_wait);
        let from = from.without(self.standing.heard);
        if from.is_empty() {
            return;
        }
        self.standing.unheard.extend(from.iter().map(|slot| (slot, until)));
        let mut armed = self.standing.armed;
        self.deadlines.arm(&mut armed, until, Due::Settled);
        self.standing.armed = armed;
    }

    /// Whether it has taken all that is needed to count.
    fn has_made_up(&self) -> bool {
        let Standing { taken_from, taken_from_sound, .. } = self.standing;
        let others = self.other_members();
        let write_quorum = self.config.cluster.write_quorum();
        if write_quorum == 1 {
            return others.both(self.peers.connected()).without(taken_from).is_empty();
        }
        // Fewer servers than W have acknowledged nothing, so that there are others which this one
        // has not met, or none at all.
        let members = (others.len() + 1).max(write_quorum);
        let has_all = others.len() + 1 >= write_quorum && others.without(taken_from).is_empty();
        taken_from_sound.len() > members - write_quorum || has_all
    }

    /// Whether it may hold what was deleted since: it lost data, and has not shown all that it holds to
    /// be held, or not known, by a server that counts.
    pub(crate) fn has_suspects(&self) -> bool {
        let Standing { has_lost, taken_from_sound, .. } = self.standing;
        (!self.state.counts || has_lost) && taken_from_sound.is_empty()
    }

    /// The other servers ever seen.
    pub(crate) fn other_members(&self) -> SlotSet {
        let mut members = SlotSet::default();
        for slot in self.state.incarnations.keys().filter_map(|node| self.peers.slot(*node)) {
            members.insert(slot);
        }
        members.union(self.heard_of)
    }

    /// Notes that the disk of this server has lost what it once said it had; false if that is noted
    /// already.
    pub(crate) fn lose_standing(&mut self, step: &mut Step<'_>) -> bool {
        // Another peer may say so of a loss that is noted already.
        if self.standing.is_loss_pending || !self.state.counts {
            return false;
        }
        tracing::warn!("this server's disk has lost data; it does not count until it has it again");
        self.counters.losses += 1;
        self.standing.taken_from = SlotSet::EMPTY;
        self.standing.taken_from_sound = SlotSet::EMPTY;
        self.standing.has_lost = true;
        self.standing.is_loss_pending = true;
        self.standing.is_noted = false;
        self.persist(step, Record::Standing { counts: false }, Then::LossNoted);
        true
    }

    /// That it lost data is on disk: the peers may forget that it had that.
    pub(crate) fn on_loss_noted(&mut self, step: &mut Step<'_>) {
        self.standing.is_loss_pending = false;
        for slot in self.peers.connected().iter() {
            self.greet(step, slot);
        }
    }

    /// Notes that it counts, if it does. A server that never met another has nothing to note.
    pub(crate) fn settle_standing(&mut self, step: &mut Step<'_>) {
        if !self.state.counts
            && !self.standing.is_noted
            && !self.standing.is_loss_pending
            && !self.standing.taken_from.is_empty()
            && self.has_made_up()
        {
            self.standing.has_lost = true;
            self.standing.is_noted = true;
            self.persist(step, Record::Standing { counts: true }, Then::Nothing);
        }
    }
}
