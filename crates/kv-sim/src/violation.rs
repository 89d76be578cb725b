//! A broken contract, and how to see it again.

use std::time::Duration;

use kv_check::NamedRequests;
use kv_core::{NodeId, PersistSeq, RecoverError, RequestId};
use kv_storage::JournalError;

/// An engine broke its contract, or a disk its promise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("server {node} {breach} (seed {seed}, {at:?} of virtual time){calls}")]
pub struct Violation {
    /// The seed of the run that shows it.
    pub seed: u64,
    /// The virtual time at which it happened.
    pub at: Duration,
    /// The server whose engine it was.
    pub node: NodeId,
    /// What it did.
    pub breach: Breach,
    /// The request that it did it to, where that is one of a client's: an engine's own numbers are
    /// other ones.
    pub calls: NamedRequests,
}

/// What an engine may never do, with the clause of [`kv_core::ConsistencyEngine`]'s contract that
/// it breaks; and what may never come of a journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Breach {
    /// Clause 1: sequence numbers are dense.
    #[error("asked to persist record {found} where {expected} comes next (clause 1)")]
    SeqNotDense {
        /// The number that comes next.
        expected: PersistSeq,
        /// The number in the effect.
        found: PersistSeq,
    },
    /// Clause 5: the deadline moves on.
    #[error("wants a timeout at {deadline:?} right after the one at {now:?} (clause 5)")]
    DeadlineNotLater {
        /// Its next deadline, on its own monotonic clock.
        deadline: Duration,
        /// The time of the timeout that it was given.
        now: Duration,
    },
    /// Clause 6: at most one reply for a request.
    #[error("answered request {id} a second time (clause 6)")]
    SecondReply {
        /// Which request.
        id: RequestId,
    },
    /// Clause 6: a reply is for a request that this incarnation of the server was given.
    #[error("answered request {id}, which it does not have (clause 6)")]
    StrayReply {
        /// Which request.
        id: RequestId,
    },
    /// Messages go to the other voters.
    #[error("sent a message to server {to}, which is none of its peers")]
    SentToStranger {
        /// To whom.
        to: NodeId,
    },
    /// A message equals what is read from its byte form.
    #[error("sent a message that its byte form does not give back")]
    MessageChanged,
    /// A message fits into a frame.
    #[error("sent a message of {size} bytes, which no frame can carry")]
    MessageTooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// Clause 8: a checkpoint reflects persisted records alone.
    #[error("gave a checkpoint of record {covers} while only {durable} are on disk (clause 8)")]
    CheckpointAhead {
        /// What the checkpoint says that it covers.
        covers: PersistSeq,
        /// The last record on disk.
        durable: PersistSeq,
    },
    /// Clause 8: what changed since the checkpoint on disk makes it the whole state.
    #[error(
        "gave a checkpoint of record {covers} that does not make the one on disk its whole state \
         (clause 8)"
    )]
    CheckpointsDoNotSumUp {
        /// What the checkpoint says that it covers.
        covers: PersistSeq,
    },
    /// Clause 8: it goes on from what it persisted.
    #[error("cannot go on from its own disk: {0} (clause 8)")]
    NotRecovered(RecoverError),
    /// A journal goes on, and is gone on from, unless the disk is to blame.
    #[error("cannot go on with its own journal: {0}")]
    Journal(Box<JournalError>),
    /// What was said to be persisted is there after any restart.
    #[error("was told that records up to {promised} are persisted, and finds {found} again")]
    PromiseBroken {
        /// The last record that the engine was told of.
        promised: PersistSeq,
        /// The last one that a recovery found.
        found: PersistSeq,
    },
    /// What is read back is what was written.
    #[error("finds another record {seq} on its disk than it wrote last")]
    RecordChanged {
        /// Which record.
        seq: PersistSeq,
    },
    /// A record of which a later one knows that it was on disk cannot be damaged without notice.
    #[error("starts on a damaged journal as if nothing had happened")]
    DamageServed,
    /// What is acknowledged is on W disks; judged where the engine offers a
    /// [`Probe`](crate::Probe).
    #[error("acknowledged write {id}, which {holders} disks hold where {needed} must")]
    ThinlyHeld {
        /// The write.
        id: RequestId,
        /// How many disks hold it.
        holders: u16,
        /// W.
        needed: u16,
    },
    /// The parts of a snapshot to a client come in order, each once.
    #[error("gave a client part {part} of a snapshot out of order")]
    BackupDisorderly {
        /// The part's number.
        part: u32,
    },
    /// A snapshot to a client is the whole state at the moment when it began.
    #[error("gave a client a snapshot that is not what it held when that began")]
    BackupDiffers,
    /// Time goes by.
    #[error("was stepped {steps} times within one moment of virtual time")]
    Spinning {
        /// How many steps there were.
        steps: u64,
    },
}
