//! What clients of a simulated cluster saw is judged: the third engine is linearizable, and it is
//! seen when it executes a request that comes twice a second time.

#![allow(clippy::unwrap_used, reason = "a test's helpers may panic")]

use std::time::Duration;

use kv_check::{Budget, Verdict, linearizability};
use kv_core::{Key, NodeId, Operation, RequestOptions, SeedStream, Value};
use kv_sim::{Cluster, DiskConfig, NetworkConfig, Restart, SimConfig};

use crate::one_copy::{Mutation, OneCopy, broken_by};

/// Three servers under loss, duplication and restarts; clients put and get three keys.
fn verdict(seed: u64) -> (Verdict, usize) {
    let config = SimConfig::new(3, 1, 1, seed).unwrap();
    let config = config.with_network(NetworkConfig::lossy()).with_disk(DiskConfig::slow());
    let mut cluster = Cluster::<OneCopy>::new(config).unwrap();
    let mut stream = SeedStream::new(seed);
    cluster.run_for(Duration::from_millis(200)).unwrap();
    for number in 0..150 {
        let node = NodeId::new(u16::try_from(1 + stream.below(3)).unwrap()).unwrap();
        let key = Key::new(format!("k{}", stream.below(3))).unwrap();
        let op = if stream.chance(500) {
            Operation::put(key, Value::new(format!("v{number}")).unwrap())
        } else {
            Operation::get(key)
        };
        let timeout = Duration::from_millis(100 + stream.below(900));
        let options = RequestOptions::default().with_timeout(timeout);
        cluster.submit(node, op, options);
        if stream.chance(20) {
            cluster.restart(node, Restart::Intact).unwrap();
        }
        cluster.run_for(Duration::from_millis(stream.below(30))).unwrap();
    }
    cluster.run_for(Duration::from_secs(2)).unwrap();
    let done = cluster
        .requests()
        .filter(|(_, request)| matches!(request.outcome(), Some(kv_core::Outcome::Done(_))));
    let done = done.count();
    let history = cluster.history();
    (linearizability(&history, Budget::default()).unwrap(), done)
}

#[test]
fn the_third_engine_is_linearizable_under_faults() {
    for seed in 1..=60 {
        let (verdict, done) = verdict(seed);
        assert_eq!(verdict, Verdict::Linearizable, "seed {seed}: {verdict}");
        assert!(done > 50, "seed {seed}: only {done} requests were done");
    }
}

#[test]
fn a_duplicate_that_takes_effect_twice_is_seen() {
    let seen = |seed| match verdict(seed).0 {
        Verdict::NotLinearizable(counterexample) => Some((seed, counterexample)),
        Verdict::Linearizable | Verdict::Undecided { .. } => None,
    };
    let seen = broken_by(Mutation::ExecutesADuplicateAgain, || (1..=60).find_map(seen));
    let (seed, counterexample) = seen.unwrap();
    println!("seed {seed}:\n{counterexample}");
    assert!(counterexample.calls.len() < 20, "{counterexample}");
}
