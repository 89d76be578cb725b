//! What a simulated cluster is made of.

use std::ops::RangeInclusive;
use std::time::Duration;

use kv_core::{ClusterConfig, ClusterConfigError, Limits, NodeId, Quorum, SeedStream, Timing};
use kv_storage::{Broken, CrashHabits};

/// Everything that decides a run: two clusters of equal configuration that are driven by the same
/// calls do the same, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimConfig {
    /// The servers and their quorums.
    pub cluster: ClusterConfig,
    /// Decides all randomness: the network's, the disks', and each engine's own.
    pub seed: u64,
    /// The links between servers.
    pub network: NetworkConfig,
    /// The servers' disks.
    pub disk: DiskConfig,
    /// How long a server takes before it steps what has come in; all that has come by then is
    /// stepped as one batch, and its effects are carried out after it. Zero by default.
    pub processing: RangeInclusive<Duration>,
    /// The engines' waiting times.
    pub timing: Timing,
    /// The engines' bounds.
    pub limits: Limits,
    /// Whether the first server asks for the sequencer's part whenever it has caught up.
    pub hand_back: bool,
    /// How many requests of one session a server takes at once; further ones wait in its socket.
    pub in_flight_max: usize,
    /// Bytes after which a part of a snapshot or of a checkpoint takes no further item.
    pub part_bytes_max: usize,
    /// For tests: the rule of the server's driver that is broken.
    pub driver_broken: kv_core::driver::Broken,
    /// Whether each link has randomness of its own, so that a message less on one changes nothing on
    /// the others; [`schedule`](crate::schedule)s do.
    pub streams_of_links: bool,
    /// Whether all that each engine is given and gives is kept; it takes memory without end.
    pub keep_tapes: bool,
}

/// How messages travel between two servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkConfig {
    /// How long a message takes.
    pub delay: RangeInclusive<Duration>,
    /// How many of 1,000 messages never arrive.
    pub loss_per_mille: u64,
    /// How many of 1,000 messages arrive twice, the second time after a delay of its own.
    pub duplicate_per_mille: u64,
    /// How many of 1,000 messages may overtake those sent before them on the same link.
    pub reorder_per_mille: u64,
    /// How many of 1,000 messages take `slow_delay` in place of `delay`.
    pub slow_per_mille: u64,
    /// How long a slow message takes.
    pub slow_delay: RangeInclusive<Duration>,
    /// How long it takes until a server is told that a peer has come or gone.
    pub hint_delay: RangeInclusive<Duration>,
}

/// How a server's disk behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskConfig {
    /// How long a sync takes, and how long it takes to lay out a segment.
    pub sync_delay: RangeInclusive<Duration>,
    /// The size of the journal's segments in bytes. No record may be larger.
    pub segment_bytes: u64,
    /// A checkpoint is written once so many records were persisted after the last one; never if
    /// `None`.
    pub checkpoint_every: Option<u64>,
    /// How long it takes until a checkpoint that was taken is on disk.
    pub checkpoint_delay: RangeInclusive<Duration>,
    /// What a loss of power may do to what was not synced.
    pub crash_habits: CrashHabits,
    /// For tests: the rule of storage that is broken.
    pub broken: Broken,
}

impl SimConfig {
    /// A cluster of servers 1 to `nodes` with quorums W and R, a network without faults and disks
    /// that sync at once.
    ///
    /// # Errors
    /// [`ClusterConfigError`] if the quorums cannot be had or there are too many servers.
    pub fn new(nodes: u16, write: u16, read: u16, seed: u64) -> Result<Self, ClusterConfigError> {
        let voters = (1..=nodes).filter_map(|number| NodeId::new(number).ok());
        let cluster = ClusterConfig::new(voters, Quorum::Count(write), Quorum::Count(read))?;
        Ok(Self {
            cluster,
            seed,
            network: NetworkConfig::default(),
            disk: DiskConfig::default(),
            processing: NO_TIME,
            timing: Timing::default(),
            limits: Limits::default(),
            in_flight_max: IN_FLIGHT_MAX,
            part_bytes_max: PART_BYTES_MAX,
            driver_broken: kv_core::driver::Broken::NONE,
            hand_back: false,
            streams_of_links: false,
            keep_tapes: false,
        })
    }

    /// The same with another network.
    #[must_use]
    pub fn with_network(self, network: NetworkConfig) -> Self {
        Self { network, ..self }
    }

    /// The same with other disks.
    #[must_use]
    pub fn with_disk(self, disk: DiskConfig) -> Self {
        Self { disk, ..self }
    }
}

impl NetworkConfig {
    /// A network that loses 10 %, duplicates 10 % and reorders 20 % of all messages, and takes up
    /// to 50 ms for one.
    #[must_use]
    pub fn lossy() -> Self {
        Self {
            delay: Duration::from_micros(100)..=Duration::from_millis(50),
            loss_per_mille: 100,
            duplicate_per_mille: 100,
            reorder_per_mille: 200,
            slow_per_mille: 0,
            slow_delay: NO_TIME,
            hint_delay: Duration::ZERO..=Duration::from_millis(100),
        }
    }
}

impl Default for NetworkConfig {
    /// No faults: every message arrives once and in order after 0.1 to 2 ms.
    fn default() -> Self {
        Self {
            delay: Duration::from_micros(100)..=Duration::from_millis(2),
            loss_per_mille: 0,
            duplicate_per_mille: 0,
            reorder_per_mille: 0,
            slow_per_mille: 0,
            slow_delay: NO_TIME,
            hint_delay: Duration::ZERO..=Duration::from_millis(1),
        }
    }
}

impl DiskConfig {
    /// Disks that take up to 20 ms for a sync and up to 100 ms for a checkpoint, which they write
    /// every 50 records, and that keep any parts of what was not synced.
    #[must_use]
    pub fn slow() -> Self {
        Self {
            sync_delay: Duration::from_micros(100)..=Duration::from_millis(20),
            segment_bytes: 16 << 10,
            checkpoint_every: Some(50),
            checkpoint_delay: Duration::ZERO..=Duration::from_millis(100),
            crash_habits: CrashHabits { tears: true, reorders: true },
            broken: Broken::NONE,
        }
    }
}

impl Default for DiskConfig {
    /// A sync takes no time, no checkpoints are written, and what was not synced is kept whole up
    /// to some write.
    fn default() -> Self {
        Self {
            sync_delay: NO_TIME,
            segment_bytes: 64 << 10,
            checkpoint_every: None,
            checkpoint_delay: NO_TIME,
            crash_habits: CrashHabits { tears: false, reorders: false },
            broken: Broken::NONE,
        }
    }
}

/// A duration from a range, both ends included; the lower end if the range is empty.
pub(crate) fn draw(stream: &mut SeedStream, range: &RangeInclusive<Duration>) -> Duration {
    let width = range.end().saturating_sub(*range.start()).as_nanos();
    let width = u64::try_from(width).unwrap_or(u64::MAX - 1);
    *range.start() + Duration::from_nanos(stream.below(width + 1))
}

/// How many requests of one session a server takes at once by default.
pub(crate) const IN_FLIGHT_MAX: usize = 1024;

/// How large a part of a snapshot or of a checkpoint is by default.
pub(crate) const PART_BYTES_MAX: usize = 256;

const NO_TIME: RangeInclusive<Duration> = Duration::ZERO..=Duration::ZERO;
