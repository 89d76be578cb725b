//! Rules that a test can have the engine break, to see that its checkers notice.

/// One rule that the engine breaks.
///
/// An engine that breaks one comes from `LinearEngine::recover_mutated`, which exists only with
/// the feature `mutations`; without it every question about a mutation is a constant `false`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "mutations"), expect(unreachable_pub, reason = "exported for tests"))]
pub enum Mutation {
    /// A follower acknowledges entries that are not on its disk yet.
    AckBeforePersisted,
    /// The sequencer commits without its own disk.
    OwnDiskNotCounted,
    /// The sequencer commits with W - 1 servers.
    CommitsWithOneFewer,
    /// Where W is not all servers, the sequencer commits what its own disk holds.
    WriteQuorumIgnored,
    /// An entry counts as on the sequencer's disk as soon as it is made: at W = 1 it is committed
    /// before it is on any.
    AppliedBeforePersisted,
    /// A follower applies what is not committed.
    AppliedBeforeCommitted,
    /// Of several entries that can be applied at once, only the last one is.
    EntrySkipped,
    /// A request that is forwarded twice gets two positions, and both take effect.
    ForwardAppliedTwice,
    /// A request that was refused gets a position when it comes once more.
    RefusedForwardTakenLater,
    /// Acknowledgements of a follower's former incarnation count for its present one.
    FormerIncarnationCounted,
    /// An empty sequencer founds a cluster although a peer holds a log.
    FoundsBesideHolders,
    /// A sequencer that restarts continues in its epoch.
    EpochResumed,
    /// The sequencer counts acknowledgements of earlier epochs.
    OldEpochAcksCounted,
    /// The sequencer commits entries of earlier epochs by themselves.
    InheritedCommitted,
    /// A follower acknowledges entries that were not compared with the sequencer's.
    WholeTailAcknowledged,
    /// A follower keeps entries that differ from the sequencer's.
    DifferingTailKept,
    /// An epoch is opened with one promise fewer than it takes.
    OpensWithOneFewer,
    /// Promises meet every quorum of writes, and not every one of reads.
    PromisesMeetWritesAlone,
    /// Of the logs that were promised the longest is taken, whatever its epoch.
    LongestLogTaken,
    /// A server promises before that is on its disk.
    PromisedBeforePersisted,
    /// A server that the sequencer hands over to opens its epoch without any promises.
    LeadsWithoutPromises,
    /// A server that lost its data promises.
    RecoveringServerVotes,
    /// A server that lost its data is counted for what it has.
    RecoveringServerCounted,
    /// A sequencer refuses requests that its log holds already.
    PlacedForwardRefused,
    /// A sequencer answers reads before it has committed anything in its epoch.
    ReadBeforeOpening,
    /// A read is answered by the confirmations of a round that began before it came.
    ReadJoinsEarlierRound,
    /// A read is answered once R - 1 servers have confirmed the sequencer.
    ReadConfirmedByOneFewer,
    /// A server that asks for its own reads confirms the sequencer for all that wait.
    QuestionConfirmsForAll,
    /// A write whose time is up is called not done, whatever became of it.
    UnknownToldAsNotDone,
    /// A checkpoint leaves out which requests have been applied.
    CheckpointWithoutDedup,
    /// A checkpoint leaves out a key that changed.
    CheckpointForgetsAChange,
    /// A checkpoint leaves out what came with a state from the sequencer.
    CheckpointForgetsTheInstalled,
    /// A checkpoint leaves on disk the entries of the one before it.
    CheckpointKeepsTheFormerTail,
    /// A read is answered from what the server itself has applied.
    ReadsLocally,
    /// A follower skips entries that it lacks and acknowledges what lies beyond them.
    GapAcknowledged,
    /// A batch of which a command fails writes what the commands before it wrote.
    FailedBatchWrites,
    /// Of the conditions of a batch only the first one must hold.
    FirstConditionOnly,
    /// A scan continues beyond its end.
    ScanIgnoresEnd,
    /// Keys expire by each server's own clock.
    ExpiryByOwnClock,
    /// What rewrites a key takes its end away.
    RewriteEndsNever,
    /// A batch takes effect whatever it asks of the end of a key.
    ExpiryConditionIgnored,
    /// A checkpoint leaves out until when keys last.
    CheckpointForgetsDeadlines,
    /// The sequencer lets a deadline pass while nobody writes.
    TickNotProposed,
    /// A request of a session is carried out each time it is sent.
    DuplicateCarriedOut,
    /// A request of a session that is sent again is answered by what it would bring now.
    AnswerNotKept,
    /// A checkpoint leaves out the sessions' answers.
    CheckpointForgetsAnswers,
    /// A sequential read is answered by what the server has, whatever its client has seen.
    SequentialReadIgnoresSeen,
}

/// The rule that an engine breaks, if it breaks one.
pub(crate) type Broken = kv_core::Broken<Mutation>;

#[cfg(feature = "mutations")]
impl Mutation {
    /// All of them.
    pub const ALL: [Self; 47] = [
        Self::AckBeforePersisted,
        Self::OwnDiskNotCounted,
        Self::CommitsWithOneFewer,
        Self::WriteQuorumIgnored,
        Self::AppliedBeforePersisted,
        Self::AppliedBeforeCommitted,
        Self::EntrySkipped,
        Self::ForwardAppliedTwice,
        Self::RefusedForwardTakenLater,
        Self::FormerIncarnationCounted,
        Self::FoundsBesideHolders,
        Self::EpochResumed,
        Self::OldEpochAcksCounted,
        Self::InheritedCommitted,
        Self::WholeTailAcknowledged,
        Self::DifferingTailKept,
        Self::OpensWithOneFewer,
        Self::PromisesMeetWritesAlone,
        Self::LongestLogTaken,
        Self::PromisedBeforePersisted,
        Self::LeadsWithoutPromises,
        Self::RecoveringServerVotes,
        Self::RecoveringServerCounted,
        Self::PlacedForwardRefused,
        Self::ReadBeforeOpening,
        Self::ReadJoinsEarlierRound,
        Self::ReadConfirmedByOneFewer,
        Self::QuestionConfirmsForAll,
        Self::UnknownToldAsNotDone,
        Self::CheckpointWithoutDedup,
        Self::ReadsLocally,
        Self::GapAcknowledged,
        Self::CheckpointForgetsAChange,
        Self::CheckpointForgetsTheInstalled,
        Self::CheckpointKeepsTheFormerTail,
        Self::FailedBatchWrites,
        Self::FirstConditionOnly,
        Self::ScanIgnoresEnd,
        Self::ExpiryByOwnClock,
        Self::RewriteEndsNever,
        Self::ExpiryConditionIgnored,
        Self::CheckpointForgetsDeadlines,
        Self::TickNotProposed,
        Self::DuplicateCarriedOut,
        Self::AnswerNotKept,
        Self::CheckpointForgetsAnswers,
        Self::SequentialReadIgnoresSeen,
    ];
}
