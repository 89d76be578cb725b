//! The engines themselves, model checked: every order of messages, disk writes, deadlines, calls
//! and crashes within bounds.
//!
//! A deadline that comes is a step like any other, so that no property rests on how long
//! something takes; how many come early is bounded, and so are losses, copies and crashes.
//! `cargo test --release -p kv-sim --test model -- --nocapture` prints states, depths and memory.
//!
//! What is cut off is so large that it is not known how large it is: it ends at [`STATES_MAX`]
//! states, with which the whole test stays far below [`MEMORY_MIB_MAX`].

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test's helpers may panic, and the figures are printed"
)]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use kv_check::evidence::{Call, End, Evidence};
use kv_check::oracle::{Promise, judge_all};
use kv_core::{
    ClusterConfig, ConsistencyEngine, EngineConfig, Key, Operation, PersistSeq, Value, Version,
};
use kv_eventual::{EventualEngine, Record};
use kv_linear::{LinearEngine, LogIndex};
use kv_sim::model::{
    Bounds, Checked, ClusterModel, Laws, Order, Seen, Server, State, Walked, linearizable,
};

const LINEAR: Laws<LinearEngine> = Laws { answer: linear_answer, servers: linear_logs };

const EVENTUAL: Laws<EventualEngine> = Laws { answer: eventual_answer, servers: |_| None };

/// What clients saw is linearizable, and what was done is on W disks.
fn linear_answer(
    state: &State<LinearEngine>,
    config: &ClusterConfig,
    place: usize,
    call: &Call,
) -> Option<String> {
    if let Some((_, End::Written { version: Version::Log(number), .. })) = call.end {
        // Whoever answers has applied it.
        let answered = &state.servers[place].engine;
        let holds = |server: &&Arc<Server<LinearEngine>>| {
            on_disk(server).has_operation_of(answered, number)
        };
        let holders = state.servers.iter().filter(holds).count();
        if holders < usize::from(config.write_quorum()) {
            return Some(format!("operation {number} is done, and {holders} disks hold it"));
        }
    }
    linearizable(&state.calls)
}

/// Logs agree wherever two servers have a position of the same epoch, and wherever both take it
/// to be committed; and the sequencer of the latest epoch has all that was committed before.
fn linear_logs(state: &State<LinearEngine>) -> Option<String> {
    let up = state.servers.iter().filter(|server| server.is_up);
    let logs: Vec<&LinearEngine> = up.map(|server| &server.engine).collect();
    let last = logs.iter().map(|log| log.last_index().0).max().unwrap_or_default();
    for index in (1..=last).map(LogIndex) {
        let of_epochs: BTreeSet<_> = logs
            .iter()
            .filter_map(|log| Some((log.log_epoch(index)?, log.log_hash(index)?)))
            .collect();
        let epochs: BTreeSet<_> = of_epochs.iter().map(|(epoch, _)| *epoch).collect();
        let committed = logs.iter().filter(|log| log.committed_index() >= index);
        let committed: BTreeSet<_> = committed.filter_map(|log| log.log_hash(index)).collect();
        if of_epochs.len() > epochs.len() || committed.len() > 1 {
            return Some(format!("logs differ at {index}"));
        }
    }
    let sequencers = logs.iter().filter_map(|log| Some((log.sequences()?, *log)));
    let (latest, sequencer) = sequencers.max_by_key(|(epoch, _)| *epoch)?;
    logs.iter().find_map(|log| {
        let commit = log.committed_index();
        let is_earlier = log.log_epoch(commit).is_some_and(|epoch| epoch < latest);
        (is_earlier && sequencer.log_hash(commit) != log.log_hash(commit))
            .then(|| format!("{latest} was opened without entry {commit}"))
    })
}

/// Reads show what was acknowledged, no version names two writes, and what was done is on W
/// disks.
fn eventual_answer(
    state: &State<EventualEngine>,
    config: &ClusterConfig,
    _: usize,
    call: &Call,
) -> Option<String> {
    if let Some((_, End::Written { version, .. })) = call.end {
        let holds = |record: &Record| match record {
            Record::Write(write) => {
                write.key == call.key && Version::from(write.entry.stamp) >= version
            }
            _ => false,
        };
        let servers = state.servers.iter();
        let holders = servers.filter(|server| server.records_on_disk().iter().any(holds));
        let holders = holders.count();
        if holders < usize::from(config.write_quorum()) {
            return Some(format!("{version} is done, and {holders} disks hold it"));
        }
    }
    let evidence =
        Evidence { nodes: config.nodes(), calls: state.calls.clone(), ..Evidence::default() };
    let promises = [Promise::QuorumVisibility, Promise::UniqueVersions, Promise::HonestRefusals];
    judge_all(&evidence, &promises).err().map(|broken| broken.to_string())
}

/// The engine as a restart would find it.
fn on_disk(server: &Server<LinearEngine>) -> LinearEngine {
    let records = (1..).map(PersistSeq).zip(server.records_on_disk().iter().cloned());
    let status = server.engine.status();
    let config = EngineConfig::seeded(status.node, status.cluster, 1);
    LinearEngine::recover(config, None, records).unwrap()
}

/// Checks a model. What is not seen whole is looked at breadth first, for every short run, and
/// then depth first, for runs that come to their end.
fn check<E: Checked>(laws: Laws<E>, bounds: Bounds, whole: bool) {
    check_from(ClusterModel::new(bounds, laws), whole);
}

/// The same from where a model begins.
fn check_from<E: Checked>(model: ClusterModel<E>, whole: bool) {
    let whole = whole && !cfg!(debug_assertions);
    let bound = if whole { usize::MAX } else { STATES_MAX };
    if !look(model.clone(), Order::BreadthFirst, bound) {
        assert!(!whole, "all of it is to be seen");
        look(model, Order::DepthFirst, bound);
    }
}

/// Searches and prints how far it came; whether it saw everything.
fn look<E: Checked>(model: ClusterModel<E>, order: Order, bound: usize) -> bool {
    let (began, bounds) = (Instant::now(), model.bounds().clone());
    let seen = model.search(order, bound).unwrap_or_else(|wrong| panic!("{}: {wrong}", E::NAME));
    let Seen { states, depth, whole, all_done, .. } = seen;
    let Bounds { nodes, write, read, calls, timeouts, losses, copies, crashes, outages, cuts } =
        bounds;
    let mib = peak_memory_mib();
    println!(
        "{:<13}N={nodes} W={write} R={read}, {} calls, {timeouts} timeouts, {losses} losses, \
         {copies} copies, {} crashes, {} outages, {cuts} cuts: {states} states, depth {depth}, {}, {}, {:.1} s, all tests so far in {} MiB",
        E::NAME,
        calls.len(),
        crashes.len(),
        outages.len(),
        if whole { "complete".to_owned() } else { cut_off(bound) },
        if all_done { "all calls done" } else { "no end seen" },
        began.elapsed().as_secs_f64(),
        mib.map_or("unknown".to_owned(), |mib| mib.to_string())
    );
    assert!(all_done || !whole, "no run ends well");
    let mib = mib.unwrap_or_default();
    assert!(mib < MEMORY_MIB_MAX, "{mib} MiB are too many: lower the bounds");
    whole
}

/// Why not all of a model was seen.
fn cut_off(states: usize) -> String {
    if cfg!(debug_assertions) {
        return format!("cut off at {states} states, as this build is slow");
    }
    format!("cut off at {states} states, as nobody has seen how many there are in all")
}

/// The most memory that this process ever had, where the system tells.
fn peak_memory_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = peak.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}

/// Walks through a model at random and prints how far that came.
fn walk_through(bounds: Bounds, walks: u64) {
    let walks = if cfg!(debug_assertions) { walks / 100 } else { walks };
    let (began, Bounds { nodes, write, read, .. }) = (Instant::now(), bounds.clone());
    let model = ClusterModel::new(bounds, LINEAR);
    match model.walk(1..=walks, STEPS_MAX) {
        Ok(Walked { walks, steps, ended, changed, round_max, .. }) => {
            println!(
                "{:<13}N={nodes} W={write} R={read}, at random: {walks} walks, {steps} steps, all \
                 calls done in {ended}, another epoch in {changed}, up to round {round_max}, \
                 {:.1} s",
                LinearEngine::NAME,
                began.elapsed().as_secs_f64()
            );
            // In a slow build there are too few of them for that.
            assert!((ended > 0 && changed > 0) || cfg!(debug_assertions));
        }
        Err(wrong) => panic!("{wrong}"),
    }
}

/// What comes to pass in the walks: all that can, and often.
fn troubled(write: u16, read: u16) -> Bounds {
    let calls = [(1, put("a")), (2, put("b")), (3, get()), (2, get()), (3, put("c")), (1, get())];
    Bounds {
        timeouts: 40,
        losses: 20,
        copies: 20,
        crashes: vec![1, 2, 3],
        outages: vec![1, 2, 3, 1, 2],
        cuts: 4,
        ..bounds(3, write, read, &calls)
    }
}

#[test]
fn random_walks_of_three_servers() {
    walk_through(troubled(2, 2), WALKS);
    walk_through(troubled(1, 1), WALKS);
    walk_through(troubled(3, 1), WALKS / 2);
}

#[test]
fn the_sequencer_of_three_servers_is_lost() {
    let calls = [(2, put("a")), (3, get())];
    let lost = Bounds { timeouts: 3, ..bounds(3, 2, 2, &calls) };
    check_from(ClusterModel::new(lost, LINEAR).without_the_first(), false);
    let outage = Bounds { outages: vec![1], timeouts: 2, ..bounds(3, 2, 2, &calls) };
    check(LINEAR, outage, false);
    let cut = Bounds { cuts: 1, timeouts: 2, copies: 1, losses: 1, ..bounds(3, 2, 2, &calls) };
    check(LINEAR, cut, false);
}

/// An engine that breaks a rule for as long as a walk goes on in this thread.
fn recover_broken(
    config: EngineConfig,
    records: Vec<(PersistSeq, kv_linear::Record)>,
) -> LinearEngine {
    LinearEngine::recover_mutated(BROKEN.get(), config, None, records).unwrap()
}

thread_local! {
    static BROKEN: Cell<Option<kv_linear::Mutation>> = const { Cell::new(None) };
}

#[test]
fn walks_of_a_broken_engine_are_seen_to_be_wrong() {
    use kv_linear::Mutation as M;
    for mutation in [M::CommitsWithOneFewer, M::OpensWithOneFewer, M::InheritedCommitted] {
        BROKEN.set(Some(mutation));
        let began = Instant::now();
        let model = ClusterModel::recovered_by(recover_broken, troubled(2, 2), LINEAR);
        let walked = model.walk(1..=BROKEN_WALKS, STEPS_MAX);
        BROKEN.set(None);
        let s = began.elapsed().as_secs_f64();
        match walked {
            Ok(_) if cfg!(debug_assertions) => {}
            Ok(walked) => panic!("{mutation:?} is not seen in {walked:?}, {s:.1} s"),
            Err(wrong) => println!(
                "{mutation:?} is seen in walk {}, after {} steps, {s:.1} s: {}",
                wrong.seed.unwrap_or_default(),
                wrong.steps.len(),
                wrong.finding
            ),
        }
    }
}

#[test]
fn a_model_of_a_broken_engine_is_seen_to_be_wrong() {
    let careless = |config, records: Vec<_>| {
        // One that no assertion of the engine's own notices first.
        let mutation = Some(kv_linear::Mutation::CommitsWithOneFewer);
        LinearEngine::recover_mutated(mutation, config, None, records).unwrap()
    };
    let bounds = bounds(2, 2, 2, &[(1, put("a")), (2, get())]);
    let model = ClusterModel::recovered_by(careless, bounds, LINEAR);
    let wrong = model.search(Order::BreadthFirst, usize::MAX).unwrap_err();
    assert!(wrong.finding.ends_with("is done, and 1 disks hold it"), "{wrong}");
    let told = wrong.to_string();
    assert!(told.contains("\n  client 1 asks server 1: put b\"k\" b\"a\"\n"), "{told}");
    assert!(told.contains("\n  arrives from 1 to 2: Message { "), "{told}");
    assert!(told.ends_with("\n  server 1 has a record on disk"), "{told}");
    assert_eq!(wrong.told.len(), wrong.steps.len());
}

fn bounds(nodes: u16, write: u16, read: u16, calls: &[(u16, Operation)]) -> Bounds {
    Bounds::new(nodes, write, read, calls.to_vec())
}

fn put(text: &str) -> Operation {
    Operation::put(Key::new("k").unwrap(), Value::new(text.to_owned()).unwrap())
}

fn get() -> Operation {
    Operation::get(Key::new("k").unwrap())
}

#[test]
fn two_linearizable_servers() {
    let calls = [(2, put("a")), (1, get())];
    check(LINEAR, bounds(2, 2, 2, &calls), true);
    check(LINEAR, bounds(2, 1, 1, &calls), true);
    let faulty = Bounds { timeouts: 1, losses: 1, copies: 1, ..bounds(2, 2, 2, &calls) };
    check(LINEAR, faulty, false);
    let crash = Bounds { crashes: vec![2], ..bounds(2, 2, 2, &calls) };
    check(LINEAR, crash, false);
}

#[test]
fn the_sequencer_of_two_servers_restarts() {
    let write = Bounds { crashes: vec![1], ..bounds(2, 2, 2, &[(2, put("a"))]) };
    check(LINEAR, write, true);
    let calls = [(2, put("a")), (1, get())];
    let both = Bounds { crashes: vec![1, 2], timeouts: 1, ..bounds(2, 2, 2, &calls) };
    check(LINEAR, both, false);
    let alone = Bounds { crashes: vec![1], ..bounds(2, 1, 2, &calls) };
    check(LINEAR, alone, false);
}

#[test]
fn three_linearizable_servers() {
    let calls = [(2, put("a")), (3, get())];
    check(LINEAR, bounds(3, 1, 1, &calls), false);
    check(LINEAR, bounds(3, 2, 2, &calls), false);
}

#[test]
fn two_eventual_servers() {
    let calls = [(1, put("a")), (2, get())];
    check(EVENTUAL, bounds(2, 2, 1, &calls), true);
    check(EVENTUAL, bounds(2, 1, 2, &[(1, put("a")), (2, put("b")), (2, get())]), true);
    let faulty = Bounds { timeouts: 1, losses: 1, copies: 1, ..bounds(2, 2, 1, &calls) };
    check(EVENTUAL, faulty, true);
    let crash = Bounds { crashes: vec![1], ..bounds(2, 2, 1, &calls) };
    check(EVENTUAL, crash, true);
}

#[test]
fn three_eventual_servers() {
    let calls = [(1, put("a")), (2, get())];
    check(EVENTUAL, bounds(3, 1, 1, &calls), true);
    check(EVENTUAL, bounds(3, 2, 2, &calls), true);
}

/// How long a walk is at most, and how many there are.
const STEPS_MAX: usize = 400;
const WALKS: u64 = 12_000;
const BROKEN_WALKS: u64 = if cfg!(debug_assertions) { 20 } else { 20_000 };

/// How much memory the test may take.
const MEMORY_MIB_MAX: u64 = 2048;

/// In a debug build, in which a state takes far longer, a model is cut off sooner.
const STATES_MAX: usize = if cfg!(debug_assertions) { 3_000 } else { 100_000 };
