//! Requests that are sent twice, too late, or to nobody.

use std::time::Duration;

use kv_core::{
    Counter, NodeId, NotDone, Outcome, RequestId, RequestOptions, Unknown, Value, Version, Waiting,
};
use kv_linear::{Body, Message};
use kv_sim::{Fate, SimConfig};

use crate::witness::{Sim, counter, get, increment, node, put, settle};

const SECOND: Duration = Duration::from_secs(1);

fn sim(nodes: u16, write: u16, read: u16) -> Sim {
    let mut sim = Sim::new(SimConfig::new(nodes, write, read, 11).unwrap()).unwrap();
    sim.run_for(SECOND * 2).unwrap();
    sim
}

fn timeout(timeout: Duration) -> RequestOptions {
    RequestOptions::default().with_timeout(timeout)
}

fn count(sim: &mut Sim, at: u16) -> Option<Value> {
    let outcome = sim.execute(node(at), get("n")).unwrap();
    let Some(Outcome::Done(done)) = outcome else { panic!("{outcome:?}") };
    match done.answer {
        kv_core::Answer::Results(results) => match results.as_slice() {
            [kv_core::CommandResult::Value(found)] => found.as_ref().map(|f| f.value.clone()),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn is_forward(_: NodeId, _: NodeId, message: &Message) -> bool {
    matches!(message.body, Body::Forward(_))
}

/// Waits for the answer to a request, at most so long.
fn answer(sim: &mut Sim, id: RequestId, bound: Duration) -> Outcome {
    sim.run_until(bound, |sim| sim.outcome(id).is_some()).unwrap();
    sim.outcome(id).cloned().unwrap_or_else(|| panic!("no answer within {bound:?}"))
}

fn copy_forwards(sim: &mut Sim) {
    sim.intercept(|from, to, message| match is_forward(from, to, message) {
        true => Fate::Copy,
        false => Fate::Pass,
    });
}

fn inject_captured(sim: &mut Sim) {
    let captured = sim.captured().to_vec();
    assert!(!captured.is_empty());
    for message in captured {
        sim.inject(message.from, message.to, message.message);
    }
}

#[test]
fn a_duplicated_forward_takes_effect_once() {
    let mut sim = sim(3, 2, 2);
    copy_forwards(&mut sim);
    let id = sim.submit(node(2), increment("n"), RequestOptions::default());
    sim.run_until(SECOND, |sim| !sim.captured().is_empty()).unwrap();
    // Before the first one has its position, after it has, and when all is over.
    inject_captured(&mut sim);
    sim.run_for(Duration::from_millis(1)).unwrap();
    inject_captured(&mut sim);
    assert!(matches!(answer(&mut sim, id, SECOND), Outcome::Done(_)));
    inject_captured(&mut sim);
    sim.run_for(SECOND).unwrap();
    assert_eq!(counter(&sim, 1, Counter::Duplicates), 0);
    assert_eq!(count(&mut sim, 3), Some(Value::new("1").unwrap()));
}

#[test]
fn a_late_forward_takes_effect_once() {
    let mut sim = sim(3, 2, 2);
    copy_forwards(&mut sim);
    for _ in 0..5 {
        let id = sim.submit(node(2), increment("n"), RequestOptions::default());
        assert!(matches!(answer(&mut sim, id, SECOND), Outcome::Done(_)));
    }
    sim.run_for(SECOND * 10).unwrap();
    inject_captured(&mut sim);
    sim.run_for(SECOND).unwrap();
    assert_eq!(count(&mut sim, 3), Some(Value::new("5").unwrap()));
}

#[test]
fn a_forward_of_a_former_incarnation_has_no_effect() {
    let mut sim = sim(3, 2, 2);
    copy_forwards(&mut sim);
    let id = sim.submit(node(2), increment("n"), RequestOptions::default());
    assert!(matches!(answer(&mut sim, id, SECOND), Outcome::Done(_)));
    sim.restart(node(2), kv_sim::Restart::Wiped).unwrap();
    sim.run_for(SECOND).unwrap();
    inject_captured(&mut sim);
    sim.run_for(SECOND).unwrap();
    assert_eq!(count(&mut sim, 2), Some(Value::new("1").unwrap()));
}

#[test]
fn what_was_refused_has_no_effect_however_late_it_comes_again() {
    let mut sim = sim(3, 3, 1);
    copy_forwards(&mut sim);
    // The sequencer loses server 3, but server 2 keeps its way to the sequencer.
    sim.partition(&[node(3)]);
    sim.run_for(SECOND).unwrap();
    let id = sim.submit(node(2), increment("n"), RequestOptions::default());
    let refused = Outcome::NotDone(NotDone::Unavailable { reachable: 2, needed: 3 });
    assert_eq!(answer(&mut sim, id, SECOND), refused);
    sim.heal();
    sim.run_for(SECOND).unwrap();
    inject_captured(&mut sim);
    sim.run_for(SECOND).unwrap();
    assert_eq!(count(&mut sim, 2), None);
    inject_captured(&mut sim);
    sim.run_for(SECOND).unwrap();
    assert_eq!(count(&mut sim, 2), None);
}

#[test]
fn a_refusal_that_is_lost_is_given_again() {
    let mut sim = sim(3, 3, 1);
    sim.partition(&[node(3)]);
    sim.run_for(SECOND).unwrap();
    let mut left = 1;
    sim.intercept(move |_, _, message| match message.body {
        Body::Refuse { .. } if left > 0 => {
            left -= 1;
            Fate::Drop
        }
        _ => Fate::Pass,
    });
    let id = sim.submit(node(2), increment("n"), RequestOptions::default());
    sim.run_for(Duration::from_millis(20)).unwrap();
    sim.heal();
    let refused = Outcome::NotDone(NotDone::Unavailable { reachable: 2, needed: 3 });
    assert_eq!(answer(&mut sim, id, SECOND * 4), refused);
    assert_eq!(count(&mut sim, 2), None);
}

#[test]
fn a_forward_that_is_lost_is_sent_again() {
    let mut sim = sim(3, 2, 2);
    let mut left = 2;
    sim.intercept(move |from, to, message| match is_forward(from, to, message) {
        true if left > 0 => {
            left -= 1;
            Fate::Drop
        }
        _ => Fate::Pass,
    });
    let id = sim.submit(node(3), increment("n"), RequestOptions::default());
    let Outcome::Done(done) = answer(&mut sim, id, SECOND) else { panic!("not done") };
    assert_eq!(done.version, Some(Version::Log(1)));
}

#[test]
fn where_nobody_can_replace_the_sequencer_nothing_is_tried_without_it() {
    let mut sim = sim(3, 1, 3);
    sim.crash(node(1));
    sim.run_for(SECOND).unwrap();
    let id = sim.submit(node(2), put("k", "v"), RequestOptions::default());
    let waiting = Waiting::Sequencer { node: node(1) };
    let expected = Outcome::NotDone(NotDone::Waiting(waiting));
    assert_eq!(answer(&mut sim, id, Duration::from_millis(10)), expected);
    assert_eq!(sim.status(node(2)).unwrap().waiting, Some(waiting));
}

#[test]
fn what_was_sent_to_a_sequencer_that_is_lost_for_good_is_unknown_and_a_read_timed_out() {
    let mut sim = sim(3, 1, 3);
    sim.intercept(|_, _, message| match message.body {
        Body::Forward(_) | Body::ReadIndex { .. } => Fate::Drop,
        _ => Fate::Pass,
    });
    let write = sim.submit(node(2), put("k", "v"), timeout(SECOND));
    let read = sim.submit(node(2), get("k"), timeout(SECOND));
    sim.run_for(Duration::from_millis(20)).unwrap();
    sim.crash(node(1));
    let unknown = Outcome::Unknown(Unknown { version: None, acks: 0, needed: 1 });
    assert_eq!(answer(&mut sim, write, SECOND), unknown);
    let timed_out = Outcome::NotDone(NotDone::TimedOut { answered: 0, needed: 3 });
    assert_eq!(answer(&mut sim, read, SECOND), timed_out);
}

#[test]
fn a_request_that_the_lost_sequencer_had_placed_takes_effect_once_under_the_next_one() {
    let mut sim = sim(3, 2, 2);
    // Server 2 has the entry; server 3, whose client waits, never gets it from server 1.
    sim.intercept(|from, to, message| match &message.body {
        Body::Prepare(prepare) if (from, to) == (node(1), node(3)) => {
            if prepare.entries.is_empty() { Fate::Pass } else { Fate::Drop }
        }
        _ => Fate::Pass,
    });
    let id = sim.submit(node(3), increment("n"), RequestOptions::default());
    sim.run_for(Duration::from_millis(50)).unwrap();
    assert_eq!(sim.outcome(id), None);
    sim.crash(node(1));
    let Outcome::Done(done) = answer(&mut sim, id, SECOND * 5) else { panic!("not done") };
    assert_eq!(done.version, Some(Version::Log(1)));
    sim.run_for(SECOND).unwrap();
    assert_eq!(count(&mut sim, 2), Some(Value::new("1").unwrap()));
    let status = sim.status(node(3)).unwrap();
    assert_eq!(status.positions.epoch_round.map(|round| round > 0), Some(true));
}

#[test]
fn a_copy_that_was_meant_for_the_lost_sequencer_has_no_effect_under_the_next_one() {
    let mut sim = sim(3, 2, 2);
    copy_forwards(&mut sim);
    let id = sim.submit(node(3), increment("n"), RequestOptions::default());
    assert!(matches!(answer(&mut sim, id, SECOND), Outcome::Done(_)));
    sim.crash(node(1));
    sim.run_for(SECOND * 3).unwrap();
    let copies = sim.captured().to_vec();
    for copy in copies {
        sim.inject(copy.from, node(2), copy.message);
    }
    sim.run_for(SECOND).unwrap();
    assert_eq!(count(&mut sim, 3), Some(Value::new("1").unwrap()));
}

#[test]
fn too_few_servers_are_told_apart_from_unknown() {
    let mut sim = sim(3, 3, 1);
    sim.crash(node(3));
    // Before the hint comes, the request gets its position; after it, none.
    let before = sim.submit(node(1), put("k", "v"), timeout(SECOND));
    sim.run_for(Duration::from_millis(100)).unwrap();
    let after = sim.submit(node(1), put("k", "w"), timeout(SECOND));
    let unavailable = Outcome::NotDone(NotDone::Unavailable { reachable: 2, needed: 3 });
    assert_eq!(answer(&mut sim, after, Duration::from_millis(10)), unavailable);
    assert!(matches!(answer(&mut sim, before, SECOND), Outcome::Unknown(_)));
}

#[test]
fn a_full_window_makes_requests_wait_and_not_fail() {
    let mut config = SimConfig::new(3, 2, 2, 3).unwrap();
    config.limits.window_entries_max = 2;
    config.limits.message_bytes_max = 100;
    let mut sim = Sim::new(config).unwrap();
    sim.run_for(SECOND * 2).unwrap();
    for at in 0..60u16 {
        sim.submit(node(at % 3 + 1), increment("n"), RequestOptions::default());
    }
    settle(&mut sim);
    assert!(sim.requests().all(|(_, r)| matches!(r.outcome(), Some(Outcome::Done(_)))));
    assert_eq!(count(&mut sim, 1), Some(Value::new("60").unwrap()));
}

#[test]
fn one_request_too_many_is_refused() {
    let mut config = SimConfig::new(3, 3, 1, 3).unwrap();
    config.limits.requests_max = 4;
    let mut sim = Sim::new(config).unwrap();
    sim.run_for(SECOND * 2).unwrap();
    sim.hold_disk(node(2));
    let ids: Vec<_> =
        (0..5).map(|_| sim.submit(node(1), increment("n"), RequestOptions::default())).collect();
    let overloaded = Outcome::NotDone(NotDone::Overloaded { limit: 4 });
    assert_eq!(answer(&mut sim, ids[4], SECOND), overloaded);
    sim.release_disk(node(2));
    assert!(matches!(answer(&mut sim, ids[3], SECOND), Outcome::Done(_)));
}
