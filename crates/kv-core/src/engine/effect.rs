//! What an engine asks its driver to do.

use std::collections::VecDeque;

use crate::cluster::id::{NodeId, PersistSeq, RequestId};
use crate::request::outcome::Outcome;

/// One thing that the driver does for the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<M, R> {
    /// Write a record to disk; [`crate::Input::Persisted`] tells when it is there.
    Persist {
        /// Its number: the last one plus one.
        seq: PersistSeq,
        /// What to write.
        record: R,
    },
    /// Send a message; it may be lost, duplicated, delayed or reordered.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: M,
    },
    /// Answer a request, once.
    Reply {
        /// Which request.
        id: RequestId,
        /// Its answer.
        outcome: Outcome,
    },
    /// Stream a [view](crate::ConsistencyEngine::open_view) of the whole state to a peer that is too
    /// far behind for messages, with flow control. Nothing, while one is under way to that peer; it
    /// ends when the peer goes.
    BeginSnapshot {
        /// To whom.
        to: NodeId,
    },
    /// End the snapshot that is under way to a peer, or from it: it is of no use.
    EndSnapshot {
        /// To or from whom.
        peer: NodeId,
    },
    /// Stop the process: a peer revealed a broken invariant, and going on could spread damage.
    Halt {
        /// What was broken.
        reason: HaltReason,
    },
}

/// A broken invariant that forbids to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HaltReason {
    /// Two different entries claim one log position.
    #[error(
        "server {peer} holds another entry at log index {index} in the same epoch; do not restart \
         before the logs of both servers have been compared"
    )]
    LogsDiffer {
        /// The server that has the other entry.
        peer: NodeId,
        /// Where the logs differ.
        index: u64,
    },
    /// A peer holds what this server wrote and has no more, and this server cannot get it back by
    /// itself: no other server can take its place as the sequencer, or its disk is a copy of the
    /// present one, so that nobody could tell in time.
    #[error(
        "this server's data is older than what server {peer} has of it: the data directory was set \
         back to an older copy; put the newest one back. If that is gone, start this server on an \
         empty directory where W and R are 2 or more, and otherwise restore a backup of the other \
         servers' data directories into a new cluster (docs/backup.md)"
    )]
    SetBack {
        /// The server that holds it.
        peer: NodeId,
    },
    /// A rule of the engine's own, in its words: what is broken, and what to do. Figures that differ
    /// from run to run belong into the log.
    #[error("{reason}")]
    Other {
        /// One or two sentences.
        reason: &'static str,
    },
}

/// Effects in the order in which they were asked for. The driver owns the queue, hands it to each
/// step, and drains it first in, first out, after a step or a batch of steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effects<M, R> {
    queue: VecDeque<Effect<M, R>>,
}

impl<M, R> Effects<M, R> {
    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self { queue: VecDeque::new() }
    }

    /// Appends an [`Effect::Persist`].
    pub fn persist(&mut self, seq: PersistSeq, record: R) {
        self.queue.push_back(Effect::Persist { seq, record });
    }

    /// Appends an [`Effect::Send`].
    pub fn send(&mut self, to: NodeId, message: M) {
        self.queue.push_back(Effect::Send { to, message });
    }

    /// Appends an [`Effect::Reply`].
    pub fn reply(&mut self, id: RequestId, outcome: Outcome) {
        self.queue.push_back(Effect::Reply { id, outcome });
    }

    /// Appends an [`Effect::BeginSnapshot`].
    pub fn begin_snapshot(&mut self, to: NodeId) {
        self.queue.push_back(Effect::BeginSnapshot { to });
    }

    /// Appends an [`Effect::EndSnapshot`].
    pub fn end_snapshot(&mut self, peer: NodeId) {
        self.queue.push_back(Effect::EndSnapshot { peer });
    }

    /// Appends an [`Effect::Halt`].
    pub fn halt(&mut self, reason: HaltReason) {
        self.queue.push_back(Effect::Halt { reason });
    }

    /// Takes the oldest effect.
    pub fn pop(&mut self) -> Option<Effect<M, R>> {
        self.queue.pop_front()
    }

    /// Takes all effects, oldest first.
    pub fn drain(&mut self) -> impl Iterator<Item = Effect<M, R>> + '_ {
        self.queue.drain(..)
    }

    /// The effects that wait, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Effect<M, R>> {
        self.queue.iter()
    }

    /// How many effects wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether none wait.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl<M, R> Default for Effects<M, R> {
    fn default() -> Self {
        Self::new()
    }
}
