//! What a driver is told when it starts.

use std::time::Duration;

use super::rule::Broken;
use crate::cluster::id::PersistSeq;

/// How a driver works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriverConfig {
    /// The disk that records go to; without one, a record counts as persisted at once.
    pub disk: Option<DriverDisk>,
    /// How long requests in flight may take once the driver was told to stop.
    pub drain_max: Duration,
    /// Bytes after which a part of a snapshot or a chunk of a checkpoint takes no further item; a
    /// single larger item goes alone.
    pub part_bytes_max: usize,
    /// Parts of a snapshot that may be on their way to a peer, or wait for its disk.
    pub parts_in_flight_max: u32,
    /// Bytes of such parts after which no further one is sent; the last one may go beyond it.
    pub bytes_in_flight_max: usize,
    /// For tests of the checkers.
    pub broken: Broken,
}

/// The disk as the driver found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriverDisk {
    /// The last record on it.
    pub persisted: PersistSeq,
    /// The last record that its checkpoint reflects; 0 without one.
    pub covers: PersistSeq,
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// When a checkpoint is taken.
    pub checkpoints: CheckpointPolicy,
}

/// When a checkpoint is taken, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointPolicy {
    /// Bytes of the journal that call for one.
    pub bytes_max: u64,
    /// The least time between two.
    pub interval_min: Duration,
    /// Chunks that may wait for the checkpoint's writer.
    pub chunks_max: u32,
}

impl Default for CheckpointPolicy {
    fn default() -> Self {
        Self { bytes_max: 64 << 20, interval_min: Duration::from_secs(1), chunks_max: 8 }
    }
}

impl DriverConfig {
    /// Without a disk: nothing is ever safer than it is at once.
    pub const MEMORY: Self = Self {
        disk: None,
        drain_max: Duration::from_secs(1),
        part_bytes_max: 64 << 10,
        parts_in_flight_max: 4,
        bytes_in_flight_max: 256 << 10,
        broken: Broken::NONE,
    };

    /// With a disk.
    #[must_use]
    pub const fn durable(disk: DriverDisk) -> Self {
        Self { disk: Some(disk), ..Self::MEMORY }
    }
}
