//! A pull from a peer: this server asks for what it lacks, batch by batch, and takes the peer's
//! vector for its own once everything before it is on disk.

use std::collections::BTreeSet;
use std::time::Duration;

use kv_core::{Key, PersistSeq};

use crate::deadline::Backoff;
use crate::ids::Slot;
use crate::message::Report;

/// A pull under way, at the requester.
#[derive(Clone, Debug)]
pub(crate) struct PullUnderWay {
    pub(crate) from: Slot,
    pub(crate) transfer: u64,
    pub(crate) number: u32,
    /// Which transfer its batches are of at the peer, once one has come.
    pub(crate) instance: u64,
    pub(crate) phase: PullPhase,
    /// The keys that have come, if this server lost data and asks for everything. Others that it holds
    /// may be older than a delete that no server needs any more; it would be undone if they stayed.
    pub(crate) brought: Option<BTreeSet<Key>>,
    /// Whether all that came was legal. If not, this server lacks something that the peer's vector
    /// knows, and does not take that.
    pub(crate) is_clean: bool,
}

/// What a pull waits for.
#[derive(Clone, Debug)]
pub(crate) enum PullPhase {
    /// A batch.
    Asked {
        backoff: Backoff,
        /// How often it was asked for.
        times: u32,
    },
    /// This server's disk, which has not all of a batch yet.
    Storing { until: PersistSeq, end: Option<Box<Report>>, bytes: usize },
    /// Clients, to which it yields before it asks for the next batch.
    Yielding,
}

/// How long a pull pauses after so many bytes, so that what it costs leaves room for clients.
pub(crate) fn pause_after(bytes: usize, are_clients_waiting: bool) -> Duration {
    let nanos = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(NANOS_PER_BYTE);
    let times = if are_clients_waiting { YIELD_FACTOR } else { 1 };
    Duration::from_nanos(nanos.saturating_mul(times))
}

/// 100 MB a second at the most.
const NANOS_PER_BYTE: u64 = 10;

/// A quarter of that while clients wait for answers.
const YIELD_FACTOR: u64 = 4;

/// A batch that is not answered so often is given up.
pub(crate) const ASKED_MAX: u32 = 6;
