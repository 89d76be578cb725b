//! What a server has in every role.

use std::time::Duration;

use kv_core::{
    Effects, EngineConfig, HaltReason, Incarnation, NodeId, NotDone, Outcome, PersistSeq,
    RequestId, SeedStream, Shortage, Unknown, Waiting,
};

use crate::durable::journal::{Durable, Journal};
use crate::durable::record::Record;
use crate::durable::tail::TailOnDisk;
use crate::durable::view::LogView;
use crate::identity::Identity;
use crate::links::Links;
use crate::log::entry::Entry;
use crate::log::epoch::{Epoch, LogIndex};
use crate::message::{Body, Message};
use crate::mutation::{Broken, Mutation};
use crate::replica::Replica;
use crate::requests::forward::{Forwarder, Pending};
use crate::state_machine::page::PageBounds;

pub(crate) type Out = Effects<Message, Record>;

/// A server's state apart from its role.
#[derive(Clone, Debug)]
pub(crate) struct Core {
    pub(crate) config: EngineConfig,
    pub(crate) configuration_hash: u64,
    pub(crate) seed: SeedStream,
    pub(crate) identity: Option<Identity>,
    /// The same as the disk has it.
    pub(crate) identity_on_disk: Option<Identity>,
    pub(crate) journal: Journal,
    /// The record before the first of those that stage what is not switched to yet. A checkpoint
    /// of this server covers none of them: the switch needs them.
    pub(crate) staged_after: Option<PersistSeq>,
    pub(crate) replica: Replica,
    pub(crate) tail_on_disk: TailOnDisk,
    /// What views that are open show of the log.
    pub(crate) views: Vec<LogView>,
    /// When the next part of a state that was replaced is let go of.
    pub(crate) tidy_at: Option<Duration>,
    /// What the disk lacks.
    pub(crate) shortage: Option<Shortage>,
    pub(crate) forwarder: Forwarder,
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
    pub(crate) starts_sent: u64,
    pub(crate) epochs_started: u64,
}

impl Core {
    pub(crate) fn new(mut config: EngineConfig, recovered: PersistSeq, broken: Broken) -> Self {
        let timing = &mut config.timing;
        for wait in [&mut timing.resend_min, &mut timing.resend_max, &mut timing.heartbeat] {
            *wait = (*wait).max(WAIT_MIN);
        }
        Self {
            configuration_hash: config.cluster.hash(),
            seed: SeedStream::new(config.seed),
            config,
            identity: None,
            identity_on_disk: None,
            journal: Journal::following(recovered),
            staged_after: None,
            replica: Replica::empty(),
            tail_on_disk: TailOnDisk::default(),
            views: Vec::new(),
            tidy_at: None,
            shortage: None,
            forwarder: Forwarder::new(),
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

    /// The server that assigns log positions: the lowest of the voters.
    pub(crate) fn sequencer(&self) -> NodeId {
        let lowest = self.config.cluster.voters().first();
        lowest.copied().unwrap_or(self.config.node)
    }

    /// The epoch that this server is in.
    pub(crate) fn epoch(&self) -> Epoch {
        let first = Epoch::first(self.sequencer());
        self.identity.map_or(first, |identity| identity.epoch)
    }

    /// The random half of a further incarnation.
    pub(crate) fn draw_nonce(&mut self) -> u32 {
        u32::try_from(self.seed.next_u64() >> 32).unwrap_or(u32::MAX)
    }

    pub(crate) fn peers(&self) -> Vec<NodeId> {
        self.config.cluster.peers_of(self.config.node).collect()
    }

    pub(crate) fn send(&self, to: NodeId, body: Body, out: &mut Out) {
        let identity = self.identity.as_ref();
        let message = Message {
            cluster: identity.map(|identity| identity.cluster),
            configuration: self.configuration_hash,
            incarnation: identity.map_or(Incarnation::UNKNOWN, |identity| identity.incarnation),
            body,
        };
        out.send(to, message);
    }

    pub(crate) fn persist(&mut self, record: Record, durable: Durable, out: &mut Out) {
        self.journal.persist(record, durable, out);
    }

    /// Writes a part of something that takes effect only by a later record.
    pub(crate) fn stage(&mut self, record: Record, out: &mut Out) {
        self.staged_after.get_or_insert(self.journal.asked());
        self.persist(record, Durable::Staged, out);
    }

    /// Writes entries that were appended to the log, in records of about the size of a message.
    pub(crate) fn persist_entries(&mut self, entries: Vec<Entry>, out: &mut Out) {
        let whole_bytes: usize = entries.iter().map(Entry::size_bytes).sum();
        if whole_bytes <= self.config.limits.message_bytes_max {
            return self.persist_part(entries, out);
        }
        let mut part = Vec::new();
        let mut size_bytes = 0;
        for entry in entries {
            size_bytes += entry.size_bytes();
            if size_bytes > self.config.limits.message_bytes_max && !part.is_empty() {
                self.persist_part(std::mem::take(&mut part), out);
                size_bytes = entry.size_bytes();
            }
            part.push(entry);
        }
        self.persist_part(part, out);
    }

    fn persist_part(&mut self, entries: Vec<Entry>, out: &mut Out) {
        if let Some(last) = entries.last().map(Entry::index) {
            let commit = self.replica.commit();
            self.persist(Record::Entries { commit, entries }, Durable::Log { last }, out);
        }
    }

    /// Lets go of a part of a state that was replaced.
    pub(crate) fn tidy(&mut self, now: Duration) {
        if self.tidy_at.is_some_and(|at| at <= now) {
            let has_more = self.replica.machine_mut().store_mut().tidy(TIDIED_AT_ONCE);
            self.tidy_at = has_more.then(|| now.saturating_add(WAIT_MIN));
        }
    }

    /// Why this server cannot keep a write, if it cannot.
    pub(crate) fn check_disk(&self) -> Result<(), NotDone> {
        self.shortage.map_or(Ok(()), |shortage| {
            Err(NotDone::Waiting(match shortage {
                Shortage::Space => Waiting::DiskFull { node: self.node() },
                Shortage::OpenFiles => Waiting::TooManyOpenFiles { node: self.node() },
            }))
        })
    }

    /// Has a timeout stepped at once, so that what came together goes out together.
    pub(crate) fn flush_soon(&mut self, now: Duration) {
        self.flush_at = Some(self.flush_at.map_or(now, |at| at.min(now)));
    }

    /// Applies what is committed and on disk, and answers the clients that wait for it.
    pub(crate) fn deliver(&mut self, out: &mut Out) {
        let node = self.config.node;
        let own = self.identity.map(|identity| (node, identity.incarnation));
        let bounds = PageBounds::of(&self.config.limits);
        while let Some(delivered) = self.replica.deliver_next(own, bounds, self.broken) {
            if own != Some((delivered.origin.server, delivered.origin.incarnation)) {
                continue;
            }
            let Some(outcome) = delivered.outcome else {
                continue;
            };
            if let Some(pending) = self.forwarder.settle(delivered.origin.number) {
                out.reply(pending.id, outcome);
            }
        }
        let limits = &self.config.limits;
        self.replica.trim(limits.log_bytes_max, limits.log_entries_max);
    }

    pub(crate) fn refuse(&mut self, id: RequestId, reason: NotDone, out: &mut Out) {
        self.counters.refused_requests += 1;
        out.reply(id, Outcome::NotDone(reason));
    }

    /// Answers a request whose time is up; `acks` servers are known to hold it.
    pub(crate) fn reply_expired(&self, pending: &Pending, acks: u16, out: &mut Out) {
        let needed = self.config.cluster.write_quorum();
        let definite = self.broken.is(Mutation::UnknownToldAsNotDone);
        let outcome = if pending.sent && !pending.read_only && !definite {
            Outcome::Unknown(Unknown { version: None, acks, needed })
        } else {
            Outcome::NotDone(NotDone::TimedOut { answered: acks, needed })
        };
        out.reply(pending.id, outcome);
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

    /// Takes the switch to the starting log of an epoch, which is on disk.
    pub(crate) fn enter(&mut self, epoch: Epoch) {
        for identity in [&mut self.identity, &mut self.identity_on_disk].into_iter().flatten() {
            identity.epoch = epoch;
        }
        self.staged_after = None;
    }

    /// Whether all that says who this server is has come to the disk.
    pub(crate) fn is_durable(&self) -> bool {
        self.identity.is_some() && self.identity == self.identity_on_disk
    }

    /// Begins another incarnation with the log that this server has.
    pub(crate) fn renew(&mut self, highest: Incarnation, out: &mut Out) {
        let nonce = self.draw_nonce();
        let Some(identity) = &mut self.identity else {
            return;
        };
        let incarnation = Incarnation::following(highest.max(identity.incarnation), nonce);
        identity.incarnation = incarnation;
        self.persist(Record::Renewed { incarnation }, Durable::Incarnation { incarnation }, out);
    }
}

/// How many keys of a replaced state are let go of in one step.
const TIDIED_AT_ONCE: usize = 1_000;

/// Waits are at least this long, so that a timeout always ends with a later deadline.
const WAIT_MIN: Duration = Duration::from_millis(1);
