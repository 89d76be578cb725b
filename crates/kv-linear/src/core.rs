//! What a server has in every role.

mod answers;
mod incarnation;
mod leads;
mod writing;

use std::time::Duration;

use kv_core::{
    Effects, EngineConfig, HaltReason, Incarnation, NodeId, NotDone, Operation, PersistSeq,
    SeedStream, Shortage, Waiting,
};

use crate::durable::journal::{Durable, Journal};
use crate::durable::list::ListOnDisk;
use crate::durable::record::Record;
use crate::durable::view::LogView;
use crate::identity::{Identity, Known, Salvaged};
use crate::links::Links;
use crate::log::epoch::{Epoch, LogIndex};
use crate::message::{Body, Message};
use crate::mutation::{Broken, Mutation};
use crate::quorums::Quorums;
use crate::replica::Replica;
use crate::requests::forward::Forwarder;
use crate::requests::leads::Leads;
use crate::requests::reads::Reads;

pub(crate) type Out = Effects<Message, Record>;

/// A server's state apart from its role.
#[derive(Clone, Debug)]
pub(crate) struct Core {
    pub(crate) config: EngineConfig,
    pub(crate) configuration_hash: u64,
    pub(crate) quorums: Quorums,
    /// The time of day at this step.
    pub(crate) wall: Duration,
    pub(crate) seed: SeedStream,
    pub(crate) identity: Option<Identity>,
    /// The same as the disk has it.
    pub(crate) identity_on_disk: Option<Identity>,
    /// The name of an empty server, as its disk has it.
    pub(crate) named: Option<u64>,
    /// What this server is to found a cluster with, where a person has given its former one up.
    pub(crate) salvaged: Option<Salvaged>,
    /// Where the log ends that this server's cluster was founded on, until that is known to be
    /// committed; 0 if the cluster was founded empty.
    pub(crate) founded_on: LogIndex,
    /// Whether this process has recovered, so that its disk has all that any process before it can
    /// have acknowledged.
    pub(crate) is_proven: bool,
    /// The peer that has shown that this disk is older than it was, where that cannot be mended.
    pub(crate) refuted: Option<NodeId>,
    /// Nothing of an earlier epoch is taken any more.
    promised: Epoch,
    promised_on_disk: Epoch,
    /// The peers' incarnations.
    pub(crate) known: Known,
    pub(crate) journal: Journal,
    /// The record before the first of those that stage what is not switched to yet. A checkpoint
    /// of this server covers none of them: the switch needs them.
    pub(crate) staged_after: Option<PersistSeq>,
    pub(crate) replica: Replica,
    pub(crate) tail_on_disk: ListOnDisk,
    pub(crate) sessions_on_disk: ListOnDisk,
    /// What views that are open show of the log.
    pub(crate) views: Vec<LogView>,
    /// When the next part of what the state does not need any more is let go of.
    pub(crate) tidy_at: Option<Duration>,
    /// Whether this server is about to stop.
    pub(crate) is_stopping: bool,
    /// What the disk lacks.
    pub(crate) shortage: Option<Shortage>,
    pub(crate) forwarder: Forwarder,
    pub(crate) reads: Reads,
    pub(crate) leads: Leads,
    pub(crate) links: Links,
    pub(crate) counters: Counters,
    /// When what has gathered is to be sent.
    pub(crate) flush_at: Option<Duration>,
    /// A broken invariant was found; nothing is done any more.
    pub(crate) halted: bool,
    /// For tests of the checkers.
    pub(crate) broken: Broken,
}

/// Things that happened, counted since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) refused_messages: u64,
    pub(crate) stray_messages: u64,
    pub(crate) malformed: u64,
    pub(crate) refused_requests: u64,
    pub(crate) held_back: u64,
    pub(crate) dropped: u64,
    pub(crate) nacks: u64,
    pub(crate) resends: u64,
    pub(crate) checkpoints_sent: u64,
    pub(crate) checkpoints_installed: u64,
    pub(crate) elections: u64,
    pub(crate) epochs_opened: u64,
}

impl Core {
    pub(crate) fn new(mut config: EngineConfig, recovered: PersistSeq, broken: Broken) -> Self {
        let timing = &mut config.timing;
        for wait in [&mut timing.resend_min, &mut timing.resend_max, &mut timing.heartbeat] {
            *wait = (*wait).max(WAIT_MIN);
        }
        timing.election = timing.election.max(timing.heartbeat.saturating_mul(2));
        Self {
            configuration_hash: config.cluster.hash(),
            quorums: match broken.is(Mutation::PromisesMeetWritesAlone) {
                true => Quorums::of(&config.cluster).without_reads(),
                false => Quorums::of(&config.cluster),
            },
            wall: Duration::ZERO,
            seed: SeedStream::new(config.seed),
            config,
            identity: None,
            identity_on_disk: None,
            named: None,
            salvaged: None,
            founded_on: LogIndex::ZERO,
            is_proven: false,
            refuted: None,
            promised: Epoch::default(),
            promised_on_disk: Epoch::default(),
            known: Known::default(),
            journal: Journal::following(recovered),
            staged_after: None,
            replica: Replica::empty(),
            tail_on_disk: ListOnDisk::default(),
            sessions_on_disk: ListOnDisk::default(),
            views: Vec::new(),
            tidy_at: None,
            is_stopping: false,
            shortage: None,
            forwarder: Forwarder::new(),
            reads: Reads::new(),
            leads: Leads::default(),
            links: Links::default(),
            counters: Counters::default(),
            flush_at: None,
            halted: false,
            broken,
        }
    }

    pub(crate) const fn node(&self) -> NodeId {
        self.config.node
    }

    /// The server that founds clusters and is the first sequencer: the lowest of the voters.
    pub(crate) fn founder(&self) -> NodeId {
        let lowest = self.config.cluster.voters().first();
        lowest.copied().unwrap_or(self.config.node)
    }

    /// This server's incarnation; unknown while it is empty.
    pub(crate) fn incarnation(&self) -> Incarnation {
        self.identity.map_or(Incarnation::UNKNOWN, |identity| identity.incarnation)
    }

    /// Whether this server counts for nothing, since it lost what its disk held.
    pub(crate) fn is_recovering(&self) -> bool {
        self.identity.is_none_or(|identity| identity.recovering)
    }

    /// Whether this server lacks a part of the log that its cluster was founded on, so that it must not
    /// promise an epoch to one that lacks it too.
    pub(crate) fn lacks_founding(&self) -> bool {
        self.founded_on > self.replica.durable()
    }

    /// Notes, before the cluster is founded or joined, where the log ends that it is founded on.
    pub(crate) fn found_on(&mut self, last: LogIndex, out: &mut Out) {
        if last != self.founded_on {
            self.founded_on = last;
            self.persist(Record::FoundedOn { last }, Durable::FoundedOn, out);
        }
    }

    /// The epoch that this server has promised. Nothing of an earlier one is taken any more.
    pub(crate) const fn promised(&self) -> Epoch {
        self.promised
    }

    /// The promise that the disk has.
    pub(crate) const fn promised_on_disk(&self) -> Epoch {
        self.promised_on_disk
    }

    /// Whether the promise outlives this process.
    pub(crate) fn is_promise_durable(&self) -> bool {
        self.promised == self.promised_on_disk
    }

    /// Promises an epoch together with what is written next.
    pub(crate) fn raise_promise(&mut self, epoch: Epoch) {
        assert!(epoch >= self.promised);
        self.promised = epoch;
    }

    /// Promises an epoch, and has that written by itself.
    pub(crate) fn promise(&mut self, epoch: Epoch, out: &mut Out) {
        self.raise_promise(epoch);
        self.persist(Record::Promised { epoch }, Durable::Promised(epoch), out);
    }

    /// Notes that a promise is on disk.
    pub(crate) fn note_promised_on_disk(&mut self, epoch: Epoch) {
        self.promised_on_disk = self.promised_on_disk.max(epoch);
    }

    /// Takes over the promise that the disk held.
    pub(crate) fn recover_promise(&mut self, epoch: Epoch) {
        self.promised = self.promised.max(epoch);
        self.promised_on_disk = self.promised;
    }

    /// The random half of a further incarnation.
    pub(crate) fn draw_nonce(&mut self) -> u32 {
        u32::try_from(self.seed.next_u64() >> 32).unwrap_or(u32::MAX)
    }

    pub(crate) fn peers(&self) -> Vec<NodeId> {
        self.config.cluster.peers_of(self.config.node).collect()
    }

    /// Sends a message, unless the disk does not have yet who this server is: after a crash another
    /// process would take the same number, and count as an impostor.
    pub(crate) fn send(&self, to: NodeId, body: Body, out: &mut Out) {
        if self.identity != self.identity_on_disk {
            return;
        }
        let message = Message {
            cluster: self.identity.map(|identity| identity.cluster),
            configuration: self.configuration_hash,
            incarnation: self.incarnation(),
            body,
        };
        out.send(to, message);
    }

    /// Tells a founding member that it is one.
    pub(crate) fn welcome(&self, member: NodeId, nonce: u64, out: &mut Out) {
        let own = (self.node(), self.incarnation());
        let members = self.known.on_disk().into_iter().chain([own]).collect();
        let is_committed = self.replica.commit() >= self.founded_on;
        let founded_on = if is_committed { LogIndex::ZERO } else { self.founded_on };
        self.send(member, Body::Welcome { nonce, members, founded_on }, out);
    }

    /// The time of day at this step.
    pub(crate) fn wall_ms(&self) -> u64 {
        u64::try_from(self.wall.as_millis()).unwrap_or(u64::MAX)
    }

    /// Lets go of what the state does not need any more, if there is something, from the next
    /// timeout on.
    pub(crate) fn tidy_soon(&mut self) {
        if self.tidy_at.is_none() && self.replica.machine().store().is_untidy() {
            self.tidy_at = Some(Duration::ZERO);
        }
    }

    /// Lets go of a part of what the state does not need any more.
    pub(crate) fn tidy(&mut self, now: Duration) {
        if self.tidy_at.is_some_and(|at| at <= now) {
            let has_more = self.replica.machine_mut().store_mut().tidy(TIDIED_AT_ONCE);
            self.tidy_at = has_more.then(|| now.saturating_add(WAIT_MIN));
        }
    }

    /// Why this server cannot keep an operation, if it cannot.
    pub(crate) fn check_disk(&self, operation: &Operation) -> Result<(), NotDone> {
        if self.shortage == Some(Shortage::SpaceForData) && operation.lets_data_go() {
            return Ok(());
        }
        self.disk_waiting().map_or(Ok(()), Err)
    }

    /// What this server's disk lacks, if it does.
    pub(crate) fn disk_waiting(&self) -> Option<NotDone> {
        let node = self.node();
        self.shortage.map(|shortage| {
            NotDone::Waiting(match shortage {
                Shortage::SpaceForData | Shortage::Space => Waiting::DiskFull { node },
                Shortage::OpenFiles => Waiting::TooManyOpenFiles { node },
            })
        })
    }

    /// Has a timeout stepped at once, so that what came together goes out together.
    pub(crate) fn flush_soon(&mut self, now: Duration) {
        self.flush_at = Some(self.flush_at.map_or(now, |at| at.min(now)));
    }

    /// Stops this server: a peer's log and its own differ where they must not.
    pub(crate) fn halt(&mut self, peer: NodeId, index: LogIndex, out: &mut Out) {
        self.halt_for(HaltReason::LogsDiffer { peer, index: index.0 }, out);
    }

    /// Stops this server.
    pub(crate) fn halt_for(&mut self, reason: HaltReason, out: &mut Out) {
        self.halted = true;
        tracing::error!(%reason, "halting");
        out.halt(reason);
    }
}

/// How many keys are let go of in one step.
const TIDIED_AT_ONCE: usize = 1_000;

/// Waits are at least this long, so that a timeout always ends with a later deadline.
const WAIT_MIN: Duration = Duration::from_millis(1);
