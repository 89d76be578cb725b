//! Rules that a test can have a driver break, to see that its checkers notice.

#[cfg(feature = "mutations")]
mod breaking;

/// One rule of the driver, or of whoever owns it, that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverRule {
    /// A reply goes to another session than its request's.
    ReplyToAnotherSession,
    /// A reply to a request that has ended goes to the next one in its place.
    ReplyToReusedPlace,
    /// A cancelled request keeps its place in its session's bound.
    CancelKeepsPlace,
    /// Records count as persisted when they are handed to the disk.
    PersistedAtHandOver,
    /// A checkpoint is said to cover the records that are on their way.
    CheckpointCoversTooMuch,
    /// A chunk of a checkpoint is left out.
    CheckpointChunkLost,
    /// A part of a snapshot is left out, and the next ones take its number.
    SnapshotPartLost,
    /// The engine is not told that the disk is short.
    ShortageKept,
    /// A peer that was congested counts as congested until it connects anew.
    CongestionKept,
    /// Answers that wait for a client that is behind are dropped when it reads again.
    HeldAnswersDropped,
    /// A checkpoint that could not be written counts as written.
    FailedCheckpointCounts,
    /// A checkpoint that could not be written is not tried again.
    FailedCheckpointKept,
    /// Each part of a session's snapshot shows the state as it is then.
    SessionSnapshotMoves,
    /// A session's snapshot whose view is gone ends as if it were whole.
    SessionSnapshotCutShort,
}

/// The rule of the driver that is broken, if one is.
pub type Broken = crate::Broken<DriverRule>;

impl DriverRule {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::ReplyToAnotherSession,
        Self::ReplyToReusedPlace,
        Self::CancelKeepsPlace,
        Self::PersistedAtHandOver,
        Self::CheckpointCoversTooMuch,
        Self::CheckpointChunkLost,
        Self::SnapshotPartLost,
        Self::ShortageKept,
        Self::CongestionKept,
        Self::HeldAnswersDropped,
        Self::FailedCheckpointCounts,
        Self::FailedCheckpointKept,
        Self::SessionSnapshotMoves,
        Self::SessionSnapshotCutShort,
    ];
}
