//! Servers that are killed and restart, the sequencer among them.

use std::time::Duration;

use kv_core::{
    Answer, CommandResult, Counter, NodeId, Outcome, RequestId, RequestOptions, SeedStream,
};
use kv_linear::Body;
use kv_sim::{DiskConfig, Fate, NetworkConfig, Restart, SimConfig};

use crate::witness::{
    Sim, assert_counted_once, assert_linearizable, assert_same_logs, counter, get, increment, node,
    positions, put, settle,
};

const SECOND: Duration = Duration::from_secs(1);

/// Ten servers are listed, and two of them ever run.
fn two_of_ten(seed: u64, network: NetworkConfig) -> Sim {
    let disk = DiskConfig { checkpoint_every: Some(20), ..DiskConfig::slow() };
    let config = SimConfig::new(10, 2, 2, seed).unwrap().with_network(network).with_disk(disk);
    let mut sim = Sim::new(config).unwrap();
    for number in [2, 3, 4, 5, 6, 8, 9, 10] {
        sim.crash(node(number));
    }
    sim.run_for(SECOND * 3).unwrap();
    sim
}

fn is_done(sim: &Sim, id: RequestId) -> bool {
    matches!(sim.outcome(id), Some(Outcome::Done(_)))
}

fn found(sim: &mut Sim, at: NodeId, name: &str) -> Option<String> {
    let outcome = sim.execute(at, get(name)).unwrap();
    let Some(Outcome::Done(done)) = outcome else { panic!("{outcome:?}") };
    let Answer::Results(results) = done.answer else { panic!("no result") };
    let Some(CommandResult::Value(found)) = results.into_iter().next() else { panic!("no value") };
    found.map(|found| String::from_utf8(found.value.as_bytes().to_vec()).unwrap())
}

/// Kills the two in turn while clients write at both; what was acknowledged must be there.
fn killed_in_turn(seed: u64, network: NetworkConfig) -> usize {
    let both = [node(1), node(7)];
    let mut sim = two_of_ten(seed, network.clone());
    let mut stream = SeedStream::new(seed);
    let mut writes = Vec::new();
    for round in 0..12 {
        for step in 0..10 {
            let name = format!("k{round}.{step}");
            let at = *both.get(usize::try_from(stream.below(2)).unwrap()).unwrap();
            let options = RequestOptions::default().with_timeout(SECOND);
            writes.push((name.clone(), sim.submit(at, put(&name, "v"), options.clone())));
            sim.submit(at, increment("n"), options);
            sim.run_for(Duration::from_millis(stream.below(40))).unwrap();
        }
        let victim = *both.get(round % 2).unwrap();
        if round % 3 == 0 {
            sim.crash_after_effects(victim, stream.below(30));
            sim.run_for(Duration::from_millis(100)).unwrap();
        }
        sim.crash(victim);
        sim.run_for(Duration::from_millis(stream.below(300))).unwrap();
        sim.restart(victim, Restart::Intact).unwrap();
        sim.run_for(Duration::from_millis(300)).unwrap();
    }
    sim.heal_network(NetworkConfig::default());
    sim.run_for(SECOND * 5).unwrap();
    assert_eq!(sim.halted().count(), 0);
    let count = found(&mut sim, node(7), "n").map_or(0, |number| number.parse().unwrap());
    assert_counted_once(&sim, "n", count);
    let done: Vec<_> = writes.iter().filter(|(_, id)| is_done(&sim, *id)).cloned().collect();
    for (name, _) in &done {
        for at in both {
            assert_eq!(found(&mut sim, at, name), Some("v".to_owned()), "{name} at {at}");
        }
    }
    let epoch = |number| {
        let positions = positions(&sim, number);
        (positions.epoch_round, positions.epoch_owner, positions.epoch_incarnation)
    };
    assert_eq!(epoch(7), epoch(1));
    // Nobody else can be chosen: the sequencer opens its round anew at each restart.
    let starts = epoch(1).2.map(|incarnation| incarnation >> 32);
    assert_eq!((epoch(1).0, epoch(1).1), (Some(0), Some(1)));
    assert!(starts >= Some(6), "{starts:?}");
    assert_same_logs(&sim);
    assert_linearizable(&sim);
    done.len()
}

#[test]
fn two_of_ten_servers_that_are_killed_in_turn_lose_nothing() {
    for seed in 1..=6 {
        let done = killed_in_turn(seed, NetworkConfig::default());
        assert!(done > 60, "seed {seed}: only {done} writes were done");
        killed_in_turn(seed, NetworkConfig::lossy());
    }
}

#[test]
fn what_never_came_to_the_sequencers_disk_is_forwarded_again_and_takes_effect_once() {
    let lost = (1..=20).filter(|seed| {
        let mut sim = Sim::new(SimConfig::new(3, 2, 2, *seed).unwrap()).unwrap();
        sim.run_for(SECOND * 2).unwrap();
        sim.execute(node(2), put("k", "v")).unwrap();
        // The followers get an entry that is not on the sequencer's own disk.
        sim.hold_disk(node(1));
        let id = sim.submit(node(2), increment("n"), RequestOptions::default());
        sim.run_for(Duration::from_millis(50)).unwrap();
        assert_eq!(positions(&sim, 2).durable, Some(3));
        sim.release_disk(node(1));
        sim.restart(node(1), Restart::Intact).unwrap();
        // The opening entry is the third one then.
        let lost = positions(&sim, 1).last <= Some(3);
        sim.run_for(SECOND * 3).unwrap();
        assert!(is_done(&sim, id), "{:?}", sim.outcome(id));
        assert_eq!(found(&mut sim, node(3), "n"), Some("1".to_owned()));
        settle(&mut sim);
        assert_same_logs(&sim);
        lost
    });
    assert!(lost.count() >= 5);
}

#[test]
fn a_refused_request_stays_without_effect_after_a_restart() {
    let mut sim = Sim::new(SimConfig::new(3, 3, 1, 4).unwrap()).unwrap();
    sim.run_for(SECOND * 2).unwrap();
    sim.intercept(|_, _, message| match message.body {
        Body::Forward(_) => Fate::Copy,
        _ => Fate::Pass,
    });
    sim.partition(&[node(3)]);
    sim.run_for(SECOND).unwrap();
    let outcome = sim.execute(node(2), increment("n")).unwrap();
    assert!(matches!(outcome, Some(Outcome::NotDone(_))), "{outcome:?}");
    sim.heal();
    sim.restart(node(1), Restart::Intact).unwrap();
    sim.run_for(SECOND).unwrap();
    let copies = sim.captured().to_vec();
    assert!(!copies.is_empty());
    for copy in copies {
        sim.inject(copy.from, copy.to, copy.message);
    }
    sim.run_for(SECOND).unwrap();
    assert_eq!(found(&mut sim, node(2), "n"), None);
}

#[test]
fn a_follower_that_slept_through_many_restarts_comes_back() {
    for log_bytes_max in [500, 1 << 20] {
        let mut config = SimConfig::new(3, 2, 2, 4).unwrap();
        config.limits.log_bytes_max = log_bytes_max;
        config.limits.message_bytes_max = 300;
        let mut sim = Sim::new(config).unwrap();
        sim.run_for(SECOND * 2).unwrap();
        sim.crash(node(3));
        for round in 0..5 {
            for step in 0..10 {
                let done = sim.execute(node(2), put(&format!("k{round}.{step}"), "v")).unwrap();
                assert!(matches!(done, Some(Outcome::Done(_))), "{done:?}");
            }
            sim.restart(node(1), Restart::Intact).unwrap();
            sim.run_for(SECOND * 3).unwrap();
        }
        sim.restart(node(3), Restart::Intact).unwrap();
        sim.run_for(SECOND * 3).unwrap();
        let by_checkpoint = counter(&sim, 3, Counter::CheckpointsInstalled);
        assert_eq!(by_checkpoint, u64::from(log_bytes_max == 500));
        settle(&mut sim);
        assert_same_logs(&sim);
        let done = sim.execute(node(3), put("k", "w")).unwrap();
        assert!(matches!(done, Some(Outcome::Done(_))), "{done:?}");
    }
}

#[test]
fn another_server_takes_the_place_of_each_sequencer_that_is_killed_and_nothing_is_lost() {
    let mut sim = Sim::new(SimConfig::new(3, 2, 2, 8).unwrap()).unwrap();
    sim.run_for(SECOND * 2).unwrap();
    let owner = |sim: &Sim, at| positions(sim, at).epoch_owner;
    for round in 0..4 {
        assert_eq!(positions(&sim, 1).epoch_round, Some(round));
        let victim = u16::try_from(owner(&sim, 1).unwrap()).unwrap();
        let done = sim.execute(node(victim % 3 + 1), put(&format!("k{round}"), "v")).unwrap();
        assert!(matches!(done, Some(Outcome::Done(_))), "{done:?}");
        sim.crash(node(victim));
        sim.run_for(SECOND * 3).unwrap();
        sim.restart(node(victim), Restart::Intact).unwrap();
        sim.run_for(SECOND * 2).unwrap();
        for at in 1..=3 {
            assert_ne!(owner(&sim, at), Some(u64::from(victim)));
        }
    }
    for name in ["k0", "k1", "k2", "k3"] {
        for at in 1..=3 {
            assert_eq!(found(&mut sim, node(at), name), Some("v".to_owned()));
        }
    }
    settle(&mut sim);
    assert_same_logs(&sim);
    assert_linearizable(&sim);
}
