//! The starting log of an epoch being written to a follower's disk.

use crate::core::{Core, Out};
use crate::durable::journal::Durable;
use crate::durable::record::Record;
use crate::log::Position;
use crate::log::epoch::{Epoch, LogIndex};
use crate::log::suffix::Suffix;
use crate::message::StartEpoch;
use crate::mutation::Mutation;

/// An epoch's starting log as far as it has come. It takes no part in anything until all of it is
/// on disk, and a small record after it, which makes the switch.
#[derive(Clone, Debug)]
pub(crate) struct Starting {
    epoch: Epoch,
    suffix: Suffix,
    parts: u32,
    start: LogIndex,
    commit: LogIndex,
    /// Whether the switch is being written to disk; nothing else may change the log meanwhile.
    switching: bool,
}

impl Starting {
    /// Begins with nothing after `base`.
    pub(crate) const fn after(base: Position, part: &StartEpoch) -> Self {
        Self {
            epoch: part.epoch,
            suffix: Suffix::after(base),
            parts: 0,
            start: part.start,
            commit: part.commit,
            switching: false,
        }
    }

    pub(crate) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether it goes from `base` to `start`.
    pub(crate) fn spans(&self, base: Position, start: LogIndex) -> bool {
        self.suffix.base() == base && self.start == start
    }

    /// The last entry that was staged.
    pub(crate) fn staged(&self) -> LogIndex {
        self.suffix.last().index
    }

    pub(crate) const fn is_switching(&self) -> bool {
        self.switching
    }

    /// Takes what is new in a part, and writes the switch if nothing is missing any more.
    pub(crate) fn take_part(&mut self, core: &mut Core, part: StartEpoch, out: &mut Out) {
        self.commit = self.commit.max(part.commit);
        if part.previous <= self.staged() {
            self.stage(core, part, out);
        }
        self.switching = self.staged() == self.start;
        if self.switching {
            let (epoch, base, parts) = (self.epoch, self.suffix.base(), self.parts);
            let record = Record::Started { epoch, base: base.index, base_hash: base.hash, parts };
            core.persist(record, Durable::Started { epoch }, out);
        }
    }

    /// Switches to this log, which is on disk.
    pub(crate) fn switch(self, core: &mut Core, out: &mut Out) {
        let mut base = self.suffix.base().index;
        let mut entries = self.suffix.into_entries();
        if core.broken.is(Mutation::StartWithoutTruncation) {
            base = core.replica.log().last().index;
            entries.retain(|(entry, _)| entry.index() > base);
        }
        core.replica.replace_after(base, entries);
        core.enter(self.epoch);
        core.counters.epochs_started += 1;
        core.replica.note_commit(self.commit.min(core.replica.log().last().index));
        core.deliver(out);
    }

    /// Keeps and writes what is new in a part.
    fn stage(&mut self, core: &mut Core, part: StartEpoch, out: &mut Out) {
        let last = self.suffix.last().index;
        let mut taken = Vec::new();
        for entry in part.entries.into_iter().skip_while(|entry| entry.index() <= last) {
            let kept = entry.clone();
            if entry.index() > self.start || self.suffix.append(entry, self.epoch).is_none() {
                core.counters.malformed += 1;
                break;
            }
            taken.push(kept);
        }
        if !taken.is_empty() {
            core.stage(Record::StagedLog { part: self.parts, entries: taken }, out);
            self.parts += 1;
        }
    }
}
