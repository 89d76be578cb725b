//! What the engine counts, for `status`.

use kv_core::Counter;

/// Events since the engine was made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    /// Messages and parts that no healthy server sends.
    pub(crate) bad_messages: u64,
    /// Messages and parts from a former incarnation, or answers to nothing that waits.
    pub(crate) stale_messages: u64,
    /// Writes of others that were dropped because too many waited for the disk.
    pub(crate) dropped_writes: u64,
    /// Writes of others that were rejected for a stamp in the future.
    pub(crate) rejected_writes: u64,
    /// Stamps from the future that came by a way that is not rejected; the clock stayed.
    pub(crate) skewed_stamps: u64,
    /// Requests refused for clocks that are apart.
    pub(crate) refused_for_clock: u64,
    /// Repairs sent to servers that were seen to be behind.
    pub(crate) repairs_sent: u64,
    /// Writes taken over because another server was seen to be ahead.
    pub(crate) repairs_applied: u64,
    /// Writes and queries that were sent again.
    pub(crate) resends: u64,
    /// Own writes whose time was up before enough servers had acknowledged them.
    pub(crate) unfinished_writes: u64,
    /// Inputs of the driver that cannot be right.
    pub(crate) bad_inputs: u64,
    /// Incarnations begun.
    pub(crate) incarnations: u64,
    /// Times that all was taken which a peer held.
    pub(crate) pulls: u64,
    /// Records sent to peers that pulled them.
    pub(crate) sync_writes_sent: u64,
    /// Times that the disk was found to have lost data.
    pub(crate) losses: u64,
    /// Records of an older copy of the disk that were removed.
    pub(crate) suspects_removed: u64,
    /// Times that everything was compared with what a peer holds.
    pub(crate) comparisons: u64,
    /// Records taken from a peer although this server should have had them.
    pub(crate) records_mended: u64,
    /// Records of a peer that were not taken because a forgotten delete may be later.
    pub(crate) records_left: u64,
    /// Reads that found nothing as new as what their clients had seen.
    pub(crate) reads_behind: u64,
}

impl Counters {
    pub(crate) const fn all(&self) -> [(Counter, u64); 20] {
        [
            (Counter::BadMessages, self.bad_messages),
            (Counter::StaleMessages, self.stale_messages),
            (Counter::DroppedWrites, self.dropped_writes),
            (Counter::RejectedWrites, self.rejected_writes),
            (Counter::SkewedStamps, self.skewed_stamps),
            (Counter::RefusedForClock, self.refused_for_clock),
            (Counter::RepairsSent, self.repairs_sent),
            (Counter::RepairsApplied, self.repairs_applied),
            (Counter::Resends, self.resends),
            (Counter::UnfinishedWrites, self.unfinished_writes),
            (Counter::BadInputs, self.bad_inputs),
            (Counter::Incarnations, self.incarnations),
            (Counter::Pulls, self.pulls),
            (Counter::PulledWritesSent, self.sync_writes_sent),
            (Counter::DiskLosses, self.losses),
            (Counter::RecordsOfOlderCopiesRemoved, self.suspects_removed),
            (Counter::Comparisons, self.comparisons),
            (Counter::RecordsMended, self.records_mended),
            (Counter::RecordsLeftDiffering, self.records_left),
            (Counter::ReadsBehindSession, self.reads_behind),
        ]
    }
}
