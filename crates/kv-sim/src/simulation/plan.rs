//! What a seed makes of a run: the cluster, the clients, and a random subset of the faults
//! (swarm testing; Groce et al., *Swarm Testing*, 2012).

use std::collections::BTreeSet;
use std::time::Duration;

use kv_core::{ClusterConfigError, Limits, SeedStream};
use kv_storage::{Broken, CrashHabits};

use super::declaration::{Declaration, Oracle};
use crate::client::{ClientConfig, OperationKind};
use crate::config::{DiskConfig, NetworkConfig, SimConfig};
use crate::fault::Fault;
use crate::workload::pick;

/// Everything that a seed decides before a run begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The cluster, with its network and disks as they are in the first phase.
    pub cluster: SimConfig,
    /// What clients do.
    pub clients: ClientConfig,
    /// The kinds of fault that come to pass.
    pub faults: BTreeSet<Fault>,
    /// How many faults may be under way at a time.
    pub faults_at_once: usize,
    /// The longest time for which a fault lasts.
    pub fault_lasts_max: Duration,
    /// How many of 1,000 moments begin a fault; clients act at each moment.
    pub fault_per_mille: u64,
    /// The first phase ends once so many operations were acknowledged, at the earliest.
    pub acknowledged_min: u64,
    /// The first phase ends after so much virtual time, whatever was acknowledged.
    pub disturbed_max: Duration,
}

impl Plan {
    /// The plan of a seed for an engine.
    ///
    /// # Errors
    /// [`ClusterConfigError`] never, as far as is known.
    pub fn of(seed: u64, declaration: &Declaration) -> Result<Self, ClusterConfigError> {
        let mut stream = SeedStream::new(seed ^ PLAN);
        let nodes = *pick(&mut stream, &[1, 2, 3, 3, 3, 3, 4, 5, 6, 7]).unwrap_or(&3);
        let (write, read) = quorums(&mut stream, nodes);
        let (write, read) = declaration.quorums.fit(nodes, write, read);
        let mut faults = faults(&mut stream, declaration, nodes);
        let may_set_back = faults.contains(&Fault::SetBackDisk)
            && declaration.oracle == Oracle::Linearizability
            && nodes >= 4;
        // There, an older disk is noticed, and a server can be spared for it.
        let (write, read) = if may_set_back && SeedStream::new(seed ^ SET_BACK).chance(500) {
            (nodes - 1, 2)
        } else {
            (write, read)
        };
        let mut own = SeedStream::new(seed ^ HAND_OVER);
        let hands_over = declaration.survives.contains(&Fault::HandOver)
            && declaration.oracle == Oracle::Linearizability
            && own.chance(300);
        if hands_over {
            faults.insert(Fault::HandOver);
        }
        let mut cluster = SimConfig::new(nodes, write, read, seed)?
            .with_network(network(&mut stream, &faults))
            .with_disk(disk(&mut stream, &faults));
        let mut own_times = SeedStream::new(seed ^ COMPARISON);
        if own_times.chance(250) {
            cluster.timing.comparison = Duration::from_millis(1_000 + own_times.below(9_000));
        }
        cluster.hand_back = hands_over && own.chance(300);
        let mut own = SeedStream::new(seed ^ DRIVER);
        for fault in Fault::OF_THE_DRIVER {
            let can_be = nodes > 1 || fault != Fault::CongestedLink;
            if own.chance(200) && can_be && declaration.survives.contains(&fault) {
                faults.insert(fault);
            }
        }
        faults.extend(faults_of_lulls(seed, declaration, nodes));
        if faults.contains(&Fault::FailedCheckpoint) {
            cluster.disk.checkpoint_every.get_or_insert(50);
        }
        cluster.processing = Duration::ZERO..=Duration::from_micros(stream.below(3_000));
        let is_narrow = stream.chance(300);
        if is_narrow {
            cluster.limits = narrow_limits(&mut stream);
        }
        if stream.chance(300) {
            cluster.in_flight_max = usize::try_from(1 + stream.below(3)).unwrap_or(1);
        }
        let part_bytes_max = *pick(&mut stream, &[1, 100, 256, 4_096]).unwrap_or(&256);
        // A log of any length in such small parts would take longer than faults let pass.
        cluster.part_bytes_max = if is_narrow { part_bytes_max } else { 4_096 };
        if faults.contains(&Fault::Backup) {
            cluster.part_bytes_max = cluster.part_bytes_max.min(256);
        }
        let mut clients = clients((&mut stream, &mut SeedStream::new(seed ^ EXPIRY)), declaration);
        let mut own = SeedStream::new(seed ^ SEEN);
        clients.session_guarantees = declaration.session_guarantees && own.chance(500);
        Ok(Self {
            cluster,
            clients,
            faults,
            faults_at_once: usize::try_from(1 + stream.below(3)).unwrap_or(1),
            fault_lasts_max: Duration::from_millis(
                *pick(&mut stream, &[200, 1_000, 4_000]).unwrap_or(&1_000),
            ),
            fault_per_mille: *pick(&mut stream, &[10, 30, 80]).unwrap_or(&30),
            acknowledged_min: ACKNOWLEDGED_MIN + stream.below(300),
            disturbed_max: Duration::from_secs(3_600),
        })
    }

    /// W + R > N: every read quorum meets every write quorum.
    #[must_use]
    pub fn quorums_meet(&self) -> bool {
        let cluster = &self.cluster.cluster;
        cluster.write_quorum() + cluster.read_quorum() > cluster.nodes()
    }
}

/// Half of all clusters have majorities, the others any quorums at all.
fn quorums(stream: &mut SeedStream, nodes: u16) -> (u16, u16) {
    let mut up_to = |max: u16| {
        let drawn = 1 + stream.below(u64::from(max));
        u16::try_from(drawn).unwrap_or(max)
    };
    let any = (up_to(nodes), up_to(nodes));
    if up_to(2) == 1 { (nodes / 2 + 1, nodes / 2 + 1) } else { any }
}

/// A random half of the faults that can come to pass, and at least [`KINDS_MIN`] of those that are
/// bound to.
fn faults(stream: &mut SeedStream, declaration: &Declaration, nodes: u16) -> BTreeSet<Fault> {
    let spares_all = nodes == 1 && !declaration.spares.is_empty();
    let may_wipe = !declaration.has_no_disk_to_lose(nodes);
    let can_be = |fault: &Fault| match fault {
        Fault::Loss
        | Fault::Duplication
        | Fault::Reordering
        | Fault::SlowMessage
        | Fault::SlowLink
        | Fault::Partition
        | Fault::OneWayPartition
        | Fault::Clog => nodes > 1,
        Fault::PartialPartition => nodes > 2,
        Fault::FlippedBit => may_wipe && declaration.survives.contains(&Fault::WipedDisk),
        Fault::WipedDisk | Fault::SetBackDisk => may_wipe,
        Fault::HeldSync
        | Fault::ClockSkew
        | Fault::ClockDrift
        | Fault::ClockJump
        | Fault::ClockFreeze
        | Fault::Disconnect
        | Fault::Pause => true,
        Fault::TornWrite
        | Fault::ReorderedWrites
        | Fault::FailedSync
        | Fault::FailedWrite
        | Fault::FullDisk
        | Fault::PowerLossAtDisk
        | Fault::InterruptedRecovery
        | Fault::LostCheckpoint
        | Fault::Crash
        | Fault::Kill
        | Fault::Stop
        | Fault::CrashBetweenEffects
        | Fault::RollingRestart
        | Fault::MixedConfiguration => !spares_all,
        // Drawn by themselves, so that what the other seeds mean stays the same.
        Fault::HandOver
        | Fault::CongestedLink
        | Fault::CongestedClient
        | Fault::FailedCheckpoint
        | Fault::Backup
        | Fault::Lull => false,
    };
    let possible = declaration.survives.iter().copied().filter(can_be);
    let mut left: Vec<Fault> = possible.collect();
    let mut chosen: BTreeSet<Fault> = left.iter().copied().filter(|_| stream.chance(500)).collect();
    // What a loss of power does needs one, a flipped bit the remedy of a wiped disk.
    let of_crashes = [Fault::TornWrite, Fault::ReorderedWrites, Fault::LostCheckpoint];
    if of_crashes.iter().any(|fault| chosen.contains(fault))
        && declaration.survives.contains(&Fault::Crash)
    {
        chosen.insert(Fault::Crash);
    }
    if chosen.contains(&Fault::FlippedBit) {
        chosen.insert(Fault::WipedDisk);
    }
    left.retain(|fault| !chosen.contains(fault) && !is_by_chance(*fault));
    while chosen.iter().filter(|fault| !is_by_chance(**fault)).count() < KINDS_MIN {
        let Some(fault) = pick(stream, &left).copied() else {
            break;
        };
        left.retain(|other| *other != fault);
        chosen.insert(fault);
    }
    chosen
}

/// In some runs there are lulls, and in most of these disks are set back.
fn faults_of_lulls(seed: u64, declaration: &Declaration, nodes: u16) -> Vec<Fault> {
    let mut own = SeedStream::new(seed ^ LULL);
    if nodes == 1 || !declaration.survives.contains(&Fault::Lull) || !own.chance(250) {
        return Vec::new();
    }
    let may_lose = !declaration.has_no_disk_to_lose(nodes);
    let lost = [Fault::SetBackDisk, Fault::WipedDisk].into_iter();
    let lost = lost.filter(|fault| own.chance(700) && declaration.survives.contains(fault));
    lost.filter(|_| may_lose).chain([Fault::Lull]).collect()
}

/// Whether the fault may be chosen and yet never come to pass in a short run.
const fn is_by_chance(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::TornWrite
            | Fault::ReorderedWrites
            | Fault::FailedSync
            | Fault::FailedWrite
            | Fault::FullDisk
            | Fault::PowerLossAtDisk
            | Fault::InterruptedRecovery
            | Fault::LostCheckpoint
            | Fault::FlippedBit
            | Fault::CrashBetweenEffects
            | Fault::Clog
            | Fault::SlowLink
            | Fault::MixedConfiguration
    )
}

fn network(stream: &mut SeedStream, faults: &BTreeSet<Fault>) -> NetworkConfig {
    let mut rate = |fault, max| if faults.contains(&fault) { 1 + stream.below(max) } else { 0 };
    let loss_per_mille = rate(Fault::Loss, 200);
    let duplicate_per_mille = rate(Fault::Duplication, 200);
    let reorder_per_mille = rate(Fault::Reordering, 300);
    let slow_per_mille = rate(Fault::SlowMessage, 50);
    let delay_max = *pick(stream, &[1, 5, 50]).unwrap_or(&5);
    NetworkConfig {
        delay: Duration::from_micros(50)..=Duration::from_millis(delay_max),
        loss_per_mille,
        duplicate_per_mille,
        reorder_per_mille,
        slow_per_mille,
        slow_delay: Duration::from_millis(100)..=Duration::from_millis(3_000),
        hint_delay: Duration::ZERO..=Duration::from_millis(100),
    }
}

fn disk(stream: &mut SeedStream, faults: &BTreeSet<Fault>) -> DiskConfig {
    let sync_max = *pick(stream, &[0, 1, 20]).unwrap_or(&1);
    let checkpoint_every = *pick(stream, &[None, Some(7), Some(50)]).unwrap_or(&None);
    let checkpoint_max = *pick(stream, &[1, 50, 500]).unwrap_or(&50);
    let writes_slowly = faults.contains(&Fault::LostCheckpoint);
    DiskConfig {
        sync_delay: Duration::ZERO..=Duration::from_millis(sync_max),
        segment_bytes: *pick(stream, &[2 << 10, 4 << 10, 16 << 10]).unwrap_or(&(4 << 10)),
        checkpoint_every,
        checkpoint_delay: Duration::ZERO..=Duration::from_millis(if writes_slowly {
            checkpoint_max
        } else {
            0
        }),
        crash_habits: CrashHabits {
            tears: faults.contains(&Fault::TornWrite),
            reorders: faults.contains(&Fault::ReorderedWrites),
        },
        broken: Broken::NONE,
    }
}

fn narrow_limits(stream: &mut SeedStream) -> Limits {
    Limits {
        window_entries_max: usize::try_from(2 + stream.below(8)).unwrap_or(2),
        message_bytes_max: 300,
        hold_back_entries_max: usize::try_from(2 + stream.below(8)).unwrap_or(2),
        log_bytes_max: 600,
        ..Limits::default()
    }
}

/// What came later draws from a stream of its own (`own`), so that former seeds stay what they were.
fn clients(
    (stream, own): (&mut SeedStream, &mut SeedStream),
    declaration: &Declaration,
) -> ClientConfig {
    let mut operations = Vec::new();
    for &kind in &declaration.operations {
        let share = match kind {
            OperationKind::Put => 6,
            OperationKind::Get => 7,
            OperationKind::Delete => 2,
            OperationKind::Expiry if own.chance(200) => 1 + own.below(3),
            OperationKind::Expiry => 0,
            OperationKind::Increment
            | OperationKind::Append
            | OperationKind::ConditionalPut
            | OperationKind::Transaction
            | OperationKind::Scan
            | OperationKind::Dump
            | OperationKind::PutForATime => {
                if stream.chance(400) {
                    1 + stream.below(2)
                } else {
                    0
                }
            }
        };
        operations.extend((0..share).map(|_| kind));
    }
    ClientConfig {
        clients: 2 + stream.below(6),
        keys: *pick(stream, &[1, 2, 4, 30]).unwrap_or(&4),
        operations,
        value_bytes_max: *pick(stream, &[1, 1, 200]).unwrap_or(&1),
        timeout: Duration::from_millis(100)..=Duration::from_millis(500 + stream.below(4_000)),
        think: Duration::ZERO..=Duration::from_millis(stream.below(40)),
        cancel_per_mille: if stream.chance(300) { 10 } else { 0 },
        move_per_mille: *pick(stream, &[0, 100, 1_000]).unwrap_or(&100),
        retries_max: u32::try_from(stream.below(3)).unwrap_or_default(),
        request_quorums: declaration.request_quorums && stream.chance(500),
        levels: stream.chance(400),
        session_guarantees: false,
        sessions: declaration.sessions && stream.chance(600),
    }
}

/// A run counts only with so many acknowledged operations in it.
pub(super) const ACKNOWLEDGED_MIN: u64 = 200;

/// A run counts only with so many kinds of fault in it.
pub(super) const KINDS_MIN: usize = 3;

const PLAN: u64 = 0x706c_616e;
const HAND_OVER: u64 = 0x6861_6e64;
const SET_BACK: u64 = 0x6f6c_6465;
const EXPIRY: u64 = 0x6578_7069;
const COMPARISON: u64 = 0x6c69_6b65;
const DRIVER: u64 = 0x6472_6976;
const SEEN: u64 = 0x7365_656e;
const LULL: u64 = 0x6c75_6c6c;
