//! Clusters under loss, duplication, reordering, partitions and crashes; followers may lose their
//! disks too.

use std::time::Duration;

use kv_core::{Answer, CommandResult, NodeId, Outcome, RequestOptions, SeedStream};
use kv_sim::{DiskConfig, NetworkConfig, Restart, SimConfig};

use super::witness::{
    Sim, assert_counted_once, assert_linearizable, assert_same_logs, get, increment, key, node,
    put, settle,
};

fn number(outcome: &Outcome) -> i64 {
    let Outcome::Done(done) = outcome else { panic!("{outcome:?}") };
    let Answer::Results(results) = &done.answer else { panic!("{outcome:?}") };
    match results.as_slice() {
        [CommandResult::Value(found)] => found.as_ref().map_or(0, |found| {
            std::str::from_utf8(found.value.as_bytes()).unwrap().parse().unwrap()
        }),
        other => panic!("{other:?}"),
    }
}

fn pick(stream: &mut SeedStream, servers: &[NodeId]) -> NodeId {
    let count = u64::try_from(servers.len()).unwrap();
    servers[usize::try_from(stream.below(count)).unwrap()]
}

fn disturb(sim: &mut Sim, stream: &mut SeedStream, servers: &[NodeId]) {
    let victim = pick(stream, &servers[1..]);
    let any = pick(stream, servers);
    match stream.below(12) {
        0 => sim.restart(any, Restart::Intact).unwrap(),
        1 => sim.restart(victim, Restart::Wiped).unwrap(),
        2 => sim.crash_after_effects(any, stream.below(30)),
        3 => sim.partition(&[victim]),
        4 => sim.block(node(1), victim),
        5 => sim.block(victim, node(1)),
        6 => sim.hold_disk(node(1)),
        7 => sim.hold_disk(victim),
        8 => sim.pause(victim),
        _ => {
            sim.heal();
            for &server in servers {
                if !sim.is_running(server) {
                    sim.restart(server, Restart::Intact).unwrap();
                }
            }
        }
    }
}

fn run(nodes: u16, write: u16, read: u16, seed: u64) -> usize {
    let disk =
        DiskConfig { checkpoint_every: seed.is_multiple_of(2).then_some(7), ..DiskConfig::slow() };
    let mut config = SimConfig::new(nodes, write, read, seed)
        .unwrap()
        .with_network(NetworkConfig::lossy())
        .with_disk(disk);
    if seed.is_multiple_of(3) {
        config.limits.log_bytes_max = 600;
        config.limits.message_bytes_max = 300;
        config.limits.window_entries_max = 5;
        config.limits.hold_back_entries_max = 4;
    }
    let mut sim = Sim::new(config).unwrap();
    let mut stream = SeedStream::new(seed);
    let servers: Vec<NodeId> = sim.nodes().collect();
    sim.run_for(Duration::from_secs(2)).unwrap();
    for step in 0..150 {
        let server = pick(&mut stream, &servers);
        let name = format!("k{}", stream.below(3));
        let op = match stream.below(4) {
            0 => get(&name),
            1 => increment("n"),
            _ => put(&name, &format!("v{step}")),
        };
        let timeout = Duration::from_millis(200 + stream.below(3000));
        let options = RequestOptions { timeout, ..RequestOptions::default() };
        let id = sim.submit(server, op, options);
        if stream.chance(30) {
            sim.cancel(id);
        }
        if stream.chance(80) {
            disturb(&mut sim, &mut stream, &servers);
        }
        sim.run_for(Duration::from_millis(stream.below(80))).unwrap();
    }
    sim.heal();
    for &server in &servers {
        if !sim.is_running(server) {
            let wiped = server != node(1);
            let disk = if wiped { Restart::Wiped } else { Restart::Intact };
            sim.restart(server, disk).unwrap();
        }
    }
    assert_eq!(sim.halted().count(), 0);
    sim.heal_network(NetworkConfig::default());
    sim.run_for(Duration::from_secs(8)).unwrap();
    let count = number(&sim.execute(*servers.last().unwrap(), get("n")).unwrap().unwrap());
    settle(&mut sim);
    assert_counted_once(&sim, "n", count);
    assert_same_logs(&sim);
    assert_linearizable(&sim)
}

#[test]
fn every_history_is_explained_by_one_log() {
    let mut placed = 0;
    for seed in 0..60 {
        let (nodes, write, read) = [(3, 2, 2), (3, 3, 1), (3, 1, 3), (5, 3, 3), (2, 2, 2)]
            [usize::try_from(seed % 5).unwrap()];
        placed += std::panic::catch_unwind(|| run(nodes, write, read, seed))
            .unwrap_or_else(|_| panic!("seed {seed}: N={nodes} W={write} R={read}"));
    }
    assert!(placed > 60 * 50, "only {placed} requests were done");
}

#[test]
fn equal_seeds_give_equal_histories() {
    let trace = |seed| {
        let config = SimConfig::new(3, 2, 2, seed).unwrap().with_network(NetworkConfig::lossy());
        let mut sim = Sim::new(config).unwrap();
        for step in 0..20u16 {
            sim.submit(node(step % 3 + 1), increment("n"), RequestOptions::default());
            sim.run_for(Duration::from_millis(40)).unwrap();
        }
        sim.trace_hash()
    };
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5), trace(6));
}

#[test]
fn a_key_is_what_it_says() {
    // Guards the helpers: a witness that compares nothing would pass everything.
    let mut sim = Sim::new(SimConfig::new(3, 2, 2, 1).unwrap()).unwrap();
    sim.run_for(Duration::from_secs(2)).unwrap();
    sim.execute(node(2), put("k", "v")).unwrap();
    sim.execute(node(3), get("k")).unwrap();
    assert_eq!(assert_linearizable(&sim), 2);
    assert_eq!(key("k").as_bytes(), b"k");
}
