//! The incarnations of this server and its peers.

use kv_core::{Incarnation, NodeId};

use crate::core::{Core, Out};
use crate::durable::journal::Durable;
use crate::durable::record::Record;
use crate::identity::Identity;

impl Core {
    /// Whether all that says who this server is has come to the disk.
    pub(crate) fn is_durable(&self) -> bool {
        self.identity.is_some() && self.identity == self.identity_on_disk
    }

    /// An incarnation after the highest one that is known of this server.
    pub(crate) fn following(&mut self, highest: Incarnation) -> Incarnation {
        let nonce = self.draw_nonce();
        Incarnation::following(highest.max(self.incarnation()), nonce)
    }

    /// An incarnation after all that this server can have had, where its disk says nothing of some:
    /// a peer that is away may know a later one than `highest`, and count its promise.
    ///
    /// A server starts no more than once a second, so its clock in seconds is above them all, unless
    /// it was set back.
    pub(crate) fn following_lost(&mut self, highest: Incarnation) -> Incarnation {
        let by_clock = Incarnation(self.clock_counter() << 32);
        self.following(highest.max(by_clock))
    }

    /// A number below that of the next incarnation by the clock.
    fn clock_counter(&self) -> u64 {
        self.wall.as_secs().min(COUNTER_BY_CLOCK_MAX).saturating_sub(1)
    }

    /// The incarnation in which a server of this name takes part in a cluster that is founded on a log
    /// in which it had others.
    pub(crate) fn named_after(&self, highest: Incarnation, nonce: u64) -> Incarnation {
        let by_clock = Incarnation(self.clock_counter() << 32);
        let nonce = u32::try_from(nonce & 0xffff_ffff).unwrap_or(u32::MAX);
        Incarnation::following(highest.max(by_clock), nonce)
    }

    /// Begins another incarnation with the log that this server has; one that recovers counts for
    /// nothing.
    pub(crate) fn renew(&mut self, highest: Incarnation, recovering: bool, out: &mut Out) {
        let incarnation =
            if recovering { self.following_lost(highest) } else { self.following(highest) };
        let Some(identity) = &mut self.identity else {
            return;
        };
        *identity = Identity { incarnation, recovering, ..*identity };
        let identity = *identity;
        let record = Record::Renewed { incarnation, recovering };
        self.persist(record, Durable::Identity(identity), out);
    }

    /// Takes part again, since this server has all that it may have acknowledged before.
    pub(crate) fn end_recovery(&mut self, out: &mut Out) {
        if let Some(identity) = &mut self.identity {
            identity.recovering = false;
            self.is_proven = true;
            let identity = *identity;
            self.persist(Record::Recovered, Durable::Identity(identity), out);
        }
    }

    /// Notes a newer incarnation of a peer, so that nothing of an earlier one counts again.
    pub(crate) fn note_known(&mut self, peer: NodeId, incarnation: Incarnation, out: &mut Out) {
        self.known.note(peer, incarnation);
        let durable = Durable::Known { peer, incarnation };
        self.persist(Record::Known { peer, incarnation }, durable, out);
    }

    /// Notes what another server knows of the others.
    pub(crate) fn merge_known(&mut self, known: &[(NodeId, Incarnation)], out: &mut Out) {
        for (peer, highest) in known {
            let is_peer = *peer != self.node() && self.config.cluster.contains(*peer);
            if is_peer && let Some(known) = self.known.merged(*peer, *highest) {
                self.note_known(*peer, known, out);
            }
        }
    }
}

/// What a clock that is wrong may take of the numbers at most.
const COUNTER_BY_CLOCK_MAX: u64 = 0xff00_0000;
