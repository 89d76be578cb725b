//! What engines and their drivers count.

use std::fmt;

/// Defines [`Counter`]: of each counter its tag on the wire, its name and its unit.
macro_rules! counters {
    ($($(#[$doc:meta])* $tag:literal => $counter:ident, $name:literal, $unit:ident;)*) => {
        /// A figure in [`Status::counters`](crate::Status::counters).
        ///
        /// Unless it says "at present" or names a setting, it counts what has happened since the
        /// process started. Engines share the counters whose meaning fits.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Counter {
            $($(#[$doc])* $counter,)*
        }

        impl Counter {
            /// All of them, ascending.
            pub const ALL: &'static [Self] = &[$(Self::$counter),*];

            /// The name in snake case, unique among counters and positions.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$counter => $name,)*
                }
            }

            /// What its value is measured in.
            #[must_use]
            pub const fn unit(self) -> Unit {
                match self {
                    $(Self::$counter => Unit::$unit,)*
                }
            }

            /// The tag on the wire, which no other counter ever has.
            pub(super) const fn tag(self) -> u16 {
                match self {
                    $(Self::$counter => $tag,)*
                }
            }

            /// The counter of a tag; `None` if this program knows none.
            pub(super) const fn from_tag(tag: u16) -> Option<Self> {
                match tag {
                    $($tag => Some(Self::$counter),)*
                    _ => None,
                }
            }
        }
    };
}

/// What a counter's value is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// A number of things or events; for a setting or a state, 1 for yes and 0 for no.
    Count,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

counters! {
    // Of the linearizable engine.
    /// Entries of the log that are kept at present.
    1 => LogEntries, "log_entries", Count;
    /// The size of the log that is kept at present.
    2 => LogBytes, "log_bytes", Bytes;
    /// Clients' requests that this server has not answered at present.
    3 => Requests, "requests", Count;
    /// Requests that wait at the sequencer for a log position at present.
    4 => Queued, "queued", Count;
    /// Entries that a follower holds back at present until those before them arrive.
    5 => HeldBack, "held_back", Count;
    /// Entries that were held back until those before them arrived.
    6 => HeldBackEver, "held_back_ever", Count;
    /// Entries without effect, because their request had been applied before.
    7 => Duplicates, "duplicates", Count;
    /// Times that a follower asked for missing entries.
    8 => Nacks, "nacks", Count;
    /// Times that something was sent again because it was missed or not acknowledged in time.
    9 => Resends, "resends", Count;
    /// Messages or entries that were dropped for lack of room or during a change of epoch.
    10 => Dropped, "dropped", Count;
    /// Messages or entries whose content is not legal.
    11 => Malformed, "malformed", Count;
    /// Messages that are late or that this server's role does not expect.
    12 => StrayMessages, "stray_messages", Count;
    /// Messages from servers of another cluster or configuration.
    13 => RefusedMessages, "refused_messages", Count;
    /// Clients' requests that were refused.
    14 => RefusedRequests, "refused_requests", Count;
    /// Checkpoints that were begun to be sent to a follower.
    15 => CheckpointsSent, "checkpoints_sent", Count;
    /// Checkpoints of a peer that were put in place of this server's state.
    16 => CheckpointsInstalled, "checkpoints_installed", Count;
    /// Times that this server asked the others to promise it an epoch.
    17 => Elections, "elections", Count;
    /// Epochs that this server opened.
    18 => EpochsOpened, "epochs_opened", Count;
    /// Clients' sessions at present.
    19 => Sessions, "sessions", Count;
    /// Connected servers of another cluster or configuration at present: they count for nothing.
    20 => PeersRefused, "peers_refused", Count;

    // Of the eventual engine.
    /// Writes that wait for their quorum at present.
    32 => PendingWrites, "pending_writes", Count;
    /// Reads that wait for their quorum at present.
    34 => PendingReads, "pending_reads", Count;
    /// Requests that wait to be begun at present.
    35 => QueuedRequests, "queued_requests", Count;
    /// Records that are not on disk at present.
    36 => UnpersistedRecords, "unpersisted_records", Count;
    /// Messages that no healthy server sends.
    37 => BadMessages, "bad_messages", Count;
    /// Messages of a former incarnation, and answers to nothing that waits.
    38 => StaleMessages, "stale_messages", Count;
    /// Other servers' writes that were dropped because too many waited for the disk.
    39 => DroppedWrites, "dropped_writes", Count;
    /// Other servers' writes that were rejected for a timestamp in the future.
    40 => RejectedWrites, "rejected_writes", Count;
    /// Timestamps in the future that were taken without advancing the clock.
    41 => SkewedStamps, "skewed_stamps", Count;
    /// Requests that were refused because clocks are too far apart.
    42 => RefusedForClock, "refused_for_clock", Count;
    /// Repairs that were sent to servers that were behind.
    43 => RepairsSent, "repairs_sent", Count;
    /// Writes that were taken from a server that was ahead.
    44 => RepairsApplied, "repairs_applied", Count;
    /// Own writes whose time was up before enough servers had acknowledged them.
    45 => UnfinishedWrites, "unfinished_writes", Count;
    /// Inputs of the driver that cannot be right.
    46 => BadInputs, "bad_inputs", Count;
    /// Incarnations that were begun.
    47 => Incarnations, "incarnations", Count;

    /// Times that everything was taken that a peer held.
    48 => Pulls, "pulls", Count;
    /// Records that were sent to peers that pulled them.
    49 => PulledWritesSent, "pulled_writes_sent", Count;
    /// Times that this server's disk was found to have lost data.
    50 => DiskLosses, "disk_losses", Count;
    /// Records of an older copy of the disk that were removed because others deleted them since.
    51 => RecordsOfOlderCopiesRemoved, "records_of_older_copies_removed", Count;
    /// Times that everything here was compared with what a peer holds.
    52 => Comparisons, "comparisons", Count;
    /// Records that were gone or damaged here although the disk had had them, and were taken from a
    /// peer.
    53 => RecordsMended, "records_mended", Count;
    /// Records that a peer holds and that were not taken: a delete that is forgotten may be later.
    54 => RecordsLeftDiffering, "records_left_differing", Count;
    /// Reads that found nothing as new as what their clients had seen, and asked on.
    55 => ReadsBehindSession, "reads_behind_session", Count;

    // Of the driver and its disk.
    /// Messages to peers that were unreachable or took nothing more.
    64 => MessagesDropped, "messages_dropped", Count;
    /// Snapshots that were begun to be sent to peers.
    65 => SnapshotsBegun, "snapshots_begun", Count;
    /// Snapshots that a peer took to their end.
    66 => SnapshotsSent, "snapshots_sent", Count;
    /// Checkpoints that were written to disk.
    67 => CheckpointsWritten, "checkpoints_written", Count;
    /// What the journal has written.
    68 => JournalWrittenBytes, "journal_written_bytes", Bytes;
    /// Whether the disk is too full for writes at present.
    69 => DiskFull, "disk_full", Count;
    /// Whether writes are refused at present because no more files can be opened.
    70 => TooManyOpenFiles, "too_many_open_files", Count;
    /// The setting: 1 if data is kept in memory only.
    71 => DataInMemory, "data_in_memory", Count;
    /// The setting: 1 if every write is flushed to the disk before it is acknowledged.
    72 => FsyncAlways, "fsync_always", Count;
    /// The setting: how often writes are flushed to the disk.
    73 => FsyncInterval, "fsync_interval_ms", Milliseconds;
    /// The setting: 1 if flushing is left to the operating system.
    74 => FsyncNever, "fsync_never", Count;
    /// The setting: 1 if the server starts empty after a loss of power.
    75 => EmptyAfterLossOfPower, "empty_after_loss_of_power", Count;
}
