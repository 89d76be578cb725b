//! How long deletes are remembered in simulated clusters in which nobody is away.

use std::time::Duration;

use kv_core::{Key, NodeId, Operation, Outcome, Value};
use kv_sim::{Restart, SimConfig, WallOffset};

use crate::audit::Sim;

fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).unwrap()
}

fn execute(sim: &mut Sim, at: u16, op: Operation) {
    let outcome = sim.execute(node(at), op).unwrap();
    assert!(matches!(outcome, Some(Outcome::Done(_))), "{outcome:?}");
}

fn remembered(sim: &Sim) -> u64 {
    let tombstones = |node| sim.status(node).unwrap().positions.tombstones.unwrap();
    sim.nodes().map(tombstones).sum()
}

fn seconds_until_forgotten(sim: &mut Sim) -> u64 {
    let begin = sim.now();
    while remembered(sim) > 0 {
        assert!(sim.now() - begin < Duration::from_secs(200), "{} are left", remembered(sim));
        sim.run_for(Duration::from_millis(500)).unwrap();
    }
    (sim.now() - begin).as_secs()
}

/// Whatever the servers agreed on just before it.
#[test]
fn a_delete_is_forgotten_soon_after_all_servers_have_it() {
    let mut sim = Sim::new(SimConfig::new(5, 2, 2, 41).unwrap()).unwrap();
    sim.run_for(Duration::from_secs(30)).unwrap();
    let mut longest = 0;
    for round in 0..12 {
        execute(&mut sim, 1, Operation::put(key("k"), Value::new("v").unwrap()));
        sim.run_for(Duration::from_millis(1_700)).unwrap();
        execute(&mut sim, round % 5 + 1, Operation::delete(key("k")));
        assert!(remembered(&sim) > 0);
        longest = longest.max(seconds_until_forgotten(&mut sim));
    }
    assert!(longest <= 20, "{longest} s");
}

/// A clock that was a minute ahead stamped it, and no other clock follows that one.
#[test]
fn a_delete_stamped_ahead_of_all_clocks_is_forgotten_once_they_are_past_it() {
    let mut sim = Sim::new(SimConfig::new(3, 1, 1, 42).unwrap()).unwrap();
    sim.run_for(Duration::from_secs(2)).unwrap();
    sim.partition(&[node(1)]);
    sim.run_for(Duration::from_secs(2)).unwrap();
    sim.set_wall_offset(node(1), WallOffset::Ahead(Duration::from_secs(60)));
    execute(&mut sim, 1, Operation::delete(key("k")));
    sim.heal();
    sim.set_wall_offset(node(1), WallOffset::Ahead(Duration::from_secs(60)));
    sim.run_for(Duration::from_secs(5)).unwrap();
    sim.set_wall_offset(node(1), WallOffset::NONE);
    sim.restart(node(1), Restart::Wiped).unwrap();
    sim.run_for(Duration::from_secs(45)).unwrap();
    assert_eq!(remembered(&sim), 3, "it is not past yet");
    assert!(seconds_until_forgotten(&mut sim) <= 30);
}
