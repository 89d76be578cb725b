//! What a server says of itself, and what must always hold of it.

use bytes::BytesMut;
use kv_core::{
    ConsistencyEngine, Incarnation, Key, NotDone, Status, Version, Waiting, Wire, digest,
};

use crate::engine::{LinearEngine, Role};
use crate::log::epoch::{Epoch, LogIndex};

impl LinearEngine {
    /// The last position of the log that was applied, with a hash of the keys and of what was
    /// applied once: equal on all servers that have applied as much.
    #[must_use]
    pub fn applied_state(&self) -> (LogIndex, u64) {
        let replica = &self.core.replica;
        let mut bytes = BytesMut::new();
        let mut hash = replica.applied().hash;
        for (key, held) in replica.machine().store().after(None) {
            bytes.clear();
            hash.encode(&mut bytes);
            key.encode(&mut bytes);
            held.encode(&mut bytes);
            hash = digest(&bytes);
        }
        bytes.clear();
        hash.encode(&mut bytes);
        Vec::from(replica.dedup()).encode(&mut bytes);
        (replica.applied().index, digest(&bytes))
    }

    /// The version of a key in what this server has applied; `None` for a missing key.
    #[must_use]
    pub fn held_version(&self, key: &Key) -> Option<Version> {
        self.core.replica.machine().store().get(key).map(|held| held.version)
    }

    /// Whether this server has the entry that `other` has at a position, or had it: what is trimmed
    /// was committed, and logs are equal up to there.
    #[must_use]
    pub fn has_entry_of(&self, other: &Self, index: LogIndex) -> bool {
        let trimmed = self.core.replica.applied().index >= index;
        let own = self.log_hash(index);
        trimmed || (own.is_some() && other.log_hash(index).is_none_or(|hash| own == Some(hash)))
    }

    /// The hash of the log up to and with a position; `None` for one that this server does not
    /// have, or does not keep any more.
    #[must_use]
    pub fn log_hash(&self, index: LogIndex) -> Option<u64> {
        self.core.replica.log().hash_at(index)
    }

    /// The epoch in which a position was assigned; `None` where [`LinearEngine::log_hash`] is.
    #[must_use]
    pub fn log_epoch(&self, index: LogIndex) -> Option<Epoch> {
        self.core.replica.log().position_at(index).map(|position| position.epoch)
    }

    /// A hash of the log, and with it of all that it will bring about.
    ///
    /// How much of it is committed and applied stays out: a server learns that anew after a
    /// restart, and its own incarnation differs from those of others.
    pub(crate) fn hash_log(&self) -> u64 {
        let mut bytes = BytesMut::new();
        self.core.identity.map(|identity| identity.cluster).encode(&mut bytes);
        self.core.configuration_hash.encode(&mut bytes);
        self.core.replica.log().last().encode(&mut bytes);
        digest(&bytes)
    }

    pub(crate) fn describe(&self) -> Status {
        let core = &self.core;
        Status {
            engine: Self::NAME.to_owned(),
            node: core.node(),
            incarnation: core
                .identity
                .map_or(Incarnation::UNKNOWN, |identity| identity.incarnation),
            cluster: core.config.cluster.clone(),
            connected: core.links.connected().collect(),
            waiting: self.waiting().or_else(|| self.missing_servers()),
            counters: self.counters(),
        }
    }

    /// What the sequencer waits for while it refuses requests because too few servers are up.
    fn missing_servers(&self) -> Option<Waiting> {
        let Role::Sequencer(sequencer) = &self.role else {
            return None;
        };
        let Err(NotDone::Unavailable { reachable, needed }) = sequencer.check_reachable(&self.core)
        else {
            return None;
        };
        Some(Waiting::Servers { more: needed.saturating_sub(reachable) })
    }

    fn counters(&self) -> Vec<(String, u64)> {
        let core = &self.core;
        let replica = &core.replica;
        let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        let Epoch { round, generation, .. } = core.epoch();
        let (queued, held) = match &self.role {
            Role::Sequencer(sequencer) => (sequencer.queue.len(), 0),
            Role::Follower(follower) => (0, follower.held.len()),
            Role::Unstarted | Role::Founding(_) | Role::Joining(_) | Role::Retired(_) => (0, 0),
        };
        let cluster = core.identity_on_disk.map_or(0, |identity| identity.cluster.0);
        let named = [
            ("cluster_id", cluster),
            ("epoch_round", u64::from(round)),
            ("epoch_generation", u64::from(generation)),
            ("last", replica.log().last().index.0),
            ("durable", replica.durable().0),
            ("commit", replica.commit().0),
            ("applied", replica.applied().index.0),
            ("keys", count(replica.machine().store().len())),
            ("log_entries", count(replica.log().len())),
            ("log_bytes", count(replica.log().size_bytes())),
            ("requests", count(core.forwarder.len())),
            ("queued", count(queued)),
            ("held_back", count(held)),
            ("held_back_ever", core.counters.held_back),
            ("duplicates", replica.duplicates()),
            ("nacks", core.counters.nacks),
            ("resends", core.counters.resends),
            ("dropped", core.counters.dropped),
            ("malformed", core.counters.malformed),
            ("stray_messages", core.counters.stray_messages),
            ("refused_messages", core.counters.refused_messages),
            ("refused_requests", core.counters.refused_requests),
            ("checkpoints_sent", core.counters.checkpoints_sent),
            ("checkpoints_installed", core.counters.checkpoints_installed),
            ("starts_sent", core.counters.starts_sent),
            ("epochs_started", core.counters.epochs_started),
        ];
        named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Checks what must hold between steps; linear.md, "Invariants".
    pub(crate) fn check_invariants(&self) {
        let core = &self.core;
        core.replica.check_invariants();
        match &self.role {
            Role::Sequencer(sequencer) => {
                assert!(core.replica.commit() <= core.replica.durable());
                assert_eq!(core.epoch().owner, core.node());
                let last = core.replica.log().last().index;
                assert!(sequencer.start <= core.replica.durable());
                for progress in sequencer.peers.values() {
                    assert!(progress.acked.is_none() || progress.start.is_none());
                    assert!(progress.acked() <= last);
                    assert!(progress.next <= last.next());
                    assert!(progress.acked() < progress.next);
                }
                assert!(sequencer.queue.len() <= core.config.limits.requests_max);
            }
            Role::Founding(_) | Role::Joining(_) => {
                assert!(core.identity.is_none());
                assert_eq!(core.replica.log().last().index, LogIndex::ZERO);
                assert_eq!(core.forwarder.len(), 0);
            }
            Role::Follower(follower) => {
                assert_eq!(core.epoch().owner, core.sequencer());
                assert!(core.epoch() <= follower.sequencer_epoch);
                assert!(follower.held.len() <= core.config.limits.hold_back_entries_max);
            }
            Role::Retired(_) | Role::Unstarted => {}
        }
        assert!(core.forwarder.len() <= core.config.limits.requests_max);
        assert!(core.is_durable() || core.identity.is_none() || core.journal.outstanding() > 0);
    }
}
