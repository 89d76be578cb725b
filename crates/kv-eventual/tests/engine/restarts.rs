//! Servers that start again and again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kv_core::{Key, NodeId, Operation, Outcome, RequestOptions, Value, Wire};
use kv_eventual::{Message, Part, Vector};
use kv_sim::{Fate, Restart, SimConfig};

use crate::audit::{self, Sim};

fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

fn put(name: &str) -> Operation {
    Operation::put(Key::new(name.to_owned()).unwrap(), Value::new("v").unwrap())
}

/// The vector that a server sent last.
fn vector_sent_last(sim: &mut Sim) -> Vector {
    let sent = Arc::new(Mutex::new(Vector::default()));
    let kept = Arc::clone(&sent);
    sim.intercept(move |_, _, message: &Message| {
        for part in &message.parts {
            if let Part::Pull(pull) = part
                && let Some(begin) = &pull.begin
            {
                *kept.lock().unwrap() = begin.report.vector.clone();
            }
        }
        Fate::Pass
    });
    sim.run_for(Duration::from_secs(5)).unwrap();
    sim.stop_intercepting();
    sent.lock().unwrap().clone()
}

/// Each start is a new incarnation, and all servers know what each of them wrote.
#[test]
fn what_servers_know_of_each_other_does_not_grow_with_their_restarts() {
    let mut sim = Sim::new(SimConfig::new(3, 2, 2, 51).unwrap()).unwrap();
    sim.run_for(Duration::from_secs(2)).unwrap();
    let mut bytes = Vec::new();
    for round in 0..90_u16 {
        let at = node(round % 3 + 1);
        let written = sim.execute(at, put(&format!("k{round}"))).unwrap();
        assert!(matches!(written, Some(Outcome::Done(_))), "{written:?}");
        sim.restart(at, Restart::Intact).unwrap();
        sim.run_for(Duration::from_secs(4)).unwrap();
        if round % 30 == 29 {
            sim.run_for(Duration::from_secs(10)).unwrap();
            bytes.push(vector_sent_last(&mut sim).to_bytes().len());
        }
    }
    // Of each server 16 names, one number, and what it wrote in its present incarnation.
    assert!(bytes.iter().all(|bytes| *bytes < 3 * 22 * 10), "{bytes:?}");
    assert_eq!(bytes.get(1), bytes.get(2));
    for number in 1..=3 {
        assert_eq!(sim.status(node(number)).unwrap().positions.open_incarnations, Some(0));
        assert_eq!(audit::disk(&sim, node(number)).len(), 90);
    }
}

/// Its former incarnations are not named any more, and it has nobody to ask for them.
#[test]
fn a_write_of_a_server_that_starts_alone_without_its_data_is_not_taken_for_known() {
    let mut sim = Sim::new(SimConfig::new(3, 1, 1, 52).unwrap()).unwrap();
    sim.run_for(Duration::from_secs(2)).unwrap();
    for round in 0..40 {
        sim.execute(node(1), put(&format!("k{round}"))).unwrap();
        sim.restart(node(1), Restart::Intact).unwrap();
        sim.run_for(Duration::from_secs(3)).unwrap();
    }
    sim.run_for(Duration::from_secs(20)).unwrap();
    sim.partition(&[node(1)]);
    sim.restart(node(1), Restart::Wiped).unwrap();
    sim.run_for(Duration::from_secs(2)).unwrap();
    let alone = sim.submit(node(1), put("alone"), RequestOptions::default());
    sim.run_for(Duration::from_secs(2)).unwrap();
    assert!(audit::written(sim.request(alone).unwrap()).is_some());
    assert_eq!(audit::disk(&sim, node(1)).len(), 1);
    sim.heal();
    sim.run_for(Duration::from_secs(10)).unwrap();
    assert_eq!(sim.nodes().map(|node| audit::disk(&sim, node).len()).collect::<Vec<_>>(), [41; 3]);
}
