//! How a follower takes entries into its log.

use std::time::Duration;

use kv_core::NodeId;

use crate::core::{Core, Out};
use crate::follower::Follower;
use crate::log::entry::Entry;
use crate::log::epoch::{Epoch, LogIndex};
use crate::message::{Ack, Body, Prepare};
use crate::mutation::Mutation;

/// The logs differ where they must not.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Differs {
    /// What is committed here is not in the other log.
    Committed(LogIndex),
    /// Two entries have one epoch and position.
    Entries(LogIndex),
}

impl Follower {
    /// Entries or a heartbeat came from the owner of an epoch, in the process that opened it.
    pub(crate) fn on_prepare(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, prepare): (NodeId, Prepare),
        out: &mut Out,
    ) {
        let epoch = prepare.epoch;
        if epoch < core.promised() {
            core.reject(from, out);
            return;
        }
        let is_new = epoch > core.promised();
        if is_new {
            core.raise_promise(epoch);
            self.enter(core);
        }
        self.is_lost = false;
        if !self.has_sequencer {
            self.has_sequencer = true;
            core.forwarder.send_all_again(now);
            core.leads.ask_soon();
            self.ask_soon(core, now);
        }
        // One that cannot work is there all the same, and says of each request what it lacks.
        self.is_missing = false;
        if prepare.probe {
            self.timer.on_probed(now);
        } else {
            self.campaign = None;
            self.timer.on_heard(core, now);
        }
        let asked = core.journal.asked();
        if self.is_switching() {
            core.counters.dropped += 1;
        } else if let Err(differs) = self.take_prepare(core, now, prepare, out) {
            match differs {
                // The sequencer finds out by that, and knows what to do about its disk.
                Differs::Committed(_) => {
                    self.nack(core, now, out);
                }
                Differs::Entries(index) => return core.halt(from, index, out),
            }
        }
        // A heartbeat takes nothing with which the promise could be written.
        if is_new && core.journal.asked() == asked {
            core.promise(epoch, out);
        }
    }

    fn take_prepare(
        &mut self,
        core: &mut Core,
        now: Duration,
        prepare: Prepare,
        out: &mut Out,
    ) -> Result<(), Differs> {
        let Prepare {
            epoch, receiver, previous, previous_hash, entries, commit, last, round, ..
        } = prepare;
        let is_heartbeat = entries.is_empty();
        self.note_unkept(core, entries.iter().map(Entry::size_bytes).sum());
        let (taken, is_known) = match core.replica.log().hash_at(previous) {
            Some(hash) if hash == previous_hash => {
                self.verified = self.verified.max(previous);
                let taken = Self::take_over(core, epoch, previous, entries, out)?;
                (taken, true)
            }
            // What is not kept any more was committed, and is in the log of every later epoch.
            None if previous < core.replica.log().base().index => {
                let base = core.replica.log().base().index;
                let rest = entries.into_iter().skip_while(|entry| entry.index() <= base);
                let rest: Vec<Entry> = rest.collect();
                let taken = Self::take_over(core, epoch, base, rest, out)?;
                (taken, true)
            }
            Some(_) if previous <= core.replica.commit() => {
                return Err(Differs::Committed(previous));
            }
            Some(_) | None => {
                self.hold(core, entries, out);
                (self.verified, false)
            }
        };
        self.verified = self.verified.max(taken);
        self.take_held(core, epoch, out)?;
        let log_last = core.replica.log().last().index;
        core.replica.note_commit(commit.min(self.verified));
        core.deliver(out);
        let is_repeated = !is_heartbeat && core.replica.durable() >= self.verified;
        let early = core.broken.is(Mutation::AckBeforePersisted);
        let is_new_round = round > self.round;
        self.round = self.round.max(round);
        let is_due = is_new_round || (is_heartbeat && self.owes_sign_of_life(core, now));
        if is_due || is_repeated || receiver != core.incarnation() || early {
            self.acked_at = Some(now);
            self.acknowledge(core, out);
        }
        if !is_known || last > log_last || self.held.len() > 0 {
            self.nack(core, now, out);
        } else {
            self.ask_for_more_than_the_disk_takes(core, now, out);
        }
        self.check_recovery(core, now, out);
        Ok(())
    }

    /// Puts entries of the sequencer after a position where the logs agree. What differs gives way
    /// to them, unless it is known to be committed. Gives how far the logs agree after that.
    pub(crate) fn take_over(
        core: &mut Core,
        epoch: Epoch,
        previous: LogIndex,
        entries: Vec<Entry>,
        out: &mut Out,
    ) -> Result<LogIndex, Differs> {
        let mut agreed = previous;
        let mut taken = Vec::new();
        let mut differs = None;
        for entry in entries {
            let index = entry.index();
            if index != agreed.next() || entry.header().epoch > epoch {
                core.counters.malformed += 1;
                break;
            }
            match core.replica.log().hash_at(index) {
                Some(hash) if hash == entry.hash() => {
                    agreed = index;
                    continue;
                }
                Some(_) if core.broken.is(Mutation::DifferingTailKept) => {
                    agreed = index;
                    continue;
                }
                Some(_) if core.replica.log().epoch_at(index) == Some(entry.header().epoch) => {
                    differs = Some(Differs::Entries(index));
                    break;
                }
                Some(_) if index <= core.replica.commit() => {
                    differs = Some(Differs::Committed(index));
                    break;
                }
                Some(_) => core.replica.truncate(index.previous()),
                None => {}
            }
            if !core.replica.log().is_next(&entry) {
                core.counters.malformed += 1;
                break;
            }
            agreed = index;
            core.replica.append(entry.clone());
            taken.push(entry);
        }
        if let Some(first) = taken.first().map(Entry::index) {
            core.persist_entries(first.previous(), taken, out);
        }
        differs.map_or(Ok(agreed), Err)
    }

    /// Keeps what comes after a gap for later.
    fn hold(&mut self, core: &mut Core, entries: Vec<Entry>, out: &mut Out) {
        let last = core.replica.log().last().index;
        for entry in entries {
            if core.broken.is(Mutation::GapAcknowledged) {
                let (epoch, durable) = (core.promised(), entry.index());
                core.send(
                    epoch.owner,
                    Body::Ack(Ack { epoch, durable, round: 0, recovering: false }),
                    out,
                );
            }
            if entry.index() <= last || entry.header().epoch > core.promised() {
                continue;
            }
            core.counters.held_back += 1;
            if !self.held.hold(entry, &core.config.limits) {
                core.counters.dropped += 1;
            }
        }
    }

    /// Takes what was held back and follows now.
    fn take_held(&mut self, core: &mut Core, epoch: Epoch, out: &mut Out) -> Result<(), Differs> {
        if self.held.len() == 0 || self.verified != core.replica.log().last().index {
            return Ok(());
        }
        let mut next = self.verified.next();
        let mut entries = Vec::new();
        while let Some(entry) = self.held.take(next) {
            next = next.next();
            entries.push(entry);
        }
        if !entries.is_empty() {
            self.verified = Self::take_over(core, epoch, self.verified, entries, out)?;
        }
        Ok(())
    }
}
