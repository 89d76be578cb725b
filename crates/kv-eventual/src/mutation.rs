//! Rules that a test can have the engine break, to see that its checkers notice.

/// One rule that the engine breaks.
///
/// An engine that breaks one comes from `EventualEngine::recover_mutated`, which exists only with
/// the feature `mutations`; without it every question about a mutation is a constant `false`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "mutations"), expect(unreachable_pub, reason = "exported for tests"))]
pub enum Mutation {
    /// A coordinator counts itself before a write is on its own disk.
    CountedBeforePersisted,
    /// A replica acknowledges a write before it is on its disk.
    AckBeforePersisted,
    /// A write is done with W - 1 acknowledgements.
    DoneWithOneFewer,
    /// A read is done with R - 1 answers.
    ReadsOneFewer,
    /// A read does not wait for what its client has seen.
    ReadIgnoresSeen,
    /// A write's stamp may be below what its client has seen of the key.
    StampBelowSeen,
    /// A server that restarts continues in its former incarnation, and numbers its writes from 1
    /// again.
    IncarnationResumed,
    /// A server that restarts forgets up to where its clock has issued stamps.
    ClockReissued,
    /// A coordinator sends a write before its own disk has a bound above the write's stamp.
    SentAboveBound,
    /// A new write's stamp may be below what its coordinator holds for the key.
    StampBelowHeld,
    /// What comes to a server last wins, whatever its stamp.
    LastToComeWins,
    /// Of writes stamped at the same time, the one that came first stays.
    FirstOfATieStays,
    /// Among writes stamped at the same time, the lower server's wins.
    TiesReversed,
    /// A write whose time is up is called not done, whatever became of it.
    UnknownToldAsNotDone,
    /// A delete leaves no tombstone.
    DeletesLeaveNothing,
    /// What was not acknowledged is never sent again.
    NeverResends,
    /// A transfer does not send what replaced a record that was not sent yet.
    OwesNothing,
    /// A server joins a vector before it has what that vector knows.
    JoinsBeforeTheEnd,
    /// What a server that lost data holds counts for reads at once.
    LostDataCounts,
    /// Former incarnations are taken for complete before all servers agree on them.
    RetiresEarly,
    /// A delete is forgotten before every server has it.
    ForgetsEarly,
    /// A checkpoint leaves out a key that changed.
    CheckpointForgetsAChange,
    /// A checkpoint counts as written as soon as it is taken.
    CheckpointTakenForWritten,
}

/// The rule that an engine breaks, if it breaks one.
pub(crate) type Broken = kv_core::Broken<Mutation>;

#[cfg(feature = "mutations")]
impl Mutation {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::CountedBeforePersisted,
        Self::AckBeforePersisted,
        Self::DoneWithOneFewer,
        Self::ReadsOneFewer,
        Self::ReadIgnoresSeen,
        Self::StampBelowSeen,
        Self::IncarnationResumed,
        Self::ClockReissued,
        Self::SentAboveBound,
        Self::StampBelowHeld,
        Self::LastToComeWins,
        Self::FirstOfATieStays,
        Self::TiesReversed,
        Self::UnknownToldAsNotDone,
        Self::DeletesLeaveNothing,
        Self::NeverResends,
        Self::OwesNothing,
        Self::JoinsBeforeTheEnd,
        Self::LostDataCounts,
        Self::RetiresEarly,
        Self::ForgetsEarly,
        Self::CheckpointForgetsAChange,
        Self::CheckpointTakenForWritten,
    ];
}
