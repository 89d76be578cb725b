//! Checks a history against the log, which is the order that explains it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kv_core::{
    Answer, Command, CommandResult, Counter, Key, NodeId, Operation, Outcome, Positions, RequestId,
    Value, Version,
};
use kv_linear::{LinearEngine, LogIndex};
use kv_sim::{Cluster, Request, RequestState};

pub type Sim = Cluster<LinearEngine>;

pub fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

pub fn key(text: &str) -> Key {
    Key::new(text.to_owned()).unwrap()
}

pub fn value(text: &str) -> Value {
    Value::new(text.to_owned()).unwrap()
}

pub fn put(name: &str, text: &str) -> Operation {
    Operation::put(key(name), value(text))
}

pub fn get(name: &str) -> Operation {
    Operation::get(key(name))
}

pub fn increment(name: &str) -> Operation {
    Operation::of(Command::Increment { key: key(name), by: 1 })
}

/// A counter of a server's status.
pub fn counter(sim: &Sim, number: u16, counter: Counter) -> u64 {
    sim.status(node(number)).unwrap().counter(counter).unwrap()
}

pub fn positions(sim: &Sim, number: u16) -> Positions {
    sim.status(node(number)).unwrap().positions
}

/// Runs until nobody waits for an answer and all servers have applied the same.
pub fn settle(sim: &mut Sim) {
    let same = |sim: &Sim| {
        let states: BTreeSet<_> = sim
            .nodes()
            .filter_map(|node| sim.engine(node).map(LinearEngine::applied_state))
            .collect();
        states.len() == 1 && sim.requests().all(|(_, r)| r.has_ended() || r.cancelled)
    };
    let settled = sim.run_until(Duration::from_secs(60), same).unwrap();
    assert!(settled, "servers differ: {:?}", statuses(sim));
    let fingerprints: BTreeSet<u64> = sim.fingerprints().into_values().collect();
    assert_eq!(fingerprints.len(), 1, "{:?}", statuses(sim));
}

pub fn statuses(sim: &Sim) -> Vec<String> {
    sim.nodes().map(|node| format!("{node}: {:?}", sim.status(node))).collect()
}

/// The logs of all servers agree wherever two of them have the same position.
pub fn assert_same_logs(sim: &Sim) {
    let running = sim.nodes().filter(|node| sim.is_running(*node));
    let last = running.filter_map(|node| positions(sim, node.number()).last).max().unwrap();
    for index in 1..=last {
        let hashes: BTreeSet<u64> =
            sim.nodes().filter_map(|node| sim.engine(node)?.log_hash(LogIndex(index))).collect();
        assert!(hashes.len() <= 1, "logs differ at {index}");
    }
}

struct Seen {
    id: RequestId,
    invoked: Duration,
    replied: Duration,
    index: u64,
    reads: bool,
}

/// Linearizability with the log as its witness, for single gets, puts and increments: each write
/// that is Done has a number of its own, and a read comes after the write whose number it names, and
/// before the next one; one that ended before another began comes before it; and a read finds the
/// last write up to its number. Gives how many were compared.
pub fn assert_linearizable(sim: &Sim) -> usize {
    let mut seen = Vec::new();
    let mut writes: BTreeMap<Key, BTreeMap<u64, Value>> = BTreeMap::new();
    let mut uncertain: BTreeSet<(Key, Value)> = BTreeSet::new();
    for (id, request) in sim.requests() {
        let written = written(request);
        match done(request) {
            Some((replied, index, _)) => {
                let (invoked, reads) = (request.invoked_at, request.op.is_read_only());
                seen.push(Seen { id, invoked, replied, index, reads });
                if let Some((key, value)) = written {
                    let clash = writes.entry(key).or_default().insert(index, value);
                    assert_eq!(clash, None, "two writes at {index}");
                }
            }
            None if is_uncertain(request) => uncertain.extend(written),
            None => {}
        }
    }
    assert_real_time(&mut seen);
    let counted: BTreeSet<Key> = sim.requests().filter_map(|(_, r)| counted(r)).collect();
    for (id, request) in sim.requests() {
        if let Some((_, index, CommandResult::Value(found))) = done(request) {
            let Operation::Batch(batch) = &request.op else { panic!("{id:?}") };
            let key = batch.single().unwrap().key();
            if counted.contains(key) {
                continue;
            }
            let writes = writes.get(key);
            let before = writes.and_then(|writes| writes.range(..=index).next_back());
            let Some(found) = found else {
                assert!(before.is_none(), "{id:?} at {index} misses {before:?}");
                continue;
            };
            let Version::Log(version) = found.version else { panic!("{found:?}") };
            assert!(version <= index, "{id:?} at {index} found {version}");
            match before {
                Some((place, value)) if *place == version => assert_eq!(found.value, *value),
                Some((place, _)) => {
                    assert!(version > *place, "{id:?} at {index}: {version} hides {place}");
                    assert!(uncertain.contains(&(key.clone(), found.value)), "{id:?}: invented");
                }
                None => assert!(uncertain.contains(&(key.clone(), found.value)), "{id:?}"),
            }
        }
    }
    seen.len()
}

fn assert_real_time(seen: &mut [Seen]) {
    // Reads that name the same number have no order among each other.
    seen.sort_by_key(|seen| (seen.index, seen.reads));
    let mut latest_begin = Duration::ZERO;
    for group in seen.chunk_by(|a, b| (a.index, a.reads) == (b.index, b.reads)) {
        if let [one, other, ..] = group {
            assert!(one.reads, "{:?} and {:?} share a number", one.id, other.id);
        }
        for seen in group {
            assert!(seen.replied >= latest_begin, "{:?} is placed too late", seen.id);
        }
        let begins = group.iter().map(|seen| seen.invoked);
        latest_begin = begins.fold(latest_begin, Duration::max);
    }
}

fn done(request: &Request) -> Option<(Duration, u64, CommandResult)> {
    let RequestState::Replied { at, outcome: Outcome::Done(done) } = &request.state else {
        return None;
    };
    let Answer::Results(results) = &done.answer else { return None };
    match (done.version, results.as_slice()) {
        (Some(Version::Log(index)), [result]) => Some((*at, index, result.clone())),
        other => panic!("{other:?}"),
    }
}

const fn is_uncertain(request: &Request) -> bool {
    matches!(
        request.state,
        RequestState::Lost { .. }
            | RequestState::Waiting
            | RequestState::Replied { outcome: Outcome::Unknown(_), .. }
    )
}

/// The key and the value that a request writes, where the value is known from it.
fn written(request: &Request) -> Option<(Key, Value)> {
    let Operation::Batch(batch) = &request.op else { return None };
    match batch.single()? {
        Command::Put { key, value, .. } => Some((key.clone(), value.clone())),
        _ => None,
    }
}

/// The key that a request counts on, whose values are checked by [`assert_counted_once`].
fn counted(request: &Request) -> Option<Key> {
    let Operation::Batch(batch) = &request.op else { return None };
    match batch.single()? {
        Command::Increment { key, .. } => Some(key.clone()),
        _ => None,
    }
}

/// Checks a counter that only increments have touched: each Done brought another number, and
/// nothing was counted twice. Gives the count.
pub fn assert_counted_once(sim: &Sim, name: &str, now: i64) {
    let (mut numbers, mut certain, mut possible) = (BTreeSet::new(), 0, 0);
    for (id, request) in sim.requests() {
        if counted(request) != Some(key(name)) {
            continue;
        }
        if let Some((_, _, CommandResult::Number(number))) = done(request) {
            assert!(numbers.insert(number), "{id:?} brought {number} again");
            certain += 1;
        } else if is_uncertain(request) {
            possible += 1;
        }
    }
    assert!(
        (certain..=certain + possible).contains(&now),
        "{certain} done and {possible} unknown make {now}"
    );
}
