//! How an engine fails the suite.

use std::time::Duration;

use kv_check::NamedRequests;
use kv_core::{ClusterConfigError, HaltReason, Key, NodeId, PersistSeq, RecoverError, RequestId};

use crate::violation::Violation;

/// An engine does not keep a clause of the contract.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The simulator saw it while it ran.
    #[error(transparent)]
    Contract(#[from] Violation),
    /// The clause's own test found it.
    #[error("clause {clause}: {finding} (seed {seed}){calls}")]
    Clause {
        /// Which clause, from 1 to 11.
        clause: u8,
        /// The seed that shows it.
        seed: u64,
        /// What was found.
        finding: Finding,
        /// The requests that show it, where it is about requests.
        calls: NamedRequests,
    },
    /// The suite asked for a cluster that cannot be: a defect of the suite.
    #[error(transparent)]
    Config(#[from] ClusterConfigError),
}

/// What a test of a clause found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// A healthy cluster must serve.
    #[error("server {node} did no write within {bound:?} on a healthy cluster")]
    NeverServes {
        /// The server asked.
        node: NodeId,
        /// How long it was given.
        bound: Duration,
    },
    /// A write was acknowledged although a disk that it needs was held.
    #[error("write {id} is done although the disk of server {held} cannot hold it")]
    DoneBeforePersisted {
        /// The write.
        id: RequestId,
        /// The server whose disk was held.
        held: NodeId,
    },
    /// Effects depend on when they are drained, or those that wait were changed.
    #[error("server {node} gives other effects when they are drained after a batch of steps")]
    EffectsDisturbed {
        /// The server whose tape was played again.
        node: NodeId,
    },
    /// A second engine given the same inputs gave other effects.
    #[error("server {node} gives other effects when it is given the same inputs again")]
    EffectsDiffer {
        /// The server whose tape was played again.
        node: NodeId,
    },
    /// A second run of the same cluster went another way.
    #[error("two runs of one seed differ")]
    RunsDiffer,
    /// A step panicked.
    #[error("a step panicked; the message stands above")]
    Panicked,
    /// The deadline did not move on.
    #[error("wants a timeout at {deadline:?} right after the one at {now:?}")]
    DeadlineNotLater {
        /// Its next deadline.
        deadline: Duration,
        /// The time of the timeout that it was given.
        now: Duration,
    },
    /// A request was answered twice, or never put.
    #[error("request {id} is answered twice, or was never put")]
    StrayReply {
        /// Which one.
        id: RequestId,
    },
    /// A record's sequence number does not follow the last one.
    #[error("record {found} is to be persisted where {expected} comes next")]
    SeqNotDense {
        /// The number that comes next.
        expected: PersistSeq,
        /// The number in the effect.
        found: PersistSeq,
    },
    /// The journal could not let go of records, on a disk that nobody made fail.
    #[error("the journal of server {node} cannot let go of records that a checkpoint covers")]
    JournalFailed {
        /// The server.
        node: NodeId,
    },
    /// What was lost was not sent again.
    #[error("write {id} is not done although messages pass again")]
    NotRetransmitted {
        /// The write.
        id: RequestId,
    },
    /// A silent peer is sent too much.
    #[error("{messages} messages were sent while a peer was silent; {bound} would do")]
    Storm {
        /// How many were sent.
        messages: u64,
        /// How many are allowed.
        bound: u64,
    },
    /// A request got no answer in its time.
    #[error("request {id} has no answer {late:?} after its timeout")]
    NoAnswer {
        /// Which one.
        id: RequestId,
        /// How much too late it is.
        late: Duration,
    },
    /// Nearly everything was refused, so that nothing was shown.
    #[error("only {done} requests were done in all runs together, {bound} would do")]
    TooLittleDone {
        /// How many were done.
        done: usize,
        /// How many are needed.
        bound: usize,
    },
    /// A write that a full disk cannot keep was not refused.
    #[error("write {id} was not refused within {bound:?} though the disk is full")]
    NotRefused {
        /// The write.
        id: RequestId,
        /// How long it was given.
        bound: Duration,
    },
    /// A write that was called not done was read.
    #[error("request {id} was answered \"not done\", but its value was read")]
    NotDoneTookEffect {
        /// The write.
        id: RequestId,
    },
    /// A value was read that nobody wrote to that key.
    #[error("request {id} read a value that was never written to its key")]
    Invented {
        /// The read.
        id: RequestId,
    },
    /// An engine halted though nothing was damaged.
    #[error("server {node} halted without cause: {reason}")]
    Halted {
        /// Which server.
        node: NodeId,
        /// Its reason.
        reason: HaltReason,
    },
    /// A journal that a crash can leave was refused.
    #[error("server {node} cannot go on from its first {records} records: {error}")]
    NotRecovered {
        /// Which server.
        node: NodeId,
        /// How many of its records were there.
        records: usize,
        /// What it said.
        error: RecoverError,
    },
    /// The checkpoint and the tail do not make the state that the whole journal makes.
    #[error(
        "server {node} recovered from its checkpoint of record {covers} and the records after it \
         differs from one recovered from all records"
    )]
    CheckpointDiffers {
        /// Which server.
        node: NodeId,
        /// What the checkpoint covers.
        covers: PersistSeq,
    },
    /// The changes that were written do not make the whole state.
    #[error(
        "server {node} gave a checkpoint of record {covers} that does not make the one on disk \
         its whole state"
    )]
    CheckpointsDoNotSumUp {
        /// Which server.
        node: NodeId,
        /// What the checkpoint covers.
        covers: PersistSeq,
    },
    /// An acknowledged write is gone.
    #[error("write {id} was acknowledged, but is gone after a crash and a restart")]
    WriteLost {
        /// The write.
        id: RequestId,
    },
    /// No read at all was answered, so that nothing was shown.
    #[error("after a crash and a restart no server at all answered a read")]
    NothingRead,
    /// A dump was not answered with a page.
    #[error("server {node} did not answer a dump with a page")]
    DumpRefused {
        /// Which server.
        node: NodeId,
    },
    /// A page is longer or larger than it may be.
    #[error("a page of server {node} has {entries} entries and {bytes} bytes")]
    PageTooLarge {
        /// Which server.
        node: NodeId,
        /// How many entries the page has.
        entries: usize,
        /// How many bytes their keys and values have.
        bytes: usize,
    },
    /// A page does not go on where the one before it ended.
    #[error("the pages of server {node} are not in ascending order, or do not end")]
    PagesOutOfOrder {
        /// Which server.
        node: NodeId,
    },
    /// A key is on no page of any server.
    #[error("key {key:?} is on no page of any server")]
    KeyNotOnPages {
        /// Which key.
        key: Key,
    },
}

impl Failure {
    /// The seed that shows it; 0 if that is none.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        match self {
            Self::Contract(violation) => violation.seed,
            Self::Clause { seed, .. } => *seed,
            Self::Config(_) => 0,
        }
    }
}

impl Finding {
    /// The failure of a clause, with the seed that shows it.
    pub(super) fn of(self, clause: u8, seed: u64) -> Failure {
        self.shown_by(clause, seed, NamedRequests::default())
    }

    /// The same with the requests that show it.
    pub(super) const fn shown_by(self, clause: u8, seed: u64, calls: NamedRequests) -> Failure {
        Failure::Clause { clause, seed, finding: self, calls }
    }
}
