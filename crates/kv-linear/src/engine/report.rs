//! What a server says of itself, and what must always hold of it.

use bytes::BytesMut;
use kv_core::{
    ClusterId, ConsistencyEngine, Counter, Incarnation, Key, NodeId, NotDone, PeerLag, Positions,
    Status, Version, Waiting, Wire, digest,
};

use crate::election::Campaign;
use crate::engine::{LinearEngine, Role};
use crate::log::epoch::{Epoch, LogIndex};
use crate::sequencer::progress::Progress;

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
        replica.machine().sessions().to_lines().encode(&mut bytes);
        (replica.applied().index, digest(&bytes))
    }

    /// The version of a key in what this server has applied; `None` for a missing key.
    #[must_use]
    pub fn held_version(&self, key: &Key) -> Option<Version> {
        self.core.replica.machine().live().get(key).map(|held| held.version)
    }

    /// Whether this server has the operation that `other` has under a number, or had it: what is
    /// applied was committed, and logs are equal up to there.
    #[must_use]
    pub fn has_operation_of(&self, other: &Self, number: u64) -> bool {
        let place = |engine: &Self| {
            let log = engine.core.replica.log();
            log.entry_with(number).map(|entry| (entry.index(), entry.hash()))
        };
        let own = place(self);
        self.core.replica.applied().operations >= number
            || (own.is_some() && place(other).is_none_or(|theirs| own == Some(theirs)))
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
        self.core.replica.log().epoch_at(index)
    }

    /// The last position of the log.
    #[must_use]
    pub fn last_index(&self) -> LogIndex {
        self.core.replica.log().last().index
    }

    /// The log is known to be committed up to here.
    #[must_use]
    pub const fn committed_index(&self) -> LogIndex {
        self.core.replica.commit()
    }

    /// The epoch that this server has promised: it takes nothing of an earlier one.
    #[must_use]
    pub const fn promised(&self) -> Epoch {
        self.core.promised()
    }

    /// The cluster that this server is in.
    #[must_use]
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.core.identity.map(|identity| identity.cluster)
    }

    /// Whether this server counts for nothing, since it is empty or lost what its disk held.
    #[must_use]
    pub fn is_recovering(&self) -> bool {
        self.core.is_recovering()
    }

    /// The epoch of which this server is the sequencer, if it is one.
    #[must_use]
    pub const fn sequences(&self) -> Option<Epoch> {
        match &self.role {
            Role::Sequencer(sequencer) => Some(sequencer.epoch),
            Role::Unstarted | Role::Founding(_) | Role::Joining(_) | Role::Follower(_) => None,
        }
    }

    /// Whether a request that was forwarded by an incarnation of a server under a number has its
    /// position in the log.
    #[must_use]
    pub fn has_placed(&self, server: NodeId, incarnation: Incarnation, number: u64) -> bool {
        self.core.replica.placed(server, incarnation).contains(number)
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
            incarnation: core.incarnation(),
            cluster_id: core.identity_on_disk.map(|identity| identity.cluster),
            cluster: core.config.cluster.clone(),
            role: self.reported_role(),
            connected: core.links.connected().collect(),
            waiting: self
                .waiting()
                .or_else(|| self.missing_name())
                .or_else(|| self.missing_servers()),
            positions: self.positions(),
            lags: self.lags(),
            counters: self.counters().to_vec(),
        }
    }

    fn reported_role(&self) -> kv_core::Role {
        let counts = self.core.identity_on_disk.is_some_and(|identity| !identity.recovering);
        match self.role {
            Role::Unstarted | Role::Joining(_) => kv_core::Role::Joining,
            Role::Founding(_) => kv_core::Role::Founding,
            Role::Sequencer(_) => kv_core::Role::Sequencer,
            Role::Follower(_) if counts => kv_core::Role::Follower,
            Role::Follower(_) => kv_core::Role::Joining,
        }
    }

    /// What a server waits for that has founded a cluster of which its disk does not know yet. Clients are
    /// to know the cluster from the beginning, since they keep sessions in no unknown one.
    fn missing_name(&self) -> Option<Waiting> {
        self.core.identity_on_disk.is_none().then_some(Waiting::OwnDisk)
    }

    /// What the sequencer waits for while it refuses requests because too few servers are up. One that
    /// is connected and of another cluster is the reason more likely than one that is down.
    fn missing_servers(&self) -> Option<Waiting> {
        let Role::Sequencer(sequencer) = &self.role else {
            return None;
        };
        let Err(NotDone::Unavailable { reachable, needed }) =
            sequencer.check_reachable(&self.core, false)
        else {
            return None;
        };
        let servers = Waiting::Servers { more: needed.saturating_sub(reachable) };
        Some(self.core.links.first_mismatch().unwrap_or(servers))
    }

    fn positions(&self) -> Positions {
        let replica = &self.core.replica;
        let Epoch { round, owner, incarnation } = replica.log().last().epoch;
        Positions {
            keys: Some(count(replica.machine().store().len())),
            last: Some(replica.log().last().index.0),
            durable: Some(replica.durable().0),
            committed: Some(replica.commit().0),
            applied: Some(replica.applied().index.0),
            epoch_round: Some(u64::from(round)),
            epoch_owner: Some(u64::from(owner.number())),
            epoch_incarnation: Some(incarnation.0),
            ..Positions::default()
        }
    }

    fn lags(&self) -> Vec<PeerLag> {
        let Role::Sequencer(sequencer) = &self.role else {
            return Vec::new();
        };
        let last = self.core.replica.log().last().index;
        let lag = |(peer, progress): (&NodeId, &Progress)| {
            let entries = last.distance_from(progress.acked);
            let is_located = progress.counted_incarnation() != Incarnation::UNKNOWN;
            is_located.then_some(PeerLag { peer: *peer, entries })
        };
        sequencer.peers.iter().filter_map(lag).collect()
    }

    fn counters(&self) -> [(Counter, u64); 20] {
        let core = &self.core;
        let replica = &core.replica;
        let (queued, held) = match &self.role {
            Role::Sequencer(sequencer) => (sequencer.queue.len(), 0),
            Role::Follower(follower) => (0, follower.held.len()),
            Role::Unstarted | Role::Founding(_) | Role::Joining(_) => (0, 0),
        };
        [
            (Counter::LogEntries, count(replica.log().len())),
            (Counter::LogBytes, count(replica.log().size_bytes())),
            (Counter::Requests, count(core.forwarder.len() + core.reads.len() + core.leads.len())),
            (Counter::Queued, count(queued)),
            (Counter::HeldBack, count(held)),
            (Counter::HeldBackEver, core.counters.held_back),
            (Counter::Duplicates, replica.duplicates()),
            (Counter::Nacks, core.counters.nacks),
            (Counter::Resends, core.counters.resends),
            (Counter::Dropped, core.counters.dropped),
            (Counter::Malformed, core.counters.malformed + replica.unreadable()),
            (Counter::StrayMessages, core.counters.stray_messages),
            (Counter::RefusedMessages, core.counters.refused_messages),
            (Counter::RefusedRequests, core.counters.refused_requests),
            (Counter::CheckpointsSent, core.counters.checkpoints_sent),
            (Counter::CheckpointsInstalled, core.counters.checkpoints_installed),
            (Counter::Elections, core.counters.elections),
            (Counter::EpochsOpened, core.counters.epochs_opened),
            (Counter::Sessions, count(replica.machine().sessions().len())),
            (Counter::PeersRefused, count(core.links.refused())),
        ]
    }

    /// Checks what must hold between steps; linear.md, "Invariants".
    pub(crate) fn check_invariants(&self) {
        let core = &self.core;
        core.replica.check_invariants();
        match &self.role {
            Role::Sequencer(sequencer) => {
                let last = core.replica.log().last();
                assert!(core.replica.commit() <= core.replica.durable());
                assert_eq!((core.promised(), last.epoch), (sequencer.epoch, sequencer.epoch));
                assert_eq!(sequencer.epoch.owner, core.node());
                assert_eq!(sequencer.epoch.incarnation, core.incarnation());
                assert!(!core.is_recovering());
                for progress in sequencer.peers.values() {
                    assert!(progress.acked <= last.index);
                    assert!(progress.next <= last.index.next());
                    assert!(progress.acked < progress.next);
                }
                assert!(sequencer.queue.len() <= core.config.limits.requests_max);
            }
            Role::Founding(_) | Role::Joining(_) => {
                assert!(core.identity.is_none());
                let is_empty = core.replica.log().last().index == LogIndex::ZERO;
                assert!(is_empty || core.salvaged.is_some());
                assert_eq!(core.forwarder.len(), 0);
            }
            Role::Follower(follower) => {
                assert!(core.replica.log().last().epoch <= core.promised());
                assert!(follower.held.len() <= core.config.limits.hold_back_entries_max);
                let stands = follower.campaign.as_ref().is_some_and(Campaign::is_promised);
                assert!(!stands || !core.is_recovering());
            }
            Role::Unstarted => {}
        }
        let requests = core.forwarder.len() + core.reads.len() + core.leads.len();
        assert!(requests <= core.config.limits.requests_max);
        assert!(core.is_durable() || core.identity.is_none() || core.journal.outstanding() > 0);
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
