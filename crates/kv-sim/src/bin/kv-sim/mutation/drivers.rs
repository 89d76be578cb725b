//! The rules of the driver that can be broken, and what an engine that it drives must then fail by.

use std::time::Duration;

use kv_core::driver::{Broken, DriverRule};
use kv_sim::conformance;
use kv_sim::{Breach, Fault, Plan, Report, Simulation, SimulationFailure};

use super::{Caught, Subject, attempt};

/// Who must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DriverChecker {
    /// A client gets the answers to what it asked for, and no others.
    OwnAnswers,
    /// What clients are answered is what happened: the history is linearizable, or as the engine
    /// promises.
    HonestAnswers,
    /// A server serves again once all faults have ended.
    Serves,
    /// W disks hold what is acknowledged.
    Holders,
    /// A checkpoint reflects only records that are on disk.
    CheckpointsBehind,
    /// A checkpoint makes the one on disk the whole state.
    CheckpointsSumUp,
    /// A server refuses at once what its full disk cannot keep.
    RefusesAtOnce,
    /// Every client is answered, once it reads.
    AnswersAll,
    /// A checkpoint that could not be written is tried again.
    TriesAgain,
    /// What a client is given of a server's state is the whole of it at one moment.
    OneMoment,
}

impl DriverChecker {
    /// The broken rules that can show with an engine, each with the checker named for it.
    pub(crate) fn rows<E: Subject>() -> Vec<(DriverRule, Self)> {
        let row = |rule| Some((rule, Self::of::<E>(rule)?));
        DriverRule::ALL.into_iter().filter_map(row).collect()
    }

    fn of<E: Subject>(rule: DriverRule) -> Option<Self> {
        match rule {
            DriverRule::ReplyToAnotherSession => Some(Self::OwnAnswers),
            // A reply may be under way, within one turn, while its request is cancelled and
            // another one takes its place.
            DriverRule::ReplyToReusedPlace => Some(Self::HonestAnswers),
            DriverRule::CancelKeepsPlace => Some(Self::Serves),
            DriverRule::PersistedAtHandOver => Some(Self::Holders),
            DriverRule::CheckpointCoversTooMuch => Some(Self::CheckpointsBehind),
            DriverRule::CheckpointChunkLost => Some(Self::CheckpointsSumUp),
            // Servers of the eventual engine send each other no snapshots.
            DriverRule::SnapshotPartLost => E::LINEARIZABLE.then_some(Self::HonestAnswers),
            DriverRule::ShortageKept => Some(Self::RefusesAtOnce),
            DriverRule::CongestionKept => Some(Self::Serves),
            DriverRule::HeldAnswersDropped => Some(Self::AnswersAll),
            DriverRule::FailedCheckpointCounts => Some(Self::CheckpointsSumUp),
            DriverRule::FailedCheckpointKept => Some(Self::TriesAgain),
            DriverRule::SessionSnapshotMoves => Some(Self::OneMoment),
            // A state is too seldom replaced while a client reads it: it is in
            // `tests/simulator/back_pressure.rs`, in a schedule of its own.
            DriverRule::SessionSnapshotCutShort => None,
        }
    }

    /// The first seed up to `seeds_max` in which it notices; a clause has seeds of its own.
    pub(crate) fn find<E: Subject>(self, rule: DriverRule, seeds_max: u64) -> Option<Caught> {
        let broken = Broken::by(rule);
        if self == Self::RefusesAtOnce {
            let failure = conformance::refuses_at_once_if_driven_by::<E>(broken).err()?;
            return Some(Caught { seed: failure.seed(), finding: failure.to_string() });
        }
        (1..=seeds_max).find_map(|seed| {
            let finding = run::<E>(seed, broken).err()?;
            let is_mine = finding.as_ref().is_some_and(|failure| self.is_named(failure));
            finding.filter(|_| is_mine).map(|finding| Caught { seed, finding: finding.to_string() })
        })
    }

    const fn is_named(self, failure: &SimulationFailure) -> bool {
        let breach = if let SimulationFailure::Contract(violation) = failure {
            Some(&violation.breach)
        } else {
            None
        };
        match self {
            Self::OwnAnswers => matches!(breach, Some(Breach::StrayReply { .. })),
            Self::HonestAnswers => matches!(
                failure,
                SimulationFailure::NotLinearizable { .. } | SimulationFailure::Promise { .. }
            ),
            Self::Serves => matches!(failure, SimulationFailure::NeverServes { .. }),
            Self::Holders => matches!(breach, Some(Breach::ThinlyHeld { .. })),
            Self::CheckpointsBehind => matches!(breach, Some(Breach::CheckpointAhead { .. })),
            Self::CheckpointsSumUp => {
                matches!(breach, Some(Breach::CheckpointsDoNotSumUp { .. }))
            }
            Self::RefusesAtOnce => false,
            Self::AnswersAll => matches!(failure, SimulationFailure::NeverAnswered { .. }),
            Self::TriesAgain => matches!(failure, SimulationFailure::CheckpointNotWritten { .. }),
            Self::OneMoment => {
                matches!(breach, Some(Breach::BackupDiffers | Breach::BackupDisorderly { .. }))
            }
        }
    }
}

/// Runs a seed under drivers that break a rule, or none. A run that shows too little passes.
///
/// # Errors
/// Why it does not pass; nothing if the engine panicked.
pub(crate) fn run<E: Subject>(seed: u64, broken: Broken) -> Result<(), Option<SimulationFailure>> {
    attempt(|| {
        let declaration = E::declaration();
        let mut plan = Plan::of(seed, &declaration)?;
        tighten(&mut plan);
        plan.cluster.driver_broken = broken;
        let mut run = Simulation::<E>::with_plan(plan, &declaration)?;
        run.probe(E::probe());
        match run.run() {
            Err(SimulationFailure::TooLittle { .. }) => Ok(Report::default()),
            ended => ended,
        }
    })
}

/// Makes frequent what the rules are about: checkpoints, snapshots of several parts, cancelled
/// requests, sessions without room, and what drivers are told of connections, checkpoints and
/// backups. A run ends early, as little can be done under so much.
fn tighten(plan: &mut Plan) {
    let cluster = &mut plan.cluster;
    plan.faults.extend([Fault::CongestedClient, Fault::FailedCheckpoint, Fault::Backup]);
    if cluster.cluster.nodes() > 1 {
        plan.faults.insert(Fault::CongestedLink);
    }
    cluster.disk.checkpoint_every = Some(7);
    // With still smaller parts a snapshot can take longer than such a short log lasts, and a server
    // that lags would never catch up.
    cluster.part_bytes_max = 100;
    cluster.in_flight_max = cluster.in_flight_max.min(3);
    cluster.limits.log_bytes_max = 600;
    cluster.limits.message_bytes_max = 300;
    plan.disturbed_max = Duration::from_secs(60);
    // In every other run each answer is waited for.
    let cancels = plan.cluster.seed.is_multiple_of(2);
    plan.clients.cancel_per_mille = if cancels { plan.clients.cancel_per_mille.max(10) } else { 0 };
}
