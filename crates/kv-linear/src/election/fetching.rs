//! How the winner of an election gets the best log.

use std::time::Duration;

use kv_core::NodeId;

use crate::core::{Core, Out};
use crate::election::Campaign;
use crate::election::campaign::Stage;
use crate::follower::Follower;
use crate::follower::entries::Differs;
use crate::log::entry::Entry;
use crate::log::epoch::{Epoch, LogIndex};
use crate::log::tail::{Tail, agreement};
use crate::message::Body;

/// A log on its way to the winner.
#[derive(Clone, Debug)]
pub(crate) struct Fetching {
    from: NodeId,
    /// Up to here the own log is that one.
    have: LogIndex,
    last: LogIndex,
    last_hash: u64,
}

impl Fetching {
    /// Begins where the two logs agree.
    pub(crate) fn start(core: &Core, from: NodeId, tail: &Tail) -> Self {
        let have = agreement(core.replica.log(), core.replica.commit(), tail);
        Self { from, have, last: tail.last, last_hash: tail.last_hash }
    }

    /// Asks for what comes next. A position that is not kept here any more was committed, and the
    /// other one can have no other entry there.
    pub(crate) fn ask(&self, core: &Core, epoch: Epoch, out: &mut Out) {
        let log = core.replica.log();
        let previous = log.position_at(self.have).unwrap_or_else(|| log.base());
        let body = Body::Fetch { epoch, previous: previous.index, previous_hash: previous.hash };
        core.send(self.from, body, out);
    }

    fn is_complete(&self, core: &Core) -> bool {
        let last = core.replica.log().last();
        (last.index, last.hash) == (self.last, self.last_hash)
    }
}

/// What was asked for, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) epoch: Epoch,
    pub(crate) previous: LogIndex,
    pub(crate) previous_hash: u64,
    pub(crate) entries: Vec<Entry>,
}

impl Follower {
    /// The owner of the epoch that this server has promised asks for what its log lacks.
    pub(crate) fn on_fetch(
        core: &mut Core,
        (from, epoch): (NodeId, Epoch),
        (previous, previous_hash): (LogIndex, u64),
        out: &mut Out,
    ) {
        if epoch != core.promised() || epoch.owner != from {
            core.counters.stray_messages += 1;
            return;
        }
        let log = core.replica.log();
        if log.hash_at(previous) != Some(previous_hash) {
            if previous < log.base().index {
                core.counters.checkpoints_sent += 1;
                out.begin_snapshot(from);
            } else {
                core.counters.stray_messages += 1;
            }
            return;
        }
        let entries = core.entries_from(previous.next(), log.last().index);
        core.send(from, Body::Fetched { epoch, previous, previous_hash, entries }, out);
    }

    /// A part of the best log came.
    pub(crate) fn on_fetched(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, part): (NodeId, Part),
        out: &mut Out,
    ) {
        let Some(fetching) = self.fetching(from, part.epoch) else {
            core.counters.stray_messages += 1;
            return;
        };
        let (have, last) = (fetching.have, fetching.last);
        let is_known = core.replica.log().hash_at(part.previous) == Some(part.previous_hash);
        if part.previous != have || !is_known || part.entries.is_empty() {
            core.counters.stray_messages += 1;
            return;
        }
        let wanted = part.entries.into_iter().take_while(|entry| entry.index() <= last).collect();
        let taken = match Self::take_over(core, part.epoch, have, wanted, out) {
            Ok(taken) => taken,
            Err(Differs::Committed(index) | Differs::Entries(index)) => {
                return core.halt(from, index, out);
            }
        };
        self.timer.on_heard(core, now);
        if let Some(fetching) = self.fetching(from, part.epoch) {
            fetching.have = taken;
        }
        self.go_on_fetching(core, now, out);
    }

    /// A checkpoint of the holder was put in place of this server's log.
    pub(crate) fn on_installed_from(
        &mut self,
        core: &mut Core,
        now: Duration,
        from: NodeId,
        out: &mut Out,
    ) {
        let epoch = core.promised();
        if let Some(fetching) = self.fetching(from, epoch) {
            fetching.have = core.replica.log().last().index.min(fetching.last);
            self.timer.on_heard(core, now);
            self.go_on_fetching(core, now, out);
        }
    }

    fn go_on_fetching(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        let Some(Campaign { stage: Stage::Fetching(fetching), .. }) = &self.campaign else {
            return;
        };
        if fetching.is_complete(core) {
            self.complete(now);
        } else {
            self.ask_again(core, now, out);
        }
    }

    /// The log that is on its way from a server.
    pub(crate) fn fetching(&mut self, from: NodeId, epoch: Epoch) -> Option<&mut Fetching> {
        match &mut self.campaign {
            Some(Campaign { epoch: own, stage: Stage::Fetching(fetching), .. })
                if *own == epoch && fetching.from == from =>
            {
                Some(fetching)
            }
            Some(_) | None => None,
        }
    }
}
