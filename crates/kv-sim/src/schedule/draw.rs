//! Which schedules there are.

use proptest::prelude::{BoxedStrategy, Just, Strategy, any};
use proptest::strategy::Union;

use super::{KEYS, Move, Schedule};
use crate::client::OperationKind;
use crate::fault::Fault;
use crate::simulation::Declaration;

/// All schedules of what the engine does and survives.
pub(super) fn schedules(declaration: &Declaration) -> impl Strategy<Value = Schedule> + use<> {
    let moves = proptest::collection::vec(Union::new_weighted(moves(declaration)), 0..MOVES_MAX);
    let sizes = (1..=SERVERS_MAX, 1..=SERVERS_MAX, 1..=SERVERS_MAX);
    (sizes, any::<u64>(), moves).prop_map(|((nodes, write, read), seed, moves)| {
        let (write, read) = (write.min(nodes), read.min(nodes));
        Schedule { nodes, write, read, seed, moves }
    })
}

/// What can be done, each with how often it is.
fn moves(declaration: &Declaration) -> Vec<(u32, BoxedStrategy<Move>)> {
    let kinds = [OperationKind::Get, OperationKind::Put, OperationKind::Delete]
        .into_iter()
        .chain([OperationKind::Increment]);
    let kinds: Vec<_> = kinds.filter(|kind| declaration.operations.contains(kind)).collect();
    let server = || 1..=SERVERS_MAX;
    let ask = (0..CLIENTS, server(), proptest::sample::select(kinds), 0..KEYS);
    let ask = ask.prop_map(|(client, server, kind, key)| Move::Ask { client, server, kind, key });
    let wait = (1..=WAIT_MILLIS_MAX).prop_map(|millis| Move::Wait { millis });
    let mut moves =
        vec![(24, ask.boxed()), (8, wait.boxed()), (2, Just(Move::OpenNetwork).boxed())];
    for fault in &declaration.survives {
        moves.extend(moves_of(*fault).into_iter().map(|kind| (1, kind)));
    }
    moves
}

/// What begins and ends a fault.
fn moves_of(fault: Fault) -> Vec<BoxedStrategy<Move>> {
    let server = || 1..=SERVERS_MAX;
    match fault {
        Fault::Loss => vec![any::<bool>().prop_map(Move::Lossy).boxed()],
        Fault::Partition => vec![server().prop_map(Move::CutOff).boxed()],
        Fault::OneWayPartition => {
            vec![(server(), server()).prop_map(|(from, to)| Move::Block(from, to)).boxed()]
        }
        Fault::HeldSync => vec![
            server().prop_map(Move::HoldDisk).boxed(),
            server().prop_map(Move::ReleaseDisk).boxed(),
        ],
        Fault::Crash => {
            vec![server().prop_map(Move::Crash).boxed(), server().prop_map(Move::Restart).boxed()]
        }
        Fault::Kill => vec![server().prop_map(Move::Kill).boxed()],
        Fault::Stop => vec![server().prop_map(Move::Stop).boxed()],
        Fault::Disconnect => vec![
            (server(), 0..3_u8).prop_map(|(at, session)| Move::Disconnect(at, session)).boxed(),
        ],
        Fault::CrashBetweenEffects => {
            let crash = (server(), 0..20_u8).prop_map(|(at, left)| Move::CrashAfter(at, left));
            vec![crash.boxed()]
        }
        Fault::WipedDisk => vec![server().prop_map(Move::Wipe).boxed()],
        Fault::Pause => {
            vec![server().prop_map(Move::Pause).boxed(), server().prop_map(Move::Resume).boxed()]
        }
        Fault::ClockJump => {
            let set = (server(), -OFF_MILLIS_MAX..OFF_MILLIS_MAX);
            vec![set.prop_map(|(at, millis)| Move::SetClock(at, millis)).boxed()]
        }
        // These are states of the network or the disk, or need what a long run has: the seeds
        // of a simulation draw them.
        Fault::Duplication
        | Fault::SetBackDisk
        | Fault::Reordering
        | Fault::SlowMessage
        | Fault::SlowLink
        | Fault::PartialPartition
        | Fault::Clog
        | Fault::TornWrite
        | Fault::ReorderedWrites
        | Fault::FailedSync
        | Fault::FailedWrite
        | Fault::FullDisk
        | Fault::PowerLossAtDisk
        | Fault::InterruptedRecovery
        | Fault::LostCheckpoint
        | Fault::FlippedBit
        | Fault::ClockSkew
        | Fault::ClockDrift
        | Fault::ClockFreeze
        | Fault::RollingRestart
        | Fault::MixedConfiguration
        | Fault::HandOver
        | Fault::CongestedLink
        | Fault::CongestedClient
        | Fault::FailedCheckpoint
        | Fault::Backup
        | Fault::Lull => Vec::new(),
    }
}

const SERVERS_MAX: u16 = 5;
const CLIENTS: u8 = 3;
const MOVES_MAX: usize = 60;
const WAIT_MILLIS_MAX: u16 = 600;
const OFF_MILLIS_MAX: i32 = 20_000;
