//! Rules that a test can have storage break, to see that its checkers notice.

/// One rule of the journal, or of whoever drives it, that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Records are said to be persisted before their sync has ended.
    SaidBeforeSync,
    /// What was once on disk and is not readable is cut off like a torn tail.
    DurableThroughIgnored,
    /// A torn tail is not cut off, and the next records come behind it.
    TornTailKept,
    /// A recovery takes for durable what an ended process wrote and did not sync.
    UnsyncedTailTrusted,
    /// A failed sync is tried again, and believed.
    FailedSyncRetried,
    /// Records are removed when a checkpoint of them is begun, not when it is on disk.
    PrunedBeforeCheckpoint,
    /// Records are removed although the checkpoint of them could not be written.
    PrunedAfterFailedCheckpoint,
    /// A checkpoint reflects records that are not on disk yet.
    CheckpointBeforeRecords,
}

/// The rule of storage that is broken, if one is.
pub type Broken = kv_core::Broken<Mutation>;

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::SaidBeforeSync,
        Self::DurableThroughIgnored,
        Self::TornTailKept,
        Self::UnsyncedTailTrusted,
        Self::FailedSyncRetried,
        Self::PrunedBeforeCheckpoint,
        Self::PrunedAfterFailedCheckpoint,
        Self::CheckpointBeforeRecords,
    ];
}
