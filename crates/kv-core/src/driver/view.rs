//! What can be read of a driver: its engine, how it is, and figures.

use crate::cluster::id::{NodeId, PersistSeq};
use crate::driver::DriverCore;
use crate::engine::{ConsistencyEngine, Shortage};
use crate::request::not_done::Waiting;
use crate::status::Status;

/// Things that happened, counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverCounters {
    /// Messages to peers that were not connected, or took nothing more.
    pub messages_dropped: u64,
    /// Snapshots that were begun to peers.
    pub snapshots_begun: u64,
    /// Those that a peer took to their end.
    pub snapshots_sent: u64,
    /// Replies for which nobody waited any more.
    pub replies_unclaimed: u64,
    /// Checkpoints that were written.
    pub checkpoints_written: u64,
}

impl<E: ConsistencyEngine> DriverCore<E> {
    /// The engine, to look at.
    #[must_use]
    pub const fn engine(&self) -> &E {
        &self.engine
    }

    /// The engine, for a wrapper around it that keeps notes of what it was given. Stepping it by
    /// other ways than the driver's breaks the driver's bookkeeping.
    #[must_use]
    pub const fn engine_mut(&mut self) -> &mut E {
        &mut self.engine
    }

    /// What happened so far, in figures.
    #[must_use]
    pub const fn counters(&self) -> DriverCounters {
        self.counters
    }

    /// The last record that is on disk.
    #[must_use]
    pub const fn persisted(&self) -> PersistSeq {
        self.disk.persisted
    }

    /// The last record that the checkpoint on disk reflects.
    #[must_use]
    pub const fn checkpoint_covers(&self) -> PersistSeq {
        self.disk.covers()
    }

    /// Bytes that the journal has written, as far as the driver was told.
    #[must_use]
    pub const fn journal_bytes(&self) -> u64 {
        self.disk.written_bytes()
    }

    /// What the disk lacks.
    #[must_use]
    pub const fn shortage(&self) -> Option<Shortage> {
        self.disk.shortage
    }

    /// The server that orders requests now, as far as this one knows.
    pub fn sequencer(&self) -> Option<NodeId> {
        self.engine.sequencer()
    }

    /// How the server is, its disk included.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut status = self.engine.status();
        let stopping = self.stop_by.map(|_| Waiting::Stopping);
        let short = self.disk.shortage.map(|shortage| match shortage {
            Shortage::SpaceForData | Shortage::Space => Waiting::DiskFull { node: status.node },
            Shortage::OpenFiles => Waiting::TooManyOpenFiles { node: status.node },
        });
        status.waiting = stopping.or(status.waiting).or(short);
        status
    }
}
