//! What must hold of a run beside, or short of, linearizability.
//!
//! [`Evidence`] is all that clients were told, and, if the run was brought to rest, what each
//! server shows in the end. Each [`Promise`] judges it by one rule; an engine is held to those
//! that it makes.

mod at_rest;
mod finding;
mod refusal;
mod sequential;
mod session;
mod stamp_order;
mod uniqueness;
mod version_advance;
mod version_order;
mod visibility;
mod write_names;

use crate::evidence::Evidence;

pub use crate::broken_promise::{BrokenPromise, NamedCalls};
pub use finding::{Guarantee, OracleFinding};
pub use sequential::{Order, sequential_consistency};

/// One rule that a run can be held to.
///
/// All but [`Promise::SequentialConsistency`] take time in proportion to the calls, or to the pairs
/// of calls of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Promise {
    /// A read that begins after a write was acknowledged shows that version or a greater one,
    /// where the servers that acknowledged and those that answered are more than all: what
    /// W + R > N gives. Fewer servers may lose their disks meanwhile than the write's W.
    QuorumVisibility,
    /// No version names two writes.
    UniqueVersions,
    /// A new write's version is above the one that its server held of the key when it was asked.
    /// Judged where that is known.
    VersionsAdvance,
    /// A write that is asked for after another one of the same server was acknowledged has the
    /// later stamp, also where that server has restarted with its disk and a clock set back.
    StampsRise,
    /// No name of a write (its server, that server's incarnation and its number there) is given
    /// to two, not even if one of them is forgotten in a crash: whichever server keeps them.
    /// Judged where that is known.
    UniqueNames,
    /// Whatever a server numbers after a write that another server got from it, in that
    /// incarnation or a later one, has the later stamp, also where its own disk never had that
    /// write. Judged where that is known.
    SentStampsRise,
    /// What was called "not done" is shown to nobody, and whatever is shown was put. Values must
    /// be unique.
    HonestRefusals,
    /// A read of a session shows its own acknowledged writes, or greater versions.
    ReadYourWrites,
    /// A read of a session shows no lesser version than an earlier read of it.
    MonotonicReads,
    /// A write of a session has a greater version than all that the session has written or been shown
    /// of the key before: monotonic writes, and writes follow reads.
    MonotonicWrites,
    /// One order of all calls explains what everybody saw, and has the calls of each session in
    /// their order (Lamport, *How to Make a Multiprocessor Computer*, 1979).
    SequentialConsistency,
    /// The order of the versions explains what each session saw, call after call and over all
    /// keys: no read shows an older state than the session's calls before it. This is sequential
    /// consistency for engines whose versions are places in one order, and is quickly judged.
    VersionOrder,
    /// At rest all servers hold the same.
    Convergence,
    /// At rest no acknowledged put is lost to an older version.
    AcknowledgedWritesKept,
    /// At rest no acknowledged delete is undone by an older version.
    DeletesStay,
}

impl Promise {
    /// What the eventual engine promises at W + R > N while disks keep what they synced.
    pub const EVENTUAL: [Self; 11] = [
        Self::QuorumVisibility,
        Self::UniqueVersions,
        Self::VersionsAdvance,
        Self::StampsRise,
        Self::UniqueNames,
        Self::SentStampsRise,
        Self::HonestRefusals,
        Self::ReadYourWrites,
        Self::Convergence,
        Self::AcknowledgedWritesKept,
        Self::DeletesStay,
    ];

    /// What the linearizable engine promises beside linearizability, and what follows from it.
    pub const LINEARIZABLE: [Self; 10] = [
        Self::QuorumVisibility,
        Self::UniqueVersions,
        Self::VersionsAdvance,
        Self::HonestRefusals,
        Self::ReadYourWrites,
        Self::MonotonicReads,
        Self::VersionOrder,
        Self::Convergence,
        Self::AcknowledgedWritesKept,
        Self::DeletesStay,
    ];

    /// Whether the rule rests on the disks: it holds only while no server loses its own.
    #[must_use]
    pub const fn rests_on_disks(self) -> bool {
        match self {
            Self::ReadYourWrites
            | Self::MonotonicReads
            | Self::MonotonicWrites
            | Self::SequentialConsistency
            | Self::VersionOrder
            | Self::StampsRise
            | Self::SentStampsRise
            | Self::AcknowledgedWritesKept
            | Self::DeletesStay => true,
            Self::QuorumVisibility
            | Self::UniqueVersions
            | Self::UniqueNames
            | Self::VersionsAdvance
            | Self::HonestRefusals
            | Self::Convergence => false,
        }
    }

    /// Whether the rule asks that every read quorum meets every write quorum.
    #[must_use]
    pub const fn rests_on_quorums(self) -> bool {
        matches!(
            self,
            Self::ReadYourWrites
                | Self::MonotonicReads
                | Self::MonotonicWrites
                | Self::SequentialConsistency
                | Self::VersionOrder
        )
    }

    /// Judges a run.
    ///
    /// # Errors
    /// [`OracleFinding`] that names the calls which break the rule. An order of calls that could
    /// not be found within a million steps is an error too: undecided is no "yes".
    pub fn judge(self, evidence: &Evidence) -> Result<(), OracleFinding> {
        match self {
            Self::QuorumVisibility => visibility::judge(evidence),
            Self::UniqueVersions => uniqueness::judge(evidence),
            Self::VersionsAdvance => version_advance::judge(evidence),
            Self::StampsRise => stamp_order::judge(evidence),
            Self::UniqueNames => write_names::judge_names(evidence),
            Self::SentStampsRise => write_names::judge_stamps(evidence),
            Self::HonestRefusals => refusal::judge(evidence),
            Self::ReadYourWrites => session::judge(evidence, Guarantee::ReadYourWrites),
            Self::MonotonicReads => session::judge(evidence, Guarantee::MonotonicReads),
            Self::MonotonicWrites => session::judge_writes(evidence),
            Self::SequentialConsistency => match sequential_consistency(evidence, STEPS_MAX) {
                Order::Found => Ok(()),
                Order::None => Err(OracleFinding::NoOrder),
                Order::Undecided => Err(OracleFinding::Undecided { steps: STEPS_MAX }),
            },
            Self::VersionOrder => version_order::judge(evidence),
            Self::Convergence => at_rest::converged(evidence),
            Self::AcknowledgedWritesKept => at_rest::judge(evidence, false),
            Self::DeletesStay => at_rest::judge(evidence, true),
        }
    }
}

impl Promise {
    /// How many keys of a run the rule judges.
    #[must_use]
    pub fn keys_judged(self, evidence: &Evidence) -> u64 {
        let changed = evidence.changed_keys();
        let keys = match self {
            Self::HonestRefusals | Self::SequentialConsistency => {
                evidence.keys().difference(&changed).count()
            }
            Self::VersionsAdvance => version_advance::keys(evidence).len(),
            Self::UniqueNames | Self::SentStampsRise => write_names::keys(evidence).len(),
            Self::QuorumVisibility
            | Self::UniqueVersions
            | Self::ReadYourWrites
            | Self::MonotonicReads
            | Self::MonotonicWrites
            | Self::VersionOrder
            | Self::StampsRise
            | Self::Convergence
            | Self::AcknowledgedWritesKept
            | Self::DeletesStay => evidence.keys().len(),
        };
        u64::try_from(keys).unwrap_or(u64::MAX)
    }
}

/// Judges a run by several rules; the first that is broken is the answer.
///
/// # Errors
/// [`OracleFinding`] of the first promise that is broken, with that promise.
pub fn judge_all(evidence: &Evidence, promises: &[Promise]) -> Result<(), BrokenPromise> {
    promises.iter().try_for_each(|promise| {
        let judged = promise.judge(evidence);
        judged.map_err(|finding| BrokenPromise::new(*promise, finding, evidence))
    })
}

const STEPS_MAX: u64 = 1_000_000;
