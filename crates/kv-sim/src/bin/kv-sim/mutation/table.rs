//! Which checker must notice which broken rule.

use super::scenario::Scenario::{
    Alone, CutOff, Failover, Followers, HandOvers, Late, Losses, Quorums, Refusals, Sequencer, Slow,
};
use super::{Checker, Clause, Law};
use kv_check::oracle::Promise;

/// The checker named for a broken rule of the eventual engine.
pub(super) const fn of_eventual(mutation: kv_eventual::Mutation) -> Checker {
    use kv_eventual::Mutation as M;
    match mutation {
        M::CountedBeforePersisted | M::AckBeforePersisted | M::DoneWithOneFewer => {
            Checker::Clause(Clause::Withholds)
        }
        M::ReadsOneFewer | M::LastToComeWins | M::TiesReversed => {
            Checker::Oracle(Quorums, Promise::QuorumVisibility)
        }
        M::ReadIgnoresSeen => Checker::Sweep(Law::Promise(Promise::MonotonicReads)),
        M::StampBelowSeen => Checker::Sweep(Law::Promise(Promise::MonotonicWrites)),
        M::StampBelowHeld => Checker::Sweep(Law::Promise(Promise::VersionsAdvance)),
        M::ClockReissued => Checker::Oracle(Alone, Promise::StampsRise),
        M::SentAboveBound => Checker::Oracle(CutOff, Promise::SentStampsRise),
        M::IncarnationResumed => Checker::Oracle(Alone, Promise::UniqueNames),
        M::FirstOfATieStays => Checker::Oracle(Quorums, Promise::Convergence),
        M::UnknownToldAsNotDone => Checker::Oracle(Quorums, Promise::HonestRefusals),
        M::DeletesLeaveNothing => Checker::Oracle(Quorums, Promise::DeletesStay),
        M::NeverResends => Checker::Clause(Clause::Retransmits),
        M::OwesNothing | M::JoinsBeforeTheEnd | M::RetiresEarly | M::ForgetsEarly => {
            Checker::Sweep(Law::Converges)
        }
        M::LostDataCounts => Checker::Sweep(Law::Promise(Promise::QuorumVisibility)),
        M::CheckpointForgetsAChange | M::CheckpointTakenForWritten => {
            Checker::Clause(Clause::SumsUp)
        }
    }
}

/// The checker named for a broken rule of the linearizable engine.
pub(super) const fn of_linear(mutation: kv_linear::Mutation) -> Checker {
    use kv_linear::Mutation as M;
    match mutation {
        M::AckBeforePersisted
        | M::OwnDiskNotCounted
        | M::CommitsWithOneFewer
        | M::AppliedBeforeCommitted => Checker::Clause(Clause::Withholds),
        M::WriteQuorumIgnored => Checker::Sweep(Law::Holders),
        M::FailedBatchWrites
        | M::FirstConditionOnly
        | M::ExpiryByOwnClock
        | M::RewriteEndsNever
        | M::ExpiryConditionIgnored
        | M::DuplicateCarriedOut
        | M::AnswerNotKept
        | M::CheckpointForgetsAnswers => Checker::Sweep(Law::Linearizability),
        M::SequentialReadIgnoresSeen => Checker::Sweep(Law::Promise(Promise::ReadYourWrites)),
        M::CheckpointForgetsDeadlines | M::TickNotProposed => Checker::Sweep(Law::Expiry),
        M::ScanIgnoresEnd => Checker::Sweep(Law::OrderlyPages),
        M::AppliedBeforePersisted => Checker::Linearizability(Alone),
        M::EntrySkipped | M::ForwardAppliedTwice | M::ReadsLocally => {
            Checker::Linearizability(Followers)
        }
        M::RefusedForwardTakenLater | M::UnknownToldAsNotDone => Checker::Linearizability(Slow),
        M::FormerIncarnationCounted => Checker::Oracle(Late, Promise::Convergence),
        M::FoundsBesideHolders => Checker::Logs(Sequencer),
        M::EpochResumed => Checker::NoHalt(Sequencer),
        M::WholeTailAcknowledged | M::PromisedBeforePersisted => Checker::Founded(Failover),
        M::PlacedForwardRefused => Checker::Founded(Refusals),
        M::RecoveringServerVotes | M::RecoveringServerCounted => Checker::Founded(Losses),
        M::OldEpochAcksCounted => Checker::Held(Failover),
        M::ReadBeforeOpening
        | M::ReadJoinsEarlierRound
        | M::ReadConfirmedByOneFewer
        | M::QuestionConfirmsForAll
        | M::PromisesMeetWritesAlone => Checker::Linearizability(Failover),
        M::InheritedCommitted
        | M::DifferingTailKept
        | M::OpensWithOneFewer
        | M::LongestLogTaken => Checker::Logs(Failover),
        M::LeadsWithoutPromises => Checker::Logs(HandOvers),
        M::CheckpointWithoutDedup => Checker::EqualStates(Followers),
        M::GapAcknowledged => Checker::Oracle(Followers, Promise::Convergence),
        M::CheckpointForgetsAChange
        | M::CheckpointForgetsTheInstalled
        | M::CheckpointKeepsTheFormerTail => Checker::Clause(Clause::SumsUp),
    }
}
