//! Deletes that every server has are forgotten, and no earlier.
//!
//! A tombstone must stay as long as an older write of its key can come from anywhere. Each server
//! tells a *cut*: its incarnation, the number of its last write in it, and a time that all its
//! later writes are stamped after. When the disks of all servers ever seen reflect all cuts, and no
//! server knows of an incarnation that is not settled, no write up to the least of their times is
//! under way any more: whoever is sent one drops it, since its vector has the name. To forget
//! deletes after some time instead would bring back deleted keys from a server that was away for
//! longer.

use std::time::Duration;

use kv_core::{HybridTime, Key, NodeId};

use crate::core::{Core, Step};
use crate::message::Cut;
use crate::mutation::Mutation;
use crate::state::journal::Then;
use crate::state::record::{Record, take_for_removal};
use crate::vector::Vector;
use crate::vector::seqs::Seqs;

impl Core {
    /// Forgets the deletes that every server has. `own` is this server's present cut.
    pub(crate) fn bury(&mut self, step: &mut Step<'_>, own: Cut) {
        let is_alone = self.peers.others().is_empty();
        if !(self.state.counts || is_alone) || self.is_burying {
            return;
        }
        let is_early = self.broken().is(Mutation::ForgetsEarly);
        let settled = self.settled(step.now.mono, own).or(is_early.then_some(own.time));
        let Some(settled) = settled else {
            return;
        };
        let up_to = self.state.buried.iter().take_while(|(time, _)| *time <= settled);
        let record = |(_, key): &(HybridTime, Key)| Some((key.clone(), self.state.get(key)?.id()));
        let records = take_for_removal(&mut up_to.filter_map(record));
        let last = self.state.buried.iter().take(records.len()).next_back();
        let floor = last.map_or(self.state.floor, |(time, _)| self.state.floor.max(*time));
        if !records.is_empty() {
            self.is_burying = true;
            self.persist(step, Record::Removed { floor, records }, Then::Buried);
        }
    }

    /// Moves the clock on to the wall clock where that is past a delete and the clock is not.
    ///
    /// A delete may be stamped far ahead, by a clock that was wrong. It moves no clock, so that only
    /// time brings the cuts past it, and the clock of a server that takes no writes stands still.
    pub(crate) fn pass_deletes(&mut self, step: &Step<'_>) {
        let (latest, present) = (self.clock.latest(), self.clock.tick(step.now.wall));
        let Ok(least) = Key::new(LEAST_KEY) else {
            return;
        };
        let ahead = self.state.buried.range((latest.next(), least)..).next();
        if ahead.is_some_and(|(time, _)| *time <= present) {
            self.clock.follow(present);
        }
    }

    /// Up to when all writes of all servers are everywhere.
    fn settled(&mut self, now: Duration, own: Cut) -> Option<HybridTime> {
        let me = self.config.node;
        let others = self.other_members();
        let latest: Vec<(NodeId, Cut)> = others
            .iter()
            .filter_map(|slot| {
                let node = self.peers.get(slot)?.node;
                Some((node, self.peerage.get(&slot)?.cut))
            })
            .chain([(me, own)])
            .collect();
        if latest.len() <= usize::from(others.len()) {
            return None;
        }
        let mut progress = std::mem::take(&mut self.cuts);
        let vectors: Vec<&Vector> = others
            .iter()
            .filter_map(|slot| Some(&self.peerage.get(&slot)?.vector))
            .chain([&self.state.vector])
            .collect();
        let mut settled = Some(HybridTime::from_millis(u64::MAX >> 16));
        for (node, latest) in &latest {
            let of_node = progress.entry(*node).or_default();
            of_node.advance(now, *latest, |cut| {
                vectors.iter().all(|vector| reflects(vector, *node, cut))
            });
            // A later incarnation that is known, or a former one that is not settled, may yet bring
            // something.
            let is_single = vectors.iter().all(|vector| reflects_only(vector, *node, latest));
            let of_node = of_node.settled(*latest).filter(|_| is_single);
            settled = settled.zip(of_node).map(|(a, b)| a.min(b));
        }
        self.cuts = progress;
        settled
    }
}

/// Whether a vector knows no other incarnation of a server that is not retired than the cut's.
fn reflects_only(vector: &Vector, node: NodeId, cut: &Cut) -> bool {
    let mut live = vector.live_of(node);
    live.next().is_some_and(|(incarnation, _)| incarnation == cut.incarnation)
        && live.next().is_none()
}

fn reflects(vector: &Vector, node: NodeId, cut: &Cut) -> bool {
    let mut live = vector.live_of(node);
    let covers = |seqs: &Seqs| seqs.covers(&Seqs::through(cut.seq.0));
    reflects_only(vector, node, cut) && live.next().is_some_and(|(_, seqs)| covers(seqs))
}

/// No key is before it.
const LEAST_KEY: &[u8] = &[0];
