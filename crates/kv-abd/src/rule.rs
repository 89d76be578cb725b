//! Rules that a test can have the engine break, to see that the suite notices.

/// One rule that the engine breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "mutations"), expect(unreachable_pub, reason = "exported for tests"))]
pub enum Rule {
    /// A server acknowledges what it is to store before that is on its disk.
    AckBeforePersisted,
    /// A coordinator counts its own copy before that is on its disk.
    CountsItselfBeforePersisted,
    /// A read shows what it found without storing it at a quorum.
    ReadsWithoutWriteBack,
    /// Storing is done with one server fewer than a quorum.
    StoresAtOneFewer,
    /// Asking is done with one server fewer than a quorum.
    AsksOneFewer,
    /// Requests wait for all servers in place of a quorum.
    WaitsForAll,
    /// Everything is refused for 10 s after a peer is lost.
    RefusesAfterPeerDown,
    /// Of two writes with the same number, the one that came first stays, whoever wrote it.
    TieIgnored,
    /// The record of a write has no number.
    TagNotPersisted,
    /// Two writes of one server at a time may have one tag.
    IssuedTwice,
    /// What comes to a server last stays, whatever its tag.
    LastToComeWins,
    /// What is not answered is never sent again.
    NeverResends,
    /// A write whose time is up is called not done, whatever became of it.
    UnknownToldAsNotDone,
    /// A delete leaves nothing behind.
    DeletesLeaveNothing,
    /// A write takes the next number of its server, whatever the quorum said.
    WritesWithoutAsking,
}

/// The rule that an engine breaks, if it breaks one.
pub(crate) type Broken = kv_core::Broken<Rule>;

#[cfg(feature = "mutations")]
impl Rule {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::AckBeforePersisted,
        Self::CountsItselfBeforePersisted,
        Self::ReadsWithoutWriteBack,
        Self::StoresAtOneFewer,
        Self::AsksOneFewer,
        Self::WaitsForAll,
        Self::RefusesAfterPeerDown,
        Self::TieIgnored,
        Self::TagNotPersisted,
        Self::IssuedTwice,
        Self::LastToComeWins,
        Self::NeverResends,
        Self::UnknownToldAsNotDone,
        Self::DeletesLeaveNothing,
        Self::WritesWithoutAsking,
    ];
}
