//! Atomic reads: what they show is on the disks of W servers before they are answered.

use crate::coordinator::outcome::read_done;
use crate::coordinator::reads::{PendingRead, Reads, Repair};
use crate::core::{Core, Step};
use crate::deadline::Due;
use crate::ids::{ReadId, Slot, WriteId};
use crate::state::record::Write;
use crate::state::stamp::Entry;

impl Reads {
    /// Has what a read shows held by those that may not hold it; answers the read if there are none
    /// needed. Gives what this server itself is to take over.
    pub(super) fn write_back(
        &mut self,
        core: &mut Core,
        step: &mut Step<'_>,
        id: ReadId,
    ) -> Vec<Repair> {
        let Some(read) = self.pending.get_mut(&id) else {
            return Vec::new();
        };
        let was_asked = !read.holders.is_empty();
        read.note_holders(core);
        if read.is_held() {
            self.end_write_back(core, step, id);
            return Vec::new();
        }
        if was_asked {
            // A late answer; the others are asked again in time.
            return Vec::new();
        }
        self.send_to_connected(core, step, id);
        self.own_copy(core, id).into_iter().collect()
    }

    /// A server has a write on its disk.
    pub(crate) fn on_held(
        &mut self,
        core: &mut Core,
        step: &mut Step<'_>,
        slot: Slot,
        id: WriteId,
    ) {
        let mut held = Vec::new();
        for &place in &self.writing_back {
            if let Some(read) = self.pending.get_mut(&place)
                && read.shown.as_ref().map(Entry::id) == Some(id)
            {
                read.holders.insert(slot);
                if read.is_held() {
                    held.push(place);
                }
            }
        }
        held.into_iter().for_each(|place| self.end_write_back(core, step, place));
    }

    fn end_write_back(&mut self, core: &mut Core, step: &mut Step<'_>, id: ReadId) {
        self.writing_back.remove(&id);
        if let Some(mut read) = self.pending.remove(&id) {
            core.deadlines.disarm(&mut read.armed, Due::Read(id));
            let outcome = read_done(read.shown.as_ref(), read.answered.len());
            core.reply(step, read.request, outcome);
        }
    }

    /// What this server is to take over, to hold what a read shows.
    pub(super) fn own_copy(&self, core: &Core, id: ReadId) -> Option<Repair> {
        let read = self.pending.get(&id)?;
        let (to, entry) = (core.peers.me(), read.shown.clone()?);
        let write = Write { key: read.key.clone(), entry };
        (!read.holders.contains(to)).then_some(Repair { to, write })
    }
}

impl PendingRead {
    /// Whether so many servers hold what it shows that it may be shown.
    fn is_held(&self) -> bool {
        self.holders.len() >= self.needed.holders
    }

    /// Learns who holds what it shows: whoever has said so in an answer, and whose disk is known to
    /// reflect that write.
    fn note_holders(&mut self, core: &Core) {
        let Some(shown) = &self.shown else {
            return;
        };
        let (broken, me) = (core.broken(), core.peers.me());
        for (slot, entry) in self.answers.iter().chain(&self.uncounted) {
            if entry.as_ref().is_some_and(|entry| !shown.wins_over(Some(entry), broken)) {
                self.holders.insert(*slot);
            }
        }
        let id = shown.id();
        if core.state.vector.contains(id) {
            self.holders.insert(me);
        }
        for slot in core.peers.connected().iter() {
            if core.peerage.get(&slot).is_some_and(|peer| peer.vector.contains(id)) {
                self.holders.insert(slot);
            }
        }
    }
}
