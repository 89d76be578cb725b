//! What can go wrong in a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::{Bytes, BytesMut};
use kv_core::{DecodeError, Wire};

/// A kind of fault that the simulator can inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// A message never arrives.
    Loss,
    /// A message arrives twice.
    Duplication,
    /// A message overtakes one that was sent before it.
    Reordering,
    /// A message takes far longer than the others.
    SlowMessage,
    /// Every message on one link takes longer.
    SlowLink,
    /// Some servers cannot reach the others, in both directions.
    Partition,
    /// One server cannot reach another, which still reaches it.
    OneWayPartition,
    /// Two servers cannot reach each other, and both reach a third.
    PartialPartition,
    /// A link keeps everything back and later delivers it at once.
    Clog,
    /// No sync ends on a disk for a while.
    HeldSync,
    /// Of a write that was not synced, a loss of power keeps a part.
    TornWrite,
    /// Of writes that were not synced, a loss of power keeps a later one and loses an earlier one.
    ReorderedWrites,
    /// A sync fails, and with it the process; what it had written is there for the next one, and
    /// in part only as long as there is power.
    FailedSync,
    /// A write fails halfway, and with it the process.
    FailedWrite,
    /// A disk has no room for another segment: writes are refused, and reads go on.
    FullDisk,
    /// Power is lost between two operations of a disk.
    PowerLossAtDisk,
    /// Power is lost once more while a server recovers.
    InterruptedRecovery,
    /// A process ends before a checkpoint that it has taken is on disk.
    LostCheckpoint,
    /// A bit of a record, or of a segment's header, changes on disk; the server does not start
    /// again with it.
    FlippedBit,
    /// A server starts again with an empty disk.
    WipedDisk,
    /// A server starts again with an older copy of its disk.
    SetBackDisk,
    /// A wall clock is off.
    ClockSkew,
    /// A server's clocks run fast or slow.
    ClockDrift,
    /// A wall clock jumps, forth and back.
    ClockJump,
    /// A wall clock stands still, and then jumps to the right time.
    ClockFreeze,
    /// Power is lost; what was not synced may be.
    Crash,
    /// A process is killed; what it had written is there for the next one, synced or not.
    Kill,
    /// A process is told to stop: it answers what is in flight, as far as that is soon, and ends.
    Stop,
    /// A client's connection is lost, and another client connects in its place.
    Disconnect,
    /// A process ends between two effects of a step.
    CrashBetweenEffects,
    /// A process stands still for a while.
    Pause,
    /// All servers restart, one after the other.
    RollingRestart,
    /// A server starts with another configuration than the others, which must refuse it.
    MixedConfiguration,
    /// Somebody asks that another server become the sequencer.
    HandOver,
    /// A connection to a peer takes no more for a while: what waits in it arrives later, and what
    /// would come after that is dropped.
    CongestedLink,
    /// A client reads nothing for a while, and its answers wait in its connection.
    CongestedClient,
    /// A checkpoint cannot be written.
    FailedCheckpoint,
    /// A client asks servers for all that they hold.
    Backup,
    /// For longer than deletes are kept nobody asks for anything, and what other faults are under way
    /// may last; a disk that is set back may be set back to before that.
    Lull,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 39] = [
        Self::Loss,
        Self::Duplication,
        Self::Reordering,
        Self::SlowMessage,
        Self::SlowLink,
        Self::Partition,
        Self::OneWayPartition,
        Self::PartialPartition,
        Self::Clog,
        Self::HeldSync,
        Self::TornWrite,
        Self::ReorderedWrites,
        Self::FailedSync,
        Self::FailedWrite,
        Self::FullDisk,
        Self::PowerLossAtDisk,
        Self::InterruptedRecovery,
        Self::LostCheckpoint,
        Self::FlippedBit,
        Self::WipedDisk,
        Self::SetBackDisk,
        Self::ClockSkew,
        Self::ClockDrift,
        Self::ClockJump,
        Self::ClockFreeze,
        Self::Crash,
        Self::Kill,
        Self::Stop,
        Self::Disconnect,
        Self::CrashBetweenEffects,
        Self::Pause,
        Self::RollingRestart,
        Self::MixedConfiguration,
        Self::HandOver,
        Self::CongestedLink,
        Self::CongestedClient,
        Self::FailedCheckpoint,
        Self::Backup,
        Self::Lull,
    ];

    /// The kinds that concern what a driver is told of its connections, its checkpoints and its
    /// clients' snapshots. Each is drawn by itself, from a stream of its own.
    pub(crate) const OF_THE_DRIVER: [Self; 4] =
        [Self::CongestedLink, Self::CongestedClient, Self::FailedCheckpoint, Self::Backup];

    /// The kind in a few words, as a sweep's summary shows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Duplication => "duplication",
            Self::Reordering => "reordering",
            Self::SlowMessage => "slow message",
            Self::SlowLink => "slow link",
            Self::Partition => "partition",
            Self::OneWayPartition => "one-way partition",
            Self::PartialPartition => "partial partition",
            Self::Clog => "clogged link",
            Self::HeldSync => "held sync",
            Self::TornWrite => "torn write",
            Self::ReorderedWrites => "reordered writes",
            Self::FailedSync => "failed sync",
            Self::FailedWrite => "failed write",
            Self::FullDisk => "full disk",
            Self::PowerLossAtDisk => "power loss at disk",
            Self::InterruptedRecovery => "interrupted recovery",
            Self::LostCheckpoint => "lost checkpoint",
            Self::FlippedBit => "flipped bit",
            Self::WipedDisk => "wiped disk",
            Self::SetBackDisk => "set back disk",
            Self::ClockSkew => "clock skew",
            Self::ClockDrift => "clock drift",
            Self::ClockJump => "clock jump",
            Self::ClockFreeze => "frozen clock",
            Self::Crash => "crash",
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Disconnect => "disconnect",
            Self::CrashBetweenEffects => "crash between effects",
            Self::Pause => "pause",
            Self::RollingRestart => "rolling restart",
            Self::MixedConfiguration => "mixed configuration",
            Self::HandOver => "hand-over",
            Self::CongestedLink => "congested link",
            Self::CongestedClient => "congested client",
            Self::FailedCheckpoint => "failed checkpoint",
            Self::Backup => "backup",
            Self::Lull => "lull",
        }
    }

    /// Whether the fault ends a process or touches what it has on disk.
    #[must_use]
    pub const fn ends_processes(self) -> bool {
        match self {
            Self::TornWrite
            | Self::ReorderedWrites
            | Self::FailedSync
            | Self::FailedWrite
            | Self::FullDisk
            | Self::PowerLossAtDisk
            | Self::InterruptedRecovery
            | Self::LostCheckpoint
            | Self::FailedCheckpoint
            | Self::FlippedBit
            | Self::WipedDisk
            | Self::SetBackDisk
            | Self::Crash
            | Self::Kill
            | Self::Stop
            | Self::CrashBetweenEffects
            | Self::RollingRestart
            | Self::MixedConfiguration => true,
            Self::Loss
            | Self::Duplication
            | Self::Reordering
            | Self::SlowMessage
            | Self::SlowLink
            | Self::Partition
            | Self::OneWayPartition
            | Self::PartialPartition
            | Self::Clog
            | Self::HeldSync
            | Self::ClockSkew
            | Self::ClockDrift
            | Self::ClockJump
            | Self::ClockFreeze
            | Self::Disconnect
            | Self::Pause
            | Self::HandOver
            | Self::CongestedLink
            | Self::CongestedClient
            | Self::Backup
            | Self::Lull => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// By its place among all of them.
impl Wire for Fault {
    fn encode(&self, out: &mut BytesMut) {
        let place = Self::ALL.iter().position(|fault| fault == self).unwrap_or_default();
        u8::try_from(place).unwrap_or_default().encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        let tag = u8::decode(input)?;
        let fault = Self::ALL.get(usize::from(tag)).copied();
        fault.ok_or(DecodeError::UnknownTag { what: "fault", tag })
    }
}

/// How often each kind of fault came to pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    counts: BTreeMap<Fault, u64>,
}

impl FaultCounts {
    /// How often this kind did.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        self.counts.get(&fault).copied().unwrap_or_default()
    }

    /// The kinds that did.
    #[must_use]
    pub fn kinds(&self) -> BTreeSet<Fault> {
        self.counts.keys().copied().collect()
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        for (fault, count) in &other.counts {
            *self.counts.entry(*fault).or_default() += count;
        }
    }

    pub(crate) fn note(&mut self, fault: Fault) {
        *self.counts.entry(fault).or_default() += 1;
    }
}

/// `loss 12, crash 3`
impl fmt::Display for FaultCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (fault, count)) in self.counts.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{fault} {count}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_listed_once_under_a_name_of_its_own() {
        let names: BTreeSet<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        assert_eq!(names.len(), Fault::ALL.len());
        assert!(Fault::ALL.is_sorted(), "in the order of their declaration");
    }

    #[test]
    fn counts_add_up_and_read_well() {
        let mut counts = FaultCounts::default();
        counts.note(Fault::Crash);
        counts.note(Fault::Loss);
        let mut sum = counts.clone();
        sum.add(&counts);
        assert_eq!(sum.to_string(), "loss 2, crash 2");
        assert_eq!((sum.of(Fault::Crash), sum.of(Fault::Pause)), (2, 0));
    }
}
